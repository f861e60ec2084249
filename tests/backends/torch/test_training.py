import itertools
import math
import multiprocessing
import os
import shutil
import signal
import threading
from functools import cache

import cv2
import numpy as np
import pytest
import torch

import converters
from converters import Architecture, CheckpointError, Preprocessing
from converters.keys import chainer_names
from converters.legacy_log import read_beside
from deeppose_port import cli
from deeppose_port.backends.torch import load
from deeppose_port.backends.torch.training import heatmap_loss, make_optimizer, masked_loss
from deeppose_port.data import DatasetError, PoseDataset
from deeppose_port.data.batches import batches
from deeppose_port.metrics import masked_mse as masked_mse_of_arrays
from deeppose_port.training.hyperparameters import HyperparameterOptions, Hyperparameters
from deeppose_port.training.initial import initial_architecture, initial_checkpoint
from deeppose_port.training.run import TrainingError
from deeppose_port.training.start import starting_point
from tests.helpers.metrics import maps_and_their_loss
from tests.helpers.networks import NARROW, random_checkpoint
from tests.helpers.streams import wait_until
from tests.helpers.trainings import (
    NARROW_WIDTH,
    RULES,
    interrupt,
    log_lines,
    run,
    same_bits,
    small_checkpoint,
    small_options,
    trajectory_batches,
    trajectory_weights,
    update_error,
    weight_error,
    weights_of,
    write_csv,
    write_random_csv,
)

ALL = {"fliplr": True, "rotate": True, "zoom": True, "translate": True}
RESNET = {"architecture": "resnet50", "width": "0.0625"}


pytestmark = pytest.mark.usefixtures("one_thread")


class TestLoss:
    random = np.random.RandomState(4)
    outputs, targets = random.randn(2, 5, 8).astype(np.float32)
    mask = (random.rand(5, 8) > 0.3).astype(np.int32)

    def arrays(self):
        return [torch.from_numpy(array.copy()) for array in (self.outputs, self.targets, self.mask)]

    def test_it_is_the_legacy_loss(self):
        expected = masked_mse_of_arrays(self.outputs, self.targets, self.mask)
        assert masked_loss(*self.arrays()).item() == pytest.approx(expected, rel=1e-6)

    def test_nothing_that_counts_gives_zero(self):
        outputs, targets, mask = self.arrays()
        outputs.requires_grad_()
        loss = masked_loss(outputs, targets, torch.zeros_like(mask))
        loss.backward()
        assert loss.item() == 0
        assert not outputs.grad.any()

    def test_what_is_ignored_may_be_anything(self):
        outputs, targets, mask = self.arrays()
        expected = masked_loss(outputs, targets, mask)
        targets[mask == 0] = math.nan
        outputs[mask == 0] = math.inf
        outputs.requires_grad_()
        loss = masked_loss(outputs, targets, mask)
        loss.backward()
        assert loss.item() == expected.item()
        assert outputs.grad.isfinite().all()

    def test_parts_of_a_batch_add_up(self):
        outputs, targets, mask = self.arrays()
        count = float(mask.sum())
        parts = [masked_loss(outputs[i::2], targets[i::2], mask[i::2], count) for i in (0, 1)]
        assert sum(parts).item() == pytest.approx(masked_loss(outputs, targets, mask).item(), rel=1e-6)


class TestHeatmapLoss:
    def test_it_is_the_cross_entropy_of_a_map_and_a_gaussian(self):
        maps, labels, mask, wanted = maps_and_their_loss()
        maps, labels, mask = (torch.from_numpy(array) for array in (maps, labels, mask))
        assert heatmap_loss(maps, labels, mask, float(mask.sum())).item() == pytest.approx(wanted, rel=1e-5)

    def test_a_joint_that_does_not_count_has_no_gradient(self):
        maps, labels, mask, _ = maps_and_their_loss()
        maps = torch.from_numpy(maps).requires_grad_()
        heatmap_loss(maps, torch.from_numpy(labels), torch.from_numpy(mask), 1.0).backward()
        moved = maps.grad.abs().amax((2, 3)) > 0
        np.testing.assert_array_equal(moved, mask.reshape(3, 4, 2).all(2))
        assert torch.isfinite(maps.grad).all()


