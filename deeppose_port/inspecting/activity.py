"""What a network still sees: what its layers make of pictures, its dead units, and whether it answers one thing to all.

Many networks of the legacy program have collapsed: without contrast normalisation, or at the default learning rates,
their ReLUs died in the first iterations, and they answer the mean pose to every picture at a loss that looks well.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import field

import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.cascade import CascadePose
from deeppose_port.data.arrays import Float32Array, Float64Array, batched
from deeppose_port.data.view import input_points
from deeppose_port.inspecting.subjects import Subjects, some
from deeppose_port.pose import Pose
from deeppose_port.text import counted, finite
from deeppose_port.training.collapse import RELU

#: Standard deviation of the answers over pictures, as a part of the crop's side, below which a network is called
#: constant and nearly constant. Legacy networks that had collapsed had 0 to 5.6e-3 (measured), others 2.4e-2 and more.
CONSTANT, NEARLY_CONSTANT = 1e-3, 1e-2
#: Below this part of a layer's typical value, what differs between pictures is called nothing.
_NOTHING = 1e-3
#: Layers whose dead units a sentence tells.
_MOST_LAYERS = 8

_BATCH = 16


@dataclass(frozen=True)
class LayerRow:
    """What a layer makes of the pictures.

    Attributes:
        name: As `backends.activations.layer_names` has it.
        shape: (C, H, W) or (C,).
        dead_units: Channels that are not above 0 anywhere in any picture; None for a layer that is no ReLU.
        active: Share of its outputs that are above 0; None likewise.
        variation: Standard deviation over the pictures, as a part of the layer's root mean square; NaN if either is.
    """

    name: str
    shape: tuple[int, ...]
    dead_units: tuple[int, ...] | None
    active: float | None
    variation: float

    @property
    def dead(self) -> int | None:
        """How many `dead_units` there are."""
        return None if self.dead_units is None else len(self.dead_units)

    def as_dict(self) -> dict[str, object]:
        """Returns the row as JSON-ready values."""
        dead_units = None if self.dead_units is None else list(self.dead_units)
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dead": self.dead,
            "dead_units": dead_units,
            "active": self.active,
            "variation": finite(self.variation),
        }


@dataclass(frozen=True)
class Activity:
    """What a network makes of some pictures.

    Attributes:
        layers: Its layers, in their order.
        samples: How many pictures.
        described: What they are.
        output_std: Root mean square over the outputs of their standard deviation over the pictures, as a part of the
            input's height.
        im_size: The input's height in pixels.
    """

    layers: tuple[LayerRow, ...]
    samples: int
    described: str
    output_std: float
    im_size: int

    @property
    def verdict(self) -> str:
        """`varies`, `nearly constant`, `constant` or `not finite`."""
        if not math.isfinite(self.output_std):
            return "not finite"
        if self.output_std < CONSTANT:
            return "constant"
        return "nearly constant" if self.output_std < NEARLY_CONSTANT else "varies"

    @property
    def blind_from(self) -> str | None:
        """The first layer from which on nothing differs between the pictures; None where something does to the end."""
        blind = None
        for row in reversed(self.layers):
            if not row.variation < _NOTHING:
                break
            blind = row.name
        return blind

    @property
    def sentence(self) -> str:
        """The verdict for people."""
        moved = f"its joints move by {self.output_std * self.im_size:.2g} px of the crop's {self.im_size}"
        over = f"over {self.samples} {self.described} {moved} (standard deviation)"
        match self.verdict:
            case "not finite":
                return f"The network answers NaN or infinity to {self.samples} {self.described}."
            case "constant":
                blind = self.blind_from
                since = "" if blind is None else f"; from {blind} on nothing tells them apart"
                return f"The network has collapsed to a constant answer: {over}{since}."
            case "nearly constant":
                return f"The network has all but collapsed to a constant answer: {over}."
            case _:
                return f"The network has not collapsed to a constant answer: {over}."

    @property
    def relus(self) -> tuple[LayerRow, ...]:
        """The layers that can have dead units."""
        return tuple(row for row in self.layers if row.dead_units is not None)

    @property
    def dead(self) -> int:
        """How many dead units there are."""
        return sum(row.dead or 0 for row in self.relus)

    @property
    def units(self) -> int:
        """How many units may be dead: the channels of all ReLUs."""
        return sum(row.shape[0] for row in self.relus)

    @property
    def dead_sentence(self) -> str:
        """The dead units for people, the layers with most of them first; empty for a network without ReLUs."""
        if not self.relus:
            return ""
        seen = f"in {self.samples} {self.described}"
        if not self.dead:
            return f"None of the {self.units:,} units of ReLUs is dead: each is above 0 somewhere {seen}."
        worst = sorted((row for row in self.relus if row.dead), key=lambda row: -(row.dead or 0) / row.shape[0])
        told = [
            f"{'all' if row.dead == row.shape[0] else f'{row.dead:,} of'} {row.shape[0]:,} in {row.name}"
            for row in worst[:_MOST_LAYERS]
        ]
        rest = f", and some in {counted(len(worst) - _MOST_LAYERS, 'more layer')}" if len(worst) > _MOST_LAYERS else ""
        are = "is" if self.dead == 1 else "are"
        return (
            f"{self.dead:,} of the {self.units:,} units of ReLUs {are} dead, above 0 nowhere {seen}: "
            f"{', '.join(told)}{rest}."
        )

    def dead_filters(self, filters: int) -> tuple[int, ...]:
        """Returns which of the first layer's filters no picture activates, if the first ReLU has as many units."""
        first = self.relus[0] if self.relus else None
        return (first.dead_units or ()) if first is not None and first.shape[0] == filters else ()

    def as_dict(self) -> dict[str, object]:
        """Returns the activity as JSON-ready values."""
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "samples": self.samples,
            "pictures": self.described,
            "output_std": finite(self.output_std),
            "blind_from": self.blind_from,
            "dead": self.dead,
            "units": self.units,
            "dead_sentence": self.dead_sentence,
            "layers": [row.as_dict() for row in self.layers],
        }


