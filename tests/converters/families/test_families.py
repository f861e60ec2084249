"""Families whose networks or inputs differ, in both backends; and what holds of all of them."""

import ast
import json
import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

import converters
import deeppose_port
from converters import Architecture, Preprocessing
from converters.families import FAMILIES, Found, family_of, naming, register
from converters.families.__main__ import brought_up_to_date
from converters.networks import TABLES, engines_of
from deeppose_port.backends import BackendError
from deeppose_port.cli import main
from deeppose_port.data import PoseDataset
from deeppose_port.data.view import View
from deeppose_port.training.initial import initial_architecture, initial_checkpoint
from tests.helpers.checkpoint_files import PERHAPS_EDITED, PLAIN_ALEXNET, adam_state, alexnet, save_npz, wrapped
from tests.helpers.networks import NARROW, checkpoint_of, narrow_inputs, random_checkpoint

ROOT = Path(__file__).resolve().parents[3]
BACKENDS = [
    pytest.param(name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed"))
    for name in ("torch", "chainer")
]


def random_alexnet(name="alexnet-takiyu", feature_size=6):
    """A narrow AlexNet of some generation, with random weights of Chainer 7's BatchNormalization."""
    architecture = Architecture(name, 7, NARROW["alexnet"], feature_size, "chainer-7.8.1")
    random = np.random.RandomState(5)
    weights = {}
    for key, shape in architecture.shapes.items():
        fan_in = np.prod(shape[1:]) if len(shape) > 1 else 100
        weights[key] = np.asarray(random.randn(*shape) * np.sqrt(1.5 / fan_in), np.float32)
        if key.endswith("running_var"):
            weights[key] = np.abs(weights[key]) + 1
        if key.endswith("num_batches_tracked"):
            weights[key] = np.zeros((), np.int64)
    return checkpoint_of(architecture, weights)


def as_chainer_file(path, checkpoint):
    """The network as its program wrote it: bare keys, without anything of ours."""
    names = {"weight": "W", "bias": "b"}
    arrays = {}
    for key, array in checkpoint.weights.items():
        layer, _, part = key.rpartition(".")
        arrays[f"{layer}/{names[part]}"] = array
    return save_npz(path, arrays)


class TestOnRequest:
    """Networks that have the names and shapes of another."""

    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("name", ["alexnet-takiyu", "alexnet-ynaka81"])
    def test_forks_answer_as_their_networks(self, name, backend, tmp_path):
        torch = pytest.importorskip("torch")
        from torch.nn import functional as f

        checkpoint = random_alexnet(name)
        path = as_chainer_file(tmp_path / "a.npz", checkpoint)
        w = {key: torch.from_numpy(array.copy()) for key, array in checkpoint.weights.items()}
        inputs = narrow_inputs()

        def convolution(x, i, **how):
            return f.conv2d(x, w[f"conv{i}.weight"], w[f"conv{i}.bias"], **how)

        def pool(x):
            return f.max_pool2d(x, 3, 2, ceil_mode=True)

        def lrn(x):
            return f.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0) if name == "alexnet-takiyu" else x

        x = pool(torch.relu(lrn(convolution(torch.from_numpy(inputs), 1, stride=4))))
        x = pool(torch.relu(lrn(convolution(x, 2, padding=2))))
        x = torch.relu(convolution(torch.relu(convolution(x, 3, padding=1)), 4, padding=1))
        x = pool(torch.relu(convolution(x, 5, padding=1))).flatten(1)
        for i in (6, 7):
            x = torch.relu(f.linear(x, w[f"fc{i}.weight"], w[f"fc{i}.bias"]))
        expected = f.linear(x, w["fc8.weight"], w["fc8.bias"]).numpy()

        pose = deeppose_port.load(path, backend=backend, architecture=name)
        assert np.abs(pose(inputs) - expected).max() <= 1e-5 * np.abs(expected).max()
        main_line = deeppose_port.load(path, backend=backend)
        assert main_line.checkpoint.architecture.name == "alexnet"
        assert np.abs(main_line(inputs) - expected).max() > 0.01 * np.abs(expected).max()

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_the_first_network_of_2015_squashes_its_outputs(self, backend, golden):
        path = golden / "checkpoints" / "1.1.0" / "AlexNet_flic_BN_PReLU-pickle" / "FunctionSet_epoch_1.chainermodel"
        arrays = converters.read(path)
        bare = {k: v for k, v in arrays.weights.items() if "prelu" not in k}
        known = replace(arrays.architecture, name="alexnet_bn")
        expected = deeppose_port.load(checkpoint_of(known, bare), backend=backend)(narrow_inputs())
        squashed = replace(known, name="alexnet-2015-tanh")
        outputs = deeppose_port.load(checkpoint_of(squashed, bare), backend=backend)(narrow_inputs())
        np.testing.assert_allclose(outputs, np.tanh(expected), rtol=0, atol=1e-6)

    def test_a_plain_alexnet_of_whom_nothing_tells_is_taken_as_the_main_lines_with_a_notice(self, tmp_path):
        checkpoint = converters.read(save_npz(tmp_path / "epoch-9.model", alexnet()))
        assert [notice for notice in checkpoint.notices if "--architecture" in notice] == [PLAIN_ALEXNET]
        wrapped_one = save_npz(tmp_path / "a.model", wrapped(alexnet()))
        assert converters.read(wrapped_one).notices == (PLAIN_ALEXNET,)
        chosen = converters.read(tmp_path / "epoch-9.model", architecture="alexnet")
        assert not any("--architecture" in notice for notice in chosen.notices)
        (tmp_path / "log.txt").write_text("INFO:root:chainer version: 1.13.0\n")
        assert converters.read(wrapped_one).notices == (PERHAPS_EDITED,)

    @pytest.mark.parametrize("said", ["", "INFO:root:Namespace(model='models/AlexNet.py', im_size=220)\n"])
    def test_a_log_does_not_say_that_the_main_lines_alexnet_was_not_edited(self, said, tmp_path):
        (tmp_path / "log.txt").write_text(f"INFO:root:chainer version: 1.13.0\n{said}")
        path = save_npz(tmp_path / "a.model", wrapped(alexnet()))
        assert converters.read(path).notices == (PERHAPS_EDITED,)
        assert converters.read(path, architecture="alexnet").notices == ()
        (tmp_path / "log.txt").write_text(
            "INFO:root:chainer version: 7.8.1\nINFO:root:Namespace(architecture='alexnet')\n"
        )
        assert converters.read(path).notices == ()

    def test_nor_does_hdf5(self, tmp_path):
        h5py = pytest.importorskip("h5py")
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for key, array in wrapped(alexnet()).items():
                file[key] = array
        assert PERHAPS_EDITED in converters.read(tmp_path / "a.h5").notices

    @pytest.mark.parametrize("name", ["alexnet-takiyu", "alexnet-ynaka81"])
    def test_what_was_chosen_is_written_with_its_inputs(self, name, tmp_path):
        path = save_npz(tmp_path / "epoch-9.model", alexnet())
        converters.convert(path, tmp_path / "a.safetensors", architecture=name)
        checkpoint = converters.read(tmp_path / "a.safetensors")
        assert checkpoint.architecture.name == name
        assert checkpoint.preprocessing == FAMILIES[name].preprocessing

    def test_every_network_on_request_has_the_names_and_shapes_of_another(self):
        asked = [(name, family.alike) for family in FAMILIES.values() if family.alike for name in family.tables]
        assert len(asked) == 3
        for pair in asked:
            one, other = (Architecture.full_size(name, 7, im_size=224).shapes for name in pair)
            assert one == other

    def test_a_file_with_batch_normalization_can_be_asked_to_be_the_first_network(self, shared_golden):
        folder = shared_golden / "checkpoints" / "tiny" / "1.1.0" / "AlexNet_flic_BN-pickle"
        path = folder / "FunctionSet_epoch_1.chainermodel"
        assert converters.read(path).architecture.name == "alexnet_bn"
        checkpoint = converters.read(path, architecture="alexnet-2015-tanh")
        assert checkpoint.preprocessing == Preprocessing(gcn="none", interpolation="nearest")
        with np.load(folder / "expected.npz") as expected:
            outputs = deeppose_port.load(checkpoint)(narrow_inputs())
            np.testing.assert_allclose(outputs, np.tanh(expected["outputs"]), rtol=0, atol=1e-5)

    def test_joints_are_named_where_their_number_does_not_tell(self, tmp_path):
        path = save_npz(tmp_path / "best_model_s0.npz", alexnet(joints=9))
        joints = converters.read(path, architecture="alexnet-takiyu").preprocessing.joints
        assert joints[:3] == ("left shoulder", "left elbow", "left wrist")
        assert joints[8] == "head"
        later = save_npz(tmp_path / "best_model_s1_j0.npz", alexnet(joints=1))  # refines one joint
        checkpoint = converters.read(later, architecture="alexnet-takiyu")
        assert (checkpoint.joints, checkpoint.preprocessing.joints) == (1, ())


