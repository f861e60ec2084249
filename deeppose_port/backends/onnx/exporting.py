"""A checkpoint's network as an ONNX file, for programs without this one."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np

from converters import Checkpoint, CheckpointError
from deeppose_port.backends import BackendError
from deeppose_port.backends.onnx.engines import engine
from deeppose_port.backends.onnx.graph import INPUT, Program, model_of
from deeppose_port.backends.onnx.prediction import OnnxPredictor, predictor
from deeppose_port.data.arrays import Float32Array

#: What the outputs may differ by from the network's with every layer by itself, where they are at most 1.
TOLERANCE = 1e-5
#: Or by this many times what a change of one unit in the last place makes, where a network magnifies it.
_ROUNDINGS = 8
_BATCHES = (1, 3)


def export(checkpoint: Checkpoint, path: Path, format: str) -> None:
    """Writes a checkpoint's network as ONNX: `inputs` (batch, 3, H, W) float32 -> `joints` (batch, 2 * joints) float32.

    BatchNormalization is folded. What was written is run, and compared with the network whose every layer is a graph of
    its own, with nothing folded. The model's metadata_props say what the checkpoint is and how its input is made.

    Args:
        checkpoint: One whose layers ONNX has.
        path: An empty file.
        format: `onnx`.

    Raises:
        CheckpointError: No engine is installed, a layer has no ONNX, or the outputs are not the network's.
    """
    try:
        path.write_bytes(model_of(checkpoint).SerializeToString(deterministic=True))
        network, written = predictor(checkpoint), engine()(Program(path.read_bytes()), "cpu")
    except BackendError as error:
        raise CheckpointError(checkpoint.source.path, error.problem, error.advice) from error
    answers = checkpoint.architecture.answers
    for batch in _BATCHES:
        shape = (batch, 3, *checkpoint.preprocessing.shape)
        inputs = np.random.default_rng(batch).standard_normal(shape, np.float32)
        expected = _layer_by_layer(network, inputs)
        with np.errstate(invalid="ignore"):  # Inf less Inf
            difference = np.abs(written({INPUT: inputs})[answers] - expected)
        largest = float(np.abs(expected).max(initial=0, where=np.isfinite(expected)))
        if _agree(difference, expected, TOLERANCE * max(1, largest)):
            continue
        nudged = np.abs(_layer_by_layer(network, inputs, nudged=True) - expected)
        if not _agree(difference, expected, _ROUNDINGS * float(nudged.max(initial=0, where=np.isfinite(nudged)))):
            most = difference.max(initial=0, where=np.isfinite(difference))
            problem = f"what was written answers otherwise than the network, by up to {most:g}"
            raise CheckpointError(checkpoint.source.path, problem, "nothing was left behind")


def _layer_by_layer(network: OnnxPredictor, inputs: Float32Array, nudged: bool = False) -> Float32Array:
    """Returns a network's outputs, each of whose layers is run by itself."""
    ((_, outputs),) = deque(network.activations(inputs, nudged), maxlen=1)
    return outputs


def _agree(difference: Float32Array, expected: Float32Array, bound: float) -> bool:
    """Tells whether outputs are within a bound, and NaN and Inf where they are expected."""
    return bool((np.isnan(difference) == ~np.isfinite(expected)).all() and not (difference > bound).any())
