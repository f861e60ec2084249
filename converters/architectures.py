"""Each network as a table of layers: the one place that says what it is made of.

Both backends build their networks from these tables, and the readers compare files with them. Sources: the legacy
program's model files at its last commit (2017-01), checked against the outputs of Chainer 1.13. Spatial sizes
follow Chainer: convolutions and average pooling round down, max pooling rounds up (`cover_all=True`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from packaging.version import InvalidVersion, Version

Shape: TypeAlias = tuple[int, ...]

#: Written for a table's last layer, whose channels are twice the joints.
OUTPUTS = 0


@dataclass(frozen=True)
class Convolution:
    """A 2-D convolution with `channels` outputs; `scale` is that of its initial weights, see `initial`."""

    name: str
    channels: int
    kernel: int
    stride: int = 1
    pad: int = 0
    bias: bool = True
    scale: float = 1.0


@dataclass(frozen=True)
class Linear:
    """A fully connected layer; it flattens its input in (C, H, W) order."""

    name: str
    channels: int


@dataclass(frozen=True)
class BatchNormalization:
    """Batch normalisation over a map's channels, with the arithmetic of the checkpoint's writer."""

    name: str


@dataclass(frozen=True)
class ReLU:
    """max(x, 0)."""


@dataclass(frozen=True)
class MaxPooling:
    """Max pooling that covers the whole map: the output size rounds up."""

    kernel: int
    stride: int


@dataclass(frozen=True)
class GlobalAveragePooling:
    """The mean over the whole map."""


@dataclass(frozen=True)
class LocalResponseNormalization:
    """`x * (k + alpha * sum of x² over n neighbouring channels) ** -beta`; alpha is not divided by n."""

    name: str
    n: int = 5
    k: float = 2.0
    alpha: float = 1e-4
    beta: float = 0.75


@dataclass(frozen=True)
class Dropout:
    """Zeroes a share `ratio` of its input in training and scales the rest by 1 / (1 - ratio)."""

    ratio: float


@dataclass(frozen=True)
class Residual:
    """`branch(x) + shortcut(x)`; an empty shortcut is x itself."""

    branch: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] = ()


Layer: TypeAlias = (
    Convolution
    | Linear
    | BatchNormalization
    | ReLU
    | MaxPooling
    | GlobalAveragePooling
    | LocalResponseNormalization
    | Dropout
    | Residual
)


# --- the tables ----------------------------------------------------------------------------------------------------


def _alexnet() -> tuple[Layer, ...]:
    """Pooling before LRN, conv1 with pad 1: this is not the AlexNet of Caffe or torchvision."""
    return (
        Convolution("conv1", 96, kernel=11, stride=4, pad=1),
        ReLU(),
        MaxPooling(3, 2),
        LocalResponseNormalization("norm1"),
        Convolution("conv2", 256, kernel=5, pad=2),
        ReLU(),
        MaxPooling(3, 2),
        LocalResponseNormalization("norm2"),
        Convolution("conv3", 384, kernel=3, pad=1),
        ReLU(),
        Convolution("conv4", 384, kernel=3, pad=1),
        ReLU(),
        Convolution("conv5", 256, kernel=3, pad=1),
        ReLU(),
        MaxPooling(3, 2),
        Linear("fc6", 4096),
        ReLU(),
        Dropout(0.6),
        Linear("fc7", 4096),
        ReLU(),
        Dropout(0.6),
        Linear("fc8", OUTPUTS),
    )


#: Scale of ResNet's initial weights: the legacy program asked Chainer 1.13 for sqrt(2), which took its square root.
_RESNET_SCALE = 2**0.25


def _bottleneck(name: str, middle: int, out: int, stride: int, projection: bool) -> tuple[Layer, ...]:
    """A bottleneck block; unlike torchvision's, its stride is on the first 1x1 convolution."""

    def convolution(number: int, channels: int, kernel: int, stride: int = 1) -> Convolution:
        pad = kernel // 2
        return Convolution(f"{name}.conv{number}", channels, kernel, stride, pad, bias=False, scale=_RESNET_SCALE)

    return (
        Residual(
            branch=(
                convolution(1, middle, kernel=1, stride=stride),
                BatchNormalization(f"{name}.bn1"),
                ReLU(),
                convolution(2, middle, kernel=3),
                BatchNormalization(f"{name}.bn2"),
                ReLU(),
                convolution(3, out, kernel=1),
                BatchNormalization(f"{name}.bn3"),
            ),
            shortcut=(
                convolution(4, out, kernel=1, stride=stride),
                BatchNormalization(f"{name}.bn4"),
            )
            if projection
            else (),
        ),
        ReLU(),
    )


