"""A metric is a row, and everything that is known of it is in that row."""

import pytest

from deeppose_port.data.skeletons import LSP
from deeppose_port.metrics import registry
from deeppose_port.metrics.registry import METRICS, Metric, find, register, without_substitutes


@pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))
def test_what_others_defined_is_cited(metric):
    ours = metric.key in ("error_px", "legacy_error")
    assert bool(metric.references) != ours
    assert all(address.startswith("https://") for _, address in metric.references)


@pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))
def test_less_is_better_of_errors_and_more_of_fractions(metric):
    is_error = metric.key.partition("_")[0] in ("loss", "error", "nme", "legacy")
    assert metric.better == ("lower" if is_error else "higher")
    assert metric.name == ("mean_error_px" if metric.key == "error_px" else metric.key)


@pytest.mark.parametrize(
    ("key", "over", "names"),
    [
        ("pdj@0.2", "mean of the joints", LSP.joints),
        ("pck", "all joints together", LSP.joints),
        ("pcp", "mean of the limbs", tuple(LSP.pcp_limbs)),
        ("loss", "", ()),
    ],
)
def test_whole_and_columns_are_said(key, over, names):
    assert METRICS[key].over == over
    assert METRICS[key].names(LSP) == names


def test_metrics_are_found_by_key_and_by_the_name_of_their_number():
    assert find("mean_error_px") is find("error_px") is METRICS["error_px"]
    assert find("pdj@0.2").path == ("pdj", "0.2")
    assert find("pckh").path == ("pckh",)
    with pytest.raises(ValueError, match=r"no metric 'pdj'; there are loss, mean_error_px, pdj@0\.1"):
        find("pdj")


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [
        ("pdj@0.2", {"pdj": {"0.2": {"head": 1, "mean": 0.5}}}, 0.5),
        ("error_px", {"mean_error_px": 7.5, "error_px": {"head": 1, "total": 7.5}}, 7.5),
        ("loss", {"loss": 0.25}, 0.25),
        ("pdj@0.2", {"pdj": None}, None),
        ("pckh", {}, None),
    ],
)
def test_number_of_the_whole_is_found_in_json(key, values, expected):
    assert find(key).whole_in(values) == expected


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["error_px", "pck_box@0.1"], ["error_px", "pck_box@0.1"]),
        (["loss", "pckh", "pck_box@0.1"], ["loss", "pckh"]),
    ],
)
def test_box_stands_in_for_torso_and_head(given, kept):
    assert [metric.key for metric in without_substitutes(METRICS[key] for key in given)] == kept


@pytest.mark.parametrize(
    ("key", "options", "phrase"),
    [
        ("pckh", {}, "there is a metric 'pckh' already"),
        ("mean_error_px", {}, "there is a metric 'mean_error_px' already"),
        ("mine", {"alone": "loss"}, "there is a metric 'mine' already"),
        ("mine", {"needs": "shoes"}, "needs 'shoes'; it can need torso_lengths, head_sizes"),
    ],
)
def test_metric_that_cannot_be_is_not_registered(key, options, phrase):
    with pytest.raises(ValueError, match=phrase):
        register(Metric(key, "Mine", "My own.", registry._errors, **options))
    assert "mine" not in METRICS
