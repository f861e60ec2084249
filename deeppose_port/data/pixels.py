"""The pixels of a crop: cut out of a picture and resized, to the bit as the legacy dataset.py does, or warped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.data.arrays import Float32Array
from deeppose_port.data.crop import Crop, Letterbox, Points
from deeppose_port.data.pictures import (
    MAX_PIXELS,
    Picture,
    checked_picture,
    decode_picture,
    encoded_size,
    orientation_of,
)

#: `antialiased` is Pillow's, which only resizes; where a picture is turned too, or has been reduced, OpenCV does it.
_INTERPOLATION = {
    "linear": cv2.INTER_LINEAR,
    "nearest": cv2.INTER_NEAREST,
    "antialiased": cv2.INTER_LINEAR,
    "unrounded": cv2.INTER_LINEAR,
}

_Levels = TypeVar("_Levels", Picture, Float32Array)

#: By what JPEGs can be reduced while they are decoded.
_FACTORS: tuple[Literal[1, 2, 4, 8], ...] = (1, 2, 4, 8)

#: The most columns or rows of a picture that OpenCV warps.
LARGEST_WARP = 32766


def cut(image: Picture, crop: Crop, interpolation: str = "linear") -> Picture:
    """Cuts a crop out of a picture and resizes it.

    Args:
        image: (H, W, 3) uint8.
        crop: What to cut out; it lies within the picture.
        interpolation: `linear`, `nearest`, `antialiased` or `unrounded`.

    Returns:
        (im_size, im_size, 3) uint8; (im_size, im_width, 3) of a letterbox.
    """
    if isinstance(crop, Letterbox):
        return Window.whole(image).cut(crop, interpolation)
    checked_picture(image)
    fx, fy = crop.scale
    pixels = image[crop.y0 : crop.y1, crop.x0 : crop.x1]
    if interpolation == "antialiased":
        return _antialiased(pixels, crop.im_size)
    if interpolation == "unrounded":
        return np.asarray(cv2.resize(pixels.astype(np.float32), None, fx=fx, fy=fy), np.float32)
    return np.asarray(cv2.resize(pixels, None, fx=fx, fy=fy, interpolation=_INTERPOLATION[interpolation]), np.uint8)


def _antialiased(pixels: Picture, im_size: int) -> Picture:
    """Resizes as Pillow, and so torchvision, does: each pixel is a mean over all that it covers."""
    from PIL import Image

    square = Image.fromarray(np.ascontiguousarray(pixels)).resize((im_size, im_size), Image.Resampling.BILINEAR)
    return np.asarray(square, np.uint8)


def warp(
    image: _Levels,
    matrix: Points,
    width: int,
    height: int,
    interpolation: str = "linear",
    border: int = cv2.BORDER_CONSTANT,
) -> _Levels:
    """Does `cv2.warpAffine` with the part of a picture that it looks at.

    That part is copied first, row by row, which a rotated warp of the picture itself takes longer to read; and it may
    be of a picture that is larger than OpenCV warps.

    Args:
        image: (H, W, 3) uint8 or float32.
        matrix: (2, 3), from pixels of the picture to pixels of the result; it can be inverted.
        width: Columns of the result.
        height: Rows of the result.
        interpolation: `linear` or `nearest`.
        border: What is beyond the picture: OpenCV's BORDER_CONSTANT is black, BORDER_REPLICATE the pixels at the edges.

    Returns:
        (height, width, 3) of the same type.

    Raises:
        DeepPoseError: The part of the picture that is needed, or the result, is larger than OpenCV takes.
    """
    image, matrix = _needed(image, matrix, width, height)
    sides = *image.shape[:2], height, width
    if max(sides) > LARGEST_WARP:
        raise DeepPoseError(
            f"{max(sides):,} pixels on a side are more than the {LARGEST_WARP:,} that OpenCV can rotate, shift or "
            "magnify; make the picture smaller, or leave the augmentation out"
        )
    part = np.ascontiguousarray(image)
    warped = cv2.warpAffine(part, matrix, (width, height), flags=_INTERPOLATION[interpolation], borderMode=border)
    return np.asarray(warped, image.dtype)


def _needed(image: _Levels, matrix: Points, width: int, height: int) -> tuple[_Levels, Points]:
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


def decode_window(
    data: npt.NDArray[np.uint8], crops: Sequence[Crop], *, allow_truncated: bool = False, max_pixels: int = MAX_PIXELS
) -> Window:
    """Decodes a picture for some crops of it: a JPEG at a reduced size, if every crop has enough pixels then.

    Args:
        data: (N,), the bytes of its file.
        crops: What is to be cut out; none wants the whole size.
        allow_truncated: As for `read_picture`, as the next is.
        max_pixels: The most pixels that the picture may have.

    Returns:
        The whole picture, at its own size or a half, a quarter or an eighth of it.

    Raises:
        PictureError: As for `read_picture`.
    """
    least = min((1 / max(crop.scale) for crop in crops), default=1.0)  # pixels of the picture for one of the input
    fitting: list[Literal[1, 2, 4, 8]] = [factor for factor in _FACTORS if factor <= least]
    is_jpeg = data[:3].tobytes() == b"\xff\xd8\xff"
    factor = fitting[-1] if is_jpeg and fitting else 1
    picture = decode_picture(data, allow_truncated=allow_truncated, max_pixels=max_pixels, factor=factor)
    if factor == 1:
        return Window.whole(picture)
    # Blocks of the stored picture become pixels, from its upper left corner: those of its right and lower edges have
    # something from beyond them, which lies before the first column or row of a picture that is turned so.
    width, height = encoded_size(data)
    orientation = orientation_of(data)
    x0 = width - factor * picture.shape[1] if orientation in (2, 3, 6, 7) else 0
    y0 = height - factor * picture.shape[0] if orientation in (3, 4, 7, 8) else 0
    return Window(picture, x0, y0, (1 / factor, 1 / factor), width, height)


@dataclass(frozen=True, eq=False)
class Window:
    """The pixels of a picture, or of a rectangle of it, which may be reduced.

    Attributes:
        pixels: (h, w, 3) uint8, BGR.
        x0: Left edge of the rectangle in pixels of the picture; below 0 where pixels here have something from beyond.
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


def size_of(picture: Picture | Window) -> tuple[int, int]:
    """Returns the columns and rows of a picture."""
    return (picture.width, picture.height) if isinstance(picture, Window) else (picture.shape[1], picture.shape[0])


def whole_of(picture: Picture | Window) -> Picture:
    """Returns a picture of which all pixels are there.

    Raises:
        DeepPoseError: They are not.
    """
    if not isinstance(picture, Window):
        return picture
    if picture.is_reduced or picture.pixels.shape[:2] != (picture.height, picture.width):
        raise DeepPoseError("the whole picture is needed, and only a part of its pixels is here")
    return picture.pixels
