"""Comparisons of cascades: what is changed in a stage is found in that stage, by amounts that are known."""

import json

import numpy as np
import pytest

import converters
from converters.cascade import Cascade, CloseUp, FaceCrop, Stage
from deeppose_port.cascade import CascadePose
from deeppose_port.cli import main
from deeppose_port.data import PoseDataset
from deeppose_port.evaluate.cascades import compare_cascades
from deeppose_port.evaluate.made_up import MadeUpPictures
from deeppose_port.evaluate.verdict import Comparison
from tests.conftest import GOLDEN
from tests.helpers.networks import load_in, random_checkpoint, runners
from tests.helpers.pages import tree_of

CLOSE_UP = CloseUp(1.0, ((2, 4),), mean=((0.1, 0.2),) * 7, deviation=((0.3, 0.4),) * 7)


@pytest.fixture(autouse=True)
def few_of_them(monkeypatch):
    """Looks at the layers of one person, or of one synthetic picture."""
    monkeypatch.setattr("deeppose_port.evaluate.comparison.LOOKED_AT", 1)
    monkeypatch.setattr(MadeUpPictures, "__len__", lambda pictures: 1)


@pytest.fixture(scope="module")
def networks():
    return [random_checkpoint(joints=7, seed=seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def cascade(networks):
    first, *later = networks
    return Cascade((Stage((first,)), *(Stage((network,), CLOSE_UP) for network in later)))


@pytest.fixture(scope="module")
def file(cascade, tmp_path_factory):
    path = tmp_path_factory.mktemp("cascade") / "cascade.pt"
    converters.write(cascade, path)
    return path


@pytest.fixture
def few(pictures, tmp_path):
    """A CSV of two persons."""
    (tmp_path / "few.csv").write_text("".join((pictures / "free.csv").read_text().splitlines(keepends=True)[:2]))
    return tmp_path / "few.csv"


@pytest.fixture
def persons(few, pictures):
    return PoseDataset(few, images=pictures, skeleton="flic")


def moved(checkpoint, by):
    """A network whose answers are so much larger."""
    bias = checkpoint.weights["fc8.bias"] + np.float32(by)
    return checkpoint.replace(weights={**checkpoint.weights, "fc8.bias": bias})


def with_stage(cascade, number, network, close_up=CLOSE_UP):
    """The cascade with another network in a stage, counted from 1."""
    stages = list(cascade.stages)
    stages[number - 1] = Stage((network,), close_up if number > 1 else None)
    return Cascade(tuple(stages))


def compared(old, new, datasets=None, **options):
    return compare_cascades(CascadePose(old), CascadePose(new), datasets, **options)


@pytest.mark.parametrize("runner", runners("chainer", "onnxruntime"))
def test_a_cascade_is_itself_in_every_backend(cascade, runner):
    comparison = compare_cascades(CascadePose(cascade), load_in(cascade, runner))
    assert comparison.same
    assert comparison.first_parting is None
    assert [check.name for check in comparison.checks] == ["stage 1", "stage 2", "stage 3"]
    assert list(comparison.networks) == ["stage1", "stage2", "stage3"]
    for stage in comparison.stages[1:]:
        (one,) = stage.networks.values()
        assert (one.equal_inputs, len(one.old.input_hashes)) == (7, 7)
        assert 0 < one.layers[-1].relative < 1e-5, "two engines round otherwise"


def test_it_is_bit_for_bit_itself_in_one_backend_and_needs_no_tolerance(cascade, persons, monkeypatch):
    comparison = compared(cascade, cascade, (persons, persons), tolerance=0)
    assert comparison.same
    assert comparison.last.joints.maximum == 0
    assert all(row.agrees and not row.difference for row in comparison.metrics)
    assert comparison.headline == "The same cascade"
    json.dumps(comparison.as_dict(), allow_nan=False)
    verdicts = ("The same network, as PyTorch runs it", "The same network, diverged", "The same network")
    said = dict(zip(map(id, comparison.networks.values()), verdicts, strict=True))
    monkeypatch.setattr(Comparison, "headline", property(lambda one: said[id(one)]))
    assert comparison.headline == "The same cascade, diverged"


def test_a_network_that_differs_is_named_and_stages_after_it_are_compared_by_themselves(cascade, networks, persons):
    weights = {name: array.copy() for name, array in networks[1].weights.items()}
    weights["conv3.weight"][1, 1, 1, 1] += 1
    other = with_stage(cascade, 2, networks[1].replace(weights=weights))
    comparison = compared(cascade, other, (persons, persons))
    assert not comparison.same
    assert [check.passed for check in comparison.checks] == [True, False, True]
    assert comparison.first_parting == "stage2: conv3"
    assert "stage 2: weights: 15 of 16 tensors are equal" in comparison.sentence
    assert comparison.stages[1].joints.maximum > 0
    assert comparison.stages[2].joints.maximum > 0, "its own way has stage 2 before"
    assert comparison.networks["stage3"].joints.maximum == 0
    assert comparison.headline == "Not the same cascade"


def test_joints_part_by_the_share_of_the_square(cascade, networks, persons):
    """Closed form: an answer that is larger by 0.01 moves a joint 0.01 sides farther."""
    comparison = compared(cascade, with_stage(cascade, 2, moved(networks[1], 0.01)), (persons, persons))
    before, stage, _ = comparison.stages
    points = before.networks["stage1"].old.predicted
    sides = np.linalg.norm(points[:, 2] - points[:, 4], axis=1)
    assert before.joints.maximum == 0
    for joints in (stage.joints, stage.networks["stage2"].joints):
        assert joints.compared == 14
        assert joints.maximum == pytest.approx(0.01 * np.sqrt(2) * sides.max(), rel=1e-3)
    old, new = (evaluation.predicted for evaluation in stage.evaluations)
    assert np.array_equal(old, stage.networks["stage2"].old.predicted.reshape(2, 7, 2))
    np.testing.assert_allclose(new - old, np.broadcast_to(0.01 * sides[:, None, None], (2, 7, 2)), rtol=1e-3)


def test_what_a_stage_looks_at_is_compared(cascade, networks):
    other = with_stage(cascade, 3, networks[2], CloseUp(1.5, ((2, 4),), CLOSE_UP.mean, CLOSE_UP.deviation))
    comparison = compared(cascade, other)
    assert [check.passed for check in comparison.checks] == [True, True, False]
    assert (
        "old looks at squares of 1 diameters, between the joints 2 and 4, new at squares of 1.5" in comparison.sentence
    )
    assert comparison.networks["stage3"].equal_inputs < 7, "all that is not beyond the picture"


def test_displacements_that_only_training_needs_are_a_remark(cascade, networks):
    comparison = compared(cascade, with_stage(cascade, 3, networks[2], CloseUp(1.0, ((2, 4),))))
    assert comparison.same
    assert comparison.remarks == (
        "of stage 3, what the stage before was wrong by in training is not stored alike on both sides",
    )


def test_how_persons_are_cut_out_is_compared(cascade):
    faces = [FaceCrop((0.0, shift), (3.0, 3.0), (2, 4), ()) for shift in (1.0, 2.0)]
    comparison = compared(*(Cascade(cascade.stages[:1], face) for face in faces))
    assert [(check.name, check.passed) for check in comparison.checks] == [("persons", False), ("stage 1", True)]


def test_a_network_that_breaks_down_is_told(cascade, monkeypatch):
    poses = [CascadePose(cascade) for _ in range(2)]

    def broken(inputs):
        raise RuntimeError("maps do not fit")

    broken.layers = poses[1].stages[1][0].layers
    broken.activations = poses[1].stages[1][0]._predictor.activations
    monkeypatch.setattr(poses[1].stages[1][0], "_predictor", broken)
    comparison = compare_cascades(*poses)
    assert [check.passed for check in comparison.checks] == [True, False, True]
    assert "the new network broke down: RuntimeError: maps do not fit" in comparison.sentence
    assert comparison.as_dict()["new"]["failure"] == "RuntimeError: maps do not fit"
    assert comparison.last.joints.as_dict()["max_px"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda cascade, networks: Cascade(cascade.stages[:2]), "has 3 stages, .* has 2"),
        (lambda cascade, networks: Cascade((Stage((random_checkpoint(joints=14),)),)), "has 7 joints, .* has 14"),
        (
            lambda cascade, networks: Cascade(
                (*cascade.stages[:2], Stage((random_checkpoint(joints=1),) * 7, CLOSE_UP)),
            ),
            "has 1, 1, 1 networks in its stages, .* has 1, 1, 7",
        ),
    ],
)
def test_what_is_not_alike_at_a_glance_is_refused(cascade, networks, change, said):
    with pytest.raises(ValueError, match=f"{said}.*no two such cascades are the same"):
        compared(cascade, change(cascade, networks))


