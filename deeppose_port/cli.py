"""The command line: each command is a thin call into the library.

Libraries are imported inside the commands: `--help` and `convert` to safetensors load neither PyTorch nor Chainer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deeppose_port import __version__, _display

if TYPE_CHECKING:
    from deeppose_port.evaluate import Evaluation
    from deeppose_port.pose import Pose

Command = TypeVar("Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)
NOT_SO = 1  # what was asked is answered with no
INTERRUPTED = 130  # 128 + SIGINT, as shells count
BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: What follows the program's name; None for `sys.argv`.

    Returns:
        The exit status: 0; 1 for a comparison that failed; 2 for bad input; 130 for Ctrl-C.
    """
    try:
        status = cli.main(arguments, prog_name="deeppose-port", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted: nothing was left behind", err=True)
        return INTERRUPTED
    except (ValueError, OSError) as error:
        # What the library refuses is a ValueError whose message is the sentence for the user.
        _display.error(str(error))
        return BAD_INPUT


# Legacy options were spelled with underscores.
@click.group(
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: token.replace("_", "-"),
        "max_content_width": 100,
    }
)
@click.version_option(__version__)
def cli() -> None:
    """Brings DeepPose checkpoints trained in Chainer back to life, in PyTorch and in a modern Chainer.

    \b
    Example:
      deeppose-port convert epoch-100.model
      deeppose-port eval epoch-100.pt --csv test_joints.csv --images images --skeleton lsp
    """


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


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")


@cli.command()
@click.argument("sources", metavar="OLD...", nargs=-1, required=True, type=PATH)
@click.option(
    "-o",
    "--output",
    metavar="NEW",
    type=PATH,
    help="The file to write, or for several inputs the folder; by default beside OLD, as OLD.pt.",
)
@click.option(
    "--to", "format", metavar="pt|safetensors|chainer-npz", help="The format, where NEW's suffix does not say."
)
@click.option(
    "--layout",
    metavar="head|state|snapshot",
    help="For chainer-npz: the last legacy names, the optimizer's state, or a trainer's snapshot.",
)
@checkpoint_options
@click.option("--state/--no-state", default=True, help="Whether the optimizer's state is read too.")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@click.option("--dry-run", is_flag=True, help="Read and report, write nothing.")
@json_option
def convert(
    sources: tuple[Path, ...],
    output: Path | None,
    as_json: bool,
    format: str | None,
    **options: Any,
) -> int:
    """Converts checkpoints, reads them again and compares every byte.

    OLD is a Chainer .model (with its .state beside it), a snapshot, HDF5, .pt or safetensors, told by its content, or
    a folder of them.

    \b
    Example:
      deeppose-port convert epoch-100.model
      deeppose-port convert results/AlexNet_2016 -o converted --to safetensors
    """
    import converters

    if len(sources) == 1 and not sources[0].is_dir():
        with _display.steps(sources[0].name, quiet=as_json) as step:
            report = converters.convert(sources[0], output, format=format, progress=step, **options)
        _display.notices(report.notices, report.repairs)
        if as_json:
            _print_json(report.as_dict())
        else:
            _display.report(report)
        return 0
    return _convert_many(sources, output, format, as_json, options)


def _convert_many(
    sources: tuple[Path, ...], output: Path | None, format: str | None, as_json: bool, options: dict[str, Any]
) -> int:
    """Converts several files, a line each; one that is refused does not keep the others."""
    import converters

    kind = format or "pt"
    files = [file for source in sources for file in converters.checkpoints_in(source, kind)]
    if not files:
        raise ValueError(f"{', '.join(map(str, sources))}: there is no checkpoint to convert in here")
    if output is not None and not options["dry_run"]:
        output.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    failed = 0
    for file in files:
        target = converters.default_target(file, kind)
        if output is not None:
            target = output / target.name
        try:
            with _display.steps(file.name, quiet=as_json) as step:
                report = converters.convert(file, target, format=kind, progress=step, **options)
        except ValueError as error:
            failed += 1
            results.append({"source": {"path": str(file)}, "error": str(error)})
            _display.error(str(error))
            continue
        results.append(report.as_dict())
        if not as_json:
            _display.report_line(report)
    if as_json:
        _print_json({"files": results, "converted": len(files) - failed, "failed": failed})
    else:
        click.echo(f"{len(files) - failed} of {len(files)} checkpoints converted")
    return BAD_INPUT if failed else 0


@cli.command()
@click.argument("file", type=PATH)
@click.option("--writer", metavar="chainer-X.Y.Z", help="As for convert.")
@click.option("--architecture", metavar="NAME", help="As for convert.")
@click.option("--state/--no-state", default=True, help="Whether the optimizer's state is read too.")
@json_option
def inspect(file: Path, as_json: bool, **options: Any) -> int:
    """Shows what a checkpoint holds: tensors, ranges, NaN, optimizer, progress.

    \b
    Example:
      deeppose-port inspect snapshot_iter_120000
    """
    import converters

    inspection = converters.inspect(file, **options)
    if as_json:
        _print_json(inspection.as_dict())
    else:
        _display.inspection(inspection)
    if inspection.problem is not None:
        _display.error(inspection.problem)
        return BAD_INPUT
    return 0


