"""Whether a network that was repaired still answers: a fixed input through it."""

from __future__ import annotations

import numpy as np

from converters import Checkpoint
from deeppose_port.backends import BackendError
from deeppose_port.backends.fastest import AUTO
from deeppose_port.pose import Pose


def probe(checkpoint: Checkpoint) -> str:
    """Says what a network answers to one input, the same each time, in the fastest engine that is installed.

    Args:
        checkpoint: The network, in whose weights numbers were replaced that were not finite.
    """
    try:
        pose = Pose(checkpoint, AUTO, pictures=1)
    except BackendError:
        return "no engine is installed to try whether the repaired network answers"
    inputs = np.random.default_rng(0).standard_normal((1, 3, *pose.preprocessing.shape), np.float32)
    broken = int((~np.isfinite(pose(inputs))).sum())
    if broken:
        return f"a fixed input through the repaired network: {broken} of its answers are NaN or Inf, so it is no use"
    return "a fixed input through the repaired network: every answer is finite"
