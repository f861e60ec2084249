"""One number for all joints: the mean of theirs, or the value over all of them together."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError
from deeppose_port.metrics.arrays import checked_joint
from deeppose_port.metrics.tallies import Tally


def mean_over_joints(fractions: npt.ArrayLike) -> float:
    """Average the fractions of joints (or limbs), each with the same weight.

    Args:
        fractions: (J,) fractions; NaN, for what no person has, is left out.

    Returns:
        The mean; NaN if nothing is left.

    Raises:
        DeepPoseError: there is more than one axis (PDJ at several thresholds is averaged row by row).
    """
    fractions = np.asarray(fractions, dtype=np.float64)
    if fractions.ndim != 1:
        raise DeepPoseError(f"fractions must have one axis, not the shape {fractions.shape}")
    known = fractions[~np.isnan(fractions)]
    return float(known.mean()) if known.size else math.nan


def total_of(tally: Tally, excluded: Iterable[int] = ()) -> float:
    """Return a tally's value over all persons and all columns but the excluded ones."""
    joints = tally.scores.shape[1]
    return float(tally.summed().totals([checked_joint(joint, joints) for joint in excluded])[0])