@cli.command("eval")
@click.argument("checkpoint", type=PATH, required=False)
@click.option(
    "--csv",
    "--test-csv-fn",
    required=True,
    type=PATH,
    help="The persons: a line each, file,x0,y0,x1,y1,… with -1 for what is not annotated.",
)
@click.option("--images", "--img-dir", required=True, type=PATH, help="The pictures' folder.")
@click.option("--skeleton", required=True, metavar="flic|lsp|mpii", help="What the joints are.")
@checkpoint_options
@input_options
@click.option("--batch-size", "--batchsize", default=32, show_default=True, help="Persons at a time.")
@click.option(
    "--min-dim",
    default=0.0,
    show_default=True,
    help="Leave out persons whose box of joints is smaller than this many pixels.",
)
@click.option("--ignore-label", default=-1.0, show_default=True, help="The coordinate that means: not annotated.")
@click.option("--watch", type=PATH, metavar="RESULTS", help="Evaluate each new checkpoint of a training's folder.")
@click.option("--idle", type=float, metavar="SECONDS", help="With --watch: end when none came for so long.")
@json_option
def evaluate(checkpoint: Path | None, watch: Path | None, idle: float | None, as_json: bool, **given: Any) -> int:
    """Evaluates any checkpoint on annotated pictures: loss, pixel error, PDJ, PCP.

    Inputs are made as the checkpoint was trained; metrics are in pixels of the original pictures.

    \b
    Example:
      deeppose-port eval epoch-100.model --csv test_joints.csv --images images --skeleton lsp
      deeppose-port eval --watch results/lsp --csv test_joints.csv --images images --skeleton lsp
    """
    from deeppose_port.watch import new_checkpoints, record

    if (checkpoint is None) == (watch is None):
        raise click.UsageError("name a CHECKPOINT, or with --watch the folder of a training")
    if checkpoint is not None:
        pose, evaluation = _evaluate(checkpoint, as_json, **given)
        if as_json:
            _print_json({**evaluation.as_dict(), "backend": pose.backend, "checkpoint": str(checkpoint)})
        else:
            _display.evaluation(evaluation, pose)
        return 0
    assert watch is not None
    for file in new_checkpoints(watch, idle=idle):
        pose, evaluation = _evaluate(file, True, **given)
        record(watch, file, {**evaluation.as_dict(), "backend": pose.backend})
        summary = evaluation.summary()
        if as_json:
            click.echo(json.dumps({"checkpoint": str(file), **evaluation.as_dict(), "backend": pose.backend}))
        else:
            click.echo(f"{file}: " + "  ".join(f"{name} {value:.5g}" for name, value in summary.items()))
    return 0


def _evaluate(
    checkpoint: Path,
    quiet: bool,
    csv: Path,
    images: Path,
    skeleton: str,
    batch_size: int,
    min_dim: float,
    ignore_label: float,
    **options: Any,
) -> tuple[Pose, Evaluation]:
    """Evaluates one checkpoint."""
    from deeppose_port.data import PoseDataset
    from deeppose_port.evaluate import evaluate as run

    pose = _load(checkpoint, **options)
    dataset = PoseDataset(
        csv,
        images=images,
        skeleton=skeleton,
        preprocessing=pose.preprocessing,
        min_dim=min_dim,
        ignore_label=ignore_label,
    )
    with _display.steps("evaluating", quiet=quiet, unit="persons") as step:
        return pose, run(pose, dataset, batch_size=batch_size, progress=lambda done, total: step("", done, total))


