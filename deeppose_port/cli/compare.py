"""`compare`: whether two checkpoints are the same network."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deeppose_port.cli import display
from deeppose_port.cli.command import command, command_line
from deeppose_port.cli.options import (
    NOT_SO,
    SKELETON_OR_TOLD,
    CountingOptions,
    EngineOptions,
    InputOptions,
    JsonOptions,
    ReadingOptions,
    ReportOptions,
    load,
    persons,
    single,
)
from deeppose_port.options import described

if TYPE_CHECKING:
    from deeppose_port.evaluate.comparison import Comparison
    from deeppose_port.evaluate.differences import MetricRow
    from deeppose_port.pose import Pose

_SHOWN_LAYERS = 30
_SHOWN_TENSORS = 10


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What `compare` is told."""

    old: Path = field(metadata=described("A checkpoint.", names=("OLD",)))
    new: Path | None = field(default=None, metadata=described("Another.", names=("NEW",)))
    csv: Path | None = field(
        default=None,
        metadata=described(
            "The persons: a line each, file,x0,y0,x1,y1,… with -1 for what is not annotated; without, both are asked "
            "about pictures that are made up, and there are no metrics.",
            names=("--csv", "--test-csv-fn"),
            section="Annotated persons",
        ),
    )
    images: Path | None = field(
        default=None, metadata=described("The pictures' folder.", names=("--images", "--img-dir"))
    )
    skeleton: str | None = field(default=None, metadata=SKELETON_OR_TOLD)
    counting: CountingOptions
    backends: str | None = field(
        default=None,
        metadata=described(
            "What runs each of them: torch, chainer, onnx or auto, or one name for both; by default what the file is "
            "for, and for a single file chainer,torch.",
            metavar="OLD'S,NEW'S",
        ),
    )
    engines: str | None = field(
        default=None,
        metadata=described(
            "What runs the ONNX graphs of a side whose backend is onnx: onnxruntime or openvino, or one name for both.",
            metavar="OLD'S,NEW'S",
            names=("--engines", "--engine"),
        ),
    )
    devices: str = field(default="cpu", metadata=described("Where; or one for both.", metavar="OLD'S,NEW'S"))
    tolerance: float | None = field(
        default=None,
        metadata=described(
            "What the outputs of a layer may differ by, as a part of the largest; by default 1e-5.", metavar="PART"
        ),
    )
    batch_size: int = field(default=32, metadata=described("Persons at a time.", names=("--batch-size", "--batchsize")))
    reading: ReadingOptions
    inputs: InputOptions
    page: ReportOptions
    shown: JsonOptions

    def __post_init__(self) -> None:
        if (self.csv is None) != (self.images is None):
            raise click.UsageError("persons need both --csv and --images; without both, pictures are made up")
        if self.csv is None and self.page.report is not None:
            raise click.UsageError("--report shows persons: name them, --csv and --images")


@command(lambda: CompareOptions)
def compare(options: CompareOptions) -> int:
    """Compares two checkpoints, or one in two backends: weights, inputs, layers, outputs, joints, metrics.

    OLD and NEW may have any formats. Each is run with its own preprocessing. The exit status is 0 if they are the same
    network up to the rounding of float32, else 1; then the first layer where they part is named.

    \b
    Example:
      deeppose-port compare epoch-100.model epoch-100.pt
      deeppose-port compare epoch-100.model --csv test.csv --images images
      deeppose-port compare epoch-100.model epoch-100.pt --csv test.csv \\
          --images images --report certificate
    """
    from deeppose_port.drawing.report import refuse_existing, write_comparison
    from deeppose_port.evaluate.comparison import TOLERANCE
    from deeppose_port.evaluate.comparison import compare as run

    report, force, as_json = options.page.report, options.page.force, options.shown.as_json
    if report is not None:
        refuse_existing(report, force)
    sides = _sides(options)
    if options.new is None and sides[0] == sides[1]:
        raise click.UsageError("name a NEW checkpoint, or two --backends, --engines or --devices for OLD")
    poses = _load(options, *sides)
    datasets = None
    if options.csv is not None and options.images is not None:
        told = (options.csv, options.images, options.skeleton, options.counting)
        datasets = persons(poses[0], *told), persons(poses[1], *told)
    with display.steps("comparing", quiet=as_json, unit="persons") as step:
        comparison = run(
            *poses,
            datasets,
            tolerance=TOLERANCE if options.tolerance is None else options.tolerance,
            batch_size=options.batch_size,
            progress=step,
        )
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


