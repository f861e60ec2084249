"""The stacked hourglass of a Keras course: from the files that Keras wrote to joints."""

import json
import re
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

import converters
import deeppose_port
from converters import Architecture, CheckpointError, Progress
from converters.families.hourglass import anew, measured, stacked_hourglass
from converters.networks import BatchNormalization, Convolution, OwnTable, walk
from deeppose_port.backends import BackendError
from deeppose_port.cli import main
from deeppose_port.data import PoseDataset, skeletons
from deeppose_port.data.references import References, encode, path_beside
from deeppose_port.data.view import View
from deeppose_port.drawing.maps import draw_heatmaps
from deeppose_port.evaluate import made_up
from deeppose_port.evaluate.comparison import compare
from tests.helpers.keras import fill
from tests.helpers.networks import load_in, runners

h5py = pytest.importorskip("h5py")

#: Files of the golden data -> how many stacks they have.
FILES = {
    "hourglass-1stack-narrow-later": 1,
    "hourglass-2stack-narrow": 2,
    "hourglass-4stack-narrow": 4,
    "hourglass-4stack-whole-model": 4,
}
#: Bottlenecks with a projection make it first.
PROJECTIONS = ("conv2d_1", "conv2d_8")


#: What reads each file once: h5py takes a second for the hundreds of arrays of one.
read = cache(converters.read)


def found(name, request):
    """A file of the golden data; skips where it is not in this clone."""
    folder = request.getfixturevalue("golden") / "keras-hourglass"
    if not (folder / f"{name}.h5").is_file():
        folder = request.getfixturevalue("shared_golden") / "keras-hourglass"
    return folder / f"{name}.h5"


@pytest.fixture(params=FILES)
def file(request):
    return found(request.param, request)


@pytest.fixture
def one(golden):
    return golden / "keras-hourglass" / "hourglass-1stack-narrow-later.h5"


@pytest.fixture
def two(golden):
    return golden / "keras-hourglass" / "hourglass-2stack-narrow.h5"


@pytest.fixture
def quick(two, tmp_path):
    """The same network in a file that is read faster."""
    converters.write(read(two), tmp_path / "two.safetensors")
    return tmp_path / "two.safetensors"


@pytest.fixture(scope="module")
def inputs():
    return np.random.RandomState(11).uniform(-1, 1, (2, 128, 128, 3)).astype("f").transpose(0, 3, 1, 2)


def expected_of(file):
    """What Keras computed of each stack: (stacks, N, J, h, w)."""
    name = file.stem.replace("whole-model", "narrow")
    with np.load(file.with_name(f"{name}.expected.npz")) as arrays:
        return np.stack([arrays[f"stack{i}"].transpose(0, 3, 1, 2) for i in range(len(arrays.files))])


def layers_of(file):
    """The layers of a file with their arrays, in the order of its names."""
    with h5py.File(file) as content:
        return {
            layer: {
                name.rpartition("/")[2][:-2]: content[layer][name][()] for name in content[layer].attrs["weight_names"]
            }
            for layer in content.attrs["layer_names"]
        }


def save(path, layers):
    with h5py.File(path, "w") as content:
        fill(content, layers)
    return path


