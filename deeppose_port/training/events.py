"""What happens after each update of a run, in each backend: validate, log, save, keep the best, lose patience, end."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Protocol

import numpy as np

from converters import Checkpoint
from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.data.arrays import Float32Array
from deeppose_port.data.dataset import DatasetError
from deeppose_port.metrics import registry
from deeppose_port.metrics.predictions import Predictions
from deeppose_port.training.collapse import END_AFTER, LEAST, SAY_AFTER, Movement, dead_units
from deeppose_port.training.guard import refuse_nonfinite
from deeppose_port.training.logs import Entry
from deeppose_port.training.options import TrainingOptions
from deeppose_port.training.run import Run, Step, Summary
from deeppose_port.training.validation import numbers_of


class Trainer(Protocol):
    """What a backend's training does when an event asks for it, between two updates."""

    def predictions(self) -> Predictions:
        """Runs the network over the whole test set without augmentation."""

    def answers(self, inputs: Float32Array) -> Float32Array:
        """Runs the network on (N, 3, H, W) inputs, without dropout and with BatchNormalization's statistics."""

    def activations(self, inputs: Float32Array) -> Iterator[tuple[str, Float32Array]]:
        """Yields what each layer makes of (N, 3, H, W) inputs, with its name by `activations.layer_names`."""

    def checkpoint(self) -> Checkpoint:
        """Returns the run's present state."""

    def agreed(self, asked: bool) -> bool:
        """Tells whether any of the processes that train together was asked, where there are several."""


@dataclass(frozen=True)
class Update:
    """One update, as a backend made it.

    Attributes:
        epochs: Whole epochs behind the run, before it and after it.
        epoch: Epochs behind the run, with the fraction of the present one.
        iteration: Updates behind the run.
        loss: Of the batch.
        rate: The learning rate.
        pictures: In the batch, over all devices.
        waited: Seconds that were spent waiting for the batch.
        gradient_norm: Of all that is trained, before it is limited.
        skipped: Updates that were left out so far, since something was not finite.
        first_skipped: The first of them; None without one.
    """

    epochs: tuple[int, int]
    epoch: float
    iteration: int
    loss: float
    rate: float
    pictures: int
    waited: float
    gradient_norm: float = math.nan
    skipped: int = 0
    first_skipped: int | None = None

    def completed(self, interval: int) -> bool:
        """Tells whether a multiple of so many epochs was reached by it; one may take more than an epoch."""
        before, after = self.epochs
        return bool(interval) and after // interval > before // interval


