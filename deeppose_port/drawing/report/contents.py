"""What stands in a report's tables: numbers with their definitions, and where they come from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from deeppose_port.drawing.report.subjects import Subject
from deeppose_port.metrics.definitions import (
    DEEPPOSE,
    DEFINITIONS,
    FLEXIBLE,
    MODEC,
    MPII,
    NOTHING,
    Reference,
    difference,
    interval,
    joint_columns,
    number,
)
from deeppose_port.text import counted

#: The numbers on top, as many as there are data for.
_HEADLINES = ("error_px", "pdj@0.2", "pckh", "pck_box@0.2", "pcp", "loss")

CURVES: Mapping[str, tuple[str, str, float, tuple[Reference, ...]]] = {
    "pdj": ("PDJ, mean of the joints", "fraction of the true torso", 0.2, (DEEPPOSE, MODEC)),
    "pckh": ("PCKh, all joints together", "fraction of the head's size", 0.5, (MPII,)),
    "pck_box": ("PCK by the person's box, all joints together", "fraction of the box's larger side", 0.2, (FLEXIBLE,)),
}
"""By the metric: title, horizontal axis, the headline threshold, and the papers that define it."""


def undefined(subject: Subject) -> list[str]:
    """Returns what the data cannot give, in sentences."""
    name, sentences = subject.evaluation.skeleton.name, []
    if "pdj" not in subject.lengths:
        sentences.append(f"PDJ, AUC and NME by the torso are not defined: {name} has no torso among its joints.")
    if "pckh" not in subject.lengths:
        sentences.append("PCKh is not defined: the CSV has no head sizes beside it.")
    if sentences:
        sentences.append("The prepare command writes both lengths, where the data set has them.")
    return sentences


def metric_rows(subjects: Sequence[Subject], intervals: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Returns a row for each metric of the whole that the data can give."""
    rows = []
    for key, definition in DEFINITIONS.items():
        measures = [subject.evaluation.measures.get(key) for subject in subjects]
        if any(measure is None for measure in measures):
            continue
        values = [measure.overall for measure in measures if measure is not None]
        rows.append(
            {
                "key": key,
                "definition": definition,
                "values": [number(value, definition.unit) for value in values],
                "difference": difference(values[0], values[-1], definition.unit),
                "interval": None if intervals is None else interval(intervals, key, definition.unit),
            }
        )
    return rows


def headlines(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the rows whose numbers stand on top."""
    by_key = {row["key"]: row for row in rows}
    return [by_key[key] for key in _HEADLINES if key in by_key][:5]


def joint_table(subjects: Sequence[Subject]) -> dict[str, Any]:
    """Returns the metrics by joint: columns, and a row of the values of each subject for each joint."""
    columns = joint_columns(subjects[0].evaluation.measures)
    annotated = subjects[0].evaluation.visible.sum(axis=0)
    rows = [
        {"name": joint, "annotated": int(annotated[j]), "cells": _cells(subjects, list(columns), j)}
        for j, joint in enumerate(subjects[0].evaluation.skeleton.joints)
    ]
    return {
        "columns": list(columns.values()),
        "rows": rows,
        "annotated": int(annotated.sum()),
        "all": _cells(subjects, list(columns), None),
    }


def limb_table(subjects: Sequence[Subject]) -> dict[str, Any]:
    """Returns PCP by limb, in the form of `joint_table`."""
    keys = ["pcp", "pcp_relaxed"]
    limbs = subjects[0].evaluation.skeleton.pcp_limbs
    rows = [{"name": limb, "cells": _cells(subjects, keys, i)} for i, limb in enumerate(limbs)]
    return {"columns": ["strict", "relaxed"], "rows": rows, "all": _cells(subjects, keys, None)}


def _cells(subjects: Sequence[Subject], keys: Sequence[str], column: int | None) -> list[list[str]]:
    """Returns, for each metric, a number a subject: of one joint or limb, or of all."""
    cells = []
    for key in keys:
        measures = [subject.evaluation.measures[key] for subject in subjects]
        values = [measure.overall if column is None else float(measure.values[column]) for measure in measures]
        scale, digits = (1, 2) if key == "error_px" else (100, 1)
        cells.append([NOTHING if math.isnan(value) else f"{scale * value:.{digits}f}" for value in values])
    return cells


def provenance(subject: Subject) -> dict[str, Any]:
    """Returns where a subject comes from: facts by name, repairs and notices."""
    pose, checkpoint = subject.pose, subject.pose.checkpoint
    source, told = checkpoint.source, pose.preprocessing.as_dict()
    facts = {
        "file": source.path,
        "sha256": source.sha256,
        "format": f"{source.format}, {source.layout}",
        "written by": f"{source.writer} ({source.writer_told_by})" if source.writer_told_by else source.writer,
        "architecture": checkpoint.architecture.name,
        "size": f"{checkpoint.joints} joints, {checkpoint.parameters:,} parameters",
        "input": ", ".join(f"{name} {value}" for name, value in told.items() if value not in (None, [])),
        "run by": f"{pose.backend} on {pose.device}",
    }
    if source.origin:
        facts["converted from"] = f"{source.origin.get('path')} (sha256 {source.origin.get('sha256')})"
    return {"facts": facts, "repairs": checkpoint.repairs, "notices": checkpoint.notices}


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
    if subject.evaluation.pdj_left_out:
        facts["without a torso"] = f"{counted(subject.evaluation.pdj_left_out, 'person')}, in no PDJ"
    return facts
