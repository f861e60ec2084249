"""What `eval` shows: every number read back from its tables and its JSON, and compared with the library's."""

import json
import math

import numpy as np
import pytest

import converters
from deeppose_port import backends, metrics
from deeppose_port.cli import main
from deeppose_port.data.skeletons import MPII
from tests.helpers.metrics import AnsweringBackend, mpii_persons, nearly_right
from tests.helpers.networks import random_checkpoint
from tests.helpers.tables import shows, tables_of

LIMBS = list(MPII.pcp_limbs.values())


@pytest.fixture
def dataset(tmp_path):
    return mpii_persons(tmp_path)


@pytest.fixture
def run(dataset, tmp_path, monkeypatch, capsys):
    """Evaluates a network that is nearly right."""
    network = AnsweringBackend(nearly_right(dataset))
    monkeypatch.setattr(backends, "get", lambda name: network)
    converters.write(random_checkpoint(joints=16), tmp_path / "some.pt")

    def run(*options, skeleton="mpii"):
        data = ("--csv", dataset.csv, "--images", tmp_path, "--skeleton", skeleton)
        assert main(["eval", str(tmp_path / "some.pt"), *map(str, (*data, *options))]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def poses(dataset):
    """Predicted and true positions, and which joints count."""
    predicted = [dataset.view(i).points(row) for i, row in enumerate(nearly_right(dataset))]
    return np.array(predicted), dataset.joints, dataset.visible


@pytest.fixture
def expected(dataset, poses):
    """Every metric's values by joint or limb, and its number of the whole, by the functions of `metrics`."""
    _, true, visible = poses
    torso = metrics.torso_lengths(true, MPII.torso, visible)
    heads, box = dataset.head_sizes, metrics.box_sizes(true, visible)
    out = MPII.pckh_total_excluded

    def pck(lengths, threshold, excluded=()):
        values = metrics.pck(*poses[:2], lengths, visible, threshold)
        return values, metrics.pck_total(*poses[:2], lengths, visible, threshold, excluded=excluded)

    def auc(lengths, threshold, excluded=()):
        values = metrics.auc(*poses[:2], lengths, visible, threshold)
        return values, metrics.auc_total(*poses[:2], lengths, visible, threshold, excluded=excluded)

    def nme(lengths):
        return metrics.nme(*poses[:2], lengths, visible), metrics.nme_total(*poses[:2], lengths, visible)

    def averaged(values):
        return values, metrics.mean_over_joints(values)

    errors = metrics.pixel_errors(*poses)
    return {
        "error_px": (np.nanmean(errors, axis=0), metrics.mean_error(*poses)),
        **{f"pdj@{t}": averaged(metrics.pdj(*poses[:2], torso, visible, [t])[0]) for t in (0.1, 0.2, 0.3, 0.4, 0.5)},
        "pck": pck(torso, 0.2),
        "auc": auc(torso, 0.2),
        "nme": nme(torso),
        "pcp": averaged(metrics.pcp(*poses[:2], LIMBS, visible)),
        "pcp_relaxed": averaged(metrics.pcp(*poses[:2], LIMBS, visible, rule="relaxed")),
        "pckh": pck(heads, 0.5, out),
        "pckh_auc": auc(heads, 0.5, out),
        "pck_box@0.1": pck(box, 0.1),
        "pck_box@0.2": pck(box, 0.2),
        "nme_box": nme(box),
    }


def test_the_numbers_tell_the_metrics_apart(expected):
    wholes = [round(whole, 3) for _, whole in expected.values()]
    assert len(set(wholes)) >= len(wholes) - 1, "an exchange of two would pass"
    for key, (values, _) in expected.items():
        assert len(set(values.round(3))) > 2, key


def test_json_has_every_number_in_full(run, expected):
    values = json.loads(run("--json"))
    for key, (columns, whole) in expected.items():
        name, _, threshold = key.partition("@")
        found = values[name][threshold] if threshold else values[name]
        assert list(found.values()) == pytest.approx([*columns, whole], rel=1e-12, nan_ok=True), key
        names = tuple(MPII.pcp_limbs) if name.startswith("pcp") else MPII.joints
        assert tuple(found)[:-1] == names
    assert values["mean_error_px"] == values["error_px"]["total"]
    assert (values["persons"], values["joints"], values["backend"]) == (12, 16, "torch")


def test_loss_is_that_of_the_training(run, dataset):
    answers = nearly_right(dataset)
    targets, mask = (np.stack([dataset[i][k] for i in range(len(dataset))]) for k in (1, 2))
    loss = metrics.masked_mse(answers, targets, mask)
    assert 0 < loss < 1
    assert json.loads(run("--json"))["loss"] == pytest.approx(loss, rel=1e-14)
    assert shows(dict(row for row in tables_of(run())[0][1:] if len(row) == 2)["Loss"], loss)


TITLES = {
    "Mean error, all joints together": "error_px",
    "PDJ@0.2, mean of the joints": "pdj@0.2",
    "PCK@0.2, all joints together": "pck",
    "AUC of PCK, all joints together": "auc",
    "NME by the torso, all joints together": "nme",
    "PCP@0.5, strict, mean of the limbs": "pcp",
    "PCP@0.5, relaxed, mean of the limbs": "pcp_relaxed",
    "PCKh@0.5, all joints together": "pckh",
    "AUC of PCKh, all joints together": "pckh_auc",
    "PCK@0.1 of the box, all joints together": "pck_box@0.1",
    "PCK@0.2 of the box, all joints together": "pck_box@0.2",
    "NME by the box, all joints together": "nme_box",
}


def test_table_of_the_whole_shows_each_metric_with_its_unit(run, expected):
    shown = {row[0]: row[1] for row in tables_of(run())[0][1:]}
    assert shown.keys() == {*TITLES, "Loss", "Legacy error"}
    for title, key in TITLES.items():
        scale, unit = (1, "px") if key == "error_px" else (100, "%")
        assert shown[title].endswith(f" {unit}")
        assert shows(shown[title], expected[key][1], scale), title


def test_table_by_joint_has_each_metric_in_its_column(run, expected, poses):
    headings, *rows = tables_of(run())[1]
    keys = {
        "error, px": "error_px",
        "PDJ@0.1, %": "pdj@0.1",
        "PDJ@0.2, %": "pdj@0.2",
        "PDJ@0.5, %": "pdj@0.5",
        "AUC, %": "auc",
        "PCKh@0.5, %": "pckh",
    }
    assert headings == ["joint", "annotated", *keys]
    assert [row[0] for row in rows] == [*MPII.joints, "all"]
    counts = poses[2].sum(axis=0)
    assert [int(row[1]) for row in rows] == [*counts, counts.sum()]
    for column, (heading, key) in enumerate(keys.items(), start=2):
        scale = 1 if heading == "error, px" else 100
        values, whole = expected[key]
        for row, value in zip(rows, [*values, whole], strict=True):
            assert shows(row[column], value, scale), (heading, row)


def test_of_a_skeleton_without_limbs_there_is_no_table_by_limb(run, tmp_path):
    skeleton = tmp_path / "points.toml"
    skeleton.write_text(f"joints = {json.dumps([f'point {i}' for i in range(16)])}")
    (tmp_path / "mpii.references.json").unlink()  # head sizes, of persons of that skeleton
    *_, by_joint = tables_of(run("--report", tmp_path / "report", skeleton=skeleton))
    assert [row[0] for row in by_joint] == ["joint", *(f"point {i}" for i in range(16)), "all"]
    assert (tmp_path / "report" / "index.html").is_file()


def test_table_by_limb_has_both_rules(run, expected):
    headings, *rows = tables_of(run())[2]
    assert headings == ["limb", "PCP strict, %", "PCP relaxed, %"]
    assert [row[0] for row in rows] == [*MPII.pcp_limbs, "mean"]
    for column, key in ((1, "pcp"), (2, "pcp_relaxed")):
        values, whole = expected[key]
        for row, value in zip(rows, [*values, whole], strict=True):
            assert math.isnan(value) or shows(row[column], value, 100), (key, row)


def test_intervals_stand_beside_their_metric(run):
    values = json.loads(run("--json", "--bootstrap", 40))["bootstrap"]["intervals"]
    headings, *rows = tables_of(run("--bootstrap", 40))[0]
    assert headings[-1] == "95 % interval (40 resamples)"
    for row in rows:
        key = TITLES.get(row[0])
        if key is None:
            continue
        name, _, threshold = key.partition("@")
        found = values[name][threshold] if threshold else values[name]
        low, high = found["mean" if "mean" in found else "total"]
        assert low < high
        scale = 1 if key == "error_px" else 100
        first, second = row[2].split(" to ")
        assert shows(first, low, scale), row
        assert shows(second, high, scale), row


def test_persons_without_a_head_size_are_told(run, tmp_path):
    references = tmp_path / "mpii.references.json"
    content = json.loads(references.read_text())
    content["head_sizes"][3] = None
    references.write_text(json.dumps(content))
    shown = run("--report", tmp_path / "report")
    assert "1 person left out: no head size is known" in " ".join(shown.split())
    assert "1 person, in no PCKh" in (tmp_path / "report" / "index.html").read_text()
    assert json.loads(run("--json"))["pckh_left_out"] == 1
