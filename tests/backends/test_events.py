"""What happens between the updates of a run, in each backend that trains."""

import json
import math

import numpy as np
import pytest

import converters
from deeppose_port.training import events
from deeppose_port.training.events import Best, Update
from deeppose_port.training.guard import Guard
from deeppose_port.training.logs import read_log
from deeppose_port.training.names import epochs_in
from deeppose_port.training.run import TrainingError
from deeppose_port.training.start import starting_point
from tests.helpers.trainings import (
    KilledError,
    interrupt,
    run,
    small_checkpoint,
    small_options,
    update_error,
    weight_error,
    weights_of,
    write_csv,
    write_random_csv,
)

RESNET = {"architecture": "resnet50", "width": "0.0625"}
#: What of an entry of the log is another in every run.
OF_THE_CLOCK = ("elapsed_time", "pictures_per_second", "waiting")
WITHOUT_PARAMETERS = """
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, joints=7):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 7, stride=8)
        self.norm = nn.BatchNorm2d(4, affine=False)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.fc = nn.Linear(16, joints * 2)

    def forward(self, x):
        return self.fc(self.pool(self.norm(self.conv(x))).flatten(1))
"""


def kill():
    raise KilledError


def best_in(results):
    """The best checkpoint of a folder."""
    (file,) = (file for file in results.glob("best.*") if file.suffix != ".state")
    return file


def last_in(results):
    """The checkpoint of the last epoch."""
    return epochs_in(results)[-1][1]


def start_weights(folder, pictures, **given):
    """What such a run starts from."""
    return starting_point(small_options(folder, pictures, **given), 7).checkpoint.weights


def validations(results, metric="loss"):
    name = f"validation/main/{metric}"
    return {entry["epoch"]: entry[name] for entry in read_log(results / "log") if name in entry}


class TestBest:
    def test_it_is_by_the_loss(self, tmp_path, pictures, backend):
        csv = write_csv(tmp_path / "test.csv", pictures, count=3)
        run(tmp_path, pictures, backend, test_csv=csv, epochs=4, lr=0.01)
        losses = validations(tmp_path / "results")
        assert list(losses) == [1, 2, 3, 4]
        best = converters.read(best_in(tmp_path / "results"))
        assert best.progress.epoch == min(losses, key=losses.get)
        assert best.optimizer.step == best.progress.iteration

    @pytest.mark.parametrize("metric", ["mean_error_px", "pdj@0.2"])
    def test_it_is_by_a_chosen_metric_and_not_too_early(self, metric, tmp_path, pictures, backend):
        csv = write_random_csv(tmp_path / "lsp.csv", 6, 14)
        given = {"train_csv": csv, "test_csv": csv, "skeleton": "lsp", "best": metric, "best_after": 2}
        run(tmp_path, pictures, backend, epochs=4, lr=0.01, snapshot=10, **given)
        values = {epoch: value for epoch, value in validations(tmp_path / "results", metric).items() if epoch >= 2}
        sign = -1 if metric == "pdj@0.2" else 1
        expected = min(values, key=lambda epoch: (sign * values[epoch], epoch))
        assert converters.read(best_in(tmp_path / "results")).progress.epoch == expected
        assert 1 not in dict(epochs_in(tmp_path / "results"))  # neither the best nor due

    def test_what_is_not_a_number_never_is(self, tmp_path, pictures):
        best = Best(small_options(tmp_path, pictures, best="mean_error_px"))
        values = [math.nan, 3.0, None, 2.0, 2.0, math.inf]
        judged = [best.judge({"epoch": 1, "validation/main/mean_error_px": value}) for value in values]
        assert judged == [False, True, False, True, False, False]
        assert (best.value, best.unimproved) == (2.0, 2)
        assert not best.judge({"epoch": 2, "main/loss": 0.0})
        assert best.unimproved == 2

    def test_from_which_epoch_on_is_said(self, tmp_path, pictures):
        best = Best(small_options(tmp_path, pictures, best="mean_error_px", best_after=2))
        judged = [best.judge({"epoch": epoch, "validation/main/mean_error_px": 3.0 - epoch}) for epoch in (0, 1, 2, 3)]
        assert judged == [False, False, True, True]

    def test_that_a_validation_gives_no_number_is_said_once(self, tmp_path, pictures, backend, monkeypatch):
        """As the box of a person's joints where one of them is trained."""
        given = {"test_csv": tmp_path / "train.csv", "best": "nme_box", "epochs": 2, "batch_size": 6}
        monkeypatch.setattr(events, "numbers_of", lambda *told: {"loss": 1.0, "nme_box": math.nan})
        watch = run(tmp_path, pictures, backend, **given)
        assert sum("--best nme_box: this validation gives no number" in notice for notice in watch.notices) == 1
        assert not list((tmp_path / "results").glob("best.*"))

    def test_what_is_never_measured_cannot_choose(self, tmp_path, pictures, backend):
        with pytest.raises(ValueError, match=r"--best pdj@0\.2: flic has no torso"):
            run(tmp_path, pictures, backend, test_csv=tmp_path / "train.csv", best="pdj@0.2")
        assert not (tmp_path / "results").exists()


