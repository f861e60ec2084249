import importlib.util
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import converters
import deeppose_port
from converters import Architecture, CheckpointError
from converters.errors import DeepPoseError
from deeppose_port import cli
from deeppose_port.backends.training import train
from deeppose_port.data import DatasetError, PoseDataset, loader
from deeppose_port.evaluate.evaluate import evaluate
from deeppose_port.training.folder import ResultFolder
from deeppose_port.training.guard import Guard
from deeppose_port.training.hyperparameters import Hyperparameters
from tests.helpers.metrics import pdj
from tests.helpers.networks import SKELETONS, dataset_of, random_checkpoint
from tests.helpers.streams import loader_threads
from tests.helpers.trainings import (
    RANDOM,
    RULES,
    Recorded,
    interrupt,
    persons,
    rule_error,
    rule_gradients,
    run,
    same_bits,
    small_checkpoint,
    small_options,
    trajectory_batches,
    trajectory_weights,
    weight_error,
    weights_of,
    write_csv,
)

if importlib.util.find_spec("chainer") is None:
    pytest.skip("Chainer is not installed", allow_module_level=True)

from deeppose_port.backends.chainer import DeepPose
from deeppose_port.backends.chainer import training as chainer_training
from deeppose_port.backends.chainer.iterator import PoseBatch
from deeppose_port.backends.chainer.loss import PoseEstimationError
from deeppose_port.backends.chainer.networks import chainer, load_weights, read_weights
from deeppose_port.backends.chainer.optimizers import make_optimizer
from deeppose_port.backends.chainer.updater import PoseUpdater

pytestmark = pytest.mark.usefixtures("no_thread_survives")
FIVE = {"epochs": 5, **RANDOM}


@pytest.fixture
def small(tmp_path, pictures):
    """Runs a small training in Chainer into `results` or another folder, and returns what it told."""

    def training(output="results", at=None, **given):
        return run(tmp_path, pictures, "chainer", at, **{"output": tmp_path / output, **given})

    return training


