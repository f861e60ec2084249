"""`train`: a training, anew or where an old run stopped."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from deeppose_port.cli.options import INTERRUPTED, PATH

if TYPE_CHECKING:
    from deeppose_port.training.run import Callbacks


@click.command()
@click.option("--train-csv", "--train-csv-fn", required=True, type=PATH, help="The persons to learn from.")
@click.option("--test-csv", "--test-csv-fn", type=PATH, help="The persons to validate on.")
@click.option("--images", "--img-dir", required=True, type=PATH, help="The pictures' folder.")
@click.option("--skeleton", required=True, metavar="flic|lsp|mpii", help="What the joints are.")
@click.option("--backend", required=True, metavar="torch|chainer", help="What trains.")
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    metavar="cpu|cuda:N|cuda:0,cuda:1",
    help="Where; the batch is split over several.",
)
@click.option("-o", "--output", type=PATH, help="Result folder; by default results/ARCHITECTURE_DATE.")
@click.option(
    "--architecture",
    metavar="NAME",
    help="What starts anew, as resnet50 or vgg_bn; or what a file is that leaves a choice.  [default: alexnet]",
)
@click.option("--width", metavar="FACTOR|N,N,…", help="Factor on all channels, or those of each layer but the last.")
@click.option("--dropout", type=float, help="Share that dropout zeroes, in place of the architecture's.")
@click.option("--init", type=PATH, help="Start from the weights of any checkpoint.")
@click.option("--finetune", type=PATH, help="The same; the last layer is drawn anew where the joints differ in number.")
@click.option("--resume", type=PATH, help="Go on where a checkpoint or result folder stopped, legacy ones too.")
@click.option("--start-epoch", type=int, help="Epochs that a resumed file has behind it, where nothing says.")
@click.option("--epochs", "--epoch", default=100, show_default=True, help="Epochs, those of a resumed run counted in.")
@click.option("--batch-size", "--batchsize", default=128, show_default=True, help="Persons in a step.")
@click.option("--seed", default=1701, show_default=True, help="Of weights, order, augmentation and dropout.")
@click.option("--threads", type=int, help="Threads that make examples; by default as many as the machine runs.")
@click.option(
    "--cache", default="0", show_default=True, metavar="512M", help="Memory for decoded pictures, of each process."
)
@click.option("--pack", type=PATH, help="Train from a pack of --train-csv (see `deeppose-port pack`).")
@click.option("--snapshot", default=10, show_default=True, help="Epochs between checkpoints.")
@click.option("--valid-freq", default=5, show_default=True, help="Epochs between validations; 0 for none.")
@click.option("--show-log-iter", default=10, show_default=True, help="Iterations between lines of the log.")
@click.option("--min-dim", default=0.0, show_default=True, help="As for eval.")
@click.option("--ignore-label", default=-1.0, show_default=True, help="As for eval.")
@click.option("--im-size", type=int, metavar="PIXELS", help="Side of the network's input.  [default: 220]")
@click.option("--base-zoom", type=float, help="Factor on the box of a person's joints.  [default: 1.5]")
@click.option(
    "--coord-normalize/--no-coord-normalize", default=None, help="Labels in fractions of the crop.  [default: on]"
)
@click.option("--gcn/--no-gcn", default=None, help="Global contrast normalisation.  [default: on]")
@click.option("--fliplr/--no-fliplr", help="Mirror every other example.")
@click.option("--rotate/--no-rotate", help="Rotate examples by 0 to --rotate-range degrees.")
@click.option("--rotate-range", default=10, show_default=True)
@click.option("--zoom/--no-zoom", help="Zoom examples by a factor of 1 ± --zoom-range.")
@click.option("--zoom-range", default=0.2, show_default=True)
@click.option("--translate/--no-translate", help="Shift examples by up to --translate-range pixels.")
@click.option("--translate-range", default=5, show_default=True)
@click.option(
    "--augment", "method", default="fast", show_default=True, metavar="fast|legacy", help="One warp, or step by step."
)
@click.option("--opt", "--optimizer", metavar="NAME", help="Adam, MomentumSGD, AdaGrad or RMSprop.  [default: Adam]")
@click.option("--lr", type=float, help="Learning rate.  [default: 0.001 for Adam, else 0.01]")
@click.option("--adam-alpha", type=float, help="Adam's own name for it.")
@click.option("--adam-beta1", type=float, help="[default: 0.9]")
@click.option("--adam-beta2", type=float, help="[default: 0.999]")
@click.option("--adam-eps", type=float, help="[default: 1e-8]")
@click.option("--momentum", type=float, help="[default: 0.9]")
@click.option("--weight-decay", type=float, help="[default: 0.0005 for MomentumSGD, else 0]")
@click.option(
    "--lr-decay-freq", type=int, metavar="EPOCHS", help="[default: 10 for MomentumSGD and AdaGrad, else 0: never]"
)
@click.option("--lr-decay-ratio", type=float, help="[default: 0.1]")
@click.option(
    "--nonfinite-gradients", default="error", show_default=True, metavar="error|skip", help="End, or leave out."
)
@click.option("--schedule", metavar="step|cosine", help="How the learning rate falls.  [default: step]")
@click.option("--warmup", type=float, metavar="EPOCHS", help="It rises linearly over these first.  [default: 0]")
@click.option(
    "--legacy-gradient-sum", is_flag=True, help="Sum the gradients of several devices, as the old program did."
)
@click.option("--workers", default=0, show_default=True, help="PyTorch: processes that make examples, not threads.")
@click.option("--amp", metavar="bf16", help="PyTorch: compute in bfloat16 where that is safe.")
@click.option("--channels-last/--no-channels-last", default=True, help="PyTorch: the memory format.  [default: on]")
@click.option("--compile/--no-compile", help="PyTorch: compile the network.")
@click.option("--grad-clip", type=float, metavar="NORM", help="PyTorch: the largest norm of the gradient.")
@click.option("--freeze", multiple=True, metavar="PATTERN", help="PyTorch: parameters not to train, as 'conv*'.")
@click.option(
    "--best",
    default="loss",
    show_default=True,
    metavar="METRIC",
    help="PyTorch: which checkpoint best.pt is: by loss, mean_error_px, pdj@0.2, pcp, or another metric of eval.",
)
@click.option("--best-after", default=0, show_default=True, metavar="EPOCH", help="PyTorch: none is before this epoch.")
@click.option("--keep", type=int, metavar="N", help="PyTorch: keep the last N epochs' checkpoints.  [default: all]")
@click.option("--patience", type=int, metavar="N", help="PyTorch: end after N validations without a better one.")
@click.option("--tensorboard/--no-tensorboard", help="PyTorch: write for TensorBoard too.")
@click.option("--eval-only", is_flag=True, help="PyTorch: validate what the run starts from, and no more.")
@click.option("--profile", is_flag=True, help="PyTorch: tell where a step's time goes.")
def train(backend: str, **given: Any) -> int:
    """Trains a network, anew or where an old run stopped.

    The result folder holds epoch-N.model, epoch-N.state, snapshot_iter_N, log and log.txt, as the legacy program's did.

    \b
    Example:
      deeppose-port train --backend chainer --train-csv train_joints.csv --test-csv test_joints.csv \\
        --images images --skeleton lsp --fliplr --rotate --zoom --translate -o results/lsp
      deeppose-port train --backend chainer --resume snapshot_iter_120000 --epochs 200 …
    """
    from converters.files import byte_count
    from deeppose_port.backends.training import train as run
    from deeppose_port.options import build
    from deeppose_port.training.options import TrainingOptions

    options = build(TrainingOptions, {**given, "cache": byte_count(given["cache"])})
    with _shown(options.epochs) as callbacks:
        ended = run(options, backend, callbacks)
    if ended.folder.writes:
        click.echo(f"results in {ended.folder.path}")
    if ended.stop.is_set():
        click.echo(f"interrupted; go on with --resume {ended.folder.path}", err=True)
        return INTERRUPTED
    return 0


@contextmanager
def _shown(epochs: int) -> Iterator[Callbacks]:
    """Shows a training: a progress bar on a terminal, and a line for every entry of the log."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from deeppose_port.training.run import Callbacks, Step

    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
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
            told = {name: entry[key] for key, name in named.items() if key in entry}
            losses = "  ".join(f"{name} {math.nan if value is None else value:.5g}" for name, value in told.items())
            rate = f"{entry.get('pictures_per_second', 0):.0f} pictures/s  waiting {entry.get('waiting', 0):.0%}"
            progress.console.print(f"epoch {entry['epoch']}  iteration {entry['iteration']}  {losses}  {rate}")

        yield Callbacks(
            notice=lambda sentence: progress.console.print(f"note: {sentence}"),
            step=step,
            log=log,
            saved=lambda files: progress.console.print(f"saved {', '.join(map(str, files))}"),
        )
