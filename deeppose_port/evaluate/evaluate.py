"""What a checkpoint is worth: its answers to a dataset, and all metrics of them."""

from __future__ import annotations

import numpy.typing as npt

from converters.errors import DeepPoseError
from converters.progress import ProgressCallback
from deeppose_port.cascade import CascadePose
from deeppose_port.data import PoseDataset
from deeppose_port.metrics.evaluation import Evaluation, evaluation_of
from deeppose_port.metrics.predictions import Processes, shared_predictions
from deeppose_port.pose import Pose


def evaluate(
    pose: Pose,
    dataset: PoseDataset,
    *,
    batch_size: int = 32,
    head_sizes: npt.ArrayLike | None = None,
    progress: ProgressCallback | None = None,
    group: Processes | None = None,
) -> Evaluation:
    """Runs a checkpoint over a dataset.

    Args:
        pose: The checkpoint.
        dataset: The persons, made into inputs by the pose's own preprocessing.
        batch_size: Persons in one pass through the network.
        head_sizes: (N,) lengths for PCKh, in pixels; None takes those of the CSV's side file, and without one leaves
            PCKh out.
        progress: Called with the persons done and all of them.
        group: The processes that share the persons, as trainings' validation does; each returns the same. None for
            this one alone.

    Raises:
        DeepPoseError: The checkpoint has another number of joints than the dataset.
        DatasetError: A person cannot be made into an example.
    """
    refuse_other_joints(pose, dataset)
    predictions = shared_predictions(pose, dataset, group, batch_size=batch_size, progress=progress)
    return evaluation_of(predictions, dataset, head_sizes)


def refuse_other_joints(pose: Pose | CascadePose, dataset: PoseDataset) -> None:
    """Refuses a dataset whose persons have another number of joints than a checkpoint answers.

    Raises:
        DeepPoseError: See there.
    """
    skeleton = dataset.skeleton
    if pose.joints != len(skeleton.joints):
        raise DeepPoseError(
            f"{pose.path} has {pose.joints} joints, but {skeleton.name} has {len(skeleton.joints)}; "
            "choose the skeleton that it was trained on"
        )
