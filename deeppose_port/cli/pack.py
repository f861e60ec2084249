"""`pack`: a training set's pictures, decoded once for all trainings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from converters.errors import DeepPoseError
from deeppose_port.cli import display
from deeppose_port.cli.options import INTERRUPTED, PATH, json_option

if TYPE_CHECKING:
    from deeppose_port.data.pack import Pack


@click.command()
@click.argument("csv", type=PATH)
@click.argument("target", type=PATH, metavar="PACK")
@click.option("--images", "--img-dir", required=True, type=PATH, help="The pictures' folder.")
@click.option("--skeleton", required=True, metavar="flic|lsp|mpii", help="What the joints are.")
@click.option("--verify", "only_verify", is_flag=True, help="Write nothing: compare PACK with CSV and pictures, whole.")
@click.option(
    "--resolution", default=440, show_default=True, metavar="PIXELS", help="Of a person's crop, at most; 0: as it is."
)
@click.option("--base-zoom", default=1.5, show_default=True, help="Factor on the box of a person's joints.")
@click.option(
    "--rotate-range", default=10, show_default=True, help="The largest that trainings will use; so are these:"
)
@click.option("--zoom-range", default=0.2, show_default=True)
@click.option("--translate-range", default=5, show_default=True)
@click.option("--min-dim", default=0.0, show_default=True, help="As for eval.")
@click.option("--ignore-label", default=-1.0, show_default=True, help="As for eval.")
@click.option("--threads", type=int, help="Threads that decode; by default as many as the machine runs.")
@json_option
def pack(csv: Path, target: Path, images: Path, skeleton: str, only_verify: bool, as_json: bool, **given: Any) -> int:
    """Decodes the pictures of CSV and writes each person's part of them into PACK, for `train --pack PACK`.

    A run that was stopped goes on where it was. PACK is refused when CSV or a picture has changed since.

    \b
    Example:
      deeppose-port pack train_joints.csv train.pack --images images --skeleton lsp
      deeppose-port pack train_joints.csv train.pack --images images --skeleton lsp --verify
      deeppose-port train --pack train.pack --train-csv train_joints.csv --images images --skeleton lsp …
    """
    from deeppose_port.data import skeletons
    from deeppose_port.data.dataset import PoseDataset
    from deeppose_port.data.pack.index import PackOptions
    from deeppose_port.data.pack.packing import pack as run
    from deeppose_port.data.pack.packing import verify

    threads = given.pop("threads")
    if threads is not None and threads < 1:
        raise DeepPoseError(f"threads is {threads}; it has to be at least 1")
    options = PackOptions(skeleton=skeletons.get(skeleton).name, **given)
    dataset = PoseDataset(
        csv,
        images=images,
        skeleton=skeleton,
        base_zoom=options.base_zoom,
        min_dim=options.min_dim,
        ignore_label=options.ignore_label,
    )
    resumed = 0
    if only_verify:
        with display.steps("verifying", quiet=as_json, unit="parts") as step:
            made = verify(dataset, target, progress=lambda done, total: step("", done, total))
    else:
        with display.steps("packing", quiet=as_json, unit="pictures") as step:
            try:
                packed = run(
                    dataset, target, options, threads=threads, progress=lambda done, total: step("", done, total)
                )
            except KeyboardInterrupt:
                click.echo("interrupted; the same command goes on where this one has stopped", err=True)
                return INTERRUPTED
        made, resumed = packed.pack, packed.resumed
    _show(made, resumed, only_verify, as_json)
    return 0


def _show(made: Pack, resumed: int, verified: bool, as_json: bool) -> None:
    """Shows what is in a pack."""
    factor = made.decoded_bytes / made.bytes
    if as_json:
        display.as_json(
            {
                "pack": str(made.folder),
                "verified": verified,
                "persons": len(made.persons),
                "persons_resumed": resumed,
                "persons_reduced": made.reduced,
                "pictures": len(made.pictures),
                "bytes": made.bytes,
                "decoded_bytes": made.decoded_bytes,
                "factor": factor,
            }
        )
        return
    persons = f"{len(made.persons):,} of {len(made.pictures):,} pictures"
    if resumed:
        persons += f"; {resumed:,} were packed before"
    table = display.facts()
    table.add_row("pack", f"{made.folder}{', whole and up to date' if verified else ''}")
    table.add_row("persons", persons)
    resolution = made.options.resolution
    bound = f"to at most {resolution} pixels a side of the crop" if resolution else "there is no bound"
    table.add_row("reduced", f"{made.reduced:,} persons, {bound}")
    table.add_row("size", f"{made.bytes / 1e6:,.1f} MB of pixels; the decoded pictures have {factor:.2f} times as much")
    display.show(table)
