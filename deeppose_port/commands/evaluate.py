"""`eval`: the metrics of a checkpoint on annotated pictures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeppose_port.commands import display
from deeppose_port.commands.options import PATH, checkpoint_options, input_options, json_option, load

if TYPE_CHECKING:
    from deeppose_port.evaluate import Evaluation
    from deeppose_port.pose import Pose


@click.command("eval")
@click.argument("checkpoint", type=PATH, required=False)
@click.option(
    "--csv",
    "--test-csv-fn",
    required=True,
    type=PATH,
    help="The persons: a line each, file,x0,y0,x1,y1,… with -1 for what is not annotated.",
)
@click.option("--images", "--img-dir", required=True, type=PATH, help="The pictures' folder.")
@click.option("--skeleton", required=True, metavar="flic|lsp|mpii", help="What the joints are.")
@checkpoint_options
@input_options
@click.option("--batch-size", "--batchsize", default=32, show_default=True, help="Persons at a time.")
@click.option(
    "--min-dim",
    default=0.0,
    show_default=True,
    help="Leave out persons whose box of joints is smaller than this many pixels.",
)
@click.option("--ignore-label", default=-1.0, show_default=True, help="The coordinate that means: not annotated.")
@click.option("--watch", type=PATH, metavar="RESULTS", help="Evaluate each new checkpoint of a training's folder.")
@click.option("--idle", type=float, metavar="SECONDS", help="With --watch: end when none came for so long.")
@json_option
def evaluate(checkpoint: Path | None, watch: Path | None, idle: float | None, as_json: bool, **given: Any) -> int:
    """Evaluates any checkpoint on annotated pictures: loss, pixel error, PDJ, PCP.

    Inputs are made as the checkpoint was trained; metrics are in pixels of the original pictures.

    \b
    Example:
      deeppose-port eval epoch-100.model --csv test_joints.csv --images images --skeleton lsp
      deeppose-port eval --watch results/lsp --csv test_joints.csv --images images --skeleton lsp
    """
    from deeppose_port.watch import new_checkpoints, record

    if (checkpoint is None) == (watch is None):
        raise click.UsageError("name a CHECKPOINT, or with --watch the folder of a training")
    if checkpoint is not None:
        pose, evaluation = _evaluate(checkpoint, as_json, **given)
        if as_json:
            display.as_json({**evaluation.as_dict(), "backend": pose.backend, "checkpoint": str(checkpoint)})
        else:
            _show(evaluation, pose)
        return 0
    assert watch is not None
    for file in new_checkpoints(watch, idle=idle):
        pose, evaluation = _evaluate(file, True, **given)
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
) -> tuple[Pose, Evaluation]:
    """Evaluates one checkpoint."""
    from deeppose_port.data import PoseDataset
    from deeppose_port.evaluate import evaluate as run

    pose = load(checkpoint, **options)
    dataset = PoseDataset(
        csv,
        images=images,
        skeleton=skeleton,
        preprocessing=pose.preprocessing,
        min_dim=min_dim,
        ignore_label=ignore_label,
    )
    with display.steps("evaluating", quiet=quiet, unit="persons") as step:
        return pose, run(pose, dataset, batch_size=batch_size, progress=lambda done, total: step("", done, total))


def _show(evaluation: Evaluation, pose: Pose) -> None:
    """Shows an evaluation's metrics."""
    from deeppose_port import metrics
    from deeppose_port.evaluate import PDJ_THRESHOLDS

    names = evaluation.skeleton.joints
    facts = display.facts()
    facts.add_row("checkpoint", f"{pose.checkpoint.source.path} ({pose.checkpoint.architecture.name}, {pose.backend})")
    facts.add_row("persons", str(evaluation.persons))
    facts.add_row("loss", f"{evaluation.loss:.6g}")
    facts.add_row("mean error", f"{evaluation.mean_error_px:.2f} px of the original pictures")
    if evaluation.pdj is None:
        facts.add_row("PDJ", f"not defined: {evaluation.skeleton.name} has no torso among its joints")
    elif evaluation.pdj_left_out:
        facts.add_row("PDJ", f"{evaluation.pdj_left_out} persons left out: their torso is not annotated")
    display.show(facts)

    errors = metrics.pixel_errors(evaluation.predicted, evaluation.true, evaluation.visible)
    columns = ["joint", "annotated", "mean error px"]
    shown = [i for i, threshold in enumerate(PDJ_THRESHOLDS) if threshold in (0.1, 0.2, 0.5)]
    if evaluation.pdj is not None:
        columns += [f"PDJ@{PDJ_THRESHOLDS[i]:g}" for i in shown]
    table = display.table(*columns)
    for j, name in enumerate(names):
        seen = evaluation.visible[:, j]
        mean = float(errors[seen, j].mean()) if seen.any() else math.nan
        cells = [name, str(int(seen.sum())), f"{mean:.2f}"]
        if evaluation.pdj is not None:
            cells += [display.percent(float(evaluation.pdj[i, j])) for i in shown]
        table.add_row(*cells)
    if evaluation.pdj is not None:
        means = [display.percent(metrics.mean_over_joints(evaluation.pdj[i])) for i in shown]
        table.add_row("mean", "", f"{evaluation.mean_error_px:.2f}", *means, style="bold")
    display.show(table)

    limbs = display.table("limb", "PCP@0.5 strict")
    for name, fraction in zip(evaluation.skeleton.pcp_limbs, evaluation.pcp, strict=True):
        limbs.add_row(name, display.percent(float(fraction)))
    limbs.add_row("mean", display.percent(metrics.mean_over_joints(evaluation.pcp)), style="bold")
    display.show(limbs)
