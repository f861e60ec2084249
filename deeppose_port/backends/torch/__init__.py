"""DeepPose in PyTorch."""

from typing import TYPE_CHECKING

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
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
