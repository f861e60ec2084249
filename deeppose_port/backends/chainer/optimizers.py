"""Chainer's optimizers of some hyper-parameters, with what Chainer's do not have."""

from __future__ import annotations

import math
from collections.abc import Mapping

from deeppose_port.backends.chainer import compat
from deeppose_port.training.hyperparameters import Hyperparameters

compat.install()

import chainer  # noqa: E402 - not before compat


class AdamW(chainer.optimizers.AdamW):  # type: ignore[misc]
    """Adam with decoupled weight decay on tensors of more than one dimension, as `torch.optim.AdamW` has it.

    Chainer's does not multiply the decay by the learning rate, and adds eps before the bias correction of v.

    Args:
        hyper: What it does.
    """

    def __init__(self, hyper: Hyperparameters) -> None:
        super().__init__(hyper.lr, hyper.beta1, hyper.beta2, hyper.eps)
        self.decay = hyper.weight_decay

    def update(self, lossfun: object = None, *arguments: object, **named: object) -> None:
        """Makes one update, with what each parameter's rule needs for it."""
        for parameter in self.target.params():
            rule = parameter.update_rule
            own, correction = rule.hyperparam, math.sqrt(1 - self.beta2 ** (rule.t + 1))
            own.eps = self.eps * correction
            own.weight_decay_rate = own.alpha * self.decay if parameter.ndim > 1 else 0.0
        super().update(lossfun, *arguments, **named)


def make_optimizer(hyper: Hyperparameters) -> chainer.Optimizer:
    """Returns the optimizer of some hyper-parameters."""
    match hyper.algorithm:
        case "adam":
            return chainer.optimizers.Adam(hyper.lr, hyper.beta1, hyper.beta2, hyper.eps)
        case "adamw":
            return AdamW(hyper)
        case "momentumsgd":
            return chainer.optimizers.MomentumSGD(hyper.lr, hyper.momentum)
        case "adagrad":
            return chainer.optimizers.AdaGrad(hyper.lr)
        case _:
            return chainer.optimizers.RMSprop(hyper.lr)


class Rates:
    """Sets the learning rate of an optimizer, and those of parameters that have a factor on it.

    Args:
        optimizer: Set up with its parameters.
        scales: Factors by the names that the optimizer's target has for its parameters, where they are not 1.
    """

    def __init__(self, optimizer: chainer.Optimizer, scales: Mapping[str, float] | None = None) -> None:
        self.optimizer = optimizer
        self.name = "alpha" if isinstance(optimizer, chainer.optimizers.Adam) else "lr"
        rules = {name: parameter.update_rule for name, parameter in optimizer.target.namedparams()}
        self.scaled = [(rules[name].hyperparam, scale) for name, scale in (scales or {}).items()]

    def set(self, rate: float) -> None:
        """Sets them."""
        setattr(self.optimizer, self.name, rate)
        for hyperparameters, scale in self.scaled:
            setattr(hyperparameters, self.name, rate * scale)