class TestTrajectories:
    """Twenty steps from the same weights on the same batches as Chainer 1.13.0."""

    architecture = Architecture("alexnet", 16, NARROW, feature_size=6, writer="chainer-1.13.0")

    @pytest.fixture(scope="class")
    @classmethod
    def follow(cls, golden):
        """Returns what returns an optimizer's losses, and the weights after each step."""
        with np.load(golden / "training" / "trajectories-chainer1.13.npz") as arrays:
            weights = trajectory_weights(arrays, "0", cls.architecture)
        return cache(lambda name: list(zip(*cls.steps(name, weights), strict=True)))

    @staticmethod
    def steps(name, weights):
        network = load(random_checkpoint(joints=16).replace(weights=weights), dropout=0.0).train()
        optimizer = make_optimizer(Hyperparameters(name.lower(), **RULES[name]), dict(network.named_parameters()))
        for inputs, targets, mask in trajectory_batches():
            network.zero_grad()
            loss = masked_loss(network(torch.from_numpy(inputs)), torch.from_numpy(targets), torch.from_numpy(mask))
            loss.backward()
            optimizer.step()
            yield loss.item(), {key: tensor.numpy().copy() for key, tensor in network.state_dict().items()}

    @pytest.mark.parametrize("name", ["MomentumSGD", "AdaGrad"])
    def test_weights_are_chainers(self, name, golden, follow):
        losses, weights = follow(name)
        with np.load(golden / "training" / "trajectories-chainer1.13.npz") as arrays:
            expected = trajectory_weights(arrays, f"{name}|20", self.architecture)
            np.testing.assert_allclose(losses, arrays[f"{name}|loss"], rtol=1e-5)
            assert weight_error(weights[-1], expected) <= 2e-5

    def test_adams_losses_are_chainers(self, golden, follow):
        with np.load(golden / "training" / "trajectories-chainer1.13.npz") as arrays:
            np.testing.assert_allclose(follow("Adam")[0], arrays["Adam|loss"], rtol=1e-3)

    @pytest.mark.parametrize(("name", "bound"), [("MomentumSGD", 2e-5), ("AdaGrad", 2e-5), ("Adam", 2e-3)])
    def test_so_are_the_weights_on_the_way(self, name, bound, shared_golden, follow):
        losses, weights = follow(name)
        with np.load(shared_golden / "training" / f"trajectory-{name.lower()}-chainer1.13.npz") as arrays:
            np.testing.assert_allclose(losses, arrays["loss"], rtol=1e-3)
            for step in (1, 2, 10, 20):
                expected = trajectory_weights(arrays, str(step), self.architecture)
                assert weight_error(weights[step - 1], expected) <= bound, f"step {step}"


#: What each optimizer's runs are given. The rates are not the defaults, so that they have to come from log.txt.
HYPERPARAMETERS = {
    "Adam": {"adam_alpha": 0.002, "adam_beta1": 0.8},
    "MomentumSGD": {"lr": 0.02, "lr_decay_freq": 2, "lr_decay_ratio": 0.5},
    "AdaGrad": {"lr": 0.005},
    "RMSprop": {"lr": 0.0001},
}


@pytest.fixture(scope="module")
def stays(tmp_path_factory, pictures):
    """Runs of 6 steps: (folder with the third's checkpoint, losses and weights of the six)."""
    made = {}

    def stay(backend, name):
        if (backend, name) not in made:
            folder = tmp_path_factory.mktemp(f"{backend}-{name}")
            given = {"batch_size": 6, "opt": name, **HYPERPARAMETERS[name]}
            six = run(folder, pictures, backend, epochs=6, snapshot=3, **given)
            file = "epoch-6.pt" if backend == "torch" else "epoch-6.model"
            made[backend, name] = (folder, six.losses, weights_of(folder / "results" / file))
        return made[backend, name]

    return stay


class TestHop:
    """Three steps in one backend and three in the other equal six in one."""

    def file_of(self, kind, backend, results):
        """The checkpoint of the third step as a file of some kind, made by the converter where that is another."""
        own = results / ("epoch-3.pt" if backend == "torch" else "snapshot_iter_3")
        if kind == "model and state":
            if backend == "torch":
                converters.convert(own, results / "epoch-3.model", format="chainer-npz", layout="head", force=True)
                converters.convert(own, results / "epoch-3.state", layout="state", format="chainer-npz", force=True)
            return results / "epoch-3.model"
        if kind == "snapshot":
            target = results / "snapshot_iter_3"
            if backend == "torch":
                converters.convert(own, target, format="chainer-npz", layout="snapshot", force=True)
            return target
        if backend == "chainer":
            converters.convert(own, results / "epoch-3.pt", force=True)
        return results / "epoch-3.pt"

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("MomentumSGD", "pt"),
            ("MomentumSGD", "model and state"),
            ("MomentumSGD", "snapshot"),
            ("AdaGrad", "snapshot"),
            ("Adam", "model and state"),
            ("RMSprop", "pt"),
        ],
    )
    @pytest.mark.parametrize("backend", ["chainer", "torch"])
    def test_a_run_goes_on_in_the_other_backend(self, backend, name, kind, stays, tmp_path, pictures):
        other = {"chainer": "torch", "torch": "chainer"}[backend]
        folder, losses, weights = stays(backend, name)
        shutil.copytree(folder / "results", tmp_path / "results")
        file = self.file_of(kind, backend, tmp_path / "results")
        hopped = run(tmp_path, pictures, other, resume=file, epochs=6, batch_size=6, output=tmp_path / "on")
        assert any("hyper-parameters" in notice and "log.txt" in notice for notice in hopped.notices)
        assert [step.iteration for step in hopped.steps] == [4, 5, 6]
        last = tmp_path / "on" / ("epoch-6.pt" if other == "torch" else "epoch-6.model")
        checkpoint = converters.read(last)
        assert (checkpoint.progress.epoch, checkpoint.optimizer.step) == (6, 6)
        assert checkpoint.optimizer.algorithm == name.lower()
        if name in ("MomentumSGD", "AdaGrad"):
            assert weight_error(checkpoint.weights, weights) <= 2e-5
        np.testing.assert_allclose(hopped.losses, losses[3:], rtol=1e-3)

    def test_it_may_go_on_in_the_same_folder_and_there_and_back(self, tmp_path, pictures):
        given = {"batch_size": 6, "opt": "MomentumSGD", "epochs": 4}
        run(tmp_path, pictures, output=tmp_path / "stay", **given)
        for epoch, backend in enumerate(["torch", "chainer", "torch", "chainer"], 1):
            resume = {"resume": tmp_path / "results"} if epoch > 1 else {}
            step = run(tmp_path, pictures, backend, **{**given, **resume, "epochs": epoch})
            assert [s.iteration for s in step.steps] == [epoch]
        weights = weights_of(tmp_path / "results" / "epoch-4.model")
        assert weight_error(weights, weights_of(tmp_path / "stay" / "epoch-4.pt")) <= 2e-5

    def test_the_learning_rate_falls_as_in_chainer(self, tmp_path, pictures):
        """From the first update after the epoch that it is due in."""
        given = {"opt": "MomentumSGD", "lr": 0.05, "lr_decay_freq": 1, "lr_decay_ratio": 0.1, "batch_size": 4}
        for backend in ("torch", "chainer"):
            run(tmp_path, pictures, backend, output=tmp_path / backend, warmup=0.5, **given)
        ours, chainers = weights_of(tmp_path / "torch/epoch-3.pt"), weights_of(tmp_path / "chainer/epoch-3.model")
        assert weight_error(ours, chainers) <= 2e-5


