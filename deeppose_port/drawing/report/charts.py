"""Charts as SVG that takes its colours from the page, so that they follow light, dark and print."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from markupsafe import Markup, escape

from converters.values import dataclass
from deeppose_port.data.arrays import Float64Array

_LINE = 14  # From one line of text to the next.


@dataclass(frozen=True)
class Series:
    """One checkpoint's numbers in a chart.

    Attributes:
        style: The CSS class that colours it: `a`, `b` or `c`.
        label: Its name.
        values: One number a place on the horizontal axis, or a row; NaN leaves a gap.
    """

    style: str
    label: str
    values: Float64Array


@dataclass(frozen=True)
class _Frame:
    """Where a chart's numbers lie: the plot's edges in pixels, and the ranges of its axes."""

    left: float
    top: float
    right: float
    bottom: float
    x: tuple[float, float]
    y: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        return (
            self.left + (x - self.x[0]) / (self.x[1] - self.x[0]) * (self.right - self.left),
            self.bottom - (y - self.y[0]) / (self.y[1] - self.y[0]) * (self.bottom - self.top),
        )


def curves(
    title: str,
    axis: str,
    thresholds: Float64Array,
    series: Sequence[Series],
    *,
    marked: float | None = None,
    small: bool = False,
) -> Markup:
    """Draws fractions over thresholds, from 0 to 100 %.

    Args:
        title: What is drawn; screen readers read it.
        axis: What the thresholds are fractions of.
        thresholds: (T,), ascending.
        series: (T,) fractions each.
        marked: The threshold whose values are written beside the curves.
        small: Whether it is one of many.
    """
    width, height = (190, 130) if small else (440, 270)
    frame = _Frame(34, 10, width - 8, height - (22 if small else 40), (thresholds[0], thresholds[-1]), (0, 1))
    parts = [*_grid(frame, [0, 0.5, 1] if small else [0, 0.2, 0.4, 0.6, 0.8, 1], lambda y: f"{100 * y:g}")]
    ticks = np.linspace(*frame.x, 3 if small else 6)
    parts += _ticks(frame, ticks, [f"{tick:g}" for tick in ticks.round(3)])
    if not small:
        parts.append(_axis_title(frame, axis))
    for one in series:
        parts.append(_line(frame, thresholds, one))
    if marked is not None:
        parts += _marks(frame, thresholds, series, marked, small)
    return _svg(width, height, _described(title, thresholds, series, marked), parts)


def bars(title: str, names: Sequence[str], series: Sequence[Series], seconds: Sequence[Series] = ()) -> Markup:
    """Draws horizontal bars of fractions, with ticks for a second fraction of each.

    Args:
        title: What is drawn.
        names: Of the rows.
        series: (rows,) fractions each.
        seconds: Likewise, drawn as ticks.
    """
    thick, gap, left, width = (14 if len(series) > 1 else 15), 9, 118, 440
    row = thick * len(series) + gap
    height = row * len(names) + 30
    frame = _Frame(left, 4, width - 44, height - 24, (0, 1), (0, 1))
    parts = _ticks(frame, [0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100"], lines=True)
    for i, name in enumerate(names):
        y = frame.top + gap / 2 + i * row
        parts.append(_text(left - 8, y + row / 2 - gap / 2 + 4, name, "end"))
        for k, one in enumerate(series):
            value = float(one.values[i])
            top = y + k * thick
            if math.isnan(value):
                parts.append(_text(left + 4, top + thick - 2, "nobody has it", "start", "muted"))
                continue
            x, _ = frame.place(value, 0)
            hint = f"{name}, {one.label}: {100 * value:.1f} %"
            body = f'<rect x="{left}" y="{top:.1f}" width="{x - left:.1f}" height="{thick - 1.5:.1f}" rx="1.5"/>'
            parts.append(_hinted(body, hint, f"{one.style} fill"))
            if seconds:
                second = float(seconds[k].values[i])
                at, _ = frame.place(second, 0)
                body = f'<path d="M{at:.1f} {top:.1f}v{thick - 1.5:.1f}"/>'
                parts.append(_hinted(body, f"{name}, {seconds[k].label}: {100 * second:.1f} %", f"{one.style} tick"))
            parts.append(_text(width - 2, top + thick - 3, f"{100 * value:.1f}", "end", "number"))
    summary = "; ".join(f"{one.label}: mean {_percent(_mean(one.values))}" for one in series)
    return _svg(width, height, f"{title}. {summary}.", parts)


def histogram(title: str, axis: str, errors: Sequence[Series], bins: int = 32) -> Markup:
    """Draws how often errors of each size are; the last bin takes all that are larger.

    Args:
        title: What is drawn.
        axis: What the errors are, with their unit.
        errors: Any number of them each; what is not finite counts as larger.
        bins: Number of bins.
    """
    width, height = 440, 270
    everything = np.concatenate([one.values for one in errors])
    finite = everything[np.isfinite(everything)]
    end = _round_up(float(np.quantile(finite, 0.98)) if finite.size else 1.0)
    edges = np.linspace(0, end, bins + 1)
    # The share of each bin, so that both sides are comparable; NaN is no answer, which is the largest error.
    shares = [
        np.histogram(np.nan_to_num(one.values, nan=np.inf).clip(max=end * (1 - 1e-9)), edges)[0]
        / max(one.values.size, 1)
        for one in errors
    ]
    top = _round_up(max(float(share.max(initial=0)) for share in shares) or 1.0)
    frame = _Frame(34, 10, width - 8, height - 40, (0, end), (0, top))
    parts = _grid(frame, _even(top), lambda y: f"{100 * y:.3g}")
    ticks = _even(end)
    parts += _ticks(frame, ticks, [*(f"{tick:.4g}" for tick in ticks[:-1]), f"≥ {edges[-2]:.3g}"])
    parts.append(_axis_title(frame, f"{axis} (vertical: % of the joints)"))
    for one, share in zip(errors, shares, strict=True):
        parts.append(_steps(frame, edges, share, one.style, filled=len(errors) == 1))
    medians = "; ".join(f"{one.label}: median {_median(one.values):.4g}" for one in errors)
    return _svg(width, height, f"{title}. {medians}.", parts)


def layers(title: str, names: Sequence[str], relative: Sequence[float | None], tolerance: Sequence[float]) -> Markup:
    """Draws the relative differences of a network's layers on a logarithmic axis, with their tolerances.

    Args:
        title: What is drawn.
        names: Of the layers.
        relative: Their differences; None, or what is not finite, is drawn at the top, and a 0 at the bottom, hollow.
        tolerance: What they may be.
    """
    width, height = 900, 240
    low, high = -9.0, 0.0
    frame = _Frame(52, 10, width - 8, height - 34, (-0.5, len(names) - 0.5), (low, high))
    names_of_levels = {-9.0: "\N{LESS-THAN OR EQUAL TO} 1e-9", 0.0: "\N{GREATER-THAN OR EQUAL TO} 1"}
    parts = _grid(frame, [-9, -6, -3, 0], lambda y: names_of_levels.get(y, f"1e{y:g}"))
    allowed = [frame.place(i, max(low, math.log10(max(t, 1e-9)))) for i, t in enumerate(tolerance)]
    half = (frame.right - frame.left) / len(names) / 2
    line = "".join(f"M{x - half:.1f} {y:.1f}h{2 * half:.1f}" for x, y in allowed)
    parts.append(f'<path class="tolerance" d="{line}"/>')
    size = min(4.0, max(1.6, half))
    for i, (name, value, limit) in enumerate(zip(names, relative, tolerance, strict=True)):
        parted = value is None or not value <= limit
        known = value is not None and math.isfinite(value)
        logarithm = high if not known else min(high, max(low, math.log10(max(value or 0.0, 1e-9))))
        x, y = frame.place(i, logarithm)
        hint = f"{name}: {value:.2g}" if value else f"{name}: exactly 0"
        if not known:
            hint = f"{name}: not comparable"
        mark = (
            f'<path d="M{x - size:.1f} {y - size:.1f}l{2 * size:.1f} {2 * size:.1f}m0 {-2 * size:.1f}'
            f'l{-2 * size:.1f} {2 * size:.1f}"/>'
            if parted
            else f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}"/>'
        )
        parts.append(_hinted(mark, hint, "beyond" if parted else "within" if value else "within zero"))
    parts.append(_text(frame.left, height - 12, names[0], "start", "muted"))
    parts.append(_text(frame.right, height - 12, names[-1], "end", "muted"))
    parts.append(_text((frame.left + frame.right) / 2, height - 12, "layers, in the order of evaluation", "middle"))
    beyond = [i for i, (v, t) in enumerate(zip(relative, tolerance, strict=True)) if v is None or not v <= t]
    said = f"{len(beyond)} of {len(names)} beyond the tolerance"
    if beyond:
        said += f", the first is {names[beyond[0]]}"
        x, _ = frame.place(beyond[0], low)
        parts.append(f'<path class="first" d="M{x:.1f} {frame.top:.1f}V{frame.bottom:.1f}"/>')
        anchor = "start" if x < width / 2 else "end"
        parts.append(_text(x + (7 if anchor == "start" else -7), frame.bottom - 8, names[beyond[0]], anchor, "number"))
    return _svg(width, height, f"{title}: {said}.", parts)


# --- parts -----------------------------------------------------------------------------------------------------------


def _svg(width: float, height: float, description: str, parts: Iterable[str]) -> Markup:
    # All text has gone through `escape`; a description is an attribute here.
    head = f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(description)}">'
    return Markup(head + "".join(parts) + "</svg>")


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>{escape(text)}</text>'


def _hinted(body: str, hint: str, style: str) -> str:
    return f'<g class="{style}"><title>{escape(hint)}</title>{body}</g>'


def _grid(frame: _Frame, levels: Iterable[float], name: Callable[[float], str]) -> list[str]:
    parts = []
    for level in levels:
        _, y = frame.place(frame.x[0], level)
        parts.append(f'<path class="grid" d="M{frame.left:.1f} {y:.1f}H{frame.right:.1f}"/>')
        parts.append(_text(frame.left - 6, y + 4, name(level), "end", "muted"))
    return parts


def _ticks(frame: _Frame, places: Iterable[float], names: Iterable[str], lines: bool = False) -> list[str]:
    parts = []
    for place, name in zip(places, names, strict=True):
        x, _ = frame.place(place, frame.y[0])
        if lines:
            parts.append(f'<path class="grid" d="M{x:.1f} {frame.top:.1f}V{frame.bottom:.1f}"/>')
        parts.append(_text(x, frame.bottom + 15, name, "middle", "muted"))
    return parts


def _axis_title(frame: _Frame, text: str) -> str:
    return _text((frame.left + frame.right) / 2, frame.bottom + 33, text, "middle")


def _line(frame: _Frame, xs: Float64Array, one: Series) -> str:
    path, pen = [], "M"
    for x, y in zip(xs.tolist(), one.values.tolist(), strict=True):
        if math.isnan(y):
            pen = "M"
            continue
        place = frame.place(x, y)
        path.append(f"{pen}{place[0]:.1f} {place[1]:.1f}")
        pen = "L"
    return f'<path class="{one.style} line" d="{"".join(path)}"/>'


def _marks(frame: _Frame, xs: Float64Array, series: Sequence[Series], marked: float, small: bool) -> list[str]:
    parts = []
    nearest = int(np.abs(xs - marked).argmin())
    taken: list[float] = []
    for k, one in enumerate(series):
        value = float(one.values[nearest])
        if math.isnan(value):
            continue
        x, y = frame.place(float(xs[nearest]), value)
        hint = f"{one.label}: {100 * value:.1f} % at {xs[nearest]:g}"
        parts.append(
            _hinted(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{2.5 if small else 3.5}"/>', hint, f"{one.style} fill")
        )
        if not small:
            above = k == 0
            left = above or x > (frame.left + frame.right) / 2
            low = y + (-8 if above else 17)
            for other in sorted(taken):
                low = other + _LINE if abs(low - other) < _LINE else low
            taken += [] if above else [low]
            text = f"{100 * value:.1f} %"
            parts.append(_text(x + (-6 if left else 8), low, text, "end" if left else "start", "number"))
    return parts


def _steps(frame: _Frame, edges: Float64Array, shares: Float64Array, style: str, filled: bool) -> str:
    x, y = frame.place(float(edges[0]), 0)
    path = [f"M{x:.1f} {y:.1f}"]
    for edge, share in zip(edges[1:].tolist(), shares.tolist(), strict=True):
        right, height = frame.place(edge, share)
        path.append(f"V{height:.1f}H{right:.1f}")
    path.append(f"V{y:.1f}")
    return f'<path class="{style} {"area" if filled else "line"}" d="{"".join(path)}"/>'


def _described(title: str, xs: Float64Array, series: Sequence[Series], marked: float | None) -> str:
    if marked is None:
        return f"{title}."
    nearest = int(np.abs(xs - marked).argmin())
    values = "; ".join(f"{one.label}: {_percent(float(one.values[nearest]))} at {marked:g}" for one in series)
    return f"{title}. {values}."


def _percent(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{100 * value:.1f} %"


def _mean(values: Float64Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def _median(values: Float64Array) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else math.nan


def _even(end: float) -> Float64Array:
    """Returns round numbers from 0 to an axis' end, as `_round_up` gives it."""
    first = round(end / 10.0 ** math.floor(math.log10(end)), 1)
    return np.linspace(0, end, 1 + {1.5: 3, 3.0: 3, 6.0: 3, 5.0: 5, 10.0: 5}.get(first, 4))


def _round_up(value: float) -> float:
    """Returns the next number of 1, 1.5, 2, 3, 4, 5, 6 or 8 times a power of ten, where an axis can end."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value * (1 - 1e-9))
