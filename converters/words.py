"""What is known of checkpoints, in words: facts for people, and tables of HTML as notebooks show a value.

Names and messages come from files that anybody wrote: whatever they hold is shown as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from converters.errors import printable

if TYPE_CHECKING:
    from converters.cascade import Cascade
    from converters.checkpoint import Checkpoint, Repair
    from converters.conversion import Report

#: A table has no more rows than that: a network of 300 tensors is no page to read.
_MOST_ROWS = 200


def optimizer(algorithm: str | None, progress: Mapping[str, object] | None) -> str:
    """Says which optimizer's state there is, and how far its training came."""
    counts = [f"{name} {value}" for name, value in (progress or {}).items() if value is not None]
    return ", ".join([algorithm or "none", *counts])


def stage(values: Mapping[str, Any]) -> str:
    """Says what a stage of a cascade is, of one of `Report.stages`."""
    crop = values["crop"]
    networks = "one network" if values["networks"] == 1 else f"{values['networks']} networks, one a joint"
    sees = "the person" if crop is None else f"close-ups of {crop['sigma']:g} diameters"
    measured = ", displacements measured" if crop is not None and crop["mean"] else ""
    return f"{sees}{measured}; {values['architecture']}, {networks}, {values['parameters']:,} parameters"


def repairs(made: Iterable[Repair]) -> str:
    """Says what became of NaN and Inf."""
    made = list(made)
    if not made:
        return "none: all numbers are finite"
    nan, inf = sum(r.nan for r in made), sum(r.inf for r in made)
    became = "kept" if made[0].became is None else "became 0"
    if became != "kept" and any(repair.became for repair in made):
        became += " (a variance 1)"
    return f"{nan} NaN and {inf} Inf in {len(made)} tensors {became}"


def facts_of(checkpoint: Checkpoint) -> dict[str, str]:
    """Returns what is known of a checkpoint apart from its numbers."""
    from converters.families import FAMILIES
    from converters.preprocessing import in_words

    source, told = checkpoint.source, checkpoint.preprocessing
    facts = {}
    if source.generation in FAMILIES:
        family = FAMILIES[source.generation]
        facts = {
            "family": f"{family.name}: {family.title}",
            "recognised by": family.recognised,
            "what is done": family.done,
        }
    writer = f"{source.writer} ({source.writer_told_by})" if source.writer_told_by else source.writer
    names = ", ".join(told.joints)
    assumed = " (told by their number)" if told.joints_assumed else ""
    algorithm = checkpoint.optimizer.algorithm if checkpoint.optimizer else None
    part, size, pixels, answers = in_words(told)
    return {
        **facts,
        "layout": source.layout,
        "writer": writer or "not told",
        "wrappers": " ".join(source.wrappers) or "none",
        "architecture": f"{checkpoint.architecture.name}, {checkpoint.parameters:,} parameters",
        "joints": f"{checkpoint.joints}: {names}{assumed}" if names else str(checkpoint.joints),
        "optimizer": optimizer(algorithm, checkpoint.progress.as_dict() if checkpoint.progress else None),
        "looks at": part,
        "input": f"{size}; {pixels}",
        "answers": f"{'fractions of it, ' if told.coord_normalize else ''}{answers}",
    }


def facts_of_cascade(cascade: Cascade) -> dict[str, str]:
    """Returns what is known of a cascade apart from its numbers."""
    last = cascade.stages[-1].networks[-1]
    algorithm = last.optimizer.algorithm if last.optimizer else None
    names = cascade.first.preprocessing.joints
    stages = f"{len(cascade.stages)} {'stage' if len(cascade.stages) == 1 else 'stages'}"
    return {
        "cascade": f"{stages}, {cascade.parameters:,} parameters",
        **{f"stage {number}": stage(each.as_dict()) for number, each in enumerate(cascade.stages, start=1)},
        "optimizer": optimizer(algorithm, last.progress.as_dict() if last.progress else None),
        "joints": f"{cascade.joints}: {', '.join(names)}" if names else str(cascade.joints),
        **({} if cascade.face is None else {"looks at": "a rectangle that follows from the person's face"}),
    }


def facts_of_report(report: Report) -> dict[str, str]:
    """Returns what a conversion did."""
    from converters.formats import FORMATS

    source = report.source
    verified = FORMATS[report.output_format].proof if report.verified else "not written (dry run)"
    return {
        "source": source.path,
        "sha256": source.sha256,
        "format": f"{source.format} ({source.layout})",
        "writer": f"{source.writer} ({source.writer_told_by})",
        "wrappers": " ".join(source.wrappers) or "none",
        "architecture": f"{report.architecture}, {report.parameters:,} parameters in {report.tensors} tensors",
        **{f"stage {number}": stage(each) for number, each in enumerate(report.stages or (), start=1)},
        "joints": str(report.joints),
        "optimizer": optimizer(report.optimizer, report.progress),
        "repairs": repairs(report.repairs),
        "output": f"{report.output} ({report.output_format}; {verified})",
        **({"output's sha256": report.output_sha256} if report.output_sha256 else {}),
    }


def html_of_facts(title: str, facts: Mapping[str, object]) -> str:
    """Returns a table of facts, a line each, under a title."""
    rows = "".join(f'<tr><th style="text-align:left">{_text(k)}</th>{_cell(v)}</tr>' for k, v in facts.items())
    return f"<table><caption><b>{_text(title)}</b></caption><tbody>{rows}</tbody></table>"


def html_of_rows(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> str:
    """Returns a table with headings; under a title that opens and closes it, where there is one."""
    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    lines = [f"<tr>{''.join([_cell(row[0]), *(f'<td>{_text(cell)}</td>' for cell in row[1:])])}</tr>" for row in rows]
    if len(lines) > _MOST_ROWS:
        more = len(lines) - _MOST_ROWS
        lines[_MOST_ROWS:] = [f'<tr><td colspan="{len(columns)}">and {more:,} more</td></tr>']
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f"<details><summary>{_text(title)}</summary>{table}</details>" if title else table


def _cell(value: object) -> str:
    return f'<td style="text-align:left">{_text(value)}</td>'


def _text(value: object) -> str:
    from html import escape  # the command line shows no HTML

    return escape(printable(str(value)))
