"""A table of layers as JSON, and back: what a file carries of a network that is in no family."""

from __future__ import annotations

import functools
import math
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import TypeAlias, get_args, get_type_hints

from converters.errors import DeepPoseError
from converters.hints import fits
from converters.networks.formula import FORMULAS, Formula
from converters.networks.layers import Layer

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_KINDS: dict[str, type[Layer]] = {kind.__name__: kind for kind in get_args(Layer) if kind is not Formula}
_MOST_LAYERS = 5000
_DEEPEST = 50
_LARGEST = 1 << 24
_LONGEST_NAME = 500
_MOST_NUMBERS = 4096
#: What the whole numbers of a layer are at least.
_SMALLEST = {
    **dict.fromkeys(("channels", "multiplier", "kernel", "stride", "groups", "dilation", "factor", "side", "n"), 1),
    **dict.fromkeys(("pad", "output_pad", "top", "bottom", "left", "right"), 0),
}


def describe(layers: tuple[Layer, ...]) -> list[Json]:
    """Returns a table as JSON-ready values: each layer its kind, and the fields that are not its kind's defaults."""
    return [_described(layer) for layer in layers]


def _described(layer: Layer) -> Json:
    said: dict[str, Json] = {"layer": type(layer).__name__}
    for field in fields(layer):
        value = getattr(layer, field.name)
        if value != field.default:
            said[field.name] = _json(value)
    return said


def _json(value: object) -> Json:
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return _described(typing.cast(Layer, value))


def layers_of(described: object) -> tuple[Layer, ...]:
    """Builds a table from `describe()`'s answer.

    Raises:
        DeepPoseError: It describes none, or one beyond all measure.
    """
    return _Reader().table(described, 0)


class _Reader:
    def __init__(self) -> None:
        self.count = 0

    def table(self, described: object, depth: int) -> tuple[Layer, ...]:
        if not isinstance(described, list | tuple) or depth > _DEEPEST:
            raise DeepPoseError(f"this does not describe a table of layers: {_shortly(described)}")
        return tuple(self._layer(one, depth) for one in described)

    def _layer(self, described: object, depth: int) -> Layer:
        self.count += 1
        if self.count > _MOST_LAYERS:
            raise DeepPoseError(f"this describes more than {_MOST_LAYERS} layers")
        kind = _kind(str(described.get("layer"))) if isinstance(described, Mapping) else None
        if kind is None or not isinstance(described, Mapping):
            raise DeepPoseError(f"this does not describe a layer: {_shortly(described)}")
        hints = _hints(kind.__name__)
        known = {field.name: field for field in fields(kind)}
        values = {str(name): value for name, value in described.items() if name != "layer"}
        if values.keys() - known.keys():
            raise DeepPoseError(f"a {kind.__name__} has no {', '.join(sorted(values.keys() - known.keys()))}")
        missing = [name for name, field in known.items() if _needed(field) and name not in values]
        if missing:
            raise DeepPoseError(f"a {kind.__name__} needs {', '.join(missing)}")
        return kind(**{name: self._value(value, hints[name], name, depth) for name, value in values.items()})

    def _value(self, value: object, kind: object, name: str, depth: int) -> typing.Any:
        if kind == tuple[Layer, ...]:
            return self.table(value, depth + 1)
        if kind == tuple[tuple[Layer, ...], ...]:
            if not isinstance(value, list | tuple):
                raise DeepPoseError(f"{name} is {_shortly(value)}")
            return tuple(self.table(branch, depth + 1) for branch in value)
        if isinstance(value, list):
            value = tuple(value[: _MOST_NUMBERS + 1])
        too_long = isinstance(value, tuple) and len(value) > (_MOST_NUMBERS if kind == tuple[float, ...] else _DEEPEST)
        if too_long or not fits(value, kind, _is_sound) or not _at_least(value, _SMALLEST.get(name, -_LARGEST)):
            raise DeepPoseError(f"{name} is {_shortly(value)}")
        return value


def _kind(name: str) -> type[Layer] | None:
    if name not in _KINDS and name not in FORMULAS:
        from converters.networks import formulas as formulas  # they register themselves; few networks have one
    return _KINDS.get(name) or FORMULAS.get(name)


@functools.cache
def _hints(kind: str) -> dict[str, object]:
    return get_type_hints(_kind(kind))


def _needed(field: Field[object]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _is_sound(value: object, kind: type) -> bool:
    """Tells whether a plain value is of a kind, and of a sound size."""
    if kind is str:
        return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME
    if kind is int:
        return isinstance(value, int) and -_LARGEST <= value <= _LARGEST
    return isinstance(value, int | float) and math.isfinite(value)


def _at_least(value: object, smallest: int) -> bool:
    sizes = value if isinstance(value, tuple) else (value,)
    return all(size >= smallest for size in sizes if isinstance(size, int))


def _shortly(value: object) -> str:
    if isinstance(value, str):
        return repr(value[:80])
    return repr(value) if isinstance(value, bool | int | float | None) else f"a {type(value).__name__}"
