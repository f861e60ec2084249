"""An evaluation person by person, as a table for spreadsheets and statistics programs."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from converters.files import atomic
from deeppose_port.data import PoseDataset
from deeppose_port.metrics import pixel_errors
from deeppose_port.metrics.evaluation import Evaluation
from deeppose_port.text import cell_of, csv_text


def write_persons(
    stages: Evaluation | Sequence[Evaluation],
    dataset: PoseDataset,
    path: str | os.PathLike[str],
    *,
    force: bool = False,
) -> Path:
    """Writes a CSV with a line for each person.

    Its columns are the picture, the line of the dataset's CSV, the number of annotated joints, each metric of the whole
    for this person alone (fractions from 0 to 1, errors in pixels), and each joint's error in pixels. A cell is empty
    where nothing counts; a joint without a finite answer has `nan` or `inf`. Of a cascade these are the last stage's,
    and those of every stage follow, as `stage 1: mean_error_px`.

    Args:
        stages: Of the dataset; of a cascade every stage's.
        dataset: The persons.
        path: Where it goes.
        force: Whether a file that exists may be replaced.

    Raises:
        DeepPoseError: The file exists, or cannot be written.
    """
    every = [stages] if isinstance(stages, Evaluation) else list(stages)
    last = every[-1]
    titles, numbers = _columns(last)
    header = ["image", "line", "annotated", *titles]
    if len(every) > 1:
        for number, stage in enumerate(every, start=1):
            columns, more = _columns(stage)
            header += [f"stage {number}: {title}" for title in columns]
            numbers = [[*row, *added] for row, added in zip(numbers, more, strict=True)]
    persons = [dataset.person(i) for i in range(last.persons)]
    annotated = last.visible.sum(axis=1).tolist()
    rows = [
        [cell_of(person.file), str(person.line), str(count), *row]
        for person, count, row in zip(persons, annotated, numbers, strict=True)
    ]
    target = Path(path)
    with atomic(target, force=force) as temporary:
        temporary.write_text(csv_text(header, rows), encoding="utf-8", errors="surrogateescape")
    return target


def _columns(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Returns the headings of an evaluation's numbers, and these of each person."""
    measures = evaluation.shown()
    wholes = [measure.whole(measure.tally) for measure in measures]
    counted = [measure.tally.counts.sum(axis=1) > 0 for measure in measures]
    errors = pixel_errors(evaluation.predicted, evaluation.true, evaluation.visible)
    rows = [
        [
            *(_cell(float(whole[i]), bool(some[i])) for whole, some in zip(wholes, counted, strict=True)),
            *(_cell(float(e), bool(v)) for e, v in zip(errors[i], evaluation.visible[i], strict=True)),
        ]
        for i in range(evaluation.persons)
    ]
    return [*(m.metric.name for m in measures), *(f"{joint} px" for joint in evaluation.skeleton.joints)], rows


def _cell(value: float, counts: bool) -> str:
    return f"{value:.6g}" if counts or not math.isnan(value) else ""
