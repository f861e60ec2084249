"""Folds keys into patterns, for messages and tables."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from itertools import pairwise

_NUMBER = re.compile(r"(\d{1,9})")
_MOST_NUMBERS = 8  # in one name; no layer has more than four


def fold(keys: Iterable[str], most: int = 6) -> str:
    """Folds keys into patterns: what differs only in numbers or in the last part becomes one.

    Example:
        >>> fold(["fc6/W", "fc6/b", "fc7/W", "fc7/b"])
        'fc{6,7}/{W,b}'
    """
    patterns = list(fold_groups(keys))
    if len(patterns) > most:
        return ", ".join(patterns[:most]) + f" and {len(patterns) - most} more patterns"
    return ", ".join(patterns)


def fold_groups(keys: Iterable[str]) -> dict[str, list[str]]:
    """Returns `{pattern: the keys that it stands for}`; see `fold`."""
    ends: dict[str, list[str]] = {}
    for key in keys:
        cut = max(key.rfind("/"), key.rfind(".")) + 1
        ends.setdefault(key[:cut], []).append(key[cut:])
    layers: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for layer, parts in ends.items():
        layers.setdefault((_NUMBER.sub("#", layer), tuple(sorted(parts))), []).append(layer)
    groups = {}
    for (_, names), members in layers.items():
        end = names[0] if len(names) == 1 else "{" + ",".join(names) + "}"
        for pattern, folded in _fold_numbers(members).items():
            groups[pattern + end] = [layer + name for layer in folded for name in names]
    return groups


def _fold_numbers(members: list[str]) -> dict[str, list[str]]:
    """Folds strings that are alike but for their numbers, only where the pattern stands for exactly these."""
    pieces = [_NUMBER.split(member) for member in members]
    if len(members) == 1 or len(pieces[0]) > 2 * _MOST_NUMBERS + 1:
        return {member: [member] for member in members}
    columns = [
        sorted({piece[i] for piece in pieces}, key=lambda number: (int(number), number))
        for i in range(1, len(pieces[0]), 2)
    ]
    if math.prod(map(len, columns)) != len(members):
        varying = next(i for i, column in enumerate(columns) if len(column) > 1)
        parts: dict[str, list[str]] = {}
        for member, piece in zip(members, pieces, strict=True):
            parts.setdefault(piece[2 * varying + 1], []).append(member)
        return {pattern: group for part in parts.values() for pattern, group in _fold_numbers(part).items()}
    template = list(pieces[0])
    for i, column in enumerate(columns):
        if len(column) > 1:
            run = all(int(following) - int(number) == 1 for number, following in pairwise(column))
            span = f"{column[0]}..{column[-1]}" if run and len(column) > 2 else ",".join(column)
            template[2 * i + 1] = "{" + span + "}"
    return {"".join(template): members}
