"""What a network sees of a person or a box, and what it answers: from the picture to the network and back.

Training, evaluation, prediction and every drawing go through `View`. The arithmetic is that of the legacy dataset.py at
its last commit, in float64 until the final float32 and in its order, so that inputs and labels are the same bits.
Points are x to the right, y down, in pixels of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from converters.checkpoint import Preprocessing
from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.data.arrays import Float32Array, Float64Array, Inputs, Mask
from deeppose_port.data.crop import Box, Crop, Letterbox, Points
from deeppose_port.data.normalization import levels, normalize
from deeppose_port.data.pictures import Picture
from deeppose_port.data.pixels import Window

_Number = TypeVar("_Number", bound=np.generic)

#: A box as a caller may have it.
AnyBox = Sequence[float] | Float64Array


@dataclass(frozen=True)
class View:
    """A rectangle of a picture as a network sees it.

    Attributes:
        crop: The rectangle.
        preprocessing: What the network was trained on.
    """

    crop: Crop
    preprocessing: Preprocessing

    @classmethod
    def of_person(
        cls,
        joints: Float64Array,
        visible: Mask,
        width: int,
        height: int,
        preprocessing: Preprocessing,
        scale: float | None = None,
        margin: float = 0.0,
    ) -> View:
        """Returns what a network was trained to see of a person: what `part` of the preprocessing says.

        Args:
            joints: (J, 2), pixels of the picture.
            visible: (J,), which of them count.
            width: Columns of the picture.
            height: Rows of the picture.
            preprocessing: What the network was trained on.
            scale: The person's height over 200 pixels, as MPII gives it, where it is known.
            margin: What a `joints-margin` has more than the preprocessing's.

        Raises:
            DeepPoseError: No joint counts, or nothing of the picture is in the crop.
        """
        im_size, zoom = preprocessing.im_size, preprocessing.base_zoom
        if preprocessing.part == "picture":
            return cls(Crop(0, 0, width, height, im_size), preprocessing)
        x, y, w, h = extent_of_joints(np.trunc(joints) if preprocessing.truncate else joints, visible)
        match preprocessing.part:
            case "joints":
                w, h = zoom * w / 2, zoom * h / 2
                crop = _clipped(x - w, y - h, x + w, y + h, width, height, im_size)
            case "joints-whole":
                x0, x1 = _touched(x - zoom * w / 2, zoom * w)
                y0, y1 = _touched(y - zoom * h / 2, zoom * h)
                crop = _clipped(x0, y0, x1, y1, width, height, im_size)
            case "joints-margin":
                margin = max(0.0, preprocessing.margin + margin)
                grown = int((max(w, h) if scale is None else 200 * scale) * margin)
                w, h = w / 2 + grown, h / 2 + grown
                crop = _clipped(x - w, y - h, x + w, y + h, width, height, im_size)
            case "window":
                x0, x1 = _window(x, width, im_size)
                y0, y1 = _window(y, height, im_size)
                crop = Crop(x0, y0, x1, y1, im_size)
            case _:
                crop = _letterbox(x, y, zoom * w, zoom * h, width, height, preprocessing)
        return cls(crop, preprocessing)

    @classmethod
    def of_box(cls, box: AnyBox | None, width: int, height: int, preprocessing: Preprocessing) -> View:
        """Returns what a network sees of a box: the box itself, clipped to the picture; a letterbox keeps its shape.

        Args:
            box: x and y of the upper left corner, width and height, in pixels of the picture; None is the whole
                picture.
            width: Columns of the picture.
            height: Rows of the picture.
            preprocessing: What the network was trained on.

        Raises:
            DeepPoseError: The box is not four finite numbers, or nothing of the picture is in it.
        """
        x, y, w, h = (0.0, 0.0, float(width), float(height)) if box is None else _checked(box)
        crop = _clipped(x, y, x + w, y + h, width, height, preprocessing.im_size)
        if preprocessing.part.startswith("letterbox"):
            crop = _letterbox(x + w / 2, y + h / 2, w, h, width, height, preprocessing)
        return cls(crop, preprocessing)

    def pixels(self, picture: Picture | Window) -> Picture:
        """Cuts the rectangle out of its picture and resizes it.

        Args:
            picture: (H, W, 3) uint8, BGR; or a Window of it.

        Returns:
            (height, width, 3) uint8 of the network's input.

        Raises:
            DeepPoseError: The picture has another shape or type.
        """
        window = picture if isinstance(picture, Window) else Window.whole(picture)
        return window.cut(self.crop, self.preprocessing.interpolation)

    def input(self, picture: Picture | Window, out: Float32Array | None = None) -> Float32Array:
        """Makes the network's input.

        Args:
            picture: As for `pixels`.
            out: (3, height, width) float32, C-contiguous: where to write it; None makes a new array.

        Returns:
            (3, height, width) float32; `out` if that is given.

        Raises:
            DeepPoseError: The picture or `out` has another shape or type.
        """
        return normalize(self.pixels(picture), self.preprocessing, out)

    def levels(self, picture: Picture | Window) -> Inputs:
        """Makes the network's input as far as its levels, see `normalization.levels`; errors are those of `input`."""
        return levels(self.pixels(picture), self.preprocessing)

    def labels(self, points: npt.ArrayLike) -> Float32Array:
        """Makes the network's labels of joints.

        Args:
            points: (J, 2), pixels of the picture.

        Returns:
            (2 * J,) float32: x0, y0, x1, y1, … or what `axes` and `order` of the preprocessing say; about -0.5 .. 0.5
            of the crop with `coord_normalize` (or what `frame` says), else pixels of the input.
        """
        if self.preprocessing.truncate:
            points = np.trunc(points)
        if self.preprocessing.whole_pixels:  # without the centre of `to_crop`, whose rounding may pass a pixel's edge
            points = (np.asarray(points, np.float64) - (self.crop.x0, self.crop.y0)) * self.crop.scale
            return input_labels(points, self.preprocessing)
        return input_labels(self.crop.to_crop(points), self.preprocessing)

    def points(self, outputs: npt.ArrayLike) -> Points:
        """Maps a network's outputs to the picture: the inverse of `labels`, within the crop where `clip` says so.

        Args:
            outputs: (..., 2 * J).

        Returns:
            (..., J, 2) float64, x and y in pixels of the picture.
        """
        return self.crop.to_picture(input_points(outputs, self.preprocessing))


