"""asanakoy/deeppose_tf: from the files that TensorFlow 1 wrote to the points in a picture."""

import gzip
import math
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import converters
import deeppose_port
from converters import CheckpointError
from converters.folders import survey
from converters.networks import same_margin
from deeppose_port.data import PoseDataset
from deeppose_port.evaluate.evaluate import evaluate
from tests.helpers import tensorflow1 as tf
from tests.helpers.networks import load_in, runners


@pytest.fixture(scope="module")
def folder(golden):
    return golden / "tf1-asanakoy"


@pytest.fixture(scope="module")
def inputs():
    return np.random.RandomState(11).randn(2, 227, 227, 3).astype("f").transpose(0, 3, 1, 2)


@pytest.fixture(scope="module")
def expected(folder):
    """What TensorFlow answered to the inputs, before the program clips it."""
    with np.load(folder / "expected.npz") as arrays:
        return arrays["outputs"]


def variables(folder: Path) -> dict[str, np.ndarray]:
    """The variables of the golden checkpoint, cut out of its data by a table of their own."""
    shapes = {"fc8/weight": (32, 1), "fc8/bias": (1,), "fc_regression/weight": (32, 28), "fc_regression/bias": (28,)}
    widths = [3, 8, 12, 16, 16, 12]
    for i, (side, groups) in enumerate(((11, 1), (5, 2), (3, 1), (3, 2), (3, 2)), start=1):
        shapes[f"conv{i}/weight"] = (side, side, widths[i - 1] // groups, widths[i])
        shapes[f"conv{i}/bias"] = (widths[i],)
    shapes |= {"fc6/weight": (6 * 6 * 12, 32), "fc6/bias": (32,), "fc7/weight": (32, 32), "fc7/bias": (32,)}
    slots = {f"{name}/Adagrad": shape for name, shape in shapes.items() if not name.startswith("fc8")}
    data = (folder / "checkpoint-1000.data-00000-of-00001").read_bytes()
    arrays, offset = {}, 0
    for name, shape in sorted({**shapes, **slots}.items()):
        count = math.prod(shape)
        arrays[name] = np.frombuffer(data, "<f4", count, offset).reshape(shape)
        offset += 4 * count
    arrays["global_iter_counter"] = np.frombuffer(data, "<i4", 1, offset).reshape(())
    assert offset + 4 == len(data)
    return arrays


def in_torchs_order(array: np.ndarray) -> np.ndarray:
    return array.transpose({1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}[array.ndim])


class TestReading:
    def test_every_number_arrives(self, folder):
        checkpoint = converters.read(folder / "checkpoint-1000")
        arrays = variables(folder)
        layers = [*(f"conv{i}" for i in range(1, 6)), "fc6", "fc7", "fc_regression"]
        assert list(checkpoint.weights) == [f"{layer}.{part}" for layer in layers for part in ("weight", "bias")]
        for name, array in checkpoint.weights.items():
            np.testing.assert_array_equal(array, in_torchs_order(arrays[name.replace(".", "/")]))
        assert checkpoint.optimizer.algorithm == "adagrad"
        assert checkpoint.optimizer.step == checkpoint.progress.iteration == 1000
        assert list(checkpoint.optimizer.slots) == ["h"]
        for name, array in checkpoint.optimizer.slots["h"].items():
            np.testing.assert_array_equal(array, in_torchs_order(arrays[f"{name.replace('.', '/')}/Adagrad"]))
        assert checkpoint.joints == 14
        assert checkpoint.source.writer == "tensorflow"
        assert "no part of the network and not read: fc8/{bias,weight}" in checkpoint.notices
        assert any(
            "Adagrad begins its sums of squares at 0.1 and adds no eps" in notice for notice in checkpoint.notices
        )

    @pytest.mark.parametrize("name", ["checkpoint", "checkpoint-1000.data-00000-of-00001", "checkpoint-1000.meta"])
    def test_other_names_of_it(self, name, folder):
        assert converters.read(folder / name).source.path == str(folder / "checkpoint-1000.index")
        assert converters.inspect(folder / name).format == "tf1"

    def test_the_weights_alone(self, folder):
        checkpoint = converters.read(folder / "checkpoint-1000", state=False)
        assert checkpoint.optimizer is None
        assert len(checkpoint.weights) == 16

    def test_full_size_is_told_by_the_shapes(self, tmp_path):
        """MPII's network has another last layer; nothing but shapes tells the widths."""
        narrow = {"fc6/weight": (9216, 8), "fc6/bias": (8,), "fc7/weight": (8, 4), "fc7/bias": (4,)}
        shapes = {**narrow, "fc_regression/weight": (4, 32), "fc_regression/bias": (32,)}
        channels = (3, 96, 256, 384, 384, 256)
        for i, (side, groups) in enumerate(((11, 1), (5, 2), (3, 1), (3, 2), (3, 2)), start=1):
            shapes[f"conv{i}/weight"] = (side, side, channels[i - 1] // groups, channels[i])
            shapes[f"conv{i}/bias"] = (channels[i],)
        tf.save(tmp_path, {key: np.zeros(shape, "f") for key, shape in shapes.items()})
        checkpoint = converters.read(tmp_path / "checkpoint")
        assert checkpoint.joints == 16
        assert checkpoint.architecture.widths == {"fc6": 8, "fc7": 4}
        assert checkpoint.architecture.feature_size == 6

    def test_another_network_of_tensorflow_is_none(self, tmp_path):
        tf.save(tmp_path, {"resnet/conv/weights": np.ones((3, 3, 3, 8), "f"), "resnet/fc/biases": np.ones(7, "f")})
        with pytest.raises(CheckpointError, match="fit no architecture"):
            converters.read(tmp_path / "checkpoint-1000")

    def test_another_optimizer_is_named_and_the_weights_are_read(self, folder, tmp_path):
        arrays = {k: v for k, v in variables(folder).items() if not k.endswith("/Adagrad")}
        slots = {f"{k}/Momentum": v for k, v in arrays.items() if k not in ("global_iter_counter", "fc8/bias")}
        tf.save(tmp_path, {**arrays, **slots})
        checkpoint = converters.read(tmp_path / "checkpoint-1000")
        assert checkpoint.optimizer is None
        assert len(checkpoint.weights) == 16
        assert any("Momentum" in notice and "not kept" in notice for notice in checkpoint.notices)

    def test_a_parameter_without_a_slot_was_frozen(self, folder, tmp_path):
        arrays = variables(folder)
        del arrays["conv1/weight/Adagrad"]
        tf.save(tmp_path, arrays)
        checkpoint = converters.read(tmp_path / "checkpoint-1000")
        assert "conv1.weight" not in checkpoint.optimizer.slots["h"]
        assert len(checkpoint.optimizer.slots["h"]) == 15
        assert any("no state of conv1.weight: these layers were not updated" in note for note in checkpoint.notices)

    def test_somebody_elses_version_is_refused(self, folder):
        with pytest.raises(CheckpointError, match=r"tensorflow wrote it, not chainer-1\.13\.0"):
            converters.read(folder / "checkpoint-1000", writer="chainer-1.13.0")


class TestAnswers:
    @pytest.mark.parametrize("runner", runners())
    def test_they_are_tensorflows(self, runner, folder, inputs, expected):
        outputs = load_in(folder / "checkpoint", runner)(inputs)
        assert outputs.dtype == np.float32
        assert np.abs(outputs - expected).max() <= 1e-5 * np.abs(expected).max()
        assert np.abs(expected).max() > 1  # not clipped

    @pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".npz"])
    def test_they_are_the_same_after_a_conversion(self, suffix, folder, inputs, tmp_path):
        report = converters.convert(folder / "checkpoint-1000", tmp_path / f"a{suffix}")
        assert report.verified
        whole = deeppose_port.load(folder / "checkpoint-1000")
        again = deeppose_port.load(tmp_path / f"a{suffix}")
        assert again.preprocessing == whole.preprocessing
        assert again.checkpoint.source.writer == "tensorflow"
        np.testing.assert_array_equal(again(inputs), whole(inputs))

    def test_the_optimizer_goes_along(self, folder, tmp_path):
        converters.convert(folder / "checkpoint-1000", tmp_path / "a.pt")
        slots = converters.read(folder / "checkpoint-1000").optimizer.slots["h"]
        for name, array in converters.read(tmp_path / "a.pt").optimizer.slots["h"].items():
            np.testing.assert_array_equal(array, slots[name])

    def test_a_conversion_is_named_after_the_checkpoint(self, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "a", ignore=shutil.ignore_patterns("*.npz"))
        report = converters.convert(tmp_path / "a" / "checkpoint")
        assert Path(report.output) == tmp_path / "a" / "checkpoint-1000.pt"
        assert [path.name for path in converters.checkpoints_in(tmp_path / "a")] == ["checkpoint-1000.index"]


