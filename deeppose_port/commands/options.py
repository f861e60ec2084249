"""Options that several commands share, and what they stand for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deeppose_port.commands import display

if TYPE_CHECKING:
    from deeppose_port.pose import Pose

Command = TypeVar("Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)
NOT_SO = 1  # exit status: what was asked is answered with no
BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells count

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")


def checkpoint_options(command: Command) -> Command:
    """Adds the options that say how a checkpoint is read."""
    for option in (
        click.option(
            "--nonfinite",
            metavar="zero|error|keep",
            default="zero",
            show_default=True,
            help="What becomes of NaN and Inf: 0, a refusal, or nothing.",
        ),
        click.option(
            "--writer",
            metavar="chainer-X.Y.Z",
            help="The version that wrote the file, where nothing in it or beside it tells.",
        ),
        click.option(
            "--architecture", metavar="NAME", help="alexnet, resnet50 or vgg_bn, where the file leaves a choice."
        ),
    ):
        command = option(command)
    return command


def input_options(command: Command) -> Command:
    """Adds the options that say how pictures become inputs, in place of what the checkpoint says."""
    for option in (
        click.option("--gcn/--no-gcn", default=None, help="Global contrast normalisation of the input."),
        click.option(
            "--coord-normalize/--no-coord-normalize",
            default=None,
            help="Whether the network answers fractions of the crop or its pixels.",
        ),
        click.option("--base-zoom", type=float, metavar="FACTOR", help="Factor on the box of a person's joints."),
        click.option("--im-size", type=int, metavar="PIXELS", help="Side of the network's input."),
        click.option(
            "--device", default="cpu", show_default=True, metavar="cpu|cuda:N", help="Where the network runs."
        ),
        click.option("--backend", default="torch", show_default=True, metavar="torch|chainer", help="What runs it."),
    ):
        command = option(command)
    return command


def load(
    checkpoint: Path,
    backend: str,
    device: str,
    im_size: int | None,
    base_zoom: float | None,
    coord_normalize: bool | None,
    gcn: bool | None,
    **reading: Any,
) -> Pose:
    """Loads a checkpoint, says what was chosen or repaired, and puts the user's preprocessing over its own."""
    import converters
    from deeppose_port.pose import Pose

    loaded = converters.read(checkpoint, state=False, **reading)
    display.notices(loaded.notices, loaded.repairs)
    preprocessing = loaded.preprocessing.overridden(
        im_size=im_size, base_zoom=base_zoom, coord_normalize=coord_normalize, gcn=gcn
    )
    return Pose(loaded, backend, device, preprocessing)
