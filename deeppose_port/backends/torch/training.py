"""Training in PyTorch, by the legacy rules and with what is expected today."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from converters import Checkpoint, Optimizer, Progress, Source
from converters.networks import TORCH_WRITER
from deeppose_port.backends.torch.distributed import Processes, processes
from deeppose_port.backends.torch.layers import BatchNorm
from deeppose_port.backends.torch.networks import load
from deeppose_port.backends.torch.optimizers import OPTIMIZERS, ChainerOptimizer
from deeppose_port.backends.torch.profiling import Profile
from deeppose_port.backends.torch.streams import WorkerStream, deaths_named
from deeppose_port.data.arrays import Float32Array
from deeppose_port.data.batches import Batch
from deeppose_port.data.dataset import DatasetError
from deeppose_port.data.loader import TrainingLoader
from deeppose_port.metrics.evaluation import Predictions, predictions_of
from deeppose_port.training.events import Events, Update
from deeppose_port.training.guard import Guard
from deeppose_port.training.options import Hyperparameters
from deeppose_port.training.parameters import frozen
from deeppose_port.training.run import Run

_ITERATOR = "updater/iterator:main/"


def train(run: Run) -> None:
    """Trains a run to its end.

    Raises:
        TrainingError: The loss or a gradient is not finite.
        DatasetError: A picture cannot be read, or a worker process has died; the last checkpoint is whole.
        BackendError: The device cannot be used.
    """
    with deaths_named(), processes(run.options.device) as group, contextlib.ExitStack() as closing:
        trainer = _Trainer(run, group, closing)
        if run.options.eval_only:
            trainer.events.validate()
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
        self.guard = Guard.of(options, self.hyper.algorithm)
        self.network = load(run.start.checkpoint, options.dropout).to(group.device)
        last = self.options.channels_last and not (group.device.type == "cpu" and _has_narrow_projections(self.network))
        self.layout = torch.channels_last if last else torch.contiguous_format
        self.network.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.named = dict(self.network.named_parameters())
        kept = frozen(list(self.named), options.freeze)
        for name, parameter in self.named.items():
            parameter.requires_grad = name not in kept
        self.optimizer = make_optimizer(self.hyper, list(self.named.values()))
        if state is not None:
            self.optimizer.load_slots(self.named, state.slots, self.updates)
        model: nn.Module = self.network
        if group.size > 1:
            model = DistributedDataParallel(model, device_ids=[group.device] if group.device.type == "cuda" else None)
        self.model: Callable[[Tensor], Tensor] = torch.compile(model) if self.options.compile else model
        self.stream = self._stream(closing)
        # The log as the first process reads it: all have to agree on when to end.
        earlier = group.gather(run.folder.earlier_log(run.start))[0]
        self.events = closing.enter_context(Events(run, self, f"torch version: {torch.__version__}", earlier))
        self.profile = Profile() if self.options.profile and group.first else None

    # --- a run -------------------------------------------------------------------------------------------------------

    def train(self) -> None:
        notice = self.run.callbacks.notice
        while not self.events.ended:
            with self.profile or contextlib.nullcontext():
                update = self._update()
            if self.profile is not None and self.profile.step():
                notice(self.profile.report())
                self.profile = None
            self.events.after(update)
        if self.profile is not None:
            notice(self.profile.finish())
        skipped = self.guard.summary()
        if skipped is not None:
            notice(skipped)

    def _update(self) -> Update:
        """Makes one update."""
        # The rate of the place before the batch, as in Chainer.
        lr = self.hyper.learning_rate(self._epoch_detail(), self.run.options.epochs)
        before, waited = self.epoch, self.stream.waited
        with self._range("data"):
            batch, count, given = self._next_batch()
        self._seed_dropout()
        self.network.train()
        _keep_frozen_statistics(self.network)
        with self._range("copy"):
            inputs, targets, mask = self._to_device(batch)
        for parameter in self.named.values():
            parameter.grad = None
        statistics = [(buffer, buffer.clone()) for buffer in self.network.buffers()] if self.guard.skips else []
        with self._range("forward"), self._autocast():
            part = masked_mse(self.model(inputs), targets, mask, count)
        with self._range("backward"):
            # DistributedDataParallel averages over the processes; the parts of this loss add up.
            (part * self.group.size).backward()  # type: ignore[no-untyped-call]
        with self._range("optimizer"):
            (loss,) = self.group.sum(float(part.detach()))
            if not self._guarded_step(loss, lr):
                for buffer, old in statistics:  # which the forward pass moved
                    buffer.copy_(old)
        self.iteration += 1
        self.epoch = int(self.stream.state()["epoch"])
        waited = self.stream.waited - waited
        return Update(
            (before, self.epoch), self._epoch_detail(), self.iteration, loss, lr, pictures=int(given), waited=waited
        )

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
        gradients = [p.grad for p in trained.values() if p.grad is not None]
        largest = torch.stack(torch._foreach_norm(gradients, math.inf)).tolist()
        culprit = self.guard.culprit(loss, zip(trained, largest, strict=True))
        if culprit is None:
            self.guard.passed()
            if self.run.options.grad_clip is not None:
                nn.utils.clip_grad_norm_(list(trained.values()), self.run.options.grad_clip)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.optimizer.step()
            self.updates += 1
            return True
        first = self.guard.refuse(culprit, self.iteration + 1)
        if first is not None:
            self.run.callbacks.notice(first)
        return False

    def predictions(self) -> Predictions:
        """Runs the network over the test set without augmentation, each process over its share."""
        assert self.run.test is not None
        self.network.eval()
        self.group.share(self.network.buffers())  # the first process's statistics are those that are saved

        share = (self.group.rank, self.group.size)
        part: Predictions | DatasetError
        try:
            part = predictions_of(self.answers, self.run.test, batch_size=self.run.options.batch_size, part=share)
        except DatasetError as error:
            part = error
        parts: list[Predictions] = []
        for one in self.group.gather(part):
            if isinstance(one, DatasetError):
                raise one
            parts.append(one)
        return Predictions.merge(parts)

    def answers(self, inputs: Float32Array) -> Float32Array:
        """Runs the network as an evaluation does."""
        self.network.eval()
        with torch.inference_mode(), self._autocast():
            outputs: Tensor = self.network(self._place(torch.from_numpy(inputs)))
            return outputs.float().cpu().numpy()

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
            source=Source(path="", sha256="", format="pt", writer=TORCH_WRITER, writer_told_by="the training"),
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

    def agreed(self, asked: bool) -> bool:
        """Tells whether any of the processes was asked."""
        (number,) = self.group.sum(float(asked))
        return bool(number)

    def _epoch_detail(self) -> float:
        state = self.stream.state()
        return float(state["epoch"] + state["current_position"] / len(self.run.train))

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        if self.options.amp is None:
            return contextlib.nullcontext()
        return torch.autocast(self.group.device.type, dtype=torch.bfloat16)

    def _to_device(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        inputs, targets, mask = (torch.from_numpy(array) for array in batch)
        device = self.group.device
        return self._place(inputs), targets.to(device, non_blocking=True), mask.to(device, non_blocking=True)

    def _place(self, inputs: Tensor) -> Tensor:
        return inputs.to(self.group.device, non_blocking=True, memory_format=self.layout)

    def _range(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Names a part of a step for the profiler."""
        return contextlib.nullcontext() if self.profile is None else self.profile.range(name)

    def _seed_dropout(self) -> None:
        """Seeds what dropout draws from, which nothing saves; each process draws its own."""
        words = np.random.SeedSequence([self.run.options.seed, self.iteration, self.group.rank]).generate_state(1)
        torch.manual_seed(int(words[0]))

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


def _keep_frozen_statistics(network: nn.Module) -> None:
    """Leaves the running statistics of a frozen BatchNormalization as they are."""
    for module in network.modules():
        if isinstance(module, BatchNorm) and not any(p.requires_grad for p in module.parameters()):
            module.eval()