def legacy_file(name, request):
    """A file of golden data with its optimizer's state, from this project or from beside it."""
    path = request.getfixturevalue("golden") / "checkpoints" / name
    whole = path.is_file() and (path.suffix != ".model" or path.with_suffix(".state").is_file())
    return path if whole else request.getfixturevalue("shared_golden") / "checkpoints" / "tiny" / name


class TestGradients:
    @pytest.mark.parametrize("name", ["alexnet", "resnet50", "vgg_bn"])
    def test_they_are_chainers(self, name, pictures):
        """In float64, since small networks with batch normalization amplify rounding."""
        from deeppose_port.backends.chainer.loss import PoseEstimationError
        from deeppose_port.backends.chainer.networks import load as load_in_chainer

        width = {"alexnet": NARROW_WIDTH}.get(name, "0.0625")
        architecture = initial_architecture(name, 7, 64, width)
        checkpoint = initial_checkpoint(architecture, Preprocessing(im_size=64), seed=1)
        dataset = PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic", im_size=64)
        batch = next(iter(batches(dataset, 4)))
        inputs, targets, mask = (array.astype(np.float64) for array in batch)

        network = load(checkpoint, dropout=0.0).train().double()
        outputs = network(torch.from_numpy(inputs))
        # masked_mse goes through float32
        ((outputs - torch.from_numpy(targets)).square() * torch.from_numpy(mask)).sum().div(mask.sum()).backward()

        chainers = load_in_chainer(checkpoint, dropout=0.0)
        for parameter in chainers.params():
            parameter.array = parameter.array.astype(np.float64)
        model = PoseEstimationError(chainers)
        model.cleargrads()
        model(inputs, targets, batch[2]).backward()
        gradients = {path.lstrip("/"): parameter.grad for path, parameter in chainers.namedparams()}
        keys = chainer_names(architecture)
        scale = max(np.abs(gradient).max() for gradient in gradients.values())
        for tensor, parameter in network.named_parameters():
            np.testing.assert_allclose(parameter.grad, gradients[keys[tensor]], rtol=1e-6, atol=1e-9 * scale)


