"""The persons of a report: thumbnails, the poses that are drawn over them, and how far off these are."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np

from converters.processors import usable_processors
from converters.progress import ProgressCallback
from converters.values import dataclass
from deeppose_port.data import PoseDataset
from deeppose_port.data.arrays import Float64Array, Mask
from deeppose_port.data.crop import Points
from deeppose_port.data.skeletons import Skeleton, side
from deeppose_port.drawing.report.subjects import Subject
from deeppose_port.evaluate.differences import joint_distances
from deeppose_port.metrics.shown import error_of_person
from deeppose_port.text import finite, shown

GALLERY = 2000
"""Persons in the gallery at most, the worst: with more, the page would be too large for a browser."""
LAZY = 200
"""With more persons than this, pictures are coarse, and those out of sight are not drawn."""
SIDE = 160
"""Longest side of a thumbnail, in pixels of the page."""
QUALITY = 72
"""Of its JPEG: about 5 kB, so that 2,000 persons are a page of some 15 MB."""

_FAR = 10 * SIDE  # Pixels of the thumbnail. Farther points are drawn there: the directions of limbs stay.


class PosePaths(NamedTuple):
    """A pose as SVG paths: the left side and what is on neither, and the right side."""

    left: str
    right: str


@dataclass(frozen=True)
class Thumbnail:
    """A person's part of their picture, made small.

    Attributes:
        uri: A JPEG, as a `data:` URI.
        width: In pixels of the page.
        height: Likewise.
        poses: The poses that were asked for, in its pixels.
    """

    uri: str
    width: int
    height: int
    poses: tuple[PosePaths, ...]


@dataclass(frozen=True)
class Person:
    """A person of the gallery.

    Attributes:
        file: Their picture.
        line: Of the CSV.
        thumbnail: What is shown.
        poses: A style and SVG paths each.
        errors: A subject's style and label, and its mean error in pixels and in per cent of the person's box.
    """

    file: str
    line: int
    thumbnail: Thumbnail
    poses: list[tuple[str, PosePaths]]
    errors: list[tuple[str, str, str, str]]


def persons_of(subjects: Sequence[Subject], progress: ProgressCallback | None = None) -> tuple[list[int], list[Person]]:
    """Returns the persons of the gallery, the worst first, and what is shown of them."""
    first, last = subjects[0], subjects[-1]
    boxes = first.evaluation.box_sizes
    order = np.argsort(-_relative(last), kind="stable")[:GALLERY].tolist()
    everybody = np.ones_like(first.evaluation.visible)
    poses = [(subject.evaluation.predicted, everybody) for subject in subjects]
    poses.append((first.evaluation.true, first.evaluation.visible))
    styles = [*(subject.style for subject in subjects), "t"]
    persons = []
    density = 1 if len(order) > LAZY else 2
    for person, small in zip(order, thumbnails(first.dataset, order, poses, progress, density), strict=True):
        entry = first.dataset.person(person)
        persons.append(
            Person(
                file=shown(entry.file),
                line=entry.line,
                thumbnail=small,
                poses=list(zip(styles, small.poses, strict=True)),
                errors=[
                    (subject.style, subject.label, *error_of_person(subject.person_errors[person], boxes[person]))
                    for subject in subjects
                ],
            )
        )
    return order, persons


def _relative(subject: Subject) -> Float64Array:
    """Returns (N,) mean errors as parts of the persons' boxes; infinite without an answer."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(subject.person_errors / subject.evaluation.box_sizes, nan=np.inf)


def index_of(subjects: Sequence[Subject], order: Iterable[int]) -> dict[str, object]:
    """Returns what the page's script sorts and filters the gallery by."""
    dataset, boxes = subjects[0].dataset, subjects[0].evaluation.box_sizes
    moved = np.zeros(len(dataset))
    if len(subjects) > 1:
        moved = joint_distances(*(subject.evaluation.predicted for subject in subjects[:2])).max(axis=1)
    return {
        "joints": list(subjects[0].evaluation.skeleton.joints),
        "subjects": [subject.label for subject in subjects],
        "persons": [
            {
                "file": shown(dataset.person(i).file),
                "line": dataset.person(i).line,
                "box": finite(boxes[i], 1),
                # null: not annotated; -1: no finite answer.
                "moved": -1 if np.isinf(moved[i]) else round(float(moved[i]), 3),
                "errors": [
                    [None if np.isnan(e) else -1 if np.isinf(e) else round(e, 1) for e in subject.errors[i].tolist()]
                    for subject in subjects
                ],
            }
            for i in order
        ],
    }


