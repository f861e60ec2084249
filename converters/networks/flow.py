"""How values go through a network, and their shapes: what each layer is given, what it makes of that, its weights."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Generic, TypeVar

from converters.errors import DeepPoseError
from converters.networks import layers as kinds
from converters.networks.formula import Formula, Learned
from converters.networks.formula import Value as Value
from converters.networks.layers import Join, Layer, Pair, Shape, pair, same_margin, walk
from converters.values import dataclass

#: What an engine passes from layer to layer.
Passed = TypeVar("Passed")


@dataclass(frozen=True)
class Step:
    """A layer on its place in a network.

    Attributes:
        layer: The layer; of a block the layers inside come before it.
        before: The shape of what it is given.
        after: The shape of what it makes of that.
    """

    layer: Layer
    before: Value
    after: Value


class Flow(Generic[Passed]):
    """The way of a value through a table of layers, the same wherever: blocks, values with names, what is joined.

    An engine says what a layer outside of blocks makes of a value, and how several become one. Its network may be a
    module or a link, where names without an underscore are left to layers.
    """

    def _run(self, layers: tuple[Layer, ...], x: Passed, named: dict[str, Passed]) -> Passed:
        """Returns what some layers make of a value; they find values that have names in `named`, and add to them."""
        for layer in layers:
            x = self._step(layer, x, named)
        return x

    def _step(self, layer: Layer, x: Passed, named: dict[str, Passed]) -> Passed:
        match layer:
            case kinds.Residual() | kinds.Parallel():
                return self._joined([self._run(branch, x, named) for branch in layer.branches], layer.join)
            case kinds.Name():
                named[layer.value] = x
                return x
            case kinds.Take():
                return self._joined([named[name] for name in layer.values], layer.join)
        return self._layer(layer, x)

    def _layer(self, layer: Layer, x: Passed) -> Passed:
        """Returns what a layer outside of blocks makes of a value."""
        raise NotImplementedError

    def _joined(self, values: list[Passed], join: Join) -> Passed:
        """Returns several values added, stacked along their channels or features, or multiplied."""
        raise NotImplementedError


class _Shapes(Flow[Value]):
    def __init__(self, feature_size: int | None = None) -> None:
        self.feature_size = feature_size
        self.steps: list[Step] = []

    def _step(self, layer: Layer, x: Value, named: dict[str, Value]) -> Value:
        if isinstance(layer, kinds.Linear | kinds.Flatten) and self.feature_size is not None:
            x = tuple(self.feature_size if side is None else side for side in x)
        try:
            value = super()._step(layer, x, named)
        except KeyError as error:
            raise DeepPoseError(f"no value is named {error.args[0]!r} there") from error
        self.steps.append(Step(layer, x, value))
        return value

    def _layer(self, layer: Layer, x: Value) -> Value:
        return after(layer, x)

    def _joined(self, values: list[Value], join: Join) -> Value:
        return joined(values, join)


def steps_of(layers: tuple[Layer, ...], value: Value, feature_size: int | None = None) -> list[Step]:
    """Follows a value through a network.

    Args:
        layers: The network's table.
        value: The shape of an input, (3, H, W).
        feature_size: The side of maps whose own side is not known, where they are flattened.

    Raises:
        DeepPoseError: The layers do not fit each other, or the maps are too small for them.
    """
    shapes = _Shapes(feature_size)
    shapes._run(layers, value, {})
    return shapes.steps


def joined(values: list[Value], join: Join) -> Value:
    """Returns the shape of several values joined.

    Raises:
        DeepPoseError: They do not fit each other.
    """
    first, *others = values
    if join == "concat":
        if any(other[1:] != first[1:] for other in others):
            raise DeepPoseError(f"values of {' and '.join(map(str, values))} cannot be stacked along their first axis")
        return (sum(value[0] or 0 for value in values), *first[1:])
    for other in others:
        first = _broadcast(first, other, join)
    return first


def _broadcast(one: Value, other: Value, join: Join) -> Value:
    """Returns the shape of a sum, whose terms are alike, or of a product, whose factors may be 1 wide."""
    if one == other:
        return one
    if (
        join == "sum"
        or len(one) != len(other)
        or any(a != b and 1 not in (a, b) for a, b in zip(one, other, strict=True))
    ):
        raise DeepPoseError(f"values of {one} and {other} cannot be {'added' if join == 'sum' else 'multiplied'}")
    return tuple(b if a == 1 else a for a, b in zip(one, other, strict=True))


def after(layer: Layer, value: Value) -> Value:
    """Returns the shape that a layer outside of blocks makes of a value's.

    Raises:
        DeepPoseError: It cannot take such a value.
    """
    match layer:
        case Formula():
            return layer.after(value)
        case kinds.Linear():
            return (layer.channels,)
        case kinds.Flatten():
            return (_count(value),)
        case kinds.Reshape():
            return _reshaped(layer.shape, value)
        case kinds.Transpose():
            if sorted(layer.axes) != list(range(len(value))):
                raise DeepPoseError(f"{value} has no axes {layer.axes} to put in order")
            return tuple(value[axis] for axis in layer.axes)
        case kinds.Slice():
            if not 0 <= layer.start < layer.stop <= (value[0] or 0):
                raise DeepPoseError(f"{value} has no part from {layer.start} to {layer.stop}")
            return (layer.stop - layer.start, *value[1:])
        case kinds.Heatmaps():
            if len(value) != 3 or (value[0] or 0) % layer.stacks:
                raise DeepPoseError(f"{value} are no heat maps of {layer.stacks} stacks")
            return (layer.stacks, (value[0] or 0) // layer.stacks, *value[1:])
        case kinds.SoftArgmax():
            if len(value) != 3:
                raise DeepPoseError(f"{value} are no heat maps")
            return (2 * (value[0] or 0),)
        case _ if isinstance(layer, _ON_MAPS):
            return _maps_after(layer, value)
    return value


_ON_MAPS = (
    kinds.Convolution,
    kinds.DepthwiseConvolution,
    kinds.TransposedConvolution,
    kinds.MaxPooling,
    kinds.AveragePooling,
    kinds.AdaptiveAveragePooling,
    kinds.AdaptiveMaxPooling,
    kinds.GlobalAveragePooling,
    kinds.GlobalMaxPooling,
    kinds.Upsample,
    kinds.Padding,
    kinds.SamePadding,
)


def _maps_after(layer: Layer, value: Value) -> Value:
    if len(value) != 3:
        raise DeepPoseError(f"{_named(layer)} takes maps, and is given {value}")
    channels, *sides = value
    assert channels is not None
    if any(min(pair(getattr(layer, name, 1))) < 1 for name in ("kernel", "stride", "dilation", "side", "factor")):
        raise DeepPoseError(f"{_named(layer)} has a kernel, a stride or a factor below 1")
    match layer:
        case kinds.Convolution():
            if channels % layer.groups or layer.channels % layer.groups:
                raise DeepPoseError(f"{_named(layer)} cannot be {layer.groups} groups of {channels} channels")
            after = _along(sides, _convolved, layer.kernel, layer.stride, layer.pad, layer.dilation)
            channels = layer.channels
        case kinds.DepthwiseConvolution():
            after = _along(sides, _convolved, layer.kernel, layer.stride, layer.pad)
            channels *= layer.multiplier
        case kinds.TransposedConvolution():
            sizes = (layer.kernel, layer.stride, layer.pad, layer.dilation, layer.output_pad)
            after = _along(sides, _transposed, *sizes)
            channels = layer.channels
        case kinds.MaxPooling() | kinds.AveragePooling():
            cover_all = isinstance(layer, kinds.MaxPooling) and layer.cover_all
            pooled = partial(pooled_side, cover_all=cover_all, ceil_mode=layer.ceil_mode)
            after = _along(sides, pooled, layer.kernel, layer.stride, layer.pad)
        case kinds.AdaptiveAveragePooling() | kinds.AdaptiveMaxPooling():
            after = list(pair(layer.side))
        case kinds.GlobalAveragePooling() | kinds.GlobalMaxPooling():
            after = [1, 1]
        case kinds.Upsample():
            after = _along(sides, operator.mul, layer.factor)
        case kinds.Padding():
            after = _along(sides, operator.add, (layer.top + layer.bottom, layer.left + layer.right))
        case kinds.SamePadding():
            after = _along(sides, lambda side: side + sum(same_margin(side, layer.kernel, layer.stride)))
        case _:
            raise AssertionError(layer)
    if any(side is not None and side < 1 for side in (*sides, *after)):
        raise DeepPoseError(f"maps of {value} are too small for {_named(layer)}")
    return (channels, *after)


def _along(sides: Iterable[int | None], make: Callable[..., int], *sizes: Pair) -> list[int | None]:
    """Returns what is made of a map's height and width, each with its own of the sizes."""
    each = zip(sides, *map(pair, sizes), strict=True)
    return [None if side is None else make(side, *its) for side, *its in each]


