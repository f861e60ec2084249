"""Tables of LevelDB: sorted keys with their values, in blocks that each have a checksum.

The layout is that of LevelDB's `doc/table_format.md`: a footer names the index block, whose values name the data
blocks. TensorFlow writes the index of a checkpoint so.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from converters.formats._protobuf import varint

_MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
_FOOTER = 48  # two places of at most 20 bytes together with padding, and the magic number
_TRAILER = struct.Struct("<BI")  # of a block: how it is packed, and its checksum
_COUNT = struct.Struct("<I")
_PLAIN, _SNAPPY = 0, 1
#: Far more than a network needs: what has more is not one.
_LONGEST_KEY, _MOST_ENTRIES = 1024, 20_000


def is_table(content: bytes) -> bool:
    """Tells whether the end of a file is that of a table."""
    return len(content) >= _FOOTER and content.endswith(_MAGIC)


def masked_crc32c(content: bytes | npt.NDArray[np.generic]) -> int:
    """Returns the CRC-32C of some bytes, or of an array's, masked as LevelDB and TensorFlow store it.

    Example:
        >>> hex(masked_crc32c(b"123456789"))
        '0xc78ab0e5'
    """
    import google_crc32c

    crc = int(google_crc32c.value(content))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys of a table in their order, each with its value.

    Raises:
        ValueError: It is damaged or compressed.
    """
    if not is_table(table):
        raise ValueError("its end is not that of a table")
    footer = table[-_FOOTER:]
    _, after = _place(footer, 0)  # of a block that tells nothing here
    previous, count, end = None, 0, 0
    for _, written in _in_block(table, _place(footer, after)[0]):
        place, _ = _place(written, 0)
        if place[0] < end:
            raise ValueError("its blocks are not in their order")
        end = sum(place)
        for key, value in _in_block(table, place):
            count += 1
            if previous is not None and key <= previous:
                raise ValueError("its keys are not in their order")
            if count > _MOST_ENTRIES:
                raise ValueError(f"it has more than {_MOST_ENTRIES:,} entries")
            yield key, value
            previous = key


def _place(content: bytes, position: int) -> tuple[tuple[int, int], int]:
    """Reads where a block is: its offset and size, and the position after it."""
    offset, position = varint(content, position)
    size, position = varint(content, position)
    return (offset, size), position


def _in_block(table: bytes, place: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """Yields the entries of one block; a key is told by what it has in common with the key before it."""
    block = _block(table, place)
    if len(block) < _COUNT.size:
        raise ValueError("a block of it is too short")
    (restarts,) = _COUNT.unpack(block[-_COUNT.size :])
    end = len(block) - _COUNT.size * (1 + restarts)
    position, key = 0, b""
    while position < end:
        shared, position = varint(block, position)
        rest, position = varint(block, position)
        length, position = varint(block, position)
        if shared > len(key) or rest + length > end - position or shared + rest > _LONGEST_KEY:
            raise ValueError("an entry of it reaches out of its block")
        key = key[:shared] + block[position : position + rest]
        position += rest + length
        yield key, block[position - length : position]
    if position != end:
        raise ValueError("an entry of it reaches out of its block")


def _block(table: bytes, place: tuple[int, int]) -> bytes:
    offset, size = place
    if offset + size + _TRAILER.size > len(table) - _FOOTER:
        raise ValueError("a block of it lies beyond its end")
    content = table[offset : offset + size + 1]  # the checksum covers how it is packed, too
    packing, crc = _TRAILER.unpack_from(table, offset + size)
    if masked_crc32c(content) != crc:
        raise ValueError("a block of it does not have its checksum")
    if packing == _SNAPPY:
        raise ValueError("it is compressed by snappy, which TensorFlow's Saver does not do")
    if packing != _PLAIN:
        raise ValueError(f"a block of it is packed in the unknown way {packing}")
    return content[:size]
