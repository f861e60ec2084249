"""A network in evaluation mode on an engine for ONNX: NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from converters import Checkpoint
from converters.networks import Layer
from deeppose_port.backends.activations import Directions, activations
from deeppose_port.backends.devices import BackendError
from deeppose_port.backends.onnx.engines import Session, engine
from deeppose_port.backends.onnx.graph import INPUT, OUTPUT, part_of, program_of
from deeppose_port.data.arrays import Float32Array, Inputs


class OnnxPredictor:
    """A checkpoint's network on one device."""

    def __init__(self, checkpoint: Checkpoint, device: str, relu_nan: str, name: str | None) -> None:
        if relu_nan != "nan":
            raise BackendError("--relu-nan zero, the emulation of an old GPU, is done by --backend torch and chainer")
        self._checkpoint, self._device = checkpoint, device
        self._engine = engine(name)
        self._sessions: dict[tuple[int, int], Session] = {}
        if checkpoint.architecture.accepts(checkpoint.preprocessing.im_size):
            self._session(checkpoint.preprocessing.shape)  # at once, so that what cannot be done is said at once

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What the network evaluates, in its order."""
        return self._checkpoint.architecture.layers

    def __call__(self, inputs: Inputs) -> Float32Array:
        """Returns the outputs of (N, 3, H, W) float32 inputs; see `Predictor`."""
        height, width = inputs.shape[2:]
        outputs = self._session((height, width))({INPUT: np.ascontiguousarray(inputs, np.float32)})
        return outputs[self._checkpoint.architecture.answers]

    def activations(self, inputs: Inputs, nudged: bool = False) -> Iterator[tuple[str, Float32Array]]:
        """Yields the output of each layer, computed by a graph of its own with nothing folded; see `Predictor`."""
        directions = Directions()

        def nudge(x: Float32Array) -> Float32Array:
            return np.nextafter(x, directions(x.shape))

        start = np.ascontiguousarray(inputs, np.float32)
        yield from activations(self.layers, self._run, start, nudge if nudged else None)

    def _run(self, layers: tuple[Layer, ...], x: Float32Array, named: dict[str, Float32Array]) -> Float32Array:
        values = {INPUT: x, **named}
        shapes = {name: array.shape[1:] for name, array in values.items()}
        architecture, weights = self._checkpoint.architecture, self._checkpoint.weights
        program = part_of(architecture, weights, layers, shapes)
        outputs = self._engine(program, self._device)({name: values[name] for name in program.inputs})
        named.update((name, array) for name, array in outputs.items() if name != OUTPUT)
        return outputs[OUTPUT]

    def _session(self, shape: tuple[int, int]) -> Session:
        if shape not in self._sessions:
            self._sessions[shape] = self._engine(program_of(self._checkpoint, shape), self._device)
        return self._sessions[shape]


def predictor(
    checkpoint: Checkpoint, device: str = "cpu", relu_nan: str = "nan", engine: str | None = None
) -> OnnxPredictor:
    """Makes a checkpoint's network ready on an engine for ONNX.

    Args:
        checkpoint: One whose layers ONNX has.
        device: `cpu`, `cuda` or `cuda:N`.
        relu_nan: `nan`; see `Pose`.
        engine: A name of `engines.ENGINES`; None for the first that is installed.

    Raises:
        BackendError: No engine is installed, it cannot use that device, a layer has no ONNX, or `relu_nan` is `zero`.
    """
    return OnnxPredictor(checkpoint, device, relu_nan, engine)
