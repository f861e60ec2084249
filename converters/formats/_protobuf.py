"""Protocol buffers without their schema: a message's fields by number, as far as its bytes hold them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TypeAlias

#: A field: a number (also of a fixed 32 or 64 bits, unsigned), or the bytes of a string, a message or a packed list.
Value: TypeAlias = int | bytes
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


def varint(content: bytes, position: int) -> tuple[int, int]:
    """Reads a number of seven bits a byte, the lowest first, as protocol buffers and LevelDB write them.

    Returns:
        The number, 0 .. 2**64 - 1, and the position after it.

    Raises:
        ValueError: It has no end.
    """
    value = 0
    for i, byte in enumerate(content[position : position + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            if value >> 64:
                break
            return value, position + i + 1
    raise ValueError("a number in it has no end")


def signed(value: int) -> int:
    """Returns what an `int64` means whose 64 bits are read as an unsigned number."""
    return value - (value >> 63 << 64)


def fields(message: bytes) -> Iterator[tuple[int, Value]]:
    """Yields the fields of a message in their order, each with its number.

    Raises:
        ValueError: It is none, or cut short.
    """
    position = 0
    while position < len(message):
        tag, position = varint(message, position)
        number, kind = tag >> 3, tag & 7
        value: Value
        if kind == _VARINT:
            value, position = varint(message, position)
        elif kind in (_FIXED32, _FIXED64):
            code = "<I" if kind == _FIXED32 else "<Q"
            end = position + struct.calcsize(code)
            if end > len(message):
                raise ValueError("a message in it is cut short")
            value, position = struct.unpack(code, message[position:end])[0], end
        elif kind == _BYTES:
            length, position = varint(message, position)
            if length > len(message) - position:
                raise ValueError("a message in it is cut short")
            value, position = message[position : position + length], position + length
        else:
            raise ValueError(f"a field in it is of the unknown kind {kind}")
        yield number, value
