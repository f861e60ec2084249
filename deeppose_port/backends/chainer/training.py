"""Training with Chainer's Trainer."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from converters import Checkpoint, Optimizer, Progress, Source
from converters.checkpoint import Array, trained_in
from converters.files import atomic
from converters.keys import chainer_names
from converters.layouts import ALGORITHMS, arrays_of
from converters.networks import Architecture
from deeppose_port.backends.chainer import compat
from deeppose_port.backends.chainer.devices import usable_devices
from deeppose_port.data.arrays import Float32Array
from deeppose_port.data.loader import TrainingLoader

compat.install()

import chainer  # noqa: E402 - not before compat
from chainer import training  # noqa: E402
from chainer.training import extensions  # noqa: E402

from deeppose_port.backends.chainer.average import Average  # noqa: E402
from deeppose_port.backends.chainer.iterator import PoseIterator  # noqa: E402
from deeppose_port.backends.chainer.loss import PoseEstimationError  # noqa: E402
from deeppose_port.backends.chainer.networks import BatchNorm, DeepPose, load, read_weights  # noqa: E402
from deeppose_port.backends.chainer.optimizers import make_optimizer  # noqa: E402
from deeppose_port.backends.chainer.prediction import ChainerPredictor  # noqa: E402
from deeppose_port.backends.chainer.updater import PoseUpdater  # noqa: E402
from deeppose_port.metrics.predictions import Predictions, predictions_of  # noqa: E402
from deeppose_port.training import average  # noqa: E402
from deeppose_port.training.events import Events, Update  # noqa: E402
from deeppose_port.training.guard import Guard  # noqa: E402
from deeppose_port.training.hyperparameters import state_of  # noqa: E402
from deeppose_port.training.names import PLOT  # noqa: E402
from deeppose_port.training.parameters import frozen, scales_of  # noqa: E402
from deeppose_port.training.run import Run  # noqa: E402

_SECTIONS = ("updater/model:", "updater/optimizer:")


def train(run: Run) -> None:
    """Trains a run to its end.

    Raises:
        TrainingError: The loss or a gradient is not finite.
        DatasetError: A picture cannot be read; the last checkpoint is whole.
        BackendError: The device cannot be used.
    """
    options, start = run.options, run.start
    devices = usable_devices(options.device, several=True)
    devices[0].use()
    network = load(average.without(start.checkpoint), options.dropout)
    model = PoseEstimationError(network, options.loss, options.loss_beta, options.heatmap_loss)
    model.to_device(devices[0])
    optimizer = make_optimizer(start.hyperparameters)
    optimizer.setup(model)
    if start.hyperparameters.weight_decay and start.hyperparameters.algorithm != "adamw":
        optimizer.add_hook(chainer.optimizer_hooks.WeightDecay(start.hyperparameters.weight_decay))
    _freeze(network, options.freeze)
    if start.checkpoint.optimizer is not None:
        _load_optimizer(optimizer, start.checkpoint)
    guard = Guard.of(options, start.hyperparameters.algorithm)
    averaged = _average(run, network, devices[0])

    with contextlib.ExitStack() as closing:
        closing.enter_context(chainer.using_config("train", True))  # of this thread, whatever a run leaves behind
        trainer = _Trainer(run, network, devices[0], averaged)
        version = _writer(start.checkpoint.architecture).removeprefix("chainer-")
        events = closing.enter_context(
            Events(run, trainer, f"chainer version: {version}", run.folder.earlier_log(start))
        )
        if options.eval_only:
            events.validate()
            return
        loader = closing.enter_context(contextlib.closing(run.loader()))
        updater = PoseUpdater(
            PoseIterator(loader),
            optimizer,
            {"main" if i == 0 else str(i): device for i, device in enumerate(devices)},
            seed=options.seed,
            rate=lambda epoch: start.hyperparameters.learning_rate(epoch, options.epochs),
            scales=_scales(network, options.lr_scale),
            guard=guard,
            notice=run.callbacks.notice,
            gradient_sum=options.engine.legacy_gradient_sum,
            grad_clip=options.grad_clip,
            iteration=start.iteration,
            updated=None if averaged is None else lambda: averaged.update(network),
        )
        trainer.begin(updater, loader, events)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning, module="chainer")
            trainer.chainers.run(show_loop_exception_msg=False)
    skipped = guard.summary()
    if skipped is not None:
        run.callbacks.notice(skipped)


def _writer(architecture: Architecture) -> str:
    """Returns the version that reads a run's files as it means them: of weights from an older one that one."""
    return architecture.writer if architecture.writer.startswith("chainer-") else f"chainer-{chainer.__version__}"