class TestLegacyFiles:
    """Runs of the old program go on here: one step is the step that Chainer makes."""

    files = (
        *(f"1.13.0/alexnet-{opt}/epoch-1.model" for opt in map(str.lower, RULES)),
        "1.13.0/trainer-resnet50-momentumsgd/snapshot_iter_12",
        "1.24.0/trainer-multiprocess/snapshot_iter_2",
        "3.5.0/alexnet-adam/epoch-1.state",
        "5.4.0/trainer-serial/snapshot_iter_2",
        "7.8.1/alexnet-adam/epoch-1.model",
        "7.8.1/trainer-multiprocess/snapshot_iter_2",
    )
    slow_files = (
        *(f"7.8.1/alexnet-{opt}/epoch-1.model" for opt in ("momentumsgd", "adagrad", "rmsprop")),
        "1.13.0/trainer-multiprocess/snapshot_iter_2",
        "1.13.0/trainer-serial/snapshot_iter_2",
        "1.5.1/alexnet_flic-hdf5/epoch-1.model",
        "1.7.0/alexnet-adam/epoch-1.model",
        "1.13.0/resnet50-adam/epoch-1.model",
        "1.13.0/vgg_bn-adam/epoch-1.model",
        "1.24.0/alexnet-adam/epoch-1.state",
        "1.24.0/trainer-serial/snapshot_iter_2",
        "5.4.0/alexnet-adam/epoch-1.state",
        "5.4.0/trainer-multiprocess/snapshot_iter_2",
        "7.8.1/resnet50-adam/epoch-1.model",
        "7.8.1/trainer-resnet50-momentumsgd/snapshot_iter_12",
        "7.8.1/trainer-serial/snapshot_iter_2",
        "7.8.1/vgg_bn-adam/epoch-1.model",
    )

    @pytest.mark.parametrize("name", [*files, *(pytest.param(f, marks=pytest.mark.slow) for f in slow_files)])
    def test_the_next_step_is_chainers(self, name, request, tmp_path, pictures):
        file = legacy_file(name, request)
        before = converters.read(file)
        skeleton = {7: "flic", 16: "mpii"}[before.joints]
        count = next((len(v) for k, v in before.trainer.items() if k.endswith("order")), 4)
        csv = write_random_csv(tmp_path / "persons.csv", count, before.joints)
        given = {
            "train_csv": csv,
            "skeleton": skeleton,
            "resume": file,
            "lr": 0.0005,
            "epochs": before.progress.epoch + 1,
            "batch_size": count,
        }
        ours = run(tmp_path, pictures, "torch", output=tmp_path / "torch", **given)
        chainers = run(tmp_path, pictures, "chainer", output=tmp_path / "chainer", **given)
        after = converters.read(tmp_path / "torch" / "last.pt")
        expected = converters.read(tmp_path / "chainer" / f"epoch-{given['epochs']}.model")
        assert [step.iteration for step in ours.steps] == [before.progress.iteration + 1]
        assert after.optimizer.step == expected.optimizer.step == before.optimizer.step + 1
        np.testing.assert_allclose(ours.losses, chainers.losses, rtol=1e-3)
        # Batch normalization amplifies Chainer's rounding here to 7 % of a gradient; in float64 they are the same.
        normalized = any("bn" in tensor for tensor in before.weights)
        error = update_error(after.weights, expected.weights, before.weights)
        assert error <= (0.2 if normalized else 1e-3)
        if before.optimizer.algorithm in ("momentumsgd", "adagrad") and not normalized:
            assert weight_error(after.weights, expected.weights) <= 2e-5

    def test_the_optimizers_count_is_its_own(self, golden, tmp_path, pictures):
        """A legacy run that was resumed counts its iterations anew, and its updates not."""
        source = golden / "checkpoints" / "1.13.0" / "trainer-multiprocess" / "snapshot_iter_2"
        with np.load(source) as arrays:
            changed = dict(arrays)
        changed["updater/optimizer:main/t"] = np.array(1002)
        np.savez(tmp_path / "snapshot.npz", **changed)
        csv = write_random_csv(tmp_path / "persons.csv", 4, 16)
        given = {"train_csv": csv, "skeleton": "mpii", "epochs": 2, "batch_size": 4, "lr": 0.001}
        files = {}
        for name in ("snapshot.npz", "original"):
            resume = source if name == "original" else tmp_path / name
            run(tmp_path, pictures, output=tmp_path / f"{name}-out", resume=resume, **given)
            files[name] = converters.read(tmp_path / f"{name}-out" / "last.pt")
        assert files["snapshot.npz"].optimizer.step == 1003
        assert files["snapshot.npz"].progress.iteration == files["original"].progress.iteration == 3
        # Adam's first steps are corrected for their bias, later ones are not.
        assert weight_error(files["snapshot.npz"].weights, files["original"].weights) > 1e-4

    def test_the_old_programs_own_results_go_on(self, shared_golden, tmp_path, pictures):
        file = shared_golden / "results" / "snapshot_iter_900"
        results = file.parent if file.is_file() else next((shared_golden / "results").iterdir())
        csv = write_csv(tmp_path / "six.csv", pictures)
        on = run(tmp_path, pictures, resume=results, epochs=301, batch_size=2, train_csv=csv)
        assert on.steps[-1].epoch == 301
        assert on.losses[0] < 1
        assert any("log.txt" in notice for notice in on.notices)


#: With dropout, and with batches that are filled up from the next epoch.
RANDOM = {**ALL, "dropout": None, "batch_size": 4, "epochs": 2, "seed": 3}


class TestDeterminism:
    @pytest.mark.slow
    def test_nor_do_workers_that_begin_with_nothing(self, tmp_path, pictures):
        before, given = multiprocessing.get_start_method(), {**RANDOM, "epochs": 2}
        multiprocessing.set_start_method("spawn", force=True)
        try:
            spawned = run(tmp_path, pictures, **{**given, "workers": 1}, output=tmp_path / "spawned")
        finally:
            multiprocessing.set_start_method(before, force=True)
        assert spawned.losses == run(tmp_path, pictures, **given).losses

    def test_threads_and_workers_change_nothing(self, tmp_path, pictures):
        ways = [{"threads": 1}, {"threads": 2}, {"workers": 1}, {"workers": 2}]
        for i, way in enumerate(ways):
            run(tmp_path, pictures, output=tmp_path / str(i), **{**RANDOM, **way})
        for i in range(1, len(ways)):
            assert same_bits(tmp_path / "0" / "last.pt", tmp_path / str(i) / "last.pt"), ways[i]

    def test_the_seed_does(self, tmp_path, pictures):
        init = tmp_path / "init.pt"
        converters.write(small_checkpoint(), init)
        losses = [
            run(
                tmp_path,
                pictures,
                init=init,
                output=tmp_path / str(seed),
                dropout=0.5,
                epochs=1,
                seed=seed,
            )
            for seed in (1, 2)
        ]
        assert losses[0].losses != losses[1].losses

    @pytest.mark.parametrize("iteration", [1, 2, 3])
    def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(self, iteration, tmp_path, pictures):
        """Within an epoch, at the batch that fills one up from the next, and at an epoch's end."""
        given = {**RANDOM, "epochs": 3, "workers": 0 if iteration == 1 else 2}
        run(tmp_path, pictures, output=tmp_path / "whole", **given)
        first = run(tmp_path, pictures, at={iteration: interrupt}, **given)
        assert first.steps[-1].iteration == iteration
        again = run(tmp_path, pictures, resume=tmp_path / "results", **{**given, "workers": 0})
        assert again.steps[0].iteration == iteration + 1
        assert same_bits(tmp_path / "results" / "last.pt", tmp_path / "whole" / "last.pt")
        entries = log_lines(tmp_path / "results" / "log")
        assert [entry["iteration"] for entry in entries] == list(range(1, len(entries) + 1))
        assert [e["main/loss"] for e in entries] == [e["main/loss"] for e in log_lines(tmp_path / "whole" / "log")]

    def test_so_does_one_with_batch_normalization(self, tmp_path, pictures):
        given = {**RESNET, "opt": "MomentumSGD", "epochs": 2, "batch_size": 4, "workers": 0}
        run(tmp_path, pictures, output=tmp_path / "whole", **given)
        run(tmp_path, pictures, at={1: interrupt}, **given)
        run(tmp_path, pictures, resume=tmp_path / "results", epochs=2, batch_size=4)
        assert same_bits(tmp_path / "results" / "last.pt", tmp_path / "whole" / "last.pt")

    def test_the_latest_checkpoint_of_a_folder_is_found(self, tmp_path, pictures):
        """Though a snapshot within an epoch lies there, of a run that was stopped and then went on."""
        run(tmp_path, pictures, at={3: interrupt})
        run(tmp_path, pictures, resume=tmp_path / "results")
        assert (tmp_path / "results" / "snapshot_iter_3.pt").exists()
        on = run(tmp_path, pictures, resume=tmp_path / "results", epochs=4)
        assert on.steps[0].epoch == 3.5


