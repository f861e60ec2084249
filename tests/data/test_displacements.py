"""A later stage's training set: displacements go there and back, and are drawn as the stage before errs."""

import math

import cv2
import numpy as np
import pytest

from converters import Preprocessing
from converters.cascade import CloseUp
from converters.errors import DeepPoseError
from deeppose_port.data import Augmentation, PoseDataset, skeletons
from deeppose_port.data.augmentation import example_rng
from deeppose_port.data.close_up import Rectangle
from deeppose_port.data.displacements import CloseUps, DrawnCloseUps, diameters_of, measured
from deeppose_port.data.spread import CUT_OFF, Chance, Spread
from deeppose_port.metrics.predictions import refined_by

SIZE = Preprocessing(im_size=48, gcn="none")
ALL = Augmentation(fliplr=True, rotate=True, zoom=True, translate=True, rotate_range=30)
TODAYS = Augmentation(fliplr=True, rotation=Spread(30), scale=Spread(0.2), aspect=Spread(0.1), shift=Spread(0.05))
PERSONS, HEIGHT, WIDTH = 5, 300, 400


def poses(seed=3, count=PERSONS):
    """Random poses whose joints are far enough from each other and from the edges."""
    return np.random.default_rng(seed).uniform(60, 240, (count, 14, 2))


def write(folder, joints):
    """Writes a CSV and a grey picture for each person."""
    lines = []
    for i, pose in enumerate(joints):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((HEIGHT, WIDTH, 3), 40, np.uint8))
        lines.append(",".join([f"{i}.png", *(f"{value:.6f}" for value in pose.reshape(-1))]))
    (folder / "persons.csv").write_text("\n".join(lines) + "\n")
    return PoseDataset(folder / "persons.csv", images=folder, skeleton="lsp", cache=1 << 24)


@pytest.fixture(scope="module")
def persons(tmp_path_factory):
    return write(tmp_path_factory.mktemp("persons"), poses())


def rule(sigma=2.0, mean=0.1, deviation=0.2, joints=14, opposing=((9, 2),)):
    return CloseUp(sigma, opposing, ((mean, -mean),) * joints, ((deviation, deviation / 2),) * joints)