def input_labels(points: Points, preprocessing: Preprocessing) -> Float32Array:
    """Makes a network's labels of (J, 2) pixels of its input, see `View.labels`."""
    if preprocessing.whole_pixels:
        points = np.trunc(np.clip(points, 0, np.array(preprocessing.shape[::-1]) - 1))
    if preprocessing.coord_normalize:
        size, origin = _frame(preprocessing)
        points = (points - origin) / size
    return flattened(points, preprocessing).astype(np.float32)


def input_points(outputs: npt.ArrayLike, preprocessing: Preprocessing) -> Points:
    """Maps a network's outputs or its labels to pixels of its input, within it where `clip` says so.

    Args:
        outputs: (..., 2 * J).
        preprocessing: What the network was trained on.

    Returns:
        (..., J, 2) float64, x and y.
    """
    outputs = np.asarray(outputs, np.float64)
    if preprocessing.order == "planar":
        points = np.swapaxes(outputs.reshape(*outputs.shape[:-1], 2, -1), -1, -2)
    else:
        points = outputs.reshape(*outputs.shape[:-1], -1, 2)
    if preprocessing.axes == "yx":
        points = points[..., ::-1]
    if preprocessing.coord_normalize:
        size, origin = _frame(preprocessing)
        points = points * size + origin
    return np.clip(points, 0, preprocessing.shape[::-1]) if preprocessing.clip else points


def flattened(values: npt.NDArray[_Number], preprocessing: Preprocessing) -> npt.NDArray[_Number]:
    """Flattens (J, 2) values of x and y to (2 * J,) in the order of the network's outputs."""
    values = values[:, ::-1] if preprocessing.axes == "yx" else values
    return (values.T if preprocessing.order == "planar" else values).reshape(-1)


def extent_of_joints(joints: Float64Array, visible: Mask) -> tuple[float, float, float, float]:
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


def _frame(preprocessing: Preprocessing) -> tuple[Points, Points]:
    """Returns what 1 and 0 are of normalised labels, for x and y, in pixels of the input."""
    size = np.array(preprocessing.shape[::-1])
    match preprocessing.frame:
        case "unit":
            return size, np.zeros(2)
        case "middle":
            return size, size / 2
        case "symmetric":
            return size / 2, size / 2
    return size, size // 2


def _checked(box: AnyBox) -> Box:
    """Returns a box's four numbers."""
    if len(box) != 4 or not all(math.isfinite(side) for side in box):
        raise DeepPoseError(f"the box {box} is not four finite numbers x, y, width, height")
    x, y, width, height = map(float, box)
    return x, y, width, height


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


def _touched(start: float, size: float) -> tuple[int, int]:
    """Returns the first pixel that a stretch touches, and the one after the last, as asanakoy/deeppose_tf counts."""
    first = int(start)
    return first, first + math.ceil(size + (start - first))


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
