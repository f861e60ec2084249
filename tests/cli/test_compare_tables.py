"""What `compare` shows: every number read back from its tables, and compared with what its JSON says."""

import contextlib
import functools
import io
import json
from unittest import mock

import numpy as np
import pytest

import converters
from deeppose_port.cli import main
from deeppose_port.evaluate.verdict import TOLERANCE
from tests.helpers.tables import number_in, shows, tables_of

#: What people call the numbers of the whole and the metrics of single joints and limbs, by their places in the JSON.
WHOLES = {
    "loss": "Loss",
    "legacy_error": "Legacy error",
    "mean_error_px": "Mean error, all joints together",
    "error_px/total": "Mean error, all joints together",
    "pcp/mean": "PCP@0.5, strict, mean of the limbs",
    "pcp_relaxed/mean": "PCP@0.5, relaxed, mean of the limbs",
    "pck_box/0.1/total": "PCK@0.1 of the box, all joints together",
    "pck_box/0.2/total": "PCK@0.2 of the box, all joints together",
    "nme_box/total": "NME by the box, all joints together",
}
COLUMNS = {name.rpartition("/")[0]: title.rpartition(", ")[0] for name, title in WHOLES.items() if "/" in name}
UNITS = {"Loss": "", "Legacy error": "px", "Mean error": "px"}


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    """Compares the astronaut's network with itself after a change, each once; shows the tables and the JSON."""
    model, place = pictures.parent / "astronaut" / "epoch-300.model", tmp_path_factory.mktemp("compared")

    @functools.cache
    def run(change, *options):
        old = converters.read(model, state=False)
        weights = {name: array.copy() for name, array in old.weights.items()}
        change(weights)
        converters.write(old.replace(weights=weights), place / "new.pt", force=True)
        data = ("--csv", pictures / "free.csv", "--images", pictures, "--skeleton", "flic", "--backends", "torch")
        line = [str(word) for word in ("compare", model, place / "new.pt", *data, *options)]
        shown, status = printed(line)
        told, again = printed([*line, "--json"])
        values = json.loads(told)
        assert status == again == (0 if values["same"] else 1)
        return shown, values

    with mock.patch("deeppose_port.evaluate.comparison.LOOKED_AT", 2):
        yield run


def printed(line):
    """What a command prints, and its status."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        status = main(line)
    return output.getvalue(), status


def shift(weights):
    weights["fc8.bias"][1:] += np.linspace(-0.01, 0.03, 13, dtype=np.float32)


def nothing(weights):
    pass


def by_first(table):
    return {row[0]: row[1:] for row in table[1:]}


def test_tensors_are_shown_with_what_differs(run):
    shown, values = run(shift)
    table = tables_of(shown)[0]
    assert table[0] == ["tensor", "status", "numbers", "differing", "largest difference"]
    ((name, status, numbers, differing, largest),) = table[1:]
    (row,) = values["weights"]["tensors"]
    assert (name, status, int(numbers), int(differing)) == ("fc8.bias", "differing", 14, row["differing"])
    assert row["differing"] == 12, "two stayed"
    assert shows(largest, row["maximum"])
    assert number_in(largest)[0] == pytest.approx(0.03)


def test_layers_are_shown_with_differences_and_tolerances(run):
    shown, values = run(shift)
    table = tables_of(shown)[1]
    assert table[0][:5] == ["layer", "output", "largest difference", "relative", "tolerance"]
    rows, layers = by_first(table), [*values["layers"], values["outputs"]]
    assert list(rows) == [layer["name"] for layer in layers]
    for layer in layers:
        shape, maximum, relative, tolerance, *mark = rows[layer["name"]]
        assert shape == " x ".join(map(str, layer["old_shape"]))
        assert shows(maximum, layer["maximum"])
        assert shows(relative, layer["relative"])
        assert relative == "0" if layer["relative"] == 0 else "e" in relative
        assert shows(tolerance, layer["tolerance"])
        assert mark == (
            [] if not layer["parted"] else ["<- first difference"] if layer["name"] == "fc8" else ["differs"]
        )
    assert [layer["name"] for layer in layers if layer["parted"]] == ["fc8", "outputs"]
    assert values["first_parting"] == "fc8"


def test_metrics_are_shown_with_both_sides_and_the_difference(run):
    shown, values = run(shift)
    table, told = tables_of(shown)[2], values["metrics"]
    assert table[0] == ["metric", "old", "new", "difference"]
    rows = by_first(table)
    assert len(rows) == len(table) - 1, "no number stands there twice"
    keys = {}
    for key in told.keys() - {"pdj_left_out", "pckh_left_out"}:  # FLIC has no torsos and no heads
        metric, _, column = key.rpartition("/")
        keys[WHOLES.get(key) or f"{COLUMNS[metric]}, {column}"] = key
    moved = {name for name, (old, new, _) in rows.items() if old != new}
    assert len(moved) > 15
    for name, (old, new, change) in rows.items():
        number, unit = told[keys[name]], [*old.split(), ""][1]
        scale = 100 if unit == "%" else 1
        assert shows(old, number["old"], scale), name
        assert shows(new, number["new"], scale), name
        assert change == "0" if not number["difference"] else shows(change, number["difference"], scale), name
        assert unit == UNITS.get(name.partition(",")[0], "%")
    assert rows.keys() >= set(WHOLES.values())
    assert moved | set(WHOLES.values()) == rows.keys(), "others agree in every digit and are left out"
    agreeing = f"{len(keys) + 2 - len(moved)} of {len(keys) + 2} agree in every digit that is shown"
    assert agreeing in shown


@pytest.mark.parametrize(("change", "verdict"), [(shift, "NOT the same"), (nothing, "the same")])
def test_checks_are_shown_as_passed_or_not(run, change, verdict):
    shown, values = run(change)
    table = tables_of(shown)[-1]
    assert table[0] == ["check", "found"]
    rows = by_first(table)
    assert list(rows) == [*(check["name"] for check in values["checks"]), "metrics"]
    for check in values["checks"]:
        assert rows[check["name"]] == ["pass" if check["passed"] else "FAIL", check["finding"]]
    failed = [check["name"] for check in values["checks"] if not check["passed"]]
    assert failed == (["weights", "layers", "outputs", "joints"] if change is shift else [])
    assert f"\n{verdict}, with a tolerance of {TOLERANCE:g} of the largest value" in shown


def test_sides_are_shown_with_their_files_and_inputs(run):
    shown, values = run(nothing)
    for side in ("old", "new"):
        assert f"{side}  {values[side]['checkpoint']} (alexnet; " in shown
        assert f"file {values[side]['sha256']}" in shown
        assert f"inputs {values[side]['input_sha256']}" in shown
        assert f"run by PyTorch {values[side]['engine_version']}: torch on cpu" in shown
    assert shown.index("old  ") < shown.index("new  ")
    assert values["old"]["sha256"] != values["new"]["sha256"]


def test_no_tolerance_grants_no_rounding(run):
    pytest.importorskip("deeppose_port.backends.chainer.networks")
    shown, values = run(nothing, "--backends", "chainer,torch", "--tolerance", "0")
    assert not values["same"]
    layers = [*values["layers"], values["outputs"]]
    assert {layer["tolerance"] for layer in layers} == {0}
    assert [layer["name"] for layer in layers if layer["maximum"] and not layer["parted"]] == []
    assert "NOT the same, with a tolerance of 0 of the largest value" in shown
