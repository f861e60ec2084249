"""Maps of another size."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError
from converters.networks.formula import Arrays, Calculated, Formula, Value
from converters.values import dataclass


@dataclass(frozen=True)
class Resize(Formula):
    """Maps sampled anew: the middle of pixel i of a side of `after` pixels lies at (i + 0.5) * before / after - 0.5.

    Attributes:
        mode: `bilinear`, between the nearest pixels; `nearest`, pixel floor(i * before / after).
        size: The new height and width.
        scale: In place of these, what both are multiplied by; it has to make whole numbers.
        corners: Whether the middles of the corner pixels stay where they are: pixel i lies at i * (before - 1) /
            (after - 1).
    """

    word: ClassVar[str] = "resizing"
    mode: Literal["bilinear", "nearest"]
    size: tuple[int, int] | None = None
    scale: tuple[float, float] | None = None
    corners: bool = False

    def after(self, value: Value) -> Value:
        """Returns the new sides."""
        if len(value) != 3:
            raise DeepPoseError(f"resizing takes maps, and is given {value}")
        sides = self.size or tuple(side and self._scaled(side, i) for i, side in enumerate(value[1:]))
        if any(side is not None and side < 1 for side in sides):
            raise DeepPoseError(f"maps of {value} cannot be resized to {sides}")
        return (value[0], *sides)

    def _scaled(self, side: int, axis: int) -> int:
        times = side * self.scale[axis] if self.scale is not None else 0.0
        if not float(times).is_integer():
            raise DeepPoseError(f"a side of {side} pixels times {times / side:g} is no whole number")
        return int(times)

    def formula(
        self, arrays: Arrays[Calculated], x: Calculated, value: Value, tensors: Mapping[str, Calculated]
    ) -> Calculated:
        """Returns the maps times a matrix for each side."""
        sides = zip(value[1:], self.after(value)[1:], strict=True)
        rows, columns = (weights(before or 0, after or 0, self.mode, self.corners) for before, after in sides)
        return arrays.resampled(x, rows, columns)

    def module(self, value: Value) -> str:
        """Returns PyTorch's."""
        how = f"size={self.size}" if self.size else f"scale_factor={self.scale}"
        corners = f", align_corners={self.corners}" if self.mode == "bilinear" else ""
        return f'nn.Upsample({how}, mode="{self.mode}"{corners})'


@functools.lru_cache(64)
def weights(before: int, after: int, mode: str, corners: bool) -> npt.NDArray[np.float32]:
    """Returns what each pixel of a side adds to each one of the new side, as (before, after) float32."""
    matrix = np.zeros((before, after))
    every = np.arange(after)
    if mode == "nearest":
        matrix[every * before // after, every] = 1
        return matrix.astype(np.float32)
    places = every * (before - 1) / max(after - 1, 1) if corners else (every + 0.5) * before / after - 0.5
    places = np.clip(places, 0, before - 1)
    first = np.floor(places).astype(int)
    np.add.at(matrix, (first, every), 1 - (places - first))
    np.add.at(matrix, (np.minimum(first + 1, before - 1), every), places - first)
    return matrix.astype(np.float32)


@dataclass(frozen=True)
class Margin(Formula):
    """A margin of the map's own pixels: those at its border again, or as in a mirror there, or from the other side."""

    word: ClassVar[str] = "a margin"
    mode: Literal["reflect", "replicate", "circular"]
    top: int
    bottom: int
    left: int
    right: int

    def after(self, value: Value) -> Value:
        """Returns the larger sides."""
        if len(value) != 3:
            raise DeepPoseError(f"a margin takes maps, and is given {value}")
        margins = ((self.top, self.bottom), (self.left, self.right))
        most = {"reflect": -1, "circular": 0}
        if self.mode in most and any(
            side is not None and max(margin) > side + most[self.mode]
            for side, margin in zip(value[1:], margins, strict=True)
        ):
            raise DeepPoseError(f"a margin of {margins} is too wide for maps of {value}")
        return (value[0], *(side and side + sum(margin) for side, margin in zip(value[1:], margins, strict=True)))

    def formula(
        self, arrays: Arrays[Calculated], x: Calculated, value: Value, tensors: Mapping[str, Calculated]
    ) -> Calculated:
        """Returns the maps times a matrix of 0 and 1 for each side."""
        rows = self._copies(value[1] or 0, self.top, self.bottom)
        return arrays.resampled(x, rows, self._copies(value[2] or 0, self.left, self.right))

    def _copies(self, side: int, before: int, behind: int) -> npt.NDArray[np.float32]:
        places = np.pad(np.arange(side), (before, behind), _NUMPY[self.mode])
        return np.eye(side, dtype=np.float32)[:, places]

    def module(self, value: Value) -> str:
        """Returns PyTorch's."""
        word = {"reflect": "Reflection", "replicate": "Replication", "circular": "Circular"}[self.mode]
        return f"nn.{word}Pad2d(({self.left}, {self.right}, {self.top}, {self.bottom}))"


#: NumPy's words for margins.
_NUMPY: dict[str, Literal["reflect", "edge", "wrap"]] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
