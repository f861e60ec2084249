"""What two networks differ in: tensors, layers, joints and metrics, each by itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from converters import Checkpoint
from converters.checkpoint import Array, bytes_of
from converters.values import dataclass
from deeppose_port.data.arrays import Float32Array, Float64Array
from deeppose_port.metrics import shown
from deeppose_port.metrics.evaluation import Evaluation
from deeppose_port.text import finite

PIXELS = (0.01, 0.1, 1.0)
"""Distances between two predictions of a joint that are counted, in pixels of the original pictures."""


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

    @property
    def finding(self) -> str:
        """In which way it is not the same, in words."""
        if self.status != "differing":
            return self.status
        return f"{self.differing:,} of {self.elements:,} numbers, by up to {number(self.maximum)}"


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

    def as_dict(self) -> dict[str, object]:
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

    @property
    def finding(self) -> str:
        """In which way the two sides are not the same, in words."""
        if self.old_shape == self.new_shape:
            return f"relative difference {number(self.relative)}, tolerance {self.tolerance:.2g}"
        return f"{shape_text(self.old_shape)} against {shape_text(self.new_shape)}"

    def as_dict(self) -> dict[str, object]:
        """Returns the row as JSON-ready values; a difference that is not finite is None."""
        return {**_ready(vars(self)), "parted": self.parted}


@dataclass(frozen=True)
class Joints:
    """Both sides' predictions of the same joints, annotated or not, in pixels of the original pictures.

    Attributes:
        compared: Number of joints.
        beyond: How many differ by more than each of `PIXELS`; a joint that one side alone has finite is among them.
        maximum: The largest distance.
        relative: That, as a part of the old side's largest coordinate, or of what was seen where that is larger.
    """

    compared: int
    beyond: Mapping[float, int]
    maximum: float
    relative: float

    @property
    def finding(self) -> str:
        """How many differ by how much, in words."""
        beyond = ", ".join(f"{count} beyond {pixels:g} px" for pixels, count in self.beyond.items())
        maximum = f"{self.maximum:.2g}" if self.maximum < 1 else f"{self.maximum:.1f}"
        return f"of {self.compared}, {beyond}; at most {maximum} px"

    def as_dict(self) -> dict[str, object]:
        """Returns the counts as JSON-ready values."""
        beyond = {f"{pixels:g}": count for pixels, count in self.beyond.items()}
        return {"compared": self.compared, "beyond_px": beyond, "max_px": finite(self.maximum)}


@dataclass(frozen=True)
class MetricRow:
    """A metric of both sides.

    Attributes:
        name: Its place in `Evaluation.as_dict()`, as `pdj/0.2/left wrist`.
        old: Its value; None where it is not defined.
        new: Likewise.
        unit: `%`, `px` or empty.
        title: The metric and the joint or limb, for people.
        is_whole: Whether it is of all joints, limbs or persons.
    """

    name: str
    old: float | None
    new: float | None
    unit: str
    title: str
    is_whole: bool

    @property
    def difference(self) -> float | None:
        """New less old; None where one of them is not defined."""
        return None if self.old is None or self.new is None else self.new - self.old

    @property
    def cells(self) -> tuple[str, str, str]:
        """Both and their difference as they are shown, with their unit."""
        old, new = (math.nan if value is None else value for value in (self.old, self.new))
        numbers = shown.number(old, self.unit), shown.number(new, self.unit)
        return *numbers, shown.difference(old, new, self.unit)

    @property
    def agrees(self) -> bool:
        """Whether both are shown as the same digits."""
        old, new, _ = self.cells
        return old == new

    def as_dict(self) -> dict[str, float | None]:
        """Returns both values and their difference."""
        return {"old": self.old, "new": self.new, "difference": self.difference}


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
    maximum, _ = difference(old.astype(np.float64), new.astype(np.float64))
    return TensorRow(name, "differing", old.size, differing, maximum)


def layer_row(name: str, old: Float32Array | None, new: Float32Array | None, tolerance: float) -> LayerRow:
    """Compares a layer's (N, …) outputs; None for a side that has none."""
    shapes = [None if side is None else side.shape[1:] for side in (old, new)]
    if old is None or new is None or old.shape != new.shape:
        return LayerRow(name, shapes[0], shapes[1], None, None, tolerance)
    maximum, scale = difference(old, new)
    return LayerRow(name, shapes[0], shapes[1], maximum, relative_difference(maximum, scale), tolerance)


