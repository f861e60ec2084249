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

#: `antialiased` is Pillow's, which only resizes; where a picture is turned too, or has been reduced, OpenCV does it.
_INTERPOLATION = {"linear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST, "antialiased": cv2.INTER_LINEAR}


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
        ValueError: As for `crop_of_joints`.
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
        ValueError: As for `crop_of_box`.
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
        interpolation: `linear`, `nearest` or `antialiased`.

    Returns:
        (im_size, im_size, 3) uint8; (im_size, im_width, 3) of a letterbox.
    """
    if isinstance(crop, Letterbox):
        return Window.whole(image).cut(crop, interpolation)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"the picture is {image.dtype} {image.shape}; it has to be uint8 (height, width, 3)")
    fx, fy = crop.scale
    pixels = image[crop.y0 : crop.y1, crop.x0 : crop.x1]
    if interpolation == "antialiased":
        return _antialiased(pixels, crop.im_size)
    return np.asarray(cv2.resize(pixels, None, fx=fx, fy=fy, interpolation=_INTERPOLATION[interpolation]), np.uint8)


def _antialiased(pixels: Picture, im_size: int) -> Picture:
    """Resizes as Pillow, and so torchvision, does: each pixel is a mean over all that it covers."""
    from PIL import Image

    square = Image.fromarray(np.ascontiguousarray(pixels)).resize((im_size, im_size), Image.Resampling.BILINEAR)
    return np.asarray(square, np.uint8)


#: The most columns or rows of a picture that OpenCV warps.
LARGEST_WARP = 32766


def warp(
    image: Picture,
    matrix: Points,
    width: int,
    height: int,
    interpolation: str = "linear",
    border: int = cv2.BORDER_CONSTANT,
) -> Picture:
    """Does `cv2.warpAffine` with the part of a picture that it looks at.

    That part is copied first, row by row, which a rotated warp of the picture itself takes longer to read; and it may
    be of a picture that is larger than OpenCV warps.

    Args:
        image: (H, W, 3) uint8.
        matrix: (2, 3), from pixels of the picture to pixels of the result; it can be inverted.
        width: Columns of the result.
        height: Rows of the result.
        interpolation: `linear` or `nearest`.
        border: What is beyond the picture: OpenCV's BORDER_CONSTANT is black, BORDER_REPLICATE the pixels at the edges.

    Returns:
        (height, width, 3) uint8.

    Raises:
        ValueError: The part of the picture that is needed, or the result, is larger than OpenCV takes.
    """
    image, matrix = _needed(image, matrix, width, height)
    sides = *image.shape[:2], height, width
    if max(sides) > LARGEST_WARP:
        raise ValueError(
            f"{max(sides):,} pixels on a side are more than the {LARGEST_WARP:,} that OpenCV can rotate, shift or "
            "magnify; make the picture smaller, or leave the augmentation out"
        )
    part = np.ascontiguousarray(image)
    warped = cv2.warpAffine(part, matrix, (width, height), flags=_INTERPOLATION[interpolation], borderMode=border)
    return np.asarray(warped, np.uint8)


def _needed(image: Picture, matrix: Points, width: int, height: int) -> tuple[Picture, Points]:
    """Returns the part of a picture that a warp looks at, a pixel at least, and the matrix from there."""
    (a, b, tx), (c, d, ty) = matrix.tolist()
    determinant = a * d - b * c
    corners = [(x - tx, y - ty) for x in (-1, width) for y in (-1, height)]
    columns = [(d * x - b * y) / determinant for x, y in corners]
    rows = [(a * y - c * x) / determinant for x, y in corners]

    def needed(positions: list[float], size: int) -> tuple[int, int]:
        low = min(max(math.floor(min(positions)) - 2, 0), size - 1)
        return low, max(min(math.ceil(max(positions)) + 3, size), low + 1)

    (y0, y1), (x0, x1) = needed(rows, image.shape[0]), needed(columns, image.shape[1])
    return image[y0:y1, x0:x1], np.array([[a, b, tx + a * x0 + b * y0], [c, d, ty + c * x0 + d * y0]])


@dataclass(frozen=True, eq=False)
class Window:
    """The pixels of a picture, or of a rectangle of it, which may be reduced.

    Attributes:
        pixels: (h, w, 3) uint8, BGR.
        x0: Left edge of the rectangle in pixels of the picture.
        y0: Upper edge.
        scale: Pixels here per pixel of the picture, for x and y; 1 where nothing was reduced.
        width: Columns of the whole picture.
        height: Rows of the whole picture.
    """

    pixels: Picture
    x0: int
    y0: int
    scale: tuple[float, float]
    width: int
    height: int

    @classmethod
    def whole(cls, picture: Picture) -> Window:
        """Returns a whole picture as a window."""
        return cls(picture, 0, 0, (1.0, 1.0), picture.shape[1], picture.shape[0])

    @property
    def is_reduced(self) -> bool:
        """Whether there are fewer pixels here than in the picture."""
        return self.scale != (1.0, 1.0)

    def cut(self, crop: Crop, interpolation: str = "linear") -> Picture:
        """Does what the function `cut` does with the whole picture: to the bit, if this is not reduced."""
        if isinstance(crop, Letterbox):
            return self.warp(crop.matrix, crop.im_size, interpolation, cv2.BORDER_CONSTANT, crop.im_width)
        if self.is_reduced:
            return self.warp(crop.matrix, crop.im_size, interpolation, cv2.BORDER_REPLICATE)
        x, y = self.x0, self.y0
        return cut(self.pixels, Crop(crop.x0 - x, crop.y0 - y, crop.x1 - x, crop.y1 - y, crop.im_size), interpolation)

    def warp(
        self, matrix: Points, im_size: int, interpolation: str, border: int, im_width: int | None = None
    ) -> Picture:
        """Does what the function `warp` does with the whole picture and a (2, 3) matrix from its pixels."""
        scale = np.array(self.scale)
        turn = matrix[:, :2]
        corner = matrix[:, 2] + turn @ (0.5 / scale - 0.5 + (self.x0, self.y0))
        matrix = np.column_stack([turn / scale, corner])
        return warp(self.pixels, matrix, im_width or im_size, im_size, interpolation, border)


def normalize(
    picture: Picture, preprocessing: Preprocessing, out: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """Makes the network's input of a picture that was cut out already, to the bit as the legacy program does.

    Args:
        picture: (H, W, 3) uint8, BGR.
        preprocessing: Its `colour` and `gcn` are applied, or `scale`, `mean` and `std`.
        out: (3, H, W) float32, C-contiguous: where to write it; None makes a new array.

    Returns:
        (3, H, W) float32; `out` if that is given.

    Raises:
        ValueError: `out` has another shape or type.
    """
    height, width, _ = picture.shape
    inputs = np.empty((3, height, width), np.float32) if out is None else _destination(out, (3, height, width))
    planes = cv2.split(picture)
    for i, plane in enumerate(planes if preprocessing.colour == "BGR" else planes[::-1]):
        table = _scaled(preprocessing, i) if preprocessing.gcn == "none" else _contrast(plane, preprocessing.gcn)
        cv2.LUT(plane, table, dst=inputs[i])
    return inputs


def _destination(out: npt.NDArray[np.float32], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Returns the array to write into. OpenCV would quietly make another one if it did not fit."""
    if out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise ValueError(f"out is {out.dtype} {out.shape}; it has to be float32 {shape}, and C-contiguous")
    return out


_LEVELS = np.arange(256.0)
_ROUNDING = 2.0**-53  # of one float64 operation, relative


def _scaled(preprocessing: Preprocessing, channel: int) -> npt.NDArray[np.float32]:
    """Returns what each of the 256 levels of a channel becomes without gcn, computed as torchvision's transforms do."""
    levels: npt.NDArray[np.float32] = _LEVELS.astype(np.float32) / np.float32(preprocessing.scale)
    levels -= np.float32(preprocessing.mean[channel])
    levels /= np.float32(preprocessing.std[channel])
    return levels


def _contrast(plane: npt.NDArray[Any], gcn: str) -> npt.NDArray[np.float32]:
    """Returns what global contrast normalisation makes of each of the 256 levels of a (H, W) plane.

    The sums here are whole numbers, so that the deviation is the exact one. The legacy program's differs from it by the
    rounding of its sums over the pixels: a sum of n positive numbers by less than n roundings, the root of it by half
    of that, and the levels by less than 1024 roundings of 1. Mostly both ends of this interval give the same float32
    for every level, which then are the legacy program's; else its own sums decide.
    """
    size = plane.size
    total, squares = round(cv2.sumElems(plane)[0]), round(cv2.norm(plane, cv2.NORM_L2SQR))
    levels = _LEVELS - total / size
    deviation = math.sqrt(size * squares - total * total) / size
    error = ((size + 16) * deviation + 1024) * _ROUNDING if deviation else 0.0
    low, high = _contrasted(levels, deviation - error, gcn), _contrasted(levels, deviation + error, gcn)
    return low if np.array_equal(low, high) else _contrasted(levels, _deviation(plane, levels), gcn)


def _contrasted(levels: Points, deviation: float, gcn: str) -> npt.NDArray[np.float32]:
    deviation += 1e-5
    return (levels / deviation if gcn == "divide" else levels - deviation).astype(np.float32)


def _deviation(plane: npt.NDArray[Any], levels: Points) -> float:
    """Returns the standard deviation of a plane whose 256 levels mean these values, to the last bit as legacy.

    The legacy program computes it of a float64 (H, W, 3) array with `std(axis=(0, 1))`. NumPy adds such an array up
    pixel by pixel, as cumsum does; the sum of a plane by itself, which goes by pairs, would differ in its last bits.
    """
    mean = np.cumsum(cv2.LUT(plane, levels))[-1] / plane.size
    variance = np.cumsum(cv2.LUT(plane, (levels - mean) ** 2))[-1] / plane.size
    return math.sqrt(variance)


def network_input(
    image: Picture, crop: Crop, preprocessing: Preprocessing, out: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """Makes the network's input of a crop of a picture.

    Args:
        image: (H, W, 3) uint8, BGR.
        crop: The part of it to look at.
        preprocessing: What the network was trained on.
        out: As for `normalize`.

    Returns:
        (3, im_size, im_size) float32.
    """
    return normalize(cut(image, crop, preprocessing.interpolation), preprocessing, out)


def labels(points: npt.ArrayLike, crop: Crop, preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """Makes the network's labels of joints.

    Args:
        points: (J, 2), pixels of the picture.
        crop: The part of the picture that the network sees.
        preprocessing: Its `coord_normalize`, `frame`, `axes` and `order` are applied.

    Returns:
        (2 * J,) float32: x0, y0, x1, y1, … (y first where `axes` is `yx`), about -0.5 .. 0.5 of the crop with
        `coord_normalize` (or what `frame` says), else pixels of the resized crop.
    """
    mapped = crop.to_crop(points)
    if preprocessing.coord_normalize:
        size, origin = _frame(crop.im_size, preprocessing)
        mapped = (mapped - origin) / size
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
    return crop.to_picture(square_points_of_outputs(outputs, crop.im_size, preprocessing))


def square_points_of_outputs(outputs: npt.ArrayLike, im_size: int, preprocessing: Preprocessing) -> Points:
    """Maps a network's outputs or its labels to pixels of its input, a square of side `im_size`.

    Args:
        outputs: (..., 2 * J).
        im_size: Side of the network's input.
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
        size, origin = _frame(im_size, preprocessing)
        points = points * size + origin
    return points


def _frame(im_size: int, preprocessing: Preprocessing) -> tuple[Points, Points]:
    """Returns what 1 and 0 are of normalised labels, for x and y, in pixels of an input that is `im_size` high."""
    size = np.array([preprocessing.im_width or im_size, im_size])
    match preprocessing.frame:
        case "unit":
            return size, np.zeros(2)
        case "symmetric":
            return size / 2, size / 2
    return size, size // 2


def interleaved(values: npt.NDArray[Any], preprocessing: Preprocessing) -> npt.NDArray[Any]:
    """Flattens (J, 2) values of x and y to (2 * J,) in the order of the network's outputs."""
    values = values[:, ::-1] if preprocessing.axes == "yx" else values
    return (values.T if preprocessing.order == "planar" else values).reshape(-1)
