"""Members of a zip, read by offset and inflated by the fastest library that is installed."""

from __future__ import annotations

import importlib
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Drop-in replacements of `zlib`, the fastest first: of one thread, isal inflates weights twice as fast as zlib.
_LIBRARIES = ("isal.isal_zlib", "zlib_ng.zlib_ng", "zlib")
_READ = 1 << 17
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
#: Bits of a member's flags that no npz has: encrypted, patched, strongly encrypted, hidden.
STRANGE_FLAGS = 0x1 | 0x20 | 0x40 | 0x2000
_UTF_8 = 0x800


class DamagedError(ValueError):
    """A member that is not what the zip's directory says."""


def library() -> Any:
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
        start = _start(stream.fileno(), member)
        for piece in pieces(stream.fileno(), start, member.compress_size, most):
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


def _start(file: int, member: zipfile.ZipInfo) -> int:
    """Returns where a member's data start: after its own header, which has to be of the same name."""
    head = os.pread(file, _LOCAL_HEADER.size, member.header_offset)
    if len(head) < _LOCAL_HEADER.size or not head.startswith(b"PK\x03\x04"):
        raise DamagedError("there is no member where the zip's directory says")
    _, _, flags, method, *_, name_length, extra_length = _LOCAL_HEADER.unpack(head)
    name = os.pread(file, name_length, member.header_offset + _LOCAL_HEADER.size)
    if name != member.orig_filename.encode("utf-8" if member.flag_bits & _UTF_8 else "cp437"):
        raise DamagedError("there is another member where the zip's directory says")
    if (flags ^ member.flag_bits) & STRANGE_FLAGS or method != member.compress_type:
        raise DamagedError("its own header and the zip's directory contradict each other")
    return int(member.header_offset) + _LOCAL_HEADER.size + int(name_length + extra_length)


def place_of(file: int, member: zipfile.ZipInfo) -> int:
    """Returns where in a file the bytes of a member are, which has to be stored as they are.

    Raises:
        DamagedError: It is compressed, or there is another member there.
    """
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        raise DamagedError(f"its {member.filename!r} is compressed, as PyTorch writes none")
    return _start(file, member)


def _stored(file: int, start: int, length: int, most: int) -> Iterator[bytes]:
    end = start + length
    while start < end:
        piece = os.pread(file, min(most, end - start), start)
        if not piece:
            raise DamagedError("the file ends in it")
        start += len(piece)
        yield piece


def _deflated(file: int, start: int, length: int, most: int) -> Iterator[bytes]:
    inflater = library().decompressobj(-zlib.MAX_WBITS)
    for packed in _stored(file, start, length, min(most, _READ)):
        while packed and not inflater.eof:
            piece = inflater.decompress(packed, most)
            packed = inflater.unconsumed_tail
            if piece:
                yield piece
    while not inflater.eof:
        piece = inflater.decompress(b"", most)
        if not piece:
            raise DamagedError("its compressed bytes are cut short")
        yield piece
