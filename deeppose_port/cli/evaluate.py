"""`eval`: the metrics of a checkpoint on annotated pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeppose_port.cli import display
from deeppose_port.cli.options import (
    PATH,
    annotation_options,
    checkpoint_options,
    command_line,
    input_options,
    json_option,
    load,
    person_options,
    persons,
    report_options,
)

if TYPE_CHECKING:
    from deeppose_port.data import PoseDataset
    from deeppose_port.metrics.evaluation import Bootstrap, Evaluation
    from deeppose_port.pose import Pose


@click.command("eval")
@click.argument("checkpoint", type=PATH, required=False)
@annotation_options
@checkpoint_options
@input_options
@click.option("--batch-size", "--batchsize", default=32, show_default=True, help="Persons at a time.")
@person_options
@click.option(
    "--bootstrap",
    type=click.IntRange(1),
    metavar="N",
    help="Give 95 % confidence intervals, from drawing the persons anew N times.",
)
@click.option("--bootstrap-seed", type=int, default=0, show_default=True, help="Of that drawing.")
@click.option("--watch", type=PATH, metavar="RESULTS", help="Evaluate each new checkpoint of a training's folder.")
@click.option("--idle", type=float, metavar="SECONDS", help="With --watch: end when none came for so long.")
@report_options
@json_option
def evaluate(
    checkpoint: Path | None,
    watch: Path | None,
    idle: float | None,
    bootstrap: int | None,
    bootstrap_seed: int,
    report: Path | None,
    force: bool,
    as_json: bool,
    **given: Any,
) -> int:
    """Evaluates any checkpoint on annotated pictures: loss, pixel error, PDJ, PCK, PCKh, PCP, AUC, NME.

    Inputs are made as the checkpoint was trained; metrics are in pixels of the original pictures.

    \b
    Example:
      deeppose-port eval epoch-100.model --csv test_joints.csv --images images --skeleton lsp
      deeppose-port eval epoch-100.model --csv test_joints.csv --images images --skeleton lsp --report page
      deeppose-port eval --watch results/lsp --csv test_joints.csv --images images --skeleton lsp
    """
    from deeppose_port.evaluate.watch import new_checkpoints, record

    if (checkpoint is None) == (watch is None):
        raise click.UsageError("name a CHECKPOINT, or with --watch the folder of a training")
    if checkpoint is not None:
        if report is not None:
            from deeppose_port.drawing.report import refuse_existing

            refuse_existing(report, force)
        pose, dataset, evaluation = _evaluate(checkpoint, as_json, **given)
        intervals = evaluation.bootstrap(bootstrap, bootstrap_seed) if bootstrap else None
        if as_json:
            values = {**evaluation.as_dict(), "backend": pose.backend, "checkpoint": str(checkpoint)}
            display.as_json(values if intervals is None else {**values, "bootstrap": intervals.as_dict()})
        else:
            _show(evaluation, pose, intervals)
        if report is not None:
            page = _report(pose, evaluation, dataset, report, intervals, force=force, quiet=as_json)
            display.wrote_report(None if as_json else page)
        return 0
    if bootstrap or report is not None:
        raise click.UsageError("--bootstrap and --report go with a CHECKPOINT, not with --watch")
    assert watch is not None
    for file in new_checkpoints(watch, idle=idle):
        pose, _, evaluation = _evaluate(file, True, **given)
        record(watch, file, {**evaluation.as_dict(), "backend": pose.backend})
        summary = evaluation.summary()
        if as_json:
            click.echo(json.dumps({"checkpoint": str(file), **evaluation.as_dict(), "backend": pose.backend}))
        else:
            click.echo(f"{file}: " + "  ".join(f"{name} {value:.5g}" for name, value in summary.items()))
    return 0


def _evaluate(
    checkpoint: Path,
    quiet: bool,
    csv: Path,
    images: Path,
    skeleton: str,
    batch_size: int,
    min_dim: float,
    ignore_label: float,
    **options: Any,
) -> tuple[Pose, PoseDataset, Evaluation]:
    """Evaluates one checkpoint."""
    from deeppose_port.data.references import HEAD_BOXES, read_beside
    from deeppose_port.evaluate.evaluate import evaluate as run

    references = read_beside(csv)
    if references is not None and references.head_sizes_from not in (None, HEAD_BOXES):
        display.notices([f"PCKh is an estimate: the head sizes are {references.head_sizes_from}"])
    pose = load(checkpoint, **options)
    dataset = persons(pose, csv, images, skeleton, min_dim, ignore_label)
    with display.steps("evaluating", quiet=quiet, unit="persons") as step:
        evaluation = run(pose, dataset, batch_size=batch_size, progress=lambda done, total: step("", done, total))
    return pose, dataset, evaluation


def _report(
    pose: Pose,
    evaluation: Evaluation,
    dataset: PoseDataset,
    folder: Path,
    intervals: Bootstrap | None,
    *,
    force: bool,
    quiet: bool,
) -> Path:
    """Writes the page of an evaluation."""
    from deeppose_port.drawing.report import write_evaluation

    with display.steps("report", quiet=quiet, unit="persons") as step:
        return write_evaluation(
            pose,
            evaluation,
            dataset,
            folder,
            command=command_line(),
            intervals=intervals,
            force=force,
            progress=lambda done, total: step("", done, total),
        )


def _show(evaluation: Evaluation, pose: Pose, intervals: Bootstrap | None) -> None:
    """Shows an evaluation's metrics."""
    skeleton = evaluation.skeleton.name
    facts = display.facts()
    path = display.shown(pose.checkpoint.source.path)
    facts.add_row("checkpoint", f"{path} ({pose.checkpoint.architecture.name}, {pose.backend})")
    facts.add_row("persons", str(evaluation.persons))
    if "pck" not in evaluation.measures:
        facts.add_row("PDJ, PCK", f"not defined: {skeleton} has no torso among its joints (`prepare` has it)")
    elif evaluation.without_torso:
        facts.add_row(
            "PDJ, PCK", f"{display.counted(evaluation.without_torso, 'person')} left out: no torso is annotated"
        )
    display.show(facts)
    _show_overall(evaluation, intervals)
    _show_joints(evaluation)
    _show_limbs(evaluation)


