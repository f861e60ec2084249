"""The network that comes along, and `predict` where no checkpoint is named."""

import json
import re
import sys

import numpy as np
import pytest

import converters
import deeppose_port
from deeppose_port.cli import main
from deeppose_port.data.skeletons import LSP
from deeppose_port.predict import is_source, shipped
from deeppose_port.predict.shipped import NAME, shipped_network
from tests.conftest import ROOT

LSPET = ROOT.parent / "shared" / "lspet"


@pytest.fixture(scope="module")
def network():
    with shipped_network() as path:
        yield path


@pytest.fixture(scope="module")
def person():
    """The picture of examples/synthetic_person.py, and its joints."""
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        import synthetic_person
    finally:
        sys.path.pop(0)
    return synthetic_person.draw(), synthetic_person.JOINTS


class TestNetwork:
    def test_it_is_the_one_of_the_examples(self, network):
        data = network.read_bytes()
        assert data == (ROOT / "examples" / NAME).read_bytes()
        assert len(data) <= 3_000_000

    def test_it_says_what_it_is(self, network):
        checkpoint = converters.read(network)
        assert (checkpoint.architecture.name, checkpoint.joints) == ("resfpn-softargmax", 14)
        assert checkpoint.preprocessing == converters.Preprocessing(
            im_size=112, base_zoom=1.25, joints=LSP.joints, limbs=LSP.limbs
        )
        assert checkpoint.notices == checkpoint.repairs == ()

    def test_it_finds_a_person_that_it_never_saw(self, network, person):
        """PDJ at 0.2 of the torso: at least 12 of the 14 joints."""
        image, joints = person
        assert image.shape == (400, 320, 3)
        low, high = joints.min(axis=0), joints.max(axis=0)
        size = 1.25 * (high - low)
        found = deeppose_port.load(network).predict(image, (*((low + high) / 2 - size / 2), *size))
        shoulder, hip = (joints[LSP.joints.index(f"left {part}")] for part in ("shoulder", "hip"))
        near = np.linalg.norm(found - joints, axis=1) <= 0.2 * np.linalg.norm(shoulder - hip)
        assert near.sum() >= 12

    @pytest.mark.slow
    def test_its_card_says_what_it_answers(self, network, capsys):
        if not LSPET.is_dir():
            pytest.skip(f"{LSPET} is not here: other people's pictures")
        data = ["--csv", LSPET / "test_joints.csv", "--images", LSPET / "pictures", "--skeleton", "lsp", "--json"]
        assert main([str(argument) for argument in ("eval", network, *data)]) == 0
        answer = json.loads(capsys.readouterr().out)
        card = (ROOT / "examples" / "lspet-small.md").read_text()
        for name, value in (("PDJ@0.2", answer["pdj"]["0.2"]["mean"]), ("strict PCP@0.5", answer["pcp"]["mean"])):
            assert re.search(rf"\| {name}, mean[^|]*\| {value:.3f} \|", card), (name, value)


class TestPredict:
    def test_without_a_checkpoint_it_is_taken_and_said(self, network, pictures, tmp_path, capsys):
        picture = str(pictures / "astronaut.png")
        box = ("--box", "36,0,422,512", "--json")
        assert main(["predict", picture, *box, "-o", str(tmp_path / "a")]) == 0
        answer, said = capsys.readouterr()
        assert f"no checkpoint was given, so the included {NAME} is used, which finds LSP's 14 joints" in said
        assert main(["predict", str(network), picture, *box, "-o", str(tmp_path / "b")]) == 0
        named, said = capsys.readouterr()
        assert NAME not in said
        ours, theirs = (
            {k: v for k, v in json.loads(text)["pictures"][0].items() if k != "drawing"} for text in (answer, named)
        )
        assert ours == theirs

    def test_persons_of_a_csv_need_none_either(self, pictures, tmp_path, capsys):
        lines = (pictures / "free.csv").read_text().splitlines()[:1]
        row = [*lines[0].split(",")[:15], *(["-1"] * 14)]  # FLIC's 7 joints, and 7 that nobody annotated
        (tmp_path / "one.csv").write_text(",".join(row) + "\n")
        data = ("--csv", str(tmp_path / "one.csv"), "--images", str(pictures))
        assert main(["predict", *data, "-o", str(tmp_path / "out")]) == 0
        assert "the included" in capsys.readouterr().err

    def test_an_installation_without_it_says_so(self, pictures, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(shipped, "NAME", "other.safetensors")
        assert main(["predict", str(pictures / "astronaut.png"), "-o", str(tmp_path / "out")]) == 2
        assert "no checkpoint was given, and this installation is without" in capsys.readouterr().err

    def test_a_checkpoint_alone_is_no_picture(self, network, tmp_path, capsys):
        assert main(["predict", str(network), "-o", str(tmp_path / "out")]) == 2
        assert "name pictures, folders or videos" in capsys.readouterr().err

    @pytest.mark.parametrize("name", ["a.png", "b.JPG", "c.webp", "d.mp4", "e.avi", "f.tiff"])
    def test_pictures_and_videos_are_sources(self, name, tmp_path):
        assert is_source(tmp_path / name)

    @pytest.mark.parametrize("name", ["epoch-1.model", "a.pt", "a.safetensors", "snapshot_iter_12", "a.npz", "a.onnx"])
    def test_checkpoints_are_none(self, name, tmp_path):
        assert not is_source(tmp_path / name)

    def test_a_folder_is_one_if_pictures_are_in_it(self, pictures, tmp_path):
        assert is_source(pictures)
        assert not is_source(tmp_path)
