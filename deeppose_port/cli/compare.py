"""`compare`: whether two checkpoints are the same network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.cli import display
from deeppose_port.cli.command import command, command_line
from deeppose_port.cli.options import (
    NOT_SO,
    EngineOptions,
    InputOptions,
    JsonOptions,
    ReadingOptions,
    ReportOptions,
    batch_of,
    load,
    persons,
    skeleton_or_told,
)
from deeppose_port.data.options import ANNOTATED, CountingOptions, picture_folder
from deeppose_port.options import described

if TYPE_CHECKING:
    from converters import Source
    from deeppose_port.cascade import CascadePose
    from deeppose_port.evaluate.cascades import CascadeComparison
    from deeppose_port.evaluate.differences import MetricRow
    from deeppose_port.evaluate.verdict import Comparison, Side
    from deeppose_port.pose import Pose

_SHOWN_LAYERS = 30
_SHOWN_TENSORS = 10


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What `compare` is told."""

    old: Path = described("A checkpoint.", names=("OLD",))
    new: Path | None = described(
        "Another checkpoint; leave it out to compare OLD in two backends.", default=None, names=("NEW",)
    )
    csv: Path | None = described(
        f"{ANNOTATED} Without it both are run on synthetic pictures, and there are no metrics.",
        default=None,
        names=("--csv", "--test-csv-fn"),
        section="Annotated persons",
    )
    images: Path | None = picture_folder(default=None)
    skeleton: str | None = skeleton_or_told("csv")
    counting: CountingOptions
    backends: str | None = described(
        "What runs each: torch, chainer, onnx or auto, or one name for both. By default the one that each"
        " file's format belongs to; for a single file chainer,torch.",
        default=None,
        metavar="OLD'S,NEW'S",
    )
    engines: str | None = described(
        "What runs ONNX graphs, for sides with the backend onnx: onnxruntime or openvino, or one name for both.",
        default=None,
        metavar="OLD'S,NEW'S",
        names=("--engines", "--engine"),
    )
    devices: str = described("The device of each, or one for both.", default="cpu", metavar="OLD'S,NEW'S")
    tolerance: float | None = described(
        "How much a layer's outputs may differ, relative to the largest one; by default 1e-5.",
        default=None,
        metavar="PART",
    )
    batch_size: int = batch_of()
    reading: ReadingOptions
    inputs: InputOptions
    page: ReportOptions
    shown: JsonOptions

    def __post_init__(self) -> None:
        if (self.csv is None) != (self.images is None):
            raise click.UsageError("persons need both --csv and --images; without both, synthetic pictures are used")


@command(lambda: CompareOptions)
def compare(options: CompareOptions) -> int:
    """Checks whether two checkpoints, or one in two backends, are the same network.

    Weights, inputs, layers, outputs, joints and metrics are compared. OLD and NEW may be in any format, and each is run
    with its own preprocessing. The exit status is 0 if they are the same network up to float32 rounding, and 1 if not;
    the first layer that differs is then named. Two cascades are compared stage by stage, each network on the close-ups
    that the stage before it in OLD leads to.

    \b
    Example:
      deeppose-port compare epoch-100.model epoch-100.pt
      deeppose-port compare epoch-100.model epoch-100.pt --report certificate
      deeppose-port compare epoch-100.model --csv test.csv --images images
      deeppose-port compare epoch-100.model epoch-100.pt --csv test.csv \\
          --images images --report certificate
    """
    from deeppose_port.drawing.report import refuse_existing, write_comparison
    from deeppose_port.evaluate.cascades import CascadeComparison, compare_cascades
    from deeppose_port.evaluate.comparison import compare as compare_networks
    from deeppose_port.evaluate.verdict import TOLERANCE
    from deeppose_port.pose import Pose

    report, force, as_json = options.page.report, options.page.force, options.shown.as_json
    if report is not None:
        refuse_existing(report, force)
    sides = _sides(options)
    if options.new is None and sides[0] == sides[1]:
        raise click.UsageError("name a NEW checkpoint, or two --backends, --engines or --devices for OLD")
    old, new = _load(options, *sides)
    datasets = None
    if options.csv is not None and options.images is not None:
        told = (options.csv, options.images, options.skeleton, options.counting)
        datasets = persons(old, *told), persons(new, *told)
    tolerance = TOLERANCE if options.tolerance is None else options.tolerance
    with display.steps("comparing", quiet=as_json, unit="persons") as step:
        size: dict[str, Any] = {"tolerance": tolerance, "batch_size": options.batch_size, "progress": step}
        comparison: Comparison | CascadeComparison
        if isinstance(old, Pose) and isinstance(new, Pose):
            comparison = compare_networks(old, new, datasets, **size)
        elif isinstance(old, Pose) or isinstance(new, Pose):
            raise _two_kinds(old, new)
        else:
            comparison = compare_cascades(old, new, datasets, **size)
        page = None
        if report is not None:
            page = write_comparison(
                comparison,
                report,
                command=command_line(),
                force=force,
                progress=lambda done, total: step("report", done, total),
            )
    if as_json:
        display.as_json(comparison.as_dict())
    elif isinstance(comparison, CascadeComparison):
        _show_cascades(comparison)
        display.wrote_report(page)
    else:
        _show(comparison)
        display.wrote_report(page)
    return 0 if comparison.same else NOT_SO


