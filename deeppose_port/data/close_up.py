"""Rectangles of a picture that one affine warp takes to a network's input, black outside: what a cascade looks at.

A rectangle's corners go to the input's: left top to (0, 0), right top to (width, 0), left bottom to (0, height). Points
are x to the right, y down, in pixels of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from converters.cascade import CloseUp, FaceCrop
from converters.checkpoint import Preprocessing
from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.data.arrays import Float32Array, Float64Array, Inputs
from deeppose_port.data.crop import Crop, Points
from deeppose_port.data.normalization import levels, normalize
from deeppose_port.data.pictures import Picture
from deeppose_port.data.pixels import Window, warp, whole_of
from deeppose_port.data.view import View


class CloseUpError(DeepPoseError):
    """A close-up that cannot be cut. The message says why."""


@dataclass(frozen=True)
class Rectangle:
    """A rectangle of a picture, which may lie partly or wholly outside of it.

    Attributes:
        x: Its middle.
        y: Likewise.
        width: Its size, positive.
        height: Likewise.
    """

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        if not (np.isfinite([self.x, self.y]).all() and 0 < self.width < np.inf and 0 < self.height < np.inf):
            raise CloseUpError(
                f"a rectangle of {self.width:g} x {self.height:g} pixels around ({self.x:g}, {self.y:g}) holds nothing"
            )

    def matrix(self, columns: int, rows: int) -> Float64Array:
        """Returns the (2, 3) matrix from pixels of the picture to those of an input, as OpenCV solves for it.

        The corners are float32, as in takiyu/DeepPose.
        """
        left, top = self.x - self.width / 2, self.y - self.height / 2
        right, bottom = self.x + self.width / 2, self.y + self.height / 2
        corners = np.array([(left, top), (right, top), (left, bottom)], np.float32)
        return np.asarray(
            cv2.getAffineTransform(corners, np.array([(0, 0), (columns, 0), (0, rows)], np.float32)), np.float64
        )


#: What is said where persons of a cascade that sees faces come with the boxes of their joints.
NOT_BY_FACES = "persons are cut out by the box of their joints, not by their faces as in training"


def rectangle_of_face(face: Sequence[float], rule: FaceCrop) -> Rectangle:
    """Returns a person's rectangle, as takiyu/DeepPose makes it of a face's box.

    Args:
        face: (x, y, width, height) of the face.
        rule: What its training wrote.

    Raises:
        CloseUpError: The box is not four finite numbers with a positive size.
    """
    if len(face) != 4:
        raise CloseUpError(f"the face {face} is not four numbers x, y, width, height")
    x, y, width, height = map(float, face)
    return Rectangle(
        x + width / 2 + rule.shift[0] * width,
        y + height / 2 + rule.shift[1] * height,
        rule.scale[0] * width,
        rule.scale[1] * height,
    )


@dataclass(frozen=True)
class FaceView:
    """What the first stage of takiyu/DeepPose sees of a person, and what it answers: `View`, by a face.

    Attributes:
        rectangle: What it sees.
        rule: How persons are cut out.
        preprocessing: What the network was trained on.
        size: Columns and rows of the picture.
    """

    rectangle: Rectangle
    rule: FaceCrop
    preprocessing: Preprocessing
    size: tuple[int, int]

    @property
    def crop(self) -> Crop:
        """As much of the rectangle as lies in the picture; the picture where that is nothing."""
        columns, rows = self.size
        middle, half = (self.rectangle.x, self.rectangle.y), (self.rectangle.width / 2, self.rectangle.height / 2)
        x0, y0 = (int(np.clip(m - h, 0, side)) for m, h, side in zip(middle, half, self.size, strict=True))
        x1, y1 = (int(np.clip(m + h, 0, side)) for m, h, side in zip(middle, half, self.size, strict=True))
        edges = (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else (0, 0, columns, rows)
        return Crop(*edges, self.preprocessing.im_size)

    def input(self, picture: Picture | Window) -> Float32Array:
        """Makes the network's input, (3, height, width) float32, of (H, W, 3) uint8."""
        return input_of(scaled(picture, self.preprocessing), self.rectangle, self.preprocessing)

    def levels(self, picture: Picture | Window) -> Inputs:
        """Makes the network's input: pixels that are warped after they were scaled have no levels."""
        return self.input(picture)

    def points(self, outputs: npt.ArrayLike) -> Points:
        """Maps a network's (2 * J,) outputs to the picture, (J, 2).

        The two sides are exchanged where the left shoulder comes out left of the right one, as in the program.
        """
        rows, columns = self.preprocessing.shape
        size = np.array([columns, rows], np.float32)
        # In float32, as the program does.
        answers = np.asarray(outputs, np.float32).reshape(-1, 2)
        inputs = (answers * size + size / 2).astype(np.float64)
        matrix = np.vstack([self.rectangle.matrix(columns, rows), (0, 0, 1)])
        points = (np.linalg.inv(matrix) @ np.column_stack([inputs, np.ones(len(inputs))]).T)[:2].T
        left, right = self.rule.shoulders
        if points[left, 0] < points[right, 0]:
            order = np.arange(len(points))
            for a, b in self.rule.swapped:
                order[[a, b]] = b, a
            points = points[order]
        return np.asarray(points, np.float64)


