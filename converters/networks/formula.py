"""What a layer is that says itself what it computes.

Such a kind is one class: its numbers, its tensors, the shape that it makes, and a formula over operations that every
engine has. The engines, the formats, the names in Chainer's files and a training's first weights follow from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Protocol, TypeAlias, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from converters.values import dataclass

Shape: TypeAlias = tuple[int, ...]
#: The shape of one example's value: maps (C, H, W) or features (F,); a side is None where no input's size is said.
Value: TypeAlias = tuple[int | None, ...]
#: Functions of each number by itself.
FunctionName: TypeAlias = Literal["abs", "cos", "erf", "exp", "log", "reciprocal", "sin", "sqrt"]
FUNCTIONS: tuple[FunctionName, ...] = get_args(FunctionName)
#: What is made of the numbers along axes.
Reducing: TypeAlias = Literal["mean", "sum", "max"]
#: What an engine calculates with: values of a batch, and tensors, which have no axis for the batch.
Calculated = TypeVar("Calculated")


class Arrays(Protocol[Calculated]):
    """What every engine can calculate. A value's first axis is the batch's, which shapes leave out, and -1 is the last.

    Two values are combined as in NumPy: axes that are missing in front, or of length 1, are repeated.
    """

    def reshape(self, x: Calculated, shape: Shape) -> Calculated:
        """Returns the same numbers in the same order, each example's under another shape; -1 is what is left."""

    def add(self, x: Calculated, y: Calculated) -> Calculated:
        """Returns x + y."""

    def multiply(self, x: Calculated, y: Calculated) -> Calculated:
        """Returns x * y."""

    def affine(self, x: Calculated, factor: float, offset: float) -> Calculated:
        """Returns x * factor + offset."""

    def function(self, name: FunctionName, x: Calculated) -> Calculated:
        """Returns a function of each number."""

    def normalised(self, x: Calculated, axes: int, eps: float) -> Calculated:
        """Returns (x - mean) / sqrt(variance + eps), both over the last axes, as many as are said; 1 / n in both."""

    def constant(self, x: Calculated, numbers: npt.NDArray[np.float32]) -> Calculated:
        """Returns numbers where a value is, of its dtype."""

    def reduced(self, how: Reducing, x: Calculated, axes: Shape) -> Calculated:
        """Returns the mean, the sum or the largest along axes of an example, which stay with a length of 1."""

    def softmax(self, x: Calculated, axis: int) -> Calculated:
        """Returns exp(x) as shares of their sum along an axis of an example."""

    def linear(self, x: Calculated, weight: Calculated) -> Calculated:
        """Returns the last axis times the transpose of a tensor of (outputs, inputs)."""

    def resampled(self, x: Calculated, rows: npt.NDArray[np.float32], columns: npt.NDArray[np.float32]) -> Calculated:
        """Returns maps times matrices (height, new height) and (width, new width): along each column, each row."""


@dataclass(frozen=True)
class Learned:
    """A tensor of a layer that is trained.

    Attributes:
        shape: Its shape in files.
        placed: Its shape among the axes of an example that it is combined with.
        chainer: The last part of its name in Chainer, of which `canonical_name` makes that of its own.
        first: What its numbers are before a training: one for all of them, or each.
        random: Whether they are drawn then, as those of a fully connected layer.
        trained: Whether it is trained at all, or stays as it is.
    """

    shape: Shape
    placed: Shape
    chainer: str
    first: tuple[float, ...] = (0.0,)
    random: bool = False
    trained: bool = True

    @property
    def begins(self) -> npt.NDArray[np.float32]:
        """Its numbers before a training."""
        return np.resize(np.array(self.first, np.float32), self.shape)


@dataclass(frozen=True)
class Formula:
    """A layer that says itself what it computes; its subclasses are the kinds.

    Attributes:
        word: What sentences call it.
        by_number: Whether it does the same to each number, wherever it stands.
    """

    word: ClassVar[str] = ""
    by_number: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        FORMULAS[cls.__name__] = cls

    def after(self, value: Value) -> Value:
        """Returns the shape of what it makes of a value.

        Raises:
            DeepPoseError: It cannot take such a value.
        """
        return value

    def tensors(self, value: Value) -> dict[str, Learned]:
        """Returns its tensors by their canonical names, for a value that it is given."""
        return {}

    def formula(
        self, arrays: Arrays[Calculated], x: Calculated, value: Value, tensors: Mapping[str, Calculated]
    ) -> Calculated:
        """Returns what it makes of a value.

        Args:
            arrays: The engine's operations.
            x: The value of a batch.
            value: The shape of one example of it.
            tensors: Its tensors by canonical name, under the shapes that they are placed in.
        """
        raise NotImplementedError

    def module(self, value: Value) -> str | None:
        """Returns how PyTorch spells a module that computes the same, with as many tensors; None if it has none."""
        return None


#: Each kind by its name, which is what files call it.
FORMULAS: dict[str, type[Formula]] = {}
