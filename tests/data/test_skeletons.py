"""The skeletons' tables agree with the data sets and with themselves."""

import pickle

import pytest

from deeppose_port.data import skeletons
from deeppose_port.data.skeletons import SKELETONS, Skeleton


@pytest.fixture(params=list(SKELETONS))
def skeleton(request: pytest.FixtureRequest) -> Skeleton:
    return skeletons.get(request.param)


def joints_of(limb: skeletons.Limb) -> set[int]:
    return {joint for end in limb for joint in (end if isinstance(end, tuple) else (end,))}


def mirrored(name: str) -> str:
    swap = {"left": "right", "right": "left"}
    return " ".join(swap.get(word, word) for word in name.split())


@pytest.mark.parametrize(
    ("name", "joints", "limbs"), [("flic", 7, 4), ("lsp", 14, 10), ("mpii", 16, 8), ("coco", 17, 8), ("flic11", 11, 4)]
)
def test_a_skeleton_has_the_joints_and_limbs_of_its_data_set(name: str, joints: int, limbs: int) -> None:
    skeleton = skeletons.get(name)
    assert skeleton.name == name
    assert len(skeleton.joints) == len(set(skeleton.joints)) == joints
    assert len(skeleton.pcp_limbs) == limbs


@pytest.mark.parametrize(
    ("name", "landmarks"),
    [
        ("flic", {0: "left wrist", 2: "left shoulder", 3: "head", 4: "right shoulder", 6: "right wrist"}),
        ("lsp", {0: "right ankle", 2: "right hip", 5: "left ankle", 6: "right wrist", 9: "left shoulder"}),
        ("lsp", {12: "neck", 13: "head"}),
        ("mpii", {0: "right ankle", 2: "right hip", 6: "pelvis", 7: "thorax", 8: "neck", 9: "head"}),
        ("mpii", {10: "right wrist", 12: "right shoulder", 13: "left shoulder", 15: "left wrist"}),
        ("coco", {0: "nose", 1: "left eye", 5: "left shoulder", 6: "right shoulder", 12: "right hip"}),
        ("coco", {10: "right wrist", 15: "left ankle", 16: "right ankle"}),
        ("flic11", {0: "left shoulder", 2: "left wrist", 5: "right wrist", 7: "right hip", 10: "nose"}),
    ],
)
def test_joints_are_in_the_order_of_the_annotations(name: str, landmarks: dict[int, str]) -> None:
    joints = skeletons.get(name).joints
    assert {index: joints[index] for index in landmarks} == landmarks


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'animals'.*flic, lsp, mpii, coco, flic11, or a file of your own"):
        skeletons.get("animals")


def test_capitals_and_skeletons_themselves_are_understood() -> None:
    assert skeletons.get("LSP") is skeletons.get(skeletons.LSP) is skeletons.LSP


def test_the_mapping_is_by_name() -> None:
    names = ("flic", "lsp", "mpii", "coco", "flic11")
    assert {name: skeleton.name for name, skeleton in SKELETONS.items()} == {name: name for name in names}


def test_the_number_of_joints_tells_the_legacy_skeletons_alone() -> None:
    assert [skeletons.of_network(joints) for joints in (7, 14, 16)] == [skeletons.FLIC, skeletons.LSP, skeletons.MPII]
    assert {skeletons.of_network(joints) for joints in (9, 11, 17)} == {None}  # 17 may be COCO's or Human3.6M's


def test_names_of_joints_tell_more_than_their_number() -> None:
    for skeleton in SKELETONS.values():
        assert skeletons.of_network(len(skeleton.joints), skeleton.joints) is skeleton
    assert skeletons.of_network(7, tuple("abcdefg")) is None


def test_a_network_of_the_same_joints_in_another_order_is_refused() -> None:
    names = skeletons.FLIC.joints
    for fitting in ((), names, tuple("abcdefg")):
        skeletons.FLIC.refuse_other_order(fitting, "a.pt")
    with pytest.raises(
        ValueError, match=r"a\.pt: its joints are those of flic in another order: joint 1 is right elbow"
    ):
        skeletons.FLIC.refuse_other_order((names[0], names[5], *names[2:5], names[1], names[6]), "a.pt")


def test_the_same_joints_may_be_spelled_otherwise_but_not_in_another_order() -> None:
    spelled = ["l_wrist", "Elbow.L", "left-shoulder", "HEAD", "shoulder right", "R Elbow", "r_wrist"]
    skeletons.FLIC.refuse_other_order(spelled, "a.pt")
    with pytest.raises(ValueError, match="in another order: joint 3 is shoulder right, not head"):
        skeletons.FLIC.refuse_other_order([*spelled[:3], spelled[4], spelled[3], *spelled[5:]], "a.pt")


def test_the_rule_of_a_head_is_told_in_words() -> None:
    assert {skeleton.head_rule for skeleton in SKELETONS.values()} == {None}
    mine = Skeleton("mine", ("a", "b", "c"), head=(0, (1, 2)), head_factor=0.75)
    assert mine.head_rule == "0.75 times the distance from a to the middle of b and c"