#: What a first stage sees of a person.
Look: TypeAlias = View | FaceView


def diameter(points: npt.ArrayLike, opposing: Sequence[tuple[int, int]]) -> float:
    """Returns a pose's diameter: the mean distance of opposing joints of the torso (Toshev and Szegedy, section 3.2).

    Args:
        points: (joints, 2).
        opposing: Pairs of joints.
    """
    points = np.asarray(points, np.float64)
    return float(np.mean([np.linalg.norm(points[a] - points[b]) for a, b in opposing]))


def squares(points: npt.ArrayLike, close_up: CloseUp, size: float | None = None) -> list[Rectangle]:
    """Returns the square that a stage looks at around each joint.

    Args:
        points: (joints, 2), where the stage before has them.
        close_up: The stage's rule.
        size: The pose's diameter; None measures it.

    Raises:
        CloseUpError: The torso has no length, or a point is not finite.
    """
    points = np.asarray(points, np.float64)
    side = close_up.sigma * (diameter(points, close_up.opposing) if size is None else size)
    if not side > 0:
        raise CloseUpError("the torso has no length in the stage before, so that there is nothing to look at")
    return [Rectangle(float(x), float(y), side, side) for x, y in points]


@dataclass(frozen=True)
class CloseUpView:
    """What a network of a later stage sees of a joint, and by how much it moves it: `View`, of a close-up.

    Attributes:
        square: What it sees.
        answer: Which two of its outputs count, as a joint's index: 0 of a network of one joint.
        preprocessing: What the network was trained on.
    """

    square: Rectangle
    answer: int
    preprocessing: Preprocessing

    @property
    def crop(self) -> Crop:
        """The square in whole pixels of the picture; it may lie outside."""
        x0, y0 = (int(np.floor(middle - self.square.width / 2)) for middle in (self.square.x, self.square.y))
        side = int(np.ceil(self.square.width))
        return Crop(x0, y0, x0 + side, y0 + side, self.preprocessing.im_size)

    def input(self, picture: Picture | Window | Float32Array) -> Float32Array:
        """Makes the network's input, as `input_of` does."""
        return input_of(picture, self.square, self.preprocessing)

    def levels(self, picture: Picture | Window | Float32Array) -> Inputs:
        """Makes the network's input as far as its levels; as `FaceView` does of float32."""
        if not isinstance(picture, Window):
            if picture.dtype == np.float32:
                return self.input(picture)
            picture = Window.whole(np.asarray(picture, np.uint8))
        rows, columns = self.preprocessing.shape
        return levels(pixels_at(picture, self.square.matrix(columns, rows), self.preprocessing), self.preprocessing)

    def way(self, outputs: npt.ArrayLike) -> Float64Array:
        """Returns by how much a network's (2 * J,) outputs move the joint, (2,) in pixels of the picture."""
        rows, columns = self.preprocessing.shape
        answer = np.asarray(outputs, np.float32).reshape(-1, 2)[self.answer] * np.array([columns, rows], np.float32)
        turn = self.square.matrix(columns, rows)[:, :2]
        return np.asarray(np.linalg.inv(turn) @ answer.astype(np.float64), np.float64)

    def points(self, outputs: npt.ArrayLike) -> Points:
        """Returns where a network's (2 * J,) outputs have the joint, (1, 2) in pixels of the picture."""
        return np.array([[self.square.x, self.square.y]]) + self.way(outputs)


