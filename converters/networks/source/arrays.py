"""Arrays that a source makes itself: numbers that it calculates with, and what parameters and buffers begin with."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import Literal

import numpy as np
import numpy.typing as npt

from converters.networks.formulas import Constant, Function, Weighting
from converters.networks.layers import Affine
from converters.networks.source.context import Context
from converters.networks.source.plain import ARITHMETIC
from converters.networks.source.registry import known_in, look_up
from converters.networks.source.values import Array, Batch, NativeFunction, NativeMethod, Tensor, Unknown

#: More numbers than that are not kept: nothing is known of them but their shape.
_MOST_NUMBERS = 1 << 20
#: Axes of an array.
MOST_AXES = 8
#: Of a constant in a table.
_MOST_TOLD = 4096
#: Parts of an array that are concatenated with values.
_MOST_PARTS = 16
_JOINS: dict[type[ast.operator], Literal["sum", "difference", "product", "quotient"]] = {
    ast.Add: "sum",
    ast.Sub: "difference",
    ast.Mult: "product",
    ast.Div: "quotient",
}


def made(c: Context, shape: object, numbers: Callable[[tuple[int, ...]], npt.NDArray[np.number]] | None) -> Array:
    """Returns an array of a shape; its numbers are not known without a function that makes them."""
    sides = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    _check_axes(c, sides)
    lengths: list[int] = []
    for side in sides:
        if isinstance(side, Batch):
            side = 1  # repeated for each example
        lengths.append(side if isinstance(side, int) and not isinstance(side, bool) else c.whole(side, "a side"))
        if lengths[-1] < 0:
            c.fail(f"a side of {lengths[-1]} is not known")
    small = math.prod(lengths) <= _MOST_NUMBERS
    return Array(tuple(lengths), numbers(tuple(map(int, lengths))) if numbers is not None and small else None)


def _check_axes(c: Context, sides: Sequence[object]) -> None:
    if len(sides) > MOST_AXES:
        c.fail(f"an array of {len(sides)} axes is not known")


def of_numbers(c: Context, value: object) -> Array:
    """Returns numbers, or lists of them, as an array."""
    if isinstance(value, Array):
        return value
    if isinstance(value, tuple | list):
        parts = [of_numbers(c, one) for one in value]
        if any(part.shape != parts[0].shape for part in parts) or not parts:
            c.fail("an array of lists that differ is not known")
        c.budget.spend(len(parts))
        _check_axes(c, (0, *parts[0].shape))
        known = all(part.numbers is not None for part in parts)
        numbers = np.stack([part.numbers for part in parts if part.numbers is not None]) if known else None
        return Array((len(parts), *parts[0].shape), numbers)
    number = c.real(value, "a number of an array")
    return Array((), np.array(int(number) if isinstance(value, int) else number))


def operated(c: Context, kind: type[ast.operator], left: object, right: object) -> object:
    """Returns what an operator makes of two arrays, or of one and a number."""
    arrays = [of_numbers(c, value) if isinstance(value, Array | int | float) else None for value in (left, right)]
    if None in arrays or kind not in ARITHMETIC:
        return c.unknown(f"{kind.__name__} of an array")
    one, other = (array for array in arrays if array is not None)
    for array in (one, other):
        if array.owner is not None:
            return c.unknown(f"{kind.__name__} of a parameter")
    try:
        shape = np.broadcast_shapes(tuple(map(int, one.shape)), tuple(map(int, other.shape)))
    except ValueError:
        c.fail(f"arrays of {one.shape} and {other.shape} under {kind.__name__}")
    whole = next((array.shape for array in (one, other) if tuple(array.shape) == shape), shape)
    if one.numbers is None or other.numbers is None or math.prod(shape) > _MOST_NUMBERS:
        return Array(whole, None)
    try:
        with np.errstate(all="ignore"):
            return Array(whole, np.asarray(ARITHMETIC[kind](one.numbers, other.numbers)))
    except ValueError as error:
        c.fail(f"arrays under {kind.__name__}: {error}")


def combined(c: Context, kind: type[ast.operator], tensor: Tensor, array: Array, first: bool) -> object:
    """Returns what an operator makes of a value of the network and an array, which comes second unless `first`."""
    if kind not in _JOINS:
        return c.unknown(f"{kind.__name__} of a value of the network and an array")
    if first and kind is ast.Sub:
        tensor, kind = c.layer(tensor, Affine(-1.0)), ast.Add
    if first and kind is ast.Div:
        tensor, kind = c.layer(tensor, Function("reciprocal")), ast.Mult
    example = tensor.node.shape
    sides = [c.whole(side, "a side of an array") for side in array.shape]
    if len(sides) == len(example) + 1:
        if sides[0] != 1:
            c.fail(f"an array of {tuple(sides)} for a batch of {example} is not known")
        sides = sides[1:]
    if len(sides) > len(example):
        c.fail(f"an array of {tuple(sides)} for a value of {example} is not known")
    placed = (*(1,) * (len(example) - len(sides)), *sides)
    if any(a != b and 1 not in (a, b) for a, b in zip(placed, example, strict=True)):
        c.fail(f"an array of {tuple(sides)} for a value of {example} is not known")
    if array.owner is not None:
        return c.layer(tensor, weighting(c, array, placed, kind))
    if array.numbers is None:
        return c.unknown("an array of numbers that are not known")
    numbers = array.numbers.astype(np.float64).reshape(placed)
    if kind in (ast.Sub, ast.Div):
        with np.errstate(all="ignore"):
            numbers = -numbers if kind is ast.Sub else 1 / numbers
    for axis, length in enumerate(example):
        along = np.take(numbers, [0], axis)
        if numbers.shape[axis] == length and (numbers == along).all():
            numbers = along  # repeated
    if not (np.abs(numbers) <= np.finfo(np.float32).max).all() or numbers.size > _MOST_TOLD:
        c.fail(f"an array of {numbers.shape} numbers beside the network is not known")
    told = tuple(map(float, numbers.reshape(-1)))
    return c.layer(tensor, Constant(told, numbers.shape, "sum" if kind in (ast.Add, ast.Sub) else "product"))


def weighting(c: Context, array: Array, placed: tuple[int, ...], kind: type[ast.operator]) -> Weighting:
    """Returns the layer that combines a value with a parameter or a buffer."""
    from converters.keys import canonical_name

    assert array.owner is not None
    instance, part = array.owner
    path = c.name_of(instance)
    name = f"{path}.{part}" if path else part
    told = c.shapes.get(canonical_name(name))
    stored = tuple(c.whole(side, "a side of a parameter") for side in array.stored) if told is None else told
    begun = array.numbers
    if begun is not None and (begun.size > _MOST_TOLD or not (np.abs(begun) <= np.finfo(np.float32).max).all()):
        begun = None
    if begun is None and not array.trained and not c.shapes:
        c.fail(f"a network that starts anew with {name}, whose numbers are not known, is not known")
    first = () if begun is None else tuple(map(float, begun.reshape(-1)))
    first = first[:1] if len(set(first)) == 1 else first
    return Weighting(canonical_name(name), stored, placed, _JOINS[kind], part, array.trained, first)


def filled(c: Context, like: Tensor, array: Array) -> list[Tensor]:
    """Returns an array's parts along its first axis behind the batch's as values of a network, of the sides of one."""
    sides = [c.whole(side, "a side of an array") for side in array.shape]
    if len(sides) == len(like.node.shape) + 1 and sides[0] == 1:
        sides = sides[1:]
    if len(sides) != len(like.node.shape) or sides[1:] != list(like.node.shape[1:]) or sides[0] > _MOST_PARTS:
        c.fail(f"an array of {tuple(sides)} behind a value of {like.node.shape} is not known")
    if array.numbers is None or array.owner is not None:
        c.refuse(c.unknown("an array of numbers that are not known"))
    from converters.networks.source.tensors import part

    nothing = c.layer(part(c, like, 0, 0, 1), Affine(0.0, 0.0))
    values = []
    for numbers in array.numbers.reshape(sides):
        value = combined(c, ast.Add, nothing, Array((1, *sides[1:]), numbers[None]), False)
        values.append(c.tensor(value))
    return values


# --- attributes, items and methods ------------------------------------------------------------------------------------


def attribute(c: Context, array: Array, name: str) -> object:
    """Returns an attribute of an array."""
    match name:
        case "shape":
            return array.shape
        case "ndim":
            return len(array.shape)
        case "size" if c.framework != "torch":
            return math.prod(array.shape)
        case "data" | "array" | "device" | "dtype" | "real":
            return array if name in ("data", "array") else c.unknown(f"the {name} of an array")
        case "T":
            return transposed(c, array, tuple(reversed(range(len(array.shape)))))
        case "requires_grad" | "is_cuda":
            return False
    found = look_up(f"numpy.ndarray.{name}")
    if isinstance(found, NativeFunction):
        return NativeMethod(found.name, lambda c, /, *values, **named: c.call(found, (array, *values), named))
    return c.unknown(f"{name} of an array", known_in("numpy.ndarray"))


def item(c: Context, array: Array, key: object) -> object:
    """Returns `array[key]`."""
    keys = list(key) if isinstance(key, tuple) else [key]
    plain_keys: list[int | slice | EllipsisType | None] = []
    for one in keys:
        if isinstance(one, slice):
            plain_keys.append(c.cut(one))
        elif one is None or isinstance(one, EllipsisType):
            plain_keys.append(one)
        else:
            plain_keys.append(c.whole(one, "an index"))
    try:
        shape = np.broadcast_to(np.int8(0), tuple(map(int, array.shape)))[tuple(plain_keys)].shape
    except IndexError:
        c.fail(f"an array of {array.shape} has no such part")
    if array.numbers is not None and array.owner is None:
        numbers = array.numbers[tuple(plain_keys)]
        return numbers.item() if not numbers.shape else Array(numbers.shape, numbers)
    if math.prod(shape) == math.prod(array.shape):
        return _laid_out(array, shape)
    return c.unknown("a part of numbers that are not known")


def _laid_out(array: Array, shape: Sequence[int]) -> Array:
    """Returns an array under another shape."""
    numbers = None if array.numbers is None else array.numbers.reshape(tuple(map(int, shape)))
    return Array(tuple(shape), numbers, array.owner, array.stored, array.trained)


def reshaped(c: Context, array: Array, shape: Sequence[object]) -> Array:
    """Returns an array under another shape, of which one side may be -1."""
    _check_axes(c, shape)
    sides = [1 if isinstance(side, Batch) else c.whole(side, "a side") for side in shape]
    known = math.prod(side for side in sides if side != -1)
    count = math.prod(map(int, array.shape))
    if sides.count(-1) > 1 or known < 1 or count % known or (-1 not in sides and known != count):
        c.fail(f"an array of {array.shape} under the shape {tuple(sides)}")
    return _laid_out(array, [count // known if side == -1 else side for side in sides])


def transposed(c: Context, array: Array, axes: Sequence[int]) -> Array:
    """Returns an array with its axes in another order."""
    count = len(array.shape)
    order = [axis + count if axis < 0 else axis for axis in axes]
    if sorted(order) != list(range(count)):
        c.fail(f"the order {tuple(axes)} of the axes of an array of {array.shape}")
    shape = tuple(array.shape[axis] for axis in order)
    long = [axis for axis in order if array.shape[axis] != 1]
    if array.owner is not None and long != sorted(long):
        c.fail("the axes of a parameter in another order are not known")
    numbers = None if array.numbers is None else array.numbers.transpose(order)
    return Array(shape, numbers, array.owner, array.stored, array.trained)


def repeated(c: Context, array: Array, shape: Sequence[object]) -> Array:
    """Returns an array as large as a shape; -1 is its own side."""
    _check_axes(c, shape)
    own = (*(1,) * (len(shape) - len(array.shape)), *array.shape)
    sides = [1 if isinstance(side, Batch) else c.whole(side, "a side") for side in shape]
    sides = [int(mine) if side == -1 else side for side, mine in zip(sides, own, strict=False)]
    if len(own) != len(sides) or any(a not in (1, b) for a, b in zip(own, sides, strict=True)):
        c.fail(f"an array of {array.shape} repeated to {tuple(sides)}")
    if array.owner is not None:  # as it is placed, so that it is repeated anyway
        return _laid_out(array, own)
    small = math.prod(sides) <= _MOST_NUMBERS
    numbers = np.broadcast_to(array.numbers, sides) if array.numbers is not None and small else None
    return Array(tuple(sides), numbers)


def joined(c: Context, values: Sequence[object], axis: int, new: bool) -> Array:
    """Returns arrays behind each other along an axis, or along a new one."""
    arrays = [of_numbers(c, value) for value in values]
    if any(array.owner is not None or array.numbers is None for array in arrays):
        c.fail("parameters behind each other are not known")
    known = [array.numbers for array in arrays if array.numbers is not None]
    if sum(one.size for one in known) > _MOST_NUMBERS:
        c.fail("so many numbers are not known")
    try:
        numbers = np.stack(known, axis) if new else np.concatenate(known, axis)
    except ValueError as error:
        c.fail(f"arrays behind each other: {error}")
    return Array(numbers.shape, numbers)


def items(c: Context, array: Array) -> list[object]:
    """Returns what a loop over an array goes through."""
    if not array.shape or array.numbers is None or array.owner is not None:
        c.fail("a loop over an array that is not known")
    c.budget.spend(len(array.numbers))
    return [one.item() if not one.shape else Array(one.shape, one) for one in array.numbers]


def elements(c: Context, values: Sequence[object]) -> list[Array] | Unknown:
    """Returns arrays; what is not known, if one is not."""
    for value in values:
        if isinstance(value, Unknown):
            return value
    return [of_numbers(c, value) for value in values]