def dot(persons, person, joint):
    """The person's picture with a dot of a pixel's size, anti-aliased, at a joint."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    true = persons.joints[person, joint]
    level = 255 * np.exp(-((x - true[0]) ** 2 + (y - true[1]) ** 2) / (2 * 2.5**2))
    return np.repeat(level[..., None], 3, axis=2).round().astype(np.uint8)


class Dots(PoseDataset):
    """The persons, in whose pictures nothing but a dot at one joint is to be seen."""

    joint = 0

    def picture(self, index):
        return dot(self, index, self.joint)


@pytest.fixture(scope="module")
def dots(persons):
    return Dots(persons.csv, images=persons.images, skeleton="lsp")


def centre_of(inputs):
    """Where the dot of a close-up is, in pixels of the input."""
    levels = inputs[0].astype(np.float64)
    y, x = np.mgrid[: levels.shape[0], : levels.shape[1]]
    return np.array([(levels * x).sum(), (levels * y).sum()]) / levels.sum()


class TestLabels:
    @pytest.mark.parametrize("augmentation", [None, Augmentation(fliplr=True), ALL, TODAYS], ids=str)
    def test_the_dot_in_a_close_up_is_where_its_label_says(self, dots, augmentation):
        """The crop and the label agree: a network that finds the joint in its input answers the label."""
        close_ups = DrawnCloseUps(dots, SIZE, rule(), 2, augmentation)
        seen, mirrored = 0, 0
        for index in range(0, len(close_ups), 7):
            joint = index % 14
            dots.joint = joint
            inputs, targets, mask = close_ups.drawn(index, augmentation or Augmentation(), example_rng(1701, 0, index))
            (answered,) = np.flatnonzero(mask.reshape(14, 2).all(axis=1))
            assert mask.sum() == 2
            mirrored += answered != joint
            label = targets.reshape(14, 2)[answered]
            if abs(label).max() > 0.35:
                continue  # a part of the dot is beyond the edge
            seen += 1
            assert np.abs(centre_of(inputs) - (24 + 48 * label)).max() <= 0.5
        assert seen > 10
        assert (mirrored > 0) == (augmentation is not None)

    @pytest.mark.parametrize("seed", range(5))
    def test_through_crop_and_the_network_of_the_truth_and_back_the_joint_is_the_same(self, dots, seed):
        """Random persons and displacements: what finds the dot moves every joint to 0.5 pixels of the truth."""
        random = np.random.default_rng(seed)
        drawn = random.normal(0, 0.15, dots.joints.shape) * diameters_of(dots, ((9, 2),)).lengths[:, None, None]
        sized = Preprocessing(im_size=96, gcn="none")
        close_ups = CloseUps(dots, sized, rule(sigma=1.5), dots.joints + drawn)
        for joint in range(0, 14, 3):
            dots.joint = joint
            for person in range(PERSONS):
                inputs, _, _ = close_ups[14 * person + joint]
                # The network of the truth answers by how much the dot is away from the middle of its input.
                answer = np.zeros((1, 14, 2))
                answer[0, joint] = (centre_of(inputs) - 48) / 96
                found = close_ups.points([person], answer)[0, joint]
                assert np.abs(found - dots.joints[person, joint]).max() <= 0.5

    def test_a_mirrored_close_up_is_the_mirror_image(self, dots):
        """About its middle, which is between two pixels' centres: the first column has no partner."""
        dots.joint = 4
        still = CloseUp(1.5, ((9, 2),), ((0.05, 0.0),) * 14, ((0.0, 0.0),) * 14)
        opposite = CloseUp(1.5, ((9, 2),), ((-0.05, 0.0),) * 14, ((0.0, 0.0),) * 14)
        seed = next(seed for seed in range(99) if Augmentation(fliplr=True).draw(example_rng(seed, 0, 4)).flip)
        mirrored = DrawnCloseUps(dots, SIZE, still, 1).drawn(4, Augmentation(fliplr=True), example_rng(seed, 0, 4))
        plain = DrawnCloseUps(dots, SIZE, opposite, 1).drawn(4, Augmentation(), example_rng(seed, 0, 4))
        assert np.abs(mirrored[0][..., 1:] - plain[0][..., :0:-1]).max() <= 2
        assert np.allclose(mirrored[1].reshape(14, 2)[1], plain[1].reshape(14, 2)[4] * (-1, 1))
        assert np.flatnonzero(mirrored[2].reshape(14, 2)[:, 0]).tolist() == [1]

    def test_labels_as_answers_give_back_the_truth(self, persons):
        drawn = np.random.default_rng(1).normal(0, 20, persons.joints.shape)
        close_ups = CloseUps(persons, SIZE, rule(), persons.joints + drawn)
        labels = np.array([close_ups[i][1].reshape(14, 2)[i % 14] for i in range(len(close_ups))])
        found = close_ups.points(range(PERSONS), labels.reshape(PERSONS, 14, 2))
        assert np.abs(found - persons.joints).max() <= 1e-4

    def test_a_stage_is_asked_for_each_joint_in_its_own_close_up(self, persons):
        asked = []

        def network(inputs, joints):
            asked.extend(joints)
            return np.stack([joints, -joints], axis=1).astype(np.float32)

        close_ups = CloseUps(persons, SIZE, rule(sigma=1.0), persons.joints)
        for part, whose in (((0, 1), range(PERSONS)), ((1, 2), range(1, PERSONS, 2))):
            asked.clear()
            predictions = refined_by(network, close_ups, batch_size=9, part=part)
            assert asked == list(range(14)) * len(whose)
            assert predictions.indices.tolist() == list(whose)
            moved = predictions.predicted - persons.joints[whose]
            lengths = diameters_of(persons, ((9, 2),)).lengths[list(whose)]
            assert np.allclose(moved, np.arange(14)[:, None] * (1, -1) * lengths[:, None, None])
            assert np.abs(predictions.targets).max() <= 1e-6
            assert predictions.mask.all()


