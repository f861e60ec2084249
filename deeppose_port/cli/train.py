"""`train`: a training, anew or where an old run stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from deeppose_port.cli import display
from deeppose_port.cli.command import command
from deeppose_port.cli.options import INTERRUPTED

if TYPE_CHECKING:
    from deeppose_port.cli.training import TrainOptions
    from deeppose_port.training.run import Callbacks


def _options() -> type[TrainOptions]:
    from deeppose_port.cli.training import TrainOptions

    return TrainOptions


@command(_options)
def train(options: TrainOptions) -> int:
    """Trains a network, anew or where an old run stopped.

    The result folder holds log, log.txt and a checkpoint of every few epochs: epoch-N.pt of PyTorch; epoch-N.model,
    epoch-N.state and snapshot_iter_N of Chainer, as the legacy program's did.

    \b
    Example:
      deeppose-port train --backend torch --train-csv train.csv \\
          --test-csv test.csv --images images --skeleton lsp \\
          --fliplr --rotate --zoom --translate -o results/lsp
      deeppose-port train --backend torch --resume results/lsp --epochs 200 …
    """
    from deeppose_port.backends.training import train as run

    with _shown(options.training.epochs) as callbacks:
        ended = run(options.training, options.backend, callbacks)
    if ended.folder.writes:
        display.say(f"results in {ended.folder.path}")
    if ended.stop.is_set():
        display.say(f"interrupted; go on with --resume {ended.folder.path}", err=True)
        return INTERRUPTED
    return 0


@contextmanager
def _shown(epochs: int) -> Iterator[Callbacks]:
    """Shows a training: a progress bar on a terminal, and a line for every entry of the log."""
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

        def log(entry: dict[str, Any]) -> None:
            named = {
                "main/loss": "loss",
                "validation/main/loss": "validation loss",
                "validation/main/pdj@0.2": "PDJ@0.2",
            }
            losses = "  ".join(f"{name} {entry[key]:.5g}" for key, name in named.items() if key in entry)
            rate = f"{entry.get('pictures_per_second', 0):.0f} pictures/s  waiting {entry.get('waiting', 0):.0%}"
            display.say(f"epoch {entry['epoch']}  iteration {entry['iteration']}  {losses}  {rate}", err=True)

        yield Callbacks(
            notice=display.note,
            step=step,
            log=log,
            saved=lambda files: display.say(f"saved {', '.join(map(str, files))}", err=True),
        )
