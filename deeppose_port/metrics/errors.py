"""Distances from the truth in pixels and in lengths of the person, and the errors of the legacy program."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from deeppose_port.data.arrays import Float64Array
from deeppose_port.metrics.arrays import checked_answers, checked_poses, distances_between, errors_and_lengths
from deeppose_port.metrics.tallies import Tally
from deeppose_port.metrics.totals import total_of


def pixel_errors(predicted: npt.ArrayLike, true: npt.ArrayLike, visible: npt.ArrayLike | None = None) -> Float64Array:
    """Compute each joint's distance from where it should be.

    Args:
        predicted: (N, J, 2) predicted positions.
        true: (N, J, 2) true positions.
        visible: (N, J), which joints count.

    Returns:
        (N, J) Euclidean distances in pixels; NaN for a joint that does not count.

    Raises:
        DeepPoseError: a shape is not as above, or a joint that counts has no finite true position.
    """
    predicted, true, counted = checked_poses(predicted, true, visible)
    return np.where(counted, distances_between(predicted, true), np.nan)


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
        DeepPoseError: as in `pixel_errors`.
    """
    predicted, true, counted = checked_poses(predicted, true, visible)
    errors = distances_between(predicted, true)[counted]
    return float(errors.mean()) if errors.size else math.nan


def normalized_errors(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    lengths: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
) -> Float64Array:
    """Compute each joint's distance from where it should be, as a part of a length of the person's own.

    Args:
        predicted: (N, J, 2) predicted positions.
        true: (N, J, 2) true positions.
        lengths: (N,) in the same pixels; a person whose length is NaN or 0 is left out.
        visible: (N, J), which joints count.

    Returns:
        (N, J) distances over lengths; NaN for a joint that does not count.

    Raises:
        DeepPoseError: a shape or a length is not as above, or a joint that counts has no finite true position.
    """
    errors, counted, lengths = errors_and_lengths(predicted, true, lengths, visible, name="lengths")
    counted = counted & (lengths > 0)
    normalized: Float64Array = np.divide(errors, lengths, out=np.full(errors.shape, np.nan), where=counted)
    return normalized


def nme(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    lengths: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
) -> Float64Array:
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
        DeepPoseError: as in `normalized_errors`.
    """
    return error_tally(predicted, true, visible, lengths).values()


def nme_total(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    lengths: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
) -> float:
    """Compute the normalised mean error over all joints of all persons together; see `nme`."""
    return total_of(error_tally(predicted, true, visible, lengths))


def error_tally(
    predicted: npt.ArrayLike,
    true: npt.ArrayLike,
    visible: npt.ArrayLike | None = None,
    lengths: npt.ArrayLike | None = None,
) -> Tally:
    """Tell how far each joint of each person is off, in pixels or in `lengths` of it: a Tally of (N, J)."""
    if lengths is None:
        predicted, true, counted = checked_poses(predicted, true, visible)
        return Tally.of(distances_between(predicted, true), counted)
    errors, counted, lengths = errors_and_lengths(predicted, true, lengths, visible, name="lengths")
    counted = counted & (lengths > 0)
    return Tally.of(np.divide(errors, lengths, out=np.zeros(errors.shape), where=counted), counted)


def legacy_error(predicted: npt.ArrayLike, true: npt.ArrayLike, visible: npt.ArrayLike | None = None) -> Float64Array:
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
        DeepPoseError: as in `pixel_errors`.
    """
    predicted, true, counted = checked_poses(predicted, true, visible)
    squares = np.where(counted, np.square(distances_between(np.trunc(predicted), np.trunc(true))), 0.0)
    norms, joints = np.sqrt(squares.sum(axis=1)), counted.sum(axis=1)
    errors: Float64Array = np.divide(norms, joints, out=np.full(norms.shape, np.nan), where=joints > 0)
    return errors


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
        DeepPoseError: the three shapes differ, or the mask holds something else than 0 and 1.
    """
    tally = squared_error_tally(outputs, targets, mask).summed()
    return float(tally.totals()[0]) if tally.counts.any() else 0.0


def squared_error_tally(outputs: npt.ArrayLike, targets: npt.ArrayLike, mask: npt.ArrayLike) -> Tally:
    """Tell what each person adds to `masked_mse`: a Tally of (N, 1), N the length of the first axis."""
    outputs, targets, counted = checked_answers(outputs, targets, mask)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.where(counted, np.square(outputs - targets), 0.0)
    axes = tuple(range(1, squares.ndim))
    return Tally.of(squares.sum(axis=axes)[..., np.newaxis], counted.sum(axis=axes)[..., np.newaxis])
