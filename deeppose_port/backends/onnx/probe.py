"""What ONNX Runtime finds on this machine."""

from __future__ import annotations

from deeppose_port.backends.devices import gpu_indices
from deeppose_port.backends.installed import Problem
from deeppose_port.backends.protocol import Probe


def examine(device: str) -> Probe:
    """Imports onnx and ONNX Runtime, and asks that whether it has the CUDA provider; see `Prober`."""
    import onnx  # noqa: F401 - the graphs are made with it
    import onnxruntime as runtime  # type: ignore[import-untyped]

    mend = "pip install onnxruntime-gpu"
    if gpu_indices(device) and "CUDAExecutionProvider" not in runtime.get_available_providers():
        return Probe(Problem("this ONNX Runtime is built without CUDA", mend), replacement=mend)
    return Probe(replacement=mend)
