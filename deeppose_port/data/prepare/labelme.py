"""LabelMe: a folder of JSON files, one a picture, with labelled points and the groups that they belong to.

https://github.com/wkentaro/labelme. A `point` is a joint by its label, and its `group_id` the person's; in pictures of
one person no group is needed. A flag `occluded` says that a joint is not seen.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from converters.files import json_of
from deeppose_port.data.prepare.labelled import (
    LeftOut,
    Point,
    is_number,
    joint_name,
    persons_of,
    picture_name,
    skeleton_of,
    source_of,
)
from deeppose_port.data.prepare.source import Annotation, PrepareError, Row, Source, Wanted

PUBLISHED = "your own labels; the pictures are those that were labelled"

#: The largest file of a picture, which may have that picture inside; it is not looked at.
LARGEST = 1 << 27


def read(source: Path, wanted: Wanted) -> Source:
    """Reads a folder with LabelMe's files, of any depth.

    The folders `train` and `val` or `test` are the split; otherwise a random tenth of the pictures tests.

    Args:
        source: The folder.
        wanted: The skeleton, whose joints the labels are, in any letters; its pictures' folder, by default the same.

    Raises:
        PrepareError: There is no such file in it, or nothing tells the joints' order.
    """
    if not source.is_dir():
        raise PrepareError(f"{source}: there is no such folder; LabelMe writes a JSON file beside each picture")
    left_out, shapes = LeftOut(), {}
    files = sorted(source.rglob("*.json"))
    for file in files:
        try:
            shapes[file] = _content(file)
        except PrepareError as error:
            left_out.add("a file that is none of LabelMe's", f"{file.relative_to(source)}: {error.problem}")
    if not shapes:
        raise PrepareError(f"{source}: no file of LabelMe's in it, JSON with `shapes` and `imagePath`")
    labels = {point.label for _, points in shapes.values() for point in points}
    skeleton = skeleton_of(labels, wanted.skeleton, source)
    folder = wanted.images or source
    persons: dict[str, list[Annotation]] = {}
    for file, (picture, points) in shapes.items():
        where = file.relative_to(source)
        name = picture_name(picture, PurePosixPath(where.parent.as_posix()), folder)
        persons[where.as_posix()] = persons_of(name, points, skeleton, left_out, str(where))
    absent = [joint for joint in skeleton.joints if joint_name(joint) not in {joint_name(label) for label in labels}]
    rows = [
        Row("LabelMe's files", len(shapes)),
        *([Row("joints without a label", len(absent), ", ".join(absent))] if absent else []),
    ]
    return source_of(persons, skeleton, left_out, rows, folder, PUBLISHED)


def _content(file: Path) -> tuple[str, list[Point]]:
    """Returns the picture's path and the points of a file.

    Raises:
        PrepareError: It is none of LabelMe's.
    """
    content = json_of(file, PrepareError, LARGEST)
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise PrepareError("it has no `shapes`")
    picture = content.get("imagePath")
    if not isinstance(picture, str) or not picture:
        raise PrepareError("it has no `imagePath`")
    return picture, [point for shape in content["shapes"] for point in _points(shape)]


def _points(shape: object) -> list[Point]:
    """Returns the point that a shape is; none for a shape of another kind, such as the box of a person."""
    if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
        raise PrepareError("a shape has no `label`")
    places = shape.get("points")
    if not isinstance(places, list):
        raise PrepareError(f"the shape {shape['label']!r} has no `points`")
    if shape.get("shape_type", "point" if len(places) == 1 else "") != "point":
        return []
    place = places[0] if len(places) == 1 else None
    if not isinstance(place, list) or len(place) != 2 or not all(map(is_number, place)):
        raise PrepareError(f"the point {shape['label']!r} is not two numbers")
    group, flags = shape.get("group_id"), shape.get("flags")
    occluded = isinstance(flags, dict) and flags.get("occluded")
    x, y = place
    seen = 0 if occluded else None
    return [Point(shape["label"], float(x), float(y), None if group is None else str(group), seen)]
