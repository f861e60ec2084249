"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from converters.errors import DeepPoseError
from converters.files import byte_count
from deeppose_port.cli import display

if TYPE_CHECKING:
    from deeppose_port.data import PoseDataset
    from deeppose_port.pose import Pose

Command = TypeVar("Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)
NOT_SO = 1  # exit status: what was asked is answered with no
BUG = 1  # as of every Python program; its traceback tells it from a no
BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells count


def report_options(command: Command) -> Command:
    """Adds the options of a command that writes an HTML report."""
    for option in (
        click.option("--force", is_flag=True, help="Replace a report that exists."),
        click.option(
            "--report", type=PATH, metavar="DIR", help="Write a page with charts and pictures: DIR/index.html."
        ),
    ):
        command = option(command)
    return command


def command_line() -> str:
    """Returns the command that is running, as one would type it."""
    return shlex.join(["deeppose-port", *(click.get_current_context().find_root().obj or sys.argv[1:])])


class Size(click.ParamType[int]):
    """A number of bytes, as `files.byte_count` reads it."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Returns the number of bytes."""
        try:
            return byte_count(value)
        except DeepPoseError as error:
            self.fail(str(error), param, ctx)


max_bytes_option = click.option(
    "--max-bytes",
    type=Size(),
    default="4G",  # converters.formats.MAX_BYTES
    show_default=True,
    metavar="SIZE",
    help="The most that a file's arrays may take in memory.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")


def checkpoint_options(command: Command) -> Command:
    """Adds the options that say how a checkpoint is read."""
    for option in (
        max_bytes_option,
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
            "--architecture",
            metavar="NAME",
            help="Which network it is, where the file leaves a choice: alexnet-takiyu, alexnet-ynaka81, "
            "alexnet-2015-tanh, or any other.",
        ),
    ):
        command = option(command)
    return command


def input_options(command: Command) -> Command:
    """Adds the options that say how pictures become inputs, in place of what the checkpoint says, and what runs it."""
    for option in (
        click.option(
            "--relu-nan",
            metavar="nan|zero",
            default="nan",
            show_default=True,
            help="What ReLU makes of NaN; with --nonfinite keep, zero emulates Chainer 1.13 on a GPU.",
        ),
        click.option(
            "--device", default="cpu", show_default=True, metavar="cpu|cuda:N", help="Where the network runs."
        ),
        click.option("--backend", default="torch", show_default=True, metavar="torch|chainer", help="What runs it."),
    ):
        command = option(command)
    return preprocessing_options(command)


def annotation_options(command: Command) -> Command:
    """Adds the options that name annotated persons, all of them needed."""
    for option in (
        click.option("--skeleton", required=True, metavar="flic|lsp|mpii", help="What the joints are."),
        click.option("--images", "--img-dir", required=True, type=PATH, help="The pictures' folder."),
        click.option(
            "--csv",
            "--test-csv-fn",
            required=True,
            type=PATH,
            help="The persons: a line each, file,x0,y0,x1,y1,… with -1 for what is not annotated.",
        ),
    ):
        command = option(command)
    return command


def person_options(command: Command) -> Command:
    """Adds the options that say which persons and joints of a CSV count."""
    for option in (
        click.option(
            "--ignore-label",
            default=-1.0,
            show_default=True,
            help="The coordinate in the CSV that means: not annotated.",
        ),
        click.option(
            "--min-dim",
            default=0.0,
            show_default=True,
            help="Leave out those persons of the CSV whose box of joints is smaller than this many pixels.",
        ),
    ):
        command = option(command)
    return command


def preprocessing_options(command: Command) -> Command:
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
    relu_nan: str = "nan",
    called: str = "",
    **reading: Any,
) -> Pose:
    """Loads a checkpoint, says what was chosen or repaired, and puts the user's preprocessing over its own.

    Args:
        checkpoint: The file.
        backend: What runs it.
        device: Where.
        im_size: In place of the checkpoint's own, as the next three are.
        base_zoom: Likewise.
        coord_normalize: Likewise.
        gcn: Likewise.
        relu_nan: As for `Pose`.
        called: What the notices call it, where there are several.
        reading: As for `converters.read`.
    """
    import converters
    from deeppose_port.pose import Pose

    if relu_nan != "nan" and reading.get("nonfinite") != "keep":
        raise DeepPoseError("--relu-nan zero goes with --nonfinite keep: otherwise there is no NaN left")
    loaded = converters.read(checkpoint, state=False, **reading)
    display.notices(loaded.notices, loaded.repairs, called)
    preprocessing = loaded.preprocessing.overridden(
        im_size=im_size, base_zoom=base_zoom, coord_normalize=coord_normalize, gcn=gcn
    )
    return Pose(loaded, backend, device, preprocessing, relu_nan)


def persons(
    pose: Pose, csv: Path, images: Path, skeleton: str | None, min_dim: float, ignore_label: float
) -> PoseDataset:
    """Opens annotated persons as a checkpoint sees them; without a skeleton, one with its number of joints."""
    from deeppose_port.data import PoseDataset
    from deeppose_port.data.skeletons import SKELETONS, of_network

    told = skeleton or of_network(pose.joints, pose.preprocessing.joints)
    if told is None:
        problem = f"nothing tells what its {pose.joints} joints are"
        advice = f"--skeleton does: {', '.join(SKELETONS)} or a file"
        raise DeepPoseError(problem, where=pose.checkpoint.source.path, advice=advice)
    return PoseDataset(
        csv,
        images=images,
        skeleton=told,
        preprocessing=pose.preprocessing,
        min_dim=min_dim,
        ignore_label=ignore_label,
    )
