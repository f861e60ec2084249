"""A cascade goes wherever a checkpoint goes: the commands, against the library and in closed form."""

import csv
import json

import cv2
import numpy as np
import pytest

import converters
import deeppose_port
from converters.cascade import Cascade, CloseUp, Stage
from deeppose_port.data import PoseDataset
from deeppose_port.evaluate.stages import evaluate_stages
from tests.conftest import GOLDEN, PICTURES
from tests.helpers.networks import random_checkpoint
from tests.helpers.tables import tables_of

TAKIYU = GOLDEN / "takiyu-cascade"
ASTRONAUT, COFFEE = PICTURES / "astronaut.png", PICTURES / "coffee.png"
CLOSE_UP = CloseUp(2.0, ((2, 4),))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Three stages of 7 joints, a network each."""
    first, *later = (random_checkpoint(joints=7, seed=seed) for seed in (1, 2, 3))
    cascade = Cascade((Stage((first,)), *(Stage((network,), CLOSE_UP) for network in later)))
    path = tmp_path_factory.mktemp("cascade") / "cascade.pt"
    converters.write(cascade, path)
    return path


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A CSV of three persons."""
    lines = (PICTURES / "free.csv").read_text().splitlines(keepends=True)
    path = tmp_path_factory.mktemp("persons") / "few.csv"
    path.write_text("".join(lines[:3]))
    return path


@pytest.fixture
def persons(few):
    return "--csv", few, "--images", PICTURES


@pytest.fixture(scope="module")
def pose(file):
    return deeppose_port.load(file)


@pytest.fixture(scope="module")
def expected(pose, few):
    return evaluate_stages(pose, PoseDataset(few, images=PICTURES, skeleton="flic"))


@pytest.fixture(scope="module")
def takiyu():
    return deeppose_port.load(TAKIYU)


class TestConvert:
    def test_a_folder_is_one_checkpoint(self, run, tmp_path):
        folder = tmp_path / "takiyu"
        folder.symlink_to(TAKIYU)
        out, _ = run("convert", folder)
        assert len(converters.read(tmp_path / "takiyu.pt").stages) == 3
        assert "stage 2 close-ups of 1.5 diameters; alexnet-takiyu, 9 networks, one a joint" in " ".join(out.split())

    def test_and_among_others_too(self, run, file, tmp_path):
        (tmp_path / "disk").mkdir()
        (tmp_path / "disk" / "old").symlink_to(TAKIYU)
        (tmp_path / "disk" / "cascade.safetensors").symlink_to(file)
        found = run("inspect", tmp_path / "disk" / "old", tmp_path / "disk")[0]
        ((heading, *rows),) = tables_of(found)
        assert heading[:2] == ["file", "architecture"]
        assert [row[1] for row in rows] == ["alexnet-takiyu, 3 stages", "alexnet, 3 stages"]
        out, _ = run("convert", "-r", tmp_path / "disk", "-o", tmp_path / "new", "--to", "safetensors")
        assert "2 of 2 checkpoints converted" in out
        assert {path.name for path in (tmp_path / "new").iterdir()} == {"old.safetensors", "cascade.safetensors"}

    def test_one_network_of_it(self, run, file, tmp_path):
        run("convert", file, "--part", "stage2", "-o", tmp_path / "one.pt")
        assert converters.read(tmp_path / "one.pt").joints == 7

    def test_inspect_tells_every_stage(self, run, file):
        out, _ = run("inspect", file)
        assert "cascade    3 stages" in out
        assert "stage 3    close-ups of 2 diameters; alexnet, one network" in out
        values = json.loads(run("inspect", file, "--json")[0])
        assert [stage["crop"] and stage["crop"]["sigma"] for stage in values["stages"]] == [None, 2.0, 2.0]


