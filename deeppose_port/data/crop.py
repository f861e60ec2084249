"""The two rectangles that a network may see of a picture, and how pixels come to lie in its input.

The arithmetic is that of the legacy dataset.py at its last commit, in float64 and in its order, so that the results are
the same bits. Points are x to the right, y down.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError
from converters.values import dataclass

Points = npt.NDArray[np.float64]

#: x and y of the upper left corner, width and height, in pixels of the picture.
Box = tuple[float, float, float, float]


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
