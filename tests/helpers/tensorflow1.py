"""Checkpoints as TensorFlow 1's Saver writes them, or with one thing wrong: a writer of its own for the tests.

After LevelDB's `table_format.md` and TensorFlow's `tensor_bundle.proto`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

#: After `types.proto`.
DTYPES = {
    **{"float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int16": 5, "int8": 6, "int64": 9, "bool": 10},
    "float16": 19,
}
MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
Item = tuple[bytes, bytes]


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_REMAINDERS = [_remainder(byte) for byte in range(256)]


def crc32c(content: bytes) -> int:
    """Returns Castagnoli's CRC, byte by byte."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ _REMAINDERS[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def masked(content: bytes) -> int:
    crc = crc32c(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def varint(value: int) -> bytes:
    value %= 2**64
    groups = []
    while True:
        groups.append(value & 0x7F)
        value >>= 7
        if not value:
            return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def field(number: int, value: int | bytes) -> bytes:
    """Returns a protocol buffer's field, as a varint or as bytes."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def header(shards: int = 1, more: bytes = b"") -> Item:
    return b"", field(1, shards) + more + field(3, field(1, 1))


def entry(dtype: int, shape: Sequence[int], shard: int, offset: int, size: int, crc: int, more: bytes = b"") -> bytes:
    """Returns a BundleEntryProto; what is 0 is left out, as TensorFlow leaves it out."""
    axes = b"".join(field(2, field(1, length) if length else b"") for length in shape)
    numbers = b"".join(field(n, value) for n, value in ((3, shard), (4, offset), (5, size)) if value)
    return field(1, dtype) + field(2, axes) + numbers + more + varint(6 << 3 | 5) + struct.pack("<I", crc)


def variable(array: np.ndarray, shard: int = 0, offset: int = 0, **other: object) -> bytes:
    """Returns the entry of an array, with other values for what is named."""
    values = {"dtype": DTYPES[array.dtype.name], "shape": array.shape, "shard": shard, "offset": offset}
    values.update(size=array.nbytes, crc=masked(array.tobytes()))
    return entry(**{**values, **other})  # type: ignore[arg-type]


def block(items: Sequence[Item], every: int = 16) -> bytes:
    """Returns a block's content: keys without what they have in common with the key before, each `every`th whole."""
    content, restarts, last = b"", [], b""
    for i, (key, value) in enumerate(items):
        shared = 0
        if i % every == 0:
            restarts.append(len(content))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        content += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return content + struct.pack(f"<{len(restarts or [0]) + 1}I", *(restarts or [0]), len(restarts or [0]))


def packed(content: bytes, kind: int = 0, crc: int | None = None) -> bytes:
    """Returns a block as it stands in a file: its content, how it is packed, its checksum."""
    content += bytes([kind])
    return content + struct.pack("<I", masked(content) if crc is None else crc)


def place(offset: int, size: int) -> bytes:
    return varint(offset) + varint(size)


def table(blocks: Sequence[Sequence[Item]], **trailer: int) -> bytes:
    """Returns a table of blocks of sorted items; `trailer` is of its first block."""
    file, index = b"", []
    for i, items in enumerate(blocks):
        content = block(items)
        index.append((items[-1][0] + b"\xff" if items else b"\xff", place(len(file), len(content))))
        file += packed(content, **(trailer if i == 0 else {}))
    return closed(file, block(index, every=1))


def closed(file: bytes, index: bytes) -> bytes:
    """Returns a table from its data blocks and its index block's content."""
    meta = block([])
    footer = place(len(file), len(meta)) + place(len(file + packed(meta)), len(index))
    return file + packed(meta) + packed(index) + footer.ljust(40, b"\0") + MAGIC


def save(folder: Path, arrays: Mapping[str, np.ndarray], name: str = "checkpoint-1000", shards: int = 1) -> Path:
    """Writes a checkpoint, one array after the other into each data file in turn; returns its index."""
    folder.mkdir(parents=True, exist_ok=True)
    data, items = [b""] * shards, [header(shards)]
    for i, (key, array) in enumerate(sorted(arrays.items())):
        shard = i % shards
        items.append((key.encode(), variable(array, shard, len(data[shard]))))
        data[shard] += array.tobytes()
    for i, content in enumerate(data):
        (folder / f"{name}.data-{i:05d}-of-{shards:05d}").write_bytes(content)
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "out/{name}"\n')
    index = folder / f"{name}.index"
    index.write_bytes(table([items[: len(items) // 2], items[len(items) // 2 :]]))
    return index
