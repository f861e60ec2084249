"""`plot`: the curves of trainings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from converters.values import dataclass
from deeppose_port.cli import display
from deeppose_port.cli.command import command
from deeppose_port.cli.options import JsonOptions, overwriting
from deeppose_port.options import described

if TYPE_CHECKING:
    from deeppose_port.training.curves import Curves


@dataclass(frozen=True, kw_only=True)
class PlotOptions:
    """What `plot` is told."""

    results: tuple[Path, ...] = described("Result folders, or log files.", names=("RESULTS",))
    output: Path | None = described(
        "The picture to write: PNG, SVG or PDF, by its suffix.",
        default=None,
        metavar="FILE",
        names=("-o", "--output"),
        show_default="curves.png; with --json none",
    )
    join: bool = described(
        "Treat RESULTS as one run, each part resuming the one before.", default=False, names=("--join",)
    )
    force: bool = overwriting()
    shown: JsonOptions


@command(lambda: PlotOptions)
def plot(options: PlotOptions) -> int:
    """Plots the losses and metrics of training runs over their epochs.

    RESULTS are result folders, or single files: a log, a log.txt, or the evaluations that `watch` recorded. They may be
    this program's or the legacy one's. What a resumed run appended is joined to the run before.

    \b
    Example:
      deeppose-port plot results/AlexNet_2016 results/lsp -o curves.svg
      deeppose-port plot results/first results/resumed --join -o curves.png
    """
    from deeppose_port.drawing.plot import checked_target, draw_curves
    from deeppose_port.training.curves import read_results

    as_json = options.shown.as_json
    target = Path("curves.png") if options.output is None and not as_json else options.output
    if target is not None:
        checked_target(target, force=options.force)
    runs = read_results(options.results, join=options.join)
    display.notices(note for run in runs for note in run.notes)
    if target is not None:
        draw_curves(runs, target, force=options.force)
    if as_json:
        display.as_json({"runs": [run.as_dict() for run in runs], "output": None if target is None else str(target)})
    else:
        _show(runs)
        display.say(f"curves in {target}")
    return 0


def _show(runs: Sequence[Curves]) -> None:
    """Shows where each curve ended, and where it was best."""
    from deeppose_port.drawing.plot import curve_title
    from deeppose_port.metrics.registry import of_curve
    from deeppose_port.metrics.shown import number

    table = display.table("run", "curve", "points", "epochs", "last", "best", "at epoch", text=2)
    for run in runs:
        for name, series in run.series.items():
            finite = [(v, e) for v, e in zip(series.values, series.epochs, strict=True) if math.isfinite(v)]
            metric = of_curve(name)
            if metric is None:
                continue
            chosen = min if metric.better == "lower" else max
            best, epoch = chosen(finite) if finite else (math.nan, math.nan)
            epochs = f"{series.epochs[0]:.4g} to {series.epochs[-1]:.4g}"
            numbers = (number(series.values[-1], metric.unit), number(best, metric.unit), f"{epoch:.4g}")
            table.add_row(run.label, curve_title(name), str(len(series.values)), epochs, *numbers)
    display.show(table)
