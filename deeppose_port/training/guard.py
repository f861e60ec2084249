"""Nothing that is not finite reaches the weights: what becomes of a step whose loss or gradient is not."""

from __future__ import annotations

from deeppose_port.training.run import TrainingError


class Guard:
    """Ends a run at such a step, or counts it.

    Args:
        skips: Whether such steps are left out; a backend then has to undo what else they did.

    Attributes:
        skips: The same.
        skipped: How many were.
    """

    def __init__(self, skips: bool) -> None:
        self.skips = skips
        self.skipped = 0

    def refuse(self, culprit: str, iteration: int) -> None:
        """Ends the run, or counts the step.

        Args:
            culprit: What is not finite.
            iteration: The update that is not made.

        Raises:
            TrainingError: Such steps are not to be left out.
        """
        if not self.skips:
            raise TrainingError(
                f"iteration {iteration}: {culprit} is not finite; the weights are as before it and the last "
                "checkpoint is whole (a smaller learning rate may help; --nonfinite-gradients skip goes on without "
                "such steps)"
            )
        self.skipped += 1

    def summary(self) -> str | None:
        """Returns a sentence on the steps that were left out; None where none was."""
        if not self.skipped:
            return None
        return f"{self.skipped} steps with a loss or gradient that was not finite were left out"
