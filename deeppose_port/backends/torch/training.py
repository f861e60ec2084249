"""Training in PyTorch, by the legacy rules and with what is expected today."""

from __future__ import annotations

import contextlib
import fnmatch
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from converters import Checkpoint, Optimizer, Progress, Source
from converters.errors import DeepPoseError
from deeppose_port.backends.torch.distributed import Processes, processes
from deeppose_port.backends.torch.layers import BatchNorm
from deeppose_port.backends.torch.networks import load
from deeppose_port.backends.torch.optimizers import OPTIMIZERS, ChainerOptimizer
from deeppose_port.backends.torch.profiling import Profile
from deeppose_port.backends.torch.streams import WorkerStream
from deeppose_port.data.batches import Batch
from deeppose_port.data.dataset import DatasetError
from deeppose_port.data.loader import TrainingLoader
from deeppose_port.metrics import registry
from deeppose_port.metrics.evaluation import Predictions, evaluation_of, predictions_of
from deeppose_port.training.options import Hyperparameters, TrainingOptions
from deeppose_port.training.run import Run, Step, TrainingError

_ITERATOR = "updater/iterator:main/"


def train(run: Run) -> None:
    """Trains a run to its end.

    Raises:
        TrainingError: The loss or a gradient is not finite.
        DatasetError: A picture cannot be read; the last checkpoint is whole.
        BackendError: The device cannot be used.
    """
    with processes(run.options.device) as group, contextlib.ExitStack() as closing:
        trainer = _Trainer(run, group, closing)
        if run.options.eval_only:
            trainer.validate()
        else:
            trainer.train()


def masked_mse(outputs: Tensor, targets: Tensor, mask: Tensor, count: float | None = None) -> Tensor:
    """The legacy loss without its two faults, see `metrics.masked_mse`; `count` replaces the mask's number of ones."""
    difference = torch.where(mask != 0, outputs.float() - targets, 0.0)
    return (difference * difference).sum() / max(float(mask.sum()) if count is None else count, 1.0)


