from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

import converters
import deeppose_port
from converters import Architecture, CheckpointError, Preprocessing
from converters.cascade import Cascade, CloseUp, Stage
from converters.errors import DeepPoseError
from deeppose_port import backends
from deeppose_port.backends import BackendError
from deeppose_port.data import PoseDataset
from deeppose_port.data.arrays import Levels
from deeppose_port.data.crop import Crop
from deeppose_port.data.view import View
from deeppose_port.drawing.draw import draw_pose
from deeppose_port.evaluate.evaluate import evaluate
from deeppose_port.evaluate.stages import evaluate_stages
from deeppose_port.predict import predict_files
from tests.helpers.networks import checkpoint_of, error, narrow_file, narrow_inputs, random_checkpoint


@pytest.fixture
def pose():
    return deeppose_port.load(random_checkpoint())


@pytest.fixture
def astronaut(pictures):
    return cv2.imread(str(pictures / "astronaut.png"))


@pytest.fixture
def spy(monkeypatch):
    """A backend that notes what it is shown and answers what it is told to."""
    backend = SimpleNamespace(seen=[], answer=np.zeros((1, 14), np.float32))

    def predictor(checkpoint, device):
        backend.device = device
        return lambda inputs: (backend.seen.append(inputs.copy()), backend.answer)[1]

    monkeypatch.setattr(backends, "get", lambda name: SimpleNamespace(predictor=predictor))
    return backend


def later_stage():
    return Stage((random_checkpoint(seed=6),), CloseUp(2.0, ((2, 5),)))


class TestLoad:
    def test_path_string_and_checkpoint_answer_the_same(self, tmp_path, request):
        file = narrow_file("1.13.0/alexnet-adam/epoch-1.model", request)
        for source in (file.path, str(file.path), converters.read(file.path)):
            pose = deeppose_port.load(source)
            assert (pose.joints, pose.backend, pose.preprocessing) == (16, "torch", Preprocessing())
            assert error(pose(narrow_inputs()), file.outputs) <= file.bound

    def test_options_of_reading_are_passed_on(self, tmp_path):
        checkpoint = random_checkpoint("resnet50")
        checkpoint.weights["out_fc.bias"][0] = np.nan
        converters.write(checkpoint, tmp_path / "old.model")
        pose = deeppose_port.load(
            tmp_path / "old.model", writer="chainer-7.8.1", architecture="resnet50", nonfinite="keep"
        )
        assert pose.checkpoint.architecture.writer == "chainer-7.8.1"
        assert np.isnan(pose(narrow_inputs())[:, 0]).all()
        with pytest.raises(CheckpointError, match="NaN"):
            deeppose_port.load(tmp_path / "old.model", nonfinite="error")
        with pytest.raises(CheckpointError, match="not those of alexnet"):
            deeppose_port.load(tmp_path / "old.model", architecture="alexnet")

    def test_options_of_reading_do_not_go_with_a_checkpoint(self):
        for options in ({"writer": "chainer-7.8.1"}, {"architecture": "alexnet"}):
            with pytest.raises(ValueError, match="was read already"):
                deeppose_port.load(random_checkpoint(), **options)

    def test_device_and_backend_are_passed_on(self, spy):
        deeppose_port.load(random_checkpoint(), device="cuda:3")
        assert spy.device == "cuda:3"

    def test_refusals_say_why(self, tmp_path):
        with pytest.raises(CheckpointError, match=r"gone\.model: there is no such file"):
            deeppose_port.load(tmp_path / "gone.model")
        with pytest.raises(BackendError, match="there is no backend 'jax'"):
            deeppose_port.load(random_checkpoint(), backend="jax")
        with pytest.raises(BackendError, match="'gpu' is no device"):
            deeppose_port.load(random_checkpoint(), device="gpu")

    def test_preprocessing_may_be_replaced(self):
        told = Preprocessing(im_size=200, gcn="none")
        checkpoint = random_checkpoint(preprocessing=told)
        assert deeppose_port.load(checkpoint).preprocessing == told
        other = Preprocessing(im_size=228)
        assert deeppose_port.load(checkpoint, preprocessing=other).preprocessing == other

    def test_optimizer_state_beside_a_model_is_not_read(self, tmp_path, request):
        file = narrow_file("1.13.0/alexnet-adam/epoch-1.model", request)
        (tmp_path / "epoch-1.model").write_bytes(file.path.read_bytes())
        (tmp_path / "epoch-1.state").write_bytes(b"PK\x03\x04 cut short")
        assert deeppose_port.load(tmp_path / "epoch-1.model").checkpoint.optimizer is None


