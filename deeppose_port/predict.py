"""Joints of pictures, as a file of numbers and as drawings."""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deeppose_port import skeletons
from deeppose_port.draw import draw_pose
from deeppose_port.pose import Pose
from deeppose_port.skeletons import Skeleton

Box = tuple[float, float, float, float]
FORMATS = ("json", "csv")


@dataclass(frozen=True)
class Prediction:
    """One picture's joints.

    Attributes:
        image: The picture.
        points: (J, 2) float64, x right and y down, in its pixels.
        drawing: The picture with the limbs drawn.
    """

    image: Path
    points: npt.NDArray[np.float64]
    drawing: Path


@dataclass(frozen=True)
class Predictions:
    """The joints of some pictures, and where they were written.

    Attributes:
        checkpoint: What answered.
        names: Names of the joints.
        pictures: One entry a picture.
        file: The JSON or CSV with all joints.
    """

    checkpoint: str
    names: tuple[str, ...]
    pictures: tuple[Prediction, ...]
    file: Path

    def as_dict(self) -> dict[str, Any]:
        """Returns the joints as JSON-ready values."""
        return {
            "checkpoint": self.checkpoint,
            "joints": list(self.names),
            "pictures": [
                {
                    "image": str(p.image),
                    "drawing": str(p.drawing),
                    "points": [[_finite(x), _finite(y)] for x, y in p.points.tolist()],
                }
                for p in self.pictures
            ],
        }


def _finite(value: float) -> float | None:
    return round(value, 3) if np.isfinite(value) else None


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


def predict_files(
    pose: Pose,
    images: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    box: Box | None = None,
    skeleton: str | Skeleton | None = None,
    format: str = "json",
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """Predicts pictures; writes `NAME_pose.png` for each and `predictions.json` or `.csv` for all.

    Args:
        pose: The checkpoint.
        images: The pictures' files.
        output: The folder to write to; it is made if need be.
        box: The crop, in pixels of every picture; None for the whole picture.
        skeleton: What the joints are; None tells it by their number, and draws dots where no skeleton has that many.
        format: `json` or `csv`.
        force: Whether files that exist may be replaced.
        progress: Called with the pictures done and all of them.

    Raises:
        ValueError: A picture cannot be read, a file exists, or the skeleton has another number of joints.
    """
    if format not in FORMATS:
        raise ValueError(f"there is no format {format!r} for joints; there are {', '.join(FORMATS)}")
    named = _skeleton(pose, skeleton)
    names = named.joints if named else tuple(f"joint {i}" for i in range(pose.joints))
    folder = Path(output)
    table = folder / f"predictions.{format}"
    drawings = _drawing_names(folder, [Path(image) for image in images])
    for target in (table, *drawings.values()):
        if target.exists() and not force:
            raise ValueError(f"{target}: it exists already (--force replaces it, -o names another folder)")
    pictures = {image: _read_picture(image) for image in drawings}
    folder.mkdir(parents=True, exist_ok=True)
    predictions = []
    for image, drawing in drawings.items():
        try:
            points = pose.predict(pictures[image], box)
        except ValueError as error:
            raise ValueError(f"{image}: {error}") from error
        encoded = cv2.imencode(".png", draw_pose(pictures[image], points, named))[1].tobytes()
        _write(drawing, encoded)
        predictions.append(Prediction(image, points, drawing))
        if progress is not None:
            progress(len(predictions), len(drawings))
    result = Predictions(pose.checkpoint.source.path, names, tuple(predictions), table)
    text = json.dumps(result.as_dict(), indent=2) if format == "json" else _csv(result)
    _write(table, text.encode())
    return result


def _skeleton(pose: Pose, skeleton: str | Skeleton | None) -> Skeleton | None:
    if skeleton is None:
        return next((s for s in skeletons.SKELETONS.values() if len(s.joints) == pose.joints), None)
    named = skeletons.get(skeleton) if isinstance(skeleton, str) else skeleton
    if len(named.joints) != pose.joints:
        path = pose.checkpoint.source.path
        raise ValueError(f"{path} has {pose.joints} joints, but {named.name} has {len(named.joints)}")
    return named


def _drawing_names(folder: Path, images: Sequence[Path]) -> dict[Path, Path]:
    """Returns each picture's drawing; pictures of the same name in several folders are numbered."""
    names: dict[Path, Path] = {}
    taken: set[str] = set()
    for image in dict.fromkeys(images):
        name, number = f"{image.stem}_pose.png", 2
        while name in taken:
            name, number = f"{image.stem}_{number}_pose.png", number + 1
        taken.add(name)
        names[image] = folder / name
    return names


def _read_picture(path: Path) -> npt.NDArray[np.uint8]:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such picture")
    image = cv2.imread(str(path))
    if image is None:
        raise ValueError(f"{path}: cannot be decoded; is it a whole picture?")
    return image.astype(np.uint8, copy=False)


def _csv(result: Predictions) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["image", *(f"{name} {axis}" for name in result.names for axis in "xy")])
    for picture in result.pictures:
        table.writerow([str(picture.image), *(f"{value:.3f}" for value in picture.points.reshape(-1))])
    return text.getvalue()


def _write(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
