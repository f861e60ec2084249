"""The two engines, each behind the same small face.

Each backend's package has

    build(architecture)             a network of that engine, with its writer's BatchNormalization
    predictor(checkpoint, device)   a Predictor: NumPy in, NumPy out; relu_nan="zero" makes ReLU answer 0 for NaN
    train(run)                      trains what `deeppose_port.training.run` has made ready

and is loaded when it is asked for, so that one works where the other is not installed.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from converters import Checkpoint
from converters.errors import DeepPoseError
from converters.networks import Layer, engines_of

BACKENDS = ("torch", "chainer")

Floats = npt.NDArray[np.float32]


class BackendError(DeepPoseError):
    """A backend or device that cannot be used here. The message says why, and what to do."""


class Predictor(Protocol):
    """A network in evaluation mode."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What the network evaluates, in its order."""

    def __call__(self, inputs: Floats) -> Floats:
        """Returns the outputs, (N, 2 * joints) float32, of (N, 3, H, W) float32 inputs."""

    def activations(self, inputs: Floats, nudged: bool = False) -> Iterator[tuple[str, Floats]]:
        """Yields the output of each layer, float32, with its name by `activations.layer_names`.

        They are computed one after the other, while they are asked for.

        Args:
            inputs: As for a call.
            nudged: Whether inputs and outputs go up or down by one unit in the last place, at random, before the next
                layer sees them: what rounding can make of this network.
        """


class Backend(Protocol):
    """What a backend's package offers."""

    def build(self, architecture: Any) -> Any:
        """Builds a network of the engine from an Architecture or a description of one."""

    def predictor(self, checkpoint: Checkpoint, device: str = "cpu", relu_nan: str = "nan") -> Predictor:
        """Loads a checkpoint's network onto a device, for evaluation; `relu_nan` as for `Pose`."""

    def train(self, run: Any) -> None:
        """Trains a `deeppose_port.training.run.Run` to its end."""


def get(name: str) -> Backend:
    """Loads a backend by name.

    Raises:
        BackendError: There is none of that name, or its engine is not installed.
    """
    if name not in BACKENDS:
        raise BackendError(f"there is no backend {name!r}; there are {' and '.join(BACKENDS)}")
    try:
        return importlib.import_module(f"deeppose_port.backends.{name}")
    except ImportError as error:
        if error.name is None or error.name.split(".")[0] not in (name, "cupy"):
            raise
        install = "pip install torch" if name == "torch" else "pip install 'deeppose-port[chainer]' (see the README)"
        raise BackendError(f"the backend {name} cannot be loaded: {error}; {install}") from error


def __getattr__(name: str) -> ModuleType:
    if name in BACKENDS:
        return importlib.import_module(f"deeppose_port.backends.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def refuse_torch_only(architecture: str) -> None:
    """Refuses a network for another engine than PyTorch.

    Raises:
        BackendError: It exists in PyTorch alone.
    """
    if "chainer" not in engines_of(architecture):
        raise BackendError(f"{architecture} exists in PyTorch alone: --backend torch runs it")
