"""DeepPose in Chainer 7.8.1. Importing this makes Chainer run on today's packages; see `compat`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deeppose_port.backends.chainer.networks import DeepPose, build, load
    from deeppose_port.backends.chainer.prediction import predictor
    from deeppose_port.backends.chainer.training import train

__all__ = ["DeepPose", "build", "load", "predictor", "train"]


def __getattr__(name: str) -> object:
    # Lazily, so that `compat` can be had, and its mends made, without importing Chainer first.
    if name in ("DeepPose", "build", "load"):
        from deeppose_port.backends.chainer import networks

        return getattr(networks, name)
    if name == "predictor":
        from deeppose_port.backends.chainer.prediction import predictor

        return predictor
    if name == "refuse_device":
        from deeppose_port.backends.chainer.devices import refuse_device

        return refuse_device
    if name == "train":
        from deeppose_port.backends.chainer.training import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
