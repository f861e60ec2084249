"""Options of commands that say what pictures, persons and skeletons are."""

import json
import sys

import cv2
import numpy as np
import pytest

import converters
from converters import Preprocessing
from deeppose_port.cli import main
from tests.conftest import PICTURES
from tests.helpers.networks import random_checkpoint

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: The joints of free.csv under other names.
SKELETON = """
name = "mine"
joints = ["l_wrist", "l_elbow", "l_shoulder", "top", "r_shoulder", "r_elbow", "r_wrist"]
torso = ["l_shoulder", "r_elbow"]
head = ["top", ["l_shoulder", "r_shoulder"]]
head_factor = 0.5
[pcp]
"upper arm" = ["l_shoulder", "l_elbow"]
"""
PERSONS = ("--csv", str(PICTURES / "free.csv"), "--images", str(PICTURES))


@pytest.fixture
def skeleton(tmp_path):
    (tmp_path / "mine.toml").write_text(SKELETON)
    return str(tmp_path / "mine.toml")


@pytest.fixture
def checkpoint(tmp_path):
    def write(**told):
        converters.write(random_checkpoint(preprocessing=Preprocessing(**told)), tmp_path / "some.pt", force=True)
        return str(tmp_path / "some.pt")

    return write


def run(capsys, *arguments, expected=0):
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == expected
    return capsys.readouterr()


class TestSkeleton:
    def test_any_csv_is_evaluated_with_a_users_skeleton(self, checkpoint, skeleton, capsys):
        shown = run(capsys, "eval", checkpoint(), *PERSONS, "--skeleton", skeleton, "--json")
        assert (
            "the head sizes are 0.5 times the distance from top to the middle of l_shoulder and r_shoulder" in shown.err
        )
        mine = json.loads(shown.out)
        flic = json.loads(run(capsys, "eval", checkpoint(), *PERSONS, "--skeleton", "FLIC", "--json").out)
        assert list(mine["error_px"].values()) == list(flic["error_px"].values())
        assert next(iter(mine["error_px"])) == "l_wrist"
        assert list(mine["pcp"]) == ["upper arm", "mean"]
        assert mine["pcp"]["upper arm"] == flic["pcp"]["left upper arm"]
        assert mine["pckh"]["total"] is not None is flic["pckh"]
        assert mine["pdj"]["0.2"]["top"] is not None is flic["pdj"]

    def test_joints_that_the_checkpoint_names_need_no_skeleton(self, checkpoint, skeleton, tmp_path, capsys):
        names = tuple(tomllib.loads(SKELETON)["joints"])
        file = checkpoint(joints=names, limbs=((2, 1), (4, 5)))
        told = json.loads(run(capsys, "eval", file, *PERSONS, "--json").out)
        mine = json.loads(run(capsys, "eval", file, *PERSONS, "--skeleton", skeleton, "--json").out)
        assert told["error_px"] == mine["error_px"]
        assert told["pcp"]["l_shoulder to l_elbow"] == mine["pcp"]["upper arm"]
        assert list(told["pcp"]) == ["l_shoulder to l_elbow", "r_shoulder to r_elbow", "mean"]
        shown = run(capsys, "eval", file, *PERSONS).out
        assert "PDJ, PCK    not defined: the checkpoint has no torso" in shown
        assert "limb" not in run(capsys, "eval", checkpoint(joints=names), *PERSONS).out.replace("of the limbs", "")

    def test_joints_of_one_order_are_not_compared_with_another(self, checkpoint, skeleton, capsys):
        names = ("l_elbow", "l_wrist", "l_shoulder", "top", "r_shoulder", "r_elbow", "r_wrist")
        for command in (("eval", *PERSONS), ("predict", str(PICTURES / "coffee.png"), "-o", "out")):
            shown = run(capsys, command[0], checkpoint(joints=names), *command[1:], "--skeleton", skeleton, expected=2)
            assert "its joints are those of mine in another order: joint 0 is l_elbow, not l_wrist" in shown.err

    def test_a_network_that_nothing_is_told_of_needs_one(self, tmp_path, capsys):
        converters.write(random_checkpoint(joints=9), tmp_path / "nine.pt")
        shown = run(capsys, "show", tmp_path / "nine.pt", *PERSONS, expected=2)
        assert (
            "nothing says what its 9 joints are (name them with --skeleton: flic, lsp, mpii, coco, flic11, or a .toml "
            "file of your own)" in shown.err
        )


