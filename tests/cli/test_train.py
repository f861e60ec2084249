"""`train`: a run is one folder."""

import json
import re
from importlib.util import find_spec

import pytest

import converters
from deeppose_port.cli import main
from deeppose_port.data.skeletons import FLIC
from tests.helpers.trainings import same_bits, write_csv

pytest.importorskip("torch")


@pytest.fixture
def arguments(tmp_path, pictures):
    """The options of a small training with all that draws numbers."""
    csv = write_csv(tmp_path / "train.csv", pictures)
    data = ["--train-csv", csv, "--test-csv", csv, "--images", pictures, "--skeleton", "flic", "--backend", "torch"]
    size = ["--im-size", 64, "--width", "8,12,16,16,12,32,32", "--batch-size", 4, "--snapshot", 1, "--valid-freq", 1]
    drawn = ["--recipe", "legacy", "--seed", 7, "--fliplr", "--rotate", "--zoom", "--show-log-iter", 1]
    return list(map(str, [*data, *size, *drawn]))


def train(*arguments, status=0):
    assert main(["train", *map(str, arguments)]) == status


class TestOneFolder:
    def test_a_folder_alone_goes_on_as_it_was(self, arguments, tmp_path, monkeypatch, capsys):
        train(*arguments, "--epochs", 4, "-o", tmp_path / "whole")
        train(*arguments, "--epochs", 2, "-o", tmp_path / "parts")
        monkeypatch.chdir("/")
        capsys.readouterr()
        train("--resume", tmp_path / "parts", "--epochs", 4)
        shown = capsys.readouterr()
        assert "note: --epochs is 4, no longer 2" in shown.err
        assert shown.out == f"results in {tmp_path / 'parts'}\n"
        for name in ("epoch-3.pt", "epoch-4.pt", "last.pt"):
            assert same_bits(tmp_path / "whole" / name, tmp_path / "parts" / name)
        train("--resume", tmp_path / "parts", status=2)
        assert "4 epochs behind it and --epochs is 4: nothing to do" in capsys.readouterr().err

    def test_its_options_make_the_same_run_again(self, arguments, tmp_path):
        train(*arguments, "--epochs", 2, "-o", tmp_path / "first")
        train("--config", tmp_path / "first" / "config.toml", "-o", tmp_path / "second")
        assert same_bits(tmp_path / "first" / "epoch-2.pt", tmp_path / "second" / "epoch-2.pt")
        first, second = ((tmp_path / name / "config.toml").read_text() for name in ("first", "second"))
        assert first == second

    @pytest.mark.parametrize(
        ("options", "phrase"),
        [
            (("--device", "gpu"), "'gpu' is no device"),
            (("--device", "cuda:99"), "cannot use cuda:99"),
            (("--freeze", "conv9*"), "--freeze 'conv9*' stands for no parameter"),
            (("--lr-scale", "conv9*=2"), "--lr-scale 'conv9*' stands for no parameter"),
            (("--freeze", "*"), "--freeze leaves nothing to train"),
            (("--draws", 4), "--draws is of close-ups, which later stages see"),
            (("--sigma", 2), "--sigma is of close-ups"),
            (("--opposing", "head,left wrist"), "--opposing is of close-ups"),
            (("--start-epoch", 3), "--start-epoch is of a file that is resumed"),
        ],
    )
    @pytest.mark.parametrize("backend", ["torch", "chainer"])
    def test_what_is_refused_leaves_nothing(self, backend, options, phrase, arguments, tmp_path, capsys):
        if find_spec(backend) is None:
            pytest.skip(f"{backend} is not installed")
        train(*arguments, "--backend", backend, *options, "-o", tmp_path / "run", status=2)
        assert phrase in capsys.readouterr().err
        assert not (tmp_path / "run").exists()

    def test_the_settings_that_it_takes_are_never_replaced(self, tmp_path, capsys):
        (tmp_path / "config.toml").write_text('backend = "torch"\ntrain_csv = "a.csv"\nimages = "."\n')
        train("--config", tmp_path / "config.toml", "-o", tmp_path, status=2)
        assert "config.toml: this is the input itself, which is never changed" in capsys.readouterr().err

    def test_what_is_refused_leaves_a_runs_settings_as_they_are(self, arguments, tmp_path, capsys):
        train(*arguments, "--epochs", 1, "-o", tmp_path)
        told = (tmp_path / "config.toml").read_bytes()
        train("--resume", tmp_path, "--epochs", 2, "--device", "gpu", status=2)
        assert (tmp_path / "config.toml").read_bytes() == told

    def test_what_nobody_says_is_missing(self, arguments, tmp_path, capsys):
        train("--epochs", 2, status=2)
        assert (
            capsys.readouterr().err
            == "error: --backend is missing: name the framework to train in (torch or chainer)\n"
        )
        train("--backend", "torch", "--images", tmp_path, status=2)
        assert "--train-csv is missing: The annotated persons to train on (CSV)." in capsys.readouterr().err
        train(*arguments, "--config", tmp_path / "nothing.toml", status=2)
        assert "nothing.toml: " in capsys.readouterr().err

    def test_the_number_of_joints_tells_the_skeleton(self, arguments, tmp_path, capsys):
        place = arguments.index("--skeleton")
        left = [*arguments[:place], *arguments[place + 2 :]]
        train(*left, "--epochs", 1, "-o", tmp_path / "run")
        assert (
            "by their number the joints are taken as those of flic; override with --skeleton" in capsys.readouterr().err
        )
        assert 'skeleton = "flic"' in (tmp_path / "run" / "config.toml").read_text()
        assert converters.read(tmp_path / "run" / "epoch-1.pt").preprocessing.told_joints == FLIC.joints
        csv = tmp_path / "three.csv"
        csv.write_text("a.jpg,1,2,3,4,5,6\n")
        train(*left, "--train-csv", csv, status=2)
        assert (
            f"{csv}: nothing says what its 3 joints are (name them with --skeleton: flic, lsp,"
            in capsys.readouterr().err
        )

    @pytest.mark.parametrize("backend", ["torch", "chainer"])
    def test_one_epoch_is_one_however_large_the_batch(self, backend, arguments, tmp_path, capsys):
        if find_spec(backend) is None:
            pytest.skip(f"{backend} is not installed")
        train(*arguments, "--batch-size", 128, "--epochs", 1, "--backend", backend, "-o", tmp_path / "out")
        assert "note: there are 6 persons, fewer than a batch of 128: all are one" in capsys.readouterr().err
        (file,) = (f for f in (tmp_path / "out").glob("epoch-*") if f.suffix != ".state")
        assert converters.read(file).progress == converters.Progress(1, 1)


