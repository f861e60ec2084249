"""What a network that looks at nothing would answer: the mean pose, and how good that is."""

from __future__ import annotations

import numpy as np

from deeppose_port.data import PoseDataset
from deeppose_port.data.arrays import Float32Array, spaced
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
    told = [dataset.labels(index) for index in spaced(len(dataset), MOST_PERSONS)]
    labels, masks = map(np.stack, zip(*told, strict=True))
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
    labels, masks = map(np.stack, zip(*map(dataset.labels, indices), strict=True))
    predicted = np.stack([dataset.view(index).points(pose) for index in indices])
    return Predictions(np.asarray(indices, np.int64), np.tile(pose, (len(dataset), 1)), labels, masks, predicted)
