"""The joints and limbs that a file's network is known to have, and what carries them."""

import dataclasses
import json

import pytest

import converters
from converters.checkpoint import Preprocessing
from converters.errors import DeepPoseError
from converters.families import joints
from converters.families.joints import named
from deeppose_port.data.skeletons import SKELETONS
from tests.helpers.networks import random_checkpoint

DATA_SETS = {7: joints.FLIC, 14: joints.LSP, 16: joints.MPII}


@pytest.mark.parametrize("count", DATA_SETS)
def test_files_carry_the_names_and_limbs_that_their_number_tells(count, tmp_path):
    converters.write(random_checkpoint(joints=count), tmp_path / "a.model")
    checkpoint = converters.read(tmp_path / "a.model")
    told = checkpoint.preprocessing
    known = (*dataclasses.astuple(DATA_SETS[count]), True)
    assert (told.joints, told.limbs, told.joints_assumed) == known
    assert told.told_joints == ()
    for name in ("a.safetensors", "again.npz"):
        converters.convert(tmp_path / "a.model", tmp_path / name)
        again = converters.read(tmp_path / name).preprocessing
        assert (again.joints, again.limbs, again.joints_assumed) == known
    assert converters.inspect(tmp_path / "a.model").as_dict()["preprocessing"]["joints"] == list(told.joints)


def test_pt_has_them_as_plain_lists(tmp_path):
    torch = pytest.importorskip("torch")
    converters.write(random_checkpoint(joints=14), tmp_path / "a.model")
    converters.convert(tmp_path / "a.model", tmp_path / "a.pt")
    said = torch.load(tmp_path / "a.pt", weights_only=True)["preprocessing"]
    assert said["joints"] == list(joints.LSP.names)
    assert said["limbs"] == [list(limb) for limb in joints.LSP.limbs]
    assert json.loads(json.dumps(said)) == said


def test_onnx_has_them(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    import deeppose_port.backends  # noqa: F401 - it registers the format

    converters.write(random_checkpoint(joints=16), tmp_path / "a.model")
    converters.convert(tmp_path / "a.model", tmp_path / "a.onnx")
    said = {each.key: each.value for each in onnx.load(tmp_path / "a.onnx").metadata_props}
    told = json.loads(said["preprocessing"])
    assert told["joints"] == list(joints.MPII.names)
    assert told["limbs"] == [list(limb) for limb in joints.MPII.limbs]


def test_other_numbers_tell_nothing():
    assert named(Preprocessing(), 9).joints == ()


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=list(SKELETONS))
def test_known_names_bring_their_limbs(skeleton):
    told = named(Preprocessing(joints=skeleton.joints), len(skeleton.joints))
    assert (told.joints, told.limbs, told.told_joints) == (skeleton.joints, skeleton.limbs, skeleton.joints)


def test_what_a_file_says_itself_stays(tmp_path):
    own = Preprocessing(joints=tuple("abcdefg"), limbs=((0, 1), (1, 2)))
    converters.write(random_checkpoint(joints=7, preprocessing=own), tmp_path / "a.safetensors")
    told = converters.read(tmp_path / "a.safetensors").preprocessing
    assert (told.joints, told.limbs, told.told_joints) == (own.joints, own.limbs, own.joints)
    assert named(dataclasses.replace(own, limbs=()), 7).limbs == ()


def test_coco_has_the_lines_of_its_own_category():
    lines = (
        *((16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9)),
        *((8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)),
    )
    assert {frozenset(limb) for limb in joints.COCO.limbs} == {frozenset((a - 1, b - 1)) for a, b in lines}


@pytest.mark.parametrize("limb", [(0, 3), (1, 1), (-1, 0), (0, 1, 2), (0,)])
def test_limbs_are_between_two_of_the_joints(limb):
    with pytest.raises(DeepPoseError, match="are not two of its 3 joints"):
        Preprocessing(joints=("a", "b", "c"), limbs=(limb,))
