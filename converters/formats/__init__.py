"""The formats: how a file is told by its content, never by its name, and how it is read and written.

A module a format, which registers what it knows. A reader tells what is in a file before it reads any array, so that a
file can be refused before memory is taken for it.
"""

from __future__ import annotations

import stat
from pathlib import Path

# In the order in which a file is asked whether it is one of them: a line a module.
# isort: off
from converters.formats import pt as pt
from converters.formats import safetensors as safetensors
from converters.formats import shards as shards
from converters.formats import chainer_npz as chainer_npz
from converters.formats import keras_hdf5 as keras_hdf5
from converters.formats import chainer_hdf5 as chainer_hdf5
from converters.formats import chainer_pickle as chainer_pickle
from converters.formats import tf1 as tf1
# isort: on

from converters.errors import CheckpointError, DeepPoseError, reason_of
from converters.formats.foreign import SAVED_MODEL, foreign
from converters.formats.format import (
    FORMATS,
    MAX_BYTES,
    Beginning,
    Contents,
    Format,
    encode_metadata,
    refuse_large,
    refuse_long_names,
    refuse_many,
    register,
)

__all__ = [
    "FORMATS",
    "MAX_BYTES",
    "Beginning",
    "Contents",
    "Format",
    "encode_metadata",
    "format_of",
    "opened",
    "readable",
    "refuse_large",
    "refuse_long_names",
    "refuse_many",
    "register",
    "resolve",
    "writable",
    "written_as",
]


def readable() -> list[Format]:
    """Returns the formats that are read."""
    return [format for format in FORMATS.values() if format.read is not None]


def writable() -> list[Format]:
    """Returns the formats that are written."""
    return [format for format in FORMATS.values() if format.write is not None]


def written_as(name: str | None, path: Path) -> Format:
    """Returns the format that is asked for, by its name or else by a file's suffix.

    Raises:
        CheckpointError: The suffix is none of a format that is written.
        DeepPoseError: There is no format of that name to write.
    """
    names = [format.name for format in writable()]
    if name is not None and name not in names:
        raise DeepPoseError(f"there is no format {name!r} to write; there are {', '.join(names)}")
    for format in writable():
        if format.name == name or (name is None and path.suffix in format.suffixes):
            return format
    problem = f"the suffix {path.suffix!r} names no format"
    raise CheckpointError(path, problem, f"name it with --to {' | '.join(names)}")


def resolve(path: Path) -> Path:
    """Returns the file that is read for a path: of a checkpoint that is several files, the one that tells of them.

    Raises:
        CheckpointError: It names a checkpoint that is not there, or cannot be looked for.
    """
    try:
        found = (format.finds(path) for format in readable())
        return next((file for file in found if file is not None), path)
    except OSError as error:
        raise CheckpointError(path, f"it cannot be read: {reason_of(error)}") from error


def format_of(path: Path) -> Format:
    """Tells a file's format by its content.

    Raises:
        CheckpointError: It is missing, empty, a folder, or of no format that can be read; the message says which.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            if (path / SAVED_MODEL).is_file():
                return format_of(path / SAVED_MODEL)
            raise CheckpointError(path, "this is a folder", "name a file; `deeppose-port convert` takes a folder too")
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(path, "this is a device or a pipe, not a file", "copy what it gives into a file")
        beginning = Beginning.of(path, status.st_size)
    except FileNotFoundError:
        raise CheckpointError(path, "there is no such file") from None
    except OSError as error:
        raise CheckpointError(path, f"it cannot be read: {reason_of(error)}") from error
    if not beginning.start:
        raise CheckpointError(path, "the file is empty", "look for another copy: its writer was interrupted")
    for format in FORMATS.values():
        if format.tells is not None and format.tells(beginning):
            return format
    titles = [format.title for format in readable() if format.title]
    problem = f"this is no {', '.join(titles[:-1])} or {titles[-1]} file"
    raise foreign(beginning) or CheckpointError(path, problem, "its first bytes belong to no format that is known here")


def opened(path: Path) -> Contents:
    """Finds out what a file holds, before any array of it is read.

    Raises:
        CheckpointError: As for `format_of`, or it is damaged.
    """
    read = format_of(path).read
    assert read is not None
    return read(path)
