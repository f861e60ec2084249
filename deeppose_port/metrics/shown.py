"""The numbers of metrics as they are shown, with their units."""

from __future__ import annotations

import math

NOTHING = "\N{EN DASH}"
"""Where there is no number."""


def number(value: float, unit: str) -> str:
    """Returns a metric's number with its unit."""
    if math.isnan(value):
        return NOTHING
    if isinstance(value, int):
        return str(value)
    return f"{bare(value, unit)} {unit}".rstrip()


def bare(value: float, unit: str) -> str:
    """Returns a metric's number without its unit, for a column whose heading has it."""
    if math.isnan(value):
        return NOTHING
    if unit == "%":
        return f"{100 * value:.1f}"
    return f"{value:.2f}" if unit == "px" else f"{value:.5g}"


def difference(old: float, new: float, unit: str) -> str:
    """Returns how much a metric changed, with its sign; of per cent, in points.

    It has the decimals of the numbers; a change too small for them, or larger than a million, has two digits.
    """
    if math.isnan(new - old):
        return NOTHING
    if new == old:
        return "0"
    change = 100 * (new - old) if unit == "%" else new - old
    decimals = {"%": 1, "px": 2}.get(unit)
    is_seen = decimals is not None and 0.5 * 10**-decimals <= abs(change) < 1e6
    text = f"{change:+{f'.{decimals}f' if is_seen else '.2g'}}"
    if "e" in text:
        text = f"{change:+.1e}"  # 6.0e-06, not 6e-06 beside 5.9e-06
    return text.replace("-", "\N{MINUS SIGN}")


def scientific(value: float | None) -> str:
    """Returns a difference of networks in three digits, whatever its size; an exact 0 as such."""
    return NOTHING if value is None else "0" if value == 0 else f"{value:.2e}"


def error_of_person(pixels: float, box: float) -> tuple[str, str]:
    """Returns a person's mean error in pixels and in per cent of the box of the joints, or that there is no answer."""
    if not math.isfinite(pixels):
        return "no answer", ""
    return f"{pixels:.1f} px", f"{100 * pixels / box:.0f} %" if box > 0 else ""


def interval(ends: tuple[float, float], unit: str) -> str:
    """Returns a confidence interval with its unit; nothing where an end is not finite."""
    return " to ".join(number(end, unit) for end in ends) if all(map(math.isfinite, ends)) else NOTHING