def _pair(text: str, option: str) -> tuple[str, str]:
    """Reads `OLD'S,NEW'S`, or one name for both."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 2 or not all(parts):
        raise click.UsageError(f"{option} takes one name, or two with a comma between, not {text!r}")
    return parts[0], parts[-1]


def _sides(options: CompareOptions) -> tuple[EngineOptions, EngineOptions]:
    """Returns what runs each of them; no backend is the engine that its file is for."""
    engines: tuple[str | None, str | None] = (None, None)
    if options.engines is not None:
        engines = _pair(options.engines, "--engines")
    backends: tuple[str, str] = ("", "")
    if options.backends is not None or (options.new is None and options.engines is None):
        backends = _pair(options.backends or "chainer,torch", "--backends")
    # An engine goes with the backend that has it.
    first, second = (
        EngineOptions(backend=backend, device=device, engine=engine if backend in ("", "onnx", "auto") else None)
        for backend, device, engine in zip(backends, _pair(options.devices, "--devices"), engines, strict=True)
    )
    if options.engines is not None and not (first.engine or second.engine):
        raise click.UsageError("--engines goes with --backends onnx")
    return first, second


def _load(
    options: CompareOptions, first: EngineOptions, second: EngineOptions
) -> tuple[Pose | CascadePose, Pose | CascadePose]:
    """Loads both, each in its own engine where no backend is named; a single file is read once."""
    from deeppose_port.backends import BackendError
    from deeppose_port.cascade import CascadePose
    from deeppose_port.pose import Pose

    if options.new is not None:
        return (
            load(options.old, options.reading, options.inputs, first, called="old"),
            load(options.new, options.reading, options.inputs, second, called="new"),
        )
    try:
        pose = load(options.old, options.reading, options.inputs, first)
        backend = second.backend or pose.backend
        if isinstance(pose, CascadePose):
            return pose, CascadePose(pose.cascade, backend, second.device, engine=second.engine)
        return pose, Pose(pose.checkpoint, backend, second.device, pose.preprocessing, engine=second.engine)
    except BackendError as error:
        names = " and ".join(dict.fromkeys(side.engine or side.backend for side in (first, second)))
        raise BackendError(
            f"{options.old} cannot be compared in {names}: {error.problem}; "
            "name a NEW checkpoint to compare it with, or other --backends"
        ) from error


def _two_kinds(old: Pose | CascadePose, new: Pose | CascadePose) -> DeepPoseError:
    """Returns why a cascade and a single network are not compared."""
    from deeppose_port.cascade import CascadePose

    told = ["a cascade" if isinstance(pose, CascadePose) else "a single network" for pose in (old, new)]
    return DeepPoseError(
        f"{old.path} is {told[0]}, {new.path} is {told[1]}: no two such are the same",
        advice="`convert --part stage1` takes one network out of a cascade",
    )


def _show(comparison: Comparison) -> None:
    """Shows a comparison."""
    facts = display.facts()
    for name, side in (("old", comparison.old), ("new", comparison.new)):
        checkpoint = side.pose.checkpoint
        _add_side(facts, name, side, checkpoint.source, checkpoint.architecture.name, side.input_sha256)
    if comparison.is_made_up:
        facts.add_row("asked", f"{len(comparison.old.input_hashes)} synthetic pictures, as no --csv was given")
    display.show(facts)
    _show_weights(comparison)
    _show_layers(comparison)
    _show_verdict(comparison)


def _show_cascades(comparison: CascadeComparison) -> None:
    """Shows a comparison of cascades: a line a network, the layers of those that differ, and each side's own way."""
    from deeppose_port.metrics.shown import scientific

    facts = display.facts()
    networks = comparison.networks
    first = networks["stage1"]
    sides = ("old", first.old, comparison.old), ("new", first.new, comparison.new)
    for (name, side, pose), inputs in zip(sides, comparison.input_sha256, strict=True):
        what = f"{pose.first.checkpoint.architecture.name}, {display.counted(pose.stage_count, 'stage')}"
        _add_side(facts, name, side, pose.cascade.source, what, inputs)
    if comparison.is_made_up:
        facts.add_row("asked", f"{comparison.persons} synthetic pictures, as no --csv was given")
    display.show(facts)
    table = display.table(
        "network", "tensors equal", "inputs equal", "layers differ by", "outputs by", "joints by, px", "", text=(0, 6)
    )
    for part, one in networks.items():
        weights, (*layers, outputs) = one.weights, one.layers
        worst = max((math.inf if row.relative is None else row.relative for row in layers), default=0.0)
        table.add_row(
            part,
            f"{weights.equal} of {weights.equal + len(weights.rows)}",
            f"{one.equal_inputs} of {len(one.old.input_hashes)}",
            scientific(worst),
            scientific(outputs.relative),
            f"{one.joints.maximum:.2g}",
            "" if one.same else f"<- first differs at {one.first_parting}" if one.first_parting else "<- not the same",
        )
    display.show(table)
    for part, one in networks.items():
        if not one.same:
            display.say(f"{part}:")
            _show_weights(one)
            _show_layers(one)
    bounds = (f"beyond {pixels:g} px" for pixels in comparison.last.joints.beyond)
    table = display.table("each side from its own stage before", "joints", "farthest, px", *bounds)
    for stage in comparison.stages:
        joints = stage.joints
        counts = map(str, joints.beyond.values())
        table.add_row(f"stage {stage.number}", str(joints.compared), f"{joints.maximum:.2g}", *counts)
    display.show(table)
    _show_verdict(comparison)


