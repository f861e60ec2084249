"""A user's own skeleton is a small file; what is no skeleton is refused by name."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from deeppose_port.data import PoseDataset, skeletons
from deeppose_port.data.skeletons import Skeleton
from tests.conftest import ROOT

WHOLE = """
name = "upper body"
joints = ["neck", "head top", "left shoulder", "left elbow", "right shoulder", "left hip", "right hip"]
limbs = [["neck", "left shoulder"], ["left shoulder", "left elbow"]]
symmetric = [["left shoulder", "right shoulder"]]
torso = ["left shoulder", "right hip"]
head = ["neck", "head top"]
head_factor = 0.75
pckh_excluded = ["neck"]

[pcp]
"left upper arm" = ["left shoulder", "left elbow"]
torso = [["left hip", "right hip"], "neck"]
"""

EXPECTED = Skeleton(
    name="upper body",
    joints=("neck", "head top", "left shoulder", "left elbow", "right shoulder", "left hip", "right hip"),
    symmetric_pairs=((2, 4),),
    limbs=((0, 2), (2, 3)),
    pcp_limbs={"left upper arm": (2, 3), "torso": ((5, 6), 0)},
    torso=(2, 6),
    head=(0, 1),
    head_factor=0.75,
    pckh_total_excluded=(0,),
)


@pytest.fixture
def read(tmp_path):
    """Reads a skeleton from a text."""

    def read(text, name="mine.toml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return skeletons.get(tmp_path / name)

    return read


class TestReading:
    def test_everything_that_can_be_said(self, read):
        skeleton = read(WHOLE)
        assert skeleton == EXPECTED
        assert skeleton.pcp_limbs == EXPECTED.pcp_limbs

    def test_json_says_the_same(self, read):
        values = {
            "name": "upper body",
            "joints": list(EXPECTED.joints),
            "limbs": [["neck", "left shoulder"], ["left shoulder", "left elbow"]],
            "symmetric": [["left shoulder", "right shoulder"]],
            "torso": ["left shoulder", "right hip"],
            "head": ["neck", "head top"],
            "head_factor": 0.75,
            "pckh_excluded": ["neck"],
            "pcp": {
                "left upper arm": ["left shoulder", "left elbow"],
                "torso": [["left hip", "right hip"], "neck"],
            },
        }
        assert read(json.dumps(values), "mine.json") == EXPECTED

    def test_the_example_of_the_documentation_is_one(self, read):
        page = (ROOT / "docs" / "data.md").read_text()
        example = page.partition("```toml\n")[2].partition("```")[0]
        assert replace(read(example), opposing=()) == EXPECTED

    def test_joints_are_enough(self, read):
        skeleton = read('joints = ["l_wrist", "top", "R_wrist", "r_knee"]', "My hand.TOML")
        assert (skeleton.name, skeleton.joints) == ("My hand", ("l_wrist", "top", "R_wrist", "r_knee"))
        assert skeleton.symmetric_pairs == ((0, 2),)
        assert (skeleton.limbs, skeleton.pcp_limbs, skeleton.torso, skeleton.head) == ((), {}, None, None)

    def test_limbs_of_the_drawing_are_those_of_pcp(self, read):
        skeleton = read('joints = ["a", "b", "c"]\nlimbs = [["a", "b"], ["a", "c"]]')
        assert skeleton.pcp_limbs == {"a to b": (0, 1), "a to c": (0, 2)}


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "it has no `joints`"),
            ("joints = 3", "`joints` is 3, which is no list"),
            ("joints = [3]", "`joints` has 3, which is no text"),
            ('joints = ["a", "a"]', "two joints are called 'a'"),
            ('joints = ["a", ""]', "'' is no name of a joint"),
            ('joints = ["a", "mean"]', "a joint is called 'mean', as evaluations call the number of all joints"),
            ('joints = ["a", "b"]\n[pcp]\n"total" = ["a", "b"]', "a limb is called 'total', as evaluations call"),
            ('joints = ["a", "b\\u001b[2J"]', r"no name of a joint"),
            ('joints = ["=HYPERLINK(1)"]', "in a table it would be a formula"),
            ('joints = ["a", "b"]\nlimps = [["a", "b"]]', "`limps` is nothing of a skeleton; there are name, joints"),
            ('joints = ["a", "b"]\nlimbs = [["a", "c"]]', "`limbs` names 'c', which is none of the joints"),
            ('joints = ["a", "b"]\nlimbs = [["a", "a"]]', "`limbs` has 'a' with itself"),
            ('joints = ["a", "b"]\nlimbs = [["a", "b", "a"]]', "`limbs` has 3 where two are needed"),
            ('joints = ["a", "b"]\nsymmetric = [["a", "b"], ["b", "a"]]', "`symmetric` names a joint twice"),
            ('joints = ["a", "b"]\ntorso = ["a", []]', "`torso` has an end of no joint"),
            ('joints = ["a", "b"]\ntorso = ["a", "a"]', "`torso` has the same joint at both ends"),
            ('joints = ["a", "b"]\nhead_factor = 2', "`head_factor` needs `head`"),
            ('joints = ["a", "b"]\nhead = ["a", "b"]\nhead_factor = -1', "has to be a positive number"),
            ('joints = ["a", "b"]\nhead = ["a", "b"]\nhead_factor = nan', "has to be a positive number"),
            (f'joints = ["a", "b"]\nhead = ["a", "b"]\nhead_factor = 1{"0" * 400}', "has to be a positive number"),
            ('joints = ["a", "b"]\npcp = 3', "`pcp` is no table"),
            ('joints = ["a", "b"]\n[pcp]\n"+x" = ["a", "b"]', "a limb is called"),
            ("joints = [", "not TOML text"),
        ],
    )
    def test_what_is_no_skeleton(self, read, text, problem):
        with pytest.raises(ValueError, match=problem) as caught:
            read(text)
        assert "mine.toml: " in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("text", ["{", "[1]", "3", '{"joints": ' + "[" * 5000, "\x00"])
    def test_what_is_no_json_object(self, read, text):
        with pytest.raises(ValueError, match=r"mine\.json: (not JSON text|no object)"):
            read(text, "mine.json")

    def test_what_is_no_file(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.toml")
        (tmp_path / "folder.json").mkdir()
        with (tmp_path / "large.toml").open("wb") as file:
            file.truncate(1 << 30)
        for name, problem in {
            "gone.toml": "there is no such file",
            "pipe.toml": "cannot be read: this is a device or a pipe",
            "folder.json": "cannot be read: this is a folder",
            "large.toml": "it has 1,073,741,824 bytes",
        }.items():
            with pytest.raises(ValueError, match=rf"{name}: {problem}"):
                skeletons.get(tmp_path / name)


def test_a_dataset_takes_a_file(read, tmp_path, pictures):
    read('joints = ["left a", "right a", "b"]')
    csv = tmp_path / "persons.csv"
    csv.write_text("astronaut.png,10,20,100,200,50,60\n")
    dataset = PoseDataset(csv, images=pictures, skeleton=tmp_path / "mine.toml")
    assert dataset.joints.shape == (1, 3, 2)
    assert dataset.skeleton.symmetric_pairs == ((0, 1),)
    assert np.isfinite(dataset[0][1]).all()
