"""Which engine is the fastest on this machine: a ResNet50 of half its width through each that is installed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from converters import Architecture, Checkpoint, Preprocessing, Source
from deeppose_port import backends
from deeppose_port.backends.fastest import candidates

#: Small inputs, so that it takes a second or two; each engine's best round counts.
_SIDE, _BATCH, _ROUNDS = 96, 2, 3


def measured() -> Mapping[str, float]:
    """Measures on the CPU the engines that `--backend auto` chooses from.

    They take turns, so that what else the machine does falls on all of them.

    Returns:
        Pictures a second by the engines' titles, in the order in which `auto` takes them; without Chainer, which is
        far behind, where there is another.
    """
    checkpoint = _random()
    inputs = np.random.default_rng(0).standard_normal((_BATCH, 3, _SIDE, _SIDE), np.float32)
    runs: dict[str, Callable[[], object]] = {}
    for candidate in candidates():
        if candidate.backend == "chainer" and runs:
            continue
        engine = {"engine": candidate.engine} if candidate.engine else {}
        try:
            predictor = backends.get(candidate.backend).predictor(checkpoint, **engine)
        except backends.BackendError:
            continue
        runs[candidate.title] = lambda predictor=predictor: predictor(inputs)  # type: ignore[misc]
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(1 + _ROUNDS):  # the first warms up, and is never the best
        for title, run in runs.items():
            start = time.perf_counter()
            run()
            best[title] = min(best[title], time.perf_counter() - start)
    return {title: _BATCH / seconds for title, seconds in best.items()}


def _random() -> Checkpoint:
    full = Architecture.full_size("resnet50", 16, writer="chainer-7.8.1")
    halved = {name.removesuffix(".weight"): shape[0] // 2 for name, shape in full.shapes.items() if len(shape) == 4}
    architecture = Architecture(full.name, full.joints, halved, full.feature_size, full.writer)
    rng = np.random.default_rng(0)
    weights = {}
    for name, shape in architecture.shapes.items():
        if name.endswith("num_batches_tracked"):
            weights[name] = np.zeros(shape, np.int64)
        elif len(shape) > 1:
            weights[name] = rng.standard_normal(shape, np.float32) / np.float32(np.prod(shape[1:]) ** 0.5)
        else:
            weights[name] = np.ones(shape, np.float32)
    preprocessing = Preprocessing(im_size=_SIDE)
    return Checkpoint(architecture, weights, preprocessing, Source("random", "", "pt", writer=architecture.writer))
