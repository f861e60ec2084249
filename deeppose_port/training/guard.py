"""Nothing that is not finite reaches the weights or a file: what becomes of a step whose loss or gradient is not."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from converters import Checkpoint
from deeppose_port.training.options import TrainingOptions
from deeppose_port.training.run import TrainingError

#: Algorithms that square the gradient.
_SQUARING = ("adam", "adamw", "adagrad", "rmsprop")
#: The largest number whose square is a float32.
LARGEST_ROOT = math.sqrt(float(np.finfo(np.float32).max))


class Guard:
    """Ends a run at such a step, or counts it.

    Args:
        skips: Whether such steps are left out; a backend then has to undo what else they did.
        most: The number of such steps in a row that ends the run nevertheless.
        squares: Whether the update squares the gradient, whose largest number is then 1.8e19.

    Attributes:
        skips: The same.
        skipped: How many were left out.
        first: The update that the first of them would have been; None without one.
    """

    def __init__(self, skips: bool = False, most: int = 20, squares: bool = False) -> None:
        self.skips = skips
        self.most = most
        self.largest = LARGEST_ROOT if squares else float(np.finfo(np.float32).max)
        self.skipped = 0
        self.first: int | None = None
        self._in_a_row = 0

    @classmethod
    def of(cls, options: TrainingOptions, algorithm: str) -> Guard:
        """Makes the guard that a run's options ask for."""
        squares = algorithm in _SQUARING or options.grad_clip is not None  # whose norm is a sum of squares
        return cls(options.nonfinite_gradients == "skip", options.nonfinite_limit, squares)

    def culprit(self, loss: float, largest: Iterable[tuple[str, float]]) -> str | None:
        """Returns what is not finite, in words; None where all is well.

        Args:
            loss: Of the batch.
            largest: The largest number, by its size, of each parameter's gradient, with the parameter's name; NaN if
                one of its numbers is NaN. It is read no further than to the first culprit.
        """
        if not math.isfinite(loss):
            return "the loss"
        for name, value in largest:
            if not math.isfinite(value):
                return f"the gradient of {name}"
            if value > self.largest:
                return f"the square of the gradient of {name}"
        return None

    def passed(self) -> None:
        """Is told of a step that was made."""
        self._in_a_row = 0

    def refuse(self, culprit: str, iteration: int) -> str | None:
        """Ends the run, or counts the step.

        Args:
            culprit: What is not finite.
            iteration: The update that is not made.

        Returns:
            A sentence on the first step that is left out; None for others.

        Raises:
            TrainingError: Such steps are not to be left out, or there were too many in a row.
        """
        where = f"iteration {iteration}: {culprit} is not finite"
        if not self.skips:
            raise TrainingError(
                f"{where}; the weights are as before it and the last checkpoint is whole (a smaller learning rate may "
                "help; --nonfinite-gradients skip goes on without such steps)"
            )
        self.skipped += 1
        self.first = self.first or iteration
        self._in_a_row += 1
        if self._in_a_row >= self.most:
            raise TrainingError(
                f"{where}, as in the {self._in_a_row - 1} steps before it; the weights are as before these, and they "
                "will not come out of it (start anew with a smaller learning rate or --grad-clip; --nonfinite-limit "
                "says how many steps in a row may be left out)"
            )
        return f"{where}; the step is left out" if self.skipped == 1 else None

    def summary(self) -> str | None:
        """Returns a sentence on the steps that were left out; None where none was."""
        if not self.skipped:
            return None
        return f"{self.skipped} steps with a loss or gradient that was not finite were left out"


def refuse_nonfinite(checkpoint: Checkpoint) -> None:
    """Refuses to write what nobody could go on with.

    Raises:
        TrainingError: A number of the weights, or of the optimizer's state, is not finite.
    """
    for name, array in checkpoint.tensors():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            progress = checkpoint.progress
            where = "" if progress is None else f"iteration {progress.iteration}: "
            raise TrainingError(
                f"{where}{name} is no longer finite, so no checkpoint of it is written; the last one is whole (resume "
                "from it with a smaller learning rate or --grad-clip)"
            )
