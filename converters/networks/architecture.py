"""A network: a family's table with the widths of a file, or a table of its own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from bisect import bisect, bisect_left
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any

from converters.errors import DeepPoseError
from converters.networks.batch_normalization import (
    BatchNormalizationRules,
    batch_normalization_rules,
    check_writer,
)
from converters.networks.description import describe, layers_of
from converters.networks.flow import Step, learned_in, shapes_in, side_multiple, steps_of
from converters.networks.layers import (
    AdaptiveAveragePooling,
    GlobalAveragePooling,
    Layer,
    Shape,
    SoftArgmax,
    with_channels,
)
from converters.networks.tables import (
    EVERY_ENGINE,
    TABLES,
    answering,
    engines_of,
    feature_size,
    last_weighted,
    per_joint,
    stacks_of,
)
from converters.values import dataclass

_MOST_NUMBERS = 1 << 29
_LARGEST_INPUT = 1024


@dataclass(frozen=True)
class ModelSource:
    """The Python file that a network was read from; it is never run.

    Attributes:
        file: Its name, without folders.
        class_name: The class in it that the network is.
        text: Its text.
    """

    file: str
    class_name: str
    text: str

    @cached_property
    def sha256(self) -> str:
        """The text's hash, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def as_dict(self) -> dict[str, object]:
        """Returns the fields and the hash as JSON-ready values."""
        return {"file": self.file, "class": self.class_name, "sha256": self.sha256, "text": self.text}

    @classmethod
    def from_dict(cls, values: object) -> ModelSource:
        """Builds a ModelSource from `as_dict()`'s answer.

        Raises:
            DeepPoseError: The values describe none, or the text is not the hash's.
        """
        if not isinstance(values, Mapping) or not all(isinstance(value, str) for value in values.values()):
            raise DeepPoseError("this does not describe the source of a network")
        try:
            source = cls(values["file"], values["class"], values["text"])
            if source.sha256 != values["sha256"]:
                raise DeepPoseError(f"the text of {source.file} is not the one that its hash is of")
        except (KeyError, UnicodeEncodeError) as error:
            raise DeepPoseError("this does not describe the source of a network") from error
        return source


