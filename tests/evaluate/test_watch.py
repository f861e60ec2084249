import json

import pytest

from converters.errors import DeepPoseError
from deeppose_port import cli
from deeppose_port.cli import watch
from deeppose_port.evaluate.watch import new_checkpoints, record
from deeppose_port.training.names import EVALUATIONS
from tests.helpers.trainings import run, write_csv


class Clock:
    """Sleeps in no time, and does at each sleep what comes next."""

    def __init__(self, *happens):
        self.happens = list(happens)
        self.slept = []

    def __call__(self, seconds):
        self.slept.append(seconds)
        if self.happens:
            self.happens.pop(0)()


def touch(folder, *names):
    for name in names:
        (folder / name).touch()


def nothing():
    pass


class TestNewCheckpoints:
    def test_they_come_in_the_order_of_their_epochs(self, tmp_path):
        touch(tmp_path, "epoch-10.pt", "epoch-9.pt", "epoch-1.pt", "epoch-2.model")
        found = [file.name for file in new_checkpoints(tmp_path, idle=0)]
        assert found == ["epoch-1.pt", "epoch-2.model", "epoch-9.pt", "epoch-10.pt"]

    def test_nothing_else_does(self, tmp_path):
        others = ["last.pt", "best.pt", "epoch-1.state", "snapshot_iter_3", "snapshot_iter_4.pt", "log", "log.txt"]
        touch(tmp_path, *others, ".epoch-3.pt.0123abcd.tmp", "epoch-3.pt.part", "epoch-x.pt")
        assert list(new_checkpoints(tmp_path, idle=0)) == []

    def test_later_ones_are_waited_for_and_none_comes_twice(self, tmp_path):
        touch(tmp_path, "epoch-1.pt")
        clock = Clock(
            nothing,
            lambda: touch(tmp_path, "epoch-3.pt", "epoch-2.pt"),
            lambda: touch(tmp_path, "epoch-4.pt"),
        )
        found = [file.name for file in new_checkpoints(tmp_path, poll=2, idle=5, sleep=clock)]
        assert found == ["epoch-1.pt", "epoch-2.pt", "epoch-3.pt", "epoch-4.pt"]

    def test_one_that_comes_during_an_evaluation_is_next(self, tmp_path):
        touch(tmp_path, "epoch-1.pt", "epoch-5.pt")
        stream = new_checkpoints(tmp_path, idle=0, sleep=Clock())
        assert next(stream).name == "epoch-1.pt"
        touch(tmp_path, "epoch-2.pt")
        assert [file.name for file in stream] == ["epoch-5.pt", "epoch-2.pt"]

    def test_what_was_evaluated_before_is_not_again(self, tmp_path):
        touch(tmp_path, "epoch-1.pt", "epoch-2.pt", "epoch-3.pt")
        for name in ("epoch-1.pt", "epoch-3.pt"):
            record(tmp_path, tmp_path / name, {"loss": 0.5})
        with (tmp_path / EVALUATIONS).open("a") as stream:
            stream.write('{"checkpoint": "epoch-2')  # one that was killed while it wrote
        assert [file.name for file in new_checkpoints(tmp_path, idle=0)] == ["epoch-2.pt"]

    def test_one_that_the_training_did_not_keep_is_passed_over(self, tmp_path):
        touch(tmp_path, "epoch-1.pt", "epoch-2.pt", "epoch-3.pt")
        stream = new_checkpoints(tmp_path, idle=0)
        assert next(stream).name == "epoch-1.pt"
        (tmp_path / "epoch-2.pt").unlink()
        assert [file.name for file in stream] == ["epoch-3.pt"]

    @pytest.mark.parametrize(
        ("idle", "slept"), [(0, []), (1, [1]), (2, [2]), (5, [2, 2, 1])], ids=lambda value: str(value)
    )
    def test_it_ends_when_none_came_for_so_long(self, idle, slept, tmp_path):
        clock = Clock()
        assert list(new_checkpoints(tmp_path, poll=2, idle=idle, sleep=clock)) == []
        assert clock.slept == slept

    def test_a_new_one_starts_the_wait_again(self, tmp_path):
        clock = Clock(nothing, lambda: touch(tmp_path, "epoch-1.pt"))
        assert len(list(new_checkpoints(tmp_path, poll=2, idle=5, sleep=clock))) == 1
        assert clock.slept == [2, 2, 2, 2, 1]

    def test_there_has_to_be_a_folder(self, tmp_path):
        with pytest.raises(ValueError, match=r"nowhere: there is no such folder; name the result folder"):
            next(new_checkpoints(tmp_path / "nowhere"))


class TestCommand:
    def test_each_checkpoint_of_a_training_is_evaluated_once(self, tmp_path, pictures, capsys):
        csv = write_csv(tmp_path / "test.csv", pictures, count=4)
        trained = run(tmp_path, pictures, epochs=2, test_csv=csv)
        results = tmp_path / "results"
        arguments = ["--watch", results, "--idle", 0, "--csv", csv, "--images", pictures, "--skeleton", "flic"]
        arguments = ["eval", *map(str, arguments)]
        assert cli.main([*arguments, "--json"]) == 0
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [entry["checkpoint"] for entry in told] == [str(results / f"epoch-{n}.pt") for n in (1, 2)]
        kept = [json.loads(line) for line in (results / EVALUATIONS).read_text().splitlines()]
        assert [entry["checkpoint"] for entry in kept] == ["epoch-1.pt", "epoch-2.pt"]
        expected = [e["validation/main/loss"] for e in trained.entries if "validation/main/loss" in e]
        for entries in (told, kept):
            assert [entry["loss"] for entry in entries] == pytest.approx(expected, rel=1e-6)
        assert cli.main(arguments) == 0
        assert capsys.readouterr().out == ""
        run(tmp_path, pictures, epochs=3, test_csv=csv, resume=results)
        assert cli.main(arguments) == 0
        (line,) = capsys.readouterr().out.splitlines()
        found = json.loads((results / EVALUATIONS).read_text().splitlines()[-1])
        assert line == (
            f"{results / 'epoch-3.pt'}: Loss {found['loss']:.5g}  Mean error {found['mean_error_px']:.2f} px  "
            f"PCP@0.5, strict {100 * found['pcp']['mean']:.1f} %  "
            f"PCK@0.2 of the box {100 * found['pck_box']['0.2']['total']:.1f} %"
        )

    @pytest.mark.parametrize("kept", [False, True])
    def test_one_that_goes_while_it_is_evaluated_is_passed_over(self, kept, tmp_path, monkeypatch, capsys):
        touch(tmp_path, "epoch-1.pt")

        def evaluate(file, how, quiet):
            if not kept:
                file.unlink()
            raise DeepPoseError("there is no such file", where=file)

        monkeypatch.setattr(watch, "evaluate_one", evaluate)
        data = ["--csv", "a.csv", "--images", "a", "--skeleton", "flic"]
        assert cli.main(["watch", str(tmp_path), "--idle", "0", *data]) == (2 if kept else 0)
        assert capsys.readouterr().err.splitlines() == [f"error: {tmp_path}/epoch-1.pt: there is no such file"] * kept

    def test_a_checkpoint_or_a_folder_is_named_not_both(self, tmp_path, capsys):
        data = ["--csv", "a.csv", "--images", "a", "--skeleton", "flic"]
        for arguments in ([], ["some.pt", "--watch", str(tmp_path)]):
            assert cli.main(["eval", *arguments, *data]) == 2
            assert "name a CHECKPOINT, or with --watch" in capsys.readouterr().err
