"""Numbers along axes: their mean, sum or largest, and their shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from converters.errors import DeepPoseError
from converters.networks.formula import Arrays, Calculated, Formula, Reducing, Shape, Value
from converters.values import dataclass


@dataclass(frozen=True)
class Reduction(Formula):
    """The mean, the sum or the largest along some axes of an example.

    Attributes:
        how: Which.
        axes: The axes; 0 is the channels'.
        keep: Whether they stay, with a length of 1.
    """

    word: ClassVar[str] = "a reduction"
    how: Reducing
    axes: Shape
    keep: bool = False

    def after(self, value: Value) -> Value:
        """Returns the shape without the axes."""
        if len(set(self.axes)) < len(self.axes) or not set(self.axes) <= set(range(len(value))) or not self.axes:
            raise DeepPoseError(f"{value} has no {self.how} along the axes {self.axes}")
        sides = tuple(1 if axis in self.axes else side for axis, side in enumerate(value))
        return sides if self.keep else tuple(side for axis, side in enumerate(sides) if axis not in self.axes) or (1,)

    def formula(
        self, arrays: Arrays[Calculated], x: Calculated, value: Value, tensors: Mapping[str, Calculated]
    ) -> Calculated:
        """Returns what is left."""
        reduced = arrays.reduced(self.how, x, self.axes)
        return reduced if self.keep else arrays.reshape(reduced, tuple(side or 0 for side in self.after(value)))


@dataclass(frozen=True)
class Softmax(Formula):
    """exp(x) as shares of their sum along an axis of an example."""

    word: ClassVar[str] = "softmax"
    axis: int

    def after(self, value: Value) -> Value:
        """Returns the same shape."""
        if not 0 <= self.axis < len(value):
            raise DeepPoseError(f"{value} has no axis {self.axis} for a softmax")
        return value

    def formula(
        self, arrays: Arrays[Calculated], x: Calculated, value: Value, tensors: Mapping[str, Calculated]
    ) -> Calculated:
        """Returns the shares."""
        return arrays.softmax(x, self.axis)

    def module(self, value: Value) -> str:
        """Returns PyTorch's."""
        return f"nn.Softmax({self.axis + 1})"