def _show_overall(evaluation: Evaluation, intervals: Bootstrap | None) -> None:
    """Shows the metrics of all persons and joints, with their confidence intervals if there are any."""
    from deeppose_port.metrics import shown

    headings = [] if intervals is None else [f"{intervals.level:.0%} interval ({intervals.resamples} resamples)"]
    table = display.table("metric", "", *headings)
    for measure in evaluation.shown():
        metric = measure.metric
        title = ", ".join(filter(None, (metric.title, metric.over)))
        between = [] if intervals is None else [shown.interval(intervals.wholes[metric.key], metric.unit)]
        table.add_row(title, shown.number(measure.overall, metric.unit), *between)
    display.show(table)


def _show_joints(evaluation: Evaluation) -> None:
    """Shows the metrics by joint."""
    from deeppose_port.metrics.shown import bare

    columns = evaluation.joint_columns()
    table = display.table("joint", "annotated", *(measure.metric.heading for measure in columns))
    annotated = evaluation.visible.sum(axis=0)
    for j, joint in enumerate(evaluation.skeleton.joints):
        table.add_row(joint, str(annotated[j]), *(bare(float(m.values[j]), m.metric.unit) for m in columns))
    whole = (bare(measure.overall, measure.metric.unit) for measure in columns)
    table.add_row("all", str(annotated.sum()), *whole, style="bold")
    display.show(table)


def _show_limbs(evaluation: Evaluation) -> None:
    """Shows the metrics by limb."""
    from deeppose_port.metrics.shown import bare

    columns = evaluation.limb_columns()
    table = display.table("limb", *(measure.metric.title for measure in columns))
    for i, limb in enumerate(evaluation.skeleton.pcp_limbs):
        table.add_row(limb, *(bare(float(m.values[i]), m.metric.unit) for m in columns))
    table.add_row("mean", *(bare(measure.overall, measure.metric.unit) for measure in columns), style="bold")
    display.show(table)