def _add_side(facts: display.Table, name: str, side: Side, source: Source, what: str, inputs: str) -> None:
    """Adds what a side is."""
    facts.add_row(name, f"{source.path} ({what}; {side.file})")
    facts.add_row("", f"run by {side.engine}: {side.pose.backend} on {side.pose.device}")
    facts.add_row("", f"file {source.sha256}")
    facts.add_row("", f"inputs {inputs}")


def _show_verdict(comparison: Comparison | CascadeComparison) -> None:
    """Shows the metrics, the checks and the verdict."""
    from deeppose_port.evaluate.differences import told_once

    rows = told_once(comparison.metrics)
    _show_metrics(rows)
    checks = display.table("check", "", "found", text=3)
    for check in comparison.checks:
        checks.add_row(check.name, "pass" if check.passed else "FAIL", check.finding)
    agreeing = sum(row.agrees for row in rows)
    if rows:
        checks.add_row("metrics", "", f"{agreeing} of {len(rows)} agree in every digit that is shown")
    display.show(checks)
    verdict = "the same" if comparison.same else "NOT the same"
    display.say(f"{verdict}, with a tolerance of {comparison.granted}")
    for remark in comparison.remarks:
        display.say(f"but {remark}")


def _show_weights(comparison: Comparison) -> None:
    """Shows the tensors that differ."""
    rows = comparison.weights.rows
    if not rows:
        return
    table = display.table("tensor", "status", "numbers", "differing", "largest difference", text=2)
    for row in rows[:_SHOWN_TENSORS]:
        maximum = "-" if row.maximum is None else f"{row.maximum:.3g}"
        table.add_row(row.name, row.status, f"{row.elements:,}", f"{row.differing:,}", maximum)
    if len(rows) > _SHOWN_TENSORS:
        table.add_row(f"… and {len(rows) - _SHOWN_TENSORS} more", "", "", "", "")
    display.show(table)


def _show_layers(comparison: Comparison) -> None:
    """Shows the layers; of a deep network those around where it parts, and its last ones."""
    from deeppose_port.evaluate.differences import shape_text
    from deeppose_port.metrics.shown import scientific

    rows = comparison.layers
    parting = next((i for i, row in enumerate(rows) if row.parted), len(rows) - 1)
    shown = set(range(len(rows)))
    if len(rows) > _SHOWN_LAYERS:
        shown = {*range(parting - _SHOWN_LAYERS // 2, parting + _SHOWN_LAYERS // 2), len(rows) - 1}
    table = display.table("layer", "output", "largest difference", "relative", "tolerance", "", text=2)
    before = -1
    for i, row in enumerate(rows):
        if i not in shown:
            continue
        if i > before + 1:
            table.add_row(
                f"… {i - before - 1} that agree …" if i <= parting else f"… {i - before - 1} more …", *[""] * 5
            )
        before = i
        shapes = list(dict.fromkeys(shape_text(shape) for shape in (row.old_shape, row.new_shape)))
        numbers = map(scientific, (row.maximum, row.relative))
        mark = ("<- first difference" if i == parting else "differs") if row.parted else ""
        table.add_row(row.name, " / ".join(shapes), *numbers, f"{row.tolerance:.1e}", mark)
    display.show(table)


def _show_metrics(rows: Sequence[MetricRow]) -> None:
    """Shows the metrics of the whole, and those of joints and limbs that are not equal."""
    if not rows:
        return
    table = display.table("metric", "old", "new", "difference")
    for row in rows:
        if row.is_whole or not row.agrees:
            table.add_row(row.title, *row.cells)
    display.show(table)
