"""Joints of pictures, videos and annotated persons, as files of numbers and as drawings.

All files of a run are written into a folder of their own beside their targets first and get their names at the end, so
that a run that fails leaves nothing.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from deeppose_port import metrics, skeletons
from deeppose_port.data import PoseDataset
from deeppose_port.data.crop import (
    Crop,
    crop_of_region,
    network_input,
    points_of_outputs,
    square_points_of_outputs,
)
from deeppose_port.draw import draw_pose
from deeppose_port.pose import Pose
from deeppose_port.sheet import ContactSheet, draw_crop
from deeppose_port.skeletons import Skeleton
from deeppose_port.video import SUFFIXES as VIDEO_SUFFIXES
from deeppose_port.video import Frame, Video, VideoWriter

Box = tuple[float, float, float, float]
Picture = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
Progress = Callable[[int, int], None]
Item = TypeVar("Item")

FORMATS = ("json", "csv")
#: In a folder, files with these suffixes are taken for pictures.
PICTURE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
#: The contact sheet's name.
TILE = "tile.png"

_BATCH = 16


@dataclass(frozen=True)
class Prediction:
    """One picture's joints.

    Attributes:
        image: The picture.
        points: (J, 2) float64, x right and y down, in its pixels.
        drawing: The picture with the limbs drawn.
    """

    image: Path
    points: Points
    drawing: Path


@dataclass(frozen=True)
class VideoPrediction:
    """One video's joints.

    Attributes:
        video: The video.
        frames: How many were read.
        announced: How many the file says it has; 0 where it does not say.
        fps: Frames a second.
        file: The joints, JSON or CSV, a line a frame.
        drawing: The video with the limbs drawn.
    """

    video: Path
    frames: int
    announced: int
    fps: float
    file: Path
    drawing: Path


@dataclass(frozen=True)
class Failure:
    """A picture or video without joints.

    Attributes:
        source: The file.
        reason: What is wrong with it; names it.
    """

    source: Path
    reason: str


@dataclass(frozen=True)
class Predictions:
    """The joints of some pictures and videos, and where they were written.

    Attributes:
        checkpoint: What answered.
        names: Names of the joints.
        pictures: One entry a picture.
        videos: One entry a video.
        failures: What has no joints.
        file: The JSON or CSV with the joints of all pictures; None without pictures.
        tile: The contact sheet; None without.
    """

    checkpoint: str
    names: tuple[str, ...]
    pictures: tuple[Prediction, ...]
    videos: tuple[VideoPrediction, ...]
    failures: tuple[Failure, ...]
    file: Path | None
    tile: Path | None

    def as_dict(self) -> dict[str, Any]:
        """Returns the joints of the pictures, and where those of the videos are, as JSON-ready values."""
        return {
            "checkpoint": self.checkpoint,
            "joints": list(self.names),
            "pictures": [
                {"image": str(p.image), "drawing": str(p.drawing), "points": _as_lists(p.points)} for p in self.pictures
            ],
            "videos": [
                {
                    "video": str(v.video),
                    "drawing": str(v.drawing),
                    "file": str(v.file),
                    "frames": v.frames,
                    "fps": v.fps,
                }
                for v in self.videos
            ],
            "failures": [{"source": str(f.source), "error": f.reason} for f in self.failures],
            "tile": None if self.tile is None else str(self.tile),
        }


@dataclass(frozen=True)
class PersonPrediction:
    """One annotated person's joints.

    Attributes:
        image: The picture.
        line: The person's line in the CSV.
        points: (J, 2) float64, pixels of the picture.
        error_px: The mean distance of the joints that count, in pixels of the picture.
        legacy_error: The number that the legacy program logged (`metrics.legacy_error`).
        mean_error_px: The mean of `error_px` over the persons up to here.
        mean_legacy_error: The mean of `legacy_error` over the persons up to here.
        drawing: The person's crop with the predicted limbs drawn.
        label: The person's crop with the true limbs drawn.
    """

    image: Path
    line: int
    points: Points
    error_px: float
    legacy_error: float
    mean_error_px: float
    mean_legacy_error: float
    drawing: Path
    label: Path


@dataclass(frozen=True)
class PersonPredictions:
    """The joints of annotated persons, and where they were written.

    Attributes:
        checkpoint: What answered.
        names: Names of the joints.
        persons: One entry a person, in the CSV's order.
        file: The JSON or CSV with all joints and errors.
        tile: The contact sheet; None without.
    """

    checkpoint: str
    names: tuple[str, ...]
    persons: tuple[PersonPrediction, ...]
    file: Path
    tile: Path | None

    def as_dict(self) -> dict[str, Any]:
        """Returns the joints and errors as JSON-ready values."""
        numbers = ("error_px", "legacy_error", "mean_error_px", "mean_legacy_error")
        return {
            "checkpoint": self.checkpoint,
            "joints": list(self.names),
            "persons": [
                {
                    "image": str(p.image),
                    "line": p.line,
                    "drawing": str(p.drawing),
                    "label": str(p.label),
                    **{name: _finite(getattr(p, name), 6) for name in numbers},
                    "points": _as_lists(p.points),
                }
                for p in self.persons
            ],
            "tile": None if self.tile is None else str(self.tile),
        }


def parse_box(text: str) -> Box:
    """Reads `x,y,w,h`.

    Raises:
        ValueError: It is not four numbers.
    """
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"the box {text!r} is not four numbers; write it as x,y,width,height") from None
    return x, y, width, height


def files_in(source: Path) -> list[Path]:
    """Returns the pictures of a folder by their suffixes, sorted; what is no folder is returned as it is.

    Raises:
        ValueError: There is no picture in the folder.
    """
    if not source.is_dir():
        return [source]
    files = sorted(file for file in source.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file())
    if not files:
        raise ValueError(f"{source}: there is no picture in this folder ({', '.join(sorted(PICTURE_SUFFIXES))})")
    return files


def predict_files(
    pose: Pose,
    sources: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    box: Box | None = None,
    skeleton: str | Skeleton | None = None,
    format: str = "json",
    sheet: ContactSheet | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Predictions:
    """Predicts pictures, folders of pictures, and videos.

    For each picture it writes `NAME_pose.png`, for all together `predictions.json` or `.csv`; for each video
    `NAME_pose.mp4`, and `NAME_pose.jsonl` or `.csv` with a line a frame. Of several pictures and videos, one that
    cannot be read does not keep the others.

    Args:
        pose: The checkpoint.
        sources: The files and folders; those whose suffixes are a video's are videos.
        output: The folder to write to; it is made if need be.
        box: The crop, in pixels of every picture; None for the whole picture.
        skeleton: What the joints are; None tells it by their number, and draws dots where no skeleton has that many.
        format: `json` or `csv`.
        sheet: A contact sheet to fill and write as `tile.png`.
        force: Whether files that exist may be replaced.
        progress: Called with the pictures and frames done and all of them, as far as the videos say how many they have.

    Raises:
        ValueError: Nothing can be read, a file exists, a folder has no pictures, or the skeleton has another number of
            joints.
    """
    named, names = _skeleton(pose, skeleton, format)
    folder = Path(output)
    files = list(dict.fromkeys(file for source in sources for file in files_in(Path(source))))
    if not files:
        raise ValueError("there is nothing to predict: name pictures, folders or videos")
    drawings = _drawing_names(folder, files)
    suffix = {"json": ".jsonl", "csv": ".csv"}[format]
    tables = {file: drawing.with_suffix(suffix) for file, drawing in drawings.items() if _is_video(file)}
    pictures = [file for file in files if file not in tables]
    table = folder / f"predictions.{format}" if pictures else None
    tile = folder / TILE if sheet is not None else None
    _refuse_existing((table, tile, *drawings.values(), *tables.values()), files, force)

    found: list[Prediction] = []
    videos: list[VideoPrediction] = []
    failures: list[Failure] = []
    done = _Counter(progress, len(pictures) + sum(map(_announced, tables)))
    with _staged(folder) as stage:
        for file, image, answer in _answers(pose, _readable(pictures, failures), box):
            if isinstance(answer, ValueError):
                failures.append(Failure(file, f"{file}: {answer}"))
            else:
                crop, points = answer
                _write_png(stage / drawings[file].name, draw_pose(image, points, named))
                if sheet is not None:
                    sheet.add(image, crop, points, named)
                found.append(Prediction(file, points, drawings[file]))
            done.one_more()
        for file, lines in tables.items():
            writing = _VideoFiles(stage, drawings[file], lines, names)
            try:
                videos.append(_predict_video(pose, file, writing, box, named, sheet, done))
            except ValueError as error:
                writing.remove()
                failures.append(Failure(file, str(error)))
        if not found and not videos:
            others = "" if len(failures) == 1 else f" (and so it is with {len(failures) - 1} more)"
            raise ValueError(f"{failures[0].reason}{others}")
        result = Predictions(
            pose.checkpoint.source.path,
            names,
            tuple(found),
            tuple(videos),
            tuple(failures),
            table if found else None,
            tile,
        )
        if table is not None and found:
            text = json.dumps(result.as_dict(), indent=2) + "\n" if format == "json" else _csv_of_pictures(result)
            (stage / table.name).write_text(text, encoding="utf-8")
        if sheet is not None:
            _write_png(stage / TILE, sheet.picture())
    return result


def predict_persons(
    pose: Pose,
    dataset: PoseDataset,
    output: str | os.PathLike[str],
    *,
    format: str = "json",
    sheet: ContactSheet | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> PersonPredictions:
    """Predicts the annotated persons of a CSV: the legacy program's test and tile modes.

    For each person it writes `LINE_NAME_pred.png` and `LINE_NAME_label.png`, drawn on the person's crop, and for all
    together `predictions.json` or `.csv` with every person's joints and error, and the mean error so far.

    Args:
        pose: The checkpoint.
        dataset: The persons, by the pose's preprocessing.
        output: As for `predict_files`, as the next are.
        format: `json` or `csv`.
        sheet: A contact sheet; it shows the truth too.
        force: Whether files that exist may be replaced.
        progress: Called with the persons done and all of them.

    Raises:
        ValueError: A file exists, or the checkpoint has another number of joints.
        DatasetError: A person cannot be made into an example.
    """
    named, names = _skeleton(pose, dataset.skeleton, format)
    folder = Path(output)
    table = folder / f"predictions.{format}"
    tile = folder / TILE if sheet is not None else None
    drawings = [_person_drawings(folder, dataset, i) for i in range(len(dataset))]
    inputs = [dataset.csv, *{dataset.images / dataset.person(i).file for i in range(len(dataset))}]
    _refuse_existing((table, tile, *itertools.chain.from_iterable(drawings)), inputs, force)
    persons: list[PersonPrediction] = []
    errors = np.empty((len(dataset), 2))
    with _staged(folder) as stage:
        for batch in _batches(range(len(dataset))):
            examples = [dataset[i] for i in batch]
            outputs = pose(np.stack([inputs for inputs, _, _ in examples]))
            for i, output_row, (_, target, _) in zip(batch, outputs, examples, strict=True):
                crop, image = dataset.crop(i), dataset.picture(i)
                points = points_of_outputs(output_row, crop, dataset.preprocessing)
                true, visible, person = dataset.joints[i], dataset.visible[i], dataset.person(i)
                errors[i] = _person_errors(points, true, visible, output_row, target, dataset)
                drawing, label = drawings[i]
                _write_png(stage / drawing.name, draw_crop(image, crop, points, named))
                _write_png(stage / label.name, draw_crop(image, crop, true, named, visible=visible))
                if sheet is not None:
                    sheet.add(image, crop, points, named, truth=true, visible=visible)
                error_px, legacy_error = map(float, errors[i])
                mean_error_px, mean_legacy_error = map(float, errors[: i + 1].mean(axis=0))
                persons.append(
                    PersonPrediction(
                        image=dataset.images / person.file,
                        line=person.line,
                        points=points,
                        error_px=error_px,
                        legacy_error=legacy_error,
                        mean_error_px=mean_error_px,
                        mean_legacy_error=mean_legacy_error,
                        drawing=drawing,
                        label=label,
                    )
                )
            if progress is not None:
                progress(len(persons), len(dataset))
        result = PersonPredictions(pose.checkpoint.source.path, names, tuple(persons), table, tile)
        text = json.dumps(result.as_dict(), indent=2) + "\n" if format == "json" else _csv_of_persons(result)
        (stage / table.name).write_text(text, encoding="utf-8")
        if sheet is not None:
            _write_png(stage / TILE, sheet.picture())
    return result


def skeleton_of(joints: int) -> Skeleton | None:
    """Returns the skeleton with so many joints, if there is one."""
    return next((s for s in skeletons.SKELETONS.values() if len(s.joints) == joints), None)


def _skeleton(pose: Pose, skeleton: str | Skeleton | None, format: str) -> tuple[Skeleton | None, tuple[str, ...]]:
    """Returns what the joints are and their names; refuses what does not fit, and an unknown format."""
    if format not in FORMATS:
        raise ValueError(f"there is no format {format!r} for joints; there are {', '.join(FORMATS)}")
    if skeleton is None:
        named = skeleton_of(pose.joints)
        told = pose.preprocessing.joints or tuple(f"joint {i}" for i in range(pose.joints))
        return named, named.joints if named else told
    named = skeletons.get(skeleton) if isinstance(skeleton, str) else skeleton
    if len(named.joints) != pose.joints:
        path = pose.checkpoint.source.path
        raise ValueError(f"{path} has {pose.joints} joints, but {named.name} has {len(named.joints)}")
    return named, named.joints


def _is_video(file: Path) -> bool:
    return file.suffix.lower() in VIDEO_SUFFIXES


def _drawing_names(folder: Path, files: Sequence[Path]) -> dict[Path, Path]:
    """Returns each file's drawing; files of the same name in several folders are numbered."""
    names: dict[Path, Path] = {}
    taken: set[str] = set()
    for file in files:
        name, number = f"{file.stem}_pose", 2
        while name in taken:
            name, number = f"{file.stem}_{number}_pose", number + 1
        taken.add(name)
        names[file] = folder / f"{name}{'.mp4' if _is_video(file) else '.png'}"
    return names


