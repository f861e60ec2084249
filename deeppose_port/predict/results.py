"""What predictions are, and how they are written as JSON and CSV."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from converters.values import dataclass
from deeppose_port.data.crop import Box, Points
from deeppose_port.predict.sources import Source
from deeppose_port.text import cell_of, csv_text, finite

FORMATS = ("json", "csv")

#: What a table of several persons has beside their joints.
BOX_COLUMNS = ("person", "box x", "box y", "box width", "box height")

_ERRORS = ("error_px", "legacy_error", "mean_error_px", "mean_legacy_error")


@dataclass(frozen=True)
class Stages:
    """What is done with the stages of a cascade.

    Attributes:
        shown: Whether each stage's joints are written, and their way from stage to stage drawn.
        legacy_order: As for `CascadePose.predict_stages`.
    """

    shown: bool = False
    legacy_order: bool = False


#: Nothing that is not done with a single network.
ONLY_THE_LAST = Stages()


@dataclass(frozen=True)
class Prediction:
    """The joints of one person in a picture.

    Attributes:
        image: The picture, a file or behind an address.
        points: (J, 2) float64, x right and y down, in its pixels.
        drawing: The picture with the limbs of all its persons drawn.
        person: The person's number in the picture, from 1.
        box: Where the person is; None for the whole picture.
        score: How sure that is, as whoever found the person says; None where nobody does.
        stages: (stages, J, 2), where each stage of a cascade has the joints, if that is asked for.
        heatmaps: The joints' heat maps, drawn; None where that was not asked for.
    """

    image: Source
    points: Points
    drawing: Path
    person: int = 1
    box: Box | None = None
    score: float | None = None
    stages: Points | None = None
    heatmaps: Path | None = None

    def as_dict(self) -> dict[str, object]:
        """Returns the joints as JSON-ready values; where stages are asked for, each stage's too."""
        stages = {} if self.stages is None else {"stages": [as_lists(pose) for pose in self.stages]}
        return {
            "image": str(self.image),
            "drawing": str(self.drawing),
            "person": self.person,
            "box": None if self.box is None else [finite(side, 3) for side in self.box],
            "score": self.score,
            "points": as_lists(self.points),
            **stages,
            **({} if self.heatmaps is None else {"heatmaps": str(self.heatmaps)}),
        }


