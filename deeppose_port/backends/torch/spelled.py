"""What the formulas of layers calculate with, as text of plain PyTorch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from converters.networks.formula import FunctionName, Reducing, Shape


class SpelledArrays:
    """The operations of `converters.networks.formula.Arrays`, on expressions: calls alone, which may go over lines.

    Attributes:
        needed: Names of functions of net.py that they call.
    """

    def __init__(self) -> None:
        self.needed: set[str] = set()

    def reshape(self, x: str, shape: Shape) -> str:
        """Returns each example under another shape."""
        return f"{x}.reshape(len(x), {', '.join(map(str, shape))})"

    def add(self, x: str, y: str) -> str:
        """Returns x + y."""
        return f"torch.add({x}, {y})"

    def multiply(self, x: str, y: str) -> str:
        """Returns x * y."""
        return f"torch.mul({x}, {y})"

    def affine(self, x: str, factor: float, offset: float) -> str:
        """Returns x * factor + offset."""
        return f"torch.mul({x}, {factor!r}).add({offset!r})"

    def function(self, name: FunctionName, x: str) -> str:
        """Returns a function of each number."""
        return f"torch.{name}({x})"

    def normalised(self, x: str, axes: int, eps: float) -> str:
        """Returns the last axes with a mean of 0 and a variance of 1."""
        self.needed.add("normalised")
        return f"normalised({x}, {axes}, {eps!r})"

    def constant(self, x: str, numbers: npt.NDArray[np.float32]) -> str:
        """Returns numbers where a value is."""
        told = ", ".join(repr(float(str(number))) for number in numbers.reshape(-1))
        return f"torch.tensor([{told}]).reshape({numbers.shape}).to(x)"

    def reduced(self, how: Reducing, x: str, axes: Shape) -> str:
        """Returns the mean, the sum or the largest along axes of an example."""
        word = "amax" if how == "max" else how
        return f"torch.{word}({x}, {tuple(axis + 1 for axis in axes)}, keepdim=True)"

    def softmax(self, x: str, axis: int) -> str:
        """Returns exp(x) as shares of their sum along an axis of an example."""
        return f"torch.softmax({x}, {axis + 1})"

    def linear(self, x: str, weight: str) -> str:
        """Returns the last axis times the transpose of a tensor of (outputs, inputs)."""
        return f"nn.functional.linear({x}, {weight})"

    def resampled(self, x: str, rows: npt.NDArray[np.float32], columns: npt.NDArray[np.float32]) -> str:
        """Returns maps times a matrix along each column, and one along each row."""
        return f"torch.matmul(torch.tensor({rows.T.tolist()}), torch.matmul({x}, torch.tensor({columns.tolist()})))"
