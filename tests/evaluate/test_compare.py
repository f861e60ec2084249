import dataclasses
import hashlib
import json
import re
from importlib.metadata import version

import numpy as np
import pytest

import converters
import deeppose_port
from converters import Architecture, Preprocessing
from converters import networks as architectures
from converters.networks import LocalResponseNormalization, MaxPooling
from deeppose_port import backends
from deeppose_port.backends.activations import layer_names
from deeppose_port.cli import main
from deeppose_port.data import PoseDataset
from deeppose_port.drawing.report import write_comparison
from deeppose_port.evaluate.comparison import _granted, compare
from deeppose_port.evaluate.differences import compare_weights
from deeppose_port.evaluate.made_up import MadeUpPictures
from deeppose_port.evaluate.verdict import AMPLIFIED
from tests.helpers.checkpoint_files import PERHAPS_EDITED
from tests.helpers.networks import checkpoint_of, dataset_of, narrow_file, random_checkpoint
from tests.helpers.pages import tree_of
from tests.helpers.tables import tables_of

ASTRONAUT = "astronaut/epoch-300.model"


#: Synthetic pictures that two networks are compared on.
FEW = 4


@pytest.fixture(autouse=True)
def few_of_them(monkeypatch):
    """Looks at the layers of two persons, and at few synthetic pictures: the others take time."""
    monkeypatch.setattr("deeppose_port.evaluate.comparison.LOOKED_AT", 2)
    monkeypatch.setattr(MadeUpPictures, "__len__", lambda pictures: FEW)


@pytest.fixture(scope="module")
def free(pictures):
    return PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic")


@pytest.fixture(scope="module")
def few(pictures, tmp_path_factory):
    """The first four of their persons."""
    path = tmp_path_factory.mktemp("few") / "few.csv"
    path.write_text("".join((pictures / "free.csv").read_text().splitlines(keepends=True)[:4]))
    return PoseDataset(path, images=pictures, skeleton="flic")


@pytest.fixture
def compared(few):
    """Compares two checkpoints, or poses, on these persons or others."""

    def run(old, new, persons=few, **options):
        poses = [one if isinstance(one, deeppose_port.Pose) else deeppose_port.load(one) for one in (old, new)]
        return compare(*poses, (persons, persons), **options)

    return run


def changed(checkpoint, name, place, by):
    """A checkpoint with one number changed."""
    weights = {key: array.copy() for key, array in checkpoint.weights.items()}
    weights[name][place] += np.float32(by)
    return checkpoint.replace(weights=weights)


def with_layers(monkeypatch, checkpoint, change):
    """A pose whose network has another table than its architecture's."""
    name = checkpoint.architecture.name
    with monkeypatch.context() as patch:
        patch.setitem(architectures.TABLES, name, change(architectures.TABLES[name]))
        fresh = dataclasses.replace(checkpoint.architecture)  # which has not looked its layers up yet
        return deeppose_port.load(checkpoint.replace(architecture=fresh))