def _load(options: CompareOptions, first: EngineOptions, second: EngineOptions) -> tuple[Pose, Pose]:
    """Loads both, each in its own engine where no backend is named; a single file is read once."""
    from deeppose_port.backends import BackendError
    from deeppose_port.pose import Pose

    if options.new is not None:
        return (
            single(load(options.old, options.reading, options.inputs, first, called="old")),
            single(load(options.new, options.reading, options.inputs, second, called="new")),
        )
    try:
        pose = single(load(options.old, options.reading, options.inputs, first))
        backend = second.backend or pose.backend
        return pose, Pose(pose.checkpoint, backend, second.device, pose.preprocessing, engine=second.engine)
    except BackendError as error:
        names = " and ".join(dict.fromkeys(side.engine or side.backend for side in (first, second)))
        raise BackendError(
            f"{options.old} cannot be compared in {names}: {error}; name a NEW checkpoint to compare it with, or other "
            "--backends"
        ) from error


def _show(comparison: Comparison) -> None:
    """Shows a comparison."""
    facts = display.facts()
    for name, side in (("old", comparison.old), ("new", comparison.new)):
        source, pose = side.pose.checkpoint.source, side.pose
        what = f"{pose.checkpoint.architecture.name}; {side.file}"
        facts.add_row(name, f"{source.path} ({what})")
        facts.add_row("", f"run by {side.engine}: {pose.backend} on {pose.device}")
        facts.add_row("", f"file {source.sha256}")
        facts.add_row("", f"inputs {side.input_sha256}")
    if comparison.is_made_up:
        facts.add_row("asked", f"{len(comparison.old.input_hashes)} pictures that are made up: no persons were named")
    display.show(facts)
    _show_weights(comparison)
    _show_layers(comparison)
    if comparison.metrics:
        _show_metrics(comparison)
    checks = display.table("check", "", "found", text=3)
    for check in comparison.checks:
        checks.add_row(check.name, "pass" if check.passed else "FAIL", check.finding)
    agreeing = sum(row.agrees for row in comparison.metrics)
    if comparison.metrics:
        checks.add_row("metrics", "", f"{agreeing} of {len(comparison.metrics)} agree in every digit that is shown")
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

    rows = comparison.layers
    parting = next((i for i, row in enumerate(rows) if row.parted), len(rows) - 1)
    shown = set(range(len(rows)))
    if len(rows) > _SHOWN_LAYERS:
        shown = {*range(parting - _SHOWN_LAYERS // 2, parting + _SHOWN_LAYERS // 2), len(rows) - 1}
    table = display.table("layer", "output", "largest difference", "relative", "tolerance", "", text=2)
    for i, row in enumerate(rows):
        if i not in shown:
            continue
        shapes = list(dict.fromkeys(shape_text(shape) for shape in (row.old_shape, row.new_shape)))
        numbers = ["-" if value is None else f"{value:.2e}" for value in (row.maximum, row.relative)]
        mark = ("<- parts here" if i == parting else "parted") if row.parted else ""
        table.add_row(row.name, " / ".join(shapes), *numbers, f"{row.tolerance:.1e}", mark)
    display.show(table)


def _show_metrics(comparison: Comparison) -> None:
    """Shows the metrics of the whole, and those of joints and limbs that are not equal."""
    table = display.table("metric", "old", "new", "difference")
    for row in comparison.metrics:
        if _is_summary(row) or not row.agrees:
            table.add_row(row.name, *row.cells)
    display.show(table)


def _is_summary(row: MetricRow) -> bool:
    return "/" not in row.name or row.name.rpartition("/")[2] in ("mean", "total")
