"""A cascade in files: one `.pt`, one safetensors, a folder of npz; each read again bit for bit, and what is refused."""

import json
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest

import converters
from converters import CheckpointError, Optimizer
from converters.cascade import Cascade, CloseUp, Rules, Stage, one_network
from tests.conftest import GOLDEN
from tests.helpers.networks import random_checkpoint

torch = pytest.importorskip("torch")

TAKIYU = GOLDEN / "takiyu-cascade"
CLOSE_UP = CloseUp(2.0, ((2, 4),), mean=((0.1, -0.2),) * 7, deviation=((0.3, 0.25),) * 7)


@pytest.fixture(scope="module")
def takiyu():
    return converters.read(TAKIYU)


@pytest.fixture(scope="module")
def shared():
    """Three stages, one network each, the last with an optimizer's state."""
    networks = [random_checkpoint(joints=7, seed=seed) for seed in (1, 2, 3)]
    slots = {slot: {name: np.full_like(w, 0.5) for name, w in networks[2].weights.items()} for slot in ("m", "v")}
    networks[2] = networks[2].replace(optimizer=Optimizer("adam", 12, slots))
    first, *later = networks
    return Cascade((Stage((first,)), *(Stage((network,), CLOSE_UP) for network in later)))


@pytest.fixture(params=["takiyu", "shared"])
def cascade(request):
    return request.getfixturevalue(request.param)


def assert_same(one, other):
    assert one.rules == other.rules
    assert one.joints == other.joints
    ours, theirs = one.weights, other.weights
    assert list(ours) == list(theirs)
    assert all((ours[key].dtype, ours[key].tobytes()) == (theirs[key].dtype, theirs[key].tobytes()) for key in ours)
    for part, network in one.networks.items():
        assert other.networks[part].architecture == network.architecture
        assert other.networks[part].preprocessing == network.preprocessing


@pytest.mark.parametrize("name", ["cascade.pt", "cascade.safetensors", "cascade.npz"])
class TestRoundTrip:
    def test_what_is_written_is_read_bit_for_bit(self, cascade, name, tmp_path):
        converters.write(cascade, tmp_path / name)
        assert_same(cascade, converters.read(tmp_path / name))

    def test_a_conversion_is_proven_and_reported(self, name, tmp_path):
        report = converters.convert(TAKIYU, tmp_path / name)
        assert report.verified
        assert len(report.stages) == 3
        assert [stage["networks"] for stage in report.as_dict()["stages"]] == [1, 9, 9]
        assert report.source.path == str(TAKIYU)
        again = converters.convert(tmp_path / name, tmp_path / "again.pt")
        assert again.source.sha256 != report.source.sha256
        assert_same(converters.read(TAKIYU), converters.read(tmp_path / "again.pt"))

    def test_inspect_tells_every_stage(self, cascade, name, tmp_path):
        converters.write(cascade, tmp_path / name)
        seen = converters.inspect(tmp_path / name)
        assert seen.problem is None
        assert seen.checkpoint is None
        values = json.loads(json.dumps(seen.as_dict()))
        assert [stage["crop"] is None for stage in values["stages"]] == [True, False, False]
        assert len(seen.tensors) >= len(cascade.weights)

    def test_a_network_of_it_is_read_by_itself(self, shared, name, tmp_path):
        converters.write(shared, tmp_path / name)
        network = converters.read(tmp_path / name, part="stage2")
        assert np.array_equal(network.weights["fc8.bias"], shared.stages[1].networks[0].weights["fc8.bias"])
        with pytest.raises(CheckpointError, match=r"has no 'stage4'.*stage1, stage2, stage3"):
            converters.read(tmp_path / name, part="stage4")


