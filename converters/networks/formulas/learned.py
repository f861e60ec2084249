"""Tensors that are added to a value, or multiplied with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np

from converters.errors import DeepPoseError
from converters.networks.flow import joined
from converters.networks.formula import Arrays, Calculated, Formula, Learned, Shape, Value
from converters.values import dataclass


@dataclass(frozen=True)
class Weighting(Formula):
    """A value plus a tensor, or times it.

    Attributes:
        name: The tensor's name, whole.
        shape: Its shape in files.
        placed: Its shape among the axes of an example; 1 where it is repeated.
        join: Whether it is added or subtracted, or multiplied or divided by.
        chainer: The last part of its name in Chainer.
        trained: Whether it is trained, or a buffer.
        first: What its numbers are before a training: one for all of them, or each; none where that is not said.
    """

    word: ClassVar[str] = "a factor or an offset"
    name: str
    shape: Shape
    placed: Shape
    join: Literal["sum", "difference", "product", "quotient"]
    chainer: str
    trained: bool = True
    first: tuple[float, ...] = ()

    def after(self, value: Value) -> Value:
        """Returns the same shape, or that of what is repeated."""
        if len(self.first) not in (0, 1, math.prod(self.shape)):
            raise DeepPoseError(f"{len(self.first)} numbers are not those that {self.name} of {self.shape} begins with")
        if math.prod(self.shape) != math.prod(self.placed) or len(self.placed) != len(value):
            raise DeepPoseError(f"{self.name} of {self.shape} is not for a value of {value}")
        return joined([value, self.placed], "product")

    def tensors(self, value: Value) -> dict[str, Learned]:
        """Returns the tensor."""
        first = self.first or (float(self.join in ("product", "quotient")),)
        return {self.name: Learned(self.shape, self.placed, self.chainer, first, trained=self.trained)}

    def formula(
        self, arrays: Arrays[Calculated], x: Calculated, value: Value, tensors: Mapping[str, Calculated]
    ) -> Calculated:
        """Returns what comes of both."""
        tensor = tensors[self.name]
        match self.join:
            case "sum":
                return arrays.add(x, tensor)
            case "difference":
                return arrays.add(x, arrays.affine(tensor, -1.0, 0.0))
            case "product":
                return arrays.multiply(x, tensor)
        return arrays.multiply(x, arrays.function("reciprocal", tensor))


@dataclass(frozen=True)
class Constant(Formula):
    """A value plus numbers that the network's source has, or times them.

    Attributes:
        numbers: The numbers.
        placed: Their shape among the axes of an example; 1 where they are repeated.
        join: Whether they are added or multiplied.
    """

    word: ClassVar[str] = "an array of numbers"
    numbers: tuple[float, ...]
    placed: Shape
    join: Literal["sum", "product"]

    def after(self, value: Value) -> Value:
        """Returns the same shape, or that of what is repeated."""
        if len(self.numbers) != math.prod(self.placed) or len(self.placed) != len(value) or not self.numbers:
            raise DeepPoseError(f"{len(self.numbers)} numbers under {self.placed} are not for a value of {value}")
        return joined([value, self.placed], "product")

    def formula(
        self, arrays: Arrays[Calculated], x: Calculated, value: Value, tensors: Mapping[str, Calculated]
    ) -> Calculated:
        """Returns what comes of both."""
        numbers = arrays.constant(x, np.array(self.numbers, np.float32).reshape(self.placed))
        return (arrays.add if self.join == "sum" else arrays.multiply)(x, numbers)


@dataclass(frozen=True)
class LinearAlongLast(Formula):
    """A fully connected layer of the last axis alone, the same for each place in the others."""

    word: ClassVar[str] = "a fully connected layer of the last axis"
    name: str
    channels: int
    bias: bool = True

    def after(self, value: Value) -> Value:
        """Returns the shape with as many channels last."""
        return (*value[:-1], self.channels)

    def tensors(self, value: Value) -> dict[str, Learned]:
        """Returns the matrix, and an offset."""
        shape = (self.channels, value[-1] or 0)
        found = {f"{self.name}.weight": Learned(shape, shape, "W", random=True)}
        if self.bias:
            found[f"{self.name}.bias"] = Learned((self.channels,), (self.channels,), "b")
        return found

    def formula(
        self, arrays: Arrays[Calculated], x: Calculated, value: Value, tensors: Mapping[str, Calculated]
    ) -> Calculated:
        """Returns the product, with the offset."""
        made = arrays.linear(x, tensors[f"{self.name}.weight"])
        return arrays.add(made, tensors[f"{self.name}.bias"]) if self.bias else made

    def module(self, value: Value) -> str:
        """Returns PyTorch's."""
        return f"nn.Linear({value[-1]}, {self.channels}{'' if self.bias else ', bias=False'})"
