"""DeepPose in PyTorch."""

import importlib
import os
from typing import TYPE_CHECKING

if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    # Read when PyTorch loads OpenMP. Threads that wait for each other by spinning take the processor from those that
    # they wait for: 2 threads on 2 busy cores answer six times as many pictures where they sleep. GNU's spin for some
    # 0.05 ms before, from one layer to the next: one that is to be woken for each may find its processor taken.
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="2000")

from deeppose_port.backends.torch.networks import DeepPose, build, load
from deeppose_port.backends.torch.prediction import predictor

if TYPE_CHECKING:
    from deeppose_port.backends.torch.exporting import export
    from deeppose_port.backends.torch.training import train

__all__ = ["DeepPose", "build", "export", "load", "predictor", "train"]


#: Where each name is that is not needed to evaluate.
_MODULES = {"export": "exporting", "processes": "distributed", "refuse_device": "distributed", "train": "training"}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