class TestDraws:
    def test_they_have_the_mean_and_the_deviation_of_the_rule(self, persons):
        close_up = CloseUp(
            2.0, ((9, 2),), tuple((0.01 * j, -0.02 * j) for j in range(14)), tuple((0.1, 0.02 * j) for j in range(14))
        )
        close_ups = DrawnCloseUps(persons, Preprocessing(im_size=2, gcn="none"), close_up, 20)
        assert len(close_ups) == 20 * 14 * PERSONS
        labels = np.array(
            [close_ups.drawn(i, Augmentation(), example_rng(7, 0, i))[1] for i in range(len(close_ups))]
        ).reshape(20 * PERSONS, 14, 14, 2)
        displaced = -2.0 * labels[:, np.arange(14), np.arange(14)]  # in diameters; labels lead back
        assert np.allclose(displaced.mean(axis=0), close_up.mean, atol=0.07)
        assert np.allclose(displaced.std(axis=0), close_up.deviation, atol=0.06)

    @pytest.mark.parametrize(
        ("augmentation", "turned", "grown", "moved"),
        [
            (Augmentation(), 1, 1, 0),
            (ALL, math.sqrt(2), 1 / (1 - 0.2), 0),
            (TODAYS, math.sqrt(2), math.exp(CUT_OFF * (0.2 + 0.1)), CUT_OFF * 0.05),
        ],
    )
    def test_their_reach_is_that_of_the_farthest_and_largest(self, augmentation, turned, grown, moved, persons):
        reach = DrawnCloseUps(persons, SIZE, rule(), 1, augmentation).reach
        assert reach == pytest.approx((0.1 + 4 * 0.2) * turned + 2.0 * (0.5 * turned * grown + moved))

    def test_colours_and_a_rectangle_are_varied(self, persons):
        close_ups = DrawnCloseUps(persons, SIZE, rule(), 1)
        plain, coloured, cut = (
            close_ups.drawn(3, augmentation, example_rng(1, 0, 3))[0]
            for augmentation in (Augmentation(), Augmentation(colour=Chance(1.0)), Augmentation(cutout=Chance(0.5)))
        )
        assert not np.array_equal(coloured, plain)
        assert (cut == 0).sum() > (plain == 0).sum()

    def test_they_follow_from_seed_epoch_and_index(self, persons):
        close_ups = DrawnCloseUps(persons, SIZE, rule(), 2)
        one, same, next_epoch = (close_ups.drawn(9, ALL, example_rng(1, epoch, 9))[1].tolist() for epoch in (0, 0, 1))
        assert one == same != next_epoch
        assert np.array_equal(close_ups[4][0], close_ups[4][0])

    def test_joints_that_are_not_annotated_are_not_drawn(self, tmp_path):
        joints = poses(count=3)
        joints[1, 5] = -1
        close_ups = DrawnCloseUps(write(tmp_path, joints), SIZE, rule(), 1)
        assert len(close_ups) == 3 * 14 - 1
        answered = [np.flatnonzero(close_ups[i][2].reshape(14, 2)[:, 0])[0] for i in range(14, 27)]
        assert answered == [*range(5), *range(6, 14)]

    @pytest.mark.parametrize("draws", [0, -1])
    def test_there_is_at_least_one(self, persons, draws):
        with pytest.raises(DeepPoseError, match="draws"):
            DrawnCloseUps(persons, SIZE, rule(), draws)

    def test_the_rule_is_of_the_same_joints(self, persons):
        with pytest.raises(DeepPoseError, match="displacements of 7 joints, the persons have 14"):
            DrawnCloseUps(persons, SIZE, rule(joints=7), 1)