class TestPt:
    def test_any_torch_reads_the_stages(self, shared, tmp_path):
        from deeppose_port.backends.torch import build

        converters.write(shared, tmp_path / "cascade.pt")
        payload = torch.load(tmp_path / "cascade.pt", weights_only=True)
        assert [stage["crop"] for stage in payload["stages"]] == [None, CLOSE_UP.as_dict(), CLOSE_UP.as_dict()]
        for stage in payload["stages"]:
            build(stage["architecture"]).load_state_dict(stage["state_dict"], strict=True)

    def test_an_optimizer_stays_with_its_stage(self, shared, tmp_path):
        converters.write(shared, tmp_path / "cascade.pt")
        first, _, last = (stage.networks[0] for stage in converters.read(tmp_path / "cascade.pt").stages)
        assert first.optimizer is None
        assert (last.optimizer.algorithm, last.optimizer.step) == ("adam", 12)
        assert (last.optimizer.slots["v"]["fc8.bias"] == 0.5).all()
        assert converters.convert(tmp_path / "cascade.pt", tmp_path / "other.pt").optimizer == "adam"

    def test_other_formats_say_that_they_leave_it_out(self, shared, tmp_path):
        converters.write(shared, tmp_path / "cascade.pt")
        report = converters.convert(tmp_path / "cascade.pt", tmp_path / "cascade.safetensors")
        assert any("optimizer's state was left out" in notice for notice in report.notices)

    @pytest.mark.parametrize(
        "stages",
        [None, [], [1], {}, [{"crop": 3}], [{"joints": []}], [{"joints": [1]}], [{"crop": None}], [{}] * 101],
        ids=str,
    )
    def test_what_is_no_cascade_is_refused(self, stages, tmp_path):
        torch.save({"deeppose_port": "0.2.0", "stages": stages, "face": None}, tmp_path / "bad.pt")
        with pytest.raises(CheckpointError, match=r"bad\.pt"):
            converters.read(tmp_path / "bad.pt")

    @pytest.mark.parametrize(
        ("crop", "problem"),
        [
            ({"sigma": 0}, "sigma"),
            ({"sigma": -1.0}, "sigma"),
            ({"opposing": [[0, 99]]}, "99"),
            ({"mean": [[0, 0]]}, "a"),
        ],
    )
    def test_a_rule_that_is_none_is_refused(self, shared, crop, problem, tmp_path):
        converters.write(shared, tmp_path / "cascade.pt")
        payload = torch.load(tmp_path / "cascade.pt", weights_only=True)
        payload["stages"][1]["crop"].update(crop)
        torch.save(payload, tmp_path / "bad.pt")
        with pytest.raises(CheckpointError, match=rf"bad\.pt.*{problem}"):
            converters.read(tmp_path / "bad.pt")

    def test_stages_that_share_tensors_are_refused(self, shared, tmp_path):
        """A small file could fill the memory with them."""
        converters.write(shared, tmp_path / "cascade.pt")
        payload = torch.load(tmp_path / "cascade.pt", weights_only=True)
        for stage in payload["stages"]:
            stage["state_dict"] = payload["stages"][0]["state_dict"]
        torch.save(payload, tmp_path / "bad.pt")
        with pytest.raises(CheckpointError, match=r"bad\.pt: its tensors"):
            converters.read(tmp_path / "bad.pt")

    def test_a_stage_of_other_joints_is_refused(self, shared, tmp_path):
        converters.write(shared, tmp_path / "cascade.pt")
        converters.write(random_checkpoint(joints=14), tmp_path / "other.pt")
        payload, other = (torch.load(tmp_path / name, weights_only=True) for name in ("cascade.pt", "other.pt"))
        payload["stages"][1] = {**other, "crop": payload["stages"][1]["crop"]}
        torch.save(payload, tmp_path / "bad.pt")
        with pytest.raises(CheckpointError, match=r"bad\.pt: stage 2 answers 14 joints and the first stage 7"):
            converters.read(tmp_path / "bad.pt")

    def test_a_stage_is_as_large_as_is_allowed(self, takiyu, tmp_path):
        """All stages together may take more, or the networks of a file as they are on people's disks would not load."""
        converters.write(takiyu, tmp_path / "cascade.pt")
        nbytes = sum(array.nbytes for network in takiyu.stages[1].networks for array in network.weights.values())
        assert_same(takiyu, converters.read(tmp_path / "cascade.pt", max_bytes=nbytes))
        with pytest.raises(CheckpointError, match=f"stage2 take {nbytes:,} bytes.*--max-bytes"):
            converters.read(tmp_path / "cascade.pt", max_bytes=nbytes - 1)


