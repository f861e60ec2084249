"""Later stages of a cascade are trained as the first is, in each backend."""

import json
import re

import cv2
import numpy as np
import pytest

import converters
import deeppose_port
from converters.cascade import Cascade, CloseUp, Stage
from converters.errors import DeepPoseError
from deeppose_port.backends.stages import _network
from deeppose_port.cli import main
from deeppose_port.data import PackError, PoseDataset, skeletons
from deeppose_port.data.displacements import measured
from deeppose_port.data.pack.index import PackOptions
from deeppose_port.data.pack.packing import pack
from deeppose_port.evaluate.stages import evaluate_stages
from deeppose_port.metrics.predictions import predictions_of
from deeppose_port.training.options import StageOptions
from deeppose_port.training.stage import opposing_joints
from deeppose_port.training.start import starting_point
from tests.helpers.networks import random_checkpoint
from tests.helpers.trainings import run, small_options, write_csv

#: Some 40 close-ups in batches of 16 cross the edge of every epoch.
STAGE = {"stage": 2, "draws": 1, "batch_size": 16, "valid_freq": 0, "width": None, "im_size": None, "dropout": None}
VARIED = {"rotate": True, "zoom": True, "translate": True}


@pytest.fixture(scope="module")
def first(tmp_path_factory, pictures):
    """A first stage that has learned a little, so that its torsos have a length."""
    folder = tmp_path_factory.mktemp("first")
    run(folder, pictures, epochs=3, valid_freq=0, snapshot=3)
    return folder / "results" / "epoch-3.pt"


def train_stage(folder, pictures, first, backend="torch", **given):
    """Trains a second stage; returns what it told."""
    return run(folder, pictures, backend, **{**STAGE, "before": first, "epochs": 1} | given)


def test_a_first_stage_of_heat_maps_is_asked_as_it_answers(tmp_path, pictures):
    given = {"architecture": "hourglass", "stacks": 1, "width": "4,4,4", "im_size": 64, "dropout": None}
    checkpoint = starting_point(small_options(tmp_path, pictures, **given), 7).checkpoint
    assert checkpoint.preprocessing.peak == "corner"
    inputs = np.random.RandomState(0).randn(3, 3, 64, 64).astype(np.float32)
    np.testing.assert_array_equal(_network(checkpoint, "torch", "cpu")(inputs), deeppose_port.Pose(checkpoint)(inputs))


class TestResult:
    def test_it_is_a_cascade_that_answers_as_the_training_validated(self, tmp_path, pictures, first, backend):
        csv = write_csv(tmp_path / "test.csv", pictures, count=4)
        told = train_stage(tmp_path, pictures, first, backend, test_csv=csv, valid_freq=1)
        found = converters.read(tmp_path / "results" / "epoch-1.pt")
        assert isinstance(found, Cascade)
        assert len(found.stages) == 2
        assert found.stages[1].shared
        weights = converters.read(first).weights
        assert all(np.array_equal(found.first.weights[name], array) for name, array in weights.items())
        pose = deeppose_port.load(found, backend)
        persons = PoseDataset(csv, images=pictures, skeleton="flic", preprocessing=pose.preprocessing)
        before, after = evaluate_stages(pose, persons)
        entry = told.entries[-1]
        expected = entry["validation/main/mean_error_px"]
        assert after["mean_error_px"].overall == pytest.approx(expected, abs=2e-3)
        assert before["mean_error_px"].overall != pytest.approx(expected, abs=0.1)
        said = next(notice for notice in told.notices if notice.startswith("stage 1 on the 4 persons"))
        assert f"Mean error {before['mean_error_px'].overall:.2f} px  PCP@0.5, strict " in said

    def test_statistics_are_made_of_the_first_stage_and_stored(self, tmp_path, pictures, first, backend):
        told = train_stage(tmp_path, pictures, first, backend)
        close_up = converters.read(tmp_path / "results" / "last.pt").stages[1].close_up
        pose = deeppose_port.load(first, backend)
        persons = PoseDataset(
            tmp_path / "train.csv", images=pictures, skeleton="flic", preprocessing=pose.preprocessing
        )
        skeleton = skeletons.get("flic")
        assert close_up == measured(persons, predictions_of(pose, persons).predicted, 1.1, skeleton.diameter)
        stored = json.loads((tmp_path / "results" / "displacements.json").read_text())
        assert (stored["sigma"], stored["draws"], stored["persons"]) == (1.1, 1, 6)
        assert stored["opposing"] == [["left shoulder", "right elbow"], ["right shoulder", "left elbow"]]
        assert stored["mean"] == {name: list(row) for name, row in zip(skeleton.joints, close_up.mean, strict=True)}
        (shown,) = (notice for notice in told.notices if notice.startswith("stage 2 looks at squares of 1.1 diameters"))
        least, most = (f"{choose(map(max, close_up.deviation)):.2f}" for choose in (min, max))
        assert re.search(rf"deviate by {least} \(.+\) to {most} diameters \(.+\), see displacements\.json$", shown)

    def test_a_third_stage_comes_after_the_second(self, tmp_path, pictures, first, backend):
        train_stage(tmp_path, pictures, first, backend)
        second = tmp_path / "results" / "epoch-1.pt"
        train_stage(tmp_path, pictures, second, backend, stage=3, sigma=0.8, output=tmp_path / "third")
        three = converters.read(tmp_path / "third" / "epoch-1.pt")
        assert [stage.close_up and stage.close_up.sigma for stage in three.stages] == [None, 1.1, 0.8]
        two = converters.read(second)
        assert three.stages[1].close_up == two.stages[1].close_up
        assert three.networks["stage2"].optimizer is None
        weights = two.networks["stage2"].weights
        assert all(np.array_equal(three.networks["stage2"].weights[name], array) for name, array in weights.items())
        picture = cv2.imread(str(pictures / "astronaut.png"))
        assert deeppose_port.load(three, backend).predict_stages(picture).shape == (3, 7, 2)

    def test_the_architecture_stays_unless_another_is_said(self, tmp_path, pictures, first):
        train_stage(tmp_path, pictures, first)
        found = converters.read(tmp_path / "results" / "epoch-1.pt")
        assert found.networks["stage2"].architecture == found.first.architecture
        assert found.networks["stage2"].preprocessing.im_size == 64
        train_stage(
            tmp_path, pictures, first, output=tmp_path / "o", architecture="resfpn-softargmax", width="0.1", im_size=32
        )
        other = converters.read(tmp_path / "o" / "epoch-1.pt")
        assert other.networks["stage2"].architecture.name == "resfpn-softargmax"
        assert other.networks["stage2"].preprocessing.im_size == 32


