"""What a network that looks at nothing would answer: the mean pose, and how good that is."""

from __future__ import annotations

import numpy as np

from deeppose_port.data import PoseDataset
from deeppose_port.data.arrays import Float32Array
from deeppose_port.data.view import flattened
from deeppose_port.metrics.predictions import Predictions

#: Persons that the mean is of, at most; with more its second digit stays.
MOST_PERSONS = 1000


def mean_pose(dataset: PoseDataset) -> Float32Array:
    """Returns the mean label of each coordinate, over evenly spaced persons of a dataset.

    No picture is decoded for it.

    Returns:
        (2 * J,) float32, as a network answers; 0 where a coordinate is annotated of none of them.

    Raises:
        DatasetError: A picture's size cannot be read, or nothing of it is in the person's crop.
    """
    count = min(len(dataset), MOST_PERSONS)
    indices = [len(dataset) * i // count for i in range(count)]
    labels, masks = _labels(dataset, indices)
    counted = masks.sum(axis=0)
    sums = np.where(masks != 0, labels, 0.0).sum(axis=0, dtype=np.float64)
    return np.asarray(sums / np.maximum(counted, 1), np.float32)


def predictions_of_pose(pose: Float32Array, dataset: PoseDataset) -> Predictions:
    """Returns what a network that answers one pose to every picture predicts of a dataset.

    Args:
        pose: (2 * J,) float32, as a network answers.
        dataset: The persons.

    Raises:
        DatasetError: As of `mean_pose`.
    """
    indices = range(len(dataset))
    labels, masks = _labels(dataset, indices)
    predicted = np.stack([dataset.view(index).points(pose) for index in indices])
    return Predictions(np.asarray(indices, np.int64), np.tile(pose, (len(dataset), 1)), labels, masks, predicted)


def _labels(
    dataset: PoseDataset, indices: range | list[int]
) -> tuple[Float32Array, np.ndarray[tuple[int, ...], np.dtype[np.int32]]]:
    """Returns the labels, (n, 2 * J) float32, and the masks, int32, of some persons."""
    labels = np.stack([dataset.view(index).labels(dataset.joints[index]) for index in indices])
    masks = np.stack([flattened(dataset.mask[index], dataset.preprocessing) for index in indices])
    return labels, masks
