"""Threads that compute parts of a batch, each by itself.

The threads of OpenMP share every layer, and wait for each other behind it. Where there are pictures enough for all,
threads that wait for nobody are a tenth faster, and on a busy machine more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Barrier

import torch
from torch import Tensor


def each(compute: Callable[[Tensor], Tensor], parts: Sequence[Tensor]) -> list[Tensor]:
    """Returns what is computed of each part, for prediction, by as many threads as PyTorch has in this one."""
    threads = torch.get_num_threads()
    if threads == 1:
        return list(map(compute, parts))

    def alone(part: Tensor) -> Tensor:
        with torch.inference_mode():  # which each thread has for itself
            return compute(part)

    return list(_pool(threads, os.getpid()).map(alone, parts))


@lru_cache(maxsize=1)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Starts the threads; a process that was forked has none of them, and starts its own."""
    pool = ThreadPoolExecutor(threads, "deeppose-predict", _alone)
    all_there = Barrier(threads + 1)
    for _ in range(threads):
        pool.submit(all_there.wait)
    all_there.wait()
    torch.set_num_threads(threads)  # what each of them has told PyTorch would hold for threads that others start too
    return pool


def _alone() -> None:
    torch.get_num_threads()  # else the first operator gives the thread as many as all others have
    torch.set_num_threads(1)