def _person_drawings(folder: Path, dataset: PoseDataset, index: int) -> tuple[Path, Path]:
    """Returns where a person's prediction and label are drawn."""
    person = dataset.person(index)
    digits = len(str(dataset.person(len(dataset) - 1).line))
    name = f"{person.line:0{digits}}_{Path(person.file).stem}"
    return folder / f"{name}_pred.png", folder / f"{name}_label.png"


def _refuse_existing(targets: Iterable[Path | None], inputs: Iterable[Path], force: bool) -> None:
    """Refuses to replace a file without being told to, and an input in any case."""
    read = {path.resolve() for path in inputs}
    for target in targets:
        if target is None or not target.exists():
            continue
        if target.resolve() in read:
            raise ValueError(f"{target}: it would be replaced, but it is read too (-o names another folder)")
        if not force:
            raise ValueError(f"{target}: it exists already (--force replaces it, -o names another folder)")


def _readable(files: Iterable[Path], failures: list[Failure]) -> Iterator[tuple[Path, Picture]]:
    """Yields the pictures that can be read; adds the others to the failures."""
    for file in files:
        try:
            image = read_picture(file)
        except ValueError as error:
            failures.append(Failure(file, str(error)))
            continue
        yield file, image


def read_picture(path: Path) -> Picture:
    """Reads a picture: (H, W, 3) uint8, BGR.

    Raises:
        ValueError: It is not there, or cannot be decoded.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such picture")
    try:
        image = cv2.imread(str(path))
    except cv2.error as error:
        raise ValueError(f"{path}: cannot be decoded: {error.err}") from error
    if image is None:
        raise ValueError(f"{path}: cannot be decoded; is it a whole picture?")
    return image.astype(np.uint8, copy=False)


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    remaining = iter(items)
    while batch := list(itertools.islice(remaining, _BATCH)):
        yield batch


def _answers(
    pose: Pose, pictures: Iterable[tuple[Item, Picture]], box: Box | None
) -> Iterator[tuple[Item, Picture, tuple[Crop, Points] | ValueError]]:
    """Yields every picture with its crop and joints, or with what is wrong with its box."""
    told = pose.preprocessing
    for batch in _batches(pictures):
        crops: list[Crop | ValueError] = []
        for _, image in batch:
            try:
                crops.append(crop_of_region(box, image.shape[1], image.shape[0], told))
            except ValueError as error:
                crops.append(error)
        inputs = [
            network_input(image, crop, told)
            for (_, image), crop in zip(batch, crops, strict=True)
            if isinstance(crop, Crop)
        ]
        outputs = iter(pose(np.stack(inputs)) if inputs else ())
        for (item, image), crop in zip(batch, crops, strict=True):
            if isinstance(crop, Crop):
                yield item, image, (crop, points_of_outputs(next(outputs), crop, told))
            else:
                yield item, image, crop


class _Counter:
    """Reports what is done of how much."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def one_more(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, max(self._done, self._total))


