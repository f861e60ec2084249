"""A network's answers to a dataset: one pass over it, every person once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Protocol, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

from converters.progress import ProgressCallback
from converters.values import dataclass
from deeppose_port.data import DatasetError, PoseDataset
from deeppose_port.data.arrays import Float32Array, Float64Array, Inputs, LooksUp
from deeppose_port.data.batches import Batch, batches, batches_by_level
from deeppose_port.data.displacements import CloseUps

#: (N, 3, H, W) float32 -> (N, 2 * J) float32.
Network: TypeAlias = Callable[[Float32Array], Float32Array]
#: Close-ups, (N, 3, H, W) float32, and whose joints they are of, (N,) int64 -> (N, 2) float32, the ways to the joints.
StageNetwork: TypeAlias = Callable[[Float32Array, npt.NDArray[np.int64]], Float32Array]

_Number = TypeVar("_Number", np.float32, np.int32)
_Value = TypeVar("_Value")


class Processes(Protocol):
    """This process among those that do something together."""

    @property
    def rank(self) -> int:
        """Its number."""

    @property
    def size(self) -> int:
        """How many there are."""

    def gather(self, value: _Value) -> list[_Value]:
        """Returns every process's value, in the order of their numbers."""


@dataclass(frozen=True)
class Predictions:
    """A network's answers to some of a dataset's persons, with what they are compared with.

    Attributes:
        indices: (n,) int64, the persons.
        outputs: (n, 2 * J) float32, as the network gives them.
        targets: (n, 2 * J) float32.
        mask: (n, 2 * J) int32.
        predicted: (n, J, 2) float64, the outputs in pixels of the pictures.
    """

    indices: npt.NDArray[np.int64]
    outputs: Float32Array
    targets: Float32Array
    mask: npt.NDArray[np.int32]
    predicted: Float64Array

    @classmethod
    def merge(cls, parts: Sequence[Predictions]) -> Predictions:
        """Joins the answers of several processes, in the order of the persons."""
        order = np.argsort(np.concatenate([part.indices for part in parts]))
        joined = [np.concatenate([getattr(part, f.name) for part in parts])[order] for f in fields(cls)]
        return cls(*joined)


def shared_predictions(
    network: Network,
    dataset: PoseDataset | CloseUps,
    group: Processes | None = None,
    *,
    batch_size: int = 32,
    progress: ProgressCallback | None = None,
) -> Predictions:
    """Runs a network over a dataset, each of several processes over its share; each returns the same.

    Args:
        network: As for `predictions_of`, as what is not named here is.
        dataset: The same.
        group: The processes; None for this one alone.
        batch_size: The same.
        progress: The same.

    Raises:
        DatasetError: A person of any share cannot be made into an example.
    """
    share = (0, 1) if group is None else (group.rank, group.size)
    own: Predictions | DatasetError
    try:
        own = predictions_of(network, dataset, batch_size=batch_size, part=share, progress=progress)
    except DatasetError as error:
        own = error  # the others wait for this one
    parts: list[Predictions] = []
    for part in [own] if group is None else group.gather(own):
        if isinstance(part, DatasetError):
            raise part
        parts.append(part)
    return Predictions.merge(parts)


def predictions_of(
    network: Network,
    dataset: PoseDataset | CloseUps,
    *,
    batch_size: int = 32,
    part: tuple[int, int] = (0, 1),
    progress: ProgressCallback | None = None,
) -> Predictions:
    """Runs a network over a dataset, or over the share of it that one of several processes has.

    Args:
        network: (N, 3, H, W) float32 -> (N, 2 * J) float32.
        dataset: The persons; or their close-ups, to each of which the network's answer of one joint is taken.
        batch_size: Persons in one pass.
        part: Which share: `(0, 2)` is every other person, from the first on.
        progress: Called with the persons done and all of them.

    Raises:
        DatasetError: A person cannot be made into an example.
    """
    if isinstance(dataset, CloseUps):
        return refined_by(
            lambda inputs, joints: network(inputs).reshape(len(inputs), -1, 2)[
                np.arange(len(inputs)), joints if dataset.joint is None else 0
            ],
            dataset,
            batch_size=batch_size,
            part=part,
            progress=progress,
        )
    indices = range(part[0], len(dataset), part[1])
    joints = 2 * len(dataset.skeleton.joints)
    outputs = [np.empty((0, joints), np.float32)]
    targets = [np.empty((0, joints), np.float32)]
    masks = [np.empty((0, joints), np.int32)]
    for output, target, mask in _answered(network, dataset, batch_size, indices):
        outputs.append(output)
        targets.append(target)
        masks.append(mask)
        if progress is not None:
            progress(sum(map(len, outputs)), len(indices))
    answers = np.concatenate(outputs)
    predicted = [dataset.view(i).points(output) for i, output in zip(indices, answers, strict=True)]
    return Predictions(
        np.asarray(indices, np.int64),
        answers,
        np.concatenate(targets),
        np.concatenate(masks),
        np.reshape(predicted, (len(indices), -1, 2)) if predicted else np.empty((0, joints // 2, 2)),
    )


def _answered(network: Network, dataset: PoseDataset, batch_size: int, indices: Sequence[int]) -> Iterator[Batch]:
    """Yields batches with a network's outputs in place of the inputs; these go by level to one that looks them up."""
    by_level = isinstance(network, LooksUp) and network.by_level
    answer = cast("Callable[[Inputs], Float32Array]", network)  # which takes levels where it gets some
    for inputs, target, mask in (batches_by_level if by_level else batches)(dataset, batch_size, indices):
        yield answer(inputs), target, mask


def refined_by(
    network: StageNetwork,
    close_ups: CloseUps,
    *,
    batch_size: int = 32,
    part: tuple[int, int] = (0, 1),
    progress: ProgressCallback | None = None,
) -> Predictions:
    """Runs a later stage of a cascade over the close-ups of persons, or over the share that a process has.

    Args:
        network: The stage's networks.
        close_ups: The close-ups, around where the stage before has the joints.
        batch_size: Close-ups in one pass.
        part: As for `predictions_of`.
        progress: Called with the close-ups done and all of them.

    Returns:
        The stage's answers by person; outputs and targets are ways from the middles of close-ups, in their sides. Where
        the close-ups are of one joint the others stay where they are, and count nowhere.

    Raises:
        DatasetError: A close-up cannot be made.
    """
    answered = np.asarray(close_ups.answered)
    count = len(answered)
    persons = range(part[0], len(close_ups.poses), part[1])
    indices = [person * count + joint for person in persons for joint in range(count)]
    outputs = np.empty((len(indices), 2), np.float32)
    targets, masks = np.empty_like(outputs), np.empty((len(indices), 2), np.int32)
    done = 0
    for inputs, target, mask in batches(close_ups, batch_size, indices):
        places = np.array(indices[done : done + len(inputs)]) % count
        rows = slice(done, done + len(inputs))
        own = np.arange(len(inputs)), places
        outputs[rows] = network(inputs, answered[places])
        targets[rows], masks[rows] = (each.reshape(len(inputs), count, 2)[own] for each in (target, mask))
        done += len(inputs)
        if progress is not None:
            progress(done, len(indices))

    def of_all(values: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
        whole = np.zeros((len(persons), len(close_ups.skeleton.joints), 2), values.dtype)
        whole[:, answered] = values.reshape(len(persons), count, 2)
        return whole.reshape(len(persons), -1)

    return Predictions(
        np.asarray(persons, np.int64),
        of_all(outputs),
        of_all(targets),
        of_all(masks),
        close_ups.points(persons, of_all(outputs).reshape(len(persons), -1, 2)),
    )