class TestSpeedOptions:
    def test_bf16_stays_close(self, tmp_path, pictures):
        full = run(tmp_path, pictures, output=tmp_path / "full", opt="MomentumSGD")
        half = run(tmp_path, pictures, output=tmp_path / "half", opt="MomentumSGD", amp="bf16")
        assert half.losses != full.losses
        np.testing.assert_allclose(half.losses, full.losses, rtol=0.03)
        assert all(array.dtype == np.float32 for array in weights_of(tmp_path / "half" / "last.pt").values())

    def test_the_memory_format_changes_rounding_at_most(self, tmp_path, pictures):
        for on in (True, False):
            run(tmp_path, pictures, output=tmp_path / str(on), channels_last=on, opt="MomentumSGD", epochs=2)
        first, second = (weights_of(tmp_path / str(on) / "last.pt") for on in (True, False))
        assert weight_error(first, second) <= 2e-5

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
    def test_a_compiled_network_learns_the_same(self, tmp_path, pictures):
        if shutil.which("g++") is None:
            pytest.skip("torch.compile needs a C++ compiler")
        given = {"opt": "MomentumSGD", "epochs": 2, "test_csv": write_csv(tmp_path / "test.csv", pictures)}
        run(tmp_path, pictures, output=tmp_path / "eager", **given)
        run(tmp_path, pictures, output=tmp_path / "compiled", compile=True, **given)
        first, second = (weights_of(tmp_path / name / "last.pt") for name in ("eager", "compiled"))
        assert weight_error(first, second) <= 2e-5


class TestStart:
    @pytest.fixture
    def other(self, tmp_path):
        """A network of 14 joints."""
        path = tmp_path / "lsp.model"
        converters.write(random_checkpoint(joints=14), path, format="chainer-npz", layout="head")
        return path

    def test_finetune_draws_the_last_layer_anew_and_says_so(self, other, tmp_path, pictures):
        options = small_options(tmp_path, pictures, finetune=other)
        start = starting_point(options, 7)
        trained = weights_of(other)
        same = {n for n, w in start.checkpoint.weights.items() if np.array_equal(w, trained[n])}
        assert same == trained.keys() - {"fc8.weight", "fc8.bias"}
        assert start.checkpoint.joints == 7
        assert start.checkpoint.weights["fc8.weight"].shape == (14, 32)
        assert any("14 joints, not 7" in n and "fc8 is drawn anew" in n for n in start.notices)
        watch = run(tmp_path, pictures, finetune=other, epochs=1)
        assert any("fc8 is drawn anew" in notice for notice in watch.notices)
        assert converters.read(tmp_path / "results" / "last.pt").joints == 7

    def test_finetune_takes_all_where_the_joints_are_as_many(self, tmp_path, pictures):
        converters.write(random_checkpoint(), tmp_path / "flic.pt")
        start = starting_point(small_options(tmp_path, pictures, finetune=tmp_path / "flic.pt"), 7)
        assert not any("anew" in notice for notice in start.notices)
        trained = weights_of(tmp_path / "flic.pt")
        assert all(np.array_equal(w, trained[n]) for n, w in start.checkpoint.weights.items())

    def test_init_starts_anew_from_legacy_weights(self, golden, tmp_path, pictures):
        file = golden / "checkpoints" / "1.13.0" / "alexnet-adam" / "epoch-1.model"
        csv = write_random_csv(tmp_path / "persons.csv", 4, 16)
        given = {"train_csv": csv, "skeleton": "mpii", "batch_size": 4, "epochs": 1, "opt": "MomentumSGD"}
        watch = run(tmp_path, pictures, init=file, lr=1e-9, **given)
        after = converters.read(tmp_path / "results" / "last.pt")
        assert weight_error(after.weights, weights_of(file)) < 1e-6
        assert (after.optimizer.algorithm, after.optimizer.step, after.progress.epoch) == ("momentumsgd", 1, 1)
        assert len(watch.steps) == 1

    def test_init_refuses_other_joints(self, other, tmp_path, pictures):
        with pytest.raises(CheckpointError, match=r"14 joints, but flic has 7"):
            run(tmp_path, pictures, init=other)

    def test_a_run_that_is_done_is_not_gone_on_with(self, tmp_path, pictures):
        run(tmp_path, pictures, epochs=1)
        with pytest.raises(ValueError, match="1 epochs behind it and --epochs is 1: nothing to do"):
            run(tmp_path, pictures, epochs=1, resume=tmp_path / "results")

    def test_files_say_who_wrote_them_and_keep_the_arithmetic_of_their_weights(self, tmp_path, pictures):
        converters.write(random_checkpoint("resnet50", writer="chainer-1.13.0"), tmp_path / "first.model")
        run(tmp_path, pictures, init=tmp_path / "first.model", im_size=64, epochs=1)
        read = converters.read(tmp_path / "results" / "epoch-1.pt")
        assert (read.source.writer, read.architecture.writer) == ("torch", "chainer-1.13.0")
        assert read.architecture.batch_normalization.test_eps == 0
        for name in ("again.model", "again.safetensors"):
            converters.convert(tmp_path / "results" / "epoch-1.pt", tmp_path / name)
            again = converters.read(tmp_path / name)
            assert (again.source.writer, again.architecture) == ("torch", read.architecture)
        said = converters.read(tmp_path / "again.model", writer="chainer-5.4.0")
        assert said.source.writer == said.architecture.writer == "chainer-5.4.0"

    def test_what_this_backend_does_not_do_is_refused(self, tmp_path, pictures):
        with pytest.raises(ValueError, match="--legacy-gradient-sum: only with --backend chainer"):
            run(tmp_path, pictures, legacy_gradient_sum=True)


