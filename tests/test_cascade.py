"""Takiyu's cascade answers as his program did; see golden/README.md."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import converters
import deeppose_port
from converters.cascade import Cascade, CloseUp, Stage
from converters.errors import DeepPoseError
from deeppose_port.cascade import CascadePose
from deeppose_port.data.close_up import CloseUpError, Rectangle, input_of, rectangle_of_face, scaled, squares
from deeppose_port.data.faces import NoFaceError, find_face
from tests.conftest import GOLDEN, PICTURES, SHARED_GOLDEN
from tests.helpers.networks import load_in, random_checkpoint, runners

FOLDER = GOLDEN / "takiyu-cascade"
RESULTS = json.loads((FOLDER / "expected.json").read_text())["results"]
#: Pixels of the picture by which a stage may differ: from the golden stage before it, and from the picture on.
ONE_STAGE, CHAINED = 1e-3, (5e-3, 0.1, 1.0)


def picture_of(result):
    name = result["picture"]
    if (PICTURES / name).exists():
        return cv2.imread(str(PICTURES / name))
    found = list((SHARED_GOLDEN / "images").glob(f"*/{name}"))
    if not found:
        pytest.skip(f"{name} is somebody else's picture, and {SHARED_GOLDEN} is not here")
    return cv2.imread(str(found[0]))


@pytest.fixture(scope="module", params=runners())
def pose(request):
    return load_in(FOLDER, request.param)


@pytest.fixture(params=RESULTS, ids=lambda result: result["picture"])
def result(request):
    return request.param


class TestTakiyu:
    def test_the_first_stage_sees_and_answers_the_same(self, pose, result):
        picture, rule = picture_of(result), pose.cascade.face
        rectangle = rectangle_of_face(result["face"], rule)
        assert np.array_equal(rectangle.matrix(220, 220), np.array(result["mat0"])[:2])
        inputs = input_of(scaled(picture, pose.preprocessing), rectangle, pose.preprocessing)
        expected = np.array(result["out0"])
        assert np.abs(pose.first(inputs[None]) - expected).max() <= 3e-6 * max(1, np.abs(expected).max())

    @pytest.mark.parametrize("stage", [1, 2])
    def test_a_stage_from_the_stage_before_it(self, pose, result, stage):
        expected, whole = np.array(result["stages_in_order"]), pose.cascade
        alone = CascadePose(Cascade((whole.stages[0], whole.stages[stage]), whole.face), pose.first.backend)
        _, answered = alone.predict_stages(picture_of(result), start=expected[stage - 1])
        assert np.abs(answered - expected[stage]).max() <= ONE_STAGE

    @pytest.mark.parametrize(("legacy_order", "key"), [(False, "stages_in_order"), (True, "stages")])
    def test_all_stages_from_the_picture_on(self, pose, result, legacy_order, key):
        stages = pose.predict_stages(picture_of(result), face=result["face"], legacy_order=legacy_order)
        assert stages.shape == (3, 9, 2)
        for answered, expected, bound in zip(stages, result[key], CHAINED, strict=True):
            assert np.abs(answered - expected).max() <= bound

    def test_the_last_stage_is_the_answer(self, pose):
        picture, face = picture_of(RESULTS[0]), RESULTS[0]["face"]
        for order in (False, True):
            stages = pose.predict_stages(picture, face=face, legacy_order=order)
            assert np.array_equal(pose.predict(picture, face=face, legacy_order=order), stages[-1])

    def test_the_two_orders_part_at_the_third_stage(self, pose):
        picture, face = picture_of(RESULTS[0]), RESULTS[0]["face"]
        ordered, mixed = (pose.predict_stages(picture, face=face, legacy_order=order) for order in (False, True))
        assert np.array_equal(ordered[:2], mixed[:2])
        assert np.abs(ordered[2] - mixed[2]).max() > 50


class TestFace:
    @pytest.mark.parametrize("result", [r for r in RESULTS if r["detected"]], ids=lambda result: result["picture"])
    def test_it_is_the_box_that_the_program_found(self, result):
        assert list(find_face(picture_of(result))) == result["face"]

    @pytest.mark.parametrize("name", ["coffee.png", "004645041.jpg"])
    def test_there_is_none_where_the_program_found_none(self, name):
        result = next(r for r in RESULTS if r["picture"] == name)
        with pytest.raises(NoFaceError, match="--face"):
            find_face(picture_of(result))

    def test_an_opencv_without_its_detector_is_named(self, monkeypatch):
        monkeypatch.delattr(cv2, "CascadeClassifier", raising=False)
        with pytest.raises(DeepPoseError, match=r"has no detector of Viola and Jones.*opencv-python-headless<5"):
            find_face(picture_of(RESULTS[0]))

    def test_without_a_face_the_largest_is_found(self, pose):
        picture = picture_of(RESULTS[0])
        assert np.array_equal(pose.predict(picture), pose.predict(picture, face=RESULTS[0]["face"]))

    @pytest.mark.parametrize("face", [(1, 2, 3), (0, 0, 0, 10), (0, 0, -5, 10), (0, float("nan"), 5, 5)])
    def test_what_is_no_face_is_refused(self, pose, face):
        with pytest.raises(CloseUpError):
            pose.predict(picture_of(RESULTS[0]), face=face)

    def test_box_and_face_at_once_are_refused(self, pose):
        with pytest.raises(DeepPoseError, match="give one of them"):
            pose.predict(picture_of(RESULTS[0]), (0, 0, 5, 5), face=(0, 0, 5, 5))


class TestSquares:
    def test_side_and_middle(self):
        pose = np.array([[0.0, 0], [30, 40], [30, 0], [0, 40]])
        close_up = CloseUp(2.0, ((0, 1), (2, 3)))  # both diagonals are 50
        assert squares(pose, close_up)[1] == Rectangle(30, 40, 100, 100)
        assert squares(pose, CloseUp(1.0, ((0, 2),)))[0] == Rectangle(0, 0, 30, 30)

    def test_a_torso_without_length_is_refused(self):
        with pytest.raises(CloseUpError, match="no length"):
            squares(np.ones((4, 2)), CloseUp(1.0, ((0, 1),)))

    def test_the_matrix_takes_the_corners_to_the_inputs(self):
        matrix = Rectangle(100, 60, 40, 20).matrix(220, 110)
        for corner, place in [((80, 50), (0, 0)), ((120, 50), (220, 0)), ((80, 70), (0, 110))]:
            assert np.allclose(matrix @ (*corner, 1), place)


class TestStages:
    def test_of_other_joints_are_refused(self):
        first, other = random_checkpoint(joints=7), random_checkpoint(joints=14)
        with pytest.raises(ValueError, match="stage 2 answers 14 joints and the first stage 7"):
            Cascade((Stage((first,)), Stage((other,), CloseUp(1.0, ((0, 1),)))))

    def test_a_later_one_needs_a_close_up(self):
        first = random_checkpoint(joints=7)
        with pytest.raises(ValueError, match="stage 2 has no close-up"):
            Cascade((Stage((first,)), Stage((first,))))

    @pytest.mark.parametrize("sigma", [0, -1, float("nan"), float("inf")])
    def test_sigma_is_positive(self, sigma):
        with pytest.raises(ValueError, match="sigma"):
            CloseUp(sigma, ((0, 1),))

    def test_close_ups_come_back_from_their_dict(self):
        rule = CloseUp(1.5, ((0, 7), (3, 6)), mean=((0.1, 0.2),) * 9, deviation=((0.3, 0.4),) * 9)
        assert CloseUp.from_dict(json.loads(json.dumps(rule.as_dict()))) == rule

    def test_one_network_for_all_joints_answers_each_from_its_own_square(self):
        """Closed form: stage 2 is the first stage's network, whose answer to a square is what it is by itself."""
        checkpoint = random_checkpoint(joints=7)
        cascade = CascadePose(Cascade((Stage((checkpoint,)), Stage((checkpoint,), CloseUp(1.0, ((2, 4),))))))
        picture = picture_of(RESULTS[0])
        first, second = cascade.predict_stages(picture)
        side = np.linalg.norm(first[2] - first[4])
        for joint in range(7):
            square = Rectangle(*first[joint], side, side)
            output = cascade.first(input_of(picture, square, checkpoint.preprocessing)[None])[0].reshape(7, 2)[joint]
            assert np.abs(first[joint] + output * side - second[joint]).max() <= 1e-3

    def test_a_video_is_followed_from_pose_to_pose(self):
        """Closed form: a stage that always answers the same moves a pose by the same part of a square."""
        checkpoint, move = random_checkpoint(joints=7), np.array([0.02, -0.01])
        flat = {"fc8.weight": np.zeros_like(checkpoint.weights["fc8.weight"])}
        flat["fc8.bias"] = np.tile(move, 7).astype(np.float32)
        later = Stage((checkpoint.replace(weights={**checkpoint.weights, **flat}),), CloseUp(1.0, ((2, 4),)))
        pose = CascadePose(Cascade((Stage((checkpoint,)), later)))
        frames = np.random.default_rng(0).integers(0, 256, (3, 60, 80, 3), np.uint8)
        begin = points = np.random.default_rng(1).uniform(10, 50, (7, 2))
        for frame in frames:
            before, points = pose.predict_stages(frame, start=points)
        side = np.linalg.norm(begin[2] - begin[4])
        np.testing.assert_allclose(points, begin + 3 * side * move, atol=1e-4)
        np.testing.assert_allclose(before, begin + 2 * side * move, atol=1e-4)
        assert np.array_equal(pose.predict(frames[0], (0, 0, 9, 9), start=begin), pose.predict(frames[0], start=begin))

    @pytest.mark.parametrize("start", [np.ones((6, 2)), np.full((7, 2), np.nan), np.ones(14)])
    def test_a_pose_that_is_none_is_no_start(self, start):
        pose = CascadePose(Cascade((Stage((random_checkpoint(joints=7),)),)))
        with pytest.raises(DeepPoseError, match=r"the pose to start from, .*, is not \(7, 2\), or not finite"):
            pose.predict(np.zeros((60, 80, 3), np.uint8), start=start)


