"""The policy for NaN and Inf.

What a number that is not finite becomes depends on what it was: a weight becomes 0, as if it were not there; a running
variance becomes 1, as if the channel were normal already, because some networks divide by its root with no eps. The
slots of an optimizer are repaired together: where a weight or one of its slots is not finite, all slots of that element
become 0, as before its first update. A second moment of 0 beside a first one that is not would throw the weight away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from converters.checkpoint import Array, Repair
from converters.errors import CheckpointError

#: `zero` makes every non-finite number 0 (a variance 1), `error` refuses the file, `keep` leaves them.
Policy = Literal["zero", "error", "keep"]
POLICIES: tuple[str, ...] = get_args(Policy)

_BLOCK = 1 << 20
#: So many channels of a variance are named.
MOST_NAMED = 8


def repair(tensors: Iterable[tuple[str, Array]], policy: str) -> tuple[Repair, ...]:
    """Counts the non-finite numbers of some arrays and, for `zero`, makes them 0 (a variance 1) in place.

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
        became = replacement(name)
        channels: list[int] = []
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
                block[~finite] = became
            if became:
                channels += (start + np.flatnonzero(~finite)[:MOST_NAMED]).tolist()
        if nan or inf:
            found.append(Repair(name, nan, inf, became if policy == "zero" else None, tuple(channels[:MOST_NAMED])))
    return tuple(found)


def replacement(name: str) -> float:
    """Returns what a number of a tensor becomes that is not finite."""
    return 1.0 if name.endswith(".running_var") else 0.0


def repair_slots(weights: Mapping[str, Array], slots: Mapping[str, Mapping[str, Array]]) -> int:
    """Makes all of an optimizer's slots 0, in place, where a weight or one of its slots is not finite.

    Args:
        weights: By canonical name, as they were read.
        slots: `{slot: {canonical name: array}}`, of the weights' shapes.

    Returns:
        How many elements of weights that were.
    """
    elements = 0
    for name in {name: None for arrays in slots.values() for name in arrays}:
        own = [arrays[name] for arrays in slots.values() if name in arrays]
        broken = ~np.isfinite(weights[name])
        for array in own:
            broken |= ~np.isfinite(array)
        if broken.any():
            elements += int(broken.sum())
            for array in own:
                array[broken & np.isfinite(array)] = 0  # the others are counted by `repair`
    return elements


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
