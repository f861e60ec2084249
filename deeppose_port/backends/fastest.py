"""Which backend and engine is the fastest that answers alike: what `--backend auto` takes.

The order is what `python -m benchmarks peers` measures on every architecture: on CPUs OpenVINO, ONNX Runtime, PyTorch,
Chainer. OpenVINO takes a second or more to compile a network, which only many pictures give back. Each answers within
1e-5 of the others, which the tests hold; where one cannot run a network, the next is taken.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from converters import Checkpoint
from deeppose_port.backends import BACKENDS, get
from deeppose_port.backends.devices import BackendError, gpu_indices
from deeppose_port.backends.protocol import Predictor

AUTO = "auto"
#: From so many pictures on, the time that OpenVINO takes to compile a network is worth it.
MANY = 500


class Candidate(NamedTuple):
    """A backend, and which of its engines; empty for one that has no choice."""

    backend: str
    engine: str = ""

    @property
    def title(self) -> str:
        """What people call it."""
        backend = BACKENDS[self.backend]
        return backend.engines.get(self.engine, backend.title)


_ON_CPUS = (Candidate("onnx", "openvino"), Candidate("onnx", "onnxruntime"), Candidate("torch"), Candidate("chainer"))
#: OpenVINO has no CUDA, and ONNX Runtime's provider of it has not been measured.
_ON_GPUS = (Candidate("torch"), Candidate("chainer"))


def candidates(device: str = "cpu", pictures: int | None = None) -> Iterator[Candidate]:
    """Yields what is installed here, the fastest first.

    Args:
        device: As for `load`.
        pictures: How many there will be; None for many.

    Raises:
        BackendError: It is no device.
    """
    few = pictures is not None and pictures < MANY
    after: list[Candidate] = []
    for candidate in _ON_GPUS if gpu_indices(device) else _ON_CPUS:
        if importlib.util.find_spec(candidate.engine or BACKENDS[candidate.backend].distribution) is None:
            continue
        if candidate.engine == "openvino" and few:
            after.append(candidate)
        else:
            yield candidate
            yield from after
            after.clear()
    yield from after


def fastest(checkpoint: Checkpoint, device: str, pictures: int | None, **more: str) -> tuple[Candidate, Predictor]:
    """Makes a network ready on the fastest engine that is installed here and can run it.

    Args:
        checkpoint: The network.
        device: As for `load`.
        pictures: How many there will be; None for many.
        more: As for `Backend.predictor`: what an engine does not know rules it out.

    Raises:
        BackendError: None can.
    """
    refusal = BackendError("no engine is installed: pip install torch, or 'deeppose-port[onnx]'")
    # Engines differ in what they make of NaN, and only the frameworks emulate an old GPU.
    as_they_are = "relu_nan" in more or not _finite(checkpoint)
    for candidate in candidates(device, pictures):
        if candidate.engine and as_they_are:
            continue
        chosen = {"engine": candidate.engine} if candidate.engine else {}
        try:
            return candidate, get(candidate.backend).predictor(checkpoint, device, **chosen, **more)
        except BackendError as error:
            refusal = error
    raise refusal


def _finite(checkpoint: Checkpoint) -> bool:
    return all(np.isfinite(array).all() for array in checkpoint.weights.values() if array.dtype.kind == "f")
