"""The layers that a network's table is made of.

A layer takes the value of the one before it: maps (C, H, W), or features (F,) after a fully connected or flattening
one. What branches and joins again stands in a block; where blocks cannot nest, `Name` and `Take` go back to a value.
Those that say themselves what they compute are in `formulas`; the engines know these here one by one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, TypeAlias

from converters.networks.formula import Formula
from converters.networks.formula import Shape as Shape
from converters.values import dataclass

#: A size of maps: the same for height and width, or (height, width).
Pair: TypeAlias = int | tuple[int, int]
#: How values become one: added, stacked along their first axis (channels, features), or multiplied.
Join: TypeAlias = Literal["sum", "concat", "product"]

#: Written for a table's last layer, whose channels are twice the joints.
OUTPUTS = 0


def pair(size: Pair) -> tuple[int, int]:
    """Returns a size as (height, width)."""
    return size if isinstance(size, tuple) else (size, size)


# --- layers with weights ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Convolution:
    """A 2-D convolution with `channels` outputs; `scale` is that of its initial weights, see `initial`."""

    name: str
    channels: int
    kernel: Pair
    stride: Pair = 1
    pad: Pair = 0
    bias: bool = True
    scale: float = 1.0
    groups: int = 1
    dilation: Pair = 1


@dataclass(frozen=True)
class DepthwiseConvolution:
    """A convolution of each channel by itself with `multiplier` kernels; its weight is (multiplier, C, h, w).

    That is the layout of `chainer.links.DepthwiseConvolution2D`; in PyTorch it is a `Convolution` in C groups.
    """

    name: str
    multiplier: int
    kernel: Pair
    stride: Pair = 1
    pad: Pair = 0
    bias: bool = True


@dataclass(frozen=True)
class TransposedConvolution:
    """The transpose of a convolution, also named deconvolution; its weight is (C, channels / groups, h, w)."""

    name: str
    channels: int
    kernel: Pair
    stride: Pair = 1
    pad: Pair = 0
    bias: bool = True
    groups: int = 1
    dilation: Pair = 1
    output_pad: Pair = 0


@dataclass(frozen=True)
class Linear:
    """A fully connected layer; it flattens maps in (C, H, W) order, `Transpose` before it makes another one."""

    name: str
    channels: int
    bias: bool = True


@dataclass(frozen=True)
class BatchNormalization:
    """Batch normalisation over channels or features, with the arithmetic of the checkpoint's writer.

    Attributes:
        name: Its name.
        eps: In place of the writer's own.
        gamma: Whether it has a factor.
        beta: Whether it has an offset.
        decay: What the running statistics keep of themselves in a step of training.
        batch: Whether the batch's own statistics count at test time too.
    """

    name: str
    eps: float | None = None
    gamma: bool = True
    beta: bool = True
    decay: float = 0.9
    batch: bool = False


@dataclass(frozen=True)
class PReLU:
    """max(x, 0) + slope * min(x, 0), with learned slopes of `shape`: one for all channels, or (C,) one for each."""

    name: str
    shape: Shape = ()


@dataclass(frozen=True)
class Scale:
    """A learned factor of `shape` on the value's first axes, and an offset with `bias`: `chainer.links.Scale`."""

    name: str
    shape: Shape
    bias: bool = False


# --- activations ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReLU:
    """max(x, 0)."""


@dataclass(frozen=True)
class LeakyReLU:
    """max(x, 0) + slope * min(x, 0)."""

    slope: float


@dataclass(frozen=True)
class ClippedReLU:
    """min(max(x, 0), maximum); ReLU6 has 6."""

    maximum: float


@dataclass(frozen=True)
class ELU:
    """x where it is positive, `alpha * (exp(x) - 1)` elsewhere."""

    alpha: float = 1.0


@dataclass(frozen=True)
class SELU:
    """An ELU with the alpha and the factor of Klambauer et al. (2017)."""


@dataclass(frozen=True)
class Sigmoid:
    """1 / (1 + exp(-x))."""


@dataclass(frozen=True)
class Tanh:
    """The hyperbolic tangent."""


@dataclass(frozen=True)
class Softplus:
    """log(1 + exp(beta * x)) / beta."""

    beta: float = 1.0


# --- layers without weights -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MaxPooling:
    """Max pooling.

    Attributes:
        kernel: Size of a window.
        stride: Step between windows.
        pad: Margin that no window takes its maximum from.
        cover_all: Whether the output size rounds up, so that the whole map is covered, as in Chainer.
        ceil_mode: Without it, whether the output size rounds up where that window begins inside the map or the margin
            before it, as in PyTorch.
    """

    kernel: Pair
    stride: Pair
    pad: Pair = 0
    cover_all: bool = True
    ceil_mode: bool = False


@dataclass(frozen=True)
class AveragePooling:
    """Average pooling.

    Attributes:
        kernel: Size of a window.
        stride: Step between windows.
        pad: Margin of zeros.
        count_pad: Whether the margin counts.
        ceil_mode: As of `MaxPooling`; what lies behind the margin never counts.
    """

    kernel: Pair
    stride: Pair
    pad: Pair = 0
    count_pad: bool = True
    ceil_mode: bool = False


@dataclass(frozen=True)
class AdaptiveAveragePooling:
    """The means over a map's parts, `side` by `side` of them, as in `torch.nn.AdaptiveAvgPool2d`."""

    side: Pair


@dataclass(frozen=True)
class AdaptiveMaxPooling:
    """The largest of a map's parts, `side` by `side` of them, as in `torch.nn.AdaptiveMaxPool2d`."""

    side: Pair