class TestReading:
    def test_everything_is_read_off_the_file(self, file):
        checkpoint = read(file)
        assert checkpoint.architecture.name == "hourglass"
        assert checkpoint.architecture.stacks == FILES[file.stem]
        assert checkpoint.joints == 16
        assert checkpoint.source.format == "keras-hdf5"
        assert checkpoint.source.writer == "tensorflow"
        if "whole-model" in file.stem:  # whose configuration tells
            assert checkpoint.notices == ()
        else:
            (notice,) = checkpoint.notices
            assert re.search(
                r"4 times with 1 bottleneck on each side.* and 2 times with 2: taken as the former", notice
            )

    def test_every_number_arrives(self, two):
        checkpoint = read(two)
        layers = layers_of(two)
        parts = {"kernel": "weight", "gamma": "weight", "beta": "bias", "bias": "bias"}
        parts |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
        named = {f"{layer}.{parts[part]}": array for layer, arrays in layers.items() for part, array in arrays.items()}
        counters = {name for name in checkpoint.weights if name.endswith("num_batches_tracked")}
        assert checkpoint.weights.keys() - counters == named.keys()
        for name, array in named.items():
            if array.ndim == 4:
                array = array.transpose(3, 2, 0, 1)
            np.testing.assert_array_equal(checkpoint.weights[name], array)

    def test_names_of_layers_that_take_more_than_an_attribute_holds(self, two, tmp_path):
        layers = layers_of(two)
        with h5py.File(save(tmp_path / "a.h5", layers), "a") as file:
            names = file.attrs["layer_names"]
            del file.attrs["layer_names"]
            file.attrs.update({"layer_names0": names[:9], "layer_names1": names[9:]})
        assert converters.read(tmp_path / "a.h5").architecture.stacks == 2

    def test_inputs_of_other_sides_say_which_it_takes(self, two):
        architecture = read(two).architecture
        assert [architecture.accepts(side) for side in (64, 192, 200, 272)] == [True, True, False, False]
        assert architecture.takes == "inputs whose sides are multiples of 64 pixels"

    @pytest.mark.parametrize(("stacks", "residuals"), [(1, 1), (2, 1), (8, 1), (1, 2), (3, 3)])
    def test_stacks_and_residuals_are_counted(self, stacks, residuals):
        table = stacked_hourglass(stacks, residuals, joints=7, widths=(4, 6, 8))
        layers = list(walk(table))
        convolutions = [layer for layer in layers if isinstance(layer, Convolution)]
        normalizations = [layer for layer in layers if isinstance(layer, BatchNormalization)]
        if residuals == 1:
            assert (len(convolutions), len(normalizations)) == (10 + 58 * stacks, 10 + 55 * stacks)
        architecture = Architecture("hourglass", 7, own=OwnTable(table, (256, 256)))
        assert architecture.stacks == stacks
        assert measured(architecture.shapes).layers == table
        assert [layer.channels for layer in layers if getattr(layer, "name", "") in PROJECTIONS] == [6, 8]

    def test_the_course_trained_four_stacks_of_256_channels(self):
        table = stacked_hourglass(4)
        assert anew(16, None, None) == table
        channels = {layer.name: layer.channels for layer in walk(table) if isinstance(layer, Convolution)}
        assert [channels[name] for name in ("conv2d", *PROJECTIONS)] == [64, 128, 256]
        assert len(channels) == 10 + 58 * 4

    def test_maps_can_be_halved_four_times(self, two):
        """What the first convolution (SAME) and the first pooling leave, a quarter, has to be a multiple of 16."""
        architecture = read(two).architecture
        assert [side for side in range(1, 300) if architecture.accepts(side)] == [
            side for side in range(60, 300) if (side + 1) // 2 // 2 % 16 == 0
        ]

    def test_what_it_is_goes_along(self, two, tmp_path):
        torch = pytest.importorskip("torch")
        checkpoint = read(two)
        for source, name in ((two, "a.safetensors"), (tmp_path / "a.safetensors", "a.pt")):
            assert converters.convert(source, tmp_path / name).verified
            again = converters.read(tmp_path / name)
            assert again.architecture == checkpoint.architecture
            assert again.preprocessing == checkpoint.preprocessing
        payload = torch.load(tmp_path / "a.pt", weights_only=True)
        network = deeppose_port.backends.torch.build(payload["architecture"])
        network.load_state_dict(payload["state_dict"], strict=True)

    def test_chainer_is_refused_by_name(self, two, quick, tmp_path):
        with pytest.raises(CheckpointError, match="hourglass exists in PyTorch alone"):
            converters.convert(quick, tmp_path / "a.npz")
        with pytest.raises(BackendError, match="hourglass exists in PyTorch alone"):
            deeppose_port.load(read(two), backend="chainer")


