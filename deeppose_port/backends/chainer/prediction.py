"""A network in evaluation mode: NumPy in, NumPy out."""

from __future__ import annotations

import numpy as np

from converters import Checkpoint
from deeppose_port.backends import Floats
from deeppose_port.backends.chainer import compat
from deeppose_port.backends.chainer.devices import usable_device
from deeppose_port.backends.chainer.networks import load

compat.install()

import chainer  # noqa: E402 - not before compat


class ChainerPredictor:
    """A checkpoint's network on one device.

    Attributes:
        network: The Chain.
        device: Where it is.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu") -> None:
        self.device = usable_device(device)
        self.network = load(checkpoint)
        self.network.to_device(self.device)

    def __call__(self, inputs: Floats) -> Floats:
        """Returns the outputs, (N, 2 * joints) float32, of (N, 3, H, W) float32 inputs."""
        batch = self.device.send(np.ascontiguousarray(inputs, dtype=np.float32))
        # Configuration is a thread's own: it has to be set where the network runs.
        with chainer.using_config("train", False), chainer.no_backprop_mode(), chainer.using_device(self.device):
            outputs = self.network(batch)
        result: Floats = chainer.backends.cuda.to_cpu(outputs.array)
        return result


def predictor(checkpoint: Checkpoint, device: str = "cpu") -> ChainerPredictor:
    """Loads a checkpoint's network onto a device, for evaluation.

    Args:
        checkpoint: Any checkpoint.
        device: `cpu`, `cuda` or `cuda:N`.

    Raises:
        BackendError: Chainer cannot use that device here.
    """
    return ChainerPredictor(checkpoint, device)
