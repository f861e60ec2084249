"""The percentage of correct parts, limb by limb."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError
from deeppose_port.data.arrays import Float64Array
from deeppose_port.data.skeletons import Limb
from deeppose_port.metrics.arrays import (
    checked_poses,
    checked_thresholds,
    distances_between,
    end_positions,
    ends_counted,
    limb_ends,
)
from deeppose_port.metrics.tallies import Tally


def pcp(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    limbs: Sequence[Limb],
    visible: npt.ArrayLike | None = None,
    threshold: float = 0.5,
    rule: Literal["strict", "relaxed"] = "strict",
) -> Float64Array:
    """Compute the percentage of correct parts: for each limb, the fraction of persons in whom it is correct.

    Strict: both predicted ends lie within `threshold` times the true limb's length of their true ends.
    Relaxed: the mean of the two ends' errors does. A limb of zero length is never correct but counts.

    PCP is from Ferrari, Marin-Jimenez and Zisserman, "Progressive Search Space Reduction for Human Pose
    Estimation", CVPR 2008, whose wording allows both rules. Relaxed is what the code of Eichner et al., "2D
    Articulated Human Pose Estimation and Retrieval in (Almost) Unconstrained Still Images", IJCV 2012,
    computes; strict is the usual one on LSP, defined in Pishchulin et al., "Articulated People Detection and
    Pose Estimation: Reshaping the Future", CVPR 2012.

    Args:
        predicted: (N, J, 2) predicted positions.
        true: (N, J, 2) true positions.
        limbs: pairs of ends; an end is a joint's index or a tuple of indices, which stands for their mean
            position and counts if all of them do.
        visible: (N, J), which joints count; a limb counts where both its ends do.
        threshold: the allowed error, as a fraction of the true limb's length.
        rule: "strict" or "relaxed".

    Returns:
        (len(limbs),) fractions from 0 to 1; NaN for a limb that counts in no person.

    Raises:
        DeepPoseError: a shape, a limb, the threshold or the rule is not as above, or a joint that counts has no
            finite true position.
    """
    return pcp_tally(predicted, true, limbs, visible, threshold, rule).values()


def pcp_tally(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    limbs: Sequence[Limb],
    visible: npt.ArrayLike | None = None,
    threshold: float = 0.5,
    rule: Literal["strict", "relaxed"] = "strict",
) -> Tally:
    """Tell which limbs of which persons are correct, as `pcp` counts them: a Tally of (N, len(limbs))."""
    if rule not in ("strict", "relaxed"):
        raise DeepPoseError(f"rule must be 'strict' or 'relaxed', not {rule!r}")
    checked_thresholds(threshold)
    predicted, true, counted = checked_poses(predicted, true, visible)
    starts, stops = limb_ends(limbs, joints=true.shape[1])
    lengths = distances_between(end_positions(true, starts), end_positions(true, stops))
    start_errors, stop_errors = (
        distances_between(end_positions(predicted, ends), end_positions(true, ends)) for ends in (starts, stops)
    )
    errors = np.maximum(start_errors, stop_errors) if rule == "strict" else (start_errors + stop_errors) / 2
    correct = (errors <= threshold * lengths) & (lengths > 0)
    return Tally.of(correct, ends_counted(counted, starts) & ends_counted(counted, stops))