class TestPictures:
    @pytest.fixture
    def cut(self, tmp_path):
        noise = np.random.RandomState(0).randint(0, 256, (60, 80, 3)).astype(np.uint8)
        whole = cv2.imencode(".jpg", noise)[1].tobytes()
        (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
        return tmp_path / "cut.jpg"

    def test_jpeg_that_is_cut_off_is_taken_on_request(self, checkpoint, cut, tmp_path, capsys):
        shown = run(capsys, "predict", checkpoint(), cut, "-o", tmp_path / "out", expected=2)
        assert "cut.jpg: cannot be decoded; is it a whole picture, or cut off?" in shown.err
        run(capsys, "predict", checkpoint(), cut, "-o", tmp_path / "out", "--allow-truncated")
        assert (tmp_path / "out" / "cut_pose.png").exists()

    @pytest.mark.parametrize(
        "command", [("eval", "--skeleton", "flic"), ("show",), ("predict", "-o", "OUT"), ("persons", "-o", "OUT")]
    )
    def test_too_many_pixels_are_told_with_the_way_out(self, checkpoint, command, tmp_path, capsys):
        given = [str(tmp_path / "out") if word == "OUT" else word for word in command]
        arguments = (given[0], checkpoint(), *PERSONS, *given[1:])
        shown = run(capsys, *arguments, "--max-pixels", 200_000, expected=2)
        assert "512 x 512 pixels are more than the 200,000 that are decoded (--max-pixels" in shown.err
        run(capsys, *arguments, "--max-pixels", 600 * 600)


class TestSize:
    def test_width_and_height_of_a_letterbox(self, checkpoint, capsys):
        # A network of 220 to 228 pixels a side sees a letterbox of another shape in no layer that would notice.
        told = {"part": "letterbox", "frame": "unit"}
        square = run(capsys, "show", checkpoint(**told), "--samples", 2, "--json")
        wide = run(capsys, "show", checkpoint(**told), "--samples", 2, "--json", "--im-size", "200x210")
        shapes = [json.loads(shown.out)["layers"][0]["shape"] for shown in (square, wide)]
        assert shapes == [[8, 53, 53], [8, 51, 48]]

    @pytest.mark.parametrize("size", ["x", "12x", "1x2x3", "big"])
    def test_what_is_no_size_is_refused(self, checkpoint, size, capsys):
        shown = run(capsys, "show", checkpoint(), "--im-size", size, expected=2)
        assert f"--im-size {size}: write the input's side as 220, or its width and height as 192x256" in shown.err

    def test_only_a_letterbox_has_two_sides(self, checkpoint, capsys):
        shown = run(capsys, "show", checkpoint(), "--im-size", "192x256", expected=2)
        assert "only a letterbox has one" in shown.err


def test_training_takes_a_users_skeleton_and_names_its_joints(skeleton, tmp_path, capsys):
    network = (
        "--width",
        "8,12,16,16,12,32,32",
        "--batch-size",
        8,
        "--backend",
        "torch",
        "--epochs",
        1,
        "--im-size",
        64,
    )
    data = ("--train-csv", PICTURES / "free.csv", "--images", PICTURES, "--skeleton", skeleton)
    run(capsys, "train", *network, *data, "-o", tmp_path / "results")
    trained = converters.read(tmp_path / "results" / "epoch-1.pt", state=False)
    assert trained.preprocessing.joints == (
        "l_wrist",
        "l_elbow",
        "l_shoulder",
        "top",
        "r_shoulder",
        "r_elbow",
        "r_wrist",
    )
