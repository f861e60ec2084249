import json

import numpy as np
import pytest

from converters.errors import DeepPoseError
from deeppose_port.data import skeletons
from deeppose_port.drawing import draw
from deeppose_port.drawing.draw import CENTRE, LEFT, RIGHT, draw_legend, draw_persons, draw_pose

FLIC = skeletons.FLIC
# left wrist, elbow, shoulder, head, right shoulder, elbow, wrist
POSE = np.array([[40.0, 360], [40, 240], [100, 120], [200, 60], [300, 120], [360, 240], [360, 360]])


@pytest.fixture
def grey():
    return np.full((400, 400, 3), 128, np.uint8)


def colour_at(drawing, point):
    x, y = np.round(point).astype(int)
    return tuple(drawing[y, x].tolist())


def midpoint(start, end):
    return (POSE[start] + POSE[end]) / 2


def is_drawn(drawing, around, radius=12):
    x, y = np.round(around).astype(int)
    return bool((drawing[y - radius : y + radius, x - radius : x + radius] != 128).any())


def test_limbs_have_the_colour_of_their_side(grey):
    drawing = draw_pose(grey, POSE, FLIC)
    for start, end in ((0, 1), (1, 2), (2, 3)):
        assert colour_at(drawing, midpoint(start, end)) == LEFT
    for start, end in ((3, 4), (4, 5), (5, 6)):
        assert colour_at(drawing, midpoint(start, end)) == RIGHT


def test_limbs_between_joints_of_neither_side_are_central(grey):
    pose = np.random.RandomState(0).uniform(20, 380, (16, 2))
    pose[[6, 7]] = (390, 100), (390, 300)
    drawing = draw_pose(grey, pose, skeletons.MPII, visible=np.isin(np.arange(16), (6, 7)))
    assert colour_at(drawing, (390, 200)) == CENTRE


def test_joints_are_dots_of_their_side(grey):
    drawing = draw_pose(grey, POSE, FLIC)
    assert [colour_at(drawing, POSE[k]) for k in (0, 3, 6)] == [LEFT, CENTRE, RIGHT]


def test_every_limb_of_every_skeleton_is_drawn(grey):
    for skeleton in skeletons.SKELETONS.values():
        angles = 2 * np.pi * np.arange(len(skeleton.joints)) / len(skeleton.joints)
        pose = 200 + 180 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        drawing = draw_pose(grey, pose, skeleton)
        assert all(is_drawn(drawing, (pose[a] + pose[b]) / 2, 2) for a, b in skeleton.limbs)


@pytest.mark.parametrize("shade", [0, 128, 255, LEFT, RIGHT, CENTRE], ids=str)
def test_around_each_limb_there_is_black_and_around_that_white(shade):
    picture = np.full((400, 400, 3), shade, np.uint8)
    drawing = draw_pose(picture, POSE, FLIC)
    row = drawing[300]
    for limb, half in ((LEFT, row[:200]), (RIGHT, row[200:])):
        limb_from = np.flatnonzero((half == limb).all(axis=1) & (np.arange(200) != 0))
        inside = limb_from[np.argmin(np.abs(limb_from - (40 if limb == LEFT else 160)))]
        for step in (-1, 1):
            outward = half[inside : inside + step * 9 : step].astype(int)
            dark = int(np.argmax(outward.max(axis=1) < 90))
            assert dark > 0
            assert outward[dark:].min(axis=1).max() > 150


def in_colour(picture, colour):
    """The rows and columns where a picture has a colour."""
    return np.argwhere((picture == colour).all(axis=2))