class TestKeep:
    def test_the_last_and_the_best_are_left(self, tmp_path, pictures, backend):
        given = {"test_csv": tmp_path / "train.csv", "keep": 2, "lr": 1e-12, "opt": "MomentumSGD"}
        run(tmp_path, pictures, backend, epochs=4, **given)
        results = tmp_path / "results"
        assert list(dict(epochs_in(results))) == [3, 4]
        assert converters.read(best_in(results)).progress.epoch == 1
        assert len([file for file in results.iterdir() if "4" in file.name]) == {"torch": 1, "chainer": 2}[backend]


class TestPatience:
    given = {"opt": "MomentumSGD", "lr": 1e-30, "patience": 3}  # noqa: RUF012

    def test_it_ends_a_run_that_gets_no_better(self, tmp_path, pictures, backend):
        watch = run(tmp_path, pictures, backend, test_csv=tmp_path / "train.csv", snapshot=9, epochs=9, **self.given)
        assert watch.steps[-1].epoch == 4
        assert any("no better loss in 3 validations" in notice for notice in watch.notices)
        assert converters.read(last_in(tmp_path / "results")).progress.epoch == 4

    def test_it_goes_on_counting_in_a_run_that_goes_on(self, tmp_path, pictures, backend):
        given = {"test_csv": tmp_path / "train.csv", **self.given}
        run(tmp_path, pictures, backend, epochs=2, **given)
        watch = run(tmp_path, pictures, backend, epochs=9, resume=tmp_path / "results", **given)
        assert watch.steps[-1].epoch == 4
        assert converters.read(best_in(tmp_path / "results")).progress.epoch == 1

    def test_it_needs_validations(self, tmp_path, pictures, backend):
        with pytest.raises(ValueError, match=r"--patience follows validations: name a --test-csv"):
            run(tmp_path, pictures, backend, patience=2)


class TestValidation:
    @pytest.mark.parametrize(
        ("epochs", "interval", "expected"),
        [((1, 2), 2, True), ((2, 2), 2, False), ((2, 3), 2, False), ((1, 5), 2, True), ((0, 9), 0, False)],
    )
    def test_an_interval_is_complete_when_a_multiple_of_it_is_reached(self, epochs, interval, expected):
        assert Update(epochs, 0.0, 1, 0.0, 0.0, 1, 0.0).completed(interval) is expected

    def test_the_last_epoch_is_validated_whatever_the_interval(self, tmp_path, pictures, backend):
        csv = write_csv(tmp_path / "train.csv", pictures)
        run(tmp_path, pictures, backend, test_csv=csv, valid_freq=2, epochs=3)
        assert list(validations(tmp_path / "results")) == [2, 3]


