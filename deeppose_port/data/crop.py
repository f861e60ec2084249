"""From a picture and a person to the network's input and labels, and from its outputs back to the picture.

Both backends, training, evaluation and prediction all go through here. The arithmetic is that of the legacy
dataset.py at its last commit, in float64 until the final float32 and in its order, so that the results are
the same bits. Points are x to the right, y down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from converters.checkpoint import Preprocessing

Picture = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]

_INTERPOLATION = {"linear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST}


@dataclass(frozen=True)
class Crop:
    """A rectangle of a picture that is resized to the network's square input, each axis by its own factor.

    Attributes:
        x0: Left edge in pixels of the picture.
        y0: Upper edge.
        x1: Right edge, one past the last column.
        y1: Lower edge, one past the last row.
        im_size: Side of the square, in pixels.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    im_size: int

    def __post_init__(self) -> None:
        if self.x0 >= self.x1 or self.y0 >= self.y1:
            raise ValueError(
                f"the crop from ({self.x0}, {self.y0}) to ({self.x1}, {self.y1}) holds no pixel: "
                "the box is too small or lies outside the picture"
            )

    @property
    def width(self) -> int:
        """Columns of the picture in the crop."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Rows of the picture in the crop."""
        return self.y1 - self.y0

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the square per pixel of the picture, for x and y."""
        return self.im_size / self.width, self.im_size / self.height

    def to_crop(self, points: npt.ArrayLike) -> Points:
        """Maps (..., 2) points of the picture to pixels of the square, as float64.

        The crop's centre cancels; it is there because the legacy program's rounding has it.
        """
        scale = np.array(self.scale)
        centre = np.array([self.width // 2, self.height // 2])
        points = np.asarray(points, np.float64) - (self.x0, self.y0)
        mapped: Points = (points - centre) * scale + centre * scale
        return mapped

    def to_picture(self, points: npt.ArrayLike) -> Points:
        """Maps (..., 2) pixels of the square to points of the picture, as float64: inverts `to_crop`."""
        mapped: Points = np.asarray(points, np.float64) / self.scale + (self.x0, self.y0)
        return mapped


def extent_of_joints(joints: npt.NDArray[Any], visible: npt.NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Returns the box of the joints that count as (centre x, centre y, width, height).

    Args:
        joints: (J, 2), pixels.
        visible: (J,), which of them count.

    Raises:
        ValueError: No joint counts.
    """
    if not visible.any():
        raise ValueError("no joint counts, so there is nothing to crop around")
    counting = joints[visible]
    low, high = counting.min(axis=0), counting.max(axis=0)
    (width, height), (x, y) = high - low, (low + high) / 2
    return float(x), float(y), float(width), float(height)


def crop_of_joints(
    joints: npt.NDArray[Any],
    visible: npt.NDArray[np.bool_],
    width: int,
    height: int,
    base_zoom: float = 1.5,
    im_size: int = 220,
) -> Crop:
    """Returns the crop around a person: the box of the joints, its sides times `base_zoom`, clipped.

    Args:
        joints: (J, 2), pixels of the picture.
        visible: (J,), which of them count.
        width: Columns of the picture.
        height: Rows of the picture.
        base_zoom: Factor on the box's sides.
        im_size: Side of the network's input.

    Raises:
        ValueError: No joint counts, or nothing of the picture is in the crop.
    """
    x, y, w, h = extent_of_joints(joints, visible)
    w, h = base_zoom * w / 2, base_zoom * h / 2
    return _clipped(x - w, y - h, x + w, y + h, width, height, im_size)


def crop_of_box(box: Sequence[float] | npt.NDArray[Any] | None, width: int, height: int, im_size: int = 220) -> Crop:
    """Returns the crop that is a given box, clipped to the picture.

    Args:
        box: x and y of the upper left corner, width and height, in pixels of the picture; None is the whole
            picture.
        width: Columns of the picture.
        height: Rows of the picture.
        im_size: Side of the network's input.

    Raises:
        ValueError: The box is not four finite numbers, or nothing of the picture is in it.
    """
    if box is None:
        return Crop(0, 0, width, height, im_size)
    if len(box) != 4 or not all(math.isfinite(side) for side in box):
        raise ValueError(f"the box {box} is not four finite numbers x, y, width, height")
    x, y, w, h = map(float, box)
    return _clipped(x, y, x + w, y + h, width, height, im_size)


def _clipped(x0: float, y0: float, x1: float, y1: float, width: int, height: int, im_size: int) -> Crop:
    """Clips to a picture, then drops the fractions: the legacy order."""

    def edge(value: float, size: int) -> int:
        return int(min(max(value, 0.0), size))

    try:
        return Crop(edge(x0, width), edge(y0, height), edge(x1, width), edge(y1, height), im_size)
    except ValueError:
        raise ValueError(
            f"nothing is left of the box from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}) in a picture of "
            f"{width} x {height} pixels: it is too small or lies outside"
        ) from None


