"""The same function over many shards: in threads here, or on a Ray cluster."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from converters.progress import ProgressCallback, silent
from deeppose_port.data.prepare.source import PrepareError
from deeppose_port.options import refuse_unknown

Shard = TypeVar("Shard")
Result = TypeVar("Result")

ENGINES = ("threads", "ray")


def run(
    function: Callable[[Shard], Result],
    shards: Sequence[Shard],
    *,
    jobs: int,
    engine: str = "threads",
    progress: ProgressCallback = silent,
) -> list[Result]:
    """Calls a function for each shard, and returns its results in the order of the shards.

    Args:
        function: What is done to a shard; for Ray, function and shards have to be picklable, and the files that they
            name within reach of every machine.
        shards: The shards.
        jobs: How many are worked on at a time.
        engine: `threads`, or `ray`: the cluster that RAY_ADDRESS names, else one on this machine for the while.
        progress: Called with the shards done and all of them.

    Raises:
        PrepareError: There is no such engine, Ray is not installed, or `jobs` is below 1.
    """
    if jobs < 1:
        raise PrepareError(f"jobs must be 1 or more, not {jobs}")
    refuse_unknown("engine", engine, ENGINES, error=PrepareError)
    results = (_with_ray if engine == "ray" else _with_threads)(function, shards, jobs, progress)
    return [results[i] for i in range(len(shards))]


def _with_threads(
    function: Callable[[Shard], Result], shards: Sequence[Shard], jobs: int, progress: ProgressCallback
) -> dict[int, Result]:
    results: dict[int, Result] = {}
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(function, shard): i for i, shard in enumerate(shards)}
        try:
            for future in as_completed(futures):
                results[futures[future]] = future.result()
                progress(len(results), len(shards))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def _with_ray(
    function: Callable[[Shard], Result], shards: Sequence[Shard], jobs: int, progress: ProgressCallback
) -> dict[int, Result]:
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise PrepareError("the engine ray needs Ray: pip install 'deeppose-port[ray]'") from error
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False)
    try:
        remote = ray.remote(function)
        results: dict[int, Result] = {}
        waiting = list(reversed(range(len(shards))))
        running: dict[object, int] = {}
        while waiting or running:
            while waiting and len(running) < jobs:
                i = waiting.pop()
                running[remote.remote(shards[i])] = i
            (done,), _ = ray.wait(list(running), num_returns=1)
            results[running.pop(done)] = ray.get(done)
            progress(len(results), len(shards))
        return results
    finally:
        if started:
            ray.shutdown()
