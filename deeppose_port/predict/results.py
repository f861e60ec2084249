"""What predictions are, and how they are written as JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.errors import DeepPoseError
from deeppose_port.data.crop import Points

FORMATS = ("json", "csv")

_ERRORS = ("error_px", "legacy_error", "mean_error_px", "mean_legacy_error")


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
                {"image": str(p.image), "drawing": str(p.drawing), "points": as_lists(p.points)} for p in self.pictures
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

    def as_csv(self) -> str:
        """Returns the joints of the pictures as a table, a line each."""
        rows = ([str(picture.image), *cells(picture.points)] for picture in self.pictures)
        return _csv(["image", *columns(self.names)], rows)


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
        return {
            "checkpoint": self.checkpoint,
            "joints": list(self.names),
            "persons": [
                {
                    "image": str(p.image),
                    "line": p.line,
                    "drawing": str(p.drawing),
                    "label": str(p.label),
                    **{name: _finite(getattr(p, name), 6) for name in _ERRORS},
                    "points": as_lists(p.points),
                }
                for p in self.persons
            ],
            "tile": None if self.tile is None else str(self.tile),
        }

    def as_csv(self) -> str:
        """Returns the joints and errors as a table, a line a person."""
        rows = (
            [str(p.image), str(p.line), *(f"{getattr(p, name):.6g}" for name in _ERRORS), *cells(p.points)]
            for p in self.persons
        )
        return _csv(["image", "line", *_ERRORS, *columns(self.names)], rows)


def checked_format(format: str) -> str:
    """Returns a format of `FORMATS`.

    Raises:
        DeepPoseError: It is another.
    """
    if format not in FORMATS:
        raise DeepPoseError(f"there is no format {format!r} for joints; there are {', '.join(FORMATS)}")
    return format


def text_of(result: Predictions | PersonPredictions, format: str) -> str:
    """Returns what a file of joints holds, in a format of `FORMATS`."""
    return result.as_csv() if format == "csv" else json.dumps(result.as_dict(), indent=2) + "\n"


def columns(names: Sequence[str]) -> list[str]:
    """Returns the headings of a pose's columns in a CSV."""
    return [f"{name} {axis}" for name in names for axis in "xy"]


def cells(points: Points) -> list[str]:
    """Returns a pose as a CSV has it."""
    return [f"{value:.3f}" for value in points.reshape(-1)]


def as_lists(points: Points) -> list[list[float | None]]:
    """Returns a pose as JSON has it; what is not finite is None."""
    return [[_finite(x), _finite(y)] for x, y in points.tolist()]


def _finite(value: float, digits: int = 3) -> float | None:
    return round(value, digits) if np.isfinite(value) else None


def _csv(header: list[str], rows: Iterable[list[str]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    return text.getvalue()
