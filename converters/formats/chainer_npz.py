"""Chainer npz: `.model`, `.state` and trainer snapshots of Chainer 1.6 to 7.8.1.

A zip of npy members, deflated. Nothing is unpickled: an object array (a parameter that had no value yet when it was
saved) is told from the npy header alone.
"""

from __future__ import annotations

import json
import struct
import threading
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from numpy.lib import format as npy

from converters.checkpoint import Checkpoint, CheckpointError, reason_of
from converters.formats import CHUNK, MOST_INFLATION, Contents, decode_metadata, encode_metadata
from converters.keys import Header
from converters.layouts import arrays_of

#: What the standard library raises for damaged or hostile zips, and NumPy for such npy headers.
_DAMAGES = (
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
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
    with _open(path) as archive:
        size = path.stat().st_size
        for member in archive.infolist():
            key = member.filename.removesuffix(".npy")
            if key in headers or key in uninitialised:
                raise CheckpointError(path, f"it holds {key!r} twice", "one of them would be lost; nothing was read")
            _refuse_lies(path, member, size)
            with _member(path, archive, member.filename) as stream:
                header, length = _read_header(path, key, stream)
            if header.dtype.hasobject:
                uninitialised[key] = None
            elif length + header.nbytes != member.file_size:
                problem = f"{key!r} should take {length + header.nbytes} bytes but has {member.file_size}"
                raise CheckpointError(path, problem, "the file is damaged; look for another copy")
            else:
                headers[key], starts[key] = header, length
        metadata = decode_metadata(archive.comment)
        if metadata is None and archive.comment.startswith(_OWN):
            raise CheckpointError(path, "what it says of itself at its end is cut short or damaged", _WHOLE)

    archives = threading.local()  # opened once a thread: its position is not for several

    def chunks(key: str) -> Iterator[bytes]:
        if not hasattr(archives, "own"):
            archives.own = _open(path)
        return _chunks(path, archives.own, key, starts[key])

    return Contents("chainer-npz", headers, chunks, metadata, uninitialised=tuple(uninitialised))


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except _DAMAGES as error:
        raise CheckpointError(path, f"the npz cannot be opened: {reason_of(error)}", _WHOLE) from error


def _refuse_lies(path: Path, member: zipfile.ZipInfo, size: int) -> None:
    """Refuses a member whose sizes cannot be, before memory is taken for it."""
    name = member.filename
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        problem = f"{name!r} is compressed by method {member.compress_type}, which no Chainer uses"
        raise CheckpointError(path, problem, "only stored and deflated arrays are read")
    if member.compress_size > size or member.file_size > MOST_INFLATION * member.compress_size:
        problem = f"{name!r} cannot have {member.file_size} bytes in a file of {size}"
        raise CheckpointError(path, problem, "the file is damaged; look for another copy")


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    try:
        return archive.open(name)
    except _DAMAGES as error:
        raise CheckpointError(path, f"{name!r} cannot be read from the npz: {reason_of(error)}", _WHOLE) from error


def _read_header(path: Path, key: str, stream: IO[bytes]) -> tuple[Header, int]:
    """Returns an npy header and its length in bytes; only version 1.0, whose headers are 64 KiB at most."""
    try:
        version = npy.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"it has version {version} of the npy format, which no Chainer writes")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Python 2 spelled some shapes (96L, 3L)
            shape, fortran, dtype = npy.read_array_header_1_0(stream)
        if dtype.itemsize == 0 or any(length < 0 for length in shape):
            raise ValueError(f"it claims the shape {shape} of {dtype}")
    except _DAMAGES as error:
        what = "damaged" if isinstance(error, zipfile.BadZipFile | zlib.error) else "no npy array"
        raise CheckpointError(path, f"{key!r} is {what}: {reason_of(error)}", _WHOLE) from error
    return Header(dtype, shape, bool(fortran)), stream.tell()


def _chunks(path: Path, archive: zipfile.ZipFile, key: str, start: int) -> Iterator[bytes]:
    """Inflates one array, which starts after a header of `start` bytes."""
    with _member(path, archive, f"{key}.npy") as stream:
        try:
            stream.read(start)
            while chunk := stream.read(CHUNK):  # at its end zipfile compares the checksum
                yield chunk
        except _DAMAGES as error:
            raise CheckpointError(path, f"{key!r} is damaged: {reason_of(error)}", "look for another copy") from error


def write(checkpoint: Checkpoint, path: Path, *, layout: str | None = None) -> None:
    """Writes a checkpoint as Chainer's `save_npz` does: deflated npy members.

    The zip's comment, which Chainer and `np.load` ignore, carries the writer, the architecture and the preprocessing.

    Args:
        checkpoint: What is written.
        path: A file that does not exist yet.
        layout: One of `layouts.LAYOUTS`; None writes the model with the wrapper and the names that were read.
    """
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as archive:
        for key, array in arrays_of(checkpoint, layout).items():
            # A fixed date (that of zip's epoch), so that the same checkpoint gives the same bytes.
            member = zipfile.ZipInfo(f"{key}.npy")
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=array.nbytes >= 1 << 31) as stream:
                npy.write_array(stream, array, allow_pickle=False)
        archive.comment = _comment(checkpoint)


def _comment(checkpoint: Checkpoint) -> bytes:
    """Returns the metadata for the zip's comment, which holds 65,535 bytes at most."""
    metadata = encode_metadata(checkpoint)
    comment = json.dumps(metadata).encode()
    if len(comment) > zipfile.ZIP_MAX_COMMENT:
        metadata["repairs"] = []  # of a file with many repaired tensors: the report of the conversion has them
        comment = json.dumps(metadata).encode()
    return comment