def test_the_legend_has_a_line_for_each_side_in_the_corner_that_is_free(grey):
    drawing, edges = draw_legend(grey, FLIC)
    rows = []
    for colour in (LEFT, RIGHT, CENTRE):
        places = in_colour(drawing, colour)
        assert places[:, 0].min() > 300
        assert places[:, 1].max() < 60
        rows.append(places[:, 0].mean())
    assert rows == sorted(rows)
    assert np.array_equal(drawing[:290], grey[:290])
    left, top, right, bottom = edges
    assert (left, bottom) == (0, 400)
    assert np.array_equal((drawing != grey).any(axis=2).nonzero()[0].min(), top)
    beside, above = draw_legend(grey, FLIC, beside=[POSE, POSE * 0 + [390, 390]])
    assert above == (0, 0, right, bottom - top)
    assert np.array_equal(beside[: above[3]], drawing[top:])
    pose = draw_pose(grey, POSE, FLIC, legend=True)
    changed = (pose != draw_pose(grey, POSE, FLIC)).any(axis=2)
    assert changed[in_colour(beside, LEFT)[:, 0].min(), in_colour(beside, LEFT)[:, 1].min()]


def test_the_legend_tells_of_what_there_is():
    grey = np.full((600, 600, 3), 128, np.uint8)

    def height(**more):
        return int((draw_legend(grey, more.pop("skeleton", FLIC), **more)[0] != grey).any(axis=(1, 2)).sum())

    assert height() < height(truth=True) == height(stages=True) < height(truth=True, stages=True)
    assert 0 < height(skeleton=["left a", "right b"]) < height()
    assert height(skeleton=None) == height(skeleton=["nose", "tail"]) == 0
    assert height(skeleton=None, truth=True) > 0
    small = grey[:90, :90]
    assert np.array_equal(draw_legend(small, FLIC)[0], small)


def test_the_pose_is_drawn_over_the_legend(grey):
    drawing = draw_pose(draw_legend(grey, FLIC)[0], POSE + np.array([-20, 30]), FLIC)
    assert colour_at(drawing, POSE[0] + np.array([-20, 30])) == LEFT


def test_names_stand_beside_their_joints_and_hide_none(grey):
    drawing, plain = draw_pose(grey, POSE, FLIC, names=True), draw_pose(grey, POSE, FLIC)
    written = (drawing != plain).any(axis=2)
    for point in POSE.round().astype(int):
        x, y = point
        assert written[max(0, y - 30) : y + 30, max(0, x - 60) : x + 60].any()
        assert np.array_equal(colour_at(drawing, point), colour_at(plain, point))
    assert not written[:, 195:205][200:].any()
    unseen = np.arange(7) == 3
    assert not (draw_pose(grey, POSE, FLIC, names=True, visible=unseen) != grey).any(axis=2)[200:].any()
    assert np.array_equal(draw_pose(grey, POSE, None, names=True), draw_pose(grey, POSE, None))


def test_names_leave_the_legend_free(grey):
    legend, (_, top, right, bottom) = draw_legend(grey, FLIC)
    pose = np.full((7, 2), np.nan)
    pose[[0, 6]] = (right + 8, top + 30), (390, 20)  # the first one's name would stand to its left
    free, hidden = (
        draw_persons(legend, [(None, None, pose)], FLIC, names=True, legend=edges)
        for edges in ((0, top, right, bottom), (0, 0, 0, 0))
    )
    part = np.s_[top:bottom, : right - 4]
    assert np.array_equal(free[part], legend[part])
    assert not np.array_equal(hidden[part], legend[part])


def test_names_have_the_letters_of_many_languages(grey):
    drawn = {
        name: draw_pose(grey, [[200, 200]], [name], names=True)
        for name in ("\xe9paule", "?paule", "\u043b\u043e\u0431")
    }
    assert len({drawing.tobytes() for drawing in drawn.values()}) == 3


def test_names_of_joints_that_coincide_do_not_cover_each_other(grey):
    both = np.full((2, 2), 200.0)
    dot, one, two = (
        np.count_nonzero(draw_pose(grey, both, ["ab", "cd"], names=names, visible=visible) != grey)
        for names, visible in ((False, None), (True, [True, False]), (True, None))
    )
    assert two - dot > 1.7 * (one - dot) > 0


