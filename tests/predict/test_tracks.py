"""Persons keep their numbers, and the smoothers are the filters of their papers."""

import math

import numpy as np
import pytest
from scipy.linalg import solve_discrete_are
from scipy.optimize import linear_sum_assignment

from deeppose_port.predict import Found, tracks
from deeppose_port.predict.tracks import (
    DISTANCE_PER_DEVIATION,
    LEAST_OVERLAP,
    Kalman,
    OneEuro,
    Tracker,
    matched,
    overlaps,
    smoother,
)

NAN = float("nan")


def through(filter, values, step=0.1, size=100.0):
    """Puts one joint's x (y is 0) through a filter, a value each `step` seconds."""
    points = ([[value, 0.0 * value]] for value in values)
    return np.array([filter(np.array(point), i * step, size)[0, 0] for i, point in enumerate(points)])


class TestOverlap:
    @pytest.mark.parametrize(
        ("first", "second", "expected"),
        [
            ((0, 0, 2, 2), (0, 0, 2, 2), 1),
            ((0, 0, 2, 2), (1, 0, 2, 2), 1 / 3),
            ((0, 0, 2, 2), (1, 1, 2, 2), 1 / 7),
            ((0, 0, 4, 4), (1, 1, 2, 2), 1 / 4),
            ((0, 0, 2, 2), (2, 0, 2, 2), 0),
            ((0, 0, 2, 2), (9, 9, 2, 2), 0),
            ((0, 0, 0, 0), (0, 0, 0, 0), 0),
            ((0, 0, NAN, 2), (0, 0, 2, 2), 0),
            ((0, 0, 1e200, 1e200), (0, 0, 1e200, 1e200), 0),
        ],
    )
    def test_it_is_intersection_over_union(self, first, second, expected):
        boxes = np.array([first, second], np.float64)
        shared = overlaps(boxes, boxes[:1])
        assert shared.shape == (2, 1)
        assert shared[1, 0] == overlaps(boxes[:1], boxes)[0, 1] == pytest.approx(expected)


def best_sum(before, now):
    """The largest sum of overlaps that pairs of boxes have, each box by its own four numbers."""

    def shared(a, b):
        width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
        height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
        both = max(0, width) * max(0, height)
        return both / (a[2] * a[3] + b[2] * b[3] - both)

    table = np.array([[shared(a, b) for b in now] for a in before])
    rows, columns = linear_sum_assignment(-table)
    return {(i, j) for i, j in zip(rows, columns, strict=True) if table[i, j] >= LEAST_OVERLAP}


