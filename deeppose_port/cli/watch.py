"""`watch`: the metrics of a training's checkpoints as they appear."""

from __future__ import annotations

import math
from pathlib import Path

from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.cli import display
from deeppose_port.cli.command import command
from deeppose_port.cli.evaluating import EvaluatingOptions, evaluate_one
from deeppose_port.cli.options import JsonOptions
from deeppose_port.options import described


def until_idle(what: str, goes_with: tuple[str, ...] = ()) -> float | None:
    """Declares how long no checkpoint may come."""
    told = f"{what} after this long without a new checkpoint."
    return described(told, default=None, metavar="SECONDS", goes_with=goes_with)


def refuse_backwards(idle: float | None) -> None:
    """Refuses what is no time that can pass."""
    if idle is not None and not 0 <= idle < math.inf:
        raise DeepPoseError(f"--idle is {idle:g}; it has to be a number of seconds, 0 or more")


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """What `watch` is told."""

    results: Path = described("The result folder of a training run.", names=("RESULTS",))
    how: EvaluatingOptions
    idle: float | None = until_idle("Stop")
    shown: JsonOptions

    def __post_init__(self) -> None:
        refuse_backwards(self.idle)


def follow(options: WatchOptions) -> int:
    """Evaluates each new checkpoint of a result folder, a line each, and records it there."""
    from deeppose_port.evaluate.watch import new_checkpoints, record
    from deeppose_port.metrics.shown import number

    for file in new_checkpoints(options.results, idle=options.idle):
        try:
            found = evaluate_one(file, options.how, quiet=True)
        except (DeepPoseError, OSError):
            if file.exists():
                raise
            continue  # the training does not keep it any longer
        record(options.results, file, {**found.evaluation.as_dict(), "backend": found.pose.backend})
        if options.shown.as_json:
            display.as_json({"checkpoint": str(file), **found.as_dict()}, lines=False)
        else:
            told = found.evaluation.headlines()
            summary = "  ".join(f"{one.metric.title} {number(one.overall, one.metric.unit)}" for one in told)
            display.say(f"{file}: {summary}")
    return 0


@command(lambda: WatchOptions)
def watch(options: WatchOptions) -> int:
    """Evaluates each new checkpoint of a training run while it is running.

    Run it beside the training. It prints one line for each checkpoint and records it in RESULTS/evaluations, which
    `plot` draws. It runs until you interrupt it, or until no checkpoint has come for --idle seconds.

    \b
    Example:
      deeppose-port watch results/lsp --csv test_joints.csv --images images
    """
    return follow(options)