@cli.command()
@click.argument("checkpoint", type=PATH)
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=PATH)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    required=True,
    type=PATH,
    help="Where the drawn pictures and the joints go.",
)
@click.option(
    "--box", metavar="x,y,w,h", help="The person's box in pixels, for every IMAGE; by default the whole picture."
)
@click.option("--skeleton", metavar="flic|lsp|mpii", help="What the joints are; by default told by their number.")
@click.option("--format", "format", default="json", show_default=True, metavar="json|csv", help="Of the joints' file.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@checkpoint_options
@input_options
@json_option
def predict(
    checkpoint: Path,
    images: tuple[Path, ...],
    output: Path,
    box: str | None,
    skeleton: str | None,
    format: str,
    force: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Finds the joints of one person in each picture, and draws them.

    \b
    Example:
      deeppose-port predict epoch-100.model astronaut.png --box 36,0,422,512 -o out
    """
    from deeppose_port.predict import parse_box, predict_files

    pose = _load(checkpoint, **options)
    with _display.steps("predicting", quiet=as_json, unit="pictures") as step:
        result = predict_files(
            pose,
            images,
            output,
            box=None if box is None else parse_box(box),
            skeleton=skeleton,
            format=format,
            force=force,
            progress=lambda done, total: step("", done, total),
        )
    if as_json:
        _print_json(result.as_dict())
    else:
        _display.predictions(result)
    return 0


@cli.command()
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
    "--architecture", default="alexnet", show_default=True, metavar="NAME", help="alexnet, resnet50 or vgg_bn."
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
    metavar="loss|mean_error_px|pdj@0.2",
    help="PyTorch: which checkpoint best.pt is.",
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
    from dataclasses import fields

    from deeppose_port.data.augmentation import Augmentation
    from deeppose_port.train import train as run
    from deeppose_port.training.options import HyperparameterOptions, TorchOptions, TrainingOptions

    augmentation = {f.name: given.pop(f.name) for f in fields(Augmentation) if f.name in given}
    said = {f.name: given.pop(f.name) for f in fields(HyperparameterOptions)}
    torch = {f.name: given.pop(f.name) for f in fields(TorchOptions)}
    options = TrainingOptions(
        **given,
        augmentation=Augmentation(**augmentation),
        hyperparameters=HyperparameterOptions(**said),
        torch=TorchOptions(**torch),
    )
    with _display.training(options.epochs) as watch:
        ended = run(options, backend, watch)
    if ended.folder.writes:
        click.echo(f"results in {ended.folder.path}")
    if ended.stop.is_set():
        click.echo(f"interrupted; go on with --resume {ended.folder.path}", err=True)
        return INTERRUPTED
    return 0


@cli.command()
@click.option("--backend", metavar="torch|chainer", help="The backend that has to run; by default either.")
@click.option("--device", metavar="cpu|cuda:N", help="The device that has to run; by default the CPU.")
@json_option
def doctor(backend: str | None, device: str | None, as_json: bool) -> int:
    """Looks at what is installed, whether it works together, and which command mends what does not.

    The exit status is 1 if something that was asked for would not run.

    \b
    Example:
      deeppose-port doctor --backend chainer --device cuda:0
    """
    from deeppose_port.doctor import examine

    examination = examine(backend, device)
    if as_json:
        _print_json(examination.as_dict())
    else:
        _display.examination(examination)
    return 0 if examination.runs else NOT_SO


@cli.group()
def bench() -> None:
    """Measures on this machine.

    \b
    Example:
      deeppose-port bench data --csv train_joints.csv --images images --skeleton lsp
    """


@bench.command("data")
@click.option("--csv", "--train-csv-fn", required=True, type=PATH, help="The persons.")
@click.option("--images", "--img-dir", required=True, type=PATH, help="The pictures' folder.")
@click.option("--skeleton", required=True, metavar="flic|lsp|mpii", help="What the joints are.")
@click.option(
    "--threads", default="1,2,4,8,24,64", show_default=True, metavar="N,N,…", help="Numbers of threads to try."
)
@click.option("--batch-size", "--batchsize", default=32, show_default=True, help="Persons in a batch.")
@click.option("--seconds", default=3.0, show_default=True, help="How long each number is tried.")
@click.option("--min-dim", default=0.0, show_default=True, help="As for eval.")
@json_option
def bench_data(
    csv: Path, images: Path, skeleton: str, threads: str, batch_size: int, seconds: float, min_dim: float, as_json: bool
) -> int:
    """Measures how fast examples are made, and says how many threads to take.

    \b
    Example:
      deeppose-port bench data --csv train_joints.csv --images images --skeleton lsp --threads 1,2,4
    """
    from deeppose_port.bench import bench_data as run
    from deeppose_port.bench import recommend
    from deeppose_port.data import PoseDataset

    try:
        counts = tuple(int(count) for count in threads.split(","))
    except ValueError:
        raise ValueError(f"the threads {threads!r} are not whole numbers with commas between") from None
    dataset = PoseDataset(csv, images=images, skeleton=skeleton, min_dim=min_dim)
    with _display.steps("measuring", quiet=as_json, unit="rounds") as step:
        rows = run(
            dataset,
            threads=counts,
            batch_size=batch_size,
            seconds=seconds,
            progress=lambda done, total: step("", done, total),
        )
    best = recommend(rows)
    if as_json:
        measured = [{"threads": row.threads, "pictures_per_second": row.pictures_per_second} for row in rows]
        _print_json({"rows": measured, "threads": best.threads})
    else:
        _display.data_rates(rows, best)
    return 0


def _load(
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
    _display.notices(loaded.notices, loaded.repairs)
    preprocessing = loaded.preprocessing.overridden(
        im_size=im_size, base_zoom=base_zoom, coord_normalize=coord_normalize, gcn=gcn
    )
    return Pose(loaded, backend, device, preprocessing)


def _print_json(values: dict[str, Any]) -> None:
    click.echo(json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False))


if __name__ == "__main__":
    sys.exit(main())