def activity(pose: Pose, inputs: Iterable[Float32Array], described: str) -> Activity:
    """Looks at what a network makes of pictures, layer by layer.

    Args:
        pose: The network.
        inputs: (3, side, side) float32 each.
        described: What the pictures are, in the plural.

    Raises:
        DeepPoseError: There are fewer than two pictures, so that nothing can differ between them.
    """
    layers: dict[str, _Moments] = {}
    answers = _Moments()
    for batch in map(np.stack, batched(inputs, _BATCH)):
        outputs = np.empty(0, np.float32)
        for name, outputs in pose.activations(batch):
            layers.setdefault(name, _Moments()).add(outputs)
        answers.add(input_points(pose.joints_of(outputs), pose.preprocessing))
    if answers.count < 2:
        raise DeepPoseError(f"whether answers differ can be told of two {described} or more, not of {answers.count}")
    return Activity(
        tuple(moments.row(name) for name, moments in layers.items()),
        answers.count,
        described,
        answers.deviation() / pose.preprocessing.im_size,
        pose.preprocessing.im_size,
    )


def activities(
    pose: CascadePose, subjects: Subjects, samples: int, seed: int, described: str
) -> Iterator[tuple[str, Activity | DeepPoseError]]:
    """Looks at what the networks of a cascade make of pictures: each later one of close-ups of them.

    Args:
        pose: The cascade.
        subjects: The pictures, as its first stage sees them.
        samples: Close-ups that a network is shown at most.
        seed: Of which they are.
        described: What the pictures are, in the plural.

    Yields:
        What a network is called in files, and its activity; or why it sees nothing, where the stage before answers no
        pose.
    """
    parts = pose.cascade.rules.parts
    yield parts[0][0], activity(pose.first, subjects, described)
    answers = itertools.chain.from_iterable(pose.first(np.stack(batch)) for batch in batched(subjects, _BATCH))
    poses = np.array([subjects.view(index).points(answer) for index, answer in enumerate(answers)])
    for number in range(1, pose.stage_count):
        try:
            seen = pose.asked(number, subjects, poses)
        except DeepPoseError as error:
            yield from ((part, error) for part in itertools.chain(*parts[number:]))
            return
        for part, network, inputs in zip(parts[number], pose.stages[number], seen, strict=True):
            shown = some(range(len(inputs)), samples, seed)
            yield part, activity(network, (inputs[index][0] for index in shown), f"close-ups of {described}")
        if number + 1 < pose.stage_count:
            moved = [
                pose.refined(number, [subjects.picture(index)], poses[index][None])[0] for index in range(len(subjects))
            ]
            poses = np.array(moved)


@dataclass
class _Moments:
    """A layer's outputs over the pictures, summed up: Welford's and Chan's running mean and squares about it."""

    count: int = 0
    positive: int = 0
    _mean: Float64Array = field(default_factory=lambda: np.zeros(()))
    _squares: Float64Array = field(default_factory=lambda: np.zeros(()))
    _largest: Float64Array = field(default_factory=lambda: np.array(-math.inf))

    def add(self, outputs: npt.NDArray[np.floating]) -> None:
        """Adds a batch's outputs, (N, …)."""
        values, added = outputs.astype(np.float64), len(outputs)
        with np.errstate(invalid="ignore", over="ignore"):
            mean = values.mean(axis=0)
            squares = np.square(values - mean).sum(axis=0)
            apart = mean - self._mean
            total = self.count + added
            self._squares = self._squares + squares + np.square(apart) * (self.count * added / total)
            self._mean = self._mean + apart * (added / total)
        self.count = total
        self.positive += int((outputs > 0).sum())
        channels = values.reshape(added, values.shape[1], -1)
        self._largest = np.maximum(self._largest, channels.max(axis=(0, 2)))

    def deviation(self) -> float:
        """Returns the root mean square over the outputs of their standard deviation."""
        return float(np.sqrt((self._squares / self.count).mean()))

    def row(self, name: str) -> LayerRow:
        """Returns what was summed up."""
        with np.errstate(invalid="ignore", over="ignore"):
            deviation = self.deviation()
            typical = math.hypot(deviation, float(np.sqrt(np.square(self._mean).mean())))
        is_relu = RELU.fullmatch(name) is not None
        return LayerRow(
            name,
            tuple(self._mean.shape),
            dead_units=tuple(np.flatnonzero(self._largest <= 0).tolist()) if is_relu else None,
            active=self.positive / (self.count * self._mean.size) if is_relu else None,
            variation=deviation / typical if typical else 0.0,
        )
