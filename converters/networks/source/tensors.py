"""What a source may do with a value of the network itself: operators, items, shapes, and the methods of Variables."""

from __future__ import annotations

import ast
import itertools
import math
from types import EllipsisType

import numpy as np

from converters.networks.formulas import Function, Reduction, Resize, Softmax
from converters.networks.layers import (
    AdaptiveAveragePooling,
    Affine,
    AveragePooling,
    ClippedReLU,
    GlobalAveragePooling,
    GlobalMaxPooling,
    Layer,
    MaxPooling,
    Pair,
    ReLU,
    Reshape,
    Slice,
    Tanh,
    Transpose,
    Upsample,
)
from converters.networks.source import arrays
from converters.networks.source.context import Context, FeaturesError
from converters.networks.source.graph import flattened
from converters.networks.source.registry import KNOWN, look_up
from converters.networks.source.values import (
    Array,
    Batch,
    Everything,
    NativeFunction,
    NativeMethod,
    Side,
    Tensor,
    Traced,
    Unknown,
)

#: So many channels, each from another place, are no network's.
_MOST_PICKED = 4096


def arithmetic(c: Context, kind: type[ast.operator], left: object, right: object) -> object:
    """Returns what an operator makes of two values, one of which is the network's."""
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        match kind:
            case ast.Add:
                return added(c, left, right)
            case ast.Sub:
                return added(c, left, c.layer(right, Affine(-1.0)))
            case ast.Mult:
                return c.join([left, right], "product")
            case ast.Div:
                return c.join([left, c.layer(right, Function("reciprocal"))], "product")
        return c.unknown(f"{kind.__name__} of two values of the network")
    tensor, other = (left, right) if isinstance(left, Tensor) else (right, left)
    if isinstance(other, Array) and isinstance(tensor, Tensor):
        return arrays.combined(c, kind, tensor, other, tensor is not left)
    if not isinstance(other, int | float):
        return c.unknown(f"{kind.__name__} of a value of the network and {c.spell(other)}")
    number = c.real(other, "the number")
    match kind:
        case ast.Add:
            return c.layer(tensor, Affine(1.0, number))
        case ast.Sub if tensor is left:
            return c.layer(tensor, Affine(1.0, -number))
        case ast.Sub:
            return c.layer(tensor, Affine(-1.0, number))
        case ast.Mult:
            return c.layer(tensor, Affine(number))
        case ast.Div if tensor is left and number:
            return c.layer(tensor, Affine(1.0 / number))
        case ast.Div:
            return c.layer(c.layer(tensor, Function("reciprocal")), Affine(number))
        case ast.Pow if tensor is left and number in (2.0, 3.0, 4.0):
            return c.join([tensor] * int(number), "product")
        case ast.Pow if tensor is left and number == 0.5:
            return c.layer(tensor, Function("sqrt"))
        case ast.Pow if tensor is left and not number.is_integer():  # of what is below 0 neither is a number
            return c.layer(c.layer(c.layer(tensor, Function("log")), Affine(number)), Function("exp"))
    return c.unknown(f"{kind.__name__} of a value of the network and a number")


def added(c: Context, left: Tensor, right: Tensor) -> Tensor:
    """Returns the sum of two values, of which one is repeated along the sides that it has 1 of."""
    values = [left, right]
    shapes = [value.node.shape for value in values]
    if shapes[0] != shapes[1] and len(shapes[0]) == len(shapes[1]):
        for this, other in ((0, 1), (1, 0)):
            if any(side == 1 != most for side, most in zip(shapes[this], shapes[other], strict=True)):
                values[this] = c.join([values[this], c.layer(values[other], Affine(0.0, 1.0))], "product")
    return c.join(list(values), "sum")


# --- another shape ----------------------------------------------------------------------------------------------------


