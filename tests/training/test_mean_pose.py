import numpy as np
import pytest

from deeppose_port.data import PoseDataset
from deeppose_port.data import dataset as dataset_module
from deeppose_port.metrics.evaluation import evaluation_of
from deeppose_port.metrics.predictions import predictions_of
from deeppose_port.training import mean_pose as module
from deeppose_port.training.mean_pose import mean_pose, predictions_of_pose


@pytest.fixture
def dataset(pictures):
    return PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic", im_size=64)


def test_it_is_the_mean_of_the_labels_that_count(dataset):
    examples = [dataset[i][1:] for i in range(len(dataset))]
    expected = [
        np.mean([labels[k] for labels, mask in examples if mask[k]], dtype=np.float64)
        for k in range(len(examples[0][0]))
    ]
    np.testing.assert_allclose(mean_pose(dataset), expected, rtol=1e-6)


def test_no_picture_is_decoded_for_it(pictures, monkeypatch):
    monkeypatch.setattr(dataset_module, "read_picture", lambda path, **how: pytest.fail(f"{path} is decoded"))
    dataset = PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic", im_size=64)
    predictions_of_pose(mean_pose(dataset), dataset)


def test_of_many_persons_some_are_taken_evenly(dataset, monkeypatch):
    seen = []
    view = dataset.view
    monkeypatch.setattr(module, "MOST_PERSONS", 4)
    monkeypatch.setattr(dataset, "view", lambda index: seen.append(index) or view(index))
    mean_pose(dataset)
    assert seen == [0, 3, 6, 9]


def test_it_is_evaluated_as_a_network_that_looks_at_nothing(dataset):
    pose = mean_pose(dataset)
    blind = predictions_of(lambda inputs: np.tile(pose, (len(inputs), 1)), dataset, batch_size=4)
    expected = evaluation_of(blind, dataset).as_dict()
    assert evaluation_of(predictions_of_pose(pose, dataset), dataset).as_dict() == expected