@pytest.mark.parametrize(
    ("joint", "side"),
    [("left knee", "left"), ("R_knee", "right"), ("knee.l", "left"), ("Right", "right"), ("nose", ""), ("lower", "")],
)
def test_the_side_is_in_the_joints_name(joint: str, side: str) -> None:
    assert skeletons.side(joint) == side


def test_symmetric_pairs_are_exactly_the_joints_with_a_side(skeleton: Skeleton) -> None:
    pairs = {frozenset(skeleton.joints[joint] for joint in pair) for pair in skeleton.symmetric_pairs}
    sided = {name for name in skeleton.joints if mirrored(name) != name}
    assert pairs == {frozenset((name, mirrored(name))) for name in sided}
    assert len(skeleton.symmetric_pairs) == len(sided) / 2


@pytest.mark.parametrize("name", ["flic", "lsp", "mpii"])
def test_the_drawn_limbs_form_a_tree_over_all_joints(name: str) -> None:
    skeleton = skeletons.get(name)
    children = [child for _, child in skeleton.limbs]
    (root,) = set(range(len(skeleton.joints))) - set(children)
    assert len(children) == len(set(children)) == len(skeleton.joints) - 1
    reached = {root}
    for parent, child in skeleton.limbs:  # listed from the root outward
        assert parent in reached
        reached.add(child)


def test_every_joint_is_drawn_with_a_limb(skeleton: Skeleton) -> None:
    assert {joint for limb in skeleton.limbs for joint in limb} == set(range(len(skeleton.joints)))


def test_the_drawn_limbs_of_coco_are_those_of_the_data_set() -> None:
    # `skeleton` of the category `person` in person_keypoints_val2017.json, counted from 1
    listed = "16-14 14-12 17-15 15-13 12-13 6-12 7-13 6-7 6-8 7-9 8-10 9-11 2-3 1-2 1-3 2-4 3-5 4-6 5-7"
    expected = {frozenset(int(joint) - 1 for joint in limb.split("-")) for limb in listed.split()}
    assert {frozenset(limb) for limb in skeletons.COCO.limbs} == expected


@pytest.mark.parametrize("part", ["limbs", "pcp_limbs"])
def test_limbs_are_symmetric(skeleton: Skeleton, part: str) -> None:
    other = {a: b for pair in skeleton.symmetric_pairs for a, b in (pair, pair[::-1])}
    limbs = skeleton.limbs if part == "limbs" else skeleton.pcp_limbs.values()
    joints = {frozenset(joints_of(limb)) for limb in limbs}
    assert {frozenset(other.get(joint, joint) for joint in limb) for limb in joints} == joints


def test_a_pcp_limb_joins_the_joints_its_name_says(skeleton: Skeleton) -> None:
    neighbours = {
        "upper arm": {"shoulder", "elbow"},
        "lower arm": {"elbow", "wrist"},
        "upper leg": {"hip", "knee"},
        "lower leg": {"knee", "ankle"},
    }
    for name, limb in skeleton.pcp_limbs.items():
        side, _, kind = name.partition(" ")
        if side in ("left", "right"):
            expected = {f"{side} {joint}" for joint in neighbours[kind]}
            assert {skeleton.joints[joint] for joint in joints_of(limb)} == expected


def test_the_sticks_of_lsp_have_a_head_and_a_torso_between_midpoints() -> None:
    limbs = skeletons.LSP.pcp_limbs
    assert limbs["head"] == (12, 13)
    assert limbs["torso"] == ((2, 3), (8, 9))


def test_the_drawn_limbs_of_mpii_are_those_of_the_data_set() -> None:
    listed = "0-1 1-2 2-6 6-3 3-4 4-5 6-7 7-8 8-9 10-11 11-12 12-8 8-13 13-14 14-15"
    expected = {frozenset(map(int, limb.split("-"))) for limb in listed.split()}
    assert {frozenset(limb) for limb in skeletons.MPII.limbs} == expected


@pytest.mark.parametrize(
    ("name", "torso"),
    [("flic", None), *((name, ("left shoulder", "right hip")) for name in ("lsp", "mpii", "coco", "flic11"))],
)
def test_the_torso_is_left_shoulder_to_right_hip_where_there_are_hips(name: str, torso: tuple[str, str] | None) -> None:
    skeleton = skeletons.get(name)
    ends = skeleton.torso and tuple(skeleton.joints[end] for end in skeleton.torso if isinstance(end, int))
    assert ends == torso


def test_only_the_total_of_mpii_leaves_joints_out() -> None:
    excluded = {
        name: [skeleton.joints[joint] for joint in skeleton.pckh_total_excluded] for name, skeleton in SKELETONS.items()
    }
    assert {name: joints for name, joints in excluded.items() if joints} == {"mpii": ["pelvis", "thorax"]}


def test_a_skeleton_travels_to_worker_processes_and_serves_as_a_key(skeleton: Skeleton) -> None:
    assert pickle.loads(pickle.dumps(skeleton)) == skeleton
    assert {skeleton: 1}[skeleton] == 1
