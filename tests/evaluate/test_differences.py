"""What two networks differ in, row by row."""

import math

import numpy as np
import pytest

from deeppose_port.evaluate.differences import (
    LayerRow,
    MetricRow,
    compare_joints,
    difference,
    layer_row,
    relative_difference,
)

EN_DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("old", "new", "maximum", "largest"),
    [
        ([1.0, -4.0], [1.5, -4.25], 0.5, 4.0),
        ([1.0, 2.0], [1.0, 2.0], 0.0, 2.0),
        ([NAN, 2.0], [NAN, 2.0], 0.0, 2.0),
        ([NAN, 2.0], [1.0, 2.0], INF, 2.0),
        ([1.0, 2.0], [NAN, 2.0], INF, 2.0),
        ([INF, 2.0], [INF, 2.0], 0.0, 2.0),
        ([INF, 2.0], [-INF, 2.0], INF, 2.0),
        ([1.0, 2.0], [INF, 2.0], INF, 2.0),
        ([], [], 0.0, 0.0),
    ],
)
def test_difference_is_infinite_where_one_side_alone_is_not_finite(old, new, maximum, largest):
    assert difference(np.array(old), np.array(new)) == (maximum, largest)


@pytest.mark.parametrize(
    ("maximum", "scale", "relative"),
    [(0, 0, 0), (0, 5, 0), (1, 4, 0.25), (1, 0, INF), (1e-30, 0, INF), (INF, 2, INF)],
)
def test_relative_difference_of_something_from_nothing_is_infinite(maximum, scale, relative):
    assert relative_difference(maximum, scale) == relative


class TestLayers:
    @pytest.mark.parametrize(
        ("relative", "tolerance", "parted"),
        [(0.1, 0.1, False), (0.11, 0.1, True), (0.0, 0.0, False), (1e-30, 0.0, True), (None, 1, True), (NAN, 1, True)],
    )
    def test_layer_parts_beyond_its_tolerance(self, relative, tolerance, parted):
        assert LayerRow("conv1", (1,), (1,), 0.0, relative, tolerance).parted is parted

    def test_difference_is_a_part_of_the_old_side_s_largest_value(self):
        row = layer_row("fc", np.float32([[1, -8]]), np.float32([[1, -6]]), 0.3)
        assert (row.maximum, row.relative, row.tolerance) == (2, 0.25, 0.3)
        assert (row.old_shape, row.new_shape) == ((2,), (2,))
        assert row.finding == "relative difference 0.25, tolerance 0.3"

    def test_layer_of_one_side_or_another_shape_has_no_difference(self):
        row = layer_row("conv", np.zeros((1, 2, 3, 3)), np.zeros((1, 2, 4, 4)), 1)
        assert (row.maximum, row.relative, row.parted) == (None, None, True)
        assert row.finding == "2 x 3 x 3 against 2 x 4 x 4"
        assert layer_row("conv", None, np.zeros((1, 2)), 1).finding == "nothing against 2"


class TestJoints:
    def poses(self, *points):
        return np.array([points], np.float64)

    def test_distances_are_counted(self):
        old = self.poses([0, 0], [10, 0], [0, 100], [50, 50], [0, 7])
        new = self.poses([0.3, 0.4], [10, 0.05], [0, 100.005], [53, 54], [0, 8])
        joints = compare_joints(old, new)
        assert joints.beyond == {0.01: 4, 0.1: 3, 1.0: 1}
        assert (joints.compared, joints.maximum, joints.relative) == (5, 5, 0.05)
        assert joints.finding == "of 5, 4 beyond 0.01 px, 3 beyond 0.1 px, 1 beyond 1 px; at most 5.0 px"

    @pytest.mark.parametrize("sides", [("old",), ("new",), ("old", "new")])
    def test_joint_without_an_answer_on_one_side_alone_differs(self, sides):
        both = {side: self.poses([1, 2], [3, 4]) for side in ("old", "new")}
        for side in sides:
            both[side][0, 1, 0] = NAN
        joints = compare_joints(**both)
        alike = len(sides) == 2
        assert joints.beyond == dict.fromkeys((0.01, 0.1, 1.0), 0 if alike else 1)
        assert joints.maximum == joints.relative == (0 if alike else INF)
        assert joints.as_dict()["max_px"] == (0 if alike else None)

    def test_infinite_answers_that_are_alike_do_not_differ(self):
        old, new = self.poses([INF, 2], [3, -INF]), self.poses([INF, 2], [3, -INF])
        assert compare_joints(old, new).maximum == 0
        new[0, 0, 1] = 4
        assert compare_joints(old, new).maximum == 2
        new[0, 1, 1] = INF
        assert compare_joints(old, new).maximum == INF

    def test_joints_in_a_corner_are_measured_by_what_was_seen(self):
        old, new = self.poses([0, 0], [1e-6, 0]), self.poses([3e-5, 4e-5], [1e-6, 0])
        assert compare_joints(old, new).relative == pytest.approx(50)
        assert compare_joints(old, new, 200).relative == pytest.approx(2.5e-7)
        assert compare_joints(self.poses([300, 400]), self.poses([300, 401]), 200).relative == 1 / 400

    def test_a_coordinate_that_neither_has_hides_no_other(self):
        assert compare_joints(self.poses([NAN, 2]), self.poses([NAN, 5])).maximum == 3
        assert compare_joints(self.poses([NAN, 2]), self.poses([2, NAN])).maximum == INF


def row(name, old, new, unit):
    return MetricRow(name, old, new, unit, "Its title", True)


class TestMetrics:
    def test_they_agree_in_the_digits_that_are_shown(self):
        assert row("loss", 2.5282882e-05, 2.5282744e-05, "").agrees, "float32 rounding of a loss that is small"
        assert not row("loss", 2.5282e-05, 2.5284e-05, "").agrees
        assert row("pcp/mean", 0.615, None, "%").cells == ("61.5 %", EN_DASH, EN_DASH)

    def test_difference_is_new_less_old(self):
        assert row("error_px/head", 5.5, 2.0, "px").cells == ("5.50 px", "2.00 px", f"{MINUS}3.50")
        assert row("error_px/head", 5.5, 2.0, "px").difference == -3.5
        assert row("error_px/head", None, 2.0, "px").difference is None
