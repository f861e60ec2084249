"""The networks whose answers real Chainer gave, as files and as Checkpoints; for the tests of both backends."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest

import converters
import deeppose_port
from converters import Architecture, Checkpoint, Preprocessing, Source
from converters.keys import chainer_names
from deeppose_port.data import PoseDataset
from deeppose_port.evaluate.evaluate import evaluate

#: Layer widths that keep a network small; the AlexNet is as narrow as golden data's.
NARROW = {
    "alexnet": {"conv1": 8, "conv2": 12, "conv3": 16, "conv4": 16, "conv5": 12, "fc6": 32, "fc7": 32},
    "resnet50": {
        f"res{stage}.{block}.conv{i}": 2 ** (stage + (2 if i > 2 else 0))
        for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3))
        for block in ("a", *(f"b_{n}" for n in range(1, blocks)))
        for i in (1, 2, 3, 4)
        if block == "a" or i < 4
    },
    "vgg_bn": {f"conv{stage}_{i}": 4 * stage for stage in range(1, 6) for i in (1, 2, 3)} | {"fc6": 16, "fc7": 16},
}

#: Every file in golden/checkpoints/tiny that Chainer's own answer lies beside.
NARROW_FILES = (
    "1.1.0/AlexNet_flic-pickle/FunctionSet_epoch_1.chainermodel",
    "1.1.0/AlexNet_flic_BN-pickle/FunctionSet_epoch_1.chainermodel",
    "1.1.0/AlexNet_flic_BN_PReLU-pickle/FunctionSet_epoch_1.chainermodel",
    "1.1.0/VGG-pickle/FunctionSet_epoch_1.chainermodel",
    "1.5.1/alexnet_flic-hdf5/epoch-1.model",
    "1.7.0/alexnet-adam/epoch-1.model",
    "1.7.0/resnet50-adam/epoch-1.model",
    "1.7.0/vgg_bn-adam/epoch-1.model",
    "1.10.0/alexnet-bare/epoch-1.model",
    "1.10.0/resnet50-bare/epoch-1.model",
    "1.13.0/alexnet-adagrad/epoch-1.model",
    "1.13.0/alexnet-adam/epoch-1.model",
    "1.13.0/alexnet-momentumsgd/epoch-1.model",
    "1.13.0/alexnet-rmsprop/epoch-1.model",
    "1.13.0/resnet50-adam/epoch-1.model",
    "1.13.0/trainer-resnet50-momentumsgd/snapshot_iter_12",
    "1.13.0/vgg_bn-adam/epoch-1.model",
    "1.24.0/alexnet-adam/epoch-1.model",
    "1.24.0/resnet50-adam/epoch-1.model",
    "1.24.0/vgg_bn-adam/epoch-1.model",
    "3.5.0/alexnet-adam/epoch-1.model",
    "3.5.0/resnet50-adam/epoch-1.model",
    "3.5.0/vgg_bn-adam/epoch-1.model",
    "5.4.0/alexnet-adam/epoch-1.model",
    "5.4.0/resnet50-adam/epoch-1.model",
    "5.4.0/vgg_bn-adam/epoch-1.model",
    "6.7.0/deeppose2019/model_epoch_1",
    "7.8.1/alexnet-adagrad/epoch-1.model",
    "7.8.1/alexnet-adam/epoch-1.model",
    "7.8.1/alexnet-momentumsgd/epoch-1.model",
    "7.8.1/alexnet-rmsprop/epoch-1.model",
    "7.8.1/resnet50-adam/epoch-1.model",
    "7.8.1/trainer-resnet50-momentumsgd/snapshot_iter_12",
    "7.8.1/vgg_bn-adam/epoch-1.model",
)

#: Dataset of golden data -> its skeleton.
SKELETONS = {"free": "flic", "mpii": "mpii", "lspet": "lsp"}

#: Every network, full-size and narrow, and one for other inputs.
ARCHITECTURES = {
    "alexnet": Architecture.full_size("alexnet", 16),
    "resnet50": Architecture.full_size("resnet50", 14, writer="chainer-7.8.1"),
    "vgg_bn": Architecture.full_size("vgg_bn", 7),
    "narrow alexnet": Architecture("alexnet", 7, NARROW["alexnet"], feature_size=6, writer="chainer-1.13.0"),
    "alexnet for other inputs": Architecture("alexnet", 5, {"fc6": 64}, feature_size=4),
}


#: What runs networks: a name for tests -> the module that it needs, and how `load` is told.
RUNNERS = {
    "torch": ("torch", {"backend": "torch"}),
    "chainer": ("chainer", {"backend": "chainer"}),
    "onnxruntime": ("onnxruntime", {"backend": "onnx", "engine": "onnxruntime"}),
    "openvino": ("openvino", {"backend": "onnx", "engine": "openvino"}),
}


def runners(*names):
    """Parameters of a test: what runs networks; one that is not installed is skipped."""
    return [
        pytest.param(name, marks=pytest.mark.skipif(find_spec(RUNNERS[name][0]) is None, reason=f"{name} is not here"))
        for name in names or RUNNERS
    ]


def load_in(source, runner, **options):
    """Loads a checkpoint into one of the runners."""
    return deeppose_port.load(source, **RUNNERS[runner][1], **options)


class AgainstChainer:
    """The tests of a backend against the answers of real Chainer. Each backend's tests make a class of their own of it.

    Attributes:
        runner: What runs the networks, a key of `RUNNERS`.
    """

    runner = ""

    @pytest.mark.parametrize("name", NARROW_FILES)
    def test_narrow_networks_answer_as_the_chainer_that_wrote_them(self, name, request):
        file = narrow_file(name, request)
        outputs = load_in(_weights(file.path, file.writer), runner=self.runner)(file.inputs)
        assert outputs.dtype == np.float32
        assert error(outputs, file.outputs) <= file.bound

    @pytest.mark.parametrize("network", ["alexnet", "resnet50"])
    def test_full_size_networks_answer_as_chainer_and_have_its_loss(self, network, golden, request):
        self.answers_as_chainer("free", network, golden, request)

    @pytest.mark.slow  # the same networks for other persons: PyTorch's tests have those in every run
    @pytest.mark.parametrize("dataset", ["mpii", "lspet"])
    @pytest.mark.parametrize("network", ["alexnet", "resnet50"])
    def test_they_do_so_for_other_persons(self, dataset, network, golden, request):
        self.answers_as_chainer(dataset, network, golden, request)

    def answers_as_chainer(self, dataset, network, golden, request):
        persons = dataset_of(dataset, request)
        folder = golden if dataset == "free" else request.getfixturevalue("shared_golden")
        with np.load(folder / "outputs" / f"{dataset}_{network}_outputs.npz") as arrays:
            expected = arrays["outputs"]
        record = legacy_record(golden, dataset)[f"{dataset}_{network}"]
        checkpoint = recipe_checkpoint(record, network, len(persons.skeleton.joints))
        evaluation = evaluate(load_in(checkpoint, runner=self.runner), persons)
        assert error(evaluation.outputs, expected) <= 1e-5
        assert evaluation["loss"].overall == pytest.approx(record["loss"], rel=1e-6)

    def test_a_real_checkpoint_answers_as_chainer_and_has_its_loss(self, shared_golden, request):
        folder = shared_golden / "checkpoints" / "alexnet-mpii-chainer1.13"
        with np.load(folder / "expected.npz") as arrays:
            expected, loss = arrays["outputs"], float(arrays["loss"])
        pose = load_in(folder / "epoch-100.model", runner=self.runner)
        evaluation = evaluate(pose, dataset_of("mpii", request))
        assert error(evaluation.outputs, expected) <= 1e-5
        assert evaluation["loss"].overall == pytest.approx(loss, rel=1e-6)


@cache
def _weights(path, writer):
    """A file's checkpoint without the optimizer's state: what runs networks changes nothing of it."""
    return converters.read(path, writer=writer, state=False)


def dataset_of(name, request):
    """A dataset of golden data: `free`, which is in every clone, `mpii` or `lspet`."""
    if name == "free":
        images = request.getfixturevalue("pictures")
        csv = images / "free.csv"
    else:
        folder = request.getfixturevalue("shared_golden") / "images"
        csv, images = folder / f"{name}.csv", folder / name
    return PoseDataset(csv, images=images, skeleton=SKELETONS[name])


@dataclass(frozen=True)
class NarrowFile:
    """A file that real Chainer wrote, and what that Chainer answered to `narrow_inputs()`."""

    path: object
    writer: str
    inputs: np.ndarray
    outputs: np.ndarray
    bound: float


def narrow_file(name, request):
    """Finds one of NARROW_FILES in tests/golden or beside the project; skips where it is in neither."""
    path = request.getfixturevalue("golden") / "checkpoints" / name
    if not path.is_file():
        path = request.getfixturevalue("shared_golden") / "checkpoints" / "tiny" / name
    version = name.split("/")[0]
    # In these files float64 arithmetic itself is up to 3e-5 away from Chainer's answer, because statistics are tiny.
    loose = "resnet50" in name and version in ("1.10.0", "5.4.0", "7.8.1")
    inputs = picture_inputs() if "deeppose2019" in name else narrow_inputs()
    with np.load(path.with_name("expected.npz")) as expected:
        return NarrowFile(path, f"chainer-{version}", inputs, expected["outputs"], bound=1e-4 if loose else 1e-5)


@cache
def narrow_inputs():
    """The inputs that Chainer's answers to NARROW_FILES are for."""
    return np.random.RandomState(11).randn(2, 3, 220, 220).astype(np.float32)


