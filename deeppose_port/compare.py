"""Whether two checkpoints, or one checkpoint in two backends, are the same network: from the weights to the metrics.

comparison = compare(old, new, datasets=(dataset, dataset))
comparison.same, comparison.first_parting
[(check.name, check.passed, check.finding) for check in comparison.checks]
"""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from converters import Checkpoint
from converters.checkpoint import Array, bytes_of
from deeppose_port.backends import Floats
from deeppose_port.backends.activations import layer_names
from deeppose_port.data import PoseDataset
from deeppose_port.environment import environment
from deeppose_port.evaluate import Evaluation, answers_of, evaluation_of
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

PIXELS = (0.01, 0.1, 1.0)
"""Distances between two predictions of a joint that are counted, in pixels of the original pictures."""

LOOKED_AT = 8
"""Persons whose activations are compared: those with the largest differences in the outputs."""


@dataclass(frozen=True)
class TensorRow:
    """A tensor that is not the same in both checkpoints.

    Attributes:
        name: Canonical name.
        status: `differing`, `other shape`, `only in old` or `only in new`.
        elements: Its numbers, in the old checkpoint where it is there.
        differing: How many of them have other bits.
        maximum: The largest difference of two numbers; None where there are no two.
    """

    name: str
    status: str
    elements: int
    differing: int
    maximum: float | None