def _announced(file: Path) -> int:
    """Returns how many frames a video says it has; 0 where it does not say."""
    try:
        with Video(file) as video:
            return video.frames
    except ValueError:
        return 0


class _VideoFiles:
    """The two files that are written of a video: a line for each frame, and the frames drawn."""

    def __init__(self, stage: Path, drawing: Path, table: Path, names: Sequence[str]) -> None:
        self.drawing, self.table = drawing, table
        self._paths = stage / drawing.name, stage / table.name
        self._lines = self._paths[1].open("w", encoding="utf-8", newline="")
        self._csv = csv.writer(self._lines, lineterminator="\n") if table.suffix == ".csv" else None
        self._writer: VideoWriter | None = None
        if self._csv is not None:
            self._csv.writerow(["frame", "time", *_columns(names)])

    def write(self, frame: Frame, points: Points, drawn: Picture, fps: float) -> None:
        if self._csv is not None:
            self._csv.writerow([frame.index, f"{frame.time:.3f}", *_cells(points)])
        else:
            entry = {"frame": frame.index, "time": round(frame.time, 3), "points": _as_lists(points)}
            self._lines.write(json.dumps(entry) + "\n")
        if self._writer is None:
            self._writer = VideoWriter(self._paths[0], fps, drawn.shape[1], drawn.shape[0])
        self._writer.write(drawn)

    def close(self) -> None:
        self._lines.close()
        if self._writer is not None:
            self._writer.close()

    def remove(self) -> None:
        self.close()
        for path in self._paths:
            path.unlink(missing_ok=True)


