"""Batches of a dataset's examples, made ahead of their use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from deeppose_port.data.dataset import Example, PoseDataset

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int32]]


def batches(dataset: PoseDataset, batch_size: int) -> Iterator[Batch]:
    """Yields a dataset's examples once each and in order; the next batch is made while one is used.

    Yields:
        inputs (N, 3, im_size, im_size) float32, targets (N, 2 * J) float32, mask (N, 2 * J) int32; the last batch may
        be smaller.

    Raises:
        ValueError: `batch_size` is not positive.
        DatasetError: A person cannot be made into an example.
    """
    if batch_size < 1:
        raise ValueError(f"the batch size is {batch_size}; it has to be at least 1")
    starts = range(0, len(dataset), batch_size)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:

        def submit(start: int) -> list[object]:
            return [pool.submit(dataset.__getitem__, i) for i in range(start, min(start + batch_size, len(dataset)))]

        try:
            ahead = submit(0)
            for start in starts:
                current, ahead = ahead, submit(start + batch_size) if start + batch_size < len(dataset) else []
                yield _stack([future.result() for future in current])  # type: ignore[attr-defined]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _stack(examples: list[Example]) -> Batch:
    inputs, targets, mask = zip(*examples, strict=True)
    return np.stack(inputs), np.stack(targets), np.stack(mask)
