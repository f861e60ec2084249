"""Drawings of losses and metrics over the epochs of trainings."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from converters.errors import DeepPoseError
from converters.files import atomic, made, refuse_targets
from deeppose_port.metrics.registry import of_curve
from deeppose_port.training.curves import LOSS, Curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: What curves can be written as, by suffix.
FORMATS = ("png", "svg", "pdf")
#: Okabe and Ito, "Color Universal Design", 2008: colour-blind readers can tell them apart. Without their yellow, which
#: is too light for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

_RATE = re.compile(r"(.*/)?lr")
_KINDS = {"main": "training", "validation/main": "validation", "mean_pose": "mean pose"}
_STYLES = {"validation/main": "--", "evaluation": "-.", "mean_pose": ":"}
_LONGEST_TITLE = 80
#: What stands beside a panel, where its title does not say all.
_AXES = {"movement": "movement / that of the joints"}
_WORDS = {"movement": "movement of the answers", "gradient_norm": "gradient norm"}


def draw_curves(runs: Sequence[Curves], output: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Draws the curves of runs over their epochs, losses on a logarithmic scale where they span a decade.

    A learning rate that never changes is told under the title.

    Args:
        runs: The runs.
        output: The picture; its suffix says whether PNG, SVG or PDF.
        force: Whether a file that exists may be replaced.

    Returns:
        The picture's path.

    Raises:
        DeepPoseError: The suffix is another, the file exists, or there is nothing to draw.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    path = checked_target(output, force=force)
    panels = {title: names for title, names in _panels(runs).items() if names}
    rate = _constant_rate(runs, panels.get("learning rate", ()))
    if rate and len(panels) > 1:
        del panels["learning rate"]
    if not panels:
        raise DeepPoseError(
            f"there is no curve to draw; the logs have {', '.join(sorted(_all_names(runs))) or 'nothing'}"
        )
    figure = Figure(figsize=(8, 1 + 2.9 * len(panels)), layout="constrained")
    axes = list(figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0])
    for axis, (title, names) in zip(axes, panels.items(), strict=True):
        _draw_panel(axis, title, names, runs)
    figure.suptitle(_heading(runs))
    if rate and "learning rate" not in panels:
        axes[0].set_title(rate, fontsize="small")
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    kind = path.suffix[1:].lower()
    undated = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    texts = rc_context({"svg.fonttype": "none", "svg.hashsalt": "deeppose-port"})  # as text; the same bytes again
    with texts, made(path.parent), atomic(path, force=force) as temporary:
        figure.savefig(temporary, format=kind, dpi=150, metadata=undated)
    return path


def checked_target(output: str | os.PathLike[str], *, force: bool) -> Path:
    """Returns the path of a picture that may be written.

    Raises:
        DeepPoseError: Its suffix names no format, or the file exists.
    """
    path = Path(output)
    if path.suffix[1:].lower() not in FORMATS:
        raise DeepPoseError(f"{path}: curves are written as {', '.join(FORMATS)}, told by the suffix")
    refuse_targets([path], force)
    return path


def _all_names(runs: Sequence[Curves]) -> set[str]:
    return {name for run in runs for name in run.series}


def _panels(runs: Sequence[Curves]) -> dict[str, list[str]]:
    """Returns the names of the curves in each panel, training before validation."""
    titles = ("loss", "mean error, px", "fraction", "movement", "learning rate", "gradient norm")
    panels: dict[str, list[str]] = {title: [] for title in titles}
    for name in sorted(_all_names(runs), key=lambda name: (not name.startswith("main/"), name)):
        metric = of_curve(name)
        if LOSS.fullmatch(name):
            panels["loss"].append(name)
        elif _RATE.fullmatch(name):
            panels["learning rate"].append(name)
        elif name in _WORDS:
            panels["movement" if name == "movement" else "gradient norm"].append(name)
        elif metric is not None and metric.unit:
            panels["fraction" if metric.unit == "%" else "mean error, px"].append(name)
    return panels


def _constant_rate(runs: Sequence[Curves], names: Sequence[str]) -> str:
    """Returns what the learning rate of each run is, where none ever changes; otherwise nothing."""
    rates: list[tuple[str, float]] = []
    for run in runs:
        for name in names:
            values = set(run.series[name].values if name in run.series else ())
            if len(values) > 1:
                return ""
            rates += [(run.label, value) for value in values]
    if len(rates) == len(runs) and len({value for _, value in rates}) == 1:
        return f"learning rate {rates[0][1]:.3g}"
    return ", ".join(f"{label}: learning rate {value:.3g}" for label, value in rates)


def _heading(runs: Sequence[Curves]) -> str:
    """Returns a picture's title."""
    labels = [run.label for run in runs]
    return ", ".join(labels) if sum(map(len, labels)) <= _LONGEST_TITLE else f"{len(runs)} trainings"


def _draw_panel(axis: Axes, title: str, names: Sequence[str], runs: Sequence[Curves]) -> None:
    """Draws one kind of curves: a colour a run, a style for what it was measured on, and a marker a metric."""
    markers = ("", "o", "s", "^", "v", "D")
    metrics = list(dict.fromkeys(name.rpartition("/")[2] for name in names))
    smallest, largest = math.inf, 0.0
    for number, run in enumerate(runs):
        for name in names:
            if name not in run.series:
                continue
            series = run.series[name]
            where, _, metric = name.rpartition("/")
            marker = markers[metrics.index(metric) % len(markers)]
            axis.plot(
                series.epochs,
                series.values,
                color=COLOURS[number % len(COLOURS)],
                linestyle=_STYLES.get(where, "-"),
                marker=marker or ("o" if len(series.values) == 1 else None),
                markersize=3.5,
                linewidth=1.4,
                label=curve_title(name) if len(runs) == 1 else f"{run.label}: {curve_title(name)}",
            )
            positive = [value for value in series.values if 0 < value < math.inf]
            smallest, largest = min([smallest, *positive]), max([largest, *positive])
    if title in ("loss", "learning rate", "gradient norm") and largest >= 10 * smallest:
        axis.set_yscale("log")
    if title == "fraction":
        axis.set_ylim(-0.02, 1.02)
    axis.set_ylabel(_AXES.get(title, title))
    axis.grid(True, which="major", alpha=0.3)
    axis.legend(fontsize="small")


def curve_title(name: str) -> str:
    """Returns what people call a curve of a log: `validation mean error` for `validation/main/mean_error_px`."""
    where, _, what = name.rpartition("/")
    metric = of_curve(name)
    words = _WORDS.get(name, what) if metric is None else metric.title if metric.unit == "%" else metric.title.lower()
    if name == "evaluation/loss":  # in squares, whatever loss the training has
        words = "mean squared loss"
    return " ".join(part for part in (_KINDS.get(where, where), words) if part)