def _predict_video(
    pose: Pose,
    file: Path,
    writing: _VideoFiles,
    box: Box | None,
    skeleton: Skeleton | None,
    sheet: ContactSheet | None,
    done: _Counter,
) -> VideoPrediction:
    """Predicts a video's frames; writes and draws them all."""
    frames = 0
    with Video(file) as video, closing(writing):
        for frame, image, answer in _answers(pose, ((frame, frame.image) for frame in video), box):
            if isinstance(answer, ValueError):
                raise ValueError(f"{file}, frame {frame.index}: {answer}") from answer
            crop, points = answer
            writing.write(frame, points, draw_pose(image, points, skeleton), video.fps)
            if sheet is not None:
                sheet.add(image, crop, points, skeleton)
            frames += 1
            done.one_more()
    if not frames:
        raise ValueError(f"{file}: no frame of it can be decoded; is it a whole video?")
    return VideoPrediction(file, frames, video.frames, video.fps, writing.table, writing.drawing)


def _person_errors(
    points: Points,
    true: Points,
    visible: npt.NDArray[np.bool_],
    output: npt.NDArray[np.float32],
    target: npt.NDArray[np.float32],
    dataset: PoseDataset,
) -> tuple[float, float]:
    """Returns a person's mean distance in pixels of the picture, and the legacy error."""
    told = dataset.preprocessing
    predicted, label = (square_points_of_outputs(row, told.im_size, told)[np.newaxis] for row in (output, target))
    counts = visible[np.newaxis]
    legacy = metrics.legacy_error(predicted, label, counts)[0]
    return metrics.mean_error(points[np.newaxis], true[np.newaxis], counts), float(legacy)


