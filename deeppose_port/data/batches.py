"""Batches of a dataset's examples, made ahead of their use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from converters.checkpoint import Preprocessing
from converters.errors import DeepPoseError
from deeppose_port.data.ahead import Workers
from deeppose_port.data.arrays import Float32Array, Inputs, batched, joined
from deeppose_port.data.dataset import Example, PoseDataset

Batch = tuple[Float32Array, Float32Array, npt.NDArray[np.int32]]
BatchByLevel = tuple[Inputs, Float32Array, npt.NDArray[np.int32]]

_Made = TypeVar("_Made")


class Examples(Protocol):
    """What batches are made of: a `PoseDataset`, or the close-ups of one."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How pictures become inputs."""

    @property
    def coordinates(self) -> int:
        """Numbers in an example's targets."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...

    def example(self, index: int, out: Float32Array | None = None) -> Example:
        """Makes one example, as `PoseDataset.example` does."""

    def naming(self, index: int) -> AbstractContextManager[None]:
        """Names the picture of an example that cannot be made."""


def batches(dataset: Examples, batch_size: int, indices: Sequence[int] | None = None) -> Iterator[Batch]:
    """Yields a dataset's examples once each and in order; the next batch is made while one is used.

    Args:
        dataset: The dataset.
        batch_size: Examples in a batch.
        indices: Which examples; None for all.

    Yields:
        inputs (N, 3, im_size, im_size) float32, targets (N, 2 * J) float32, mask (N, 2 * J) int32; the last batch may
        be smaller.

    Raises:
        DeepPoseError: `batch_size` is not positive.
        DatasetError: A person cannot be made into an example.
    """
    return _ahead(len(dataset), batch_size, indices, partial(_begin, dataset))


def batches_by_level(
    dataset: PoseDataset, batch_size: int, indices: Sequence[int] | None = None
) -> Iterator[BatchByLevel]:
    """Does what `batches` does, but for the looking up of levels, which is left to the network."""
    return _ahead(len(dataset), batch_size, indices, partial(_begin_by_level, dataset))


def _ahead(
    count: int,
    batch_size: int,
    indices: Sequence[int] | None,
    begin: Callable[[Workers, Sequence[int]], Callable[[], _Made]],
) -> Iterator[_Made]:
    """Yields batches; `begin` hands the examples of one to the threads, and returns what waits for it."""
    if batch_size < 1:
        raise DeepPoseError(f"the batch size is {batch_size}; it has to be at least 1")
    wanted = range(count) if indices is None else indices
    with Workers() as workers:
        ahead: Callable[[], _Made] | None = None
        for part in [*batched(wanted, batch_size), ()]:
            current, ahead = ahead, begin(workers, part) if part else None
            if current is not None:
                yield current()


def empty_batch(dataset: Examples, size: int) -> Batch:
    """Returns the arrays of a batch of a dataset's examples, which are to be written into them."""
    return (
        np.empty((size, 3, *dataset.preprocessing.shape), np.float32),
        np.empty((size, dataset.coordinates), np.float32),
        np.empty((size, dataset.coordinates), np.int32),
    )


def place(example: Example, batch: Batch, row: int) -> None:
    """Puts an example into a row of a batch, but for the inputs that were written there already."""
    for part, array in zip(example, batch, strict=True):
        if part.base is not array:
            array[row] = part


def _begin(dataset: Examples, workers: Workers, part: Sequence[int]) -> Callable[[], Batch]:
    batch = empty_batch(dataset, len(part))

    def make(row: int, index: int) -> None:
        place(dataset.example(index, out=batch[0][row]), batch, row)

    futures = [workers.begin(partial(make, row, index)) for row, index in enumerate(part)]

    def made() -> Batch:
        for future in futures:
            future.result()
        return batch

    return made


def _begin_by_level(dataset: PoseDataset, workers: Workers, part: Sequence[int]) -> Callable[[], BatchByLevel]:
    futures = [workers.begin(partial(dataset.example_by_level, index)) for index in part]

    def made() -> BatchByLevel:
        inputs, targets, mask = zip(*(future.result() for future in futures), strict=True)
        return joined(inputs), np.stack(targets), np.stack(mask)

    return made
