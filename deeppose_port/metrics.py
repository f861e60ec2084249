"""The measures of human pose estimation: PCP, PDJ, PCKh, pixel errors, and the loss of the legacy training.

Poses are (persons, joints, 2) arrays of pixels of the original picture, x right and y down. `visible` is
(persons, joints) and says which joints count; without it, those with a finite true position do. Everything is
computed in float64, and thresholds are inclusive (`<=`). A predicted NaN at a joint that counts is a miss in
every fraction and makes a mean error NaN, so that a broken network cannot look good.
"""

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from .skeletons import End, Limb

__all__ = [
    "masked_mse",
    "mean_error",
    "mean_over_joints",
    "pckh",
    "pckh_total",
    "pcp",
    "pdj",
    "pixel_errors",
    "torso_lengths",
]

Floats: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]


def pcp(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    limbs: Sequence[Limb],
    visible: npt.ArrayLike | None = None,
    threshold: float = 0.5,
    rule: Literal["strict", "relaxed"] = "strict",
) -> Floats:
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
        ValueError: a shape, a limb, the threshold or the rule is not as above, or a joint that counts has no
            finite true position.
    """
    if rule not in ("strict", "relaxed"):
        raise ValueError(f"rule must be 'strict' or 'relaxed', not {rule!r}")
    _check_thresholds(threshold)
    predicted, true, counted = _poses(predicted, true, visible)
    starts, stops = _limb_ends(limbs, joints=true.shape[1])
    lengths = _distances(_end_positions(true, starts), _end_positions(true, stops))
    start_errors, stop_errors = (
        _distances(_end_positions(predicted, ends), _end_positions(true, ends)) for ends in (starts, stops)
    )
    errors = np.maximum(start_errors, stop_errors) if rule == "strict" else (start_errors + stop_errors) / 2
    correct = (errors <= threshold * lengths) & (lengths > 0)
    return _fractions(correct, _ends_counted(counted, starts) & _ends_counted(counted, stops))


def pdj(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    torso: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
    thresholds: Sequence[float] = (0.2,),
) -> Floats:
    """Compute the percentage of detected joints: for each joint, the fraction of persons in whom it is found.

    Found is within a threshold times the length of the person's true torso. Sapp and Taskar, "MODEC:
    Multimodal Decomposable Models for Human Pose Estimation", CVPR 2013; section 4.1 of Toshev and Szegedy,
    "DeepPose: Human Pose Estimation via Deep Neural Networks", CVPR 2014. On LSP it is also known as PCK.

    Args:
        predicted: (N, J, 2) predicted positions.
        true: (N, J, 2) true positions.
        torso: (N,) lengths in the same pixels (see `torso_lengths`); a person whose length is NaN is left
            out.
        visible: (N, J), which joints count.
        thresholds: the allowed errors, as fractions of the torso.

    Returns:
        (len(thresholds), J) fractions from 0 to 1; NaN for a joint that counts in no person.

    Raises:
        ValueError: a shape, a length or a threshold is not as above, or a joint that counts has no finite
            true position.
    """
    allowed = _check_thresholds(thresholds)
    if allowed.ndim != 1:
        raise ValueError(f"thresholds must be a sequence of numbers, not {thresholds!r}")
    errors, counted, lengths = _errors_and_lengths(predicted, true, torso, visible, name="torso")
    fractions = [_fractions(errors <= threshold * lengths, counted) for threshold in allowed]
    return np.array(fractions).reshape(len(fractions), errors.shape[1])


def pckh(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    head_sizes: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
    threshold: float = 0.5,
) -> Floats:
    """Compute PCKh: for each joint, the fraction of persons in whom it is within a part of the head's size.

    Andriluka, Pishchulin, Gehler and Schiele, "2D Human Pose Estimation: New Benchmark and State of the Art
    Analysis", CVPR 2014. On MPII a joint counts if it is annotated, occluded or not.

    Args:
        predicted: (N, J, 2) predicted positions.
        true: (N, J, 2) true positions.
        head_sizes: (N,) in the same pixels; for MPII, 0.6 times the diagonal of the head's box. A person
            whose size is NaN is left out.
        visible: (N, J), which joints count.
        threshold: the allowed error, as a fraction of the head's size.

    Returns:
        (J,) fractions from 0 to 1; NaN for a joint that counts in no person.

    Raises:
        ValueError: a shape, a size or the threshold is not as above, or a joint that counts has no finite
            true position.
    """
    _check_thresholds(threshold)
    errors, counted, sizes = _errors_and_lengths(predicted, true, head_sizes, visible, name="head_sizes")
    return _fractions(errors <= threshold * sizes, counted)


def pckh_total(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    head_sizes: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
    threshold: float = 0.5,
    *,
    excluded: Iterable[int],
) -> float:
    """Compute PCKh's total: the fraction over all joints of all persons together.

    It is no mean of the joints' fractions: a joint weighs as much as there are persons in whom it counts.

    Args:
        predicted: as in `pckh`.
        true: as in `pckh`.
        head_sizes: as in `pckh`.
        visible: as in `pckh`.
        threshold: as in `pckh`.
        excluded: indices of the joints left out (`Skeleton.pckh_total_excluded`); MPII's published totals are
            without pelvis (6) and thorax (7).

    Returns:
        A fraction from 0 to 1; NaN if no joint counts.

    Raises:
        ValueError: as in `pckh`, or an excluded index is not a joint's.
    """
    _check_thresholds(threshold)
    errors, counted, sizes = _errors_and_lengths(predicted, true, head_sizes, visible, name="head_sizes")
    counted[:, [_checked_joint(joint, counted.shape[1]) for joint in excluded]] = False
    return float(_fractions((errors <= threshold * sizes).ravel(), counted.ravel()))


def pixel_errors(predicted: npt.ArrayLike, true: npt.ArrayLike, visible: npt.ArrayLike | None = None) -> Floats:
    """Compute each joint's distance from where it should be.

    Args:
        predicted: (N, J, 2) predicted positions.
        true: (N, J, 2) true positions.
        visible: (N, J), which joints count.

    Returns:
        (N, J) Euclidean distances in pixels; NaN for a joint that does not count.

    Raises:
        ValueError: a shape is not as above, or a joint that counts has no finite true position.
    """
    predicted, true, counted = _poses(predicted, true, visible)
    return np.where(counted, _distances(predicted, true), np.nan)


def mean_error(predicted: npt.ArrayLike, true: npt.ArrayLike, visible: npt.ArrayLike | None = None) -> float:
    """Compute the mean distance in pixels over all joints that count, of all persons together.

    Args:
        predicted: (N, J, 2) predicted positions.
        true: (N, J, 2) true positions.
        visible: (N, J), which joints count.

    Returns:
        The mean Euclidean distance; NaN if no joint counts, or if one that counts is predicted as NaN.

    Raises:
        ValueError: as in `pixel_errors`.
    """
    predicted, true, counted = _poses(predicted, true, visible)
    errors = _distances(predicted, true)[counted]
    return float(errors.mean()) if errors.size else math.nan


def torso_lengths(true: npt.ArrayLike, torso: Limb, visible: npt.ArrayLike | None = None) -> Floats:
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
        ValueError: a shape or the torso is not as above, or a joint that counts has no finite true position.
    """
    true = _positions(true, "true")
    counted = _counted_joints(true, visible)
    starts, stops = _limb_ends([torso], joints=true.shape[1])
    lengths = _distances(_end_positions(true, starts), _end_positions(true, stops))
    both = _ends_counted(counted, starts) & _ends_counted(counted, stops)
    return np.where(both, lengths, np.nan)[:, 0]


