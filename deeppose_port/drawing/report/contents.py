"""What stands in a report's tables: numbers with their definitions, and where they come from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

from converters import Repair
from converters.preprocessing import in_words
from converters.values import dataclass
from deeppose_port.drawing.report.subjects import Named, Subject
from deeppose_port.evaluate.engines import engine_of
from deeppose_port.metrics import shown
from deeppose_port.metrics.evaluation import Bootstrap, Evaluation, Measure
from deeppose_port.metrics.registry import METRICS, NEEDS, Metric
from deeppose_port.text import counted

_HEADLINES = 5
"""Numbers on top at most."""


@dataclass(frozen=True)
class MetricRow:
    """A metric of the whole.

    Attributes:
        metric: Which.
        values: A number a subject, with its unit.
        difference: Of the last from the first.
        interval: Its confidence interval; None where none was asked for.
    """

    metric: Metric
    values: list[str]
    difference: str
    interval: str | None


@dataclass(frozen=True)
class Row:
    """Metrics of a joint, of a limb, or of all.

    Attributes:
        name: Of the joint or limb.
        cells: For each metric, a number a subject.
        annotated: Persons in whom a joint is annotated; None of limbs.
    """

    name: str
    cells: list[list[str]]
    annotated: int | None = None


@dataclass(frozen=True)
class Table:
    """Metrics by joint or limb.

    Attributes:
        columns: Their headings.
        rows: A joint or limb each.
        whole: All together.
    """

    columns: list[str]
    rows: list[Row]
    whole: Row


@dataclass(frozen=True)
class Provenance:
    """Where a checkpoint comes from.

    Attributes:
        facts: By name.
        repairs: What was not finite in its file.
        notices: What was chosen for it.
    """

    facts: dict[str, str]
    repairs: tuple[Repair, ...]
    notices: tuple[str, ...]


def undefined(subject: Subject) -> list[str]:
    """Returns what the data cannot give, in sentences."""
    sentences = []
    for need, why in NEEDS.items():
        missing = [m.title for m in METRICS.values() if m.needs == need and m.is_shown and not _has(subject, m)]
        if missing:
            reason = why.format(skeleton=subject.evaluation.skeleton.name)
            sentences.append(f"Not defined: {', '.join(missing)}, because {reason}.")
    if sentences:
        sentences.append("The prepare command writes the lengths of torsos and heads, where the data set has them.")
    return sentences


def metric_rows(subjects: Sequence[Subject], intervals: Bootstrap | None = None) -> list[MetricRow]:
    """Returns a row for each metric of the whole that the data can give."""
    rows = []
    for metric in METRICS.values():
        if not metric.is_shown or not all(_has(subject, metric) for subject in subjects):
            continue
        values = [measure.overall for measure in _measures(subjects, metric)]
        rows.append(
            MetricRow(
                metric,
                [shown.number(value, metric.unit) for value in values],
                shown.difference(values[0], values[-1], metric.unit),
                None if intervals is None else shown.interval(intervals.wholes[metric.key], metric.unit),
            )
        )
    return rows


def stage_rows(stages: Sequence[Evaluation]) -> list[tuple[str, list[str]]]:
    """Returns a title and a number a stage for each metric of the whole; nothing where there are no stages between."""
    if len(stages) < 3:
        return []
    return [
        (measure.metric.title, [shown.number(one[measure.metric.name].overall, measure.metric.unit) for one in stages])
        for measure in stages[-1].shown()
    ]


def headlines(subject: Subject, rows: Sequence[MetricRow]) -> list[MetricRow]:
    """Returns the rows whose numbers stand on top."""
    wanted = {measure.metric.key for measure in subject.evaluation.headlines()}
    return [row for row in rows if row.metric.key in wanted][:_HEADLINES]


def table_by(of: Literal["joints", "limbs"], subjects: Sequence[Subject]) -> Table:
    """Returns the metrics by joint, with how often each is annotated, or by limb."""
    evaluation = subjects[0].evaluation
    metrics = [measure.metric for measure in evaluation.by(of)]
    columns = [
        [[shown.bare(value, metric.unit) for value in measure.column()] for measure in _measures(subjects, metric)]
        for metric in metrics
    ]
    names, annotated = evaluation.columns(of)
    *rows, whole = (
        Row(name, [[values[i] for values in column] for column in columns], annotated[i])
        for i, name in enumerate([*names, "all"])
    )
    return Table([metric.column for metric in metrics], rows, whole)


def _has(subject: Subject, metric: Metric) -> bool:
    return metric.key in subject.evaluation.measures


def _measures(subjects: Sequence[Subject], metric: Metric) -> list[Measure]:
    return [subject.evaluation.measures[metric.key] for subject in subjects]


def provenance(subject: Named) -> Provenance:
    """Returns where a subject comes from."""
    pose, checkpoint = subject.pose, subject.pose.checkpoint
    source, inputs = checkpoint.source, pose.preprocessing
    part, size, pixels, answers = in_words(inputs)
    facts = {
        "file": source.path,
        "sha256": source.sha256,
        "format": f"{source.format}, {source.layout}",
        "written by": f"{source.writer} ({source.writer_told_by})" if source.writer_told_by else source.writer,
        "architecture": checkpoint.architecture.name,
        "size": f"{checkpoint.joints} joints, {checkpoint.parameters:,} parameters",
        "joints": f"{', '.join(inputs.joints)}{' (told by their number)' if inputs.joints_assumed else ''}",
        "looks at": part,
        "input": f"{size}; {pixels}",
        "answers": f"{'fractions of it, ' if inputs.coord_normalize else ''}{answers}",
        "run by": f"{engine_of(pose)}: {pose.backend} on {pose.device}",
    }
    if not inputs.joints:
        del facts["joints"]
    if source.origin:
        facts["converted from"] = f"{source.origin.get('path')} (sha256 {source.origin.get('sha256')})"
    return Provenance(facts, tuple(checkpoint.repairs), tuple(checkpoint.notices))


def dataset_facts(subject: Subject) -> dict[str, str]:
    """Returns what the persons are and where they come from."""
    dataset = subject.dataset
    files = {dataset.person(i).file for i in range(len(dataset))}
    facts = {
        "size": f"{counted(len(dataset), 'person')} in {counted(len(files), 'picture')}",
        "CSV": str(dataset.csv),
        "its sha256": hashlib.sha256(dataset.csv.read_bytes()).hexdigest(),
        "pictures": str(dataset.images),
        "skeleton": f"{dataset.skeleton.name}, {len(dataset.skeleton.joints)} joints",
    }
    if dataset.skipped:
        facts["left out"] = f"{counted(len(dataset.skipped), 'person')}, too small"
    if subject.evaluation.without_torso:
        facts["without a torso"] = f"{counted(subject.evaluation.without_torso, 'person')}, in no PDJ"
    if subject.evaluation.without_head:
        facts["without a head size"] = f"{counted(subject.evaluation.without_head, 'person')}, in no PCKh"
    return facts