@dataclass(frozen=True)
class Weights:
    """The weights bit by bit.

    Attributes:
        equal: Tensors with the same name, dtype, shape and bytes.
        parameters: Numbers in them.
        rows: All others.
    """

    equal: int
    parameters: int
    rows: tuple[TensorRow, ...]

    def count(self, status: str) -> int:
        """Returns how many tensors have a status."""
        return sum(row.status == status for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Returns the counts and rows as JSON-ready values."""
        return {
            "equal": self.equal,
            "differing": self.count("differing") + self.count("other shape"),
            "missing": self.count("only in old") + self.count("only in new"),
            "tensors": [_ready(vars(row)) for row in self.rows],
        }


@dataclass(frozen=True)
class LayerRow:
    """A layer's outputs on both sides.

    Attributes:
        name: As `backends.activations.layer_names` has it.
        old_shape: (C, H, W) or (C,); None where the side has no such layer, or did not reach it.
        new_shape: Likewise.
        maximum: The largest difference; None where the shapes leave nothing to compare.
        relative: That, as a part of the old side's largest value.
        tolerance: What `relative` may be.
    """

    name: str
    old_shape: tuple[int, ...] | None
    new_shape: tuple[int, ...] | None
    maximum: float | None
    relative: float | None
    tolerance: float

    @property
    def parted(self) -> bool:
        """Whether the two sides differ by more than rounding."""
        return self.relative is None or not self.relative <= self.tolerance

    def as_dict(self) -> dict[str, Any]:
        """Returns the row as JSON-ready values; a difference that is not finite is None."""
        return {**_ready(vars(self)), "parted": self.parted}


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        pose: What answered.
        dataset: What it was asked, with its preprocessing.
        evaluation: What it answered; NaN where its network broke down.
        input_hashes: sha256 of each person's input, float32 in (C, H, W) order.
        failure: Why its network broke down; None if it did not.
    """

    pose: Pose
    dataset: PoseDataset
    evaluation: Evaluation
    input_hashes: tuple[str, ...]
    failure: str | None

    @property
    def input_sha256(self) -> str:
        """One hash for all inputs: that of the persons' hashes, joined."""
        return hashlib.sha256("".join(self.input_hashes).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """Returns what it is, without its metrics, as JSON-ready values."""
        checkpoint = self.pose.checkpoint
        return {
            "checkpoint": checkpoint.source.path,
            "sha256": checkpoint.source.sha256,
            "format": checkpoint.source.format,
            "writer": checkpoint.architecture.writer,
            "architecture": checkpoint.architecture.name,
            "joints": checkpoint.joints,
            "parameters": checkpoint.parameters,
            "backend": self.pose.backend,
            "device": self.pose.device,
            "preprocessing": self.pose.preprocessing.as_dict(),
            "input_sha256": self.input_sha256,
            "repairs": [repair.as_dict() for repair in checkpoint.repairs],
            "failure": self.failure,
        }


@dataclass(frozen=True)
class Joints:
    """Both sides' predictions of the same joints, annotated or not, in pixels of the original pictures.

    Attributes:
        compared: Number of joints.
        beyond: How many differ by more than each of `PIXELS`; a joint that one side alone has finite is among them.
        maximum: The largest distance.
        relative: That, as a part of the old side's largest coordinate.
    """

    compared: int
    beyond: Mapping[float, int]
    maximum: float
    relative: float

    def as_dict(self) -> dict[str, Any]:
        """Returns the counts as JSON-ready values."""
        beyond = {f"{pixels:g}": count for pixels, count in self.beyond.items()}
        return {"compared": self.compared, "beyond_px": beyond, "max_px": _finite(self.maximum)}


@dataclass(frozen=True)
class MetricRow:
    """A metric of both sides.

    Attributes:
        name: Its place in `Evaluation.as_dict()`, as `pdj/0.2/left wrist`.
        old: Its value; None where it is not defined.
        new: Likewise.
    """

    name: str
    old: float | None
    new: float | None

    @property
    def difference(self) -> float | None:
        """New less old; None where one of them is not defined."""
        return None if self.old is None or self.new is None else self.new - self.old

    @property
    def agrees(self) -> bool:
        """Whether both print as the same digits."""
        return printed(self.name, self.old) == printed(self.name, self.new)

    def as_dict(self) -> dict[str, float | None]:
        """Returns both values and their difference."""
        return {"old": self.old, "new": self.new, "difference": self.difference}


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
        return (self._weights_check(), inputs, *self._layer_checks(), self._joints_check())

    @property
    def granted(self) -> str:
        """The tolerance in words."""
        words = f"{self.tolerance:g} of the largest value"
        if any((row.relative or 0) > self.tolerance and not row.parted for row in self.layers):
            words += f", or {AMPLIFIED} times what one unit in the last place of each layer makes of it"
        return words

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.same:
            return f"the same: everything agrees within {self.granted}"
        failed = [f"{check.name}: {check.finding}" for check in self.checks if not check.passed]
        return "not the same: " + "; ".join(failed)

    def as_dict(self) -> dict[str, Any]:
        """Returns the comparison as JSON-ready values; what is not finite is None."""
        agreeing = sum(row.agrees for row in self.metrics)
        return {
            "same": self.same,
            "verdict": self.sentence,
            "tolerance": {"relative": self.tolerance, "source": TOLERANCE_SOURCE},
            "first_parting": self.first_parting,
            "checks": [dict(vars(check)) for check in self.checks],
            "old": self.old.as_dict(),
            "new": self.new.as_dict(),
            "persons": len(self.old.input_hashes),
            "weights": self.weights.as_dict(),
            "inputs": {"equal": self.equal_inputs, "persons": len(self.old.input_hashes)},
            "layers": [row.as_dict() for row in self.layers[:-1]],
            "layers_of_persons": list(self.looked_at),
            "outputs": self.layers[-1].as_dict(),
            "joints": self.joints.as_dict(),
            "metrics": {row.name: row.as_dict() for row in self.metrics},
            "metrics_agree": agreeing == len(self.metrics),
            "environment": dict(self.environment),
        }

    def _weights_check(self) -> Check:
        weights = self.weights
        finding = f"{weights.equal} of {weights.equal + len(weights.rows)} tensors are equal bit by bit"
        if weights.rows:
            parts = [f"{row.name} ({_said(row)})" for row in weights.rows[:3]]
            finding += ", not " + ", ".join(parts) + (", …" if len(weights.rows) > 3 else "")
        return Check("weights", not weights.rows, finding)

    def _layer_checks(self) -> Iterator[Check]:
        *layers, outputs = self.layers
        parting = next((row for row in layers if row.parted), None)
        if parting is None:
            worst = max((row.relative or 0.0 for row in layers), default=0.0)
            yield Check("layers", True, f"{len(layers)} agree; relative difference at most {worst:.2g}")
        else:
            yield Check("layers", False, f"they part at {parting.name}: {_parting(parting)}")
        failures = [f"the {name} network broke down: {side.failure}" for name, side in self._sides() if side.failure]
        finding = "; ".join(failures) or f"relative difference {_number(outputs.relative)}"
        yield Check("outputs", not outputs.parted and not failures, finding)

    def _joints_check(self) -> Check:
        joints, outputs = self.joints, self.layers[-1]
        beyond = ", ".join(f"{count} beyond {pixels:g} px" for pixels, count in joints.beyond.items())
        finding = f"of {joints.compared}, {beyond}; at most {_pixels(joints.maximum)} px"
        return Check("joints", joints.relative <= outputs.tolerance, finding)

    def _sides(self) -> tuple[tuple[str, Side], tuple[str, Side]]:
        return ("old", self.old), ("new", self.new)


def compare(
    old: Pose,
    new: Pose,
    datasets: tuple[PoseDataset, PoseDataset],
    *,
    tolerance: float = TOLERANCE,
    batch_size: int = 32,
    progress: Callable[[str, int, int], None] | None = None,
) -> Comparison:
    """Compares two networks from their weights to their metrics.

    Args:
        old: The one checkpoint, in its backend.
        new: The other, or the same in another backend.
        datasets: The same persons for each of them, made into inputs by its own preprocessing.
        tolerance: The difference that a layer's outputs may have, as a part of the old side's largest value.
        batch_size: Persons in one pass.
        progress: Called with what is done, the persons done and all of them.

    Raises:
        ValueError: A checkpoint has another number of joints than the dataset, or the tolerance is negative.
        DatasetError: A person cannot be made into an example.
    """
    if not tolerance >= 0:
        raise ValueError(f"the tolerance is {tolerance}; it has to be 0 or more")
    for pose, dataset in zip((old, new), datasets, strict=True):
        if pose.joints != len(dataset.skeleton.joints):
            raise ValueError(
                f"{pose.checkpoint.source.path} has {pose.joints} joints, but {dataset.skeleton.name} has "
                f"{len(dataset.skeleton.joints)}; choose the skeleton that it was trained on"
            )

    def side(name: str, pose: Pose, dataset: PoseDataset) -> Side:
        step = None if progress is None else lambda done, total: progress(name, done, total)
        network = _Recorder(pose)
        answers = answers_of(network, dataset, batch_size=batch_size, progress=step)
        evaluation = evaluation_of(answers, dataset)
        return Side(pose, dataset, evaluation, tuple(network.hashes), network.failure)

    sides = side("old", old, datasets[0]), side("new", new, datasets[1])
    outputs = sides[0].evaluation.outputs, sides[1].evaluation.outputs
    looked_at = _most_different(*outputs)
    layers = _compare_layers(sides, looked_at, tolerance, progress)
    granted = layers[-1].tolerance if layers else tolerance
    points = sides[0].evaluation.predicted, sides[1].evaluation.predicted
    return Comparison(
        *sides,
        weights=compare_weights(old.checkpoint, new.checkpoint),
        layers=(*layers, _row("outputs", *outputs, granted)),
        looked_at=looked_at,
        joints=_compare_joints(*points),
        metrics=_compare_metrics(sides[0].evaluation, sides[1].evaluation),
        tolerance=tolerance,
        environment=environment(old, new),
    )


def compare_weights(old: Checkpoint, new: Checkpoint) -> Weights:
    """Compares the weights of two checkpoints bit by bit."""
    equal, parameters, rows = 0, 0, []
    for name in dict.fromkeys((*old.weights, *new.weights)):
        ours, theirs = old.weights.get(name), new.weights.get(name)
        row = _tensor_row(name, ours, theirs)
        if row is not None:
            rows.append(row)
        elif ours is not None:
            equal += 1
            parameters += ours.size
    return Weights(equal, parameters, tuple(rows))


def _tensor_row(name: str, old: Array | None, new: Array | None) -> TensorRow | None:
    """Compares a tensor; returns None where it is equal."""
    if old is None or new is None:
        there = old if old is not None else new
        assert there is not None
        return TensorRow(name, "only in old" if new is None else "only in new", there.size, there.size, None)
    if (old.dtype, old.shape) == (new.dtype, new.shape) and bytes_of(old) == bytes_of(new):
        return None
    if old.shape != new.shape:
        return TensorRow(name, "other shape", old.size, old.size, None)
    if old.dtype == new.dtype:
        bits = np.dtype(f"u{old.dtype.itemsize}")
        differing = (
            int((old.view(bits) != new.view(bits)).sum()) if old.dtype.itemsize <= 8 else int((old != new).sum())
        )
    else:
        differing = old.size
    maximum, _ = _difference(old.astype(np.float64), new.astype(np.float64))
    return TensorRow(name, "differing", old.size, differing, maximum)


class _Recorder:
    """A pose as a network that keeps the hashes of its inputs, and answers NaN from where it breaks down."""

    def __init__(self, pose: Pose) -> None:
        self.pose = pose
        self.hashes: list[str] = []
        self.failure: str | None = None

    def __call__(self, inputs: Floats) -> Floats:
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


def _most_different(old: Floats, new: Floats) -> tuple[int, ...]:
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
                yield _row(name, ours, theirs, _granted(ours, moved, tolerance))
            continue
        for name in names[0][a0:a1]:
            yield _row(name, asked[0].next(), None, tolerance)
            nudged.next()
        for name in names[1][b0:b1]:
            yield _row(name, None, asked[1].next(), tolerance)


class _Steps:
    """A network's activations one by one; None from where it breaks down."""

    def __init__(self, pose: Pose, inputs: Floats, nudged: bool = False) -> None:
        self._outputs: Iterator[tuple[str, Floats]] = pose.activations(inputs, nudged)

    def next(self) -> Floats | None:
        try:
            return next(self._outputs)[1]
        except Exception:  # the side's failure says why; a generator that raised has ended
            return None


def _granted(ours: Floats | None, moved: Floats | None, tolerance: float) -> float:
    """Returns a layer's tolerance: more where the network amplifies the rounding of its inputs."""
    if tolerance == 0 or ours is None or moved is None:
        return tolerance
    relative = _relative(*_difference(ours, moved))
    return max(tolerance, AMPLIFIED * relative) if math.isfinite(relative) else tolerance


def _row(name: str, old: Floats | None, new: Floats | None, tolerance: float) -> LayerRow:
    shapes = [None if side is None else side.shape[1:] for side in (old, new)]
    if old is None or new is None or old.shape != new.shape:
        return LayerRow(name, shapes[0], shapes[1], None, None, tolerance)
    maximum, scale = _difference(old, new)
    return LayerRow(name, shapes[0], shapes[1], maximum, _relative(maximum, scale), tolerance)


def _difference(old: npt.NDArray[Any], new: npt.NDArray[Any]) -> tuple[float, float]:
    """Returns the largest difference, infinite where one of two is not finite, and the largest old magnitude."""
    with np.errstate(over="ignore", invalid="ignore"):
        differences = np.abs(old - new)
        alike = (old == new) | (np.isnan(old) & np.isnan(new))
    differences = np.where(alike, 0, np.where(np.isnan(differences), np.inf, differences))
    finite = np.abs(old[np.isfinite(old)])
    return float(differences.max(initial=0)), float(finite.max(initial=0))


def _relative(maximum: float, scale: float) -> float:
    if maximum == 0:
        return 0.0
    return maximum / scale if scale > 0 else math.inf


def _compare_joints(old: npt.NDArray[np.float64], new: npt.NDArray[np.float64]) -> Joints:
    with np.errstate(over="ignore", invalid="ignore"):
        distances = np.sqrt(np.square(old - new).sum(axis=2))
    broken = np.isnan(old).any(axis=2), np.isnan(new).any(axis=2)
    distances = np.where(broken[0] & broken[1], 0, np.where(np.isnan(distances), np.inf, distances))
    maximum = float(distances.max(initial=0))
    scale = float(np.abs(old[np.isfinite(old)]).max(initial=0))
    beyond = {pixels: int((distances > pixels).sum()) for pixels in PIXELS}
    return Joints(distances.size, beyond, maximum, _relative(maximum, scale))


def _compare_metrics(old: Evaluation, new: Evaluation) -> tuple[MetricRow, ...]:
    ours, theirs = dict(_flat(old.as_dict())), dict(_flat(new.as_dict()))
    return tuple(MetricRow(name, ours.get(name), theirs.get(name)) for name in dict.fromkeys((*ours, *theirs)))


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float | None]]:
    """Yields the numbers of nested dictionaries by their place, as `pdj/0.2/left wrist`."""
    for key, value in values.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}/")
        elif name not in ("persons", "joints") and isinstance(value, int | float):
            yield name, value


