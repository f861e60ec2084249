"""`eval FOLDER`: checkpoints on the same persons, the best first."""

import json
import math
import shutil

import numpy as np
import pytest

import converters
import deeppose_port
from deeppose_port.cli import main
from deeppose_port.data import PoseDataset
from deeppose_port.evaluate.evaluate import evaluate
from deeppose_port.evaluate.ranking import Ranked, ranked
from deeppose_port.metrics.registry import find
from tests.helpers.networks import random_checkpoint
from tests.helpers.tables import shows, tables_of


@pytest.fixture
def folder(pictures, tmp_path):
    """Three networks: the astronaut's, one that is a little off, and one that is far off; the first has a copy."""
    path = tmp_path / "results"
    path.mkdir()
    best = converters.read(pictures.parent / "astronaut" / "epoch-300.model", state=False)
    for number, shift in ((1, 0.3), (2, 0.1), (3, 0.0)):
        weights = {**best.weights, "fc8.bias": best.weights["fc8.bias"] + np.float32(shift)}
        converters.write(best.replace(weights=weights), path / f"epoch-{number}.pt")
    shutil.copy(path / "epoch-3.pt", path / "best.pt")
    (path / "log.txt").write_text("INFO:root:nothing\n")
    return path


@pytest.fixture
def run(pictures, capsys):
    def run(*arguments):
        data = ("--csv", pictures / "free.csv", "--images", pictures)
        status = main(["eval", *map(str, (*arguments, *data))])
        return status, capsys.readouterr()

    return run


@pytest.fixture
def losses(folder, pictures):
    dataset = PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic")
    return {n: evaluate(deeppose_port.load(folder / f"epoch-{n}.pt"), dataset)["loss"].overall for n in (1, 2, 3)}


def test_best_comes_first_and_equal_files_are_one(run, folder, losses):
    assert losses[3] < losses[2] < losses[1]
    status, shown = run(folder)
    assert status == 0
    heading, *rows = tables_of(shown.out)[0]
    assert heading[:3] == ["checkpoint", "Loss", "Mean error"]
    assert [row[0] for row in rows] == ["epoch-3.pt, best.pt", "epoch-2.pt", "epoch-1.pt"]
    for row, number in zip(rows, (3, 2, 1), strict=True):
        assert shows(row[1], losses[number])
    assert f"the best by Loss is {folder / 'epoch-3.pt'}" in shown.out


def test_json_has_each_evaluation_in_the_same_order(run, folder, losses):
    status, shown = run(folder, "--json")
    values = json.loads(shown.out)
    assert (status, values["by"], values["best"], values["refused"]) == (0, "loss", str(folder / "epoch-3.pt"), [])
    assert [one["loss"] for one in values["checkpoints"]] == [losses[n] for n in (3, 2, 1)]
    assert values["checkpoints"][0]["files"] == [str(folder / name) for name in ("epoch-3.pt", "best.pt")]
    alone = json.loads(run(folder / "epoch-2.pt", "--json")[1].out)
    assert alone.items() <= values["checkpoints"][1].items()


def test_another_metric_may_rank_them(run, folder):
    values = json.loads(run(folder, "--json", "--by", "pck_box@0.2")[1].out)
    found = [one["pck_box"]["0.2"]["total"] for one in values["checkpoints"]]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == 3
    heading = tables_of(run(folder, "--by", "pck_box@0.2")[1].out)[0][0]
    assert heading[:3] == ["checkpoint", "PCK@0.2 of the box", "Loss"]


def test_what_cannot_be_evaluated_is_said_and_the_rest_goes_on(run, folder):
    (folder / "epoch-4.pt").write_bytes(b"cut off")
    converters.write(random_checkpoint(joints=14), folder / "epoch-5.pt")
    status, shown = run(folder, "--json")
    values = json.loads(shown.out)
    assert status == 3
    assert len(values["checkpoints"]) == 3
    assert [one["checkpoint"] for one in values["refused"]] == [str(folder / f"epoch-{n}.pt") for n in (4, 5)]
    assert shown.err.count("error: ") == 2


@pytest.mark.parametrize(("files", "phrase"), [({}, "there is no checkpoint in this folder"), ({"a.pt": b"x"}, "a.pt")])
def test_folder_without_one_that_works_is_bad_input(run, tmp_path, files, phrase):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    status, shown = run(tmp_path)
    assert status == 2
    assert phrase in shown.err


@pytest.mark.parametrize(
    ("options", "phrase"),
    [
        (("--by", "beauty"), "beauty"),
        (("--report", "page"), "go with one checkpoint"),
        (("--bootstrap", "5"), "go with one checkpoint"),
        (("--persons", "a.csv"), "go with one checkpoint"),
    ],
)
def test_options_that_do_not_go_with_a_folder_are_refused(run, folder, options, phrase):
    status, shown = run(folder, *options)
    assert status == 2
    assert phrase in shown.err


def test_one_checkpoint_is_not_ranked(run, folder):
    status, shown = run(folder / "epoch-1.pt", "--by", "loss")
    assert status == 2
    assert "--by ranks the checkpoints of a folder" in shown.err


class Known(Ranked):
    """A checkpoint with a known number."""

    def __init__(self, number):
        object.__setattr__(self, "number", number)

    def value(self, metric):
        return self.number


@pytest.mark.parametrize(("name", "expected"), [("loss", [1, 2, 3, math.inf, math.nan]), ("pcp", [3, 2, 1])])
def test_what_has_no_number_is_last(name, expected):
    numbers = [2, math.inf, 3, math.nan, 1]
    order = [one.number for one in ranked([Known(number) for number in numbers], find(name))]
    np.testing.assert_array_equal(order[: len(expected)], expected)
