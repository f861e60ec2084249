"""Files of boxes, as detectors and data sets write them.

    COCO detections     [{"image_id": 139, "category_id": 1, "bbox": [x, y, width, height], "score": 0.98}, …]
    COCO annotations    {"images": [{"id": 139, "file_name": …}], "annotations": [{"image_id": 139, "bbox": …}], …}
    YOLO                a text a picture, `class x y width height [score]` a line, the box's middle and size as
                        fractions of the picture; a folder of such texts, or one
    CSV                 `file,x,y,width,height[,score]` a line, with or without a first line of such names

Persons are COCO's category `person` (1 where the file does not name its categories) and YOLO's class 0; crowds are left
out. A picture is told by its path, by as much of the path's end as there is, or by the number in its name.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from converters.errors import DeepPoseError, reason_of
from converters.files import json_of, refuse_no_file
from deeppose_port.predict.people import MIN_SCORE, Found, Listed, spelled

#: COCO's own training annotations have 450 MB; what is larger than this is no file of boxes.
LARGEST = 1 << 29

_PERSON = 1
#: What labelling tools put beside YOLO's texts: the names of the classes.
_CLASSES = "classes.txt"


class BoxesError(DeepPoseError):
    """A file of boxes that cannot be used. The message names it, and the line or entry."""


def read_boxes(path: str | os.PathLike[str], min_score: float = MIN_SCORE) -> Listed:
    """Reads a file of boxes.

    Args:
        path: The file, or a folder of YOLO's texts.
        min_score: Boxes of a smaller score are left out.

    Raises:
        BoxesError: It is none. Boxes that lie outside of their pictures are found out with these.
    """
    path = Path(path)
    if path.is_dir():
        return Listed(path, _yolo(sorted(path.glob("*.txt")), path, min_score), fractions=True)
    refuse_no_file(path, BoxesError, LARGEST)
    match path.suffix.lower():
        case ".json":
            return Listed(path, _coco(path, min_score))
        case ".txt":
            return Listed(path, _yolo([path], path, min_score), fractions=True)
        case ".csv":
            return Listed(path, _csv(path, min_score))
    raise BoxesError("boxes are read from COCO's .json, YOLO's .txt or a .csv", where=path)


def _coco(path: Path, min_score: float) -> dict[str, list[Found]]:
    """Reads COCO's annotations or detections."""
    content = json_of(path, BoxesError, LARGEST)
    names: dict[object, str] = {}
    persons: list[object] = [_PERSON]
    entries = content
    if isinstance(content, Mapping):
        for image in _objects(content.get("images"), path, "images"):
            if not isinstance(image.get("file_name"), str) or not isinstance(image.get("id"), int | str):
                raise BoxesError("one of its `images` has no `id` or no `file_name`", where=path)
            names[image.get("id")] = spelled(str(image["file_name"]))
        if "categories" in content:
            categories = _objects(content["categories"], path, "categories")
            persons = [category.get("id") for category in categories if category.get("name") == "person"]
        entries = content.get("annotations")
    found: dict[str, list[Found]] = {name: [] for name in names.values()}
    for i, entry in enumerate(_objects(entries, path, "annotations"), 1):
        if entry.get("iscrowd") or ("category_id" in entry and entry["category_id"] not in persons):
            continue
        number = entry.get("image_id")
        if not isinstance(number, int | str) or (names and number not in names):
            raise BoxesError(f"box {i}: image_id {number!r} is none of its images", where=path)
        person = _found(entry.get("bbox"), entry.get("score"), f"box {i}", path)
        if person.score is None or person.score >= min_score:
            found.setdefault(names.get(number, spelled(str(number))), []).append(person)
    return found


def _objects(value: object, path: Path, what: str) -> Iterator[Mapping[str, object]]:
    """Yields the JSON objects of a list."""
    if not isinstance(value, list):
        raise BoxesError(f"no list of boxes, and no object with `{what}`, as COCO has them", where=path)
    for i, item in enumerate(value, 1):
        if not isinstance(item, Mapping):
            raise BoxesError(f"entry {i} of `{what}` is no object", where=path)
        yield item


def _yolo(files: Iterable[Path], path: Path, min_score: float) -> dict[str, list[Found]]:
    """Reads YOLO's texts, one a picture, by the pictures' stems."""
    found: dict[str, list[Found]] = {}
    for file in files:
        if file.name == _CLASSES and file != path:
            continue
        refuse_no_file(file, BoxesError, LARGEST)
        persons = found.setdefault(spelled(file.stem), [])
        for i, line in enumerate(_text(file).splitlines(), 1):
            fields = line.split()
            if not fields:
                continue
            if len(fields) not in (5, 6):
                raise BoxesError(f"line {i}: {len(fields)} fields, not class x y width height [score]", where=file)
            kind = _number(fields[0])
            if kind is None:
                raise BoxesError(f"line {i}: the class {fields[0]!r} is no number; a person's is 0", where=file)
            if kind != 0:
                continue
            middle = _found(fields[1:5], fields[5] if len(fields) == 6 else None, f"line {i}", file)
            assert middle.box is not None
            x, y, w, h = middle.box
            if middle.score is None or middle.score >= min_score:
                persons.append(Found((x - w / 2, y - h / 2, w, h), middle.score))
    if not found:
        raise BoxesError("there is no .txt in this folder", where=path)
    return found


def _csv(path: Path, min_score: float) -> dict[str, list[Found]]:
    """Reads a CSV of boxes."""
    found: dict[str, list[Found]] = {}
    reader = csv.reader(_text(path).splitlines(), skipinitialspace=True, strict=True)
    try:
        for fields in reader:
            fields = [field.strip() for field in fields]
            is_heading = reader.line_num == 1 and all(_number(field) is None for field in fields)
            if not any(fields) or is_heading:
                continue
            if len(fields) not in (5, 6):
                problem = f"line {reader.line_num}: {len(fields)} fields, not file,x,y,width,height[,score]"
                raise BoxesError(problem, where=path)
            where = f"line {reader.line_num}"
            person = _found(fields[1:5], fields[5] if len(fields) == 6 else None, where, path)
            persons = found.setdefault(spelled(fields[0]), [])
            if person.score is None or person.score >= min_score:
                persons.append(person)
    except csv.Error as error:
        raise BoxesError(f"line {reader.line_num}: {error}", where=path) from error
    if not found:
        raise BoxesError("no box in it; a line is `file,x,y,width,height`", where=path)
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BoxesError(f"not UTF-8 text ({error.reason})", where=path) from error
    except OSError as error:
        raise BoxesError(f"cannot be read: {reason_of(error)}", where=path) from error


def _found(box: object, score: object, where: str, path: Path) -> Found:
    """Makes a person of a box's four numbers and a score."""
    numbers = [_number(side) for side in box] if isinstance(box, list) else []
    if len(numbers) != 4 or None in numbers:
        raise BoxesError(f"{where}: {box!r} is not a box of four numbers", where=path)
    x, y, width, height = (math.nan if number is None else number for number in numbers)
    certain = None if score is None else _number(score)
    if score is not None and (certain is None or not math.isfinite(certain)):
        raise BoxesError(f"{where}: {score!r} is not a score", where=path)
    return Found((x, y, width, height), certain)


def _number(value: object) -> float | None:
    """Returns a number; NaN and infinity are some, and are refused with their picture."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