class TestTheSame:
    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"base_zoom": 1.25}, "base_zoom is 1.5 for old, 1.25 for new"),
            ({"part": "picture", "clip": True}, "part is joints for old, picture for new; clip is False for old, True"),
            ({"joints": tuple("abcdefg"), "joints_assumed": True}, ""),
        ],
    )
    def test_preprocessing_that_made_up_pictures_do_not_show_is_told(self, change, told):
        checkpoint = random_checkpoint()
        other = checkpoint.replace(preprocessing=dataclasses.replace(checkpoint.preprocessing, **change))
        comparison = compare(*map(deeppose_port.load, (checkpoint, other)))
        assert ["the two are fed or read differently: " in remark for remark in comparison.remarks] == [True] * bool(
            told
        )
        assert told in " ".join(comparison.remarks)

    @pytest.mark.parametrize("name", ["alexnet", "resnet50", "vgg_bn"])
    def test_one_checkpoint_in_two_backends_is_the_same_network(self, compared, name):
        pytest.importorskip("deeppose_port.backends.chainer.networks")
        checkpoint = random_checkpoint(name)
        backends = [deeppose_port.load(checkpoint, backend=backend) for backend in ("chainer", "torch")]
        comparison = compared(*backends)
        assert comparison.same
        assert comparison.first_parting is None
        assert [check.passed for check in comparison.checks] == [True] * 5
        assert comparison.weights.equal == len(checkpoint.weights)
        if name != "resnet50":  # whose drawn weights answer 858 crops away, where float32 rounds to a tenth of a pixel
            assert comparison.joints.beyond[0.1] == 0
        assert 0 < comparison.layers[-1].relative < 1e-5, "two engines round otherwise"
        assert [row.name for row in comparison.layers] == [*layer_names(backends[0].layers), "outputs"]

    @pytest.mark.parametrize(
        ("file", "persons"),
        [("1.10.0/resnet50-bare/epoch-1.model", "free"), ("5.4.0/resnet50-adam/epoch-1.model", "mpii")],
    )
    def test_real_files_whose_statistics_are_tiny_are_the_same_in_both_backends(self, file, persons, request):
        pytest.importorskip("deeppose_port.backends.chainer.networks")
        found, dataset = narrow_file(file, request), dataset_of(persons, request)
        checkpoint = converters.read(found.path, writer=found.writer, state=False)
        poses = [deeppose_port.load(checkpoint, backend=backend) for backend in ("chainer", "torch")]
        comparison = compare(*poses, (dataset, dataset))
        assert comparison.same
        assert max(row.relative for row in comparison.layers) > 1e-5, "an absolute bound would refuse them"

    def test_one_network_is_bit_for_bit_itself_and_needs_no_tolerance(self, compared):
        comparison = compared(*[random_checkpoint()] * 2, tolerance=0)
        assert comparison.same
        assert all(row.maximum == 0 for row in comparison.layers)
        assert all(row.agrees and not row.difference for row in comparison.metrics)

    def test_kept_nan_are_equal_to_themselves(self, compared):
        checkpoint = changed(random_checkpoint(), "fc8.bias", 3, np.nan)
        comparison = compared(checkpoint, checkpoint)
        assert comparison.same
        json.dumps(comparison.as_dict(), allow_nan=False)

    def test_networks_that_amplify_rounding_are_granted_more(self, compared):
        pytest.importorskip("deeppose_port.backends.chainer.networks")
        checkpoint = random_checkpoint("vgg_bn")
        weights = dict(checkpoint.weights)
        weights["bn5_3.running_mean"] = weights["bn5_3.running_mean"] + np.float32(3e3)
        weights["conv5_3.bias"] = weights["conv5_3.bias"] + np.float32(3e3)  # all digits cancel but the last ones
        shifted = checkpoint.replace(weights=weights)
        comparison = compared(*[deeppose_port.load(shifted, backend=backend) for backend in ("chainer", "torch")])
        (row,) = [row for row in comparison.layers if row.name == "bn5_3"]
        assert row.relative > 1e-5
        assert not row.parted
        assert comparison.same
        assert "8 times what one unit in the last place" in comparison.sentence
        needed = max(row.tolerance for row in comparison.layers if row.relative > 1e-5)
        assert f"(at most {needed:.1e})" in comparison.sentence


