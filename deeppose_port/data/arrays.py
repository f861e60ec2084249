"""The kinds of arrays, by the names that annotations give them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError
from converters.values import dataclass

Item = TypeVar("Item")

#: What networks take and answer.
Float32Array: TypeAlias = npt.NDArray[np.float32]
#: Positions, lengths and metrics.
Float64Array: TypeAlias = npt.NDArray[np.float64]
#: Which joints or coordinates count.
Mask: TypeAlias = npt.NDArray[np.bool_]


def seeded(seed: int) -> np.random.Generator:
    """Returns what draws by chance, the same for a seed (NumPy's PCG64).

    Raises:
        DeepPoseError: The seed is negative.
    """
    if seed < 0:
        raise DeepPoseError(f"the seed is {seed}; it has to be 0 or more")
    return np.random.default_rng(seed)


@dataclass(frozen=True, eq=False)
class Levels:
    """A network's inputs whose levels are not looked up yet: a quarter of the bytes on the way to a GPU.

    NumPy takes it for the inputs: `np.asarray(levels)` looks them up.

    Attributes:
        pixels: (N, 3, H, W) uint8, the colours in the network's order; of one input (3, H, W).
        tables: (N, 3, 256) float32, what becomes of each level; of one input (3, 256).
    """

    pixels: npt.NDArray[np.uint8]
    tables: Float32Array

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the inputs."""
        return self.pixels.shape

    def __len__(self) -> int:
        return len(self.pixels)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[np.generic]:
        """Returns the inputs, float32 unless said; always a new array."""
        flat = self.pixels.reshape(*self.tables.shape[:-1], -1)
        return np.take_along_axis(self.tables, flat, -1).reshape(self.shape).astype(dtype or np.float32, copy=False)


#: What a network is given: its inputs, or what they are looked up from.
Inputs: TypeAlias = Float32Array | Levels


@runtime_checkable
class LooksUp(Protocol):
    """A network that may look levels up itself."""

    @property
    def by_level(self) -> bool:
        """Whether that is the faster way: where inputs have to be copied to a device of their own."""

    def __call__(self, inputs: Inputs, /) -> Float32Array:
        """Returns the outputs."""


def joined(inputs: Sequence[Inputs]) -> Inputs:
    """Makes a batch of (3, H, W) inputs, of at least one: by level if all are so."""
    levels = [one for one in inputs if isinstance(one, Levels)]
    if len(levels) == len(inputs):
        return Levels(np.stack([one.pixels for one in levels]), np.stack([one.tables for one in levels]))
    arrays = [np.asarray(one, np.float32) for one in inputs]
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)  # one needs no copy


def spaced(count: int, most: int) -> list[int]:
    """Returns at most so many of the numbers below a count, evenly spaced."""
    shown = min(count, most)
    return [count * i // shown for i in range(shown)]


def batched(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Yields so many items at a time, of the last there may be fewer; as `itertools.batched` from Python 3.12 on."""
    left = iter(items)
    while batch := tuple(itertools.islice(left, size)):
        yield batch
