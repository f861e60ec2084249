"""What each person adds to a metric, and how sure its value is.

Every metric here is a sum over persons divided by another: hits by the joints that count, distances by joints, squares
by coordinates. Kept by person, such sums give the metric, its total over all columns, and, by drawing persons again,
how far it might have been another with other persons of the same kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.data.arrays import Float64Array, seeded

_MOST_DRAWS = 1 << 22
"""Persons drawn at a time: 32 MB of indices."""


@dataclass(frozen=True)
class Tally:
    """Sums over persons, one column for each joint or limb.

    A Tally is by person at first, its rows; `resample` makes one whose rows are resamples.

    Attributes:
        scores: (rows, K) float64, what is divided: hits, distances, squares. 0 where nothing counts.
        counts: (rows, K) float64, what it is divided by.
    """

    scores: Float64Array
    counts: Float64Array

    @classmethod
    def of(cls, scores: npt.ArrayLike, counted: npt.ArrayLike) -> Tally:
        """Makes a Tally of (N, K) scores and of which of them count; what the others are does not matter."""
        counts = np.asarray(counted, np.float64)
        return cls(np.where(counts > 0, np.asarray(scores, np.float64), 0.0), counts)

    def summed(self) -> Tally:
        """Returns the sums over all rows, a Tally of one row."""
        return Tally(self.scores.sum(axis=0, keepdims=True), self.counts.sum(axis=0, keepdims=True))

    def values(self) -> Float64Array:
        """Returns the metric of each column over all rows, (K,); NaN where nothing counts."""
        return _ratio(self.scores.sum(axis=0), self.counts.sum(axis=0))

    def columns(self) -> Float64Array:
        """Returns each row's values, (rows, K); NaN where nothing counts."""
        return _ratio(self.scores, self.counts)

    def means(self) -> Float64Array:
        """Returns the mean of each row's columns, (rows,): each weighs the same, one that nobody has is left out."""
        values = self.columns()
        known = self.counts > 0
        return _ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64))

    def totals(self, excluded: Iterable[int] = ()) -> Float64Array:
        """Returns each row's value over all columns together but the excluded ones, (rows,)."""
        kept = np.setdiff1d(np.arange(self.scores.shape[1]), list(excluded))
        return _ratio(self.scores[:, kept].sum(axis=1), self.counts[:, kept].sum(axis=1))


def resample(tallies: Sequence[Tally], resamples: int = 1000, seed: int = 0) -> list[Tally]:
    """Draws as many persons as there are, with replacement, again and again: the bootstrap.

    Every Tally sees the same persons drawn, so what is computed of several of them may be compared. Efron, "Bootstrap
    Methods: Another Look at the Jackknife", The Annals of Statistics 7, 1979.

    Args:
        tallies: Tallies by person, all of the same persons.
        resamples: How often.
        seed: Of the drawing (NumPy's PCG64): the same seed draws the same persons.

    Returns:
        For each Tally one of `resamples` rows.

    Raises:
        DeepPoseError: There is no person or no resample, the tallies are of different numbers of persons, or the seed
            is negative.
    """
    numbers = {len(tally.scores) for tally in tallies}
    if len(numbers) != 1:
        raise DeepPoseError(f"the tallies must be of the same persons, not of {sorted(numbers)} persons")
    persons = numbers.pop()
    if persons < 1 or resamples < 1:
        raise DeepPoseError(f"{resamples} resamples of {persons} persons: both must be at least 1")
    joined = np.concatenate([part for tally in tallies for part in (tally.scores, tally.counts)], axis=1)
    sums = np.empty((resamples, joined.shape[1]))
    random = seeded(seed)
    at_once = max(1, _MOST_DRAWS // persons)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = random.integers(0, persons, (rows, persons)) + persons * np.arange(rows)[:, np.newaxis]
        times = np.bincount(drawn.ravel(), minlength=rows * persons).reshape(rows, persons)
        with np.errstate(invalid="ignore"):
            sums[start : start + rows] = times.astype(np.float64) @ joined
    parts = np.split(sums, np.cumsum([t.scores.shape[1] for t in tallies for _ in range(2)])[:-1], axis=1)
    return [Tally(scores, counts) for scores, counts in zip(parts[::2], parts[1::2], strict=True)]


def interval(values: npt.ArrayLike, level: float = 0.95) -> Float64Array:
    """Returns the percentile interval of resampled values.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.

    Args:
        values: (resamples, ...) values of a metric.
        level: How much of them lies in the interval.

    Returns:
        (2, ...), the lower and the upper end. Resamples in which the metric has no value are left out; NaN where it has
        one in none.

    Raises:
        DeepPoseError: The level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise DeepPoseError(f"the confidence level must be between 0 and 1, not {level:g}")
    values = np.asarray(values, np.float64)
    columns = values.reshape(len(values), -1)
    ends = np.full((2, columns.shape[1]), np.nan)
    tails = [(1 - level) / 2, (1 + level) / 2]
    for i, column in enumerate(columns.T):
        known = column[~np.isnan(column)]
        if known.size:
            with np.errstate(invalid="ignore"):  # between infinite values
                ends[:, i] = np.quantile(known, tails)
    return ends.reshape(2, *values.shape[1:])


def _ratio(scores: Float64Array, counts: Float64Array) -> Float64Array:
    """Divides; NaN where nothing counts."""
    values: Float64Array = np.divide(scores, counts, out=np.full(scores.shape, np.nan), where=counts > 0)
    return values
