"""Training with Chainer's Trainer."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import time
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from converters import Checkpoint, Optimizer, Progress, Source
from converters.checkpoint import is_parameter
from converters.errors import DeepPoseError
from converters.keys import chainer_names
from converters.layouts import ALGORITHMS, arrays_of
from deeppose_port.backends.chainer import compat
from deeppose_port.backends.chainer.devices import usable_devices
from deeppose_port.data.loader import TrainingLoader

compat.install()

import chainer  # noqa: E402 - not before compat
from chainer import training  # noqa: E402
from chainer.training import extensions  # noqa: E402

from deeppose_port.backends.chainer.iterator import PoseIterator  # noqa: E402
from deeppose_port.backends.chainer.loss import PoseEstimationError  # noqa: E402
from deeppose_port.backends.chainer.networks import load, read_weights  # noqa: E402
from deeppose_port.backends.chainer.updater import PoseUpdater  # noqa: E402
from deeppose_port.metrics.evaluation import evaluation_of, predictions_of  # noqa: E402
from deeppose_port.training.options import Hyperparameters  # noqa: E402
from deeppose_port.training.run import Run, Step  # noqa: E402

_SECTIONS = ("updater/model:", "updater/optimizer:")


def train(run: Run) -> None:
    """Trains a run to its end.

    Raises:
        TrainingError: The loss or a gradient is not finite.
        DatasetError: A picture cannot be read; the last checkpoint is whole.
        BackendError: The device cannot be used.
        DeepPoseError: There are more devices than examples in a batch.
    """
    devices = usable_devices(run.options.device, several=True)
    if len(devices) > run.options.batch_size:
        raise DeepPoseError(f"a batch of {run.options.batch_size} cannot be split over {len(devices)} devices")
    main = devices[0]
    main.use()
    network = load(run.start.checkpoint, run.options.dropout)
    model = PoseEstimationError(network)
    model.to_device(main)
    optimizer = make_optimizer(run.start.hyperparameters)
    optimizer.setup(model)
    if run.start.hyperparameters.weight_decay:
        optimizer.add_hook(chainer.optimizer_hooks.WeightDecay(run.start.hyperparameters.weight_decay))
    if run.start.checkpoint.optimizer is not None:
        _load_optimizer(optimizer, run.start.checkpoint)

    with contextlib.closing(_loader(run)) as loader:
        iterator = PoseIterator(loader)
        updater = PoseUpdater(
            iterator,
            optimizer,
            {"main" if i == 0 else str(i): device for i, device in enumerate(devices)},
            seed=run.options.seed,
            gradient_sum=run.options.engine.legacy_gradient_sum,
            skip_nonfinite=run.options.nonfinite_gradients == "skip",
            iteration=run.start.iteration,
        )
        checkpoints = _Checkpoints(run, network)
        trainer = training.Trainer(updater, _Stop(run, checkpoints), out=str(run.folder.path))
        _extend(trainer, run, network, loader, checkpoints)
        # The version that reads the files as this run means them: of weights from an older one that one.
        writer = run.start.checkpoint.source.writer.removeprefix("chainer-")
        run.folder.write_header(run.options, run.start, f"chainer version: {writer}")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning, module="chainer")
            trainer.run(show_loop_exception_msg=False)
    if updater.skipped:
        run.callbacks.notice(f"{updater.skipped} steps with a loss or gradient that was not finite were left out")


def make_optimizer(hyper: Hyperparameters) -> Any:
    """Returns Chainer's optimizer of some hyper-parameters."""
    match hyper.algorithm:
        case "adam":
            return chainer.optimizers.Adam(hyper.lr, hyper.beta1, hyper.beta2, hyper.eps)
        case "momentumsgd":
            return chainer.optimizers.MomentumSGD(hyper.lr, hyper.momentum)
        case "adagrad":
            return chainer.optimizers.AdaGrad(hyper.lr)
        case _:
            return chainer.optimizers.RMSprop(hyper.lr)