class TestOfOneJoint:
    """What the network of one joint, here the left shoulder, is trained on."""

    def test_they_are_those_that_all_joints_network_answers_it_in(self, dots):
        whole = DrawnCloseUps(dots, SIZE, rule(), 2, ALL)
        own, mirrored = whole.of_joint(9), 0
        assert (len(own), own.coordinates) == (2 * PERSONS, 2)
        for index in range(len(own)):
            flip = ALL.draw(example_rng(5, 0, index)).flip
            seen = dots.joint = 8 if flip else 9
            mirrored += flip
            inputs, targets, mask = own.drawn(index, ALL, example_rng(5, 0, index))
            expected = whole.drawn(14 * index + seen, ALL, example_rng(5, 0, index))
            assert np.array_equal(inputs, expected[0])
            assert np.array_equal(targets, expected[1][18:20])
            assert mask.tolist() == expected[2][18:20].tolist() == [1, 1]
        assert 0 < mirrored < len(own)

    def test_without_the_other_side_a_person_is_not_mirrored(self, tmp_path):
        joints = poses(count=1)
        joints[0, 8] = -1
        csv = write(tmp_path, joints).csv
        dots = Dots(csv, images=tmp_path, skeleton="lsp")
        dots.joint = 9
        own = DrawnCloseUps(dots, SIZE, rule(mean=0.0, deviation=0.05), 6).of_joint(9)
        augmentation = Augmentation(fliplr=True)
        assert any(augmentation.draw(example_rng(1701, 0, index)).flip for index in range(len(own)))
        for index in range(len(own)):
            inputs, targets, _ = own.drawn(index, augmentation, example_rng(1701, 0, index))
            assert np.abs(centre_of(inputs) - (24 + 48 * targets)).max() <= 0.5

    def test_known_poses_have_one_of_every_person(self, persons):
        whole = CloseUps(persons, SIZE, rule(), persons.joints + 3)
        own = whole.of_joint(9)
        assert len(own) == PERSONS
        for person in range(PERSONS):
            inputs, targets, _ = own[person]
            expected = whole[14 * person + 9]
            assert np.array_equal(inputs, expected[0])
            assert np.array_equal(targets, expected[1][18:20])
        found = refined_by(lambda inputs, joints: np.full((len(inputs), 2), joints[0], np.float32), own, batch_size=2)
        assert np.array_equal(np.flatnonzero(found.outputs.any(axis=0)), [18, 19])
        assert (found.outputs[:, 18:20] == 9).all()
        moved = (found.predicted != persons.joints + 3).any(axis=(0, 2))
        assert np.flatnonzero(moved).tolist() == [9]

    def test_a_joint_that_nobody_has_is_named(self, tmp_path):
        joints = poses(count=2)
        joints[:, 5] = -1
        with pytest.raises(DeepPoseError, match=r"persons\.csv: nobody has left ankle"):
            DrawnCloseUps(write(tmp_path, joints), SIZE, rule(), 1).of_joint(5)


class TestStatistics:
    def test_mean_and_deviation_are_those_of_the_errors_in_diameters(self, persons):
        lengths = np.linalg.norm(persons.joints[:, 9] - persons.joints[:, 2], axis=1)
        errors = np.random.default_rng(0).normal(0.1, 0.3, (PERSONS, 14, 2))
        found = measured(persons, persons.joints + errors * lengths[:, None, None], 1.5, ((9, 2),))
        assert np.allclose(found.mean, errors.mean(axis=0))
        assert np.allclose(found.deviation, errors.std(axis=0))
        assert (found.sigma, found.opposing) == (1.5, ((9, 2),))

    def test_what_is_not_annotated_does_not_count(self, tmp_path):
        joints = poses()
        joints[1, 5] = -1
        persons = write(tmp_path, joints)
        answered = persons.joints + 3.0
        answered[1, 5] = 1e6
        found = measured(persons, answered, 1.0, ((9, 2),))
        others = np.delete(3.0 / np.linalg.norm(joints[:, 9] - joints[:, 2], axis=1), 1)
        assert np.allclose(found.mean[5], others.mean())
        assert np.allclose(found.deviation[5], others.std())

    def test_what_is_not_finite_is_refused(self, persons):
        with pytest.raises(DeepPoseError, match="not finite"):
            measured(persons, np.full(persons.joints.shape, np.nan), 1.0, ((9, 2),))

    @pytest.mark.parametrize("sigma", [0.0, -2.0])
    def test_sigma_is_positive(self, persons, sigma):
        with pytest.raises(DeepPoseError, match="sigma"):
            measured(persons, persons.joints, sigma, ((9, 2),))


