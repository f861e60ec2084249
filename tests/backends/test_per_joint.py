"""A later stage of one network a joint is trained joint after joint, in each backend."""

import json
import shutil
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

import converters
import deeppose_port
from converters.errors import DeepPoseError
from converters.files import same_file
from deeppose_port.backends.training import train
from deeppose_port.cli import main
from deeppose_port.data import PoseDataset
from deeppose_port.evaluate.stages import evaluate_stages
from deeppose_port.training.start import starting_point
from tests.helpers.trainings import (
    KilledError,
    Recorded,
    ending,
    interrupt,
    killed_after,
    resumed,
    same_bits,
    small_options,
)

SKELETON = """\
joints = ["left shoulder", "right shoulder", "right hip"]
limbs = [["left shoulder", "right shoulder"]]
torso = ["left shoulder", "right hip"]
"""
NAMES = ("left shoulder", "right shoulder", "right hip")
#: Four persons; the third has no right shoulder, so that of it a joint fewer is learned.
POSES = [
    (60, 30, 30, 34, 36, 70),
    (64, 26, 34, 30, 40, 78),
    (58, 32, -1, -1, 34, 72),
    (70, 36, 38, 40, 44, 84),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A picture, its persons, a skeleton of three joints, and a first stage that answers about the mean pose."""
    folder = tmp_path_factory.mktemp("persons")
    noise = np.random.RandomState(3).randint(0, 256, (100, 100, 3)).astype(np.uint8)
    cv2.imwrite(str(folder / "noise.png"), noise)
    lines = [",".join(["noise.png", *map(str, pose)]) + "\n" for pose in POSES]
    (folder / "train.csv").write_text("".join(lines))
    (folder / "test.csv").write_text("".join(lines[:2]))
    (folder / "three.toml").write_text(SKELETON)
    drawn = starting_point(options_of(folder), 3).checkpoint
    weights = {**drawn.weights, "fc8.bias": np.array([0.25, -0.3, -0.25, -0.25, -0.1, 0.3], np.float32)}
    # It names its joints, as every network that was trained here does.
    named = replace(drawn.preprocessing, joints=NAMES, limbs=((0, 1),))
    converters.write(drawn.replace(weights=weights, preprocessing=named), folder / "first.pt")
    return folder


def options_of(folder, **given):
    """Options of a training on it."""
    return small_options(folder, folder, **{"skeleton": str(folder / "three.toml"), "width": "2,2,2,2,2,4,4"} | given)


def stage_of(folder, output, **given):
    """Options of a second stage of one network a joint: 3 or 4 close-ups an epoch, in batches of 2."""
    how = {"stage": 2, "per_joint": True, "draws": 1, "epochs": 2, "batch_size": 2, "valid_freq": 1, "fliplr": True}
    how |= {"before": folder / "first.pt", "width": None, "im_size": None, "dropout": None}
    return options_of(folder, **{**how, "test_csv": folder / "test.csv", "output": output, **given})


@pytest.fixture(scope="module")
def in_one_go(folder):
    """Trains the stage in one go in a backend, once; returns the result folder, and what was told."""

    @cache
    def whole(backend):
        watch = Recorded()
        train(stage_of(folder, folder / backend), backend, watch)
        return folder / backend, watch

    return whole


def test_it_is_a_cascade_of_one_network_a_joint(folder, in_one_go, backend):
    """Each was validated as it is used: the joints' errors are those that `eval` measures of the cascade."""
    output, watch = in_one_go(backend)
    found = converters.read(output / "last.pt")
    assert [len(stage.networks) for stage in found.stages] == [1, 3]
    assert [network.preprocessing.joints for network in found.stages[1].networks] == [(name,) for name in NAMES]
    before = converters.read(folder / "first.pt").weights
    assert all(np.array_equal(found.first.weights[name], array) for name, array in before.items())
    stored = json.loads((output / "displacements.json").read_text())
    assert stored["mean"] == dict(zip(NAMES, map(list, found.stages[1].close_up.mean), strict=True))
    for joint in range(3):
        own = converters.read(output / f"joint{joint}" / "epoch-2.pt")
        assert (own.joints, own.progress.epoch, own.progress.iteration) == (1, 2, 4 if joint != 1 else 3)
        weights = found.networks[f"stage2.joint{joint}"].weights
        assert all(np.array_equal(own.weights[name], array) for name, array in weights.items())
    pose = deeppose_port.load(output / "last.pt", backend)
    about = {"images": folder, "skeleton": folder / "three.toml", "preprocessing": pose.preprocessing}
    errors = [entry["validation/main/mean_error_px"] for entry in watch.entries if entry["epoch"] == 2]
    expected = evaluate_stages(pose, PoseDataset(folder / "test.csv", **about))[1]["mean_error_px"].values
    np.testing.assert_allclose(errors, expected, atol=2e-3)


class TestResume:
    def test_ended_in_the_middle_of_any_joint_it_goes_on_bit_for_bit(self, folder, in_one_go, backend, tmp_path):
        """In the second epoch of the first joint, before the second's first checkpoint, in the last by Ctrl-C."""
        whole, _ = in_one_go(backend)
        output = tmp_path / "ended"
        with pytest.raises(KilledError):
            train(stage_of(folder, output), backend, killed_after(3))
        with pytest.raises(KilledError):
            train(resumed(output), backend, killed_after(3))
        assert not (output / "joint1" / "epoch-1.pt").exists()
        assert train(resumed(output), backend, ending(5, interrupt)).stop.is_set()
        assert converters.read(output / "joint2" / "last.pt").progress.iteration == 2
        assert not (output / "last.pt").exists()
        assert main(["train", "--resume", str(output), "-q"]) == 0
        for name in ("last.pt", "best.pt"):
            assert (output / name).read_bytes() == (whole / name).read_bytes()
        for joint in range(3):
            names = sorted(path.name for path in (output / f"joint{joint}").glob("epoch-*.pt"))
            assert names == ["epoch-0.pt", "epoch-1.pt", "epoch-2.pt"]
            assert same_bits(*(each / f"joint{joint}" / "epoch-2.pt" for each in (output, whole)))
        told = (output / "config.toml").read_bytes()
        for epochs in (2, 1):
            with pytest.raises(DeepPoseError, match=rf"each joint has {epochs} epochs? .*a larger --epochs goes on"):
                train(resumed(output, epochs=epochs), backend)
        assert (output / "config.toml").read_bytes() == told

    def test_killed_while_the_joints_were_put_together(self, folder, in_one_go, tmp_path):
        """Its `last.pt` is then that of fewer epochs, or there is no `best.pt` yet."""
        whole, _ = in_one_go("torch")
        output = tmp_path / "killed"
        shutil.copytree(whole, output)
        (output / "ended").unlink(missing_ok=True)
        (output / "best.pt").unlink()
        shutil.copy(folder / "first.pt", output / "last.pt")
        train(resumed(output), "torch")
        for name in ("last.pt", "best.pt"):
            assert (output / name).read_bytes() == (whole / name).read_bytes()

    def test_a_joint_that_lost_patience_has_ended(self, folder, tmp_path):
        output = tmp_path / "killed"
        with pytest.raises(KilledError):
            train(stage_of(folder, output, patience=1, epochs=5, lr=1e-9, best="pdj@0.2"), "torch", killed_after(5))
        before = (output / "joint0" / "last.pt").read_bytes()
        assert converters.read(output / "joint0" / "last.pt").progress.epoch == 2
        train(resumed(output), "torch")
        assert (output / "joint0" / "last.pt").read_bytes() == before
        assert converters.read(output / "joint2" / "last.pt").progress.epoch == 2


class TestRefused:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"stage": 1, "before": None}, "the first stage is one network: --per-joint is for later ones"),
            ({"best": "pcp"}, "--best pcp is about limbs, and a network of one joint has none"),
            ({"eval_only": True}, "--eval-only is for a single network"),
            ({"init": "first.pt"}, r"first\.pt: it has 3 joints, but a network of one joint is trained .*--finetune"),
            ({"resume": "first.pt"}, r"first\.pt: this is no folder"),
            ({"resume": "."}, "it holds no stage of one network a joint to go on with"),
        ],
    )
    def test_options_that_say_nothing_sensible(self, folder, tmp_path, given, message):
        given = {key: folder / value if key in ("init", "resume") else value for key, value in given.items()}
        with pytest.raises(DeepPoseError, match=message):
            train(stage_of(folder, tmp_path / "results", **given), "torch")
        assert not (tmp_path / "results").exists()

    def test_a_joint_that_nobody_has(self, folder, tmp_path):
        (tmp_path / "none.csv").write_text("noise.png,60,30,-1,-1,36,70\nnoise.png,64,26,-1,-1,40,78\n")
        with pytest.raises(DeepPoseError, match=r"none\.csv: nobody has right shoulder"):
            train(stage_of(folder, tmp_path / "results", train_csv=tmp_path / "none.csv"), "torch")
        assert not (tmp_path / "results").exists()

    def test_a_folder_that_was_killed_before_it_had_begun(self, folder, tmp_path, monkeypatch):
        output, linked = tmp_path / "results", []

        def without_before(first, second):
            linked.append(same_file(first, second))
            assert not (output / "before.pt").exists()

        monkeypatch.setattr("deeppose_port.training.folder.same_file", without_before)
        with pytest.raises(KilledError):
            train(stage_of(folder, output), "torch", killed_after(1))
        assert len(linked) == 2
        (output / "before.pt").unlink()
        with pytest.raises(DeepPoseError, match=r"another run \(delete it, it ended before it had begun"):
            train(stage_of(folder, output), "torch")

    def test_a_folder_with_another_run(self, folder, tmp_path):
        with pytest.raises(KilledError):
            train(stage_of(folder, tmp_path / "results"), "torch", killed_after(1))
        with pytest.raises(DeepPoseError, match=r"this folder holds another run \(resume from it"):
            train(stage_of(folder, tmp_path / "results"), "torch")
        with pytest.raises(DeepPoseError, match="it is of stage 2, not of 3"):
            train(resumed(tmp_path / "results", stage=3), "torch")
        (tmp_path / "results" / "joint2").rename(tmp_path / "elsewhere")
        with pytest.raises(DeepPoseError, match=r"joint2: there is no such folder, and the stage needs it"):
            train(resumed(tmp_path / "results"), "torch")
        (tmp_path / "elsewhere").rename(tmp_path / "results" / "joint2")
        (tmp_path / "results" / "displacements.json").write_text("{}")
        with pytest.raises(DeepPoseError, match=r"displacements\.json: it does not tell the close-ups of the joints"):
            train(resumed(tmp_path / "results"), "torch")