def reshape(c: Context, value: object, shape: object) -> object:
    """Returns a value under another shape, whose first side is the batch's."""
    if isinstance(value, Array):
        return arrays.reshaped(c, value, list(shape) if isinstance(shape, tuple | list) else [shape])
    tensor = c.tensor(value)
    sides = list(shape) if isinstance(shape, tuple | list) else [shape]
    for side in sides:
        if isinstance(side, Unknown):
            c.refuse(side)
    inside, count = tensor.node.shape, math.prod(tensor.node.shape)
    first, rest = (sides[0], sides[1:]) if sides else (None, [])
    if isinstance(first, Batch):
        pass
    elif not _is_left(first) or any(not isinstance(side, int) for side in rest) or any(_is_left(side) for side in rest):
        c.fail("a shape whose first side is not the batch's is not known")
    elif math.prod(int(side) for side in rest if isinstance(side, int)) != count:
        if len(rest) == 1 and not tensor.node.static:
            raise FeaturesError(c.place, tensor.node, c.whole(rest[0], "a side"), "a shape")
        c.fail(f"a shape of {_spelled(rest)} for each example, where there are {inside}")
    if len(rest) == 1 and (_is_left(rest[0]) or rest[0] == count):
        return Tensor(flattened(tensor.node, c.place), tensor.memory)
    plain = tuple(_plain_side(c, tensor, axis, side) for axis, side in enumerate(rest))
    return tensor if plain == inside else c.view(tensor, Reshape(plain))


def _is_left(side: object) -> bool:
    return isinstance(side, int) and not isinstance(side, bool) and side == -1


def _plain_side(c: Context, tensor: Tensor, axis: int, side: object) -> int:
    own = isinstance(side, Traced) and side.origin == Side(tensor.node, axis)
    return int(side) if own and isinstance(side, int) else c.whole(side, "a side")


def _spelled(sides: list[object]) -> str:
    return " x ".join(str(side) if isinstance(side, int) else "?" for side in sides)


def axis_of(c: Context, tensor: Tensor, axis: object, count: int | None = None) -> int:
    """Returns an axis of an example: 0 is the one behind the batch's."""
    number, count = c.whole(axis, "the axis"), len(tensor.node.shape) + 1 if count is None else count
    number = number + count if number < 0 else number
    if not 0 < number < count:
        c.fail(f"the axis {axis} of a value of {tensor.node.shape} and the batch is not known")
    return number - 1


def length_of(c: Context, value: object, axis: object) -> int:
    """Returns the length of one of a value's sides, the batch's apart."""
    tensor = c.tensor(value)
    return tensor.node.shape[axis_of(c, tensor, axis)]


def transpose(c: Context, value: object, axes: tuple[object, ...]) -> object:
    """Returns a value with its axes in another order; the batch's stays the first."""
    if isinstance(value, Array):
        return arrays.transposed(c, value, [c.whole(axis, "an axis") for axis in axes])
    tensor = c.tensor(value)
    numbers = [c.whole(axis, "an axis") for axis in axes]
    numbers = [number + len(numbers) if number < 0 else number for number in numbers]
    if numbers[:1] != [0] or sorted(numbers) != list(range(len(tensor.node.shape) + 1)):
        c.fail(f"the order {tuple(numbers)} of the axes is not known")
    order = tuple(number - 1 for number in numbers[1:])
    return tensor if order == tuple(range(len(order))) else c.view(tensor, Transpose(order))


def squeeze(c: Context, value: object, axis: object = None) -> object:
    """Returns a value without one of its sides of 1, or without all of them."""
    tensor = c.tensor(value)
    shape = tensor.node.shape
    wanted = (
        {i for i, side in enumerate(shape) if side == 1}
        if axis is None
        else {axis_of(c, tensor, one) for one in (axis if isinstance(axis, tuple | list) else (axis,))}
    )
    kept = tuple(side for i, side in enumerate(shape) if not (i in wanted and side == 1))
    if kept == shape:
        return tensor
    if len(kept) <= 1:
        return Tensor(flattened(tensor.node, c.place), tensor.memory)
    c.fix(tensor)
    return c.view(tensor, Reshape(kept))


def unsqueeze(c: Context, value: object, axis: object) -> object:
    """Returns a value with another side, of 1."""
    if isinstance(value, Array):
        place, sides = c.whole(axis, "the axis"), list(value.shape)
        sides.insert(place + len(sides) + 1 if place < 0 else place, 1)
        return arrays.reshaped(c, value, sides)
    tensor = c.tensor(value)
    place = axis_of(c, tensor, axis, len(tensor.node.shape) + 2)
    c.fix(tensor)
    return c.view(tensor, Reshape((*tensor.node.shape[:place], 1, *tensor.node.shape[place:])))