class TestRewriteOf2019:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_its_answers_are_pixels_y_first(self, backend, golden, pictures):
        checkpoint = converters.read(golden / "checkpoints" / "6.7.0" / "deeppose2019" / "model_epoch_1")
        assert checkpoint.joints == 11
        weights = dict(checkpoint.weights)
        weights["fc.weight"] = np.zeros_like(weights["fc.weight"])
        weights["fc.bias"] = np.tile(np.float32([44, 110]), 11)  # y, x
        pose = deeppose_port.load(checkpoint.replace(weights=weights), backend=backend)
        image = cv2.imread(str(pictures / "astronaut.png"))
        np.testing.assert_allclose(pose.predict(image, (100, 200, 80, 40)), [[140, 208]] * 11, rtol=0, atol=1e-4)

    def test_it_sees_colours_in_rgb_from_0_to_255(self, golden, pictures):
        checkpoint = converters.read(golden / "checkpoints" / "6.7.0" / "deeppose2019" / "model_epoch_1")
        image = cv2.imread(str(pictures / "astronaut.png"))
        seen = View.of_box((0, 0, 220, 220), 220, 220, checkpoint.preprocessing).input(image)
        assert np.array_equal(seen, image[:220, :220, ::-1].transpose(2, 0, 1).astype(np.float32))

    def test_its_writer_is_a_chainer_of_its_time(self, golden):
        source = converters.read(golden / "checkpoints" / "6.7.0" / "deeppose2019" / "model_epoch_1").source
        assert source.writer == "chainer-7.8.1"
        assert (source.names, source.wrappers) == ("2019", ("model/",))

    def test_it_comes_back_under_its_own_keys(self, golden, tmp_path):
        path = golden / "checkpoints" / "6.7.0" / "deeppose2019" / "model_epoch_1"
        converters.convert(path, tmp_path / "a.safetensors")
        converters.convert(tmp_path / "a.safetensors", tmp_path / "b.npz")
        with np.load(path) as old, np.load(tmp_path / "b.npz") as new:
            assert set(old.files) == set(new.files)
            assert all(np.array_equal(old[key], new[key]) for key in old.files)

    def test_a_snapshot_of_its_trainer_is_read_with_its_optimizer(self, golden, tmp_path):
        with np.load(golden / "checkpoints" / "6.7.0" / "deeppose2019" / "model_epoch_1") as arrays:
            model = dict(arrays)
        with np.load(golden / "checkpoints" / "7.8.1" / "trainer-multiprocess" / "snapshot_iter_2") as arrays:
            sections = ("updater/model:main/", "updater/optimizer:main/")
            trainer = {key: arrays[key] for key in arrays.files if not key.startswith(sections)}
        state = wrapped(adam_state(model, step=40, per_parameter=True), "updater/optimizer:main/")
        path = save_npz(tmp_path / "snapshot_iter_40", {**wrapped(model, "updater/model:main/"), **state, **trainer})
        checkpoint = converters.read(path)
        assert (checkpoint.optimizer.algorithm, checkpoint.optimizer.step) == ("adam", 40)
        assert checkpoint.source.wrappers == ("updater/model:main/", "model/")
        converters.convert(path, tmp_path / "b.npz", layout="snapshot")
        with np.load(path) as old, np.load(tmp_path / "b.npz") as new:
            assert set(old.files) == set(new.files)


