"""What the formulas of layers calculate with, as nodes of an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from converters.checkpoint import Array
from converters.networks.formula import FunctionName, Reducing, Shape
from deeppose_port.backends.onnx.wire import Attribute


class _Nodes(Protocol):
    """What adds to a graph, and returns a name in it."""

    def node(self, operator: str, inputs: Sequence[str], output: str | None = None, **attributes: Attribute) -> str: ...

    @property
    def constant(self) -> Callable[[Array], str]: ...

    @property
    def number(self) -> Callable[[float], str]: ...


class OnnxArrays:
    """The operations of `converters.networks.formula.Arrays`, on names in a graph."""

    def __init__(self, graph: _Nodes) -> None:
        self._graph = graph

    def reshape(self, x: str, shape: Shape) -> str:
        """Returns each example under another shape."""
        return self._graph.node("Reshape", [x, self._graph.constant(np.array([0, *shape], np.int64))])

    def add(self, x: str, y: str) -> str:
        """Returns x + y."""
        return self._graph.node("Add", [x, y])

    def multiply(self, x: str, y: str) -> str:
        """Returns x * y."""
        return self._graph.node("Mul", [x, y])

    def affine(self, x: str, factor: float, offset: float) -> str:
        """Returns x * factor + offset."""
        result = x if factor == 1 else self._graph.node("Mul", [x, self._graph.number(factor)])
        return result if offset == 0 else self._graph.node("Add", [result, self._graph.number(offset)])

    def function(self, name: FunctionName, x: str) -> str:
        """Returns a function of each number."""
        return self._graph.node(name.title(), [x])

    def normalised(self, x: str, axes: int, eps: float) -> str:
        """Returns the last axes with a mean of 0 and a variance of 1."""
        node, last = self._graph.node, list(range(-axes, 0))
        centred = node("Sub", [x, node("ReduceMean", [x], axes=last)])
        variance = node("ReduceMean", [node("Mul", [centred, centred])], axes=last)
        return node("Div", [centred, node("Sqrt", [self.affine(variance, 1, eps)])])

    def constant(self, x: str, numbers: npt.NDArray[np.float32]) -> str:
        """Returns numbers where a value is."""
        return self._graph.constant(numbers)

    def reduced(self, how: Reducing, x: str, axes: Shape) -> str:
        """Returns the mean, the sum or the largest along axes of an example."""
        places = [axis + 1 for axis in axes]
        if how != "sum":
            return self._graph.node({"mean": "ReduceMean", "max": "ReduceMax"}[how], [x], axes=places)
        return self._graph.node("ReduceSum", [x, self._graph.constant(np.array(places, np.int64))])

    def softmax(self, x: str, axis: int) -> str:
        """Returns exp(x) as shares of their sum along an axis of an example."""
        return self._graph.node("Softmax", [x], axis=axis + 1)

    def linear(self, x: str, weight: str) -> str:
        """Returns the last axis times the transpose of a tensor of (outputs, inputs)."""
        return self._graph.node("MatMul", [x, self._graph.node("Transpose", [weight], perm=[1, 0])])

    def resampled(self, x: str, rows: npt.NDArray[np.float32], columns: npt.NDArray[np.float32]) -> str:
        """Returns maps times a matrix along each column, and one along each row."""
        wide = self._graph.node("MatMul", [x, self._graph.constant(columns)])
        return self._graph.node("MatMul", [self._graph.constant(rows.T), wide])