def input_of(crop: np.ndarray) -> np.ndarray:
    """The program's input of a crop: 227 x 227, BGR, each channel by its own mean and deviation."""
    small = cv2.resize(crop, (227, 227), interpolation=cv2.INTER_LINEAR).astype(np.float32).transpose(2, 0, 1)
    return np.stack([(channel - channel.mean()) / (channel.std() + 1e-5) for channel in small])


class TestPictures:
    @pytest.mark.parametrize("runner", runners())
    def test_points_come_from_the_picture_and_stay_in_the_box(self, runner, folder, pictures):
        image = cv2.imread(str(pictures / "astronaut.png"))
        pose = load_in(folder / "checkpoint", runner)
        outputs = pose(input_of(image[20:320, 40:240])[np.newaxis])[0].reshape(14, 2)
        assert np.abs(outputs).max() > 0.5
        expected = (np.clip(outputs, -0.5, 0.5) + 0.5) * (200, 300) + (40, 20)
        np.testing.assert_allclose(pose.predict(image, box=(40, 20, 200, 300)), expected, rtol=0, atol=1e-2)

    def test_a_person_is_cut_out_as_the_program_did(self, folder, pictures, tmp_path):
        random = np.random.default_rng(3)
        joints = np.round(random.uniform((121, 80), (333, 400), (14, 2)))
        (tmp_path / "a.csv").write_text(",".join(["astronaut.png", *map(str, joints.reshape(-1))]) + "\n")
        pose = deeppose_port.load(folder / "checkpoint")
        dataset = PoseDataset(tmp_path / "a.csv", images=pictures, skeleton="lsp", preprocessing=pose.preprocessing)
        low, size = joints.min(axis=0), np.ptp(joints, axis=0)
        corner = low + size / 2 - 1.2 * size / 2
        first = np.trunc(corner)
        width, height = np.ceil(1.2 * size + (corner - first)).astype(int)
        x, y = first.astype(int)
        image = cv2.imread(str(pictures / "astronaut.png"))
        seen, labels, _ = dataset[0]
        np.testing.assert_allclose(seen, input_of(image[y : y + height, x : x + width]), rtol=0, atol=1e-4)
        # As `joints.astype(np.int32)` of the crop after it was resized: less than a pixel of the input is lost.
        pixels = ((joints - (x, y)) * (227 / width, 227 / height)).astype(np.int32)
        np.testing.assert_allclose(labels.reshape(14, 2), pixels / 227 - 0.5, rtol=0, atol=1e-7)
        lost = (joints - (x, y)) / (width, height) - 0.5 - labels.reshape(14, 2)
        assert -1e-7 < lost.min() < 1e-3 < lost.max() < 1 / 227
        evaluation = evaluate(pose, dataset)
        predicted = evaluation.predicted[0]
        assert (predicted >= (x, y)).all()
        assert (predicted <= (x + width, y + height)).all()