def test_a_torso_without_length_names_who_has_none(cascade, networks, persons):
    weights = networks[0].weights
    flat = {"fc8.weight": np.zeros_like(weights["fc8.weight"]), "fc8.bias": np.zeros_like(weights["fc8.bias"])}
    collapsed = with_stage(cascade, 1, networks[0].replace(weights={**weights, **flat}))
    with pytest.raises(ValueError, match=r"few\.csv, line 1, .*the torso has no length"):
        compared(collapsed, cascade, (persons, persons))
    with pytest.raises(ValueError, match=r"synthetic picture 1: the torso has no length.*--csv and --images"):
        compared(collapsed, cascade)


class TestCommand:
    @pytest.fixture
    def run(self, few, pictures, capsys):
        def run(*arguments, persons=True):
            data = ("--csv", few, "--images", pictures) if persons else ()
            status = main(["compare", *map(str, (*arguments, *data))])
            return status, capsys.readouterr()

        return run

    def test_a_conversion_is_the_same_and_so_is_its_page(self, run, file, tmp_path):
        converters.convert(file, tmp_path / "new.safetensors")
        status, shown = run(file, tmp_path / "new.safetensors", "--report", tmp_path / "page")
        assert status == 0, shown.err
        assert "\nthe same, with a tolerance of 1e-05" in shown.out
        assert "stage3" in shown.out
        assert f"old  {file} (alexnet, 3 stages; pt" in shown.out
        page = tree_of(tmp_path / "page" / "index.html")
        assert page.one("div", "verdict").one("h2").text == "The same cascade"
        summaries = [one.text for one in page.all("summary")]
        assert [text for text in summaries if text.startswith("stage")] == [f"stage{i}: the same" for i in (1, 2, 3)]
        assert [row[0] for row in page.all("table", "checks")[1].rows()] == ["stage 1", "stage 2", "stage 3"]

    def test_json_has_the_keys_of_single_networks_and_every_stage(self, run, file, tmp_path):
        status, shown = run(file, file, "--json", persons=False)
        values = json.loads(shown.out)
        assert (status, values["same"], values["made_up_pictures"]) == (0, True, 1)
        single = {"same", "verdict", "remarks", "tolerance", "first_parting", "checks", "old", "new", "persons"}
        single |= {"made_up_pictures", "weights", "inputs", "joints", "metrics", "metrics_agree", "environment"}
        assert values.keys() == {*single, "stages"}
        assert [[one["part"] for one in stage["networks"]] for stage in values["stages"]] == [
            ["stage1"],
            ["stage2"],
            ["stage3"],
        ]
        assert values["stages"][2]["crop"]["old"]["sigma"] == 1.0
        assert values["old"]["input_sha256"] == values["new"]["input_sha256"]
        assert values["weights"]["equal"] == sum(
            one["weights"]["equal"] for stage in values["stages"] for one in stage["networks"]
        )

    def test_another_network_is_not_the_same_and_is_said_where(self, run, file, cascade, networks, tmp_path):
        converters.write(with_stage(cascade, 2, moved(networks[1], 0.1)), tmp_path / "new.pt")
        status, shown = run(file, tmp_path / "new.pt", persons=False)
        assert status == 1
        assert "\nNOT the same" in shown.out
        row = next(line for line in shown.out.splitlines() if line.split()[:1] == ["stage2"])
        assert row.endswith("<- first differs at fc8")
        assert "first difference" in next(line for line in shown.out.splitlines() if line.split()[:1] == ["fc8"])

    @pytest.mark.slow
    @pytest.mark.parametrize("backends", ["torch", "chainer,torch", "torch,onnx"])
    def test_takiyus_folder_is_its_conversion(self, run, backends, tmp_path):
        """19 networks, of which those of later stages answer a joint each."""
        converters.convert(GOLDEN / "takiyu-cascade", tmp_path / "takiyu.pt")
        options = ("--backends", backends, "--json")
        status, shown = run(GOLDEN / "takiyu-cascade", tmp_path / "takiyu.pt", *options, persons=False)
        values = json.loads(shown.out)
        assert (status, values["same"]) == (0, True)
        assert [len(stage["networks"]) for stage in values["stages"]] == [1, 9, 9]
        assert values["weights"] == {"equal": 19 * 16, "differing": 0, "missing": 0}

    def test_one_file_in_two_backends(self, run, file):
        status, shown = run(file, "--backends", "torch,onnx", persons=False)
        assert status == 0
        assert "onnx on cpu" in shown.out

    def test_a_cascade_and_a_network_are_one_clear_error(self, run, file, networks, tmp_path):
        converters.write(networks[0], tmp_path / "one.pt")
        status, shown = run(file, tmp_path / "one.pt")
        assert status == 2
        (line,) = shown.err.splitlines()
        assert "cascade.pt is a cascade, " in line
        assert "one.pt is a single network: no two such are the same" in line
        assert "convert --part stage1" in line
