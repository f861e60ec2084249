"""Training: what is the same in either backend."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.errors import DeepPoseError
from deeppose_port import backends
from deeppose_port.data import PoseDataset, skeletons
from deeppose_port.data.cache import PictureCache
from deeppose_port.data.pack import PackedDataset
from deeppose_port.training.folder import ResultFolder
from deeppose_port.training.options import TrainingOptions
from deeppose_port.training.start import Start, starting_point


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
class Watch:
    """Who looks on.

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
        watch: Who looks on.
        stop: Set when the user asks the run to end: it finishes its step, writes a checkpoint and stops.
    """

    options: TrainingOptions
    start: Start
    folder: ResultFolder
    train: PoseDataset
    test: PoseDataset | None
    watch: Watch
    stop: threading.Event = field(default_factory=threading.Event)


def train(options: TrainingOptions, backend: str = "torch", watch: Watch | None = None) -> Run:
    """Trains a network.

    Args:
        options: The training.
        backend: `torch` or `chainer`.
        watch: Who looks on.

    Returns:
        The run, ended; `run.stop` tells whether the user ended it.

    Raises:
        TrainingError: The loss or a gradient is not finite.
        DeepPoseError: Options, data or files are refused.
    """
    first = backend != "torch" or os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started
    watch = watch if watch is not None and first else Watch()
    skeleton = skeletons.get(options.skeleton)
    engine = backends.get(backend)
    start = starting_point(options, len(skeleton.joints))
    for notice in start.notices:
        watch.notice(notice)
    if backend != "torch":
        backends.refuse_torch_only(start.checkpoint.architecture.name)
    if start.epoch >= options.epochs and not options.torch.eval_only:
        raise DeepPoseError(
            f"{start.resumed}: it has {start.epoch} epochs behind it and --epochs is {options.epochs}: nothing to do"
        )

    about: dict[str, Any] = {
        "images": options.images,
        "skeleton": skeleton,
        "preprocessing": start.checkpoint.preprocessing,
        "min_dim": options.min_dim,
        "ignore_label": options.ignore_label,
        "cache": PictureCache(options.cache),
    }
    if options.pack is None:
        train_set = PoseDataset(options.train_csv, **about)
    else:
        train_set = PackedDataset(options.train_csv, pack=options.pack, augmentation=options.augmentation, **about)
    test_set = None if options.test_csv is None else PoseDataset(options.test_csv, **about)
    if backend != "torch" and options.torch.used():
        raise DeepPoseError(f"{', '.join(options.torch.used())}: only with --backend torch")
    if backend == "torch" and options.legacy_gradient_sum:
        raise DeepPoseError("--legacy-gradient-sum: only with --backend chainer")
    folder = ResultFolder.open(options, start, writes=first and not options.torch.eval_only)
    run = Run(options, start, folder, train_set, test_set, watch)
    with _stopped_by_interrupt(run.stop):
        engine.train(run)
    return run


@contextmanager
def _stopped_by_interrupt(stop: threading.Event) -> Iterator[None]:
    """Turns the first Ctrl-C into a request to stop; the second ends the run at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = signal.getsignal(signal.SIGINT)

    def request(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGINT, request)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