def _resnet50() -> tuple[Layer, ...]:
    layers: tuple[Layer, ...] = (
        Convolution("conv1", 64, kernel=7, stride=2, pad=3, bias=False, scale=_RESNET_SCALE),
        BatchNormalization("bn1"),
        ReLU(),
        MaxPooling(3, 2),
    )
    for stage, blocks, middle, stride in ((2, 3, 64, 1), (3, 4, 128, 2), (4, 6, 256, 2), (5, 3, 512, 2)):
        layers += _bottleneck(f"res{stage}.a", middle, 4 * middle, stride, projection=True)
        for block in range(1, blocks):
            layers += _bottleneck(f"res{stage}.b_{block}", middle, 4 * middle, 1, projection=False)
    return (*layers, GlobalAveragePooling(), Linear("out_fc", OUTPUTS))


def _vgg_bn() -> tuple[Layer, ...]:
    layers: tuple[Layer, ...] = ()
    for stage, (convolutions, channels) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), start=1):
        for i in range(1, convolutions + 1):
            layers += (
                Convolution(f"conv{stage}_{i}", channels, kernel=3, pad=1),
                BatchNormalization(f"bn{stage}_{i}"),
                ReLU(),
            )
        layers += (MaxPooling(2, 2),)
    return (*layers, Linear("fc6", 4096), ReLU(), Linear("fc7", 4096), ReLU(), Linear("fc8", OUTPUTS))


#: Every architecture by name, at full width.
TABLES: dict[str, tuple[Layer, ...]] = {"alexnet": _alexnet(), "resnet50": _resnet50(), "vgg_bn": _vgg_bn()}


# --- BatchNormalization by writer ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class BatchNormalizationRules:
    """The arithmetic of `chainer.links.BatchNormalization` in one range of versions.

    Attributes:
        eps: Added to the batch's variance in training.
        test_eps: Added to the running variance at test time.
        eps_in_running_variance: Whether `eps` is part of what the running variance accumulates.
        initial_variance: What the running variance starts from.
    """

    eps: float
    test_eps: float
    eps_in_running_variance: bool
    initial_variance: float


#: First version of each range; measured on the published packages.
_RULES_SINCE: tuple[tuple[Version, BatchNormalizationRules], ...] = (
    (Version("1.0.0"), BatchNormalizationRules(1e-5, 0.0, True, 0.0)),
    (Version("1.14.0"), BatchNormalizationRules(2e-5, 0.0, True, 0.0)),
    (Version("1.21.0"), BatchNormalizationRules(2e-5, 2e-5, True, 0.0)),
    (Version("4.0.0"), BatchNormalizationRules(2e-5, 2e-5, False, 0.0)),
    (Version("5.0.0"), BatchNormalizationRules(2e-5, 2e-5, False, 1.0)),
)


def chainer_version(writer: str) -> Version:
    """Returns the version in a writer's name such as `chainer-1.13.0`.

    Raises:
        ValueError: It is no such name, or no version that Chainer had.
    """
    program, _, number = writer.partition("-")
    try:
        version = Version(number)
    except InvalidVersion:
        version = Version("0")
    if program != "chainer" or not _RULES_SINCE[0][0] <= version < Version("8"):
        raise ValueError(f"{writer!r} is no writer; it is spelled chainer-X.Y.Z, from chainer-1.0.0 to chainer-7.8.1")
    return version


def batch_normalization_rules(writer: str) -> BatchNormalizationRules:
    """Returns what BatchNormalization did in the version that wrote a file.

    Raises:
        ValueError: `writer` is not of the form `chainer-X.Y.Z`.
    """
    version = chainer_version(writer)
    return [rules for since, rules in _RULES_SINCE if since <= version][-1]


# --- a network: a table with the widths of a file --------------------------------------------------------------------