def _load_optimizer(optimizer: chainer.Optimizer, checkpoint: Checkpoint) -> None:
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


def _average(run: Run, network: DeepPose, device: chainer.backend.Device) -> Average | None:
    """Returns the running average of a run that has one, where its checkpoint left it."""
    options, checkpoint = run.options, run.start.checkpoint
    if not options.ema:
        return None
    trained = average.trained_of(checkpoint)
    if trained is None:
        return Average(network, options.ema)
    begun = load(checkpoint, options.dropout)
    begun.to_device(device)
    return Average(begun, options.ema, trained[1])


def _keys_of_parameters(network: DeepPose) -> dict[str, str]:
    """Returns Chainer's name of each parameter by the canonical one."""
    keys = chainer_names(network.architecture)
    return {name: keys[name] for name in trained_in(network.architecture)}


def _scales(network: DeepPose, patterns: Sequence[str]) -> dict[str, float]:
    """Returns the factors on learning rates that are not 1, by the names that an optimizer's target has."""
    keys = _keys_of_parameters(network)
    scales = scales_of(list(keys), patterns)
    return {f"/predictor/{keys[name]}": scale for name, scale in scales.items() if scale != 1}


def _freeze(network: DeepPose, patterns: Sequence[str]) -> None:
    """Takes parameters out of training, and with all those of a BatchNormalization its statistics."""
    keys = _keys_of_parameters(network)
    parameters = {name.lstrip("/"): parameter for name, parameter in network.namedparams()}
    for name in frozen(list(keys), patterns):
        parameters[keys[name]].update_rule.enabled = False
    for link in network.links():
        trained = [parameter.update_rule.enabled for parameter in link.params()]
        if isinstance(link, BatchNorm) and trained and not any(trained):  # one without any learns its statistics
            link.add_hook(_AsInEvaluation())


class _AsInEvaluation(chainer.LinkHook):  # type: ignore[misc]
    """Calls a link as an evaluation does."""

    name = "as in evaluation"

    def __init__(self) -> None:
        self.train = True

    def forward_preprocess(self, args: object) -> None:
        self.train, chainer.config.train = chainer.config.train, False

    def forward_postprocess(self, args: object) -> None:
        chainer.config.train = self.train


class _Trainer:
    """Chainer's Trainer, and what the events of a run ask of it.

    Attributes:
        chainers: Chainer's Trainer; there is none before `begin`.
    """

    chainers: training.Trainer

    def __init__(
        self, run: Run, network: DeepPose, device: chainer.backend.Device, averaged: Average | None = None
    ) -> None:
        self.run = run
        self.network = network
        self.device = device
        self.average = averaged

    @property
    def answering(self) -> DeepPose:
        """What is validated and saved: the network, or the average of its weights."""
        return self.network if self.average is None else self.average.network

    def begin(self, updater: PoseUpdater, loader: TrainingLoader, events: Events) -> None:
        """Makes Chainer's Trainer of an updater, with an extension that calls the events, and one that draws losses."""
        self.chainers = training.Trainer(updater, lambda trainer: events.ended, out=str(self.run.folder.path))
        # Under the name of what held the log in the snapshots of all earlier programs.
        self.chainers.extend(_Events(events, loader, self.run.start.epoch), name="LogReport")
        if importlib.util.find_spec("matplotlib") is not None:  # Chainer warns where it is not there
            self.chainers.extend(_Plot(self.run, events), name="PlotReport")

    def predictions(self) -> Predictions:
        """Runs the network over the test set without augmentation."""
        assert self.run.test is not None

        return predictions_of(self.answers, self.run.test, batch_size=self.run.options.batch_size)

    def answers(self, inputs: Float32Array) -> Float32Array:
        """Runs the network as an evaluation does."""
        with chainer.using_config("train", False), chainer.no_backprop_mode():
            answers: Float32Array = chainer.backends.cuda.to_cpu(self.answering(self.device.send(inputs)).array)
        return answers

    def activations(self, inputs: Float32Array) -> Iterator[tuple[str, Float32Array]]:
        """Yields what each layer makes of inputs, by `activations.layer_names`."""
        weights = read_weights(self.answering)
        seen = self.run.start.checkpoint.replace(weights=weights, optimizer=None, trainer={})
        return ChainerPredictor(seen, self.run.options.device.split(",")[0]).activations(inputs)

    def checkpoint(self) -> Checkpoint:
        """Returns the trainer's present state."""
        start, updater = self.run.start, self.chainers.updater
        optimizer, algorithm = updater.get_optimizer("main"), state_of(start.hyperparameters.algorithm)
        saved = chainer.serializers.DictionarySerializer()
        saved.save(self.chainers)
        rest = {key: np.array(value) for key, value in saved.target.items() if not key.startswith(_SECTIONS)}
        slots: dict[str, dict[str, Array]] = {
            slot: {} for slot in next(s for s, a in ALGORITHMS.items() if a == algorithm)
        }
        keys, weights = chainer_names(self.network.architecture), read_weights(self.answering)
        if self.average is not None:
            rest |= average.stored(read_weights(self.network), self.average.updates)
        for name in trained_in(self.network.architecture):
            for slot, tensors in slots.items():
                # Before the first update Chainer has no state; it begins as zeros.
                array = saved.target.get(f"updater/optimizer:main/predictor/{keys[name]}/{slot}")
                tensors[name] = np.zeros(weights[name].shape, np.float32) if array is None else np.array(array)
        return Checkpoint(
            architecture=start.checkpoint.architecture,
            weights=weights,
            preprocessing=start.checkpoint.preprocessing,
            source=Source(
                path="",
                sha256="",
                format="chainer-npz",
                wrappers=("predictor/",),
                writer=_writer(start.checkpoint.architecture),
                writer_told_by="the training",
            ),
            optimizer=Optimizer(algorithm, optimizer.t, slots, optimizer.epoch, step_per_parameter=True),
            progress=Progress(updater.epoch, updater.iteration),
            trainer=rest,
        )

    def agreed(self, asked: bool) -> bool:
        """Returns what it is told: there is one process."""
        return asked


