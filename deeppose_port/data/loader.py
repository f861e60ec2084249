"""An endless stream of training batches, made ahead of their use by a pool of threads.

It visits a dataset as `chainer.iterators.SerialIterator(repeat=True)` does: a batch at the edge of an epoch is filled
up from the next one. What is in a batch follows from the seed, the epoch and the position alone: not from the number
of threads, from which of them is the fastest, from global random state, or from whether the state was saved meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError
from converters.processors import usable_processors
from converters.values import dataclass
from deeppose_port.data.arrays import Float32Array
from deeppose_port.data.augmentation import Augmentation, example_rng
from deeppose_port.data.augmented import augmented_example
from deeppose_port.data.batches import Batch, empty_batch, place
from deeppose_port.data.dataset import Example, PoseDataset
from deeppose_port.data.displacements import DrawnCloseUps
from deeppose_port.data.threads import without_opencv_threads
from deeppose_port.options import refuse_outside

Order = npt.NDArray[np.int64]


class LoaderState(TypedDict, total=False):
    """Where a stream is, as plain values: the fields of `TrainingLoader.state`."""

    epoch: int
    current_position: int
    order: Order | None
    is_new_epoch: bool
    previous_epoch_detail: float | None


#: What of a loader is not copied.
_OF_THE_PROCESS = {"_make", "waited", "given", "_pending", "_pool", "_quiet", "_closed", "_lock"}

#: Makes the example of an epoch and an index of the dataset. It may write the inputs into the array, if it gets one.
_Make = Callable[[int, int, Float32Array | None], Example]


@dataclass(frozen=True, eq=False)
class _Place:
    """Where the stream is, between two batches.

    Attributes:
        epoch: Epochs completed.
        current_position: Examples of this epoch that were given already.
        order: Indices in the order of this epoch, read-only; None for 0, 1, 2, …
        is_new_epoch: Whether the last batch completed an epoch.
        previous_epoch_detail: `epoch_detail` before the last batch; None before the first.
    """

    epoch: int
    current_position: int
    order: Order | None
    is_new_epoch: bool = False
    previous_epoch_detail: float | None = None


class TrainingLoader:
    """The endless stream of batches of a training set.

    Each batch is (inputs, targets, mask): (N, 3, im_size, im_size) float32, (N, 2 * J) float32, (N, 2 * J) int32, in
    arrays that belong to the caller. While one is used, the next `ahead` are made, example by example: a picture that
    takes long holds back its own batch and no thread but its own. The counters are those of Chainer's iterators.

    An example that cannot be made raises its error when its batch is asked for, each time that it is asked for; the
    stream stays before that batch. The threads start with the first batch and end with `close`. While they are there,
    OpenCV's own threads are switched off for the whole process (`cv2.setNumThreads(0)`), since the two kinds would
    only compete; the last loader to close brings the setting back.

    Args:
        dataset: The training set.
        batch_size: Examples in a batch.
        augmentation: How examples are varied; None gives them as they are in the dataset.
        seed: The orders and the augmentation are drawn from it.
        shuffle: Whether each epoch has an order of its own, instead of that of the dataset.
        threads: How many make examples; the default is one for each processor that this process may use.
        ahead: How many batches are made ahead.
        position: Epoch and place in its order to begin at.
        order: (len(dataset),) the order of the epoch to begin in, where it is not to be drawn from the seed: one that a
            snapshot holds.
        part: Which share of every batch this loader makes: `(0, 2)` is every other example of it, from the first on.
            The counters are those of whole batches, so that several processes walk through one stream together.
        epochs: The length of the training: batches past it are not made ahead, only when they are asked for.
        example: Makes the example of (epoch, index) in place of dataset and augmentation; the dataset needs no more
            than a length then. It is called from several threads at once.

    Attributes:
        waited: Seconds that callers have waited for batches.
        given: Number of examples given.

    Raises:
        DeepPoseError: An argument is out of its range, or the order is not one of this dataset.
        DatasetError: In `next`: an example cannot be made.
        RuntimeError: In `next`: the loader is closed.
    """

    def __init__(
        self,
        dataset: PoseDataset | DrawnCloseUps,
        batch_size: int,
        *,
        augmentation: Augmentation | None = None,
        seed: int = 1701,
        shuffle: bool = True,
        threads: int | None = None,
        ahead: int = 2,
        position: tuple[int, int] = (0, 0),
        order: npt.ArrayLike | None = None,
        part: tuple[int, int] = (0, 1),
        epochs: float | None = None,
        example: Callable[[int, int], Example] | None = None,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.seed = seed
        self.shuffle = shuffle
        self.threads = usable_processors() if threads is None else threads
        self.ahead = ahead
        self.part = part
        self.epochs = epochs
        refuse_outside(self, lambda n: n >= 1, "it has to be at least 1", "batch_size", "threads", "ahead")
        refuse_outside(self, lambda n: n >= 0, "it has to be at least 0", "seed")
        if not 0 <= part[0] < part[1] <= batch_size:
            raise DeepPoseError(f"a batch of {batch_size} cannot be shared as {part}")
        self._example = example
        self._place = self._place_at(*position, order=order)
        self._begin_process()

    def _begin_process(self) -> None:
        """Sets what is of this process alone: nothing is made yet, and nothing counted."""
        examples = _examples_of(self.dataset, self.augmentation, self.seed)
        self._make = examples if self._example is None else _without_array(self._example)
        self.waited = 0.0
        self.given = 0
        self._pending: deque[_Pending] = deque()
        self._pool: ThreadPoolExecutor | None = None
        self._quiet = ExitStack()
        self._closed = False
        self._lock = threading.Lock()  # of what `close` may change meanwhile

    @property
    def epoch(self) -> int:
        """Epochs completed."""
        return self._place.epoch

    @property
    def current_position(self) -> int:
        """Examples of this epoch that were given already."""
        return self._place.current_position

    @property
    def is_new_epoch(self) -> bool:
        """Whether the last batch completed an epoch."""
        return self._place.is_new_epoch

    @property
    def epoch_detail(self) -> float:
        """Epochs completed, with the fraction of this one."""
        return self._detail(self._place)

    @property
    def previous_epoch_detail(self) -> float | None:
        """`epoch_detail` before the last batch; None before the first."""
        return self._place.previous_epoch_detail

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        start = time.perf_counter()
        try:
            with self._lock:
                self._make_ahead()
                pending = self._pending[0]
            batch = pending.result()
        except CancelledError:
            self._refuse_closed()
            raise
        finally:
            self.waited += time.perf_counter() - start
        with self._lock:
            self._refuse_closed()
            self._pending.popleft()
            self._place = pending.after
        self.given += len(batch[0])
        return batch

    def batch(self, wanted: Sequence[tuple[int, int]]) -> Batch:
        """Makes the examples of some epochs and indices, apart from the stream and by the caller's own thread.

        Raises:
            DatasetError: One cannot be made.
        """
        arrays = self._empty(len(wanted))
        for row, (epoch, index) in enumerate(wanted):
            example = self._make(epoch, index, None if arrays is None else arrays[0][row])
            arrays = _like(example, len(wanted)) if arrays is None else arrays
            place(example, arrays, row)
        assert arrays is not None
        return arrays

    def state(self) -> LoaderState:
        """Returns the counters and the order of this epoch, all that `restore` needs; batches made ahead stay.

        Returns:
            epoch, current_position, is_new_epoch, previous_epoch_detail (float or None) and order (int64, read-only, or
            None where nothing is shuffled).
        """
        return _state_of(self._place)

    def schedule(self) -> Iterator[tuple[list[tuple[int, int]], LoaderState]]:
        """Yields what the batches to come hold, without making them.

        Yields:
            Epoch and index of each example of this loader's part of the batch, and the state after the batch.
        """
        place = self._place
        while True:
            wanted, place = self._walk(place)
            yield wanted, _state_of(place)

    def restore(self, state: LoaderState) -> None:
        """Goes to a place in the stream and forgets the batches made ahead.

        Args:
            state: What `state` returned; `epoch` and `current_position` are enough, the order is then drawn.

        Raises:
            DeepPoseError: It is not a state of this dataset. Nothing has changed then.
            RuntimeError: The loader is closed.
        """
        place = self._place_at(**state)
        with self._lock:
            self._refuse_closed()
            self._place = place
            for pending in self._pending:
                pending.cancel()
            self._pending.clear()

    def close(self) -> None:
        """Ends the threads and waits for them. It may be called again, and from any thread."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
            self._pending.clear()
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)
            self._quiet.close()

    def __enter__(self) -> TrainingLoader:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, object]:
        """Is copied, and sent to other processes, with its place but without its threads and batches."""
        return {name: value for name, value in vars(self).items() if name not in _OF_THE_PROCESS}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._begin_process()
        self.restore(self.state())  # whose order nobody writes into

    def _refuse_closed(self) -> None:
        if self._closed:
            raise RuntimeError("this loader is closed and gives no more batches; make another one")

    def _detail(self, place: _Place) -> float:
        return place.epoch + place.current_position / len(self.dataset)

    def _make_ahead(self) -> None:
        """Sees to it that the next batch and `ahead` more are made."""
        self._refuse_closed()
        while len(self._pending) <= self.ahead:
            place = self._pending[-1].after if self._pending else self._place
            if self._pending and self.epochs is not None and self._detail(place) >= self.epochs:
                break
            self._pending.append(self._begin(place))

    def _begin(self, place: _Place) -> _Pending:
        """Hands the examples of the batch after a place to the threads."""
        if self._pool is None:
            self._quiet.enter_context(without_opencv_threads)
            self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="deeppose-loader")
        wanted, after = self._walk(place)
        return _Pending(self._pool, self._make, wanted, after, self._empty(len(wanted)))

    def _empty(self, size: int) -> Batch | None:
        """Returns the arrays to write a batch into; None where only its examples tell their shapes."""
        return empty_batch(self.dataset, size) if self._example is None else None

    def _walk(self, place: _Place) -> tuple[list[tuple[int, int]], _Place]:
        """Returns epoch and index of each example of the batch after a place, and the place after the batch."""
        epoch, position, order = place.epoch, place.current_position, place.order
        wanted = []
        for _ in range(self.batch_size):
            wanted.append((epoch, position if order is None else int(order[position])))
            position += 1
            if position == len(self.dataset):
                epoch, position = epoch + 1, 0
                order = self._order(epoch)
        share, shares = self.part
        return wanted[share::shares], _Place(epoch, position, order, epoch > place.epoch, self._detail(place))

    def _order(self, epoch: int) -> Order | None:
        """Draws the order of an epoch: that of raw random bits, which every version of NumPy draws alike."""
        if not self.shuffle:
            return None
        bits = np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=(epoch,)))
        return _read_only(np.argsort(bits.random_raw(len(self.dataset)), kind="stable"))

    def _place_at(
        self,
        epoch: int,
        current_position: int,
        order: npt.ArrayLike | None = None,
        is_new_epoch: bool = False,
        previous_epoch_detail: float | None = None,
    ) -> _Place:
        size = len(self.dataset)
        if epoch < 0 or not 0 <= current_position < size:
            raise DeepPoseError(f"a dataset of {size} has no position {current_position} in epoch {epoch}")
        given = self._order(epoch) if order is None else np.asarray(order)
        if given is not None and not np.array_equal(np.sort(given, axis=None), np.arange(size)):
            raise DeepPoseError(
                f"the order, of {given.size} examples, is not one of this dataset of {size}; "
                "it has to be the training set that the order was saved with"
            )
        order = None if given is None else _read_only(given)
        return _Place(epoch, current_position, order, is_new_epoch, previous_epoch_detail)


