"""Every number, sign, mark, bar and curve of a report, read back and compared with the library's."""

import hashlib
import itertools
import json
import re

import numpy as np
import pytest

import converters
import deeppose_port
from deeppose_port import backends, metrics
from deeppose_port.data import PoseDataset
from deeppose_port.data.skeletons import MPII
from deeppose_port.drawing.report import write_comparison, write_evaluation
from deeppose_port.drawing.report.subjects import THRESHOLDS
from deeppose_port.evaluate.comparison import compare
from deeppose_port.evaluate.evaluate import evaluate
from deeppose_port.metrics.registry import METRICS
from tests.conftest import PICTURES
from tests.helpers.charts import Axis, axes_of, line_of, points_of, steps_of
from tests.helpers.metrics import AnsweringBackend, mpii_persons, nearly_right
from tests.helpers.networks import random_checkpoint
from tests.helpers.pages import tree_of
from tests.helpers.tables import number_in, shows

MINUS, EN_DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


def scale_of(unit):
    return 100 if unit == "%" else 1


def is_shown(text, value, unit):
    """Tells whether a cell shows a number in its unit."""
    return shows(text, value, scale_of(unit)) and text.endswith(unit)


# --- one evaluation ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A network that is nearly right: its page, its evaluation and the intervals."""
    folder = tmp_path_factory.mktemp("mpii")
    dataset = mpii_persons(folder)
    network = AnsweringBackend(nearly_right(dataset))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends, "get", lambda name: network)
        pose = deeppose_port.load(random_checkpoint(joints=16))
    evaluation = evaluate(pose, dataset)
    intervals = evaluation.bootstrap(60)
    page = write_evaluation(pose, evaluation, dataset, folder / "page", command="x", intervals=intervals)
    return tree_of(page), evaluation, intervals, dataset


@pytest.fixture
def page(evaluated):
    return evaluated[0]


@pytest.fixture
def evaluation(evaluated):
    return evaluated[1]


def section(page, name):
    return page.one("section", id=name)


def test_metrics_have_their_numbers_intervals_and_words(page, evaluation, evaluated):
    (heading, *rows) = section(page, "summary").one("table", "metrics").rows()
    assert heading == ["metric", "value", "95 % interval", "what it is"]
    shown = [measure for measure in evaluation.measures.values() if measure.metric.is_shown]
    assert [row[0] for row in rows] == [measure.metric.title for measure in shown]
    for (_, value, interval, words), measure in zip(rows, shown, strict=True):
        metric = measure.metric
        assert is_shown(value, measure.overall, metric.unit), metric.key
        low, high = interval.split(" to ")
        assert is_shown(low, evaluated[2].wholes[metric.key][0], metric.unit)
        assert is_shown(high, evaluated[2].wholes[metric.key][1], metric.unit)
        assert words.startswith(metric.meaning)
        assert all(name in words for name, _ in metric.references)
        assert metric.over.capitalize() in words


def test_cards_are_the_headlines(page, evaluation):
    cards = section(page, "summary").one("ul", "cards").all("li")
    expected = ["loss", "error_px", "pdj@0.2", "pcp", "pckh"]
    assert [card.one("span", "name").text for card in cards] == [METRICS[key].title for key in expected]
    for card, key in zip(cards, expected, strict=True):
        assert is_shown(card.one("span", "value").text, evaluation[key].overall, METRICS[key].unit)


@pytest.mark.parametrize(
    ("name", "keys", "names"),
    [
        ("joints", ["error_px", "pdj@0.1", "pdj@0.2", "pdj@0.5", "auc", "pckh"], MPII.joints),
        ("limbs", ["pcp", "pcp_relaxed"], tuple(MPII.pcp_limbs)),
    ],
)
def test_tables_have_each_metric_in_its_column(page, evaluation, name, keys, names):
    heading, *rows = section(page, name).one("table").rows()
    counted = name == "joints"
    headings = [METRICS[key].column for key in keys]
    assert heading == [name[:-1], *["annotated"] * counted, *headings]
    assert [row[0] for row in rows] == [*names, "all"]
    if counted:
        counts = evaluation.visible.sum(axis=0)
        assert [int(row[1]) for row in rows] == [*counts, counts.sum()]
    for column, key in enumerate(keys, start=1 + counted):
        measure = evaluation[key]
        for row, value in zip(rows, [*measure.values, measure.overall], strict=True):
            assert shows(row[column], value, scale_of(measure.metric.unit)), (key, row)


