"""A checkpoint's network as an ONNX file, for programs without this one."""

from __future__ import annotations

from collections import deque
from functools import partial
from pathlib import Path

import numpy as np

from converters import Checkpoint, CheckpointError
from deeppose_port.backends import BackendError
from deeppose_port.backends.onnx.engines import engine
from deeppose_port.backends.onnx.graph import INPUT, Program, model_of
from deeppose_port.backends.onnx.prediction import OnnxPredictor, predictor
from deeppose_port.backends.proof import refuse_other_answers
from deeppose_port.data.arrays import Float32Array

#: How many times what a change of one unit in the last place makes outputs may differ by.
_ROUNDINGS = 8


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

    def rounding(inputs: Float32Array, expected: Float32Array) -> float:
        nudged = np.abs(_layer_by_layer(network, inputs, nudged=True) - expected)
        return _ROUNDINGS * float(nudged.max(initial=0, where=np.isfinite(nudged)))

    refuse_other_answers(
        checkpoint,
        partial(_layer_by_layer, network),
        lambda inputs: written({INPUT: inputs})[answers],
        rounding,
    )


def _layer_by_layer(network: OnnxPredictor, inputs: Float32Array, nudged: bool = False) -> Float32Array:
    """Returns a network's outputs, each of whose layers is run by itself."""
    ((_, outputs),) = deque(network.activations(inputs, nudged), maxlen=1)
    return outputs
