"""What a backend is: a description in the list of `deeppose_port.backends`, and a package that keeps these promises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from converters import Architecture, Checkpoint
from converters.networks import Layer

if TYPE_CHECKING:  # with the data sets come OpenCV and SciPy, which whoever asks for the list does not need
    from deeppose_port.data.arrays import Float32Array
    from deeppose_port.training.folder import CheckpointFiles
    from deeppose_port.training.run import Run

#: What a backend may be able to do beyond answering: train, in several processes too, and as some options ask, each of
#: which names what it needs.
Ability = Literal["train", "processes", "amp", "channels-last", "compile", "gradient-sum", "profile", "workers"]


@dataclass(frozen=True)
class Description:
    """A backend, before anything of it is loaded.

    Attributes:
        name: What options call it.
        title: What people call its engine.
        package: The package that keeps the promises of `Backend`.
        distribution: What its engine is called in package indexes; its version is told with results.
        install: The command that installs the engine.
        roots: The modules whose absence means that the engine is not installed.
        abilities: What it can do.
        files: What its trainings write.
        by_family: Whether networks are made for it one by one, so that `engines_of` tells which there are.
    """

    name: str
    title: str
    package: str
    distribution: str
    install: str
    roots: tuple[str, ...]
    abilities: frozenset[Ability] = frozenset()
    files: CheckpointFiles = "pt"
    by_family: bool = False


class Predictor(Protocol):
    """A network in evaluation mode."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What the network evaluates, in its order."""

    def __call__(self, inputs: Float32Array) -> Float32Array:
        """Returns the outputs, (N, 2 * joints) float32, of (N, 3, H, W) float32 inputs."""

    def activations(self, inputs: Float32Array, nudged: bool = False) -> Iterator[tuple[str, Float32Array]]:
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

    def predictor(self, checkpoint: Checkpoint, device: str = "cpu", relu_nan: str = "nan") -> Predictor:
        """Loads a checkpoint's network onto a device, for evaluation; `relu_nan` as for `Pose`."""

    def train(self, run: Run) -> None:
        """Trains a run to its end; only of a backend that can `train`."""
