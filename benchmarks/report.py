"""Seconds for the HTML report of 2,000 persons, over those of the evaluation that it shows."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import generated
from benchmarks.timing import Row, seconds_of
from converters import Architecture, Checkpoint, Preprocessing, Source
from deeppose_port.backends.torch import build
from deeppose_port.data import PoseDataset
from deeppose_port.drawing.report import write_evaluation
from deeppose_port.evaluate.evaluate import evaluate
from deeppose_port.metrics.evaluation import Evaluation
from deeppose_port.pose import Pose

PERSONS = 2000

#: The network is a narrow one, whose evaluation takes hardly longer than its inputs.
WIDTHS = {"conv1": 8, "conv2": 12, "conv3": 16, "conv4": 16, "conv5": 12, "fc6": 32, "fc7": 32}


def run() -> list[Row]:
    """Measures both once, one after the other, each with an empty cache of pictures."""
    architecture = Architecture("alexnet", generated.JOINTS, WIDTHS, feature_size=6)
    weights = {name: tensor.numpy() for name, tensor in build(architecture).state_dict().items()}
    source = Source("random weights", "", "pt", writer=architecture.writer)
    pose = Pose(Checkpoint(architecture, weights, Preprocessing(), source))
    results: list[Evaluation] = []
    with tempfile.TemporaryDirectory() as folder:
        csv = generated.write(Path(folder), PERSONS)

        def dataset() -> PoseDataset:
            return PoseDataset(csv, images=folder, skeleton="mpii")

        reference = seconds_of(lambda: results.append(evaluate(pose, dataset())))
        page = Path(folder) / "report"
        ours = seconds_of(lambda: write_evaluation(pose, results[0], dataset(), page, command="benchmark"))
    return [
        Row(
            f"report of {PERSONS:,} persons over their evaluation, narrow AlexNet",
            ours,
            reference,
            "s",
            "ratio",
            "<=",
            3,
        )
    ]
