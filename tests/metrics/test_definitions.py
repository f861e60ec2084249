import math

import pytest

from deeppose_port.evaluate import evaluation as evaluate
from deeppose_port.evaluate.differences import MetricRow
from deeppose_port.metrics.definitions import DEFINITIONS, difference, interval, joint_columns, number, unit_of

EN_DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


def test_every_definition_is_of_a_metric_that_evaluations_have():
    assert set(DEFINITIONS) <= set(evaluate.MEASURES)


@pytest.mark.parametrize("key", DEFINITIONS)
def test_what_others_defined_is_cited(key):
    ours = key in ("error_px", "legacy_error")
    assert ours or all(address.startswith("https://") for _, address in DEFINITIONS[key].references)
    assert bool(DEFINITIONS[key].references) != ours


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.53571, "%", "53.6 %"),
        (50.034, "px", "50.03 px"),
        (0.06011512, "", "0.060115"),
        (3, "", "3"),
        (math.nan, "%", EN_DASH),
    ],
)
def test_numbers_have_their_unit(value, unit, text):
    assert number(value, unit) == text


@pytest.mark.parametrize(
    ("old", "new", "unit", "text"),
    [
        (0.615, 0.0, "%", MINUS + "61.5"),
        (0.25, 0.5, "%", "+25.0"),
        (0.5, 0.502, "%", "+0.2"),
        (50.0, 45.5, "px", MINUS + "4.5"),
        (1.0, 1e9, "px", "+1e+09"),
        (0.5, 0.5, "%", "0"),
        (math.nan, 0.5, "%", EN_DASH),
    ],
)
def test_differences_are_in_the_unit_of_their_numbers(old, new, unit, text):
    assert difference(old, new, unit) == text


@pytest.mark.parametrize(
    ("place", "unit"),
    [
        ("pdj/0.2/left wrist", "%"),
        ("pck_box/0.1/total", "%"),
        ("pcp_relaxed/mean", "%"),
        ("error_px/head", "px"),
        ("mean_error_px", "px"),
        ("legacy_error", "px"),
        ("loss", ""),
        ("pdj_left_out", ""),
    ],
)
def test_unit_is_that_of_the_metric(place, unit):
    assert unit_of(place) == unit


def test_metrics_agree_in_the_digits_that_are_shown():
    assert MetricRow("loss", 2.5282882e-05, 2.5282744e-05).agrees, "float32 rounding of a loss that is small"
    assert not MetricRow("loss", 2.5282e-05, 2.5284e-05).agrees
    assert MetricRow("pcp/mean", 0.615, None).cells == ("61.5 %", EN_DASH, EN_DASH)


def test_interval_is_that_of_the_whole():
    intervals = {"pdj": {"0.2": {"head": [0, 1], "mean": [0.25, 0.5]}}, "loss": [0.1, 0.2], "nme": {"total": [None, 1]}}
    assert interval({"intervals": intervals}, "pdj@0.2", "%") == "25.0 % to 50.0 %"
    assert interval({"intervals": intervals}, "loss", "") == "0.1 to 0.2"
    assert interval({"intervals": intervals}, "nme", "%") == interval({"intervals": intervals}, "auc", "%") == EN_DASH


def test_joints_are_shown_by_the_box_where_there_is_no_better_length():
    assert list(joint_columns(["error_px", "pck_box@0.1", "pck_box@0.2"])) == ["error_px", "pck_box@0.1", "pck_box@0.2"]
    assert list(joint_columns(["error_px", "pckh", "pck_box@0.1"])) == ["error_px", "pckh"]
