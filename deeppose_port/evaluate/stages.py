"""What each stage of a cascade is worth, side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np

from converters.progress import ProgressCallback
from deeppose_port.cascade import CascadePose
from deeppose_port.data import PoseDataset
from deeppose_port.data.arrays import Float64Array, batched
from deeppose_port.data.close_up import CloseUpError
from deeppose_port.evaluate.evaluate import refuse_other_joints
from deeppose_port.metrics.evaluation import Evaluation, evaluation_of, evaluation_of_poses
from deeppose_port.metrics.predictions import predictions_of
from deeppose_port.metrics.registry import Poses

#: Persons whose close-ups are cut at a time.
_PERSONS = 16


def evaluate_stages(
    pose: CascadePose,
    dataset: PoseDataset,
    *,
    batch_size: int = 32,
    progress: ProgressCallback | None = None,
) -> list[Evaluation]:
    """Runs a cascade over a dataset.

    The first stage sees the persons as the dataset makes them. Memory does not grow with the stages or their close-ups.

    Args:
        pose: The cascade.
        dataset: The persons, made into inputs by the first stage's preprocessing.
        batch_size: Persons in one pass through the first stage.
        progress: Called with the persons and stages done and all of them.

    Returns:
        An evaluation of every stage, in their order; `outputs`, and the loss of them, are in the first stage's frame.

    Raises:
        DeepPoseError: The cascade has another number of joints than the dataset.
        DatasetError: A person cannot be made into an example, or has a torso without length in a stage.
    """
    refuse_other_joints(pose, dataset)
    done, total = 0, len(dataset) * len(pose.stages)

    def step(persons: int) -> None:
        if progress is not None:
            progress(done + persons, total)

    predictions = predictions_of(pose.first, dataset, batch_size=batch_size, progress=lambda persons, _: step(persons))
    evaluations = [evaluation_of(predictions, dataset)]
    for number in range(1, len(pose.stages)):
        done += len(dataset)
        predicted = _refined(pose, number, dataset, evaluations[-1].predicted, step)
        evaluations.append(evaluation_at(predicted, dataset, evaluations[-1]))
    return evaluations


def evaluation_at(predicted: Float64Array, dataset: PoseDataset, before: Evaluation) -> Evaluation:
    """Computes all metrics of a later stage's answers.

    Args:
        predicted: (N, J, 2) float64, in pixels of the pictures.
        dataset: The persons.
        before: Of the same persons, a stage before.
    """
    network = before.network
    if network is not None:
        labels = [dataset.view(person).labels(points) for person, points in enumerate(predicted)]
        network = replace(network, outputs=np.reshape(labels, network.outputs.shape).astype(np.float32))
    known = {each.name: getattr(before, each.name) for each in fields(Poses)}
    return evaluation_of_poses(Poses(**{**known, "predicted": predicted, "network": network}))


def _refined(
    pose: CascadePose, number: int, dataset: PoseDataset, before: Float64Array, step: Callable[[int], None]
) -> Float64Array:
    """Returns a later stage's answers, from those of the stage before."""
    predicted = np.empty_like(before)
    for persons in map(list, batched(range(len(dataset)), _PERSONS)):
        pictures = [dataset.picture(person) for person in persons]
        try:
            predicted[persons] = pose.refined(number, pictures, before[persons])
        except CloseUpError:
            for person, picture in zip(persons, pictures, strict=True):  # to name the one
                try:
                    pose.refined(number, [picture], before[person][None])
                except CloseUpError as error:
                    raise dataset.error(person, error) from error
            raise
        step(persons[-1] + 1)
    return predicted
