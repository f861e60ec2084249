"""Whether two checkpoints, or one checkpoint in two backends, are the same network: from the weights to the metrics.

comparison = compare(old, new, datasets=(dataset, dataset))
comparison.same, comparison.first_parting
[(check.name, check.passed, check.finding) for check in comparison.checks]
"""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import cached_property

import numpy as np

from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.backends.activations import layer_names
from deeppose_port.data import PoseDataset
from deeppose_port.data.arrays import Float32Array, Float64Array, batched
from deeppose_port.data.close_up import CloseUpInputs
from deeppose_port.evaluate.differences import (
    Joints,
    LayerRow,
    MetricRow,
    Weights,
    compare_joints,
    compare_metrics,
    compare_weights,
    difference,
    layer_row,
    number,
    relative_difference,
)
from deeppose_port.evaluate.engines import Engine, engine_of, own_engine
from deeppose_port.evaluate.environment import environment
from deeppose_port.evaluate.evaluate import refuse_other_joints
from deeppose_port.evaluate.made_up import MadeUpPictures
from deeppose_port.metrics.evaluation import Evaluation, evaluation_of
from deeppose_port.metrics.predictions import predictions_of
from deeppose_port.pose import Pose

TOLERANCE = 1e-5
"""Of a layer's largest value. Between Chainer 1.13 and PyTorch, float32 rounding is at most 3.6e-6 of the outputs of
AlexNet, ResNet50 and VGG; the smallest systematic fault, another eps in BatchNormalization, is 5e-4 (measured)."""

AMPLIFIED = 8
"""Times what one unit in the last place of its inputs and of each layer's outputs makes of a network: the tolerance of
those that amplify rounding, as tiny BatchNormalization statistics do. Of that, Chainer and PyTorch were seen to use at
most two fifths, in 21 networks of three architectures that eight versions of Chainer wrote."""

TOLERANCE_SOURCE = (
    "float32 rounding between Chainer 1.13 and PyTorch is at most 3.6e-06 of the largest output, the smallest "
    "systematic fault (BatchNormalization's eps) 5e-04. A layer that one unit in the last place of the inputs and of "
    f"the layers before moves by more than an eighth of the tolerance is granted {AMPLIFIED} times that movement"
)

STRAY = 10
"""Sides of its crop that a network's answers lie away from the crop's middle, where it is said to have diverged."""

LOOKED_AT = 8
"""Persons (or pictures) whose activations are compared: those with the largest differences in the outputs."""


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        pose: What answered.
        dataset: What it was asked, with its preprocessing: persons, pictures that are made up, or close-ups.
        outputs: (N, 2 * joints) float32, what it answered; NaN where its network broke down.
        predicted: (N, joints, 2), that in pixels of the pictures; of a close-up only its joint.
        evaluation: How good that is; None of synthetic pictures and close-ups.
        input_hashes: sha256 of each person's input, float32 in (C, H, W) order.
        failure: Why its network broke down; None if it did not.
    """

    pose: Pose
    dataset: PoseDataset | MadeUpPictures | CloseUpInputs
    outputs: Float32Array
    predicted: Float64Array
    evaluation: Evaluation | None
    input_hashes: tuple[str, ...]
    failure: str | None

    @property
    def input_sha256(self) -> str:
        """One hash for all inputs: that of the persons' hashes, joined."""
        return hashlib.sha256("".join(self.input_hashes).encode()).hexdigest()

    @cached_property
    def engine(self) -> Engine:
        """What ran it."""
        return engine_of(self.pose)

    @property
    def file(self) -> str:
        """What its file is and who wrote it, in words."""
        source = self.pose.checkpoint.source
        writer = source.writer or "an unknown program"
        if source.origin is None:
            return f"{source.format} by {writer}"
        return f"{source.format}, converted from {source.origin.get('format', 'a file')} by {writer}"

    @cached_property
    def stray(self) -> float:
        """How far its answers lie from the middle of what the network sees, in sides of that: the median of all joints.

        Up to about 0.5 in the crop, infinite where most are not finite.
        """
        crops = [self.dataset.view(i).crop for i in range(len(self.dataset))]
        middles = np.array([((crop.x0 + crop.x1) / 2, (crop.y0 + crop.y1) / 2) for crop in crops]).reshape(-1, 1, 2)
        sides = np.array([max(crop.width, crop.height) for crop in crops]).reshape(-1, 1)
        with np.errstate(invalid="ignore", over="ignore"):
            distances = np.abs(self.predicted - middles).max(axis=2) / sides
        return float(np.median(np.nan_to_num(distances, nan=np.inf, posinf=np.inf))) if crops else 0.0

    @property
    def diverged(self) -> bool:
        """Whether its answers lie far outside of every picture, or are no numbers."""
        return self.stray > STRAY

    def as_dict(self) -> dict[str, object]:
        """Returns what it is, without its metrics, as JSON-ready values."""
        checkpoint = self.pose.checkpoint
        return {
            "checkpoint": checkpoint.source.path,
            "sha256": checkpoint.source.sha256,
            "format": checkpoint.source.format,
            "writer": checkpoint.source.writer or checkpoint.architecture.writer,
            "architecture": checkpoint.architecture.name,
            "joints": checkpoint.joints,
            "parameters": checkpoint.parameters,
            "writer_told_by": checkpoint.source.writer_told_by,
            "backend": self.pose.backend,
            "engine": self.engine.title,
            "engine_version": self.engine.version,
            "own_engine": own_engine(checkpoint).title,
            "device": self.pose.device,
            "diverged": self.diverged,
            "preprocessing": self.pose.preprocessing.as_dict(),
            "input_sha256": self.input_sha256,
            "repairs": [repair.as_dict() for repair in checkpoint.repairs],
            "failure": self.failure,
        }