class TestFolder:
    def test_takiyus_comes_back_as_its_program_has_it(self, tmp_path):
        converters.convert(TAKIYU, tmp_path / "cascade.pt")
        converters.convert(tmp_path / "cascade.pt", tmp_path / "folder", format="chainer-npz")
        names = {path.name for path in TAKIYU.iterdir()} - {"expected.json"}
        assert {path.name for path in (tmp_path / "folder").iterdir()} == names
        for name in names - {"facial_normalizer.npy"}:
            with np.load(TAKIYU / name) as old, np.load(tmp_path / "folder" / name) as new:
                assert sorted(old.files) == sorted(new.files)
                assert all(old[key].tobytes() == new[key].tobytes() for key in old.files)
        old, new = (np.load(folder / "facial_normalizer.npy") for folder in (TAKIYU, tmp_path / "folder"))
        assert (old.dtype, old.tobytes()) == (new.dtype, new.tobytes())

    def test_its_networks_do_not_say_that_nobody_looks_for_faces(self, takiyu, tmp_path):
        """As each of them does by itself, where the box of the joints is taken."""
        (tmp_path / "a.npz").write_bytes((TAKIYU / "best_model_s0.npz").read_bytes())
        alone = converters.read(tmp_path / "a.npz", architecture="alexnet-takiyu").notices
        assert "cut persons out by their faces, which is not done here" in " ".join(alone)
        assert not any("faces" in notice for network in takiyu.networks.values() for notice in network.notices)

    def test_any_other_has_an_index(self, shared, tmp_path):
        converters.write(shared, tmp_path / "folder", format="chainer-npz")
        names = {path.name for path in (tmp_path / "folder").iterdir()}
        assert names == {"cascade.json", "stage1.npz", "stage2.npz", "stage3.npz"}
        with zipfile.ZipFile(tmp_path / "folder" / "stage2.npz") as file:
            assert "predictor/conv1/W.npy" in file.namelist()

    @pytest.mark.parametrize("name", ["stage2.npz", "stage1.npz"])
    def test_what_is_missing_is_named(self, shared, name, tmp_path):
        converters.write(shared, tmp_path / "folder", format="chainer-npz")
        (tmp_path / "folder" / name).unlink()
        with pytest.raises(CheckpointError, match=rf"{name}: there is no such file, and the cascade needs it"):
            converters.read(tmp_path / "folder")

    @pytest.mark.parametrize(
        "text",
        ["", "[]", "{}", '{"deeppose_port": "1"}', '{"deeppose_port": "1", "stages": [{"file": "../x"}]}', "[" * 9999],
    )
    def test_an_index_that_is_none_is_refused(self, text, tmp_path):
        (tmp_path / "cascade.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"cascade\.json"):
            converters.read(tmp_path)

    def test_two_cascades_in_one_are_refused(self, shared, tmp_path):
        converters.write(shared, tmp_path / "folder", format="chainer-npz")
        shutil.copy(TAKIYU / "best_model_s0.npz", tmp_path / "folder")
        with pytest.raises(CheckpointError, match=r"files of two cascades, cascade\.json and best_model_s0\.npz"):
            converters.read(tmp_path / "folder")

    def test_a_network_of_which_the_index_does_not_tell_is_refused(self, shared, tmp_path):
        """It is what a training of more stages left."""
        converters.write(shared, tmp_path / "folder", format="chainer-npz")
        shutil.copy(tmp_path / "folder" / "stage2.npz", tmp_path / "folder" / "stage4.npz")
        with pytest.raises(
            CheckpointError, match=r"holds stage4\.npz, of which cascade\.json does not tell: .*two trainings"
        ):
            converters.read(tmp_path / "folder")
        with pytest.raises(CheckpointError, match=r"holds stage4\.npz of another cascade"):
            converters.write(shared, tmp_path / "folder", format="chainer-npz", force=True)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"sigma": 0}, "sigma is 0; the side of a close-up has to be positive"),
            ({"sigma": -2}, "sigma is -2"),
            ({"sigma": "wide"}, "sigma is 'wide'"),
            ({"opposing": [[2, 2]]}, "needs two opposing joints"),
            ({"opposing": []}, "needs two opposing joints"),
        ],
    )
    def test_a_rule_that_is_none_says_why(self, shared, change, said, tmp_path):
        converters.write(shared, tmp_path / "folder", format="chainer-npz")
        index = tmp_path / "folder" / "cascade.json"
        values = json.loads(index.read_text())
        values["stages"][1]["crop"] |= change
        index.write_text(json.dumps(values))
        with pytest.raises(CheckpointError, match=rf"cascade\.json: .*{said}"):
            converters.read(tmp_path / "folder")

    def test_joints_in_another_order_are_refused(self, shared):
        """As two networks say that theirs are; of joints that nobody tells nothing is known."""
        first, second = (
            network.replace(preprocessing=replace(network.preprocessing, joints=tuple(names), joints_assumed=False))
            for network, names in zip(shared.networks.values(), ("abcdefg", "bacdefg"), strict=False)
        )
        with pytest.raises(ValueError, match="stage 2 has its joints in another order than the first stage"):
            Cascade((Stage((first,)), Stage((second,), CLOSE_UP)))

    def test_nothing_is_mixed_with_another(self, takiyu, shared, tmp_path):
        converters.write(shared, tmp_path / "folder", format="chainer-npz")
        with pytest.raises(CheckpointError, match="exists already"):
            converters.write(shared, tmp_path / "folder", format="chainer-npz")
        converters.write(shared, tmp_path / "folder", format="chainer-npz", force=True)
        with pytest.raises(CheckpointError, match=r"holds cascade\.json of another cascade"):
            converters.write(takiyu, tmp_path / "folder", format="chainer-npz", force=True)

    def test_the_input_is_never_written_over(self, shared, tmp_path):
        converters.write(shared, tmp_path / "folder", format="chainer-npz")
        before = {path.name: path.read_bytes() for path in (tmp_path / "folder").iterdir()}
        with pytest.raises(CheckpointError, match="the input itself"):
            converters.convert(tmp_path / "folder", tmp_path / "folder", format="chainer-npz", force=True)
        assert before == {path.name: path.read_bytes() for path in (tmp_path / "folder").iterdir()}

    def test_another_architecture_than_the_programs_is_refused(self):
        with pytest.raises(CheckpointError, match="alexnet-takiyu of the program"):
            converters.read(TAKIYU, architecture="alexnet")