class TestSame:
    """TensorFlow's padding: https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2."""

    @pytest.mark.parametrize(
        ("side", "kernel", "stride", "margin"),
        [
            (227, 11, 4, (4, 4)),
            (228, 11, 4, (3, 4)),
            (226, 11, 4, (4, 5)),
            (225, 11, 4, (5, 5)),
            (256, 7, 2, (2, 3)),
            (13, 3, 1, (1, 1)),
            (13, 5, 1, (2, 2)),
            (12, 2, 1, (0, 1)),
            (9, 1, 2, (0, 0)),
            (1, 3, 2, (1, 1)),
        ],
    )
    def test_the_odd_pixel_comes_after(self, side, kernel, stride, margin):
        assert same_margin(side, kernel, stride) == margin

    @pytest.mark.parametrize("runner", runners())
    @pytest.mark.parametrize("side", [225, 226, 228])
    def test_inputs_of_other_sizes_are_padded_by_their_own_margin(self, side, runner, folder):
        """The first convolution's corner, summed by hand."""
        pose = load_in(folder / "checkpoint", runner)
        inputs = np.random.RandomState(1).randn(1, 3, side, side).astype("f")
        before = same_margin(side, 11, 4)[0]
        weight, bias = (pose.checkpoint.weights[f"conv1.{part}"].astype(np.float64) for part in ("weight", "bias"))
        corner = inputs[0, :, : 11 - before, : 11 - before]
        expected = (weight[:, :, before:, before:] * corner).sum(axis=(1, 2, 3)) + bias
        outputs = dict(pose.activations(inputs))["conv1"]
        assert outputs.shape[2:] == (-(-side // 4),) * 2
        np.testing.assert_allclose(outputs[0, :, 0, 0], expected, rtol=0, atol=1e-5)


@pytest.fixture
def copied(folder, tmp_path):
    """The files of the golden checkpoint, and what puts a graph that TensorFlow wrote beside them."""
    for file in folder.glob("checkpoint*"):
        shutil.copy(file, tmp_path)

    def beside(name: str) -> Path:
        graph = gzip.decompress((folder.parent / "tf1-graphs" / f"{name}.meta.gz").read_bytes())
        (tmp_path / "checkpoint-1000.meta").write_bytes(graph)
        return tmp_path / "checkpoint-1000.index"

    return beside


class TestGraph:
    """The variables do not tell padding, normalisation and activations: the graph beside them does."""

    def test_that_of_the_network_changes_nothing(self, copied, inputs, expected):
        assert np.abs(deeppose_port.load(copied("sound"))(inputs) - expected).max() <= 4e-6 * np.abs(expected).max()

    @pytest.mark.parametrize("name", ["sigmoid", "edges"])
    def test_of_another_network_it_refuses_the_checkpoint(self, name, copied):
        path = copied(name)
        with pytest.raises(
            CheckpointError, match=r"the graph beside it \(\.meta\) has other padding, norm.*--architecture"
        ):
            converters.read(path)
        assert converters.read(path, architecture="alexnet-asanakoy").joints == 14

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"LRN", b"Elu"),
            (b"MaxPool", b"AvgPool"),
            (b"\x12\x04Relu", b"\x12\x04Tanh"),
            (b"\xac\xc5\xa7\x37", bytes(4)),
        ],
    )
    def test_each_operation_counts(self, old, new, copied):
        path = copied("sound")
        graph = path.with_suffix(".meta").read_bytes()
        assert old in graph
        path.with_suffix(".meta").write_bytes(graph.replace(old, new))
        with pytest.raises(CheckpointError, match=r"the graph beside it \(\.meta\)"):
            converters.read(path)

    def test_a_damaged_one_keeps_nothing_back(self, copied):
        path = copied("sound")
        path.with_suffix(".meta").write_bytes(path.with_suffix(".meta").read_bytes()[:-1])
        assert any("the graph cannot be read" in notice for notice in converters.read(path).notices)


