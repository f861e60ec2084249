"""A network in less than float32, and by how much that moves joints: measured, and refused above a bound."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.data.pictures import MAX_PIXELS, read_picture
from deeppose_port.data.view import View
from deeppose_port.pose import Pose
from deeppose_port.predict.people import People
from deeppose_port.text import counted

PRECISIONS = ("bf16", "int8")
#: Persons that it is calibrated and measured on, at most, and the pixels that their joints may move on average.
PERSONS, MAX_MOVED = 32, 2.0


@dataclass(frozen=True)
class Moved:
    """By how much a reduced precision moves joints.

    Attributes:
        precision: Which.
        persons: How many it was measured on.
        mean_px: The mean distance of joints from those of full precision, in pixels of the pictures.
        largest_px: The largest.
    """

    precision: str
    persons: int
    mean_px: float
    largest_px: float

    def __str__(self) -> str:
        number = counted(self.persons, "calibration person")
        return (
            f"{self.precision} moves joints by {self.mean_px:.2f} px, by {self.largest_px:.2f} px at most, on {number}"
        )


def reduced(
    pose: Pose,
    precision: str,
    pictures: Iterable[Path],
    people: People | None = None,
    *,
    max_moved: float = MAX_MOVED,
    max_pixels: int = MAX_PIXELS,
    allow_truncated: bool = False,
    pass_over: bool = False,
) -> tuple[Pose, Moved]:
    """Returns a pose in less than float32, and by how much that moves its joints.

    Args:
        pose: The pose in full precision.
        precision: One of `PRECISIONS`.
        pictures: What it is calibrated and measured on: the first persons of them.
        people: Who is in the pictures; None for the whole pictures.
        max_moved: The most that joints may move, in pixels of the pictures, on average.
        max_pixels: The most pixels that a picture may have.
        allow_truncated: As for `read_picture`.
        pass_over: Whether what cannot be read or cut out is passed over, as where it is refused later anyway.

    Raises:
        DeepPoseError: Joints move by more, there is no person, or this precision cannot be had here.
    """
    people = people or People()
    views: list[View] = []
    seen = []
    for path in pictures:
        if len(views) >= PERSONS:
            break
        try:
            image = read_picture(path, max_pixels=max_pixels, allow_truncated=allow_truncated)
            for person in itertools.islice(people.of(path, image), PERSONS - len(views)):
                view = View.of_box(person.box, image.shape[1], image.shape[0], pose.preprocessing)
                seen.append(view.input(image))
                views.append(view)
        except DeepPoseError:
            if not pass_over:
                raise
    if not views:
        raise DeepPoseError(f"--precision {precision} is calibrated on persons, and there is none: name --calibration")
    inputs = np.stack(seen)
    smaller = pose.reduced(precision, inputs)
    moved = [
        np.linalg.norm(view.points(one) - view.points(other), axis=1)
        for view, one, other in zip(views, pose(inputs), smaller(inputs), strict=True)
    ]
    found = Moved(precision, len(views), float(np.mean(moved)), float(np.max(moved)))
    if not found.mean_px <= max_moved:
        raise DeepPoseError(f"{found}: more than {max_moved:g} px, which --max-moved allows on average")
    return smaller, found
