"""Python's own values, as far as networks are written with them: operators, methods, built-in functions."""

from __future__ import annotations

import ast
import functools
import itertools
import math
import operator
import re
import string
from collections.abc import Callable
from typing import Any

import numpy as np

from converters.networks.layers import Affine, ReLU
from converters.networks.source.budget import MOST_CHARACTERS, MOST_ITEMS, bounded
from converters.networks.source.context import Context
from converters.networks.source.errors import ExhaustedError
from converters.networks.source.registry import KNOWN, function
from converters.networks.source.values import (
    BATCH,
    Array,
    Attributes,
    Batch,
    Bound,
    Class,
    Function,
    Instance,
    Mode,
    NativeFunction,
    NativeMethod,
    Partial,
    Tensor,
    Traced,
    Unknown,
    traced,
)

#: Those of numbers and arrays alike.
ARITHMETIC: dict[type[ast.operator], Callable[[object, object], object]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
OPERATORS = {
    **ARITHMETIC,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}

COMPARISONS: dict[type[ast.cmpop], Callable[[object, object], bool]] = {
    ast.Lt: operator.lt,  # type: ignore[dict-item]
    ast.LtE: operator.le,  # type: ignore[dict-item]
    ast.Gt: operator.gt,  # type: ignore[dict-item]
    ast.GtE: operator.ge,  # type: ignore[dict-item]
}


def compare(c: Context, kind: type[ast.cmpop], left: object, right: object) -> bool:
    """Returns what a comparison of two values of Python gives."""
    if kind in (ast.Is, ast.IsNot):
        return (left is right or (_is_scalar(left) and type(left) is type(right) and left == right)) == (kind is ast.Is)
    if kind in (ast.Eq, ast.NotEq):
        return equal(c, left, right) == (kind is ast.Eq)
    if kind in (ast.In, ast.NotIn):
        if isinstance(left, str) and isinstance(right, str):
            return (left in right) == (kind is ast.In)
        return any(equal(c, left, item) for item in iterate(c, right)) == (kind is ast.In)
    if not all(isinstance(value, int | float) for value in (left, right)) and not all(
        isinstance(value, str) for value in (left, right)
    ):
        c.fail(f"{c.spell(left)} and {c.spell(right)} under {kind.__name__} are not known")
    return COMPARISONS[kind](left, right)


def equal(c: Context, left: object, right: object) -> bool:
    """Tells whether two values are equal; the time that containers within containers take is counted."""
    c.budget.spend()
    if left is right:
        return True
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        alike = isinstance(left, list) == isinstance(right, list) and len(left) == len(right)
        return alike and all(equal(c, one, other) for one, other in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(c, item, right[key]) for key, item in left.items())
    if isinstance(left, set) and isinstance(right, set):
        return left == right
    return _is_scalar(left) and _is_scalar(right) and left == right


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def key_of(c: Context, key: object) -> object:
    """Returns a value as a key: a number or string, or a tuple of them."""
    parts = key if isinstance(key, tuple) else (key,)
    if isinstance(key, Unknown):
        c.refuse(key)
    if any(isinstance(part, list | dict | set | slice | tuple | Partial | Unknown) for part in parts):
        c.fail(f"the key {c.spell(key)} is not known")
    return key


#: Methods that change nothing but their own object.
METHODS: dict[type, frozenset[str]] = {
    str: frozenset(
        {"format", "join", "lower", "upper", "title", "capitalize", "replace", "split", "rsplit", "startswith"}
        | {"endswith", "strip", "lstrip", "rstrip", "isdigit", "isalpha", "count", "find", "index"}
    ),
    list: frozenset(
        ["append", "extend", "insert", "pop", "index", "remove", "reverse", "copy", "count", "sort", "clear"]
    ),
    tuple: frozenset(["index", "count"]),
    dict: frozenset(["items", "keys", "values", "get", "update", "setdefault", "pop", "copy", "clear"]),
    set: frozenset(["add", "update", "discard", "remove", "union", "copy", "clear"]),
}
#: Methods of containers that change them: one that is not known is refused, whoever takes what it gives.
CHANGING = frozenset(
    {"append", "extend", "insert", "pop", "popitem", "remove", "remove_by_layer_type", "reverse", "sort", "clear"}
    | {"add", "discard", "update", "difference_update", "intersection_update", "symmetric_difference_update"}
    | {"setdefault", "add_link", "add_module", "register_module", "__setitem__", "__delitem__"}
)


def binary(c: Context, kind: type[ast.operator], left: object, right: object) -> object:
    """Returns what an operator makes of two values of Python."""
    numbers = all(isinstance(value, int | float) for value in (left, right))
    if isinstance(left, str) and kind is ast.Mod:
        return formatted(c, left, right)
    lengths = [len(value) for value in (left, right) if isinstance(value, str | list | tuple)]
    if not numbers:
        repeated = kind is ast.Mult and len(lengths) == 1 and any(isinstance(v, int) for v in (left, right))
        if not repeated and not (type(left) is type(right) and kind is ast.Add and len(lengths) == 2):
            c.fail(f"{c.spell(left)} and {c.spell(right)} under {kind.__name__} are not known")
        left, right = c.plain(left), c.plain(right)
        count = max((v for v in (left, right) if isinstance(v, int)), default=1)
        if sum(lengths) * max(count, 1) > (MOST_CHARACTERS if isinstance(left, str) else MOST_ITEMS):
            raise ExhaustedError("a list or string without end")
        c.budget.spend(sum(lengths) * max(count, 1))
    elif kind in (ast.Pow, ast.LShift) and (abs(float(right)) > 64 or abs(float(left)) > 1e6):  # type: ignore[arg-type]
        raise ExhaustedError("a number without end")
    try:
        result = OPERATORS[kind](left, right)
    except (ArithmeticError, TypeError, ValueError, KeyError) as error:
        c.fail(f"{c.spell(left)} and {c.spell(right)} under {kind.__name__}: {error}")
    if isinstance(result, complex):
        c.fail("a complex number is not known")
    bounded(result)
    return traced(result, kind.__name__, left, right) if numbers else result


def formatted(c: Context, template: str, values: object) -> str:
    """Returns `template % values`."""
    items: list[object]
    if isinstance(values, dict):
        items = list(values.values())
    else:
        items = list(values) if isinstance(values, tuple) else [values]
    if not all(isinstance(item, int | float | str) for item in items) or re.search(r"%[^%a-z]*\d{4}|\*", template):
        c.fail(f"the format {template[:60]!r} of {c.spell(values)} is not known")
    given = [c.plain(item) for item in items]
    try:
        text = template % (dict(zip(values, given, strict=True)) if isinstance(values, dict) else tuple(given))
    except (TypeError, ValueError) as error:
        c.fail(f"the format {template[:60]!r}: {error}")
    return str(bounded(text))


def method(c: Context, value: object, name: str) -> Callable[..., object] | None:
    """Returns a method of a value of Python; None if it is not known."""
    kind = next((kind for kind in METHODS if isinstance(value, kind)), None)
    if kind is None or name not in METHODS[kind]:
        return None

    def call(c: Context, /, *arguments: object, **keywords: object) -> object:
        if name == "format":
            return filled_in(c, str(value), arguments, keywords)
        if isinstance(value, list | tuple) and name in ("index", "remove", "count"):
            return _found(c, value, name, arguments)
        if isinstance(value, Attributes) and name in CHANGING:
            c.fail(f"{name} of an object's __dict__ is not known")
        if isinstance(value, list) and name == "sort":
            value[:] = iterate(c, c.call(KNOWN["builtins.sorted"], (list(value), *arguments), keywords))
            return None
        if isinstance(value, dict | set) and arguments and name != "update":
            key_of(c, arguments[0])
        if name in ("append", "insert", "add", "setdefault"):
            c.budget.spend()
        elif arguments:
            arguments = tuple(c.plain(argument) for argument in arguments)
        if name in ("extend", "union", "join") or (name == "update" and isinstance(value, set)):
            arguments = tuple(iterate(c, argument) for argument in arguments)
        if name == "replace" and len(str(value)) * len(str(arguments[-1:])) > MOST_CHARACTERS * 50:
            raise ExhaustedError("a string without end")
        try:
            result = getattr(value, name)(*arguments, **keywords)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            c.fail(f"{c.spell(value)}.{name}: {error}")
        bounded(value)
        if isinstance(result, type({}.keys()) | type({}.values()) | type({}.items())):
            result = list(result)
        return bounded(result)

    return call


def _found(c: Context, values: list[object] | tuple[object, ...], name: str, arguments: tuple[object, ...]) -> object:
    """Returns what a method gives that looks for an item."""
    if len(arguments) != 1:
        c.fail(f"{name} with these arguments is not known")
    places = [place for place, item in enumerate(values) if equal(c, item, arguments[0])]
    if name == "count":
        return len(places)
    if not places:
        c.fail(f"there is no {c.spell(arguments[0])} in it")
    if name == "remove" and isinstance(values, list):
        del values[places[0]]
        return None
    return places[0]


def filled_in(c: Context, template: str, arguments: tuple[object, ...], keywords: dict[str, object]) -> str:
    """Returns `template.format(*arguments, **keywords)`."""
    values = [*arguments, *keywords.values()]
    sound = all(isinstance(value, int | float | str) for value in values)
    if not sound or not re.fullmatch(r"(?:[^{}]|\{\{|\}\}|\{\w*(?::[\w.<>^+-]{0,6})?\})*", template):
        c.fail(f"the format {template[:60]!r} is not known")
    if re.search(r":\D*\d{4}", template):
        raise ExhaustedError("a string without end")
    try:
        plain = {name: c.plain(value) for name, value in keywords.items()}
        text = template.format(*(c.plain(value) for value in arguments), **plain)
    except (LookupError, ValueError) as error:
        c.fail(f"the format {template[:60]!r}: {error}")
    return str(bounded(text))


def iterate(c: Context, value: object) -> list[object]:
    """Returns what a loop over a value goes through."""
    match value:
        case Unknown():
            c.refuse(value)
        case Instance() if value.native is not None:
            items = value.native.items(c)
            if items is not None:
                return items
        case Array():
            from converters.networks.source import arrays

            return arrays.items(c, value)
        case list() | tuple() | dict() | set() | str() | range():
            if len(value) > MOST_ITEMS:
                raise ExhaustedError(f"a loop over {len(value)} items")
            c.budget.spend(len(value))
            return list(value)
    c.fail(f"a loop over {c.spell(value)} is not known")


# --- built-in functions -----------------------------------------------------------------------------------------------


@function("builtins.range", "builtins.xrange")
def _range(c: Context, *numbers: object) -> object:
    whole = [c.whole(number, "a bound of range") for number in numbers]
    if not 1 <= len(whole) <= 3 or whole[2:] == [0]:
        c.fail("a range of these numbers is not known")
    return range(*whole)


@function("builtins.len")
def _len(c: Context, value: object) -> object:
    match value:
        case Tensor():
            return BATCH
        case Unknown():
            return value
        case str() | list() | tuple() | dict() | set() | range():
            return len(value)
    return len(iterate(c, value))


@function("builtins.enumerate")
def _enumerate(c: Context, values: object, start: object = 0) -> object:
    return [tuple(pair) for pair in enumerate(iterate(c, values), c.whole(start, "start"))]


@function("builtins.zip", "itertools.izip")
def _zip(c: Context, *values: object) -> object:
    return [tuple(items) for items in zip(*(iterate(c, value) for value in values), strict=False)]


@function("builtins.reversed")
def _reversed(c: Context, values: object) -> object:
    return iterate(c, values)[::-1]


@function("builtins.list")
def _list(c: Context, values: object = ()) -> object:
    return iterate(c, values)


@function("builtins.tuple")
def _tuple(c: Context, values: object = ()) -> object:
    return tuple(iterate(c, values))


@function("builtins.set", "builtins.frozenset")
def _set(c: Context, values: object = ()) -> object:
    return {key_of(c, value) for value in iterate(c, values)}


@function("builtins.dict", "collections.OrderedDict")
def _dict(c: Context, /, *given: object, **keywords: object) -> object:
    values: object = given[0] if given else ()
    if len(given) > 1:
        c.fail("a dictionary of several values is not known")
    if isinstance(values, dict):
        return {**values, **keywords}
    pairs = [iterate(c, pair) for pair in iterate(c, values)]
    if any(len(pair) != 2 for pair in pairs):
        c.fail("a dictionary of these is not known")
    keys = [key_of(c, pair[0]) for pair in pairs]
    made: dict[object, object] = dict(zip(keys, [pair[1] for pair in pairs], strict=True))
    made.update(keywords)
    return made


class _NoOrder:
    """What stands in a sorted value and has no order, so that nothing may depend on it."""


def order_of(c: Context, value: object) -> Any:  # what Python compares, or refuses to
    """Returns what a value is sorted by: a number, a string, or a tuple of such and of what nothing is sorted by."""
    value = c.plain(value)
    if isinstance(value, tuple | list):
        return tuple(one if _is_scalar(one) else _NoOrder() for one in map(c.plain, value))
    if isinstance(value, Unknown):
        c.refuse(value)
    return value if isinstance(value, int | float | str) else _NoOrder()


@function("builtins.sorted")
def _sorted(c: Context, values: object, key: object = None, reverse: object = False) -> object:
    items = iterate(c, values)
    keys = [order_of(c, item if key is None else c.call(key, (item,), {})) for item in items]
    try:
        order = sorted(range(len(items)), key=keys.__getitem__, reverse=c.flag(reverse, "reverse"))
    except TypeError as error:
        c.fail(f"sorting these is not known: {error}")
    return [items[place] for place in order]


@function("builtins.map")
def _map(c: Context, called: object, *values: object) -> object:
    lists = [iterate(c, value) for value in values]
    return [c.call(called, items, {}) for items in zip(*lists, strict=False)]


@function("builtins.filter")
def _filter(c: Context, called: object, values: object) -> object:
    return [item for item in iterate(c, values) if truth(c, item if called is None else c.call(called, (item,), {}))]


@function("builtins.reduce", "functools.reduce")
def _reduce(c: Context, called: object, values: object, *start: object) -> object:
    items = [*start[:1], *iterate(c, values)]
    if not items:
        c.fail("reduce of nothing is not known")
    return functools.reduce(lambda one, other: c.call(called, (one, other), {}), items)


@function("builtins.type")
def _type(c: Context, value: object) -> object:
    return value.kind if isinstance(value, Instance) else c.unknown(f"the type of {c.spell(value)}")


@function("builtins.callable")
def _callable(c: Context, value: object) -> object:
    if isinstance(value, Unknown):
        return value
    return isinstance(value, Function | Bound | NativeFunction | NativeMethod | Class | Instance | Partial | type)


@function("builtins.sum")
def _sum(c: Context, values: object, start: object = 0) -> object:
    items = iterate(c, values)
    if any(isinstance(item, Tensor) for item in items):
        rest = [item for item in (*items, start) if not (isinstance(item, int) and item == 0)]
        return c.join(rest, "sum")
    if unknown := next((item for item in items if isinstance(item, Unknown)), None):
        return unknown
    return functools.reduce(lambda one, other: binary(c, ast.Add, one, other), items, start)


def _extremes(choose: Callable[[list[object]], object]) -> Callable[..., object]:
    def call(c: Context, *values: object) -> object:
        items = [c.plain(item) for item in (iterate(c, values[0]) if len(values) == 1 else values)]
        if any(isinstance(item, Unknown) for item in items):
            return next(item for item in items if isinstance(item, Unknown))
        if not items or not all(isinstance(item, int | float) for item in items):
            c.fail("the smallest or largest of these is not known")
        return choose(items)

    return call


function("builtins.min")(_extremes(min))  # type: ignore[arg-type]
function("builtins.max")(_extremes(max))  # type: ignore[arg-type]


@function("builtins.abs")
def _abs(c: Context, value: object) -> object:
    if isinstance(value, Tensor):
        return c.join([c.layer(value, ReLU()), c.layer(c.layer(value, Affine(-1.0)), ReLU())], "sum")
    return abs(c.whole(value, "the number")) if isinstance(value, int) else abs(c.real(value, "the number"))


@function("builtins.round")
def _round(c: Context, value: object, digits: object = None) -> object:
    return round(c.real(value, "the number"), None if digits is None else c.whole(digits, "digits"))


@function("builtins.int")
def _int(c: Context, value: object = 0) -> object:
    if isinstance(value, Traced | Batch | Unknown):
        return value
    if isinstance(value, float):
        return traced(int(value), "int", value, 0) if math.isfinite(value) else c.fail("an endless number")
    if isinstance(value, str) and not re.fullmatch(r"\s*[+-]?\d{1,18}\s*", value):
        c.fail(f"the number {value[:20]!r} is not known")
    return int(value) if isinstance(value, int | str) else c.whole(value, "the number")


@function("builtins.float")
def _float(c: Context, value: object = 0) -> object:
    return value if isinstance(value, Unknown) else c.real(value, "the number")


@function("builtins.bool")
def _bool(c: Context, value: object = False) -> object:
    return value if isinstance(value, Mode | Unknown) else truth(c, value)


@function("builtins.str")
def _str(c: Context, value: object = "") -> object:
    value = c.plain(value)
    return str(value) if isinstance(value, int | float | str) else c.unknown("a string of this")


@function("builtins.chr")
def _chr(c: Context, number: object) -> object:
    return chr(min(max(c.whole(number, "the number"), 0), 0x10FFFF))


@function("builtins.ord")
def _ord(c: Context, letter: object) -> object:
    return ord(letter) if isinstance(letter, str) and len(letter) == 1 else c.unknown("the number of this")


@function("builtins.divmod")
def _divmod(c: Context, left: object, right: object) -> object:
    return binary(c, ast.FloorDiv, left, right), binary(c, ast.Mod, left, right)


@function("builtins.pow")
def _pow(c: Context, left: object, right: object) -> object:
    return binary(c, ast.Pow, left, right)


@function("builtins.any")
def _any(c: Context, values: object) -> object:
    return any(truth(c, value) for value in iterate(c, values))


@function("builtins.all")
def _all(c: Context, values: object) -> object:
    return all(truth(c, value) for value in iterate(c, values))


@function("builtins.object", "builtins.Exception", "builtins.ValueError", "builtins.RuntimeError")
def _plain_object(c: Context, /, *arguments: object, **keywords: object) -> object:
    return c.unknown("an object of Python's own")


@function("builtins.slice")
def _slice(c: Context, *bounds: object) -> object:
    return slice(*(None if bound is None else c.whole(bound, "a bound") for bound in bounds))


@function("builtins.print", "logging.info", "logging.debug", "logging.warning", "warnings.warn")
def _nothing(c: Context, /, *arguments: object, **keywords: object) -> object:
    return None


@function("functools.partial")
def _partial(c: Context, called: object, /, *arguments: object, **keywords: object) -> object:
    return Partial(called, arguments, keywords)


@function("itertools.chain")
def _chain(c: Context, *values: object) -> object:
    return list(itertools.chain.from_iterable(iterate(c, value) for value in values))


@function("itertools.product")
def _product(c: Context, *values: object) -> object:
    lists = [iterate(c, value) for value in values]
    if math.prod(len(items) for items in lists) > MOST_ITEMS:
        raise ExhaustedError("a product without end")
    return list(itertools.product(*lists))


@function("copy.copy")
def _copy(c: Context, value: object) -> object:
    if isinstance(value, list | dict | set):
        return value.copy()
    if isinstance(value, int | float | str | tuple):
        return value
    return c.unknown("a copy of this")


def _real_function(compute: Callable[[float], float]) -> Callable[..., object]:
    def call(c: Context, value: object) -> object:
        number = c.real(value, "the number")
        try:
            return compute(number)
        except (ValueError, OverflowError) as error:
            c.fail(f"of {number}: {error}")

    return call


for _name in ("sqrt", "ceil", "floor", "log", "log2", "log10", "exp"):
    function(f"math.{_name}", f"numpy.{_name}")(_real_function(getattr(math, _name)))
for _name in ("ascii_lowercase", "ascii_uppercase", "ascii_letters", "digits"):
    KNOWN[f"string.{_name}"] = getattr(string, _name)
KNOWN["math.pi"] = KNOWN["numpy.pi"] = math.pi


@function("numpy.prod", "math.prod")
def _prod(c: Context, values: object) -> object:
    start: object = 1
    return functools.reduce(lambda one, other: binary(c, ast.Mult, one, other), iterate(c, values), start)


@function("numpy.float32", "numpy.float64")
def _numpy_float(c: Context, value: object = 0) -> object:
    return value if isinstance(value, Unknown) else float(np.float32(c.real(value, "the number")))


@function("numpy.int32", "numpy.int64", "numpy.int")
def _numpy_int(c: Context, value: object = 0) -> object:
    return _int(c, value)


def truth(c: Context, value: object) -> bool:
    """Tells whether a value is true."""
    value = c.plain(value)
    match value:
        case Unknown():
            c.refuse(value)
        case Mode():
            return value.value
        case Tensor():
            c.fail("a condition on a value of the network is not known")
        case Instance() if value.native is not None and (items := value.native.items(c)) is not None:
            return bool(items)
        case None | bool() | int() | float() | str() | list() | tuple() | dict() | set() | range():
            return bool(value)
    return True
