"""Folders and lists of files: each is accounted for, and none keeps the others."""

import csv
import json
import shutil

import pytest

import converters
from tests.conftest import GOLDEN
from tests.helpers.checkpoint_files import alexnet, save_npz

REAL = GOLDEN / "checkpoints" / "1.13.0" / "alexnet-adam" / "epoch-1.model"
#: Names and contents of what a folder holds beside checkpoints, and what is said of those that should be one.
DAMAGED = {
    "epoch-2.model": (REAL.read_bytes()[:5000], "this zip file is cut short or damaged"),
    "empty.npz": (b"", "the file is empty"),
    "page.pt": (b"<!DOCTYPE html><title>404</title>" * 40, ""),
    "pointer.safetensors": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n" * 3, ""),
    "snapshot_iter_3": (b"\x00" * 2000, ""),
}
OTHERS = {"notes.txt": b"nothing", "picture.png": b"\x89PNG\r\n\x1a\n" + bytes(100), "log.json": b"{}"}


@pytest.fixture
def folder(tmp_path):
    """Two checkpoints, one of them assumed, five that should be some, and three other files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    converters.convert(REAL, folder / "epoch-1.model", writer="chainer-1.13.0")
    save_npz(folder / "bare.model", alexnet())
    for name, (content, _) in DAMAGED.items():
        (folder / name).write_bytes(content)
    for name, content in OTHERS.items():
        (folder / name).write_bytes(content)
    return folder


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


class TestAccounting:
    def test_every_file_that_should_be_one_is_named(self, run, folder, tmp_path):
        out, err = run("convert", folder, "-o", tmp_path / "new", status=3)
        for name, (_, reason) in DAMAGED.items():
            assert any(str(folder / name) in line and reason in line for line in err.splitlines()), name
        assert "2 of 7 checkpoints converted" in out
        assert "3 files passed over" in out
        assert not any(name in out + err for name in OTHERS)

    def test_json_has_each_with_its_reason(self, run, folder, tmp_path):
        said = json.loads(run("convert", folder, "-o", tmp_path / "new", "--json", status=3)[0])
        refused = {file["source"]["path"]: file for file in said["files"] if "error" in file}
        assert refused.keys() == {str(folder / name) for name in DAMAGED}
        for name, (_, reason) in DAMAGED.items():
            assert reason in refused[str(folder / name)]["problem"]
            assert refused[str(folder / name)]["advice"]
        assert (said["converted"], said["failed"], said["passed_over"], said["assumed"]) == (2, 5, 3, 1)
        assert sum(said["reasons"].values()) == 5

    def test_alike_reasons_are_one(self, run, folder, tmp_path):
        for i in range(3):
            (folder / f"epoch-1{i}.model").write_bytes(b"")
        out, _ = run("convert", folder, "-o", tmp_path / "new", status=3)
        reasons = [line for line in out.splitlines() if "refused:" in line]
        assert reasons[0].strip() == "4 refused: the file is empty"

    def test_all_refused_is_2(self, run, folder, tmp_path):
        for name in ("epoch-1.model", "bare.model"):
            (folder / name).unlink()
        run("convert", folder, "-o", tmp_path / "new", status=2)
        assert not (tmp_path / "new").exists()

    def test_whose_writer_is_assumed_is_said(self, run, folder, tmp_path):
        out, _ = run("convert", folder, "-o", tmp_path / "new", status=3)
        lines = out.splitlines()
        assert [("(assumed)" in line) for line in lines if " -> " in line] == [True, False]
        assert any(line.startswith("1 writer assumed") for line in lines)


class TestTree:
    @pytest.fixture
    def tree(self, tmp_path):
        for i in range(5):
            (tmp_path / "runs" / f"run{i}" / "deep").mkdir(parents=True)
            shutil.copy(REAL, tmp_path / "runs" / f"run{i}" / "deep" / "epoch-1.model")
        (tmp_path / "runs" / "empty").mkdir()
        return tmp_path / "runs"

    def test_it_is_kept(self, run, tree, tmp_path):
        run("convert", "-r", tree, "-o", tmp_path / "new")
        assert files_below(tmp_path / "new") == [f"run{i}/deep/epoch-1.pt" for i in range(5)]

    def test_folders_in_folders_are_not_looked_through_unasked(self, run, tree, tmp_path):
        assert "no checkpoint to convert" in run("convert", tree, "-o", tmp_path / "new", status=2)[1]

    def test_named_files_of_one_name_do_not_collide(self, run, tree, tmp_path):
        run("convert", *sorted(tree.rglob("epoch-1.model")), "-o", tmp_path / "new")
        assert files_below(tmp_path / "new") == [f"run{i}/deep/epoch-1.pt" for i in range(5)]

    def test_no_folder_is_left_of_what_was_refused(self, run, tree, tmp_path):
        (tree / "run3" / "deep" / "epoch-1.model").write_bytes(b"")
        run("convert", "-r", tree, "-o", tmp_path / "new", status=3)
        assert not (tmp_path / "new" / "run3").exists()


class TestAgain:
    def test_what_is_there_is_refused_or_skipped(self, run, folder, tmp_path):
        run("convert", folder, "-o", tmp_path / "new", status=3)
        before = {name: (tmp_path / "new" / name).stat().st_mtime_ns for name in files_below(tmp_path / "new")}
        run("convert", folder, "-o", tmp_path / "new", status=2)
        out, err = run("convert", folder, "-o", tmp_path / "new", "--skip-existing", status=3)
        assert "2 files converted before" in out
        assert "exists" not in err
        assert before == {name: (tmp_path / "new" / name).stat().st_mtime_ns for name in files_below(tmp_path / "new")}

    def test_skipping_goes_on_with_the_rest(self, run, folder, tmp_path):
        run("convert", folder / "epoch-1.model", "-o", tmp_path / "new" / "epoch-1.pt", status=2)
        (tmp_path / "new").mkdir()
        run("convert", folder / "epoch-1.model", "-o", tmp_path / "new" / "epoch-1.pt")
        run("convert", folder, "-o", tmp_path / "new", "--skip-existing", status=3)
        assert files_below(tmp_path / "new") == ["bare.pt", "epoch-1.pt"]

    def test_one_file_may_be_skipped_too(self, run, folder, tmp_path):
        for expected in ("1 of 1 checkpoints converted", "1 file converted before"):
            out, _ = run("convert", folder / "epoch-1.model", "-o", tmp_path / "a.safetensors", "--skip-existing")
            assert expected in out
        assert (tmp_path / "a.safetensors").read_bytes()[8:9] == b"{"

    def test_skipping_and_replacing_contradict(self, run, folder):
        assert "contradict" in run("convert", folder, "--skip-existing", "--force", status=2)[1]

    def test_files_of_ours_are_not_converted_again_but_others_are(self, run, tmp_path):
        torch = pytest.importorskip("torch")
        folder = tmp_path / "pt"
        folder.mkdir()
        run("convert", REAL, "-o", folder / "ours.pt")
        state = torch.load(folder / "ours.pt", weights_only=True)["state_dict"]
        torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, folder / "theirs.pt")
        out, _ = run("convert", folder, "-o", tmp_path / "new")
        assert files_below(tmp_path / "new") == ["theirs.pt"]
        assert "1 file converted before" in out


class TestResults:
    def test_each_file_has_a_line(self, run, folder, tmp_path):
        run("convert", folder, "-o", tmp_path / "new", "--results", tmp_path / "results.csv", status=3)
        with (tmp_path / "results.csv").open(newline="") as stream:
            rows = {row["file"]: row for row in csv.DictReader(stream)}
        assert rows.keys() == {str(folder / name) for name in (*DAMAGED, "epoch-1.model", "bare.model")}
        real, bare = rows[str(folder / "epoch-1.model")], rows[str(folder / "bare.model")]
        assert (real["status"], real["joints"], real["assumed"], real["problem"]) == ("converted", "16", "0", "")
        assert (real["output"], real["architecture"]) == (str(tmp_path / "new" / "epoch-1.pt"), "alexnet")
        assert bare["assumed"] == "1"
        assert rows[str(folder / "empty.npz")]["problem"] == "the file is empty"

    def test_it_is_not_replaced_unasked(self, run, folder, tmp_path):
        (tmp_path / "results.csv").write_text("mine")
        run("convert", folder, "-o", tmp_path / "new", "--results", tmp_path / "results.csv", status=2)
        assert (tmp_path / "results.csv").read_text() == "mine"
        assert not (tmp_path / "new").exists()

    def test_it_is_never_an_input(self, run, folder):
        before = (folder / "bare.model").read_bytes()
        _, err = run("convert", folder, "--dry-run", "--force", "--results", folder / "bare.model", status=2)
        assert "bare.model: this is the input itself, which is never changed (--results names another)" in err
        assert (folder / "bare.model").read_bytes() == before

    def test_no_cell_is_a_formula(self, run, folder, tmp_path, monkeypatch):
        (folder / "=1+1.model").write_bytes(b"")
        monkeypatch.chdir(folder)
        run("convert", "=1+1.model", "epoch-1.model", "--dry-run", "--results", tmp_path / "r.csv", status=3)
        assert "\n'=1+1.model,refused" in (tmp_path / "r.csv").read_text()


class TestInventory:
    def test_each_file_has_a_line(self, run, folder):
        out, err = run("inspect", folder, status=3)
        rows = {line.split()[0]: line for line in out.splitlines() if line.strip().startswith(str(folder))}
        assert rows.keys() == {str(folder / name) for name in (*DAMAGED, "epoch-1.model", "bare.model")}
        assert all(rows[str(folder / name)].split()[1:] == ["refused"] for name in DAMAGED)
        assert rows[str(folder / "epoch-1.model")].split()[1:3] == ["alexnet", "16"]
        assert "(assumed)" in rows[str(folder / "bare.model")]
        assert "2 of 7 checkpoints can be read" in out
        assert "1 writer assumed: override with --writer chainer-X.Y.Z" in out
        assert "3 files passed over" in out
        assert all(any(str(folder / name) in line for line in err.splitlines()) for name in DAMAGED)

    def test_json(self, run, folder):
        said = json.loads(run("inspect", folder / "epoch-1.model", folder / "empty.npz", "--json", status=3)[0])
        assert [file["joints"] for file in said["files"] if "joints" in file] == [16]
        assert [file["problem"] is None for file in said["files"]] == [True, False]
        assert said["failed"] == 1

    def test_folders_in_folders(self, run, folder):
        run("inspect", "-r", folder.parent, status=3)
        assert "no checkpoint" in run("inspect", folder.parent, status=2)[1]