class TestFaults:
    def test_wrong_alpha_of_lrn(self, compared):
        fault = deeppose_port.load(random_checkpoint())
        fault._predictor.network.get_submodule("norm2").band /= 5  # torch's own LRN divides by the channels
        comparison = compared(random_checkpoint(), fault)
        assert not comparison.same
        assert comparison.first_parting == "norm2"
        assert [check.name for check in comparison.checks if not check.passed][:1] == ["layers"]
        assert "norm2" in comparison.sentence

    def test_floor_pooling_that_the_next_layers_cannot_take(self, compared, monkeypatch):
        from deeppose_port.backends.torch import networks

        pooling = networks.functional.max_pool2d
        old, new = (deeppose_port.load(random_checkpoint()) for _ in range(2))

        def floor(*arguments, **options):
            return pooling(*arguments, **{**options, "ceil_mode": False})

        def broken(*given, run=new._predictor.network._layer):
            with monkeypatch.context() as patch:
                patch.setattr(networks.functional, "max_pool2d", floor)
                return run(*given)

        monkeypatch.setattr(new._predictor.network, "_layer", broken)
        comparison = compared(old, new)
        assert not comparison.same
        assert comparison.first_parting == "conv2.max_pooling"
        (row,) = [row for row in comparison.layers if row.name == "conv2.max_pooling"]
        assert (row.old_shape, row.new_shape) == ((12, 13, 13), (12, 12, 12))
        assert comparison.new.failure
        assert "broke down" in comparison.sentence
        assert comparison.as_dict()["metrics"]["loss"]["new"] is None

    def test_floor_pooling_that_nothing_stumbles_over(self, compared, monkeypatch):
        checkpoint = random_checkpoint("resnet50")

        def floor(table):
            return tuple(
                dataclasses.replace(layer, cover_all=False) if isinstance(layer, MaxPooling) else layer
                for layer in table
            )

        comparison = compared(checkpoint, with_layers(monkeypatch, checkpoint, floor))
        assert comparison.first_parting == "bn1.max_pooling"
        (row,) = [row for row in comparison.layers if row.name == "bn1.max_pooling"]
        assert (row.old_shape[1:], row.new_shape[1:]) == ((55, 55), (54, 54))
        assert comparison.new.failure is None

    def test_another_eps(self, compared):
        old = random_checkpoint("vgg_bn", writer="chainer-1.13.0")
        small = {name: array * np.float32(0.01) for name, array in old.weights.items() if name.endswith("running_var")}
        old = old.replace(weights={**old.weights, **small})
        new = old.replace(
            architecture=dataclasses.replace(old.architecture, writer="chainer-7.8.1"),
            source=dataclasses.replace(old.source, writer="chainer-7.8.1"),
        )
        comparison = compared(old, new)
        assert comparison.first_parting == "bn1_1"
        assert not comparison.weights.rows
        assert (comparison.old.as_dict()["writer"], comparison.new.as_dict()["writer"]) == (
            "chainer-1.13.0",
            "chainer-7.8.1",
        )

    def test_swapped_weights(self, compared):
        checkpoint = random_checkpoint(conv2=16, conv3=16, conv4=16)
        swapped = {"conv3.weight": "conv4.weight", "conv4.weight": "conv3.weight"}
        weights = {name: checkpoint.weights[swapped.get(name, name)] for name in checkpoint.weights}
        comparison = compared(checkpoint, checkpoint.replace(weights=weights))
        assert [row.name for row in comparison.weights.rows] == ["conv3.weight", "conv4.weight"]
        assert comparison.first_parting == "conv3"

    def test_swapped_layers(self, compared, monkeypatch):
        checkpoint = random_checkpoint()

        def swap(table):
            i = next(i for i, layer in enumerate(table) if isinstance(layer, LocalResponseNormalization))
            assert isinstance(table[i - 1], MaxPooling)
            return (*table[: i - 1], table[i], table[i - 1], *table[i + 1 :])

        comparison = compared(checkpoint, with_layers(monkeypatch, checkpoint, swap))
        assert comparison.first_parting == "conv1.max_pooling"
        (row,) = [row for row in comparison.layers if row.name == "norm1.max_pooling"]
        assert row.old_shape is None
        assert not comparison.same

    @pytest.mark.parametrize("name", ["conv1", "conv3", "conv5", "fc6", "fc8"])
    def test_one_weight_changed_by_a_thousandth(self, compared, free, name, monkeypatch):
        monkeypatch.setattr("deeppose_port.evaluate.comparison.LOOKED_AT", 8)  # few may not feed this weight
        checkpoint = random_checkpoint()
        place = (1,) * checkpoint.weights[f"{name}.weight"].ndim
        comparison = compared(checkpoint, changed(checkpoint, f"{name}.weight", place, 1e-3), free)
        (row,) = comparison.weights.rows
        assert (row.name, row.status, row.differing) == (f"{name}.weight", "differing", 1)
        assert row.maximum == pytest.approx(1e-3, rel=1e-3)
        assert comparison.first_parting == name
        assert not comparison.same

    def test_other_preprocessing(self, free, pictures):
        checkpoint = random_checkpoint()
        pose, other = deeppose_port.load(checkpoint), Preprocessing(gcn="none")
        raw = PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic", preprocessing=other)
        comparison = compare(pose, deeppose_port.load(checkpoint, preprocessing=other), (free, raw))
        assert comparison.equal_inputs == 0
        assert comparison.first_parting == "conv1"
        assert "0 of 13 are equal" in comparison.sentence

    def test_outputs_that_are_read_otherwise(self, free, pictures):
        """The same network, whose answers one side takes for pixels of the crop."""
        checkpoint = random_checkpoint()
        other = Preprocessing(coord_normalize=False)
        pixels = PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic", preprocessing=other)
        poses = deeppose_port.load(checkpoint), deeppose_port.load(checkpoint, preprocessing=other)
        comparison = compare(*poses, (free, pixels))
        assert [check.name for check in comparison.checks if not check.passed] == ["joints"]