class TestCall:
    def test_shapes_and_types(self, pose):
        outputs = pose(narrow_inputs())
        assert (outputs.shape, outputs.dtype) == ((2, 14), np.float32)
        assert np.array_equal(pose(narrow_inputs().astype(np.float64)), outputs)
        assert np.array_equal(pose(narrow_inputs().tolist()), outputs)

    def test_nobody_has_no_joints_and_needs_no_network(self, spy):
        outputs = deeppose_port.load(random_checkpoint())(np.empty((0, 3, 220, 220), np.float32))
        assert (outputs.shape, outputs.dtype) == ((0, 14), np.float32)
        assert not spy.seen

    @pytest.mark.parametrize("shape", [(3, 220, 220), (1, 1, 220, 220), (1, 220, 220, 3), (1, 3, 220, 200), (3,)])
    def test_other_shapes_are_refused(self, pose, shape):
        with pytest.raises(ValueError, match=r"the inputs have the shape \(.*\); it has to be \(N, 3, side, side\)"):
            pose(np.zeros(shape, np.float32))

    @pytest.mark.parametrize(
        ("name", "smallest", "largest", "others"), [("alexnet", 197, 228, 227), ("vgg_bn", 193, 224, 200)]
    )
    def test_sizes_that_the_last_layers_cannot_take_are_refused(self, name, smallest, largest, others):
        pose = deeppose_port.load(random_checkpoint(name))
        for side in (smallest, largest, others):
            assert pose(np.zeros((1, 3, side, side), np.float32)).shape == (1, 14)
        for side in (smallest - 1, largest + 1):
            with pytest.raises(
                ValueError, match=f"^in memory: this {name} takes inputs of {smallest} to {largest} pixels.*not {side}$"
            ):
                pose(np.zeros((1, 3, side, side), np.float32))

    def test_a_size_that_no_input_can_have_is_refused_at_loading(self):
        with pytest.raises(ValueError, match="this alexnet takes inputs of 197 to 228 pixels a side, not 100"):
            deeppose_port.load(random_checkpoint(preprocessing=Preprocessing(im_size=100)))
        drawn = random_checkpoint()
        drawn = drawn.replace(source=replace(drawn.source, path=""))
        with pytest.raises(ValueError, match=r"^this alexnet takes"):
            deeppose_port.load(drawn, preprocessing=Preprocessing(im_size=100))

    def test_a_table_is_followed_once_for_inputs_of_a_size(self, pose, monkeypatch):
        asked = []
        accepts = Architecture.accepts
        monkeypatch.setattr(Architecture, "accepts", lambda self, side: asked.append(side) or accepts(self, side))
        for side in (220, 220, 222, 222):
            pose(np.zeros((1, 3, side, side), np.float32))
        assert asked in ([222], [220, 222])

    @pytest.mark.parametrize("side", [100, 229])
    def test_resnet_takes_any_size(self, side):
        assert deeppose_port.load(random_checkpoint("resnet50"))(np.zeros((1, 3, side, side))).shape == (1, 14)


