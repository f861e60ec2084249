"""`eval`: the metrics of a checkpoint on annotated pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from converters.errors import DeepPoseError
from converters.files import refuse_targets, refuse_without_folder
from converters.folders import is_folder
from converters.values import dataclass
from deeppose_port.cli import display
from deeppose_port.cli.command import command, command_line
from deeppose_port.cli.evaluating import EvaluatingOptions, evaluate_one
from deeppose_port.cli.options import JsonOptions, ReportOptions
from deeppose_port.cli.watch import WatchOptions, follow, refuse_backwards, until_idle
from deeppose_port.options import described

if TYPE_CHECKING:
    from deeppose_port.cli.evaluating import Evaluated
    from deeppose_port.metrics.evaluation import Bootstrap, Evaluation


def metrics() -> Iterable[str]:
    """Returns the metrics' names."""
    from deeppose_port.metrics.registry import METRICS

    return [metric.name for metric in METRICS.values()]


@dataclass(frozen=True, kw_only=True)
class EvalOptions:
    """What `eval` is told."""

    checkpoint: Path | None = described("A checkpoint, or a folder of them.", default=None, names=("CHECKPOINT",))
    how: EvaluatingOptions
    bootstrap: int | None = described(
        "Add 95 % confidence intervals, from N bootstrap resamples of the persons.", default=None, metavar="N"
    )
    bootstrap_seed: int = described("Seed of the bootstrap.", default=0, goes_with=("bootstrap",))
    persons: Path | None = described("Write a CSV table with each person's numbers.", default=None, metavar="CSV")
    by: str | None = described(
        "The metric that ranks the checkpoints of a folder.",
        default=None,
        metavar="METRIC",
        choices=metrics,
        show_default="loss",
    )
    watch: Path | None = described("The same as `watch RESULTS`.", default=None, metavar="RESULTS")
    idle: float | None = until_idle("With --watch: stop", goes_with=("watch",))
    page: ReportOptions
    shown: JsonOptions

    def __post_init__(self) -> None:
        if (self.checkpoint is None) == (self.watch is None):
            raise click.UsageError("name a CHECKPOINT, or with --watch the folder of a training")
        if self.watch is not None and (self.bootstrap is not None or self.page.report or self.persons):
            raise click.UsageError("--bootstrap, --persons and --report go with a CHECKPOINT, not with --watch")
        refuse_backwards(self.idle)
        if self.is_folder and (self.bootstrap is not None or self.page.report or self.persons):
            raise click.UsageError("--bootstrap, --persons and --report go with one checkpoint, not with a folder")
        if self.by is not None and not self.is_folder:
            raise click.UsageError("--by ranks the checkpoints of a folder: name one")
        if self.bootstrap is not None and self.bootstrap < 1:
            raise DeepPoseError(f"--bootstrap is {self.bootstrap}; it has to be at least 1")

    @property
    def is_folder(self) -> bool:
        """Whether several checkpoints are to be ranked."""
        return self.checkpoint is not None and is_folder(self.checkpoint)


@command(lambda: EvalOptions, "eval")
def evaluate(options: EvalOptions) -> int:
    """Evaluates a checkpoint on annotated pictures: loss, pixel error, PDJ, PCK, PCKh, PCP, AUC, NME.

    Inputs are made as for the checkpoint's own training; metrics are in pixels of the original pictures. The stages of
    a cascade are shown side by side, with the difference between the last and the first. The checkpoints of a folder
    are ranked, the best first; the exit status is 3 if some of them cannot be evaluated, and 2 if none can.

    \b
    Example:
      deeppose-port eval epoch-100.model --csv test.csv --images images
      deeppose-port eval epoch-1.pt --csv test.csv --images images --report out
      deeppose-port eval results/lsp --csv test.csv --images images --by pdj@0.2
    """
    as_json, page = options.shown.as_json, options.page
    if options.watch is not None:
        return follow(WatchOptions(results=options.watch, how=options.how, idle=options.idle, shown=options.shown))
    assert options.checkpoint is not None
    if options.is_folder:
        from deeppose_port.cli.ranking import rank

        return rank(options.checkpoint, options.how, options.by or "loss", as_json=as_json)
    if page.report is not None:
        from deeppose_port.drawing.report import refuse_existing

        refuse_existing(page.report, page.force)
    if options.persons is not None:
        read = (options.checkpoint, options.how.annotated.csv)
        refuse_targets([options.persons], page.force, read=read, instead="--persons names another")
        refuse_without_folder(options.persons)
    from deeppose_port.backends.torchrun import speaks

    found = evaluate_one(options.checkpoint, options.how, quiet=as_json)
    if not speaks():
        return 0
    evaluation, dataset = found.evaluation, found.dataset
    intervals = evaluation.bootstrap(options.bootstrap, options.bootstrap_seed) if options.bootstrap else None
    if as_json:
        engine = found.pose.first.engine or None
        values = {**found.as_dict(), "engine": engine, "checkpoint": str(options.checkpoint)}
        display.as_json(values if intervals is None else {**values, "bootstrap": intervals.as_dict()})
    else:
        _show(found, intervals)
    if options.persons is not None:
        from deeppose_port.evaluate.persons import write_persons

        table = write_persons(found.stages, dataset, options.persons, force=page.force)
        if not as_json:
            display.say(f"persons: {table}")
    if page.report is not None:
        written = _report(found, page.report, intervals, force=page.force, quiet=as_json)
        display.wrote_report(None if as_json else written)
    return 0


