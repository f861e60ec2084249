"""The percentages of joints that are found: PDJ, PCK and PCKh, and the areas under their curves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError
from deeppose_port.data.arrays import Float64Array
from deeppose_port.metrics.arrays import checked_thresholds, errors_and_lengths
from deeppose_port.metrics.tallies import Tally
from deeppose_port.metrics.totals import total_of


def pdj(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    torso: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
    thresholds: Sequence[float] = (0.2,),
) -> Float64Array:
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
        DeepPoseError: a shape, a length or a threshold is not as above, or a joint that counts has no finite
            true position.
    """
    allowed = checked_thresholds(thresholds)
    if allowed.ndim != 1:
        raise DeepPoseError(f"thresholds must be a sequence of numbers, not {thresholds!r}")
    errors, counted, lengths = errors_and_lengths(predicted, true, torso, visible, name="torso")
    fractions = [Tally.of(errors <= t * lengths, counted).values() for t in allowed]
    return np.array(fractions).reshape(len(fractions), errors.shape[1])


def pck(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    lengths: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
    threshold: float = 0.2,
) -> Float64Array:
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
        DeepPoseError: a shape, a length or the threshold is not as above, or a joint that counts has no finite
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
    return total_of(tally, excluded)


def pck_tally(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    lengths: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
    threshold: float = 0.2,
) -> Tally:
    """Tell which joints of which persons are found, as `pck` counts them: a Tally of (N, J)."""
    checked_thresholds(threshold)
    errors, counted, lengths = errors_and_lengths(predicted, true, lengths, visible, name="lengths")
    return Tally.of(errors <= threshold * lengths, counted)


def pckh(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    head_sizes: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
    threshold: float = 0.5,
) -> Float64Array:
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
        DeepPoseError: a shape, a size or the threshold is not as above, or a joint that counts has no finite
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
        DeepPoseError: as in `pckh`, or an excluded index is not a joint's.
    """
    return pck_total(predicted, true, head_sizes, visible, threshold, excluded=excluded)


def auc(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    lengths: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
    threshold: float = 0.2,
    step: float = 0.01,
) -> Float64Array:
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
        DeepPoseError: as in `pck`, or the threshold is no multiple of the step.
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
    return total_of(tally, excluded)


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
        raise DeepPoseError(f"the area goes from 0 to {threshold:g} in steps of {step:g}: both must be positive")
    samples = round(threshold / step)
    if samples < 1 or not math.isclose(samples * step, threshold, rel_tol=1e-9):
        raise DeepPoseError(f"the area's end {threshold:g} must be a multiple of the step {step:g}")
    errors, counted, lengths = errors_and_lengths(predicted, true, lengths, visible, name="lengths")
    area = np.zeros(errors.shape)
    for sample in range(samples + 1):
        weight = 0.5 if sample in (0, samples) else 1.0
        at = threshold if sample == samples else sample * step
        area += weight * (errors <= at * lengths)
    return Tally.of(area / samples, counted)
