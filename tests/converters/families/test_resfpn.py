"""This project's own small network: its table against a transcription in plain PyTorch, in each engine and format."""

from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest

import converters
import deeppose_port
from converters import Architecture, CheckpointError, Preprocessing
from converters.networks import OwnTable, SoftArgmax, side_multiple
from deeppose_port.backends import get
from deeppose_port.cli import main
from deeppose_port.data.skeletons import FLIC
from deeppose_port.training.initial import initial_architecture, initial_checkpoint
from tests.helpers.networks import checkpoint_of
from tests.helpers.trainings import no_plots

NAME = "resfpn-softargmax"
PREPROCESSING = Preprocessing(im_size=48, base_zoom=1.25, joints=FLIC.joints, limbs=FLIC.limbs)
#: Every layer an eighth as wide, for inputs of 48 pixels.
NARROW = "0.125"
#: Engine -> its module, and how far its answers are from plain PyTorch's.
ENGINES = {"torch": ("torch", 1e-6), "chainer": ("chainer", 1e-5), "onnx": ("onnxruntime", 1e-5)}
BACKENDS = [
    pytest.param(name, marks=pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed"))
    for name, (module, _) in ENGINES.items()
]


@cache
def drawn(width=NARROW, writer="chainer-7.8.1"):
    """A network whose statistics are none of a start, so that each of them counts."""
    architecture = initial_architecture(NAME, 7, 48, width)
    weights = dict(initial_checkpoint(architecture, PREPROCESSING, 3).weights)
    random = np.random.RandomState(4)
    for name, array in weights.items():
        if array.ndim == 1:
            center = 0.0 if name.endswith(("bias", "running_mean")) else 1.0
            weights[name] = (center + random.uniform(-0.3, 0.3, array.shape)).astype("f")
    weights["out.weight"] = (0.3 * random.randn(*weights["out.weight"].shape)).astype("f")
    return checkpoint_of(Architecture(NAME, 7, architecture.widths, writer=writer), weights, PREPROCESSING)


@cache
def inputs(side=48):
    return np.random.RandomState(5).randn(3, 3, side, side).astype("f")


def transcribed(weights, images, eps):
    """The network as it would be written by hand."""
    import torch
    from torch.nn import functional as F  # noqa: N812

    w = {name: torch.from_numpy(array) for name, array in weights.items()}

    def normalized(x, name, number="", stride=1):
        x = F.conv2d(x, w[f"{name}.conv{number}.weight"], None, stride, 1)
        mean, variance, factor, offset = (
            w[f"{name}.bn{number}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, variance, factor, offset, False, 0, eps)

    def down(x, name, number=""):
        return F.relu(normalized(x, name, number, stride=2))

    def block(x, name):
        return F.relu(x + normalized(F.relu(normalized(x, name, 1)), name, 2))

    def lateral(x, stage):
        return F.conv2d(x, w[f"lateral{stage}.weight"], w[f"lateral{stage}.bias"])

    def above(x):
        return F.interpolate(x, scale_factor=2, mode="nearest")

    one = block(down(down(torch.from_numpy(images), "stem", 1), "stem", 2), "stage1.block1")
    two = block(block(down(one, "stage2"), "stage2.block1"), "stage2.block2")
    three = block(block(down(two, "stage3"), "stage3.block1"), "stage3.block2")
    x = F.relu(normalized(lateral(two, 2) + above(lateral(three, 3)), "smooth2"))
    x = F.relu(normalized(lateral(one, 1) + above(x), "smooth1"))
    maps = F.conv2d(x, w["out.weight"], w["out.bias"])
    height, width = maps.shape[2:]
    share = torch.softmax(maps.flatten(2), 2).reshape(maps.shape)
    columns, rows = ((torch.arange(side) + 0.5) / side - 0.5 for side in (width, height))
    joints = torch.stack([(share.sum(2) * columns).sum(2), (share.sum(3) * rows).sum(2)], 2)
    return joints.flatten(1).numpy(), maps.numpy()


class TestTable:
    def test_it_has_as_many_parameters_as_were_counted_by_hand(self):
        """Convolutions, normalizations and biases of the drawing, for LSP's 14 joints."""

        def convolution(before, after, kernel=3):
            return before * after * kernel**2

        def block(channels):
            return 2 * convolution(channels, channels) + 4 * channels

        expected = convolution(3, 16) + 2 * 16 + convolution(16, 32) + 2 * 32 + block(32)
        expected += convolution(32, 64) + 2 * 64 + 2 * block(64)
        expected += convolution(64, 108) + 2 * 108 + 2 * block(108)
        expected += sum(convolution(before, 48, 1) + 48 for before in (32, 64, 108))
        expected += 2 * (convolution(48, 48) + 2 * 48) + convolution(48, 14, 1) + 14
        shapes = initial_architecture(NAME, 14, 112).shapes
        parameters = sum(int(np.prod(s)) for n, s in shapes.items() if n.endswith(("weight", "bias")))
        assert parameters == expected == 725_702

    def test_a_joint_is_a_map(self):
        architecture = Architecture(NAME, 16)
        assert architecture.shapes["out.weight"] == (16, 48, 1, 1)
        assert architecture.steps[-1].after == (32,)
        assert architecture.with_joints(5).shapes["out.bias"] == (5,)
        own = Architecture("Own", 16, own=OwnTable(architecture.layers, (112, 112)))
        assert own.with_joints(5).shapes["out.bias"] == (5,)

    def test_it_takes_sides_that_can_be_halved_four_times(self):
        architecture = Architecture(NAME, 14)
        assert side_multiple(architecture.layers) == 16
        assert [side for side in range(100) if architecture.accepts(side)] == [16, 32, 48, 64, 80, 96]
        with pytest.raises(ValueError, match=f"{NAME} takes inputs whose sides are multiples of 16 pixels, not 100"):
            initial_architecture(NAME, 14, 100)
        pytest.importorskip("torch")
        with pytest.raises(
            ValueError, match=f"this {NAME} takes inputs whose sides are multiples of 16 pixels, not 50"
        ):
            deeppose_port.load(drawn())(inputs(50))

    def test_first_weights_are_those_of_he(self):
        """The root of 2 / fan-out, and 0.01 for the last layer."""
        checkpoint = initial_checkpoint(initial_architecture(NAME, 14, 112), PREPROCESSING, 1)
        for name, array in checkpoint.weights.items():
            if array.ndim == 4:
                deviation = 0.01 if name == "out.weight" else np.sqrt(2 / (array.shape[0] * array[0, 0].size))
                assert array.std() == pytest.approx(deviation, rel=4 / np.sqrt(2 * array.size)), name


@pytest.mark.parametrize("backend", BACKENDS)
class TestEngines:
    @pytest.mark.parametrize(("writer", "eps"), [("chainer-7.8.1", 2e-5), ("torch", 1e-5)])
    def test_it_answers_as_written_by_hand(self, backend, writer, eps):
        pytest.importorskip("torch")
        expected, _ = transcribed(drawn().weights, inputs(), eps)
        outputs = get(backend).predictor(drawn(writer=writer))(inputs())
        assert np.ptp(expected, axis=0).max() > 0.02  # it depends on the picture
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=ENGINES[backend][1])

    def test_its_maps_can_be_looked_at(self, backend):
        pytest.importorskip("torch")
        _, expected = transcribed(drawn().weights, inputs(), 2e-5)
        pose = deeppose_port.load(drawn(), backend=backend)
        np.testing.assert_allclose(pose.heatmaps(inputs()), expected[None], rtol=1e-4, atol=1e-4)
        assert pose.heatmaps(inputs()[:0]).shape == (1, 0, 7, 12, 12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        (np.zeros((4, 4)), (0, 0)),  # nowhere: the middle
        (np.eye(4)[0] * np.eye(4)[3][:, None] * 200, (-0.375, 0.375)),  # in the last row of the first column
        (np.eye(4)[[0, 1]].sum(0) * np.eye(4)[2][:, None] * 200, (-0.25, 0.125)),  # two pixels: between them
        (np.tile(np.log([1, 2, 3, 4]), (4, 1)), (0.125, 0)),  # (-0.375 - 0.125 * 2 + 0.125 * 3 + 0.375 * 4) / 10
        (np.full((4, 4), 3e38), (0, 0)),  # as large as float32 goes
    ],
)
def test_a_soft_argmax_is_the_mean_of_the_pixels_by_their_softmax(backend, maps, expected):
    architecture = Architecture("Own", 3, own=OwnTable((SoftArgmax(),), (4, 4)))
    given = np.stack([maps, np.zeros((4, 4)), maps.T]).astype("f")
    outputs = get(backend).predictor(checkpoint_of(architecture, {}))(given[None])
    np.testing.assert_allclose(outputs, [[*expected, 0, 0, *expected[::-1]]], rtol=0, atol=1e-6)


class TestFiles:
    @pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".npz"])
    def test_it_comes_back_as_it_was(self, suffix, tmp_path):
        pytest.importorskip("torch" if suffix == ".pt" else "numpy")
        converters.write(drawn(), tmp_path / f"net{suffix}")
        again = converters.read(tmp_path / f"net{suffix}")
        assert again.architecture == drawn().architecture
        assert again.preprocessing == PREPROCESSING
        assert again.weights.keys() == drawn().weights.keys()
        for name, array in drawn().weights.items():
            np.testing.assert_array_equal(again.weights[name], array)

    @pytest.mark.parametrize(
        "format", ["onnx", *(pytest.param(name, marks=pytest.mark.slow) for name in ("torch-export", "pytorch-module"))]
    )
    def test_it_is_written_for_other_programs(self, format, tmp_path):
        pytest.importorskip("torch")
        pytest.importorskip("onnx" if format == "onnx" else "torch")
        converters.write(drawn(), tmp_path / "net.safetensors")
        assert converters.convert(tmp_path / "net.safetensors", tmp_path / "out", format=format).verified

    def test_a_plain_state_dict_is_told_by_its_names(self, tmp_path):
        safetensors = pytest.importorskip("safetensors.numpy")
        safetensors.save_file(drawn().weights, tmp_path / "plain.safetensors")
        checkpoint = converters.read(tmp_path / "plain.safetensors")
        assert checkpoint.architecture == drawn().architecture
        assert checkpoint.source.generation == NAME
        assert (checkpoint.preprocessing.im_size, checkpoint.preprocessing.base_zoom) == (112, 1.25)
        assert checkpoint.notices == ()

    def test_one_layer_that_is_missing_is_named(self, tmp_path):
        safetensors = pytest.importorskip("safetensors.numpy")
        weights = {name: array for name, array in drawn().weights.items() if not name.startswith("lateral2")}
        safetensors.save_file(weights, tmp_path / "part.safetensors")
        with pytest.raises(CheckpointError, match=f"nearest is {NAME}: missing lateral2"):
            converters.read(tmp_path / "part.safetensors")


