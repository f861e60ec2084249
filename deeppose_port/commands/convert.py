"""`convert`: a checkpoint of any format into another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeppose_port.commands import checkpoints, display
from deeppose_port.commands.options import BAD_INPUT, PATH, checkpoint_options, json_option

if TYPE_CHECKING:
    from converters import Report


@click.command()
@click.argument("sources", metavar="OLD...", nargs=-1, required=True, type=PATH)
@click.option(
    "-o",
    "--output",
    metavar="NEW",
    type=PATH,
    help="The file to write, or for several inputs the folder; by default beside OLD, as OLD.pt.",
)
@click.option(
    "--to", "format", metavar="pt|safetensors|chainer-npz", help="The format, where NEW's suffix does not say."
)
@click.option(
    "--layout",
    metavar="head|state|snapshot",
    help="For chainer-npz: the last legacy names, the optimizer's state, or a trainer's snapshot.",
)
@checkpoint_options
@click.option("--state/--no-state", default=True, help="Whether the optimizer's state is read too.")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@click.option("--dry-run", is_flag=True, help="Read and report, write nothing.")
@json_option
def convert(
    sources: tuple[Path, ...],
    output: Path | None,
    as_json: bool,
    format: str | None,
    **options: Any,
) -> int:
    """Converts checkpoints, reads them again and compares every byte.

    OLD is a Chainer .model (with its .state beside it), a snapshot, HDF5, .pt or safetensors, told by its content, or
    a folder of them.

    \b
    Example:
      deeppose-port convert epoch-100.model
      deeppose-port convert results/AlexNet_2016 -o converted --to safetensors
    """
    import converters

    if len(sources) == 1 and not sources[0].is_dir():
        with display.steps(sources[0].name, quiet=as_json) as step:
            report = converters.convert(sources[0], output, format=format, progress=step, **options)
        display.notices(report.notices, report.repairs)
        if as_json:
            display.as_json(report.as_dict())
        else:
            _show(report)
        return 0
    return _convert_many(sources, output, format, as_json, options)


def _convert_many(
    sources: tuple[Path, ...], output: Path | None, format: str | None, as_json: bool, options: dict[str, Any]
) -> int:
    """Converts several files, a line each; one that is refused does not keep the others."""
    import converters

    kind = format or "pt"
    files = [file for source in sources for file in converters.checkpoints_in(source, kind)]
    if not files:
        raise ValueError(f"{', '.join(map(str, sources))}: there is no checkpoint to convert in here")
    if output is not None and not options["dry_run"]:
        output.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    failed = 0
    for file in files:
        target = converters.default_target(file, kind)
        if output is not None:
            target = output / target.name
        try:
            with display.steps(file.name, quiet=as_json) as step:
                report = converters.convert(file, target, format=kind, progress=step, **options)
        except ValueError as error:
            failed += 1
            results.append({"source": {"path": str(file)}, "error": str(error)})
            display.error(str(error))
            continue
        results.append(report.as_dict())
        if not as_json:
            _show_line(report)
    if as_json:
        display.as_json({"files": results, "converted": len(files) - failed, "failed": failed})
    else:
        click.echo(f"{len(files) - failed} of {len(files)} checkpoints converted")
    return BAD_INPUT if failed else 0


def _show(report: Report) -> None:
    """Shows what a conversion did."""
    source = report.source
    table = display.facts()
    table.add_row("source", display.shown(source.path))
    table.add_row("sha256", source.sha256)
    table.add_row("format", f"{source.format} ({source.layout})")
    table.add_row("writer", f"{source.writer} ({source.writer_told_by})")
    table.add_row("wrappers", " ".join(source.wrappers) or "none")
    table.add_row(
        "architecture", f"{report.architecture}, {report.parameters:,} parameters in {report.tensors} tensors"
    )
    table.add_row("joints", str(report.joints))
    table.add_row("optimizer", checkpoints.optimizer(report.optimizer, report.progress))
    table.add_row("repairs", checkpoints.repairs_made(report.repairs))
    verified = "read again, every byte equal" if report.verified else "not written (dry run)"
    table.add_row("output", f"{display.shown(report.output)} ({report.output_format}; {verified})")
    if report.output_sha256:
        table.add_row("sha256", report.output_sha256)
    display.show(table)


def _show_line(report: Report) -> None:
    """Shows what a conversion did, in one line."""
    repairs = f", {checkpoints.repairs_made(report.repairs)}" if report.repairs else ""
    click.echo(
        f"{report.source.path} -> {report.output}: {report.architecture}, {report.joints} joints, "
        f"{report.source.writer}{repairs}" + ("" if report.verified else " (dry run)")
    )
