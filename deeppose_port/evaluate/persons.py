"""An evaluation person by person, as a table for spreadsheets and statistics programs."""

from __future__ import annotations

import math
import os
from pathlib import Path

from converters.files import atomic
from deeppose_port.data import PoseDataset
from deeppose_port.metrics import pixel_errors
from deeppose_port.metrics.evaluation import Evaluation
from deeppose_port.text import cell_of, csv_text


def write_persons(
    evaluation: Evaluation, dataset: PoseDataset, path: str | os.PathLike[str], *, force: bool = False
) -> Path:
    """Writes a CSV with a line for each person.

    Its columns are the picture, the line of the dataset's CSV, the number of annotated joints, each metric of the whole
    for this person alone (fractions from 0 to 1, errors in pixels), and each joint's error in pixels. A cell is empty
    where nothing counts; a joint without a finite answer has `nan` or `inf`.

    Args:
        evaluation: Of the dataset.
        dataset: The persons.
        path: Where it goes.
        force: Whether a file that exists may be replaced.

    Raises:
        DeepPoseError: The file exists, or cannot be written.
    """
    measures = evaluation.shown()
    wholes = [measure.whole(measure.tally) for measure in measures]
    counted = [measure.tally.counts.sum(axis=1) > 0 for measure in measures]
    errors = pixel_errors(evaluation.predicted, evaluation.true, evaluation.visible)
    joints = [f"{joint} px" for joint in evaluation.skeleton.joints]
    rows = []
    for i in range(evaluation.persons):
        person = dataset.person(i)
        rows.append(
            [
                cell_of(person.file),
                str(person.line),
                str(int(evaluation.visible[i].sum())),
                *(_cell(float(whole[i]), bool(some[i])) for whole, some in zip(wholes, counted, strict=True)),
                *(_cell(float(e), bool(v)) for e, v in zip(errors[i], evaluation.visible[i], strict=True)),
            ]
        )
    target = Path(path)
    with atomic(target, force=force) as temporary:
        header = ["image", "line", "annotated", *(measure.metric.name for measure in measures), *joints]
        temporary.write_text(csv_text(header, rows), encoding="utf-8", errors="surrogateescape")
    return target


def _cell(value: float, counts: bool) -> str:
    return f"{value:.6g}" if counts or not math.isnan(value) else ""
