"""What the formulas of layers calculate with, in PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from converters.networks.formula import FunctionName, Reducing, Shape

_FUNCTIONS: dict[FunctionName, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "cos": torch.cos,
    "erf": torch.erf,
    "exp": torch.exp,
    "log": torch.log,
    "reciprocal": torch.reciprocal,
    "sin": torch.sin,
    "sqrt": torch.sqrt,
}
_REDUCING: dict[Reducing, Callable[..., Tensor]] = {"mean": torch.mean, "sum": torch.sum, "max": torch.amax}


class TorchArrays:
    """The operations of `converters.networks.formula.Arrays`."""

    def reshape(self, x: Tensor, shape: Shape) -> Tensor:
        """Returns each example under another shape."""
        return x.reshape(len(x), *shape)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns x + y."""
        return x + y

    def multiply(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns x * y."""
        return x * y

    def affine(self, x: Tensor, factor: float, offset: float) -> Tensor:
        """Returns x * factor + offset."""
        return x * factor + offset

    def function(self, name: FunctionName, x: Tensor) -> Tensor:
        """Returns a function of each number."""
        return _FUNCTIONS[name](x)

    def normalised(self, x: Tensor, axes: int, eps: float) -> Tensor:
        """Returns the last axes with a mean of 0 and a variance of 1."""
        return functional.layer_norm(x, x.shape[-axes:], eps=eps)

    def constant(self, x: Tensor, numbers: npt.NDArray[np.float32]) -> Tensor:
        """Returns numbers where a value is."""
        return torch.from_numpy(numbers).to(x)

    def reduced(self, how: Reducing, x: Tensor, axes: Shape) -> Tensor:
        """Returns the mean, the sum or the largest along axes of an example."""
        return _REDUCING[how](x, tuple(axis + 1 for axis in axes), keepdim=True)

    def softmax(self, x: Tensor, axis: int) -> Tensor:
        """Returns exp(x) as shares of their sum along an axis of an example."""
        return x.softmax(axis + 1)

    def linear(self, x: Tensor, weight: Tensor) -> Tensor:
        """Returns the last axis times the transpose of a tensor of (outputs, inputs)."""
        return functional.linear(x, weight)

    def resampled(self, x: Tensor, rows: npt.NDArray[np.float32], columns: npt.NDArray[np.float32]) -> Tensor:
        """Returns maps times a matrix along each column, and one along each row."""
        from_left, from_right = (torch.from_numpy(matrix).to(x) for matrix in (rows, columns))
        return from_left.T @ (x @ from_right)
