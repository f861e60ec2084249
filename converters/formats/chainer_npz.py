"""Chainer npz: `.model`, `.state` and trainer snapshots of Chainer 1.6 to 7.8.1.

A zip of npy members, deflated. Nothing is unpickled: an object array (a parameter that had no value yet when it was
saved) is told from the npy header alone.
"""

from __future__ import annotations

import io
import json
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from numpy.lib import format as npy

from converters.checkpoint import Checkpoint
from converters.errors import CheckpointError, reason_of
from converters.files import CHUNK
from converters.formats import _zip
from converters.formats.format import (
    DAMAGES,
    Beginning,
    Contents,
    Format,
    decode_metadata,
    encode_metadata,
    refuse_many,
    register,
)
from converters.interrupts import Interrupts, Stream, held_while
from converters.keys import Header
from converters.layouts import arrays_of, split

#: What damaged deflated bytes raise: each library has an error of its own.
_DAMAGED_BYTES = (_zip.DamagedError, zlib.error, _zip.library().error)
#: And what NumPy raises for headers that are none.
_DAMAGES = (*DAMAGES, *_DAMAGED_BYTES, SyntaxError, tokenize.TokenError)
_HEAD = 1 << 10
_MAGIC = 10  # an npy file of version 1.0 starts with these many bytes, the last two its header's length
_WHOLE = "look for a whole copy"
_OWN = b'{"deeppose_port"'


def read(path: Path) -> Contents:
    """Reads the headers of every array.

    Raises:
        CheckpointError: The zip or an npy header is damaged, a name is there twice, or sizes contradict each other.
    """
    headers: dict[str, Header] = {}
    starts: dict[str, int] = {}
    uninitialised: dict[str, None] = {}
    every, comment = _directory(path)
    every = [member for member in every if not _zip.is_left_over(member)]
    refuse_many(path, len(every))
    members = {member.filename.removesuffix(".npy"): member for member in every}
    for member in every:
        key = member.filename.removesuffix(".npy")
        if members[key] is not member:
            raise CheckpointError(path, f"it holds {key!r} twice", "one of them would be lost; nothing was read")
    _zip.refuse_lies(path, every)
    for key, member in members.items():
        header, length = _read_header(path, key, member)
        if header.dtype.hasobject:
            uninitialised[key] = None
        elif length + header.nbytes != member.file_size:
            problem = f"{key!r} should take {length + header.nbytes} bytes but has {member.file_size}"
            raise CheckpointError(path, problem, "the file is damaged; look for another copy")
        else:
            headers[key], starts[key] = header, length
    metadata = decode_metadata(comment)
    if metadata is None and comment.startswith(_OWN):
        raise CheckpointError(path, "what it says of itself at its end is cut short or damaged", _WHOLE)

    def chunks(key: str) -> Iterator[memoryview]:
        return _chunks(path, key, members[key], starts[key])

    return Contents(
        "chainer-npz",
        headers,
        chunks,
        metadata,
        uninitialised=tuple(uninitialised),
        sections=split([*headers, *uninitialised]),
    )


def _tells(beginning: Beginning) -> bool:
    return bool(beginning.members) and all(name.endswith(".npy") for name in beginning.members)


def _directory(path: Path) -> tuple[list[zipfile.ZipInfo], bytes]:
    try:
        return _zip.directory(path)
    except _DAMAGES as error:
        raise CheckpointError(path, f"the npz cannot be opened: {reason_of(error)}", _WHOLE) from error


def _read_header(path: Path, key: str, member: zipfile.ZipInfo) -> tuple[Header, int]:
    """Returns an npy header and its length in bytes; only version 1.0, whose headers are 64 KiB at most."""
    try:
        head = b""
        for piece in _zip.read_member(path, member, _HEAD):
            head += piece
            if len(head) >= _MAGIC + int.from_bytes(head[_MAGIC - 2 : _MAGIC], "little"):
                break
        stream = io.BytesIO(head)
        version = npy.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"it has version {version} of the npy format, which no Chainer writes")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Python 2 spelled some shapes (96L, 3L)
            shape, fortran, dtype = npy.read_array_header_1_0(stream)
        if dtype.itemsize == 0 or any(length < 0 for length in shape):
            raise ValueError(f"it claims the shape {shape} of {dtype}")
    except _DAMAGES as error:
        what = "damaged" if isinstance(error, _DAMAGED_BYTES) else "no npy array"
        raise CheckpointError(path, f"{key!r} is {what}: {reason_of(error)}", _WHOLE) from error
    return Header(dtype, shape, bool(fortran)), stream.tell()


def _chunks(path: Path, key: str, member: zipfile.ZipInfo, start: int) -> Iterator[memoryview]:
    """Inflates one array, which starts after a header of `start` bytes."""
    try:
        for piece in _zip.read_member(path, member, CHUNK):  # at its end the checksum is compared
            if start < len(piece):
                yield memoryview(piece)[start:]
            start = max(0, start - len(piece))
    except OSError as error:
        raise CheckpointError(path, f"{key!r} cannot be read: {reason_of(error)}", "is the disk sound?") from error
    except _DAMAGES as error:
        raise CheckpointError(path, f"{key!r} is damaged: {reason_of(error)}", "look for another copy") from error


def write(checkpoint: Checkpoint, path: Path, *, layout: str | None = None) -> None:
    """Writes a checkpoint as Chainer's `save_npz` does: deflated npy members.

    The zip's comment, which Chainer and `np.load` ignore, carries the writer, the architecture and the preprocessing.

    Args:
        checkpoint: What is written.
        path: An empty file.
        layout: One of `layouts.LAYOUTS`; None writes the model with the wrapper and the names that were read.
    """
    arrays = arrays_of(checkpoint, layout)

    def save(interrupts: Interrupts) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for key, array in arrays.items():
                # A fixed date (that of zip's epoch), so that the same checkpoint gives the same bytes.
                member = zipfile.ZipInfo(f"{key}.npy")
                member.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(member, "w", force_zip64=array.nbytes >= 1 << 31) as stream:
                    npy.write_array(cast(BinaryIO, Stream(stream, interrupts)), array, allow_pickle=False)
            archive.comment = _comment(checkpoint)

    held_while(save)  # an interrupt in between would be lost in the error that closing the archive raises


def _comment(checkpoint: Checkpoint) -> bytes:
    """Returns the metadata for the zip's comment, which holds 65,535 bytes at most."""
    metadata = encode_metadata(checkpoint)
    comment = json.dumps(metadata).encode()
    if len(comment) > zipfile.ZIP_MAX_COMMENT:
        metadata["repairs"] = []  # of a file with many repaired tensors: the report of the conversion has them
        comment = json.dumps(metadata).encode()
    return comment


register(
    Format(
        name="chainer-npz",
        title="Chainer npz",
        suffixes=(".npz", ".model", ".state"),
        tells=_tells,
        read=read,
        write=write,
        holds=frozenset({"metadata"}),
        layouts={
            "head": frozenset({"metadata"}),
            "state": frozenset({"metadata", "optimizer"}),
            "snapshot": frozenset({"metadata", "optimizer"}),
        },
        arrays=arrays_of,
        chainer=True,
    )
)