@pytest.mark.parametrize(
    ("backend", "options"), [("torch", ()), ("torch", ("--amp", "bf16")), ("chainer", ())], ids=lambda one: str(one)
)
def test_it_trains(backend, options, pictures, tmp_path):
    pytest.importorskip(backend)
    data = ["--train-csv", pictures / "free.csv", "--images", pictures, "--skeleton", "flic", "--backend", backend]
    few = ["--epochs", "1", "--batch-size", "7", "--valid-freq", "0", "--threads", "1", "-o", tmp_path / "run"]
    network = ["--architecture", NAME, "--width", NARROW]
    with no_plots():
        assert main([str(argument) for argument in ("train", *data, *few, *network, *options)]) == 0
    (path,) = (path for path in (tmp_path / "run").glob("epoch-1.*") if path.suffix in (".pt", ".model"))
    checkpoint = converters.read(path)
    assert checkpoint.architecture == initial_architecture(NAME, 7, 112, NARROW)
    assert (checkpoint.preprocessing.im_size, checkpoint.preprocessing.base_zoom) == (112, 1.25)
    start = initial_checkpoint(checkpoint.architecture, checkpoint.preprocessing, 1701).weights
    moved = {name for name in start if not np.array_equal(start[name], checkpoint.weights[name])}
    assert {name for name in start if not name.endswith("num_batches_tracked")} <= moved
