"""Whether what was written for other programs answers as the network does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from converters import Checkpoint, CheckpointError
from deeppose_port.data.arrays import Float32Array

#: (N, 3, H, W) float32 -> a network's outputs.
Answers: TypeAlias = Callable[[Float32Array], Float32Array]
#: What outputs may differ by, where they are at most 1.
TOLERANCE = 1e-5
_BATCHES = (1, 3)


def refuse_other_answers(
    checkpoint: Checkpoint,
    network: Answers,
    written: Answers,
    rounding: Callable[[Float32Array, Float32Array], float],
    what: str = "what was written",
) -> None:
    """Refuses what was written of a network if it does not answer as that does, for batches of several sizes.

    Args:
        checkpoint: The network's.
        network: The network as it is run here.
        written: What was written.
        rounding: Inputs and the network's outputs -> what these may differ by where the network magnifies rounding.
        what: What was written, in words.

    Raises:
        CheckpointError: It answers otherwise.
    """
    for batch in _BATCHES:
        inputs = inputs_of(checkpoint, batch)
        expected = network(inputs)
        with np.errstate(invalid="ignore"):  # Inf less Inf
            difference = np.abs(written(inputs) - expected)
        largest = float(np.abs(expected).max(initial=0, where=np.isfinite(expected)))
        if _agree(difference, expected, TOLERANCE * max(1, largest)):
            continue
        if not _agree(difference, expected, rounding(inputs, expected)):
            most = difference.max(initial=0, where=np.isfinite(difference))
            problem = f"{what} answers otherwise than the network, by up to {most:g}"
            raise CheckpointError(checkpoint.source.path, problem, "nothing was left behind")


def inputs_of(checkpoint: Checkpoint, batch: int) -> Float32Array:
    """Returns inputs of the size that the network was trained on, the same ones in every call."""
    shape = (batch, 3, *checkpoint.preprocessing.shape)
    return np.random.default_rng(batch).standard_normal(shape, np.float32)


def _agree(difference: Float32Array, expected: Float32Array, bound: float) -> bool:
    """Tells whether outputs are within a bound, and NaN and Inf where they are expected."""
    return bool((np.isnan(difference) == ~np.isfinite(expected)).all() and not (difference > bound).any())