def test_layouts_and_single_networks_are_no_cascades(shared, tmp_path):
    with pytest.raises(CheckpointError, match="no layouts"):
        converters.write(shared, tmp_path / "x", format="chainer-npz", layout="head")


def test_what_is_not_finite_is_reported_with_its_stage(shared, tmp_path):
    weights = {**shared.first.weights, "fc8.bias": np.full(14, np.nan, np.float32)}
    spoilt = Cascade((shared.stages[0], Stage((shared.first.replace(weights=weights),), CLOSE_UP)))
    converters.write(spoilt, tmp_path / "nan.pt")
    (repair,) = converters.read(tmp_path / "nan.pt").repairs
    assert (repair.tensor, repair.nan) == ("stage2.fc8.bias", 14)
    with pytest.raises(CheckpointError, match=r"NaN"):
        converters.read(tmp_path / "nan.pt", nonfinite="error")


def test_large_ones_are_converted_in_pieces(tmp_path, monkeypatch):
    """As a file of one network is: no tensor is held as a whole, and NaN are counted by stage."""
    first, second = (random_checkpoint(joints=7, seed=seed) for seed in (1, 2))
    second.weights["fc6.weight"][0, 0] = np.nan
    monkeypatch.setattr("converters.plan.CHUNK", 1 << 10)
    for name in ("cascade.pt", "folder.npz"):
        source = tmp_path / name
        converters.write(Cascade((Stage((first,)), Stage((second,), CLOSE_UP))), source)
        report = converters.convert(source, tmp_path / f"{name}.safetensors")
        assert report.verified
        assert [(repair.tensor, repair.nan) for repair in report.repairs] == [("stage2.fc6.weight", 1)]
        in_one, read = converters.read(tmp_path / f"{name}.safetensors"), converters.read(source)
        assert_same(in_one, read)
        assert in_one.first.source.origin == read.first.source.origin


def test_rules_come_back_from_their_dict(takiyu):
    said = {part: {"file": part} for part in takiyu.networks}
    rules, entries = Rules.from_metadata(json.loads(json.dumps(takiyu.rules.metadata(said))))
    assert rules == takiyu.rules
    assert entries == said


