import os
import threading
import time

import cv2
import numpy as np
import pytest

from converters.checkpoint import Preprocessing
from deeppose_port.data import DatasetError, PoseDataset
from deeppose_port.data.batches import batches
from tests.helpers.streams import wait_until


@pytest.fixture
def free(pictures):
    return PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic")


class Numbers:
    """A dataset of 10 examples that are their index, which takes note of who asked for what."""

    preprocessing = Preprocessing(im_size=2)
    coordinates = 4

    def __init__(self, fails=None, seconds=0.0):
        self.fails = fails
        self.seconds = seconds
        self.asked = []

    def __len__(self):
        return 10

    def example(self, index, out):
        self.asked.append(index)
        time.sleep(self.seconds)
        if index == self.fails:
            raise DatasetError(f"no example {index}")
        out[...] = index
        return out, np.full(4, index, np.float32), np.ones(4, np.int32)


def in_time(work, seconds=20):
    """Runs work in a thread and fails instead of waiting for ever."""
    result = []

    def run():
        try:
            result.append(work())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"
    return result[0]


class TestBatches:
    @pytest.mark.parametrize("size", [1, 4, 13, 32])
    def test_every_example_comes_once_and_in_order(self, free, size):
        parts = list(batches(free, size))
        assert [len(inputs) for inputs, _, _ in parts] == [size] * (13 // size) + [13 % size] * (13 % size > 0)
        for i, array in enumerate(np.concatenate(kind) for kind in zip(*parts, strict=True)):
            expected = np.stack([example[i] for example in free])
            assert array.dtype == expected.dtype
            assert np.array_equal(array, expected)

    def test_inputs_are_written_straight_into_the_batch(self, free, monkeypatch):
        places = []
        original = PoseDataset.example
        monkeypatch.setattr(
            PoseDataset, "example", lambda self, index, out: places.append(out) or original(self, index, out)
        )
        (batch,) = batches(free, 13)
        assert len(places) == 13
        assert all(np.shares_memory(place, batch[0]) for place in places)

    def test_some_examples_come_in_the_order_asked_for(self):
        parts = list(batches(Numbers(), 2, [7, 1, 4]))
        assert [targets[:, 0].tolist() for _, targets, _ in parts] == [[7, 1], [4]]
        assert list(batches(Numbers(), 2, [])) == []

    def test_next_batch_is_made_while_one_is_used(self):
        dataset = Numbers()
        stream = batches(dataset, 3)
        next(stream)
        assert wait_until(lambda: len(dataset.asked) >= 6)
        assert sorted(dataset.asked) == [0, 1, 2, 3, 4, 5]  # and no further: two batches are in memory at most
        stream.close()

    @pytest.mark.parametrize("size", [0, -1])
    def test_batch_size_has_to_be_positive(self, size):
        with pytest.raises(ValueError, match=f"the batch size is {size}; it has to be at least 1"):
            next(batches(Numbers(), size))


class TestFailures:
    def test_failing_example_ends_the_run_with_its_error(self):
        dataset = Numbers(fails=4, seconds=0.01)
        seen = []

        def run():
            seen.extend(len(inputs) for inputs, _, _ in batches(dataset, 3))

        error = in_time(run)
        assert isinstance(error, DatasetError)
        assert str(error) == "no example 4"
        assert seen == [3]  # what was whole before it was given out

    def test_picture_that_cannot_be_decoded_ends_the_run_with_its_error(self, tmp_path):
        coordinates = ",10,20,50,20,50,60,10,60,30,30,40,40,-1,-1"
        cv2.imwrite(str(tmp_path / "a.png"), np.zeros((100, 80, 3), np.uint8))
        (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
        (tmp_path / "persons.csv").write_text("\n".join(["a.png" + coordinates] * 5 + ["b.png" + coordinates]))
        dataset = PoseDataset(tmp_path / "persons.csv", images=tmp_path, skeleton="flic")
        error = in_time(lambda: list(batches(dataset, 2)))
        assert isinstance(error, DatasetError)
        assert "line 6" in str(error)
        assert "cannot be decoded" in str(error)

    def test_user_who_stops_half_way_leaves_no_work_behind(self, monkeypatch):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1}, raising=False)
        dataset = Numbers(seconds=0.05)
        before = threading.active_count()

        def run():
            for _ in batches(dataset, 5):
                raise KeyboardInterrupt

        assert isinstance(in_time(run), KeyboardInterrupt)
        assert threading.active_count() == before
        assert len(dataset.asked) < 10  # what had not begun was called off

    def test_opencvs_own_threads_are_off_meanwhile(self):
        before = cv2.getNumThreads()
        cv2.setNumThreads(3)
        try:
            assert [cv2.getNumThreads() for _ in batches(Numbers(), 5)] == [1, 1]
            assert cv2.getNumThreads() == 3
            with pytest.raises(DatasetError):
                list(batches(Numbers(fails=7), 5))
            assert cv2.getNumThreads() == 3
        finally:
            cv2.setNumThreads(before)
