"""Training batches as one of Chainer's iterators."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import overload

import numpy as np

from deeppose_port.backends.chainer import compat
from deeppose_port.data.batches import Batch
from deeppose_port.data.dataset import Example
from deeppose_port.data.loader import LoaderState, TrainingLoader

compat.install()

import chainer  # noqa: E402 - not before compat
from chainer.types import NdArray  # noqa: E402 - NumPy's or CuPy's


class PoseBatch(Sequence[Example]):
    """A batch that looks like Chainer's list of examples and is three arrays.

    An index gives an example and a slice a batch, both views: `ParallelUpdater` takes `batch[i::n]` for each device
    without touching the examples one by one. `concat_poses` takes the arrays as they are; Chainer's `concat_examples`
    gives the same values, with a copy of each example.

    Attributes:
        arrays: inputs, targets and mask, each with the examples along its first axis.
    """

    def __init__(self, arrays: Batch) -> None:
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays[0])

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> PoseBatch: ...
    def __getitem__(self, index: int | slice) -> Example | PoseBatch:
        inputs, targets, mask = self.arrays
        part = inputs[index], targets[index], mask[index]
        return PoseBatch(part) if isinstance(index, slice) else part


def _concat_poses(batch: Sequence[Example], device: chainer.backend.Device | None = None) -> tuple[NdArray, ...]:
    if not isinstance(batch, PoseBatch):
        arrays: tuple[NdArray, ...] = chainer.dataset.concat_examples(batch, device)
        return arrays
    # Contiguous, because a part of a batch is one row of every n.
    return tuple(chainer.dataset.to_device(device, np.ascontiguousarray(array)) for array in batch.arrays)


#: A Chainer converter: a PoseBatch or a list of examples, and a device -> inputs, targets and mask there.
concat_poses = chainer.dataset.converter()(_concat_poses)


class PoseIterator(chainer.iterators.MultithreadIterator):  # type: ignore[misc]
    """A TrainingLoader in the place of Chainer's MultithreadIterator, and one for programs that look for it.

    It gives PoseBatches without end. Its snapshots hold what those of SerialIterator and MultiprocessIterator hold, and
    it resumes from those of all Chainer's iterators since 1.13. Where MultithreadIterator differs: an example that
    cannot be made keeps the iterator before its batch; saving leaves the batches made ahead alone; a copy has threads
    of its own; after `finalize` there are no more batches.

    Args:
        loader: The batches. The iterator owns it and closes it in `finalize`.

    Attributes:
        loader: The same.
    """

    def __init__(self, loader: TrainingLoader) -> None:
        self.loader = loader
        self.dataset = loader.dataset
        self.batch_size = loader.batch_size
        self.n_threads = loader.threads

    def __next__(self) -> PoseBatch:
        return PoseBatch(next(self.loader))

    next = __next__

    @property
    def repeat(self) -> bool:
        """True: it gives batches without end."""
        return True

    @property
    def epoch(self) -> int:
        """Epochs completed."""
        return self.loader.epoch

    @property
    def current_position(self) -> int:
        """Examples of this epoch that were given already."""
        return self.loader.current_position

    @property
    def is_new_epoch(self) -> bool:
        """Whether the last batch completed an epoch."""
        return self.loader.is_new_epoch

    @property
    def epoch_detail(self) -> float:
        """Epochs completed, with the fraction of this one."""
        return self.loader.epoch_detail

    @property
    def previous_epoch_detail(self) -> float | None:
        """`epoch_detail` before the last batch; None before the first."""
        return self.loader.previous_epoch_detail

    def reset(self) -> None:
        """Goes back to the beginning of epoch 0."""
        self.loader.restore({"epoch": 0, "current_position": 0})

    def finalize(self) -> None:
        """Ends the threads and waits for them. It may be called again."""
        self.loader.close()

    def __copy__(self) -> PoseIterator:
        """Returns an iterator of its own threads and batches at the same place."""
        return PoseIterator(copy.copy(self.loader))

    def serialize(self, serializer: chainer.AbstractSerializer) -> None:
        """Saves the place in the stream, or goes to a saved one.

        Raises:
            KeyError: A snapshot holds no iterator.
            DeepPoseError: It was saved with another training set.
        """
        if isinstance(serializer, chainer.Deserializer):
            self.loader.restore(self._read(serializer))
        else:
            self._write(serializer)

    def _write(self, serializer: chainer.AbstractSerializer) -> None:
        state = self.loader.state()
        for key in ("current_position", "epoch", "is_new_epoch"):
            serializer(key, state[key])
        # Without a shuffle there is none, and some serializers do not know None.
        if state["order"] is not None:
            serializer("order", state["order"])
        serializer("previous_epoch_detail", _with_none_as_negative(state["previous_epoch_detail"]))

    def _read(self, serializer: chainer.AbstractSerializer) -> LoaderState:
        now = self.loader.state()
        position, epoch, new = (serializer(key, now[key]) for key in ("current_position", "epoch", "is_new_epoch"))
        # MultithreadIterator's key, and SerialIterator's before Chainer 1.24, is _order.
        orders = (_optional(serializer, key) for key in ("order", "_order"))
        order = next((order for order in orders if order is not None), None)
        try:
            previous = serializer("previous_epoch_detail", _with_none_as_negative(now["previous_epoch_detail"]))
        except KeyError:
            previous = self._guess_previous_detail(epoch, position)
        return LoaderState(
            epoch=epoch,
            current_position=position,
            order=order,
            is_new_epoch=new,
            previous_epoch_detail=None if previous is None or previous < 0 else previous,
        )

    def _guess_previous_detail(self, epoch: int, position: int) -> float | None:
        """Returns what Chainer's SerialIterator takes for it where a snapshot, of Chainer 1.13, has none."""
        if epoch == position == 0:
            return None
        return max(epoch + (position - self.batch_size) / len(self.dataset), 0.0)


def _optional(serializer: chainer.AbstractSerializer, key: str) -> NdArray | None:
    """Reads an array, or returns None where there is none."""
    try:
        return serializer(key, None)
    except KeyError:
        return None


def _with_none_as_negative(detail: float | None) -> float:
    """Returns what Chainer's iterators save for `previous_epoch_detail`."""
    return -1.0 if detail is None else detail
