"""The numbers of a validation, in a run's own loss."""

from __future__ import annotations

from deeppose_port.data import PoseDataset
from deeppose_port.data.displacements import CloseUps
from deeppose_port.metrics import registry
from deeppose_port.metrics.evaluation import evaluation_of
from deeppose_port.metrics.losses import masked_loss
from deeppose_port.metrics.predictions import Predictions
from deeppose_port.training.options import TrainingOptions


def numbers_of(
    predictions: Predictions, dataset: PoseDataset | CloseUps, options: TrainingOptions, *more: str
) -> dict[str, float]:
    """Returns the numbers of `Evaluation.summary`, with the loss that the run minimises in place of the legacy one.

    Args:
        predictions: Of the data set.
        dataset: The persons.
        options: Of the run, whose `best` is among the numbers.
        more: Other metrics.
    """
    numbers = evaluation_of(predictions, dataset).summary(*map(registry.find, (options.best, *more)))
    if options.loss != "l2":
        told = predictions.outputs, predictions.targets, predictions.mask
        numbers["loss"] = masked_loss(*told, options.loss, options.loss_beta)
    return numbers