def printed(name: str, value: float | None) -> str:
    """Returns a metric in the digits in which it is shown: pixels with two decimals, fractions in per cent with one."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    if name == "loss":
        return f"{value:.6g}"
    kind = name.split("/")[0]
    return f"{value:.2f}" if kind.endswith(("error", "_px")) else f"{100 * value:.1f}"


def _said(row: TensorRow) -> str:
    """Says in which way a tensor is not the same."""
    if row.status != "differing":
        return row.status
    return f"{row.differing:,} of {row.elements:,} numbers, by up to {_number(row.maximum)}"


def _parting(row: LayerRow) -> str:
    """Says in which way a layer's outputs are not the same."""
    if row.old_shape == row.new_shape:
        return f"relative difference {_number(row.relative)}, tolerance {row.tolerance:.2g}"
    said = [shape_text(shape) for shape in (row.old_shape, row.new_shape)]
    return f"{said[0]} against {said[1]}"


def shape_text(shape: tuple[int, ...] | None) -> str:
    """Returns a layer's shape for a table."""
    return "nothing" if shape is None else " x ".join(map(str, shape)) or "scalar"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _pixels(value: float) -> str:
    return f"{value:.2g}" if value < 1 else f"{value:.1f}"


def _finite(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None


def _ready(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns values as JSON has them."""
    return {
        name: list(v) if isinstance(v, tuple) else _finite(v) if isinstance(v, float) else v
        for name, v in values.items()
    }
