"""Folders as Hugging Face's Hub has them. Nothing here asks the Hub itself."""

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import converters
import deeppose_port
from converters import CheckpointError, Preprocessing, hub
from converters.cascade import Cascade, CloseUp, Stage
from converters.errors import DeepPoseError
from deeppose_port.cascade import CascadePose
from tests.conftest import ROOT
from tests.helpers.networks import narrow_inputs, random_checkpoint

Pose = deeppose_port.Pose


@pytest.fixture
def pose():
    pytest.importorskip("torch")
    return Pose(random_checkpoint())


@pytest.fixture
def folder(pose, tmp_path):
    pose.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.fixture
def no_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)


def same(first, second):
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert array.dtype == second[name].dtype
        assert array.tobytes() == second[name].tobytes()


def edit(path, **changes):
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, **changes}))


class TestFolders:
    def test_a_round_trip_is_the_same_to_the_bit_without_the_hubs_library(self, no_hub, tmp_path):
        told = Preprocessing(im_size=228, gcn="none", joints=tuple("abcdefg"), limbs=((0, 1),))
        pose = Pose(random_checkpoint(), preprocessing=told)
        pose.save_pretrained(tmp_path / "a")
        again = Pose.from_pretrained(tmp_path / "a")
        same(pose.checkpoint.weights, again.checkpoint.weights)
        assert np.array_equal(pose(narrow_inputs()), again(narrow_inputs()))
        assert again.preprocessing.as_dict() == told.as_dict()
        assert again.checkpoint.architecture == pose.checkpoint.architecture
        again.save_pretrained(tmp_path / "b")
        assert (tmp_path / "a" / hub.CONFIG).read_bytes() == (tmp_path / "b" / hub.CONFIG).read_bytes()
        assert deeppose_port.load(tmp_path / "a").preprocessing == told

    def test_the_backend_is_passed_on(self, folder):
        pytest.importorskip("onnxruntime")
        pose = Pose.from_pretrained(str(folder), "onnx", engine="onnxruntime")
        assert (pose.backend, pose.engine) == ("onnx", "onnxruntime")

    def test_a_cascade_goes_there_and_back(self, tmp_path):
        later = Stage((random_checkpoint(seed=6),), CloseUp(2.0, ((2, 5),)))
        pose = CascadePose(Cascade((Stage((random_checkpoint(),)), later)))
        pose.save_pretrained(tmp_path / "a")
        again = CascadePose.from_pretrained(tmp_path / "a")
        same(pose.cascade.weights, again.cascade.weights)
        assert again.cascade.rules == pose.cascade.rules
        assert "CascadePose.from_pretrained" in (tmp_path / "a" / hub.CARD).read_text()
        with pytest.raises(DeepPoseError, match=r"this is a cascade.*CascadePose\.from_pretrained"):
            Pose.from_pretrained(tmp_path / "a")
        edit_stage = json.loads((tmp_path / "a" / hub.CONFIG).read_text())["stages"]
        edit_stage[1]["crop"]["sigma"] = 3.0
        edit(tmp_path / "a" / hub.CONFIG, stages=edit_stage)
        with pytest.raises(CheckpointError, match=r"config\.json: it says stages\[1\]\.crop\.sigma is 3\.0, not 2\.0"):
            CascadePose.from_pretrained(tmp_path / "a")

    def test_a_single_network_is_no_cascade(self, folder):
        with pytest.raises(DeepPoseError, match=r"this is one network.*Pose\.from_pretrained"):
            CascadePose.from_pretrained(folder)

    def test_folders_of_this_machine_are_not_told(self, tmp_path):
        checkpoint = random_checkpoint()
        source = replace(checkpoint.source, path="/home/me/a.model", state_path="C:\\me\\a.state")
        origin = {**source.as_dict(), "path": "/home/me/b.model"}
        Pose(checkpoint.replace(source=replace(source, origin=origin))).save_pretrained(tmp_path / "a")
        for file in (tmp_path / "a").iterdir():
            assert b"/me" not in file.read_bytes()
            assert b"\\me" not in file.read_bytes()
        assert "b.model" in (tmp_path / "a" / hub.CARD).read_text()

    def test_files_that_exist_are_replaced_only_when_forced_and_a_card_stays(self, pose, folder):
        (folder / hub.CARD).write_text("mine")
        before = (folder / hub.WEIGHTS).read_bytes()
        other = Pose(random_checkpoint(seed=9))
        with pytest.raises(DeepPoseError, match="it exists already"):
            other.save_pretrained(folder)
        assert (folder / hub.WEIGHTS).read_bytes() == before
        other.save_pretrained(folder, force=True)
        same(Pose.from_pretrained(folder).checkpoint.weights, other.checkpoint.weights)
        assert (folder / hub.CARD).read_text() == "mine"
        with pytest.raises(DeepPoseError, match="this is a file; name a folder"):
            pose.save_pretrained(folder / hub.CARD)

    def test_a_card_says_what_is_known(self, tmp_path):
        pose = deeppose_port.load(ROOT / "examples" / "astronaut" / "epoch-300.model")
        pose.save_pretrained(tmp_path / "a")
        card = (tmp_path / "a" / hub.CARD).read_text()
        head, _, body = card.removeprefix("---\n").partition("---\n")
        assert "library_name: deeppose-port" in head
        assert "license" not in head
        for text in ("132,286 parameters", "left wrist", "epoch-300.model (chainer-npz)"):
            assert text in body
        assert pose.checkpoint.source.sha256 in body

    def test_what_a_file_is_called_makes_no_other_card(self, tmp_path):
        checkpoint = random_checkpoint()
        name = "a|b</td><script>\n---\nlicense: mit"
        Pose(checkpoint.replace(source=replace(checkpoint.source, path=name))).save_pretrained(tmp_path / "a")
        card = (tmp_path / "a" / hub.CARD).read_text()
        assert "<script" not in card.replace("\\<script", "")
        assert "\nlicense" not in card


