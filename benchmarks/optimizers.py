"""Seconds of an optimizer's step on the full-size AlexNet's parameters, over PyTorch's optimizer of the same name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.timing import Row, seconds_of, take_turns
from converters import Architecture
from converters.checkpoint import is_parameter
from deeppose_port.backends.torch.optimizers import AdaGrad, Adam, MomentumSGD, RMSprop

ROUNDS = 9
BOUND = 1 / 0.9

#: Name -> ours and PyTorch's, with the same hyper-parameters.
PAIRS: dict[str, tuple[Callable[[list[Tensor]], torch.optim.Optimizer], ...]] = {
    "Adam": (
        lambda parameters: Adam(parameters, lr=1e-3),
        lambda parameters: torch.optim.Adam(parameters, lr=1e-3, foreach=True),
    ),
    "MomentumSGD": (
        lambda parameters: MomentumSGD(parameters, lr=1e-2, weight_decay=5e-4),
        lambda parameters: torch.optim.SGD(parameters, lr=1e-2, momentum=0.9, weight_decay=5e-4, foreach=True),
    ),
    "AdaGrad": (
        lambda parameters: AdaGrad(parameters, lr=1e-2),
        lambda parameters: torch.optim.Adagrad(parameters, lr=1e-2, eps=1e-8, foreach=True),
    ),
    "RMSprop": (
        lambda parameters: RMSprop(parameters, lr=1e-2),
        lambda parameters: torch.optim.RMSprop(parameters, lr=1e-2, foreach=True),
    ),
}


def run() -> list[Row]:
    """Measures each pair in turns, on a GPU too where there is one; the best round of each counts."""
    devices = ["cpu"] + ["cuda"] * torch.cuda.is_available()
    return [_row(name, device) for device in devices for name in PAIRS]


def _row(name: str, device: str) -> Row:
    torch.manual_seed(0)
    shapes = Architecture.full_size("alexnet", joints=16).shapes
    gradients = [torch.randn(shape, device=device) * 1e-3 for key, shape in shapes.items() if is_parameter(key)]

    def stepper(make: Callable[[list[Tensor]], torch.optim.Optimizer]) -> Callable[[], float]:
        parameters: list[Tensor] = [torch.nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer = make(parameters)

        def step() -> None:
            optimizer.step()
            if device == "cuda":
                torch.cuda.synchronize()

        step()  # makes the state
        return lambda: seconds_of(step)

    mine, theirs = (1000 * min(times) for times in take_turns(ROUNDS, *map(stepper, PAIRS[name])))
    what = f"{name}, full-size AlexNet, {device}: milliseconds a step"
    return Row(what, mine, theirs, "ms", "ratio", "<=", BOUND)