def test_distances_of_joints_are_counted_in_pixels_of_the_picture(compared, free):
    checkpoint = random_checkpoint()
    shift = 0.003
    comparison = compared(checkpoint, changed(checkpoint, "fc8.bias", 4, shift), free)
    distances = np.array([shift * free.view(i).crop.width for i in range(len(free))])
    assert comparison.joints.compared == 13 * 7
    assert comparison.joints.beyond == {bound: int((distances > bound).sum()) for bound in (0.01, 0.1, 1.0)}
    assert 0 < comparison.joints.beyond[1.0] < 13
    assert comparison.joints.maximum == pytest.approx(distances.max(), rel=1e-3)


@pytest.mark.parametrize("moved", [{3: 0.1, 11: 0.1}, {3: 0.1, 5: 0.05, 11: np.nan}, {3: np.nan, 5: 0.1, 11: np.inf}])
def test_persons_looked_at_are_those_who_differ_most(compared, free, monkeypatch, moved):
    new = deeppose_port.load(random_checkpoint())
    asked = iter(range(13))

    def answer(inputs, ask=new._predictor):
        return ask(inputs) + np.float32([[moved.get(next(asked), 0)] for _ in inputs])

    answer.layers, answer.activations = new._predictor.layers, new._predictor.activations
    monkeypatch.setattr(new, "_predictor", answer)
    comparison = compared(random_checkpoint(), new, free)
    assert comparison.looked_at == (3, 11)
    assert comparison.first_parting == "outputs"


def test_inputs_are_hashed_as_their_bytes(compared, few):
    comparison = compared(*[random_checkpoint()] * 2)
    hashes = [hashlib.sha256(inputs.tobytes()).hexdigest() for inputs, _, _ in few]
    assert list(comparison.old.input_hashes) == hashes
    assert comparison.new.input_sha256 == hashlib.sha256("".join(hashes).encode()).hexdigest()


