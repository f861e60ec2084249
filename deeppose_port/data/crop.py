"""The part of a picture that a network sees: a crop around a person's joints, or a box.

Both backends, training, evaluation and prediction all go through here, through `pixels` and `normalization`, which make
the network's input of a crop, and through `coordinates`, which makes its labels. The arithmetic is that of the legacy
dataset.py at its last commit, in float64 until the final float32 and in its order, so that the results are the same
bits. Points are x to the right, y down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.checkpoint import Preprocessing
from converters.errors import DeepPoseError

Points = npt.NDArray[np.float64]


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
            raise DeepPoseError(
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

    @property
    def matrix(self) -> Points:
        """The (2, 3) matrix from pixels of the picture to those of the square, as `cv2.resize` takes their centres."""
        scale = np.array(self.scale)
        return np.column_stack([np.diag(scale), scale / 2 - 0.5 - scale * (self.x0, self.y0)])

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


@dataclass(frozen=True)
class Letterbox(Crop):
    """A box of a picture that keeps its shape in the network's input: it is widened to that of the input.

    What it has of the edges and corners of `Crop` is the part of it that lies in the picture; the rest is black.

    Attributes:
        x: Middle of the box in pixels of the picture.
        y: Likewise.
        side: What of the picture is as high as the input.
        im_width: Width of the input; `im_size` is its height.
        corners: Whether the outermost pixels' centres become the input's, as in the formula with size - 1; otherwise
            the box's edges do.
    """

    x: float
    y: float
    side: float
    im_width: int
    corners: bool

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the input per pixel of the picture: the same for x and y but for the corners' formula."""
        less = 1 if self.corners else 0
        return (self.im_width - less) / (self.side * self.im_width / self.im_size), (self.im_size - less) / self.side

    @property
    def matrix(self) -> Points:
        """The (2, 3) matrix from pixels of the picture to those of the input, as `cv2.warpAffine` takes it."""
        scale = np.array(self.scale)
        return np.column_stack([np.diag(scale), self._middle - scale * (self.x, self.y)])

    @property
    def _middle(self) -> Points:
        return (np.array([self.im_width, self.im_size]) - (1 if self.corners else 0)) / 2

    def to_crop(self, points: npt.ArrayLike) -> Points:
        """Maps (..., 2) points of the picture to pixels of the input, as float64."""
        mapped: Points = (np.asarray(points, np.float64) - (self.x, self.y)) * self.scale + self._middle
        return mapped

    def to_picture(self, points: npt.ArrayLike) -> Points:
        """Maps (..., 2) pixels of the input to points of the picture, as float64: inverts `to_crop`."""
        mapped: Points = (np.asarray(points, np.float64) - self._middle) / self.scale + (self.x, self.y)
        return mapped


def extent_of_joints(joints: npt.NDArray[Any], visible: npt.NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Returns the box of the joints that count as (centre x, centre y, width, height).

    Args:
        joints: (J, 2), pixels.
        visible: (J,), which of them count.

    Raises:
        DeepPoseError: No joint counts.
    """
    if not visible.any():
        raise DeepPoseError("no joint counts, so there is nothing to crop around")
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
        DeepPoseError: No joint counts, or nothing of the picture is in the crop.
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
        DeepPoseError: The box is not four finite numbers, or nothing of the picture is in it.
    """
    if box is None:
        return Crop(0, 0, width, height, im_size)
    if len(box) != 4 or not all(math.isfinite(side) for side in box):
        raise DeepPoseError(f"the box {box} is not four finite numbers x, y, width, height")
    x, y, w, h = map(float, box)
    return _clipped(x, y, x + w, y + h, width, height, im_size)


def crop_of_person(
    joints: npt.NDArray[Any], visible: npt.NDArray[np.bool_], width: int, height: int, preprocessing: Preprocessing
) -> Crop:
    """Returns the crop around a person that a network was trained on: what `part` of the preprocessing says.

    Args:
        joints: (J, 2), pixels of the picture.
        visible: (J,), which of them count.
        width: Columns of the picture.
        height: Rows of the picture.
        preprocessing: What the network was trained on.

    Raises:
        DeepPoseError: As for `crop_of_joints`.
    """
    im_size = preprocessing.im_size
    if preprocessing.part == "picture":
        return Crop(0, 0, width, height, im_size)
    if preprocessing.part == "joints":
        return crop_of_joints(joints, visible, width, height, preprocessing.base_zoom, im_size)
    x, y, w, h = extent_of_joints(joints, visible)
    if preprocessing.part == "window":
        x0, x1 = _window(x, width, im_size)
        y0, y1 = _window(y, height, im_size)
        return Crop(x0, y0, x1, y1, im_size)
    zoom = preprocessing.base_zoom
    return _letterbox(x, y, zoom * w, zoom * h, width, height, preprocessing)


def crop_of_region(
    box: Sequence[float] | npt.NDArray[Any] | None, width: int, height: int, preprocessing: Preprocessing
) -> Crop:
    """Returns the crop that is a given box, as a network takes it: see `crop_of_box`; a letterbox keeps its shape.

    Args:
        box: As for `crop_of_box`.
        width: Columns of the picture.
        height: Rows of the picture.
        preprocessing: What the network was trained on.

    Raises:
        DeepPoseError: As for `crop_of_box`.
    """
    crop = crop_of_box(box, width, height, preprocessing.im_size)
    if not preprocessing.part.startswith("letterbox"):
        return crop
    x, y, w, h = (0.0, 0.0, float(width), float(height)) if box is None else map(float, box)
    return _letterbox(x + w / 2, y + h / 2, w, h, width, height, preprocessing)


def _letterbox(
    x: float, y: float, w: float, h: float, width: int, height: int, preprocessing: Preprocessing
) -> Letterbox:
    """Returns a box around (x, y), widened to the shape of the input."""
    rows, columns = preprocessing.shape
    side = max(h, w * rows / columns)
    half = side * columns / rows / 2
    part = _clipped(x - half, y - side / 2, x + half, y + side / 2, width, height, rows)
    edges = (part.x0, part.y0, part.x1, part.y1)
    return Letterbox(*edges, rows, x, y, side, columns, corners=preprocessing.part == "letterbox-corners")


def _window(middle: float, size: int, length: int) -> tuple[int, int]:
    """Returns `length` pixels around the middle of the joints that lie in the picture; all of a smaller picture."""
    start = max(0, int(middle - length / 2))
    end = min(size, start + length)
    return max(0, end - length), end


def _clipped(x0: float, y0: float, x1: float, y1: float, width: int, height: int, im_size: int) -> Crop:
    """Clips to a picture, then drops the fractions: the legacy order."""

    def edge(value: float, size: int) -> int:
        return int(min(max(value, 0.0), size))

    try:
        return Crop(edge(x0, width), edge(y0, height), edge(x1, width), edge(y1, height), im_size)
    except DeepPoseError:
        raise DeepPoseError(
            f"nothing is left of the box from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}) in a picture of "
            f"{width} x {height} pixels: it is too small or lies outside"
        ) from None