def checkpoint_of(trainer: Any, checkpoint: Checkpoint, network: Any, algorithm: str) -> Checkpoint:
    """Returns the trainer's present state as a Checkpoint.

    Args:
        trainer: The trainer.
        checkpoint: What it started from: the architecture and the preprocessing are its.
        network: The network that is trained.
        algorithm: Of the optimizer.
    """
    updater, optimizer = trainer.updater, trainer.updater.get_optimizer("main")
    saved = chainer.serializers.DictionarySerializer()
    saved.save(trainer)
    rest = {key: np.array(value) for key, value in saved.target.items() if not key.startswith(_SECTIONS)}
    slots: dict[str, dict[str, Any]] = {slot: {} for slot in next(s for s, a in ALGORITHMS.items() if a == algorithm)}
    keys, weights = chainer_names(network.architecture), read_weights(network)
    for name in filter(is_parameter, keys):
        for slot, tensors in slots.items():
            # Before the first update Chainer has no state; it begins as zeros.
            array = saved.target.get(f"updater/optimizer:main/predictor/{keys[name]}/{slot}")
            tensors[name] = np.zeros(weights[name].shape, np.float32) if array is None else np.array(array)
    return Checkpoint(
        architecture=checkpoint.architecture,
        weights=weights,
        preprocessing=checkpoint.preprocessing,
        source=Source(
            path="",
            sha256="",
            format="chainer-npz",
            wrappers=("predictor/",),
            writer=checkpoint.source.writer,
            writer_told_by="the training",
        ),
        optimizer=Optimizer(algorithm, optimizer.t, slots, optimizer.epoch, step_per_parameter=True),
        progress=Progress(updater.epoch, updater.iteration),
        trainer=rest,
    )


def _load_optimizer(optimizer: Any, checkpoint: Checkpoint) -> None:
    """Gives an optimizer a checkpoint's state, whichever Chainer wrote it."""
    assert checkpoint.optimizer is not None
    # Chainer 7 wants each parameter's count of updates, which versions before 3.4 did not write, and updates the arrays
    # that it is given in place.
    slots = {
        slot: {name: np.array(array, np.float32) for name, array in tensors.items()}
        for slot, tensors in checkpoint.optimizer.slots.items()
    }
    state = replace(checkpoint.optimizer, slots=slots, step_per_parameter=True)
    source = Source(path="", sha256="", format="chainer-npz", wrappers=("predictor/",))
    arrays = arrays_of(checkpoint.replace(optimizer=state, source=source), "state")
    chainer.serializers.NpzDeserializer(arrays).load(optimizer)


def _loader(run: Run) -> TrainingLoader:
    options, start = run.options, run.start
    position, order = start.position(len(run.train), options.batch_size)
    return TrainingLoader(
        run.train,
        options.batch_size,
        augmentation=options.augmentation,
        seed=options.seed,
        threads=options.threads,
        position=position,
        order=order,
        epochs=options.epochs,
    )


def _extend(trainer: Any, run: Run, network: Any, loader: TrainingLoader, checkpoints: _Checkpoints) -> None:
    """Adds what happens between updates."""
    trainer.extend(_LearningRate(run), name="learning_rate")
    if run.test is not None and run.options.valid_freq:
        trainer.extend(_Validation(run, network), name="validation")
    trainer.extend(_Log(run), name="LogReport")
    if importlib.util.find_spec("matplotlib") is not None:  # Chainer warns where it is not there
        trainer.extend(_Plot(run), name="PlotReport")
    trainer.extend(_Progress(run, loader), name="progress")
    trainer.extend(checkpoints, name="snapshot")


