"""Chainer HDF5: what the program of 2015-12 to 2016-06 wrote with `save_hdf5`, under the suffix `.model` too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from converters.checkpoint import Checkpoint, CheckpointError, bytes_of
from converters.formats import Contents
from converters.keys import Header

_DAMAGED = "the file is damaged; look for another copy"


def read(path: Path) -> Contents:
    """Reads the headers of every dataset.

    Raises:
        CheckpointError: h5py is not installed, the file is damaged, or it points outside of itself.
    """
    headers: dict[str, Header] = {}
    with _open(path) as file:
        pending = [("", file)]
        while pending:
            prefix, group = pending.pop()
            try:
                names = sorted(group)
            except (RuntimeError, OSError) as error:
                raise CheckpointError(path, f"the group {prefix or '/'!r} cannot be read: {error}", _DAMAGED) from error
            for name in names:
                key = f"{prefix}{name}"
                item = _item(path, group, name, key)
                if hasattr(item, "shape"):
                    headers[key] = Header(np.dtype(item.dtype), tuple(item.shape or ()))
                else:
                    pending.append((f"{key}/", item))

    def chunks(key: str) -> Iterator[memoryview]:
        with _open(path) as file:
            try:
                array = np.ascontiguousarray(file[key][()])
            except (KeyError, OSError, RuntimeError, ValueError) as error:
                raise CheckpointError(path, f"{key!r} cannot be read: {error}", _DAMAGED) from error
        yield bytes_of(array)

    return Contents("chainer-hdf5", headers, chunks)


def _open(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        advice = "pip install 'deeppose-port[hdf5]'"
        raise CheckpointError(path, "this is HDF5, and h5py is needed to read it", advice) from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise CheckpointError(path, f"the HDF5 file cannot be opened: {error}", _DAMAGED) from error


def _item(path: Path, group: Any, name: str, key: str) -> Any:
    """Returns a group or dataset that lies in this very file; a link could name any file of this machine."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise CheckpointError(path, f"{key!r} is a link, which no Chainer file has", "nothing was read")
    try:
        item = group[name]
    except (KeyError, OSError, RuntimeError) as error:
        raise CheckpointError(path, f"{key!r} cannot be read: {error}", _DAMAGED) from error
    if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
        raise CheckpointError(path, f"{key!r} has its data in another file", "nothing was read")
    return item


def write(checkpoint: Checkpoint, path: Path, *, layout: str | None = None) -> None:
    """Refuses: the format is read only, Chainer reads npz everywhere."""
    raise CheckpointError(path, "HDF5 is not written", "choose chainer-npz: every Chainer since 1.6 reads it")
