"""Batches that processes make are those of the threads, and end where the training does."""

import signal

import numpy as np
import pytest

pytest.importorskip("torch")
import cv2

from deeppose_port.backends.torch.streams import WorkerStream, _begin_worker
from deeppose_port.data import PoseDataset
from deeppose_port.data.loader import TrainingLoader


def test_a_process_lets_the_main_one_decide_on_ctrl_c():
    """A terminal sends it to all; as a system's first start of Python leaves it, it would end the process."""
    before, threads = signal.signal(signal.SIGINT, signal.default_int_handler), cv2.getNumThreads()
    try:
        _begin_worker(0)
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
        cv2.setNumThreads(threads)


def test_they_are_those_of_the_threads_until_the_epochs_are_through(pictures):
    dataset = PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic", im_size=32)
    with TrainingLoader(dataset, 5, seed=3, epochs=2) as loader:
        expected = [next(loader) for _ in range(6)]  # 13 persons twice, five at a time
    with TrainingLoader(dataset, 5, seed=3, epochs=2) as loader:
        stream = WorkerStream(loader, 1, pin=False)
        for batch in expected:
            assert all(map(np.array_equal, next(stream), batch))
        with pytest.raises(StopIteration):
            next(stream)
        stream.close()