class TestCheckpoints:
    def validations(self, results):
        return {
            e["epoch"]: e["validation/main/loss"] for e in log_lines(results / "log") if "validation/main/loss" in e
        }

    def same(self, first, second):
        return first.read_bytes() == second.read_bytes()

    def test_last_and_best_are_names_of_epochs(self, tmp_path, pictures):
        csv = write_csv(tmp_path / "test.csv", pictures, count=3)
        run(tmp_path, pictures, test_csv=csv, epochs=4, lr=0.01)
        results = tmp_path / "results"
        losses = self.validations(results)
        assert list(losses) == [1, 2, 3, 4]
        assert self.same(results / "best.pt", results / f"epoch-{min(losses, key=losses.get)}.pt")
        assert self.same(results / "last.pt", results / "epoch-4.pt")
        assert {f.name for f in results.iterdir()} == {
            *(f"epoch-{n}.pt" for n in (1, 2, 3, 4)),
            *("best.pt", "last.pt", "config.toml", "log", "log.txt"),
        }

    def test_another_run_in_the_folder_is_not_overwritten(self, tmp_path, pictures):
        run(tmp_path, pictures, epochs=1)
        with pytest.raises(ValueError, match="holds another run"):
            run(tmp_path, pictures, epochs=1)

    def test_files_carry_the_training_and_load_in_plain_pytorch(self, tmp_path, pictures):
        run(tmp_path, pictures, epochs=1)
        payload = torch.load(tmp_path / "results" / "epoch-1.pt", weights_only=True)
        assert payload["optimizer"]["step"] == 2
        assert not any(key.startswith("module.") for key in payload["state_dict"])
        assert all(tensor.is_contiguous() for tensor in payload["state_dict"].values())


class TestLog:
    def test_it_is_json_lines_and_log_txt_is_the_legacy_programs(self, tmp_path, pictures):
        csv = write_csv(tmp_path / "test.csv", pictures, count=3)
        run(tmp_path, pictures, test_csv=csv, opt="MomentumSGD", lr=0.03, show_log_iter=2, epochs=3, batch_size=2)
        entries = log_lines(tmp_path / "results" / "log")
        assert [(e["epoch"], e["iteration"]) for e in entries] == [(0, 2), (1, 3), (1, 4), (2, 6), (2, 8), (3, 9)]
        for entry in entries:
            kinds = {
                "main/loss",
                "epoch",
                "iteration",
                "elapsed_time",
                "pictures_per_second",
                "waiting",
                "lr",
                "gradient_norm",
                "movement",
            }
            numbers = ("loss", "mean_error_px", "pcp", "pck_box@0.2")  # and PDJ, but flic has no torso
            validation = {"mean_pose/loss", "dead_units"} | {f"validation/main/{name}" for name in numbers}
            assert entry.keys() == (kinds | validation if entry["iteration"] % 3 == 0 else kinds)
        assert all(a["elapsed_time"] < b["elapsed_time"] for a, b in itertools.pairwise(entries))
        log = read_beside(tmp_path / "results" / "epoch-1.pt")
        assert (log.options["opt"], log.options["lr"], log.options["lr_decay_freq"]) == ("MomentumSGD", 0.03, 10)
        assert HyperparameterOptions.from_log(log.options).lr == 0.03
        text = (tmp_path / "results" / "log.txt").read_text()
        assert text.startswith(f"INFO:root:torch version: {torch.__version__}\nINFO:root:Namespace(")
        first = entries[1]
        line = f"epoch:1, main/loss:{first['main/loss']}, validation/main/loss:{first['validation/main/loss']}, "
        assert f"INFO:root:{line}\n" in text

    def test_losses_are_means_between_entries(self, tmp_path, pictures):
        watch = run(tmp_path, pictures, show_log_iter=2, batch_size=2, epochs=2, snapshot=2)
        losses = [entry["main/loss"] for entry in watch.entries]
        assert losses == pytest.approx([np.mean(watch.losses[i : i + 2]) for i in (0, 2, 4)])

    def test_a_validation_is_what_eval_says_of_the_checkpoint(self, tmp_path, pictures, capsys):
        csv = write_csv(tmp_path / "test.csv", pictures, count=5)
        watch = run(tmp_path, pictures, test_csv=csv, epochs=1, batch_size=4)
        arguments = [str(tmp_path / "results" / "last.pt"), "--csv", str(csv), "--images", str(pictures)]
        assert cli.main(["eval", *arguments, "--skeleton", "flic", "--json"]) == 0
        evaluation = capsys.readouterr().out
        for name in ("loss", "mean_error_px"):
            value = float(evaluation.split(f'"{name}": ')[1].split(",")[0])
            assert watch.entries[-1][f"validation/main/{name}"] == pytest.approx(value, rel=1e-5)


