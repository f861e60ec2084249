"""The running average of a network's weights, as `training.average` has it."""

from __future__ import annotations

import copy

import torch
from torch import nn

from deeppose_port.training.average import decay_at


class Average:
    """The running average of a network's state; what counts, as BatchNormalization's batches, is copied.

    Args:
        network: The network. The average begins as its present state.
        decay: The share of the average that stays, in the end.
        updates: Updates that it has behind it.

    Attributes:
        network: A network whose state is the average.
        updates: Updates that it has behind it.
    """

    def __init__(self, network: nn.Module, decay: float, updates: int = 0) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = decay
        self.updates = updates

    def load(self, network: nn.Module) -> None:
        """Takes a network's state for the average."""
        self.network.load_state_dict(network.state_dict())

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Goes on with a network's present state."""
        self.updates += 1
        pairs = list(zip(self.network.state_dict().values(), network.state_dict().values(), strict=True))
        moving = [pair for pair in pairs if pair[0].is_floating_point()]
        share = 1 - decay_at(self.updates, self.decay)
        torch._foreach_lerp_([old for old, _ in moving], [new for _, new in moving], share)
        for old, new in pairs:
            if not old.is_floating_point():
                old.copy_(new)