CURVES = {"PDJ, mean of the joints": 0.2, "PCKh, all joints together": 0.5, "PCK by the person's box": 0.2}


def expected_curve(title, evaluation, threshold):
    """A metric of the whole at any threshold, by the functions of `metrics`."""
    poses, visible = (evaluation.predicted, evaluation.true), evaluation.visible
    if title.startswith("PDJ"):
        torso = metrics.torso_lengths(evaluation.true, MPII.torso, visible)
        return metrics.mean_over_joints(metrics.pdj(*poses, torso, visible, [threshold])[0])
    if title.startswith("PCKh"):
        out = MPII.pckh_total_excluded
        return metrics.pckh_total(*poses, evaluation.head_sizes, visible, threshold, excluded=out)
    box = metrics.box_sizes(evaluation.true, visible)
    return metrics.pck_total(*poses, box, visible, threshold)


@pytest.mark.parametrize("number", range(3))
def test_curves_run_through_the_metric_at_every_threshold(page, evaluation, number):
    figure = section(page, "curves").one("div", "figures").all("figure")[number]
    title, marked = list(CURVES.items())[number]
    assert figure.one("figcaption").text.startswith(title)
    chart = figure.one("svg")
    thresholds, fractions = line_of(chart, "a")
    np.testing.assert_allclose(thresholds, THRESHOLDS, rtol=0, atol=1e-3)
    expected = [100 * expected_curve(title, evaluation, threshold) for threshold in THRESHOLDS]
    assert len(set(np.round(expected))) > 8
    np.testing.assert_allclose(fractions, expected, rtol=0, atol=0.3)
    value = expected[int(np.argmin(np.abs(THRESHOLDS - marked)))]
    (mark,) = [group for group in chart.all("g", "a", "fill") if group.all("circle")]
    assert shows(mark.one("title").text.partition(": ")[2], value)
    assert mark.one("title").text.endswith(f" at {marked:g}")
    x, y = axes_of(chart)
    circle = mark.one("circle").attributes
    assert x.at(float(circle["cx"])) == pytest.approx(marked, abs=1e-3)
    assert y.at(float(circle["cy"])) == pytest.approx(value, abs=0.3)
    assert [shows(text.text, value) for text in chart.all("text", "number")] == [True]
    assert f"{value:.1f} % at {marked:g}" in chart.attributes["aria-label"]


def test_small_curves_are_the_joints_left_and_right_together(page, evaluation):
    figures = section(page, "curves").one("div", "multiples").all("figure")
    names = list(dict.fromkeys(name.removeprefix("left ").removeprefix("right ") for name in MPII.joints))
    assert [figure.one("figcaption").text for figure in figures] == names
    torso = metrics.torso_lengths(evaluation.true, MPII.torso, evaluation.visible)
    poses = evaluation.predicted, evaluation.true, torso, evaluation.visible
    by_joint = metrics.pdj(*poses, THRESHOLDS.tolist())
    for name, figure in zip(names, figures, strict=True):
        members = [j for j, joint in enumerate(MPII.joints) if joint.rpartition(" ")[2] == name or joint == name]
        _, fractions = line_of(figure.one("svg"), "a")
        np.testing.assert_allclose(fractions, 100 * by_joint[:, members].mean(axis=1), rtol=0, atol=0.8)