def _has_completed(trainer: Any, epochs: int) -> bool:
    """Tells whether the last update completed a multiple of so many epochs; a batch may be longer than an epoch.

    Unlike Chainer's IntervalTrigger it keeps no state, which a resumed run would have to restore.
    """
    updater = trainer.updater
    return bool(updater.previous_epoch_detail // epochs != updater.epoch_detail // epochs)


def _is_at_end(trainer: Any, run: Run) -> bool:
    return bool(trainer.updater.epoch >= run.options.epochs)


class _Stop:
    """Ends the training after its last epoch, or when the user asked for it and the checkpoint of that is written."""

    def __init__(self, run: Run, checkpoints: _Checkpoints) -> None:
        self.run = run
        self.checkpoints = checkpoints

    def __call__(self, trainer: Any) -> bool:
        return self.checkpoints.asked_to_stop or _is_at_end(trainer, self.run)


class _LearningRate(training.Extension):  # type: ignore[misc]
    """Sets the learning rate: a function of the epoch alone, so that nothing has to be saved of it."""

    trigger = (1, "iteration")
    priority = training.PRIORITY_EDITOR

    def __init__(self, run: Run) -> None:
        self.hyper = run.start.hyperparameters
        self.epochs = run.options.epochs

    def initialize(self, trainer: Any) -> None:
        self(trainer)

    def __call__(self, trainer: Any) -> None:
        optimizer = trainer.updater.get_optimizer("main")
        name = "alpha" if self.hyper.algorithm == "adam" else "lr"
        setattr(optimizer, name, self.hyper.learning_rate(trainer.updater.epoch_detail, self.epochs))


class _Validation(training.Extension):  # type: ignore[misc]
    """Evaluates without augmentation: the exact loss over all persons, pixel errors and PDJ."""

    trigger = (1, "iteration")
    priority = training.PRIORITY_WRITER

    def __init__(self, run: Run, network: Any) -> None:
        self.run = run
        self.network = network

    def __call__(self, trainer: Any) -> None:
        if not _has_completed(trainer, self.run.options.valid_freq):
            return
        assert self.run.test is not None
        device = trainer.updater.get_optimizer("main").target.device

        def answer(inputs: Any) -> Any:
            with chainer.using_config("train", False), chainer.no_backprop_mode():
                return chainer.backends.cuda.to_cpu(self.network(device.send(inputs)).array)

        predictions = predictions_of(answer, self.run.test, batch_size=self.run.options.batch_size)
        summary = evaluation_of(predictions, self.run.test).summary()
        chainer.report({f"validation/main/{name}": value for name, value in summary.items()})


class _Checkpoints(training.Extension):  # type: ignore[misc]
    """Writes a checkpoint at every `snapshot`-th epoch, at the last, and when the user ends the run.

    Attributes:
        asked_to_stop: Whether the user ended the run; the checkpoint of that is written.
    """

    trigger = (1, "iteration")
    priority = -100  # after all others, whose state it saves

    def __init__(self, run: Run, network: Any) -> None:
        self.run = run
        self.network = network
        self.asked_to_stop = False

    def __call__(self, trainer: Any) -> None:
        self.asked_to_stop = self.run.stop.is_set()
        due = _has_completed(trainer, self.run.options.snapshot) or _is_at_end(trainer, self.run)
        if due or self.asked_to_stop:
            algorithm = self.run.start.hyperparameters.algorithm
            checkpoint = checkpoint_of(trainer, self.run.start.checkpoint, self.network, algorithm)
            self.run.callbacks.saved(self.run.folder.save(checkpoint, epoch_ended=trainer.updater.is_new_epoch))


class _Log(extensions.LogReport):  # type: ignore[misc]
    """Chainer's LogReport, which also goes on with the log of the run that it resumes."""

    def __init__(self, run: Run) -> None:
        super().__init__(trigger=self._is_due, log_name=None)  # whose way of writing leaves folders in killed runs
        self.run = run
        self._log = run.folder.earlier_log(run.start.iteration) or _log_of(run.start.checkpoint)

    def _is_due(self, trainer: Any) -> bool:
        """Every `show_log_iter` iterations, after every validation, and at the end."""
        options = self.run.options
        validated = options.valid_freq and _has_completed(trainer, options.valid_freq)
        due = trainer.updater.iteration % options.show_log_iter == 0 or validated or _is_at_end(trainer, self.run)
        return bool(due or self.run.stop.is_set())

    def __call__(self, trainer: Any) -> None:
        before = len(self.log)
        super().__call__(trainer)
        for entry in self.log[before:]:
            self.run.folder.write_log(self.log)
            self.run.folder.write_losses(entry)
            self.run.callbacks.log(entry)


def _log_of(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """Returns the log that a snapshot holds, up to where it was made; none if it holds none that can be read."""
    log = checkpoint.trainer.get("extensions/LogReport/_log")
    try:
        entries = [] if log is None else json.loads(log.item())
    except ValueError:
        return []
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


class _Plot(extensions.PlotReport):  # type: ignore[misc]
    """Chainer's PlotReport of the losses, drawn with every checkpoint."""

    def __init__(self, run: Run) -> None:
        super().__init__(["main/loss", "validation/main/loss"], "epoch", filename=".loss.png", trigger=self._is_due)
        self.run = run

    def _is_due(self, trainer: Any) -> bool:
        return _has_completed(trainer, self.run.options.snapshot) or _is_at_end(trainer, self.run)

    def __call__(self, trainer: Any) -> None:
        super().__call__(trainer)
        with contextlib.suppress(FileNotFoundError):  # it is not due
            os.replace(self.run.folder.path / ".loss.png", self.run.folder.path / "loss.png")


class _Progress(training.Extension):  # type: ignore[misc]
    """Tells who looks on how the run is doing."""

    trigger = (1, "iteration")
    priority = training.PRIORITY_WRITER  # before the log, which holds its rates

    def __init__(self, run: Run, loader: TrainingLoader) -> None:
        self.run = run
        self.loader = loader
        self.since = (time.monotonic(), 0, 0.0)
        self.rates = (0.0, 0.0)

    def __call__(self, trainer: Any) -> None:
        updater = trainer.updater
        now, examples, waited = time.monotonic(), self.loader.given, self.loader.waited
        seconds = now - self.since[0]
        if seconds > 0:
            self.rates = ((examples - self.since[1]) / seconds, min(1.0, (waited - self.since[2]) / seconds))
        chainer.report({"pictures_per_second": self.rates[0], "waiting": self.rates[1]})
        if updater.iteration % self.run.options.show_log_iter == 0:
            self.since = (now, examples, waited)
        self.run.callbacks.step(Step(updater.epoch_detail, updater.iteration, updater.loss, *self.rates))
