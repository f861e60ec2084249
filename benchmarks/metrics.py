"""Seconds for all metrics of 10,000 persons' predictions, by joint and in total, without intervals."""

from __future__ import annotations

import numpy as np

from benchmarks.timing import Row, seconds_of
from deeppose_port import metrics
from deeppose_port.data.skeletons import MPII
from deeppose_port.metrics.evaluation import evaluation_of_poses
from deeppose_port.metrics.registry import Poses

PERSONS = 10_000
ROUNDS = 5


def run() -> list[Row]:
    """Measures it; the best round counts."""
    random = np.random.default_rng(0)
    true = random.uniform(0, 500, (PERSONS, len(MPII.joints), 2))
    predicted = true + random.normal(0, 25, true.shape)
    visible = random.random(true.shape[:2]) > 0.1
    head_sizes = random.uniform(30, 90, PERSONS)
    assert MPII.torso is not None
    torso = MPII.torso

    def evaluate() -> object:
        lengths = metrics.torso_lengths(true, torso, visible)
        return evaluation_of_poses(Poses(MPII, predicted, true, visible, lengths, head_sizes)).as_dict()

    seconds = min(seconds_of(evaluate) for _ in range(ROUNDS))
    return [Row(f"all metrics of {PERSONS:,} persons of 16 joints", seconds, None, "s", "ours", "<=", 1)]