def test_bars_are_as_long_as_their_fractions(page, evaluation):
    chart = section(page, "limbs").one("svg")
    axis, _ = axes_of(chart)
    names = [t.text for t in chart.all("text") if t.attributes["text-anchor"] == "end" and not t.classes]
    assert names == list(MPII.pcp_limbs)
    bars, ticks = chart.all("g", "a", "fill"), chart.all("g", "a", "tick")
    numbers = [text.text for text in chart.all("text", "number")]
    strict, relaxed = evaluation["pcp"].values, evaluation["pcp_relaxed"].values
    assert not np.isnan(strict).any()
    for name, bar, tick, number, one, other in zip(names, bars, ticks, numbers, strict, relaxed, strict=True):
        rect = bar.one("rect").attributes
        assert axis.at(float(rect["x"])) == pytest.approx(0, abs=0.3)
        assert axis.at(float(rect["x"]) + float(rect["width"])) == pytest.approx(100 * one, abs=0.3), name
        assert axis.at(start_of(tick.one("path"))) == pytest.approx(100 * other, abs=0.3)
        assert shows(number, one, 100)
        assert bar.one("title").text == f"{name}, prediction, strict: {100 * one:.1f} %"
        assert tick.one("title").text == f"{name}, prediction, relaxed: {100 * other:.1f} %"
    assert f"mean {100 * evaluation['pcp'].overall:.1f} %" in chart.attributes["aria-label"]


def start_of(path):
    """The horizontal place where a path starts."""
    return float(re.match(r"M(-?[\d.]+) ", path.attributes["d"])[1])


def test_histogram_has_the_share_of_each_error(page, evaluation):
    chart = section(page, "curves").one("div", "figures").all("figure")[-1].one("svg")
    edges, heights = steps_of(chart, "a")
    errors = metrics.pixel_errors(evaluation.predicted, evaluation.true, evaluation.visible)
    errors = errors[~np.isnan(errors)]
    bins = np.concatenate([[0], edges[:-1], [np.inf]])
    expected = np.array([((errors >= a) & (errors < b)).mean() for a, b in itertools.pairwise(bins)])
    assert heights.sum() == pytest.approx(100, abs=1)
    assert (expected > 0).sum() > 10
    # An error beside an edge may fall to the other side of where the edge was read.
    np.testing.assert_allclose(heights, 100 * expected, rtol=0, atol=100 / len(errors) + 0.3)
    assert f"median {np.median(errors):.4g}" in chart.attributes["aria-label"]


def test_gallery_tells_each_person_s_error_in_pixels_and_of_the_box(page, evaluation, evaluated):
    errors = metrics.pixel_errors(evaluation.predicted, evaluation.true, evaluation.visible)
    means = np.nanmean(errors, axis=1)
    relative = means / metrics.box_sizes(evaluation.true, evaluation.visible)
    items = page.one("ol", id="gallery").all("li")
    order = [int(item.one("span", "line").text.removeprefix("line ")) - 1 for item in items]
    assert order == np.argsort(-relative).tolist()
    index = json.loads("".join(page.one("script", type="application/json").inside))
    for person, item, entry in zip(order, items, index["persons"], strict=True):
        pixels, part = item.one("span", "error").text.split(" px ")
        assert shows(pixels, means[person])
        assert part == f"{100 * relative[person]:.0f} %"
        assert item.one("span", "file").text == entry["file"] == evaluated[3].person(person).file
        assert entry["line"] == person + 1
        (shown,) = entry["errors"]
        for error, one in zip(shown, errors[person], strict=True):
            assert (error is None and np.isnan(one)) or error == pytest.approx(one, abs=0.05001)


def test_provenance_is_the_files_own(page, evaluation, evaluated):
    dataset = evaluated[3]
    lists = section(page, "provenance").all("dl")
    facts = {}
    for one in lists:
        facts |= dict(zip([t.text for t in one.all("dt")], [d.text for d in one.all("dd")], strict=True))
    assert facts["its sha256"] == hashlib.sha256(dataset.csv.read_bytes()).hexdigest()
    assert facts["skeleton"] == "mpii, 16 joints"
    assert facts["size"] == "12 persons in 3 pictures"
    assert facts["without a torso"].startswith(f"{int(np.isnan(evaluation.torso_lengths).sum())} person")
    assert facts["NumPy"] == np.__version__


