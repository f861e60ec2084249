"""DeepPose in PyTorch."""

from deeppose_port.backends.torch.networks import DeepPose, build, load
from deeppose_port.backends.torch.prediction import predictor

__all__ = ["DeepPose", "build", "load", "predictor"]
