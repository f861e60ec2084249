"""A network in evaluation mode: NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np

from converters import Checkpoint
from converters.networks import Layer
from deeppose_port.backends import refuse_foreign
from deeppose_port.backends.activations import Directions, activations
from deeppose_port.backends.chainer import compat
from deeppose_port.backends.chainer.devices import usable_device
from deeppose_port.backends.chainer.networks import DeepPose, load
from deeppose_port.backends.folding import folded
from deeppose_port.data.arrays import Float32Array, Inputs, Levels

compat.install()

import chainer  # noqa: E402 - not before compat


class ChainerPredictor:
    """A checkpoint's network on one device.

    Attributes:
        device: Where it is.
        by_level: Whether it looks the inputs' levels up on the device: a quarter of the bytes go to a GPU.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu", relu_nan: str = "nan") -> None:
        self.device = usable_device(device)
        self.by_level = self.device.xp is not np
        self._checkpoint, self._relu_nan = checkpoint, relu_nan
        # The emulation of an old engine's NaN needs every layer by itself.
        # What is folded is a table of its own.
        refuse_foreign("chainer", checkpoint.architecture, checkpoint.source.path)
        fast = folded(checkpoint) if relu_nan == "nan" else checkpoint
        self._fast = self.network if fast is checkpoint else self._placed(fast)

    @cached_property
    def network(self) -> DeepPose:
        """The network with every layer of its table: what is looked at."""
        return self._placed(self._checkpoint)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What the network evaluates, in its order."""
        return self._checkpoint.architecture.layers

    def __call__(self, inputs: Inputs) -> Float32Array:
        """Returns the outputs, (N, 2 * joints) float32, of (N, 3, H, W) float32 inputs."""
        outputs: Float32Array = chainer.backends.cuda.to_cpu(self._tested(self._fast, self._batch(inputs)).array)
        return outputs

    def activations(self, inputs: Inputs, nudged: bool = False) -> Iterator[tuple[str, Float32Array]]:
        """Yields the output of each layer; see `Predictor`."""

        def run(layers: tuple[Layer, ...], x: chainer.Variable, named: dict[str, chainer.Variable]) -> chainer.Variable:
            return self._tested(lambda batch: self.network._run(layers, batch, named), x)

        directions = Directions()

        def nudge(x: chainer.Variable) -> chainer.Variable:
            with chainer.using_device(self.device):
                return chainer.as_variable(self.device.xp.nextafter(x.array, self.device.send(directions(x.shape))))

        for name, output in activations(self.layers, run, self._batch(inputs), nudge if nudged else None):
            yield name, np.array(chainer.backends.cuda.to_cpu(output.array), order="C")

    def _placed(self, checkpoint: Checkpoint) -> DeepPose:
        network = load(checkpoint)
        network.relu_nan = self._relu_nan
        network.to_device(self.device)
        return network

    def _batch(self, inputs: Inputs) -> chainer.Variable:
        if isinstance(inputs, Levels):
            pixels, tables = self.device.send((inputs.pixels, inputs.tables))
            with chainer.using_device(self.device):
                places = pixels.reshape(*tables.shape[:2], -1).astype(np.int64)
                found = self.device.xp.take_along_axis(tables, places, axis=2)
                return chainer.as_variable(found.reshape(pixels.shape))
        return chainer.as_variable(self.device.send(np.ascontiguousarray(inputs, dtype=np.float32)))

    def _tested(
        self, network: Callable[[chainer.Variable], chainer.Variable], batch: chainer.Variable
    ) -> chainer.Variable:
        # Configuration is a thread's own: it has to be set where the network runs.
        with chainer.using_config("train", False), chainer.no_backprop_mode(), chainer.using_device(self.device):
            return network(batch)


def predictor(checkpoint: Checkpoint, device: str = "cpu", relu_nan: str = "nan") -> ChainerPredictor:
    """Loads a checkpoint's network onto a device, for evaluation.

    Args:
        checkpoint: A checkpoint.
        device: `cpu`, `cuda` or `cuda:N`.
        relu_nan: `nan` or `zero`; see `Pose`.

    Raises:
        BackendError: Chainer cannot use that device here.
    """
    return ChainerPredictor(checkpoint, device, relu_nan)
