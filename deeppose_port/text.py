"""Words and numbers, made fit to be shown."""

from __future__ import annotations


def shown(text: object) -> str:
    """Returns a name from a file in printable characters: it must not write lines of its own, or turn one around."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun in the singular or plural."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"
