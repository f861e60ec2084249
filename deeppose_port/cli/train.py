"""`train`: a training, anew or where an old run stopped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from converters.errors import DeepPoseError
from converters.files import refuse_targets
from deeppose_port.cli import display
from deeppose_port.cli.command import command
from deeppose_port.cli.options import INTERRUPTED

if TYPE_CHECKING:
    from converters import Checkpoint
    from deeppose_port.cli.training import TrainOptions
    from deeppose_port.training.logs import Entry
    from deeppose_port.training.run import Callbacks, Header, Summary


def _options() -> type[TrainOptions]:
    from deeppose_port.cli.training import TrainOptions

    return TrainOptions


def _complete(said: Mapping[str, object]) -> Mapping[str, object]:
    """Adds what a file says, or the run that goes on."""
    from deeppose_port.options import options_of
    from deeppose_port.training.config import completed
    from deeppose_port.training.options import TrainingOptions
    from deeppose_port.training.recipes import RECIPES, default_for, with_recipe

    if said.get("threads") is not None and said.get("workers"):
        raise DeepPoseError("--threads and --workers both say what makes examples: choose one")
    values, notices = completed(said, _options())
    if "backend" not in values:
        raise DeepPoseError("--backend is missing: name the framework to train in", advice="torch or chainer")
    for notice in notices:
        display.note(notice)
    values = {**_in_pack(values), **values}
    if values.get("resume") is not None:
        return values
    found = _network_before(values)
    before = () if found is None else found.architecture.layers
    # A later stage sees close-ups, whatever the stage before it sees.
    part = "joints" if found is None or values.get("before") is not None else found.preprocessing.part
    name = str(values.get("recipe") or default_for(values, before))
    whole = with_recipe(name, values, before, part)
    declared = options_of(TrainingOptions)
    taken = [f"{declared[key].spelled} {value}" for key, value in whole.items() if key not in {*values, "recipe"}]
    nothing = "all that it says is given" if RECIPES[name] else "the options as they are"
    display.note(f"recipe {name}: {', '.join(taken) or nothing}")
    return whole


def _network_before(values: Mapping[str, object]) -> Checkpoint | None:
    """Returns the network that a run starts from, or of the stage before it, without its arrays."""
    from deeppose_port.training.stage import network_before
    from deeppose_port.training.start import told_architecture

    if values.get("before") is not None:
        return network_before(Path(str(values["before"])), int(str(values.get("stage") or 2)))
    start = values.get("init") or values.get("finetune")
    if start is None:
        return None
    architecture, model_file = values.get("architecture"), values.get("model_file")
    told = None if architecture is None else told_architecture(str(architecture))
    return network_before(Path(str(start)), 2, told, None if model_file is None else str(model_file))


def _in_pack(values: Mapping[str, object]) -> dict[str, object]:
    """Returns the persons of a pack that has them itself, and its folder in place of one of their pictures."""
    from deeppose_port.data.pack.shards import persons_of

    pack = values.get("pack")
    if not isinstance(pack, Path) or values.get("train_csv") is not None or not persons_of(pack).is_file():
        return {}
    return {"train_csv": persons_of(pack), "images": pack}


@command(_options, complete=_complete)
def train(options: TrainOptions) -> int:
    """Trains a network from scratch or from given weights, or resumes a run.

    A --recipe replaces the defaults below; options that you give override it. modern was measured to learn, paper is
    the paper's, legacy the legacy program's, course the hourglass's. The result folder holds settings, log and
    checkpoints; --resume with that folder continues the run.

    \b
    Example:
      deeppose-port train --backend torch --train-csv train.csv \\
          --test-csv test.csv --images images --skeleton lsp -o results/lsp
      deeppose-port train --resume results/lsp --epochs 200
    """
    from deeppose_port.backends.training import train as run
    from deeppose_port.training.names import CONFIG

    output = options.training.output
    if output is not None and options.training.resume is None:
        refuse_targets([output / CONFIG], True, read=[options.config], instead="--output names another folder")
    with _told() if options.as_json else _shown(options.training.epochs) as callbacks:
        ended = run(options.training, options.backend, callbacks)
    if ended.folder.writes and not options.as_json:
        display.say(f"results in {ended.folder.path}")
    if ended.stop.is_set():
        display.say(f"interrupted; go on with --resume {ended.folder.path}", err=True)
        return INTERRUPTED
    return 0


@contextmanager
def _told() -> Iterator[Callbacks]:
    """Tells a training in JSON, a line for whatever happens but single steps."""
    from deeppose_port.training.run import Callbacks

    def tell(event: str, **told: object) -> None:
        display.as_json({"event": event, **told}, lines=False)

    yield Callbacks(
        notice=lambda sentence: tell("notice", text=sentence),
        begin=lambda header: tell("begin", **asdict(header)),
        log=lambda entry: tell("log", **entry),
        saved=lambda files: tell("saved", files=list(map(str, files))),
        end=lambda summary: tell("end", **{**asdict(summary), "folder": str(summary.folder)}),
    )


@contextmanager
def _shown(epochs: int) -> Iterator[Callbacks]:
    """Shows a training: a progress bar on a terminal, a line for every entry of the log, and how it began and ended."""
    from rich.progress import BarColumn, TimeRemainingColumn

    from deeppose_port.training.run import Callbacks, Step

    with display.bar(BarColumn(), TimeRemainingColumn()) as progress:
        task = progress.add_task("training", total=epochs)

        def step(step: Step) -> None:
            text = (
                f"epoch {step.epoch:.2f}/{epochs}  loss {step.loss:.5g}  "
                f"{step.pictures_per_second:.0f} pictures/s  waiting {step.waiting:.0%}"
            )
            progress.update(task, description=text, completed=step.epoch)

        def begin(header: Header) -> None:
            for line in _beginning(header):
                display.say(line, err=True)

        yield Callbacks(
            notice=display.note,
            begin=begin,
            step=step,
            log=lambda entry: display.say(_line(entry), err=True),
            saved=lambda files: display.say(f"saved {', '.join(map(str, files))}", err=True),
            end=lambda summary: display.say(_ending(summary), err=True),
        )


def _beginning(header: Header) -> list[str]:
    """Returns what a run is, in lines."""
    counted = display.counted
    persons = counted(header.persons, "person")
    if header.validation_persons is not None:
        persons += f", validated on {header.validation_persons:,}"
    recipe = "" if header.recipe is None else f", recipe {header.recipe}"
    left = header.epoch < header.epochs
    epochs = f"epochs {header.epoch + 1} to {header.epochs}" if left else f"after epoch {header.epoch}"
    lines = [
        f"{'' if header.joint is None else f'{header.joint}: '}"
        f"{header.architecture} of {counted(header.parameters, 'parameter')}, inputs of {header.im_size} pixels, in "
        f"{header.backend} on {header.device}{recipe}",
        f"{persons}, {epochs}",
    ]
    if header.mean_pose:
        numbers = "  ".join(_told_number(name, value) for name, value in header.mean_pose.items())
        lines.append(f"answering the mean pose to every picture would give: {numbers}")
    return lines


def _line(entry: Entry) -> str:
    """Returns an entry of the log in a line."""
    named = {
        "main/loss": "loss",
        "validation/main/loss": "validation loss",
        "mean_pose/loss": "mean pose's loss",
        "validation/main/pdj@0.2": "PDJ@0.2",
    }
    losses = "  ".join(_told_number(key, entry[key], name) for key, name in named.items() if key in entry)
    rate = f"{entry.get('pictures_per_second') or 0:.0f} pictures/s  waiting {entry.get('waiting') or 0:.0%}"
    if entry.get("movement") is not None:
        losses += f"  movement {entry['movement']:.0%}"
    return f"epoch {entry['epoch']}  iteration {entry['iteration']}  {losses}  {rate}"


def _ending(summary: Summary) -> str:
    """Returns how a run ended, in a line."""
    took = timedelta(seconds=round(summary.seconds))
    ended = f"{display.counted(summary.epoch, 'epoch')}, {display.counted(summary.iteration, 'update')} in {took}"
    if summary.best is None:
        return ended
    best = f"{_told_number(summary.metric, summary.best)} at epoch {summary.best_epoch}"
    return f"{ended}; best validation: {best}"


def _told_number(key: str, value: float | None, title: str = "") -> str:
    """Returns a number of a log as people call it, or as `title` does, with its unit; what is not finite is said."""
    from deeppose_port.metrics.registry import of_curve
    from deeppose_port.metrics.shown import number

    metric = of_curve(key)
    value = math.nan if value is None else value
    shown = number(value, metric.unit) if metric is not None and math.isfinite(value) else f"{value:.5g}"
    return f"{title or (key if metric is None else metric.title)} {shown}"
