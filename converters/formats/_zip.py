"""Members of a zip, read by offset and inflated by the fastest library that is installed."""

from __future__ import annotations

import importlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from converters.errors import CheckpointError
from converters.files import Bounded

#: Deflate makes at most this many bytes of one (a match of 258 bytes takes two bits).
MOST_INFLATION = 1032
#: Drop-in replacements of `zlib`, the fastest first: of one thread, isal inflates weights twice as fast as zlib.
_LIBRARIES = ("isal.isal_zlib", "zlib_ng.zlib_ng", "zlib")
_READ = 1 << 17
#: A snapshot of ResNet-152 has one of 0.4 MB.
_LARGEST_DIRECTORY = 4 << 20
#: Of a member in the directory: the lengths of its name, of what is said beside it, and of its comment.
_MEMBER = struct.Struct("<28x3H12x")
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
#: The record at a zip's end, at last where the directory is and the comment's length. Of a large zip there is another
#: before it, and a locator between them that tells where that one is.
_END, _END_64, _LOCATOR = struct.Struct("<4s4H2IH"), struct.Struct("<4sQ2H2I4Q"), struct.Struct("<4sIQI")
_IN_ZIP64 = 0xFFFFFFFF
#: Bits of a member's flags that no npz has: encrypted, patched, strongly encrypted, hidden.
STRANGE_FLAGS = 0x1 | 0x20 | 0x40 | 0x2000
_UTF_8 = 0x800


class DamagedError(ValueError):
    """A member that is not what the zip's directory says."""


def directory(path: Path) -> tuple[list[zipfile.ZipInfo], bytes]:
    """Returns what a zip's directory says of its members, and the zip's comment.

    Raises:
        zipfile.BadZipFile: It is cut short or damaged; other errors are `formats.DAMAGES`, as of far too many members.
    """
    with Bounded(path, _LARGEST_DIRECTORY) as stream, zipfile.ZipFile(stream) as archive:
        _refuse_two_meanings(stream, archive)
        return archive.infolist(), archive.comment


def ends_as_one(path: Path) -> bool:
    """Tells whether a file that begins as another is a zip as well, with members."""
    try:
        with Bounded(path, _LARGEST_DIRECTORY) as stream, zipfile.ZipFile(stream) as archive:
            return bool(archive.infolist())
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return False


def _refuse_two_meanings(stream: BinaryIO, archive: zipfile.ZipFile) -> None:
    """Refuses a zip of which other programs find another directory: Python takes the one right before the end."""
    end = stream.seek(-_END.size - len(archive.comment), os.SEEK_END)
    signature, *said, size, place, length = _END.unpack(stream.read(_END.size))
    places, counts = {place}, [said]
    before = end - _LOCATOR.size - _END_64.size
    stream.seek(max(before, 0))
    before_end = stream.read(_END_64.size + _LOCATOR.size)
    if before >= 0 and before_end[_END_64.size :].startswith(b"PK\x06\x07"):
        if _LOCATOR.unpack(before_end[_END_64.size :])[2] != before:
            raise zipfile.BadZipFile("its end is in two places")
        _, _, _, _, *said_64, size, place = _END_64.unpack(before_end[: _END_64.size])
        places = {place, *(places - {_IN_ZIP64})}
        counts = [said_64, [large if small == 0xFFFF else small for small, large in zip(said, said_64, strict=True)]]
    if signature != b"PK\x05\x06" or length != len(archive.comment) or places != {archive.start_dir}:
        raise zipfile.BadZipFile("its directory is not where it says, or something follows its end")
    stream.seek(archive.start_dir)
    if not _is_whole(stream.read(size)):
        raise zipfile.BadZipFile("its directory ends amid a member")
    members = len(archive.infolist())
    if any(one != [0, 0, members, members] for one in counts) or any(one.volume for one in archive.infolist()):
        raise zipfile.BadZipFile("it says of itself that it has other members, or lies on several disks")


def _is_whole(directory: bytes) -> bool:
    """Tells whether a directory ends where its last member does: Python takes what there is."""
    at = 0
    while at + _MEMBER.size <= len(directory):
        at += _MEMBER.size + sum(_MEMBER.unpack_from(directory, at))
    return at == len(directory)


@cache
def library() -> ModuleType:
    """Returns the fastest module with zlib's `decompressobj` and `crc32` that is installed."""
    for name in _LIBRARIES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return zlib