class TestResume:
    def test_it_goes_on_bit_for_bit(self, tmp_path, pictures, first, backend):
        varied = {**VARIED, "lr": 0.003, "epochs": 2}
        train_stage(tmp_path, pictures, first, backend, **varied)
        cut = tmp_path / "cut"
        train_stage(tmp_path, pictures, first, backend, **varied | {"epochs": 1}, output=cut)
        assert main(["train", "--resume", str(cut), "--epochs", "2", "-q"]) == 0
        for name in ("epoch-1.pt", "epoch-2.pt"):
            one, other = (converters.read(folder / name) for folder in (tmp_path / "results", cut))
            assert one.stages[1].close_up == other.stages[1].close_up
            first_tensors, second_tensors = (dict(each.tensors()) for each in (one, other))
            assert first_tensors.keys() == second_tensors.keys()
            assert all(np.array_equal(array, second_tensors[key]) for key, array in first_tensors.items())
            networks = one.networks["stage2"], other.networks["stage2"]
            assert networks[0].optimizer.step == networks[1].optimizer.step
            assert networks[0].progress == networks[1].progress

    def test_threads_change_nothing(self, tmp_path, pictures, first):
        told = [
            train_stage(tmp_path, pictures, first, threads=threads, output=tmp_path / str(threads), **VARIED)
            for threads in (1, 3)
        ]
        assert told[0].losses == told[1].losses

    def test_other_close_ups_are_refused(self, tmp_path, pictures, first):
        train_stage(tmp_path, pictures, first)
        for option, value in (("sigma", 3.0), ("opposing", ("left shoulder,right wrist",))):
            with pytest.raises(DeepPoseError, match=rf"epoch-1\.pt: its run began with another {option}"):
                train_stage(tmp_path, pictures, None, resume=tmp_path / "results", epochs=2, **{option: value})

    def test_another_stage_is_refused(self, tmp_path, pictures, first):
        train_stage(tmp_path, pictures, first)
        with pytest.raises(DeepPoseError, match="it is of stage 2, not of 3"):
            train_stage(tmp_path, pictures, None, resume=tmp_path / "results", epochs=2, stage=3)


class TestPack:
    def test_it_trains_as_its_pictures_do(self, tmp_path, pictures, first, backend):
        csv = write_csv(tmp_path / "train.csv", pictures)
        persons = PoseDataset(csv, images=pictures, skeleton="flic")
        pack(persons, tmp_path / "pack", PackOptions("flic", resolution=0, close_ups=9))
        expected = train_stage(tmp_path, pictures, first, backend, output=tmp_path / "pictures", **VARIED)
        packed = train_stage(tmp_path, pictures, first, backend, pack=tmp_path / "pack", **VARIED)
        assert packed.losses == expected.losses

    def test_one_without_the_pixels_is_refused(self, tmp_path, pictures, first):
        csv = write_csv(tmp_path / "train.csv", pictures)
        persons = PoseDataset(csv, images=pictures, skeleton="flic")
        pack(persons, tmp_path / "pack", PackOptions("flic", resolution=0))
        with pytest.raises(PackError, match=r"no pixels for those of line 2; make it again with close_ups") as refused:
            train_stage(tmp_path, pictures, first, pack=tmp_path / "pack")
        needed = float(str(refused.value).partition("with close_ups ")[2].partition(" ")[0])
        pack(persons, tmp_path / "enough", PackOptions("flic", resolution=0, close_ups=needed))
        train_stage(tmp_path, pictures, first, pack=tmp_path / "enough")


