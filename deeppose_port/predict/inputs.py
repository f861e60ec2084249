"""What is predicted: pictures, the crop that a network sees of them, and what it answers."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from converters.errors import DeepPoseError
from deeppose_port.data import skeletons
from deeppose_port.data.crop import Crop, Points
from deeppose_port.data.pictures import Picture
from deeppose_port.data.skeletons import Skeleton
from deeppose_port.data.view import View
from deeppose_port.pose import Pose

Box = tuple[float, float, float, float]
Item = TypeVar("Item")

#: In a folder, files with these suffixes are taken for pictures.
PICTURE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})

_BATCH = 16


def parse_box(text: str) -> Box:
    """Reads `x,y,w,h`.

    Raises:
        DeepPoseError: It is not four numbers.
    """
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise DeepPoseError(f"the box {text!r} is not four numbers; write it as x,y,width,height") from None
    return x, y, width, height


def files_in(source: Path) -> list[Path]:
    """Returns the pictures of a folder by their suffixes, sorted; what is no folder is returned as it is.

    Raises:
        DeepPoseError: There is no picture in the folder.
    """
    if not source.is_dir():
        return [source]
    files = sorted(file for file in source.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file())
    if not files:
        raise DeepPoseError(f"{source}: there is no picture in this folder ({', '.join(sorted(PICTURE_SUFFIXES))})")
    return files


def joints_of(
    pose: Pose, skeleton: str | os.PathLike[str] | Skeleton | None
) -> tuple[Skeleton | None, tuple[str, ...]]:
    """Returns what a checkpoint's joints are, told by their names or number if need be, and their names.

    Raises:
        DeepPoseError: The skeleton has another number of joints.
    """
    if skeleton is None:
        named = skeletons.of_network(pose.joints, pose.preprocessing.joints)
        told = pose.preprocessing.joints or tuple(f"joint {i}" for i in range(pose.joints))
        return named, named.joints if named else told
    named = skeletons.get(skeleton)
    if len(named.joints) != pose.joints:
        path = pose.checkpoint.source.path
        raise DeepPoseError(f"{path} has {pose.joints} joints, but {named.name} has {len(named.joints)}")
    named.refuse_other_order(pose.preprocessing.joints, pose.checkpoint.source.path)
    return named, named.joints


def batches_of(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yields as many at a time as go through a network together."""
    remaining = iter(items)
    while batch := list(itertools.islice(remaining, _BATCH)):
        yield batch


def answers(
    pose: Pose, pictures: Iterable[tuple[Item, Picture]], box: Box | None
) -> Iterator[tuple[Item, Picture, tuple[Crop, Points] | DeepPoseError]]:
    """Yields every picture with its crop and joints, or with what is wrong with its box."""
    for batch in batches_of(pictures):
        views: list[View | DeepPoseError] = []
        inputs = []
        for _, image in batch:
            try:
                view = View.of_box(box, image.shape[1], image.shape[0], pose.preprocessing)
                inputs.append(view.input(image))
                views.append(view)
            except DeepPoseError as error:
                views.append(error)
        outputs = iter(pose(np.stack(inputs)) if inputs else ())
        for (item, image), seen in zip(batch, views, strict=True):
            yield item, image, (seen.crop, seen.points(next(outputs))) if isinstance(seen, View) else seen
