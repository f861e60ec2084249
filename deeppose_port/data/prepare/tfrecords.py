"""The shards of the Keras course on MPII, `train_0001_of_0064.tfrecords` to `val_0008_of_0008.tfrecords`.

A shard is TensorFlow's framing of records: the length, its masked CRC-32C, the record, the record's. A record is a
`tf.train.Example` of one person: the whole picture as JPEG in `image/encoded` with `image/filename`, `image/width` and
`image/height`; the 16 joints in `image/object/parts/x`, `y` and `v` (0 where there is none); MPII's centre and scale in
`image/object/center/x`, `y` and `image/object/scale`. Neither TensorFlow nor its schemas are needed; one record is
in memory at a time.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import TypeAlias

import numpy as np

from converters.errors import DeepPoseError, reason_of
from converters.formats._leveldb import masked_crc32c
from converters.formats._protobuf import fields, signed, varint
from deeppose_port.data.arrays import Float64Array
from deeppose_port.data.prepare.source import Annotation, PrepareError, Row, Source, Wanted, find
from deeppose_port.data.prepare.splits import role_of

PATTERNS = ("*.tfrecords", "*.tfrecord")
PUBLISHED = "the annotations that the shards were made of"
JOINTS = 16
#: A record is a JPEG and some numbers: what is larger is none.
LARGEST_RECORD = 1 << 27
_LENGTH = struct.Struct("<QI")
_CRC = struct.Struct("<I")

#: A feature: texts, or numbers; None where a record has none of that name.
Feature: TypeAlias = list[bytes] | Float64Array


def records(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """Yields the records of a shard, one after the other.

    Raises:
        PrepareError: The file cannot be read, ends within a record, or a checksum is wrong; it names the record.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            left, number = os.fstat(file.fileno()).st_size, 0
            while left:
                number += 1
                where = f"{path}: record {number}"
                head = file.read(_LENGTH.size)
                if len(head) < _LENGTH.size:
                    raise PrepareError(f"{where}: the file ends within it; look for another copy")
                length, crc = _LENGTH.unpack(head)
                if masked_crc32c(head[:8]) != crc:
                    raise PrepareError(f"{where}: the checksum of its length is wrong; is it a TFRecord, and whole?")
                left -= _LENGTH.size + length + _CRC.size
                if length > LARGEST_RECORD:
                    raise PrepareError(f"{where}: it has {length:,} bytes, which no picture of a person has")
                if left < 0:
                    raise PrepareError(f"{where}: the file ends within it; look for another copy")
                content = file.read(length)
                if _CRC.pack(masked_crc32c(content)) != file.read(_CRC.size):
                    raise PrepareError(f"{where}: its checksum is wrong; look for another copy")
                yield content
    except OSError as error:
        raise PrepareError(f"{path}: cannot be read: {reason_of(error)}") from error


def example(record: bytes) -> dict[str, Feature]:
    """Returns the features of a `tf.train.Example` by name.

    Raises:
        DeepPoseError: It is none.
    """
    found: dict[str, Feature] = {}
    for features in _messages(record, 1):
        for entry in _messages(features, 1):
            (name,), values = _messages(entry, 1), _messages(entry, 2)
            if len(values) != 1:
                raise DeepPoseError(f"{name!r} has {len(values)} values")
            found[name.decode()] = _feature(values[0])
    return found


def read(source: Path, wanted: Wanted) -> Source:
    """Reads the shards of a folder, or one; their pictures go into `images` beside the CSVs.

    Raises:
        PrepareError: There is no shard, one is damaged, or a record has no joints or no picture.
    """
    shards = shards_of(source)
    made = Source(skeleton="mpii", splits={}, published=PUBLISHED, sizes={})
    for shard in shards:
        persons = made.splits.setdefault(_role(shard), [])
        before = len(persons)
        for number, record in enumerate(records(shard), 1):
            where = f"{shard}: record {number}"
            features = _features(record, where)
            person = _person(features, where)
            persons.append(person)
            assert made.sizes is not None
            made.sizes[person.file] = _size(features, where)
        made.rows.append(Row(f"persons in {shard.name}", len(persons) - before))
    made.extract = partial(_extract, shards)
    return made


def pictures(shards: Sequence[Path]) -> Iterator[tuple[str, str, bytes]]:
    """Yields the pictures of some shards, each once: where it is, its name, and its file's content.

    Raises:
        PrepareError: As for `read`.
    """
    seen: set[str] = set()
    for shard in shards:
        for number, record in enumerate(records(shard), 1):
            where = f"{shard}: record {number}"
            features = _features(record, where)
            name, content = _file(features, where), features["image/encoded"]
            if name not in seen and isinstance(content, list):
                seen.add(name)
                yield where, name, content[0]


