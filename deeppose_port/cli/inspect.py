"""`inspect`: what a file holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deeppose_port.cli import checkpoints, display
from deeppose_port.cli.command import command
from deeppose_port.cli.options import BAD_INPUT, JsonOptions, SourceOptions
from deeppose_port.options import described

if TYPE_CHECKING:
    from converters import Inspection
    from converters.inspection import TensorSummary


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """What `inspect` is told."""

    file: Path = field(metadata=described("A checkpoint.", names=("FILE",)))
    reading: SourceOptions
    state: bool = field(default=True, metadata=described("Whether the optimizer's state is read too."))
    shown: JsonOptions


@command(lambda: InspectOptions)
def inspect(options: InspectOptions) -> int:
    """Shows what a checkpoint holds: tensors, ranges, NaN, optimizer, progress.

    \b
    Example:
      deeppose-port inspect snapshot_iter_120000
    """
    import converters

    inspection = converters.inspect(options.file, state=options.state, **options.reading.as_arguments())
    if options.shown.as_json:
        display.as_json(inspection.as_dict())
    else:
        _show(inspection)
    if inspection.problem is not None:
        display.error(inspection.problem)
        return BAD_INPUT
    return 0


def _show(inspection: Inspection) -> None:
    """Shows what a file holds."""
    from converters.preprocessing import in_words

    facts = display.facts()
    facts.add_row("file", inspection.path)
    facts.add_row("format", inspection.format)
    checkpoint = inspection.checkpoint
    generation = inspection.generation
    if checkpoint is not None and generation is not None:
        source = checkpoint.source
        facts.add_row("generation", f"{generation.name}: {generation.title}")
        facts.add_row("recognised by", generation.recognised)
        facts.add_row("done", generation.done)
        facts.add_row("sha256", source.sha256)
        facts.add_row("layout", source.layout)
        facts.add_row("writer", f"{source.writer} ({source.writer_told_by})")
        facts.add_row("wrappers", " ".join(source.wrappers) or "none")
        facts.add_row("architecture", f"{checkpoint.architecture.name}, {checkpoint.parameters:,} parameters")
        names = ", ".join(checkpoint.preprocessing.joints)
        facts.add_row("joints", f"{checkpoint.joints}: {names}" if names else str(checkpoint.joints))
        algorithm = checkpoint.optimizer.algorithm if checkpoint.optimizer else None
        progress = checkpoint.progress.as_dict() if checkpoint.progress else None
        facts.add_row("optimizer", checkpoints.optimizer(algorithm, progress))
        part, size, pixels, answers = in_words(checkpoint.preprocessing)
        facts.add_row("looks at", part)
        facts.add_row("input", f"{size}; {pixels}")
        fractions = "fractions of it, " if checkpoint.preprocessing.coord_normalize else ""
        facts.add_row("answers", f"{fractions}{answers}")
    display.show(facts)
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
    if checkpoint is not None:
        display.notices(checkpoint.notices)


def _groups(tensors: Iterable[TensorSummary]) -> Iterator[tuple[str, list[TensorSummary]]]:
    """Folds tensors for a table: the network's by names and shapes, an optimizer's by slot."""
    from converters.folding import fold_groups

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
