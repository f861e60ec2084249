"""`predict`: the joints of persons in pictures and videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeppose_port.cli import display
from deeppose_port.cli.options import (
    BAD_INPUT,
    PATH,
    checkpoint_options,
    input_options,
    json_option,
    load,
    person_options,
    persons,
)

if TYPE_CHECKING:
    from deeppose_port.drawing.sheet import ContactSheet
    from deeppose_port.pose import Pose
    from deeppose_port.predict import PersonPredictions, Predictions


@click.command()
@click.argument("checkpoint", type=PATH)
@click.argument("sources", metavar="[SOURCE]...", nargs=-1, type=PATH)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    required=True,
    type=PATH,
    help="Where the drawn pictures and the joints go.",
)
@click.option(
    "--box", metavar="x,y,w,h", help="The person's box in pixels, for every SOURCE; by default the whole picture."
)
@click.option(
    "--csv", "--test-csv-fn", type=PATH, help="Predict the persons of a CSV instead, and compare them with it."
)
@click.option("--images", "--img-dir", type=PATH, help="With --csv: the pictures' folder.")
@click.option("--skeleton", metavar="flic|lsp|mpii", help="What the joints are; by default told by their number.")
@click.option("--format", "format", default="json", show_default=True, metavar="json|csv", help="Of the joints' file.")
@click.option("--tile", metavar="COLUMNSxROWS", help="A contact sheet, tile.png, of so many persons drawn by chance.")
@click.option("--seed", default=0, show_default=True, help="With --tile: of the choice.")
@person_options
@click.option("--force", is_flag=True, help="Replace files that exist.")
@checkpoint_options
@input_options
@json_option
def predict(
    checkpoint: Path,
    sources: tuple[Path, ...],
    output: Path,
    box: str | None,
    csv: Path | None,
    images: Path | None,
    skeleton: str | None,
    format: str,
    tile: str | None,
    seed: int,
    min_dim: float,
    ignore_label: float,
    force: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Finds the joints of one person in each picture or video frame, and draws them.

    SOURCE is a picture, a folder of pictures or a video. One of several that cannot be read is named and does not keep
    the others; the exit status is then 2. With --csv and --images the persons of a CSV are predicted, with their
    errors and pictures of prediction and label.

    \b
    Example:
      deeppose-port predict epoch-100.model astronaut.png --box 36,0,422,512 -o out
      deeppose-port predict epoch-100.model holiday/ clip.mp4 -o out --format csv --tile 5x5
      deeppose-port predict epoch-100.model --csv test_joints.csv --images images -o out --tile 3x3 --seed 9
    """
    from deeppose_port.drawing.sheet import ContactSheet, parse_tile

    if bool(sources) == (csv is not None) or (images is None) != (csv is None):
        raise click.UsageError("name pictures, folders or videos, or --csv with --images")
    if csv is not None and box is not None:
        raise click.UsageError("--box does not go with --csv, whose persons have their own boxes")
    sheet = None if tile is None else ContactSheet(*parse_tile(tile), seed)
    pose = load(checkpoint, **options)
    if csv is not None:
        assert images is not None
        found = _persons(pose, csv, images, skeleton, min_dim, ignore_label, output, format, sheet, force, as_json)
        if as_json:
            display.as_json(found.as_dict())
        else:
            _show_persons(found)
        return 0
    result = _files(pose, sources, output, box, skeleton, format, sheet, force, as_json)
    for failure in result.failures:
        display.error(failure.reason)
    for video in result.videos:
        if video.frames < video.announced:
            display.notices([f"{video.video}: {video.frames} of {video.announced} frames could be decoded"])
    if as_json:
        display.as_json(result.as_dict())
    else:
        _show(result)
    return BAD_INPUT if result.failures else 0


def _files(
    pose: Pose,
    sources: tuple[Path, ...],
    output: Path,
    box: str | None,
    skeleton: str | None,
    format: str,
    sheet: ContactSheet | None,
    force: bool,
    quiet: bool,
) -> Predictions:
    """Predicts pictures and videos."""
    from deeppose_port.predict import parse_box, predict_files

    with display.steps("predicting", quiet=quiet, unit="pictures") as step:
        return predict_files(
            pose,
            sources,
            output,
            box=None if box is None else parse_box(box),
            skeleton=skeleton,
            format=format,
            sheet=sheet,
            force=force,
            progress=lambda done, total: step("", done, total),
        )


def _persons(
    pose: Pose,
    csv: Path,
    images: Path,
    skeleton: str | None,
    min_dim: float,
    ignore_label: float,
    output: Path,
    format: str,
    sheet: ContactSheet | None,
    force: bool,
    quiet: bool,
) -> PersonPredictions:
    """Predicts annotated persons."""
    from deeppose_port.predict import predict_persons

    dataset = persons(pose, csv, images, skeleton, min_dim, ignore_label)
    with display.steps("predicting", quiet=quiet, unit="persons") as step:
        return predict_persons(
            pose,
            dataset,
            output,
            format=format,
            sheet=sheet,
            force=force,
            progress=lambda done, total: step("", done, total),
        )


def _show(result: Predictions) -> None:
    """Shows where predictions were written."""
    for picture in result.pictures:
        _say(f"{picture.image} -> {picture.drawing}")
    for video in result.videos:
        _say(f"{video.video} -> {video.drawing}, {display.counted(video.frames, 'frame')}; joints in {video.file}")
    _show_files(result)


def _show_persons(result: PersonPredictions) -> None:
    """Shows the persons' errors, and where predictions were written."""
    table = display.table("line", "picture", "error px", "mean so far", "legacy error", "mean so far", text=2)
    for p in result.persons:
        numbers = (p.error_px, p.mean_error_px, p.legacy_error, p.mean_legacy_error)
        table.add_row(str(p.line), display.shown(str(p.image)), *(f"{number:.2f}" for number in numbers))
    display.show(table)
    _say(f"{display.counted(len(result.persons), 'person')}: a _pred.png and a _label.png each in {result.file.parent}")
    _show_files(result)


def _show_files(result: Predictions | PersonPredictions) -> None:
    """Shows what was written of all together."""
    if result.file is not None:
        _say(f"joints in {result.file}")
    if result.tile is not None:
        _say(f"contact sheet in {result.tile}")


def _say(sentence: str) -> None:
    click.echo(display.shown(sentence))
