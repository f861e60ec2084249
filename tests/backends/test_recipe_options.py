"""What recipes are made of does, in each backend."""

import math

import numpy as np
import pytest

import converters
from converters.checkpoint import is_parameter
from converters.errors import DeepPoseError
from deeppose_port.data import PoseDataset
from deeppose_port.metrics.losses import masked_loss
from deeppose_port.training import events
from deeppose_port.training.mean_pose import mean_pose
from deeppose_port.training.recipes import with_recipe
from deeppose_port.training.start import starting_point
from tests.helpers.trainings import NARROW_WIDTH, log_lines, run, small_options, weights_of


def file_of(folder, backend, epoch):
    return folder / f"epoch-{epoch}.{'pt' if backend == 'torch' else 'model'}"


def change_of(folder, backend, start, name):
    return weights_of(file_of(folder, backend, 1))[name].astype(float) - start[name]


def start_of(tmp_path, pictures):
    """The weights of a network that starts anew."""
    return starting_point(small_options(tmp_path, pictures), 7).checkpoint.weights


def test_a_rate_by_parameter(backend, tmp_path, pictures):
    start = start_of(tmp_path, pictures)

    def step(name, *scales):
        given = {"opt": "MomentumSGD", "lr": 0.01, "weight_decay": 0.0, "batch_size": 6, "valid_freq": 0}
        run(tmp_path, pictures, backend, epochs=1, **given, lr_scale=scales, output=tmp_path / name)
        return {layer: change_of(tmp_path / name, backend, start, layer) for layer in ("conv1.weight", "fc7.weight")}

    whole, scaled = step("whole"), step("scaled", "*=0.25", "conv*=0.5")
    np.testing.assert_allclose(scaled["conv1.weight"], 0.5 * whole["conv1.weight"], rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(scaled["fc7.weight"], 0.25 * whole["fc7.weight"], rtol=1e-3, atol=1e-7)
    with pytest.raises(DeepPoseError, match="--lr-scale 'wings' stands for no parameter; there are conv1"):
        step("none", "wings=2")


@pytest.mark.parametrize("loss", ["l1", "smooth-l1"])
def test_a_loss_is_trained_and_validated_and_that_of_the_mean_pose(loss, backend, tmp_path, pictures):
    given = {"loss": loss, "loss_beta": 0.1, "batch_size": 6, "lr": 1e-30, "test_csv": tmp_path / "train.csv"}
    watch = run(tmp_path, pictures, backend, epochs=1, **given)
    # At a rate next to nothing the loss of the one batch is that of the validation.
    (entry,) = watch.entries
    assert entry["main/loss"] == pytest.approx(entry["validation/main/loss"], rel=1e-5)
    dataset = PoseDataset(tmp_path / "train.csv", images=pictures, skeleton="flic", im_size=64)
    labels, masks = (np.stack([dataset[i][part] for i in range(len(dataset))]) for part in (1, 2))
    answers = np.broadcast_to(mean_pose(dataset), labels.shape)
    assert entry["mean_pose/loss"] == pytest.approx(masked_loss(answers, labels, masks, loss, 0.1), rel=1e-6)


def test_an_average_is_what_is_saved_and_validated(backend, tmp_path, pictures):
    run(tmp_path, pictures, backend, epochs=3, ema=0.5, batch_size=6, lr=0.01, valid_freq=0)
    last = converters.read(tmp_path / "results" / ("last.pt" if backend == "torch" else "snapshot_iter_3"))
    run(tmp_path, pictures, backend, epochs=3, batch_size=6, lr=0.01, valid_freq=0, output=tmp_path / "plain")
    states = [weights_of(file_of(tmp_path / "plain", backend, epoch)) for epoch in (1, 2, 3)]
    name = "fc7.weight"
    np.testing.assert_array_equal(last.trainer[f"average/trained/{name}"], states[-1][name])
    expected = start_of(tmp_path, pictures)[name].astype(float)
    for update, state in enumerate(states, 1):
        share = min(0.5, (1 + update) / (10 + update))
        expected = share * expected + (1 - share) * state[name]
    np.testing.assert_allclose(last.weights[name], expected, rtol=0, atol=1e-6)


def test_a_run_killed_before_its_snapshot_goes_on_with_what_was_trained(backend, tmp_path, pictures):
    """Of Chainer's files `epoch-N.model`, which is written before it, holds the average alone."""
    given = {"ema": 0.9, "batch_size": 4, "lr": 0.01, "valid_freq": 0, "snapshot": 1, "fliplr": True}
    run(tmp_path, pictures, backend, epochs=4, **given)
    killed = tmp_path / "killed"
    run(tmp_path, pictures, backend, epochs=3, **given, output=killed)
    if backend == "chainer":
        max(killed.glob("snapshot_iter_*"), key=lambda file: int(file.name.rpartition("_")[2])).unlink()
    run(tmp_path, pictures, backend, epochs=4, **given, resume=killed, output=killed)
    for epoch in (3, 4):
        expected, found = (weights_of(file_of(folder, backend, epoch)) for folder in (tmp_path / "results", killed))
        assert all(np.array_equal(array, found[name]) for name, array in expected.items()), epoch
    if backend == "chainer":
        for model in (killed, killed / "epoch-4.model"):  # before the first snapshot, or by its name
            for snapshot in killed.glob("snapshot_iter_*"):
                snapshot.unlink()
            with pytest.raises(DeepPoseError, match="it holds the running average of the weights alone"):
                run(tmp_path, pictures, backend, epochs=5, **given, resume=model, output=killed)
        run(tmp_path, pictures, backend, epochs=5, **{**given, "ema": 0.0}, resume=killed, output=killed)


def test_nothing_is_said_of_answers_that_do_not_move_while_the_rate_rises(backend, tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(events, "SAY_AFTER", 2)
    given = {"lr": 1e-30, "batch_size": 6, "epochs": 3, "snapshot": 3, "valid_freq": 0, "show_log_iter": 3}
    assert any("do not depend on the picture" in said for said in run(tmp_path, pictures, backend, **given).notices)
    given |= {"warmup": 4.0, "output": tmp_path / "rises"}
    assert not any("do not depend on the picture" in said for said in run(tmp_path, pictures, backend, **given).notices)


def test_the_log_has_the_gradients_norm(backend, tmp_path, pictures):
    given = {"epochs": 1, "batch_size": 6, "opt": "MomentumSGD", "lr": 0.01, "weight_decay": 0.0, "valid_freq": 0}
    (entry,) = run(tmp_path, pictures, backend, **given).entries
    before = start_of(tmp_path, pictures)
    after = weights_of(file_of(tmp_path / "results", backend, 1))
    moved = sum(((after[name].astype(float) - before[name]) ** 2).sum() for name in before if is_parameter(name))
    # The first step of momentum SGD is the gradient times the rate.
    assert entry["gradient_norm"] == pytest.approx(math.sqrt(moved) / 0.01, rel=1e-3)


@pytest.mark.parametrize("backend", ["chainer"], indirect=True)
def test_the_first_steps_of_modern_have_the_same_losses_in_chainer_and_pytorch(backend, tmp_path, pictures):
    pytest.importorskip("torch")
    network = {"architecture": "resfpn-softargmax", "width": "0.125", "dropout": None}
    given = with_recipe("modern", {**network, "epochs": 3, "batch_size": 3, "valid_freq": 0, "snapshot": 3})
    chainer, torch = (
        run(tmp_path, pictures, engine, **given, output=tmp_path / engine) for engine in (backend, "torch")
    )
    assert len(chainer.losses) == 6
    assert len(set(chainer.losses)) == 6  # what is drawn differs from step to step, as the weights do
    np.testing.assert_allclose(torch.losses, chainer.losses, rtol=1e-5)


class TestPyTorch:
    @pytest.fixture(autouse=True)
    def torch(self):
        return pytest.importorskip("torch")

    @pytest.mark.parametrize("loss", ["l2", "l1"])
    def test_a_batch_in_parts_is_the_batch(self, loss, tmp_path, pictures):
        given = {"epochs": 2, "opt": "MomentumSGD", "batch_size": 5, "loss": loss, "valid_freq": 0}
        whole = run(tmp_path, pictures, **given, output=tmp_path / "whole")
        parts = run(tmp_path, pictures, **given, accumulate=3, output=tmp_path / "parts")
        np.testing.assert_allclose(parts.losses, whole.losses, rtol=1e-5)
        first, second = (weights_of(tmp_path / name / "last.pt") for name in ("whole", "parts"))
        for name, array in first.items():
            np.testing.assert_allclose(second[name], array, rtol=0, atol=1e-6)

    def test_float16_that_overflows_makes_the_scale_smaller(self, tmp_path, pictures, monkeypatch, torch):
        scaler = torch.amp.GradScaler
        monkeypatch.setattr(torch.amp, "GradScaler", lambda device: scaler(device, init_scale=2.0**40))
        watch = run(tmp_path, pictures, epochs=30, batch_size=6, snapshot=30, valid_freq=0, amp="fp16")
        held = converters.read(tmp_path / "results" / "last.pt")
        assert 0 < held.optimizer.step < 30 == held.progress.iteration
        assert held.trainer["scaler/scale"] < 2.0**40
        assert all(math.isfinite(loss) for loss in watch.losses)

    def test_float16_does_not_hide_a_loss_that_is_not_finite(self, tmp_path, pictures):
        with pytest.raises(DeepPoseError, match="is not finite"):
            run(tmp_path, pictures, epochs=30, opt="MomentumSGD", lr=1e30, valid_freq=0, amp="fp16")

    def test_the_log_has_the_first_step_that_was_left_out(self, tmp_path, pictures):
        run(tmp_path, pictures, epochs=2, opt="MomentumSGD", lr=1e30, nonfinite_gradients="skip", valid_freq=0)
        entries = log_lines(tmp_path / "results" / "log")
        assert "first_skipped" not in entries[0]
        assert (entries[-1]["first_skipped"], entries[-1]["skipped"]) == (2, 3)


def test_the_log_has_the_units_that_are_dead(backend, tmp_path, pictures):
    start = starting_point(small_options(tmp_path, pictures), 7).checkpoint
    # Nothing comes through the first layer, and no other has a bias.
    weights = {**start.weights, "conv1.bias": np.full_like(start.weights["conv1.bias"], -1e6)}
    converters.write(start.replace(weights=weights), tmp_path / "dead.safetensors")
    given = {"epochs": 1, "lr": 1e-30, "test_csv": tmp_path / "train.csv"}
    dead = run(tmp_path, pictures, backend, **given, init=tmp_path / "dead.safetensors").entries[-1]["dead_units"]
    assert dead == sum(map(int, NARROW_WIDTH.split(",")))
    assert run(tmp_path, pictures, backend, **given, output=tmp_path / "new").entries[-1]["dead_units"] < dead / 2