@dataclass(frozen=True)
class Check:
    """One part of the verdict: what was checked, whether it passed, and what was found, in a sentence."""

    name: str
    passed: bool
    finding: str


@dataclass(frozen=True)
class Comparison:
    """What two sides have in common, and where they part.

    Attributes:
        old: The one side.
        new: The other.
        weights: Bit by bit.
        layers: The layers' outputs in the order in which they are computed, then `outputs`, over all persons.
        stacks: The heat maps of each stack, over the persons looked at; empty where neither side has any.
        looked_at: Indices of the persons whose activations were compared.
        joints: The predictions.
        metrics: Every metric of both sides.
        tolerance: What was asked for.
        environment: What it was computed with.
    """

    old: Side
    new: Side
    weights: Weights
    layers: tuple[LayerRow, ...]
    stacks: tuple[LayerRow, ...]
    looked_at: tuple[int, ...]
    joints: Joints
    metrics: tuple[MetricRow, ...]
    tolerance: float
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """The verdict: whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def first_parting(self) -> str | None:
        """The first layer whose outputs differ by more than rounding; None if there is none."""
        return next((row.name for row in self.layers if row.parted), None)

    @property
    def equal_inputs(self) -> int:
        """How many persons' inputs are the same to the last bit."""
        return sum(old == new for old, new in zip(self.old.input_hashes, self.new.input_hashes, strict=True))

    @property
    def checks(self) -> tuple[Check, ...]:
        """The parts of the verdict."""
        persons = len(self.old.input_hashes)
        inputs = Check(
            "inputs",
            self.equal_inputs == persons,
            f"{self.equal_inputs} of {persons} are equal bit by bit (sha256)",
        )
        return (self._weights_check(), inputs, *self._layer_checks(), *self._stacks_check(), self._joints_check())

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to know of a verdict before trusting it, in sentences; none where there is nothing."""
        sentences = []
        for name, side in self._sides():
            own = own_engine(side.pose.checkpoint)
            if side.pose.backend != own.name:
                sentences.append(
                    f"{name} is a file of {own.title} and was run in {side.engine}: what its own engine answers was "
                    "not looked at"
                )
        diverged = [name for name, side in self._sides() if side.diverged]
        if diverged:
            sentences.append(
                f"the answers of {' and '.join(diverged)} lie far outside of every picture, or are no numbers: a "
                "network that has diverged"
            )
        return tuple(sentences)

    @property
    def headline(self) -> str:
        """The verdict in a few words."""
        if not self.same:
            return "Not the same network"
        if any(side.diverged for _, side in self._sides()):
            return "The same network, diverged"
        if self.remarks:
            engines = dict.fromkeys(side.engine.title for _, side in self._sides())
            return f"The same network, as {' and '.join(engines)} runs it"
        return "The same network"

    @property
    def is_made_up(self) -> bool:
        """Whether the inputs were made up, for want of persons."""
        return self.old.evaluation is None

    @property
    def granted(self) -> str:
        """The tolerance in words."""
        return granted_in_words(self.tolerance, self.layers)

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        return verdict_in_words(f"everything agrees within {self.granted}", self.checks)

    def as_dict(self) -> dict[str, object]:
        """Returns the comparison as JSON-ready values; what is not finite is None."""
        agreeing = sum(row.agrees for row in self.metrics)
        return {
            "same": self.same,
            "verdict": self.sentence,
            "remarks": list(self.remarks),
            "tolerance": {"relative": self.tolerance, "source": TOLERANCE_SOURCE},
            "first_parting": self.first_parting,
            "checks": [dict(vars(check)) for check in self.checks],
            "old": self.old.as_dict(),
            "new": self.new.as_dict(),
            "persons": 0 if self.is_made_up else len(self.old.input_hashes),
            "made_up_pictures": len(self.old.input_hashes) if self.is_made_up else 0,
            **self.network_as_dict(),
            "metrics": {row.name: row.as_dict() for row in self.metrics},
            "metrics_agree": agreeing == len(self.metrics),
            "environment": dict(self.environment),
        }

    def network_as_dict(self) -> dict[str, object]:
        """Returns what the two networks have in common by themselves, as JSON-ready values: a part of `as_dict()`."""
        return {
            "weights": self.weights.as_dict(),
            "inputs": {"equal": self.equal_inputs, "persons": len(self.old.input_hashes)},
            "layers": [row.as_dict() for row in self.layers[:-1]],
            "layers_of_persons": list(self.looked_at),
            "outputs": self.layers[-1].as_dict(),
            **({"stacks": [row.as_dict() for row in self.stacks]} if self.stacks else {}),
            "joints": self.joints.as_dict(),
        }

    def _weights_check(self) -> Check:
        weights = self.weights
        finding = f"{weights.equal} of {weights.equal + len(weights.rows)} tensors are equal bit by bit"
        if weights.rows:
            parts = [f"{row.name} ({row.finding})" for row in weights.rows[:3]]
            finding += ", not " + ", ".join(parts) + (", …" if len(weights.rows) > 3 else "")
        return Check("weights", not weights.rows, finding)

    def _layer_checks(self) -> Iterator[Check]:
        *layers, outputs = self.layers
        parting = next((row for row in layers if row.parted), None)
        if parting is None:
            worst = max((row.relative or 0.0 for row in layers), default=0.0)
            yield Check("layers", True, f"{len(layers)} agree; relative difference at most {worst:.2g}")
        else:
            yield Check("layers", False, f"they first differ at {parting.name}: {parting.finding}")
        failures = [f"the {name} network broke down: {side.failure}" for name, side in self._sides() if side.failure]
        finding = "; ".join(failures) or f"relative difference {number(outputs.relative)}{self._of_ties}"
        yield Check("outputs", (not outputs.parted or bool(self._of_ties)) and not failures, finding)

    def _stacks_check(self) -> Iterator[Check]:
        if not self.stacks:
            return
        parted = [row for row in self.stacks if row.parted]
        if parted:
            yield Check("stacks", False, f"{parted[0].name} parts: {parted[0].finding}")
        else:
            worst = max(row.relative or 0.0 for row in self.stacks)
            yield Check("stacks", True, f"{len(self.stacks)} agree; relative difference at most {worst:.2g}")

    def _joints_check(self) -> Check:
        joints, outputs = self.joints, self.layers[-1]
        passed = joints.relative <= outputs.tolerance or bool(self._of_ties)
        return Check("joints", passed, f"{joints.finding}{self._of_ties}")

    @property
    def _of_ties(self) -> str:
        """Whence answers differ that heat maps do not, in words; empty where they do not differ, or maps do.

        The largest of a map's numbers is another one where rounding tells two apart, and so is the larger neighbour.
        """
        outputs = self.layers[-1]
        if not outputs.parted or not self.stacks or any(row.parted for row in self.stacks):
            return ""
        with np.errstate(invalid="ignore"):
            moved = ~(np.abs(self.old.outputs.astype(np.float64) - self.new.outputs) <= outputs.tolerance).all(axis=1)
        if moved.sum() > len(self.looked_at):  # of the others the maps were not compared
            return ""
        return f", in {moved.sum()} persons where two numbers of a heat map are one within rounding"

    def _sides(self) -> tuple[tuple[str, Side], tuple[str, Side]]:
        return ("old", self.old), ("new", self.new)


def verdict_in_words(agreeing: str, checks: Sequence[Check]) -> str:
    """Returns the verdict: how all agree, or which checks failed and by what."""
    failed = [f"{check.name}: {check.finding}" for check in checks if not check.passed]
    return "not the same: " + "; ".join(failed) if failed else f"the same: {agreeing}"


def granted_in_words(tolerance: float, layers: Iterable[LayerRow]) -> str:
    """Returns what layers may differ by, in words."""
    words = f"{tolerance:g} of the largest value"
    needed = [row.tolerance for row in layers if (row.relative or 0) > tolerance and not row.parted]
    if needed:
        words += f", or {AMPLIFIED} times what one unit in the last place of each layer makes of it "
        words += f"(at most {max(needed):.1e})"
    return words


def compare(
    old: Pose,
    new: Pose,
    datasets: tuple[PoseDataset, PoseDataset] | None = None,
    *,
    tolerance: float = TOLERANCE,
    batch_size: int = 32,
    progress: Callable[[str, int, int], None] | None = None,
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


def compared(
    old: Side, new: Side, tolerance: float = TOLERANCE, progress: Callable[[str, int, int], None] | None = None
) -> Comparison:
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
        joints=compare_joints(sides[0].predicted, sides[1].predicted),
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
            self.failure = _reason(error)
            return nothing


def _reason(error: Exception) -> str:
    """Returns an error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _most_different(old: Float32Array, new: Float32Array) -> tuple[int, ...]:
    """Returns the persons whose outputs differ most, in their own order."""
    with np.errstate(invalid="ignore"):
        differences = np.nan_to_num(np.abs(old.astype(np.float64) - new), nan=np.inf).max(axis=1, initial=0)
    return tuple(sorted(np.argsort(-differences, kind="stable")[:LOOKED_AT].tolist()))


def _compare_layers(
    sides: tuple[Side, Side],
    persons: Sequence[int],
    tolerance: float,
    progress: Callable[[str, int, int], None] | None,
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
