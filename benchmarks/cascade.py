"""Seconds for `eval` of a cascade of three stages, over those of its first stage and of its networks alone."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks import generated
from benchmarks.report import WIDTHS
from benchmarks.timing import Row, seconds_of, take_turns
from converters import Architecture, Checkpoint, Preprocessing, Source
from converters.cascade import Cascade, CloseUp, Stage
from deeppose_port.backends.torch import build
from deeppose_port.cascade import CascadePose
from deeppose_port.data import PoseDataset
from deeppose_port.evaluate.evaluate import evaluate
from deeppose_port.evaluate.stages import evaluate_stages

PERSONS, ROUNDS = 48, 3
STAGES, BATCH = 3, 32
#: Of 1 for each joint.
BOUND = 1.3


def run() -> list[Row]:
    """Measures a narrow network, beside which the work on pictures counts, and a full-size one."""
    with tempfile.TemporaryDirectory() as folder:
        generated.write(Path(folder), PERSONS)
        return [
            _whole(cascade_of(Architecture("alexnet", generated.JOINTS, WIDTHS, feature_size=6)), Path(folder)),
            _later(cascade_of(Architecture.full_size("alexnet", generated.JOINTS)), Path(folder)),
        ]


def cascade_of(architecture: Architecture) -> CascadePose:
    """Returns a cascade of random weights, whose first stage spreads the joints over the person."""
    weights = {name: tensor.numpy() for name, tensor in build(architecture).state_dict().items()}
    *_, last = (name for name in weights if name.endswith(".bias"))
    spread = np.random.default_rng(0).uniform(-0.4, 0.4, weights[last].shape).astype(np.float32)
    first, later = (
        Checkpoint(architecture, {**weights, last: bias}, Preprocessing(), Source("random weights", "", "pt"))
        for bias in (spread, np.zeros_like(spread))
    )
    stage = Stage((later,), CloseUp(1.0, ((2, 13),)))
    return CascadePose(Cascade((Stage((first,)), *(stage,) * (STAGES - 1))))


def measured(pose: CascadePose, folder: Path) -> tuple[float, float, float]:
    """Returns the seconds of all stages and of the first, each with an empty cache of pictures, and of a network alone.

    The network is asked about as many inputs as a later stage has.
    """
    inputs = np.random.default_rng(0).standard_normal((BATCH, 3, *pose.preprocessing.shape), dtype=np.float32)

    def persons() -> PoseDataset:
        return PoseDataset(folder / "persons.csv", images=folder, skeleton="mpii")

    def alone() -> None:
        for _ in range(PERSONS * generated.JOINTS // BATCH):
            pose.first(inputs)

    pose.first(inputs)
    whole, first, network = take_turns(
        ROUNDS,
        lambda: seconds_of(lambda: evaluate_stages(pose, persons(), batch_size=BATCH)),
        lambda: seconds_of(lambda: evaluate(pose.first, persons(), batch_size=BATCH)),
        lambda: seconds_of(alone),
    )
    return min(whole), min(first), min(network)


def _whole(pose: CascadePose, folder: Path) -> Row:
    whole, first, _ = measured(pose, folder)
    what = f"eval of {STAGES} stages, narrow AlexNet, over that of the first times {generated.JOINTS} joints"
    return Row(what, whole, generated.JOINTS * first, "s", "ratio", "<=", BOUND)


def _later(pose: CascadePose, folder: Path) -> Row:
    whole, first, network = measured(pose, folder)
    what = f"a later stage of eval, full-size AlexNet, over its network alone, {generated.JOINTS} times a person"
    return Row(what, (whole - first) / (STAGES - 1), network, "s", "ratio", "<=", BOUND)
