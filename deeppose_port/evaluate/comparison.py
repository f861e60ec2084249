"""Whether two checkpoints, or one checkpoint in two backends, are the same network: from the weights to the metrics.

comparison = compare(old, new, datasets=(dataset, dataset))
comparison.same, comparison.first_parting
[(check.name, check.passed, check.finding) for check in comparison.checks]
"""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Iterator, Sequence

import numpy as np

from converters.errors import DeepPoseError, in_a_line
from converters.progress import StepCallback
from deeppose_port.backends.activations import layer_names
from deeppose_port.data import PoseDataset
from deeppose_port.data.arrays import Float32Array, batched
from deeppose_port.data.close_up import CloseUpInputs
from deeppose_port.evaluate.differences import (
    LayerRow,
    compare_joints,
    compare_metrics,
    compare_weights,
    difference,
    layer_row,
    relative_difference,
)
from deeppose_port.evaluate.environment import environment
from deeppose_port.evaluate.evaluate import refuse_other_joints
from deeppose_port.evaluate.made_up import MadeUpPictures
from deeppose_port.evaluate.verdict import AMPLIFIED, TOLERANCE, Comparison, Side
from deeppose_port.metrics.evaluation import evaluation_of
from deeppose_port.metrics.predictions import predictions_of
from deeppose_port.pose import Pose

LOOKED_AT = 8
"""Persons (or pictures) whose activations are compared: those with the largest differences in the outputs."""


def compare(
    old: Pose,
    new: Pose,
    datasets: tuple[PoseDataset, PoseDataset] | None = None,
    *,
    tolerance: float = TOLERANCE,
    batch_size: int = 32,
    progress: StepCallback | None = None,
) -> Comparison:
    """Compares two networks from their weights to their metrics.

    Args:
        old: The one checkpoint, in its backend.
        new: The other, or the same in another backend.
        datasets: The same persons for each of them, made into inputs by its own preprocessing; None for pictures that
            are made up, without metrics.
        tolerance: The difference that a layer's outputs may have, as a part of the old side's largest value.
        batch_size: Persons in one pass.
        progress: Called with what is done, the persons done and all of them.

    Raises:
        DeepPoseError: A checkpoint has another number of joints than the dataset or the other checkpoint, or the
            tolerance is negative.
        DatasetError: A person cannot be made into an example.
    """
    if not tolerance >= 0:
        raise DeepPoseError(f"the tolerance is {tolerance}; it has to be 0 or more")
    if datasets is None:
        _refuse_others(old, new)
        old_side, new_side = (asked(pose, MadeUpPictures(pose.preprocessing), batch_size) for pose in (old, new))
    else:
        for pose, dataset in zip((old, new), datasets, strict=True):
            refuse_other_joints(pose, dataset)

        def side(name: str, pose: Pose, dataset: PoseDataset) -> Side:
            step = None if progress is None else lambda done, total: progress(name, done, total)
            network = _Recorder(pose)
            told = predictions_of(network, dataset, batch_size=batch_size, progress=step)
            evaluation = evaluation_of(told, dataset)
            hashes = tuple(network.hashes)
            return Side(pose, dataset, told.outputs, told.predicted, evaluation, hashes, network.failure)

        old_side, new_side = side("old", old, datasets[0]), side("new", new, datasets[1])
    return compared(old_side, new_side, tolerance, progress)


def compared(old: Side, new: Side, tolerance: float = TOLERANCE, progress: StepCallback | None = None) -> Comparison:
    """Compares what two networks have answered, and their layers; arguments are those of `compare`."""
    sides = old, new
    outputs = sides[0].outputs, sides[1].outputs
    looked_at = _most_different(*outputs)
    layers = _compare_layers(sides, looked_at, tolerance, progress)
    granted = layers[-1].tolerance if layers else tolerance
    return Comparison(
        *sides,
        weights=compare_weights(old.pose.checkpoint, new.pose.checkpoint),
        layers=(*layers, layer_row("outputs", *outputs, granted)),
        stacks=_compare_stacks(sides, looked_at, granted),
        looked_at=looked_at,
        joints=compare_joints(sides[0].predicted, sides[1].predicted, sides[0].extent),
        metrics=compare_metrics(sides[0].evaluation, sides[1].evaluation),
        tolerance=tolerance,
        environment=environment(old.pose, new.pose),
    )


def _refuse_others(old: Pose, new: Pose) -> None:
    if old.joints != new.joints:
        raise DeepPoseError(
            f"{old.checkpoint.source.path} has {old.joints} joints, {new.checkpoint.source.path} has {new.joints}; "
            "no two such networks are the same"
        )


def asked(pose: Pose, inputs: MadeUpPictures | CloseUpInputs, batch_size: int = 32) -> Side:
    """Asks one side about pictures that nothing is annotated in."""
    network, parts = _Recorder(pose), batched(range(len(inputs)), batch_size)
    outputs = np.concatenate([network(np.stack([inputs[i][0] for i in part])) for part in parts])
    points = [inputs.view(i).points(row) for i, row in enumerate(outputs)]
    return Side(pose, inputs, outputs, np.array(points), None, tuple(network.hashes), network.failure)