class TestDiameters:
    def test_of_several_pairs_it_is_the_mean(self, persons):
        lengths = [np.linalg.norm(persons.joints[:, a] - persons.joints[:, b], axis=1) for a, b in ((9, 2), (8, 3))]
        assert np.allclose(diameters_of(persons, ((9, 2), (8, 3))).lengths, np.mean(lengths, axis=0))

    def test_without_both_joints_it_is_in_proportion_to_the_box(self, tmp_path):
        joints = poses()
        joints[2, 9] = joints[4, 2] = -1
        persons = write(tmp_path, joints)
        found = diameters_of(persons, ((9, 2),))
        assert found.guessed == 2
        box = [
            np.ptp(np.delete(pose, gone, axis=0), axis=0).max()
            for pose, gone in zip(joints, ((), (), 9, (), 2), strict=True)
        ]
        length = np.linalg.norm(joints[:, 9] - joints[:, 2], axis=1)
        proportion = np.median([length[i] / box[i] for i in (0, 1, 3)])
        assert np.allclose(found.lengths[[2, 4]], proportion * np.array(box)[[2, 4]])
        assert np.allclose(found.lengths[[0, 1, 3]], length[[0, 1, 3]])

    def test_a_torso_without_length_is_named(self, tmp_path):
        joints = poses()
        joints[3, 9] = joints[3, 2]
        with pytest.raises(ValueError, match=r"line 4, picture .*3\.png.*left shoulder and right hip are one point"):
            diameters_of(write(tmp_path, joints), ((9, 2),))

    def test_somebody_has_to_have_one(self, tmp_path):
        joints = poses()
        joints[:, 9] = -1
        with pytest.raises(ValueError, match="nobody has left shoulder and right hip"):
            diameters_of(write(tmp_path, joints), ((9, 2),))


class TestKnownPoses:
    def test_a_torso_without_length_is_named(self, persons):
        answered = persons.joints.copy()
        answered[2, 9] = answered[2, 2]
        with pytest.raises(ValueError, match=r"line 3, picture .*2\.png.*no length"):
            CloseUps(persons, SIZE, rule(), answered)

    def test_the_square_lies_around_the_joint(self, persons):
        close_ups = CloseUps(persons, SIZE, rule(sigma=1.5), persons.joints)
        side = 1.5 * np.linalg.norm(persons.joints[1, 9] - persons.joints[1, 2])
        assert close_ups._squares[1][4] == Rectangle(*persons.joints[1, 4], side, side)

    def test_a_drawn_close_up_that_is_not_displaced_is_the_same(self, persons):
        still = CloseUp(1.5, ((9, 2),), ((0.0, 0.0),) * 14, ((0.0, 0.0),) * 14)
        drawn, known = DrawnCloseUps(persons, SIZE, still, 1), CloseUps(persons, SIZE, still, persons.joints)
        for index in (0, 20, 69):
            for one, other in zip(drawn[index], known[index], strict=True):
                assert np.abs(one - other).max() <= (1.0 if one.ndim == 3 else 1e-6)


class TestSkeletons:
    @pytest.mark.parametrize(
        ("name", "pairs", "sigma"),
        [
            ("lsp", [("left shoulder", "right hip")], 2.0),
            ("mpii", [("left shoulder", "right hip")], 2.0),
            ("coco", [("left shoulder", "right hip")], 2.0),
            ("flic11", [("left shoulder", "right hip")], 1.0),
            ("flic", [("left shoulder", "right elbow"), ("right shoulder", "left elbow")], 1.1),
        ],
    )
    def test_the_diameter_is_that_of_opposing_joints(self, name, pairs, sigma):
        skeleton = skeletons.get(name)
        assert [tuple(skeleton.joints[joint] for joint in pair) for pair in skeleton.diameter] == pairs
        assert skeleton.sigma == sigma
