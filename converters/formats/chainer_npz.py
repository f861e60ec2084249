"""Chainer npz: `.model`, `.state` and trainer snapshots of Chainer 1.6 to 7.8.1.

A zip of npy members, deflated. Nothing is unpickled: an object array (a parameter that had no value yet when it was
saved) is told from the npy header alone.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from numpy.lib import format as npy

from converters.checkpoint import Checkpoint, CheckpointError
from converters.formats import CHUNK, Contents, decode_metadata, encode_metadata
from converters.keys import Header
from converters.layouts import arrays_of


def read(path: Path) -> Contents:
    """Reads the headers of every array.

    Raises:
        CheckpointError: The zip or an npy header is damaged, a name is there twice, or sizes contradict each other.
    """
    headers: dict[str, Header] = {}
    uninitialised = []
    with _open(path) as archive:
        for member in archive.infolist():
            key = member.filename.removesuffix(".npy")
            if key in headers or key in uninitialised:
                raise CheckpointError(path, f"it holds {key!r} twice", "one of them would be lost; nothing was read")
            with _member(path, archive, member) as stream:
                header, length = _read_header(path, key, stream)
            if header.dtype.hasobject:
                uninitialised.append(key)
            elif length + header.nbytes != member.file_size:
                problem = f"{key!r} should take {length + header.nbytes} bytes but has {member.file_size}"
                raise CheckpointError(path, problem, "the file is damaged; look for another copy")
            else:
                headers[key] = header
        metadata = decode_metadata(archive.comment)

    def chunks(key: str) -> Iterator[bytes]:
        return _chunks(path, key)

    return Contents("chainer-npz", headers, chunks, metadata, uninitialised=tuple(uninitialised))


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise CheckpointError(path, f"the npz cannot be opened: {error}", "look for a whole copy") from error


def _member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    try:
        return archive.open(member)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        problem = f"{member.filename!r} cannot be read from the npz: {error}"
        raise CheckpointError(path, problem, "look for a whole copy") from error


def _read_header(path: Path, key: str, stream: IO[bytes]) -> tuple[Header, int]:
    """Returns an npy header and its length in bytes."""
    try:
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"npy version {version}")
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
    except (ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        problem = f"{key!r} is no npy array: {str(error).splitlines()[0]}"
        raise CheckpointError(path, problem, "look for a whole copy") from error
    return Header(dtype, shape, bool(fortran)), stream.tell()


def _chunks(path: Path, key: str) -> Iterator[bytes]:
    """Inflates one array; the archive is opened anew, because a ZipFile's position is not for several threads."""
    with _open(path) as archive, _member(path, archive, archive.getinfo(f"{key}.npy")) as stream:
        _read_header(path, key, stream)
        try:
            while chunk := stream.read(CHUNK):  # at its end zipfile compares the checksum
                yield chunk
        except (EOFError, zlib.error, zipfile.BadZipFile, OSError) as error:
            raise CheckpointError(path, f"{key!r} is damaged: {error}", "look for another copy") from error


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
