"""A network in evaluation mode: NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from converters import Checkpoint
from converters.networks import Layer
from deeppose_port.backends import BackendError
from deeppose_port.backends.activations import Directions, activations
from deeppose_port.backends.folding import folded
from deeppose_port.backends.torch.fused import Fused, can_fuse
from deeppose_port.backends.torch.memory_format import MemoryFormat
from deeppose_port.backends.torch.networks import DeepPose, load
from deeppose_port.data.arrays import Float32Array, Inputs, Levels


class TorchPredictor:
    """A checkpoint's network on one device, in full float32 precision.

    Attributes:
        device: Where it is.
        by_level: Whether it looks the inputs' levels up on the device: a quarter of the bytes go to a GPU.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu", relu_nan: str = "nan") -> None:
        self.device = usable_device(device)
        self.by_level = self.device.type == "cuda"
        self._checkpoint, self._relu_nan = checkpoint, relu_nan
        # The emulation of an old engine's NaN needs every layer by itself.
        fast = folded(checkpoint) if relu_nan == "nan" else checkpoint
        self._fast = self.network if fast is checkpoint else self._placed(fast)
        can = self.device.type == "cpu" and relu_nan == "nan" and can_fuse(self._fast)
        self._fused = Fused(self._fast) if can else None
        self._format = MemoryFormat((self.layers, self.device))

    @cached_property
    def network(self) -> DeepPose:
        """The network with every layer of its table, in evaluation mode: what is looked at."""
        return self._placed(self._checkpoint)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What the network evaluates, in its order."""
        return self._checkpoint.architecture.layers

    def __call__(self, inputs: Inputs) -> Float32Array:
        """Returns the outputs of (N, 3, H, W) float32 inputs; see `Predictor`."""
        batch = self._batch(inputs)
        with torch.inference_mode(), full_precision():
            made: Tensor = self._format.run(self._fast, batch) if self._fused is None else self._fused(batch)
        outputs: Float32Array = made.cpu().numpy()
        return outputs

    def activations(self, inputs: Inputs, nudged: bool = False) -> Iterator[tuple[str, Float32Array]]:
        """Yields the output of each layer; see `Predictor`."""

        def run(layers: tuple[Layer, ...], x: Tensor, named: dict[str, Tensor]) -> Tensor:
            return self._exactly(lambda batch: self.network._run(layers, batch, named), x)

        directions = Directions()

        def nudge(x: Tensor) -> Tensor:
            return torch.nextafter(x, torch.from_numpy(directions(tuple(x.shape))).to(x))

        for name, output in activations(self.layers, run, self._batch(inputs), nudge if nudged else None):
            yield name, np.array(output.cpu().numpy(), order="C")  # a copy: ReLU works in place

    def _placed(self, checkpoint: Checkpoint) -> DeepPose:
        network = load(checkpoint).to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.relu_nan = self._relu_nan
        placed: DeepPose = network
        return placed

    def _batch(self, inputs: Inputs) -> Tensor:
        if isinstance(inputs, Levels):
            return looked_up(inputs, self.device).contiguous(memory_format=torch.channels_last)
        batch = torch.from_numpy(np.require(inputs, np.float32, ["C", "W"]))  # PyTorch warns of read-only ones
        return batch.to(self.device, memory_format=torch.channels_last)

    @staticmethod
    def _exactly(network: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        with torch.inference_mode(), full_precision():
            return network(batch)


#: Where PyTorch chooses how exact products are: the switches of each kind of device, with what they inherit from.
_PRECISION = (
    ("cudnn", "conv", "cudnn"),
    ("cudnn", "rnn", "cudnn"),  # which the old flag takes together with that of convolutions
    ("cuda", "matmul", "cudnn"),
    ("mkldnn", "conv", "mkldnn"),
    ("mkldnn", "matmul", "mkldnn"),
)


@contextmanager
def full_precision() -> Iterator[None]:
    """Computes products in float32, whatever the caller has chosen, and gives the choice back as it was.

    TensorFloat-32, cuDNN's default, keeps 10 bits, and bfloat16 7: the outputs would not be those of the old network.
    """
    switches: list[tuple[Any, Any]] = [
        (getattr(getattr(torch.backends, backend), operator, None), getattr(torch.backends, parent))
        for backend, operator, parent in _PRECISION
    ]
    if not all(hasattr(switch, "fp32_precision") for switch, _ in switches):  # PyTorch before 2.9
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
            yield
        return
    before = [switch.fp32_precision for switch, _ in switches]
    try:
        for switch, _ in switches:
            switch.fp32_precision = "ieee"
        yield
    finally:
        for (switch, parent), value in zip(switches, before, strict=True):
            # What it was may be what it inherits: then it goes on to follow that.
            switch.fp32_precision = "none" if value == parent.fp32_precision else value


def predictor(checkpoint: Checkpoint, device: str = "cpu", relu_nan: str = "nan") -> TorchPredictor:
    """Loads a checkpoint's network onto a device, for evaluation.

    Args:
        checkpoint: A checkpoint.
        device: `cpu`, `cuda` or `cuda:N`.
        relu_nan: `nan` or `zero`; see `Pose`.

    Raises:
        BackendError: PyTorch cannot use that device here.
    """
    return TorchPredictor(checkpoint, device, relu_nan)


def looked_up(levels: Levels, device: torch.device) -> Tensor:
    """Copies levels to a device and looks them up there: the same bits as `np.asarray(levels)`."""
    pixels, tables = (torch.from_numpy(array).to(device) for array in (levels.pixels, levels.tables))
    return tables.gather(2, pixels.flatten(2).long()).view(pixels.shape)


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
