"""A run that is ready to start, and what it tells: the same in each backend."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path

from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.data import PoseDataset, TrainingLoader
from deeppose_port.data.displacements import CloseUps, DrawnCloseUps
from deeppose_port.training.folder import ResultFolder
from deeppose_port.training.options import TrainingOptions
from deeppose_port.training.start import Start


class TrainingError(DeepPoseError):
    """A run that cannot go on. The message says why, at which iteration, and what is kept."""


@dataclass(frozen=True)
class Step:
    """How a run is doing, after one update.

    Attributes:
        epoch: Epochs behind it, with the fraction of the present one.
        iteration: Updates behind it.
        loss: Of this batch.
        pictures_per_second: Since the last line of the log.
        waiting: Share of that time spent waiting for data.
    """

    epoch: float
    iteration: int
    loss: float
    pictures_per_second: float
    waiting: float


@dataclass(frozen=True)
class Header:
    """What a run is, before its first update.

    Attributes:
        persons: In the training set.
        validation_persons: In the test set; None without one.
        architecture: The network.
        parameters: Numbers that are trained, those that are frozen among them.
        im_size: Side of its input.
        device: Where it is trained.
        backend: What trains it.
        epoch: Epochs behind it.
        epochs: Epochs that it has in the end.
        recipe: The named set of options that it was made from; None for none.
        mean_pose: What answering the mean pose of the training set to every picture of the test set gives: the numbers
            of `Evaluation.summary`; empty without a test set.
        joint: Whose network it is, of a stage of one network a joint; None for all joints'.
    """

    persons: int
    validation_persons: int | None
    architecture: str
    parameters: int
    im_size: int
    device: str
    backend: str
    epoch: int
    epochs: int
    recipe: str | None
    mean_pose: Mapping[str, float]
    joint: str | None = None


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    Attributes:
        folder: Where its files are.
        epoch: Epochs behind it.
        iteration: Updates behind it.
        seconds: That it took, with those of the runs that it went on with.
        metric: What the best checkpoint is chosen by, as a log's entries name it.
        best: Its best value; None where nothing was validated.
        best_epoch: The epoch of that.
    """

    folder: Path
    epoch: int
    iteration: int
    seconds: float
    metric: str
    best: float | None
    best_epoch: int | None


@dataclass
class Callbacks:
    """What is called while a run goes on.

    Attributes:
        notice: Called with a sentence on a choice that was made.
        step: Called after every update.
        log: Called with every entry of the log.
        saved: Called with the files of every checkpoint.
        begin: Called with what the run is, before its first update.
        end: Called with how it ended, unless an error ended it.
    """

    notice: Callable[[str], None] = lambda sentence: None
    step: Callable[[Step], None] = lambda step: None
    log: Callable[[dict[str, float | None]], None] = lambda entry: None
    saved: Callable[[list[Path]], None] = lambda files: None
    begin: Callable[[Header], None] = lambda header: None
    end: Callable[[Summary], None] = lambda summary: None


@dataclass
class Run:
    """A training that is ready to start: what a backend is given.

    Attributes:
        options: Its options.
        start: What it starts from.
        folder: What it writes into.
        train: The examples to learn from.
        test: The examples to validate on, or None.
        callbacks: What is told of it.
        mean_pose: What answering the mean pose to every picture of the test set gives, as in `Header`.
        stop: Set when the user asks the run to end: it finishes its step, writes a checkpoint and stops.
    """

    options: TrainingOptions
    start: Start
    folder: ResultFolder
    train: PoseDataset | DrawnCloseUps
    test: PoseDataset | CloseUps | None
    callbacks: Callbacks
    mean_pose: Mapping[str, float] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def loader(self, part: tuple[int, int] = (0, 1)) -> TrainingLoader:
        """Returns the batches to learn from, from where the run starts; `part` is a process's, as for the loader."""
        options = self.options
        position, order = self.start.position(len(self.train), options.batch_size)
        return TrainingLoader(
            self.train,
            options.batch_size,
            augmentation=options.augmentation,
            seed=options.seed,
            threads=options.threads,
            position=position,
            order=order,
            part=part,
            epochs=options.epochs,
        )
