"""The running average of a network's weights, as `training.average` has it."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np

from deeppose_port.backends.chainer import compat
from deeppose_port.training.average import decay_at

compat.install()

import chainer  # noqa: E402 - not before compat
from chainer.types import NdArray  # noqa: E402 - NumPy's or CuPy's

from deeppose_port.backends.chainer.networks import DeepPose  # noqa: E402


class Average:
    """The running average of a network's state; what counts, as BatchNormalization's batches, is copied.

    Args:
        network: A network of its own, whose state the average begins with.
        decay: The share of the average that stays, in the end.
        updates: Updates that it has behind it.

    Attributes:
        network: A network whose state is the average.
        updates: Updates that it has behind it.
    """

    def __init__(self, network: DeepPose, decay: float, updates: int = 0) -> None:
        self.network = copy.deepcopy(network)
        self.decay = decay
        self.updates = updates

    def update(self, network: DeepPose) -> None:
        """Goes on with a network's present state."""
        self.updates += 1
        share = np.float32(1 - decay_at(self.updates, self.decay))
        for old, new in zip(_parameters(self.network), _parameters(network), strict=True):
            old += share * (new - old)
        for mine, other in zip(self.network.links(), network.links(), strict=True):
            for name in sorted(mine._persistent):
                old, new = getattr(mine, name), getattr(other, name)
                if isinstance(old, chainer.get_array_types()) and old.dtype.kind == "f":
                    old += share * (new - old)
                else:
                    setattr(mine, name, copy.copy(new))


def _parameters(network: DeepPose) -> Iterator[NdArray]:
    for _, parameter in sorted(network.namedparams()):
        yield parameter.array