def _columns(names: Sequence[str]) -> list[str]:
    return [f"{name} {axis}" for name in names for axis in "xy"]


def _cells(points: Points) -> list[str]:
    return [f"{value:.3f}" for value in points.reshape(-1)]


def _csv_of_pictures(result: Predictions) -> str:
    rows = ([str(picture.image), *_cells(picture.points)] for picture in result.pictures)
    return _csv(["image", *_columns(result.names)], rows)


def _csv_of_persons(result: PersonPredictions) -> str:
    errors = ("error_px", "legacy_error", "mean_error_px", "mean_legacy_error")
    rows = (
        [str(p.image), str(p.line), *(f"{getattr(p, name):.6g}" for name in errors), *_cells(p.points)]
        for p in result.persons
    )
    return _csv(["image", "line", *errors, *_columns(result.names)], rows)


def _csv(header: list[str], rows: Iterable[list[str]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    return text.getvalue()


def _as_lists(points: Points) -> list[list[float | None]]:
    return [[_finite(x), _finite(y)] for x, y in points.tolist()]


def _finite(value: float, digits: int = 3) -> float | None:
    return round(value, digits) if np.isfinite(value) else None


def _write_png(path: Path, picture: Picture) -> None:
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """Yields a folder beside the targets; its files get their names when all is well, else nothing is left."""
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=".predict-", suffix=".tmp", dir=folder))
    try:
        yield stage
        for file in sorted(stage.iterdir()):
            os.replace(file, folder / file.name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if made and not any(folder.iterdir()):
            folder.rmdir()
