"""A run that is ready to start, and what it tells: the same in each backend."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.errors import DeepPoseError
from deeppose_port.data import PoseDataset
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


@dataclass
class Callbacks:
    """What is called while a run goes on.

    Attributes:
        notice: Called with a sentence on a choice that was made.
        step: Called after every update.
        log: Called with every entry of the log.
        saved: Called with the files of every checkpoint.
    """

    notice: Callable[[str], None] = lambda sentence: None
    step: Callable[[Step], None] = lambda step: None
    log: Callable[[dict[str, Any]], None] = lambda entry: None
    saved: Callable[[list[Path]], None] = lambda files: None


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
        stop: Set when the user asks the run to end: it finishes its step, writes a checkpoint and stops.
    """

    options: TrainingOptions
    start: Start
    folder: ResultFolder
    train: PoseDataset
    test: PoseDataset | None
    callbacks: Callbacks
    stop: threading.Event = field(default_factory=threading.Event)