def test_persons_have_names_too_wherever_they_are(grey):
    persons = [(1, (10.0, 10, 380, 380), POSE), (2, None, POSE + 1e7), (3, (0, 0, 9, 9), POSE * np.nan)]
    drawing = draw_persons(grey, persons, FLIC, names=True)
    assert is_drawn(drawing, POSE[6] - np.array([40, 0]), 6)
    assert not is_drawn(draw_persons(grey, persons, FLIC), POSE[6] - np.array([40, 0]), 6)


def test_the_picture_is_copied(grey):
    before = grey.copy()
    grey.flags.writeable = False
    drawing = draw_pose(grey, POSE, FLIC)
    assert np.array_equal(grey, before)
    assert (drawing.shape, drawing.dtype) == (grey.shape, np.uint8)
    assert not np.array_equal(drawing, before)


def test_memory_order_of_the_picture_does_not_matter(grey):
    drawing = draw_pose(grey, POSE, FLIC)
    assert np.array_equal(draw_pose(np.repeat(grey, 2, axis=1)[:, ::2], POSE, FLIC), drawing)
    assert np.array_equal(draw_pose(np.asfortranarray(grey), POSE, FLIC), drawing)


def test_widths_follow_the_picture(grey):
    small = draw_pose(grey, POSE, FLIC)
    large = draw_pose(np.full((1600, 1600, 3), 128, np.uint8), 4 * POSE, FLIC)

    def width(drawing, x):
        return int((drawing[x, : x // 2] == LEFT).all(axis=-1).sum())

    assert width(large, 1200) > 2 * width(small, 300) > 0


def test_invisible_joints_and_their_limbs_are_left_out(grey):
    visible = np.arange(7) != 1
    drawing = draw_pose(grey, POSE, FLIC, visible=visible)
    assert not is_drawn(drawing, POSE[1])
    assert not is_drawn(drawing, midpoint(0, 1))
    assert is_drawn(drawing, POSE[0])
    assert is_drawn(drawing, midpoint(2, 3))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_joints_without_finite_coordinates_are_left_out(grey, value):
    pose = POSE.copy()
    pose[1, 0] = value
    visible = np.arange(7) != 1
    assert np.array_equal(draw_pose(grey, pose, FLIC), draw_pose(grey, POSE, FLIC, visible=visible))
    truth = draw_pose(grey, POSE, FLIC, truth=pose)
    assert np.array_equal(truth[220:260, :80], draw_pose(grey, POSE, FLIC)[220:260, :80])


@pytest.mark.parametrize("far", [1e3, 1e5, 1e9, 1e18, 1e300])
def test_joints_far_outside_do_not_crash(grey, far):
    pose = POSE.copy()
    pose[0] = (40, far)
    pose[6] = (-far, far)
    drawing = draw_pose(grey, pose, FLIC, truth=pose)
    assert is_drawn(drawing, (40, 390))
    assert draw_pose(grey, np.full((7, 2), -far), None, truth=pose).shape == grey.shape


def test_truth_is_white_dashes_and_rings(grey):
    truth = POSE + np.array([0, 15])

    def whiteness(drawing, places):
        return np.mean([min(colour_at(drawing, place)) > 180 for place in places])

    limb = [truth[3] + t * (truth[4] - truth[3]) for t in np.linspace(0.15, 0.85, 60)]
    turns = np.linspace(0, 2 * np.pi, 40)
    ring = truth[0] + 5 * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    drawing = draw_pose(grey, POSE, FLIC, truth=truth)
    assert 0.25 < whiteness(drawing, limb) < 0.75
    assert whiteness(drawing, ring) > 0.5
    assert whiteness(draw_pose(grey, POSE, FLIC), limb) == whiteness(draw_pose(grey, POSE, FLIC), ring) == 0


def test_dashes_begin_and_end_at_the_joints(grey):
    drawing = grey.copy()
    draw._dashes(drawing, (100, 200), (190, 200), 3)  # five parts of 18 pixels
    assert [min(colour_at(drawing, (109 + 18 * i, 200))) > 180 for i in range(5)] == [True, False, True, False, True]


@pytest.mark.parametrize("limb", [((-300, 100), (100, -300)), ((-90, 50), (-90, 90)), ((1e9, 1e9), (1e9, -1e9))])
def test_truth_that_passes_outside_leaves_the_picture_alone(grey, limb):
    truth = np.full((7, 2), np.nan)
    truth[2:4] = limb
    assert np.array_equal(draw_pose(grey, POSE * np.nan, FLIC, truth=truth), grey)


def test_invisible_joints_of_the_truth_are_left_out(grey):
    visible = np.arange(7) < 3
    drawing = draw_pose(grey, POSE, FLIC, truth=POSE, visible=visible)
    assert np.array_equal(drawing[:, 220:], grey[:, 220:])


def test_unknown_joints_are_numbered_dots(grey):
    points = np.array([[100.0, 100], [300, 300]])
    drawing = draw_pose(grey, points, None)
    assert [colour_at(drawing, point) for point in points] == [CENTRE, CENTRE]
    assert not is_drawn(drawing, (200, 200))
    first, second = drawing[60:95, 105:150], drawing[260:295, 305:350]
    assert (first != 128).any()
    assert (second != 128).any()
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 500, 3), (140, 90, 3)])
def test_pictures_of_any_size(shape):
    assert draw_pose(np.zeros(shape, np.uint8), POSE, FLIC, truth=POSE).shape == shape


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        ({"image": np.zeros((9, 9), np.uint8)}, "has to be uint8"),
        ({"image": np.zeros((9, 9, 3))}, "has to be uint8"),
        ({"points": POSE[:5]}, r"the points are \(5, 2\); they have to be \(7, 2\)"),
        ({"truth": POSE[:, 0]}, r"the points are \(7,\)"),
        ({"visible": np.ones(3, bool)}, r"visible is \(3,\)"),
    ],
)
def test_arguments_of_another_shape_are_refused(arguments, phrase):
    right = {"image": np.zeros((9, 9, 3), np.uint8), "points": POSE, "skeleton": FLIC}
    with pytest.raises(ValueError, match=phrase):
        draw_pose(**{**right, **arguments})