@cache
def picture_inputs():
    """The inputs that the rewrite of 2019 answered: it took pictures as they are, from 0 to 255."""
    return np.random.RandomState(11).randint(0, 256, (2, 3, 220, 220)).astype(np.float32)


def error(outputs, expected):
    """The largest difference, as a part of the largest expected output."""
    return np.abs(outputs - expected).max() / np.abs(expected).max()


def checkpoint_of(architecture, weights, preprocessing=None):
    """A Checkpoint that was never in a file."""
    source = Source("in memory", hashlib.sha256().hexdigest(), "pt", writer=architecture.writer)
    return Checkpoint(architecture, weights, preprocessing or Preprocessing(), source)


def random_checkpoint(name="alexnet", joints=7, *, writer="chainer-1.13.0", preprocessing=None, seed=5, **widths):
    """A narrow network with random weights; other widths by layer."""
    architecture = Architecture(name, joints, NARROW[name] | widths, {"alexnet": 6, "vgg_bn": 7}.get(name, 1), writer)
    random = np.random.RandomState(seed)
    weights = {}
    for key, shape in architecture.shapes.items():
        if key.endswith("num_batches_tracked"):
            weights[key] = np.zeros(shape, np.int64)
        elif len(shape) > 1:
            weights[key] = (random.randn(*shape) * np.sqrt(1.5 / np.prod(shape[1:]))).astype(np.float32)
        elif key.endswith("running_var") or (key.endswith("weight") and "bn" in key):
            weights[key] = random.uniform(0.5, 1.5, shape).astype(np.float32)
        else:
            weights[key] = (random.randn(*shape) * 0.1).astype(np.float32)
    return checkpoint_of(architecture, weights, preprocessing)


