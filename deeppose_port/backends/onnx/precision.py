"""Networks in less than float32, on request: 8-bit whole numbers in ONNX Runtime, or bfloat16 in OpenVINO.

8 bits are ONNX Runtime's static quantisation: weights by channel, and each layer's maps in the range that they have on
some inputs. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", CVPR 2018.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from converters import Checkpoint
from deeppose_port.backends.devices import BackendError
from deeppose_port.backends.onnx.engines import onnxruntime, openvino, openvino_core
from deeppose_port.backends.onnx.graph import INPUT, Program, program_of
from deeppose_port.backends.onnx.prediction import OnnxPredictor
from deeppose_port.data.arrays import Float32Array


class ReducedPredictor(OnnxPredictor):
    """A checkpoint's network in less than float32, for inputs of its own size."""

    def __init__(self, checkpoint: Checkpoint, precision: str, inputs: Float32Array) -> None:
        name = {"int8": "onnxruntime", "bf16": "openvino"}[precision]
        super().__init__(checkpoint, "cpu", "nan", name)
        program = program_of(checkpoint, (inputs.shape[2], inputs.shape[3]))
        if precision == "int8":
            session = onnxruntime(Program(_quantized(program.whole(), inputs)), "cpu")
        else:
            session = openvino(program, "cpu", "bf16")
        self._sessions = {(inputs.shape[2], inputs.shape[3]): session}


class _Calibration:
    """Inputs one by one, as ONNX Runtime's quantisation asks for them."""

    def __init__(self, inputs: Float32Array) -> None:
        self._inputs: Iterator[Float32Array] = iter(inputs)

    def get_next(self) -> dict[str, Float32Array] | None:
        """Returns the next inputs by name; None at the end."""
        one = next(self._inputs, None)
        return None if one is None else {INPUT: one[None]}

    def __len__(self) -> int:
        return 0  # all of them together


def _quantized(model: bytes, inputs: Float32Array) -> bytes:
    import tempfile  # not needed for full precision, and with much behind it

    import onnx
    from onnxruntime import quantization  # type: ignore[import-untyped]

    logger = logging.getLogger()  # to which it gives advice on graphs that nobody folded
    was, logger.disabled = logger.disabled, True
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "quantized.onnx"
            quantization.quantize_static(
                onnx.load_from_string(model),
                str(path),
                _Calibration(inputs),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
            return path.read_bytes()
    finally:
        logger.disabled = was


def reduced(checkpoint: Checkpoint, precision: str, inputs: Float32Array) -> ReducedPredictor:
    """Makes a checkpoint's network ready in less than float32; see `Backend.reduced`.

    Raises:
        BackendError: What is needed is not installed, or this processor has no bfloat16.
    """
    if precision not in ("bf16", "int8"):
        raise BackendError(f"there is no precision {precision!r}; there are bf16 and int8")
    if any(not np.isfinite(array).all() for array in checkpoint.weights.values() if array.dtype.kind == "f"):
        raise BackendError("a network with NaN or Inf among its weights has no reduced precision")
    if (
        precision == "bf16"
        and importlib.util.find_spec("openvino") is not None
        and "BF16" not in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    ):
        raise BackendError("this processor has no bfloat16, so that it would not be faster; --precision int8 may be")
    return ReducedPredictor(checkpoint, precision, inputs)
