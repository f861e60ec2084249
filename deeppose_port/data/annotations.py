"""The legacy CSV of annotated persons.

A line is one person, `file,x0,y0,x1,y1,…`, without a header: the picture's name, then the joints in pixels of
that picture, x to the right and y down. A coordinate that equals the ignore label (-1) was not annotated, by
itself: its neighbour may be. Several lines may name one picture.
"""

from __future__ import annotations

import csv
import math
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from converters.errors import DeepPoseError
from converters.files import refuse_no_file
from converters.values import dataclass
from deeppose_port.data.arrays import Float64Array, Mask
from deeppose_port.data.skeletons import SKELETONS

#: The coordinate that legacy CSVs write for "not annotated".
IGNORE_LABEL = -1.0

#: The largest coordinate, in either direction, that is taken for one: no picture that OpenCV reads has a longer side
#: (its CV_IO_MAX_IMAGE_WIDTH), and labels far beyond it are infinite in float32.
LARGEST = float(1 << 20)

#: The largest CSV that is read: COCO's 150,000 persons have 40 MB.
LARGEST_FILE = 1 << 28

_CONTROLS = ("Cc", "Cs", "Zl", "Zp")  # general categories
_TURNS = ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI")  # bidirectional classes

_NOBODY = "no person in it; a line is `file,x0,y0,x1,y1,...`"


class AnnotationError(DeepPoseError):
    """A CSV that cannot be used. The message names the file and the line and says what to do."""


@dataclass(frozen=True, eq=False)
class Person:
    """One line of a CSV.

    Attributes:
        file: The picture's name, as written.
        joints: (J, 2) float64, read-only: x and y in pixels of the picture; ignored coordinates as written.
        visible: (J,) bool, read-only: both coordinates are annotated.
        line: The line's number in the CSV, from 1.
        csv: The CSV.
    """

    file: str
    joints: Float64Array
    visible: Mask
    line: int
    csv: Path


def annotated(joints: Float64Array, ignore_label: float = IGNORE_LABEL) -> Mask:
    """Tells for each coordinate whether it counts: it is not the ignore label. The shape stays."""
    return np.asarray(joints != ignore_label, np.bool_)


def visible(joints: Float64Array, ignore_label: float = IGNORE_LABEL) -> Mask:
    """Tells for each joint of (..., J, 2) whether both its coordinates count, as (..., J) bool."""
    return np.asarray(annotated(joints, ignore_label).all(axis=-1), np.bool_)


def is_picture_name(name: str) -> bool:
    """Tells whether a picture may have this name: nothing in it ends a line, controls a terminal or turns text around.

    Other spaces and the joiners of emoji and of scripts are no such things: macOS has the former in its screenshots'.
    """
    return not any(unicodedata.category(c) in _CONTROLS or unicodedata.bidirectional(c) in _TURNS for c in name)


def read_csv(
    path: str | os.PathLike[str], joints: int | None = None, ignore_label: float = IGNORE_LABEL
) -> list[Person]:
    """Reads a legacy CSV.

    UTF-8 with or without byte-order marks, either kind of line end, blanks around values, trailing commas,
    empty lines and quoted names are understood. Joints outside the picture are read as they stand.

    Args:
        path: The CSV.
        joints: How many joints each person has; None takes it from the first person.
        ignore_label: The coordinate that means "not annotated".

    Returns:
        The persons in the order of their lines.

    Raises:
        AnnotationError: The file cannot be read, is empty, or a line has another number of joints, or
            something in place of a coordinate that is none: no number, not finite, or beyond any picture.
    """
    path = Path(path)
    refuse_no_file(path, AnnotationError, LARGEST_FILE)
    persons: list[Person] = []
    for line, (name, *coordinates) in _rows(path):
        where = f"{path}, line {line}"
        if not name:
            raise AnnotationError(f"{where}: the picture's name is empty; a line is `file,x0,y0,x1,y1,...`")
        if not is_picture_name(name):
            hint = _other_marks(name) or "; rename the picture"
            raise AnnotationError(f"{where}: the picture's name {name!r} holds control characters{hint}")
        points = _points(name, coordinates, joints, ignore_label, where)
        joints = len(points)
        counts = visible(points, ignore_label)
        points.flags.writeable = counts.flags.writeable = False
        persons.append(Person(name, points, counts, line, path))
    if not persons:
        raise AnnotationError(f"{path}: {_NOBODY}")
    return persons