class TestPredict:
    def test_network_sees_the_box_as_the_dataset_makes_inputs(self, spy, astronaut):
        pose = deeppose_port.load(random_checkpoint())
        pose.predict(astronaut, box=(30.9, 20, 200, 300.5))
        expected = View(Crop(30, 20, 230, 320, 220), Preprocessing()).input(astronaut)
        assert np.array_equal(spy.seen[0], expected[None])

    def test_box_of_a_person_gives_the_datasets_input(self, spy, pictures, astronaut):
        dataset = PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic")
        crop = dataset.view(0).crop
        deeppose_port.load(random_checkpoint()).predict(astronaut, (crop.x0, crop.y0, crop.width, crop.height))
        assert np.array_equal(spy.seen[0][0], dataset[0][0])

    @pytest.mark.parametrize("coord_normalize", [True, False])
    @pytest.mark.parametrize("axes", ["xy", "yx"])
    @pytest.mark.parametrize(
        ("box", "crop"),
        [
            (None, Crop(0, 0, 512, 512, 220)),
            ((100, 50, 80, 160), Crop(100, 50, 180, 210, 220)),
            ((-50, -20, 100, 90), Crop(0, 0, 50, 70, 220)),
            ((400, 300, 1000, 1000), Crop(400, 300, 512, 512, 220)),
            (np.array([10.7, 20.2, 30.0, 40.0]), Crop(10, 20, 40, 60, 220)),
        ],
        ids=["whole picture", "inside", "past the upper left", "past the lower right", "array of fractions"],
    )
    def test_points_are_in_pixels_of_the_picture(self, spy, astronaut, box, crop, axes, coord_normalize):
        told = Preprocessing(im_size=205, axes=axes, coord_normalize=coord_normalize)
        crop = replace(crop, im_size=205)
        points = np.random.RandomState(0).uniform(0, 512, (7, 2))
        spy.answer = View(crop, told).labels(points)[None]
        found = deeppose_port.load(random_checkpoint(preprocessing=told)).predict(astronaut, box)
        assert (found.shape, found.dtype) == ((7, 2), np.float64)
        np.testing.assert_allclose(found, points, rtol=0, atol=1e-3)

    def test_centre_of_a_crop_is_the_answer_zero(self, spy, astronaut):
        found = deeppose_port.load(random_checkpoint()).predict(astronaut, (100, 50, 80, 160))
        assert found.tolist() == [[140, 130]] * 7

    def test_wide_pictures_are_not_turned(self, spy):
        spy.answer = np.tile(np.float32([0.5, -0.5]), 7)[None]
        found = deeppose_port.load(random_checkpoint()).predict(np.zeros((100, 300, 3), np.uint8))
        assert found.tolist() == [[300, 0]] * 7

    @pytest.mark.parametrize(
        "image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3), np.float32)]
    )
    def test_other_pictures_are_refused(self, pose, image):
        with pytest.raises(ValueError, match=r"^the picture is .*; it has to be uint8 \(height, width, 3\)$"):
            pose.predict(image)

    @pytest.mark.parametrize("box", [(600, 0, 10, 10), (0, 0, 0, 50), (10, 10, -5, 5), (0, 0, 0.5, 9)])
    def test_boxes_without_a_pixel_are_refused(self, pose, astronaut, box):
        with pytest.raises(ValueError, match=r"nothing is left of the box .* 512 x 512 pixels"):
            pose.predict(astronaut, box)

    @pytest.mark.parametrize("box", [(1, 2, 3), (1, 2, float("nan"), 4), (1, 2, 3, float("inf"))])
    def test_boxes_that_are_none_are_refused(self, pose, astronaut, box):
        with pytest.raises(ValueError, match="is not four finite numbers"):
            pose.predict(astronaut, box)

    def test_picture_is_not_changed(self, pose, astronaut):
        before = astronaut.copy()
        astronaut.flags.writeable = False
        pose.predict(astronaut)
        assert np.array_equal(astronaut, before)


def test_network_of_biases_answers_where_its_bias_says(astronaut):
    checkpoint = random_checkpoint()
    weights = dict(checkpoint.weights)
    weights["fc8.weight"] = np.zeros_like(weights["fc8.weight"])
    weights["fc8.bias"] = np.tile(np.float32([0.25, -0.25]), 7)
    pose = deeppose_port.load(checkpoint_of(checkpoint.architecture, weights))
    assert pose.predict(astronaut, (100, 200, 80, 40)).tolist() == [[160, 210]] * 7


