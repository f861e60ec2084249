"""Words and numbers, made fit to be shown."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable
from pathlib import Path

from converters.errors import printable as shown

__all__ = ["cell_of", "counted", "csv_text", "finite", "shown"]


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun in the singular or plural."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def finite(value: float | None, digits: int | None = None) -> float | None:
    """Returns a number as JSON has it, with so many decimals if that is said; None for what is not finite."""
    if value is None or not math.isfinite(value):
        return None
    return float(value) if digits is None else round(float(value), digits)


def cell_of(path: str | Path) -> str:
    """Returns a file's name as a CSV has it: one that begins with `=`, `+`, `-` or `@` would be taken for a formula."""
    text = str(path)
    return os.path.join(os.curdir, text) if text[:1] in "=+-@" else text


def csv_text(header: list[str], rows: Iterable[list[str]]) -> str:
    """Returns a table as CSV."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    return text.getvalue()
