"""What the legacy program's optimizers did, and small trainings; for the tests of both backends."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import numpy as np

import converters
from converters import Preprocessing
from converters.checkpoint import is_parameter
from converters.keys import chainer_names
from deeppose_port.backends.training import train
from deeppose_port.cli.training import TrainOptions
from deeppose_port.options import build
from deeppose_port.training.config import completed
from deeppose_port.training.initial import initial_architecture, initial_checkpoint
from deeppose_port.training.options import TrainingOptions
from deeppose_port.training.run import Callbacks

#: All that draws numbers: dropout and augmentation. A batch of 4 of 6 persons crosses the edge of every other epoch.
RANDOM = {"dropout": None, "fliplr": True, "rotate": True, "zoom": True, "translate": True, "batch_size": 4}
#: The optimizers of golden data, with the hyper-parameters that it was made with.
RULES = {
    "Adam": {"lr": 0.001},
    "MomentumSGD": {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.0005},
    "AdaGrad": {"lr": 0.005},
    "RMSprop": {"lr": 0.001},
}

#: Channels of golden data's narrow AlexNet, as `--width` takes them.
NARROW_WIDTH = "8,12,16,16,12,32,32"


# --- golden data -----------------------------------------------------------------------------------------------------


def rule_gradients():
    """The start and the gradients of golden data's update rules: W, then W's gradient at each of 20 steps."""
    random = np.random.RandomState(0)
    start = (random.randn(40, 50) * 0.1).astype(np.float32)
    random.randn(40)  # the bias, whose gradient is zero
    gradients = []
    for step in range(20):
        gradient = (random.randn(40, 50) * 10 ** random.uniform(-9, 0, (40, 50))).astype(np.float32)
        if step == 3:
            gradient[:5] = 0
        gradients.append(gradient)
    return start, gradients


def rule_error(weights, expected, start):
    """How far weights are from Chainer's, as a part of all that the updates changed."""
    total = np.linalg.norm(expected.astype(np.float64) - start)
    return np.linalg.norm(weights.astype(np.float64) - expected) / total


def trajectory_batches():
    """The 20 batches of golden data's trajectories: inputs, targets, mask."""
    random = np.random.RandomState(77)
    for _ in range(20):
        inputs = random.randn(4, 3, 220, 220)
        targets = random.randn(4, 32) * 0.3
        mask = random.rand(4, 32) > 0.2
        yield tuple(array.astype(np.float32) for array in (inputs, targets, mask))


def trajectory_weights(arrays, prefix, architecture):
    """The weights that a trajectory's file holds under a prefix, by canonical name."""
    keys = chainer_names(architecture)
    return {name: arrays[f"{prefix}|predictor|{key.replace('/', '|')}"] for name, key in keys.items()}


def weight_error(weights, expected):
    """The largest difference of any trained number, as a part of the largest of them."""
    assert weights.keys() == expected.keys()
    names = [name for name in expected if is_parameter(name)]
    difference = max(np.abs(weights[name].astype(np.float64) - expected[name]).max() for name in names)
    return difference / max(np.abs(expected[name]).max() for name in names)


def update_error(weights, expected, before):
    """How far trained numbers are from others, as a part of all that has changed before those."""

    def norm(a, b):
        return np.sqrt(sum(np.sum((a[n].astype(np.float64) - b[n]) ** 2) for n in before if is_parameter(n)))

    return norm(weights, expected) / norm(expected, before)


# --- small trainings -------------------------------------------------------------------------------------------------


class Recorded(Callbacks):
    """Remembers what a training tells; `at` maps an iteration to what is to be called after it."""

    def __init__(self, at=None):
        self.notices, self.steps, self.entries, self.files = [], [], [], []
        self.at = at or {}
        super().__init__(self.notices.append, self._step, self.entries.append, self.files.append)

    @property
    def losses(self):
        return [step.loss for step in self.steps]

    def _step(self, step):
        self.steps.append(step)
        if step.iteration in self.at:
            self.at[step.iteration]()


def interrupt():
    """Does what Ctrl-C does."""
    signal.raise_signal(signal.SIGINT)


class KilledError(Exception):
    """The end of a run that is killed."""


