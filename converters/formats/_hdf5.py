"""HDF5 as a checkpoint's file holds it: groups and arrays that lie in it, of numbers that are all there."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from converters.checkpoint import bytes_of
from converters.errors import CheckpointError, reason_of
from converters.files import CHUNK
from converters.formats._zip import MOST_INFLATION
from converters.formats.format import DAMAGES, refuse_many
from converters.keys import Header

if TYPE_CHECKING:
    import h5py

#: How such a file begins.
MAGIC = b"\x89HDF\r\n\x1a\n"
#: How a global heap begins, and how long the header of one and of each value in it is.
_HEAP, _HEADER = b"GCOL\1\0\0\0", 16
#: HDF5's numbers of the filters that are built into h5py; the last is LZF.
_DEFLATE, _SHUFFLE, _FLETCHER32, _LZF = 1, 2, 3, 32000
_MOST_FILTERS = 3
#: Groups in groups; a trainer's snapshot has eight levels.
_DEEPEST = 64


@contextmanager
def told_of(path: Path, what: str) -> Iterator[None]:
    """Tells what h5py raises for damaged files in a sentence."""
    try:
        yield
    except CheckpointError:
        raise
    except DAMAGES as error:
        problem = f"{what} cannot be read: {reason_of(error)}"
        raise CheckpointError(path, problem, "the file is damaged; look for another copy") from error


def open_file(path: Path) -> h5py.File:
    try:
        import h5py
    except ImportError as error:
        advice = "pip install 'deeppose-port[hdf5]'"
        raise CheckpointError(path, "this is HDF5, and h5py is needed to read it", advice) from error
    return h5py.File(path, "r")


class KeptOpen:
    """The datasets of a file by name. It is opened for the first, and closed when nothing may ask for more.

    To open it takes longer than to read an array, of which there may be hundreds.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: h5py.File | None = None

    def __getitem__(self, key: str) -> h5py.Dataset:
        if self._file is None:
            self._file = open_file(self._path)
        return self._file[key]


def arrays_in(path: Path, top: h5py.Group, leave_out: str = "") -> Iterator[tuple[str, h5py.Dataset]]:
    """Yields the arrays in a group and in those in it, each with its path from there.

    Args:
        path: The file.
        top: The group.
        leave_out: The path of a group that is passed over.

    Raises:
        CheckpointError: There is something else in it, or one thing under two names, or far too much.
    """
    pending, seen, left = [("", top)], {_address_of(top)}, path.stat().st_size
    while pending:
        prefix, group = pending.pop()
        for name in sorted(group):
            key = f"{prefix}{name}"
            if key == leave_out:
                continue
            with told_of(path, repr(key)):
                item = item_of(path, group, name, key)
                is_array = hasattr(item, "shape")
                if _address_of(item) in seen or not (is_array or hasattr(item, "keys")):
                    problem = f"{key!r} is no array and no group of its own, which no checkpoint has"
                    raise CheckpointError(path, problem, "nothing was read")
            seen.add(_address_of(item))
            refuse_many(path, len(seen))
            if is_array:
                left -= item.id.get_storage_size()
                if left < 0:
                    problem = f"its arrays are stored in more bytes than it has, {key!r} among them"
                    raise CheckpointError(path, problem, "the file is damaged; look for another copy")
                yield key, item
            elif key.count("/") < _DEEPEST:
                pending.append((f"{key}/", item))
            else:
                raise CheckpointError(path, f"its groups are nested deeper than {_DEEPEST} levels", "nothing was read")


def long_values(path: Path, beginnings: tuple[bytes, ...]) -> Iterator[bytes]:
    """Yields values of attributes that may be of any length and begin in some way, read without the HDF5 library.

    They lie in the file's global heaps, see section III.E of the HDF5 File Format Specification. The library may never
    come back from damaged ones.

    Args:
        path: The file.
        beginnings: What a value may begin with.
    """
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        heap = data.find(_HEAP)
        while heap >= 0:
            size = int.from_bytes(data[heap + 8 : heap + _HEADER], "little")
            if size > len(data) - heap:
                size = len(_HEAP)
            place, end = heap + _HEADER, heap + size
            while place + _HEADER <= end and any(data[place : place + 2]):  # 0 is what is free
                first, length = place + _HEADER, int.from_bytes(data[place + 8 : place + _HEADER], "little")
                place = first + (length + 7) // 8 * 8
                if place <= end and data[first : first + max(map(len, beginnings))].startswith(beginnings):
                    yield data[first : first + length]
            heap = data.find(_HEAP, heap + max(size, len(_HEAP)))


def _address_of(item: h5py.Group | h5py.Dataset) -> int:
    """Returns where in the file something lies: it may be linked into itself, and have a thousand names."""
    import h5py

    return int(h5py.h5o.get_info(item.id).addr)


def item_of(path: Path, group: h5py.Group, name: str, key: str) -> h5py.Group | h5py.Dataset:
    """Returns a group or dataset that lies in this very file; a link could name any file of this machine."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise CheckpointError(path, f"{key!r} is a link, which no checkpoint has", "nothing was read")
    item = group[name]
    if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
        raise CheckpointError(path, f"{key!r} has its data in another file", "nothing was read")
    return item


def header_of(path: Path, item: h5py.Dataset, key: str) -> Header:
    """Returns what a dataset says of itself, if its bytes are there."""
    dtype, shape, stored = np.dtype(item.dtype), item.shape, int(item.id.get_storage_size())
    if shape is None or dtype.hasobject:
        raise CheckpointError(path, f"{key!r} is no array of numbers, which no checkpoint has", "nothing was read")
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


def _refuse_filters(path: Path, item: h5py.Dataset, key: str) -> None:
    """Refuses what h5py does not pack by itself: a filter may be a program, which HDF5 would look for."""
    properties = item.id.get_create_plist()
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    packed = [number for number in filters if number in (_DEFLATE, _LZF)]
    if len(packed) > 1 or len(filters) > _MOST_FILTERS or not {*filters} <= {_DEFLATE, _SHUFFLE, _FLETCHER32, _LZF}:
        problem = f"{key!r} is packed by HDF5's filters {', '.join(map(str, filters))}, which no checkpoint is"
        raise CheckpointError(path, problem, "nothing was read; repack it with gzip")


def pieces_of(item: h5py.Dataset) -> Iterator[memoryview]:
    """Yields the bytes of a dataset, about `CHUNK` of them at a time."""
    if not item.shape:
        yield bytes_of(np.array(item[()], item.dtype))  # h5py makes a number of it, in this machine's order of bytes
        return
    rows = _rows_at_a_time(item)
    for start in range(0, item.shape[0], rows):
        yield bytes_of(np.ascontiguousarray(item[start : start + rows]))


def _rows_at_a_time(item: h5py.Dataset) -> int:
    """Returns how many rows take about `CHUNK` bytes, in whole chunks of the file: each would be unpacked again."""
    row = math.prod(item.shape[1:]) * item.dtype.itemsize
    step = item.chunks[0] if item.chunks else 1
    return int(max(CHUNK // max(row, 1) // step, 1) * step)
