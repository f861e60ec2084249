"""Chainer HDF5: what the program of 2015-12 to 2016-06 wrote with `save_hdf5`, under the suffix `.model` too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from converters.errors import CheckpointError
from converters.formats._hdf5 import MAGIC, KeptOpen, arrays_in, header_of, open_file, pieces_of, told_of
from converters.formats.format import Contents, Format, register
from converters.keys import Header
from converters.layouts import split

#: What Caffe writes of a training: the file with the weights, and what its optimizer keeps.
_OF_CAFFES_SOLVER = ("learned_net", "history")


def read(path: Path) -> Contents:
    """Reads the headers of every dataset.

    Raises:
        CheckpointError: h5py is not installed, the file is damaged, or it points outside of itself.
    """
    headers: dict[str, Header] = {}
    unset: list[str] = []
    with told_of(path, "the HDF5 file"), open_file(path) as top:
        if all(name in top for name in _OF_CAFFES_SOLVER):
            problem = "this is the state of a Caffe solver (.solverstate.h5), without the weights"
            raise CheckpointError(path, problem, "they are in its .caffemodel.h5, which is not read either")
        for key, item in arrays_in(path, top):
            with told_of(path, repr(key)):
                if item.shape is None:
                    unset.append(key)  # what Chainer writes for None
                else:
                    headers[key] = header_of(path, item, key)

    file = KeptOpen(path)

    def chunks(key: str) -> Iterator[memoryview]:
        with told_of(path, repr(key)):
            yield from pieces_of(file[key])

    return Contents("chainer-hdf5", headers, chunks, uninitialised=tuple(unset), sections=split([*headers, *unset]))


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
