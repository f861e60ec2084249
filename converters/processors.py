"""How many processors there are for this process, and work for several of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

#: Less than so many bytes are less work than threads are.
_WORTH_THREADS = 1 << 20


def usable_processors() -> int:
    """Returns how many processors this process may use, where the system tells; else how many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_threads(work: Callable[[str], Result], sizes: Mapping[str, int]) -> dict[str, Result]:
    """Calls `work` for each key, the largest first; inflating, hashing and comparing let go of the interpreter."""
    if sum(sizes.values()) < _WORTH_THREADS:
        return {key: work(key) for key in sizes}
    with ThreadPoolExecutor(max(1, min(usable_processors(), len(sizes)))) as pool:
        futures = {key: pool.submit(work, key) for key in sorted(sizes, key=lambda key: -sizes[key])}
        try:
            return {key: futures[key].result() for key in sizes}
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