def over_maps(c: Context, value: object, axes: object, keepdims: object, largest: bool = False) -> object:
    """Returns the mean, or the largest, over both sides of a map."""
    tensor = c.tensor(value)
    word = "largest" if largest else "mean"
    if axes is None or isinstance(axes, Unknown):
        return c.unknown(f"the {word} over everything")
    numbers = axes if isinstance(axes, tuple | list) else (axes,)
    if any(c.whole(axis, "the axis") in (0, -len(tensor.node.shape) - 1) for axis in numbers):
        return c.unknown(f"the {word} over the batch")
    if len(numbers) == 1 and not largest:
        return _over_one_side(c, tensor, axis_of(c, tensor, numbers[0]), c.flag(keepdims, "keepdims"))
    over = sorted(axis_of(c, tensor, axis) for axis in numbers)
    layer: Layer = GlobalMaxPooling() if largest else GlobalAveragePooling()
    if len(tensor.node.shape) == 3 and over in ([1], [2]):
        c.fix(tensor)
        window = (tensor.node.shape[1], 1) if over == [1] else (1, tensor.node.shape[2])
        layer = MaxPooling(window, window, cover_all=False)
    elif len(tensor.node.shape) != 3 or over != [1, 2]:
        return c.layer(tensor, Reduction("max" if largest else "mean", tuple(over), c.flag(keepdims, "keepdims")))
    pooled = c.layer(tensor, layer)
    return pooled if c.flag(keepdims, "keepdims") else squeeze(c, pooled, [axis + 1 for axis in over])


def total(c: Context, value: object, axes: object, keepdims: object) -> object:
    """Returns the sum over some axes."""
    tensor = c.tensor(value)
    if axes is None or isinstance(axes, Unknown):
        return c.unknown("the sum over everything")
    numbers = axes if isinstance(axes, tuple | list) else (axes,)
    if any(c.whole(axis, "the axis") in (0, -len(tensor.node.shape) - 1) for axis in numbers):
        return c.unknown("the sum over the batch")
    over = tuple(sorted(axis_of(c, tensor, axis) for axis in numbers))
    return c.layer(tensor, Reduction("sum", over, c.flag(keepdims, "keepdims")))


def softmax(c: Context, value: object, axis: object) -> object:
    """Returns exp(x) as shares of their sum along an axis."""
    return c.layer(value, Softmax(axis_of(c, c.tensor(value), axis)))


def larger(c: Context, one: object, other: object) -> Tensor:
    """Returns the larger of two values, number by number."""
    more = c.layer(added(c, c.tensor(other), c.layer(one, Affine(-1.0))), ReLU())
    return added(c, c.tensor(one), more)


def smaller(c: Context, one: object, other: object) -> Tensor:
    """Returns the smaller of two values, number by number."""
    more = c.layer(added(c, c.tensor(one), c.layer(other, Affine(-1.0))), ReLU())
    return added(c, c.tensor(one), c.layer(more, Affine(-1.0)))


def normalised(c: Context, value: object, axis: object, power: float, eps: float, add: bool = False) -> object:
    """Returns a value divided by its norm along an axis, of which `eps` is the least, or is added to it."""
    tensor = c.tensor(value)
    over = (axis_of(c, tensor, axis),)
    if power == 2.0:
        squares = c.layer(c.join([tensor, tensor], "product"), Reduction("sum", over, keep=True))
        norm = c.layer(squares, Function("sqrt"))
    elif power == 1.0:
        norm = c.layer(c.layer(tensor, Function("abs")), Reduction("sum", over, keep=True))
    else:
        c.fail(f"a norm of the power {power:g} is not known")
    norm = c.layer(norm, Affine(1.0, eps)) if add else c.tensor(clip(c, norm, eps, None))
    return arithmetic(c, ast.Div, tensor, norm)


def _in_front(c: Context, value: object, axis: int) -> Tensor:
    """Returns a value with one of its axes and the first in each other's place."""
    order = list(range(len(c.tensor(value).node.shape)))
    order[0], order[axis] = axis, 0
    return c.view(value, Transpose(tuple(order))) if axis else c.tensor(value)


