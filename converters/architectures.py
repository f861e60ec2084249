"""Each network as a table of layers: the one place that says what it is made of.

Both backends build their networks from these tables, and the readers compare files with them. Sources: the legacy
program's model files from 2015 to its last commit (2017-01), checked against the outputs of Chainer 1.1 to 7.8.1; for
the ports to PyTorch their own sources and torchvision's. Convolutions round down; max pooling rounds up in Chainer
(`cover_all=True`) and down in PyTorch.
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
class PReLU:
    """max(x, 0) + slope * min(x, 0), with one learned slope for all channels."""

    name: str


@dataclass(frozen=True)
class Tanh:
    """The hyperbolic tangent."""


@dataclass(frozen=True)
class MaxPooling:
    """Max pooling; with `cover_all` it covers the whole map, the output size rounds up."""

    kernel: int
    stride: int
    pad: int = 0
    cover_all: bool = True


@dataclass(frozen=True)
class AdaptiveAveragePooling:
    """The means over a map's parts, `side` by `side` of them, as in `torch.nn.AdaptiveAvgPool2d`."""

    side: int


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
    """Zeroes a share `ratio` of its input in training and scales the rest by 1 / (1 - ratio).

    With `channels` whole maps are zeroed.
    """

    ratio: float
    channels: bool = False


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
    | PReLU
    | Tanh
    | MaxPooling
    | AdaptiveAveragePooling
    | GlobalAveragePooling
    | LocalResponseNormalization
    | Dropout
    | Residual
)


# --- the tables ----------------------------------------------------------------------------------------------------


#: Of AlexNet's five convolutions: output channels, kernel, stride, pad.
_ALEXNET = ((96, 11, 4, 1), (256, 5, 1, 2), (384, 3, 1, 1), (384, 3, 1, 1), (256, 3, 1, 1))


def _alexnet(normalized: bool = False, prelu: bool = False, tanh: bool = False) -> tuple[Layer, ...]:
    """Pooling before LRN, conv1 with pad 1: this is not the AlexNet of Caffe or torchvision.

    Args:
        normalized: Whether conv1 and conv2 are followed by BatchNormalization, as in two networks of 2015.
        prelu: Whether PReLU stands for ReLU, as in one of them.
        tanh: Whether the outputs are squashed, as in the first weeks.
    """

    def activation(number: int) -> Layer:
        return PReLU(f"prelu{number}") if prelu else ReLU()

    layers: tuple[Layer, ...] = ()
    for i, row in enumerate(_ALEXNET, start=1):
        layers += (Convolution(f"conv{i}", *row),)
        if normalized and i < 3:
            layers += (BatchNormalization(f"bn{i}"),)
        layers += (activation(i),)
        if i < 3:
            layers += (MaxPooling(3, 2), LocalResponseNormalization(f"norm{i}"))
    layers += (MaxPooling(3, 2),)
    for i in (6, 7):
        layers += (Linear(f"fc{i}", 4096), activation(i), Dropout(0.6))
    return (*layers, Linear("fc8", OUTPUTS), *((Tanh(),) if tanh else ()))


def _takiyu() -> tuple[Layer, ...]:
    """The AlexNet of github takiyu/DeepPose: LRN before ReLU and pooling, no pad at conv1."""
    layers: tuple[Layer, ...] = ()
    for i, (channels, kernel, stride, pad) in enumerate(_ALEXNET, start=1):
        layers += (Convolution(f"conv{i}", channels, kernel, stride, pad if i > 1 else 0),)
        if i < 3:
            layers += (LocalResponseNormalization(f"norm{i}"), ReLU(), MaxPooling(3, 2))
        else:
            layers += (ReLU(),)
    return (*layers, MaxPooling(3, 2), *_fully_connected("fc6", "fc7", "fc8", 0.6))


def _ynaka81() -> tuple[Layer, ...]:
    """The AlexNet of github ynaka81/DeepPoseComparison, in Chainer and PyTorch: no LRN, no pad at conv1."""
    layers: tuple[Layer, ...] = ()
    for i, (channels, kernel, stride, pad) in enumerate(_ALEXNET, start=1):
        layers += (Convolution(f"conv{i}", channels, kernel, stride, pad if i > 1 else 0), ReLU())
        if i in (1, 2, 5):
            # Chainer's pooling rounds up and PyTorch's down; for its inputs of 227 pixels both are the same.
            layers += (MaxPooling(3, 2),)
    return (*layers, *_fully_connected("fc6", "fc7", "fc8", 0.5))


def _deeppose2019() -> tuple[Layer, ...]:
    """The rewrite of 2019: ReLU, LRN, pooling; conv2 with stride 2 and no pad; nothing but dropout between fc's."""
    layers: tuple[Layer, ...] = ()
    for i, (channels, kernel, stride, pad) in enumerate(_ALEXNET, start=1):
        layers += (Convolution(f"conv{i}", channels, kernel, stride if i != 2 else 2, pad if i > 2 else 0), ReLU())
        if i < 3:
            layers += (LocalResponseNormalization(f"norm{i}"), MaxPooling(3, 2))
    layers += (MaxPooling(3, 2), Linear("fc6", 4096), Dropout(0.6), Linear("fc7", 4096), Dropout(0.6))
    return (*layers, Linear("fc", OUTPUTS))


