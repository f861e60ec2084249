"""Poses and masks as the metrics take them, checked, and what is measured between them."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError
from deeppose_port.data.arrays import Float64Array, Mask
from deeppose_port.data.skeletons import End, Limb


def checked_poses(
    predicted: npt.ArrayLike, true: npt.ArrayLike, visible: npt.ArrayLike | None
) -> tuple[Float64Array, Float64Array, Mask]:
    """Check two sets of poses; return them with the mask of the joints that count."""
    predicted, true = checked_positions(predicted, "predicted"), checked_positions(true, "true")
    if predicted.shape != true.shape:
        raise DeepPoseError(f"predicted {predicted.shape} and true {true.shape} must have one shape")
    return predicted, true, counted_joints(true, visible)


def checked_positions(array: npt.ArrayLike, name: str) -> Float64Array:
    """Check an array of poses, (N, J, 2); return it in float64."""
    positions = np.asarray(array, dtype=np.float64)
    if positions.ndim != 3 or positions.shape[2] != 2:
        raise DeepPoseError(f"{name} must have the shape (persons, joints, 2), not {positions.shape}")
    return positions


def counted_joints(true: Float64Array, visible: npt.ArrayLike | None) -> Mask:
    """Return (N, J), which joints count: the visible ones, or those with a finite true position."""
    known: Mask = np.all(np.isfinite(true), axis=2)
    if visible is None:
        return known
    counted = checked_mask(visible, "visible")
    if counted.shape != known.shape:
        raise DeepPoseError(f"visible must have the shape (persons, joints), {known.shape}, not {counted.shape}")
    if (unknown := np.argwhere(counted & ~known)).size:
        person, joint = unknown[0]
        raise DeepPoseError(
            f"true has no finite position for joint {joint} of person {person}, but visible says that it "
            "counts; mark such a joint as not visible"
        )
    return counted


def checked_mask(array: npt.ArrayLike, name: str) -> Mask:
    """Check a mask of 0 and 1; return it as bool."""
    mask = np.asarray(array)
    if not np.all((mask == 0) | (mask == 1)):
        raise DeepPoseError(f"{name} must hold only 0 and 1, or False and True")
    return mask.astype(np.bool_, copy=False)


def checked_answers(
    outputs: npt.ArrayLike, targets: npt.ArrayLike, mask: npt.ArrayLike
) -> tuple[Float64Array, Float64Array, Mask]:
    """Check what a network answers, what it should answer, and which of that counts, all of one shape; return them."""
    outputs, targets = np.asarray(outputs, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    counted = checked_mask(mask, "mask")
    if not outputs.shape == targets.shape == counted.shape:
        raise DeepPoseError(
            f"outputs {outputs.shape}, targets {targets.shape} and mask {counted.shape} must have one shape"
        )
    return outputs, targets, counted


def checked_thresholds(thresholds: float | Sequence[float]) -> Float64Array:
    """Check one threshold or several: finite and not negative."""
    values = np.asarray(thresholds, dtype=np.float64)
    if not (np.isfinite(values) & (values >= 0)).all():
        raise DeepPoseError(f"a threshold must be a finite number and not negative: {thresholds!r}")
    return values


def errors_and_lengths(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    lengths: npt.ArrayLike,
    visible: npt.ArrayLike | None,
    name: str,
) -> tuple[Float64Array, Mask, Float64Array]:
    """Return the errors (N, J), which of them count, and the persons' reference lengths (N, 1)."""
    predicted, true, counted = checked_poses(predicted, true, visible)
    lengths = np.asarray(lengths, dtype=np.float64)
    if lengths.shape != true.shape[:1]:
        raise DeepPoseError(f"{name} must hold one length a person, ({len(true)},), not {lengths.shape}")
    if (lengths < 0).any() or np.isinf(lengths).any():
        raise DeepPoseError(f"{name} must hold finite lengths that are not negative, or NaN where there is none")
    lengths = lengths[:, np.newaxis]
    return distances_between(predicted, true), counted & ~np.isnan(lengths), lengths


def distances_between(a: Float64Array, b: Float64Array) -> Float64Array:
    """Return the Euclidean distances along the last axis, silent about what is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.square(a - b)
        distances: Float64Array = np.sqrt(squares[..., 0] + squares[..., 1])
    return distances


def limb_ends(limbs: Iterable[Limb], joints: int) -> tuple[list[list[int]], list[list[int]]]:
    """Return the first and the second ends of the limbs, each as a list of joint indices."""
    starts, stops = [], []
    for limb in limbs:
        try:
            start, stop = limb
        except (TypeError, ValueError):
            raise DeepPoseError(f"a limb must be a pair of ends, not {limb!r}") from None
        starts.append(_end_joints(start, joints))
        stops.append(_end_joints(stop, joints))
    return starts, stops


def _end_joints(end: End, joints: int) -> list[int]:
    members = list(end) if isinstance(end, Sequence) else [end]
    if not members:
        raise DeepPoseError("an end of a limb must have at least one joint, not ()")
    return [checked_joint(joint, joints) for joint in members]


def checked_joint(joint: int, joints: int) -> int:
    """Check that a joint is one's index."""
    try:
        index = operator.index(joint)
    except TypeError:
        raise DeepPoseError(f"a joint must be given by its index, not {joint!r}") from None
    if not 0 <= index < joints:
        raise DeepPoseError(f"there is no joint {index}: the poses have {joints}, counted from 0")
    return index


def end_positions(positions: Float64Array, ends: list[list[int]]) -> Float64Array:
    """Return the (N, len(ends), 2) positions of the ends."""
    result = np.empty((len(positions), len(ends), 2))
    with np.errstate(over="ignore", invalid="ignore"):
        for column, members in enumerate(ends):
            result[:, column] = positions[:, members].mean(axis=1)
    return result


def ends_counted(counted: Mask, ends: list[list[int]]) -> Mask:
    """Return (N, len(ends)), whether all joints of each end count."""
    result = np.empty((len(counted), len(ends)), dtype=np.bool_)
    for column, members in enumerate(ends):
        result[:, column] = counted[:, members].all(axis=1)
    return result