class TestNonFinite:
    @pytest.fixture
    def explosive(self, tmp_path):
        """Weights whose loss is finite and whose only infinite gradient is that of fc8.weight."""
        checkpoint = small_checkpoint()
        checkpoint.weights["fc7.bias"][:] = 1e25
        checkpoint.weights["fc8.weight"][:] = 0
        checkpoint.weights["fc8.bias"][:] = 1e15
        converters.write(checkpoint, tmp_path / "explosive.pt")
        return tmp_path / "explosive.pt"

    def test_a_gradient_ends_the_run_by_its_name(self, explosive, tmp_path, pictures):
        with pytest.raises(TrainingError, match=r"^iteration 1: the gradient of fc8\.weight is not finite; .*--nonfin"):
            run(tmp_path, pictures, init=explosive)
        assert not list((tmp_path / "results").glob("*.pt"))

    def test_the_loss_ends_the_run_and_the_last_checkpoint_is_whole(self, tmp_path, pictures):
        run(tmp_path, pictures, opt="MomentumSGD", epochs=1)
        with pytest.raises(TrainingError, match=r"^iteration \d: the loss is not finite; the weights are as before"):
            run(tmp_path, pictures, resume=tmp_path / "results", epochs=9, lr=1e30, snapshot=9)
        left = converters.read(tmp_path / "results" / "last.pt", nonfinite="error")
        assert left.progress.epoch == 1

    def test_such_steps_can_be_left_out_and_are_counted(self, explosive, tmp_path, pictures):
        watch = run(tmp_path, pictures, init=explosive, nonfinite_gradients="skip", epochs=2, opt="Adam")
        assert watch.notices[-1].startswith("4 steps with a loss or gradient that was not finite were left out")
        after = converters.read(tmp_path / "results" / "last.pt")
        assert weight_error(after.weights, weights_of(explosive)) == 0
        assert (after.optimizer.step, after.progress.iteration) == (0, 4)
        assert not any(array.any() for array in after.optimizer.slots["v"].values())

    def test_a_step_that_is_left_out_moves_no_statistics(self, tmp_path, pictures):
        checkpoint = random_checkpoint("resnet50")
        checkpoint.weights["out_fc.bias"][:] = 1e30
        converters.write(checkpoint, tmp_path / "explosive.pt")
        options = {"nonfinite_gradients": "skip", "epochs": 1, "im_size": 64}
        watch = run(tmp_path, pictures, init=tmp_path / "explosive.pt", **options)
        assert watch.notices[-1].startswith("2 steps")
        after = converters.read(tmp_path / "results" / "last.pt")
        assert all(np.array_equal(array, checkpoint.weights[name]) for name, array in after.weights.items())

    def test_updates_that_were_left_out_do_not_count_later(self, explosive, tmp_path, pictures):
        run(tmp_path, pictures, init=explosive, nonfinite_gradients="skip", epochs=1, batch_size=6, opt="Adam", lr=0.01)
        checkpoint = converters.read(tmp_path / "results" / "last.pt")
        checkpoint.weights.update({n: a for n, a in small_checkpoint().weights.items() if n.startswith("fc")})
        converters.write(checkpoint, tmp_path / "mended.pt")
        run(tmp_path, pictures, resume=tmp_path / "mended.pt", output=tmp_path / "on", epochs=2, batch_size=6, lr=0.01)
        after = converters.read(tmp_path / "on" / "last.pt")
        assert (after.optimizer.step, after.progress.iteration) == (1, 2)
        moved = max(np.abs(after.weights[n] - w).max() for n, w in checkpoint.weights.items())
        assert moved == pytest.approx(0.01, rel=0.01)  # Adam's first step