@dataclass(frozen=True)
class OwnTable:
    """The table of a network that is in no family.

    Attributes:
        layers: The layers, with the channels that they have.
        input_size: Height and width of an input that it takes.
        fixed: Whether it takes no other.
    """

    layers: tuple[Layer, ...]
    input_size: tuple[int, int] = (220, 220)
    fixed: bool = False

    @cached_property
    def steps(self) -> list[Step]:
        """The layers with the shapes of what goes through them."""
        return steps_of(self.layers, (3, *self.input_size))

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Shape of each tensor, by name, in the order of the layers."""
        return shapes_in(self.steps)

    @property
    def joints(self) -> float:
        """How many joints its answer is of: heat maps of the last stack, or two numbers each."""
        after = self.steps[-1].after
        return (after[1] or 0) if stacks_of(self.layers) else math.prod(side or 1 for side in after) / 2

    def as_dict(self) -> dict[str, object]:
        """Returns the fields as JSON-ready values."""
        return {"layers": describe(self.layers), "input_size": list(self.input_size), "fixed": self.fixed}

    @classmethod
    def from_dict(cls, values: object) -> OwnTable:
        """Builds an OwnTable from `as_dict()`'s answer; nothing that it describes has been made yet.

        Raises:
            DeepPoseError: The values describe none, its layers do not fit each other, or it is beyond all measure.
        """
        if not isinstance(values, Mapping):
            raise DeepPoseError("this does not describe a table of layers")
        size, fixed = values.get("input_size"), values.get("fixed")
        height, width = size if isinstance(size, list | tuple) and len(size) == 2 else (None, None)
        if not isinstance(height, int) or not isinstance(width, int) or not isinstance(fixed, bool):
            raise DeepPoseError("this does not describe a table of layers: it needs input_size and fixed")
        if not (0 < height <= _LARGEST_INPUT and 0 < width <= _LARGEST_INPUT):
            raise DeepPoseError(f"an input of {height} x {width} pixels is not one of a pose network")
        table = cls(layers_of(values.get("layers")), (height, width), fixed)
        sizes = [math.prod(shape) for shape in table.shapes.values()]
        maps = [math.prod(side or 1 for side in step.after) for step in table.steps]
        if sum(sizes) > _MOST_NUMBERS or max(maps, default=0) > _MOST_NUMBERS:
            raise DeepPoseError(f"this describes a network of {sum(sizes)} numbers, which is none of pose estimation")
        last_weighted(table.layers)
        return table


@dataclass(frozen=True)
class Architecture:
    """A network: its table with the widths and joints of one checkpoint, and its writer's BatchNormalization.

    Attributes:
        name: A key of `TABLES`; of a network in no family, the name of its class.
        joints: Number of joints; the last layer has twice as many channels, or one heat map for each.
        widths: Channels of each convolution and fully connected layer but the last, where they differ from the table.
        feature_size: Side of the map that the first fully connected layer flattens.
        writer: Whose BatchNormalization it has, as `chainer-1.13.0`; `torch` for PyTorch's own.
        own: The table, of a network in no family.
        source: The Python file that it was read from.
    """

    name: str
    joints: int
    widths: Mapping[str, int] = dataclasses.field(default_factory=dict)
    feature_size: int = 1
    writer: str = "chainer-1.13.0"
    own: OwnTable | None = None
    source: ModelSource | None = None

    def __post_init__(self) -> None:
        if self.own is None and self.name not in TABLES:
            raise DeepPoseError(f"there is no architecture {self.name!r}; there are {', '.join(TABLES)}")
        if self.joints < 1:
            raise DeepPoseError(f"an architecture has at least one joint, not {self.joints}")
        check_writer(self.writer)

    def __hash__(self) -> int:
        widths = tuple(sorted(self.widths.items()))
        return hash((self.name, self.joints, widths, self.feature_size, self.writer, self.own, self.source))

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The table with this network's channels."""
        if self.own is not None:
            return self.own.layers
        table = TABLES[self.name]
        return with_channels(table, {**self.widths, self.outputs_layer: per_joint(table) * self.joints})

    @property
    def outputs_layer(self) -> str:
        """The name of its last layer with weights: two channels for each joint, or a heat map."""
        return last_weighted(TABLES[self.name] if self.own is None else self.own.layers).name

    @property
    def stacks(self) -> int:
        """How many stacks of heat maps it answers; 0 where it answers coordinates."""
        return stacks_of(TABLES[self.name] if self.own is None else self.own.layers)

    @property
    def answers(self) -> str:
        """What its outputs are called where they have a name: `joints` or `heatmaps`."""
        return "heatmaps" if self.stacks else "joints"

    @cached_property
    def steps(self) -> list[Step]:
        """The layers with the shapes of what goes through them; sides are None in a family's network.

        Raises:
            DeepPoseError: The widths do not fit each other.
        """
        if self.own is not None:
            return self.own.steps
        return steps_of(self.layers, (3, None, None), self.feature_size)

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines that it exists in."""
        engines = EVERY_ENGINE if self.own is not None else engines_of(self.name)
        return tuple(engine for engine in engines if engine != "chainer") if self.stacks else engines

    @property
    def batch_normalization(self) -> BatchNormalizationRules:
        """The arithmetic of its BatchNormalization."""
        return batch_normalization_rules(self.writer)

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of each tensor of its state dict, by canonical name, in the order of the layers."""
        return shapes_in(self.steps)

    @cached_property
    def buffers(self) -> frozenset[str]:
        """Names of tensors that no training changes, beside the statistics of BatchNormalization."""
        return frozenset(name for name, tensor in learned_in(self.steps).items() if not tensor.trained)

    def with_joints(self, joints: int) -> Architecture:
        """Returns it with outputs for another number of joints.

        Raises:
            DeepPoseError: Its outputs are more than its last layer's.
        """
        if self.own is None:
            return dataclasses.replace(self, joints=joints)
        outputs = dict.fromkeys(answering(self.own.layers), per_joint(self.own.layers) * joints)
        own = dataclasses.replace(self.own, layers=with_channels(self.own.layers, outputs))
        if own.joints != joints:
            raise DeepPoseError(f"the last layer of {self.name} alone cannot be made for {joints} joints")
        return dataclasses.replace(self, joints=joints, own=own, source=None)

    def accepts(self, im_size: int) -> bool:
        """Tells whether an input of this side reaches the fully connected layers with the right size."""
        if self.own is None:
            multiple = im_size > 0 and im_size % side_multiple(self.layers) == 0
            return multiple and feature_size(self.name, im_size) == self.feature_size
        if (im_size, im_size) == self.own.input_size:
            return True
        if self.own.fixed:
            return False
        try:
            steps = steps_of(self.own.layers, (3, im_size, im_size))
        except DeepPoseError:
            return False
        return shapes_in(steps) == self.own.shapes

    def input_sizes(self) -> tuple[int, int] | None:
        """Returns the smallest and the largest side of an input that it accepts; None if no side is the largest."""
        if self.own is not None:
            middle = max(self.own.input_size)
            if self.accepts(_LARGEST_INPUT):
                return None
            largest = next(side for side in range(middle, _LARGEST_INPUT) if not self.accepts(side + 1))
            return next(side for side in range(middle, 0, -1) if not self.accepts(side - 1)), largest
        anyhow = GlobalAveragePooling | AdaptiveAveragePooling | SoftArgmax
        if any(isinstance(layer, anyhow) for layer in TABLES[self.name]):
            return None
        multiple = side_multiple(self.layers)
        sides = range(multiple, 128 * (self.feature_size + 1), multiple)
        # Larger inputs have larger maps.
        first, end = (f(sides, self.feature_size, key=partial(feature_size, self.name)) for f in (bisect_left, bisect))
        return sides[first], sides[end - 1]

    @property
    def takes(self) -> str:
        """Says which inputs it accepts, where one was not accepted."""
        multiple = 1 if self.own is not None and not self.stacks else side_multiple(self.layers)
        sizes = self.input_sizes()
        if multiple > 1:
            return f"inputs whose sides are multiples of {multiple} pixels"
        return "larger inputs" if sizes is None else f"inputs of {sizes[0]} to {sizes[1]} pixels a side"

    def as_dict(self) -> dict[str, object]:
        """Returns the fields as JSON-ready values; `from_dict` takes them back."""
        told: dict[str, object] = {
            "name": self.name,
            "joints": self.joints,
            "widths": dict(self.widths),
            "feature_size": self.feature_size,
            "writer": self.writer,
        }
        if self.own is not None:
            told["own"] = self.own.as_dict()
        if self.source is not None:
            told["source"] = self.source.as_dict()
        return told

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Architecture:
        """Builds an Architecture from `as_dict()`'s answer.

        Raises:
            DeepPoseError: The values describe none.
        """
        own, source = values.get("own"), values.get("source")
        try:
            described = cls(
                name=str(values["name"]),
                joints=int(values["joints"]),
                widths={str(name): int(width) for name, width in dict(values.get("widths", {})).items()},
                feature_size=int(values["feature_size"]),
                writer=str(values["writer"]),
                own=None if own is None else OwnTable.from_dict(own),
                source=None if source is None else ModelSource.from_dict(source),
            )
        except DeepPoseError:
            raise
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DeepPoseError(f"this does not describe an architecture: {values!r}") from error
        if described.own is not None and described.own.joints != described.joints:
            raise DeepPoseError(f"its table answers {described.own.joints:g} joints, and it says {described.joints}")
        return described

    @classmethod
    def of(cls, description: Architecture | Mapping[str, object] | str) -> Architecture:
        """Returns an Architecture from what a file says of it.

        Args:
            description: An Architecture; the `architecture` of a `.pt`; or its JSON from a safetensors' metadata.

        Raises:
            DeepPoseError: It describes none.
        """
        if isinstance(description, Architecture):
            return description
        try:
            values = json.loads(description) if isinstance(description, str) else description
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, Mapping):
            raise DeepPoseError(f"this does not describe an architecture: {description!r}")
        return cls.from_dict(values)

    @classmethod
    def full_size(cls, name: str, joints: int, *, im_size: int = 220, writer: str = "chainer-1.13.0") -> Architecture:
        """Returns the architecture at the table's widths, for inputs of `im_size`."""
        return cls(name, joints, feature_size=feature_size(name, im_size), writer=writer)
