"""What runs an ONNX graph: ONNX Runtime, or OpenVINO where that is installed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import onnx

from deeppose_port.backends import BackendError
from deeppose_port.backends.devices import gpu_indices
from deeppose_port.data.arrays import Float32Array

Values: TypeAlias = Mapping[str, Float32Array]
#: A graph that is ready to run: its outputs by name, of its inputs by name.
Session: TypeAlias = Callable[[Values], dict[str, Float32Array]]
#: Makes a session of a graph, on a device.
Engine: TypeAlias = Callable[[onnx.ModelProto, str], Session]


def onnxruntime(model: onnx.ModelProto, device: str) -> Session:
    """Makes a session of ONNX Runtime, in full float32 precision.

    Raises:
        BackendError: It is not installed, or cannot use that device here.
    """
    import onnxruntime as runtime  # type: ignore[import-untyped]

    indices = gpu_indices(device)
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors, which it raises too
    # Threads that spin between calls take the processor from those that make the next batch.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads := os.environ.get("OMP_NUM_THREADS"):
        options.intra_op_num_threads = int(threads)
    providers: list[str | tuple[str, dict[str, int]]] = ["CPUExecutionProvider"]
    if indices:
        if "CUDAExecutionProvider" not in runtime.get_available_providers():
            raise BackendError(f"ONNX Runtime cannot use {device}: pip install onnxruntime-gpu has the CUDA provider")
        # TensorFloat-32 keeps 10 bits: the outputs would not be those of the old network.
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": indices[0], "use_tf32": 0}))
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=providers)
    names = [output.name for output in session.get_outputs()]

    def run(values: Values) -> dict[str, Float32Array]:
        return dict(zip(names, session.run(names, dict(values)), strict=True))

    return run


def openvino(model: onnx.ModelProto, device: str) -> Session:
    """Makes a session of OpenVINO, in full float32 precision: it takes bfloat16 by itself where the processor has it.

    Raises:
        BackendError: It cannot use that device.
    """
    import openvino as runtime

    if gpu_indices(device):
        raise BackendError(f"OpenVINO has no {device}: take --device cpu, or --engine onnxruntime")
    options: dict[str, str | int] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads := os.environ.get("OMP_NUM_THREADS"):
        options["INFERENCE_NUM_THREADS"] = int(threads)
    core = runtime.Core()
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", options)
    outputs = [(output.get_any_name(), output) for output in compiled.outputs]

    def run(values: Values) -> dict[str, Float32Array]:
        answers = compiled(dict(values))
        return {name: np.asarray(answers[output]) for name, output in outputs}

    return run


#: The engines by name: the first is the one that is taken where none is named.
ENGINES: dict[str, Engine] = {"onnxruntime": onnxruntime, "openvino": openvino}


def installed() -> list[str]:
    """Returns the engines that are installed here."""
    return [name for name in ENGINES if importlib.util.find_spec(name) is not None]


def engine(name: str | None = None) -> Engine:
    """Returns an engine.

    Args:
        name: A key of `ENGINES`; None for the first that is installed.

    Raises:
        BackendError: There is none of that name, or it is not installed.
    """
    if name is not None and name not in ENGINES:
        raise BackendError(f"there is no engine {name!r}; there are {' and '.join(ENGINES)}")
    found = installed()
    if not found or (name is not None and name not in found):
        raise BackendError(f"{name or 'onnxruntime'} is not installed: pip install {name or 'onnxruntime'}")
    return ENGINES[name or found[0]]
