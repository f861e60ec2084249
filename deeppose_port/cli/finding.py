"""How joints are found and where they go, in `predict` and in `persons`."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from converters.values import dataclass
from deeppose_port.cli import display
from deeppose_port.cli.options import (
    SKELETON_OR_TOLD,
    EngineOptions,
    FastestOptions,
    InputOptions,
    ReadingOptions,
    skeletons,
)
from deeppose_port.options import RARE_GROUP, described

if TYPE_CHECKING:
    from deeppose_port.drawing.sheet import ContactSheet
    from deeppose_port.predict import PersonPredictions, Predictions


@dataclass(frozen=True, kw_only=True)
class FindingOptions:
    """How joints are found and where they go."""

    output: Path | None = described(
        "Where the drawn pictures and the joints go.", metavar="DIR", names=("-o", "--output")
    )
    skeleton: str | None = described(SKELETON_OR_TOLD, default=None, choices=skeletons)
    format: str = described("Of the joints' file.", default="json", choices=("json", "csv"))
    tile: str | None = described(
        "A contact sheet, tile.png, of so many persons drawn by chance.", default=None, metavar="COLUMNSxROWS"
    )
    seed: int = described("With --tile: of the choice.", default=0)
    heatmaps: bool = described("Draw each joint's heat map too, where the network has some.", default=False)
    force: bool = described("Replace files that exist.", default=False, names=("--force",))
    reading: ReadingOptions = field(metadata=RARE_GROUP)
    inputs: InputOptions
    engine: EngineOptions

    def folder(self) -> Path:
        """Returns where everything goes."""
        from deeppose_port.predict import free_folder

        if self.output is not None:
            return self.output
        folder = free_folder()
        display.notices([f"there is no -o, so everything goes to {folder}"])
        return folder

    def sheet(self) -> ContactSheet | None:
        """Makes the contact sheet, if there is to be one."""
        from deeppose_port.drawing.sheet import ContactSheet, parse_tile

        return None if self.tile is None else ContactSheet(*parse_tile(self.tile), self.seed)


@dataclass(frozen=True, kw_only=True)
class FastFindingOptions(FindingOptions):
    """The same, by the fastest engine, and of lists of pictures too."""

    output: Path | None = described(
        "Where the drawn pictures and the joints go.",
        default=None,
        metavar="DIR",
        names=("-o", "--output"),
        show_default="predictions; where that has files, predictions-2, …",
    )
    format: str = described(
        "Of the joints' file; with --manifest json is JSON lines.", default="json", choices=("json", "csv", "parquet")
    )
    engine: FastestOptions


def show_files(result: Predictions | PersonPredictions) -> None:
    """Shows what was written of all together."""
    if result.file is not None:
        display.say(f"joints in {result.file}")
    if result.tile is not None:
        display.say(f"contact sheet in {result.tile}")