class TestWithoutPersons:
    def compare(self, old, new, **options):
        return compare(deeppose_port.load(old), deeppose_port.load(new), **options)

    def test_one_network_is_itself(self):
        comparison = self.compare(*[random_checkpoint()] * 2)
        assert comparison.same
        assert comparison.is_made_up
        assert comparison.equal_inputs == len(set(comparison.old.input_hashes)) == FEW
        assert comparison.old.evaluation is None
        values = comparison.as_dict()
        assert (values["persons"], values["made_up_pictures"], values["metrics"]) == (0, FEW, {})

    @pytest.mark.parametrize("name", ["conv1", "conv3", "fc6", "fc8"])
    def test_weight_that_differs_is_found(self, name):
        old = random_checkpoint()
        comparison = self.compare(old, changed(old, f"{name}.weight", (1,) * old.weights[f"{name}.weight"].ndim, 1e-2))
        assert not comparison.same
        assert comparison.first_parting == name

    def test_each_side_has_its_own_preprocessing(self):
        old = random_checkpoint()
        raw = deeppose_port.load(old, preprocessing=Preprocessing(gcn="none"))
        comparison = compare(deeppose_port.load(old), raw)
        assert comparison.equal_inputs == 0
        assert comparison.first_parting == "conv1"

    def test_inputs_are_pictures_seen_whole(self):
        side = self.compare(*[random_checkpoint()] * 2).old
        view, picture = side.dataset.view(3), side.dataset.picture(3)
        assert (picture.dtype, picture.shape, view.crop.width, view.crop.height) == (np.uint8, (300, 400, 3), 400, 300)
        assert picture.std(axis=(0, 1)).min() > 20, "they are not flat"
        np.testing.assert_array_equal(side.predicted[3], view.points(side.outputs[3]))
        assert side.input_hashes[3] == hashlib.sha256(view.input(picture).tobytes()).hexdigest()

    def test_networks_of_other_joints_are_refused(self):
        with pytest.raises(ValueError, match="has 7 joints, in memory has 14; no two such networks are the same"):
            self.compare(random_checkpoint(), random_checkpoint(joints=14))

    def test_a_report_has_weights_layers_and_answers_and_no_persons(self, tmp_path):
        comparison = self.compare(*[random_checkpoint()] * 2)
        text = write_comparison(comparison, tmp_path / "page", command="x").read_text()
        assert "The same network" in text
        assert f"· {FEW} synthetic pictures ·" in text
        assert "equal bit by bit" in text
        assert comparison.old.input_sha256 in text
        assert set(re.findall(r'href="#(\w+)"', text)) == set(re.findall(r'<section id="(\w+)"', text)) | {"content"}
        assert not re.search(r"Metrics|Persons|<script>", text)

    def test_command_shows_weights_and_layers_alone(self, pictures, tmp_path, capsys):
        model = pictures.parent / ASTRONAUT
        converters.convert(model, tmp_path / "new.pt", state=False)
        assert main(["compare", str(model), str(tmp_path / "new.pt"), "--backends", "torch"]) == 0
        shown = capsys.readouterr().out
        assert f"{FEW} synthetic pictures, as no --csv was given" in shown
        assert not [line for line in shown.splitlines() if line.split()[:1] == ["metrics"]]
        assert "the same, with a tolerance" in shown

    @pytest.mark.parametrize(
        ("options", "phrase"),
        [
            (["--csv", "a.csv"], "persons need both --csv and --images"),
            (["--images", "here"], "persons need both --csv and --images"),
        ],
    )
    def test_half_of_the_persons_is_refused(self, options, phrase, capsys):
        assert main(["compare", "a.pt", "b.pt", *options]) == 2
        assert phrase in capsys.readouterr().err


class TestDivergence:
    @pytest.fixture
    def diverged(self, compared):
        """Compares two networks that answer with so much added, in sides of the crop."""

        def run(old, new):
            checkpoint = random_checkpoint()
            bias = checkpoint.weights["fc8.bias"]
            sides = [
                checkpoint.replace(weights={**checkpoint.weights, "fc8.bias": bias + np.float32(far)})
                for far in (old, new)
            ]
            return compared(*sides)

        return run

    def test_answers_far_outside_are_no_good_certificate(self, diverged):
        comparison = diverged(1e6, 1e6)
        assert comparison.same
        assert comparison.headline == "The same network, diverged"
        assert "the answers of old and new lie far outside of every picture" in comparison.remarks[-1]
        values = comparison.as_dict()
        assert (values["old"]["diverged"], values["new"]["diverged"], values["same"]) == (True, True, True)

    @pytest.mark.parametrize("value", [np.inf, np.nan])
    def test_one_answer_that_is_no_number_is_said(self, compared, value):
        checkpoint = random_checkpoint()
        checkpoint.weights["fc8.bias"][3] = value
        comparison = compared(checkpoint, checkpoint)
        assert comparison.same
        assert comparison.headline == "The same network"
        assert [remark.partition(" of the ")[2] for remark in comparison.remarks] == [
            f"{comparison.old.outputs.size} answers of {name} are no finite numbers" for name in ("old", "new")
        ]

    def test_one_side_may_be_it_alone(self, diverged):
        comparison = diverged(0, 50)
        assert comparison.headline == "Not the same network"
        assert "the answers of new lie far outside" in comparison.remarks[-1]

    @pytest.mark.parametrize(("far", "expected"), [(0, False), (8, False), (12, True), (-12, True), (np.nan, True)])
    def test_far_is_ten_sides_of_the_crop(self, diverged, far, expected):
        comparison = diverged(far, far)
        assert comparison.old.diverged is expected
        assert bool(comparison.remarks) is expected

    def test_distance_is_the_median_joint_s(self, diverged, few):
        comparison = diverged(20, 20)
        points, crops = comparison.old.evaluation.predicted, [few.view(i).crop for i in range(len(few))]
        expected = [
            max(abs(x - (crop.x0 + crop.x1) / 2), abs(y - (crop.y0 + crop.y1) / 2)) / max(crop.width, crop.height)
            for person, crop in zip(points, crops, strict=True)
            for x, y in person
        ]
        assert comparison.old.stray == pytest.approx(np.median(expected))


