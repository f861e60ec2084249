"""Evaluations of a cascade's stages, against its answers to each person by itself and in closed form."""

import numpy as np
import pytest

from converters.cascade import Cascade, CloseUp, Stage
from deeppose_port.cascade import CascadePose
from deeppose_port.data import PoseDataset
from deeppose_port.evaluate.stages import evaluate_stages
from deeppose_port.pose import Pose
from tests.helpers.networks import random_checkpoint

CLOSE_UP = CloseUp(1.0, ((2, 4),))


@pytest.fixture
def dataset(pictures):
    return PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic")


def answering(bias):
    """A network of 7 joints that answers the same to every input: `bias` for every coordinate."""
    checkpoint = random_checkpoint(joints=7)
    last = {"fc8.weight": np.zeros_like(checkpoint.weights["fc8.weight"]), "fc8.bias": np.asarray(bias, np.float32)}
    return checkpoint.replace(weights={**checkpoint.weights, **last})


SPREAD = np.linspace(-0.4, 0.4, 14)


class TestClosedForm:
    def test_a_stage_that_moves_nothing_is_worth_the_one_before(self, dataset):
        cascade = Cascade((Stage((answering(SPREAD),)), Stage((answering(np.zeros(14)),), CLOSE_UP)))
        first, second = evaluate_stages(CascadePose(cascade), dataset)
        assert np.array_equal(first.predicted, second.predicted)
        assert np.abs(first.outputs - second.outputs).max() < 1e-6

    def test_a_stage_moves_each_joint_by_its_share_of_the_square(self, dataset):
        move = np.linspace(-0.2, 0.3, 14)
        cascade = Cascade((Stage((answering(SPREAD),)), Stage((answering(move),), CLOSE_UP)))
        first, second = evaluate_stages(CascadePose(cascade), dataset)
        side = np.linalg.norm(first.predicted[:, 2] - first.predicted[:, 4], axis=1)
        expected = first.predicted + side[:, None, None] * move.reshape(7, 2)
        np.testing.assert_allclose(second.predicted, expected, atol=1e-3)

    def test_the_loss_is_of_where_the_joints_are(self, dataset):
        """In the first stage's frame, as its own: a stage that finds every joint has none."""
        cascade = Cascade((Stage((answering(SPREAD),)), Stage((answering(np.zeros(14)),), CLOSE_UP)))
        first, second = evaluate_stages(CascadePose(cascade), dataset)
        assert second["loss"].overall == pytest.approx(first["loss"].overall, rel=1e-5)


def test_persons_together_are_answered_as_each_by_itself(dataset):
    checkpoint = random_checkpoint(joints=7)
    cascade = Cascade((Stage((checkpoint,)), *(Stage((checkpoint,), CLOSE_UP),) * 2))
    pose = CascadePose(cascade)
    evaluations = evaluate_stages(pose, dataset)
    assert np.array_equal(evaluations[0].outputs, Pose(checkpoint)(np.stack([dataset[i][0] for i in range(13)])))
    for person in (0, 5):
        alone = pose.predict_stages(dataset.picture(person), start=evaluations[0].predicted[person])
        for stage, evaluation in enumerate(evaluations):
            scale = np.abs(evaluation.predicted[person]).max()
            np.testing.assert_allclose(evaluation.predicted[person], alone[stage], atol=1e-4 * scale)


def test_a_torso_without_length_names_the_person(dataset):
    cascade = Cascade((Stage((answering(np.zeros(14)),)), Stage((answering(np.zeros(14)),), CLOSE_UP)))
    with pytest.raises(ValueError, match=r"free\.csv, line 1, .*the torso has no length"):
        evaluate_stages(CascadePose(cascade), dataset)


def test_progress_counts_persons_in_every_stage(dataset):
    cascade = Cascade((Stage((answering(SPREAD),)), Stage((answering(np.zeros(14)),), CLOSE_UP)))
    seen = []
    evaluate_stages(CascadePose(cascade), dataset, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (26, 26)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
