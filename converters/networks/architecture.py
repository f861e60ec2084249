"""A network: a table with the widths of a file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from converters.errors import DeepPoseError
from converters.networks.batch_normalization import (
    BatchNormalizationRules,
    batch_normalization_rules,
    check_writer,
)
from converters.networks.layers import (
    AdaptiveAveragePooling,
    GlobalAveragePooling,
    Layer,
    Shape,
    shapes_of,
    with_channels,
)
from converters.networks.tables import TABLES, engines_of, feature_size, outputs_layer


@dataclass(frozen=True)
class Architecture:
    """A network: a table with the widths and joints of one checkpoint, and its writer's BatchNormalization.

    Attributes:
        name: A key of `TABLES`.
        joints: Number of joints; the last layer has twice as many channels.
        widths: Channels of each convolution and fully connected layer but the last, where they differ from the table.
        feature_size: Side of the map that the first fully connected layer flattens.
        writer: Whose BatchNormalization it has, as `chainer-1.13.0`; `torch` for PyTorch's own.
    """

    name: str
    joints: int
    widths: Mapping[str, int] = dataclasses.field(default_factory=dict)
    feature_size: int = 1
    writer: str = "chainer-1.13.0"

    def __post_init__(self) -> None:
        if self.name not in TABLES:
            raise DeepPoseError(f"there is no architecture {self.name!r}; there are {', '.join(TABLES)}")
        if self.joints < 1:
            raise DeepPoseError(f"an architecture has at least one joint, not {self.joints}")
        check_writer(self.writer)

    def __hash__(self) -> int:
        return hash((self.name, self.joints, tuple(sorted(self.widths.items())), self.feature_size, self.writer))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The table with this network's channels."""
        return with_channels(TABLES[self.name], {**self.widths, outputs_layer(self.name): 2 * self.joints})

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines that it exists in."""
        return engines_of(self.name)

    @property
    def batch_normalization(self) -> BatchNormalizationRules:
        """The arithmetic of its BatchNormalization."""
        return batch_normalization_rules(self.writer)

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shape of each tensor of its state dict, by canonical name, in the order of the layers."""
        return dict(shapes_of(self.layers, channels=3, feature_size=self.feature_size)[0])

    def accepts(self, im_size: int) -> bool:
        """Tells whether an input of this side reaches the fully connected layers with the right size."""
        return feature_size(self.name, im_size) == self.feature_size

    def input_sizes(self) -> tuple[int, int] | None:
        """Returns the smallest and the largest side of an input that it accepts; None if it accepts any."""
        if any(isinstance(layer, GlobalAveragePooling | AdaptiveAveragePooling) for layer in TABLES[self.name]):
            return None
        sizes = [side for side in range(1, 128 * (self.feature_size + 1)) if self.accepts(side)]
        return sizes[0], sizes[-1]

    def as_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON-ready values; `from_dict` takes them back."""
        return {
            "name": self.name,
            "joints": self.joints,
            "widths": dict(self.widths),
            "feature_size": self.feature_size,
            "writer": self.writer,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Architecture:
        """Builds an Architecture from `as_dict()`'s answer.

        Raises:
            DeepPoseError: The values describe none.
        """
        try:
            return cls(
                name=str(values["name"]),
                joints=int(values["joints"]),
                widths={str(name): int(width) for name, width in dict(values.get("widths", {})).items()},
                feature_size=int(values["feature_size"]),
                writer=str(values["writer"]),
            )
        except (KeyError, TypeError) as error:
            raise DeepPoseError(f"this does not describe an architecture: {values!r}") from error

    @classmethod
    def of(cls, description: Architecture | Mapping[str, Any] | str) -> Architecture:
        """Returns an Architecture from what a file says of it.

        Args:
            description: An Architecture; the `architecture` of a `.pt`; or its JSON from a safetensors' metadata.

        Raises:
            DeepPoseError: It describes none.
        """
        if isinstance(description, Architecture):
            return description
        values = json.loads(description) if isinstance(description, str) else description
        if not isinstance(values, Mapping):
            raise DeepPoseError(f"this does not describe an architecture: {description!r}")
        return cls.from_dict(values)

    @classmethod
    def full_size(cls, name: str, joints: int, *, im_size: int = 220, writer: str = "chainer-1.13.0") -> Architecture:
        """Returns the architecture at the table's widths, for inputs of `im_size`."""
        return cls(name, joints, feature_size=feature_size(name, im_size), writer=writer)
