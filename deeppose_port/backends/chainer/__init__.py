"""DeepPose in Chainer 7.8.1. Importing this makes Chainer run on today's packages; see `compat`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeppose_port.backends.chainer.networks import DeepPose, build, load
    from deeppose_port.backends.chainer.prediction import predictor
    from deeppose_port.backends.chainer.training import train

__all__ = ["DeepPose", "build", "load", "predictor", "train"]

_PLACES = {
    "DeepPose": "networks",
    "build": "networks",
    "load": "networks",
    "predictor": "prediction",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    # Lazily, so that `compat` can be had, and its mends made, without importing Chainer first.
    import importlib

    if name in _PLACES:
        return getattr(importlib.import_module(f"deeppose_port.backends.chainer.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
