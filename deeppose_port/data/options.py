"""Options on pictures and annotated persons, which trainings and commands share; nothing else is loaded for them."""

from __future__ import annotations

from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from converters.values import dataclass
from deeppose_port.options import described

if TYPE_CHECKING:
    from dataclasses import _MISSING_TYPE

T = TypeVar("T", Path, Path | None)

#: The most pixels of a picture that is decoded: where Pillow takes a picture for a bomb. They have 537 MB.
MAX_PIXELS = 178_956_970

#: What a command is told of persons.
ANNOTATED = "The annotated persons, one a line: file,x0,y0,x1,y1,… with -1 for joints that are not annotated."
#: What a factor on a person's box does.
BASE_ZOOM = "Enlarge the box of a person's joints by this factor."


@dataclass(frozen=True, kw_only=True)
class CountingOptions:
    """Which pictures, persons and joints are taken."""

    min_dim: float = described(
        "Skip persons whose box of joints is smaller than this many pixels.",
        default=0.0,
        rare=True,
        goes_with=("csv",),
    )
    ignore_label: float = described(
        "The coordinate that marks a joint as not annotated in the CSV.", default=-1.0, rare=True, goes_with=("csv",)
    )
    max_pixels: int = described(
        "Refuse pictures with more pixels than this.",
        default=MAX_PIXELS,
        metavar="N",
        rare=True,
        goes_with=("csv", "images", "sources", "manifest"),
    )


def picture_folder(
    help: str = "The folder with the pictures.",
    *,
    default: T | _MISSING_TYPE = MISSING,
    elsewhere: bool = False,
    show_default: str = "",
    rare: bool = False,
) -> T:
    """Declares the folder with the pictures; arguments are those of `described`."""
    return described(
        help,
        default=default,
        names=("--images", "--img-dir"),
        elsewhere=elsewhere,
        show_default=show_default,
        rare=rare,
    )
