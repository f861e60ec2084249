"""The stacked hourglass of a Keras course, trained on MPII: heat maps in place of coordinates.

Newell, Yang and Deng, "Stacked hourglass networks for human pose estimation", ECCV 2016.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping

from converters.checkpoint import Preprocessing
from converters.errors import DeepPoseError
from converters.families.family import Built, Family, register
from converters.families.keras_configuration import CONFIGURATION, contradictions
from converters.networks import (
    Architecture,
    BatchNormalization,
    Convolution,
    Heatmaps,
    Layer,
    MaxPooling,
    Name,
    Parallel,
    ReLU,
    Residual,
    SamePadding,
    Shape,
    Take,
    Upsample,
    walk,
)

NAME = "hourglass"
#: What the course trained.
STACKS, _WIDTHS = 4, (64, 128, 256)
#: How often an hourglass halves its maps.
_ORDER = 4
#: Layers outside of the stacks; in a stack, beside those of its bottlenecks; and in each bottleneck. The bottlenecks
#: of a stack are 4 and 14 for each residual. The last stack lacks two convolutions, which the stem's number makes up.
_STEM, _BOTTLENECKS = 10, (_ORDER, 3 * _ORDER + 2)
_CONVOLUTIONS, _NORMALIZATIONS = 4, 1
_MOST_STACKS = 8
#: Contradictions that are said, of however many.
_MOST_SAID = 3
#: Numbers of the two convolutions that project: what follows is as wide as they are.
_PROJECTIONS = (1, 8)
#: Times 1 / sqrt(fan-in): the deviation of the first weights, as He et al. (ICCV 2015) say.
_HE = math.sqrt(2)
_ARRAY = re.compile(r"(?:conv2d|batch_normalization)(?:_\d+)?[./]\w+")
_PREPROCESSING = Preprocessing(
    im_size=256,
    gcn="none",
    colour="RGB",
    interpolation="unrounded",
    part="joints-margin",
    scale=127.5,
    mean=(1.0, 1.0, 1.0),
    frame="unit",
    margin=0.2,
    truncate=True,
)


class _Builder:
    """Makes the layers in the order in which the program made them: that is what their numbers count."""

    def __init__(self, residuals: int) -> None:
        self.residuals = residuals
        self._numbers = {kind: itertools.count() for kind in ("conv2d", "batch_normalization")}

    def _next(self, kind: str) -> str:
        number = next(self._numbers[kind])
        return f"{kind}_{number}" if number else kind

    def convolution(self, channels: int, kernel: int = 1, stride: int = 1) -> tuple[Layer, ...]:
        if stride == 1:
            return (Convolution(self._next("conv2d"), channels, kernel, pad=kernel // 2, scale=_HE),)
        return SamePadding(kernel, stride), Convolution(self._next("conv2d"), channels, kernel, stride, scale=_HE)

    def activation(self) -> tuple[Layer, ...]:
        return BatchNormalization(self._next("batch_normalization"), eps=1e-3), ReLU()

    def bottleneck(self, channels: int, project: bool = False) -> tuple[Layer, ...]:
        skip = self.convolution(channels) if project else ()
        branch: tuple[Layer, ...] = ()
        for width, kernel in ((channels // 2, 1), (channels // 2, 3), (channels, 1)):
            branch += self.activation() + self.convolution(width, kernel)
        return (Residual(branch, skip),)

    def bottlenecks(self, channels: int) -> tuple[Layer, ...]:
        return tuple(layer for _ in range(self.residuals) for layer in self.bottleneck(channels))

    def hourglass(self, order: int, channels: int) -> tuple[Layer, ...]:
        up = self.bottleneck(channels) + self.bottlenecks(channels)
        low = (MaxPooling(2, 2, cover_all=False), *self.bottlenecks(channels))
        low += self.hourglass(order - 1, channels) if order > 1 else self.bottlenecks(channels)
        low += (*self.bottlenecks(channels), Upsample(2))
        return (Parallel((up, low), "sum"),)


def stacked_hourglass(
    stacks: int, residuals: int = 1, joints: int = 16, widths: tuple[int, int, int] = _WIDTHS
) -> tuple[Layer, ...]:
    """Returns the table of a stacked hourglass: (3, H, W) -> (stacks, joints, H / 4, W / 4), these multiples of 16.

    Args:
        stacks: How many hourglasses.
        residuals: Bottlenecks between two steps of an hourglass.
        joints: Heat maps of each.
        widths: Channels after the first convolution, after the first bottleneck, and in the hourglasses.
    """
    build = _Builder(residuals)
    first, second, channels = widths
    layers = build.convolution(first, 7, stride=2) + build.activation()
    layers += (*build.bottleneck(second, project=True), MaxPooling(2, 2, cover_all=False))
    layers += build.bottleneck(second) + build.bottleneck(channels, project=True)
    for i in range(stacks):
        layers += build.hourglass(_ORDER, channels) + build.bottlenecks(channels)
        layers += build.convolution(channels) + build.activation()
        maps = (*build.convolution(joints), Name(f"stack{i}"))
        if i < stacks - 1:
            layers += (Parallel((build.convolution(channels), maps + build.convolution(channels)), "sum"),)
        else:
            layers += maps
    return (*layers, Take(tuple(f"stack{i}" for i in range(stacks)), "concat"), Heatmaps(stacks))


def anew(joints: int, stacks: int | None, width: str | None) -> tuple[Layer, ...]:
    """Returns the table of a stacked hourglass that is to be trained.

    Args:
        joints: Heat maps of each stack.
        stacks: How many; None for the course's.
        width: A factor on the course's channels, or the three `widths` of `stacked_hourglass` with commas between; None
            for the course's.

    Raises:
        DeepPoseError: There are too many stacks, or a width is none.
    """
    if stacks is not None and not 0 < stacks <= _MOST_STACKS:
        raise DeepPoseError(f"an {NAME} has 1 to {_MOST_STACKS} stacks, not {stacks}")
    try:
        parts = [float(part) for part in (width or "1").split(",")]
        first, second, third = parts if len(parts) > 1 else [2 * round(parts[0] * each / 2) for each in _WIDTHS]
        widths = int(first), int(second), int(third)
    except (ValueError, OverflowError):
        raise DeepPoseError(f"the width {width!r} is neither a factor nor three channels with commas between") from None
    if min(widths) < 2 or any(channels % 2 for channels in widths[1:]):
        raise DeepPoseError(f"the width {width!r} makes {widths} channels: an {NAME} halves them, the first but for")
    return stacked_hourglass(STACKS if stacks is None else stacks, 1, joints, widths)


def measured(shapes: Mapping[str, Shape]) -> Built | None:
    """Returns the stacked hourglass that has as many layers as there are arrays of; None for other arrays.

    Args:
        shapes: The arrays' shapes by key, in Keras's spelling or ours.

    Raises:
        DeepPoseError: No stacked hourglass has so many layers.
    """
    if not shapes or not all(_ARRAY.fullmatch(key) for key in shapes):
        return None
    layers = {re.split("[./]", key)[0] for key in shapes}
    convolutions = sum(name.startswith("conv2d") for name in layers)
    normalizations = len(layers) - convolutions
    stacks, rest = divmod(convolutions - normalizations, _CONVOLUTIONS - _NORMALIZATIONS)
    if not rest and 0 < stacks <= _MOST_STACKS:
        each, rest = divmod(normalizations - _STEM - stacks * (_NORMALIZATIONS + 3 * _BOTTLENECKS[0]), 3 * stacks)
        residuals, more = divmod(each, _BOTTLENECKS[1])
        if not rest and not more and residuals > 0:
            first, second, third, joints = (
                _channels(shapes, number) for number in (0, *_PROJECTIONS, convolutions - 1)
            )
            table = stacked_hourglass(stacks, residuals, joints, (first, second, third))
            return Built(NAME, {}, table, _PREPROCESSING.im_size)
    problem = f"{convolutions} conv2d and {normalizations} batch_normalization are the layers of no stacked hourglass"
    raise DeepPoseError(f"{problem} (with one residual and S stacks it has 10 + 58 S and 10 + 55 S)")


def _otherwise(architecture: Architecture, values: Mapping[str, object]) -> str | None:
    """Says which other hourglasses have the same arrays, where no configuration tells.

    Raises:
        DeepPoseError: A configuration says another network.
    """
    if said := contradictions(values, architecture.layers):
        more = f" and {len(said) - _MOST_SAID} more" if len(said) > _MOST_SAID else ""
        told = "; ".join(said[:_MOST_SAID])
        problem = f"its {CONFIGURATION} is another network than the stacked hourglass whose arrays it has: {told}{more}"
        raise DeepPoseError(problem, advice="nothing was read: that network is none of those in docs/families.md")
    if CONFIGURATION in values:
        return None
    normalizations = sum(isinstance(layer, BatchNormalization) for layer in walk(architecture.layers))
    bottlenecks = (normalizations - _STEM - architecture.stacks * _NORMALIZATIONS) // (3 * architecture.stacks)
    ways = {
        order: (bottlenecks - order) // (3 * order + 2)
        for order in range(1, bottlenecks)
        if bottlenecks > order and (bottlenecks - order) % (3 * order + 2) == 0
    }
    own = ways.pop(_ORDER, 1)
    if not ways:
        return None
    others = (f"{order} times with {residuals}" for order, residuals in ways.items())
    each = f"{own} bottleneck{'s' * (own > 1)}"
    return (
        f"its arrays are those of hourglasses that halve their maps {_ORDER} times with {each} on each side, as the "
        f"course's, and {' and '.join(others)}: taken as the former; Keras's whole model (`model.save`) would tell"
    )


def _channels(shapes: Mapping[str, Shape], number: int) -> int:
    """Returns how many channels a convolution makes, as far as it is one."""
    layer = f"conv2d_{number}" if number else "conv2d"
    shape = shapes.get(f"{layer}/kernel", shapes.get(f"{layer}.weight", ()))
    return shape[0] if shape and shape[0] > 0 else 1


register(
    Family(
        name="hourglass",
        title="the stacked hourglass of a Keras course on MPII (2020 to 2022)",
        recognised="HDF5 of Keras 2 (`save_weights`, `save`) whose layers are `conv2d` and `batch_normalization`; "
        "stacks, residuals, widths and joints by their numbers and shapes",
        done="heat maps of every stack; joints by the largest number of the last stack's, a quarter of a pixel toward "
        "its larger neighbour; the layers' names are Keras's, numbered from 0",
        formats=("keras-hdf5", "pt", "safetensors"),
        recognise=lambda found: found.architecture in ("", NAME),
        preprocessing=_PREPROCESSING,
        engines=("torch",),
        build=measured,
        otherwise=_otherwise,
        anew=True,
        grown={NAME: anew},
    )
)
