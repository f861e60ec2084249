import shutil
from pathlib import Path

import numpy as np
import pytest

import converters
from converters import CheckpointError
from deeppose_port.training.hyperparameters import HyperparameterOptions
from deeppose_port.training.options import TrainingOptions
from deeppose_port.training.start import Start, starting_point
from tests.conftest import GOLDEN
from tests.helpers.networks import random_checkpoint

SKELETONS = {7: "flic", 16: "mpii"}
RATE = HyperparameterOptions(lr=0.5)

LEGACY_LOG = """\
INFO:root:chainer version: 1.13.0
INFO:root:Namespace(adam_alpha=0.002, adam_beta1=0.8, adam_beta2=0.99, adam_eps=1e-07, base_zoom=1.25, batchsize=8, \
coord_normalize=True, gcn=True, im_size=200, lr=0.03, lr_decay_freq=10, lr_decay_ratio=0.1, opt='{opt}', \
weight_decay=0.0005)
"""


def start_of(joints=16, **given):
    given = {"hyperparameters": RATE, **given}
    options = TrainingOptions(Path("train.csv"), Path("images"), SKELETONS[joints], **given)
    return starting_point(options, joints)


@pytest.fixture
def checkpoints(golden):
    """Golden files of a network of 16 joints, in every clone."""
    return golden / "checkpoints"


@pytest.fixture
def adam(checkpoints, tmp_path):
    """A folder of one's own with the model and the state of an Adam run: 3 updates, 1 epoch."""
    return Path(shutil.copytree(checkpoints / "1.13.0" / "alexnet-adam", tmp_path / "adam"))


class TestAnew:
    def test_it_has_nothing_behind_it_and_the_options_hyperparameters(self):
        start = start_of(7, architecture="resnet50", width="0.0625", im_size=96, gcn=False)
        assert (start.epoch, start.iteration, start.iterator, start.resumed, start.notices) == (0, 0, {}, None, ())
        assert start.checkpoint.architecture.name == "resnet50"
        assert start.checkpoint.joints == 7
        assert (start.checkpoint.preprocessing.im_size, start.checkpoint.preprocessing.gcn) == (96, "none")
        assert (start.hyperparameters.algorithm, start.hyperparameters.lr) == ("adam", 0.5)

    def test_init_takes_the_weights_and_nothing_else(self, adam):
        start = start_of(init=adam / "epoch-1.model", hyperparameters=HyperparameterOptions(opt="AdaGrad"))
        expected = converters.read(adam / "epoch-1.model")
        assert all(np.array_equal(start.checkpoint.weights[key], array) for key, array in expected.weights.items())
        assert start.checkpoint.optimizer is None
        assert (start.epoch, start.iteration, start.hyperparameters.lr) == (0, 0, 0.01)

    @pytest.mark.parametrize("how", ["init", "finetune"])
    def test_a_file_that_leaves_a_choice_is_what_the_options_say(self, how, adam):
        start = start_of(**{how: adam / "epoch-1.model"}, architecture="alexnet-takiyu")
        assert start.checkpoint.architecture.name == "alexnet-takiyu"
        assert start.checkpoint.preprocessing.gcn == "none"
        with pytest.raises(CheckpointError, match="its arrays are not those of resnet50"):
            start_of(**{how: adam / "epoch-1.model"}, architecture="resnet50")

    def test_init_with_other_joints_names_finetune(self, adam):
        with pytest.raises(CheckpointError, match=r"16 joints, but flic has 7 \(--finetune in place of --init draws"):
            start_of(init=adam / "epoch-1.model", joints=7)

    def test_preprocessing_is_the_checkpoints_and_the_options_come_first(self, adam):
        (adam / "log.txt").write_text(LEGACY_LOG.format(opt="Adam"))
        start = start_of(init=adam / "epoch-1.model")
        assert (start.checkpoint.preprocessing.im_size, start.checkpoint.preprocessing.base_zoom) == (200, 1.25)
        start = start_of(init=adam / "epoch-1.model", im_size=220, coord_normalize=False)
        assert (start.checkpoint.preprocessing.im_size, start.checkpoint.preprocessing.base_zoom) == (220, 1.25)
        assert not start.checkpoint.preprocessing.coord_normalize

    def test_an_input_that_the_network_cannot_take_is_refused(self, adam):
        with pytest.raises(
            CheckpointError, match=r"epoch-1\.model: its network takes inputs of 197 to 228 pixels a side, not 300"
        ):
            start_of(init=adam / "epoch-1.model", im_size=300)

    @pytest.mark.parametrize("how", ["init", "resume"])
    def test_another_number_of_joints_is_refused(self, how, adam):
        with pytest.raises(CheckpointError, match=r"epoch-1\.model: it has 16 joints, but flic has 7"):
            start_of(7, **{how: adam / "epoch-1.model"})

    @pytest.mark.parametrize("how", ["init", "resume"])
    def test_numbers_that_are_not_finite_are_told(self, how, adam):
        checkpoint = converters.read(adam / "epoch-1.model")
        checkpoint.weights["fc8.bias"][:2] = np.nan, -np.inf
        converters.write(checkpoint, adam / "epoch-1.model", force=True, layout="head")
        start = start_of(**{how: adam / "epoch-1.model"})
        assert "fc8.bias: 1 NaN and 1 Inf became 0" in start.notices


