"""How joints are found and where they go, in `predict` and in `persons`."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from converters.values import dataclass
from deeppose_port.cli import display
from deeppose_port.cli.options import (
    EngineOptions,
    FastestOptions,
    InputOptions,
    ReadingOptions,
    overwriting,
    skeleton_or_told,
)
from deeppose_port.options import RARE_GROUP, described

if TYPE_CHECKING:
    from deeppose_port.drawing.sheet import ContactSheet
    from deeppose_port.predict import PersonPredictions, Predictions


_OUTPUT = "Where to write the drawn pictures and the joints."


@dataclass(frozen=True, kw_only=True)
class FindingOptions:
    """How joints are found and where they go."""

    output: Path | None = described(_OUTPUT, metavar="DIR", names=("-o", "--output"))
    skeleton: str | None = skeleton_or_told()
    format: str = described("Format of the file with the joints.", default="json", choices=("json", "csv"))
    tile: str | None = described(
        "Also make a contact sheet, tile.png, of this many persons chosen at random.",
        default=None,
        metavar="COLUMNSxROWS",
    )
    seed: int = described("Seed of the random choice of --tile.", default=0, goes_with=("tile",))
    heatmaps: bool = described("Also draw each joint's heat map, if the network makes them.", default=False)
    force: bool = overwriting()
    reading: ReadingOptions = field(metadata=RARE_GROUP)
    inputs: InputOptions
    engine: EngineOptions

    def folder(self) -> Path:
        """Returns where everything goes."""
        from deeppose_port.predict import free_folder

        if self.output is not None:
            return self.output
        folder = free_folder()
        display.notices([f"no -o was given, so everything goes to {folder}"])
        return folder

    def sheet(self) -> ContactSheet | None:
        """Makes the contact sheet, if there is to be one."""
        from deeppose_port.drawing.sheet import ContactSheet, parse_tile

        return None if self.tile is None else ContactSheet(*parse_tile(self.tile), self.seed)


@dataclass(frozen=True, kw_only=True)
class FastFindingOptions(FindingOptions):
    """The same, by the fastest engine, and of lists of pictures too."""

    output: Path | None = described(
        _OUTPUT,
        default=None,
        metavar="DIR",
        names=("-o", "--output"),
        show_default="predictions, or predictions-2, … if that has files",
    )
    format: str = described(
        "Format of the file with the joints. With --manifest, json means JSON lines, and parquet is there too.",
        default="json",
        choices=("json", "csv", "parquet"),
    )
    engine: FastestOptions


def show_files(result: Predictions | PersonPredictions) -> None:
    """Shows what was written of all together."""
    if result.file is not None:
        display.say(f"joints in {result.file}")
    if result.tile is not None:
        display.say(f"contact sheet in {result.tile}")
