"""The layers that a network's table is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

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


def walk(layers: tuple[Layer, ...]) -> Iterator[Layer]:
    """Yields every layer of a table, those inside residual blocks in the order branch, shortcut."""
    for layer in layers:
        if isinstance(layer, Residual):
            yield from walk(layer.branch)
            yield from walk(layer.shortcut)
        else:
            yield layer


def with_channels(layers: tuple[Layer, ...], channels: Mapping[str, int]) -> tuple[Layer, ...]:
    """Returns a table with other channels for the layers that are named."""
    result: list[Layer] = []
    for layer in layers:
        if isinstance(layer, Residual):
            result.append(Residual(with_channels(layer.branch, channels), with_channels(layer.shortcut, channels)))
        elif isinstance(layer, Convolution | Linear) and layer.name in channels:
            result.append(dataclasses.replace(layer, channels=channels[layer.name]))
        else:
            result.append(layer)
    return tuple(result)


def side_after(layers: tuple[Layer, ...], side: int) -> int:
    """Returns the side of the map that leaves some layers, or that the first fully connected one flattens."""
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
                side = side_after(layer.branch, side)
            case Linear():
                return side
    return side


def shapes_of(layers: tuple[Layer, ...], channels: int, feature_size: int) -> tuple[list[tuple[str, Shape]], int]:
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
                branch, out = shapes_of(layer.branch, channels, feature_size)
                shortcut, _ = shapes_of(layer.shortcut, channels, feature_size)
                tensors += branch + shortcut
                channels = out
    return tensors, channels