class TestGradClip:
    def test_a_step_is_no_longer_than_its_norm(self, tmp_path, pictures, backend):
        given = {"opt": "MomentumSGD", "lr": 1.0, "weight_decay": 0.0, "epochs": 1, "batch_size": 6}
        start = start_weights(tmp_path, pictures, **given)
        lengths = {}
        for clip in (None, 1e-3, 1e3):
            run(tmp_path, pictures, backend, output=tmp_path / str(clip), grad_clip=clip, **given)
            after = weights_of(last_in(tmp_path / str(clip)))
            lengths[clip] = math.sqrt(sum(float(np.sum((after[n].astype("f8") - start[n]) ** 2)) for n in start))
        assert lengths[1e-3] == pytest.approx(1e-3, rel=1e-2)
        assert lengths[1e3] == lengths[None] > 1e-2


class TestSchedules:
    @pytest.mark.parametrize(
        ("given", "factors"),
        [
            ({"lr_decay_freq": 1, "lr_decay_ratio": 0.5}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
            ({"schedule": "cosine"}, [(1 + math.cos(math.pi * k / 6)) / 2 for k in range(6)]),
            ({"warmup": 2}, [0.001, 0.25, 0.5, 0.75, 1, 1]),
            (
                {"warmup": 1, "schedule": "cosine"},
                [0.001, 0.5, *((1 + math.cos(math.pi * k / 4)) / 2 for k in range(4))],
            ),
        ],
    )
    def test_the_rate_of_each_step_is_in_the_log(self, given, factors, tmp_path, pictures, backend):
        run(tmp_path, pictures, backend, opt="AdaGrad", lr=0.02, **{"lr_decay_freq": 0, **given})
        rates = [entry["lr"] for entry in read_log(tmp_path / "results" / "log")]
        assert rates == pytest.approx([0.02 * factor for factor in factors])

    def test_a_step_is_as_long_as_its_rate(self, tmp_path, pictures, backend):
        """Adam's first step moves every weight by the rate, where its gradient is not tiny."""
        given = {"opt": "Adam", "lr": 0.02, "warmup": 10, "epochs": 1, "batch_size": 6}
        start = start_weights(tmp_path, pictures, **given)
        run(tmp_path, pictures, backend, **given)
        after = weights_of(last_in(tmp_path / "results"))
        moved = np.concatenate([np.abs(after[name] - start[name]).ravel() for name in start])
        assert moved.max() == pytest.approx(0.02 * 0.001, rel=0.01)


class TestFreeze:
    def test_what_is_frozen_keeps_every_bit(self, tmp_path, pictures, backend):
        given = {"opt": "MomentumSGD", "freeze": ("conv*", "fc6.bias")}
        start = start_weights(tmp_path, pictures, **given)
        run(tmp_path, pictures, backend, **given)
        after = weights_of(last_in(tmp_path / "results"))
        frozen = {name for name in start if name.startswith("conv") or name == "fc6.bias"}
        assert {name for name in start if np.array_equal(start[name], after[name])} == frozen

    def test_statistics_of_frozen_batch_normalization_stay_too(self, tmp_path, pictures, backend):
        given = {**RESNET, "freeze": ("conv1.*", "bn1.*", "res2*"), "epochs": 1, "batch_size": 6}
        start = start_weights(tmp_path, pictures, **given)
        run(tmp_path, pictures, backend, **given)
        after = weights_of(last_in(tmp_path / "results"))
        changed = {name for name in start if not np.array_equal(start[name], after[name])}
        assert not any(name.startswith(("conv1.", "bn1.", "res2")) for name in changed)
        names = {name.split(".")[1] for name in start if name.startswith("res3.")}
        block = sorted(names)[0]
        parts = ("bn1.running_mean", "bn1.running_var", "conv1.weight")
        assert {f"res3.{block}.{part}" for part in parts} <= changed

    def test_batch_normalization_without_parameters_learns_its_statistics(self, tmp_path, pictures, backend):
        """Of a network whose other parameters are frozen too: it has none that could be."""
        (tmp_path / "net.py").write_text(WITHOUT_PARAMETERS)
        given = {"model_file": str(tmp_path / "net.py"), "width": None, "epochs": 1, "freeze": ("conv*",)}
        run(tmp_path, pictures, backend, **given)
        after = weights_of(last_in(tmp_path / "results"))
        assert after["norm.running_mean"].all()
        assert (after["norm.running_var"] != 1).all()

    def test_frozen_parameters_keep_the_optimizers_state_that_they_had(self, tmp_path, pictures, backend):
        run(tmp_path, pictures, backend, epochs=1)
        run(tmp_path, pictures, backend, epochs=2, resume=tmp_path / "results", freeze=("conv*",))
        before, after = (converters.read(file).optimizer.slots for _, file in epochs_in(tmp_path / "results"))
        for slot in ("m", "v"):
            assert before[slot]["conv1.weight"].any()
            assert np.array_equal(after[slot]["conv1.weight"], before[slot]["conv1.weight"])
            assert not np.array_equal(after[slot]["fc7.weight"], before[slot]["fc7.weight"])

    def test_a_pattern_that_stands_for_nothing_is_refused(self, tmp_path, pictures, backend):
        with pytest.raises(ValueError, match=r"--freeze 'block\*' stands for no parameter; there are conv1\.weight"):
            run(tmp_path, pictures, backend, freeze=("conv*", "block*"))

    def test_something_has_to_be_left(self, tmp_path, pictures, backend):
        with pytest.raises(ValueError, match="leaves nothing to train"):
            run(tmp_path, pictures, backend, freeze=("*",))


class TestTensorBoard:
    def test_it_is_written_too(self, tmp_path, pictures, backend):
        pytest.importorskip("tensorboard")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        watch = run(tmp_path, pictures, backend, tensorboard=True, epochs=1)
        board = EventAccumulator(str(tmp_path / "results")).Reload()
        told = {entry["iteration"]: entry["main/loss"] for entry in watch.entries}
        assert {e.step: e.tensor_proto.float_val[0] for e in board.Tensors("main/loss")} == pytest.approx(told)

    def test_it_is_asked_for_where_it_is_missing(self, tmp_path, pictures, backend, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "tensorboard.summary", None)
        with pytest.raises(ValueError, match="pip install tensorboard"):
            run(tmp_path, pictures, backend, tensorboard=True, epochs=1)


class TestEvalOnly:
    def test_it_validates_and_writes_nothing(self, tmp_path, pictures, backend):
        csv = write_csv(tmp_path / "test.csv", pictures, count=3)
        trained = run(tmp_path, pictures, backend, test_csv=csv, epochs=1)
        before = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*")}
        given = {"test_csv": csv, "epochs": 1, "resume": tmp_path / "results", "eval_only": True}
        watch = run(tmp_path, pictures, backend, **given)
        assert {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*")} == before
        (entry,) = watch.entries
        assert (entry["epoch"], entry["iteration"], watch.steps) == (1, 2, [])
        assert entry["validation/main/loss"] == pytest.approx(trained.entries[-1]["validation/main/loss"], rel=1e-6)

    def test_there_has_to_be_something_to_validate_on(self, tmp_path, pictures, backend):
        with pytest.raises(ValueError, match="--test-csv"):
            run(tmp_path, pictures, backend, eval_only=True)
        assert not (tmp_path / "results").exists()


@pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered:RuntimeWarning")
class TestNonFinite:
    @pytest.fixture
    def steep(self, tmp_path):
        """Weights whose loss and gradients are finite, while the square of fc8.weight's gradient is not."""
        checkpoint = small_checkpoint()
        checkpoint.weights["fc7.bias"][:] = 1e14
        checkpoint.weights["fc8.weight"][:] = 0
        checkpoint.weights["fc8.bias"][:] = 1e8
        converters.write(checkpoint, tmp_path / "steep.pt")
        return tmp_path / "steep.pt"

    @pytest.mark.parametrize("opt", ["Adam", "AdaGrad", "RMSprop"])
    def test_a_gradient_whose_square_overflows_never_reaches_the_weights(self, opt, steep, tmp_path, pictures, backend):
        with pytest.raises(TrainingError, match=r"^iteration 1: the square of the gradient of .*fc8.* is not finite"):
            run(tmp_path, pictures, backend, init=steep, opt=opt)
        given = {"init": steep, "opt": opt, "nonfinite_gradients": "skip", "epochs": 1}
        run(tmp_path, pictures, backend, output=tmp_path / "skipped", **given)
        after = weights_of(last_in(tmp_path / "skipped"))
        assert all(np.array_equal(after[name], array) for name, array in weights_of(steep).items())

    def test_momentum_sgd_squares_nothing(self, steep, tmp_path, pictures, backend):
        run(tmp_path, pictures, backend, init=steep, opt="MomentumSGD", lr=1e-30, epochs=1)

    def test_too_many_steps_in_a_row_end_a_run_that_leaves_them_out(self, steep, tmp_path, pictures, backend):
        given = {"init": steep, "nonfinite_gradients": "skip", "nonfinite_limit": 3}
        with pytest.raises(TrainingError, match="as in the 2 steps before it"):
            run(tmp_path, pictures, backend, **given)

    def test_nothing_that_is_not_finite_is_saved_over_a_good_file(self, tmp_path, pictures, backend, monkeypatch):
        """Whatever let it through."""
        monkeypatch.setattr(Guard, "culprit", lambda *told: None)
        run(tmp_path, pictures, backend, epochs=1)
        before = {file.name: file.read_bytes() for file in (tmp_path / "results").iterdir() if file.suffix}
        with pytest.raises(TrainingError, match="is no longer finite, so no checkpoint of it is written"):
            run(tmp_path, pictures, backend, resume=tmp_path / "results", adam_alpha=1e30, epochs=9)
        after = {
            name: (tmp_path / "results" / name).read_bytes()
            for name in before
            if name not in ("log.txt", "config.toml")
        }
        assert after.items() <= before.items()


class TestCollapse:
    @pytest.fixture
    def blind(self, tmp_path, monkeypatch):
        """Weights that answer the same to every picture, and learn nothing; what is said, is said early."""
        monkeypatch.setattr(events, "SAY_AFTER", 3)
        monkeypatch.setattr(events, "END_AFTER", 5)
        checkpoint = small_checkpoint()
        checkpoint.weights["fc8.weight"][:] = 0
        checkpoint.weights["fc8.bias"][:] = 0.5  # beside which such rates are nothing
        converters.write(checkpoint, tmp_path / "blind.pt")
        return {"init": tmp_path / "blind.pt", "opt": "MomentumSGD", "lr": 1e-30, "epochs": 6}

    def test_it_is_said_once(self, blind, tmp_path, pictures, backend):
        watch = run(tmp_path, pictures, backend, **blind)
        (said,) = (notice for notice in watch.notices if "do not depend on the picture" in notice)
        assert said.startswith("the answers do not depend on the picture yet: from one to the next they move 0.0% of")
        assert watch.steps[-1].epoch == 6
        assert [entry["movement"] for entry in watch.entries] == [0] * len(watch.entries)

    def test_it_ends_a_run_that_is_asked_to(self, blind, tmp_path, pictures, backend):
        watch = run(tmp_path, pictures, backend, stop_collapsed=True, **blind)
        assert watch.steps[-1].iteration == 6  # told after the fifth
        (said,) = (notice for notice in watch.notices if "the run ends" in notice)
        assert said == watch.notices[-1] == "the answers still do not depend on the picture: the run ends"
        assert converters.read(last_in(tmp_path / "results")).progress.iteration == 6

    def test_a_network_that_looks_is_left_in_peace(self, blind, tmp_path, pictures, backend):
        checkpoint = small_checkpoint()
        checkpoint.weights["fc8.weight"][:] = np.random.RandomState(0).randn(*checkpoint.weights["fc8.weight"].shape)
        converters.write(checkpoint, tmp_path / "seeing.pt")
        watch = run(tmp_path, pictures, backend, stop_collapsed=True, **{**blind, "init": tmp_path / "seeing.pt"})
        assert all(entry["movement"] > 0.05 for entry in watch.entries)
        assert not any("depend on the picture" in notice for notice in watch.notices)

    def test_looking_changes_nothing(self, tmp_path, pictures, backend):
        given = {"epochs": 2, "dropout": 0.5, **RESNET, "batch_size": 6}
        for often in (1, 100):
            run(tmp_path, pictures, backend, output=tmp_path / str(often), show_log_iter=often, **given)
        first, second = (weights_of(last_in(tmp_path / str(often))) for often in (1, 100))
        assert all(np.array_equal(array, second[name]) for name, array in first.items())


class TestLog:
    @pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered:RuntimeWarning")
    def test_it_is_strict_json_where_steps_were_left_out(self, tmp_path, pictures, backend):
        checkpoint = small_checkpoint()
        checkpoint.weights["fc8.bias"][0] = 3e38  # its square is Inf
        converters.write(checkpoint, tmp_path / "explosive.pt")
        given = {"init": tmp_path / "explosive.pt", "nonfinite_gradients": "skip", "epochs": 1}
        watch = run(tmp_path, pictures, backend, **given)
        assert [entry["main/loss"] for entry in watch.entries] == [None, None]
        text = (tmp_path / "results" / "log").read_text()
        for part in text.splitlines() if backend == "torch" else [text]:
            json.loads(part, parse_constant=pytest.fail)

    @pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered:RuntimeWarning")
    def test_of_a_run_that_was_killed_it_is_that_of_one_that_was_not(self, tmp_path, pictures, backend):
        """It goes on from a checkpoint, which may come between two entries; steps are left out before it and after."""
        given = {"batch_size": 4, "epochs": 4, "show_log_iter": 4, "valid_freq": 0, "fliplr": True}
        given |= {"nonfinite_gradients": "skip", "opt": "MomentumSGD", "lr": 1e30}
        killed = tmp_path / "killed"
        run(tmp_path, pictures, backend, **given)
        with pytest.raises(KilledError):
            run(tmp_path, pictures, backend, **given, output=killed, at={4: kill})
        run(tmp_path, pictures, backend, **given, output=killed, resume=killed)
        first, second = (
            [{k: v for k, v in entry.items() if k not in OF_THE_CLOCK} for entry in read_log(folder / "log")]
            for folder in (tmp_path / "results", killed)
        )
        assert [entry["iteration"] for entry in first] == [2, 3, 4, 5, 6]
        assert first[-1]["skipped"] == 5
        assert second == first

    def test_it_tells_the_same_in_each_backend(self, tmp_path, pictures, backend):
        watch = run(tmp_path, pictures, backend, test_csv=tmp_path / "train.csv", at={5: interrupt})
        names = {"main/loss", "epoch", "iteration", "elapsed_time", "pictures_per_second", "waiting", "lr", "movement"}
        names |= {"gradient_norm"}
        validation = {"mean_pose/loss", "dead_units"} | {
            f"validation/main/{name}" for name in ("loss", "mean_error_px", "pcp", "pck_box@0.2")
        }
        assert [entry.keys() for entry in watch.entries] == [
            names | validation if entry["iteration"] in (2, 4) else names for entry in watch.entries
        ]


class TestSameRun:
    """Events do the same to a run in each backend."""

    @pytest.mark.parametrize(
        "given",
        [
            {"freeze": ("conv1*", "fc6.bias"), "grad_clip": 0.01},
            {**RESNET, "freeze": ("bn1.*", "conv1.*", "res2.*.bn1.*"), "grad_clip": 0.1, "lr": 0.001},
        ],
        ids=["alexnet", "resnet50"],
    )
    def test_clipped_and_frozen_weights_are_the_same(self, given, tmp_path, pictures):
        pytest.importorskip("chainer")
        given = {"opt": "MomentumSGD", "schedule": "cosine", "warmup": 1, "epochs": 2, "batch_size": 6, **given}
        start = start_weights(tmp_path, pictures, **given)
        found = {}
        for name in ("torch", "chainer"):
            run(tmp_path, pictures, name, output=tmp_path / name, **given)
            found[name] = weights_of(last_in(tmp_path / name))
        assert weight_error(found["torch"], found["chainer"]) <= 2e-5
        assert update_error(found["torch"], found["chainer"], start) <= 1e-2
