"""`pack`: a training set's pictures, decoded once for all trainings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.cli import display
from deeppose_port.cli.command import command
from deeppose_port.cli.options import INTERRUPTED, SKELETON, JsonOptions, skeletons
from deeppose_port.data.options import BASE_ZOOM, CountingOptions, picture_folder
from deeppose_port.options import described, refuse_unknown

if TYPE_CHECKING:
    from deeppose_port.data import PoseDataset
    from deeppose_port.data.dataset import DatasetOptions
    from deeppose_port.data.pack import Pack
    from deeppose_port.data.pack.index import PackOptions

#: What is trained where nothing else is said, as `train`'s own.
ALEXNET = "alexnet"
STARTING_ZOOM, MARGIN_RANGE = 1.5, 0.1


@dataclass(frozen=True, kw_only=True)
class PackCommandOptions:
    """What `pack` is told."""

    csv: Path = described("The annotated persons: a CSV, or the Keras course's shards.", names=("CSV",))
    target: Path = described("The pack, a folder: it is written, or gone on with.", names=("PACK",))
    images: Path | None = picture_folder(default=None)
    skeleton: str | None = described(SKELETON, default=None, choices=skeletons)
    only_verify: bool = described(
        "Write nothing; compare an existing PACK with the CSV and pictures.", default=False, names=("--verify",)
    )
    architecture: str = described(
        "The network that will be trained; it decides which part of a picture is packed.",
        default=ALEXNET,
        metavar="NAME",
    )
    resolution: int = described(
        "Largest side of a packed crop; 0 keeps the original size.", default=440, metavar="PIXELS"
    )
    base_zoom: float = described(BASE_ZOOM, default=STARTING_ZOOM)
    margin_range: float = described(
        "For networks that see a margin around the joints: the largest change of it that training will use.",
        default=MARGIN_RANGE,
        metavar="FRACTION",
    )
    rotate_range: int = described("The largest rotation that training will use, in degrees.", default=10)
    zoom_range: float = described("The largest zoom, as a fraction.", default=0.2)
    translate_range: int = described("The largest shift, in pixels.", default=5)
    close_ups: float = described(
        "For later stages of a cascade: how much to keep around each joint.", default=0.0, metavar="DIAMETERS"
    )
    counting: CountingOptions
    threads: int | None = described("Threads that decode; by default one for each CPU.", default=None)
    shown: JsonOptions

    def __post_init__(self) -> None:
        if self.threads is not None and self.only_verify:
            raise click.UsageError("--threads is of what decodes, and --verify decodes nothing")


@command(lambda: PackCommandOptions)
def pack(options: PackCommandOptions) -> int:
    """Decodes each person's part of the pictures once, for `train --pack`.

    An interrupted run resumes where it stopped. PACK is refused if the CSV or a picture has changed since.

    In place of CSV you can give the shards of the Keras course on MPII (*.tfrecords, or a folder of them), which hold
    both persons and pictures. PACK then includes their CSV, and `train` needs no other.

    \b
    Example:
      deeppose-port pack train.csv train.pack --images images --skeleton lsp
      deeppose-port pack train.csv train.pack --images images --skeleton lsp \\
          --verify
      deeppose-port train --pack train.pack --train-csv train.csv …
      deeppose-port pack shards mpii.pack --architecture hourglass
      deeppose-port train --pack mpii.pack --architecture hourglass …
    """
    from deeppose_port.data.pack.packing import pack as run
    from deeppose_port.data.pack.packing import verify

    if options.threads is not None and options.threads < 1:
        raise DeepPoseError(f"threads is {options.threads}; it has to be at least 1")
    made_with = _made_with(options)
    dataset, notes = _persons(options, made_with)
    resumed = 0
    if options.only_verify:
        with display.steps("verifying", quiet=options.shown.as_json, unit="parts") as step:
            made = verify(dataset, options.target, progress=step)
    else:
        with display.steps("packing", quiet=options.shown.as_json, unit="pictures") as step:
            try:
                packed = run(
                    dataset,
                    options.target,
                    made_with,
                    threads=options.threads,
                    progress=step,
                )
            except KeyboardInterrupt:
                display.say("interrupted; the same command goes on where this one has stopped", err=True)
                return INTERRUPTED
        made, resumed = packed.pack, packed.resumed
    _show(made, resumed, options.only_verify, options.shown.as_json)
    if not options.shown.as_json:
        display.notices(notes)
    return 0


def _made_with(options: PackCommandOptions) -> PackOptions:
    """Returns what a pack is to be made with, of what an architecture sees and what was said.

    Raises:
        DeepPoseError: A pack cannot have what it sees, or two of them contradict each other.
    """
    from converters.families import grown, starting_preprocessing
    from converters.networks import TABLES
    from deeppose_port.data import skeletons as known
    from deeppose_port.data.pack.index import PackOptions
    from deeppose_port.data.pack.shards import SKELETON as OF_SHARDS
    from deeppose_port.data.pack.shards import is_shards

    if grown(options.architecture) is None:
        refuse_unknown("architecture", options.architecture, TABLES)
    sees = starting_preprocessing(options.architecture)
    has_margin = sees.part == "joints-margin"
    if has_margin and options.base_zoom != STARTING_ZOOM:
        raise DeepPoseError(f"{options.architecture} sees a margin around the joints: leave --base-zoom out")
    if not has_margin and options.margin_range != MARGIN_RANGE:
        raise DeepPoseError(f"{options.architecture} sees no margin around the joints: leave --margin-range out")
    if options.skeleton is None and not is_shards(options.csv):
        raise DeepPoseError("--skeleton is missing: it says what the joints are", advice="lsp, mpii or flic")
    return PackOptions(
        skeleton=known.get(options.skeleton or OF_SHARDS).name,
        resolution=options.resolution,
        base_zoom=options.base_zoom,
        rotate_range=options.rotate_range,
        zoom_range=options.zoom_range,
        translate_range=options.translate_range,
        close_ups=options.close_ups,
        min_dim=options.counting.min_dim,
        ignore_label=options.counting.ignore_label,
        part=sees.part,
        margin=sees.margin + options.margin_range if has_margin else 0.0,
    )


def _persons(options: PackCommandOptions, made_with: PackOptions) -> tuple[PoseDataset, list[str]]:
    """Returns the persons to be packed, and sentences for the user.

    Raises:
        DeepPoseError: They cannot be read, or nothing says where their pictures are.
    """
    from deeppose_port.data.dataset import PoseDataset
    from deeppose_port.data.pack.shards import SKELETON as OF_SHARDS
    from deeppose_port.data.pack.shards import is_shards, read_shards

    about: DatasetOptions = {
        "preprocessing": made_with.preprocessing,
        "min_dim": options.counting.min_dim,
        "ignore_label": options.counting.ignore_label,
        "max_pixels": options.counting.max_pixels,
    }
    if is_shards(options.csv):
        if made_with.skeleton != OF_SHARDS or options.images is not None:
            problem = f"shards have pictures and the joints of {OF_SHARDS}: leave --images and --skeleton out"
            raise DeepPoseError(problem, where=options.csv)
        return read_shards(options.csv, options.target, writes=not options.only_verify, **about)
    if options.images is None:
        raise DeepPoseError("--images is missing: the pictures' folder")
    return PoseDataset(options.csv, images=options.images, skeleton=options.skeleton or "", **about), []


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