class Pictures(Protocol):
    """Pictures of persons, as a `PoseDataset` has them."""

    def __len__(self) -> int:
        """Returns how many persons there are."""
        ...

    def picture(self, index: int, /) -> Picture:
        """Returns a person's picture, (H, W, 3) uint8, BGR."""
        ...

    def error(self, index: int, problem: object, /) -> DeepPoseError:
        """Returns an error that names a person."""
        ...


def squares_of(pictures: Pictures, poses: Float64Array, close_up: CloseUp) -> list[list[Rectangle]]:
    """Returns the squares that a stage looks at around each joint of each person, see `squares`.

    Raises:
        DeepPoseError: A torso has no length, or a joint is not finite; it names the person.
    """
    found = []
    for person, pose in enumerate(poses):
        try:
            found.append(squares(pose, close_up))
        except CloseUpError as error:
            raise pictures.error(person, error) from error
    return found


class CloseUpInputs:
    """What one network of a later stage sees of some persons: a close-up around each joint that it answers.

    `inputs[i]` is `(input,)`, first all joints of the first person.

    Args:
        pictures: The persons' pictures.
        poses: (N, J, 2) float64, where the stage before has the joints, in pixels of the pictures.
        joint: The only joint that the network answers; None for all.
        close_up: The stage's rule.
        preprocessing: How close-ups become the network's inputs.
        whole_first: Whether a picture becomes levels before it is warped, see `scaled`.

    Raises:
        DeepPoseError: A torso has no length, or a joint is not finite; it names the person.
    """

    def __init__(
        self,
        pictures: Pictures,
        poses: Float64Array,
        joint: int | None,
        close_up: CloseUp,
        preprocessing: Preprocessing,
        *,
        whole_first: bool = False,
    ) -> None:
        self.preprocessing = preprocessing
        self._views: list[CloseUpView] = []
        for around in squares_of(pictures, poses, close_up):
            seen = range(len(around)) if joint is None else (joint,)
            self._views += [CloseUpView(around[j], j if joint is None else 0, preprocessing) for j in seen]
        self._each = len(self._views) // max(len(poses), 1)

        # Close-ups are asked for person by person.
        @lru_cache(maxsize=1)
        def picture(person: int) -> Picture | Float32Array:
            found = pictures.picture(person)
            return scaled(found, preprocessing) if whole_first else found

        self._picture = picture

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, index: int) -> tuple[Float32Array]:
        return (self.view(index).input(self._picture(index // self._each)),)

    def view(self, index: int) -> CloseUpView:
        """Returns what the network sees of a joint."""
        return self._views[index]


def scaled(picture: Picture | Window, preprocessing: Preprocessing) -> Float32Array:
    """Returns a picture in the levels of the network's input, before it is warped: how takiyu/DeepPose does it."""
    levels: Float32Array = whole_of(picture).astype(np.float32) / np.float32(preprocessing.scale)
    return levels


def input_of(
    picture: Picture | Window | Float32Array,
    rectangle: Rectangle,
    preprocessing: Preprocessing,
    out: Float32Array | None = None,
) -> Float32Array:
    """Makes the network's input of a rectangle.

    Args:
        picture: (H, W, 3), BGR: uint8, a Window of it, or float32 that is scaled already (`scaled`).
        rectangle: What is looked at.
        preprocessing: What the network was trained on.
        out: (3, height, width) float32, C-contiguous: where to write it, of a uint8 picture; None makes a new array.

    Returns:
        (3, height, width) float32.
    """
    rows, columns = preprocessing.shape
    matrix = rectangle.matrix(columns, rows)
    if isinstance(picture, Window) or picture.dtype == np.uint8:
        window = picture if isinstance(picture, Window) else Window.whole(np.asarray(picture, np.uint8))
        return normalize(pixels_at(window, matrix, preprocessing), preprocessing, out)
    levels = warp(np.asarray(picture, np.float32), matrix, columns, rows)
    return np.ascontiguousarray(levels.transpose(2, 0, 1), np.float32)


def pixels_at(window: Window, matrix: Float64Array, preprocessing: Preprocessing) -> Picture:
    """Returns what a (2, 3) matrix takes from a picture to a network's input, (height, width, 3) uint8."""
    rows, columns = preprocessing.shape
    return window.warp(matrix, rows, preprocessing.interpolation, cv2.BORDER_CONSTANT, columns)
