"""What a backend is: a line in the list of `deeppose_port.backends`, and a package that keeps these promises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from converters import Architecture, Checkpoint
from converters.networks import Layer
from converters.values import dataclass

if TYPE_CHECKING:  # with the data sets come OpenCV and SciPy, which whoever asks for the list does not need
    from deeppose_port.backends.installed import Problem
    from deeppose_port.data.arrays import Float32Array, Inputs
    from deeppose_port.metrics.predictions import Processes
    from deeppose_port.training.folder import CheckpointFiles
    from deeppose_port.training.run import Run


#: What a backend may be able to do beyond answering: train, say which devices it can train on, and as options ask, each
#: of which names what it needs.
Ability = Literal[
    "train",
    "devices",
    "processes",
    "accumulate",
    "amp",
    "channels-last",
    "compile",
    "gradient-sum",
    "profile",
    "sync-bn",
    "workers",
    "precision",
]


@dataclass(frozen=True)
class Description:
    """A backend, before anything of it is loaded.

    Attributes:
        name: What options call it.
        title: What people call its engine.
        package: The package that keeps the promises of `Backend`.
        distribution: What its engine is called in package indexes; its version is told with results.
        install: The command that installs the engine, where pip does not by the distribution alone.
        roots: The modules whose absence means that the engine is not installed.
        abilities: What it can do.
        files: What its trainings write.
        exports: What its networks are written as for other programs to run: a format's name, and its files' suffix.
        folders: Those of them that are folders of files.
        engines: What may run its networks, where there is a choice: the distributions' names, which are those of their
            modules too, and what people call them; the first that is installed is taken where none is named.
        by_family: Whether networks are made for it one by one, so that `engines_of` tells which there are.
    """

    name: str
    title: str
    package: str
    distribution: str
    roots: tuple[str, ...]
    install: str = ""
    abilities: frozenset[Ability] = frozenset()
    files: CheckpointFiles = "pt"
    exports: Mapping[str, str] = field(default_factory=dict)
    folders: frozenset[str] = frozenset()
    engines: Mapping[str, str] = field(default_factory=dict)
    by_family: bool = False

    @property
    def installation(self) -> str:
        """The command that installs the engine."""
        from deeppose_port.backends.installed import wanted  # what reads metadata takes a while to load

        return self.install or f"pip install '{self.distribution}{wanted(self.distribution)}'"


@dataclass(frozen=True)
class Probe:
    """What an engine finds on this machine; all of it may be unknown.

    Attributes:
        problem: Why it cannot compute on the device that was asked for; None if it can.
        devices: The names of the GPUs that it can use.
        library: What brings its CUDA, where that is not the engine itself.
        cuda: The CUDA that it was built with.
        cudnn: Its cuDNN.
        replacement: The command that puts the build for this machine's driver in its place.
        mends: What had to be mended in it: `name`, `reason` and `where`.
    """

    problem: Problem | None = None
    devices: tuple[str, ...] = ()
    library: str = ""
    cuda: str | None = None
    cudnn: str | None = None
    replacement: str = ""
    mends: tuple[Mapping[str, str], ...] = ()


class Predictor(Protocol):
    """A network in evaluation mode.

    One that is a `LooksUp` says by `by_level` whether it is given `Levels`; another never is.
    """

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What the network evaluates, in its order."""

    def __call__(self, inputs: Inputs) -> Float32Array:
        """Returns the outputs of (N, 3, H, W) float32 inputs.

        They are (N, 2 * joints) float32; of a network with heat maps (N, stacks, joints, h, w).
        """

    def activations(self, inputs: Inputs, nudged: bool = False) -> Iterator[tuple[str, Float32Array]]:
        """Yields the output of each layer, float32, with its name by `activations.layer_names`.

        They are computed one after the other, while they are asked for.

        Args:
            inputs: As for a call.
            nudged: Whether inputs and outputs go up or down by one unit in the last place, at random, before the next
                layer sees them: what rounding can make of this network.
        """


class Backend(Protocol):
    """What a backend's package offers."""

    def build(self, architecture: Architecture | Mapping[str, object] | str) -> object:
        """Builds a network of the engine, with its writer's BatchNormalization, from what `Architecture.of` takes."""

    def predictor(self, checkpoint: Checkpoint, device: str = "cpu", **more: str) -> Predictor:
        """Loads a checkpoint's network onto a device, for evaluation.

        `relu_nan`, as for `Pose`, is given where it is not `nan`, and `engine` where the backend has several.
        """

    def reduced(self, checkpoint: Checkpoint, precision: str, inputs: Float32Array) -> Predictor:
        """Loads a checkpoint's network in less than float32; only of a backend that can `precision`.

        Args:
            checkpoint: The checkpoint.
            precision: `bf16` or `int8`.
            inputs: (N, 3, H, W) float32: what it is calibrated on; it takes inputs of that size.

        Raises:
            BackendError: It cannot be had here.
        """

    def processes(self, device: str) -> AbstractContextManager[Processes]:
        """Joins the processes that torchrun started; only of a backend that has `processes`."""

    def refuse_device(self, device: str) -> object:
        """Refuses a device that cannot be trained on; only of a backend that has `devices`.

        Raises:
            BackendError: It is no device, or cannot be used here.
        """

    def train(self, run: Run) -> None:
        """Trains a run to its end; only of a backend that can `train`."""

    def export(self, checkpoint: Checkpoint, path: Path, format: str) -> None:
        """Writes a network to an empty file as one of the description's `exports`, and proves that it answers alike.

        Raises:
            CheckpointError: It does not, or what is needed is not installed.
        """


class Prober(Protocol):
    """What a backend's module `probe` offers, which imports nothing of the engine before it is asked."""

    def examine(self, device: str) -> Probe:
        """Asks the engine what it finds here, and whether it can compute on a device; raises what its import raises."""
