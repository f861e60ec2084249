"""An evaluation's table of persons: each number is that of an evaluation of this person alone."""

import csv
import dataclasses

import numpy as np
import pytest

import converters
import deeppose_port
from deeppose_port import backends, metrics
from deeppose_port.cli import main
from deeppose_port.evaluate.evaluate import evaluate
from deeppose_port.evaluate.persons import write_persons
from tests.helpers.metrics import AnsweringBackend, mpii_persons, nearly_right
from tests.helpers.networks import random_checkpoint


@pytest.fixture
def dataset(tmp_path):
    return mpii_persons(tmp_path)


@pytest.fixture
def answered(dataset, monkeypatch):
    """Evaluates a network that gives some answers."""

    def run(rows):
        network = AnsweringBackend(rows)
        with monkeypatch.context() as patch:
            patch.setattr(backends, "get", lambda name: network)
            return evaluate(deeppose_port.load(random_checkpoint(joints=16)), dataset)

    return run


def table_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_each_person_s_numbers_are_those_of_the_person_alone(dataset, answered, tmp_path):
    evaluation = answered(nearly_right(dataset))
    rows = table_of(write_persons(evaluation, dataset, tmp_path / "persons.csv"))
    assert len(rows) == 12
    torso = metrics.torso_lengths(dataset.joints, dataset.skeleton.torso, dataset.visible)
    empty = 0
    for i, row in enumerate(rows):
        assert (row["image"], int(row["line"])) == (dataset.person(i).file, i + 1)
        assert int(row["annotated"]) == dataset.visible[i].sum()
        one = slice(i, i + 1)
        poses = evaluation.predicted[one], evaluation.true[one]
        visible, heads = evaluation.visible[one], dataset.head_sizes[one]
        expected = {
            "mean_error_px": metrics.mean_error(*poses, visible),
            "pdj@0.2": metrics.mean_over_joints(metrics.pdj(*poses, torso[one], visible)[0]),
            "pckh": metrics.pckh_total(*poses, heads, visible, excluded=dataset.skeleton.pckh_total_excluded),
            "nme_box": metrics.nme_total(*poses, metrics.box_sizes(evaluation.true[one], visible), visible),
        }
        for name, value in expected.items():
            empty += row[name] == ""
            assert (row[name] == "" and np.isnan(value)) or float(row[name]) == pytest.approx(value, rel=1e-5), name
        errors = metrics.pixel_errors(*poses, visible)[0]
        for joint, error in zip(dataset.skeleton.joints, errors, strict=True):
            assert (row[f"{joint} px"] == "") == np.isnan(error)
            assert np.isnan(error) or float(row[f"{joint} px"]) == pytest.approx(error, rel=1e-5)
    assert 0 < empty < 12, "some have no torso"


def test_joint_without_an_answer_is_not_empty(dataset, answered, tmp_path):
    rows = nearly_right(dataset)
    joint = int(np.flatnonzero(dataset.visible[2])[0])
    rows[2, 2 * joint] = np.nan
    table = table_of(write_persons(answered(rows), dataset, tmp_path / "persons.csv"))
    assert table[2][f"{dataset.skeleton.joints[joint]} px"] == "nan"
    assert table[2]["mean_error_px"] == "nan"
    assert "nan" not in table[3].values()


def test_name_that_would_be_a_formula_is_a_path(dataset, answered, tmp_path, monkeypatch):
    evaluation = answered(nearly_right(dataset))
    odd = dataclasses.replace(dataset.person(0), file="=1+1.png")
    monkeypatch.setattr(dataset, "person", lambda i: odd)
    assert table_of(write_persons(evaluation, dataset, tmp_path / "persons.csv"))[0]["image"] == "./=1+1.png"


class TestCommand:
    @pytest.fixture
    def run(self, pictures, tmp_path, capsys):
        converters.write(random_checkpoint(), tmp_path / "some.pt")

        def run(*arguments):
            free = ("--csv", pictures / "free.csv", "--images", pictures)
            status = main([str(a) for a in ("eval", tmp_path / "some.pt", *free, *arguments)])
            return status, capsys.readouterr()

        return run

    def test_table_is_written_beside_what_is_shown(self, run, tmp_path):
        status, shown = run("--persons", tmp_path / "persons.csv")
        assert status == 0
        assert f"persons: {tmp_path / 'persons.csv'}" in shown.out
        assert len(table_of(tmp_path / "persons.csv")) == 13

    def test_file_that_exists_stays_unless_it_may_be_replaced(self, run, tmp_path, monkeypatch):
        (tmp_path / "mine.csv").write_text("mine")
        with monkeypatch.context() as patch:
            patch.setattr("deeppose_port.evaluate.evaluate.evaluate", lambda *_, **__: pytest.fail("it was run"))
            status, shown = run("--persons", tmp_path / "mine.csv")
        assert status == 2
        assert "--persons names another" in shown.err
        assert (tmp_path / "mine.csv").read_text() == "mine"
        assert run("--persons", tmp_path / "mine.csv", "--force")[0] == 0
        assert len(table_of(tmp_path / "mine.csv")) == 13

    def test_input_is_never_replaced(self, run, tmp_path):
        status, shown = run("--persons", tmp_path / "some.pt", "--force")
        assert status == 2
        assert "the input itself" in shown.err

    def test_watching_writes_none(self, pictures, tmp_path, capsys):
        free = ("--csv", pictures / "free.csv", "--images", pictures)
        assert main([str(a) for a in ("eval", "--watch", tmp_path, *free, "--persons", tmp_path / "a.csv")]) == 2
        assert "go with a CHECKPOINT" in capsys.readouterr().err
