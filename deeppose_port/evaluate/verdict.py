"""What two checkpoints have in common and where they part, and the verdict in words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, fields
from functools import cached_property

import numpy as np

from converters import Preprocessing
from converters.values import dataclass
from deeppose_port.data import PoseDataset
from deeppose_port.data.arrays import Float32Array, Float64Array
from deeppose_port.data.close_up import CloseUpInputs
from deeppose_port.data.crop import Crop
from deeppose_port.evaluate.differences import Joints, LayerRow, MetricRow, Weights, number
from deeppose_port.evaluate.engines import Engine, engine_of, own_engine
from deeppose_port.evaluate.made_up import MadeUpPictures
from deeppose_port.metrics.evaluation import Evaluation
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
        crops = self._crops
        middles = np.array([((crop.x0 + crop.x1) / 2, (crop.y0 + crop.y1) / 2) for crop in crops]).reshape(-1, 1, 2)
        sides = np.array([max(crop.width, crop.height) for crop in crops]).reshape(-1, 1)
        with np.errstate(invalid="ignore", over="ignore"):
            distances = np.abs(self.predicted - middles).max(axis=2) / sides
        return float(np.median(np.nan_to_num(distances, nan=np.inf, posinf=np.inf))) if crops else 0.0

    @cached_property
    def _crops(self) -> list[Crop]:
        return [self.dataset.view(i).crop for i in range(len(self.dataset))]

    @property
    def extent(self) -> float:
        """The longest side of what the network saw, in pixels of the pictures."""
        return float(max((max(crop.width, crop.height) for crop in self._crops), default=0))

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
        if self._fed_otherwise:
            sentences.append(f"the two are fed or read differently: {self._fed_otherwise}")
        diverged = [name for name, side in self._sides() if side.diverged]
        for name, side in self._sides():
            broken = int((~np.isfinite(side.outputs)).sum())
            if broken and name not in diverged:
                sentences.append(f"{broken} of the {side.outputs.size} answers of {name} are no finite numbers")
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
        if any(side.pose.backend != own_engine(side.pose.checkpoint).name for _, side in self._sides()):
            engines = dict.fromkeys(side.engine.title for _, side in self._sides())
            return f"The same network, as {' and '.join(engines)} {'runs' if len(engines) == 1 else 'run'} it"
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

    @property
    def _fed_otherwise(self) -> str:
        """What the two have of their own of how inputs are made of persons, and joints of answers; empty for nothing.

        It takes persons, of whom there may be none here, to see it in inputs.
        """
        old, new = (side.pose.preprocessing for _, side in self._sides())
        names = [
            each.name
            for each in fields(Preprocessing)
            if each.compare or (each.name == "joints" and old.joints and new.joints)
        ]
        found = {name: (getattr(old, name), getattr(new, name)) for name in names}
        return "; ".join(
            f"{name} is {one} for old, {other} for new" for name, (one, other) in found.items() if one != other
        )

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
