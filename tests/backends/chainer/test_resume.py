import importlib.util
import json
import re
import shutil

import numpy as np
import pytest

import converters
import deeppose_port
from converters import CheckpointError
from deeppose_port import cli, metrics
from deeppose_port.backends.training import train
from deeppose_port.data import PoseDataset
from tests.helpers.trainings import RANDOM, interrupt, run, same_bits, small_checkpoint, small_options

if importlib.util.find_spec("chainer") is None:
    pytest.skip("Chainer is not installed", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("no_plots", "no_thread_survives")
#: Updates after which the epochs 1 to 5 are complete.
ENDS = (2, 3, 5, 6, 8)
STEPS = {"Adam": {}, "MomentumSGD": {"lr": 0.01, "lr_decay_freq": 2}, "AdaGrad": {}, "RMSprop": {"lr": 0.001}}


@pytest.fixture
def small(tmp_path, pictures):
    """Runs a small training in Chainer into `results` or another folder, and returns what it told."""

    def training(output="results", at=None, **given):
        return run(tmp_path, pictures, "chainer", at, **{"output": tmp_path / output, **RANDOM, "epochs": 5, **given})

    return training


@pytest.fixture(scope="module")
def whole(tmp_path_factory, pictures):
    """The folder of an uninterrupted run of 5 epochs with an optimizer; of every epoch the checkpoint is kept."""
    made = {}

    def folder(optimizer="Adam"):
        if optimizer not in made:
            made[optimizer] = tmp_path_factory.mktemp(optimizer)
            given = {**RANDOM, "epochs": 5, "opt": optimizer, **STEPS[optimizer]}
            run(made[optimizer], pictures, "chainer", **given)
        return made[optimizer] / "results"

    return folder


def assert_same_end(folder, whole):
    """The last checkpoint, and what else a snapshot holds, are those of the uninterrupted run."""
    assert same_bits(folder / "snapshot_iter_8", whole / "snapshot_iter_8")
    for name in ("epoch-5.model", "epoch-5.state"):
        with np.load(folder / name) as ours, np.load(whole / name) as expected:
            assert ours.files == expected.files
            assert all(np.array_equal(ours[key], array) for key, array in expected.items())
    snapshots = [converters.read(path / "snapshot_iter_8").trainer for path in (folder, whole)]
    of_iterator = [
        {key: array.tolist() for key, array in trainer.items() if key.startswith("updater/")} for trainer in snapshots
    ]
    assert of_iterator[0] == of_iterator[1]


class TestOwnFiles:
    @pytest.mark.parametrize(
        ("optimizer", "file"),
        [*((name, "snapshot_iter_3") for name in STEPS), ("Adam", "epoch-2.model"), ("MomentumSGD", "epoch-2.state")],
    )
    def test_a_resumed_run_ends_as_an_uninterrupted_one(self, optimizer, file, small, whole, tmp_path):
        watch = small(resume=whole(optimizer) / file)
        assert [step.iteration for step in watch.steps] == [4, 5, 6, 7, 8]
        assert_same_end(tmp_path / "results", whole(optimizer))

    def test_the_end_of_an_epoch_within_a_batch_is_resumed(self, small, whole, tmp_path):
        """After iteration 5 the batch has taken two persons of the next epoch."""
        for results, file in (("from a snapshot", "snapshot_iter_5"), ("from an epoch", "epoch-3.model")):
            small(results, resume=whole() / file)
            assert_same_end(tmp_path / results, whole())

    def test_a_folder_is_resumed_from_its_last_checkpoint(self, small, whole, tmp_path):
        shutil.copytree(whole(), tmp_path / "copy", ignore=lambda folder, names: {n for n in names if "8" in n})
        for name in ("epoch-5.model", "epoch-5.state"):
            (tmp_path / "copy" / name).unlink()
        watch = small("copy", resume=tmp_path / "copy")
        assert [step.iteration for step in watch.steps] == [7, 8]
        assert_same_end(tmp_path / "copy", whole())

    @pytest.mark.parametrize("iteration", [1, 4, 7])
    def test_a_run_that_was_stopped_within_an_epoch_goes_on_there(self, iteration, small, whole, tmp_path):
        small(at={iteration: interrupt})
        assert (tmp_path / "results" / f"snapshot_iter_{iteration}").is_file()
        watch = small(resume=tmp_path / "results")
        assert watch.steps[0].iteration == iteration + 1
        assert_same_end(tmp_path / "results", whole())

    def test_a_run_that_is_stopped_again_and_again_ends_the_same(self, small, whole, tmp_path):
        small(at={1: interrupt})
        for iteration in range(2, 8):
            small(resume=tmp_path / "results", at={iteration: interrupt})
        small(resume=tmp_path / "results")
        assert_same_end(tmp_path / "results", whole())

    def test_log_goes_on_as_if_nothing_had_happened(self, small, tmp_path):
        given = {"show_log_iter": 3, "valid_freq": 2, "test_csv": tmp_path / "train.csv"}
        small("whole", **given)
        small("parts", **given, at={4: interrupt})
        small("parts", **given, resume=tmp_path / "parts")
        logs = [json.loads((tmp_path / name / "log").read_text()) for name in ("whole", "parts")]
        assert [entry["iteration"] for entry in logs[0]] == [2, 3, 5, 6, 8]
        # A run that is stopped tells how it was.
        assert [entry["iteration"] for entry in logs[1]] == [2, 3, 4, 5, 6, 8]
        validations = [
            [(e["iteration"], e["validation/main/loss"]) for e in log if "validation/main/loss" in e] for log in logs
        ]
        assert validations[0] == validations[1]
        assert [iteration for iteration, _ in validations[0]] == [3, 6, 8]

    def test_a_snapshot_brings_its_log_into_a_new_folder(self, small, whole, tmp_path):
        small(resume=whole() / "snapshot_iter_3")
        log = json.loads((tmp_path / "results" / "log").read_text())
        assert [entry["iteration"] for entry in log] == [1, 2, 3, 4, 5, 6, 7, 8]

    def test_more_epochs_can_be_trained(self, small, whole, tmp_path):
        watch = small(resume=whole(), epochs=6)
        assert [step.iteration for step in watch.steps] == [9]
        assert converters.read(tmp_path / "results" / "epoch-6.model").progress.epoch == 6

    def test_hyperparameters_come_from_log_txt_and_options_come_first(self, small, whole, tmp_path):
        watch = small(resume=whole("MomentumSGD") / "snapshot_iter_3")
        log = whole("MomentumSGD") / "log.txt"
        assert f"hyper-parameters that were not given come from {log}" in watch.notices
        small("other", resume=whole("MomentumSGD") / "snapshot_iter_3", lr=1e-30, momentum=0.0, weight_decay=0.0)
        first = converters.read(whole("MomentumSGD") / "snapshot_iter_3").weights
        last = converters.read(tmp_path / "other" / "snapshot_iter_8").weights
        assert all(np.abs(last[name] - array).max() < 1e-25 for name, array in first.items())

    def test_what_was_converted_for_torch_goes_on(self, small, whole, tmp_path):
        pytest.importorskip("torch")
        converters.convert(whole() / "snapshot_iter_3", tmp_path / "converted.pt")
        small(resume=tmp_path / "converted.pt", adam_alpha=0.001)
        assert_same_end(tmp_path / "results", whole())

    def test_the_checkpoint_that_is_resumed_stays_as_it_is(self, whole, tmp_path, pictures):
        before = (whole() / "snapshot_iter_3").read_bytes()
        given = {"resume": whole() / "snapshot_iter_3", **RANDOM, "epochs": 3}
        start = train(small_options(tmp_path, pictures, **given), "chainer").start
        assert (whole() / "snapshot_iter_3").read_bytes() == before
        held, expected = dict(start.checkpoint.tensors()), converters.read(whole() / "snapshot_iter_3").tensors()
        assert all(np.array_equal(held[name], array) for name, array in expected)


class TestRefusals:
    def test_later_checkpoints_are_never_overwritten(self, small, whole, tmp_path):
        shutil.copytree(whole(), tmp_path / "copy")
        before = {file.name: file.read_bytes() for file in (tmp_path / "copy").iterdir()}
        for file in ("snapshot_iter_3", "epoch-2.model"):
            with pytest.raises(ValueError, match=r"would overwrite later checkpoints .*epoch-3\.model") as refused:
                small("copy", resume=tmp_path / "copy" / file)
            assert "epoch-2" not in str(refused.value).split("there is")[1]
        assert {file.name: file.read_bytes() for file in (tmp_path / "copy").iterdir()} == before

    def test_a_folder_of_another_run_is_not_written_into(self, small, whole, tmp_path):
        shutil.copytree(whole(), tmp_path / "copy")
        for resume in (None, whole() / "snapshot_iter_8"):
            with pytest.raises(ValueError, match=f"{tmp_path / 'copy'}: this folder holds another run"):
                small("copy", resume=resume, epochs=9)

    def test_another_optimizer_is_refused(self, small, whole):
        with pytest.raises(CheckpointError, match="it holds the state of Adam, not of RMSprop"):
            small(resume=whole() / "snapshot_iter_3", opt="RMSprop")

    def test_epochs_that_are_done_are_refused(self, small, whole, tmp_path):
        with pytest.raises(ValueError, match="it has 5 epochs behind it and --epochs is 5: nothing to do"):
            small(resume=whole())
        assert not (tmp_path / "results").exists()

    def test_a_model_without_its_state_is_refused(self, small, whole, tmp_path):
        shutil.copy(whole() / "epoch-2.model", tmp_path)
        with pytest.raises(CheckpointError, match=r"it holds no optimizer's state.*--init"):
            small(resume=tmp_path / "epoch-2.model")

    def test_an_empty_folder_is_refused(self, small, tmp_path):
        with pytest.raises(CheckpointError, match=r"holds no snapshot_iter_N and no epoch-N\.model"):
            small(resume=tmp_path)

    def test_another_number_of_joints_is_refused(self, small, golden):
        path = golden / "checkpoints" / "7.8.1" / "alexnet-adam" / "epoch-1.model"
        with pytest.raises(CheckpointError, match="it has 16 joints, but flic has 7"):
            small(resume=path, adam_alpha=0.001)


LEGACY_STATES = {"adam": "adam_alpha", "momentumsgd": "lr", "adagrad": "lr", "rmsprop": "lr"}


class TestLegacyFiles:
    """Files of Chainer 1.13 and 7.8.1, of a network of 16 joints."""

    @pytest.fixture
    def mpii(self, tmp_path, pictures):
        """The CSV of 4 persons with 16 joints on the free pictures: their 7, and these again."""
        lines = [line.split(",") for line in (pictures / "free.csv").read_text().splitlines()]
        coordinates = [[name, *(points * 3)[:32]] for name, *points in lines]
        path = tmp_path / "mpii.csv"
        path.write_text("".join(",".join(line) + "\n" for line in coordinates[:4]))
        off = dict.fromkeys(("fliplr", "rotate", "zoom", "translate"), False)
        return {"train_csv": path, "skeleton": "mpii", "dropout": 0.0, "batch_size": 4, "epochs": 2, **off}

    @pytest.mark.parametrize("version", ["1.13.0", "7.8.1"])
    @pytest.mark.parametrize("algorithm", LEGACY_STATES)
    def test_model_and_state_go_on_by_the_optimizers_rule(self, version, algorithm, small, mpii, golden, tmp_path):
        model = golden / "checkpoints" / version / f"alexnet-{algorithm}" / "epoch-1.model"
        rate = {LEGACY_STATES[algorithm]: 0.001, "weight_decay": 0.0}
        watch = small(resume=model, **mpii, **rate)
        assert [step.iteration for step in watch.steps] == [4]
        old, new = converters.read(model), converters.read(tmp_path / "results" / "epoch-2.model")
        assert (new.optimizer.algorithm, new.optimizer.step) == (algorithm, 4)
        assert (new.progress.epoch, new.progress.iteration) == (2, 4)
        for name in ("conv3.weight", "fc7.weight", "fc8.bias"):
            w0, w1 = old.weights[name].astype(float), new.weights[name].astype(float)
            slots = [
                {slot: arrays[name].astype(float) for slot, arrays in checkpoint.optimizer.slots.items()}
                for checkpoint in (old, new)
            ]
            step, found = self.step(algorithm, *slots), w1 - w0
            if algorithm in ("adagrad", "rmsprop"):
                found = np.abs(found)  # their state does not know the gradient's sign
            assert step.any()
            np.testing.assert_allclose(found, step, rtol=0, atol=1e-3 * np.abs(step).max() + 1e-7)

    def step(self, algorithm, old, new):
        """The 4th update, or its size, at the rate 0.001, by the rules of Chainer 1.13, from both states."""
        match algorithm:
            case "adam":
                g = (new["m"] - 0.9 * old["m"]) / 0.1
                np.testing.assert_allclose(new["v"], 0.999 * old["v"] + 0.001 * g**2, rtol=1e-3, atol=1e-12)
                return -0.001 * np.sqrt(1 - 0.999**4) / (1 - 0.9**4) * new["m"] / (np.sqrt(new["v"]) + 1e-8)
            case "momentumsgd":
                assert np.abs(new["v"] - 0.9 * old["v"]).max() < np.abs(old["v"]).max()
                return new["v"]
            case "adagrad":
                assert (new["h"] >= old["h"]).all()
                size = 0.001 * np.sqrt(new["h"] - old["h"]) / (np.sqrt(new["h"]) + 1e-8)
            case "rmsprop":
                assert (new["ms"] >= np.float32(0.99) * old["ms"] * (1 - 1e-6)).all()
                g2 = np.maximum(new["ms"] - 0.99 * old["ms"], 0) / 0.01
                size = 0.001 * np.sqrt(g2) / (np.sqrt(new["ms"]) + 1e-8)
        return size

    @pytest.mark.parametrize("algorithm", LEGACY_STATES)
    def test_without_a_learning_rate_the_error_says_which_option(self, algorithm, small, mpii, golden):
        model = golden / "checkpoints" / "1.13.0" / f"alexnet-{algorithm}" / "epoch-1.model"
        option = "--" + LEGACY_STATES[algorithm].replace("_", "-")
        with pytest.raises(CheckpointError, match=rf"the learning rate.*\(say it with {option}\)"):
            small(resume=model, **mpii)

    @pytest.mark.parametrize(
        "file", ["1.13.0/trainer-multiprocess", "1.13.0/trainer-serial", "7.8.1/trainer-multiprocess"]
    )
    def test_snapshots_go_on_in_their_own_order(self, file, small, mpii, golden, tmp_path, pictures):
        snapshot = golden / "checkpoints" / file / "snapshot_iter_2"
        old = converters.read(snapshot)
        watch = small(resume=snapshot, adam_alpha=0.001, **mpii | {"batch_size": 2})
        assert [step.iteration for step in watch.steps] == [3, 4]
        dataset = PoseDataset(mpii["train_csv"], images=pictures, skeleton="mpii")
        (order,) = (array for key, array in old.trainer.items() if key.endswith("order"))
        inputs, targets, mask = (np.stack(part) for part in zip(*(dataset[i] for i in order[:2]), strict=True))
        answers = deeppose_port.load(old, backend="chainer")(inputs)
        assert watch.losses[0] == pytest.approx(metrics.masked_mse(answers, targets, mask), rel=1e-5)
        new = converters.read(tmp_path / "results" / "snapshot_iter_4")
        assert (new.optimizer.step, new.progress.epoch, new.progress.iteration) == (4, 2, 4)
        assert new.source.writer == old.source.writer
        entries = json.loads((tmp_path / "results" / "log").read_text())
        assert [entry["iteration"] for entry in entries] == [1, 2, 3, 4]
        assert entries[0]["main/loss"] == json.loads(old.trainer["extensions/LogReport/_log"].item())[0]["main/loss"]

    def test_hdf5_of_early_2016_goes_on(self, small, golden, tmp_path):
        pytest.importorskip("h5py")
        model = golden / "checkpoints" / "1.5.1" / "alexnet_flic-hdf5" / "epoch-1.model"
        small(resume=model, lr=0.001, epochs=2, batch_size=6)
        read = converters.read(tmp_path / "results" / "epoch-2.model")
        assert (read.optimizer.algorithm, read.optimizer.step) == ("adagrad", 4)
        assert read.preprocessing.interpolation == "nearest"

    @pytest.fixture
    def legacy(self, shared_golden, tmp_path):
        """A copy of a whole result folder of the legacy program: Adam, 300 epochs, 900 iterations, with its log.txt."""
        return shutil.copytree(shared_golden / "results" / "AlexNet_2026", tmp_path / "AlexNet_2026")

    @pytest.mark.parametrize("file", ["", "snapshot_iter_900", "epoch-300.model", "epoch-150.state"])
    def test_a_legacy_folder_goes_on_with_the_hyperparameters_of_its_log(self, file, small, legacy, tmp_path):
        epoch, iteration = (150, 450) if "150" in file else (300, 900)
        watch = small(resume=legacy / file, epochs=epoch + 1, batch_size=13)
        assert watch.steps[0].iteration == iteration + 1
        assert f"hyper-parameters that were not given come from {legacy / 'log.txt'}" in watch.notices
        said = (tmp_path / "results" / "log.txt").read_text()
        # The legacy program used neither weight decay nor a falling rate with Adam, though its log.txt has numbers.
        for name, value in {"opt": "'Adam'", "adam_alpha": 0.001, "weight_decay": 0.0, "lr_decay_freq": 0}.items():
            assert re.search(rf"\b{name}={value},", said)

    def test_a_legacy_folder_that_is_gone_on_with_in_place_stays_readable(self, small, legacy):
        before = converters.read(legacy / "snapshot_iter_900")
        small(legacy.name, resume=legacy, epochs=301, batch_size=24)
        after = converters.read(legacy / "snapshot_iter_900")
        assert after.source.writer == before.source.writer == "chainer-1.13.0"
        assert converters.read(legacy / "snapshot_iter_901").source.writer == "chainer-1.13.0"
        log = json.loads((legacy / "log").read_text())
        assert [entry["iteration"] for entry in log[-2:]] == [900, 901]


class TestRepairs:
    def test_numbers_that_were_not_finite_are_told(self, small, tmp_path):
        checkpoint = small_checkpoint()
        checkpoint.weights["conv1.weight"][0, 0, 0, :3] = np.nan, np.inf, np.nan
        converters.write(checkpoint, tmp_path / "first.model")
        watch = small(init=tmp_path / "first.model", epochs=1)
        assert "conv1.weight: 2 NaN and 1 Inf became 0" in watch.notices


def test_the_command_resumes(tmp_path, pictures, capsys):
    common = ["--train-csv", pictures / "free.csv", "--images", pictures, "--skeleton", "flic", "--batch-size", "7"]
    arguments = ["train", "--backend", "chainer", *map(str, common), "--snapshot", "1", "--output", str(tmp_path / "r")]
    anew = ["--recipe", "legacy", "--width", "2,2,2,2,2,4,4", "--im-size", "64"]
    assert cli.main([*arguments, "--epochs", "1", *anew]) == 0
    assert cli.main([*arguments, "--epochs", "2", "--resume", str(tmp_path / "r")]) == 0
    assert "hyper-parameters that were not given come from" in capsys.readouterr().err
    assert cli.main([*arguments, "--epochs", "2", "--resume", str(tmp_path / "r")]) == 2
    assert "nothing to do" in capsys.readouterr().err
