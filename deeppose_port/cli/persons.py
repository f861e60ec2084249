"""`persons`: the joints of a CSV's persons, compared with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from converters.values import dataclass
from deeppose_port.cli import display
from deeppose_port.cli.command import command
from deeppose_port.cli.finding import FindingOptions, show_files
from deeppose_port.cli.options import JsonOptions, load, one_checkpoint
from deeppose_port.cli.options import persons as annotated_persons
from deeppose_port.data.options import ANNOTATED, CountingOptions, picture_folder
from deeppose_port.options import described

if TYPE_CHECKING:
    from deeppose_port.predict import PersonPredictions


@dataclass(frozen=True, kw_only=True)
class PersonsOptions:
    """What `persons` is told."""

    checkpoint: Path = one_checkpoint()
    csv: Path = described(ANNOTATED, names=("--csv", "--test-csv-fn"))
    images: Path = picture_folder()
    finding: FindingOptions
    counting: CountingOptions
    shown: JsonOptions


def find(options: PersonsOptions) -> int:
    """Finds the joints of a CSV's persons and shows their errors."""
    from deeppose_port.predict import predict_persons

    told = options.finding
    sheet = told.sheet()
    pose = load(options.checkpoint, told.reading, told.inputs, told.engine)
    dataset = annotated_persons(pose, options.csv, options.images, told.skeleton, options.counting)
    with display.steps("predicting", quiet=options.shown.as_json, unit="persons") as step:
        found = predict_persons(
            pose,
            dataset,
            told.folder(),
            format=told.format,
            sheet=sheet,
            heatmaps=told.heatmaps,
            force=told.force,
            progress=step,
        )
    if options.shown.as_json:
        display.as_json(found.as_dict())
    else:
        _show(found)
    return 0


@command(lambda: PersonsOptions)
def persons(options: PersonsOptions) -> int:
    """Predicts the persons of a CSV, and draws the answers beside the annotations, with their errors.

    \b
    Example:
      deeppose-port persons epoch-100.model --csv test.csv --images images \\
          -o out --tile 3x3 --seed 9
    """
    return find(options)


def _show(result: PersonPredictions) -> None:
    """Shows the persons' errors, and where predictions were written."""
    stages = max((len(p.stage_errors_px) for p in result.persons), default=0)
    by_stage = [f"stage {stage + 1}, px" for stage in range(stages)]
    headings = (*by_stage, "error, px", "mean so far, px", "legacy error, px", "mean so far, px")
    table = display.table("line", "picture", *headings, text=2)
    for p in result.persons:
        numbers = (*p.stage_errors_px, p.error_px, p.mean_error_px, p.legacy_error, p.mean_legacy_error)
        table.add_row(str(p.line), str(p.image), *(f"{number:.2f}" for number in numbers))
    display.show(table)
    display.say(
        f"{display.counted(len(result.persons), 'person')}: a _pred.png and a _label.png each in {result.file.parent}"
    )
    show_files(result)