def test_a_cascade_is_no_start_for_one_network(shared, tmp_path):
    converters.write(shared, tmp_path / "cascade.pt")
    with pytest.raises(CheckpointError, match=r"cascade\.pt: this is a cascade"):
        one_network(converters.read(tmp_path / "cascade.pt"))


class TestResume:
    """What takiyu/DeepPose left to go on from: MomentumSGD's velocity in a file of its own."""

    @pytest.mark.parametrize("name", ["best_model_s1_j0.npz", "model_s0.npz", "model_s12_j8.npz"])
    def test_a_file_of_the_programs_name_is_its_network(self, name, tmp_path):
        shutil.copy(TAKIYU / "best_model_s1_j0.npz", tmp_path / name)
        checkpoint = converters.read(tmp_path / name)
        assert (checkpoint.architecture.name, checkpoint.preprocessing.scale) == ("alexnet-takiyu", 255)
        assert any("its name is one of takiyu/DeepPose" in notice for notice in checkpoint.notices)
        assert converters.read(tmp_path / name, architecture="alexnet").architecture.name == "alexnet"

    @pytest.mark.parametrize("name", ["model.npz", "my_model_s0.npz", "best_model_s0.npz.bak"])
    def test_any_other_name_is_the_main_lines(self, name, tmp_path):
        shutil.copy(TAKIYU / "best_model_s1_j0.npz", tmp_path / name)
        assert converters.read(tmp_path / name).architecture.name == "alexnet"

    @pytest.fixture
    def folder(self, tmp_path):
        shutil.copy(TAKIYU / "best_model_s1_j0.npz", tmp_path / "model_s1_j0.npz")
        with np.load(TAKIYU / "best_model_s1_j0.npz") as arrays:
            slots = {f"{key}/v": np.full_like(arrays[key], 0.25) for key in arrays.files}
        np.savez(tmp_path / "optimizer_s1_j0.npz", t=np.array(77), epoch=np.array(0), **slots)
        return tmp_path

    @pytest.mark.parametrize("name", ["model_s1_j0.npz", "optimizer_s1_j0.npz"])
    def test_the_optimizer_arrives_with_the_weights(self, folder, name):
        checkpoint = converters.read(folder / name, architecture="alexnet-takiyu")
        assert (checkpoint.optimizer.algorithm, checkpoint.optimizer.step) == ("momentumsgd", 77)
        assert (checkpoint.optimizer.slots["v"]["fc8.weight"] == 0.25).all()
        assert checkpoint.progress.iteration == 77
        assert checkpoint.source.state_path == str(folder / "optimizer_s1_j0.npz")

    @pytest.mark.parametrize("name", ["model_s1_j0.npz", "optimizer_s1_j0.npz"])
    def test_losses_tell_how_many_epochs_are_behind_it(self, folder, name):
        """The program's own count of them when it goes on: one loss of training and one of the test an epoch."""
        np.savez(folder / "loss_s1_j0.npz", train=[0.5, 0.25, 0.125], test=[0.6, 0.3, 0.2])
        np.savez(folder / "loss_s0.npz", train=[0.5], test=[0.6])
        checkpoint = converters.read(folder / name, architecture="alexnet-takiyu")
        assert (checkpoint.progress.epoch, checkpoint.progress.iteration) == (3, 77)

    @pytest.mark.parametrize("arrays", [{}, {"train": np.ones(3)}, {"train": np.ones((3, 2)), "test": np.ones(3)}])
    def test_losses_that_are_none_are_said_and_keep_nothing_back(self, folder, arrays):
        np.savez(folder / "loss_s1_j0.npz", **arrays)
        checkpoint = converters.read(folder / "model_s1_j0.npz", architecture="alexnet-takiyu")
        assert checkpoint.progress.epoch is None
        (said,) = [notice for notice in checkpoint.notices if "loss_s1_j0.npz: " in notice]
        assert said.endswith("how many epochs are behind the network is not told")

    def test_an_optimizer_alone_says_what_is_missing(self, folder):
        (folder / "model_s1_j0.npz").unlink()
        with pytest.raises(CheckpointError, match=r"put model_s1_j0\.npz beside it"):
            converters.read(folder / "optimizer_s1_j0.npz", architecture="alexnet-takiyu")
