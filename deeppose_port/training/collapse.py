"""Whether a network looks at its pictures: how much its answers move from one to the next."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np

from deeppose_port.data.arrays import Float32Array, Float64Array, spaced
from deeppose_port.data.batches import Examples

#: Persons that are looked at, always the same.
PERSONS = 32
#: A network whose answers move less than this part of what the joints do answers one pose to every picture.
LEAST = 0.05
#: Updates before which nothing is said of it, and before which, or while the learning rate rises, no run is ended.
SAY_AFTER, END_AFTER = 50, 200


#: The outputs of a ReLU among those of all layers, by their names.
RELU = re.compile(r"(.*\.)?relu(_\d+)?")


def dead_units(activations: Iterable[tuple[str, Float32Array]]) -> int:
    """Counts the channels of ReLUs that are above 0 nowhere, in no picture.

    Args:
        activations: What each layer makes of some pictures, (N, C, …), with its name.
    """
    return sum(
        int((maps.reshape(*maps.shape[:2], -1).max(axis=(0, 2)) <= 0).sum())
        for name, maps in activations
        if RELU.fullmatch(name)
    )


class Movement:
    """Measures how much the answers to some persons differ, as a part of how much these persons' labels do.

    1 is as much as the labels; a network that answers the mean pose to everybody has 0.

    Args:
        dataset: The persons; evenly spaced ones are taken.

    Attributes:
        inputs: (N, 3, H, W) float32, those persons'.

    Raises:
        DatasetError: One of them cannot be made into an example.
    """

    def __init__(self, dataset: Examples) -> None:
        examples = []
        for person in spaced(len(dataset), PERSONS):
            with dataset.naming(person):
                examples.append(dataset[person])
        self.inputs = np.stack([inputs for inputs, _, _ in examples])
        labels = np.stack([labels for _, labels, _ in examples]).astype(np.float64)
        masks = np.stack([mask for _, _, mask in examples]) != 0
        self._labels = _spread(np.where(masks, labels, np.nan))

    def measure(self, answers: Callable[[Float32Array], Float32Array]) -> float:
        """Returns the movement of a network's answers; NaN where one person, or equal ones, tell nothing.

        Args:
            answers: (N, 3, H, W) float32 -> (N, 2 * J) float32, without dropout.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return _spread(answers(self.inputs).astype(np.float64)) / self._labels if self._labels > 0 else np.nan


def _spread(values: Float64Array) -> float:
    """Returns the root of the mean variance of (N, K) columns, over their numbers; 0 where there are none."""
    counted = np.isfinite(values)
    some = counted.sum(axis=0) > 0
    if not some.any():
        return 0.0
    return float(np.sqrt(np.mean(np.nanvar(values[:, some], axis=0))))