class TestEval:
    def test_json_has_every_stage(self, run, file, persons, expected):
        values = json.loads(run("eval", file, *persons, "--json")[0])
        assert [stage["mean_error_px"] for stage in values["stages"]] == [
            one["mean_error_px"].overall for one in expected
        ]
        assert values["mean_error_px"] == values["stages"][-1]["mean_error_px"]
        first, *_, last = values["stages"]
        assert values["difference"]["mean_error_px"] == pytest.approx(last["mean_error_px"] - first["mean_error_px"])
        assert values["stages"][0].keys() <= values.keys()

    def test_stages_stand_side_by_side(self, run, file, persons, expected):
        tables = tables_of(run("eval", file, *persons)[0])
        by_name = {table[0][0]: table for table in tables}
        heading, *rows = by_name["metric"]
        assert heading[1:] == ["stage 1", "stage 2", "stage 3", "difference"]
        told = {row[0].partition(",")[0]: row[1:] for row in rows}["Mean error"]
        errors = [one["mean_error_px"].overall for one in expected]
        assert told == [*(f"{error:.2f} px" for error in errors), f"{errors[2] - errors[0]:+.2f}"]
        joints = {row[0]: row[1:] for row in by_name["joint: error, px"][1:]}
        for j, joint in enumerate(expected[0].skeleton.joints):
            assert joints[joint][:3] == [f"{one['mean_error_px'].values[j]:.2f}" for one in expected]

    def test_a_report_has_the_first_and_the_last_side_by_side_and_every_stage(
        self, run, file, persons, expected, tmp_path
    ):
        run("eval", file, *persons, "--report", tmp_path / "report")
        page = (tmp_path / "report" / "index.html").read_text()
        assert "<h3>Every stage</h3>" in page
        for evaluation in expected:
            assert f"<td>{evaluation['mean_error_px'].overall:.2f} px</td>" in page
        assert "stage 1 (cascade.pt, torch)" in page
        assert "stage 3 (cascade.pt, torch)" in page

    def test_a_folder_ranks_cascades_by_their_last_stage(self, run, file, persons, expected):
        values = json.loads(run("eval", file.parent, *persons, "--json")[0])
        assert values["checkpoints"][0]["mean_error_px"] == expected[-1]["mean_error_px"].overall

    def test_inputs_are_the_networks_own(self, run, file, persons):
        _, err = run("eval", file, *persons, "--im-size", "200", status=2)
        assert "cascade.pt: this is a cascade" in err

    def test_takiyus_persons_are_not_cut_out_by_faces(self, run, tmp_path):
        joints = ["lsho", "lelb", "lwri", "rsho", "relb", "rwri", "lhip", "rhip", "head"]
        (tmp_path / "nine.toml").write_text(f'name = "nine"\njoints = {json.dumps(joints)}\n')
        points = ",".join(f"{100 + 10 * i},{50 + 20 * i}" for i in range(9))
        (tmp_path / "persons.csv").write_text(f"astronaut.png,{points}\n")
        data = ("--csv", tmp_path / "persons.csv", "--images", PICTURES, "--skeleton", tmp_path / "nine.toml")
        assert "by the box of their joints, not by their faces" in run("eval", TAKIYU, *data, "--json")[1]

    def test_a_table_of_persons_has_every_stage(self, run, file, persons, expected, tmp_path):
        run("eval", file, *persons, "--persons", tmp_path / "persons.csv")
        heading, *rows = csv.reader((tmp_path / "persons.csv").read_text().splitlines())
        assert len(rows) == 3
        for row, person in zip(rows, range(3), strict=True):
            told = dict(zip(heading, row, strict=True))
            for number, evaluation in enumerate(expected, start=1):
                distances = np.linalg.norm(evaluation.predicted - evaluation.true, axis=2)[person]
                seen = evaluation.visible[person]
                assert float(told[f"stage {number}: mean_error_px"]) == pytest.approx(distances[seen].mean(), rel=1e-5)
                assert float(told[f"stage {number}: head px"]) == pytest.approx(distances[3], rel=1e-5)
            assert told["mean_error_px"] == told["stage 3: mean_error_px"]


class TestShow:
    @pytest.fixture
    def networks(self):
        return [random_checkpoint(joints=7, seed=seed) for seed in (1, 2)]

    @pytest.fixture
    def written(self, tmp_path):
        def write(first, second):
            converters.write(Cascade((Stage((first,)), Stage((second,), CLOSE_UP))), tmp_path / "two.pt")
            return tmp_path / "two.pt"

        return write

    def test_every_network_has_its_filters_and_its_activity(self, run, written, networks, tmp_path):
        out, _ = run("show", written(*networks), "--samples", "2", "-o", tmp_path / "inside")
        files = {f"stage{number}_{name}.png" for number in (1, 2) for name in ("filters", "histograms")}
        assert {path.name for path in (tmp_path / "inside").iterdir()} == files
        assert [line for line in out.splitlines() if line.startswith("stage")] == ["stage1: alexnet", "stage2: alexnet"]
        assert "over 2 synthetic pictures" in out
        assert "over 2 close-ups of synthetic pictures" in out

    def test_a_later_stage_that_answers_one_thing_is_found(self, run, written, networks):
        first, second = networks
        flat = second.replace(weights={**second.weights, "fc8.weight": np.zeros_like(second.weights["fc8.weight"])})
        values = json.loads(run("show", written(first, flat), "--samples", "2", "--json")[0])
        ((one,), (two,)) = (stage["networks"] for stage in values["stages"])
        assert (one["part"], two["part"]) == ("stage1", "stage2")
        assert one["verdict"] != "constant"
        assert (two["verdict"], two["output_std"]) == ("constant", 0)
        assert {row["name"] for row in two["tensors"]} == second.weights.keys()

    def test_a_first_stage_without_a_torso_leaves_nothing_to_see(self, run, written, networks):
        first, second = networks
        nothing = {name: np.zeros_like(first.weights[name]) for name in ("fc8.weight", "fc8.bias")}
        out, _ = run("show", written(first.replace(weights={**first.weights, **nothing}), second), "--samples", "2")
        assert "collapsed to a constant answer" in out
        assert "It sees nothing: synthetic picture 1: the torso has no length in the stage before" in out