@dataclass(frozen=True)
class VideoPrediction:
    """One video's joints.

    Attributes:
        video: The video, camera or stream.
        frames: How many were read.
        announced: How many the file says it has; 0 where it does not say.
        fps: Frames a second.
        file: The joints, JSON or CSV, a line for each person of a frame.
        drawing: The video with the limbs drawn.
        persons: How many persons were followed.
        notices: What is good to know of the drawn video.
    """

    video: Source
    frames: int
    announced: int
    fps: float
    file: Path
    drawing: Path
    persons: int = 1
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A picture or video without joints.

    Attributes:
        source: What.
        reason: What is wrong with it; names it.
    """

    source: Source
    reason: str


@dataclass(frozen=True)
class Predictions:
    """The joints of some pictures and videos, and where they were written.

    Attributes:
        checkpoint: What answered.
        names: Names of the joints.
        pictures: One entry for each person of a picture.
        videos: One entry a video.
        failures: What has no joints.
        file: The JSON or CSV with the joints of all pictures; None without pictures.
        tile: The contact sheet; None without.
        nobody: The pictures in which there is nobody.
        numbered: Whether there may be several persons in a picture.
    """

    checkpoint: str
    names: tuple[str, ...]
    pictures: tuple[Prediction, ...]
    videos: tuple[VideoPrediction, ...]
    failures: tuple[Failure, ...]
    file: Path | None
    tile: Path | None
    nobody: tuple[Source, ...] = ()
    numbered: bool = False

    def as_dict(self) -> dict[str, object]:
        """Returns the joints of the pictures, and where those of the videos are, as JSON-ready values."""
        return {
            "checkpoint": self.checkpoint,
            "joints": list(self.names),
            "pictures": [picture.as_dict() for picture in self.pictures],
            "videos": [
                {
                    "video": str(v.video),
                    "drawing": str(v.drawing),
                    "file": str(v.file),
                    "frames": v.frames,
                    "fps": v.fps,
                    "persons": v.persons,
                }
                for v in self.videos
            ],
            "nobody": [str(picture) for picture in self.nobody],
            "failures": [{"source": str(f.source), "error": f.reason} for f in self.failures],
            "tile": None if self.tile is None else str(self.tile),
        }

    def as_csv(self) -> str:
        """Returns the joints of the pictures as a table, a line for each person."""
        more = BOX_COLUMNS if self.numbered else ()
        stages = max((0 if p.stages is None else len(p.stages) for p in self.pictures), default=0)
        rows = (
            [
                cell_of(str(p.image)),
                *cells(p.points),
                *(box_cells(p.person, p.box) if more else ()),
                *(() if p.stages is None else cells(p.stages)),
            ]
            for p in self.pictures
        )
        return csv_text(["image", *columns(self.names), *more, *stage_columns(self.names, stages)], rows)


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
        heatmaps: The joints' heat maps, drawn; None where that was not asked for.
        stage_errors_px: `error_px` after each stage of a cascade; empty of a single network.
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
    heatmaps: Path | None = None
    stage_errors_px: tuple[float, ...] = ()


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

    def as_dict(self) -> dict[str, object]:
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
                    **{name: finite(getattr(p, name), 6) for name in _ERRORS},
                    **({"stage_errors_px": [finite(e, 6) for e in p.stage_errors_px]} if p.stage_errors_px else {}),
                    "points": as_lists(p.points),
                    **({} if p.heatmaps is None else {"heatmaps": str(p.heatmaps)}),
                }
                for p in self.persons
            ],
            "tile": None if self.tile is None else str(self.tile),
        }

    def as_csv(self) -> str:
        """Returns the joints and errors as a table, a line a person; of a cascade every stage's error at the end."""
        stages = max((len(p.stage_errors_px) for p in self.persons), default=0)
        rows = (
            [
                cell_of(p.image),
                str(p.line),
                *(f"{getattr(p, name):.6g}" for name in _ERRORS),
                *cells(p.points),
                *(f"{error:.6g}" for error in p.stage_errors_px),
            ]
            for p in self.persons
        )
        more = [f"stage {stage + 1}: error_px" for stage in range(stages)]
        return csv_text(["image", "line", *_ERRORS, *columns(self.names), *more], rows)


def text_of(result: Predictions | PersonPredictions, format: str) -> str:
    """Returns what a file of joints holds, in a format of `FORMATS`."""
    return result.as_csv() if format == "csv" else json.dumps(result.as_dict(), indent=2) + "\n"


def columns(names: Sequence[str]) -> list[str]:
    """Returns the headings of a pose's columns in a CSV."""
    return [f"{name} {axis}" for name in names for axis in "xy"]


def stage_columns(names: Sequence[str], stages: int) -> list[str]:
    """Returns the headings of the columns of so many stages of a pose."""
    return [f"stage {stage + 1}: {name}" for stage in range(stages) for name in columns(names)]


def cells(points: Points) -> list[str]:
    """Returns a pose, or several, as a CSV has them."""
    return [f"{value:.3f}" for value in points.reshape(-1)]


def box_cells(person: int, box: Box | None) -> list[str]:
    """Returns a person's number and box as a CSV has them, see `BOX_COLUMNS`."""
    return [str(person), *("" if box is None else f"{side:.9g}" for side in box or (0.0,) * 4)]


def as_lists(points: Points) -> list[list[float | None]]:
    """Returns a pose as JSON has it; what is not finite is None."""
    return [[finite(x, 3), finite(y, 3)] for x, y in points.tolist()]
