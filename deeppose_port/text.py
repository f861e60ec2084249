"""Text from files, made fit to be shown."""

from __future__ import annotations


def shown(text: object) -> str:
    """Returns a name from a file in printable characters: it must not write lines of its own, or turn one around."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
