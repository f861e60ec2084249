"""How a checkpoint is evaluated, in `eval` and in `watch`."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from converters.values import dataclass
from deeppose_port.cli import display
from deeppose_port.cli.options import (
    AnnotationOptions,
    EngineOptions,
    InputOptions,
    ReadingOptions,
    batch_of,
    load,
    own_device,
    persons,
)
from deeppose_port.options import RARE_GROUP
from deeppose_port.text import finite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deeppose_port.cascade import CascadePose
    from deeppose_port.data import PoseDataset
    from deeppose_port.metrics.evaluation import Evaluation
    from deeppose_port.pose import Pose


@dataclass(frozen=True, kw_only=True)
class EvaluatingOptions:
    """How a checkpoint is evaluated."""

    annotated: AnnotationOptions
    batch_size: int = batch_of()
    reading: ReadingOptions = field(metadata=RARE_GROUP)
    inputs: InputOptions
    engine: EngineOptions


@dataclass(frozen=True)
class Evaluated:
    """A checkpoint that was evaluated.

    Attributes:
        pose: What answered.
        dataset: What it was asked.
        stages: How good each stage of a cascade is; a checkpoint by itself is one.
    """

    pose: Pose | CascadePose
    dataset: PoseDataset
    stages: Sequence[Evaluation]

    @property
    def evaluation(self) -> Evaluation:
        """How good its answers are: those of the last stage."""
        return self.stages[-1]

    def as_dict(self) -> dict[str, object]:
        """Returns the numbers as JSON-ready values.

        A cascade has those of every stage too, as `stages`, and as `difference` how the last stage's numbers of the
        whole differ from the first's.
        """
        values: dict[str, object] = {**self.evaluation.as_dict(), "backend": self.pose.backend}
        if len(self.stages) == 1:
            return values
        first, last = self.stages[0], self.evaluation
        changes = {m.metric.name: m.overall - first.measures[key].overall for key, m in last.measures.items()}
        difference = {name: finite(value) for name, value in changes.items()}
        return {**values, "stages": [stage.as_dict() for stage in self.stages], "difference": difference}


def evaluate_one(checkpoint: Path, how: EvaluatingOptions, *, quiet: bool) -> Evaluated:
    """Evaluates a checkpoint, with a progress bar unless it is to be quiet.

    The processes of torchrun share the persons; of a cascade each evaluates all.
    """
    from deeppose_port.backends import together
    from deeppose_port.backends.torchrun import speaks
    from deeppose_port.data.close_up import NOT_BY_FACES
    from deeppose_port.data.references import HEAD_BOXES
    from deeppose_port.evaluate.evaluate import evaluate
    from deeppose_port.evaluate.stages import evaluate_stages
    from deeppose_port.pose import Pose

    told = how.annotated
    engine = own_device(how.engine)
    pose = load(checkpoint, how.reading, how.inputs, engine)
    dataset = persons(pose, told.csv, told.images, told.skeleton, told.counting, fast_decode=told.fast_decode)
    if dataset.head_sizes_from not in (None, HEAD_BOXES):
        display.notices([f"PCKh is an estimate: the head sizes are {dataset.head_sizes_from}"])
    quiet = quiet or not speaks()
    with together(how.engine.device) as group, display.steps("evaluating", quiet=quiet, unit="persons") as step:
        if isinstance(pose, Pose):
            stages = [evaluate(pose, dataset, batch_size=how.batch_size, progress=step, group=group)]
        else:
            if pose.cascade.face is not None:
                display.notices([NOT_BY_FACES])
            stages = evaluate_stages(pose, dataset, batch_size=how.batch_size, progress=step)
    return Evaluated(pose, dataset, stages)