@dataclass(frozen=True)
class Architecture:
    """A network: a table with the widths and joints of one checkpoint, and its writer's BatchNormalization.

    Attributes:
        name: A key of `TABLES`.
        joints: Number of joints; the last layer has twice as many channels.
        widths: Channels of each convolution and fully connected layer but the last, where they differ from the table.
        feature_size: Side of the map that the first fully connected layer flattens.
        writer: Whose BatchNormalization it has, as `chainer-1.13.0`.
    """

    name: str
    joints: int
    widths: Mapping[str, int] = dataclasses.field(default_factory=dict)
    feature_size: int = 1
    writer: str = "chainer-1.13.0"

    def __post_init__(self) -> None:
        if self.name not in TABLES:
            raise ValueError(f"there is no architecture {self.name!r}; there are {', '.join(TABLES)}")
        if self.joints < 1:
            raise ValueError(f"an architecture has at least one joint, not {self.joints}")
        chainer_version(self.writer)

    def __hash__(self) -> int:
        return hash((self.name, self.joints, tuple(sorted(self.widths.items())), self.feature_size, self.writer))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The table with this network's channels."""
        return _with_channels(TABLES[self.name], {**self.widths, outputs_layer(self.name): 2 * self.joints})

    @property
    def batch_normalization(self) -> BatchNormalizationRules:
        """The arithmetic of its BatchNormalization."""
        return batch_normalization_rules(self.writer)

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shape of each tensor of its state dict, by canonical name, in the order of the layers."""
        return dict(_shapes(self.layers, channels=3, feature_size=self.feature_size)[0])

    def accepts(self, im_size: int) -> bool:
        """Tells whether an input of this side reaches the fully connected layers with the right size."""
        return feature_size(self.name, im_size) == self.feature_size

    def input_sizes(self) -> tuple[int, int] | None:
        """Returns the smallest and the largest side of an input that it accepts; None if it accepts any."""
        if any(isinstance(layer, GlobalAveragePooling) for layer in TABLES[self.name]):
            return None
        sizes = [side for side in range(1, 64 * (self.feature_size + 1)) if self.accepts(side)]
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
            ValueError: The values describe none.
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
            raise ValueError(f"this does not describe an architecture: {values!r}") from error

    @classmethod
    def of(cls, description: Architecture | Mapping[str, Any] | str) -> Architecture:
        """Returns an Architecture from what a file says of it.

        Args:
            description: An Architecture; the `architecture` of a `.pt`; or its JSON from a safetensors' metadata.

        Raises:
            ValueError: It describes none.
        """
        if isinstance(description, Architecture):
            return description
        values = json.loads(description) if isinstance(description, str) else description
        if not isinstance(values, Mapping):
            raise ValueError(f"this does not describe an architecture: {description!r}")
        return cls.from_dict(values)

    @classmethod
    def full_size(cls, name: str, joints: int, *, im_size: int = 220, writer: str = "chainer-1.13.0") -> Architecture:
        """Returns the architecture at the table's widths, for inputs of `im_size`."""
        return cls(name, joints, feature_size=feature_size(name, im_size), writer=writer)


def walk(layers: tuple[Layer, ...]) -> Iterator[Layer]:
    """Yields every layer of a table, those inside residual blocks in the order branch, shortcut."""
    for layer in layers:
        if isinstance(layer, Residual):
            yield from walk(layer.branch)
            yield from walk(layer.shortcut)
        else:
            yield layer


def outputs_layer(name: str) -> str:
    """Returns the name of an architecture's last layer."""
    last = TABLES[name][-1]
    assert isinstance(last, Linear)
    return last.name


def feature_size(name: str, im_size: int) -> int:
    """Returns the side of the map that the first fully connected layer flattens, for an input of side `im_size`."""
    return _side(TABLES[name], im_size)


def _side(layers: tuple[Layer, ...], side: int) -> int:
    for layer in layers:
        match layer:
            case Convolution():
                side = (side + 2 * layer.pad - layer.kernel) // layer.stride + 1
            case MaxPooling():
                side = -(-(side - layer.kernel) // layer.stride) + 1
            case GlobalAveragePooling():
                side = 1
            case Residual():
                side = _side(layer.branch, side)
            case Linear():
                return side
    return side


def _with_channels(layers: tuple[Layer, ...], channels: Mapping[str, int]) -> tuple[Layer, ...]:
    result: list[Layer] = []
    for layer in layers:
        if isinstance(layer, Residual):
            result.append(Residual(_with_channels(layer.branch, channels), _with_channels(layer.shortcut, channels)))
        elif isinstance(layer, Convolution | Linear) and layer.name in channels:
            result.append(dataclasses.replace(layer, channels=channels[layer.name]))
        else:
            result.append(layer)
    return tuple(result)


def _shapes(layers: tuple[Layer, ...], channels: int, feature_size: int) -> tuple[list[tuple[str, Shape]], int]:
    """Returns the tensors of some layers fed with `channels` channels, and the channels that leave them."""
    tensors: list[tuple[str, Shape]] = []
    flat = False
    for layer in layers:
        match layer:
            case Convolution():
                tensors.append((f"{layer.name}.weight", (layer.channels, channels, layer.kernel, layer.kernel)))
                if layer.bias:
                    tensors.append((f"{layer.name}.bias", (layer.channels,)))
                channels = layer.channels
            case Linear():
                inputs = channels if flat else channels * feature_size**2
                tensors.append((f"{layer.name}.weight", (layer.channels, inputs)))
                tensors.append((f"{layer.name}.bias", (layer.channels,)))
                channels, flat = layer.channels, True
            case BatchNormalization():
                parts = ("weight", "bias", "running_mean", "running_var")
                tensors.extend((f"{layer.name}.{part}", (channels,)) for part in parts)
                tensors.append((f"{layer.name}.num_batches_tracked", ()))
            case Residual():
                branch, out = _shapes(layer.branch, channels, feature_size)
                shortcut, _ = _shapes(layer.shortcut, channels, feature_size)
                tensors += branch + shortcut
                channels = out
    return tensors, channels
