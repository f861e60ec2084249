"""`predict`: the joints of persons in pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeppose_port.commands import display
from deeppose_port.commands.options import PATH, checkpoint_options, input_options, json_option, load

if TYPE_CHECKING:
    from deeppose_port.predict import Predictions


@click.command()
@click.argument("checkpoint", type=PATH)
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=PATH)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    required=True,
    type=PATH,
    help="Where the drawn pictures and the joints go.",
)
@click.option(
    "--box", metavar="x,y,w,h", help="The person's box in pixels, for every IMAGE; by default the whole picture."
)
@click.option("--skeleton", metavar="flic|lsp|mpii", help="What the joints are; by default told by their number.")
@click.option("--format", "format", default="json", show_default=True, metavar="json|csv", help="Of the joints' file.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@checkpoint_options
@input_options
@json_option
def predict(
    checkpoint: Path,
    images: tuple[Path, ...],
    output: Path,
    box: str | None,
    skeleton: str | None,
    format: str,
    force: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Finds the joints of one person in each picture, and draws them.

    \b
    Example:
      deeppose-port predict epoch-100.model astronaut.png --box 36,0,422,512 -o out
    """
    from deeppose_port.predict import parse_box, predict_files

    pose = load(checkpoint, **options)
    with display.steps("predicting", quiet=as_json, unit="pictures") as step:
        result = predict_files(
            pose,
            images,
            output,
            box=None if box is None else parse_box(box),
            skeleton=skeleton,
            format=format,
            force=force,
            progress=lambda done, total: step("", done, total),
        )
    if as_json:
        display.as_json(result.as_dict())
    else:
        _show(result)
    return 0


def _show(result: Predictions) -> None:
    """Shows where predictions were written."""
    for picture in result.pictures:
        click.echo(f"{picture.image} -> {picture.drawing}")
    click.echo(f"joints in {result.file}")
