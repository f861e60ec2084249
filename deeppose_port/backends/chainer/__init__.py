"""DeepPose in Chainer 7.8.1. Importing this makes Chainer run on today's packages; see `compat`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeppose_port.backends.chainer.networks import DeepPose, build, load
    from deeppose_port.backends.chainer.prediction import predictor

__all__ = ["DeepPose", "build", "load", "predictor"]


def __getattr__(name: str) -> Any:
    # Lazily, so that `compat` can be had, and its mends made, without importing Chainer first.
    import importlib

    if name in ("DeepPose", "build", "load"):
        return getattr(importlib.import_module("deeppose_port.backends.chainer.networks"), name)
    if name == "predictor":
        return importlib.import_module("deeppose_port.backends.chainer.prediction").predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
