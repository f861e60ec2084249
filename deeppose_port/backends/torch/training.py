"""Training in PyTorch, by the legacy rules and with what is expected today."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from converters import Checkpoint, Optimizer, Progress, Source
from converters.checkpoint import Array
from converters.networks import TORCH_WRITER
from deeppose_port.backends.torch.average import Average
from deeppose_port.backends.torch.distributed import Processes, processes
from deeppose_port.backends.torch.heatmaps import stacks_loss
from deeppose_port.backends.torch.layers import BatchNorm
from deeppose_port.backends.torch.networks import WithMaps, load
from deeppose_port.backends.torch.optimizers import OPTIMIZERS, ChainerOptimizer
from deeppose_port.backends.torch.prediction import TorchPredictor
from deeppose_port.backends.torch.profiling import Profile
from deeppose_port.backends.torch.streams import WorkerStream, deaths_named
from deeppose_port.data.arrays import Float32Array
from deeppose_port.data.batches import Batch
from deeppose_port.data.dataset import DatasetError
from deeppose_port.data.heatmaps import joints_of
from deeppose_port.data.loader import TrainingLoader
from deeppose_port.metrics.losses import heatmap_targets
from deeppose_port.metrics.predictions import Predictions, shared_predictions
from deeppose_port.training import average
from deeppose_port.training.events import Events, Update
from deeppose_port.training.guard import Guard
from deeppose_port.training.hyperparameters import Hyperparameters, state_of
from deeppose_port.training.parameters import frozen, scales_of
from deeppose_port.training.run import Run

_ITERATOR = "updater/iterator:main/"
_SCALER = "scaler/"


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
        group.sum(0.0)  # none goes on before the first has written its files


def masked_loss(
    outputs: Tensor,
    targets: Tensor,
    mask: Tensor,
    count: float | None = None,
    loss: str = "l2",
    beta: float = 0.05,
) -> Tensor:
    """A key of `metrics.losses.LOSSES`, without what made the legacy one NaN, see `metrics.masked_mse`.

    `count` replaces the mask's number of ones.
    """
    difference = torch.where(mask != 0, outputs.float() - targets, 0.0)
    match loss:
        case "l2":
            total = (difference * difference).sum()
        case "l1":
            total = difference.abs().sum()
        case _:
            nothing = torch.zeros_like(difference)
            total = functional.smooth_l1_loss(difference, nothing, reduction="sum", beta=beta)
    return total / max(float(mask.sum()) if count is None else count, 1.0)


def heatmap_loss(maps: Tensor, targets: Tensor, mask: Tensor, count: float) -> Tensor:
    """Returns the mean cross-entropy of (N, joints, h, w) maps' softmax and `metrics.losses.heatmap_targets`.

    Args:
        maps: What a soft-argmax is given.
        targets: (N, 2 * joints), as for `masked_loss`.
        mask: Of the same shape; a joint counts whose coordinates both do.
        count: How many coordinates count in the whole batch.
    """
    height, width = maps.shape[2:]
    points = torch.where(mask != 0, targets, 0.0).double().reshape(*maps.shape[:2], 2)
    counted = (mask != 0).reshape(*maps.shape[:2], 2).all(2)
    wanted = torch.from_numpy(heatmap_targets(points.cpu().flatten(1).numpy(), height, width)).to(maps.device)
    entropy = -(wanted.float().flatten(2) * maps.float().flatten(2).log_softmax(2)).sum(2)
    return torch.where(counted, entropy, 0.0).sum() / max(count / 2, 1.0)


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
        self.gradient_norm = math.nan  # of the last update
        start = run.start.checkpoint
        self.network = load(average.without(start), options.dropout).to(group.device)
        last = self.options.channels_last and not (group.device.type == "cpu" and _has_narrow_projections(self.network))
        self.layout = torch.channels_last if last else torch.contiguous_format
        self.network.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.named = dict(self.network.named_parameters())
        kept = frozen(list(self.named), options.freeze)
        for name, parameter in self.named.items():
            parameter.requires_grad = name not in kept
        self.optimizer = make_optimizer(self.hyper, self.named, scales_of(list(self.named), options.lr_scale))
        if state is not None:
            self.optimizer.load_slots(self.named, state.slots, self.updates)
        self.scaler = torch.amp.GradScaler(group.device.type) if self.options.amp == "fp16" else None
        if self.scaler is not None:
            self.scaler.load_state_dict({**self.scaler.state_dict(), **_scaler_state(start)})
        self.average: Average | None = None
        if options.ema:
            trained = average.trained_of(start)
            self.average = Average(self.network, options.ema, 0 if trained is None else trained[1])
            if trained is not None:
                self.average.load(load(start, options.dropout))
        for module in self.network.modules():
            if isinstance(module, BatchNorm):
                module.synchronized = self.options.sync_bn and group.size > 1
                if module.synchronized and self.options.compile:  # here: it loads the compiler
                    module._over_processes = torch.compiler.disable(module._over_processes)  # type: ignore[method-assign, no-untyped-call]
        model: nn.Module = WithMaps(self.network, bool(options.heatmap_loss))
        self.joined: DistributedDataParallel | None = None
        if group.size > 1:
            ids = [group.device] if group.device.type == "cuda" else None
            self.joined = DistributedDataParallel(model, device_ids=ids)
            model = self.joined
        self.model: Callable[[Tensor], tuple[Tensor, Tensor]] = torch.compile(model) if self.options.compile else model
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
        statistics = [(buffer, buffer.clone()) for buffer in self.network.buffers()] if self._may_skip else []
        own = self._accumulate(inputs, targets, mask, count, given)
        with self._range("optimizer"):
            (loss,) = self.group.sum(own)
            if not self._guarded_step(loss, lr):
                for buffer, old in statistics:  # which the forward pass moved
                    buffer.copy_(old)
        self.iteration += 1
        self.epoch = int(self.stream.state()["epoch"])
        waited = self.stream.waited - waited
        return Update(
            (before, self.epoch),
            self._epoch_detail(),
            self.iteration,
            loss,
            lr,
            pictures=int(given),
            waited=waited,
            gradient_norm=self.gradient_norm,
            skipped=self.guard.skipped,
            first_skipped=self.guard.first,
        )

    def _accumulate(self, inputs: Tensor, targets: Tensor, mask: Tensor, count: float, given: float) -> float:
        """Adds up the gradient of a batch, part by part, and returns its loss without that of heat maps."""
        options, loss = self.run.options, 0.0
        # As many in every process, whose BatchNormalization may be one, and none without examples.
        count_of_parts = min(options.accumulate, int(given) // self.group.size)
        parts = list(zip(*(whole.tensor_split(count_of_parts) for whole in (inputs, targets, mask)), strict=True))
        for number, (some, labels, counting) in enumerate(parts, 1):
            # Several processes add their gradients up once, with the last part.
            waiting = self.joined if number < len(parts) else None
            with contextlib.nullcontext() if waiting is None else waiting.no_sync():
                with self._range("forward"), self._autocast():
                    maps, outputs = self.model(some)
                    part = self._loss(outputs, labels, counting, count, given)
                    minimised = part
                    if options.heatmap_loss:
                        minimised = part + options.heatmap_loss * heatmap_loss(maps, labels, counting, count)
                with self._range("backward"):
                    # DistributedDataParallel averages over the processes; the parts of this loss add up.
                    whole = minimised * self.group.size
                    scaled = whole if self.scaler is None else self.scaler.scale(whole)
                    scaled.backward()  # type: ignore[no-untyped-call]
            loss += float(part.detach())
        return loss

    def _loss(self, outputs: Tensor, targets: Tensor, mask: Tensor, count: float, given: float) -> Tensor:
        """Returns what the kind of network is trained on, of a part of a batch that has so many examples in all."""
        if self.network.architecture.stacks:
            return stacks_loss(outputs, targets, mask, given)
        return masked_loss(outputs, targets, mask, count, self.run.options.loss, self.run.options.loss_beta)

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
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        trained = {name: p for name, p in self.named.items() if p.grad is not None}
        gradients = [p.grad for p in trained.values() if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        self.gradient_norm = float(norm)
        largest: list[float] = []
        if not self.gradient_norm <= self.guard.largest:  # no number is larger than their norm, which is fast to have
            largest = torch.stack(torch._foreach_norm(gradients, math.inf)).tolist()
        culprit = self.guard.culprit(loss, zip(trained, largest, strict=False))
        if culprit is None:
            self.guard.passed()
            if self.run.options.grad_clip is not None:
                nn.utils.clip_grads_with_norm_(list(trained.values()), self.run.options.grad_clip, norm)
            for group in self.optimizer.param_groups:
                group["lr"] = lr * group["scale"]
            self.optimizer.step()
            self.updates += 1
            if self.scaler is not None:
                self.scaler.update()
            if self.average is not None:
                self.average.update(self.network)
            return True
        if self.scaler is not None:
            scale = self.scaler.get_scale()
            self.scaler.update()
            if math.isfinite(loss) and scale > 1 and self.scaler.get_scale() < scale:
                return False  # float16 overflowed, which a smaller scale is for
        first = self.guard.refuse(culprit, self.iteration + 1)
        if first is not None:
            self.run.callbacks.notice(first)
        return False

    def predictions(self) -> Predictions:
        """Runs the network over the test set without augmentation, each process over its share."""
        assert self.run.test is not None
        self.group.share(self.answering.buffers())  # the first process's statistics are those that are saved

        return shared_predictions(self.answers, self.run.test, self.group, batch_size=self.run.options.batch_size)

    def answers(self, inputs: Float32Array) -> Float32Array:
        """Runs the network as an evaluation does."""
        network = self.answering.eval()
        with torch.inference_mode(), self._autocast():
            outputs: Tensor = network(self._place(torch.from_numpy(inputs)))
            answers: Float32Array = outputs.float().cpu().numpy()
        if self.network.architecture.stacks:
            told = self.run.start.checkpoint.preprocessing
            return joints_of(answers[:, -1], told.decoding, told.peak)
        return answers

    def activations(self, inputs: Float32Array) -> Iterator[tuple[str, Float32Array]]:
        """Yields what each layer makes of inputs, by `activations.layer_names`."""
        seen = self.run.start.checkpoint.replace(weights=_arrays_of(self.answering), optimizer=None, trainer={})
        return TorchPredictor(seen, str(self.group.device)).activations(inputs)

    def checkpoint(self) -> Checkpoint:
        """Returns the run's present state."""
        start = self.run.start.checkpoint
        state = self.stream.state()
        trainer = {_ITERATOR + key: np.array(value) for key, value in state.items() if value is not None}
        trainer["updater/iteration"] = np.array(self.iteration, np.int64)
        if self.average is not None:
            trainer |= average.stored(_arrays_of(self.network), self.average.updates)
        if self.scaler is not None:
            trainer |= {_SCALER + name: np.array(value) for name, value in self.scaler.state_dict().items()}
        return replace(
            start,
            weights=_arrays_of(self.answering),
            source=Source(path="", sha256="", format="pt", writer=TORCH_WRITER, writer_told_by="the training"),
            optimizer=Optimizer(
                state_of(self.hyper.algorithm),
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

    @property
    def answering(self) -> nn.Module:
        """What is validated and saved: the network, or the average of its weights."""
        return self.network if self.average is None else self.average.network

    # --- parts -------------------------------------------------------------------------------------------------------

    @property
    def _may_skip(self) -> bool:
        """Tells whether a step may be left out that the forward pass has moved statistics for."""
        return self.guard.skips or self.scaler is not None

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
        dtype = torch.float16 if self.options.amp == "fp16" else torch.bfloat16
        return torch.autocast(self.group.device.type, dtype=dtype)

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
        loader = self.run.loader((self.group.rank, self.group.size))
        if not self.options.workers:
            closing.callback(loader.close)
            return loader
        stream = WorkerStream(loader, self.options.workers, pin=self.group.device.type == "cuda")
        closing.callback(stream.close)
        return stream


def make_optimizer(
    hyper: Hyperparameters, named: Mapping[str, nn.Parameter], scales: Mapping[str, float] | None = None
) -> ChainerOptimizer:
    """Returns the optimizer of some hyper-parameters, of parameters by name.

    Each of its groups has a factor on the learning rate, `scale`, that of its parameters.
    """
    given: dict[str, float] = {"lr": hyper.lr, "weight_decay": hyper.weight_decay}
    if hyper.algorithm in ("adam", "adamw"):
        given |= {"beta1": hyper.beta1, "beta2": hyper.beta2, "eps": hyper.eps}
    elif hyper.algorithm == "momentumsgd":
        given |= {"momentum": hyper.momentum}
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named.items():
        groups.setdefault(1.0 if scales is None else scales[name], []).append(parameter)
    parts: list[dict[str, object]] = [{"params": some, "scale": scale} for scale, some in groups.items()]
    return OPTIMIZERS[hyper.algorithm](parts, **given)


def _arrays_of(network: nn.Module) -> dict[str, Array]:
    """Returns a copy of a network's state."""
    return {name: tensor.detach().cpu().contiguous().numpy().copy() for name, tensor in network.state_dict().items()}


def _scaler_state(checkpoint: Checkpoint) -> dict[str, float]:
    """Returns what a checkpoint holds of the scale of float16's loss; nothing where it holds none."""
    return {k.removeprefix(_SCALER): v.item() for k, v in checkpoint.trainer.items() if k.startswith(_SCALER)}


def _has_narrow_projections(network: nn.Module) -> bool:
    """Tells whether a network has strided 1x1 convolutions of fewer than 16 channels.

    With channels last, PyTorch 2.13 on a CPU writes beyond its memory in their backward pass, and mostly crashes.
    """
    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    return any(c.kernel_size == (1, 1) and c.stride != (1, 1) and c.in_channels < 16 for c in convolutions)


def _keep_frozen_statistics(network: nn.Module) -> None:
    """Leaves the running statistics of a BatchNormalization as they are whose parameters are all frozen."""
    for module in network.modules():
        trained = [parameter.requires_grad for parameter in module.parameters()]
        if isinstance(module, BatchNorm) and trained and not any(trained):  # one without any learns its statistics
            module.eval()
