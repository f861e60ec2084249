"""Chainer HDF5: what the program of 2015-12 to 2016-06 wrote with `save_hdf5`, under the suffix `.model` too."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from converters.checkpoint import Checkpoint, bytes_of
from converters.errors import CheckpointError, reason_of
from converters.formats import CHUNK, DAMAGES, MOST_INFLATION, Contents
from converters.keys import Header

#: HDF5's numbers of the filters that are built into h5py; the last is LZF.
_DEFLATE, _SHUFFLE, _FLETCHER32, _LZF = 1, 2, 3, 32000
_MOST_FILTERS = 3


def read(path: Path) -> Contents:
    """Reads the headers of every dataset.

    Raises:
        CheckpointError: h5py is not installed, the file is damaged, or it points outside of itself.
    """
    headers: dict[str, Header] = {}
    with _told_of(path, "the HDF5 file"), _open(path) as file:
        pending, seen = [("", file)], {_address(file)}
        while pending:
            prefix, group = pending.pop()
            for name in sorted(group):
                key = f"{prefix}{name}"
                with _told_of(path, repr(key)):
                    item = _item(path, group, name, key)
                    if hasattr(item, "shape"):
                        headers[key] = _header(path, item, key)
                    elif hasattr(item, "keys") and _address(item) not in seen:
                        pending.append((f"{key}/", item))
                        seen.add(_address(item))
                    else:
                        problem = f"{key!r} is no array and no group of its own, which no Chainer file has"
                        raise CheckpointError(path, problem, "nothing was read")

    def chunks(key: str) -> Iterator[memoryview]:
        with _told_of(path, repr(key)), _open(path) as file:
            item = file[key]
            if not item.shape:
                yield bytes_of(np.array(item[()]))
                return
            rows = _rows_at_a_time(item)
            for start in range(0, item.shape[0], rows):
                yield bytes_of(np.ascontiguousarray(item[start : start + rows]))

    return Contents("chainer-hdf5", headers, chunks)


@contextmanager
def _told_of(path: Path, what: str) -> Iterator[None]:
    """Tells what h5py raises for damaged files in a sentence."""
    try:
        yield
    except CheckpointError:
        raise
    except DAMAGES as error:
        problem = f"{what} cannot be read: {reason_of(error)}"
        raise CheckpointError(path, problem, "the file is damaged; look for another copy") from error


def _open(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        advice = "pip install 'deeppose-port[hdf5]'"
        raise CheckpointError(path, "this is HDF5, and h5py is needed to read it", advice) from error
    return h5py.File(path, "r")


def _address(group: Any) -> int:
    """Returns where in the file a group lies: a group may be linked into itself."""
    import h5py

    return int(h5py.h5o.get_info(group.id).addr)


def _item(path: Path, group: Any, name: str, key: str) -> Any:
    """Returns a group or dataset that lies in this very file; a link could name any file of this machine."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise CheckpointError(path, f"{key!r} is a link, which no Chainer file has", "nothing was read")
    item = group[name]
    if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
        raise CheckpointError(path, f"{key!r} has its data in another file", "nothing was read")
    return item


def _header(path: Path, item: Any, key: str) -> Header:
    """Returns what a dataset says of itself, if its bytes are there."""
    dtype, shape, stored = np.dtype(item.dtype), item.shape, int(item.id.get_storage_size())
    if shape is None or dtype.hasobject:
        raise CheckpointError(path, f"{key!r} is no array of numbers, which no Chainer file has", "nothing was read")
    _refuse_filters(path, item, key)
    header = Header(dtype, tuple(shape))
    chunk = math.prod(item.chunks or ()) * dtype.itemsize
    if chunk > max(header.nbytes, CHUNK):
        problem = f"{key!r} is stored in chunks of {chunk} bytes, but has {header.nbytes}"
        raise CheckpointError(path, problem, "the file is damaged; look for another copy")
    if header.nbytes > MOST_INFLATION * stored:
        problem = f"{key!r} says that it has {header.nbytes} bytes, of which {stored} are stored"
        raise CheckpointError(path, problem, "the file is damaged; look for another copy")
    return header


def _refuse_filters(path: Path, item: Any, key: str) -> None:
    """Refuses what h5py does not pack by itself: a filter may be a program, which HDF5 would look for."""
    properties = item.id.get_create_plist()
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    packed = [number for number in filters if number in (_DEFLATE, _LZF)]
    if len(packed) > 1 or len(filters) > _MOST_FILTERS or not {*filters} <= {_DEFLATE, _SHUFFLE, _FLETCHER32, _LZF}:
        problem = f"{key!r} is packed by HDF5's filters {', '.join(map(str, filters))}, which no Chainer file is"
        raise CheckpointError(path, problem, "nothing was read; repack it with gzip")


def _rows_at_a_time(item: Any) -> int:
    """Returns how many rows take about `CHUNK` bytes, in whole chunks of the file: each would be unpacked again."""
    row = math.prod(item.shape[1:]) * item.dtype.itemsize
    step = item.chunks[0] if item.chunks else 1
    return int(max(CHUNK // max(row, 1) // step, 1) * step)


def write(checkpoint: Checkpoint, path: Path, *, layout: str | None = None) -> None:
    """Refuses: the format is read only, Chainer reads npz everywhere."""
    raise CheckpointError(path, "HDF5 is not written", "choose chainer-npz: every Chainer since 1.6 reads it")
