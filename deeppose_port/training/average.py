"""The running average of the weights, which is validated and saved, beside the weights that are trained.

It is Polyak's average with a decay, which grows from 0.18 with the updates so that the first weights are soon
forgotten: `min(decay, (1 + n) / (10 + n))` at update n, as TensorFlow's `ExponentialMovingAverage` has it. A
checkpoint's weights are the average; the trained weights and the count are in its trainer, so that the run goes on from
them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from converters import Checkpoint
from converters.checkpoint import Array

_TRAINED, _UPDATES = "average/trained/", "average/updates"


def decay_at(update: int, decay: float) -> float:
    """Returns the share of the average that stays at an update, counted from 1."""
    return min(decay, (1 + update) / (10 + update))


def stored(trained: Mapping[str, Array], updates: int) -> dict[str, Array]:
    """Returns what a checkpoint of an average holds beside it: the trained weights, and the updates behind it."""
    return {**{_TRAINED + name: array for name, array in trained.items()}, _UPDATES: np.array(updates, np.int64)}


def trained_of(checkpoint: Checkpoint) -> tuple[dict[str, Array], int] | None:
    """Returns the trained weights of a run whose checkpoints hold an average, and its count; None for other runs'."""
    found = {key.removeprefix(_TRAINED): array for key, array in checkpoint.trainer.items() if key.startswith(_TRAINED)}
    count = checkpoint.trainer.get(_UPDATES)
    if found.keys() != checkpoint.weights.keys() or count is None:
        return None
    return found, int(count)


def without(checkpoint: Checkpoint) -> Checkpoint:
    """Returns a checkpoint whose weights are those that were trained, if it held an average."""
    trained = trained_of(checkpoint)
    return checkpoint if trained is None else checkpoint.replace(weights=trained[0])