class TestResume:
    @pytest.mark.parametrize("version", ["1.13.0", "7.8.1"])
    @pytest.mark.parametrize("algorithm", ["adam", "momentumsgd", "adagrad", "rmsprop"])
    @pytest.mark.parametrize("suffix", [".model", ".state"])
    def test_model_and_state(self, version, algorithm, suffix, checkpoints):
        path = checkpoints / version / f"alexnet-{algorithm}" / f"epoch-1{suffix}"
        start = start_of(resume=path)
        assert (start.epoch, start.iteration, start.resumed) == (1, 3, path)
        assert (start.hyperparameters.algorithm, start.hyperparameters.lr) == (algorithm, 0.5)
        assert start.checkpoint.optimizer.step == 3
        assert start.iterator == {}

    @pytest.mark.parametrize("name", ["1.13.0/trainer-serial", "1.13.0/trainer-multiprocess", "5.4.0/trainer-serial"])
    def test_snapshot(self, name, checkpoints):
        start = start_of(resume=checkpoints / name / "snapshot_iter_2")
        assert (start.epoch, start.iteration) == (1, 2)
        with np.load(checkpoints / name / "snapshot_iter_2") as arrays:
            key = "updater/iterator:main/order"
            expected = arrays[key] if key in arrays else arrays[key.replace("order", "_order")]
        position, order = start.position(persons=4, batch_size=2)
        assert position == (1, 0)
        assert order.tolist() == expected.tolist()

    def test_another_optimizer_is_refused(self, adam):
        with pytest.raises(
            CheckpointError, match=r"the state of Adam, not of rmsprop \(leave --opt out, or .*--init\)"
        ):
            start_of(resume=adam / "epoch-1.model", hyperparameters=HyperparameterOptions(opt="rmsprop", lr=0.1))
        assert start_of(resume=adam / "epoch-1.model", hyperparameters=HyperparameterOptions(opt="adam", lr=0.1))

    def test_weights_alone_are_refused(self, adam):
        (adam / "epoch-1.state").unlink()
        with pytest.raises(CheckpointError, match=r"it holds no optimizer's state.*put the \.state beside.*--init"):
            start_of(resume=adam / "epoch-1.model")

    @pytest.mark.parametrize("how", [{}, {"opt": "adam"}])
    def test_an_algorithm_that_is_not_here_is_named(self, how, adam):
        with np.load(adam / "epoch-1.state") as state:
            arrays = {key: state[key] for key in ("t", "epoch")}
        with (adam / "epoch-1.state").open("wb") as file:
            np.savez(file, **arrays)
        with pytest.raises(CheckpointError, match=r"the state of sgd, .* only with Adam, .*or RMSprop \(.*--init\)"):
            start_of(resume=adam / "epoch-1.model", hyperparameters=HyperparameterOptions(lr=0.1, **how))

    @pytest.mark.parametrize("state", ["whole", "of another", "none"])
    def test_without_its_state_a_run_goes_on_with_a_new_optimizer(self, state, adam):
        if state == "none":
            (adam / "epoch-1.state").unlink()
        if state == "of another":
            (adam / "epoch-1.state").write_bytes(b"no")
            with pytest.raises(CheckpointError, match=r"cannot go on: .*epoch-1\.state: this is text.*--no-state"):
                start_of(resume=adam / "epoch-1.model")
        how = {"resume": adam / "epoch-1.model", "state": False}
        start = start_of(**how, hyperparameters=HyperparameterOptions(opt="MomentumSGD", lr=0.5))
        assert (start.checkpoint.optimizer, start.epoch) == (None, 1)
        assert (start.hyperparameters.algorithm, start.hyperparameters.lr) == ("momentumsgd", 0.5)
        assert "its optimizer starts afresh" in start.notices
        assert start_of(**how).hyperparameters.algorithm == "adam"
        assert start_of(**how, start_epoch=7).epoch == 7

    def test_layers_that_were_not_updated_are_named(self, adam):
        with np.load(adam / "epoch-1.state") as state:
            arrays = {key: state[key] for key in state.files if "/conv1/" not in key}
        with (adam / "epoch-1.state").open("wb") as file:
            np.savez(file, **arrays)
        with pytest.raises(CheckpointError, match=r"did not update conv1\.\{bias,weight\}, .* \(.*--init\)"):
            start_of(resume=adam / "epoch-1.model")

    def test_where_nothing_tells_the_epoch_the_error_says_which_option(self, adam):
        for suffix in (".model", ".state"):
            (adam / f"epoch-1{suffix}").rename(adam / f"mine{suffix}")
        with pytest.raises(CheckpointError, match=r"how many epochs are behind it \(say it with --start-epoch\)"):
            start_of(resume=adam / "mine.model")
        start = start_of(resume=adam / "mine.model", start_epoch=7)
        assert (start.epoch, start.iteration) == (7, 3)

    def test_what_takiyus_program_left_goes_on_at_its_epoch(self, tmp_path):
        """`loss_s0.npz` has a loss an epoch, which is how the program counts them."""
        model = tmp_path / "model_s0.npz"
        shutil.copy(GOLDEN / "takiyu-cascade" / "best_model_s0.npz", model)
        with np.load(model) as arrays:
            velocities = {f"{key}/v": np.full_like(arrays[key], 0.25) for key in arrays.files}
        np.savez(tmp_path / "optimizer_s0.npz", t=np.array(77), epoch=np.array(0), **velocities)
        options = TrainingOptions(
            Path("train.csv"),
            Path("images"),
            "nine",
            resume=model,
            architecture="alexnet-takiyu",
            hyperparameters=HyperparameterOptions(lr=0.01),
        )
        with pytest.raises(CheckpointError, match="say it with --start-epoch"):
            starting_point(options, 9)
        np.savez(tmp_path / "loss_s0.npz", train=[0.5, 0.25], test=[0.6, 0.3])
        start = starting_point(options, 9)
        assert (start.epoch, start.iteration, start.hyperparameters.algorithm) == (2, 77, "momentumsgd")
        assert all((array == 0.25).all() for array in start.checkpoint.optimizer.slots["v"].values())


