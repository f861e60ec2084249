"""What the frameworks and NumPy call arrays of the source's own, and what is done with these."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from converters.networks.source import arrays, plain
from converters.networks.source.context import Context
from converters.networks.source.registry import KNOWN, function
from converters.networks.source.values import Array, Namespace, NativeFunction, Tensor, Unknown


def _shape_of(sides: tuple[object, ...]) -> object:
    return sides[0] if len(sides) == 1 else sides


def _filled_with(number: float | None, *names: str) -> None:
    """Says that a function makes an array of one number, or of numbers that are drawn."""

    @function(*names)
    def call(c: Context, *sides: object, size: object = None, shape: object = None, **keywords: object) -> object:
        said = size if size is not None else shape if shape is not None else _shape_of(sides)
        if isinstance(said, Unknown):
            return said
        if names[0].startswith("numpy.") and len(sides) > 1:
            said = sides[0]  # the other is a dtype
        numbers = None if number is None else lambda lengths: np.full(lengths, number)
        return arrays.made(c, said, numbers)


_filled_with(0.0, "torch.zeros")
_filled_with(1.0, "torch.ones")
_filled_with(None, "torch.empty", "torch.rand", "torch.randn")
_filled_with(0.0, "numpy.zeros")
_filled_with(1.0, "numpy.ones")
_filled_with(None, "numpy.empty")


@function("numpy.random.randn", "numpy.random.rand")
def _drawn(c: Context, *sides: object) -> object:
    return arrays.made(c, sides, None)


@function("numpy.random.normal", "numpy.random.uniform")
def _drawn_from(c: Context, one: object = 0, other: object = 1, size: object = ()) -> object:
    return arrays.made(c, size, None)


@function("torch.full", "numpy.full")
def _full(c: Context, size: object, fill_value: object, *dtype: object, **keywords: object) -> object:
    number = c.real(fill_value, "the number")
    return arrays.made(c, size, lambda lengths: np.full(lengths, number))


@function("torch.FloatTensor")
def _tensor_of_size(c: Context, *sides: object) -> object:
    """Makes an array of a size, or of numbers that are listed."""
    if len(sides) == 1 and isinstance(sides[0], list | Array):
        return arrays.of_numbers(c, sides[0])
    return arrays.made(c, sides, None)


@function("torch.tensor", "torch.as_tensor", "torch.from_numpy", "numpy.array", "numpy.asarray")
def _array(c: Context, data: object, *dtype: object, **keywords: object) -> object:
    if isinstance(data, Unknown | Tensor):
        return data
    return _same(c, arrays.of_numbers(c, data), *dtype, *keywords.values())


@function("torch.linspace", "numpy.linspace")
def _linspace(c: Context, start: object, end: object, steps: object = 50, *dtype: object, **keywords: object) -> object:
    first, last = c.real(start, "start"), c.real(end, "end")
    count = keywords.get("num", steps)
    if isinstance(count, Unknown):
        return count
    if (
        keywords.keys() - {"num", "dtype", "device", "requires_grad", "endpoint"}
        or keywords.get("endpoint") is False
        or _is_whole(*dtype, *keywords.values())
    ):
        return c.unknown("a linspace with these arguments")
    return arrays.made(c, (c.whole(count, "steps"),), lambda lengths: np.linspace(first, last, lengths[0]))


@function("torch.arange", "numpy.arange")
def _arange(c: Context, *numbers: object, **keywords: object) -> object:
    said = [c.plain(number) for number in numbers]
    if unknown := [number for number in said if isinstance(number, Unknown)]:
        return unknown[0]
    bounds = [number for number in said if isinstance(number, int | float)]
    if not 1 <= len(bounds) <= 3 or bounds[2:] == [0]:
        c.fail("an arange of these numbers is not known")
    low, high, step = (0, bounds[0], 1) if len(bounds) == 1 else (*bounds, 1)[:3]
    count = max(math.ceil((high - low) / step), 0)
    return arrays.made(c, (count,), lambda lengths: low + step * np.arange(lengths[0]))


def _meshgrid(c: Context, values: tuple[object, ...], indexing: object) -> object:
    given = plain.iterate(c, values[0]) if len(values) == 1 and not isinstance(values[0], Array) else list(values)
    found = arrays.elements(c, given)
    if isinstance(found, Unknown):
        return found
    known = [one.numbers for one in found if one.numbers is not None and one.owner is None]
    count = math.prod(one.size for one in known)
    if len(known) < len(found) or len(found) > arrays.MOST_AXES or indexing not in ("ij", "xy") or count > 1 << 20:
        return c.unknown("this meshgrid")
    return tuple(Array(grid.shape, grid) for grid in np.meshgrid(*known, indexing="ij" if indexing == "ij" else "xy"))


@function("torch.meshgrid")
def _torch_meshgrid(c: Context, *values: object, indexing: object = "ij") -> object:
    return _meshgrid(c, values, indexing)


@function("numpy.meshgrid")
def _numpy_meshgrid(c: Context, *values: object, indexing: object = "xy") -> object:
    return _meshgrid(c, values, indexing)


@function("numpy.stack")
def _numpy_stack(c: Context, values: object, axis: object = 0) -> object:
    return arrays.joined(c, plain.iterate(c, values), c.whole(axis, "axis"), new=True)


@function("numpy.broadcast_to")
def _broadcast_to(c: Context, array: object, shape: object) -> object:
    return arrays.repeated(c, arrays.of_numbers(c, array), plain.iterate(c, shape))


@function("numpy.concatenate")
def _numpy_concatenate(c: Context, values: object, axis: object = 0) -> object:
    return arrays.joined(c, plain.iterate(c, values), c.whole(axis, "axis"), new=False)


@function(
    "chainer.cuda.get_array_module", "chainer.backends.cuda.get_array_module", "chainer.backend.get_array_module"
)  # fmt: skip
def _get_array_module(c: Context, *values: object) -> object:
    return Namespace("numpy")


for _dtype in ("float", "float32", "float64", "double", "half", "float16", "long", "int64", "int32", "int"):
    KNOWN.setdefault(f"torch.{_dtype}", _dtype)


# --- methods ----------------------------------------------------------------------------------------------------------


def _is_whole(*said: object) -> bool:
    """Tells whether a dtype of whole numbers, or of True and False, is said."""
    words = [one.name if isinstance(one, NativeFunction) else one for one in said]
    return any(isinstance(word, str) and re.search(r"^[<>=|]?[biu?]|int|long|short|bool", word) for word in words)


def _same(c: Context, array: Array, *arguments: object, **keywords: object) -> object:
    if _is_whole(*arguments, *keywords.values()) and (
        array.numbers is None or (array.numbers != np.trunc(array.numbers)).any()
    ):
        return c.unknown("an array of whole numbers made of others")
    return array


_SAME = "float double half to type type_as cuda cpu contiguous clone detach astype copy requires_grad_"
for _name in _SAME.split():
    function(f"numpy.ndarray.{_name}")(_same)


def _drawing(name: str) -> None:
    @function(f"numpy.ndarray.{name}")
    def call(c: Context, array: Array, *arguments: object, **keywords: object) -> object:
        return array if array.owner is not None else Array(array.shape, None)


for _name in ("normal_", "uniform_"):
    _drawing(_name)


def _set_to(c: Context, array: Array, number: float) -> Array:
    numbers: npt.NDArray[np.float64] | None = None
    if math.prod(map(int, array.shape)) <= 1 << 20:
        numbers = np.full(tuple(map(int, array.shape)), number)
    return array if array.owner is not None else Array(array.shape, numbers)


@function("numpy.ndarray.fill_")
def _fill(c: Context, array: Array, value: object) -> object:
    return _set_to(c, array, c.real(value, "the number"))


@function("numpy.ndarray.zero_")
def _zero(c: Context, array: Array) -> object:
    return _set_to(c, array, 0.0)


@function("numpy.ndarray.view", "numpy.ndarray.reshape")
def _view(c: Context, array: Array, *sides: object) -> object:
    return arrays.reshaped(c, array, plain.iterate(c, sides[0]) if isinstance(sides[0], tuple | list) else sides)


@function("numpy.ndarray.flatten", "numpy.ndarray.ravel")
def _flatten(c: Context, array: Array) -> object:
    return arrays.reshaped(c, array, (-1,))


@function("numpy.ndarray.unsqueeze")
def _unsqueeze(c: Context, array: Array, dim: object) -> object:
    place, shape = c.whole(dim, "dim"), list(array.shape)
    if not -len(shape) - 1 <= place <= len(shape):
        c.fail(f"an array of {array.shape} has no axis {place}")
    shape.insert(place + len(shape) + 1 if place < 0 else place, 1)
    return arrays.reshaped(c, array, shape)


@function("numpy.ndarray.squeeze")
def _squeeze(c: Context, array: Array, dim: object = None) -> object:
    places = set(range(len(array.shape))) if dim is None else {c.whole(dim, "dim") % max(len(array.shape), 1)}
    return arrays.reshaped(c, array, [s for i, s in enumerate(array.shape) if not (i in places and s == 1)])


@function("numpy.ndarray.permute")
def _permute(c: Context, array: Array, *dims: object) -> object:
    order = plain.iterate(c, dims[0]) if len(dims) == 1 else list(dims)
    return arrays.transposed(c, array, [c.whole(axis, "an axis") for axis in order])


@function("numpy.ndarray.transpose")
def _transpose(c: Context, array: Array, *axes: object) -> object:
    order = list(range(len(array.shape)))
    numbers = [c.whole(axis, "an axis") for axis in axes]
    if c.framework == "torch" and len(numbers) == 2:
        one, other = (number % max(len(order), 1) for number in numbers)
        order[one], order[other] = order[other], order[one]
        return arrays.transposed(c, array, order)
    return arrays.transposed(c, array, numbers or list(reversed(order)))


@function("numpy.ndarray.t")
def _t(c: Context, array: Array) -> object:
    return arrays.transposed(c, array, list(reversed(range(len(array.shape)))))


@function("numpy.ndarray.expand")
def _expand(c: Context, array: Array, *sides: object) -> object:
    return arrays.repeated(c, array, plain.iterate(c, sides[0]) if isinstance(sides[0], tuple | list) else sides)


@function("numpy.ndarray.expand_as")
def _expand_as(c: Context, array: Array, other: object) -> object:
    return arrays.repeated(c, array, c.tensor(other).shape)


@function("numpy.ndarray.repeat")
def _repeat(c: Context, array: Array, *times: object) -> object:
    counts = plain.iterate(c, times[0]) if isinstance(times[0], tuple | list) else list(times)
    own = (*(1,) * (len(counts) - len(array.shape)), *array.shape)
    if len(own) != len(counts):
        c.fail(f"an array of {array.shape} repeated like this is not known")
    wide = arrays.reshaped(c, array, own)
    for axis, (count, side) in enumerate(zip(counts, own, strict=True)):
        if side == 1:
            wide = arrays.repeated(c, wide, [count if i == axis else s for i, s in enumerate(wide.shape)])
        elif c.whole(count, "a number of times") != 1:
            c.fail("an array whose parts are repeated is not known")
    return wide


def _operation(name: str, kind: str) -> None:
    @function(f"numpy.ndarray.{name}")
    def call(c: Context, array: Array, other: object) -> object:
        operator = getattr(ast, kind)
        if isinstance(other, Tensor):
            return arrays.combined(c, operator, other, array, True)
        return arrays.operated(c, operator, array, other)


for _name, _kind in (("add", "Add"), ("sub", "Sub"), ("mul", "Mult"), ("div", "Div")):
    _operation(_name, _kind)


def _function_of_numbers(name: str) -> Callable[..., object]:
    def call(c: Context, array: Array) -> object:
        if array.owner is not None or array.numbers is None:
            return c.unknown(f"{name} of a parameter")
        with np.errstate(all="ignore"):
            return Array(array.shape, getattr(np, name)(array.numbers))

    return call


for _name in ("exp", "sqrt", "sin", "cos", "log", "abs"):
    function(f"numpy.ndarray.{_name}")(_function_of_numbers(_name))
