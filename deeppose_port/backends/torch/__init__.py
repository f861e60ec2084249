"""DeepPose in PyTorch."""

import os
from typing import TYPE_CHECKING

if "GOMP_SPINCOUNT" not in os.environ:
    # Read when PyTorch loads OpenMP. Threads that wait for each other by spinning take the processor from those that
    # they wait for: 2 threads on 2 busy cores answered eight times as many pictures without.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from deeppose_port.backends.torch.networks import DeepPose, build, load
from deeppose_port.backends.torch.prediction import predictor

if TYPE_CHECKING:
    from deeppose_port.backends.torch.exporting import export
    from deeppose_port.backends.torch.training import train

__all__ = ["DeepPose", "build", "export", "load", "predictor", "train"]


def __getattr__(name: str) -> object:
    if name == "train":  # later: it is not needed to evaluate
        from deeppose_port.backends.torch.training import train

        return train
    if name == "export":
        from deeppose_port.backends.torch.exporting import export

        return export
    if name == "processes":
        from deeppose_port.backends.torch.distributed import processes

        return processes
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
