"""`convert`: a checkpoint of any format into another."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.errors import DeepPoseError
from deeppose_port.cli import checkpoints, display
from deeppose_port.cli.command import command
from deeppose_port.cli.options import BAD_INPUT, JsonOptions, ReadingOptions
from deeppose_port.options import described

if TYPE_CHECKING:
    from converters import Report


def _formats() -> Collection[str]:
    from converters.formats import writable
    from deeppose_port import backends as backends  # they register the formats of theirs

    return [format.name for format in writable()]


def _layouts() -> Collection[str]:
    from converters.layouts import LAYOUTS

    return LAYOUTS


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """What `convert` is told."""

    sources: tuple[Path, ...] = field(metadata=described("Checkpoints, or folders of them.", names=("OLD",)))
    output: Path | None = field(
        default=None,
        metadata=described(
            "The file to write, or for several inputs the folder; by default beside OLD, as OLD.pt.",
            metavar="NEW",
            names=("-o", "--output"),
        ),
    )
    format: str | None = field(
        default=None,
        metadata=described("The format, where NEW's suffix does not say.", choices=_formats, names=("--to",)),
    )
    layout: str | None = field(
        default=None,
        metadata=described(
            "For chainer-npz: the last legacy names, the optimizer's state, or a trainer's snapshot.", choices=_layouts
        ),
    )
    reading: ReadingOptions
    state: bool = field(default=True, metadata=described("Whether the optimizer's state is read too."))
    force: bool = field(default=False, metadata=described("Replace a file that exists.", names=("--force",)))
    dry_run: bool = field(default=False, metadata=described("Read and report, write nothing.", names=("--dry-run",)))
    shown: JsonOptions


@command(lambda: ConvertOptions)
def convert(options: ConvertOptions) -> int:
    """Converts checkpoints, reads them again and compares every byte.

    OLD is a Chainer .model (with its .state beside it), a snapshot, HDF5, a .chainermodel of 2015, .pt or safetensors,
    told by its content, or a folder of them. ONNX and torch.export's archives (.pt2) are for other programs to run:
    their outputs are compared with PyTorch's.

    \b
    Example:
      deeppose-port convert epoch-100.model
      deeppose-port convert epoch-100.model -o pose.onnx
      deeppose-port convert results/AlexNet_2016 -o converted --to safetensors
    """
    import converters
    from deeppose_port import backends as backends  # they register the formats of theirs

    sources, output = options.sources, options.output
    if len(sources) > 1 or sources[0].is_dir():
        return _convert_many(options)
    with display.steps(sources[0].name, quiet=options.shown.as_json) as step:
        report = converters.convert(sources[0], output, progress=step, **_told(options))
    display.notices(report.notices, report.repairs)
    if options.shown.as_json:
        display.as_json(report.as_dict())
    else:
        _show(report)
    return 0


def _told(options: ConvertOptions) -> dict[str, Any]:
    """Returns what `converters.convert` is told beside the files."""
    said = {name: getattr(options, name) for name in ("format", "layout", "state", "force", "dry_run")}
    return {**options.reading.as_arguments(), **said}


def _convert_many(options: ConvertOptions) -> int:
    """Converts several files, a line each; one that is refused does not keep the others."""
    import converters

    sources, output, as_json = options.sources, options.output, options.shown.as_json
    kind = options.format or "pt"
    files = [file for source in sources for file in converters.checkpoints_in(source, kind)]
    if not files:
        raise DeepPoseError(f"{', '.join(map(str, sources))}: there is no checkpoint to convert in here")
    if output is not None and not options.dry_run:
        output.mkdir(parents=True, exist_ok=True)
    targets = [converters.default_target(file, kind) for file in files]
    if output is not None:
        targets = [output / target.name for target in targets]
    results: list[dict[str, Any]] = []
    failed = 0
    told = {**_told(options), "format": kind}
    outcomes = converters.convert_several(list(zip(files, targets, strict=True)), **told)
    with closing(outcomes), display.steps("converting", quiet=as_json, unit="files") as step:
        for file, outcome in zip(files, outcomes, strict=True):
            if isinstance(outcome, DeepPoseError):
                failed += 1
                results.append({"source": {"path": str(file)}, "error": str(outcome)})
                display.error(str(outcome))
            else:
                results.append(outcome.as_dict())
                if not as_json:
                    _show_line(outcome)
            step(file.name, len(results), len(files))
    if as_json:
        display.as_json({"files": results, "converted": len(files) - failed, "failed": failed})
    else:
        display.say(f"{len(files) - failed} of {len(files)} checkpoints converted")
    return BAD_INPUT if failed else 0


def _show(report: Report) -> None:
    """Shows what a conversion did."""
    from converters.formats import FORMATS

    source = report.source
    table = display.facts()
    table.add_row("source", source.path)
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
    verified = FORMATS[report.output_format].proof if report.verified else "not written (dry run)"
    table.add_row("output", f"{report.output} ({report.output_format}; {verified})")
    if report.output_sha256:
        table.add_row("sha256", report.output_sha256)
    display.show(table)


def _show_line(report: Report) -> None:
    """Shows what a conversion did, in one line."""
    repairs = f", {checkpoints.repairs_made(report.repairs)}" if report.repairs else ""
    display.say(
        f"{report.source.path} -> {report.output}: {report.architecture}, {report.joints} joints, "
        f"{report.source.writer}{repairs}" + ("" if report.verified else " (dry run)")
    )
