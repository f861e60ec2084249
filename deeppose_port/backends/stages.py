"""The stages before the one that is trained: where they have the joints, and what they are wrong by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from converters import Checkpoint
from converters.cascade import Cascade, CloseUp, Stage
from converters.values import dataclass
from deeppose_port import backends
from deeppose_port.data import PoseDataset
from deeppose_port.data.arrays import Float32Array
from deeppose_port.data.close_up import NOT_BY_FACES
from deeppose_port.data.displacements import CloseUps, DrawnCloseUps, measured, named
from deeppose_port.data.heatmaps import joints_of
from deeppose_port.metrics.evaluation import evaluation_of
from deeppose_port.metrics.predictions import Network, Predictions, StageNetwork, predictions_of, refined_by
from deeppose_port.metrics.shown import number
from deeppose_port.training.names import DISPLACEMENTS
from deeppose_port.training.options import TrainingOptions
from deeppose_port.training.stage import LaterStage, opposing_joints, refuse_other_rule
from deeppose_port.training.start import Start


@dataclass(frozen=True)
class StageData:
    """What a later stage is trained and validated on.

    Attributes:
        start: The start, with the close-ups as they were measured.
        train: The training set.
        test: Close-ups around the joints as the stages before it have them; None without persons to validate on.
        notices: What is to be said of it, a sentence each.
    """

    start: Start
    train: DrawnCloseUps
    test: CloseUps | None
    notices: tuple[str, ...]


def stage_data(
    start: Start,
    later: LaterStage,
    train: PoseDataset,
    test: PoseDataset | None,
    backend: str,
    options: TrainingOptions,
) -> StageData:
    """Makes the data that a later stage is trained on.

    What the stage before is wrong by is measured where a run begins; one that goes on has it in its checkpoint.

    Args:
        start: Where the run starts.
        later: The stages before it.
        train: The persons to learn from, as the first stage sees them.
        test: The persons to validate on, likewise.
        backend: What the stages before run on.
        options: The run's.

    Raises:
        DeepPoseError: The close-ups cannot be measured, or differ from those that the run began with.
        DatasetError: A person cannot be made into an example, or has a torso without length.
    """
    cascade, skeleton, close_up = options.cascade, train.skeleton, later.close_up
    notices = [] if later.before.face is None else [NOT_BY_FACES]
    before = _Answers(later.before, backend, options)
    if close_up is None or not close_up.mean:
        sigma = cascade.sigma or (skeleton.sigma if close_up is None else close_up.sigma)
        close_up = measured(train, before(train).predicted, sigma, opposing_joints(cascade, skeleton, close_up))
        notices.append(_told(later.number, close_up, train))
    else:
        refuse_other_rule(cascade, skeleton, close_up, start.resumed)
    later = replace(later, close_up=close_up)
    preprocessing = start.checkpoint.preprocessing
    augmentation = options.augmentation
    drawn = DrawnCloseUps(train, preprocessing, close_up, cascade.draws, augmentation)
    notices.append(f"an epoch has {len(drawn):,} close-ups of {len(train):,} persons, {cascade.draws} of each joint")
    if drawn.guessed:
        notices.append(
            f"{drawn.guessed:,} persons have not all of {named(skeleton, close_up.opposing)}: their diameter is taken "
            "from the box of their joints"
        )
    around = None
    if test is not None:
        answered = before(test)
        around = CloseUps(test, preprocessing, close_up, answered.predicted)
        told = [one for one in evaluation_of(answered, test).headlines() if one.metric.unit]
        numbers = "  ".join(f"{one.metric.title} {number(one.overall, one.metric.unit)}" for one in told)
        notices.append(f"stage {later.number - 1} on the {len(test):,} persons to validate on: {numbers}")
    return StageData(replace(start, later=later), drawn, around, tuple(notices))


class _Answers:
    """The stages before, ready to answer."""

    def __init__(self, before: Cascade, backend: str, options: TrainingOptions) -> None:
        self._batch = options.batch_size
        self._first = _network(before.first, backend, options.device)
        self._later = [(stage, _stage_network(stage, backend, options.device)) for stage in before.stages[1:]]

    def __call__(self, persons: PoseDataset) -> Predictions:
        """Returns what the last of them answers to persons."""
        predictions = predictions_of(self._first, persons, batch_size=self._batch)
        for stage, network in self._later:
            assert stage.close_up is not None
            seen = CloseUps(persons, stage.networks[0].preprocessing, stage.close_up, predictions.predicted)
            predictions = replace(predictions, predicted=refined_by(network, seen, batch_size=self._batch).predicted)
        return predictions


def _network(checkpoint: Checkpoint, backend: str, device: str) -> Network:
    device = device.partition(",")[0]  # of several, the first
    predictor, told = backends.get(backend).predictor(checkpoint, device), checkpoint.preprocessing
    if not checkpoint.architecture.stacks:
        return predictor
    return lambda inputs: joints_of(predictor(inputs)[:, -1], told.decoding, told.peak)


def _stage_network(stage: Stage, backend: str, device: str) -> StageNetwork:
    networks = [_network(checkpoint, backend, device) for checkpoint in stage.networks]

    def answer(inputs: Float32Array, joints: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Float32Array:
        if stage.shared:
            answers = networks[0](inputs).reshape(len(inputs), -1, 2)
            return np.asarray(answers[np.arange(len(inputs)), joints], np.float32)
        answers = np.empty((len(inputs), 2), np.float32)
        for joint in np.unique(joints):
            answers[joints == joint] = networks[joint](inputs[joints == joint])
        return answers

    return answer


def _told(number: int, close_up: CloseUp, persons: PoseDataset) -> str:
    """Says what the stage before is wrong by."""
    ends = named(persons.skeleton, close_up.opposing)
    spread = {joint: max(both) for joint, both in zip(persons.skeleton.joints, close_up.deviation, strict=True)}
    least, most = min(spread, key=spread.__getitem__), max(spread, key=spread.__getitem__)
    return (
        f"stage {number} looks at squares of {close_up.sigma:g} diameters ({ends}); the errors of stage {number - 1} "
        f"deviate by {spread[least]:.2f} ({least}) to {spread[most]:.2f} diameters ({most}), see {DISPLACEMENTS}"
    )
