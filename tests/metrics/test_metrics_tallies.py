"""Metrics by person, and the intervals that drawing the persons again gives."""

import math

import numpy as np
import pytest

from converters.errors import DeepPoseError
from deeppose_port import metrics
from deeppose_port.metrics.tallies import Tally, interval, resample

SCORES = [[1, 0, 3], [1, 1, 9], [0, 1, 2]]
COUNTS = [[1, 1, 0], [1, 0, 0], [1, 1, 0]]


@pytest.fixture
def persons():
    """200 persons of 5 joints, some not annotated: predicted, true, lengths, visible."""
    random = np.random.default_rng(7)
    true = random.uniform(0, 100, (200, 5, 2))
    return true + random.normal(0, 9, true.shape), true, random.uniform(20, 60, 200), random.random((200, 5)) > 0.2


class TestTally:
    def test_values_are_sums_of_what_counts_over_what_counts(self):
        tally = Tally.of(SCORES, COUNTS)
        assert tally.values()[:2].tolist() == [2 / 3, 0.5]
        assert math.isnan(tally.values()[2])

    def test_mean_weighs_columns_alike_and_total_persons(self):
        summed = Tally.of(SCORES, COUNTS).summed()
        assert summed.means().tolist() == [(2 / 3 + 1 / 2) / 2]
        assert summed.totals().tolist() == [3 / 5]
        assert summed.totals([0]).tolist() == [1 / 2]
        assert math.isnan(summed.totals([0, 1])[0])

    def test_nan_that_does_not_count_is_not_seen_and_one_that_does_is(self):
        assert Tally.of([[math.nan, 1]], [[0, 1]]).summed().totals().tolist() == [1]
        assert math.isnan(Tally.of([[math.nan, 1]], [[1, 1]]).summed().totals()[0])

    def test_rows_are_persons(self):
        np.testing.assert_array_equal(Tally.of(SCORES, COUNTS).totals(), [1 / 2, 1, 1 / 2])


class TestResample:
    def test_each_resample_is_the_metric_of_persons_drawn(self, persons):
        tally = metrics.pck_tally(*persons)
        (resampled,) = resample([tally], 20, seed=3)
        drawn = np.random.default_rng(3).integers(0, 200, (20, 200))
        for row, chosen in zip(resampled.columns(), drawn, strict=True):
            np.testing.assert_allclose(row, metrics.pck(*(array[chosen] for array in persons)), rtol=1e-12)

    def test_no_seed_is_negative(self, persons):
        with pytest.raises(DeepPoseError, match="the seed is -1; it has to be 0 or more"):
            resample([metrics.pck_tally(*persons)], 20, seed=-1)

    def test_same_seed_draws_the_same_and_another_others(self, persons):
        tally = metrics.pck_tally(*persons)
        first, again, other = (resample([tally], 50, seed)[0].totals() for seed in (1, 1, 2))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_tallies_see_the_same_persons(self, persons):
        tally = metrics.pck_tally(*persons)
        one, two = resample([tally, Tally(2 * tally.scores, tally.counts)], 50)
        np.testing.assert_allclose(two.totals(), 2 * one.totals(), rtol=1e-12)

    def test_many_persons_are_drawn_in_portions(self, persons, monkeypatch):
        tally = metrics.pck_tally(*persons)
        (whole,) = resample([tally], 7)
        monkeypatch.setattr("deeppose_port.metrics.tallies._MOST_DRAWS", 450)  # two resamples of 200 at a time
        (parts,) = resample([tally], 7)
        assert np.array_equal(parts.scores, whole.scores)
        assert np.array_equal(parts.counts, whole.counts)

    def test_standard_error_of_a_mean_is_that_of_theory(self):
        values = np.random.default_rng(0).normal(5, 2, (400, 1))
        (resampled,) = resample([Tally.of(values, np.ones((400, 1)))], 4000)
        assert resampled.totals().std() == pytest.approx(values.std() / 20, rel=0.05)

    @pytest.mark.parametrize(("persons", "resamples"), [(0, 10), (3, 0)])
    def test_nobody_and_nothing_are_refused(self, persons, resamples):
        with pytest.raises(ValueError, match="both must be at least 1"):
            resample([Tally.of(np.ones((persons, 1)), np.ones((persons, 1)))], resamples)

    def test_other_persons_are_refused(self):
        tallies = [Tally.of(np.ones((n, 1)), np.ones((n, 1))) for n in (2, 3)]
        with pytest.raises(ValueError, match=r"of the same persons, not of \[2, 3\] persons"):
            resample(tallies)


class TestInterval:
    def test_ends_are_quantiles(self):
        values = np.random.default_rng(0).permutation(1001).astype(float)
        np.testing.assert_allclose(interval(values), [25, 975])
        np.testing.assert_allclose(interval(values, 0.9), [50, 950])
        np.testing.assert_allclose(interval(np.stack([values, values + 1], axis=1)), [[25, 26], [975, 976]])

    def test_resamples_without_a_value_are_left_out(self):
        values = np.array([[math.nan, math.nan], [1, math.nan], [1, math.nan]])
        np.testing.assert_array_equal(interval(values), [[1, math.nan], [1, math.nan]])

    def test_infinite_values_are_no_error(self):
        assert interval([1.0, math.inf, math.inf]).shape == (2,)

    def test_interval_of_a_fraction_covers_it_as_often_as_it_says(self):
        # 400 trials of 60 persons each with a true PCK of 0.7; the percentile interval is close to its 90 %.
        random = np.random.default_rng(5)
        covered = 0
        for trial in range(400):
            hits = random.random((60, 1)) < 0.7
            (resampled,) = resample([Tally.of(hits, np.ones((60, 1)))], 300, seed=trial)
            low, high = interval(resampled.totals(), 0.9)
            covered += low <= 0.7 <= high
        assert 0.84 <= covered / 400 <= 0.95

    @pytest.mark.parametrize("level", [0, 1, 95, math.nan])
    def test_levels_that_are_none_are_refused(self, level):
        with pytest.raises(ValueError, match="the confidence level must be between 0 and 1"):
            interval([1.0, 2.0], level)
