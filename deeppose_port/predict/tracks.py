"""Persons followed from frame to frame, and their joints smoothed.

Whoever has a box in two frames is told by how much the boxes overlap: of all ways to put the boxes of a frame to the
persons of the last ones, the one with the largest sum of overlaps (intersection over union) is taken, by the Hungarian
method (Kuhn, Naval Research Logistics Quarterly 2, 1955; SciPy's `linear_sum_assignment`). Of crowds, whose overlaps
would not go into memory, it is found among the largest overlaps of each box (Jonker and Volgenant, Computing 38, 1987;
SciPy's `min_weight_full_bipartite_matching`).

Two filters smooth a person's joints, each coordinate x by itself, at times t_1 < t_2 < … with T_i = t_i - t_(i-1).
Lengths are in `size`, the longer side of the person's box, so that near and far persons are smoothed alike.

One Euro filter (Casiez, Roussel and Vogel, "1 € Filter", CHI 2012): exponential smoothing whose cutoff frequency f
rises with the speed of the joint, so that one at rest does not tremble and one that moves does not lag.

    alpha(f) = 1 / (1 + tau / T_i),  tau = 1 / (2 pi f)
    v_i = alpha(speed_cutoff) (x_i - xhat_(i-1)) / T_i + (1 - alpha(speed_cutoff)) v_(i-1),   v_1 = 0
    f_i = cutoff + beta |v_i| / size            (|v_i| of x and y together)
    xhat_i = alpha(f_i) x_i + (1 - alpha(f_i)) xhat_(i-1),   xhat_1 = x_1

Kalman filter (Kalman, Journal of Basic Engineering 82, 1960) of constant velocity with white noise as acceleration
(Bar-Shalom, Li and Kirubarajan, "Estimation with Applications to Tracking and Navigation", 2001, section 6.2.2): the
state is s = (x, v), the measurement z_i = x + noise.

    F = [[1, T], [0, 1]],   Q = q [[T^3 / 3, T^2 / 2], [T^2 / 2, T]],   H = [1, 0],   R = r^2
    s' = F s,   P' = F P F^T + Q
    K = P' H^T / (H P' H^T + R),   s = s' + K (z - H s'),   P = (I - K H) P' (I - K H)^T + K R K^T
    s_1 = (z_1, 0),   P_1 = diag(R, u^2)

A joint that is not finite in a frame keeps what is known of it, and is not finite there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.data.arrays import Float64Array
from deeppose_port.data.crop import Box
from deeppose_port.options import refuse_unknown
from deeppose_port.predict.people import Found

#: Boxes that overlap less are of two persons.
LEAST_OVERLAP = 0.3
#: Seconds that a person may be out of sight.
PATIENCE = 1.0

#: A network's mean distance from the truth is so many of its deviations in x and in y, if these are normal and alike.
DISTANCE_PER_DEVIATION = math.sqrt(math.pi / 2)

_Indices: TypeAlias = npt.NDArray[np.intp]

_SHORTEST_STEP = 1e-3  # seconds, where a video's times do not rise

#: So many overlaps are in memory at a time.
_AT_ONCE = 1 << 20
#: Persons of the last frames that a box of a crowd may be, those of the largest overlaps.
_MOST = 32
#: What overlaps may differ by and be alike.
_NEXT = 1e-9


class Smoother(Protocol):
    """What smooths the joints of one person."""

    def __call__(self, points: Float64Array, time: float, size: float) -> Float64Array:
        """Returns the smoothed joints of a frame.

        Args:
            points: (J, 2), pixels.
            time: Seconds, larger than that of the frame before.
            size: Longer side of the person's box, pixels.
        """


@dataclass
class OneEuro:
    """The One Euro filter of the joints of one person.

    Attributes:
        cutoff: Of a joint at rest, Hz: less trembles less and lags more.
        beta: What a speed of one box side a second adds to it, Hz: more lags less where joints are fast.
        speed_cutoff: Of the speed, Hz.
    """

    cutoff: float = 1.0
    beta: float = 3.0
    speed_cutoff: float = 1.0
    _points: Float64Array | None = field(default=None, init=False, repr=False)
    _speed: Float64Array = field(default_factory=lambda: np.zeros(()), init=False, repr=False)
    _time: float = field(default=0.0, init=False, repr=False)

    def __call__(self, points: Float64Array, time: float, size: float) -> Float64Array:
        """Returns the smoothed joints of a frame; see `Smoother`."""
        step, self._time = max(time - self._time, _SHORTEST_STEP), time
        if self._points is None:
            self._points, self._speed = np.array(points), np.zeros_like(points)
            return np.array(points)
        there = np.isfinite(points).all(axis=1, keepdims=True)
        new = there & ~np.isfinite(self._points).all(axis=1, keepdims=True)
        before = np.where(new, points, self._points)
        share = _share(np.full((1, 1), self.speed_cutoff), step)
        speed = share * (points - before) / step + (1 - share) * self._speed
        fast = np.hypot(speed[:, :1], speed[:, 1:]) / size
        share = _share(self.cutoff + self.beta * fast, step)
        smoothed = share * points + (1 - share) * before
        self._speed = np.where(there, speed, self._speed)
        self._points = np.where(there, smoothed, self._points)
        shown: Float64Array = np.where(there, smoothed, np.nan)
        return shown


def _share(cutoff: Float64Array, step: float) -> Float64Array:
    """Returns alpha of some cutoff frequencies."""
    share: Float64Array = 1 / (1 + 1 / (2 * math.pi * cutoff * step))
    return share


@dataclass
class Kalman:
    """The Kalman filter of the joints of one person.

    Attributes:
        noise: r, the deviation of the network's answers, as a part of the box's side; None where `error_px` says it.
        acceleration: The root of q, in box sides a second per root of a second.
        speed: u, the deviation of a joint's speed before anything is known of it, in box sides a second.
        error_px: The network's mean error in pixels, as `eval` tells it: r is it over sqrt(pi / 2).
    """

    noise: float = 0.05
    acceleration: float = 2.0
    speed: float = 1.0
    error_px: float | None = None
    _state: Float64Array | None = field(default=None, init=False, repr=False)  # (2, J, 2): place and speed
    _covariance: Float64Array = field(default_factory=lambda: np.zeros(()), init=False, repr=False)  # (J, 2, 2)
    _time: float = field(default=0.0, init=False, repr=False)

    def __call__(self, points: Float64Array, time: float, size: float) -> Float64Array:
        """Returns the smoothed joints of a frame; see `Smoother`."""
        step, self._time = max(time - self._time, _SHORTEST_STEP), time
        noise = self.noise * size if self.error_px is None else self.error_px / DISTANCE_PER_DEVIATION
        first = np.diag([noise**2, (self.speed * size) ** 2])
        if self._state is None:
            self._state = np.stack([points, np.zeros_like(points)])
            self._covariance = np.tile(first, (len(points), 1, 1))
            return np.array(points)
        there = np.asarray(np.isfinite(points).all(axis=1), np.bool_)
        new = there & ~np.isfinite(self._state[0]).all(axis=1)
        move = np.array([[1.0, step], [0.0, 1.0]])
        wander = (self.acceleration * size) ** 2 * np.array([[step**3 / 3, step**2 / 2], [step**2 / 2, step]])
        state = np.einsum("ab,bjc->ajc", move, self._state)
        covariance = move @ self._covariance @ move.T + wander
        gain = covariance[:, :, 0] / (covariance[:, :1, 0] + noise**2)  # (J, 2)
        corrected = state + gain.T[:, :, np.newaxis] * (points - state[0])
        kept = np.eye(2) - gain[:, :, np.newaxis] * [1.0, 0.0]
        certain = kept @ covariance @ kept.swapaxes(1, 2) + noise**2 * gain[:, :, np.newaxis] * gain[:, np.newaxis, :]
        state = np.where(there[np.newaxis, :, np.newaxis], corrected, state)
        covariance = np.where(there[:, np.newaxis, np.newaxis], certain, covariance)
        state[0, new], state[1, new], covariance[new] = points[new], 0.0, first
        self._state, self._covariance = state, covariance
        shown: Float64Array = np.where(there[:, np.newaxis], state[0], np.nan)
        return shown


#: The smoothers by the names that `--smooth` takes.
SMOOTHERS: dict[str, Callable[[], Smoother]] = {"one-euro": OneEuro, "kalman": Kalman}


def smoother(name: str, error_px: float | None = None) -> Callable[[], Smoother]:
    """Returns what makes a person's smoother.

    Args:
        name: A key of `SMOOTHERS`.
        error_px: The network's mean error in pixels, which the Kalman filter can take; None where it is not known.

    Raises:
        DeepPoseError: There is none of this name, it takes no such error, or that is none.
    """
    refuse_unknown("smoother", name, SMOOTHERS)
    if error_px is None:
        return SMOOTHERS[name]
    if name != "kalman":
        raise DeepPoseError("the network's error is what the Kalman filter takes: --error-px goes with --smooth kalman")
    if not 0 < error_px < math.inf:
        raise DeepPoseError(f"the network's error is {error_px} pixels; it has to be positive")
    return lambda: Kalman(error_px=error_px)


class Tracker:
    """Numbers the persons of a video, each the same from frame to frame.

    Attributes:
        persons: How many there were.
    """

    def __init__(self) -> None:
        self.persons = 0
        self._last: dict[int, tuple[Box | None, float]] = {}  # the persons in sight: the last box and when

    @property
    def in_sight(self) -> set[int]:
        """The numbers of those who were seen not long ago."""
        return set(self._last)

    def number(self, found: Sequence[Found], time: float) -> list[int]:
        """Returns the number of each person of a frame, from 1.

        Args:
            found: The persons.
            time: Of the frame, seconds.
        """
        self._last = {number: seen for number, seen in self._last.items() if time - seen[1] <= PATIENCE}
        known = list(self._last)
        numbers = [0] * len(found)
        for before, now in matched([self._last[number][0] for number in known], [person.box for person in found]):
            numbers[now] = known[before]
        for i, person in enumerate(found):
            if not numbers[i]:
                self.persons += 1
                numbers[i] = self.persons
            self._last[numbers[i]] = person.box, time
        return numbers


def matched(before: Sequence[Box | None], now: Sequence[Box | None]) -> list[tuple[int, int]]:
    """Returns which boxes of a frame are whose of the last ones, as pairs of indices of both.

    Whole pictures (None) are each other's in their order.
    """
    from scipy.optimize import linear_sum_assignment

    (rows, wholes), (columns, others) = _parted(before), _parted(now)
    pairs = list(zip(wholes, others, strict=False))
    if not rows or not columns:
        return pairs
    first = np.array([before[i] for i in rows], np.float64)
    second = np.array([now[i] for i in columns], np.float64)
    if len(rows) * len(columns) <= _AT_ONCE:
        shared = overlaps(first, second)
        chosen = linear_sum_assignment(shared, maximize=True)
        sure = shared[chosen] >= LEAST_OVERLAP
    else:
        *chosen, shared = _crowd(first, second)
        sure = shared >= LEAST_OVERLAP
    return pairs + [(rows[i], columns[j]) for i, j in zip(chosen[0][sure], chosen[1][sure], strict=True)]


def _parted(boxes: Sequence[Box | None]) -> tuple[list[int], list[int]]:
    """Returns where boxes are, of finite numbers, and where whole pictures."""
    there = [i for i, box in enumerate(boxes) if box is not None and all(map(math.isfinite, box))]
    return there, [i for i, box in enumerate(boxes) if box is None]


def _crowd(first: Float64Array, second: Float64Array) -> tuple[_Indices, _Indices, Float64Array]:
    """Returns the pairs of the largest sum of overlaps, and their overlaps, without more than a part of them at a time.

    Each of the second boxes has its `_MOST` largest overlaps to choose from. Of overlaps that are alike those count
    first whose boxes have the like places, so that all boxes have some, if many are the same.

    Args:
        first: (M, 4) boxes.
        second: (N, 4) boxes.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    by_left = np.argsort(first[:, 0])
    lefts = first[by_left, 0]
    with np.errstate(over="ignore"):
        rights, widest = second[:, 0] + second[:, 2], first[:, 2].max()
    found: list[tuple[_Indices, _Indices, Float64Array]] = []
    for block in np.array_split(np.argsort(second[:, 0]), -(-len(second) // max(1, _AT_ONCE // len(first)))):
        edges = second[block, 0].min() - widest, rights[block].max()
        near = by_left[slice(*np.searchsorted(lefts, edges))]
        shared = overlaps(second[block], first[near])
        if len(near) > _MOST:
            places = (near - block[:, np.newaxis]) % len(first) / len(first)
            largest = np.argpartition(_NEXT * places - shared, _MOST, axis=1)[:, :_MOST]
            shared, near = np.take_along_axis(shared, largest, axis=1), near[largest]
        there = shared > 0
        of = np.broadcast_to(block[:, np.newaxis], there.shape)
        found.append((np.broadcast_to(near, there.shape)[there], of[there], shared[there]))
    before, now, shared = (np.concatenate(parts) for parts in zip(*found, strict=True))
    # Whoever is new has a column of their own, which costs what no overlap does.
    each = np.arange(len(second))
    costs = csr_array(
        (
            np.concatenate([2 - shared, np.full(len(second), 2.0)]),
            (np.concatenate([now, each]), np.concatenate([before, len(first) + each])),
        )
    )
    rows, columns = min_weight_full_bipartite_matching(costs)
    shared, known = 2 - costs[rows, columns], columns < len(first)
    return columns[known], rows[known], shared[known]


def overlaps(first: Float64Array, second: Float64Array) -> Float64Array:
    """Returns the intersections over the unions of boxes, (M, 4) and (N, 4), as (M, N); 0 of boxes without an area."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        both = np.ones((len(first), len(second)))
        for k in (0, 1):
            ends = np.minimum.outer(first[:, k] + first[:, k + 2], second[:, k] + second[:, k + 2])
            both *= np.maximum(ends - np.maximum.outer(first[:, k], second[:, k]), 0)
        either = np.add.outer(first[:, 2] * first[:, 3], second[:, 2] * second[:, 3]) - both
        shares: Float64Array = np.where((either > 0) & np.isfinite(either), both / either, 0.0)
    return shares
