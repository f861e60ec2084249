"""`convert`: a checkpoint of any format into another."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.cli import checkpoints, display
from deeppose_port.cli.command import command
from deeppose_port.cli.options import (
    SOME_REFUSED,
    JsonOptions,
    ReadingOptions,
    into_subfolders,
    overwriting,
    with_state,
)
from deeppose_port.cli.summary import Summary
from deeppose_port.options import described, values_of

if TYPE_CHECKING:
    from converters import Report
    from converters.folders import Found


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

    sources: tuple[Path, ...] = described("Checkpoints, or folders of them.", names=("OLD",))
    output: Path | None = described(
        "The file to write, or the folder if there are several inputs; by default OLD.pt beside OLD.",
        default=None,
        metavar="NEW",
        names=("-o", "--output"),
    )
    format: str | None = described(
        "The format to write, if NEW's suffix does not tell.", default=None, choices=_formats, names=("--to",)
    )
    layout: str | None = described(
        "What to write as chainer-npz: a .model with the last legacy names (head), a .state with the "
        "optimizer, or a trainer's snapshot.",
        default=None,
        choices=_layouts,
    )
    reading: ReadingOptions
    state: bool = with_state()
    force: bool = overwriting()
    dry_run: bool = described("Read and report, but write nothing.", default=False, names=("--dry-run",))
    recursive: bool = into_subfolders("; with -o their structure is kept", section="Many files")
    skip_existing: bool = described(
        "Skip files whose output exists already.", default=False, names=("--skip-existing",)
    )
    results: Path | None = described(
        "Write a CSV with one line a file: what became of it.", default=None, metavar="FILE.csv"
    )
    shown: JsonOptions

    def __post_init__(self) -> None:
        if self.skip_existing and self.force:
            raise click.UsageError("--skip-existing and --force contradict each other")


@command(lambda: ConvertOptions)
def convert(options: ConvertOptions) -> int:
    """Converts checkpoints to PyTorch and other formats, and verifies every byte.

    OLD is a Chainer .model (with its .state beside it), a snapshot, HDF5, a .chainermodel of 2015, .pt or safetensors;
    its content tells which. It may also be a folder of them, or a cascade: a cascade becomes one .pt or safetensors
    file, or a folder in the other formats. ONNX files and torch.export archives (.pt2) are for other programs to run;
    their outputs are checked against PyTorch's.

    In a folder, every checkpoint is accounted for. The exit status is 3 if some of several files were refused, and 2 if
    all were.

    \b
    Example:
      deeppose-port convert epoch-100.model
      deeppose-port convert epoch-100.model -o pose.onnx
      deeppose-port convert -r results -o converted --results converted.csv
    """
    import converters
    from converters.folders import is_folder
    from deeppose_port import backends as backends  # they register the formats of theirs

    sources, output = options.sources, options.output
    if len(sources) > 1 or is_folder(sources[0]) or options.results is not None or options.skip_existing:
        return _convert_many(options)
    with display.steps(sources[0].name, quiet=options.shown.as_json) as step:
        report = converters.convert(sources[0], output, progress=step, **_told(options))
    display.notices([*report.notices, *_probed(sources[0], report, options)], report.repairs)
    if options.shown.as_json:
        display.as_json(report.as_dict())
    else:
        _show(report)
    return 0


def _probed(source: Path, report: Report, options: ConvertOptions) -> list[str]:
    """Says whether a network answers in which numbers were replaced; an engine is loaded for nothing else."""
    if not any(repair.became is not None and not repair.tensor.startswith("optimizer.") for repair in report.repairs):
        return []
    import converters
    from converters import Checkpoint
    from converters.formats import FORMATS
    from deeppose_port.inspecting.probe import probe

    if "metadata" in FORMATS[report.output_format].holds and options.layout is None and not options.dry_run:
        read = converters.read(report.output, state=False)  # it is inflated already, and needs to be told nothing
    else:
        read = converters.read(source, state=False, **values_of(options.reading))
    if isinstance(read, Checkpoint):
        return [probe(read)]
    return [f"{part}: {probe(network)}" for part, network in read.networks.items()]


def _told(options: ConvertOptions) -> dict[str, Any]:
    """Returns what `converters.convert` is told beside the files."""
    said = {name: getattr(options, name) for name in ("format", "layout", "state", "force", "dry_run")}
    return {**values_of(options.reading), **said}


def _convert_many(options: ConvertOptions) -> int:
    """Converts several files, a line each; one that is refused does not keep the others."""
    import converters
    from converters.files import refuse_targets, refuse_without_folder
    from converters.folders import is_folder, new_folder, survey

    sources, output, as_json = options.sources, options.output, options.shown.as_json
    single = len(sources) == 1 and not is_folder(sources[0])
    kind = options.format or "pt"
    told = {**_told(options), "format": kind}
    there = survey(sources, kind, recursive=options.recursive)
    if not there.found and not there.done:
        raise DeepPoseError(f"{', '.join(map(str, sources))}: there is no checkpoint to convert in here")
    if options.results is not None:
        read = [*sources, *(each.path for each in there.found)]
        refuse_targets([options.results], options.force, read=read, instead="--results names another")
        refuse_without_folder(options.results)
    if output is not None and not single:
        new_folder(output)
    targets = {each.path: _target(each, output, kind) for each in there.found}
    if single and output is not None:
        targets, told["format"] = {sources[0]: output}, options.format
    skipped = [file for file, target in targets.items() if options.skip_existing and target.exists()]
    files = [(file, target) for file, target in targets.items() if file not in skipped]
    made = [] if options.dry_run else _make_folders(target.parent for _, target in files)
    outcomes = converters.convert_several(files, **told)
    summary = Summary()
    try:
        with closing(outcomes), display.steps("converting", quiet=as_json, unit="files") as step:
            for (file, _), outcome in zip(files, outcomes, strict=True):
                summary.add(file, outcome)
                if isinstance(outcome, DeepPoseError):
                    display.error(str(outcome))
                elif not as_json:
                    _show_line(outcome)
                step(file.name, len(summary.outcomes), len(files))
    finally:
        for folder in reversed(made):
            if not any(folder.iterdir()):
                folder.rmdir()
    skipped += there.done
    if options.results is not None:
        summary.save(options.results, skipped, force=options.force)
    if as_json:
        display.as_json({**summary.as_dict(), **_counted(skipped, there.passed_over)})
    else:
        for line in summary.lines(len(skipped), len(there.passed_over)):
            display.say(line)
    return SOME_REFUSED if summary.failures and skipped else summary.status


def _target(found: Found, output: Path | None, kind: str) -> Path:
    """Returns what a file is written to."""
    import converters

    target = converters.default_target(found.path, kind)
    return target if output is None else (output / found.within).with_name(target.name)


def _make_folders(folders: Iterable[Path]) -> list[Path]:
    """Makes folders; returns those that were not there, a folder before those in it."""
    made: list[Path] = []
    for folder in dict.fromkeys(folders):
        missing = []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for each in reversed(missing):
            each.mkdir(exist_ok=True)
            made.append(each)
    return made


def _counted(skipped: Collection[Path], passed_over: Collection[Path]) -> dict[str, object]:
    return {"skipped": [str(file) for file in skipped], "passed_over": len(passed_over)}


def _show(report: Report) -> None:
    """Shows what a conversion did."""
    from converters import words

    table = display.facts()
    for name, told in words.facts_of_report(report).items():
        table.add_row(name.removeprefix("output's "), told)
    display.show(table)


def _show_line(report: Report) -> None:
    """Shows what a conversion did, in one line."""
    from converters import words

    repairs = f", {words.repairs(report.repairs)}" if report.repairs else ""
    display.say(
        f"{report.source.path} -> {report.output}: {report.architecture}, {report.joints} joints, "
        f"{checkpoints.writer(report.source)}{repairs}" + ("" if report.verified else " (dry run)")
    )
