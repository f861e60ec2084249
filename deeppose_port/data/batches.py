"""Batches of a dataset's examples, made ahead of their use."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from deeppose_port.data.dataset import Example, PoseDataset

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int32]]


def batches(dataset: PoseDataset, batch_size: int, indices: Sequence[int] | None = None) -> Iterator[Batch]:
    """Yields a dataset's examples once each and in order; the next batch is made while one is used.

    Args:
        dataset: The dataset.
        batch_size: Examples in a batch.
        indices: Which examples; None for all.

    Yields:
        inputs (N, 3, im_size, im_size) float32, targets (N, 2 * J) float32, mask (N, 2 * J) int32; the last batch may
        be smaller.

    Raises:
        ValueError: `batch_size` is not positive.
        DatasetError: A person cannot be made into an example.
    """
    if batch_size < 1:
        raise ValueError(f"the batch size is {batch_size}; it has to be at least 1")
    wanted = range(len(dataset)) if indices is None else indices
    parts = [wanted[start : start + batch_size] for start in range(0, len(wanted), batch_size)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        try:
            ahead: list[Future[Example]] = []
            for part in [*parts, []]:
                current, ahead = ahead, [pool.submit(dataset.__getitem__, i) for i in part]
                if current:
                    yield _stack([future.result() for future in current])
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _stack(examples: list[Example]) -> Batch:
    inputs, targets, mask = zip(*examples, strict=True)
    return np.stack(inputs), np.stack(targets), np.stack(mask)