def _report(found: Evaluated, folder: Path, intervals: Bootstrap | None, *, force: bool, quiet: bool) -> Path:
    """Writes the page of an evaluation."""
    from deeppose_port.drawing.report import write_evaluation

    with display.steps("report", quiet=quiet, unit="persons") as step:
        return write_evaluation(
            found.pose,
            found.stages,
            found.dataset,
            folder,
            command=command_line(),
            intervals=intervals,
            force=force,
            progress=step,
        )


def _show(found: Evaluated, intervals: Bootstrap | None) -> None:
    """Shows an evaluation's metrics."""
    evaluation, pose = found.evaluation, found.pose
    skeleton = evaluation.skeleton.name
    facts = display.facts()
    stages = f", {display.counted(len(found.stages), 'stage')}" if len(found.stages) > 1 else ""
    name = pose.first.checkpoint.architecture.name
    facts.add_row("checkpoint", f"{pose.path} ({name}{stages}, {pose.backend})")
    facts.add_row("persons", str(evaluation.persons))
    if "pck" not in evaluation.measures:
        facts.add_row("PDJ, PCK", f"not defined: {skeleton} has no torso (`prepare` writes its length beside the CSV)")
    elif evaluation.without_torso:
        facts.add_row(
            "PDJ, PCK", f"{display.counted(evaluation.without_torso, 'person')} left out: no torso is annotated"
        )
    if evaluation.without_head:
        facts.add_row("PCKh", f"{display.counted(evaluation.without_head, 'person')} left out: no head size is known")
    display.show(facts)
    _show_overall(found.stages, intervals)
    if len(found.stages) > 1:
        _show_stages(found.stages, "joint", "error_px")
        _show_stages(found.stages, "limb", "pcp")
    _show_by("joints", evaluation)
    if evaluation.skeleton.pcp_limbs:
        _show_by("limbs", evaluation)


def _show_overall(stages: Sequence[Evaluation], intervals: Bootstrap | None) -> None:
    """Shows the metrics of all persons and joints by stage, with the last's confidence intervals if there are any."""
    from deeppose_port.metrics import shown

    headings = [] if intervals is None else [f"{100 * intervals.level:g} % interval ({intervals.resamples} resamples)"]
    table = display.table("metric", *_columns(stages), *headings)
    for measure in stages[-1].shown():
        metric = measure.metric
        between = [] if intervals is None else [shown.interval(intervals.wholes[metric.key], metric.unit)]
        values = [stage.measures[metric.key].overall for stage in stages]
        table.add_row(metric.title_of_whole, *_cells(values, metric.unit, shown.number), *between)
    display.show(table)


def _show_stages(stages: Sequence[Evaluation], of: str, key: str) -> None:
    """Shows a metric of each joint or limb by stage."""
    from deeppose_port.metrics.shown import bare

    if any(key not in stage.measures for stage in stages):
        return
    measures = [stage.measures[key] for stage in stages]
    metric = measures[0].metric
    table = display.table(f"{of}: {metric.column}", *_columns(stages))
    for name, *values in zip([*metric.names(stages[0].skeleton), "all"], *(m.column() for m in measures), strict=True):
        table.add_row(name, *_cells(values, metric.unit, bare), style="bold" if name == "all" else "")
    display.show(table)


def _columns(stages: Sequence[Evaluation]) -> list[str]:
    """Returns the headings of numbers by stage; a checkpoint that is no cascade has one number."""
    return [""] if len(stages) == 1 else [*(f"stage {i}" for i in range(1, len(stages) + 1)), "difference"]


def _cells(values: Sequence[float], unit: str, text: Callable[[float, str], str]) -> list[str]:
    """Returns numbers by stage, and how the last differs from the first."""
    from deeppose_port.metrics.shown import difference

    cells = [text(value, unit) for value in values]
    return cells if len(values) == 1 else [*cells, difference(values[0], values[-1], unit)]


def _show_by(of: Literal["joints", "limbs"], evaluation: Evaluation) -> None:
    """Shows the metrics by joint, with how often each is annotated, or by limb."""
    from deeppose_port.metrics.shown import bare

    measures, (names, annotated) = evaluation.by(of), evaluation.columns(of)
    headings = [measure.metric.column for measure in measures]
    columns = [[bare(value, measure.metric.unit) for value in measure.column()] for measure in measures]
    last = "mean"
    if of == "joints":
        headings, columns, last = ["annotated", *headings], [list(map(str, annotated)), *columns], "all"
    table = display.table(of.removesuffix("s"), *headings)
    for name, *cells in zip([*names, last], *columns, strict=True):
        table.add_row(name, *cells, style="bold" if name == last else "")
    display.show(table)
