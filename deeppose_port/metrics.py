"""The measures of human pose estimation: PCP, PDJ, PCK, PCKh, AUC, errors, and the loss of the legacy training.

Poses are (persons, joints, 2) arrays of pixels of the original picture, x right and y down. `visible` is
(persons, joints) and says which joints count; without it, those with a finite true position do. Everything is
computed in float64, and thresholds are inclusive (`<=`). A predicted NaN at a joint that counts is a miss in
every fraction and makes a mean error NaN, so that a broken network cannot look good.

The functions that end in `_tally` give the same measures by person, for totals and bootstrap intervals.
"""

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from .skeletons import End, Limb
from .tallies import Tally

__all__ = [
    "auc",
    "auc_tally",
    "auc_total",
    "box_sizes",
    "error_tally",
    "legacy_error",
    "masked_mse",
    "mean_error",
    "mean_over_joints",
    "nme",
    "nme_total",
    "normalized_errors",
    "pck",
    "pck_tally",
    "pck_total",
    "pckh",
    "pckh_total",
    "pcp",
    "pcp_tally",
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
    return Tally.of(correct, _ends_counted(counted, starts) & _ends_counted(counted, stops))


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
    "DeepPose: Human Pose Estimation via Deep Neural Networks", CVPR 2014. At one threshold it is `pck`.

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
    fractions = [Tally.of(errors <= t * lengths, counted).values() for t in allowed]
    return np.array(fractions).reshape(len(fractions), errors.shape[1])


def pck(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    lengths: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
    threshold: float = 0.2,
) -> Floats:
    """Compute the percentage of correct keypoints: for each joint, the fraction of persons in whom it is found.

    Found is within a part of a length of the person's own. With the larger side of the person's box
    (`box_sizes`) it is the PCK of Yang and Ramanan, "Articulated Human Detection with Flexible Mixtures of
    Parts", IEEE TPAMI 35, 2013, at 0.1 (Parse) or 0.2 (Buffy), and MMPose's `PCKAccuracy("bbox")`, which takes
    `<` for `<=`. With the torso (`torso_lengths`) and 0.2 it is the PCK that LSP and FLIC are reported with, as
    in the evaluation kit of Yang et al., CVPR 2016 (eval_pose), and the same as PDJ@0.2.

    Args:
        predicted: (N, J, 2) predicted positions.
        true: (N, J, 2) true positions.
        lengths: (N,) in the same pixels; a person whose length is NaN is left out.
        visible: (N, J), which joints count.
        threshold: the allowed error, as a fraction of the length.

    Returns:
        (J,) fractions from 0 to 1; NaN for a joint that counts in no person.

    Raises:
        ValueError: a shape, a length or the threshold is not as above, or a joint that counts has no finite
            true position.
    """
    return pck_tally(predicted, true, lengths, visible, threshold).values()


def pck_total(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    lengths: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
    threshold: float = 0.2,
    *,
    excluded: Iterable[int] = (),
) -> float:
    """Compute PCK over all joints of all persons together, eval_pose's "mean"; see `pck` and `pckh_total`."""
    tally = pck_tally(predicted, true, lengths, visible, threshold)
    return _total(tally, excluded)


def pck_tally(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    lengths: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
    threshold: float = 0.2,
) -> Tally:
    """Tell which joints of which persons are found, as `pck` counts them: a Tally of (N, J)."""
    _check_thresholds(threshold)
    errors, counted, lengths = _errors_and_lengths(predicted, true, lengths, visible, name="lengths")
    return Tally.of(errors <= threshold * lengths, counted)


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
    return pck(predicted, true, head_sizes, visible, threshold)


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
    return pck_total(predicted, true, head_sizes, visible, threshold, excluded=excluded)


def auc(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    lengths: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
    threshold: float = 0.2,
    step: float = 0.01,
) -> Floats:
    """Compute the area under the curve of PCK over the thresholds from 0 to one, as a fraction of the whole area.

    The curve is sampled every `step` and straight between, as in MPII's evaluation kit, which eval_pose has
    too: from 0 to 0.2 of the torso on LSP and FLIC, from 0 to 0.5 of the head on MPII. (MMPose's `keypoint_auc`
    is another: the mean of PCK at 0, 1/20, … 19/20 of 30 pixels.)

    Args:
        predicted: as in `pck`.
        true: as in `pck`.
        lengths: as in `pck`.
        visible: as in `pck`.
        threshold: where the curve ends, as a fraction of the length.
        step: distance of the samples.

    Returns:
        (J,) fractions from 0 to 1; NaN for a joint that counts in no person.

    Raises:
        ValueError: as in `pck`, or the threshold is no multiple of the step.
    """
    return auc_tally(predicted, true, lengths, visible, threshold, step).values()


def auc_total(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    lengths: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
    threshold: float = 0.2,
    step: float = 0.01,
    *,
    excluded: Iterable[int] = (),
) -> float:
    """Compute the area under the curve of PCK's total; see `auc` and `pck_total`."""
    tally = auc_tally(predicted, true, lengths, visible, threshold, step)
    return _total(tally, excluded)


def auc_tally(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    lengths: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
    threshold: float = 0.2,
    step: float = 0.01,
) -> Tally:
    """Tell how much of the area under the curve each joint of each person gives: a Tally of (N, J)."""
    if not (math.isfinite(threshold) and threshold > 0 and step > 0):
        raise ValueError(f"the area goes from 0 to {threshold:g} in steps of {step:g}: both must be positive")
    samples = round(threshold / step)
    if samples < 1 or not math.isclose(samples * step, threshold, rel_tol=1e-9):
        raise ValueError(f"the area's end {threshold:g} must be a multiple of the step {step:g}")
    errors, counted, lengths = _errors_and_lengths(predicted, true, lengths, visible, name="lengths")
    area = np.zeros(errors.shape)
    for sample in range(samples + 1):
        weight = 0.5 if sample in (0, samples) else 1.0
        at = threshold if sample == samples else sample * step
        area += weight * (errors <= at * lengths)
    return Tally.of(area / samples, counted)


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

    It is also known as the end-point error (MMPose's `keypoint_epe`).

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


def normalized_errors(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    lengths: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
) -> Floats:
    """Compute each joint's distance from where it should be, as a part of a length of the person's own.

    Args:
        predicted: (N, J, 2) predicted positions.
        true: (N, J, 2) true positions.
        lengths: (N,) in the same pixels; a person whose length is NaN or 0 is left out.
        visible: (N, J), which joints count.

    Returns:
        (N, J) distances over lengths; NaN for a joint that does not count.

    Raises:
        ValueError: a shape or a length is not as above, or a joint that counts has no finite true position.
    """
    errors, counted, lengths = _errors_and_lengths(predicted, true, lengths, visible, name="lengths")
    counted = counted & (lengths > 0)
    normalized: Floats = np.divide(errors, lengths, out=np.full(errors.shape, np.nan), where=counted)
    return normalized


def nme(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    lengths: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
) -> Floats:
    """Compute the normalised mean error of each joint: the mean over persons of `normalized_errors`.

    Sagonas, Antonakos, Tzimiropoulos, Zafeiriou and Pantic, "300 Faces In-The-Wild Challenge: Database and
    Results", Image and Vision Computing 47, 2016, with the body's lengths for the eyes' distance; MMPose's
    `keypoint_nme`.

    Args:
        predicted: as in `normalized_errors`.
        true: as in `normalized_errors`.
        lengths: as in `normalized_errors`.
        visible: as in `normalized_errors`.

    Returns:
        (J,) means; NaN for a joint that counts in no person, or that is predicted as NaN in one.

    Raises:
        ValueError: as in `normalized_errors`.
    """
    return error_tally(predicted, true, visible, lengths).values()


def nme_total(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    lengths: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
) -> float:
    """Compute the normalised mean error over all joints of all persons together; see `nme`."""
    return _total(error_tally(predicted, true, visible, lengths))


def error_tally(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
) -> Tally:
    """Tell how far each joint of each person is off, in pixels or in `lengths` of it: a Tally of (N, J)."""
    if lengths is None:
        predicted, true, counted = _poses(predicted, true, visible)
        return Tally.of(_distances(predicted, true), counted)
    errors, counted, lengths = _errors_and_lengths(predicted, true, lengths, visible, name="lengths")
    counted = counted & (lengths > 0)
    return Tally.of(np.divide(errors, lengths, out=np.zeros(errors.shape), where=counted), counted)


def legacy_error(predicted: npt.ArrayLike, true: npt.ArrayLike, visible: npt.ArrayLike | None = None) -> Floats:
    """Compute the number that the legacy program's test mode logged as a person's error.

    It is the Euclidean norm of the whole pose's difference over the number of joints, in pixels of the crop
    whose fractions were cut off (legacy evaluate_flic.py). It is no mean distance of the joints, which is up to
    the square root of their number larger. Where not all joints count, norm and number are of those that do.

    Args:
        predicted: (N, J, 2) predicted positions in pixels of the network's square input.
        true: (N, J, 2) true positions, likewise.
        visible: (N, J), which joints count.

    Returns:
        (N,) errors; NaN for a person of whom no joint counts.

    Raises:
        ValueError: as in `pixel_errors`.
    """
    predicted, true, counted = _poses(predicted, true, visible)
    squares = np.where(counted, np.square(_distances(np.trunc(predicted), np.trunc(true))), 0.0)
    norms, joints = np.sqrt(squares.sum(axis=1)), counted.sum(axis=1)
    errors: Floats = np.divide(norms, joints, out=np.full(norms.shape, np.nan), where=joints > 0)
    return errors


def box_sizes(true: npt.ArrayLike, visible: npt.ArrayLike | None = None) -> Floats:
    """Measure each person's box, the reference length of Yang and Ramanan's PCK (see `pck`).

    Args:
        true: (N, J, 2) true positions.
        visible: (N, J), which joints count.

    Returns:
        (N,) the larger side of the box around the joints that count; NaN for a person who has none.

    Raises:
        ValueError: a shape is not as above, or a joint that counts has no finite true position.
    """
    true = _positions(true, "true")
    counted = _counted_joints(true, visible)[..., np.newaxis]
    low = np.min(true, axis=1, where=counted, initial=np.inf)
    high = np.max(true, axis=1, where=counted, initial=-np.inf)
    some = counted.any(axis=1)
    sides = np.subtract(high, low, out=np.full(low.shape, np.nan), where=some)
    sizes: Floats = sides.max(axis=1)
    return sizes


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


def _total(tally: Tally, excluded: Iterable[int] = ()) -> float:
    """Return a tally's value over all persons and all columns but the excluded ones."""
    joints = tally.scores.shape[1]
    return float(tally.summed().totals([_checked_joint(joint, joints) for joint in excluded])[0])