def test_what_cannot_be_written_leaves_nothing(pose, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(DeepPoseError, match="it cannot be written: Not a directory"):
        pose.save_pretrained(tmp_path / "file" / "a" / "b")
    with pytest.raises(DeepPoseError, match="it cannot be written: File name too long"):
        pose.save_pretrained(tmp_path / "new" / ("b" * 300))
    with pytest.raises(DeepPoseError, match="it cannot be written: File name too long"):
        pose.save_pretrained(tmp_path / ("b" * 300) / "new")

    def refuse(*told, **how):
        raise CheckpointError(None, "the disk is full")

    monkeypatch.setattr(hub, "write", refuse)
    with pytest.raises(CheckpointError, match="the disk is full"):
        pose.save_pretrained(tmp_path / "a" / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


class TestBadFolders:
    def test_config_of_other_weights(self, folder):
        config = json.loads((folder / hub.CONFIG).read_text())
        edit(folder / hub.CONFIG, preprocessing={**config["preprocessing"], "im_size": 200})
        with pytest.raises(CheckpointError, match=r"config\.json: it says preprocessing\.im_size is 200, not 220"):
            Pose.from_pretrained(folder)
        Pose(random_checkpoint("resnet50")).save_pretrained(folder.parent / "other")
        shutil.copy(folder.parent / "other" / hub.WEIGHTS, folder / hub.WEIGHTS)
        edit(folder / hub.CONFIG, preprocessing=config["preprocessing"])
        with pytest.raises(CheckpointError, match=r"config\.json: it says architecture\.name is .alexnet., not"):
            Pose.from_pretrained(folder)

    def test_config_of_an_older_or_newer_version_need_not_say_all(self, folder):
        config = json.loads((folder / hub.CONFIG).read_text())
        del config["preprocessing"]["limbs"], config["writer"]
        (folder / hub.CONFIG).write_text(json.dumps({**config, "deeppose_port": "9.9", "more": 1}))
        Pose.from_pretrained(folder)
        (folder / hub.CONFIG).unlink()
        Pose.from_pretrained(folder)

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            ('{"model_type": "bert", "architectures": ["BertModel"]}', "another program's network: .*'bert'"),
            ('{"im_size": 220}', "another program's network: it has no model_type"),
            ("[1]", "another program's network"),
            ("{", "not JSON text"),
            ("[" * 100_000, "not JSON text"),
        ],
    )
    def test_config_of_another_network(self, content, problem, folder):
        (folder / hub.CONFIG).write_text(content)
        with pytest.raises(CheckpointError, match=rf"config\.json: .*{problem}"):
            Pose.from_pretrained(folder)

    def test_config_without_end_is_not_read(self, folder, monkeypatch):
        monkeypatch.setattr(hub, "_LARGEST_CONFIG", 100)
        with pytest.raises(DeepPoseError, match=r"config\.json: it has .* bytes, and such a file has at most 100"):
            Pose.from_pretrained(folder)

    def test_no_safetensors(self, folder):
        (folder / hub.WEIGHTS).unlink()
        with pytest.raises(CheckpointError, match=r"saved: no model\.safetensors in this folder"):
            Pose.from_pretrained(folder)
        (folder / "pytorch_model.bin").write_bytes(b"")
        with pytest.raises(CheckpointError, match=r"it has pytorch_model\.bin: deeppose_port\.load reads such files"):
            Pose.from_pretrained(folder)

    def test_weights_that_are_damaged(self, folder):
        (folder / hub.WEIGHTS).write_bytes((folder / hub.WEIGHTS).read_bytes()[:-100])
        with pytest.raises(CheckpointError, match=r"model\.safetensors"):
            Pose.from_pretrained(folder)

    def test_what_is_no_folder(self, folder, tmp_path, no_hub):
        with pytest.raises(CheckpointError, match=r"this is a file.*deeppose_port\.load reads files"):
            Pose.from_pretrained(folder / hub.WEIGHTS)
        for name in (tmp_path / "gone", "./gone", "a/b/c", "../a"):
            with pytest.raises(CheckpointError, match=r"there is no such folder$"):
                Pose.from_pretrained(name)


