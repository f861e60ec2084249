"""The joints of annotated persons, with their errors: the legacy program's test and tile modes."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np

from converters.errors import DeepPoseError
from converters.files import refuse_targets, staged
from converters.folders import new_folder
from converters.progress import ProgressCallback
from deeppose_port import metrics
from deeppose_port.cascade import CascadePose
from deeppose_port.data import PoseDataset
from deeppose_port.data.arrays import Float32Array, Mask, batched
from deeppose_port.data.crop import Points
from deeppose_port.data.view import input_points
from deeppose_port.drawing.draw import write_picture
from deeppose_port.drawing.maps import draw_heatmaps
from deeppose_port.drawing.sheet import TILE, ContactSheet, draw_crop
from deeppose_port.options import refuse_unknown
from deeppose_port.pose import Pose
from deeppose_port.predict.inputs import BATCH, asked, heatmaps_beside, joints_of
from deeppose_port.predict.results import FORMATS, PersonPrediction, PersonPredictions, text_of


def predict_persons(
    pose: Pose | CascadePose,
    dataset: PoseDataset,
    output: str | os.PathLike[str],
    *,
    format: str = "json",
    sheet: ContactSheet | None = None,
    heatmaps: bool = False,
    force: bool = False,
    progress: ProgressCallback | None = None,
) -> PersonPredictions:
    """Predicts the annotated persons of a CSV: the legacy program's test and tile modes.

    For each person it writes `LINE_NAME_pred.png` and `LINE_NAME_label.png`, drawn on the person's crop, and for all
    together `predictions.json` or `.csv` with every person's joints and error, and the mean error so far.

    Args:
        pose: The checkpoint.
        dataset: The persons, by the pose's preprocessing.
        output: As for `predict_files`, as the next are.
        format: `json` or `csv`.
        sheet: A contact sheet; it shows the truth too, and the errors.
        heatmaps: Whether to draw each joint's heat map too, as `LINE_NAME_heatmaps.png`.
        force: Whether files that exist may be replaced.
        progress: Called with the persons done and all of them.

    Raises:
        DeepPoseError: A file exists, or the checkpoint has another number of joints.
        DatasetError: A person cannot be made into an example.
    """
    named, names = joints_of(pose, dataset.skeleton)
    folder = new_folder(output)
    refuse_unknown("format", format, FORMATS, " for joints")
    table = folder / f"predictions.{format}"
    tile = folder / TILE if sheet is not None else None
    if heatmaps:
        pose.first.refuse_without_heatmaps()
    drawings = [_person_drawings(folder, dataset, i) for i in range(len(dataset))]
    inputs = [dataset.csv, *{dataset.path(i) for i in range(len(dataset))}]
    sheets = [heatmaps_beside(drawing) for drawing, _ in drawings] if heatmaps else []
    targets = (table, tile, *itertools.chain.from_iterable(drawings), *sheets)
    refuse_targets(targets, force, read=inputs, instead="-o names another folder")
    persons: list[PersonPrediction] = []
    errors = np.empty((len(dataset), 2))
    with staged(folder, force=force) as stage:
        for batch in batched(range(len(dataset)), BATCH):
            examples = [dataset[i] for i in batch]
            outputs, maps = asked(pose.first, np.stack([inputs for inputs, _, _ in examples]), heatmaps)
            images = [dataset.picture(i) for i in batch]
            first = [dataset.view(i).points(row) for i, row in zip(batch, outputs, strict=True)]
            found = zip(batch, outputs, images, pose.stages_from(images, first), examples, strict=True)
            for place, (i, answer, image, stages, (_, target, _)) in enumerate(found):
                if isinstance(stages, DeepPoseError):
                    raise dataset.error(i, stages) from stages
                view, points = dataset.view(i), stages[-1]
                output_row = answer if len(stages) == 1 else view.labels(points)
                true, visible, person = dataset.joints[i], dataset.visible[i], dataset.person(i)
                errors[i] = _person_errors(points, true, visible, output_row, target, dataset)
                drawing, label = drawings[i]
                write_picture(stage / drawing.name, draw_crop(image, view.crop, points, named))
                write_picture(stage / label.name, draw_crop(image, view.crop, true, named, visible=visible))
                if maps is not None:
                    picture = draw_heatmaps(image, view, maps[place], points, names)
                    write_picture(stage / sheets[i].name, picture)
                if sheet is not None:
                    caption = f"{person.file}, line {person.line}"
                    sheet.add(image, view.crop, points, named, caption=caption, truth=true, visible=visible)
                error_px, legacy_error = map(float, errors[i])
                mean_error_px, mean_legacy_error = map(float, errors[: i + 1].mean(axis=0))
                persons.append(
                    PersonPrediction(
                        image=dataset.path(i),
                        line=person.line,
                        points=points,
                        error_px=error_px,
                        legacy_error=legacy_error,
                        mean_error_px=mean_error_px,
                        mean_legacy_error=mean_legacy_error,
                        drawing=drawing,
                        label=label,
                        heatmaps=sheets[i] if sheets else None,
                        stage_errors_px=_stage_errors(stages, true, visible),
                    )
                )
            if progress is not None:
                progress(len(persons), len(dataset))
        result = PersonPredictions(pose.path, names, tuple(persons), table, tile)
        (stage / table.name).write_text(text_of(result, format), encoding="utf-8", errors="surrogateescape")
        if sheet is not None:
            write_picture(stage / TILE, sheet.picture())
    return result


def _person_drawings(folder: Path, dataset: PoseDataset, index: int) -> tuple[Path, Path]:
    """Returns where a person's prediction and label are drawn."""
    person = dataset.person(index)
    digits = len(str(dataset.person(len(dataset) - 1).line))
    name = f"{person.line:0{digits}}_{Path(person.file).stem}"
    return folder / f"{name}_pred.png", folder / f"{name}_label.png"


def _stage_errors(stages: Points, true: Points, visible: Mask) -> tuple[float, ...]:
    """Returns a person's mean distance in pixels of the picture after each stage of a cascade; nothing of a network."""
    if len(stages) == 1:
        return ()
    return tuple(metrics.mean_error(points[np.newaxis], true[np.newaxis], visible[np.newaxis]) for points in stages)


def _person_errors(
    points: Points,
    true: Points,
    visible: Mask,
    output: Float32Array,
    target: Float32Array,
    dataset: PoseDataset,
) -> tuple[float, float]:
    """Returns a person's mean distance in pixels of the picture, and the legacy error."""
    predicted, label = (input_points(row, dataset.preprocessing)[np.newaxis] for row in (output, target))
    counts = visible[np.newaxis]
    legacy = metrics.legacy_error(predicted, label, counts)[0]
    return metrics.mean_error(points[np.newaxis], true[np.newaxis], counts), float(legacy)