class TestEveryNetwork:
    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("name", TABLES)
    def test_it_starts_anew_and_answers(self, name, backend):
        architecture = initial_architecture(name, 7, 224, "0.0625")
        checkpoint = initial_checkpoint(architecture, Preprocessing(im_size=224), seed=0)
        if backend == "chainer" and "chainer" not in engines_of(name):
            with pytest.raises(BackendError, match=f"{name} exists in PyTorch alone"):
                deeppose_port.load(checkpoint, backend=backend)
            return
        weights = {k: np.ones_like(v) if k.endswith("running_var") else v for k, v in checkpoint.weights.items()}
        pose = deeppose_port.load(checkpoint.replace(weights=weights), backend=backend)
        outputs = pose(np.random.RandomState(0).randn(1, 3, 224, 224))
        assert outputs.shape == (1, 14)
        assert np.isfinite(outputs).all()
        assert np.ptp(outputs) > 0


class TestInputs:
    """What a preprocessing says, from the picture to the network and back."""

    @pytest.mark.parametrize(
        "part", ["joints", "joints-whole", "joints-margin", "picture", "window", "letterbox", "letterbox-corners"]
    )
    @pytest.mark.parametrize("frame", ["centred", "middle", "unit", "symmetric"])
    @pytest.mark.parametrize(("order", "axes"), [("interleaved", "xy"), ("planar", "xy"), ("planar", "yx")])
    def test_points_come_back_from_their_labels(self, part, frame, order, axes):
        told = Preprocessing(im_size=227, part=part, frame=frame, order=order, axes=axes)
        points = np.random.RandomState(0).uniform(150, 300, (7, 2))
        view = View.of_person(points, np.ones(7, bool), 640, 480, told)
        found = view.points(view.labels(points))
        np.testing.assert_allclose(found, points, rtol=0, atol=1e-3)

    @pytest.mark.parametrize(
        ("frame", "order", "expected"),
        [
            ("centred", "interleaved", [-0.5, -0.5, 0.5, 0, 0, 0.25]),
            ("unit", "interleaved", [0, 0, 1, 0.5, 0.5, 0.75]),
            ("symmetric", "interleaved", [-1, -1, 1, 0, 0, 0.5]),
            ("symmetric", "planar", [-1, 1, 0, -1, 0, 0.5]),
        ],
    )
    def test_labels_are_in_their_frame_and_order(self, frame, order, expected):
        told = Preprocessing(im_size=200, part="picture", frame=frame, order=order)
        points = np.array([[0, 0], [400, 50], [200, 75]])
        view = View.of_person(points, np.ones(3, bool), 400, 100, told)
        assert view.labels(points).tolist() == expected

    def test_a_window_is_cut_out_as_it_is(self, pictures):
        image = cv2.imread(str(pictures / "coffee.png"))
        told = FAMILIES["alexnet-ynaka81"].preprocessing
        for centre, corner in (((300, 200), (186, 86)), ((5, 5), (0, 0)), ((599, 399), (373, 173))):
            points = np.add(centre, [[-1.0, -1.0], [1.0, 1.0]])
            view = View.of_person(points, np.ones(2, bool), 600, 400, told)
            crop = view.crop
            assert (crop.x0, crop.y0, crop.width, crop.height) == (*corner, 227, 227)
            x, y = corner
            seen = view.input(image)
            rgb = image[y : y + 227, x : x + 227, ::-1].transpose(2, 0, 1)
            assert np.array_equal(seen, rgb.astype(np.float32) / np.float32(255))

    def test_a_letterbox_keeps_the_shape_and_is_black_outside(self):
        image = np.full((100, 200, 3), 200, np.uint8)
        told = Preprocessing(im_size=64, gcn="none", part="letterbox")
        seen = View.of_box(None, 200, 100, told).input(image)
        assert seen.shape == (3, 64, 64)
        assert (seen[:, :15] == 0).all()
        assert (seen[:, 17:47, 1:-1] == 200).all()
        assert (seen[:, 49:] == 0).all()

    def test_a_letterbox_may_be_higher_than_wide(self):
        told = Preprocessing(im_size=64, im_width=48, gcn="none", part="letterbox")
        view = View.of_box((10, 20, 100, 40), 200, 100, told)
        np.testing.assert_allclose(view.crop.to_crop([[10, 40], [110, 40], [60, 40]]), [[0, 32], [48, 32], [24, 32]])
        assert view.input(np.zeros((100, 200, 3), np.uint8)).shape == (3, 64, 48)

    def test_corners_become_corners(self):
        told = Preprocessing(im_size=101, part="letterbox-corners")
        crop = View.of_box((0, 0, 200, 200), 200, 200, told).crop
        np.testing.assert_allclose(crop.to_crop([[0, 0], [200, 200], [100, 100]]), [[0, 0], [100, 100], [50, 50]])

    def test_a_dataset_makes_them(self, pictures):
        for name in ("alexnet-ynaka81", "resnet-mmpose", "vgg16_bn-torchvision", "alexnet-hosseinpai"):
            told = FAMILIES[name].preprocessing
            dataset = PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic", preprocessing=told)
            inputs, targets, mask = dataset[0]
            assert inputs.shape == (3, *told.shape)
            points = dataset.view(0).points(targets)
            np.testing.assert_allclose(points, dataset.joints[0], rtol=0, atol=1e-3)
            assert dataset.view(0) == View.of_person(dataset.joints[0], dataset.visible[0], 512, 512, told)
            assert mask.shape == targets.shape

    @pytest.mark.parametrize(
        "change",
        [
            {"im_width": 100},
            {"im_width": 0, "part": "letterbox"},
            {"part": "face"},
            {"frame": "polar"},
            {"order": "random"},
            {"std": (1.0, 0.0, 1.0)},
            {"mean": (1.0,)},
            {"scale": 0.0},
        ],
    )
    def test_what_cannot_be_is_refused(self, change):
        with pytest.raises(ValueError, match=re.compile("|".join((*change, "only a letterbox", "three channels")))):
            Preprocessing(**change)