def concatenated(c: Context, values: list[object], axis: object) -> object:
    """Returns values behind each other along an axis; arrays among them are repeated for each example."""
    if all(isinstance(value, Array) for value in values):
        return arrays.joined(c, values, c.whole(axis, "the axis"), new=False)
    if any(isinstance(value, Array) for value in values):
        like = c.tensor(next(value for value in values if not isinstance(value, Array)))
        if axis_of(c, like, axis) != 0:
            c.fail("an array behind a value along another axis than the channels' is not known")
        parts = [arrays.filled(c, like, value) if isinstance(value, Array) else [value] for value in values]
        values, axis = [one for part in parts for one in part], 1
    place = axis_of(c, c.tensor(values[0]), axis)
    return _in_front(c, c.join([_in_front(c, value, place) for value in values], "concat"), place)


def part(c: Context, value: object, axis: int, start: int, stop: int) -> Tensor:
    """Returns what lies between two bounds along an axis of an example."""
    tensor = c.tensor(value)
    if axis:
        c.fix(tensor)
    return _in_front(c, c.view(_in_front(c, tensor, axis), Slice(start, stop)), axis)


def broadcast(c: Context, value: object, shape: object) -> object:
    """Returns a value as large as a shape, each side of 1 repeated."""
    if isinstance(value, Array):
        return arrays.repeated(c, value, list(shape) if isinstance(shape, tuple | list) else [shape])
    tensor = c.tensor(value)
    own = tensor.node.shape
    sides = list(shape)[1:] if isinstance(shape, tuple | list) and len(shape) == len(own) + 1 else None
    wanted = None if sides is None else tuple(_plain_side(c, tensor, axis, side) for axis, side in enumerate(sides))
    if wanted == own:
        return tensor
    if (
        wanted is None
        or len(own) != 3
        or own[0] != wanted[0]
        or any(a not in (1, b) for a, b in zip(own, wanted, strict=True))
    ):
        c.fail(f"a value of {own} repeated to {shape if wanted is None else wanted} is not known")
    return c.layer(tensor, Upsample((wanted[1] // own[1], wanted[2] // own[2])))


def maxout(c: Context, value: object, pool: int) -> object:
    """Returns the largest of every `pool` channels, or features, that follow each other."""
    tensor = c.tensor(value)
    first, *sides = tensor.node.shape
    if pool < 1 or first % pool:
        c.fail(f"{first} channels by {pool} are not known")
    if sides:
        c.fix(tensor)
    lines = c.layer(tensor, Reshape((1, first, math.prod(sides))))
    return c.layer(c.layer(lines, MaxPooling((pool, 1), (pool, 1), cover_all=False)), Reshape((first // pool, *sides)))


def _over_one_side(c: Context, tensor: Tensor, axis: int, keepdims: bool) -> object:
    """Returns the mean over one side of a map; over the other one too, where that of this map was taken before."""
    if tensor.node in c.halves and axis == c.halves[tensor.node][1]:
        origin, _, c.fixed = c.halves[tensor.node]
        pooled = c.layer(origin, GlobalAveragePooling())
        return pooled if keepdims else Tensor(flattened(pooled.node, c.place))
    if len(tensor.node.shape) != 3 or axis == 0:
        return c.layer(tensor, Reduction("mean", (axis,), keepdims))
    before, (_, height, width) = c.fixed, tensor.node.shape
    size = (height, 1) if axis == 1 else (1, width)
    pooled = c.layer(tensor, AveragePooling(size, size))
    c.fix(tensor)
    made = pooled if keepdims else c.tensor(squeeze(c, pooled, (axis + 1,)))
    c.halves[made.node] = (tensor, 2 if keepdims and axis == 1 else 1, before)
    return made


def split(c: Context, value: object, bounds: list[int], axis: object) -> object:
    """Returns the parts of a value between some bounds, along its channels or features."""
    tensor = c.tensor(value)
    place = axis_of(c, tensor, axis)
    edges = [0, *bounds, tensor.node.shape[place]]
    return tuple(part(c, tensor, place, start, stop) for start, stop in itertools.pairwise(edges))


def stack(c: Context, values: list[object], axis: object) -> object:
    """Returns values of one shape beside each other along a new axis."""
    if all(isinstance(value, Array) for value in values):
        return arrays.joined(c, values, c.whole(axis, "the axis"), new=True)
    place = axis_of(c, c.tensor(values[0]), axis, len(c.tensor(values[0]).node.shape) + 2)
    joined = c.join([unsqueeze(c, value, 1) for value in values], "concat")
    axes = [*range(1, place + 1), 0, *range(place + 1, len(joined.node.shape))]
    return transpose(c, joined, (0, *(one + 1 for one in axes)))


def clip(c: Context, value: object, low: object, high: object) -> object:
    """Returns a value within bounds, of which one may be None."""
    least = None if low is None else c.real(low, "the lower bound")
    most = None if high is None else c.real(high, "the upper bound")
    if least is None:
        if most is None:
            c.fail("bounds that are both None are not known")
        return c.layer(c.layer(c.layer(value, Affine(-1.0, most)), ReLU()), Affine(-1.0, most))
    if most is not None and most <= least:
        c.fail(f"bounds of {least:g} and {most:g} are not known")
    made = c.layer(
        c.layer(value, Affine(1.0, -least)) if least else value,
        ClippedReLU(most - least) if most is not None else ReLU(),
    )
    return c.layer(made, Affine(1.0, least)) if least else made


def as_pair(height: int, width: int) -> Pair:
    """Returns a height and a width, which are one number where both are alike."""
    return height if height == width else (height, width)


def resized(c: Context, value: object, size: tuple[object, object], mode: str, corners: bool) -> Tensor:
    """Returns maps of another size, sampled anew by a framework's word: `bilinear`, `area`, `nearest`, `nearest-exact`.

    Where the size is not that of other maps, the network is one for a single size of input, unless maps of one size
    alone come here.
    """
    tensor = c.tensor(value)
    height, width = (c.whole(side, "the size") for side in size)
    if len(tensor.node.shape) != 3 or min(height, width) < 1:
        c.fail(f"a size of {height} x {width} for {tensor.node.shape} is not known")
    c.fix(tensor)
    if (height, width) == tensor.node.shape[1:]:
        return tensor
    times = [divmod(new, old) for new, old in zip((height, width), tensor.node.shape[1:], strict=True)]
    if mode == "area":
        return c.layer(tensor, AdaptiveAveragePooling(as_pair(height, width)))
    if mode == "bilinear":
        return c.layer(tensor, Resize("bilinear", (height, width), None, corners))
    if all(not rest for _, rest in times):
        return c.layer(tensor, Upsample(as_pair(times[0][0], times[1][0])))
    for old, new in zip(tensor.node.shape[1:], (height, width), strict=True):
        numbers = np.arange(new)
        single = np.floor(numbers.astype(np.float32) * np.float32(old / new)).astype(int)
        if mode != "nearest" or (single != numbers * old // new).any():
            c.fail(f"the nearest pixels of {old} for {new}, which roundings change, are not known")
    return c.layer(tensor, Resize("nearest", (height, width)))


def pixel_shuffle(c: Context, value: object, times: int, channels_last: bool = False) -> object:
    """Returns maps whose sides are longer, made of channels: those of one pixel follow each other, or lie apart."""
    tensor = c.tensor(value)
    if len(tensor.node.shape) != 3 or times < 1 or tensor.node.shape[0] % times**2:
        c.fail(f"shuffling {tensor.node.shape} by {times} is not known")
    channels, height, width = tensor.node.shape[0] // times**2, *tensor.node.shape[1:]
    c.fix(tensor)
    split = (times, times, channels) if channels_last else (channels, times, times)
    places = (2, 3, 0, 4, 1) if channels_last else (0, 3, 1, 4, 2)
    apart = c.layer(c.layer(tensor, Reshape((*split, height, width))), Transpose(places))
    return c.layer(apart, Reshape((channels, height * times, width * times)))


def gelu_by_tanh(c: Context, value: object) -> Tensor:
    """Returns `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2`."""
    cubic = c.layer(c.join([value, value], "product"), Affine(0.044715, 1.0))
    inner = c.layer(c.join([value, cubic], "product"), Affine(math.sqrt(2 / math.pi)))
    return c.join([value, c.layer(c.layer(inner, Tanh()), Affine(0.5, 0.5))], "product")


def tensor_item(c: Context, tensor: Tensor, key: object) -> object:
    """Returns `x[key]`: what lies between bounds, or at a number."""
    keys = list(key) if isinstance(key, tuple) else [key]
    place = next((i for i, one in enumerate(keys) if isinstance(one, EllipsisType)), None)
    if place is not None:
        keys[place : place + 1] = [slice(None)] * (len(tensor.node.shape) + 2 - len(keys) + keys.count(None))
    own = [one for one in keys if one is not None]
    if not own or keys[0] is None or not _is_all(own[0]) or len(own) > len(tensor.node.shape) + 1:
        return c.unknown("this part of a value of the network")
    kinds = [type(one) for one in own]
    if kinds.count(list) > 1 or (c.framework == "chainer" and list in kinds and not {*kinds} <= {list, slice}):
        return c.unknown("a part of a value by several lists of numbers, which are taken in pairs,")
    result, removed = tensor, []
    for axis, one in enumerate(own[1:]):
        if _is_all(one):
            continue
        length = tensor.node.shape[axis]
        if isinstance(one, slice):
            start, stop, step = c.cut(one).indices(length)
            if step == 1:
                result = part(c, result, axis, start, stop)
            else:
                result = picked(c, result, axis, list(range(start, stop, step)))
        elif isinstance(one, list) and (one and all(isinstance(number, int) for number in one)):
            result = picked(c, result, axis, [c.whole(number, "a number") for number in one])
        elif isinstance(one, int) and not isinstance(one, bool) and -length <= (number := c.whole(one, "")) < length:
            removed.append(axis + 1)
            result = part(c, result, axis, number % length, number % length + 1) if length > 1 else result
        else:
            return c.unknown("this part of a value of the network")
    found = squeeze(c, result, tuple(removed)) if removed else result
    for place, one in enumerate(one for one in keys if one is None or isinstance(one, slice)):
        found = unsqueeze(c, found, place) if one is None else found
    return found


def picked(c: Context, value: object, axis: int, numbers: list[int]) -> Tensor:
    """Returns what stands at some numbers along an axis, in their order; changed in place, it changes the value too."""
    tensor = c.tensor(value)
    length = tensor.node.shape[axis]
    if not numbers or len(numbers) > _MOST_PICKED or not all(-length <= number < length for number in numbers):
        c.fail(f"{len(numbers)} numbers of {length} are not known")
    runs: list[list[int]] = []
    for number in (number % length for number in numbers):
        if runs and number == runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([number, number + 1])
    made = c.tensor(concatenated(c, [part(c, tensor, axis, start, stop) for start, stop in runs], axis + 1))
    made.memory = tensor.memory
    return made


def flip(c: Context, value: object, axes: list[object]) -> object:
    """Returns a value with its channels or features in the other order."""
    tensor = c.tensor(value)
    if [axis_of(c, tensor, axis) for axis in axes] != [0]:
        return c.unknown("the other order along another axis than the channels'")
    made = picked(c, tensor, 0, list(reversed(range(tensor.node.shape[0]))))
    return Tensor(made.node)


def _is_all(key: object) -> bool:
    return isinstance(key, slice) and key == slice(None)


# --- attributes -------------------------------------------------------------------------------------------------------


def tensor_attribute(c: Context, tensor: Tensor, name: str) -> object:
    """Returns an attribute of a value of the network."""
    match name:
        case "shape":
            return tensor.shape
        case "data" | "array":
            return tensor
        case "ndim":
            return len(tensor.node.shape) + 1
        case "size" if c.framework != "torch":
            return Everything(tensor)
        case "is_cuda" | "requires_grad":
            return False
    package = "torch.Tensor" if c.framework == "torch" else "chainer.Variable"
    found = look_up(f"{package}.{name}")
    if isinstance(found, NativeFunction):
        method = NativeMethod(f"x.{name}", found.call)
        return NativeMethod(method.name, lambda c, /, *values, **named: c.call(method, (tensor, *values), named))
    known = tuple(sorted(key.rpartition(".")[2] for key in KNOWN if key.startswith(f"{package}.")))
    return c.unknown(f"x.{name}", known)


def in_place(c: Context, value: object, result: object) -> object:
    """Makes a value what a layer made of it, under every name that it has; views of it are no longer known."""
    tensor, made = c.tensor(value), c.tensor(result)
    tensor.memory.changed = c.place
    tensor.node, tensor.memory = made.node, made.memory
    return tensor
