"""The index of a pack, see `pack`: what it was made from and with, and where each person's pixels are."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from converters.checkpoint import Part, Preprocessing
from converters.errors import DeepPoseError
from converters.files import json_of
from deeppose_port.data.augmentation import Augmentation
from deeppose_port.data.dataset import DatasetError
from deeppose_port.options import refuse_outside

FORMAT = "deeppose-port pack"
VERSION = 1
NAME = "pack.json"
#: The persons of a pack that was made of shards, with the file that belongs beside it.
PERSONS = "train_joints.csv"
#: Where a person's pixels may begin: a multiple of the page size of most machines.
ALIGNMENT = 4096
#: An index has about 500 bytes for a person: what is larger than this is none.
LARGEST = 1 << 28
#: What to do about a pack that cannot be used.
ADVICE = "delete the folder and run `deeppose-port pack` again"
#: The parts of a preprocessing that a pack may have the pixels of.
PARTS: tuple[Part, ...] = ("joints", "joints-margin")


class PackError(DatasetError):
    """A pack that is damaged, stale or made with other options. The message names what, and says what to do."""


@dataclass(frozen=True)
class PackOptions:
    """What a pack is made with.

    Attributes:
        skeleton: Its name.
        base_zoom: Factor on the box of a person's joints.
        min_dim: Persons whose box of joints is smaller were left out.
        ignore_label: The coordinate that means "not annotated".
        rotate_range: Rotations by 0 .. rotate_range - 1 degrees stay within the pixels packed.
        zoom_range: So do factors of 1 - zoom_range .. 1 + zoom_range.
        translate_range: So do shifts of -translate_range .. translate_range - 1 pixels.
        resolution: The most pixels along a side of a person's crop; 0 for no bound.
        close_ups: Diameters of the person that are kept on every side of each joint, for later stages of a cascade.
        part: The part of a preprocessing that the crops are: `joints`, or `joints-margin`, whose box has a margin in
            place of base_zoom.
        margin: Of the latter, the largest that trainings will use: the preprocessing's and what is drawn beside it.
    """

    skeleton: str
    base_zoom: float = 1.5
    min_dim: float = 0.0
    ignore_label: float = -1.0
    rotate_range: int = 10
    zoom_range: float = 0.2
    translate_range: int = 5
    resolution: int = 440
    close_ups: float = 0.0
    part: Part = "joints"
    margin: float = 0.0

    def __post_init__(self) -> None:
        # Which refuses ranges that are none.
        Augmentation(rotate_range=self.rotate_range, zoom_range=self.zoom_range, translate_range=self.translate_range)
        refuse_outside(self, lambda n: n >= 0, "it has to be at least 1, or 0 for no bound", "resolution")
        diameters, share = "it has to be a number of diameters, or 0 for none", "it is a share of a person's height"
        refuse_outside(self, lambda n: 0 <= n < math.inf, diameters, "close_ups")
        refuse_outside(self, lambda n: 0 <= n < math.inf, share, "margin")
        if self.part not in PARTS:
            raise DeepPoseError(f"a pack has what is around the joints, and not the part {self.part}")

    @property
    def preprocessing(self) -> Preprocessing:
        """What of a picture the largest crop shows, without augmentation but for the margin."""
        return Preprocessing(base_zoom=self.base_zoom, part=self.part, margin=self.margin)


@dataclass(frozen=True, slots=True)
class PackedPicture:
    """A picture that a pack was made from.

    Attributes:
        width: Its columns.
        height: Its rows.
        bytes: The size of its file.
        sha256: Of its file.
        stamp: When and where the file system has it: times of change in nanoseconds, and inode. If they and the size
            are still the same, the file was not read again. Empty of one that was in a shard.
    """

    width: int
    height: int
    bytes: int
    sha256: str
    stamp: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PackedPerson:
    """Where a pack has a person.

    Attributes:
        line: In the CSV.
        file: The picture, as the CSV names it.
        x0: Left edge of the rectangle, in pixels of the picture.
        y0: Upper edge.
        x1: Right edge, one past the last column.
        y1: Lower edge.
        width: Columns of the pixels packed.
        height: Rows of them.
        shard: Number of the file that holds them.
        offset: Where, in bytes.
        crc32: Of them.
    """

    line: int
    file: str
    x0: int
    y0: int
    x1: int
    y1: int
    width: int
    height: int
    shard: int
    offset: int
    crc32: int

    @property
    def size(self) -> int:
        """Bytes of pixels."""
        return 3 * self.width * self.height

    def holds(self, rectangle: tuple[int, int, int, int]) -> bool:
        """Tells whether its pixels have all of a rectangle of the picture: x0, y0, x1, y1."""
        x0, y0, x1, y1 = rectangle
        return self.x0 <= x0 and self.y0 <= y0 and x1 <= self.x1 and y1 <= self.y1

    @property
    def scale(self) -> tuple[float, float]:
        """Packed pixels per pixel of the picture, for x and y."""
        return self.width / (self.x1 - self.x0), self.height / (self.y1 - self.y0)


def shard_name(number: int) -> str:
    """Returns the name of a file of pixels."""
    return f"pack-{number:05}.bin"


def encode(header: Mapping[str, object], pictures: Mapping[str, PackedPicture], persons: list[PackedPerson]) -> bytes:
    """Returns the bytes of an index."""
    content = {
        **header,
        "pictures": {name: asdict(picture) for name, picture in pictures.items()},
        "persons": [asdict(person) for person in persons],
    }
    return json.dumps({"sha256": _digest(content), **content}).encode()


def read(folder: Path) -> dict[str, Any]:
    """Reads an index whose checksum is right."""
    path = folder / NAME
    if folder.exists() and not folder.is_dir():
        raise PackError(f"{folder}: a pack is a folder, and this is none")
    if not path.exists():
        raise PackError(
            f"{folder}: there is no whole pack here; `deeppose-port pack` makes it, or goes on where it was stopped"
        )
    content = json_of(path, PackError, LARGEST, ADVICE)
    if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (FORMAT, VERSION):
        raise PackError(f"{path}: not an index that this version writes; {ADVICE}")
    if content.pop("sha256", None) != _digest(content):
        raise PackError(f"{path}: damaged, its checksum is not its own; {ADVICE}")
    return content


def picture_of(values: Mapping[str, Any]) -> PackedPicture:
    """Makes a PackedPicture of its JSON values.

    Raises:
        TypeError, ValueError: They are none.
    """
    picture = PackedPicture(**{**values, "stamp": tuple(values["stamp"])})
    _refuse_others((picture.width, picture.height, picture.bytes), least=1)
    return picture


def person_of(values: Mapping[str, Any]) -> PackedPerson:
    """Makes a PackedPerson of its JSON values.

    Raises:
        TypeError, ValueError: They are none.
    """
    person = PackedPerson(**values)
    _refuse_others(tuple(value for name, value in asdict(person).items() if name != "file"), least=0)
    if not (person.x0 < person.x1 and person.y0 < person.y1 and person.size):
        raise DeepPoseError(f"line {person.line} has no pixels")
    return person


def _refuse_others(numbers: tuple[object, ...], least: int) -> None:
    if not all(type(number) is int and number >= least for number in numbers):
        raise DeepPoseError(f"{numbers} are not whole numbers of at least {least}")


def _digest(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
