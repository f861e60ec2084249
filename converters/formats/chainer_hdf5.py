"""Chainer HDF5: what the program of 2015-12 to 2016-06 wrote with `save_hdf5`, under the suffix `.model` too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from converters.errors import CheckpointError
from converters.formats._hdf5 import MAGIC, address_of, header_of, item_of, open_file, pieces_of, told_of
from converters.formats.format import Contents, Format, register
from converters.keys import Header
from converters.layouts import split


def read(path: Path) -> Contents:
    """Reads the headers of every dataset.

    Raises:
        CheckpointError: h5py is not installed, the file is damaged, or it points outside of itself.
    """
    headers: dict[str, Header] = {}
    with told_of(path, "the HDF5 file"), open_file(path) as file:
        pending, seen = [("", file)], {address_of(file)}
        while pending:
            prefix, group = pending.pop()
            for name in sorted(group):
                key = f"{prefix}{name}"
                with told_of(path, repr(key)):
                    item = item_of(path, group, name, key)
                    if hasattr(item, "shape"):
                        headers[key] = header_of(path, item, key)
                    elif hasattr(item, "keys") and address_of(item) not in seen:
                        pending.append((f"{key}/", item))
                        seen.add(address_of(item))
                    else:
                        problem = f"{key!r} is no array and no group of its own, which no Chainer file has"
                        raise CheckpointError(path, problem, "nothing was read")

    def chunks(key: str) -> Iterator[memoryview]:
        with told_of(path, repr(key)), open_file(path) as file:
            yield from pieces_of(file[key])

    return Contents("chainer-hdf5", headers, chunks, sections=split(headers))


register(
    Format(
        name="chainer-hdf5",
        title="Chainer HDF5",
        suffixes=(".h5", ".hdf5"),
        tells=lambda beginning: beginning.start.startswith(MAGIC),
        read=read,
        chainer=True,
    )
)