# --- two side by side -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The astronaut's network and one that is a little off: the page and the comparison."""
    folder = tmp_path_factory.mktemp("compared")
    old = converters.read(PICTURES.parent / "astronaut" / "epoch-300.model", state=False)
    weights = {name: array.copy() for name, array in old.weights.items()}
    weights["fc8.bias"][1:] += np.linspace(-0.03, 0.06, 13, dtype=np.float32)
    dataset = PoseDataset(PICTURES / "free.csv", images=PICTURES, skeleton="flic")
    poses = deeppose_port.load(old), deeppose_port.load(old.replace(weights=weights))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deeppose_port.evaluate.comparison.LOOKED_AT", 2)
        comparison = compare(*poses, (dataset, dataset))
    return tree_of(write_comparison(comparison, folder, command="x")), comparison


@pytest.fixture
def certificate(compared):
    return section(compared[0], "certificate")


@pytest.fixture
def comparison(compared):
    return compared[1]


def test_checks_are_marked_as_they_went(certificate, comparison):
    rows = certificate.one("table", "checks").all("tr")[1:]
    assert len(rows) == len(comparison.checks) + 1
    for row, check in zip(rows, comparison.checks, strict=False):
        name, mark, finding = (cell.text for cell in row.all("th") + row.all("td"))
        assert (name, finding.replace(f"e{MINUS}", "e-")) == (check.name, check.finding)
        assert "e-" not in finding, "a line could end after it"
        assert mark == ("✓ yes" if check.passed else "✗ no")
        assert row.classes == ["pass" if check.passed else "fail"]
    assert [check.passed for check in comparison.checks] == [False, True, False, False, False]
    once = [row for row in comparison.metrics if row.name != "mean_error_px"]  # which error_px/total is too
    assert rows[-1].all("td")[1].text.startswith(f"{sum(row.agrees for row in once)} of {len(once)} agree")


def test_verdict_is_no(certificate):
    assert certificate.one("div", "verdict").classes == ["verdict", "no"]
    assert certificate.one("h2").text == "Not the same network"
    assert "They first differ at fc8" in certificate.text


def test_layers_have_their_numbers_in_table_and_chart(certificate, comparison):
    table = next(t for t in certificate.all("table") if t.rows()[0][0] == "layer")
    heading, *rows = table.rows()
    assert heading == ["layer", "output", "largest difference", "relative", "tolerance"]
    marks = table.all("tr")[1:]
    for row, mark, layer in zip(rows, marks, comparison.layers, strict=True):
        assert row[:2] == [layer.name, " \N{MULTIPLICATION SIGN} ".join(map(str, layer.old_shape))]
        numbers = (layer.maximum, layer.relative, layer.tolerance)
        assert all(shows(text, value) for text, value in zip(row[2:], numbers, strict=True)), row
        assert mark.classes == (["fail"] if layer.parted else [])
    chart = certificate.one("figure").one("svg")
    _, y = axes_of_layers(chart)
    drawn = [g for g in chart.all("g") if {"within", "beyond"} & set(g.classes)]
    for group, layer in zip(drawn, comparison.layers, strict=True):
        assert group.classes == (["beyond"] if layer.parted else ["within"] if layer.maximum else ["within", "zero"])
        assert group.one("title").text == f"{layer.name}: {layer.relative:.2g}" if layer.maximum else "exactly 0"
        if not layer.parted:
            height = y.at(float(group.one("circle").attributes["cy"]))
            assert height == pytest.approx(np.log10(max(layer.relative, 1e-9)), abs=0.05)
        else:
            cross = np.array(re.match(r"M[\d.]+ ([\d.]+)l([\d.]+)", group.one("path").attributes["d"]).groups(), float)
            assert y.at(cross[0] + cross[1] / 2) == pytest.approx(np.log10(layer.relative), abs=0.05)
    allowed = re.findall(r"M[\d.]+ ([\d.]+)h", chart.one("path", "tolerance").attributes["d"])
    expected = [np.log10(layer.tolerance) for layer in comparison.layers]
    np.testing.assert_allclose(y.at(np.array(allowed, float)), expected, rtol=0, atol=0.05)
    parted = sum(layer.parted for layer in comparison.layers)
    assert f"{parted} of {len(comparison.layers)} beyond the tolerance" in chart.attributes["aria-label"]


