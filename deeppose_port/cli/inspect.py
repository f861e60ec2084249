"""`inspect`: what a file holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.cli import checkpoints, display
from deeppose_port.cli.command import command
from deeppose_port.cli.options import (
    BAD_INPUT,
    SOME_REFUSED,
    JsonOptions,
    SourceOptions,
    into_subfolders,
    with_state,
)
from deeppose_port.options import described, values_of

if TYPE_CHECKING:
    from converters import Checkpoint, Inspection
    from converters.cascade import Cascade
    from converters.inspection import TensorSummary


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """What `inspect` is told."""

    files: tuple[Path, ...] = described("Checkpoints, or folders of them.", names=("FILE",))
    recursive: bool = into_subfolders()
    reading: SourceOptions
    state: bool = with_state()
    shown: JsonOptions


@command(lambda: InspectOptions)
def inspect(options: InspectOptions) -> int:
    """Shows what a checkpoint holds: tensors, ranges, NaN, optimizer, progress.

    Several files, or a folder, are listed one a line. The exit status is 3 if some of several cannot be read, and 2 if
    none can.

    \b
    Example:
      deeppose-port inspect snapshot_iter_120000
      deeppose-port inspect -r results
    """
    import converters
    from converters.folders import is_folder

    if len(options.files) > 1 or is_folder(options.files[0]):
        return _inventory(options)
    inspection = converters.inspect(options.files[0], state=options.state, **values_of(options.reading))
    if options.shown.as_json:
        display.as_json(inspection.as_dict())
    else:
        _show(inspection)
    if inspection.problem is not None:
        display.error(inspection.problem)
        return BAD_INPUT
    return 0


def _inventory(options: InspectOptions) -> int:
    """Shows what several files are, a line each."""
    import converters
    from converters.folders import survey

    there = survey(options.files, "", recursive=options.recursive)
    if not there.found:
        named = ", ".join(map(str, options.files))
        deeper = any(entry.is_dir() for folder in options.files for entry in folder.iterdir())
        advice = "-r looks into subfolders too" if deeper and not options.recursive else None
        raise DeepPoseError(f"{named}: there is no checkpoint in here", advice=advice)
    table = display.table(
        *("file", "architecture", "joints", "writer", "optimizer", "epoch", "NaN", "Inf", "MB"), text=(0, 1, 3, 4)
    )
    files: list[dict[str, Any]] = []
    failed = assumed = 0
    with display.steps("looking", quiet=options.shown.as_json, unit="files") as step:
        for each in there.found:
            step(each.path.name, len(files), len(there.found))
            entry: dict[str, Any] = {}
            try:
                seen = converters.inspect(each.path, state=options.state, **values_of(options.reading))
                entry = seen.as_dict()
                if (read := seen.checkpoint or seen.cascade) is not None:
                    assumed += checkpoints.is_assumed(read.source)
                    table.add_row(*_line(each.path, read))
                problem = seen.problem
            except DeepPoseError as error:
                problem = str(error)
            files.append({**entry, "path": str(each.path), "problem": problem})
            if problem is not None:
                failed += 1
                display.error(problem)
                table.add_row(str(each.path), "refused", *[""] * 7)
    if options.shown.as_json:
        display.as_json({"files": files, "failed": failed, "assumed": assumed, "passed_over": len(there.passed_over)})
    else:
        display.show(table)
        display.say(f"{len(files) - failed} of {display.counted(len(files), 'checkpoint')} can be read")
        if assumed:
            display.say(checkpoints.assumed_writers(assumed))
        if there.passed_over:
            display.say(f"{display.counted(len(there.passed_over), 'file')} passed over")
    return 0 if not failed else SOME_REFUSED if failed < len(files) else BAD_INPUT


def _line(file: Path, read: Checkpoint | Cascade) -> Iterator[str]:
    """Yields the cells of a checkpoint's or cascade's line; how far a cascade is, its last stage tells."""
    from converters import Checkpoint

    if isinstance(read, Checkpoint):
        first = last = read
        stages = ""
    else:
        first, last = read.first, read.stages[-1].networks[-1]
        stages = f", {display.counted(len(read.stages), 'stage')}"
    yield str(file)
    yield f"{first.architecture.name}{stages}"
    yield str(read.joints)
    yield checkpoints.writer(first.source)
    yield last.optimizer.algorithm if last.optimizer else ""
    epoch = last.progress.epoch if last.progress else None
    yield "" if epoch is None else str(epoch)
    yield str(sum(repair.nan for repair in read.repairs))
    yield str(sum(repair.inf for repair in read.repairs))
    files = [file] if file.is_file() else file.iterdir()
    yield f"{sum(one.stat().st_size for one in files) / 1e6:.1f}"


def _show(inspection: Inspection) -> None:
    """Shows what a file holds."""
    from converters import words

    facts = display.facts()
    facts.add_row("file", inspection.path)
    facts.add_row("sha256", inspection.sha256)
    facts.add_row("format", inspection.format)
    checkpoint, cascade = inspection.checkpoint, inspection.cascade
    if checkpoint is not None:
        if checkpoint.source.sha256 != inspection.sha256:
            facts.add_row("weights", f"in {checkpoint.source.path}, sha256 {checkpoint.source.sha256}")
        for name, told in words.facts_of(checkpoint).items():
            facts.add_row(name, told)
    if cascade is not None:
        if cascade.source.sha256 != inspection.sha256:
            facts.add_row("weights", f"sha256 {cascade.source.sha256}")
        for name, told in words.facts_of_cascade(cascade).items():
            facts.add_row(name, told)
    display.show(facts)
    if inspection.layers:
        layers = display.table("layers", "kind", "output", text=(0, 1, 2))
        for name, kind, output in inspection.layers:
            layers.add_row(name, kind, " x ".join(map(str, output)))
        display.show(layers)
    table = display.table("tensors", "shape", "dtype", "smallest", "largest", "NaN", "Inf", text=3)
    for label, group in _groups(inspection.tensors):
        low = min((t.minimum for t in group if t.minimum is not None), default=math.nan)
        high = max((t.maximum for t in group if t.maximum is not None), default=math.nan)
        shapes, dtypes = {t.shape for t in group}, {t.dtype for t in group}
        shape = " x ".join(map(str, group[0].shape)) or "scalar"
        nan, inf = sum(t.nan for t in group), sum(t.inf for t in group)
        table.add_row(
            label,
            shape if len(shapes) == 1 else f"{len(shapes)} shapes",
            ", ".join(sorted(dtypes)),
            *(f"{low:.4g}", f"{high:.4g}", str(nan), str(inf)),
        )
    display.show(table)
    read = checkpoint or inspection.cascade
    if read is not None:
        display.notices(read.notices)


def _groups(tensors: Iterable[TensorSummary]) -> Iterator[tuple[str, list[TensorSummary]]]:
    """Folds tensors for a table: the network's by names and shapes, an optimizer's by slot."""
    from converters.folding import fold_groups

    weights: dict[str, TensorSummary] = {}
    slots: dict[str, list[TensorSummary]] = {}
    for tensor in tensors:
        network, is_slot, rest = f".{tensor.name}".partition(".optimizer.")
        if is_slot:
            stage = f"{network[1:]} " if network else ""
            slots.setdefault(f"{stage}optimizer {rest.partition('.')[0]}", []).append(tensor)
        else:
            weights[tensor.name] = tensor
    for names in fold_groups(weights).values():
        alike: dict[tuple[tuple[int, ...], str], list[str]] = {}
        for name in names:
            alike.setdefault((weights[name].shape, weights[name].dtype), []).append(name)
        for members in alike.values():
            yield ", ".join(fold_groups(members)), [weights[name] for name in members]
    yield from slots.items()