def difference(old: npt.NDArray[np.floating], new: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Returns the largest difference, infinite where one of two is not finite, and the largest old magnitude."""
    with np.errstate(over="ignore", invalid="ignore"):
        differences = np.abs(old - new)
        alike = (old == new) | (np.isnan(old) & np.isnan(new))
    differences = np.where(alike, 0, np.where(np.isnan(differences), np.inf, differences))
    finite = np.abs(old[np.isfinite(old)])
    return float(differences.max(initial=0)), float(finite.max(initial=0))


def relative_difference(maximum: float, scale: float) -> float:
    """Returns a difference as a part of a magnitude; infinite where there is none."""
    if maximum == 0:
        return 0.0
    return maximum / scale if scale > 0 else math.inf


def compare_joints(old: Float64Array, new: Float64Array, extent: float = 0.0) -> Joints:
    """Compares (N, J, 2) predictions, in pixels of the original pictures.

    Args:
        old: The one side's.
        new: The other's.
        extent: The longest side that a network saw of a picture: joints in its corner may have coordinates next to 0.
    """
    distances = joint_distances(old, new)
    maximum = float(distances.max(initial=0))
    scale = float(np.abs(old[np.isfinite(old)]).max(initial=extent))
    beyond = {pixels: int((distances > pixels).sum()) for pixels in PIXELS}
    return Joints(distances.size, beyond, maximum, relative_difference(maximum, scale))


def joint_distances(old: Float64Array, new: Float64Array) -> Float64Array:
    """Returns how far apart (N, J, 2) predictions are, (N, J): infinite where one side alone has no finite answer."""
    with np.errstate(over="ignore", invalid="ignore"):
        alike = (old == new) | (np.isnan(old) & np.isnan(new))  # infinite ones have no difference either
        distances = np.sqrt(np.square(np.where(alike, 0, old - new)).sum(axis=2))
    return np.where(np.isnan(distances), np.inf, distances)


def compare_metrics(old: Evaluation | None, new: Evaluation | None) -> tuple[MetricRow, ...]:
    """Sets every number of two evaluations beside each other that one of them has; none without evaluations."""
    if old is None or new is None:
        return ()
    ours, theirs = old.places(), new.places()
    rows = [
        MetricRow(
            name,
            ours[name].value if name in ours else None,
            theirs[name].value if name in theirs else None,
            number.unit,
            number.title,
            number.is_whole,
        )
        for name, number in {**ours, **theirs}.items()
    ]
    return tuple(row for row in rows if row.old is not None or row.new is not None)


def told_once(rows: Iterable[MetricRow]) -> list[MetricRow]:
    """Returns rows without the numbers that JSON has under a second name."""
    return list({(row.title, row.old, row.new): row for row in rows}.values())


def shape_text(shape: tuple[int, ...] | None) -> str:
    """Returns a layer's shape for a table."""
    return "nothing" if shape is None else " x ".join(map(str, shape)) or "scalar"


def number(value: float | None) -> str:
    """Returns a difference in two digits."""
    return "-" if value is None else f"{value:.2g}"


def _ready(values: Mapping[str, object]) -> dict[str, object]:
    """Returns values as JSON has them."""
    return {
        name: list(v) if isinstance(v, tuple) else finite(v) if isinstance(v, float) else v
        for name, v in values.items()
    }