def axes_of_layers(chart):
    """Its vertical axis, in powers of ten; layers have no numbers."""
    texts = [t for t in chart.all("text", "muted") if t.attributes["text-anchor"] == "end" and t.text != "outputs"]
    powers = [np.log10(float(t.text.split()[-1])) for t in texts]  # the ends are ≤ and ≥
    return None, Axis([float(t.attributes["y"]) - 4 for t in texts], powers)


def test_tensors_that_differ_have_their_counts(certificate, comparison):
    table = next(t for t in certificate.all("table") if t.rows()[0][0] == "tensor")
    heading, *rows = table.rows()
    assert heading == ["tensor", "status", "numbers", "differing", "largest difference"]
    for (name, status, numbers, differing, largest), row in zip(rows, comparison.weights.rows, strict=True):
        assert (name, status) == (row.name, row.status)
        assert (int(numbers), int(differing)) == (row.elements, row.differing)
        assert row.elements != row.differing
        assert shows(largest, row.maximum)
    words = [summary.text for summary in certificate.all("summary")]
    assert f"Weights: {comparison.weights.equal} tensors equal, 1 differing, 0 missing" in words


def test_metrics_that_moved_have_both_sides_and_the_change(certificate, comparison):
    table = next(t for t in certificate.all("table") if t.rows()[0][0] == "metric")
    heading, *rows = table.rows()
    assert heading == ["metric", "old", "new", "difference"]
    moved = [row for row in comparison.metrics if row.difference and row.name != "mean_error_px"]
    for (name, old, new, change), row in zip(rows, moved, strict=True):
        assert name == row.title
        assert is_shown(old, row.old, row.unit)
        assert is_shown(new, row.new, row.unit)
        assert shows(change, row.difference, scale_of(row.unit))
        assert change[0] == ("+" if row.new > row.old else MINUS)
    assert {row.new > row.old for row in moved} == {True, False}


def test_cards_and_tables_set_old_before_new(compared):
    page, comparison = compared
    old, new = comparison.old.evaluation, comparison.new.evaluation
    by_title = {metric.title: metric for metric in METRICS.values()}
    cards = section(page, "summary").one("ul", "cards").all("li")
    assert len(cards) == 4
    for card in cards:
        metric = by_title[card.one("span", "name").text]
        first, second = card.all("span", "value")
        assert (first.classes, second.classes) == (["value", "a"], ["value", "b"])
        both = old[metric.key].overall, new[metric.key].overall
        assert is_shown(first.text, both[0], metric.unit)
        assert is_shown(second.text, both[1], metric.unit)
        change = card.one("span", "change").text.removeprefix("difference ")
        assert shows(change, both[1] - both[0], scale_of(metric.unit))
        assert number_in(change)[0] * (both[1] - both[0]) > 0
    heading, *rows = section(page, "summary").one("table", "metrics").rows()
    assert heading == ["metric", "old", "new", "difference", "what it is"]
    for title, first, second, _, _ in rows:
        metric = by_title[title]
        assert is_shown(first, old[metric.key].overall, metric.unit)
        assert is_shown(second, new[metric.key].overall, metric.unit)
    _, sides, *rows = section(page, "joints").one("table").rows()
    assert sides == ["old", "new"] * 3
    for j, row in enumerate(rows[:-1]):
        for k, key in enumerate(["error_px", "pck_box@0.1", "pck_box@0.2"]):
            for side, cell in zip((old, new), row[2 + 2 * k :], strict=False):
                assert shows(cell, side[key].values[j], scale_of(METRICS[key].unit)), row


