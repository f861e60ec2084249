"""What functions with an argument `progress` call while they work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

#: Called with the amount done and the amount to do (0: not known).
ProgressCallback: TypeAlias = Callable[[int, int], None]
#: Called with what is done, and the same of it.
StepCallback: TypeAlias = Callable[[str, int, int], None]


def silent(*told: object) -> None:
    """Reports to nobody."""
