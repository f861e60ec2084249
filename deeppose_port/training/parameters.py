"""Parameters that options name by patterns, as `conv*`."""

from __future__ import annotations

import fnmatch
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
    found: set[str] = set()
    for pattern in patterns:
        matching = fnmatch.filter(names, pattern)
        if not matching:
            first = ", ".join(list(names)[:6])
            raise DeepPoseError(f"--freeze {pattern!r} stands for no parameter; there are {first}, …")
        found.update(matching)
    if found == set(names):
        raise DeepPoseError("--freeze leaves nothing to train")
    return found
