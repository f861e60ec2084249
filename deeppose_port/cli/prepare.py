"""`prepare`: the legacy CSVs from what a data set's authors ship."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeppose_port.cli import display
from deeppose_port.cli.options import PATH, json_option

if TYPE_CHECKING:
    from deeppose_port.data.prepare import Preparation


@click.command()
@click.argument("dataset", metavar="flic|lsp|mpii")
@click.argument("source", type=PATH)
@click.argument("target", type=PATH)
@click.option(
    "--images",
    "--img-dir",
    type=PATH,
    help="The pictures' folder.  [default: images, beside the annotations or one folder up]",
)
@click.option(
    "--split",
    metavar="legacy|corrected|film",
    help="FLIC: the legacy split, which is off by one; the same without that; whole films.  "
    "[default: legacy with tr_plus_indices.mat, else film]",
)
@click.option(
    "--min-joints",
    type=int,
    metavar="N",
    help="Leave out persons with fewer joints.  [default: 16 of MPII's MATLAB file, as the legacy program; else 1]",
)
@click.option("--verify", is_flag=True, help="Decode each picture whole, and not only its header.")
@click.option("--jobs", type=int, metavar="N", help="Shards of pictures at a time.  [default: a processor each]")
@click.option(
    "--engine", default="threads", show_default=True, metavar="threads|ray", help="What looks at the pictures."
)
@click.option("--force", is_flag=True, help="Replace files that exist.")
@json_option
def prepare(dataset: str, source: Path, target: Path, as_json: bool, **options: Any) -> int:
    """Prepares a data set that you have: train_joints.csv and test_joints.csv, in the legacy split and order.

    SOURCE is the authors' own file, or a folder with it: FLIC's examples.mat (with tr_plus_indices.mat), joints.mat of
    LSP or LSP extended, mpii_human_pose_v1_u12_1.mat, or MPII's train.json and validation.json. Nothing is downloaded.

    Beside each CSV goes a file that eval finds: head boxes for PCKh, torso lengths for FLIC's PDJ, visibility.

    \b
    Example:
      deeppose-port prepare mpii ~/mpii data/mpii
      deeppose-port train --backend torch --train-csv data/mpii/train_joints.csv \\
          --test-csv data/mpii/test_joints.csv --images ~/mpii/images --skeleton mpii
    """
    from deeppose_port.data import prepare as library

    with display.steps("", quiet=as_json, unit="pictures") as step:
        result = library.prepare(dataset, source, target, progress=step, **options)
    if as_json:
        display.as_json(result.as_dict())
    else:
        _show(result)
    return 0


def _show(result: Preparation) -> None:
    """Shows what was read, left out and written."""
    table = display.table("", "count", "", text=1)
    for row in result.rows:
        table.add_row(row.what, f"{row.count:,}", row.why)
    for name, persons in result.persons.items():
        table.add_row(f"persons to {name}", f"{persons:,}", style="bold")
    table.columns[2].justify = "left"
    display.show(table)
    display.notices(result.notes)
    for file in result.files:
        click.echo(f"wrote {file}")