@pytest.fixture(params=[False, True], ids=["all at once", "in parts"])
def in_parts(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(tracks, "_AT_ONCE", 100)


@pytest.mark.usefixtures("in_parts")
class TestMatched:
    @pytest.mark.parametrize("counts", [(40, 40), (60, 25), (7, 90), (50, 0), (0, 50)])
    @pytest.mark.parametrize("spread", [60, 400])
    def test_they_have_the_largest_sum_of_overlaps(self, counts, spread):
        random = np.random.default_rng(sum(counts) + spread)
        before = np.hstack([random.uniform(0, spread, (90, 2)), random.uniform(20, 60, (90, 2))])
        now = before + random.normal(0, 4, before.shape)
        before, now = (
            [tuple(box) for box in boxes[:count]] for boxes, count in zip((before, now), counts, strict=True)
        )
        pairs = matched(before, now)
        assert len(pairs) == len(set(pairs))
        assert set(pairs) == (best_sum(before, now) if before and now else set())

    def test_of_boxes_that_are_all_the_same_each_has_one(self):
        pairs = matched([(0, 0, 10, 10)] * 70, [(0, 0, 10, 10)] * 90)
        assert len(pairs) == len({i for i, _ in pairs}) == len({j for _, j in pairs}) == 70

    def test_of_boxes_of_which_none_overlaps_nobody_is_known(self):
        """As after a cut: elsewhere, without an area, or without an end."""
        before = [(20.0 * i, 0.0, 10.0, 10.0) for i in range(40)]
        for now in ([(x, 500.0, w, h) for x, _, w, h in before], [(0.0, 0.0, 0.0, 10.0)] * 40, [(1e308,) * 4] * 40):
            assert matched(before, now) == []

    def test_whole_pictures_are_each_others_and_boxes_that_are_none_are_nobodys(self):
        box, broken = (0.0, 0, 2, 2), (0, 0, NAN, 2)
        assert set(matched([None, box, None, broken] * 9, [box, None, broken, box] * 9)) >= {(0, 1), (2, 5), (4, 9)}
        assert matched([None, broken], [broken, box]) == []


class TestTracker:
    def follow(self, frames, step=0.1):
        tracker = Tracker()
        return [tracker.number([Found(box) for box in boxes], i * step) for i, boxes in enumerate(frames)], tracker

    def test_persons_keep_their_numbers_whatever_the_order_of_their_boxes(self):
        frames = [[(10 + 3 * i, 10, 20, 40), (200 - 3 * i, 10, 20, 40)][:: 1 if i % 2 else -1] for i in range(8)]
        numbers, tracker = self.follow(frames)
        assert numbers == [[1, 2] if i % 2 == 0 else [2, 1] for i in range(8)]
        assert tracker.persons == 2

    def test_the_largest_sum_of_overlaps_is_taken_not_the_largest_overlap_first(self):
        # Of width 10: the first person's box overlaps both new ones, the second's only the one that suits both.
        first, second = [(0, 0, 10, 10), (4, 0, 10, 10)], [(2, 0, 10, 10), (-3, 0, 10, 10)]
        shared = overlaps(np.array(first, float), np.array(second, float))
        assert shared[0, 0] > shared[0, 1] > 0.3 > shared[1, 1]
        numbers, _ = self.follow([first, second])
        assert numbers == [[1, 2], [2, 1]]

    def test_who_overlaps_too_little_is_somebody_else(self):
        numbers, tracker = self.follow([[(0, 0, 10, 10)], [(8, 0, 10, 10)], [(9, 0, 10, 10)]])
        assert numbers == [[1], [2], [2]]
        assert tracker.persons == 2

    def test_who_is_out_of_sight_for_a_while_comes_back(self):
        box = (0, 0, 10, 10)
        numbers, _ = self.follow([[box], [], [], [box]], step=0.3)
        assert numbers == [[1], [], [], [1]]
        numbers, tracker = self.follow([[box], [], [], [box]], step=0.4)
        assert numbers == [[1], [], [], [2]]
        assert tracker.in_sight == {2}

    def test_the_whole_picture_is_one_person(self):
        assert self.follow([[None], [None]])[0] == [[1], [1]]


class TestOneEuro:
    def test_without_beta_a_step_is_followed_exponentially(self):
        made = through(OneEuro(cutoff=0.5, beta=0.0), [0, 1, 1, 1, 1, 1], step=0.2)
        share = 1 / (1 + 1 / (2 * math.pi * 0.5 * 0.2))
        np.testing.assert_allclose(made, [1 - (1 - share) ** n for n in range(6)], rtol=1e-12)

    def test_with_beta_the_cutoff_rises_with_the_speed(self):
        step, size, cutoff, beta, speed_cutoff = 0.1, 50.0, 1.0, 4.0, 2.0
        made = through(OneEuro(cutoff, beta, speed_cutoff), [0, 10, 30], step, size)

        def share(frequency):
            return 1 / (1 + 1 / (2 * math.pi * frequency * step))

        speed = share(speed_cutoff) * 10 / step
        first = share(cutoff + beta * speed / size) * 10
        speed = share(speed_cutoff) * (30 - first) / step + (1 - share(speed_cutoff)) * speed
        weight = share(cutoff + beta * speed / size)
        np.testing.assert_allclose(made, [0, first, weight * 30 + (1 - weight) * first], rtol=1e-12)

    def test_x_and_y_have_one_speed(self):
        turn = np.array([[0.6, -0.8], [0.8, 0.6]])
        path = np.random.RandomState(0).randn(20, 3, 2) * 10
        plain, turned = OneEuro(), OneEuro()
        for i, points in enumerate(path):
            made, other = plain(points, 0.04 * i, 80.0), turned(points @ turn.T, 0.04 * i, 80.0)
            np.testing.assert_allclose(made @ turn.T, other, atol=1e-9)

    def test_what_is_at_rest_stays_and_trembles_less(self):
        np.testing.assert_allclose(through(OneEuro(), [7] * 5), 7, rtol=1e-14)
        noise = np.random.RandomState(0).randn(400)
        assert through(OneEuro(), noise, step=0.04)[50:].std() < 0.6 * noise[50:].std()


class TestKalman:
    def test_without_acceleration_it_is_the_least_squares_line(self):
        values = np.random.RandomState(1).randn(12).cumsum()
        made = through(Kalman(noise=0.01, acceleration=0.0, speed=1e4), values)
        times = np.arange(12) * 0.1
        fitted = [np.polyval(np.polyfit(times[:n], values[:n], 1), times[n - 1]) for n in range(2, 13)]
        np.testing.assert_allclose(made[1:], fitted, rtol=1e-5, atol=1e-6)

    def test_steps_may_be_of_any_length(self):
        times = np.array([0, 0.1, 0.15, 0.4, 0.41, 0.9])
        values = np.random.RandomState(2).randn(6)
        kalman = Kalman(noise=0.01, acceleration=0.0, speed=1e4)
        made = [kalman(np.array([[v, 0.0]]), t, 100.0)[0, 0] for v, t in zip(values, times, strict=True)]
        assert made[-1] == pytest.approx(np.polyval(np.polyfit(times, values, 1), times[-1]), abs=1e-4)

    def test_its_gain_becomes_that_of_the_riccati_equation(self):
        step, size, noise, acceleration = 0.04, 200.0, 0.03, 1.5
        move, look = np.array([[1, step], [0, 1]]), np.array([[1.0, 0]])
        wander = (acceleration * size) ** 2 * np.array([[step**3 / 3, step**2 / 2], [step**2 / 2, step]])
        variance = (noise * size) ** 2
        settled = solve_discrete_are(move.T, look.T, wander, [[variance]])
        gain = settled[0, 0] / (settled[0, 0] + variance)
        kalman = Kalman(noise, acceleration)
        made = through(kalman, [0.0] * 400 + [1.0], step, size)
        assert made[-1] == pytest.approx(gain, rel=1e-9)  # of a jump from rest that part is believed

    def test_the_second_frame_is_weighed_by_hand(self):
        step, size, noise, acceleration, speed = 0.5, 10.0, 0.2, 0.6, 0.7
        made = through(Kalman(noise, acceleration, speed), [0, 1], step, size)
        variance = (noise * size) ** 2
        before = variance + (speed * size * step) ** 2 + (acceleration * size) ** 2 * step**3 / 3
        assert made[1] == pytest.approx(before / (before + variance))

    def test_the_networks_own_error_is_the_noise(self):
        values = [0, 3, 1, 4, 2]
        told = through(Kalman(error_px=6.0), values)
        same = through(Kalman(noise=6.0 / DISTANCE_PER_DEVIATION / 100), values)
        np.testing.assert_allclose(told, same, rtol=1e-12)
        distances = np.hypot(*np.random.RandomState(0).randn(2, 200_000))
        assert distances.mean() == pytest.approx(DISTANCE_PER_DEVIATION, rel=5e-3)


@pytest.mark.parametrize("make", [OneEuro, Kalman])
class TestBoth:
    def test_joints_are_smoothed_each_by_itself(self, make):
        path = np.random.RandomState(0).randn(10, 4, 2) * 20
        together = make()
        alone = [make() for _ in range(4)]
        for i, points in enumerate(path):
            made = together(points, 0.04 * i, 90.0)
            for j in range(4):
                np.testing.assert_allclose(made[j], alone[j](points[j : j + 1], 0.04 * i, 90.0)[0], rtol=1e-9)

    def test_near_and_far_persons_are_smoothed_alike(self, make):
        values = np.random.RandomState(0).randn(10) * 10
        np.testing.assert_allclose(through(make(), 5 * values, size=500.0), 5 * through(make(), values), rtol=1e-9)

    def test_joints_that_are_not_finite_are_none_and_do_no_harm(self, make):
        made = through(make(), [1, 2, NAN, 2, 2])
        assert np.isnan(made).tolist() == [False, False, True, False, False]
        made = through(make(), [NAN, NAN, 5, 5])
        assert np.isnan(made).tolist() == [True, True, False, False]
        np.testing.assert_allclose(made[2:], 5, rtol=1e-14)

    def test_the_points_given_stay(self, make):
        filter, points = make(), np.ones((2, 2))
        for i in range(3):
            filter(points, i, 10.0)[:] = 7
        assert (points == 1).all()
        np.testing.assert_allclose(filter(points, 3, 10.0), 1, rtol=1e-14)


class TestNames:
    def test_they_are_made_anew_for_each_person(self):
        make = smoother("one-euro")
        assert make() is not make()
        assert smoother("kalman", 4.0)() == Kalman(error_px=4.0)

    @pytest.mark.parametrize(
        ("name", "error", "phrase"),
        [
            ("mean", None, "no smoother 'mean'; there are one-euro, kalman"),
            ("one-euro", 3.0, "--error-px goes with --smooth kalman"),
            ("kalman", 0.0, "has to be positive"),
            ("kalman", NAN, "has to be positive"),
        ],
    )
    def test_others_are_refused(self, name, error, phrase):
        with pytest.raises(ValueError, match=phrase):
            smoother(name, error)