class TestAnswers:
    @pytest.mark.parametrize("name", [name for name in FILES if "whole-model" not in name])  # the same arrays once more
    @pytest.mark.parametrize("runner", runners("torch", "onnxruntime", "openvino"))
    def test_every_stack_is_keras(self, runner, name, request, inputs):
        file = found(name, request)
        maps = load_in(read(file), runner).heatmaps(inputs)
        expected = expected_of(file)
        assert maps.shape == expected.shape == (FILES[name], 2, 16, 32, 32)
        assert maps.dtype == np.float32
        for stack, truth in zip(maps, expected, strict=True):
            assert np.abs(stack - truth).max() <= 1e-5 * np.abs(truth).max()

    @pytest.mark.parametrize("runner", runners("torch", "onnxruntime", "openvino"))
    def test_joints_are_where_the_last_stack_is_largest(self, runner, two, inputs):
        pose = load_in(read(two), runner)
        last = expected_of(two)[-1]
        row, column = np.divmod(last.reshape(2, 16, -1).argmax(axis=2), 32)
        outputs = pose(inputs)
        assert outputs.shape == (2, 32)
        found = outputs.reshape(2, 16, 2) * 32
        assert np.abs(found - np.stack([column + 0.5, row + 0.5], axis=2)).max() <= 0.25
        assert (pose(inputs[:0]).shape, pose.heatmaps(inputs[:0]).shape) == ((0, 32), (2, 0, 16, 32, 32))

    def test_soft_argmax_on_request(self, two, inputs):
        checkpoint = read(two)
        soft = converters.Preprocessing.from_dict({**checkpoint.preprocessing.as_dict(), "decoding": "soft-argmax"})
        outputs = deeppose_port.load(checkpoint, preprocessing=soft)(inputs)
        last = expected_of(two)[-1].astype(np.float64)
        weights = np.exp(last - last.max(axis=(2, 3), keepdims=True))
        weights /= weights.sum(axis=(2, 3), keepdims=True)
        middles = (np.arange(32) + 0.5) / 32
        expected = np.stack([weights.sum(axis=2) @ middles, weights.sum(axis=3) @ middles], axis=2)
        np.testing.assert_allclose(outputs.reshape(2, 16, 2), expected, rtol=0, atol=1e-5)

    def test_a_converted_one_answers_the_same(self, two, inputs, tmp_path):
        expected = deeppose_port.load(read(two)).heatmaps(inputs)
        for name in ("a.pt", "a.safetensors"):
            converters.write(read(two), tmp_path / name)
            np.testing.assert_array_equal(deeppose_port.load(tmp_path / name).heatmaps(inputs), expected)

    def test_a_network_of_coordinates_has_no_heat_maps(self, golden):
        pose = deeppose_port.load(golden / "tf1-asanakoy" / "checkpoint")
        with pytest.raises(ValueError, match="answers coordinates, it has no heat maps"):
            pose.heatmaps(np.zeros((1, 3, 227, 227)))


class TestComparison:
    """What `compare` says of networks with heat maps."""

    @pytest.fixture(autouse=True)
    def two_pictures(self, monkeypatch):
        monkeypatch.setattr(made_up.MadeUpPictures, "__len__", lambda pictures: 2)

    @pytest.fixture
    def small(self, two):
        return replace(read(two).preprocessing, im_size=64)

    def test_stacks_have_a_row(self, two, small):
        pose = deeppose_port.load(read(two), preprocessing=small)
        found = compare(pose, pose)
        assert found.same
        assert [row.name for row in found.stacks] == ["stack 1", "stack 2"]
        assert {check.name: check.passed for check in found.checks}["stacks"]
        assert [row["name"] for row in found.as_dict()["stacks"]] == ["stack 1", "stack 2"]

    def test_a_stack_that_is_missing_parts(self, two, one, small):
        found = compare(*(deeppose_port.load(read(file), preprocessing=small) for file in (two, one)))
        check = {check.name: check for check in found.checks}["stacks"]
        assert not check.passed
        assert found.stacks[1].finding == "16 x 16 x 16 against nothing"

    def test_joints_of_maps_that_are_the_same_within_rounding_are_the_same(self, two, small):
        """Two numbers of a map that are one within rounding: either may be its largest."""
        poses = [deeppose_port.load(read(two), preprocessing=small) for _ in range(2)]
        poses[1].joints_of = lambda outputs: poses[0].joints_of(outputs) + np.eye(1, 32, 3, "f") / 256
        found = compare(*poses)
        assert found.layers[-1].parted
        assert found.same
        assert (
            "in 2 persons where two numbers of a heat map are one within rounding"
            in {c.name: c for c in found.checks}["joints"].finding
        )


