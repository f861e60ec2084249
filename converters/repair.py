"""The policy for NaN and Inf."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from converters.checkpoint import Array, Repair
from converters.errors import CheckpointError

#: `zero` makes every non-finite number 0, `error` refuses the file, `keep` leaves them.
Policy = Literal["zero", "error", "keep"]
POLICIES: tuple[str, ...] = get_args(Policy)

_BLOCK = 1 << 20


def repair(tensors: Iterable[tuple[str, Array]], policy: str) -> tuple[Repair, ...]:
    """Counts the non-finite numbers of some arrays and, for `zero`, makes them 0 in place.

    Args:
        tensors: Names and arrays. An array without non-finite numbers is not touched.
        policy: `zero`, `error` or `keep`; refusing is left to the caller, who can name the file.

    Returns:
        One Repair for each array that has any.
    """
    found = []
    for name, array in tensors:
        if array.dtype.kind != "f":
            continue
        flat = array.reshape(-1)
        nan = inf = 0
        for start in range(0, flat.size, _BLOCK):  # in blocks: a mask of a whole layer is large
            block = flat[start : start + _BLOCK]
            finite = np.isfinite(block)
            if finite.all():
                continue
            block_nan = int(np.isnan(block).sum())
            nan += block_nan
            inf += int(block.size - finite.sum()) - block_nan
            if policy == "zero":
                block[~finite] = 0
        if nan or inf:
            found.append(Repair(name, nan, inf, became=0.0 if policy == "zero" else None))
    return tuple(found)


def refuse_nonfinite(path: Path, repairs: Sequence[Repair]) -> None:
    """Refuses a file whose tensors hold NaN or Inf.

    Raises:
        CheckpointError: There are any.
    """
    if repairs:
        counts = ", ".join(f"{r.tensor} {_count(r)}" for r in repairs[:5]) + (", …" if len(repairs) > 5 else "")
        problem = f"{len(repairs)} of its tensors hold NaN or Inf: {counts}"
        raise CheckpointError(path, problem, "--nonfinite zero makes them 0, --nonfinite keep leaves them")


def _count(found: Repair) -> str:
    return " and ".join(f"{n} {what}" for n, what in ((found.nan, "NaN"), (found.inf, "Inf")) if n)
