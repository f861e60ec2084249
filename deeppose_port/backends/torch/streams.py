"""Training batches from worker processes, as an alternative to the loader's threads."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from deeppose_port.data.batches import Batch
from deeppose_port.data.dataset import DatasetError
from deeppose_port.data.loader import LoaderState, TrainingLoader

_Tensors = tuple[torch.Tensor, ...]


class _Batches(Dataset[_Tensors | DatasetError]):
    """A training set whose keys are lists of (epoch, index): whole batches."""

    def __init__(self, loader: TrainingLoader) -> None:
        self.loader = loader

    def __getitems__(self, keys: list[tuple[int, int]]) -> _Tensors | DatasetError:
        try:
            return tuple(map(torch.from_numpy, self.loader.batch(keys)))
        except DatasetError as error:
            return error  # raised where the batch is used; a DataLoader would bury it in the worker's traceback


class WorkerStream:
    """The batches of a TrainingLoader, made by processes of a PyTorch DataLoader: the same numbers in the same order.

    Args:
        loader: Says where the stream is and what is in each batch; its own threads are not used.
        workers: Number of processes.
        pin: Whether batches are made in memory that a GPU copies from directly.

    Attributes:
        waited: Seconds that callers have waited for batches.
        given: Number of examples given.

    Raises:
        DatasetError: In `next`: an example cannot be made, or a process has died.
    """

    def __init__(self, loader: TrainingLoader, workers: int, pin: bool) -> None:
        self.waited = 0.0
        self.given = 0
        self._state = loader.state()
        self._after: deque[LoaderState] = deque()
        self._schedule = loader.schedule()
        self._loader: DataLoader[_Tensors | DatasetError] = DataLoader(
            _Batches(loader),
            batch_sampler=self._keys(loader.epochs),
            num_workers=workers,
            collate_fn=_as_it_is,
            pin_memory=pin,
            prefetch_factor=2,
            worker_init_fn=_begin_worker,
        )
        self._batches = iter(self._loader)

    def __next__(self) -> Batch:
        start = time.perf_counter()
        try:
            batch = next(self._batches)
        except (RuntimeError, OSError, EOFError) as error:  # a process was killed, mostly for want of memory
            raise _no_batch(error) from error
        finally:
            self.waited += time.perf_counter() - start
        if isinstance(batch, DatasetError):
            raise batch
        inputs, targets, mask = (part.numpy() for part in batch)
        self._state = self._after.popleft()
        self.given += len(inputs)
        return inputs, targets, mask

    def state(self) -> LoaderState:
        """Returns the place in the stream, as `TrainingLoader.state` does."""
        return self._state

    def close(self) -> None:
        """Ends the processes."""
        shutdown = getattr(self._batches, "_shutdown_workers", None)
        if shutdown is not None:
            shutdown()

    def _keys(self, epochs: float | None) -> Iterator[list[tuple[int, int]]]:
        for wanted, after in self._schedule:
            self._after.append(after)
            yield wanted
            if epochs is not None and after["epoch"] >= epochs:
                return


def _no_batch(error: BaseException) -> DatasetError:
    return DatasetError(f"the next batch cannot be made: {error} (fewer --workers need less memory)")


@contextmanager
def deaths_named() -> Iterator[None]:
    """Names the death of a worker process wherever it is heard of.

    PyTorch hears of it by a signal, whose handler raises in the middle of whatever the main process is doing.

    Raises:
        DatasetError: A process has died.
    """
    try:
        yield
    except RuntimeError as error:
        heard: BaseException | None = error
        while heard is not None and not str(heard).startswith("DataLoader worker (pid"):
            heard = heard.__context__  # PyTorch's writer makes an error of its own of one that it is interrupted by
        if heard is None:
            raise
        raise _no_batch(heard) from error


def _as_it_is(batch: object) -> object:
    return batch  # it is one already


def _begin_worker(worker: int) -> None:
    cv2.setNumThreads(0)  # as many processes as processors are at work already
    # A terminal's Ctrl-C goes to all processes: the main one finishes its step, for which it may need a batch.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
