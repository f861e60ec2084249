"""What the command line shows: tables on standard output, progress and notices on standard error."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.table import Table

    from converters import Inspection, Repair, Report
    from converters.inspection import TensorSummary
    from deeppose_port.bench import DataSpeed
    from deeppose_port.doctor import Examination
    from deeppose_port.evaluate import Evaluation
    from deeppose_port.pose import Pose
    from deeppose_port.predict import Predictions
    from deeppose_port.train import Watch

#: Called with a step's name, the amount done and the amount to do (0: not known).
Step = Callable[[str, int, int], None]


def error(message: str) -> None:
    """Shows what went wrong, in one line."""
    click.echo(f"error: {' '.join(message.split())}", err=True)


@contextmanager
def steps(title: str, *, quiet: bool, unit: str = "") -> Iterator[Step]:
    """Shows a progress bar while work goes on, on a terminal; yields what reports it."""
    from rich.console import Console

    console = Console(stderr=True, markup=False)
    if quiet or not console.is_terminal:
        yield lambda name, done, total: None
        return
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    amount = MofNCompleteColumn() if unit else DownloadColumn()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=None)

        def step(name: str, done: int, total: int) -> None:
            progress.update(task, description=f"{title} {name}".strip(), completed=done, total=total or None)

        yield step


def notices(sentences: Iterable[str], repairs: Iterable[Repair] = ()) -> None:
    """Shows choices that were made and numbers that were not finite."""
    for sentence in sentences:
        click.echo(f"note: {sentence}", err=True)
    for repair in repairs:
        what = " and ".join(f"{n} {kind}" for n, kind in ((repair.nan, "NaN"), (repair.inf, "Inf")) if n)
        became = "kept" if repair.became is None else f"became {repair.became:g}"
        click.echo(f"note: {repair.tensor}: {what} {became}", err=True)


def report(report: Report) -> None:
    """Shows what a conversion did."""
    source = report.source
    table = _facts()
    table.add_row("source", _shown(source.path))
    table.add_row("sha256", source.sha256)
    table.add_row("format", f"{source.format} ({source.layout})")
    table.add_row("writer", f"{source.writer} ({source.writer_told_by})")
    table.add_row("wrappers", " ".join(source.wrappers) or "none")
    table.add_row(
        "architecture", f"{report.architecture}, {report.parameters:,} parameters in {report.tensors} tensors"
    )
    table.add_row("joints", str(report.joints))
    table.add_row("optimizer", _optimizer(report.optimizer, report.progress))
    table.add_row("repairs", _repairs(report.repairs))
    verified = "read again, every byte equal" if report.verified else "not written (dry run)"
    table.add_row("output", f"{_shown(report.output)} ({report.output_format}; {verified})")
    if report.output_sha256:
        table.add_row("sha256", report.output_sha256)
    _print(table)


def report_line(report: Report) -> None:
    """Shows what a conversion did, in one line."""
    repairs = f", {_repairs(report.repairs)}" if report.repairs else ""
    click.echo(
        f"{report.source.path} -> {report.output}: {report.architecture}, {report.joints} joints, "
        f"{report.source.writer}{repairs}" + ("" if report.verified else " (dry run)")
    )


def _optimizer(algorithm: str | None, progress: dict[str, Any] | None) -> str:
    counts = [f"{name} {value}" for name, value in (progress or {}).items() if value is not None]
    return ", ".join([algorithm or "none", *counts])


def _repairs(repairs: Iterable[Repair]) -> str:
    repairs = list(repairs)
    if not repairs:
        return "none: all numbers are finite"
    nan, inf = sum(r.nan for r in repairs), sum(r.inf for r in repairs)
    became = "kept" if repairs[0].became is None else "became 0"
    return f"{nan} NaN and {inf} Inf in {len(repairs)} tensors {became}"


def inspection(inspection: Inspection) -> None:
    """Shows what a file holds."""
    facts = _facts()
    facts.add_row("file", _shown(inspection.path))
    facts.add_row("format", inspection.format)
    checkpoint = inspection.checkpoint
    if checkpoint is not None:
        source = checkpoint.source
        facts.add_row("sha256", source.sha256)
        facts.add_row("layout", source.layout)
        facts.add_row("writer", f"{source.writer} ({source.writer_told_by})")
        facts.add_row("wrappers", " ".join(source.wrappers) or "none")
        facts.add_row("architecture", f"{checkpoint.architecture.name}, {checkpoint.parameters:,} parameters")
        facts.add_row("joints", str(checkpoint.joints))
        algorithm = checkpoint.optimizer.algorithm if checkpoint.optimizer else None
        progress = checkpoint.progress.as_dict() if checkpoint.progress else None
        facts.add_row("optimizer", _optimizer(algorithm, progress))
        facts.add_row("input", ", ".join(f"{k} {v}" for k, v in checkpoint.preprocessing.as_dict().items()))
    _print(facts)
    table = _table("tensors", "shape", "dtype", "smallest", "largest", "NaN", "Inf", text=3)
    for label, group in _groups(inspection.tensors):
        low = min((t.minimum for t in group if t.minimum is not None), default=math.nan)
        high = max((t.maximum for t in group if t.maximum is not None), default=math.nan)
        shapes, dtypes = {t.shape for t in group}, {t.dtype for t in group}
        shape = " x ".join(map(str, group[0].shape)) or "scalar"
        nan, inf = sum(t.nan for t in group), sum(t.inf for t in group)
        table.add_row(
            _shown(label),
            shape if len(shapes) == 1 else f"{len(shapes)} shapes",
            ", ".join(sorted(dtypes)),
            *(f"{low:.4g}", f"{high:.4g}", str(nan), str(inf)),
        )
    _print(table)
    if checkpoint is not None:
        notices(checkpoint.notices)


def _groups(tensors: Iterable[TensorSummary]) -> Iterator[tuple[str, list[TensorSummary]]]:
    """Folds tensors for a table: the network's by names and shapes, an optimizer's by slot."""
    from converters.keys import fold_groups

    weights: dict[str, TensorSummary] = {}
    slots: dict[str, list[TensorSummary]] = {}
    for tensor in tensors:
        section, _, rest = tensor.name.partition(".")
        if section == "optimizer":
            slots.setdefault(f"optimizer {rest.partition('.')[0]}", []).append(tensor)
        else:
            weights[tensor.name] = tensor
    for names in fold_groups(weights).values():
        alike: dict[tuple[tuple[int, ...], str], list[str]] = {}
        for name in names:
            alike.setdefault((weights[name].shape, weights[name].dtype), []).append(name)
        for members in alike.values():
            yield ", ".join(fold_groups(members)), [weights[name] for name in members]
    yield from slots.items()


def evaluation(evaluation: Evaluation, pose: Pose) -> None:
    """Shows an evaluation's metrics."""
    from deeppose_port import metrics
    from deeppose_port.evaluate import PDJ_THRESHOLDS

    names = evaluation.skeleton.joints
    facts = _facts()
    facts.add_row("checkpoint", f"{pose.checkpoint.source.path} ({pose.checkpoint.architecture.name}, {pose.backend})")
    facts.add_row("persons", str(evaluation.persons))
    facts.add_row("loss", f"{evaluation.loss:.6g}")
    facts.add_row("mean error", f"{evaluation.mean_error_px:.2f} px of the original pictures")
    if evaluation.pdj is None:
        facts.add_row("PDJ", f"not defined: {evaluation.skeleton.name} has no torso among its joints")
    elif evaluation.pdj_left_out:
        facts.add_row("PDJ", f"{evaluation.pdj_left_out} persons left out: their torso is not annotated")
    _print(facts)

    errors = metrics.pixel_errors(evaluation.predicted, evaluation.true, evaluation.visible)
    columns = ["joint", "annotated", "mean error px"]
    shown = [i for i, threshold in enumerate(PDJ_THRESHOLDS) if threshold in (0.1, 0.2, 0.5)]
    if evaluation.pdj is not None:
        columns += [f"PDJ@{PDJ_THRESHOLDS[i]:g}" for i in shown]
    table = _table(*columns)
    for j, name in enumerate(names):
        seen = evaluation.visible[:, j]
        mean = float(errors[seen, j].mean()) if seen.any() else math.nan
        cells = [name, str(int(seen.sum())), f"{mean:.2f}"]
        if evaluation.pdj is not None:
            cells += [_percent(float(evaluation.pdj[i, j])) for i in shown]
        table.add_row(*cells)
    if evaluation.pdj is not None:
        means = [_percent(metrics.mean_over_joints(evaluation.pdj[i])) for i in shown]
        table.add_row("mean", "", f"{evaluation.mean_error_px:.2f}", *means, style="bold")
    _print(table)

    limbs = _table("limb", "PCP@0.5 strict")
    for name, fraction in zip(evaluation.skeleton.pcp_limbs, evaluation.pcp, strict=True):
        limbs.add_row(name, _percent(float(fraction)))
    limbs.add_row("mean", _percent(metrics.mean_over_joints(evaluation.pcp)), style="bold")
    _print(limbs)


