"""Whether values from JSON are what the type hints of fields say."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Literal, get_args, get_origin


def fits(value: object, hint: object, plain: Callable[[object, type], bool]) -> bool:
    """Tells whether a value is what a type hint says.

    Args:
        value: The value; a list may stand for a tuple.
        hint: Made of plain kinds by `tuple`, `Literal` and `|`.
        plain: Tells it of any other kind, where the value is no bool.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in parts
    if origin is types.UnionType:
        return any(fits(value, part, plain) for part in parts)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False
        parts = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        return len(value) == len(parts) and all(fits(*pair, plain) for pair in zip(value, parts, strict=True))
    if hint is types.NoneType:
        return value is None
    if hint is bool or isinstance(value, bool):
        return hint is bool and isinstance(value, bool)
    kind = origin or hint
    assert isinstance(kind, type)
    return plain(value, kind)
