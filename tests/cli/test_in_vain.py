"""Options that would do nothing beside the others: each is refused before anything is read."""

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("line", "phrase"),
    [
        ("predict a.png --min-score 0.9", "--min-score goes with --boxes or --people"),
        ("predict a.png --max-moved 3", "--max-moved goes with --precision"),
        ("predict a.png --calibration b", "--calibration goes with --precision"),
        ("predict a.png --people-weights w.pth", "--people-weights goes with --people"),
        ("predict a.png --seed 3", "--seed goes with --tile"),
        ("predict a.png --min-dim 20", "--min-dim goes with --csv"),
        ("predict a.png --ignore-label -5", "--ignore-label goes with --csv"),
        ("predict a.png --base-zoom 2", "--base-zoom goes with --csv"),
        ("predict a.png --fast-decode", "--fast-decode goes with --manifest"),
        ("predict a.png --smooth one-euro --error-px 3", "--error-px goes with --smooth kalman"),
        ("predict --csv a.csv --images a --smooth kalman", "--smooth goes with SOURCE"),
        ("predict --csv a.csv --images a --every 2", "--every goes with SOURCE"),
        ("predict --csv a.csv --images a --allow-truncated", "--allow-truncated goes with SOURCE or --manifest"),
        ("predict --csv a.csv --images a --no-legend", "--no-legend goes with SOURCE"),
        ("predict --csv a.csv --images a --precision int8", "--precision goes with SOURCE"),
        ("predict --manifest list.txt --stages", "--stages goes with SOURCE"),
        ("predict --manifest list.txt --force", "--force does not go with --manifest"),
        ("persons a.pt --csv a.csv --images a -o out --seed 3", "--seed goes with --tile"),
        ("eval a.pt --csv a.csv --images a --bootstrap-seed 3", "--bootstrap-seed goes with --bootstrap"),
        ("eval a.pt --csv a.csv --images a --idle 3", "--idle goes with --watch"),
        ("eval --watch r --idle -1 --csv a.csv --images a", "--idle is -1"),
        ("watch r --idle -1 --csv a.csv --images a", "--idle is -1; it has to be a number of seconds, 0 or more"),
        ("watch r --idle nan --csv a.csv --images a", "nan is no number"),
        ("compare a.pt b.pt --skeleton lsp", "--skeleton goes with --csv"),
        ("compare a.pt b.pt --min-dim 3", "--min-dim goes with --csv"),
        ("compare a.pt b.pt --max-pixels 3", "--max-pixels goes with --csv or --images"),
        ("show a.pt --skeleton lsp", "--skeleton goes with --csv"),
        ("show a.pt --images a --min-dim 3", "--min-dim goes with --csv"),
        ("pack a.csv p --images a --skeleton lsp --verify --threads 2", "--threads is of what decodes"),
    ],
)
def test_it_is_refused(run, line, phrase):
    assert phrase in " ".join(run(*line.split(), status=2).err.split())


@pytest.mark.parametrize(
    ("options", "phrase"),
    [
        ("--best pdj@0.2", "--best goes with --test-csv"),
        ("--best-after 3", "--best-after goes with --test-csv"),
        ("--patience 3", "--patience goes with --test-csv"),
        ("--valid-freq 3", "--valid-freq goes with --test-csv"),
        ("--eval-only", "--eval-only goes with --test-csv"),
        ("--no-state", "--no-state is of a file that is resumed"),
        ("--nonfinite-limit 3", "--nonfinite-limit goes with --nonfinite-gradients skip"),
        ("--loss-beta 0.1", "--loss-beta goes with --loss smooth-l1"),
        ("--rotate-range 3", "--rotate-range goes with --rotate"),
        ("--threads 2 --workers 2", "--threads and --workers both say what makes examples"),
        ("--pack p --cache 5M", "it is for a --test-csv beside it"),
    ],
)
def test_of_a_training_it_is_refused(run, options, phrase):
    told = run("train", "--backend", "torch", "--train-csv", "a.csv", "--images", "a", *options.split(), status=2)
    assert phrase in " ".join(told.err.split())


@pytest.mark.parametrize("option", ["--smooth kalman", "--every 2", "--show"])
def test_what_is_for_videos_needs_one(run, tmp_path, option):
    (tmp_path / "a.png").touch()
    told = run("predict", tmp_path / "a.png", *option.split(), "-o", tmp_path / "out", status=2)
    assert f"{option.split()[0]} is for videos, cameras and streams, and there is none of them" in told.err


@pytest.mark.parametrize(
    ("line", "phrase"),
    [
        ("eval {0} --csv {1}/free.csv --images {1} --im-size 300x200", "im_width is 300"),
        ("eval {0} --csv {1}/free.csv --images {1} --base-zoom -1", "base_zoom is -1"),
        ("eval {0} --csv {1}/free.csv --images {1} --decoding argmax", "--decoding: this alexnet answers no heat maps"),
        ("predict {0} {1}/astronaut.png --legacy-order -o none", "legacy_order is that of takiyu's cascades"),
        ("predict {0} {1}/astronaut.png --im-size 64 -o none", "this alexnet takes inputs of 197 to 228 pixels a side"),
        (
            "train --backend torch --train-csv {1}/free.csv --images {1} --init {0} --heatmap-loss 1",
            "alexnet does not end",
        ),
        ("train --backend torch --train-csv {1}/free.csv --images {1} --init {0} --margin-range .1", "alexnet sees no"),
    ],
)
def test_what_does_not_fit_a_checkpoint_names_it(run, tmp_path, monkeypatch, line, phrase):
    monkeypatch.chdir(tmp_path)
    examples = ROOT / "examples"
    checkpoint = examples / "astronaut" / "epoch-300.model"
    error = run(*line.format(checkpoint, examples / "pictures").split(), status=2).err.splitlines()[-1]
    assert error.startswith("error: ")
    assert f"epoch-300.model: {phrase}" in error


class TestFolders:
    """What is written as a folder is not called as a file is, unless it is there."""

    @pytest.mark.parametrize(
        "line",
        [
            "convert {0}/a.pt {0}/b.pt -o {0}/x.pt",
            "convert {0} --to onnx -o {0}/x.onnx",
            "predict {0}/a.png -o {0}/x.png",
            "predict --manifest {0}/list.txt -o {0}/x.parquet",
            "compare {0}/a.pt {0}/b.pt --report {0}/x.html",
            "prepare lsp {0} {0}/x.csv",
        ],
    )
    def test_a_files_name_is_refused(self, run, tmp_path, line):
        for name in ("a.pt", "b.pt", "a.png"):
            (tmp_path / name).touch()
        (tmp_path / "list.txt").write_text("a.png\n")
        there = sorted(tmp_path.iterdir())
        assert "is the suffix of a file" in run(*line.format(tmp_path).split(), status=2).err
        assert sorted(tmp_path.iterdir()) == there

    def test_one_that_is_there_is_taken(self, run, tmp_path):
        for name in ("a.pt", "b.pt"):
            (tmp_path / name).touch()
        (tmp_path / "x.pt").mkdir()
        told = run("convert", tmp_path / "a.pt", tmp_path / "b.pt", "-o", tmp_path / "x.pt", status=2)
        assert "the file is empty" in told.err
        assert "suffix of a file" not in told.err
