"""`show`: what a checkpoint looks like inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.cli import display
from deeppose_port.cli.command import command
from deeppose_port.cli.options import (
    EngineOptions,
    InputOptions,
    JsonOptions,
    ReadingOptions,
    load,
    one_checkpoint,
    overwriting,
    persons,
    skeletons,
)
from deeppose_port.data.options import CountingOptions, picture_folder
from deeppose_port.options import RARE_GROUP, described, values_of

if TYPE_CHECKING:
    from converters import Checkpoint
    from converters.cascade import Cascade
    from deeppose_port.cascade import CascadePose
    from deeppose_port.data import PoseDataset
    from deeppose_port.data.arrays import Float32Array
    from deeppose_port.inspecting.activity import Activity
    from deeppose_port.inspecting.weights import TensorRow
    from deeppose_port.pose import Pose
    from deeppose_port.progress import Step


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """What `show` is told."""

    checkpoint: Path = one_checkpoint()
    output: Path | None = described(
        "Also draw filters.png and histograms.png in this folder.",
        default=None,
        metavar="DIR",
        names=("-o", "--output"),
    )
    images: Path | None = picture_folder(
        "The picture, or folder of pictures, that the network is run on.",
        default=None,
        show_default="synthetic pictures",
    )
    csv: Path | None = described(
        "With --images: run it on the persons in this CSV.", default=None, names=("--csv", "--test-csv-fn")
    )
    skeleton: str | None = described(
        "With --csv: its joints, if the checkpoint does not say; a known skeleton or a file of your own.",
        default=None,
        choices=skeletons,
        goes_with=("csv",),
    )
    samples: int = described("The most pictures to use.", default=64)
    seed: int = described("Seed of the choice of pictures.", default=0)
    force: bool = overwriting()
    reading: ReadingOptions = field(metadata=RARE_GROUP)
    inputs: InputOptions
    engine: EngineOptions
    counting: CountingOptions
    shown: JsonOptions

    def __post_init__(self) -> None:
        if self.csv is not None and self.images is None:
            raise click.UsageError("--csv needs --images, the pictures' folder")
        if self.samples < 2:
            raise DeepPoseError(f"--samples is {self.samples}; it has to be at least 2, to compare pictures")


@command(lambda: ShowOptions)
def show(options: ShowOptions) -> int:
    """Shows weights, NaN and dead units, and whether a network has collapsed.

    A dead unit is one that no picture activates; a network has collapsed if it gives every picture the same answer, as
    many old ones do. With -o it also draws the first layer's filters, numbered and with the dead ones marked, and the
    distributions of the weights. Of a cascade, all networks are shown; those of later stages are run on close-ups
    around the joints of the stage before.

    \b
    Example:
      deeppose-port show epoch-100.model -o inside
      deeppose-port show epoch-100.model --csv test_joints.csv --images images
    """
    import converters
    from converters.cascade import Cascade
    from deeppose_port.cascade import CascadePose
    from deeppose_port.inspecting.weights import checked_targets, tensor_rows, write_pictures

    output, force, as_json = options.output, options.force, options.shown.as_json
    pose = load(options.checkpoint, options.reading, options.inputs, options.engine)
    read: Checkpoint | Cascade = pose.cascade if isinstance(pose, CascadePose) else pose.checkpoint
    if output is not None:
        checked_targets(output, _networks(read), force=force, read=options.images)
    if any(repair.became is not None for repair in read.repairs):
        how = {**values_of(options.reading), "nonfinite": "keep"}
        read = converters.read(options.checkpoint, state=False, **how)
    kept = {part: (network, tensor_rows(network)) for part, network in _networks(read).items()}
    with display.steps("looking", quiet=as_json, unit="pictures") as step:
        dataset = None
        if options.csv is not None and options.images is not None:
            dataset = persons(pose, options.csv, options.images, options.skeleton, options.counting)
        seen = _activities(pose, options, dataset, step)
    written = [] if output is None else write_pictures(kept, output, seen, force=force)
    if as_json:
        told = {part: _as_dict(*kept[part], seen[part]) for part in kept}
        values: dict[str, object] = {"checkpoint": str(options.checkpoint), "backend": pose.backend}
        if isinstance(read, Cascade):
            stages = [[{"part": part, **told[part]} for part in parts] for parts in read.rules.parts]
            values |= {"stages": [{"networks": networks} for networks in stages]}
        else:
            values |= told[""]
        display.as_json({**values, "files": [str(path) for path in written]})
        return 0
    for part, (network, rows) in kept.items():
        if part:
            display.say(f"{part}: {network.architecture.name}")
        _show_tensors(rows)
        found = seen[part]
        if isinstance(found, DeepPoseError):
            display.say(f"It sees nothing: {found}")
        else:
            _show_layers(found)
            if found.dead_sentence:
                display.say(found.dead_sentence)
            display.say(found.sentence)
    for path in written:
        display.say(f"written: {path}")
    return 0


def _networks(read: Checkpoint | Cascade) -> dict[str, Checkpoint]:
    """Returns the networks by what they are called in files; one by itself has no name."""
    from converters.cascade import Cascade

    return read.networks if isinstance(read, Cascade) else {"": read}


def _as_dict(network: Checkpoint, rows: Sequence[TensorRow], seen: Activity | DeepPoseError) -> dict[str, object]:
    """Returns what a network looks like inside as JSON-ready values."""
    told = {"architecture": network.architecture.name, "tensors": [row.as_dict() for row in rows]}
    if isinstance(seen, DeepPoseError):
        return {**told, "verdict": None, "sentence": f"It sees nothing: {seen}"}
    return {**told, **seen.as_dict()}


def _activities(
    pose: Pose | CascadePose, options: ShowOptions, dataset: PoseDataset | None, step: Step
) -> dict[str, Activity | DeepPoseError]:
    """Looks at the pictures that were asked for, with each network."""
    from deeppose_port.inspecting.activity import activities, activity
    from deeppose_port.inspecting.subjects import inputs_of_files, inputs_of_persons, inputs_of_synthetic
    from deeppose_port.pose import Pose

    samples, seed, told = options.samples, options.seed, pose.preprocessing
    if dataset is not None:
        subjects, described = inputs_of_persons(dataset, samples, seed), "persons"
    elif options.images is not None:
        subjects = inputs_of_files(options.images, told, samples, seed, options.counting.max_pixels)
        described = "pictures"
    else:
        subjects, described = inputs_of_synthetic(told, samples, seed), "synthetic pictures"
    if not isinstance(pose, Pose):
        found: dict[str, Activity | DeepPoseError] = {}
        for part, one in activities(pose, subjects, samples, seed, described):
            found[part] = one
            step(part, len(found), len(pose.cascade.networks))
        return found

    def counted() -> Iterator[Float32Array]:
        for i, one in enumerate(subjects):
            step(i, samples)
            yield one

    return {"": activity(pose, counted(), described)}


def _show_tensors(rows: Sequence[TensorRow]) -> None:
    """Shows the weights, and every tensor that holds NaN or Inf."""
    table = display.table("weights", "shape", "mean", "std", "smallest", "largest", "zeros", "NaN", "Inf", text=2)
    for row in rows:
        if len(row.shape) < 2 and not row.channels:
            continue
        numbers = ("-" if n is None else f"{n:.3g}" for n in (row.mean, row.std, row.minimum, row.maximum))
        shape = " x ".join(map(str, row.shape)) or "scalar"
        counts = (f"{row.zeros / row.size:.1%}" if row.size else "-", str(row.nan), str(row.inf))
        style = "bold red" if row.channels else ""
        table.add_row(row.name, shape, *numbers, *counts, style=style)
    display.show(table)
    for row in rows:
        if row.channels:
            share = (row.nan + row.inf) / row.size
            listed = ", ".join(f"{i} ({count})" for i, count in row.channels[:12])
            more = ", …" if len(row.channels) > 12 else ""
            display.say(
                f"{row.name}: {share:.2%} not finite, in {len(row.channels)} of "
                f"{row.shape[0] if row.shape else 1} channels: {listed}{more}"
            )


def _show_layers(seen: Activity) -> None:
    """Shows what the ReLUs and the last layer make of the pictures."""
    table = display.table("layer", "units", "dead", "active, %", "differs between pictures, %")
    for row in seen.layers:
        if row.dead is None and row is not seen.layers[-1]:
            continue
        dead = "" if row.dead is None else str(row.dead)
        active = "" if row.active is None else display.percent(row.active)
        table.add_row(row.name, str(row.shape[0]), dead, active, display.percent(row.variation))
    display.show(table)