class _Events(training.Extension):  # type: ignore[misc]
    """The events of a run as an extension, which saves the log as Chainer's LogReport does."""

    trigger = (1, "iteration")
    priority = -100  # after all others, whose state it saves

    def __init__(self, events: Events, loader: TrainingLoader, epoch: int) -> None:
        self.events = events
        self.loader = loader
        self.before = (epoch, loader.given, loader.waited)

    def __call__(self, trainer: training.Trainer) -> None:
        updater = trainer.updater
        (epoch, given, waited), self.before = self.before, (int(updater.epoch), self.loader.given, self.loader.waited)
        self.events.after(
            Update(
                (epoch, self.before[0]),
                float(updater.epoch_detail),
                int(updater.iteration),
                updater.loss,
                updater.rate,
                pictures=self.before[1] - given,
                waited=self.before[2] - waited,
                gradient_norm=updater.gradient_norm,
                skipped=updater.guard.skipped,
                first_skipped=updater.guard.first,
            )
        )
        validated = [entry for entry in self.events.entries[-1:] if entry["iteration"] == updater.iteration]
        for entry in validated:  # for the plot
            chainer.report({name: value for name, value in entry.items() if name.startswith("validation/")})

    def serialize(self, serializer: chainer.AbstractSerializer) -> None:
        serializer("_log", json.dumps(self.events.entries, allow_nan=False))


#: What snapshots call the curves by.
_DRAWN = ".loss.png"


class _Plot(extensions.PlotReport):  # type: ignore[misc]
    """Chainer's PlotReport of the losses, drawn with every checkpoint."""

    priority = -200  # after the events, which validate

    def __init__(self, run: Run, events: Events) -> None:
        super().__init__(["main/loss", "validation/main/loss"], "epoch", filename=_DRAWN, trigger=self._is_due)
        self.run = run
        self.events = events

    def _is_due(self, trainer: training.Trainer) -> bool:
        return self.events.saved

    def __call__(self, trainer: training.Trainer) -> None:
        if not self._is_due(trainer):
            super().__call__(trainer)
            return
        with tempfile.TemporaryDirectory() as place:  # Chainer knows a picture's format by its name alone
            drawn = Path(place) / PLOT
            self._file_name = str(drawn)
            try:
                super().__call__(trainer)
            finally:
                self._file_name = _DRAWN
            if drawn.exists():
                with atomic(self.run.folder.path / PLOT, force=True) as temporary:
                    temporary.write_bytes(drawn.read_bytes())