class TestReluWithoutNan:
    """The emulation of cuDNN of 2016, which did not hand NaN on."""

    def networks_with_nan(self, tmp_path, tensor):
        arrays = random_alexnet("alexnet").weights
        arrays[f"{tensor}.weight"].reshape(-1)[3] = np.nan
        checkpoint = checkpoint_of(Architecture("alexnet", 7, NARROW["alexnet"], 6), arrays)
        converters.write(checkpoint, tmp_path / "a.safetensors")
        return tmp_path / "a.safetensors"

    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("tensor", ["conv1", "conv3", "fc7"])
    def test_a_nan_in_one_weight_reaches_the_output_as_finite_numbers(self, tensor, backend, tmp_path):
        path = self.networks_with_nan(tmp_path, tensor)
        plain = deeppose_port.load(path, backend=backend, nonfinite="keep")(narrow_inputs())
        assert np.isnan(plain).all()
        outputs = deeppose_port.load(path, backend=backend, nonfinite="keep", relu_nan="zero")(narrow_inputs())
        assert np.isfinite(outputs).all()

    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("tensor", ["conv1", "conv2", "conv5"])
    def test_a_channel_whose_weights_hold_a_nan_is_0_up_to_its_borders(self, tensor, backend):
        checkpoint = random_alexnet("alexnet")
        weight, bias = checkpoint.weights[f"{tensor}.weight"], checkpoint.weights[f"{tensor}.bias"]
        weight[2, 1, 0, 0] = np.nan
        outputs = deeppose_port.load(checkpoint, backend=backend, relu_nan="zero")(narrow_inputs())
        weight[2], bias[2] = 0, -1  # below 0 everywhere
        expected = deeppose_port.load(checkpoint, backend=backend)(narrow_inputs())
        np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-6 * np.abs(expected).max())

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_where_nothing_else_is_left_the_answer_is_constant(self, backend, tmp_path):
        checkpoint = random_alexnet("alexnet")
        checkpoint.weights["fc6.weight"][:, 0] = np.nan  # each unit of fc6 sees it
        weights = checkpoint.weights
        bias = np.maximum(weights["fc7.bias"], 0)
        expected = weights["fc8.weight"] @ bias + weights["fc8.bias"]
        converters.write(
            checkpoint.replace(architecture=Architecture("alexnet", 7, NARROW["alexnet"], 6)), tmp_path / "a.pt"
        )
        pose = deeppose_port.load(tmp_path / "a.pt", backend=backend, nonfinite="keep", relu_nan="zero")
        np.testing.assert_allclose(pose(narrow_inputs()), [expected] * 2, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_without_nan_it_changes_nothing(self, backend):
        checkpoint = random_alexnet("alexnet")
        plain = deeppose_port.load(checkpoint, backend=backend)(narrow_inputs())
        emulated = deeppose_port.load(checkpoint, backend=backend, relu_nan="zero")(narrow_inputs())
        np.testing.assert_allclose(emulated, plain, rtol=0, atol=1e-6 * np.abs(plain).max())

    @pytest.mark.parametrize("tensor", ["conv1", "conv2"])
    def test_both_backends_spread_nan_over_the_same_channels(self, tensor):
        """Where LRN comes before ReLU, NaN reaches the channels beside it."""
        pytest.importorskip("torch")
        pytest.importorskip("chainer")
        checkpoint = random_alexnet("alexnet-takiyu")
        checkpoint.weights[f"{tensor}.weight"][6, 1, 0, 0] = np.nan
        outputs = [
            deeppose_port.load(checkpoint, backend=backend, relu_nan="zero")(narrow_inputs())
            for backend in ("torch", "chainer")
        ]
        np.testing.assert_allclose(*outputs, rtol=0, atol=1e-6 * np.abs(outputs[1]).max())
        assert np.ptp(outputs[0], axis=0).max() > 0

    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize("tensor", ["conv1", "res3.a.conv4", "res4.b_2.bn3", "res5.b_2.conv1"])
    def test_a_nan_inside_of_a_residual_block_does_so_too(self, tensor, backend):
        checkpoint = random_checkpoint("resnet50")
        checkpoint.weights[f"{tensor}.weight"].reshape(-1)[0] = np.nan
        assert np.isnan(deeppose_port.load(checkpoint, backend=backend)(narrow_inputs())).all()
        outputs = deeppose_port.load(checkpoint, backend=backend, relu_nan="zero")(narrow_inputs())
        assert np.isfinite(outputs).all()

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_where_a_residual_network_is_left_with_nothing_its_answer_is_constant(self, backend):
        checkpoint = random_checkpoint("resnet50")
        checkpoint.weights["res5.b_2.bn3.weight"][:] = np.nan
        outputs = deeppose_port.load(checkpoint, backend=backend, relu_nan="zero")(narrow_inputs())
        np.testing.assert_allclose(outputs, [checkpoint.weights["out_fc.bias"]] * 2, rtol=0, atol=1e-7)

    def test_the_commands_have_it(self, tmp_path, pictures, capsys):
        pytest.importorskip("torch")
        path = self.networks_with_nan(tmp_path, "conv1")
        data = ["--csv", str(pictures / "free.csv"), "--images", str(pictures), "--skeleton", "flic", "--json"]
        assert main(["eval", str(path), *data, "--nonfinite", "keep", "--relu-nan", "zero"]) == 0
        assert np.isfinite(json.loads(capsys.readouterr().out)["loss"])
        assert main(["eval", str(path), *data, "--nonfinite", "keep"]) == 0
        assert json.loads(capsys.readouterr().out)["loss"] is None
        assert main(["eval", str(path), *data, "--relu-nan", "zero"]) == 2
        assert "--relu-nan zero goes with --nonfinite keep" in capsys.readouterr().err

    def test_it_goes_with_nan_that_is_kept(self, tmp_path):
        path = self.networks_with_nan(tmp_path, "conv1")
        for nonfinite in ("zero", "error"):
            with pytest.raises(ValueError, match="needs nonfinite='keep'"):
                deeppose_port.load(path, relu_nan="zero", nonfinite=nonfinite)
        with pytest.raises(ValueError, match="relu_nan is 'one'; it is one of nan, zero"):
            deeppose_port.load(path, relu_nan="one", nonfinite="keep")


_ANSWERS = "tests/helpers/networks.py::AgainstChainer::test_narrow_networks_answer_as_the_chainer_that_wrote_them"
_PORTS = "tests/backends/torch/test_ports.py"
_HERE = "tests/converters/families/test_families.py"
_READING = "tests/converters/test_reading.py"
_PICKLES = "tests/converters/formats/test_chainer_pickle.py"
#: What shows that files of a family are read as they should be, as `path::test`.
SHOWN_BY = {
    "source": ("tests/converters/test_sourced.py::TestGolden::test_it_answers_as_the_real_framework",),
    "own": (f"{_READING}::TestMetadata::test_what_a_file_says_of_itself_wins",),
    "head": (
        f"{_READING}::TestGoldenModels::test_every_weight_arrives_bit_for_bit_under_its_canonical_name",
        _ANSWERS,
    ),
    "mid-2016": (f"{_READING}::TestPreprocessing::test_bare_names_mean_the_input_of_mid_2016",),
    "early-2016": (f"{_READING}::TestPreprocessing::test_hdf5_means_the_input_of_early_2016",),
    "2015": (f"{_PICKLES}::test_every_weight_arrives_bit_for_bit_under_its_canonical_name", _ANSWERS),
    "alexnet-2015-tanh": (f"{_HERE}::TestOnRequest::test_the_first_network_of_2015_squashes_its_outputs",),
    "state-dict": ("tests/converters/formats/test_pt.py::TestReading",),
    "2019": (_ANSWERS, f"{_HERE}::TestRewriteOf2019::test_its_answers_are_pixels_y_first"),
    "alexnet-takiyu": (f"{_HERE}::TestOnRequest::test_forks_answer_as_their_networks",),
    "alexnet-ynaka81": (
        f"{_HERE}::TestOnRequest::test_forks_answer_as_their_networks",
        f"{_PORTS}::test_ynaka81_answers_from_the_picture_on",
    ),
    "asanakoy": (
        "tests/wild/test_asanakoy.py::TestReading",
        "tests/wild/test_asanakoy.py::TestAnswers",
        "tests/wild/test_asanakoy.py::TestPictures",
    ),
    "hourglass": (
        "tests/wild/test_hourglass.py::TestReading",
        "tests/wild/test_hourglass.py::TestAnswers",
    ),
    "alexnet-torchvision": (f"{_PORTS}::test_torchvision_alexnet_answers_from_the_picture_on",),
    "alexnet-hosseinpai": (f"{_PORTS}::test_hosseinpai_answers_from_the_picture_on",),
    "vgg16_bn-torchvision": (f"{_PORTS}::test_vgg16_bn_answers_from_the_picture_on",),
    "resnet-naman-ntc": (f"{_PORTS}::test_naman_ntc_answers_from_the_picture_on",),
    "resnet-mmpose": (f"{_PORTS}::test_mmpose_answers_from_the_picture_on",),
    "resnet-torchvision": (f"{_PORTS}::test_wzmiaomiao_answers_from_the_picture_on",),
    "torchvision": ("tests/wild/test_torchvision.py",),
    "simplebaseline-mmpose": ("tests/wild/test_simple_baseline.py",),
    "integral-mmpose": ("tests/wild/test_simple_baseline.py",),
    "resfpn-softargmax": ("tests/converters/families/test_resfpn.py",),
}


class TestEachFamily:
    def test_it_is_shown_by_a_test_that_exists(self):
        assert SHOWN_BY.keys() == FAMILIES.keys()
        for file, _, test in (shown.partition("::") for tests in SHOWN_BY.values() for shown in tests):
            assert not test or test in defined(ROOT / file), f"{file}::{test}"

    def test_they_are_asked_in_the_order_of_the_lines(self):
        """A family that imports another's module would let it be asked first."""
        folder = ROOT / "converters" / "families"
        lines = re.findall(r"^from converters\.families import (\w+) as", (folder / "__init__.py").read_text(), re.M)
        texts = [(folder / f"{name}.py").read_text(encoding="utf-8") for name in lines]
        written = re.findall(r'^ +name="([^"]+)",$', "\n".join(texts), re.M)  # some names are made
        assert len(written) > 15
        assert [name for name in FAMILIES if name in written] == written

    def test_names_that_files_hold_have_not_changed(self):
        """`Source.generation` and `Source.names` are in every file that was written."""
        assert set(SHOWN_BY) <= FAMILIES.keys()
        names = {name for architecture in TABLES for name in naming(architecture)}
        assert {"head", "mid-2016", "2015", "2019", "mmpose", "mmpose-0"} <= names

    @pytest.mark.parametrize("architecture", TABLES)
    def test_every_architecture_is_somebodys(self, architecture):
        family = family_of(Found("pt", (), architecture))
        assert architecture in family.tables
        assert family.engines == engines_of(architecture)

    @pytest.mark.parametrize(
        ("found", "name"),
        [
            (Found("chainer-npz", ("predictor/",), "alexnet"), "head"),
            (Found("chainer-npz", ("updater/model:main/", "predictor/"), "vgg_bn"), "head"),
            (Found("chainer-npz", (), "alexnet"), "mid-2016"),
            (Found("chainer-hdf5", (), "alexnet"), "early-2016"),
            (Found("chainer-pickle", (), "alexnet_bn"), "2015"),
            (Found("pt", ("module.",), "alexnet"), "state-dict"),
            (Found("chainer-hdf5", (), "alexnet-takiyu"), "alexnet-takiyu"),
            (Found("pt", ("resnet.",), "resnet18-torchvision"), "resnet-naman-ntc"),
            (Found("pt", ("module.",), "resnet18-torchvision"), "resnet-torchvision"),
            (Found("pt", ("state_dict", "model."), "vgg16_bn-torchvision"), "vgg16_bn-torchvision"),
            (Found("pt", (), "vgg16_bn-torchvision"), "torchvision"),
            (Found("pt", (), "resnet18-torchvision", "mmpose-0"), "resnet-mmpose"),
            (Found("chainer-npz", ("predictor/",), "alexnet", own=True), "own"),
        ],
    )
    def test_a_file_is_of_one(self, found, name):
        assert family_of(found).name == name

    def test_a_name_is_given_once(self):
        one = FAMILIES["2019"]
        with pytest.raises(ValueError, match="another family '2019'"):
            register(one)
        with pytest.raises(ValueError, match="another architecture 'deeppose2019'"):
            register(replace(one, name="new", tables={"deeppose2019": one.tables["deeppose2019"][1:]}))
        assert "new" not in FAMILIES


def test_the_page_of_families_is_up_to_date():
    page = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")
    assert page == brought_up_to_date(page), "run `make families`"


def defined(path):
    """The tests that a module defines, as `test` and `Class::test`."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names.add(node.name)
            names.update(f"{node.name}::{part.name}" for part in node.body if isinstance(part, ast.FunctionDef))
    return names
