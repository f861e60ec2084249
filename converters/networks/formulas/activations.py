"""Activations that have a formula."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from converters.networks.formula import Arrays, Calculated, Formula, FunctionName, Value
from converters.values import dataclass


@dataclass(frozen=True)
class Function(Formula):
    """A function of each number, by the name that it has in PyTorch and NumPy."""

    word: ClassVar[str] = "a function of each number"
    by_number: ClassVar[bool] = True
    function: FunctionName

    def formula(
        self, arrays: Arrays[Calculated], x: Calculated, value: Value, tensors: Mapping[str, Calculated]
    ) -> Calculated:
        """Returns it of each number."""
        return arrays.function(self.function, x)


@dataclass(frozen=True)
class GELU(Formula):
    """x times the normal distribution's share below x: x * (1 + erf(x / sqrt(2))) / 2 (Hendrycks and Gimpel, 2016)."""

    word: ClassVar[str] = "GELU"
    by_number: ClassVar[bool] = True

    def formula(
        self, arrays: Arrays[Calculated], x: Calculated, value: Value, tensors: Mapping[str, Calculated]
    ) -> Calculated:
        """Returns it of each number."""
        below = arrays.function("erf", arrays.affine(x, 1 / math.sqrt(2), 0.0))
        return arrays.multiply(x, arrays.affine(below, 0.5, 0.5))

    def module(self, value: Value) -> str:
        """Returns PyTorch's."""
        return "nn.GELU()"