class TestHyperparameters:
    @pytest.mark.parametrize(("algorithm", "option"), [("adam", "--adam-alpha"), ("adagrad", "--lr")])
    def test_where_nothing_tells_the_rate_the_error_says_which_option(self, algorithm, option, checkpoints):
        path = checkpoints / "1.13.0" / f"alexnet-{algorithm}" / "epoch-1.model"
        with pytest.raises(CheckpointError, match=rf"the learning rate.*log\.txt.*\(say it with {option}\)"):
            start_of(resume=path, hyperparameters=HyperparameterOptions(momentum=0.5))

    def test_the_log_beside_tells(self, adam):
        (adam / "log.txt").write_text(LEGACY_LOG.format(opt="Adam"))
        start = start_of(resume=adam / "epoch-1.model", hyperparameters=HyperparameterOptions(adam_beta1=0.7))
        hyper = start.hyperparameters
        assert (hyper.lr, hyper.beta1, hyper.beta2, hyper.eps) == (0.002, 0.7, 0.99, 1e-7)
        assert (hyper.weight_decay, hyper.lr_decay_freq) == (0, 0)
        assert hyper.learning_rate(1000, 2000) == 0.002
        assert f"hyper-parameters that were not given come from {adam / 'log.txt'}" in start.notices

    def test_the_log_of_another_optimizer_tells_nothing(self, adam):
        (adam / "log.txt").write_text(LEGACY_LOG.format(opt="RMSprop"))
        with pytest.raises(CheckpointError, match="say it with --adam-alpha"):
            start_of(resume=adam / "epoch-1.model", hyperparameters=HyperparameterOptions())