def _state_of(place: _Place) -> LoaderState:
    return LoaderState(
        epoch=place.epoch,
        current_position=place.current_position,
        order=place.order,
        is_new_epoch=place.is_new_epoch,
        previous_epoch_detail=place.previous_epoch_detail,
    )


class _Pending:
    """A batch whose examples are in the making, each a task of its own that writes into its row."""

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        make: _Make,
        wanted: list[tuple[int, int]],
        after: _Place,
        arrays: Batch | None,
    ) -> None:
        self.after = after
        self._lock = threading.Lock()
        self._size = len(wanted)
        self._arrays = arrays
        self._futures: list[Future[None]] = [
            pool.submit(self._fill, row, make, epoch, index) for row, (epoch, index) in enumerate(wanted)
        ]

    def result(self) -> Batch:
        """Waits for the batch. Of several failures the first in its order is raised."""
        for future in self._futures:
            future.result()
        assert self._arrays is not None
        return self._arrays

    def cancel(self) -> None:
        """Takes back what no thread has begun."""
        for future in self._futures:
            future.cancel()

    def _fill(self, row: int, make: _Make, epoch: int, index: int) -> None:
        out = None if self._arrays is None else self._arrays[0][row]
        example = make(epoch, index, out)
        place(example, self._allocated(example), row)

    def _allocated(self, example: Example) -> Batch:
        """Returns the batch's arrays, which the first example made gives the shapes for where nothing else does."""
        with self._lock:
            if self._arrays is None:
                self._arrays = _like(example, self._size)
            return self._arrays


def _like(example: Example, size: int) -> Batch:
    """Returns the arrays of a batch of such examples."""
    inputs, targets, mask = (np.empty((size, *part.shape), part.dtype) for part in example)
    return inputs, targets, mask


def _examples_of(dataset: PoseDataset | DrawnCloseUps, augmentation: Augmentation | None, seed: int) -> _Make:
    """Returns what makes a dataset's examples, augmented, and names the picture of one that cannot be made."""

    def make(epoch: int, index: int, out: Float32Array | None) -> Example:
        with dataset.naming(index):
            if isinstance(dataset, DrawnCloseUps):
                return dataset.drawn(index, augmentation or Augmentation(), example_rng(seed, epoch, index), out)
            if augmentation is None:
                return dataset.example(index, out)
            return augmented_example(dataset, index, augmentation, example_rng(seed, epoch, index), out)

    return make


def _without_array(example: Callable[[int, int], Example]) -> _Make:
    return lambda epoch, index, out: example(epoch, index)


def _read_only(order: npt.NDArray[np.generic]) -> Order:
    mine = order.astype(np.int64)
    mine.flags.writeable = False
    return mine
