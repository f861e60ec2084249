"""CVAT: an export as `CVAT for images 1.1`, an XML file with points and skeletons of all pictures.

https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat/. A person is a `skeleton` with a labelled point a joint;
or `points` as many as joints, in the skeleton's order; or single points whose labels are joints, by their `group_id`.
`occluded` says that a joint is not seen, `outside` that it is not there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path, PurePosixPath
from xml.parsers import expat

from converters.files import refuse_no_file
from converters.values import dataclass
from deeppose_port.data.prepare.labelled import LeftOut, Point, persons_of, picture_name, skeleton_of, source_of
from deeppose_port.data.prepare.source import (
    Annotation,
    PrepareError,
    Row,
    Source,
    Wanted,
    find,
    pictures_of,
    the_only,
)

FILE = "annotations.xml"
PUBLISHED = "your own labels; CVAT's export has the pictures where `Save images` is chosen"

#: The largest export that is read: 100,000 persons of 17 joints have 250 MB.
LARGEST = 1 << 29
_CHUNK = 1 << 20


@dataclass
class _Picture:
    """A picture's labels: points by themselves, and whole persons as `points`."""

    name: str
    points: list[Point] = field(default_factory=list)
    whole: list[tuple[str, list[tuple[float, float]]]] = field(default_factory=list)


def read(source: Path, wanted: Wanted) -> Source:
    """Reads an export of CVAT's.

    Pictures in the folders `train` and `val` or `test` are so split; otherwise a random tenth of them tests.

    Args:
        source: `annotations.xml`, or a folder with it.
        wanted: The skeleton, whose joints the labels are, in any letters; its pictures' folder, by default `images`
            beside the file, or the file's own.

    Raises:
        PrepareError: There is no such file, it is no export for images, or nothing tells the joints' order.
    """
    missing = f"no {FILE} in it: export the task as `CVAT for images 1.1`"
    path = the_only(find(source, [FILE]), source, missing)
    left_out = LeftOut()
    pictures = _Reader(path, left_out).pictures
    labels = {point.label for picture in pictures for point in picture.points}
    if not labels and wanted.skeleton is not None:
        labels = set(wanted.skeleton.joints)  # whole persons alone, whose points have no names
    skeleton = skeleton_of(labels, wanted.skeleton, path)
    folder = pictures_of(path, wanted) or path.parent
    persons: dict[str, list[Annotation]] = {}
    for picture in pictures:
        points = list(picture.points)
        for number, (label, places) in enumerate(picture.whole):
            if len(places) == len(skeleton.joints):
                group = f"{label}, points {number}"
                points += [Point(j, x, y, group) for j, (x, y) in zip(skeleton.joints, places, strict=True)]
            else:
                wrong = f"{picture.name}: {label}, {len(places)} points where {len(skeleton.joints)} are joints"
                left_out.add("points that are no person", wrong)
        name = picture_name(picture.name, PurePosixPath(), folder)
        persons.setdefault(picture.name, []).extend(persons_of(name, points, skeleton, left_out, picture.name))
    rows = [Row("pictures in the export", len(pictures))]
    return source_of(persons, skeleton, left_out, rows, folder, PUBLISHED)


class _Reader:
    """Reads an export piece by piece; a file with a document type is refused, and so no entity of its own expands."""

    def __init__(self, path: Path, left_out: LeftOut) -> None:
        self.path, self.pictures, self._left_out = path, list[_Picture](), left_out
        self._skeleton: str | None = None
        self._skeletons = 0
        refuse_no_file(path, PrepareError, LARGEST)
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        try:
            with path.open("rb") as file:
                while piece := file.read(_CHUNK):
                    parser.Parse(piece, False)
                parser.Parse(b"", True)
        except PrepareError:
            raise
        except (expat.ExpatError, ValueError, LookupError) as error:
            raise PrepareError(f"{path}: not XML text ({error}); export it again") from error
        if not self.pictures:
            raise PrepareError(f"{path}: no `image` in it; is it an export as `CVAT for images 1.1`?")

    def _refuse_doctype(self, *_: object) -> None:
        raise PrepareError(f"{self.path}: it has a document type, which CVAT's exports do not have; nothing was read")

    def _start(self, tag: str, told: Mapping[str, str]) -> None:
        if tag == "track":
            problem = "it is an export for videos, with tracks"
            raise PrepareError(f"{self.path}: {problem}; export the task as `CVAT for images 1.1`")
        if tag == "image":
            if not told.get("name"):
                raise PrepareError(f"{self.path}: an `image` has no name; export it again")
            self.pictures.append(_Picture(told["name"]))
        if not self.pictures or tag not in ("skeleton", "points"):
            return
        picture = self.pictures[-1]
        if tag == "skeleton":
            self._skeletons += 1
            self._skeleton = f"{told.get('label', '')}, skeleton {self._skeletons}"
            return
        if told.get("outside") == "1":
            return
        label = told.get("label", "")
        places = _places(told.get("points", ""))
        if places is None:
            self._left_out.add("a place that is no number", f"{picture.name}: {label} {told.get('points', '')[:40]}")
        elif len(places) == 1:
            ((x, y),) = places
            seen = {"0": 1, "1": 0}.get(told.get("occluded", ""))
            picture.points.append(Point(label, x, y, self._skeleton or told.get("group_id"), seen))
        else:
            picture.whole.append((label, places))

    def _end(self, tag: str) -> None:
        if tag == "skeleton":
            self._skeleton = None


def _places(text: str) -> list[tuple[float, float]] | None:
    """Reads `x,y;x,y`; None for anything else."""
    try:
        pairs = [tuple(map(float, pair.split(","))) for pair in text.split(";")]
    except ValueError:
        return None
    if not all(len(pair) == 2 and all(map(math.isfinite, pair)) for pair in pairs):
        return None
    return [(x, y) for x, y in pairs]