def thumbnails(
    dataset: PoseDataset,
    persons: Sequence[int],
    poses: Sequence[tuple[Points, Mask]],
    progress: ProgressCallback | None = None,
    density: int = 1,
) -> Iterator[Thumbnail]:
    """Makes thumbnails in several threads, in the order of the persons that are asked for.

    Args:
        dataset: The persons.
        persons: Their indices.
        poses: For each pose to draw, (N, J, 2) points of the pictures, and (N, J) which of them to draw.
        progress: Called with the thumbnails made and all of them.
        density: Pixels of the JPEG in one of the page: 2 is sharp on dense screens and enlarged, at thrice the size.
    """

    def make(person: int) -> Thumbnail:
        return thumbnail(dataset, person, [(points[person], drawn[person]) for points, drawn in poses], density)

    # A picture's persons one after the other, so that it is decoded once.
    order = sorted(persons, key=lambda person: (dataset.person(person).file, person))
    made: dict[int, Thumbnail] = {}
    pool = ThreadPoolExecutor(usable_processors())
    try:
        for person, one in zip(order, pool.map(make, order), strict=True):
            made[person] = one
            if progress is not None:
                progress(len(made), len(persons))
    finally:
        pool.shutdown(cancel_futures=True)
    yield from (made[person] for person in persons)


def thumbnail(dataset: PoseDataset, person: int, poses: Sequence[tuple[Points, Mask]], density: int = 1) -> Thumbnail:
    """Makes a thumbnail of the part of the picture that the network sees, in the picture's own proportions."""
    crop = dataset.view(person).crop
    pixels = dataset.picture(person)[crop.y0 : crop.y1, crop.x0 : crop.x1]
    scale = SIDE / max(crop.width, crop.height)
    width, height = max(1, round(crop.width * scale)), max(1, round(crop.height * scale))
    smaller = cv2.INTER_AREA if density * scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(pixels, (density * width, density * height), interpolation=smaller)
    encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    factors = np.array([width / crop.width, height / crop.height])
    paths = tuple(paths_of((points - (crop.x0, crop.y0)) * factors, drawn, dataset.skeleton) for points, drawn in poses)
    return Thumbnail(f"data:image/jpeg;base64,{base64.b64encode(encoded).decode()}", width, height, paths)


def paths_of(points: Points, drawn: Mask, skeleton: Skeleton) -> PosePaths:
    """Returns a pose as SVG paths: a line for each limb, a dot for each joint without one.

    A limb is on the side of the joint where it ends, as in the drawings of `predict`.

    Args:
        points: (J, 2), in the path's own pixels; those that are not finite are left out.
        drawn: (J,), which of them to draw.
        skeleton: Their limbs.
    """
    there = drawn & np.isfinite(points).all(axis=1)
    places = [f"{_short(x)} {_short(y)}" for x, y in np.nan_to_num(points).clip(-_FAR, _FAR).tolist()]
    paths: dict[bool, list[str]] = {False: [], True: []}
    at: dict[bool, int] = {}
    alone = set(np.flatnonzero(there).tolist())
    for start, end in skeleton.limbs:
        if there[start] and there[end]:
            right = side(skeleton.joints[end]) == "right"
            paths[right].append(("" if start == at.get(right) else f"M{places[start]}") + f"L{places[end]}")
            alone -= {start, end}
            at[right] = end
    for joint in sorted(alone):
        paths[side(skeleton.joints[joint]) == "right"].append(f"M{places[joint]}h0")
    return PosePaths("".join(paths[False]), "".join(paths[True]))


def _short(value: float) -> str:
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text
