import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import converters
import deeppose_port
from deeppose_port import cli
from deeppose_port.backends import BackendError
from deeppose_port.backends.torch import build, load
from deeppose_port.backends.torch.distributed import Processes, processes
from deeppose_port.data import PoseDataset
from deeppose_port.evaluate.evaluate import evaluate
from deeppose_port.metrics.evaluation import evaluation_of
from deeppose_port.metrics.predictions import Predictions, predictions_of
from deeppose_port.training.start import starting_point
from tests.end_to_end.together import SOFTARGMAX, gradients
from tests.helpers.networks import random_checkpoint
from tests.helpers.trainings import (
    NARROW_WIDTH,
    log_lines,
    run,
    small_options,
    update_error,
    weight_error,
    weights_of,
    write_csv,
)

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo")


def torchrun(*arguments):
    """Starts two processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [*launcher, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(process, seconds=300):
    """Waits for processes to end; returns what they printed."""
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
        output, _ = process.communicate()
        pytest.fail(f"the processes hang:\n{output}")
    return output


def arguments(folder, pictures, *more):
    """The command line of the training that `run` makes of batches of 5, MomentumSGD and a test set."""
    csv = folder / "train.csv"
    if not csv.exists():
        write_csv(csv, pictures)
    files = ["--train-csv", csv, "--test-csv", csv, "--images", pictures, "--skeleton", "flic"]
    size = ["--im-size", 64, "--width", NARROW_WIDTH, "--dropout", 0, "--batch-size", 5, "--threads", 1]
    often = ["--snapshot", 1, "--valid-freq", 1, "--show-log-iter", 1, "--opt", "MomentumSGD"]
    often += [] if "--resume" in more else ["--recipe", "legacy"]
    return ["-m", "deeppose_port", "train", "--backend", "torch", *files, *size, *often, *more]


class TestTwoProcesses:
    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls, tmp_path_factory, pictures):
        """A folder with the results of two processes in `two`, and of one in `one`."""
        folder = tmp_path_factory.mktemp("trained")
        process = torchrun(*arguments(folder, pictures, "--epochs", 3, "-o", folder / "two"))
        given = {"test_csv": folder / "train.csv", "batch_size": 5, "opt": "MomentumSGD"}
        run(folder, pictures, output=folder / "one", **given)
        cls.output = finished(process)
        assert process.returncode == 0, cls.output
        return folder

    def test_losses_and_metrics_are_those_of_one_process_with_the_whole_batch(self, trained):
        two, one = (log_lines(trained / name / "log") for name in ("two", "one"))
        assert [(e["epoch"], e["iteration"]) for e in two] == [(e["epoch"], e["iteration"]) for e in one]
        for ours, expected in zip(two, one, strict=True):
            for name in expected:
                if name.endswith(("loss", "mean_error_px", "lr")):
                    assert ours[name] == pytest.approx(expected[name], rel=1e-5), name

    def test_so_is_the_checkpoint(self, trained):
        two, one = (converters.read(trained / name / "epoch-3.pt") for name in ("two", "one"))
        assert weight_error(two.weights, one.weights) <= 1e-6
        assert two.progress == one.progress
        assert two.optimizer.step == one.optimizer.step
        for name, velocity in one.optimizer.slots["v"].items():
            np.testing.assert_allclose(two.optimizer.slots["v"][name], velocity, rtol=1e-3, atol=1e-8)
        state = torch.load(trained / "two" / "epoch-3.pt", weights_only=True)["state_dict"]
        assert not any(key.startswith("module.") for key in state)

    def test_one_of_them_writes_and_speaks(self, trained):
        assert {f.name for f in (trained / "two").iterdir()} == {f.name for f in (trained / "one").iterdir()}
        assert self.output.count("results in ") == 1
        assert self.output.count("iteration 1 ") == 1
        assert (trained / "two" / "log.txt").read_text().count("Namespace(") == 1

    def test_one_process_goes_on_with_it(self, trained, pictures, tmp_path):
        on = run(tmp_path, pictures, resume=trained / "two" / "last.pt", epochs=4, batch_size=5)
        assert [step.iteration for step in on.steps] == [5]


def test_a_program_trains_twice(tmp_path, pictures):
    write_csv(tmp_path / "train.csv", pictures)
    process = torchrun(Path(__file__).with_name("again.py"), tmp_path, pictures)
    output = finished(process)
    assert process.returncode == 0, output
    run(tmp_path, pictures, opt="MomentumSGD", epochs=2, valid_freq=0, output=tmp_path / "whole")
    assert weight_error(weights_of(tmp_path / "second" / "last.pt"), weights_of(tmp_path / "whole" / "last.pt")) <= 1e-6


class TestTogether:
    @pytest.fixture(scope="class")
    @classmethod
    def seen(cls, tmp_path_factory, pictures):
        """What the trainings of together.py left, and what each of the two processes saw."""
        folder = tmp_path_factory.mktemp("together")
        write_csv(folder / "train.csv", pictures)
        process = torchrun(Path(__file__).with_name("together.py"), folder, pictures)
        output = finished(process)
        assert process.returncode == 0, output
        return folder, [json.loads((folder / f"seen-{rank}.json").read_text()) for rank in (0, 1)]

    def test_batch_normalization_over_all_processes_has_the_gradients_of_one(self, seen):
        """A whole ResNet50 in float64, of 3 persons here and 2 there."""
        folder, _ = seen
        for found, expected in zip(torch.load(folder / "synchronized.pt", weights_only=True), gradients(), strict=True):
            assert found.keys() == expected.keys()
            for name in expected:
                torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=1e-11, msg=name)

    def test_so_is_a_training_with_it_that_of_one_process(self, seen, tmp_path, pictures):
        folder, _ = seen
        run(tmp_path, pictures, **SOFTARGMAX)
        two, one = (weights_of(path / "last.pt") for path in (folder / "synchronized", tmp_path / "results"))
        start = starting_point(small_options(tmp_path, pictures, **SOFTARGMAX), 7).checkpoint.weights
        assert update_error(two, one, start) <= 1e-3
        for name in one:
            if name.endswith(("running_mean", "running_var")):
                np.testing.assert_allclose(two[name], one[name], rtol=1e-4, atol=1e-6, err_msg=name)

    def test_frozen_layers_keep_every_bit(self, seen, tmp_path, pictures):
        folder, _ = seen
        options = small_options(tmp_path, pictures, architecture="resnet50", width="0.0625")
        start, after = starting_point(options, 7).checkpoint.weights, weights_of(folder / "frozen" / "last.pt")
        changed = {name for name in start if not np.array_equal(start[name], after[name])}
        assert not any(name.startswith(("conv1.", "bn1.", "res2")) for name in changed)
        assert {"res3.a.conv1.weight", "res3.a.bn1.running_mean", "out_fc.bias"} <= changed

    def test_a_validation_is_of_the_statistics_that_are_saved(self, seen, pictures):
        """Each process has statistics of its own parts of the batches; those of the first are saved."""
        folder, _ = seen
        checkpoint = converters.read(folder / "frozen" / "last.pt")
        dataset = PoseDataset(
            folder / "train.csv", images=pictures, skeleton="flic", preprocessing=checkpoint.preprocessing
        )
        expected = evaluate(deeppose_port.load(checkpoint), dataset).summary()
        logged = log_lines(folder / "frozen" / "log")[-1]
        for name, value in expected.items():
            assert logged[f"validation/main/{name}"] == pytest.approx(value, rel=1e-5)

    def test_all_end_when_patience_does(self, seen):
        folder, (first, second) = seen
        assert first["impatient"]["steps"] == 6
        assert first["impatient"]["error"] is second["impatient"]["error"] is None
        assert converters.read(folder / "impatient" / "last.pt").progress.epoch == 3

    @pytest.mark.parametrize("run", ["broken", "invalid"])
    def test_a_picture_that_one_cannot_read_ends_all_with_its_name(self, run, seen):
        _, sights = seen
        for sight in sights:
            assert sight[run]["error"].startswith("DatasetError: picture ")
            assert sight[run]["error"].endswith("cannot be decoded by process 1")

    def test_all_stop_when_one_is_asked_to(self, seen):
        folder, (first, second) = seen
        assert first["stopped"]["steps"] == 3
        assert second["stopped"]["error"] is None
        assert converters.read(folder / "stopped" / "last.pt").progress.iteration == 3

    def test_dropout_and_workers_run(self, seen):
        folder, (first, _) = seen
        assert first["dropout"]["error"] is None
        assert log_lines(folder / "dropout" / "log")[-1]["epoch"] == 1


@pytest.mark.slow
class TestTorchrun:
    def test_ctrl_c_writes_a_checkpoint_to_go_on_from(self, tmp_path, pictures):
        endless = ["--epochs", 100000, "--snapshot", 100000, "--valid-freq", 0]
        process = torchrun(*arguments(tmp_path, pictures, *endless, "-o", tmp_path / "out"))
        log = tmp_path / "out" / "log"
        end = time.monotonic() + 120
        while not (log.exists() and log.read_text().count("\n") >= 3) and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        finished(process)
        assert converters.read(tmp_path / "out" / "last.pt").progress.iteration == log_lines(log)[-1]["iteration"]

    def test_a_folder_that_is_taken_ends_all(self, tmp_path, pictures):
        run(tmp_path, pictures, epochs=1)
        process = torchrun(*arguments(tmp_path, pictures, "-o", tmp_path / "results"))
        assert "holds another run" in finished(process)
        assert process.returncode != 0


class TestParts:
    """What several processes do, in one."""

    def test_metrics_of_the_parts_are_exactly_those_of_the_whole(self, pictures):
        dataset = PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic", im_size=64)
        random = np.random.RandomState(0)
        outputs = {inputs.tobytes(): random.randn(14) for inputs, _, _ in (dataset[i] for i in range(len(dataset)))}

        def network(inputs):
            return np.array([outputs[one.tobytes()] for one in inputs], np.float32)

        whole = evaluation_of(predictions_of(network, dataset, batch_size=4), dataset)
        parts = [predictions_of(network, dataset, batch_size=4, part=(rank, 3)) for rank in (2, 0, 1)]
        merged = evaluation_of(Predictions.merge(parts), dataset)
        assert merged.as_dict() == whole.as_dict()
        assert np.array_equal(merged.outputs, whole.outputs)

    def test_a_process_of_its_own_is_the_first_of_one(self, monkeypatch):
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        with processes("cpu") as group:
            assert group.first
            assert group.sum(1, 2.5) == [1, 2.5]
            assert group.gather("x") == ["x"]
            tensor = torch.ones(2)
            group.share([tensor])
            assert tensor.tolist() == [1, 1]
        assert not Processes(1, 2, torch.device("cpu")).first

    def test_several_devices_in_one_process_are_refused_with_the_way_to_do_it(self, tmp_path, pictures, capsys):
        csv = str(write_csv(tmp_path / "train.csv", pictures))
        data = ["--train-csv", csv, "--images", str(pictures), "--skeleton", "flic", "-o", str(tmp_path / "out")]
        assert cli.main(["train", "--backend", "torch", *data, "--width", "0.05", "--device", "cuda:0,cuda:1"]) == 2
        assert "torchrun --nproc-per-node 2 -m deeppose_port train --backend torch" in capsys.readouterr().err

    def test_batches_of_less_than_one_for_each_are_refused_before_there_is_a_folder(
        self, tmp_path, pictures, monkeypatch
    ):
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "0")
        with pytest.raises(ValueError, match="a batch of 1 cannot be split over 2 processes"):
            run(tmp_path, pictures, batch_size=1)
        assert not (tmp_path / "results").exists()

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_a_device_that_is_not_there_is_refused(self):
        with pytest.raises(BackendError, match="PyTorch cannot use cuda:0"), processes("cuda:0"):
            pass


class TestForeignCheckpoints:
    @pytest.mark.parametrize("wrapped", ["bare", "in a training's dictionary"])
    def test_one_that_somebodys_distributed_script_wrote_loads(self, wrapped, tmp_path, pictures):
        """With a `module.` before every name."""
        checkpoint = random_checkpoint()
        state = nn.DataParallel(load(checkpoint)).state_dict()
        assert all(key.startswith("module.") for key in state)
        torch.save(state if wrapped == "bare" else {"model": state, "epoch": 3}, tmp_path / "theirs.pth")
        weights = weights_of(tmp_path / "theirs.pth")
        assert weights.keys() == checkpoint.weights.keys()
        assert all(np.array_equal(weights[name], checkpoint.weights[name]) for name in weights)
        build(checkpoint.architecture).load_state_dict({n: torch.from_numpy(a) for n, a in weights.items()})
        watch = run(tmp_path, pictures, init=tmp_path / "theirs.pth", epochs=1, batch_size=6)
        assert len(watch.steps) == 1


def test_eval_shares_the_persons(pictures):
    checkpoint = ROOT / "examples" / "astronaut" / "epoch-300.model"
    told = ["eval", checkpoint, "--csv", pictures / "free.csv", "--images", pictures, "--json"]
    shared = finished(torchrun("-m", "deeppose_port", *told))
    alone = subprocess.run(
        [sys.executable, "-m", "deeppose_port", *map(str, told)], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    start = shared.index("{")
    found, expected = json.JSONDecoder().raw_decode(shared[start:])[0], json.loads(alone)
    assert shared.count('"persons"') == 1
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert found["persons"] == expected["persons"]