class TestHub:
    def test_without_its_library_it_says_what_to_install(self, no_hub, pose):
        for call in (lambda: Pose.from_pretrained("someone/a-network"), lambda: pose.push_to_hub("someone/a-network")):
            with pytest.raises(DeepPoseError, match=r"needs huggingface_hub \(pip install 'deeppose-port\[hub\]'\)$"):
                call()

    @pytest.fixture
    def cached(self, folder, tmp_path):
        """A cache of the Hub's with one model, as its library leaves it: links to blobs."""
        pytest.importorskip("huggingface_hub")
        cache = tmp_path / "cache"
        model = cache / "models--someone--a-network"
        commit = "0123456789abcdef0123456789abcdef01234567"
        (model / "refs").mkdir(parents=True)
        (model / "refs" / "v1").write_text(commit)
        (model / "blobs").mkdir()
        (model / "snapshots" / commit).mkdir(parents=True)
        for file in (hub.WEIGHTS, hub.CONFIG):
            shutil.copy(folder / file, model / "blobs" / file)
            (model / "snapshots" / commit / file).symlink_to(os.path.join("..", "..", "blobs", file))
        return cache

    def test_what_is_in_its_cache_needs_no_network(self, cached, folder):
        how = {"cache_dir": cached, "local_files_only": True}
        pose = Pose.from_pretrained("someone/a-network", revision="v1", **how)
        same(pose.checkpoint.weights, converters.read(folder / hub.WEIGHTS).weights)
        for wrong in ({"source": "someone/a-network"}, {"source": "someone/another", "revision": "v1"}):
            with pytest.raises(CheckpointError, match="no such folder, and it cannot be had from the Hub: ") as error:
                Pose.from_pretrained(**wrong, **how)
            assert "\n" not in str(error.value)

    def test_what_is_fetched_is_looked_at_too(self, cached):
        config = next(cached.rglob(f"blobs/{hub.CONFIG}"))
        how = {"cache_dir": cached, "local_files_only": True, "revision": "v1"}
        edit(config, joints=8)
        with pytest.raises(CheckpointError, match="it says joints is 8, not 7"):
            Pose.from_pretrained("someone/a-network", **how)
        for content in ("[1]", "{"):
            config.write_text(content)
            with pytest.raises(CheckpointError):
                Pose.from_pretrained("someone/a-network", **how)

    def test_revision_and_token_are_passed_on(self, folder, monkeypatch):
        library = pytest.importorskip("huggingface_hub")
        asked = []

        def fetch(repo_id, filename, **how):
            asked.append((repo_id, filename, how["revision"], how["token"]))
            return str(folder / filename)

        monkeypatch.setattr(library, "hf_hub_download", fetch)
        monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", fetch)
        Pose.from_pretrained("someone/a-network", revision="v2", token="secret")
        assert {name for _, name, *_ in asked} == {hub.WEIGHTS, hub.CONFIG}
        assert {(repo, *how) for repo, _, *how in asked} == {("someone/a-network", "v2", "secret")}

    def test_what_is_sent_are_the_same_files(self, pose, folder, monkeypatch):
        pytest.importorskip("huggingface_hub")
        sent = {}

        class Api:
            def __init__(self, token=None, **_):
                sent["token"] = token

            def create_repo(self, repo_id, **how):
                sent["private"] = how["private"]
                return type("Url", (), {"repo_id": repo_id})()

            def upload_folder(self, *, repo_id, folder_path, **how):
                sent["to"] = repo_id
                sent["files"] = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
                return "https://hub/commit"

        monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
        assert pose.push_to_hub("someone/a-network", private=True, token="secret") == "https://hub/commit"
        assert (sent["to"], sent["token"], sent["private"]) == ("someone/a-network", "secret", True)
        assert sent["files"] == {path.name: path.read_bytes() for path in folder.iterdir()}
        with pytest.raises(DeepPoseError, match="it cannot be sent to the Hub as a/b/c: "):
            pose.push_to_hub("a/b/c")