def test_tensors_of_two_architectures(compared):
    old, new = random_checkpoint("alexnet"), random_checkpoint("vgg_bn")
    weights = compare_weights(old, new)
    assert weights.count("only in old") == len(old.weights.keys() - new.weights.keys())
    assert weights.count("only in new") == len(new.weights.keys() - old.weights.keys())
    comparison = compared(old, new)
    assert comparison.first_parting == "conv1"
    assert comparison.as_dict()["weights"]["missing"] == len(old.weights.keys() ^ new.weights.keys())


def test_weights_of_other_kinds_are_not_equal():
    checkpoint = random_checkpoint()
    half = checkpoint.weights["fc7.bias"].astype(np.float16)
    other = checkpoint.replace(weights={**checkpoint.weights, "fc7.bias": half})
    (row,) = compare_weights(checkpoint, other).rows
    assert (row.name, row.status) == ("fc7.bias", "differing")
    negative = {**checkpoint.weights, "fc7.bias": np.zeros(32, np.float32)}
    zeros = checkpoint.replace(weights=negative)
    minus = checkpoint.replace(weights={**negative, "fc7.bias": -np.zeros(32, np.float32)})
    assert compare_weights(zeros, minus).rows[0].differing == 32, "-0 has other bits than 0"


def test_metrics_of_both_sides_stand_beside_their_difference(compared):
    checkpoint = random_checkpoint()
    comparison = compared(checkpoint, changed(checkpoint, "fc8.bias", 0, 0.5))
    rows = {row.name: row for row in comparison.metrics}
    old, new = (side.evaluation["loss"].overall for side in (comparison.old, comparison.new))
    assert (rows["loss"].old, rows["loss"].new, rows["loss"].difference) == (old, new, new - old)
    assert not rows["mean_error_px"].agrees
    assert rows["pcp/right lower arm"].agrees, "its joints did not move"


@pytest.mark.parametrize(
    ("tolerance", "moved", "times"),
    [(1e-5, 0, 0), (1e-5, 1e-3, AMPLIFIED), (0.9, 1e-3, 0), (0, 1e-3, 0), (1e-5, np.nan, 0)],
)
def test_rounding_that_a_network_magnifies_is_granted_beside_the_tolerance(tolerance, moved, times):
    outputs = np.array([1.0, -2.0])
    granted = _granted(outputs, np.array([1.0, -2.0 + 2 * moved]), tolerance)
    assert granted == pytest.approx(times * moved if times else tolerance)
    assert _granted(None, outputs, tolerance) == tolerance


@pytest.mark.parametrize("tolerance", [-1, float("nan")])
def test_tolerance_is_a_number_from_0(compared, tolerance):
    with pytest.raises(ValueError, match="the tolerance is"):
        compared(*[random_checkpoint()] * 2, tolerance=tolerance)


def test_joints_have_to_be_the_dataset_s(compared):
    with pytest.raises(ValueError, match="has 14 joints, but flic has 7"):
        compared(random_checkpoint(), random_checkpoint(joints=14))