@pytest.fixture(scope="module")
def whole(tmp_path_factory, pictures):
    """The folder of an uninterrupted run of 5 epochs, of which every epoch's checkpoint is kept."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, pictures, "chainer", **FIVE)
    return folder / "results"


def hyper_of(name):
    given = RULES[name]
    return Hyperparameters(name.lower(), **given)


class TestAgainstChainer:
    @pytest.mark.parametrize("name", RULES)
    def test_twenty_updates_are_those_of_chainer_1_13(self, name, golden):
        start, gradients = rule_gradients()
        with np.load(golden / "training" / "update-rules-chainer1.13.npz") as arrays:
            np.testing.assert_array_equal(arrays[f"{name}_W0"], start)
            expected = arrays[f"{name}_W20"]
        link = chainer.Link()
        with link.init_scope():
            link.W = chainer.Parameter(start.copy())
        optimizer = make_optimizer(hyper_of(name)).setup(link)
        if hyper_of(name).weight_decay:
            optimizer.add_hook(chainer.optimizer_hooks.WeightDecay(hyper_of(name).weight_decay))
        for gradient in gradients:
            link.W.grad = gradient.copy()
            optimizer.update()
        assert rule_error(link.W.array, expected, start) <= 1e-6

    @pytest.mark.parametrize("name", ["Adam", "MomentumSGD", "AdaGrad"])
    def test_twenty_steps_follow_chainer_1_13(self, name, golden):
        widths = {"conv1": 8, "conv2": 12, "conv3": 16, "conv4": 16, "conv5": 12, "fc6": 32, "fc7": 32}
        architecture = Architecture("alexnet", 16, widths, 6, "chainer-1.13.0")
        network = DeepPose(architecture, dropout=0.0, initial_weights=0)
        with np.load(golden / "training" / "trajectories-chainer1.13.npz") as arrays:
            load_weights(network, trajectory_weights(arrays, "0", architecture))
            losses = arrays[f"{name}|loss"]
            end = None if name == "Adam" else trajectory_weights(arrays, f"{name}|20", architecture)
        optimizer = make_optimizer(hyper_of(name)).setup(PoseEstimationError(network))
        if hyper_of(name).weight_decay:
            optimizer.add_hook(chainer.optimizer_hooks.WeightDecay(hyper_of(name).weight_decay))
        rate = hyper_of(name).lr
        given = {"seed": 0, "guard": Guard(skips=False), "rate": lambda epoch: rate}
        updater = PoseUpdater(Given(trajectory_batches()), optimizer, {"main": chainer.get_device("@numpy")}, **given)
        found = []
        for _ in range(20):
            updater.update()
            found.append(updater.loss)
        np.testing.assert_allclose(found, losses, rtol=1e-3)
        if end is not None:
            assert weight_error(read_weights(network), end) <= 2e-5


class Given(chainer.dataset.Iterator):
    """Given batches."""

    epoch, epoch_detail, is_new_epoch = 0, 0.0, False

    def __init__(self, batches):
        self.batches = batches

    def next(self):
        return PoseBatch(next(self.batches))


class TestFiles:
    def test_a_run_leaves_what_the_legacy_program_left(self, whole):
        # 6 persons in batches of 4
        epochs, iterations = (1, 2, 3, 4, 5), (2, 3, 5, 6, 8)
        models = {f"epoch-{epoch}.{kind}" for epoch in epochs for kind in ("model", "state")}
        snapshots = {f"snapshot_iter_{iteration}" for iteration in iterations}
        assert {file.name for file in whole.iterdir()} == models | snapshots | {"config.toml", "log", "log.txt"}

    @pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
    def test_its_curves_are_drawn(self, tmp_path, pictures):
        run(tmp_path, pictures, "chainer", plots=True, epochs=1)
        assert cv2.imread(str(tmp_path / "results" / "loss.png")).std() > 0

    def test_a_pipe_in_the_place_of_the_curves_is_not_replaced(self, tmp_path, monkeypatch):
        os.mkfifo(tmp_path / "loss.png")
        monkeypatch.setattr(
            chainer_training.extensions.PlotReport,
            "__call__",
            lambda self, trainer: Path(self._file_name).write_bytes(b"curves"),
        )
        run = SimpleNamespace(folder=SimpleNamespace(path=tmp_path))
        plot = chainer_training._Plot(run, SimpleNamespace(saved=True))
        with pytest.raises(DeepPoseError, match=r"loss\.png: this is a device or a pipe, which is never replaced"):
            plot(None)
        assert [(path.name, path.is_fifo()) for path in tmp_path.iterdir()] == [("loss.png", True)]
        (tmp_path / "loss.png").unlink()
        plot(None)
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("loss.png", b"curves")]

    def test_every_checkpoint_holds_its_weights_optimizer_and_progress(self, whole):
        for epoch, iteration in zip((1, 2, 3, 4, 5), (2, 3, 5, 6, 8), strict=True):
            snapshot = converters.read(whole / f"snapshot_iter_{iteration}")
            for name in (f"epoch-{epoch}.model", f"snapshot_iter_{iteration}"):
                checkpoint = converters.read(whole / name)
                assert (checkpoint.source.writer, checkpoint.notices) == ("chainer-7.8.1", ())
                assert (checkpoint.progress.epoch, checkpoint.progress.iteration) == (epoch, iteration)
                optimizer = checkpoint.optimizer
                assert (optimizer.algorithm, optimizer.step, optimizer.epoch) == ("adam", iteration, epoch)
                assert checkpoint.preprocessing.im_size == 64
                assert same_bits(whole / name, whole / f"snapshot_iter_{iteration}")
            trainer = snapshot.trainer
            assert trainer["updater/iterator:main/epoch"] == epoch
            assert trainer["updater/iterator:main/current_position"] == 4 * iteration - 6 * epoch
            assert sorted(trainer["updater/iterator:main/order"]) == list(range(6))

    def test_npz_are_like_chainers(self, whole, golden):
        def kinds(path, part=""):
            with np.load(path) as arrays:
                return {key: array.dtype.kind for key, array in arrays.items() if key.startswith(part)}

        chainers = golden / "checkpoints" / "7.8.1"
        for name in ("epoch-1.model", "epoch-1.state"):
            assert kinds(whole / name) == kinds(chainers / "alexnet-adam" / name)
        snapshots = whole / "snapshot_iter_2", chainers / "trainer-multiprocess" / "snapshot_iter_2"
        for part in ("updater/", "extensions/LogReport/_log", "_snapshot_elapsed_time"):
            assert kinds(snapshots[0], part) == kinds(snapshots[1], part)

    def test_log_and_log_txt_tell_the_losses(self, small):
        watch = small(test_csv=None, epochs=2, valid_freq=0, output="logged")
        (path,) = {file.parent for files in watch.files for file in files}
        log = json.loads((path / "log").read_text())
        assert [entry["iteration"] for entry in log] == [1, 2, 3, 4]
        assert [entry["epoch"] for entry in log] == [0, 1, 1, 2]
        assert [entry["main/loss"] for entry in log] == pytest.approx(watch.losses)
        assert log == watch.entries
        text = (path / "log.txt").read_text().splitlines()
        assert text[0] == "INFO:root:chainer version: 7.8.1"
        assert text[1].startswith("INFO:root:Namespace(")
        assert text[2:] == [f"INFO:root:epoch:{entry['epoch']}, main/loss:{entry['main/loss']}, " for entry in log]

    def test_progress_tells_rates(self, small):
        watch = small(epochs=1)
        assert [step.iteration for step in watch.steps] == [1, 2]
        assert [step.epoch for step in watch.steps] == [0.5, 1]
        assert all(step.pictures_per_second > 0 and 0 <= step.waiting <= 1 for step in watch.steps)
        assert {"pictures_per_second", "waiting", "elapsed_time"} <= watch.entries[-1].keys()


class Plain(chainer.Chain):
    def __init__(self, predictor):
        super().__init__()
        with self.init_scope():
            self.predictor = predictor


class TestRealChainer:
    """What a plain program for Chainer 7.8.1 makes of the files."""

    @pytest.fixture
    def model(self, whole):
        return Plain(DeepPose(converters.read(whole / "epoch-5.model").architecture))

    def test_the_model_loads_into_a_chain(self, whole, model):
        chainer.serializers.load_npz(whole / "epoch-5.model", model)
        weights = read_weights(model.predictor)
        expected = weights_of(whole / "epoch-5.model")
        assert all(np.array_equal(weights[name], array) for name, array in expected.items())

    def test_the_state_loads_into_an_optimizer(self, whole, model):
        optimizer = chainer.optimizers.Adam().setup(model)
        chainer.serializers.load_npz(whole / "epoch-5.state", optimizer)
        expected = converters.read(whole / "epoch-5.model").optimizer
        assert (optimizer.t, optimizer.epoch) == (8, 5)
        rule = model.predictor.fc8.W.update_rule
        assert rule.t == 8
        for slot in ("m", "v"):
            assert np.array_equal(rule.state[slot], expected.slots[slot]["fc8.weight"])

    @pytest.mark.filterwarnings("ignore:The previous value of:UserWarning")  # of the stop trigger, which is not ours
    def test_the_snapshot_loads_into_a_trainer_which_goes_on(self, whole, model, tmp_path, pictures):
        dataset = PoseDataset(write_csv(tmp_path / "train.csv", pictures), images=pictures, skeleton="flic", im_size=64)
        iterator = chainer.iterators.SerialIterator(dataset, 4)
        error = PoseEstimationError(model.predictor)
        optimizer = chainer.optimizers.Adam().setup(error)
        updater = chainer.training.StandardUpdater(iterator, optimizer)
        trainer = chainer.training.Trainer(updater, (9, "iteration"), tmp_path)
        chainer.serializers.load_npz(whole / "snapshot_iter_8", trainer)
        assert (updater.iteration, iterator.epoch, iterator.current_position, optimizer.t) == (8, 5, 2, 8)
        order = converters.read(whole / "snapshot_iter_8").trainer["updater/iterator:main/order"]
        assert np.array_equal(iterator.next()[0][0], dataset[order[2]][0])
        trainer.run()
        assert (updater.iteration, optimizer.t) == (9, 9)


class TestSameRun:
    @pytest.mark.parametrize("threads", [2, 24])
    def test_number_of_threads_does_not_matter(self, threads, small, tmp_path, whole):
        small(threads=threads, **{**FIVE, "snapshot": 5})
        assert same_bits(tmp_path / "results" / "snapshot_iter_8", whole / "snapshot_iter_8")

    def test_checkpoints_and_validations_do_not_disturb_it(self, small, tmp_path, whole):
        # `whole` wrote a checkpoint after every epoch
        watch = small(**FIVE | {"snapshot": 100, "valid_freq": 1, "test_csv": tmp_path / "train.csv"})
        assert [len(files) for files in watch.files if "snapshot_iter_8" in [f.name for f in files]] == [3]
        assert sum("validation/main/loss" in entry for entry in watch.entries) == 5
        assert same_bits(tmp_path / "results" / "snapshot_iter_8", whole / "snapshot_iter_8")

    def test_the_seed_decides_the_order_and_the_augmentation(self, small, tmp_path, pictures):
        converters.write(small_checkpoint(), tmp_path / "first.model")
        given = {"init": tmp_path / "first.model", "epochs": 1, "lr": 1e-9}

        def losses(name, **more):
            return small(name, **given, **more).losses

        plain = losses("plain")
        assert losses("again") == plain
        assert losses("another order", seed=3) != plain
        one = losses("one batch", batch_size=6)
        assert losses("one batch in another order", batch_size=6, seed=3) == pytest.approx(one, rel=1e-5)
        varied = losses("varied", batch_size=6, rotate=True)
        assert varied != pytest.approx(one, rel=1e-3)
        assert losses("varied otherwise", batch_size=6, rotate=True, seed=3) != pytest.approx(varied, rel=1e-3)

    def test_no_example_is_made_that_is_not_trained_on(self, small, monkeypatch):
        made = []
        example = loader.augmented_example
        monkeypatch.setattr(loader, "augmented_example", lambda *args: made.append(args[1]) or example(*args))
        small(epochs=2)
        assert sorted(made) == sorted([*range(6), *range(6)])

    def test_two_devices_are_one(self, small, tmp_path):
        given = {"dropout": 0.0, "batch_size": 4, "epochs": 2, "opt": "MomentumSGD"}
        one, two = small("one", **given), small("two", device="cpu,cpu", **given)
        assert two.losses == pytest.approx(one.losses, rel=1e-5)
        weights = [weights_of(tmp_path / folder / "epoch-2.model") for folder in ("one", "two")]
        assert weight_error(weights[1], weights[0]) <= 1e-6


class TestOptimizer:
    @pytest.fixture
    def rates(self, monkeypatch):
        """The learning rate of every update of MomentumSGD."""
        seen = []
        update = chainer.optimizers.MomentumSGD.update

        def spy(optimizer, *args, **kwargs):
            seen.append(optimizer.lr)
            return update(optimizer, *args, **kwargs)

        monkeypatch.setattr(chainer.optimizers.MomentumSGD, "update", spy)
        return seen

    def test_learning_rate_falls_by_epochs(self, small, rates):
        small(opt="MomentumSGD", lr=0.08, lr_decay_freq=2, lr_decay_ratio=0.5, epochs=5, batch_size=4)
        # The epochs 1, 2, … are reached after the iterations 2, 3, 5, 6, 8.
        assert rates == [0.08] * 3 + [0.04] * 3 + [0.02] * 2
        assert {type(rate) for rate in rates} == {float}

    def test_a_resumed_run_goes_on_at_the_rate_of_its_epoch(self, small, rates, tmp_path):
        given = {"opt": "MomentumSGD", "lr": 0.08, "lr_decay_freq": 2, "lr_decay_ratio": 0.5, "batch_size": 4}
        small(epochs=3, **given)
        rates.clear()
        small(epochs=5, batch_size=4, resume=tmp_path / "results")
        assert rates == [0.04] + [0.02] * 2

    def test_weight_decay_acts_on_every_parameter(self, small, tmp_path):
        checkpoint = random_checkpoint("resnet50")
        converters.write(checkpoint, tmp_path / "first.model")
        given = {
            "init": tmp_path / "first.model",
            "im_size": 64,
            "opt": "MomentumSGD",
            "lr": 0.125,
            "epochs": 1,
            "batch_size": 6,
        }
        ends = []
        for rate in (0.0, 0.5):
            small(str(rate), weight_decay=rate, **given)
            ends.append(weights_of(tmp_path / str(rate) / "epoch-1.model"))
        for name, array in checkpoint.weights.items():
            if name.endswith(("running_mean", "running_var", "num_batches_tracked")):
                assert np.array_equal(ends[1][name], ends[0][name]), name
            else:
                # v = -lr (g + rate w), w += v
                change = ends[1][name].astype(float) - ends[0][name]
                np.testing.assert_allclose(change, -0.125 * 0.5 * array, rtol=1e-3, atol=3e-7, err_msg=name)


class TestStart:
    def test_init_starts_anew_from_any_checkpoints_weights(self, small, tmp_path, golden):
        checkpoint = random_checkpoint()
        for name in ("first.model", "first.safetensors"):
            converters.write(checkpoint, tmp_path / name)
            small(f"{name}-results", init=tmp_path / name, epochs=1, lr=1e-30, opt="RMSprop")
            read = converters.read(tmp_path / f"{name}-results" / "epoch-1.model")
            assert all(np.array_equal(read.weights[key], array) for key, array in checkpoint.weights.items())
            assert (read.progress.epoch, read.progress.iteration) == (1, 2)
            assert read.optimizer.algorithm == "rmsprop"
            assert read.source.writer == "chainer-1.13.0"

    def test_files_of_older_weights_are_read_as_they_are_meant_without_their_metadata(self, small, tmp_path):
        """BatchNormalization's arithmetic is that of the weights' writer, also for who only has log.txt to go by."""
        converters.write(random_checkpoint("resnet50", writer="chainer-1.13.0"), tmp_path / "first.model")
        small(init=tmp_path / "first.model", im_size=64, epochs=1)
        model = tmp_path / "results" / "epoch-1.model"
        assert converters.read(model).source.writer == "chainer-1.13.0"
        bare = tmp_path / "results" / "bare.model"
        with np.load(model) as arrays, bare.open("wb") as stream:
            np.savez(stream, **arrays)
        assert converters.read(bare).source.writer == "chainer-1.13.0"

    def test_another_number_of_joints_is_refused(self, small, tmp_path):
        converters.write(random_checkpoint(joints=14), tmp_path / "first.model")
        with pytest.raises(CheckpointError, match=r"first\.model: it has 14 joints, but flic has 7"):
            small(init=tmp_path / "first.model")

    def test_more_devices_than_examples_in_a_batch_are_refused(self, small, tmp_path):
        with pytest.raises(ValueError, match="a batch of 1 cannot be split over 2 devices"):
            small(device="cpu,cpu", batch_size=1)
        assert not (tmp_path / "results").exists()


class TestValidation:
    def test_it_is_the_exact_loss_of_the_test_set_without_augmentation(self, small, tmp_path, pictures):
        test_csv = write_csv(tmp_path / "test.csv", pictures, count=13)
        watch = small(test_csv=test_csv, valid_freq=2, **{**FIVE, "epochs": 4})
        validated = {e["epoch"]: e for e in watch.entries if "validation/main/loss" in e}
        assert validated.keys() == {2, 4}
        dataset = PoseDataset(test_csv, images=pictures, skeleton="flic", im_size=64)
        for epoch, entry in validated.items():
            pose = deeppose_port.load(tmp_path / "results" / f"epoch-{epoch}.model", backend="chainer")
            expected = evaluate(pose, dataset)
            assert entry["validation/main/loss"] == pytest.approx(expected["loss"].overall, rel=1e-6)
            assert entry["validation/main/mean_error_px"] == pytest.approx(expected["mean_error_px"].overall, rel=1e-6)

    def test_none_is_asked_for(self, small, tmp_path):
        watch = small(test_csv=tmp_path / "train.csv", valid_freq=0, epochs=2)
        assert not any("validation/main/loss" in entry for entry in watch.entries)


def cli_arguments(tmp_path, pictures, *options):
    """The command line of a small training."""
    csv = tmp_path / "train.csv"
    if not csv.exists():
        write_csv(csv, pictures)
    data = ["--train-csv", csv, "--images", pictures, "--skeleton", "flic", "--output", tmp_path / "results"]
    small = ["--width", "2,2,2,2,2,4,4", "--im-size", "64", "--epochs", "3", "--batch-size", "4", "--snapshot", "1"]
    return ["train", "--backend", "chainer", "--recipe", "legacy", *map(str, data), *small, *options]


@pytest.mark.usefixtures("no_plots")
class TestFailures:
    def break_picture(self, tmp_path, pictures):
        """Copies the free pictures; returns the copy, the CSV of two persons on each, and what breaks a picture."""
        copy = tmp_path / "pictures"
        copy.mkdir()
        for name in ("astronaut.png", "chelsea.png", "coffee.png"):
            shutil.copy(pictures / name, copy)
        csv = tmp_path / "train.csv"
        lines = persons(pictures)
        csv.write_text(
            "".join(
                f"{line}\n"
                for name in ("astronaut", "chelsea", "coffee")
                for line in [line for line in lines if line.startswith(name)][:2]
            )
        )
        return copy, csv, lambda: (copy / "coffee.png").write_bytes(b"no picture")

    def test_a_picture_that_breaks_ends_the_run_and_keeps_the_last_checkpoint(self, tmp_path, pictures):
        copy, csv, break_it = self.break_picture(tmp_path, pictures)
        watch = Recorded({4: break_it})
        options = small_options(tmp_path, copy, train_csv=csv, epochs=50, batch_size=2, threads=2, fliplr=True, cache=0)
        with pytest.raises(DatasetError) as ended:
            train(options, "chainer", watch)
        (line,) = {line for line in (5, 6) if f"line {line}," in str(ended.value)}
        assert str(ended.value).startswith(f"{csv}, line {line}, picture {copy / 'coffee.png'}: cannot be decoded")
        assert not loader_threads()
        assert 4 <= watch.steps[-1].iteration <= 12
        last = watch.files[-1]
        assert [file.name.split("-")[0].split("_")[0] for file in last] == ["epoch", "epoch", "snapshot"]
        assert converters.read(last[-1]).progress.iteration == 3 * (watch.steps[-1].iteration // 3)
        assert not list((tmp_path / "results").glob(".*"))

    def test_the_command_ends_with_status_2_and_one_line(self, tmp_path, pictures, monkeypatch, capsys):
        copy, csv, break_it = self.break_picture(tmp_path, pictures)
        opened = ResultFolder.open.__func__

        def open_and_break(cls, *args, **kwargs):
            break_it()
            return opened(cls, *args, **kwargs)

        monkeypatch.setattr(ResultFolder, "open", classmethod(open_and_break))
        assert cli.main(cli_arguments(tmp_path, copy)) == 2
        (error,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
        assert f"{csv}, line " in error
        assert "coffee.png" in error

    @pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered:RuntimeWarning")
    @pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
    def test_a_run_that_diverges_ends_with_status_2_and_finite_weights(self, tmp_path, pictures, capsys):
        diverging = ["--opt", "MomentumSGD", "--lr", "1e12", "--dropout", "0", "--epochs", "20"]
        assert cli.main([*cli_arguments(tmp_path, pictures), *diverging]) == 2
        assert "is not finite; the weights are as before it" in capsys.readouterr().err
        models = sorted((tmp_path / "results").glob("epoch-*.model"))
        for model in models:
            read = converters.read(model)
            assert read.repairs == ()

    @pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered:RuntimeWarning")
    def test_skipped_steps_are_told_at_the_end_and_leave_whole_checkpoints(self, small, tmp_path):
        checkpoint = small_checkpoint()
        checkpoint.weights["fc8.bias"][0] = 3e38  # its square is Inf
        converters.write(checkpoint, tmp_path / "first.model")
        watch = small(init=tmp_path / "first.model", nonfinite_gradients="skip", epochs=2)
        assert "4 steps with a loss or gradient that was not finite were left out" in watch.notices
        read = converters.read(tmp_path / "results" / "epoch-2.model")
        assert all(np.array_equal(read.weights[key], array) for key, array in checkpoint.weights.items())
        assert (read.optimizer.step, read.progress.iteration) == (0, 4)
        assert not any(array.any() for slot in read.optimizer.slots.values() for array in slot.values())
        json.loads((tmp_path / "results" / "log").read_text(), parse_constant=pytest.fail)

    def test_a_device_that_is_not_there_is_refused(self, tmp_path, pictures, capsys):
        if importlib.util.find_spec("cupy") is not None:
            pytest.skip("CuPy is installed")
        assert cli.main(cli_arguments(tmp_path, pictures, "--device", "cuda:0")) == 2
        assert "Chainer cannot use cuda:0" in capsys.readouterr().err


@pytest.mark.usefixtures("no_plots")
class TestInterrupt:
    def test_the_run_finishes_its_step_and_writes_a_checkpoint(self, small, tmp_path):
        watch = small(at={4: interrupt}, **FIVE, show_log_iter=100)
        assert [step.iteration for step in watch.steps] == [1, 2, 3, 4]
        assert [file.name for file in watch.files[-1]] == ["snapshot_iter_4"]
        assert watch.entries[-1]["iteration"] == 4

    def test_a_wish_that_comes_after_the_checkpoint_is_not_lost(self, small, monkeypatch):
        """It waits for the next step's, rather than ending the run without one."""
        events = chainer_training._Events.__call__

        def and_interrupt(extension, trainer):
            events(extension, trainer)
            if trainer.updater.iteration == 3:
                interrupt()

        monkeypatch.setattr(chainer_training._Events, "__call__", and_interrupt)
        watch = small(**FIVE | {"snapshot": 100})
        assert [file.name for file in watch.files[-1]] == ["snapshot_iter_4"]

    def test_the_command_ends_with_status_130_and_says_how_to_go_on(self, tmp_path, pictures, monkeypatch, capsys):
        update = PoseUpdater.update

        def and_interrupt(updater):
            update(updater)
            if updater.iteration == 1:
                interrupt()

        monkeypatch.setattr(PoseUpdater, "update", and_interrupt)
        assert cli.main(cli_arguments(tmp_path, pictures)) == 130
        assert f"go on with --resume {tmp_path / 'results'}" in capsys.readouterr().err
        monkeypatch.undo()
        resume = ["--resume", str(tmp_path / "results")]
        without = [a for a in cli_arguments(tmp_path, pictures) if a not in ("--width", "2,2,2,2,2,4,4")]
        assert cli.main([*without, *resume]) == 0
        assert (tmp_path / "results" / "epoch-3.model").is_file()