def test_a_scope_around_the_network_is_stripped(folder, inputs, expected, tmp_path):
    tf.save(
        tmp_path, {f"deeppose/net/{key}": array for key, array in variables(folder).items() if "Adagrad" not in key}
    )
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/checkpoint-1000"\n')
    checkpoint = converters.read(tmp_path)
    assert np.abs(deeppose_port.load(checkpoint)(inputs) - expected).max() <= 4e-6 * np.abs(expected).max()


def test_running_averages_are_said_and_can_be_read(folder, tmp_path):
    arrays = {key: array for key, array in variables(folder).items() if key != "fc8/weight"}
    averages = {
        f"{key}/ExponentialMovingAverage": array / 2
        for key, array in arrays.items()
        if not key.endswith("Adagrad") and array.dtype == np.float32
    }
    index = tf.save(tmp_path, {**arrays, **averages})
    checkpoint = converters.read(index)
    assert any("a running average of its weights" in one and "--part ema reads it" in one for one in checkpoint.notices)
    assert checkpoint.optimizer is not None
    assert np.array_equal(checkpoint.weights["fc7.weight"], arrays["fc7/weight"].T)
    averaged = converters.read(index, part="ema")
    assert averaged.optimizer is None
    assert np.array_equal(averaged.weights["fc7.weight"], arrays["fc7/weight"].T / 2)
    assert np.array_equal(averaged.weights["conv1.bias"], arrays["conv1/bias"] / 2)


def test_a_folder_of_them_is_converted_each_once(folder, tmp_path):
    for file in folder.glob("checkpoint*"):
        shutil.copy(file, tmp_path)
    assert [found.path.name for found in survey([tmp_path]).found] == ["checkpoint-1000.index"]
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "checkpoint-2000"\n')
    assert [found.path.name for found in survey([tmp_path]).found] == ["checkpoint", "checkpoint-1000.index"]
