"""A metric is a row, and everything that is known of it is in that row."""

import numpy as np
import pytest

from deeppose_port.data.skeletons import LSP, MPII
from deeppose_port.metrics import registry
from deeppose_port.metrics.evaluation import Measure
from deeppose_port.metrics.registry import METRICS, Metric, Poses, find, register, without_substitutes


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


class TestNumbers:
    """What each row computes, by its definition; MPII leaves joints out of its totals."""

    @pytest.fixture
    def poses(self):
        chance = np.random.default_rng(3)
        true = chance.uniform(0, 200, (40, 16, 2))
        predicted = true + chance.normal(0, 14, true.shape)
        lengths = chance.uniform(40, 90, (2, 40))
        return Poses(MPII, predicted, true, chance.random((40, 16)) < 0.8, *lengths)

    @pytest.fixture
    def errors(self, poses):
        """Errors as parts of the torso, the head and the box, by joint; NaN for joints that do not count."""
        found = np.where(poses.visible, np.linalg.norm(poses.predicted - poses.true, axis=2), np.nan)
        shown = np.where(poses.visible[..., None], poses.true, np.nan)
        box = (np.nanmax(shown, axis=1) - np.nanmin(shown, axis=1)).max(axis=1)
        lengths = {"torso": poses.torso_lengths, "head": poses.head_sizes, "box": box}
        return {name: found / length[:, None] for name, length in lengths.items()}

    def measured(self, key, poses):
        metric = METRICS[key]
        return Measure(metric, metric.tally(poses), metric.names(MPII), metric.excluded(MPII))

    def agrees(self, measure, parts):
        """Whether a measure is the mean of parts of (N, J), NaN for what does not count."""
        assert measure.values == pytest.approx(np.nanmean(parts, axis=0))
        kept = [joint for joint in range(16) if joint not in measure.excluded]
        whole = np.nanmean(parts[:, kept])
        assert measure.overall == pytest.approx(
            np.nanmean(parts, axis=0).mean() if measure.metric.summary == "mean" else whole
        )

    @pytest.mark.parametrize(
        ("key", "length", "threshold"),
        [
            *((f"pdj@{threshold:g}", "torso", threshold) for threshold in (0.1, 0.2, 0.3, 0.4, 0.5)),
            ("pck", "torso", 0.2),
            ("pckh", "head", 0.5),
            ("pck_box@0.1", "box", 0.1),
            ("pck_box@0.2", "box", 0.2),
        ],
    )
    def test_joints_within_a_part_of_a_length(self, key, length, threshold, poses, errors):
        near = np.where(poses.visible, errors[length] <= threshold, np.nan)
        assert 0.05 < np.nanmean(near) < 0.97
        self.agrees(self.measured(key, poses), near)

    @pytest.mark.parametrize(("key", "length", "end"), [("auc", "torso", 0.2), ("pckh_auc", "head", 0.5)])
    def test_areas_under_the_curve(self, key, length, end, poses, errors):
        at = np.linspace(0, end, round(100 * end) + 1)
        below = (errors[length][..., None] <= at).astype(float)
        area = ((below[..., 1:] + below[..., :-1]) / 2).mean(axis=-1)
        self.agrees(self.measured(key, poses), np.where(poses.visible, area, np.nan))

    @pytest.mark.parametrize(("key", "length"), [("nme", "torso"), ("nme_box", "box")])
    def test_errors_as_parts_of_a_length(self, key, length, poses, errors):
        self.agrees(self.measured(key, poses), errors[length])

    def test_pelvis_and_thorax_count_in_no_total_of_the_heads(self, poses):
        excluded = tuple(map(MPII.joints.index, ("pelvis", "thorax")))
        assert self.measured("pckh", poses).excluded == self.measured("pckh_auc", poses).excluded == excluded
        for key in ("pdj@0.2", "pck", "auc", "nme", "error_px"):
            assert self.measured(key, poses).excluded == ()