class Events:
    """The events of a run; a context, which ends what it opened.

    Args:
        run: The run.
        trainer: What does as they ask.
        program: The version of the engine, for log.txt.
        earlier: The entries of the log that the run goes on with. All processes have to have the same.

    Attributes:
        entries: The log so far.
        saved: Whether the last update was followed by a checkpoint.
        ended: Whether the run is at its end.
    """

    def __init__(self, run: Run, trainer: Trainer, program: str, earlier: Sequence[Entry]) -> None:
        self.run = run
        self.trainer = trainer
        self.program = program
        self.entries = list(earlier)
        self.saved = self.ended = False
        self._best = Best(run.options)
        for entry in earlier:
            self._best.judge(entry)
        self._window = _Window(_elapsed(earlier))
        counts = ((int(entry.get("skipped") or 0), entry.get("first_skipped")) for entry in reversed(earlier))
        self._skipped, self._first_skipped = next(filter(any, counts), (0, None))
        self._closing = ExitStack()
        self._board: _Board | None = None
        self._movement: Movement | None = None
        self._said_collapsed = self._collapsed = self._said_unmeasured = False

    def __enter__(self) -> Events:
        if self.run.folder.writes:
            self._board = self._open_board()
            with suppress(DatasetError):  # which training and validation tell of
                self._movement = Movement(self.run.train if self.run.test is None else self.run.test)
            self.run.folder.begin(self.run.options, self.run.start, self.program, self.entries)
        return self

    def __exit__(self, *raised: object) -> None:
        self._closing.close()

    def validate(self) -> None:
        """Does what `eval_only` asks for: tells how good the start is, and nothing else."""
        start = self.run.start
        self.run.callbacks.log({"epoch": start.epoch, "iteration": start.iteration, **self._validated()})

    def after(self, update: Update) -> None:
        """Does what is due after an update.

        Raises:
            TrainingError: The weights or the optimizer's state are no longer finite.
            DatasetError: A picture of the test set cannot be read.
            OSError: A file cannot be written; what was there is whole.
        """
        run, options = self.run, self.run.options
        self._window.add(update)
        run.callbacks.step(
            Step(update.epoch, update.iteration, update.loss, self._window.rate(), self._window.share_waited())
        )
        last = update.epochs[1] >= options.epochs
        validation: dict[str, float] = {}
        if run.test is not None and options.valid_freq and (last or update.completed(options.valid_freq)):
            validation = self._validated()
        stopped = self._asked_to_stop()
        improved = self._best.judge({"epoch": update.epochs[1], **validation})
        self._say_unmeasured(validation)
        last = last or (bool(validation) and self._out_of_patience())
        last = last or self._ends_collapsed()
        due = last or stopped or update.completed(options.snapshot)
        # With every checkpoint too: a run that goes on from it averages the same losses as one that went through.
        if validation or due or update.iteration % options.show_log_iter == 0:
            measured = {**self._left_out(update), **validation, **self._looks(update, bool(validation))}
            self._log({**self._window.entry(update), **measured})
        self.saved = due or improved
        if self.saved:
            self._save(update, due, improved)
        self.ended = last or stopped
        if self.ended:
            run.callbacks.end(self._summary(update))

    def _summary(self, update: Update) -> Summary:
        best = self._best
        return Summary(
            folder=self.run.folder.path,
            epoch=update.epochs[1],
            iteration=update.iteration,
            seconds=_elapsed(self.entries),
            metric=best.name,
            best=best.value,
            best_epoch=best.epoch,
        )

    def _validated(self) -> dict[str, float]:
        assert self.run.test is not None
        numbers = numbers_of(self.trainer.predictions(), self.run.test, self.run.options)
        return {f"validation/main/{name}": value for name, value in numbers.items()}

    def _asked_to_stop(self) -> bool:
        """Tells whether the user asked any of the processes to stop."""
        if self.trainer.agreed(self.run.stop.is_set()):
            self.run.stop.set()
        return self.run.stop.is_set()

    def _say_unmeasured(self, validation: Mapping[str, float]) -> None:
        """Says once that a validation gives no number by which its checkpoint could be the best."""
        if validation and not self._said_unmeasured and not math.isfinite(validation.get(self._best.name, math.nan)):
            self._said_unmeasured = True
            self.run.callbacks.notice(
                f"--best {self.run.options.best}: this validation gives no number for it, and its checkpoint cannot be "
                "the best (another metric may have one)"
            )

    def _out_of_patience(self) -> bool:
        patience, count = self.run.options.patience, self._best.unimproved
        if patience is None or count < patience:
            return False
        self.run.callbacks.notice(f"no better {self.run.options.best} in {count} validations: the run ends here")
        return True

    def _ends_collapsed(self) -> bool:
        """Tells whether the answers of the first process's last look end the run, and says so."""
        if not self.run.options.stop_collapsed or not self.trainer.agreed(self._collapsed):
            return False
        self.run.callbacks.notice("the answers still do not depend on the picture: the run ends")
        return True

    def _left_out(self, update: Update) -> Entry:
        """Returns the steps that were left out, those of the runs that this one goes on with among them."""
        first = update.first_skipped if self._first_skipped is None else self._first_skipped
        return {} if first is None else {"skipped": self._skipped + update.skipped, "first_skipped": first}

    def _looks(self, update: Update, validated: bool) -> Entry:
        """Measures whether the answers depend on the picture, and says once that they do not."""
        told: Entry = {}
        if validated and "loss" in self.run.mean_pose:
            told["mean_pose/loss"] = self.run.mean_pose["loss"]
        if self._movement is None:
            return told
        told["movement"] = movement = self._movement.measure(self.trainer.answers)
        if validated:
            told["dead_units"] = dead_units(self.trainer.activations(self._movement.inputs))
        updates = update.iteration - self.run.start.iteration
        warm = update.epoch >= self.run.start.hyperparameters.warmup
        collapsed = movement < LEAST and updates >= (SAY_AFTER if warm else END_AFTER)
        self._collapsed = collapsed and updates >= END_AFTER and update.epochs[1] > self.run.start.epoch
        if collapsed and not self._said_collapsed:
            self._said_collapsed = True
            self.run.callbacks.notice(
                f"the answers do not depend on the picture yet: from one to the next they move {movement:.1%} of what "
                "the joints do (a smaller --lr, --warmup 1, --init or another --architecture may help; "
                "--stop-collapsed ends such a run)"
            )
        return told

    def _log(self, entry: Entry) -> None:
        entry = {name: value if value is None or math.isfinite(value) else None for name, value in entry.items()}
        self.entries.append(entry)
        self._window = _Window(_elapsed(self.entries))
        if not self.run.folder.writes:
            return
        self.run.folder.log(self.entries)
        self.run.callbacks.log(entry)
        if self._board is not None:
            for name, value in entry.items():
                if isinstance(value, float):
                    self._board.add_scalar(name, value, entry["iteration"])

    def _save(self, update: Update, due: bool, improved: bool) -> None:
        folder, keep = self.run.folder, self.run.options.keep
        if folder.writes:
            checkpoint = self.trainer.checkpoint()
            refuse_nonfinite(checkpoint)
            files = folder.save(checkpoint, epoch_ended=update.completed(1), due=due, best=improved, keep=keep)
            self.run.callbacks.saved(files)

    def _open_board(self) -> _Board | None:
        if not self.run.options.tensorboard:
            return None
        try:
            from tensorboard.summary import Writer
        except ImportError as error:
            raise DeepPoseError("--tensorboard needs the package: pip install tensorboard") from error
        board: _Board = Writer(str(self.run.folder.path))
        self._closing.callback(board.close)
        return board