def cut(image: Picture, crop: Crop, interpolation: str = "linear") -> Picture:
    """Cuts a crop out of a picture and resizes it.

    Args:
        image: (H, W, 3) uint8.
        crop: What to cut out; it lies within the picture.
        interpolation: `linear` or `nearest`.

    Returns:
        (im_size, im_size, 3) uint8.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"the picture is {image.dtype} {image.shape}; it has to be uint8 (height, width, 3)")
    fx, fy = crop.scale
    pixels = image[crop.y0 : crop.y1, crop.x0 : crop.x1]
    return np.asarray(cv2.resize(pixels, None, fx=fx, fy=fy, interpolation=_INTERPOLATION[interpolation]), np.uint8)


def normalize(picture: Picture, preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """Makes the network's input of a picture that was cut out already.

    Args:
        picture: (H, W, 3) uint8, BGR.
        preprocessing: Its `colour` and `gcn` are applied.

    Returns:
        (3, H, W) float32.
    """
    channels = (0, 1, 2) if preprocessing.colour == "BGR" else (2, 1, 0)
    inputs = np.empty((3, *picture.shape[:2]), np.float32)
    for channel, target in zip(channels, inputs, strict=True):
        plane = np.ascontiguousarray(picture[:, :, channel])
        target[...] = plane if preprocessing.gcn == "none" else cv2.LUT(plane, _contrast(plane, preprocessing.gcn))
    return inputs


def _contrast(plane: Picture, gcn: str) -> npt.NDArray[np.float32]:
    """Returns what global contrast normalisation makes of each of the 256 levels of a (H, W) plane."""
    levels = np.arange(256.0) - int(plane.sum(dtype=np.int64)) / plane.size
    deviation = _deviation(plane, levels) + 1e-5
    return (levels / deviation if gcn == "divide" else levels - deviation).astype(np.float32)


def _deviation(plane: Picture, levels: Points) -> float:
    """Returns the standard deviation of a plane whose 256 levels mean these values, to the last bit as legacy.

    The legacy program computes it of a float64 (H, W, 3) array with `std(axis=(0, 1))`. NumPy adds such an array up
    pixel by pixel, as cumsum does; the sum of a plane by itself, which goes by pairs, would differ in its last bits.
    """
    mean = np.cumsum(cv2.LUT(plane, levels))[-1] / plane.size
    variance = np.cumsum(cv2.LUT(plane, (levels - mean) ** 2))[-1] / plane.size
    return math.sqrt(variance)


def network_input(image: Picture, crop: Crop, preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """Makes the network's input of a crop of a picture.

    Args:
        image: (H, W, 3) uint8, BGR.
        crop: The part of it to look at.
        preprocessing: What the network was trained on.

    Returns:
        (3, im_size, im_size) float32.
    """
    return normalize(cut(image, crop, preprocessing.interpolation), preprocessing)


def labels(points: npt.ArrayLike, crop: Crop, preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """Makes the network's labels of joints.

    Args:
        points: (J, 2), pixels of the picture.
        crop: The part of the picture that the network sees.
        preprocessing: Its `coord_normalize` and `axes` are applied.

    Returns:
        (2 * J,) float32: x0, y0, x1, y1, … (y first where `axes` is `yx`), about -0.5 .. 0.5 of the crop with
        `coord_normalize`, else pixels of the resized crop.
    """
    mapped = crop.to_crop(points)
    if preprocessing.coord_normalize:
        mapped = (mapped - crop.im_size // 2) / crop.im_size
    return interleaved(mapped, preprocessing).astype(np.float32)


def points_of_outputs(outputs: npt.ArrayLike, crop: Crop, preprocessing: Preprocessing) -> Points:
    """Maps a network's outputs to the picture: the inverse of `labels`.

    Args:
        outputs: (..., 2 * J).
        crop: The part of the picture that the network saw.
        preprocessing: What the network was trained on.

    Returns:
        (..., J, 2) float64, x and y in pixels of the picture.
    """
    outputs = np.asarray(outputs, np.float64)
    points = outputs.reshape(*outputs.shape[:-1], -1, 2)
    if preprocessing.axes == "yx":
        points = points[..., ::-1]
    if preprocessing.coord_normalize:
        points = points * crop.im_size + crop.im_size // 2
    return crop.to_picture(points)


def interleaved(values: npt.NDArray[Any], preprocessing: Preprocessing) -> npt.NDArray[Any]:
    """Flattens (J, 2) values of x and y to (2 * J,) in the order of the network's outputs."""
    return (values[:, ::-1] if preprocessing.axes == "yx" else values).reshape(-1)
