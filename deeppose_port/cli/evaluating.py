"""How a checkpoint is evaluated, in `eval` and in `watch`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deeppose_port.cli import display
from deeppose_port.cli.options import AnnotationOptions, EngineOptions, InputOptions, ReadingOptions, load, persons
from deeppose_port.options import described

if TYPE_CHECKING:
    from deeppose_port.data import PoseDataset
    from deeppose_port.metrics.evaluation import Evaluation
    from deeppose_port.pose import Pose


@dataclass(frozen=True, kw_only=True)
class EvaluatingOptions:
    """How a checkpoint is evaluated."""

    annotated: AnnotationOptions
    batch_size: int = field(default=32, metadata=described("Persons at a time.", names=("--batch-size", "--batchsize")))
    reading: ReadingOptions
    inputs: InputOptions
    engine: EngineOptions


def evaluate_one(checkpoint: Path, how: EvaluatingOptions, *, quiet: bool) -> tuple[Pose, PoseDataset, Evaluation]:
    """Evaluates a checkpoint, with a progress bar unless it is to be quiet."""
    from deeppose_port.data.references import HEAD_BOXES
    from deeppose_port.evaluate.evaluate import evaluate

    told = how.annotated
    pose = load(checkpoint, how.reading, how.inputs, how.engine)
    dataset = persons(pose, told.csv, told.images, told.skeleton, told.counting)
    if dataset.head_sizes_from not in (None, HEAD_BOXES):
        display.notices([f"PCKh is an estimate: the head sizes are {dataset.head_sizes_from}"])
    with display.steps("evaluating", quiet=quiet, unit="persons") as step:
        evaluation = evaluate(
            pose, dataset, batch_size=how.batch_size, progress=lambda done, total: step("", done, total)
        )
    return pose, dataset, evaluation