def mean_over_joints(fractions: npt.ArrayLike) -> float:
    """Average the fractions of joints (or limbs), each with the same weight.

    Args:
        fractions: (J,) fractions; NaN, for what no person has, is left out.

    Returns:
        The mean; NaN if nothing is left.

    Raises:
        ValueError: there is more than one axis (PDJ at several thresholds is averaged row by row).
    """
    fractions = np.asarray(fractions, dtype=np.float64)
    if fractions.ndim != 1:
        raise ValueError(f"fractions must have one axis, not the shape {fractions.shape}")
    known = fractions[~np.isnan(fractions)]
    return float(known.mean()) if known.size else math.nan


def masked_mse(outputs: npt.ArrayLike, targets: npt.ArrayLike, mask: npt.ArrayLike) -> float:
    """Compute the loss of the legacy training: the mean squared error over the coordinates that count.

    As in legacy loss.py, the mask is per coordinate and the mean is over the whole batch, without a factor
    1/2. Unlike there, an all-zero mask gives 0 instead of NaN, and NaN under a zero mask is not seen.

    Args:
        outputs: what the network answers, any shape, usually (N, 2 * joints).
        targets: what it should answer, of the same shape.
        mask: 1 where a coordinate counts and 0 where it does not, of the same shape.

    Returns:
        The loss, accumulated in float64 whatever the inputs are.

    Raises:
        ValueError: the three shapes differ, or the mask holds something else than 0 and 1.
    """
    outputs, targets = np.asarray(outputs, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    counted = _as_mask(mask, "mask")
    if not outputs.shape == targets.shape == counted.shape:
        raise ValueError(
            f"outputs {outputs.shape}, targets {targets.shape} and mask {counted.shape} must have one shape"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.square(outputs[counted] - targets[counted])
        return float(squares.mean()) if squares.size else 0.0


def _poses(predicted: npt.ArrayLike, true: npt.ArrayLike, visible: npt.ArrayLike | None) -> tuple[Floats, Floats, Mask]:
    """Check two sets of poses; return them with the mask of the joints that count."""
    predicted, true = _positions(predicted, "predicted"), _positions(true, "true")
    if predicted.shape != true.shape:
        raise ValueError(f"predicted {predicted.shape} and true {true.shape} must have one shape")
    return predicted, true, _counted_joints(true, visible)


def _positions(array: npt.ArrayLike, name: str) -> Floats:
    positions = np.asarray(array, dtype=np.float64)
    if positions.ndim != 3 or positions.shape[2] != 2:
        raise ValueError(f"{name} must have the shape (persons, joints, 2), not {positions.shape}")
    return positions


def _counted_joints(true: Floats, visible: npt.ArrayLike | None) -> Mask:
    known: Mask = np.all(np.isfinite(true), axis=2)
    if visible is None:
        return known
    counted = _as_mask(visible, "visible")
    if counted.shape != known.shape:
        raise ValueError(f"visible must have the shape (persons, joints), {known.shape}, not {counted.shape}")
    if (unknown := np.argwhere(counted & ~known)).size:
        person, joint = unknown[0]
        raise ValueError(
            f"true has no finite position for joint {joint} of person {person}, but visible says that it "
            "counts; mark such a joint as not visible"
        )
    return counted


def _as_mask(array: npt.ArrayLike, name: str) -> Mask:
    mask = np.asarray(array)
    if not np.all((mask == 0) | (mask == 1)):
        raise ValueError(f"{name} must hold only 0 and 1, or False and True")
    return mask.astype(np.bool_, copy=False)


def _check_thresholds(thresholds: float | Sequence[float]) -> Floats:
    values = np.asarray(thresholds, dtype=np.float64)
    if not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(f"a threshold must be a finite number and not negative: {thresholds!r}")
    return values


def _errors_and_lengths(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    lengths: npt.ArrayLike,
    visible: npt.ArrayLike | None,
    name: str,
) -> tuple[Floats, Mask, Floats]:
    """Return the errors (N, J), which of them count, and the persons' reference lengths (N, 1)."""
    predicted, true, counted = _poses(predicted, true, visible)
    lengths = np.asarray(lengths, dtype=np.float64)
    if lengths.shape != true.shape[:1]:
        raise ValueError(f"{name} must hold one length a person, ({len(true)},), not {lengths.shape}")
    if (lengths < 0).any() or np.isinf(lengths).any():
        raise ValueError(f"{name} must hold finite lengths that are not negative, or NaN where there is none")
    lengths = lengths[:, np.newaxis]
    return _distances(predicted, true), counted & ~np.isnan(lengths), lengths


def _distances(a: Floats, b: Floats) -> Floats:
    """Return the Euclidean distances along the last axis, silent about what is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.square(a - b)
        distances: Floats = np.sqrt(squares[..., 0] + squares[..., 1])
    return distances


def _limb_ends(limbs: Iterable[Limb], joints: int) -> tuple[list[list[int]], list[list[int]]]:
    """Return the first and the second ends of the limbs, each as a list of joint indices."""
    starts, stops = [], []
    for limb in limbs:
        try:
            start, stop = limb
        except (TypeError, ValueError):
            raise ValueError(f"a limb must be a pair of ends, not {limb!r}") from None
        starts.append(_end_joints(start, joints))
        stops.append(_end_joints(stop, joints))
    return starts, stops


def _end_joints(end: End, joints: int) -> list[int]:
    members = list(end) if isinstance(end, Sequence) else [end]
    if not members:
        raise ValueError("an end of a limb must have at least one joint, not ()")
    return [_checked_joint(joint, joints) for joint in members]


def _checked_joint(joint: int, joints: int) -> int:
    try:
        index = operator.index(joint)
    except TypeError:
        raise ValueError(f"a joint must be given by its index, not {joint!r}") from None
    if not 0 <= index < joints:
        raise ValueError(f"there is no joint {index}: the poses have {joints}, counted from 0")
    return index


def _end_positions(positions: Floats, ends: list[list[int]]) -> Floats:
    """Return the (N, len(ends), 2) positions of the ends."""
    result = np.empty((len(positions), len(ends), 2))
    with np.errstate(over="ignore", invalid="ignore"):
        for column, members in enumerate(ends):
            result[:, column] = positions[:, members].mean(axis=1)
    return result


def _ends_counted(counted: Mask, ends: list[list[int]]) -> Mask:
    """Return (N, len(ends)), whether all joints of each end count."""
    result = np.empty((len(counted), len(ends)), dtype=np.bool_)
    for column, members in enumerate(ends):
        result[:, column] = counted[:, members].all(axis=1)
    return result


def _fractions(correct: Mask, counted: Mask) -> Floats:
    """Return what part of the counted is correct, along the first axis; NaN where nothing is counted."""
    hits, total = (correct & counted).sum(axis=0), counted.sum(axis=0)
    fractions: Floats = np.divide(hits, total, out=np.full(total.shape, np.nan), where=total > 0)
    return fractions
