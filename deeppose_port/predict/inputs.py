"""What is predicted: pictures, the crop that a network sees of them, and what it answers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError
from deeppose_port.data import skeletons
from deeppose_port.data.coordinates import points_of_outputs
from deeppose_port.data.crop import Crop, crop_of_region
from deeppose_port.data.normalization import network_input
from deeppose_port.data.skeletons import Skeleton
from deeppose_port.pose import Pose
from deeppose_port.predict.results import Points

Box = tuple[float, float, float, float]
Picture = npt.NDArray[np.uint8]
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


def read_picture(path: Path) -> Picture:
    """Reads a picture: (H, W, 3) uint8, BGR.

    Raises:
        DeepPoseError: It is not there, or cannot be decoded.
    """
    if not path.is_file():
        raise DeepPoseError(f"{path}: there is no such picture")
    try:
        image = cv2.imread(str(path))
    except cv2.error as error:
        raise DeepPoseError(f"{path}: cannot be decoded: {error.err}") from error
    if image is None:
        raise DeepPoseError(f"{path}: cannot be decoded; is it a whole picture?")
    return image.astype(np.uint8, copy=False)


def joints_of(pose: Pose, skeleton: str | Skeleton | None) -> tuple[Skeleton | None, tuple[str, ...]]:
    """Returns what a checkpoint's joints are, told by their number if need be, and their names.

    Raises:
        DeepPoseError: The skeleton has another number of joints.
    """
    if skeleton is None:
        named = skeletons.with_joints(pose.joints)
        told = pose.preprocessing.joints or tuple(f"joint {i}" for i in range(pose.joints))
        return named, named.joints if named else told
    named = skeletons.get(skeleton) if isinstance(skeleton, str) else skeleton
    if len(named.joints) != pose.joints:
        path = pose.checkpoint.source.path
        raise DeepPoseError(f"{path} has {pose.joints} joints, but {named.name} has {len(named.joints)}")
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
    told = pose.preprocessing
    for batch in batches_of(pictures):
        crops: list[Crop | DeepPoseError] = []
        for _, image in batch:
            try:
                crops.append(crop_of_region(box, image.shape[1], image.shape[0], told))
            except DeepPoseError as error:
                crops.append(error)
        inputs = [
            network_input(image, crop, told)
            for (_, image), crop in zip(batch, crops, strict=True)
            if isinstance(crop, Crop)
        ]
        outputs = iter(pose(np.stack(inputs)) if inputs else ())
        for (item, image), crop in zip(batch, crops, strict=True):
            if isinstance(crop, Crop):
                yield item, image, (crop, points_of_outputs(next(outputs), crop, told))
            else:
                yield item, image, crop
