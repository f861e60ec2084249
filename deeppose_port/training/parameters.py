"""Parameters that options name by patterns, as `conv*`."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Collection, Sequence

from converters.errors import DeepPoseError


def frozen(names: Collection[str], patterns: Sequence[str]) -> set[str]:
    """Returns the parameters that are not trained.

    Args:
        names: Of all parameters, in the order of the layers.
        patterns: Of those to freeze.

    Raises:
        DeepPoseError: A pattern stands for none, or nothing is left to train.
    """
    found = {name for pattern in patterns for name in _matching(names, pattern, "--freeze")}
    if found == set(names):
        raise DeepPoseError("--freeze leaves nothing to train")
    return found


def scales_of(names: Collection[str], patterns: Sequence[str]) -> dict[str, float]:
    """Returns the factor on the learning rate of each parameter.

    Args:
        names: Of all parameters, in the order of the layers.
        patterns: `PATTERN=FACTOR` each; the last that stands for a parameter counts.

    Raises:
        DeepPoseError: One is not of that form, or stands for no parameter.
    """
    scales = dict.fromkeys(names, 1.0)
    for pattern, factor in scale_factors(patterns):
        scales |= dict.fromkeys(_matching(names, pattern, "--lr-scale"), factor)
    return scales


def scale_factors(patterns: Sequence[str]) -> list[tuple[str, float]]:
    """Parts `PATTERN=FACTOR` each.

    Raises:
        DeepPoseError: One is not of that form.
    """
    parts = []
    for text in patterns:
        pattern, _, number = text.rpartition("=")
        try:
            factor = float(number)
        except ValueError:
            factor = math.nan
        if not (pattern and 0 < factor < math.inf):
            raise DeepPoseError(f"--lr-scale {text!r} is not PATTERN=FACTOR, as 'conv*=0.1', with a positive factor")
        parts.append((pattern, factor))
    return parts


def _matching(names: Collection[str], pattern: str, option: str) -> list[str]:
    matching = fnmatch.filter(names, pattern)
    if not matching:
        first = ", ".join(list(names)[:6])
        raise DeepPoseError(f"{option} {pattern!r} stands for no parameter; there are {first}, …")
    return matching
