"""What torchrun tells the processes that it starts, in their environment."""

from __future__ import annotations

import os


def rank_and_size() -> tuple[int, int]:
    """Returns which process this is, from 0 on, and how many there are; the only one where torchrun started none."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    return (int(os.environ.get("RANK", "0")) if size > 1 else 0), size


def speaks() -> bool:
    """Tells whether this process is the one that writes and speaks, or alone."""
    return rank_and_size()[0] == 0


def own_gpu() -> str | None:
    """Returns the GPU of this process among those of its machine, as `cuda:N`; None where torchrun started none."""
    number = os.environ.get("LOCAL_RANK")
    return None if number is None else f"cuda:{int(number)}"