class TestShown:
    def test_it_says_what_it_is_and_how_it_ended(self, arguments, tmp_path, capsys):
        train(*arguments, "--epochs", 2, "-o", tmp_path / "out")
        lines = capsys.readouterr().err.splitlines()
        count = sum(array.size for array in converters.read(tmp_path / "out" / "last.pt").weights.values())
        assert lines[0] == "note: recipe legacy: the options as they are"
        assert lines[1] == f"alexnet of {count:,} parameters, inputs of 64 pixels, in PyTorch on cpu, recipe legacy"
        assert lines[2] == "6 persons, validated on 6, epochs 1 to 2"
        assert lines[3].startswith("answering the mean pose to every picture would give: Loss ")
        assert re.search(
            r"  Mean error \d+\.\d\d px  PCP@0\.5, strict \d+\.\d %  PCK@0\.2 of the box \d+\.\d %$", lines[3]
        )
        nothing = lines[3].split()[10]
        assert f"  mean pose's loss {nothing}  " in next(line for line in lines if "validation loss" in line)
        log = [json.loads(line) for line in (tmp_path / "out" / "log").read_text().splitlines()]
        losses = {e["epoch"]: e["validation/main/loss"] for e in log if "validation/main/loss" in e}
        best = min(losses, key=losses.get)
        assert lines[-1].startswith("2 epochs, 3 updates in 0:00:")
        assert lines[-1].endswith(f"best validation: Loss {losses[best]:.5g} at epoch {best}")

    def test_in_json_a_line_for_whatever_happens(self, arguments, tmp_path, capsys):
        train(*arguments, "--epochs", 2, "-o", tmp_path / "out", "--json")
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [each.pop("event") for each in told] == ["begin", "log", "log", "saved", "log", "saved", "end"]
        log = [json.loads(line) for line in (tmp_path / "out" / "log").read_text().splitlines()]
        assert [each for each in told if "main/loss" in each] == log
        begin, end = told[0], told[-1]
        assert (begin["persons"], begin["validation_persons"], begin["epochs"], begin["device"]) == (6, 6, 2, "cpu")
        assert begin["mean_pose"].keys() == {"loss", "mean_error_px", "pcp", "pck_box@0.2"}
        assert (end["folder"], end["epoch"], end["iteration"]) == (str(tmp_path / "out"), 2, 3)
        assert end["best"] == min(entry["validation/main/loss"] for entry in log if "validation/main/loss" in entry)