def joints_in(path: str | os.PathLike[str]) -> int:
    """Returns how many joints the first person of a legacy CSV has.

    Raises:
        AnnotationError: The file cannot be read, or has nobody in it.
    """
    path = Path(path)
    refuse_no_file(path, AnnotationError, LARGEST_FILE)
    for line, (name, *coordinates) in _rows(path):
        return len(_points(name, coordinates, None, IGNORE_LABEL, f"{path}, line {line}"))
    raise AnnotationError(f"{path}: {_NOBODY}")


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields number and fields of each line that is not empty, without blanks and empty fields at its end."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            # Joined files have byte-order marks inside.
            reader = csv.reader((line.lstrip("\ufeff") for line in file), skipinitialspace=True, strict=True)
            try:
                for fields in reader:
                    fields = [field.strip() for field in fields]
                    while fields and not fields[-1]:
                        del fields[-1]
                    if fields:
                        yield reader.line_num, fields
            except csv.Error as error:
                raise AnnotationError(
                    f"{path}, line {reader.line_num}: {error}; look for a quotation mark that is not closed"
                ) from error
    except UnicodeDecodeError as error:
        where = f"{path}, line {_line_not_utf8(path)}"
        raise AnnotationError(f"{where}: not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read: {error.strerror}") from error


def _line_not_utf8(path: Path) -> int:
    """Finds the first line that is not UTF-8."""
    content = path.read_bytes()
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return content[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 1
    return 1


def _points(name: str, coordinates: list[str], joints: int | None, ignore_label: float, where: str) -> Float64Array:
    """Parses a line's coordinates as (J, 2) float64."""
    numbers = [_number(text, k, name, where) for k, text in enumerate(coordinates)]
    if not numbers:
        hint = _other_marks(name)
        raise AnnotationError(f"{where}: a picture's name and no joints{hint}; a line is `file,x0,y0,x1,y1,...`")
    for k, number in enumerate(numbers):
        if abs(number) > LARGEST and number != ignore_label:
            raise AnnotationError(
                f"{where}: {'xy'[k % 2]} of joint {k // 2} is {number:g}, which is beyond any picture; correct it, or "
                "write -1 for a coordinate to ignore"
            )
    found, rest = divmod(len(numbers), 2)
    if rest:
        raise AnnotationError(f"{where}: joint {found} has an x and no y; is the line cut short?")
    if joints not in (None, found):
        raise AnnotationError(f"{where}: {found} joints where {joints} are needed{_advice(found)}")
    return np.array(numbers).reshape(-1, 2)


def _number(text: str, position: int, name: str, where: str) -> float:
    """Parses the coordinate at a position from 0."""
    try:
        value = None if "_" in text else float(text)  # Python would read 1_5 as 15
    except ValueError:
        value = None
    if value is not None and math.isfinite(value):
        return value
    problem = f"{'xy'[position % 2]} of joint {position // 2} is {text!r}, which is not a finite number"
    hint = _other_marks(name + text)
    if not hint and position == 0 and "." in text:
        hint = '; a name with a comma stands in quotation marks, as in "a, b.jpg",1,2'
    if not hint and text and value is None and where.endswith(", line 1"):
        hint = "; legacy CSVs have no header line"
    raise AnnotationError(f"{where}: {problem}; write -1 for a coordinate to ignore{hint}")


def _other_marks(text: str) -> str:
    """Names what other programs put between values, if it is in a text that could not be read."""
    marks = {";": "semicolons", "\t": "tabs"}
    return next((f"; commas part values, not {name}" for mark, name in marks.items() if mark in text), "")


def _advice(joints: int) -> str:
    """Names the skeletons of so many joints."""
    fitting = [name for name, skeleton in SKELETONS.items() if len(skeleton.joints) == joints]
    if not fitting:
        return "; no skeleton has so many, is the line cut short?"
    return f"; the skeleton with {joints} is {' or '.join(fitting)}"
