"""DeepPose in Chainer 7.8.1. Importing this makes Chainer run on today's packages; see `compat`."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deeppose_port.backends.chainer.networks import DeepPose, build, load
    from deeppose_port.backends.chainer.prediction import predictor
    from deeppose_port.backends.chainer.training import train

__all__ = ["DeepPose", "build", "load", "predictor", "train"]


#: Where each name is: `compat` can be had, and its mends made, without importing Chainer first.
_MODULES = {
    "DeepPose": "networks",
    "build": "networks",
    "load": "networks",
    "predictor": "prediction",
    "refuse_device": "devices",
    "train": "training",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