def _fully_connected(first: str, second: str, last: str, dropout: float) -> tuple[Layer, ...]:
    """Two layers of 4096 with ReLU and dropout, and the outputs."""
    return (
        *(Linear(first, 4096), ReLU(), Dropout(dropout)),
        *(Linear(second, 4096), ReLU(), Dropout(dropout)),
        Linear(last, OUTPUTS),
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


#: VGG16's stages: convolutions, channels.
_VGG16 = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def _vgg(normalized: bool) -> tuple[Layer, ...]:
    layers: tuple[Layer, ...] = ()
    for stage, (convolutions, channels) in enumerate(_VGG16, start=1):
        for i in range(1, convolutions + 1):
            layers += (Convolution(f"conv{stage}_{i}", channels, kernel=3, pad=1),)
            if normalized:
                layers += (BatchNormalization(f"bn{stage}_{i}"),)
            layers += (ReLU(),)
        layers += (MaxPooling(2, 2),)
    if not normalized:
        return (*layers, *_fully_connected("fc6", "fc7", "fc8", 0.6))
    return (*layers, Linear("fc6", 4096), ReLU(), Linear("fc7", 4096), ReLU(), Linear("fc8", OUTPUTS))


# --- the ports to PyTorch, with the names of their own state dicts ----------------------------------------------------


def _torch_pooling(kernel: int = 3, pad: int = 0) -> MaxPooling:
    return MaxPooling(kernel, 2, pad, cover_all=False)


def _torchvision_alexnet() -> tuple[Layer, ...]:
    """Torchvision's AlexNet as a regressor, as in github voqtuyen/DeepPose.pytorch."""
    rows = ((0, 64, 11, 4, 2), (3, 192, 5, 1, 2), (6, 384, 3, 1, 1), (8, 256, 3, 1, 1), (10, 256, 3, 1, 1))
    layers: tuple[Layer, ...] = ()
    for number, channels, kernel, stride, pad in rows:
        layers += (Convolution(f"features.{number}", channels, kernel, stride, pad), ReLU())
        if number in (0, 3, 10):
            layers += (_torch_pooling(),)
    return (
        *(*layers, AdaptiveAveragePooling(6), Dropout(0.5), Linear("classifier.1", 4096), ReLU(), Dropout(0.5)),
        *(Linear("classifier.4", 4096), ReLU(), Linear("classifier.6", OUTPUTS)),
    )


def _torchvision_vgg16_bn() -> tuple[Layer, ...]:
    """Torchvision's vgg16_bn as a regressor, as in github JindongJiang/WeightedLoss_DeepPose_PyTorch."""
    layers: tuple[Layer, ...] = ()
    number = 0
    for convolutions, channels in _VGG16:
        for _ in range(convolutions):
            layers += (
                Convolution(f"features.{number}", channels, 3, 1, 1),
                BatchNormalization(f"features.{number + 1}"),
            )
            layers += (ReLU(),)
            number += 3
        layers += (_torch_pooling(kernel=2),)
        number += 1
    return (*layers, AdaptiveAveragePooling(7), *_fully_connected("classifier.0", "classifier.3", "classifier.6", 0.5))


def _torchvision_resnet(blocks: tuple[int, int, int, int], bottleneck: bool) -> tuple[Layer, ...]:
    """Torchvision's ResNet as a regressor: a bottleneck's stride is on its 3x3 convolution."""
    layers: tuple[Layer, ...] = (
        Convolution("conv1", 64, kernel=7, stride=2, pad=3, bias=False),
        *(BatchNormalization("bn1"), ReLU(), _torch_pooling(pad=1)),
    )
    channels = 64
    for stage, count in enumerate(blocks, start=1):
        middle = 32 * 2**stage
        out = 4 * middle if bottleneck else middle
        for block in range(count):
            stride = 2 if stage > 1 and block == 0 else 1
            rows = ((middle, 1, 1), (middle, 3, stride), (out, 1, 1)) if bottleneck else ((out, 3, stride), (out, 3, 1))
            layers += _torchvision_block(f"layer{stage}.{block}", rows, stride, project=stride > 1 or channels != out)
            channels = out
    return (*layers, GlobalAveragePooling(), Linear("fc", OUTPUTS))


def _torchvision_block(
    name: str, rows: tuple[tuple[int, int, int], ...], stride: int, project: bool
) -> tuple[Layer, ...]:
    branch: tuple[Layer, ...] = ()
    for i, (channels, kernel, step) in enumerate(rows, start=1):
        branch += (ReLU(),) if i > 1 else ()
        branch += (Convolution(f"{name}.conv{i}", channels, kernel, step, kernel // 2, bias=False),)
        branch += (BatchNormalization(f"{name}.bn{i}"),)
    shortcut: tuple[Layer, ...] = ()
    if project:
        projection = Convolution(f"{name}.downsample.0", rows[-1][0], kernel=1, stride=stride, bias=False)
        shortcut = (projection, BatchNormalization(f"{name}.downsample.1"))
    return Residual(branch, shortcut), ReLU()


def _hosseinpai() -> tuple[Layer, ...]:
    """The AlexNet of github HosseinPAI: ReLU, LRN, pooling; `torch.nn.LocalResponseNorm(5)`, which divides by n."""
    layers: tuple[Layer, ...] = ()
    for i, (channels, kernel, stride, pad) in enumerate(_ALEXNET, start=1):
        layers += (Convolution(f"Conv{i}", channels, kernel, stride, pad if i > 1 else 4), ReLU())
        if i < 3:
            layers += (LocalResponseNormalization(f"norm{i}", k=1.0, alpha=1e-4 / 5), _torch_pooling())
    layers += (_torch_pooling(), Dropout(0.6, channels=True))
    return (*layers, Linear("FC1", 4096), ReLU(), Linear("FC2", 4096), ReLU(), Linear("FC3", OUTPUTS))


#: Every architecture by name, at full width.
TABLES: dict[str, tuple[Layer, ...]] = {
    "alexnet": _alexnet(),
    "resnet50": _resnet50(),
    "vgg_bn": _vgg(normalized=True),
    "alexnet_bn": _alexnet(normalized=True),
    "alexnet_bn_prelu": _alexnet(normalized=True, prelu=True),
    "alexnet-2015-tanh": _alexnet(normalized=True, tanh=True),
    "vgg16": _vgg(normalized=False),
    "deeppose2019": _deeppose2019(),
    "alexnet-takiyu": _takiyu(),
    "alexnet-ynaka81": _ynaka81(),
    "alexnet-torchvision": _torchvision_alexnet(),
    "alexnet-hosseinpai": _hosseinpai(),
    "vgg16_bn-torchvision": _torchvision_vgg16_bn(),
    "resnet18-torchvision": _torchvision_resnet((2, 2, 2, 2), bottleneck=False),
    "resnet34-torchvision": _torchvision_resnet((3, 4, 6, 3), bottleneck=False),
    "resnet50-torchvision": _torchvision_resnet((3, 4, 6, 3), bottleneck=True),
    "resnet101-torchvision": _torchvision_resnet((3, 4, 23, 3), bottleneck=True),
    "resnet152-torchvision": _torchvision_resnet((3, 8, 36, 3), bottleneck=True),
}

#: Networks whose files cannot be told from another's: they are taken only where a user names them.
ON_REQUEST = {"alexnet-2015-tanh": "alexnet_bn", "alexnet-takiyu": "alexnet", "alexnet-ynaka81": "alexnet"}

#: Networks that exist in PyTorch alone, with its BatchNormalization.
TORCH_ONLY = frozenset(name for name in TABLES if name.endswith("-torchvision") or name == "alexnet-hosseinpai")


def automatic() -> list[str]:
    """Returns the architectures that a file can be told to be, by its keys and shapes alone."""
    return [name for name in TABLES if name not in ON_REQUEST]


# --- BatchNormalization by writer ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class BatchNormalizationRules:
    """The arithmetic of `chainer.links.BatchNormalization` in one range of versions, or of `torch.nn.BatchNorm2d`.

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


#: The writer of a network that is trained in PyTorch.
TORCH_WRITER = "torch"
_TORCH_RULES = BatchNormalizationRules(1e-5, 1e-5, False, 1.0)


def check_writer(writer: str) -> None:
    """Raises ValueError where a writer is neither PyTorch nor a version that Chainer had."""
    if writer != TORCH_WRITER:
        chainer_version(writer)


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
        ValueError: `writer` is neither `torch` nor of the form `chainer-X.Y.Z`.
    """
    if writer == TORCH_WRITER:
        return _TORCH_RULES
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
        writer: Whose BatchNormalization it has, as `chainer-1.13.0`; `torch` for PyTorch's own.
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
        check_writer(self.writer)

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
    """Returns the name of an architecture's last layer with weights."""
    return [layer.name for layer in TABLES[name] if isinstance(layer, Linear)][-1]


def feature_size(name: str, im_size: int) -> int:
    """Returns the side of the map that the first fully connected layer flattens, for an input of side `im_size`."""
    return _side(TABLES[name], im_size)


def _side(layers: tuple[Layer, ...], side: int) -> int:
    for layer in layers:
        match layer:
            case Convolution():
                side = (side + 2 * layer.pad - layer.kernel) // layer.stride + 1
            case MaxPooling():
                room = side + 2 * layer.pad - layer.kernel
                side = (-(-room // layer.stride) if layer.cover_all else room // layer.stride) + 1
            case AdaptiveAveragePooling():
                side = layer.side if side > 0 else 0
            case GlobalAveragePooling():
                side = 1 if side > 0 else 0
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
            case PReLU():
                tensors.append((f"{layer.name}.weight", ()))
            case Residual():
                branch, out = _shapes(layer.branch, channels, feature_size)
                shortcut, _ = _shapes(layer.shortcut, channels, feature_size)
                tensors += branch + shortcut
                channels = out
    return tensors, channels