class TestCommands:
    def test_heat_maps_are_drawn_of_pictures(self, two, quick, tmp_path):
        image = np.random.RandomState(0).randint(0, 256, (90, 60, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "a.png"), image)
        out = tmp_path / "out"
        arguments = [
            "predict",
            quick,
            tmp_path / "a.png",
            "-o",
            out,
            "--box",
            "0,0,30,60",
            "--heatmaps",
            "--im-size",
            "64",
        ]
        assert main(map(str, arguments)) == 0
        assert sorted(path.name for path in out.iterdir()) == ["a_heatmaps.png", "a_pose.png", "predictions.json"]
        told = json.loads((out / "predictions.json").read_text())["pictures"]
        assert told[0]["heatmaps"] == str(out / "a_heatmaps.png")
        pose = deeppose_port.load(read(two), preprocessing=replace(read(two).preprocessing, im_size=64))
        view = View.of_box((0, 0, 30, 60), 60, 90, pose.preprocessing)
        maps = pose.heatmaps(view.input(image)[None])
        points = view.points(pose(view.input(image)[None])[0])
        np.testing.assert_allclose(told[0]["points"], points, rtol=0, atol=6e-4)
        drawn = draw_heatmaps(image, view, maps[-1, 0], points, skeletons.MPII.joints)
        difference = np.abs(
            cv2.imread(str(out / "a_heatmaps.png")).astype(int) - drawn
        )  # another engine may have run it
        assert difference.max() <= 4

    def test_heat_maps_are_drawn_of_persons(self, quick, shared_golden, tmp_path):
        images = shared_golden / "images"
        csv = tmp_path / "a.csv"
        csv.write_text((images / "mpii.csv").read_text().splitlines()[0] + "\n")
        arguments = ["persons", quick, "--csv", csv, "--images", images / "mpii", "-o", tmp_path / "out", "--heatmaps"]
        assert main(map(str, [*arguments, "--im-size", "64"])) == 0
        (person,) = json.loads((tmp_path / "out" / "predictions.json").read_text())["persons"]
        assert cv2.imread(person["heatmaps"]).shape[0] > 220

    @pytest.mark.parametrize("command", ["eval", "predict"])
    def test_decoding_on_request(self, command, quick, shared_golden, tmp_path, capsys):
        images = shared_golden / "images"
        csv = tmp_path / "a.csv"
        csv.write_text((images / "mpii.csv").read_text().splitlines()[0] + "\n")
        answers = []
        for decoding in ("argmax", "soft-argmax"):
            more = ["-o", tmp_path / decoding] if command == "predict" else []
            arguments = [command, quick, "--csv", csv, "--images", images / "mpii", "--decoding", decoding, "--json"]
            arguments += ["--im-size", "64"]
            assert main(map(str, arguments + more)) == 0
            answers.append(capsys.readouterr().out)
        assert answers[0] != answers[1]

    @pytest.mark.parametrize(
        ("option", "said"),
        [
            (["--heatmaps"], "it has no heat maps"),
            (["--decoding", "argmax"], "--decoding: this alexnet-asanakoy answers no"),
        ],
    )
    def test_networks_of_coordinates_have_none(self, option, said, golden, tmp_path, capsys):
        cv2.imwrite(str(tmp_path / "a.png"), np.zeros((60, 60, 3), np.uint8))
        file = golden / "tf1-asanakoy" / "checkpoint"
        assert main(["predict", str(file), str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), *option]) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_videos_have_none(self, quick, tmp_path, capsys):
        (tmp_path / "a.mp4").write_bytes(b"")
        assert main(["predict", str(quick), str(tmp_path / "a.mp4"), "-o", str(tmp_path / "out"), "--heatmaps"]) == 2
        assert "a.mp4: heat maps are drawn of pictures, not of videos" in capsys.readouterr().err