class TestCommand:
    @pytest.fixture
    def run(self, pictures, capsys):
        def run(*arguments):
            dataset = ("--csv", str(pictures / "free.csv"), "--images", str(pictures), "--skeleton", "flic")
            status = main(["compare", *map(str, arguments), *dataset])
            return status, capsys.readouterr()

        return run

    @pytest.fixture
    def model(self, pictures):
        return pictures.parent / ASTRONAUT

    def test_converted_file_is_the_same(self, run, model, tmp_path):
        converters.convert(model, tmp_path / "new.safetensors", state=False)
        status, shown = run(model, tmp_path / "new.safetensors", "--json")
        assert status == 0
        values = json.loads(shown.out)
        assert values["same"] is True
        assert values["weights"]["differing"] == values["weights"]["missing"] == 0
        assert values["outputs"]["relative"] < 1e-5
        assert values["old"]["input_sha256"] == values["new"]["input_sha256"]
        assert values["environment"]["NumPy"] == np.__version__

    def test_each_side_is_run_in_the_engine_of_its_file(self, run, model, tmp_path):
        pytest.importorskip("deeppose_port.backends.chainer.networks")
        converters.convert(model, tmp_path / "new.pt", state=False)
        status, shown = run(model, tmp_path / "new.pt", "--json")
        old, new = (json.loads(shown.out)[side] for side in ("old", "new"))
        assert status == 0
        assert (old["engine"], old["own_engine"], old["backend"]) == ("Chainer", "Chainer", "chainer")
        assert (new["engine"], new["own_engine"], new["backend"]) == ("PyTorch", "PyTorch", "torch")
        assert (old["engine_version"], new["engine_version"]) == (version("chainer"), version("torch"))
        assert (old["writer"], old["writer_told_by"]) == ("chainer-1.13.0", "log.txt beside the file")
        assert json.loads(shown.out)["remarks"] == []
        assert json.loads(shown.out)["outputs"]["maximum"] > 0, "two engines round otherwise"
        _, shown = run(tmp_path / "new.pt", model, "--report", tmp_path / "page")
        verdict = tree_of(tmp_path / "page" / "index.html").one("div", "verdict")
        assert verdict.classes == ["verdict", "yes"]
        assert verdict.one("h2").text == "The same network"
        assert f"run in PyTorch {version('torch')}; new is chainer-npz by chainer-1.13.0" in verdict.text
        first, second = (line for line in shown.out.splitlines() if "run by" in line)
        assert f"PyTorch {version('torch')}: torch on cpu" in first
        assert f"Chainer {version('chainer')}: chainer on cpu" in second
        assert "pt, converted from chainer-npz by chainer-1.13.0" in shown.out
        assert shown.out.count("chainer-npz by chainer-1.13.0") == 2

    def test_engine_that_is_missing_is_replaced_and_that_is_said(self, run, model, tmp_path, monkeypatch):
        def get(name, found=backends.get):
            if name == "chainer":
                raise backends.BackendError("the backend chainer cannot be loaded: it is not here")
            return found(name)

        monkeypatch.setattr(backends, "get", get)
        converters.convert(model, tmp_path / "new.pt", state=False)
        status, shown = run(model, tmp_path / "new.pt", "--report", tmp_path / "page")
        assert status == 0
        assert "note: old: it is a file of Chainer, but is run in PyTorch" in shown.err
        assert "the backend chainer cannot be loaded: it is not here" in shown.err
        assert "note: new" not in shown.err
        assert shown.out.count("torch on cpu") == 2
        remark = f"old is a file of Chainer and was run in PyTorch {version('torch')}"
        assert f"but {remark}" in shown.out
        verdict = tree_of(tmp_path / "page" / "index.html").one("div", "verdict")
        assert verdict.classes == ["verdict", "but"]
        assert verdict.one("h2").text == "The same network, as PyTorch runs it"
        assert f"But {remark}" in verdict.text

    def test_engine_that_is_asked_for_is_not_replaced(self, run, model, tmp_path):
        converters.convert(model, tmp_path / "new.pt", state=False)
        _, shown = run(model, tmp_path / "new.pt", "--backends", "torch", "--json")
        values = json.loads(shown.out)
        assert values["outputs"]["maximum"] == 0
        assert values["old"]["own_engine"] == "Chainer"
        assert ["old is a file of Chainer" in remark for remark in values["remarks"]] == [True]
        assert shown.err == f"note: old: {PERHAPS_EDITED}\n"

    def test_one_file_is_compared_in_both_backends(self, run, model):
        pytest.importorskip("deeppose_port.backends.chainer.networks")
        status, shown = run(model)
        assert status == 0
        assert "chainer on cpu" in shown.out
        assert "torch on cpu" in shown.out
        assert "the same, with a tolerance of 1e-05" in shown.out

    def test_another_file_is_not_the_same_and_is_said_where(self, run, model, tmp_path, monkeypatch):
        monkeypatch.setattr("deeppose_port.cli.compare._SHOWN_LAYERS", 6)
        checkpoint = converters.read(model, state=False)
        converters.write(changed(checkpoint, "conv2.weight", (0, 0, 1, 1), 1e-3), tmp_path / "new.pt")
        status, shown = run(model, tmp_path / "new.pt")
        assert status == 1
        assert "NOT the same" in shown.out
        assert "first difference" in next(line for line in shown.out.splitlines() if line.split()[:1] == ["conv2"])
        left_out = [line.strip() for line in shown.out.splitlines() if line.strip().startswith("…")]
        assert left_out == ["… 1 that agree …", "… 15 more …"]

    def test_notices_say_of_which_file_they_are(self, run, model, tmp_path):
        checkpoint = converters.read(model, state=False)
        converters.write(changed(checkpoint, "conv2.bias", 2, np.nan), tmp_path / "new.pt")
        _, shown = run(model, tmp_path / "new.pt")
        assert "note: new: conv2.bias: 1 NaN became 0" in shown.err
        assert "note: old: conv2" not in shown.err

    def test_differences_have_the_unit_of_their_metrics(self, run, model, tmp_path):
        checkpoint = converters.read(model, state=False)
        biases = {"fc8.bias": np.full_like(checkpoint.weights["fc8.bias"], 9)}
        converters.write(checkpoint.replace(weights={**checkpoint.weights, **biases}), tmp_path / "new.pt")
        _, shown = run(model, tmp_path / "new.pt")
        row = ["PCP@0.5, strict, mean of the limbs", "47.3 %", "0.0 %", "\N{MINUS SIGN}47.3"]
        assert row in [row for table in tables_of(shown.out) for row in table]

    def test_network_of_one_backend_needs_another_file(self, run, tmp_path):
        pytest.importorskip("deeppose_port.backends.chainer.networks")
        architecture = Architecture("alexnet-torchvision", 7, {"classifier.1": 8, "classifier.4": 8}, feature_size=6)
        weights = {name: np.zeros(shape, np.float32) for name, shape in architecture.shapes.items()}
        converters.write(checkpoint_of(architecture, weights), tmp_path / "port.pt")
        status, shown = run(tmp_path / "port.pt")
        assert status == 2
        assert "port.pt cannot be compared in chainer and torch: alexnet-torchvision exists in PyTorch" in shown.err
        assert "name a NEW checkpoint" in shown.err
        assert run(tmp_path / "port.pt", tmp_path / "port.pt")[0] == 0, "its own engine is PyTorch"

    @pytest.mark.parametrize(
        ("arguments", "phrase"),
        [
            (("--backends", "torch"), "name a NEW checkpoint"),
            (("--backends", "torch,torch,torch"), "takes one name, or two"),
            (("--backends", "jax,torch"), "no backend 'jax'"),
            (("--tolerance", "-1"), "the tolerance is -1"),
        ],
    )
    def test_what_cannot_be_compared_is_refused_in_a_line(self, run, model, arguments, phrase):
        status, shown = run(model, *arguments)
        assert status == 2
        assert phrase in shown.err