class TestPredict:
    def test_stages_are_the_librarys(self, run, pose, file, tmp_path):
        run("predict", file, ASTRONAUT, "--backend", "torch", "--box", "30,10,300,380", "-o", tmp_path, "--stages")
        (told,) = json.loads((tmp_path / "predictions.json").read_text())["pictures"]
        expected = pose.predict_stages(cv2.imread(told["image"]), (30, 10, 300, 380))
        np.testing.assert_allclose(told["stages"], expected, atol=1e-3)
        assert told["points"] == told["stages"][-1]

    def test_a_table_has_the_last_or_all_of_them(self, run, pose, file, tmp_path):
        for folder, options in (("a", ()), ("b", ("--stages",))):
            run("predict", file, ASTRONAUT, "-o", tmp_path / folder, "--format", "csv", "--backend", "torch", *options)
        (_, last), (heading, all_of_them) = (
            csv.reader((tmp_path / folder / "predictions.csv").read_text().splitlines()) for folder in "ab"
        )
        expected = pose.predict_stages(cv2.imread(str(ASTRONAUT)))
        np.testing.assert_allclose(np.array(last[1:], float), expected[-1].reshape(-1), atol=1e-3)
        assert all_of_them[1:15] == last[1:]
        np.testing.assert_allclose(np.array(all_of_them[15:], float), expected.reshape(-1), atol=1e-3)
        assert heading[15:17] == ["stage 1: left wrist x", "stage 1: left wrist y"]
        drawings = [(tmp_path / folder / "astronaut_pose.png").read_bytes() for folder in "ab"]
        assert drawings[0] != drawings[1]

    def test_a_video_has_them_a_line_each(self, run, file, tmp_path):
        writer = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 8.0, (96, 64))
        for _ in range(2):
            writer.write(cv2.resize(cv2.imread(str(ASTRONAUT)), (96, 64)))
        writer.release()
        run("predict", file, tmp_path / "clip.mp4", "-o", tmp_path / "out", "--stages")
        lines = [json.loads(line) for line in (tmp_path / "out" / "clip_pose.jsonl").read_text().splitlines()]
        assert [np.shape(line["stages"]) for line in lines] == [(3, 7, 2)] * 2

    def test_a_face_is_found_and_who_has_none_is_named(self, run, takiyu, tmp_path):
        _, err = run("predict", TAKIYU, COFFEE, ASTRONAUT, "-o", tmp_path, "--backend", "torch", status=3)
        assert f"{COFFEE}: no face is found in it" in err
        assert "--face x,y,w,h" in err
        (told,) = json.loads((tmp_path / "predictions.json").read_text())["pictures"]
        expected = takiyu.predict(cv2.imread(str(ASTRONAUT)), face=(183, 72, 84, 84))
        np.testing.assert_allclose(told["points"], expected, atol=1e-3)

    def test_the_programs_own_order_from_a_face_that_is_given(self, run, takiyu, tmp_path):
        options = ("--legacy-order", "--face", "240,40,120,120", "--stages", "--json", "--backend", "torch")
        (told,) = json.loads(run("predict", TAKIYU, COFFEE, *options, "-o", tmp_path)[0])["pictures"]
        golden = json.loads((TAKIYU / "expected.json").read_text())["results"]
        expected = next(result["stages"] for result in golden if result["picture"] == "coffee.png")
        for told_stage, stage, bound in zip(told["stages"], expected, (5e-3, 0.1, 1), strict=True):
            np.testing.assert_allclose(told_stage, stage, rtol=0, atol=bound + 1e-3)

    def test_what_does_not_go_with_a_file_is_refused(self, run, file, tmp_path):
        for option, said in (("--legacy-order", "legacy_order is that of takiyu's"), ("--face=1,2,3,4", "box instead")):
            _, err = run("predict", file, ASTRONAUT, option, "-o", tmp_path / "out", status=2)
            assert said in err
            assert not (tmp_path / "out").exists()

    def test_persons_of_a_csv_have_the_last_stages_errors(self, run, file, persons, expected, tmp_path):
        out, _ = run("persons", file, *persons, "-o", tmp_path)
        assert tables_of(out)[0][0][2:6] == ["stage 1, px", "stage 2, px", "stage 3, px", "error, px"]
        found = json.loads((tmp_path / "predictions.json").read_text())["persons"]
        for person, told in enumerate(found):
            assert told["error_px"] == told["stage_errors_px"][-1]
            for error, evaluation in zip(told["stage_errors_px"], expected, strict=True):
                distances = np.linalg.norm(evaluation.predicted - evaluation.true, axis=2)[person]
                assert error == pytest.approx(distances[evaluation.visible[person]].mean(), rel=1e-4)
        assert found[-1]["mean_legacy_error"] == pytest.approx(expected[-1]["legacy_error"].overall, rel=1e-4)
        assert len(found) == 3
