"""Optimizers with Chainer's exact update rules, so that a run goes on in PyTorch as it would have in Chainer.

Each is a `torch.optim.Optimizer` whose step runs over all tensors of a group at once (`torch._foreach_*`), and whose
state has Chainer's names for its slots. Source of the rules: Chainer 1.13.0 and 7.8.1, whose numbers they reproduce.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, overload

import torch
from torch import Tensor

from converters.checkpoint import Array
from converters.errors import DeepPoseError

#: Of a group of parameters.
_Hyperparameters = Mapping[str, float]
Parameters = Iterable[Tensor] | Iterable[dict[str, object]]

# PyTorch gives sqrt to MKL, which chooses its kernel in the first call; where that comes from several threads at once,
# it may be one of 11 bits (https://github.com/pytorch/pytorch/issues/188792).
torch.sqrt(torch.ones(1))


class _Due(NamedTuple):
    """Parameters that are due for an update.

    Attributes:
        how: The hyper-parameters of their group.
        steps: The updates of each, this one among them.
        parameters: They themselves.
        gradients: Theirs, with the decay of the weights.
        slots: Their state, a list for each slot.
    """

    how: _Hyperparameters
    steps: list[int]
    parameters: list[Tensor]
    gradients: list[Tensor]
    slots: list[list[Tensor]]


class ChainerOptimizer(torch.optim.Optimizer):
    """What they have in common: weight decay, counting, and state under Chainer's names."""

    #: Chainer's names of the state that each parameter has.
    slots: ClassVar[tuple[str, ...]] = ()
    #: The algorithm's name in checkpoints.
    algorithm: ClassVar[str] = ""

    def __init__(self, parameters: Parameters, lr: float, weight_decay: float, **defaults: float) -> None:
        if not lr > 0:
            raise DeepPoseError(f"lr is {lr}; it has to be positive")
        if not weight_decay >= 0:
            raise DeepPoseError(f"weight_decay is {weight_decay}; it cannot be negative")
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, **defaults})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Makes one update.

        Args:
            closure: Computes the loss anew, with gradients.

        Returns:
            The closure's loss, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            state = [self._state(p) for p in parameters]
            for entry in state:
                entry["step"] += 1
            gradients = self._decayed(group, parameters, [p.grad for p in parameters])
            slots = [[entry[slot] for entry in state] for slot in self.slots]
            self._update(_Due(group, [entry["step"] for entry in state], parameters, gradients, slots))
        return loss

    def _decayed(self, group: _Hyperparameters, parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Returns the gradients with the decay of the weights: Chainer's hook, on every parameter there is."""
        if not group["weight_decay"]:
            return gradients
        return list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))

    def _update(self, due: _Due) -> None:
        """Updates parameters and their state in place."""
        raise NotImplementedError

    def _state(self, parameter: Tensor) -> dict[str, Any]:
        entry: dict[str, Any] = self.state[parameter]
        if not entry:
            entry["step"] = 0
            for slot in self.slots:
                entry[slot] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return entry

    def load_slots(self, named: Mapping[str, Tensor], slots: Mapping[str, Mapping[str, Array]], step: int) -> None:
        """Takes over a checkpoint's state.

        Args:
            named: The parameters by name.
            slots: `{slot: {name: array}}`.
            step: Number of updates done.
        """
        for name, parameter in named.items():
            entry = self._state(parameter)
            entry["step"] = step
            for slot in self.slots:
                entry[slot].copy_(torch.tensor(slots[slot][name]))

    def read_slots(self, named: Mapping[str, Tensor]) -> dict[str, dict[str, Array]]:
        """Returns `{slot: {name: array}}` of the parameters, zeros for those that were never updated."""
        entries = {name: self._state(parameter) for name, parameter in named.items()}
        return {
            slot: {name: entry[slot].detach().cpu().contiguous().numpy().copy() for name, entry in entries.items()}
            for slot in self.slots
        }


class Adam(ChainerOptimizer):
    """Adam as Chainer has it: `p -= lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps)`.

    `torch.optim.Adam` adds eps after the bias correction of v, which makes it larger by `1 / sqrt(1 - beta2^t)`: where
    gradients are tiny its first step differs by a third. The moments are accumulated as `m += (1 - beta1) (g - m)` and
    `v += (1 - beta2) (g * g - v)`, so that an overflow goes the way it goes in Chainer.
    """

    slots = ("m", "v")
    algorithm = "adam"

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay, beta1=beta1, beta2=beta2, eps=eps)

    def _update(self, due: _Due) -> None:
        how, (first, second) = due.how, due.slots
        beta1, beta2 = how["beta1"], how["beta2"]
        torch._foreach_lerp_(first, due.gradients, 1 - beta1)
        squares = torch._foreach_mul(due.gradients, due.gradients)
        torch._foreach_lerp_(second, squares, 1 - beta2)
        roots = _roots(second, squares)
        torch._foreach_add_(roots, how["eps"])
        rates = [-how["lr"] * (1 - beta2**step) ** 0.5 / (1 - beta1**step) for step in due.steps]
        torch._foreach_addcdiv_(due.parameters, first, roots, rates)


