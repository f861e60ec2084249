"""What the formulas of layers calculate with, in Chainer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from converters.networks.formula import FunctionName, Reducing, Shape
from deeppose_port.backends.chainer import compat

compat.install()

import chainer  # noqa: E402 - not before compat
import chainer.functions as F  # noqa: E402, N812 - Chainer's own name for it
from chainer import Variable  # noqa: E402

_FUNCTIONS: dict[FunctionName, Callable[[Variable], Variable]] = {
    "abs": abs,
    "cos": F.cos,
    "erf": F.erf,
    "exp": F.exp,
    "log": F.log,
    "reciprocal": lambda x: 1 / x,
    "sin": F.sin,
    "sqrt": F.sqrt,
}
_REDUCING: dict[Reducing, Callable[..., Variable]] = {"mean": F.average, "sum": F.sum, "max": F.max}


class ChainerArrays:
    """The operations of `converters.networks.formula.Arrays`."""

    def reshape(self, x: Variable, shape: Shape) -> Variable:
        """Returns each example under another shape."""
        return F.reshape(x, (len(x), *shape))

    def add(self, x: Variable, y: Variable) -> Variable:
        """Returns x + y."""
        x, y = F.broadcast(x, y)  # Chainer adds and multiplies values of one shape only
        return x + y

    def multiply(self, x: Variable, y: Variable) -> Variable:
        """Returns x * y."""
        x, y = F.broadcast(x, y)
        return x * y

    def affine(self, x: Variable, factor: float, offset: float) -> Variable:
        """Returns x * factor + offset."""
        return x * factor + offset

    def function(self, name: FunctionName, x: Variable) -> Variable:
        """Returns a function of each number."""
        return _FUNCTIONS[name](x)

    def normalised(self, x: Variable, axes: int, eps: float) -> Variable:
        """Returns the last axes with a mean of 0 and a variance of 1."""
        last = tuple(range(x.ndim - axes, x.ndim))
        centred = x - F.broadcast_to(F.average(x, last, keepdims=True), x.shape)
        deviation = F.sqrt(F.average(F.square(centred), last, keepdims=True) + eps)
        return centred / F.broadcast_to(deviation, x.shape)

    def constant(self, x: Variable, numbers: npt.NDArray[np.float32]) -> Variable:
        """Returns numbers where a value is."""
        return Variable(chainer.backend.get_array_module(x).asarray(numbers))

    def reduced(self, how: Reducing, x: Variable, axes: Shape) -> Variable:
        """Returns the mean, the sum or the largest along axes of an example."""
        return _REDUCING[how](x, axis=tuple(axis + 1 for axis in axes), keepdims=True)

    def softmax(self, x: Variable, axis: int) -> Variable:
        """Returns exp(x) as shares of their sum along an axis of an example."""
        return F.softmax(x, axis=axis + 1)

    def linear(self, x: Variable, weight: Variable) -> Variable:
        """Returns the last axis times the transpose of a tensor of (outputs, inputs)."""
        return F.linear(x, weight, n_batch_axes=x.ndim - 1)

    def resampled(self, x: Variable, rows: npt.NDArray[np.float32], columns: npt.NDArray[np.float32]) -> Variable:
        """Returns maps times a matrix along each column, and one along each row."""
        count, channels, height, width = x.shape
        xp = chainer.backend.get_array_module(x)
        x = F.matmul(F.reshape(x, (-1, width)), xp.asarray(columns))
        x = F.swapaxes(F.reshape(x, (count, channels, height, -1)), 2, 3)
        x = F.matmul(F.reshape(x, (-1, height)), xp.asarray(rows))
        return F.swapaxes(F.reshape(x, (count, channels, columns.shape[1], -1)), 2, 3)
