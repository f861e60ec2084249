"""What following a source may cost, so that no file can hold a machine up or fill its memory."""

from __future__ import annotations

import time

from converters.networks.source.errors import ExhaustedError

#: Seconds that a file may take, all its classes together.
SECONDS = 1.5
#: The deepest that expressions and calls may stand in one another.
DEEPEST = 160
#: Items of a list, characters of a string, bits of a number, layers of a network.
MOST_ITEMS = 10_000
MOST_CHARACTERS = 2_000
MOST_BITS = 64
MOST_LAYERS = 5_000
_MOST_STEPS = 3_000_000


class Budget:
    """Counts what is done, and ends it where that is too much.

    Attributes:
        depth: How deep expressions and calls stand in one another now.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self.depth = 0
        self._seconds = seconds
        self._end = time.thread_time() + seconds
        self._steps = 0
        self._next = 0

    def spend(self, steps: int = 1) -> None:
        """Counts some steps.

        Raises:
            ExhaustedError: They are too many, or have taken too long.
        """
        self._steps += steps
        if self._steps >= self._next:
            self._next = self._steps + 500
            if self._steps > _MOST_STEPS or time.thread_time() > self._end:
                raise ExhaustedError(f"its loops and calls do not end within {self._seconds:g} seconds")

    def enter(self) -> None:
        """Goes one level deeper.

        Raises:
            ExhaustedError: That is too deep.
        """
        self.depth += 1
        if self.depth > DEEPEST:
            raise ExhaustedError("its calls or expressions stand too deep in one another")

    def leave(self) -> None:
        """Comes back."""
        self.depth -= 1


def bounded(value: object) -> object:
    """Returns a number, string or container that is of a sound size.

    Raises:
        ExhaustedError: It is larger than anything in a network's source.
    """
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise ExhaustedError(f"a whole number of {value.bit_length()} bits")
    if isinstance(value, str) and len(value) > MOST_CHARACTERS:
        raise ExhaustedError(f"a string of {len(value)} characters")
    if isinstance(value, list | tuple | dict | set) and len(value) > MOST_ITEMS:
        raise ExhaustedError(f"a {type(value).__name__} of {len(value)} items")
    return value