class TestPictures:
    def test_a_path_a_pil_picture_and_arrays_of_either_order_are_one_picture(self, tmp_path):
        pose = deeppose_port.Pose(random_checkpoint())
        bgr = np.random.RandomState(0).randint(0, 256, (60, 50, 3)).astype(np.uint8)
        path = tmp_path / "a.png"
        cv2.imwrite(str(path), bgr)
        expected = pose.predict(bgr)
        rgb = np.ascontiguousarray(bgr[:, :, ::-1])
        for same in (path, str(path), Image.fromarray(rgb), Image.fromarray(rgb).convert("RGBA")):
            np.testing.assert_array_equal(pose.predict(same), expected)
        np.testing.assert_array_equal(pose.predict(rgb, colors="rgb"), expected)
        assert (pose.predict(rgb) != expected).any()

    def test_what_is_no_picture_is_told(self):
        pose = deeppose_port.Pose(random_checkpoint())
        with pytest.raises(DeepPoseError, match=r"the picture is None; .*imread gives None"):
            pose.predict(None)
        with pytest.raises(DeepPoseError, match="picture 0 of the list: the picture is of the type int"):
            pose.predict([1, 2])
        with pytest.raises(DeepPoseError, match="colors is 'RGB'; it is bgr or rgb"):
            pose.predict(np.zeros((9, 9, 3), np.uint8), colors="RGB")

    @pytest.mark.parametrize("stages", [1, 2])
    def test_several_are_answered_as_each_alone(self, stages, tmp_path, monkeypatch):
        monkeypatch.setattr("deeppose_port.pose._BATCH", 2)
        first = random_checkpoint()
        pose = deeppose_port.load(first if stages == 1 else Cascade((Stage((first,)), later_stage())))
        images = np.random.RandomState(0).randint(0, 256, (3, 60, 50, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "a.png"), images[1])
        boxes = [None, (5, 6, 30, 40), np.array([0, 0, 50, 50])]
        found = pose.predict([images[0], tmp_path / "a.png", images[2]], boxes)
        alone = [pose.predict(image, box) for image, box in zip(images, boxes, strict=True)]
        np.testing.assert_allclose(found, np.stack(alone), rtol=0, atol=1e-3)
        assert pose.predict([]).shape == (0, 7, 2)
        assert pose.predict(list(images), colors="rgb").shape == (3, 7, 2)
        with pytest.raises(DeepPoseError, match="picture 2 of the list: nothing is left of the box"):
            pose.predict(list(images), [None, None, (900, 0, 10, 10)])
        for wrong in ([None], (0, 0, 10), [(1, 2, 3, 4), (1, 2, 3), None]):
            with pytest.raises(DeepPoseError, match="3 pictures have as many boxes"):
                pose.predict(list(images), wrong)

    def test_a_drawing_is_rgb_and_the_pose_is_on_it(self):
        pose = deeppose_port.Pose(random_checkpoint())
        bgr = np.random.RandomState(0).randint(0, 256, (90, 80, 3)).astype(np.uint8)
        expected = draw_pose(bgr, pose.predict(bgr, (5, 5, 60, 70)), "flic")[:, :, ::-1]
        rgb = np.ascontiguousarray(bgr[:, :, ::-1])
        for drawn in (
            pose.draw(bgr, (5, 5, 60, 70)),
            pose.draw(rgb, (5, 5, 60, 70), colors="rgb"),
            pose.draw(Image.fromarray(rgb), (5, 5, 60, 70), skeleton="FLIC"),
        ):
            np.testing.assert_array_equal(drawn, expected)
        with pytest.raises(DeepPoseError, match="no skeleton is called 'mars'"):
            pose.draw(bgr, skeleton="mars")

    def test_what_is_drawn_is_what_the_checkpoint_tells(self):
        assert deeppose_port.Pose(random_checkpoint()).skeleton is deeppose_port.skeletons.FLIC
        own = Preprocessing(joints=tuple("abcdefg"), limbs=((0, 1), (1, 2)))
        told = deeppose_port.Pose(random_checkpoint(preprocessing=own)).skeleton
        assert (told.joints, told.limbs) == (own.joints, own.limbs)
        assert deeppose_port.Pose(random_checkpoint(joints=5)).skeleton is None