class _Recorder:
    """A pose as a network that keeps the hashes of its inputs, and answers NaN from where it breaks down."""

    def __init__(self, pose: Pose) -> None:
        self.pose = pose
        self.hashes: list[str] = []
        self.failure: str | None = None

    def __call__(self, inputs: Float32Array) -> Float32Array:
        self.hashes += [hashlib.sha256(np.ascontiguousarray(one).data).hexdigest() for one in inputs]
        nothing = np.full((len(inputs), 2 * self.pose.joints), np.nan, np.float32)
        if self.failure is not None:
            return nothing
        try:
            return self.pose(inputs)
        except Exception as error:  # each engine has errors of its own for maps that do not fit
            self.failure = in_a_line(error)[:300]
            return nothing


def _most_different(old: Float32Array, new: Float32Array) -> tuple[int, ...]:
    """Returns the persons whose outputs differ most, in their own order."""
    with np.errstate(invalid="ignore"):
        differences = np.nan_to_num(np.abs(old.astype(np.float64) - new), nan=np.inf).max(axis=1, initial=0)
    return tuple(sorted(np.argsort(-differences, kind="stable")[:LOOKED_AT].tolist()))


def _compare_layers(
    sides: tuple[Side, Side],
    persons: Sequence[int],
    tolerance: float,
    progress: StepCallback | None,
) -> list[LayerRow]:
    """Compares the activations of some persons, one person after the other: a ResNet's are 90 MB each."""
    by_layer: dict[str, list[LayerRow]] = {}
    for done, person in enumerate(persons):
        for row in _layers_of_person(sides, person, tolerance):
            by_layer.setdefault(row.name, []).append(row)
        if progress is not None:
            progress("layers", done + 1, len(persons))
    return [_worst(rows) for rows in by_layer.values()]


def _compare_stacks(sides: tuple[Side, Side], persons: Sequence[int], tolerance: float) -> tuple[LayerRow, ...]:
    """Compares the heat maps of each stack, one person after the other."""
    count = max(side.pose.stacks for side in sides)
    if not count:
        return ()
    by_person = []
    for person in persons:
        old, new = (_heatmaps(side, person) for side in sides)
        by_person.append([layer_row(f"stack {i + 1}", old.get(i), new.get(i), tolerance) for i in range(count)])
    return tuple(_worst(rows) for rows in zip(*by_person, strict=True))


def _heatmaps(side: Side, person: int) -> dict[int, Float32Array]:
    """Returns what each stack answers of a person, (1, J, h, w); nothing without stacks, or of a broken network."""
    if not side.pose.stacks or side.failure is not None:
        return {}
    return dict(enumerate(side.pose.heatmaps(side.dataset[person][0][None])))


def _worst(rows: Sequence[LayerRow]) -> LayerRow:
    """Returns the person's row of a layer that is farthest beyond its tolerance."""
    return max(rows, key=lambda r: math.inf if r.relative is None else r.relative / max(r.tolerance, 1e-30))


def _layers_of_person(sides: tuple[Side, Side], person: int, tolerance: float) -> Iterator[LayerRow]:
    """Compares one person's activations, layers of the same place with each other."""
    old, new = sides
    inputs = old.dataset[person][0][None]
    asked = _Steps(old.pose, inputs), _Steps(new.pose, new.dataset[person][0][None])
    nudged = _Steps(old.pose, inputs, nudged=True)
    names = [layer_names(side.pose.layers) for side in sides]
    matching = difflib.SequenceMatcher(a=names[0], b=names[1], autojunk=False)
    for kind, a0, a1, b0, b1 in matching.get_opcodes():
        if kind == "equal":
            for name in names[0][a0:a1]:
                ours, theirs, moved = asked[0].next(), asked[1].next(), nudged.next()
                yield layer_row(name, ours, theirs, _granted(ours, moved, tolerance))
            continue
        for name in names[0][a0:a1]:
            yield layer_row(name, asked[0].next(), None, tolerance)
            nudged.next()
        for name in names[1][b0:b1]:
            yield layer_row(name, None, asked[1].next(), tolerance)


class _Steps:
    """A network's activations one by one; None from where it breaks down."""

    def __init__(self, pose: Pose, inputs: Float32Array, nudged: bool = False) -> None:
        self._outputs: Iterator[tuple[str, Float32Array]] = pose.activations(inputs, nudged)

    def next(self) -> Float32Array | None:
        try:
            return next(self._outputs)[1]
        except Exception:  # the side's failure says why; a generator that raised has ended
            return None


def _granted(ours: Float32Array | None, moved: Float32Array | None, tolerance: float) -> float:
    """Returns a layer's tolerance: more where the network amplifies the rounding of its inputs."""
    if tolerance == 0 or ours is None or moved is None:
        return tolerance
    relative = relative_difference(*difference(ours, moved))
    return max(tolerance, AMPLIFIED * relative) if math.isfinite(relative) else tolerance
