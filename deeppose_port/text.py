"""Words and numbers, made fit to be shown."""

from __future__ import annotations

from converters.errors import printable as shown

__all__ = ["counted", "shown"]


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun in the singular or plural."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"