def test_a_skeleton_may_be_told_by_its_name_or_by_those_of_joints(grey, tmp_path):
    drawing = draw_pose(grey, POSE, FLIC)
    (tmp_path / "own.json").write_text(json.dumps({"joints": FLIC.joints, "limbs": [["head", "left shoulder"]]}))
    for same in ("flic", "FLIC", FLIC.joints, list(FLIC.joints)):
        assert np.array_equal(draw_pose(grey, POSE, same), drawing)
    own = draw_pose(grey, POSE, tmp_path / "own.json")
    assert is_drawn(own, midpoint(2, 3), 2)
    assert not is_drawn(own, midpoint(0, 1), 2)
    for wrong, problem in (
        ("mars", "no skeleton is called 'mars'"),
        ([1] * 7, "nor the names of joints"),
        (["a"], "7"),
    ):
        with pytest.raises(DeepPoseError, match=problem):
            draw_pose(grey, POSE, wrong)


def test_joints_in_another_order_or_fewer_have_the_limbs_between_them(grey):
    order = [3, 2, 1, 0]
    drawing = draw_pose(grey, POSE[order], [FLIC.joints[joint] for joint in order])
    assert colour_at(drawing, midpoint(0, 1)) == LEFT
    assert is_drawn(drawing, midpoint(2, 3), 2)
    strange = draw_pose(grey, POSE[:2], ["left paw", "tail"])
    assert colour_at(strange, POSE[0]) == LEFT
    assert not is_drawn(strange, midpoint(0, 1), 2)