class TestPosition:
    def start(self, epoch, iteration, **iterator):
        arrays = {key: np.array(value) for key, value in iterator.items()}
        return Start(random_checkpoint(), None, epoch, iteration, arrays)

    @pytest.mark.parametrize(
        ("epoch", "iteration", "persons", "batch_size", "expected"),
        [
            (0, 0, 6, 4, (0, 0)),
            (1, 2, 6, 4, (1, 2)),  # the second batch has taken two of the next epoch
            (2, 3, 6, 4, (2, 0)),
            (1, 3, 6, 4, (1, 0)),  # as many too far as there are persons
            (3, 6, 6, 3, (3, 0)),
            (1, 900, 6, 4, (1, 0)),  # it was trained with other persons or batches
            (9, 3, 6, 4, (9, 0)),
        ],
    )
    def test_it_follows_from_epoch_and_iteration(self, epoch, iteration, persons, batch_size, expected):
        position, order = self.start(epoch, iteration).position(persons, batch_size)
        assert (position, order) == (expected, None)

    @pytest.mark.parametrize("key", ["order", "_order"])
    def test_a_snapshots_order_is_gone_on_with(self, key):
        start = self.start(2, 5, current_position=1, **{key: [2, 0, 1]})
        position, order = start.position(persons=3, batch_size=4)
        assert position == (2, 1)
        assert order.tolist() == [2, 0, 1]

    @pytest.mark.parametrize("order", [[2, 0, 1], [0, 1, 2, 2], [[0, 1], [2, 4]]])
    def test_an_order_of_another_training_set_is_none(self, order):
        start = self.start(2, 5, current_position=1, order=order)
        assert start.position(persons=4, batch_size=2) == ((2, 2), None)


class TestFolder:
    """`--resume FOLDER` takes the checkpoint that has most of the run behind it."""

    @pytest.fixture
    def folder(self, checkpoints, tmp_path):
        """A legacy folder with a snapshot of epoch 1, and model and state of it."""
        shutil.copy(checkpoints / "1.13.0" / "trainer-serial" / "snapshot_iter_2", tmp_path)
        for name in ("epoch-1.model", "epoch-1.state"):
            shutil.copy(checkpoints / "1.13.0" / "alexnet-adam" / name, tmp_path)
        return tmp_path

    def test_a_snapshot_comes_before_the_model_of_its_epoch(self, folder):
        assert start_of(resume=folder).resumed == folder / "snapshot_iter_2"

    def test_a_model_of_a_later_epoch_comes_before_the_snapshot(self, folder):
        """A run was killed after it wrote the model and before the snapshot."""
        for suffix in (".model", ".state"):
            (folder / f"epoch-1{suffix}").rename(folder / f"epoch-2{suffix}")
        start = start_of(resume=folder)
        assert (start.resumed, start.epoch) == (folder / "epoch-2.model", 2)

    def test_numbers_are_compared_as_numbers(self, folder):
        shutil.copy(folder / "snapshot_iter_2", folder / "snapshot_iter_10")
        assert start_of(resume=folder).resumed == folder / "snapshot_iter_10"

    def test_models_alone(self, folder):
        (folder / "snapshot_iter_2").unlink()
        assert start_of(resume=folder).resumed == folder / "epoch-1.model"

    def test_what_a_killed_run_left_is_no_checkpoint(self, folder):
        (folder / ".snapshot_iter_4.0123abcd.tmp").write_bytes(b"PK")
        (folder / "tmpsnapshot_iter_4x8s7df").write_bytes(b"PK")
        assert start_of(resume=folder).resumed == folder / "snapshot_iter_2"

    def test_a_folder_without_any_is_refused(self, tmp_path):
        with pytest.raises(CheckpointError, match=r"this folder holds no snapshot_iter_N and no epoch-N\.model"):
            start_of(resume=tmp_path)


def test_a_network_without_maps_has_no_loss_of_them():
    with pytest.raises(
        converters.DeepPoseError, match=r"alexnet does not end with the soft-argmax .* no --heatmap-loss"
    ):
        start_of(7, architecture="alexnet", width="0.05", heatmap_loss=0.02)


def test_a_network_without_dropout_is_said_to_have_none():
    def notices(name):
        return start_of(7, architecture=name, width="0.05", dropout=0.6).notices

    assert notices("resnet50") == ("resnet50 has no dropout, so that --dropout changes nothing",)
    assert notices("alexnet") == ()