@dataclass(frozen=True)
class GlobalAveragePooling:
    """The mean over the whole map."""


@dataclass(frozen=True)
class GlobalMaxPooling:
    """The largest of the whole map."""


@dataclass(frozen=True)
class Upsample:
    """Repeats each pixel `factor` times: to the nearest neighbour."""

    factor: Pair


@dataclass(frozen=True)
class Padding:
    """A margin of zeros; with one of other widths before a layer, the layer's own pad need not be symmetric."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True)
class SamePadding:
    """The margin of zeros of TensorFlow's padding SAME, before a layer with this kernel and stride and no pad.

    It makes one output of every `stride` pixels, whatever the side; `same_margin` says how wide it is.
    """

    kernel: int
    stride: int = 1


def same_margin(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Returns how wide the margin of `SamePadding` is before and after a side: the odd pixel comes after."""
    margin = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return margin // 2, margin - margin // 2


def parts_of(side: int, count: int) -> list[tuple[int, int]]:
    """Returns where the parts of a side begin and end that adaptive pooling makes: at the nearest pixels outside."""
    return [(i * side // count, -(-(i + 1) * side // count)) for i in range(count)]


@dataclass(frozen=True)
class LocalResponseNormalization:
    """`x * (k + alpha * sum of x² over n neighbouring channels) ** -beta`; alpha is not divided by n.

    An even n leans to the channels before, as PyTorch's does (Chainer's takes one more: n + 1).
    """

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
class Affine:
    """`x * factor + offset`."""

    factor: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Flatten:
    """Features in the order of the axes: (C, H, W) becomes (C * H * W,)."""


@dataclass(frozen=True)
class Reshape:
    """The same numbers in the same order under another shape; -1 is what is left."""

    shape: Shape


@dataclass(frozen=True)
class Transpose:
    """The axes in another order: (1, 2, 0) makes (H, W, C) of (C, H, W)."""

    axes: Shape


@dataclass(frozen=True)
class Slice:
    """Channels, or features, from `start` to before `stop`."""

    start: int
    stop: int


@dataclass(frozen=True)
class Heatmaps:
    """The end of a network that answers heat maps: (stacks * joints, H, W) becomes (stacks, joints, H, W).

    The maps of the last stack are the answer; those before it are for training.
    """

    stacks: int = 1


@dataclass(frozen=True)
class SoftArgmax:
    """Where heat maps are large: (joints, H, W) becomes (2 * joints,), x0, y0, x1, y1, ….

    That is the mean of the pixels' middles, weighted by the softmax of a map's numbers over its pixels (Sun et al.,
    "Integral human pose regression", ECCV 2018). The middle of pixel i of W is at (i + 0.5) / W - 0.5.
    """


# --- branches ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Residual:
    """`branch(x) + shortcut(x)`; an empty shortcut is x itself."""

    branch: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] = ()

    @property
    def branches(self) -> tuple[tuple[Layer, ...], ...]:
        """What is joined."""
        return self.branch, self.shortcut

    @property
    def join(self) -> Join:
        """How."""
        return "sum"

    def with_branches(self, branches: Iterable[tuple[Layer, ...]]) -> Residual:
        """Returns a block of the same kind with other branches, as many."""
        return Residual(*branches)


@dataclass(frozen=True)
class Parallel:
    """Several branches of one value, joined; an empty one is the value itself."""

    branches: tuple[tuple[Layer, ...], ...]
    join: Join

    def with_branches(self, branches: Iterable[tuple[Layer, ...]]) -> Parallel:
        """Returns a block of the same kind with other branches."""
        return Parallel(tuple(branches), self.join)


@dataclass(frozen=True)
class Name:
    """Gives the value that goes through a name, for a `Take` later on."""

    value: str


@dataclass(frozen=True)
class Take:
    """Goes on with a value that has a name, or with several of them joined, in place of the one before."""

    values: tuple[str, ...]
    join: Join = "sum"


Block: TypeAlias = Residual | Parallel
Layer: TypeAlias = (
    Convolution
    | DepthwiseConvolution
    | TransposedConvolution
    | Linear
    | BatchNormalization
    | PReLU
    | Scale
    | ReLU
    | LeakyReLU
    | ClippedReLU
    | ELU
    | SELU
    | Sigmoid
    | Tanh
    | Softplus
    | MaxPooling
    | AveragePooling
    | AdaptiveAveragePooling
    | AdaptiveMaxPooling
    | GlobalAveragePooling
    | GlobalMaxPooling
    | Upsample
    | Padding
    | SamePadding
    | LocalResponseNormalization
    | Dropout
    | Affine
    | Flatten
    | Reshape
    | Transpose
    | Slice
    | Heatmaps
    | SoftArgmax
    | Formula
    | Residual
    | Parallel
    | Name
    | Take
)


def walk(layers: tuple[Layer, ...]) -> Iterator[Layer]:
    """Yields every layer of a table, those inside blocks in the order of the branches."""
    for layer in layers:
        if isinstance(layer, Block):
            for branch in layer.branches:
                yield from walk(branch)
        else:
            yield layer


def with_channels(layers: tuple[Layer, ...], channels: Mapping[str, int]) -> tuple[Layer, ...]:
    """Returns a table with other channels for the layers that are named."""
    result: list[Layer] = []
    for layer in layers:
        match layer:
            case Residual() | Parallel():
                result.append(layer.with_branches(with_channels(branch, channels) for branch in layer.branches))
            case Convolution() | TransposedConvolution() | Linear() if layer.name in channels:
                result.append(dataclasses.replace(layer, channels=channels[layer.name]))
            case _:
                result.append(layer)
    return tuple(result)