def _convolved(side: int, kernel: int, stride: int, pad: int, dilation: int = 1) -> int:
    return (side + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1


def _transposed(side: int, kernel: int, stride: int, pad: int, dilation: int, more: int) -> int:
    return (side - 1) * stride - 2 * pad + dilation * (kernel - 1) + 1 + more


def pooled_side(side: int, kernel: int, stride: int, pad: int, cover_all: bool, ceil_mode: bool) -> int:
    """Returns how many windows a pooling has along a side; the arguments are as for `MaxPooling`."""
    room = side + 2 * pad - kernel
    if cover_all:
        return -(-room // stride) + 1
    if not ceil_mode:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= side + pad else count


def _reshaped(shape: Shape, value: Value) -> Value:
    count = _count(value)
    left = [axis for axis, side in enumerate(shape) if side == -1]
    known = math.prod(side for side in shape if side != -1)
    if len(left) > 1 or known < 1 or count % known or (not left and count != known):
        raise DeepPoseError(f"{value} cannot take the shape {shape}")
    return tuple(count // known if side == -1 else side for side in shape)


def _count(value: Value) -> int:
    """Returns how many numbers a value has."""
    count = 1
    for side in value:
        if side is None:
            raise DeepPoseError(f"{value} cannot be flattened: no size of an input is said")
        count *= side
    return count


def _named(layer: Layer) -> str:
    return str(getattr(layer, "name", type(layer).__name__))


def tensors_of(layer: Layer, before: Value) -> Iterator[tuple[str, Shape]]:
    """Yields the names and shapes of a layer's own tensors.

    Args:
        layer: The layer.
        before: The shape of what it is given.
    """
    channels = before[0] or 0
    match layer:
        case Formula():
            yield from ((name, tensor.shape) for name, tensor in layer.tensors(before).items())
        case kinds.Convolution():
            yield f"{layer.name}.weight", (layer.channels, channels // layer.groups, *pair(layer.kernel))
            if layer.bias:
                yield f"{layer.name}.bias", (layer.channels,)
        case kinds.DepthwiseConvolution():
            yield f"{layer.name}.weight", (layer.multiplier, channels, *pair(layer.kernel))
            if layer.bias:
                yield f"{layer.name}.bias", (layer.multiplier * channels,)
        case kinds.TransposedConvolution():
            yield f"{layer.name}.weight", (channels, layer.channels // layer.groups, *pair(layer.kernel))
            if layer.bias:
                yield f"{layer.name}.bias", (layer.channels,)
        case kinds.Linear():
            yield f"{layer.name}.weight", (layer.channels, _count(before))
            if layer.bias:
                yield f"{layer.name}.bias", (layer.channels,)
        case kinds.BatchNormalization():
            parts = (("weight", layer.gamma), ("bias", layer.beta), ("running_mean", True), ("running_var", True))
            for part, there in parts:
                if there:
                    yield f"{layer.name}.{part}", (channels,)
            yield f"{layer.name}.num_batches_tracked", ()
        case kinds.PReLU():
            yield f"{layer.name}.weight", layer.shape
        case kinds.Scale():
            yield f"{layer.name}.weight", layer.shape
            if layer.bias:
                yield f"{layer.name}.bias.bias", layer.shape


def learned_in(steps: list[Step]) -> dict[str, Learned]:
    """Returns the tensors of the layers with a formula, by name, in the order of the layers."""
    return {
        name: tensor
        for step in steps
        if isinstance(step.layer, Formula)
        for name, tensor in step.layer.tensors(step.before).items()
    }


def shapes_in(steps: list[Step]) -> dict[str, Shape]:
    """Returns the shape of each tensor of a state dict, by name, in the order of the layers."""
    return dict(tensor for step in steps for tensor in tensors_of(step.layer, step.before))


def side_after(layers: tuple[Layer, ...], side: int) -> int:
    """Returns the side of the map that leaves some layers, or that the first fully connected one flattens.

    It is 0 where the map is too small for them, and 1 where heat maps become coordinates, whatever their side.
    """
    if layers and isinstance(layers[-1], kinds.SoftArgmax):
        return 1
    before = tuple(itertools.takewhile(lambda layer: not isinstance(layer, kinds.Linear), layers))
    try:
        value = _Shapes()._run(before, (3, side, side), {})
    except DeepPoseError:
        return 0
    return value[len(value) // 2] or 0  # of (C, H, W) as of (H, W, C)


def side_multiple(layers: tuple[Layer, ...]) -> int:
    """Returns what an input's sides are multiples of, so that maps that are doubled again meet maps of their size."""
    if not any(isinstance(layer, kinds.Upsample) for layer in walk(layers)):
        return 1
    side = 1 << 10
    sides = [step.after[1] or side for step in steps_of(layers, (3, side, side)) if len(step.after) == 3]
    return side // min(sides)
