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
from deeppose_port.training.curves import LOSS, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: What curves can be written as, by suffix.
FORMATS = ("png", "svg", "pdf")
#: Okabe and Ito, "Color Universal Design", 2008: colour-blind readers can tell them apart. Without their yellow, which
#: is too light for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

_RATE = re.compile(r"(.*/)?lr")
_KINDS = {"main": "training", "validation/main": "validation", "mean_pose": "mean pose"}
_WORDS = {"movement": "answers, of what the joints move", "gradient_norm": "gradient norm"}


def draw_curves(runs: Sequence[Run], output: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Draws the curves of runs over their epochs, losses on a logarithmic scale where they span decades.

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

    path = checked_target(output, force=force)
    panels = [(title, names) for title, names in _panels(runs).items() if names]
    if not panels:
        raise DeepPoseError(
            f"there is no curve to draw; the logs have {', '.join(sorted(_all_names(runs))) or 'nothing'}"
        )
    figure = Figure(figsize=(8, 1 + 2.9 * len(panels)), layout="constrained")
    axes = list(figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0])
    for axis, (title, names) in zip(axes, panels, strict=True):
        _draw_panel(axis, title, names, runs)
    axes[-1].set_xlabel("epoch")
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


def _all_names(runs: Sequence[Run]) -> set[str]:
    return {name for run in runs for name in run.series}


def _panels(runs: Sequence[Run]) -> dict[str, list[str]]:
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


def _draw_panel(axis: Axes, title: str, names: Sequence[str], runs: Sequence[Run]) -> None:
    """Draws one kind of curves: a colour a run and a style a curve, or of one run a colour a curve."""
    styles, markers = ("-", "--", ":", "-."), ("", "o", "s", "^")
    smallest, largest = math.inf, 0.0
    for number, run in enumerate(runs):
        for kind, name in enumerate(names):
            if name not in run.series:
                continue
            series = run.series[name]
            axis.plot(
                series.epochs,
                series.values,
                color=COLOURS[(number if len(runs) > 1 else kind) % len(COLOURS)],
                linestyle=styles[kind % len(styles)],
                marker=markers[kind % len(markers)] or ("o" if len(series.values) == 1 else None),
                markersize=3.5,
                linewidth=1.4,
                label=_title(name) if len(runs) == 1 else f"{run.label}: {_title(name)}",
            )
            positive = [value for value in series.values if 0 < value < math.inf]
            smallest, largest = min([smallest, *positive]), max([largest, *positive])
    if title in ("loss", "learning rate", "gradient norm") and largest >= 10 * smallest:
        axis.set_yscale("log")
    if title == "fraction":
        axis.set_ylim(-0.02, 1.02)
    axis.set_ylabel(title)
    axis.grid(True, which="major", alpha=0.3)
    axis.legend(fontsize="small")


def _title(name: str) -> str:
    """Returns a curve's name for people."""
    where, _, what = name.rpartition("/")
    metric = of_curve(name)
    words = _WORDS.get(name, what) if metric is None else metric.title if metric.unit == "%" else metric.title.lower()
    return " ".join(part for part in (_KINDS.get(where, where), words) if part)