def predictions(result: Predictions) -> None:
    """Shows where predictions were written."""
    for picture in result.pictures:
        click.echo(f"{picture.image} -> {picture.drawing}")
    click.echo(f"joints in {result.file}")


@contextmanager
def training(epochs: int) -> Iterator[Watch]:
    """Shows a training: a progress bar on a terminal, and a line for every entry of the log."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from deeppose_port.train import Step as TrainingStep
    from deeppose_port.train import Watch

    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("training", total=epochs)

        def step(step: TrainingStep) -> None:
            text = (
                f"epoch {step.epoch:.2f}/{epochs}  loss {step.loss:.5g}  "
                f"{step.pictures_per_second:.0f} pictures/s  waiting {step.waiting:.0%}"
            )
            progress.update(task, description=text, completed=step.epoch)

        def log(entry: dict[str, Any]) -> None:
            named = {
                "main/loss": "loss",
                "validation/main/loss": "validation loss",
                "validation/main/pdj@0.2": "PDJ@0.2",
            }
            losses = "  ".join(f"{name} {entry[key]:.5g}" for key, name in named.items() if key in entry)
            rate = f"{entry.get('pictures_per_second', 0):.0f} pictures/s  waiting {entry.get('waiting', 0):.0%}"
            progress.console.print(f"epoch {entry['epoch']}  iteration {entry['iteration']}  {losses}  {rate}")

        yield Watch(
            notice=lambda sentence: progress.console.print(f"note: {sentence}"),
            step=step,
            log=log,
            saved=lambda files: progress.console.print(f"saved {', '.join(map(str, files))}"),
        )


def examination(examination: Examination) -> None:
    """Shows what the doctor found."""
    table = _table("", "found", "verdict", "what to do", text=4)
    styles = {"ok": "", "warning": "yellow", "problem": "bold red"}
    for row in examination.rows:
        advice = "\n".join(part for part in (row.note, row.remedy) if part)
        table.add_row(row.what, row.found, row.verdict, advice, style=styles[row.verdict])
    _print(table)
    for mend in examination.mends:
        click.echo(f"mended in Chainer: {mend['name']} ({mend['reason']})")
    asked = " ".join(word for word in (examination.backend, "on", examination.device or "cpu") if word)
    click.echo(f"{asked}: {'runs' if examination.runs else 'does not run'}")


def data_rates(rows: Iterable[DataSpeed], best: DataSpeed) -> None:
    """Shows how fast examples are made."""
    table = _table("threads", "pictures/s", text=0)
    for row in rows:
        table.add_row(str(row.threads), f"{row.pictures_per_second:.0f}", style="bold" if row == best else "")
    _print(table)
    click.echo(f"take --threads {best.threads}")


def _shown(text: str) -> str:
    """Returns a name from a file in printable characters: it must not write lines of its own."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _percent(fraction: float) -> str:
    return "-" if math.isnan(fraction) else f"{100 * fraction:.1f}"


def _facts() -> Table:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _table(*columns: str, text: int = 1) -> Table:
    """Makes a table whose first `text` columns hold text, the others numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < text else "right", overflow="fold")
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)  # names may hold brackets
    if not console.is_terminal:  # a file or a pipe has no width to fold to
        console = Console(width=200, highlight=False, markup=False)
    console.print(table)
