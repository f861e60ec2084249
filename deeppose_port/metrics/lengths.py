"""The lengths that errors are measured by: of torsos and of boxes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deeppose_port.data.arrays import Float64Array
from deeppose_port.data.skeletons import Limb
from deeppose_port.metrics.arrays import (
    checked_positions,
    counted_joints,
    distances_between,
    end_positions,
    ends_counted,
    limb_ends,
)


def box_sizes(true: npt.ArrayLike, visible: npt.ArrayLike | None = None) -> Float64Array:
    """Measure each person's box, the reference length of Yang and Ramanan's PCK (see `pck`).

    Args:
        true: (N, J, 2) true positions.
        visible: (N, J), which joints count.

    Returns:
        (N,) the larger side of the box around the joints that count; NaN for a person who has less than two.

    Raises:
        DeepPoseError: a shape is not as above, or a joint that counts has no finite true position.
    """
    true = checked_positions(true, "true")
    counted = counted_joints(true, visible)[..., np.newaxis]
    low = np.min(true, axis=1, where=counted, initial=np.inf)
    high = np.max(true, axis=1, where=counted, initial=-np.inf)
    several = counted.sum(axis=1) > 1
    sides = np.subtract(high, low, out=np.full(low.shape, np.nan), where=several)
    sizes: Float64Array = sides.max(axis=1)
    return sizes


def torso_lengths(true: npt.ArrayLike, torso: Limb, visible: npt.ArrayLike | None = None) -> Float64Array:
    """Measure each person's torso, the reference length of `pdj`.

    It is the distance between the left shoulder and the right hip (Sapp and Taskar, CVPR 2013), and the true
    one: a predicted torso would let a bad prediction widen its own tolerance.

    Args:
        true: (N, J, 2) true positions.
        torso: the two ends (`Skeleton.torso`).
        visible: (N, J), which joints count.

    Returns:
        (N,) lengths in pixels; NaN for a person in whom one of the ends does not count.

    Raises:
        DeepPoseError: a shape or the torso is not as above, or a joint that counts has no finite true position.
    """
    true = checked_positions(true, "true")
    counted = counted_joints(true, visible)
    starts, stops = limb_ends([torso], joints=true.shape[1])
    lengths = distances_between(end_positions(true, starts), end_positions(true, stops))
    both = ends_counted(counted, starts) & ends_counted(counted, stops)
    return np.where(both, lengths, np.nan)[:, 0]
