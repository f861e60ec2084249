"""The `log` of a run: its losses and what else is told of them, an entry at a time, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

#: What a log tells of a moment of a run; None is JSON's null, in place of what is not finite.
Entry: TypeAlias = dict[str, float | None]

#: Beyond this a number is of nothing that a training counts or measures.
_LARGEST = 1e300


def read_log(path: Path) -> list[dict[str, object]]:
    """Reads a `log`; none if there is no such file, see `entries_of`."""
    try:
        return entries_of(path.read_text(encoding="utf-8", errors="replace"))  # of a disk that is damaged
    except OSError:
        return []


def entries_of(text: object) -> list[dict[str, object]]:
    """Returns the entries of a log: a JSON list as Chainer's LogReport writes it, or JSON a line.

    Of one that is damaged these are those before the damage, and of what is no text none.
    """
    if not isinstance(text, str | bytes):
        return []
    try:
        entries = json.loads(text)
        entries = entries if isinstance(entries, list) else [entries]
    except (ValueError, RecursionError):
        entries = []
        for line in text.splitlines():
            try:
                entries.append(json.loads(line))
            except (ValueError, RecursionError):
                break  # the line that a killed run was writing
    return [entry for entry in entries if isinstance(entry, dict)]


def numbers_of(entry: Mapping[str, object]) -> Entry:
    """Returns an entry of a log as JSON has it: other programs write NaN, and what is no number."""
    return {
        name: value if isinstance(value, int | float) and abs(value) < _LARGEST else None
        for name, value in entry.items()
    }