class TestInputs:
    """Five persons of MPII, as the course's program made them; its decoder differs from OpenCV's by up to 4 levels."""

    @pytest.fixture
    def made(self, shared_golden):
        with np.load(shared_golden / "keras-hourglass" / "inputs.npz") as arrays:
            return dict(arrays)

    @pytest.fixture
    def dataset(self, made, two, shared_golden, tmp_path):
        persons = json.loads((shared_golden / "metrics" / "test_mpii.json").read_text())[: len(made["box"])]
        lines = [
            ",".join([person["image"], *(str(v) for joint in person["joints"] for v in joint)]) for person in persons
        ]
        csv = tmp_path / "a.csv"
        csv.write_text("\n".join(lines) + "\n")
        known = References("mpii", len(persons), scales=np.array([person["scale"] for person in persons]))
        path_beside(csv).write_bytes(encode(known, csv.read_bytes()))
        told = read(two).preprocessing
        return PoseDataset(csv, images=shared_golden / "images" / "mpii", skeleton="mpii", preprocessing=told)

    def test_boxes_and_fractions_are_its_own(self, dataset, made):
        for i, (box, fraction) in enumerate(zip(made["box"], made["fraction"], strict=True)):
            crop = dataset.view(i).crop
            assert (crop.x0, crop.y0, crop.x1, crop.y1) == tuple(box)
            np.testing.assert_allclose(dataset[i][1].reshape(-1, 2), fraction, rtol=0, atol=1e-6)

    def test_pixels_are_its_own_but_for_the_decoder(self, dataset, made):
        distances = []
        for i, expected in enumerate(made["inputs_first_two"]):
            distances.append(np.abs(dataset[i][0].transpose(1, 2, 0) - expected))
        assert np.max(distances) <= 0.032
        assert np.mean(distances) <= 0.0075


def test_the_epoch_is_that_of_the_courses_names(one, tmp_path):
    path = tmp_path / "model-v0.0.1-epoch-12-loss-1.25.h5"
    path.write_bytes(one.read_bytes())
    assert converters.read(path).progress == Progress(epoch=12)
    assert read(one).progress is None


class TestDamage:
    def test_layers_that_are_missing_are_counted_and_named(self, two, tmp_path):
        layers = layers_of(two)
        del layers["conv2d_20"]
        counted = (
            "125 conv2d and 120 batch_normalization are the layers of no .*; there is no conv2d_20 among the others"
        )
        with pytest.raises(CheckpointError, match=counted):
            converters.read(save(tmp_path / "a.h5", layers))

    def test_a_layer_of_another_shape_is_named(self, two, tmp_path):
        layers = layers_of(two)
        layers["conv2d_20"]["kernel"] = layers["conv2d_20"]["kernel"][..., :-1]
        with pytest.raises(CheckpointError, match=r"nearest is hourglass: conv2d_20/kernel of shape"):
            converters.read(save(tmp_path / "a.h5", layers))

    def test_a_layer_without_its_bias_is_named(self, two, tmp_path):
        layers = layers_of(two)
        del layers["conv2d_20"]["bias"]
        with pytest.raises(CheckpointError, match=r"missing conv2d_20"):
            converters.read(save(tmp_path / "a.h5", layers))

    def test_a_file_that_is_cut_short(self, two, tmp_path):
        (tmp_path / "a.h5").write_bytes(two.read_bytes()[:-5000])
        with pytest.raises(CheckpointError, match=r"a\.h5: .*(damaged|whole)"):
            converters.read(tmp_path / "a.h5")

    def test_layers_of_no_network(self, tmp_path):
        with pytest.raises(CheckpointError, match="1 conv2d and 0 batch_normalization are the layers of no"):
            converters.read(save(tmp_path / "a.h5", {"conv2d": {"kernel": np.ones((3, 3, 3, 4), "f")}}))