class _Trainer:
    """One process's part of a run."""

    def __init__(self, run: Run, group: Processes, closing: contextlib.ExitStack) -> None:
        options = run.options
        self.run, self.group, self.options = run, group, options.engine
        self.hyper = run.start.hyperparameters
        self.epoch, self.iteration = run.start.epoch, run.start.iteration
        state = run.start.checkpoint.optimizer
        self.updates = 0 if state is None else state.step
        self.skipped = 0
        self.network = load(run.start.checkpoint, options.dropout).to(group.device)
        last = self.options.channels_last and not (group.device.type == "cpu" and _has_narrow_projections(self.network))
        self.layout = torch.channels_last if last else torch.contiguous_format
        self.network.to(memory_format=self.layout)  # type: ignore[call-overload]
        _freeze(self.network, self.run.options.freeze)
        self.named = dict(self.network.named_parameters())
        self.optimizer = make_optimizer(self.hyper, list(self.named.values()))
        if state is not None:
            self.optimizer.load_slots(self.named, state.slots, self.updates)
        model: nn.Module = self.network
        if group.size > 1:
            model = DistributedDataParallel(model, device_ids=[group.device] if group.device.type == "cuda" else None)
        self.model: Callable[[Tensor], Tensor] = torch.compile(model) if self.options.compile else model
        self.stream = self._stream(closing)
        # As the first process reads it: all have to agree on when to end.
        self.earlier: list[dict[str, Any]] = group.gather(run.folder.earlier_log(self.iteration))[0]
        self.best = _Best(options)
        for entry in self.earlier:
            self.best.judge(entry)
        self.profile = Profile() if self.options.profile and group.first else None
        self.board = self._board(closing)

    # --- a run -------------------------------------------------------------------------------------------------------

    def train(self) -> None:
        run, options = self.run, self.run.options
        if self.group.first:
            run.folder.write_header(options, run.start, f"torch version: {torch.__version__}")
            run.folder.restart_log(self.earlier)
        window = _Window(self.earlier)
        last = stopped = False
        while not (last or stopped):
            before, waited = self.epoch, self.stream.waited
            with self.profile or contextlib.nullcontext():
                loss, given = self._update()
            if self.profile is not None and self.profile.step():
                run.callbacks.notice(self.profile.report())
                self.profile = None
            ended = self.epoch > before
            window.add(loss, self.stream.waited - waited, given)
            if self.group.first:
                detail = self._epoch_detail()
                run.callbacks.step(Step(detail, self.iteration, loss, window.rate(), window.share_waited()))
            last = self.epoch >= options.epochs
            validation: dict[str, float] = {}
            if run.test is not None and (
                _completed(options.valid_freq, before, self.epoch) or (last and options.valid_freq)
            ):
                validation = self.validate()
            stopped = self._asked_to_stop()
            improved = self.best.judge({"epoch": self.epoch, **validation})
            if validation and options.patience is not None and self.best.unimproved >= options.patience:
                count = self.best.unimproved
                run.callbacks.notice(f"no better {options.best} in {count} validations: the run ends here")
                last = True
            if self.iteration % options.show_log_iter == 0 or validation or last or stopped:
                entry = window.entry(self.epoch, self.iteration, self.optimizer.param_groups[0]["lr"])
                self._log(entry | validation)
                window = _Window([entry])
            due = _completed(options.snapshot, before, self.epoch) or last
            if self.group.first and (due or improved or stopped):
                files = run.folder.save_pt(self.checkpoint(), epoch_ended=ended, best=improved, keep=options.keep)
                run.callbacks.saved(files)
        if self.profile is not None:
            run.callbacks.notice(self.profile.finish())
        if self.skipped:
            run.callbacks.notice(f"{self.skipped} steps with a loss or gradient that was not finite were left out")

    def _update(self) -> tuple[float, int]:
        """Makes one update; returns the loss of the whole batch and the pictures in it."""
        lr = self._lr()  # of the place before the batch, as in Chainer
        with self._range("data"):
            batch, count, given = self._next_batch()
        self._seed_dropout()
        self.network.train()
        _keep_frozen_statistics(self.network)
        with self._range("copy"):
            inputs, targets, mask = self._to_device(batch)
        for parameter in self.named.values():
            parameter.grad = None
        skips = self.run.options.nonfinite_gradients == "skip"
        statistics = [(buffer, buffer.clone()) for buffer in self.network.buffers()] if skips else []
        with self._range("forward"), self._autocast():
            part = masked_mse(self.model(inputs), targets, mask, count)
        with self._range("backward"):
            # DistributedDataParallel averages over the processes; the parts of this loss add up.
            (part * self.group.size).backward()  # type: ignore[no-untyped-call]
        with self._range("optimizer"):
            (loss,) = self.group.sum(float(part.detach()))
            if not self._guarded_step(loss, lr):
                for buffer, before in statistics:  # which the forward pass moved
                    buffer.copy_(before)
        self.iteration += 1
        self.epoch = int(self.stream.state()["epoch"])
        return loss, int(given)

    def _next_batch(self) -> tuple[Batch, float, float]:
        """Returns this process's part of the next batch, and how many coordinates count and pictures are in all.

        Raises:
            DatasetError: A picture of any process's part cannot be read.
        """
        batch: Batch | None = None
        failure: DatasetError | None = None
        own = 0.0, 0.0
        try:
            batch = next(self.stream)
            own = float(np.count_nonzero(batch[2])), float(len(batch[0]))
        except DatasetError as error:
            failure = error
        count, given, failed = self.group.sum(*own, float(failure is not None))
        if failed:
            raise next(error for error in self.group.gather(failure) if error is not None)
        assert batch is not None
        return batch, count, given

    def _guarded_step(self, loss: float, lr: float) -> bool:
        """Updates the weights, unless the loss or a gradient is not finite; tells whether it did."""
        trained = {name: p for name, p in self.named.items() if p.grad is not None}
        culprit = None if math.isfinite(loss) else "the loss"
        if culprit is None:
            gradients = [p.grad for p in trained.values() if p.grad is not None]
            norms = torch.stack(torch._foreach_norm(gradients, math.inf))
            if not bool(torch.isfinite(norms).all()):
                names = [name for name, norm in zip(trained, norms.tolist(), strict=True) if not math.isfinite(norm)]
                culprit = f"the gradient of {names[0]}"
        if culprit is None:
            if self.run.options.grad_clip is not None:
                nn.utils.clip_grad_norm_(list(trained.values()), self.run.options.grad_clip)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.optimizer.step()
            self.updates += 1
            return True
        if self.run.options.nonfinite_gradients != "skip":
            raise TrainingError(
                f"iteration {self.iteration + 1}: {culprit} is not finite; the weights are as before it and the last "
                "checkpoint is whole (a smaller learning rate may help; --nonfinite-gradients skip goes on without "
                "such steps)"
            )
        self.skipped += 1
        return False

    def validate(self) -> dict[str, float]:
        """Evaluates without augmentation, each process its share; returns `validation/main/…`."""
        assert self.run.test is not None
        self.network.eval()
        self.group.share(self.network.buffers())  # the first process's statistics are those that are saved

        def answer(inputs: Any) -> Any:
            with torch.inference_mode(), self._autocast():
                return self.network(self._place(torch.from_numpy(inputs))).float().cpu().numpy()

        share = (self.group.rank, self.group.size)
        part: Predictions | DatasetError
        try:
            part = predictions_of(answer, self.run.test, batch_size=self.run.options.batch_size, part=share)
        except DatasetError as error:
            part = error
        parts = self.group.gather(part)
        for failed in parts:
            if isinstance(failed, DatasetError):
                raise failed
        summary = evaluation_of(Predictions.merge(parts), self.run.test).summary(registry.find(self.run.options.best))
        summary = {f"validation/main/{name}": value for name, value in summary.items()}
        if self.run.options.eval_only and self.group.first:
            self.run.callbacks.log({"epoch": self.epoch, "iteration": self.iteration, **summary})
        return summary

    def checkpoint(self) -> Checkpoint:
        """Returns the run's present state."""
        start = self.run.start.checkpoint
        weights = {
            name: tensor.detach().cpu().contiguous().numpy().copy()
            for name, tensor in self.network.state_dict().items()
        }
        state = self.stream.state()
        trainer = {_ITERATOR + key: np.array(value) for key, value in state.items() if value is not None}
        trainer["updater/iteration"] = np.array(self.iteration, np.int64)
        return replace(
            start,
            weights=weights,
            source=Source(path="", sha256="", format="pt", writer=start.source.writer, writer_told_by="the training"),
            optimizer=Optimizer(
                self.hyper.algorithm,
                self.updates,
                self.optimizer.read_slots(self.named),
                self.epoch,
                step_per_parameter=True,
            ),
            progress=Progress(self.epoch, self.iteration),
            trainer=trainer,
            repairs=(),
            notices=(),
        )

    # --- parts -------------------------------------------------------------------------------------------------------

    def _asked_to_stop(self) -> bool:
        """Tells whether the user asked any of the processes to stop."""
        (asked,) = self.group.sum(float(self.run.stop.is_set()))
        if asked:
            self.run.stop.set()
        return bool(asked)

    def _lr(self) -> float:
        return self.hyper.learning_rate(self._epoch_detail(), self.run.options.epochs)

    def _epoch_detail(self) -> float:
        state = self.stream.state()
        return float(state["epoch"] + state["current_position"] / len(self.run.train))

    def _autocast(self) -> Any:
        if self.options.amp is None:
            return contextlib.nullcontext()
        return torch.autocast(self.group.device.type, dtype=torch.bfloat16)

    def _to_device(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        inputs, targets, mask = (torch.from_numpy(array) for array in batch)
        device = self.group.device
        return self._place(inputs), targets.to(device, non_blocking=True), mask.to(device, non_blocking=True)

    def _place(self, inputs: Tensor) -> Tensor:
        return inputs.to(self.group.device, non_blocking=True, memory_format=self.layout)

    def _range(self, name: str) -> contextlib.AbstractContextManager[Any]:
        """Names a part of a step for the profiler."""
        return contextlib.nullcontext() if self.profile is None else self.profile.range(name)

    def _seed_dropout(self) -> None:
        """Seeds what dropout draws from, which nothing saves; each process draws its own."""
        words = np.random.SeedSequence([self.run.options.seed, self.iteration, self.group.rank]).generate_state(1)
        torch.manual_seed(int(words[0]))

    def _log(self, entry: dict[str, Any]) -> None:
        if not self.group.first:
            return
        self.run.folder.append_log(entry)
        self.run.folder.write_losses(entry)
        self.run.callbacks.log(entry)
        if self.board is not None:
            for name, value in entry.items():
                if isinstance(value, float):
                    self.board.add_scalar(name, value, self.iteration)

    def _board(self, closing: contextlib.ExitStack) -> Any:
        if not self.run.options.tensorboard or not self.run.folder.writes:
            return None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise DeepPoseError("--tensorboard needs the package: pip install tensorboard") from error
        board = SummaryWriter(str(self.run.folder.path))
        closing.callback(board.close)
        return board

    def _stream(self, closing: contextlib.ExitStack) -> TrainingLoader | WorkerStream:
        options, start = self.run.options, self.run.start
        position, order = start.position(len(self.run.train), options.batch_size)
        loader = TrainingLoader(
            self.run.train,
            options.batch_size,
            augmentation=options.augmentation,
            seed=options.seed,
            threads=options.threads,
            position=position,
            order=order,
            part=(self.group.rank, self.group.size),
            epochs=options.epochs,
        )
        if not self.options.workers:
            closing.callback(loader.close)
            return loader
        stream = WorkerStream(loader, self.options.workers, pin=self.group.device.type == "cuda")
        closing.callback(stream.close)
        return stream


def _completed(interval: int, before: int, now: int) -> bool:
    """Tells whether a multiple of so many epochs was reached by a step; one may take more than an epoch."""
    return bool(interval) and now // interval > before // interval


class _Best:
    """Follows the metric that says which checkpoint is the best.

    Attributes:
        value: The best value so far; None before the first.
        unimproved: Validations since then.
    """

    def __init__(self, options: TrainingOptions) -> None:
        metric = registry.find(options.best)
        self.name, self.after = f"validation/main/{metric.name}", options.best_after
        self.sign = 1 if metric.better == "lower" else -1
        self.value: float | None = None
        self.unimproved = 0

    def judge(self, entry: Mapping[str, Any]) -> bool:
        """Tells whether an entry of the log holds a validation that is the best so far."""
        value = entry.get(self.name)
        if value is None or entry.get("epoch", 0) < self.after:
            return False
        improved = math.isfinite(value) and (self.value is None or self.sign * value < self.sign * self.value)
        self.value, self.unimproved = (value, 0) if improved else (self.value, self.unimproved + 1)
        return improved


class _Window:
    """What is averaged between two entries of the log."""

    def __init__(self, earlier: list[dict[str, Any]]) -> None:
        self.elapsed = float(earlier[-1].get("elapsed_time", 0.0)) if earlier else 0.0
        self.start = time.monotonic()
        self.losses: list[float] = []
        self.waited = 0.0
        self.given = 0

    def add(self, loss: float, waited: float, given: int) -> None:
        self.losses.append(loss)
        self.waited += waited
        self.given += given

    def seconds(self) -> float:
        return max(time.monotonic() - self.start, 1e-9)

    def rate(self) -> float:
        return self.given / self.seconds()

    def share_waited(self) -> float:
        return min(1.0, self.waited / self.seconds())

    def entry(self, epoch: int, iteration: int, lr: float) -> dict[str, Any]:
        return {
            "main/loss": float(np.mean(self.losses)),
            "epoch": epoch,
            "iteration": iteration,
            "elapsed_time": self.elapsed + self.seconds(),
            "pictures_per_second": self.rate(),
            "waiting": self.share_waited(),
            "lr": lr,
        }


def make_optimizer(hyper: Hyperparameters, parameters: list[nn.Parameter]) -> ChainerOptimizer:
    """Returns the optimizer of some hyper-parameters."""
    given: dict[str, float] = {"lr": hyper.lr, "weight_decay": hyper.weight_decay}
    if hyper.algorithm == "adam":
        given |= {"beta1": hyper.beta1, "beta2": hyper.beta2, "eps": hyper.eps}
    elif hyper.algorithm == "momentumsgd":
        given |= {"momentum": hyper.momentum}
    return OPTIMIZERS[hyper.algorithm](parameters, **given)


def _has_narrow_projections(network: nn.Module) -> bool:
    """Tells whether a network has strided 1x1 convolutions of fewer than 16 channels.

    With channels last, PyTorch 2.13 on a CPU writes beyond its memory in their backward pass, and mostly crashes.
    """
    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    return any(c.kernel_size == (1, 1) and c.stride != (1, 1) and c.in_channels < 16 for c in convolutions)


def _freeze(network: nn.Module, patterns: tuple[str, ...]) -> None:
    """Takes parameters out of training.

    Raises:
        DeepPoseError: A pattern stands for none, or nothing is left to train.
    """
    names = [name for name, _ in network.named_parameters()]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise DeepPoseError(f"--freeze {pattern!r} stands for no parameter; there are {', '.join(names[:6])}, …")
    for name, parameter in network.named_parameters():
        parameter.requires_grad = not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise DeepPoseError("--freeze leaves nothing to train")


def _keep_frozen_statistics(network: nn.Module) -> None:
    """Leaves the running statistics of a frozen BatchNormalization as they are."""
    for module in network.modules():
        if isinstance(module, BatchNorm) and not any(p.requires_grad for p in module.parameters()):
            module.eval()
