"""What networks with heat maps learn: the Keras course's labels and loss, in trainings that stop and go on."""

import numpy as np
import pytest
import torch

import converters
from converters import Checkpoint, CheckpointError
from converters.families.hourglass import stacked_hourglass
from deeppose_port.backends.torch.heatmaps import labels_of, stacks_loss
from deeppose_port.backends.training import train
from deeppose_port.data import PoseDataset
from deeppose_port.training.recipes import default_for, with_recipe
from deeppose_port.training.start import starting_point
from tests.helpers.networks import random_checkpoint
from tests.helpers.trainings import resumed, run, same_bits, small_options, write_csv

pytestmark = pytest.mark.usefixtures("one_thread")

#: An hourglass that is trained in a second.
SMALL = {"architecture": "hourglass", "stacks": 2, "width": "4,4,4", "im_size": 64, "dropout": None}


def labels(fractions, mask=None, height=16, width=16):
    targets = torch.tensor(np.float32(fractions).reshape(len(fractions), -1))
    return labels_of(targets, torch.ones_like(targets) if mask is None else torch.tensor(mask), height, width).numpy()


class TestLabels:
    def test_they_are_the_program_s(self, golden):
        with np.load(golden / "keras-hourglass" / "labels.npz") as arrays:
            expected = arrays["heatmaps"].transpose(0, 3, 1, 2)
            found = labels(arrays["fraction"], height=64, width=64)
        assert expected.any(axis=(2, 3)).sum() == 76  # four joints lie outside
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)

    def test_six_pixels_are_cut_off_at_the_edges(self):
        """The program moves what is left near the upper and the left edge; that is not kept."""
        (found,) = labels([[[0.0, 0.5], [1.0, 0.5]]])
        middle = np.exp(-np.square([-3, -2, -1, 0, 1, 2]) / 2)
        expected = np.zeros((2, 16, 16))
        expected[0, 5:11, :3] = 12 * middle[:, None] * middle[3:]
        expected[1, 5:11, 13:] = 12 * middle[:, None] * middle[:3]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)

    def test_halves_go_to_even_pixels(self):
        found = labels([[[2.5 / 16, 3.5 / 16]]])[0, 0]
        assert np.unravel_index(found.argmax(), found.shape) == (4, 2)

    @pytest.mark.parametrize("hidden", [(0, 0), (0, 1), (1, 0)])
    def test_a_joint_with_an_ignored_coordinate_has_no_map(self, hidden):
        found = labels([[[0.5, 0.5], [0.5, 0.5]]], np.int32([[1, 1, *hidden]]))[0]
        assert found[0].max() == 12
        assert not found[1].any()

    def test_ignored_coordinates_may_be_anything(self):
        assert not labels([[[np.nan, 0.5]]], np.int32([[0, 1]])).any()


class TestLoss:
    def test_it_is_the_weighted_mean_of_squares_summed_over_stacks(self):
        random = np.random.RandomState(0)
        outputs = random.randn(2, 3, 4, 8, 16)
        fractions = random.rand(2, 8).astype(np.float32)
        mask = np.ones((2, 8), np.int32)
        mask[1, 2:4] = 0
        truth = labels(fractions.reshape(2, 4, 2), mask, 8, 16).astype(np.float64)[:, None]
        expected = ((outputs - truth) ** 2 * np.where(truth > 0, 82, 1)).sum(axis=1).mean()
        told = [torch.tensor(array) for array in (outputs, fractions, mask)]
        assert float(stacks_loss(*told)) == pytest.approx(expected, rel=1e-6)
        # Of a process whose part of four examples these two are.
        assert float(stacks_loss(*told, 4.0)) == pytest.approx(expected / 2, rel=1e-6)


