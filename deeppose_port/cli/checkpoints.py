"""How the commands put a checkpoint's parts into words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deeppose_port.text import counted

if TYPE_CHECKING:
    from converters import Source


def is_assumed(source: Source) -> bool:
    """Tells whether nothing says who wrote a file."""
    return source.writer_told_by == "assumed"


def assumed_writers(count: int) -> str:
    """Says of how many files nothing says who wrote them."""
    return f"{counted(count, 'writer')} assumed: override with --writer chainer-X.Y.Z"


def writer(source: Source) -> str:
    """Says who wrote a file, and whether that is assumed."""
    return f"{source.writer} (assumed)" if is_assumed(source) else source.writer
