"""Measures how many threads make training examples the fastest on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

from converters.progress import ProgressCallback
from deeppose_port.data.augmentation import Augmentation
from deeppose_port.data.dataset import PoseDataset
from deeppose_port.data.loader import TrainingLoader

#: The fewest threads whose speed is at least this part of the best are recommended.
_AS_GOOD = 0.97


class DataSpeed(NamedTuple):
    """The speed of one number of threads."""

    threads: int
    pictures_per_second: float


def bench_data(
    dataset: PoseDataset,
    threads: Sequence[int] = (1, 2, 4, 8, 24, 64),
    *,
    batch_size: int = 64,
    augmentation: Augmentation | None = None,
    seconds: float = 5.0,
    rounds: int = 3,
    progress: ProgressCallback | None = None,
) -> list[DataSpeed]:
    """Measures the speed of a TrainingLoader that nothing but itself holds back, for several numbers of threads.

    The numbers of threads take turns, `rounds` times, and the median counts, so that what else the machine does falls
    on all of them.

    Args:
        dataset: The training set.
        threads: The numbers of threads to try.
        batch_size: Examples in a batch.
        augmentation: How the examples are varied.
        seconds: How long to measure each of them, all rounds together; a round ends with a whole batch.
        rounds: How often each is measured.
        progress: Called with the measurements done and those to do, after each.

    Returns:
        A row for each number of threads, in the order given.

    Raises:
        DatasetError: An example cannot be made.
    """
    speeds: list[list[float]] = [[] for _ in threads]
    done, total = 0, rounds * len(threads)
    for _ in range(rounds):
        for count, measured in zip(threads, speeds, strict=True):
            with TrainingLoader(dataset, batch_size, augmentation=augmentation, threads=count) as loader:
                measured.append(_pictures_per_second(loader, seconds / rounds))
            done += 1
            if progress is not None:
                progress(done, total)
    return [DataSpeed(count, statistics.median(measured)) for count, measured in zip(threads, speeds, strict=True)]


def _pictures_per_second(loader: TrainingLoader, seconds: float) -> float:
    """Takes batches for some seconds, after one that starts the threads."""
    next(loader)
    before, start = loader.given, time.perf_counter()
    while True:
        next(loader)
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return (loader.given - before) / elapsed


def recommend(rows: Sequence[DataSpeed]) -> DataSpeed:
    """Returns the row of the number of threads to take: the fewest whose speed is within 3 % of the best."""
    enough = _AS_GOOD * max(row.pictures_per_second for row in rows)
    return min(row for row in rows if row.pictures_per_second >= enough)
