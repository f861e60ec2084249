"""Training with Chainer's Trainer."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import time
import warnings
from typing import Any

import numpy as np

from converters import Checkpoint, Optimizer, Progress, Source
from converters.checkpoint import is_parameter
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
from deeppose_port.evaluate import answers_of, evaluation_of  # noqa: E402
from deeppose_port.train import Run, Step  # noqa: E402
from deeppose_port.training.options import Hyperparameters  # noqa: E402

_SECTIONS = ("updater/model:", "updater/optimizer:")


def train(run: Run) -> None:
    """Trains a run to its end.

    Raises:
        TrainingError: The loss or a gradient is not finite.
        DatasetError: A picture cannot be read; the last checkpoint is whole.
        BackendError: The device cannot be used.
    """
    devices = usable_devices(run.options.device, several=True)
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
            gradient_sum=run.options.legacy_gradient_sum,
            skip_nonfinite=run.options.nonfinite_gradients == "skip",
            iteration=run.start.iteration,
        )
        trainer = training.Trainer(updater, _Stop(run), out=str(run.folder.path))
        _extend(trainer, run, network, loader)
        run.folder.write_header(run.options, run.start, f"chainer version: {chainer.__version__}")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning, module="chainer")
            trainer.run(show_loop_exception_msg=False)
    if updater.skipped:
        run.watch.notice(f"{updater.skipped} steps with a loss or gradient that was not finite were left out")


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
    keys = chainer_names(network.architecture)
    for name in filter(is_parameter, keys):
        for slot, tensors in slots.items():
            tensors[name] = np.array(saved.target[f"updater/optimizer:main/predictor/{keys[name]}/{slot}"])
    return Checkpoint(
        architecture=checkpoint.architecture,
        weights=read_weights(network),
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
    # Chainer 7 wants each parameter's count of updates, which versions before 3.4 did not write.
    state = Optimizer(**{**vars(checkpoint.optimizer), "step_per_parameter": True})
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


def _extend(trainer: Any, run: Run, network: Any, loader: TrainingLoader) -> None:
    """Adds what happens between updates."""
    options = run.options
    trainer.extend(_LearningRate(run), name="learning_rate", call_before_training=True)
    if run.test is not None and options.valid_freq:
        trainer.extend(_Validation(run, network), trigger=(options.valid_freq, "epoch"), name="validation")
    log = _Log(run, trigger=_LogTrigger(run))
    trainer.extend(log, name="LogReport")
    if importlib.util.find_spec("matplotlib") is not None:  # Chainer warns where it is not there
        keys = ["main/loss", "validation/main/loss"]
        plot = extensions.PlotReport(keys, "epoch", filename="loss.png", trigger=lambda trainer: _is_due(run, trainer))
        trainer.extend(plot)
    trainer.extend(_Progress(run, loader), name="progress")

    trainer.extend(_Checkpoints(run, network), name="snapshot")


class _Stop:
    """Ends the training after its last epoch, or when the user asks for it."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __call__(self, trainer: Any) -> bool:
        return bool(self.run.stop.is_set() or trainer.updater.epoch >= self.run.options.epochs)


class _LogTrigger(training.triggers.IntervalTrigger):  # type: ignore[misc]
    """Every `show_log_iter` iterations, after every validation, and at the end."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.options.show_log_iter, "iteration")
        self.options = run.options

    def __call__(self, trainer: Any) -> bool:
        due = super().__call__(trainer)
        epoch = trainer.updater.epoch
        validated = self.options.valid_freq and epoch % self.options.valid_freq == 0
        return bool(due or (trainer.updater.is_new_epoch and (validated or epoch >= self.options.epochs)))


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

    priority = training.PRIORITY_WRITER

    def __init__(self, run: Run, network: Any) -> None:
        self.run = run
        self.network = network

    def __call__(self, trainer: Any) -> None:
        assert self.run.test is not None
        device = trainer.updater.get_optimizer("main").target.device

        def answer(inputs: Any) -> Any:
            with chainer.using_config("train", False), chainer.no_backprop_mode():
                return chainer.backends.cuda.to_cpu(self.network(device.send(inputs)).array)

        answers = answers_of(answer, self.run.test, batch_size=self.run.options.batch_size)
        summary = evaluation_of(answers, self.run.test).summary()
        chainer.report({f"validation/main/{name}": value for name, value in summary.items()})


def _is_due(run: Run, trainer: Any) -> bool:
    """Tells whether a checkpoint is due: at every `snapshot`-th epoch, the last, and when the user ends the run."""
    epoch = trainer.updater.epoch
    ended = trainer.updater.is_new_epoch and (epoch % run.options.snapshot == 0 or epoch >= run.options.epochs)
    return bool(ended or run.stop.is_set())


class _Checkpoints(training.Extension):  # type: ignore[misc]
    """Writes checkpoints when they are due."""

    trigger = (1, "iteration")
    priority = -100  # after all others, whose state it saves

    def __init__(self, run: Run, network: Any) -> None:
        self.run = run
        self.network = network

    def __call__(self, trainer: Any) -> None:
        if _is_due(self.run, trainer):
            algorithm = self.run.start.hyperparameters.algorithm
            checkpoint = checkpoint_of(trainer, self.run.start.checkpoint, self.network, algorithm)
            self.run.watch.saved(self.run.folder.save(checkpoint, epoch_ended=trainer.updater.is_new_epoch))


class _Log(extensions.LogReport):  # type: ignore[misc]
    """Chainer's LogReport, which also goes on with the log of the run that it resumes."""

    def __init__(self, run: Run, trigger: Any) -> None:
        super().__init__(trigger=trigger, filename="log")
        self.run = run
        self._log = run.folder.earlier_log(run.start.iteration)
        if not self._log and "extensions/LogReport/_log" in run.start.checkpoint.trainer:
            entries = json.loads(str(run.start.checkpoint.trainer["extensions/LogReport/_log"]))
            self._log = [entry for entry in entries if entry.get("iteration", 0) <= run.start.iteration]

    def __call__(self, trainer: Any) -> None:
        before = len(self.log)
        super().__call__(trainer)
        for entry in self.log[before:]:
            self.run.folder.write_losses(entry)
            self.run.watch.log(entry)


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
        self.run.watch.step(Step(updater.epoch_detail, updater.iteration, updater.loss, *self.rates))