@pytest.mark.slow
class TestOverfitting:
    def test_forty_persons_are_learnt_by_heart_and_torch_finds_them_too(self, shared_golden, tmp_path, request):
        """The whole path learns: a narrow AlexNet on 40 persons of LSP, without augmentation."""
        pytest.importorskip("torch")
        dataset = dataset_of("lspet", request)
        data = ["--images", dataset.images, "--skeleton", SKELETONS["lspet"]]
        arguments = ["train", "--backend", "chainer", "--train-csv", dataset.csv, *data, "--output", tmp_path / "run"]
        options = ["--width", "8,12,16,16,12,32,32", "--dropout", "0", "--batch-size", "8", "--epochs", "600"]
        options += ["--recipe", "legacy"]
        assert cli.main([*map(str, arguments), *options, "--snapshot", "600", "--valid-freq", "0"]) == 0
        found = {}
        for backend in ("chainer", "torch"):
            pose = deeppose_port.load(tmp_path / "run" / "epoch-600.model", backend=backend)
            found[backend] = evaluate(pose, dataset)
        assert found["chainer"].summary()["pdj@0.2"] > 0.9
        assert np.array_equal(pdj(found["torch"]), pdj(found["chainer"]))
        assert np.array_equal(found["torch"]["pcp"].values, found["chainer"]["pcp"].values)
        assert found["torch"]["loss"].overall == pytest.approx(found["chainer"]["loss"].overall, rel=1e-4)