class AdamW(Adam):
    """Adam with decoupled weight decay, as `torch.optim.AdamW` has it, on tensors of more than one dimension alone.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", with eps after the bias correction of v.
    """

    algorithm = "adamw"

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, lr, beta1, beta2, eps, weight_decay)

    def _decayed(self, group: _Hyperparameters, parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        shrinking = [parameter for parameter in parameters if parameter.ndim > 1]
        if group["weight_decay"] and shrinking:
            torch._foreach_mul_(shrinking, 1 - group["lr"] * group["weight_decay"])
        return gradients

    def _update(self, due: _Due) -> None:
        how, (first, second) = due.how, due.slots
        beta1, beta2 = how["beta1"], how["beta2"]
        torch._foreach_lerp_(first, due.gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, due.gradients, due.gradients, 1 - beta2)
        roots = list(torch._foreach_sqrt(second))
        torch._foreach_div_(roots, [(1 - beta2**step) ** 0.5 for step in due.steps])
        torch._foreach_add_(roots, how["eps"])
        rates = [-how["lr"] / (1 - beta1**step) for step in due.steps]
        torch._foreach_addcdiv_(due.parameters, first, roots, rates)


def _roots(tensors: list[Tensor], memory: Iterable[Tensor]) -> list[Tensor]:
    """Returns square roots; on a CPU in memory that is done with, since new memory takes as long as the roots."""
    if tensors[0].device.type != "cpu":
        return list(torch._foreach_sqrt(tensors))
    return [torch.sqrt(tensor, out=out) for tensor, out in zip(tensors, memory, strict=True)]


class MomentumSGD(ChainerOptimizer):
    """Momentum SGD as Chainer has it: `v = momentum * v - lr * g; p += v`.

    The velocity contains the learning rate and the sign; `torch.optim.SGD` multiplies its whole buffer with the present
    learning rate instead, which differs from the update on at which the rate changes.
    """

    slots = ("v",)
    algorithm = "momentumsgd"

    def __init__(
        self, parameters: Parameters, lr: float = 0.01, momentum: float = 0.9, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, lr, weight_decay, momentum=momentum)

    def _update(self, due: _Due) -> None:
        (velocity,) = due.slots
        torch._foreach_mul_(velocity, due.how["momentum"])
        torch._foreach_add_(velocity, due.gradients, alpha=-due.how["lr"])
        torch._foreach_add_(due.parameters, velocity)


class AdaGrad(ChainerOptimizer):
    """AdaGrad as Chainer has it: `h += g²; p -= lr * g / (sqrt(h) + eps)` with eps 1e-8.

    `torch.optim.Adagrad` has an eps of 1e-10 by default.
    """

    slots = ("h",)
    algorithm = "adagrad"

    def __init__(self, parameters: Parameters, lr: float = 0.01, eps: float = 1e-8, weight_decay: float = 0.0) -> None:
        super().__init__(parameters, lr, weight_decay, eps=eps)

    def _update(self, due: _Due) -> None:
        (sums,) = due.slots
        torch._foreach_addcmul_(sums, due.gradients, due.gradients)
        _divide(due, sums)


class RMSprop(ChainerOptimizer):
    """RMSprop as Chainer has it: `ms = alpha * ms + (1 - alpha) g²; p -= lr * g / (sqrt(ms) + eps)`.

    With alpha 0.99 and eps 1e-8 this is `torch.optim.RMSprop`'s rule too; the name of the state differs.
    """

    slots = ("ms",)
    algorithm = "rmsprop"

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay, alpha=alpha, eps=eps)

    def _update(self, due: _Due) -> None:
        (means,) = due.slots
        torch._foreach_mul_(means, due.how["alpha"])
        torch._foreach_addcmul_(means, due.gradients, due.gradients, value=1 - due.how["alpha"])
        _divide(due, means)


def _divide(due: _Due, squares: list[Tensor]) -> None:
    """`p -= lr * g / (sqrt(squares) + eps)`."""
    roots = torch._foreach_sqrt(squares)
    torch._foreach_add_(roots, due.how["eps"])
    torch._foreach_addcdiv_(due.parameters, due.gradients, roots, value=-due.how["lr"])


OPTIMIZERS: dict[str, type[ChainerOptimizer]] = {o.algorithm: o for o in (Adam, AdamW, MomentumSGD, AdaGrad, RMSprop)}