class TestRefused:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"before": None}, "name them with --from"),
            ({"stage": 1}, "say which stage to train, as --stage 2"),
            ({"stage": 3}, r"epoch-3\.pt: it has 1 stage; stage 3 comes after 2"),
            ({"stage": 0}, "stage is 0"),
            ({"draws": 0}, "draws is 0"),
            ({"sigma": 0.0}, "sigma is 0.0"),
            ({"sigma": -1.0}, "sigma is -1.0"),
            ({"base_zoom": 2.0}, "--base-zoom is of the first stage"),
            ({"opposing": ("left shoulder,left foot",)}, "flic has no 'left foot'"),
            ({"opposing": ("left shoulder",)}, "is not two joints"),
        ],
    )
    def test_options_that_say_nothing_sensible(self, tmp_path, pictures, first, given, message):
        with pytest.raises(DeepPoseError, match=message):
            train_stage(tmp_path, pictures, first, **given)
        assert not (tmp_path / "results").exists()

    def test_a_first_stage_of_other_joints(self, tmp_path, pictures):
        converters.write(random_checkpoint(joints=14), tmp_path / "other.pt")
        with pytest.raises(DeepPoseError, match=r"other\.pt: it has 14 joints, but flic has 7"):
            train_stage(tmp_path, pictures, tmp_path / "other.pt", width="8,12,16,16,12,32,32", im_size=64)

    def test_a_network_of_heat_maps_is_refused(self, tmp_path, pictures, first):
        given = {"architecture": "hourglass", "stacks": 1, "width": "4,4,4", "im_size": 64}
        with pytest.raises(DeepPoseError, match="hourglass answers heat maps, a later stage answers displacements"):
            train_stage(tmp_path, pictures, first, **given)

    def test_a_cascade_of_other_joints(self, tmp_path, pictures, golden):
        with pytest.raises(DeepPoseError, match="it has 9 joints, but flic has 7"):
            train_stage(tmp_path, pictures, golden / "takiyu-cascade")

    def test_an_answer_without_a_torso_names_the_person(self, tmp_path, pictures, first):
        """A first stage that answers one point for all joints: there is nothing to measure a close-up by."""
        checkpoint = converters.read(first)
        weights = {name: np.zeros_like(array) for name, array in checkpoint.weights.items()}
        converters.write(checkpoint.replace(weights=weights, optimizer=None), tmp_path / "zero.pt")
        csv = write_csv(tmp_path / "test.csv", pictures, count=2)
        with pytest.raises(DeepPoseError, match=r"test\.csv, line 1, picture .*: the torso has no length"):
            train_stage(tmp_path, pictures, tmp_path / "zero.pt", test_csv=csv)

    def test_whole_persons_do_not_start_from_a_cascade(self, tmp_path, pictures, first):
        network = converters.read(first)
        close_up = CloseUp(1.0, ((2, 4),), ((0.0, 0.0),) * 7, ((0.1, 0.1),) * 7)
        converters.write(Cascade((Stage((network,)), Stage((network,), close_up))), tmp_path / "two.pt")
        with pytest.raises(DeepPoseError, match=r"two\.pt: this is a cascade"):
            run(tmp_path, pictures, init=tmp_path / "two.pt")


class TestOpposing:
    def test_names_are_joints_of_the_skeleton(self):
        told = StageOptions(opposing=("left shoulder, right hip", "right shoulder,left hip"))
        assert opposing_joints(told, skeletons.get("lsp")) == ((9, 2), (8, 3))

    def test_a_skeleton_without_a_torso_needs_them(self):
        with pytest.raises(DeepPoseError, match="--opposing"):
            opposing_joints(StageOptions(), skeletons.Skeleton("none", ("a", "b")))


def test_the_command_line_says_it(tmp_path, pictures, first, capsys):
    write_csv(tmp_path / "train.csv", pictures)
    told = ["train", "--backend", "torch", "--train-csv", str(tmp_path / "train.csv"), "--images", str(pictures)]
    told += [
        "--skeleton",
        "flic",
        "--stage",
        "2",
        "--from",
        str(first),
        "--draws",
        "1",
        "--epochs",
        "1",
        "--recipe",
        "paper",
    ]
    assert main([*told, "--batch-size", "16", "-o", str(tmp_path / "results")]) == 0
    shown = capsys.readouterr().err
    measured = json.loads((tmp_path / "results" / "displacements.json").read_text())["deviation"]
    spread = sorted((max(deviation), joint) for joint, deviation in measured.items())
    told = [
        f"{deviation:.2f}{unit} ({joint})"
        for unit, (deviation, joint) in zip(["", " diameters"], spread[::6], strict=True)
    ]
    assert f"the errors of stage 1 deviate by {' to '.join(told)}, see displacements.json" in shown
    persons = PoseDataset(tmp_path / "train.csv", images=pictures, skeleton="flic")
    assert f"an epoch has {persons.visible.sum()} close-ups of 6 persons, 1 of each joint" in shown
    config = (tmp_path / "results" / "config.toml").read_text()
    assert f'from = "{first}"' in config
    assert "stage = 2\n" in config
    assert "fliplr = true\n" in config
    assert "shift" not in config