class TestStart:
    def start(self, tmp_path, pictures, **given) -> Checkpoint:
        return starting_point(small_options(tmp_path, pictures, **{**SMALL, **given}), 7).checkpoint

    def test_width_and_stacks(self, tmp_path, pictures):
        architecture = self.start(tmp_path, pictures).architecture
        assert architecture.layers == stacked_hourglass(2, 1, 7, (4, 4, 4))
        architecture = self.start(tmp_path, pictures, width="0.05", stacks=None).architecture
        assert architecture.layers == stacked_hourglass(4, 1, 7, (4, 6, 12))

    def test_weights_begin_as_the_program_s(self, tmp_path, pictures):
        """He et al.: of a deviation of sqrt(2 / fan-in)."""
        weights = self.start(tmp_path, pictures, width="64,128,128").weights
        for name in ("conv2d.weight", "conv2d_4.weight"):
            fan_in = np.prod(weights[name].shape[1:])
            assert weights[name].std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.05)

    def test_inputs_and_learning_rate_are_the_program_s(self, tmp_path, pictures):
        assert default_for({}) == default_for({"architecture": "resnet50"}) == "modern"
        assert default_for({"init": "a.h5"}, stacked_hourglass(1)) == "course"
        assert "loss" not in with_recipe("modern", {"init": "a.h5"}, stacked_hourglass(1))
        given = with_recipe(default_for(SMALL), {**SMALL, "im_size": None})
        options = small_options(tmp_path, pictures, **given)
        start = starting_point(options, 7)
        told = start.checkpoint.preprocessing
        assert (told.im_size, told.part, told.frame, told.margin) == (256, "joints-margin", "unit", 0.2)
        assert (start.hyperparameters.algorithm, start.hyperparameters.lr) == ("adam", 0.0007)
        assert options.augmentation.margin_range == 0.1

    @pytest.mark.parametrize(
        ("given", "phrase"),
        [
            ({"stacks": 0}, "1 to 8 stacks, not 0"),
            ({"stacks": 9}, "1 to 8 stacks, not 9"),
            ({"width": "8,8"}, "neither a factor nor three channels"),
            ({"width": "x"}, "neither a factor nor three channels"),
            ({"width": "8,8,7"}, "halves them"),
            ({"width": "nan"}, "neither a factor nor three channels"),
            ({"im_size": 100}, "hourglass cannot take inputs of 100 pixels"),
            ({"architecture": "alexnet", "width": None}, "alexnet has no stacks"),
        ],
    )
    def test_what_makes_none_is_refused(self, given, phrase, tmp_path, pictures):
        with pytest.raises(ValueError, match=phrase):
            self.start(tmp_path, pictures, **given)

    def test_a_file_of_another_network_is_refused(self, golden, tmp_path, pictures):
        given = {"finetune": golden / "keras-hourglass" / "hourglass-2stack-narrow.h5", "architecture": "hourglass"}
        assert starting_point(small_options(tmp_path, pictures, **given), 7).checkpoint.architecture.stacks == 2
        converters.write(random_checkpoint(joints=7), tmp_path / "other.pt")
        with pytest.raises(CheckpointError, match="it is alexnet, not hourglass"):
            starting_point(small_options(tmp_path, pictures, **{**given, "finetune": tmp_path / "other.pt"}), 7)

    def test_a_file_of_keras_is_a_start(self, golden, tmp_path, pictures):
        """Its 16 joints become 7: what gives heat maps, and what takes them in, is drawn anew."""
        file = golden / "keras-hourglass" / "hourglass-2stack-narrow.h5"
        start = starting_point(small_options(tmp_path, pictures, finetune=file), 7)
        old, new = converters.read(file).weights, start.checkpoint.weights
        assert start.checkpoint.architecture.stacks == 2
        assert start.checkpoint.joints == 7
        changed = {name.rpartition(".")[0] for name in old if not np.array_equal(old[name], new[name])}
        assert len(changed) == 3
        assert f"its {', '.join(sorted(changed))} are drawn anew" in start.notices[-1]


class TestTraining:
    def test_it_learns_and_its_joints_are_validated(self, tmp_path, pictures):
        csv = write_csv(tmp_path / "train.csv", pictures)
        given = {**SMALL, "stacks": 1, "epochs": 6, "lr": 0.01, "valid_freq": 6, "snapshot": 6}
        watch = run(tmp_path, pictures, **given, test_csv=csv)
        assert sum(watch.losses[-2:]) < 0.97 * sum(watch.losses[:2])
        entry = watch.entries[-1]
        assert 0 < entry["validation/main/mean_error_px"] < 500
        checkpoint = converters.read(tmp_path / "results" / "epoch-6.pt")
        assert (checkpoint.architecture.name, checkpoint.architecture.stacks) == ("hourglass", 1)
        assert checkpoint.preprocessing.part == "joints-margin"

    def test_a_run_that_went_on_is_the_same_to_the_bit(self, tmp_path, pictures):
        random = {"fliplr": True, "rotate": True, "zoom": True, "translate": True, "margin_range": 0.1, "batch_size": 4}
        random |= {"valid_freq": 0}
        run(tmp_path, pictures, **SMALL, **random, epochs=2, output=tmp_path / "at-once")
        run(tmp_path, pictures, **SMALL, **random, epochs=1)
        train(resumed(tmp_path / "results", epochs=2))  # as the command line does, with what its config.toml says
        assert same_bits(tmp_path / "at-once" / "epoch-2.pt", tmp_path / "results" / "epoch-2.pt")

    def test_losses_of_coordinates_are_refused(self, tmp_path, pictures):
        with pytest.raises(ValueError, match="--loss l1 is of coordinates, and this hourglass has heat maps"):
            run(tmp_path, pictures, **SMALL, loss="l1")
        assert "loss" not in with_recipe("modern", SMALL)

    def test_chainer_is_refused_by_name(self, tmp_path, pictures):
        with pytest.raises(ValueError, match="hourglass exists in PyTorch alone"):
            run(tmp_path, pictures, "chainer", **SMALL)


class TestMargin:
    def test_it_is_drawn_around_its_own(self, golden, tmp_path, pictures):
        told = converters.read(golden / "keras-hourglass" / "hourglass-2stack-narrow.h5").preprocessing
        dataset = PoseDataset(
            write_csv(tmp_path / "a.csv", pictures, 1), images=pictures, skeleton="flic", preprocessing=told
        )
        own, more, less, none = (dataset.view(0, 1.0, margin).crop for margin in (0.0, 0.05, -0.05, -0.3))
        assert less.width < own.width <= more.width
        assert none.width < less.width