def shards_of(source: Path) -> list[Path]:
    """Returns the shards of a folder, or a shard itself.

    Raises:
        PrepareError: There is none.
    """
    shards = sorted(find(source, PATTERNS))
    if not shards:
        raise PrepareError(f"{source}: there is no shard in it ({', '.join(PATTERNS)})")
    return shards


def _extract(shards: Sequence[Path], folder: Path) -> None:
    """Writes the pictures of some shards, each once."""
    for _, name, content in pictures(shards):
        (folder / name).write_bytes(content)


def _role(shard: Path) -> str:
    role = role_of(shard.stem)
    if role is None:
        raise PrepareError(
            f"{shard}: its name does not tell whether its persons train or test; begin it with train or val"
        )
    return role


def _features(record: bytes, where: str) -> dict[str, Feature]:
    try:
        return example(record)
    except ValueError as error:
        raise PrepareError(f"{where}: it is no tf.train.Example: {reason_of(error)}") from error


def _person(features: Mapping[str, Feature], where: str) -> Annotation:
    """Makes the annotation of one record."""
    x, y, seen = (_numbers(features, f"image/object/parts/{name}") for name in ("x", "y", "v"))
    if x is None or y is None:
        raise PrepareError(f"{where}: it has no joints (image/object/parts/x and y): these are no shards of poses")
    seen = np.ones_like(x) if seen is None else seen
    if not len(x) == len(y) == len(seen) == JOINTS:
        counts = f"{len(x)} x, {len(y)} y and {len(seen)} v"
        raise PrepareError(f"{where}: its joints are {counts}, where MPII has {JOINTS} of each")
    joints = np.where((seen > 0)[:, None] & np.isfinite(x + y)[:, None], np.column_stack([x, y]), np.nan)
    centre = [_number(features, f"image/object/center/{axis}") for axis in "xy"]
    scale = _number(features, "image/object/scale")
    return Annotation(
        _file(features, where),
        joints,
        scale=scale if scale is not None and scale > 0 else None,
        centre=None if centre[0] is None or centre[1] is None else (centre[0], centre[1]),
    )


def _file(features: Mapping[str, Feature], where: str) -> str:
    """Returns the name of a record's picture, without folders."""
    names, content = features.get("image/filename"), features.get("image/encoded")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(content, list) or len(content) != 1:
        raise PrepareError(f"{where}: it has no picture (image/filename and image/encoded)")
    name = PureWindowsPath(names[0].decode("utf-8", "replace")).name
    if not name:
        raise PrepareError(f"{where}: its picture has no name")
    return name


def _size(features: Mapping[str, Feature], where: str) -> tuple[int, int]:
    width, height = (_number(features, f"image/{side}") for side in ("width", "height"))
    if width is None or height is None or not 0 < width < 1 << 20 or not 0 < height < 1 << 20:
        raise PrepareError(f"{where}: it does not say how large its picture is (image/width and image/height)")
    return int(width), int(height)


def _numbers(features: Mapping[str, Feature], name: str) -> Float64Array | None:
    value = features.get(name)
    return value if isinstance(value, np.ndarray) and len(value) else None


def _number(features: Mapping[str, Feature], name: str) -> float | None:
    value = _numbers(features, name)
    return float(value[0]) if value is not None and len(value) == 1 and np.isfinite(value[0]) else None


def _messages(message: bytes, number: int) -> list[bytes]:
    """Returns the fields of one number, which are bytes."""
    found = [value for each, value in fields(message) if each == number]
    texts = [value for value in found if isinstance(value, bytes)]
    if len(texts) < len(found):
        raise DeepPoseError(f"field {number} in it is a number")
    return texts


def _feature(message: bytes) -> Feature:
    """Returns the values of a `tf.train.Feature`: its bytes, or its numbers, packed or one by one."""
    texts: list[bytes] = []
    numbers: list[float] = []
    for kind, value in fields(message):
        if not isinstance(value, bytes):
            raise DeepPoseError("a feature in it is a number")
        for _, item in fields(value):
            if kind == 1 and isinstance(item, bytes):
                texts.append(item)
            elif kind == 2:
                packed = item if isinstance(item, bytes) else _CRC.pack(item)
                if len(packed) % 4:
                    raise DeepPoseError("numbers in it are cut short")
                numbers += np.frombuffer(packed, "<f4").tolist()
            elif kind == 3:
                numbers += _whole(item) if isinstance(item, bytes) else [signed(item)]
            else:
                raise DeepPoseError(f"a feature in it is of the unknown kind {kind}")
    return texts if texts else np.array(numbers, np.float64)


def _whole(packed: bytes) -> list[float]:
    numbers: list[float] = []
    position = 0
    while position < len(packed):
        value, position = varint(packed, position)
        numbers.append(signed(value))
    return numbers
