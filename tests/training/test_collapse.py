import math

import numpy as np
import pytest

from deeppose_port.data import PoseDataset
from deeppose_port.training.collapse import Movement, dead_units


@pytest.fixture
def dataset(pictures):
    return PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic", im_size=64)


@pytest.fixture
def labels(dataset):
    return np.stack([dataset[i][1] for i in range(len(dataset))])


def test_one_pose_for_all_does_not_move(dataset, labels):
    assert Movement(dataset).measure(lambda inputs: np.tile(labels[0], (len(inputs), 1))) == 0


def test_the_labels_move_as_much_as_they_do(dataset, labels):
    """Where all count; half of the way to their mean is half of the movement."""
    mask = np.stack([dataset[i][2] for i in range(len(dataset))]) == 1
    known = np.where(mask, labels, np.nan)
    filled = np.where(mask, labels, np.nanmean(known, axis=0))
    spread = np.sqrt(np.mean(np.nanvar(known.astype(np.float64), axis=0)))
    expected = np.sqrt(np.mean(filled.astype(np.float64).var(axis=0))) / spread
    assert Movement(dataset).measure(lambda inputs: filled) == pytest.approx(expected, rel=1e-6)
    half = (filled + filled.mean(axis=0)) / 2
    assert Movement(dataset).measure(lambda inputs: half) == pytest.approx(expected / 2, rel=1e-5)


def test_the_pictures_are_always_the_same(dataset):
    seen = []
    movement = Movement(dataset)
    for _ in range(2):
        movement.measure(lambda inputs: seen.append(inputs.copy()) or np.zeros((len(inputs), 14), np.float32))
    assert np.array_equal(seen[0], seen[1])
    assert np.array_equal(seen[0][3], dataset[3][0])


def test_one_person_tells_nothing(dataset, pictures, tmp_path):
    (tmp_path / "one.csv").write_text((pictures / "free.csv").read_text().splitlines()[0] + "\n")
    one = PoseDataset(tmp_path / "one.csv", images=pictures, skeleton="flic", im_size=64)
    assert math.isnan(Movement(one).measure(lambda inputs: np.zeros((1, 14), np.float32)))


def test_units_that_are_dead_are_counted():
    maps = np.full((2, 4, 3, 3), -1.0, np.float32)
    maps[1, 2, 0, 0] = 0.5
    maps[:, 3] = 0
    named = [("conv1", maps), ("conv1.relu", maps), ("res2.a.relu_2", maps[:, :2]), ("fc6.relu", maps[:, :, 0, 0])]
    assert dead_units(named) == 3 + 2 + 3