@cache
def legacy_record(golden, dataset):
    """What the legacy program's manifest says of a dataset: `free`, `mpii` or `lspet`."""
    name = "manifest_free.json" if dataset == "free" else "manifest.json"
    return json.loads((golden / "preprocessing" / name).read_text())["archs"]


def recipe_checkpoint(record, name, joints):
    """The full-size network with golden/README.md's recipe weights, seed 11.

    Args:
        record: The manifest's entry for the network, which has the gain and the order of the names.
        name: `alexnet` or `resnet50`.
        joints: Number of joints.
    """
    architecture = Architecture.full_size(name, joints)
    canonical = {f"predictor/{key}": name for name, key in chainer_names(architecture).items()}
    weights = {name: np.zeros(shape, np.int64) for name, shape in architecture.shapes.items() if shape == ()}
    for i, key in enumerate(sorted(record["shapes"])):
        weights[canonical[key]] = _recipe(i, key, tuple(record["shapes"][key]), record["gain"])
    return checkpoint_of(architecture, weights)


#: What the numbers of other parts than W are made of the recipe's, which lie from -1 to 1.
_OTHERS = {
    "b": lambda q: 0.05 * q,
    "gamma": lambda q: 1 + 0.25 * q,
    "beta": lambda q: 0.1 * q,
    "avg_mean": lambda q: 0.2 * q,
    "avg_var": lambda q: 1 + 0.5 * q,
}


@cache
def _recipe(i, key, shape, gain):
    part = key.rpartition("/")[2]
    if part == "W":
        scale = np.sqrt(6 / np.prod(shape[1:]))
    elif part not in _OTHERS:
        pytest.fail(f"the recipe has no {part}")
    random, numbers = np.random.RandomState(11 * 1000 + i), np.empty(np.prod(shape), np.float32)
    for start in range(0, numbers.size, 1 << 16):  # a few at a time: to get new memory takes longer than the numbers
        few = numbers[start : start + (1 << 16)]
        q = random.randint(-127, 128, size=few.size) / 127.0
        few[:] = gain * q * scale if part == "W" else _OTHERS[part](q)
    return numbers.reshape(shape)
