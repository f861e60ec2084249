"""A network in evaluation mode: NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from converters import Checkpoint
from converters.networks import Layer
from deeppose_port.backends import BackendError
from deeppose_port.backends.activations import Directions, activations
from deeppose_port.backends.torch.networks import load
from deeppose_port.data.arrays import Float32Array


class TorchPredictor:
    """A checkpoint's network on one device, in full float32 precision.

    Attributes:
        network: The module, in evaluation mode.
        device: Where it is.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu", relu_nan: str = "nan") -> None:
        self.device = usable_device(device)
        # Channels last is the faster memory format for these convolutions on CPUs and GPUs alike.
        self.network = load(checkpoint).to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.relu_nan = relu_nan

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What the network evaluates, in its order."""
        layers: tuple[Layer, ...] = self.network._layers
        return layers

    def __call__(self, inputs: Float32Array) -> Float32Array:
        """Returns the outputs, (N, 2 * joints) float32, of (N, 3, H, W) float32 inputs."""
        outputs: Float32Array = self._exactly(self.network, self._batch(inputs)).cpu().numpy()
        return outputs

    def activations(self, inputs: Float32Array, nudged: bool = False) -> Iterator[tuple[str, Float32Array]]:
        """Yields the output of each layer; see `Predictor`."""

        def run(layers: tuple[Layer, ...], x: Tensor, named: dict[str, Tensor]) -> Tensor:
            return self._exactly(lambda batch: self.network._run(layers, batch, named), x)

        directions = Directions()

        def nudge(x: Tensor) -> Tensor:
            return torch.nextafter(x, torch.from_numpy(directions(tuple(x.shape))).to(x))

        for name, output in activations(self.layers, run, self._batch(inputs), nudge if nudged else None):
            yield name, np.array(output.cpu().numpy(), order="C")  # a copy: ReLU works in place

    def _batch(self, inputs: Float32Array) -> Tensor:
        batch = torch.from_numpy(np.require(inputs, np.float32, ["C", "W"]))  # PyTorch warns of read-only ones
        return batch.to(self.device, memory_format=torch.channels_last)

    @staticmethod
    def _exactly(network: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        # TensorFloat-32, cuDNN's default, keeps 10 bits: the outputs would not be those of the old network.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return network(batch)


def predictor(checkpoint: Checkpoint, device: str = "cpu", relu_nan: str = "nan") -> TorchPredictor:
    """Loads a checkpoint's network onto a device, for evaluation.

    Args:
        checkpoint: Any checkpoint.
        device: `cpu`, `cuda` or `cuda:N`.
        relu_nan: `nan` or `zero`; see `Pose`.

    Raises:
        BackendError: PyTorch cannot use that device here.
    """
    return TorchPredictor(checkpoint, device, relu_nan)


def usable_device(name: str) -> torch.device:
    """Returns a device that PyTorch can use.

    Raises:
        BackendError: It is no device, or PyTorch cannot use it here; the message says why.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BackendError(f"{name!r} is no device; devices are cpu, cuda and cuda:N") from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            why = "this PyTorch is built without CUDA" if torch.version.cuda is None else f"it sees {count} GPUs"
            raise BackendError(f"PyTorch cannot use {name}: {why}; `deeppose-port doctor --device {name}` tells more")
    elif device.type != "cpu":
        raise BackendError(f"{name!r} is not supported; devices are cpu, cuda and cuda:N")
    return device
