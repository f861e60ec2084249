"""What runs an ONNX graph: ONNX Runtime, or OpenVINO where that is installed."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from deeppose_port.backends import described, engine_named
from deeppose_port.backends.devices import BackendError, gpu_indices
from deeppose_port.backends.onnx.graph import Program
from deeppose_port.data.arrays import Float32Array

if TYPE_CHECKING:
    from openvino import Core

Values: TypeAlias = Mapping[str, Float32Array]
#: A graph that is ready to run: its outputs by name, of its inputs by name.
Session: TypeAlias = Callable[[Values], dict[str, Float32Array]]
#: Makes a session of a graph, on a device.
Engine: TypeAlias = Callable[[Program, str], Session]

#: How ONNX Runtime's threads wait for each other. Between calls they sleep: spinning there takes the processor from
#: those that make the next batch. Within a call they spin, for half a millisecond at most: one that sleeps at once is
#: often woken on the processor of the one that waits for it, and gets it only after a time slice.
_WAITING = {
    "session.intra_op.allow_spinning": "1",
    "session.intra_op.spin_duration_us": "500",  # ONNX Runtime before 1.26 has a count of its own
    "session.force_spinning_stop": "1",
}
#: Bytes of matrices from which on they are laid out for several examples alone. For one they are read once as they lie,
#: which is 2 to 6 % faster for AlexNet, and ready 0.2 s earlier (VGG 0.5 s); for two it is 16 % slower.
_LARGE_MATRICES = 16 << 20


def onnxruntime(program: Program, device: str) -> Session:
    """Makes a session of ONNX Runtime, in full float32 precision.

    Raises:
        BackendError: It is not installed, or cannot use that device here.
    """
    import onnxruntime as runtime  # type: ignore[import-untyped]

    providers = providers_of(runtime, device)
    matrices = sum(array.nbytes for array in program.constants.values() if array.ndim == 2)
    differ = len(providers) == 1 and matrices >= _LARGE_MATRICES

    @functools.cache
    def session(several: bool) -> runtime.InferenceSession:
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors, which it raises too
        for name, value in _WAITING.items():
            options.add_session_config_entry(name, value)
        if differ and not several:
            options.add_session_config_entry("session.disable_prepacking", "1")
        if threads := os.environ.get("OMP_NUM_THREADS"):
            options.intra_op_num_threads = int(threads)
        # Constants are taken where they lie: they are neither written into the graph nor read out of it again.
        values = [runtime.OrtValue.ortvalue_from_numpy(array) for array in program.constants.values()]
        if values:
            options.add_external_initializers(list(program.constants), values)
        return runtime.InferenceSession(program.apart(), options, providers=providers)

    names = [output.name for output in session(False).get_outputs()]

    def run(values: Values) -> dict[str, Float32Array]:
        several = differ and any(len(array) > 1 for array in values.values())
        return dict(zip(names, session(several).run(names, dict(values)), strict=True))

    return run


def providers_of(runtime: ModuleType, device: str) -> list[str | tuple[str, dict[str, int]]]:
    """Returns what ONNX Runtime runs a graph by on a device.

    Raises:
        BackendError: It cannot use that device here.
    """
    indices = gpu_indices(device)
    if not indices:
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in runtime.get_available_providers():
        raise BackendError(f"ONNX Runtime cannot use {device}: pip install onnxruntime-gpu has the CUDA provider")
    # TensorFloat-32 keeps 10 bits: the outputs would not be those of the old network.
    return [("CUDAExecutionProvider", {"device_id": indices[0], "use_tf32": 0}), "CPUExecutionProvider"]


def openvino(program: Program, device: str, precision: str = "f32") -> Session:
    """Makes a session of OpenVINO, in full float32 precision: it takes bfloat16 by itself where the processor has it.

    Raises:
        BackendError: It cannot use that device.
    """
    if gpu_indices(device):
        raise BackendError(f"OpenVINO has no {device}: take --device cpu, or --engine onnxruntime")
    options: dict[str, str | int] = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": "NO",  # several processes, or a busy machine, would share one processor
    }
    if threads := os.environ.get("OMP_NUM_THREADS"):
        options["INFERENCE_NUM_THREADS"] = int(threads)
    core = openvino_core()
    compiled = core.compile_model(core.read_model(program.whole()), "CPU", options)
    outputs = [(output.get_any_name(), output) for output in compiled.outputs]

    def run(values: Values) -> dict[str, Float32Array]:
        answers = compiled(dict(values))
        return {name: np.asarray(answers[output]) for name, output in outputs}

    return run


@functools.cache
def openvino_core() -> Core:
    """Returns the one core of this process.

    Each core of OpenVINO 2026.4 gives signals a stack of its own, takes its memory back when it is collected, and puts
    the one before in its place, which may be gone by then: the next Ctrl-C would be a segmentation fault.
    """
    import openvino as runtime

    return runtime.Core()


#: The engines by their names in the list of backends.
ENGINES: dict[str, Engine] = {"onnxruntime": onnxruntime, "openvino": openvino}


def engine(name: str | None = None) -> Engine:
    """Returns an engine.

    Args:
        name: A key of `ENGINES`; None for the first that is installed.

    Raises:
        BackendError: There is none of that name, or it is not installed.
    """
    return ENGINES[engine_named(described("onnx"), name)]