class TestFolder:
    @pytest.fixture
    def folder(self, tmp_path):
        for path in FOLDER.iterdir():
            (tmp_path / path.name).symlink_to(path)
        return tmp_path

    @pytest.mark.parametrize("name", ["best_model_s1_j3.npz", "best_model_s0.npz", "facial_normalizer.npy"])
    def test_what_is_missing_is_named(self, folder, name):
        (folder / name).unlink()
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            deeppose_port.load(folder)

    def test_a_missing_stage_is_named(self, folder):
        for joint in range(9):
            (folder / f"best_model_s1_j{joint}.npz").unlink()
        with pytest.raises(ValueError, match=r"best_model_s1_j0\.npz: there is no such file"):
            deeppose_port.load(folder)

    def test_files_of_another_training_are_refused(self, folder):
        (folder / "best_model_s1_j0.npz").unlink()
        (folder / "best_model_s1_j0.npz").symlink_to(FOLDER / "best_model_s0.npz")
        with pytest.raises(ValueError, match=r"best_model_s1_j0\.npz.*two trainings"):
            deeppose_port.load(folder)

    def test_a_joint_beyond_the_ninth_is_refused(self, folder):
        (folder / "best_model_s1_j9.npz").symlink_to(FOLDER / "best_model_s1_j0.npz")
        with pytest.raises(ValueError, match=r"best_model_s1_j9\.npz"):
            deeppose_port.load(folder)

    @pytest.mark.parametrize(
        "values", [np.ones(4), np.ones((2, 2), int), np.array([[0, 0], [0, 1.0]]), np.full((2, 2), np.nan), "object"]
    )
    def test_a_normalizer_that_is_none_is_refused(self, folder, values):
        path = folder / "facial_normalizer.npy"
        path.unlink()
        np.save(path, np.array([None, 1], object) if isinstance(values, str) else values, allow_pickle=True)
        with pytest.raises(ValueError, match=r"facial_normalizer\.npy"):
            converters.read(folder)

    def test_the_first_stage_alone_is_a_cascade_of_one(self, tmp_path):
        for name in ("best_model_s0.npz", "facial_normalizer.npy"):
            (tmp_path / name).symlink_to(FOLDER / name)
        assert deeppose_port.load(tmp_path).predict_stages(picture_of(RESULTS[0])).shape == (1, 9, 2)


def test_a_checkpoint_is_a_cascade_of_one_stage():
    pose = deeppose_port.load(random_checkpoint(joints=7))
    picture = picture_of(RESULTS[0])
    assert np.array_equal(pose.predict_stages(picture)[0], pose.predict(picture))


def test_the_golden_folder_is_whole():
    assert len(list(Path(FOLDER).glob("best_model_*.npz"))) == 19