class TestPictures:
    @pytest.fixture
    def folder(self, tmp_path, pictures):
        """A folder of pictures of our own."""
        folder = tmp_path / "pictures"
        folder.mkdir()
        for file in pictures.glob("*.*"):
            shutil.copy(file, folder)
        return folder

    @pytest.mark.parametrize("way", [{"threads": 2}, {"workers": 2}])
    def test_one_that_breaks_meanwhile_ends_the_run_and_the_last_checkpoint_is_whole(self, way, tmp_path, folder):
        def damage():
            for file in folder.glob("*.png"):
                file.write_bytes(b"not a picture")

        with pytest.raises(DatasetError, match=r"train\.csv, line \d, picture .*\.png: cannot be decoded"):
            run(tmp_path, folder, at={4: damage}, epochs=50, cache=0, **way)
        checkpoint = converters.read(tmp_path / "results" / "last.pt")
        assert checkpoint.progress.epoch >= 2
        assert not list((tmp_path / "results").glob(".*"))

    @pytest.mark.parametrize("way", [["--threads", "2"], ["--workers", "2"]])
    def test_the_command_says_which_in_one_line(self, way, tmp_path, folder, capfd):
        (folder / "chelsea.png").write_bytes((folder / "chelsea.png").read_bytes()[:100])
        csv = write_csv(tmp_path / "train.csv", folder)
        arguments = [
            "--train-csv",
            str(csv),
            "--images",
            str(folder),
            "--skeleton",
            "flic",
            "-o",
            str(tmp_path / "out"),
        ]
        assert cli.main(["train", "--backend", "torch", *arguments, "--width", "0.1", "--im-size", "64", *way]) == 2
        stderr = capfd.readouterr().err
        (line,) = [line for line in stderr.splitlines() if "error" in line.lower() and "libpng" not in line.lower()]
        assert "chelsea.png" in line
        assert "train.csv, line " in line
        assert "Traceback" not in stderr

    @pytest.mark.parametrize("way", [{"threads": 2}, {"workers": 1}])
    def test_whatever_goes_wrong_with_an_example_names_it(self, way, tmp_path, pictures, monkeypatch):
        decode = PoseDataset.picture

        def picture(dataset, index):
            if dataset.person(index).file == "coffee.png":
                raise cv2.error("boom")
            return decode(dataset, index)

        monkeypatch.setattr(PoseDataset, "picture", picture)
        with pytest.raises(DatasetError, match=r"line \d, picture .*coffee\.png: no example can be made of it: .*boom"):
            run(tmp_path, pictures, **way)

    def test_a_process_that_dies_ends_the_run(self, tmp_path, pictures):
        def kill():
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGKILL)

        with pytest.raises(DatasetError, match=r"next batch cannot be made: .*--workers"):
            run(tmp_path, pictures, at={2: kill}, workers=1, epochs=50)
        assert not multiprocessing.active_children()

    @pytest.mark.parametrize("written", [False, True])
    def test_a_death_is_named_wherever_it_is_heard_of(self, written, tmp_path, pictures):
        """PyTorch raises it in a signal's handler, in the middle of an update or of writing a checkpoint."""

        def hear():
            try:
                raise RuntimeError("DataLoader worker (pid 1234) is killed by signal: Killed. ")
            finally:
                if written:
                    raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos")

        with pytest.raises(DatasetError, match=r"next batch cannot be made: DataLoader worker .*--workers"):
            run(tmp_path, pictures, at={2: hear})

    def test_other_errors_stay_what_they_are(self, tmp_path, pictures):
        def fail():
            raise RuntimeError("something else")

        with pytest.raises(RuntimeError, match=r"^something else$"):
            run(tmp_path, pictures, at={2: fail})


class TestInterrupt:
    def test_ctrl_c_finishes_the_step_and_the_run_can_go_on(self, tmp_path, pictures, capfd):
        csv = write_csv(tmp_path / "train.csv", pictures)
        arguments = ["--train-csv", str(csv), "--images", str(pictures), "--skeleton", "flic", "--batch-size", "4"]
        arguments += ["--show-log-iter", "1", "--snapshot", "1000", "--epochs"]
        anew = ["--im-size", "64", "--width", "0.05", "-o", str(tmp_path / "out")]
        log, ended = tmp_path / "out" / "log", []

        def press():
            if not wait_until(lambda: ended or (log.exists() and log.read_text().count("\n") >= 3), 300) or ended:
                return
            os.kill(os.getpid(), signal.SIGINT)

        before = signal.getsignal(signal.SIGINT)
        thread = threading.Thread(target=press)
        thread.start()
        try:
            status = cli.main(["train", "--backend", "torch", *arguments, "100000", *anew])
        finally:
            ended.append(True)
            thread.join()
        assert status == 130
        assert signal.getsignal(signal.SIGINT) is before
        output = capfd.readouterr()
        assert f"interrupted; go on with --resume {tmp_path / 'out'}" in output.err
        checkpoint = converters.read(tmp_path / "out" / "last.pt")
        assert checkpoint.progress.iteration == log_lines(log)[-1]["iteration"] >= 3
        resume = ["--resume", str(tmp_path / "out"), "-o", str(tmp_path / "out")]
        epochs = str(checkpoint.progress.epoch + 1)
        assert cli.main(["train", "--backend", "torch", *arguments, epochs, *resume]) == 0
        assert converters.read(tmp_path / "out" / "last.pt").progress.epoch == checkpoint.progress.epoch + 1

    def test_one_after_a_step_ends_the_run_there(self, tmp_path, pictures):
        watch = run(tmp_path, pictures, at={3: interrupt}, show_log_iter=10, epochs=9, snapshot=9, valid_freq=0)
        assert watch.steps[-1].iteration == 3
        assert [[file.name for file in files] for files in watch.files] == [["snapshot_iter_3.pt", "last.pt"]]
        assert [entry["iteration"] for entry in watch.entries] == [3]

    def test_one_during_a_step_ends_with_that_step(self, tmp_path, pictures, monkeypatch):
        from deeppose_port.backends.torch import training

        original, calls = training.masked_loss, []

        def loss(*arguments):
            calls.append(arguments)
            if len(calls) == 2:
                interrupt()
            return original(*arguments)

        monkeypatch.setattr(training, "masked_loss", loss)
        watch = run(tmp_path, pictures, epochs=9)
        assert watch.steps[-1].iteration == 2


def test_a_full_disk_ends_the_run_and_leaves_the_last_checkpoint(tmp_path, pictures, monkeypatch):
    def full(payload, stream):
        stream.write(b"PK")
        raise OSError(28, "No space left on device")

    save = torch.save

    def patch():
        monkeypatch.setattr(torch, "save", full)

    with pytest.raises((CheckpointError, OSError), match="No space left on device"):
        run(tmp_path, pictures, at={2: patch}, epochs=9)
    monkeypatch.setattr(torch, "save", save)
    results = tmp_path / "results"
    assert not list(results.glob(".*"))
    assert [f.name for f in results.glob("epoch-*.pt")] in ([], ["epoch-1.pt"])