def test_charts_have_a_curve_and_a_bar_a_side(compared):
    page, comparison = compared
    sides = (("a", comparison.old.evaluation), ("b", comparison.new.evaluation))
    curves = section(page, "curves").one("div", "figures").all("figure")[0].one("svg")
    for style, evaluation in sides:
        box = metrics.box_sizes(evaluation.true, evaluation.visible)
        poses = evaluation.predicted, evaluation.true, box, evaluation.visible
        expected = [100 * metrics.pck_total(*poses, threshold) for threshold in THRESHOLDS]
        np.testing.assert_allclose(line_of(curves, style)[1], expected, rtol=0, atol=0.3)
    chart = section(page, "limbs").one("svg")
    axis, _ = axes_of(chart)
    for style, evaluation in sides:
        ends = [
            float(g.one("rect").attributes["x"]) + float(g.one("rect").attributes["width"])
            for g in chart.all("g", style, "fill")
        ]
        np.testing.assert_allclose(axis.at(ends), 100 * evaluation["pcp"].values, rtol=0, atol=0.3)
    histogram = section(page, "curves").one("div", "figures").all("figure")[-1].one("svg")
    assert [steps_of(histogram, style)[1].sum() for style, _ in sides] == pytest.approx([100, 100], abs=1.5)


def test_gallery_of_two_has_each_side_s_error_and_pose(compared):
    page, comparison = compared
    sides = [side.evaluation for side in (comparison.old, comparison.new)]
    means = [np.nanmean(metrics.pixel_errors(e.predicted, e.true, e.visible), axis=1) for e in sides]
    index = json.loads("".join(page.one("script", type="application/json").inside))
    assert index["subjects"] == ["old", "new"]
    moved = np.linalg.norm(sides[0].predicted - sides[1].predicted, axis=2).max(axis=1)
    for item, entry in zip(page.one("ol", id="gallery").all("li"), index["persons"], strict=True):
        person = entry["line"] - 1
        first, second = item.all("span", "error")
        assert (first.one("i").classes, second.one("i").classes) == (["swatch", "a"], ["swatch", "b"])
        assert (first.one("i").attributes["title"], second.one("i").attributes["title"]) == ("old", "new")
        assert shows(first.one("b").text, means[0][person])
        assert shows(second.one("b").text, means[1][person])
        assert entry["moved"] == pytest.approx(moved[person], abs=6e-4)


def test_poses_are_drawn_in_the_colour_of_their_side(compared):
    page, comparison = compared
    dataset, sides = comparison.old.dataset, (comparison.old.evaluation, comparison.new.evaluation)
    for item in page.one("ol", id="gallery").all("li")[:4]:
        person = int(item.one("span", "line").text.removeprefix("line ")) - 1
        crop, drawing = dataset.view(person).crop, item.one("div", "picture").one("svg")
        size = np.array(drawing.attributes["viewbox"].split()[2:], float)
        scale = size / (crop.width, crop.height)
        poses = {"a": sides[0].predicted, "b": sides[1].predicted, "t": sides[0].true}
        for style, points in poses.items():
            expected = (points[person] - (crop.x0, crop.y0)) * scale
            paths = [path for path in drawing.all("path", style) if "case" not in path.classes]
            found = np.concatenate([points_of(path) for path in paths])
            distances = np.linalg.norm(found[:, np.newaxis] - expected, axis=2).min(axis=1)
            assert len(found) >= 5
            assert distances.max() < 0.1, (person, style)
        assert np.linalg.norm((poses["a"] - poses["b"])[person] * scale, axis=1).max() > 1, "colours would not tell"