def read_member(path: Path, member: zipfile.ZipInfo, most: int) -> Iterator[bytes]:
    """Yields a member's bytes in pieces of `most` bytes at most, and checks their number and checksum at the end.

    Every call reads the file by itself, so that several threads may read several members.

    Raises:
        DamagedError: The file holds another member there, or other bytes than its directory says.
        OSError: It cannot be read.
    """
    pieces = _deflated if member.compress_type == zipfile.ZIP_DEFLATED else _stored
    crc, size, crc32 = 0, 0, library().crc32
    with path.open("rb", buffering=0) as stream:
        start = start_of(stream, member)
        for piece in pieces(stream, start, member.compress_size, most):
            crc, size = crc32(piece, crc), size + len(piece)
            if size > member.file_size:
                break
            yield piece
    if size != member.file_size:
        raise DamagedError(
            f"it has {'more' if size > member.file_size else 'fewer'} bytes than the zip's directory says"
        )
    if crc != member.CRC:
        raise DamagedError("its CRC-32 checksum is wrong")


def start_of(stream: BinaryIO, member: zipfile.ZipInfo) -> int:
    """Returns where a member's data start: after its own header, which has to be of the same name.

    Raises:
        DamagedError: There is no such header.
    """
    stream.seek(member.header_offset)
    head = stream.read(_LOCAL_HEADER.size)
    if len(head) < _LOCAL_HEADER.size or not head.startswith(b"PK\x03\x04"):
        raise DamagedError("there is no member where the zip's directory says")
    _, _, flags, method, *_, name_length, extra_length = _LOCAL_HEADER.unpack(head)
    name = stream.read(name_length)
    if name != member.orig_filename.encode("utf-8" if member.flag_bits & _UTF_8 else "cp437"):
        raise DamagedError("there is another member where the zip's directory says")
    if (flags ^ member.flag_bits) & STRANGE_FLAGS or method != member.compress_type:
        raise DamagedError("its own header and the zip's directory contradict each other")
    return int(member.header_offset) + _LOCAL_HEADER.size + int(name_length + extra_length)


def refuse_lies(path: Path, members: Iterable[zipfile.ZipInfo]) -> None:
    """Refuses members whose sizes cannot be, before memory is taken for them.

    Raises:
        CheckpointError: There are any, or what no checkpoint has.
    """
    size, packed = path.stat().st_size, 0
    for member in members:
        name = member.filename
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            problem = f"{name!r} is compressed by method {member.compress_type}, which no checkpoint's is"
            raise CheckpointError(path, problem, "only what is stored or deflated is read")
        if member.flag_bits & STRANGE_FLAGS:
            raise CheckpointError(path, f"{name!r} is encrypted, which no checkpoint is", "decrypt it first")
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            raise CheckpointError(path, f"{name!r} is no array but a link or a device", "nothing was read")
        if ".." in name.removesuffix(".npy").replace("\\", "/").split("/"):
            raise CheckpointError(path, f"{name!r} names a place outside of the file", "nothing was read")
        stored = member.compress_type == zipfile.ZIP_STORED
        packed += member.compress_size
        if stored and member.file_size != member.compress_size:
            raise CheckpointError(path, f"the sizes of {name!r} contradict each other", "look for another copy")
        if packed > size or member.file_size > MOST_INFLATION * member.compress_size:
            problem = f"{name!r} cannot have {member.file_size} bytes in a file of {size}"
            raise CheckpointError(path, problem, "the file is damaged; look for another copy")


def is_left_over(member: zipfile.ZipInfo) -> bool:
    """Tells whether a member is what a file manager adds to a zip: a folder by itself, or notes of its own."""
    name = member.filename
    is_folder = name.endswith("/") and not member.file_size
    return is_folder or name.endswith("/.DS_Store") or name == ".DS_Store" or name.startswith("__MACOSX/")


def place_of(path: Path, member: zipfile.ZipInfo) -> int:
    """Returns where in a file the bytes of a member are, which has to be stored as they are.

    Raises:
        DamagedError: It is not, or there is another member there.
    """
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        raise DamagedError("its sizes contradict each other")
    with path.open("rb", buffering=0) as stream:
        return start_of(stream, member)


def _stored(stream: BinaryIO, start: int, length: int, most: int) -> Iterator[bytes]:
    stream.seek(start)
    while length:
        piece = stream.read(min(most, length))
        if not piece:
            raise DamagedError("the file ends in it")
        length -= len(piece)
        yield piece


def _deflated(stream: BinaryIO, start: int, length: int, most: int) -> Iterator[bytes]:
    inflater = library().decompressobj(-zlib.MAX_WBITS)
    for packed in _stored(stream, start, length, min(most, _READ)):
        while packed and not inflater.eof:
            piece = inflater.decompress(packed, most)
            packed = inflater.unconsumed_tail
            if piece:
                yield piece
        if inflater.eof:
            return
    while not inflater.eof:
        piece = inflater.decompress(b"", most)
        if not piece:
            raise DamagedError("its compressed bytes are cut short")
        yield piece