class _Board(Protocol):
    """TensorBoard's writer."""

    def add_scalar(self, tag: str, data: float, step: float | None) -> object: ...

    def close(self) -> object: ...


class Best:
    """Follows the metric that says which checkpoint is the best.

    Attributes:
        value: The best value so far; None before the first.
        epoch: The epoch of it.
        unimproved: Validations since then.
    """

    def __init__(self, options: TrainingOptions) -> None:
        metric = registry.find(options.best)
        self.name, self.after = f"validation/main/{metric.name}", options.best_after
        self.sign = 1 if metric.better == "lower" else -1
        self.value: float | None = None
        self.epoch: int | None = None
        self.unimproved = 0

    def judge(self, entry: Entry) -> bool:
        """Tells whether an entry of the log holds a validation that is the best so far."""
        if self.name not in entry or (entry.get("epoch") or 0) < self.after:
            return False
        value = entry[self.name]
        improved = value is not None and self._is_better(value)
        if improved:
            self.value, self.epoch, self.unimproved = value, int(entry["epoch"] or 0), 0
        else:
            self.unimproved += 1
        return improved

    def _is_better(self, value: float) -> bool:
        return math.isfinite(value) and (self.value is None or self.sign * value < self.sign * self.value)


class _Window:
    """What is averaged between two entries of the log.

    Args:
        elapsed: Seconds behind the run.
    """

    def __init__(self, elapsed: float) -> None:
        self.elapsed = elapsed
        self.start = time.monotonic()
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.waited = 0.0
        self.pictures = 0

    def add(self, update: Update) -> None:
        self.losses.append(update.loss)
        self.norms.append(update.gradient_norm)
        self.waited += update.waited
        self.pictures += update.pictures

    def seconds(self) -> float:
        return max(time.monotonic() - self.start, 1e-9)

    def rate(self) -> float:
        return self.pictures / self.seconds()

    def share_waited(self) -> float:
        return min(1.0, self.waited / self.seconds())

    def entry(self, update: Update) -> Entry:
        return {
            "main/loss": _mean(self.losses),
            "epoch": update.epochs[1],
            "iteration": update.iteration,
            "elapsed_time": self.elapsed + self.seconds(),
            "pictures_per_second": self.rate(),
            "waiting": self.share_waited(),
            "lr": update.rate,
            "gradient_norm": _mean(self.norms),
        }


def _mean(numbers: Sequence[float]) -> float | None:
    """Returns the mean of those that are finite; None where none is."""
    finite = [number for number in numbers if math.isfinite(number)]
    return float(np.mean(finite)) if finite else None


def _elapsed(entries: Sequence[Entry]) -> float:
    return float(entries[-1].get("elapsed_time") or 0.0) if entries else 0.0
