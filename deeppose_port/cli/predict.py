"""`predict`: the joints of persons in pictures and videos."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deeppose_port.cli import display, persons
from deeppose_port.cli.command import command
from deeppose_port.cli.finding import FindingOptions, show_files
from deeppose_port.cli.options import BAD_INPUT, CountingOptions, JsonOptions, load
from deeppose_port.options import described

if TYPE_CHECKING:
    from deeppose_port.predict import Predictions


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """What `predict` is told."""

    checkpoint: Path = field(metadata=described("A checkpoint.", names=("CHECKPOINT",)))
    sources: tuple[Path, ...] = field(
        default=(), metadata=described("Pictures, folders of pictures, or videos.", names=("SOURCE",))
    )
    box: str | None = field(
        default=None,
        metadata=described(
            "The person's box in pixels, for every SOURCE; by default the whole picture.", metavar="x,y,w,h"
        ),
    )
    csv: Path | None = field(
        default=None, metadata=described("As `persons` with --csv.", names=("--csv", "--test-csv-fn"))
    )
    images: Path | None = field(
        default=None, metadata=described("With --csv: the pictures' folder.", names=("--images", "--img-dir"))
    )
    allow_truncated: bool = field(
        default=False,
        metadata=described("Take JPEGs that are cut off, grey from the cut on.", names=("--allow-truncated",)),
    )
    finding: FindingOptions
    counting: CountingOptions
    shown: JsonOptions

    def __post_init__(self) -> None:
        if bool(self.sources) == (self.csv is not None) or (self.images is None) != (self.csv is None):
            raise click.UsageError("name pictures, folders or videos, or --csv with --images")
        if self.csv is not None and self.box is not None:
            raise click.UsageError("--box does not go with --csv, whose persons have their own boxes")


@command(lambda: PredictOptions)
def predict(options: PredictOptions) -> int:
    """Finds the joints of one person in each picture or video frame, and draws them.

    SOURCE is a picture, a folder of pictures or a video. One of several that cannot be read is named and does not keep
    the others; the exit status is then 2. With --csv and --images the persons of a CSV are predicted, as `persons`
    does.

    \b
    Example:
      deeppose-port predict epoch-100.model photo.png --box 36,0,422,512 -o out
      deeppose-port predict epoch-100.model holiday/ clip.mp4 -o out --tile 5x5
    """
    if options.csv is not None and options.images is not None:
        return persons.find(
            persons.PersonsOptions(
                checkpoint=options.checkpoint,
                csv=options.csv,
                images=options.images,
                finding=options.finding,
                counting=options.counting,
                shown=options.shown,
            )
        )
    result = _files(options)
    for failure in result.failures:
        display.error(failure.reason)
    for video in result.videos:
        if video.frames < video.announced:
            display.notices([f"{video.video}: {video.frames} of {video.announced} frames could be decoded"])
    if options.shown.as_json:
        display.as_json(result.as_dict())
    else:
        _show(result)
    return BAD_INPUT if result.failures else 0


def _files(options: PredictOptions) -> Predictions:
    """Predicts pictures and videos."""
    from deeppose_port.predict import parse_box, predict_files

    told = options.finding
    sheet = told.sheet()
    pose = load(options.checkpoint, told.reading, told.inputs, told.engine)
    with display.steps("predicting", quiet=options.shown.as_json, unit="pictures") as step:
        return predict_files(
            pose,
            options.sources,
            told.output,
            box=None if options.box is None else parse_box(options.box),
            skeleton=told.skeleton,
            format=told.format,
            sheet=sheet,
            force=told.force,
            allow_truncated=options.allow_truncated,
            max_pixels=options.counting.max_pixels,
            progress=lambda done, total: step("", done, total),
        )


def _show(result: Predictions) -> None:
    """Shows where predictions were written."""
    for picture in result.pictures:
        display.say(f"{picture.image} -> {picture.drawing}")
    for video in result.videos:
        display.say(
            f"{video.video} -> {video.drawing}, {display.counted(video.frames, 'frame')}; joints in {video.file}"
        )
    show_files(result)