class TestByLevel:
    """What looks levels up is given them on every way from a picture; what does not, what it was always given."""

    @pytest.fixture
    def asked(self, pictures, astronaut, tmp_path):
        def ask(by_level, told):
            """Returns the kinds of what a network is given, and the bits that it sees, by way."""
            seen = []

            def note(inputs):
                seen.append((type(inputs), np.asarray(inputs)))
                return np.full((len(inputs), 14), 0.1, np.float32) * np.arange(14, dtype=np.float32)

            network = Noting(note, by_level)
            first = random_checkpoint(preprocessing=told)
            pose, cascade = map(deeppose_port.load, (first, Cascade((Stage((first,)), later_stage()))))
            pose._predictor = network
            for stage in cascade.stages:
                stage[0]._predictor = network
            lines = (pictures / "free.csv").read_text().splitlines(keepends=True)
            (tmp_path / "three.csv").write_text("".join(lines[:3]))
            three = PoseDataset(tmp_path / "three.csv", images=pictures, skeleton="flic", preprocessing=told)
            shown, ways = [astronaut, astronaut[20:90, 10:60]], {}
            for name, way in {
                "one": lambda: pose.predict(astronaut, (30, 20, 200, 300)),
                "several": lambda: pose.predict(shown),
                "files": lambda: predict_files(pose, [pictures / "astronaut.png"], tmp_path, force=True),
                "eval": lambda: evaluate(pose, three, batch_size=2),
                "cascade": lambda: cascade.predict(shown),
                "eval of a cascade": lambda: evaluate_stages(cascade, three, batch_size=2),
            }.items():
                seen.clear()
                way()
                ways[name] = [kind for kind, _ in seen], [(array.shape, array.tobytes()) for _, array in seen]
            return ways

        return ask

    @pytest.mark.parametrize("told", [{"colour": "RGB"}, {"interpolation": "unrounded", "gcn": "none"}], ids=str)
    def test_the_network_sees_the_same_bits(self, asked, told):
        told = Preprocessing(**told)
        before, now = asked(False, told), asked(True, told)
        for way, (kinds, bits) in now.items():
            assert set(before[way][0]) == {np.ndarray}
            assert bits == before[way][1], way
            rounded = told.interpolation == "linear"
            # The later stage of the cascade has a preprocessing of its own.
            assert set(kinds) == ({Levels} if rounded else {np.ndarray, Levels} if "cascade" in way else {np.ndarray})


class Noting:
    """A network that notes what it is given."""

    def __init__(self, note, by_level):
        self.note, self.by_level = note, by_level

    def __call__(self, inputs):
        return self.note(inputs)


class TestModule:
    def test_it_is_the_network_by_the_names_of_its_layers(self, pose):
        torch = pytest.importorskip("torch")
        assert isinstance(pose.module, torch.nn.Module)
        assert not pose.module.training
        for name, tensor in pose.module.state_dict().items():
            np.testing.assert_array_equal(tensor.numpy(), pose.checkpoint.weights[name])
        with torch.no_grad():
            found = pose.module(torch.from_numpy(narrow_inputs())).numpy()
        np.testing.assert_allclose(found, pose(narrow_inputs()), rtol=0, atol=1e-5)

    def test_another_backend_has_none(self):
        pytest.importorskip("onnxruntime")
        pose = deeppose_port.Pose(random_checkpoint(), "onnx")
        with pytest.raises(BackendError, match=r'the backend onnx has no module of PyTorch.*backend="torch"'):
            _ = pose.module


def test_the_package_shows_its_names():
    assert set(deeppose_port.__all__) <= set(dir(deeppose_port))
    assert all(getattr(deeppose_port, name) is not None for name in deeppose_port.__all__)


def test_a_notebook_shows_a_line_not_arrays():
    checkpoint = random_checkpoint()
    assert repr(checkpoint) == f"<Checkpoint in memory: alexnet, 7 joints, {checkpoint.parameters:,} parameters>"
    shown = "<Pose in memory: alexnet, 7 joints, inputs of 220 x 220, torch on cpu>"
    pose = deeppose_port.Pose(checkpoint, preprocessing=Preprocessing(im_size=228))
    assert repr(deeppose_port.Pose(checkpoint)) == shown
    assert "<td" in checkpoint._repr_html_()
    assert "220 pixels a side" in checkpoint._repr_html_()
    assert "228 pixels a side" in pose._repr_html_()
    assert "torch on cpu" in pose._repr_html_()


def test_a_notebook_shows_a_cascade():
    cascade = Cascade((Stage((random_checkpoint(),)), later_stage()))
    assert repr(cascade).startswith("<Cascade in memory: alexnet, 7 joints, 2 stages, ")
    pose = deeppose_port.load(cascade)
    assert repr(pose) == "<CascadePose in memory: alexnet, 7 joints, 2 stages, inputs of 220 x 220, torch on cpu>"
    for value in (cascade, pose):
        assert "close-ups of 2 diameters" in value._repr_html_()