def ending(steps, how):
    """What calls something after so many updates, of whichever networks."""

    class Ending(Recorded):
        def _step(self, step):
            super()._step(step)
            if len(self.steps) == steps:
                how()

    return Ending()


def killed_after(steps):
    """What ends a run after so many updates."""

    def kill():
        raise KilledError

    return ending(steps, kill)


def resumed(folder, **given):
    """Returns the options that `--resume` makes of a result folder."""
    values, _ = completed({"resume": folder, **given}, TrainOptions)
    return build(TrainOptions, values).training


@cache
def persons(pictures):
    """The lines of free.csv."""
    return (Path(pictures) / "free.csv").read_text().splitlines()


def write_csv(path, pictures, count=6):
    """Writes the CSV of some of the persons on the free pictures, of every picture some."""
    lines = persons(pictures)
    path.write_text("".join(f"{line}\n" for line in (lines[::2] + lines[1::2])[:count]))
    return path


def write_random_csv(path, count, joints):
    """Writes the CSV of made-up persons of any number of joints on the astronaut, some coordinates ignored."""
    random = np.random.RandomState(joints)
    with path.open("w") as stream:
        for _ in range(count):
            points = random.uniform(20, 490, 2 * joints)
            points[random.rand(2 * joints) < 0.1] = -1
            stream.write(",".join(["astronaut.png", *(f"{value:g}" for value in points)]) + "\n")
    return path


def small_options(folder, pictures, **given):
    """Options of a training of seconds: 6 persons in batches of 3, a narrow AlexNet for small inputs, no dropout.

    Args:
        folder: Where the CSV and, unless it is given, the result folder `results` are.
        pictures: The free pictures.
        given: Any options, under the names of the command line.
    """
    csv = folder / "train.csv"
    if not csv.exists():
        write_csv(csv, pictures)
    defaults = {
        "train_csv": csv,
        "images": pictures,
        "skeleton": "flic",
        "output": folder / "results",
        "width": NARROW_WIDTH,
        "im_size": 64,
        "dropout": 0.0,
        "epochs": 3,
        "batch_size": 3,
        "threads": 1,
        "snapshot": 1,
        "valid_freq": 1,
        "show_log_iter": 1,
        "cache": 64 << 20,  # to decode pictures again and again would take a third of the time
    }
    if {"init", "finetune", "resume"} & given.keys():
        del defaults["width"], defaults["im_size"]  # the checkpoint's
    if "pack" in given and "test_csv" not in given:
        del defaults["cache"]  # a pack has its pictures decoded
    given = {**defaults, **given}
    return build(TrainingOptions, given)


def small_checkpoint():
    """A start for such a training, which nothing trained: its weights may be changed."""
    return initial_checkpoint(initial_architecture("alexnet", 7, 64, NARROW_WIDTH), Preprocessing(im_size=64), seed=1)


@contextmanager
def no_plots() -> Iterator[None]:
    """Chainer, if it is installed, draws no losses meanwhile, which takes longer than such a training."""
    if find_spec("chainer") is None:
        yield
        return
    from deeppose_port.backends.chainer.networks import chainer

    with mock.patch.object(chainer.training.extensions.PlotReport, "available", staticmethod(lambda: False)):
        yield


def run(folder, pictures, backend="torch", at=None, plots=False, **given):
    """Runs a training of `small_options`, in Chainer without its plots unless said; returns what it told."""
    folder.mkdir(exist_ok=True)
    watch = Recorded(at)
    with no_plots() if backend == "chainer" and not plots else nullcontext():
        train(small_options(folder, pictures, **given), backend, watch)
    return watch


def weights_of(path):
    """The weights of a checkpoint."""
    return converters.read(path).weights


def same_bits(a, b):
    """Tells whether two checkpoints have the same weights and the same state of the optimizer, bit for bit."""
    a, b = converters.read(a), converters.read(b)
    assert a.optimizer.step == b.optimizer.step
    assert a.progress == b.progress
    first, second = dict(a.tensors()), dict(b.tensors())
    assert first.keys() == second.keys()
    return all(np.array_equal(array, second[name]) for name, array in first.items())


def log_lines(path):
    """The entries of a `log` of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]
