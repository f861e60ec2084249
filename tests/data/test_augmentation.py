import hashlib
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from converters.checkpoint import Preprocessing
from deeppose_port.data import DatasetError, PoseDataset, augmented
from deeppose_port.data.augmentation import Augmentation, Drawn, DrawnBox, DrawnColour, example_rng
from deeppose_port.data.augmented import augmented_example, coloured, drawn_example
from deeppose_port.data.skeletons import Skeleton
from deeppose_port.data.spread import Chance, Spread

METHODS = ("fast", "legacy")
ALL = {"fliplr": True, "rotate": True, "zoom": True, "translate": True}
THREE = Skeleton("three", ("left", "right", "top"), symmetric_pairs=((0, 1),), limbs=((2, 0), (2, 1)), pcp_limbs={})

draws = st.builds(
    Drawn,
    rotation=st.integers(0, 9),
    translation=st.tuples(st.integers(-5, 4), st.integers(-5, 4)),
    zoom=st.floats(0.8, 1.2),
    flip=st.booleans(),
)


#: Far beyond the legacy ranges; without a translation, which would cut off what the rotation has turned out of sight.
wide_draws = st.builds(Drawn, rotation=st.integers(0, 359), zoom=st.floats(0.5, 1.6), flip=st.booleans())

FOUR = Skeleton("four", ("left", "right", "top", "low"), ((0, 1),), ((2, 0), (2, 1), (2, 3)), {})


def dataset_of(folder, picture, joints, **options):
    """One person of three joints on a picture: levels and pixels, unless the options differ."""
    cv2.imwrite(str(folder / "a.png"), picture)
    (folder / "a.csv").write_text(",".join(["a.png", *map(str, np.ravel(joints).tolist())]))
    defaults = {"skeleton": THREE, "gcn": False, "coord_normalize": False}
    return PoseDataset(folder / "a.csv", images=folder, **{**defaults, **options})


@pytest.fixture
def make(tmp_path):
    return lambda picture, joints, **options: dataset_of(tmp_path, picture, joints, **options)


@pytest.fixture
def free(pictures):
    return PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic")


@pytest.fixture(scope="module")
def smooth(pictures, tmp_path_factory):
    """The 13 persons of free.csv on blurred pictures, in levels."""
    folder = tmp_path_factory.mktemp("smooth")
    for name in ("astronaut.png", "chelsea.png", "coffee.png"):
        cv2.imwrite(str(folder / name), cv2.GaussianBlur(cv2.imread(str(pictures / name)), (0, 0), 3))
    return PoseDataset(pictures / "free.csv", images=folder, skeleton="flic", gcn=False)


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def bits(example):
    return [array.tobytes() for array in example]


@pytest.fixture(scope="module")
def many():
    """What 10,000 examples draw."""
    augmentation = Augmentation(**ALL)
    return [augmentation.draw(example_rng(1701, epoch, i)) for epoch in range(2) for i in range(5000)]


class TestDraw:
    def test_rotations_are_whole_degrees_to_one_side(self, many):
        counts = np.bincount([drawn.rotation for drawn in many])
        assert len(counts) == 10  # 0 .. 9
        np.testing.assert_allclose(counts / len(many), 0.1, atol=0.015)

    @pytest.mark.parametrize("axis", [0, 1])
    def test_translations_are_whole_pixels_and_reach_further_to_the_left_and_up(self, many, axis):
        shifts, counts = np.unique([drawn.translation[axis] for drawn in many], return_counts=True)
        assert shifts.tolist() == [*range(-5, 5)]
        np.testing.assert_allclose(counts / len(many), 0.1, atol=0.015)

    def test_zoom_is_uniform_about_one(self, many):
        zooms = np.array([drawn.zoom for drawn in many])
        assert 0.8 <= zooms.min() < 0.801
        assert 1.199 < zooms.max() <= 1.2
        np.testing.assert_allclose(np.quantile(zooms, [0.25, 0.5, 0.75]), [0.9, 1.0, 1.1], atol=0.01)

    def test_half_of_the_examples_are_flipped(self, many):
        assert abs(np.mean([drawn.flip for drawn in many]) - 0.5) < 0.02

    def test_draws_are_independent_of_each_other(self, many):
        numbers = np.array([(d.rotation, *d.translation, d.zoom, d.flip) for d in many])
        np.testing.assert_allclose(np.corrcoef(numbers.T), np.eye(5), atol=0.05)
        following = np.corrcoef(numbers[:-1].T, numbers[1:].T)[:5, 5:]
        np.testing.assert_allclose(following, 0, atol=0.05)

    def test_ranges_are_the_callers(self):
        augmentation = Augmentation(**ALL, rotate_range=3, zoom_range=0.5, translate_range=1)
        drawn = [augmentation.draw(example_rng(0, 0, i)) for i in range(300)]
        assert {d.rotation for d in drawn} == {0, 1, 2}
        assert {d.translation for d in drawn} == {(-1, -1), (-1, 0), (0, -1), (0, 0)}
        assert min(d.zoom for d in drawn) < 0.55
        assert max(d.zoom for d in drawn) > 1.45

    @pytest.mark.parametrize(
        ("part", "field"),
        [("rotate", "rotation"), ("translate", "translation"), ("zoom", "zoom"), ("fliplr", "flip")],
    )
    def test_turning_one_part_off_leaves_the_others_as_they_are(self, part, field):
        for i in range(20):
            drawn = Augmentation(**ALL).draw(example_rng(1, 2, i))
            less = Augmentation(**{**ALL, part: False}).draw(example_rng(1, 2, i))
            only = Augmentation(**{part: True}).draw(example_rng(1, 2, i))
            assert less == Drawn(**{**vars(drawn), field: getattr(Drawn(), field)})
            assert only == Drawn(**{field: getattr(drawn, field)})

    def test_methods_draw_the_same(self):
        fast, legacy = (Augmentation(**ALL, method=method).draw(example_rng(1, 2, 3)) for method in METHODS)
        assert fast == legacy

    def test_numbers_follow_from_seed_epoch_and_index_alone(self):
        first = example_rng(1, 2, 3).random(4).tolist()
        np.random.seed(0)
        assert example_rng(1, 2, 3).random(4).tolist() == first
        others = [
            example_rng(*key).random() for key in [(1, 2, 3), (1, 3, 2), (2, 1, 3), (3, 2, 1), (1, 2, 4), (0, 2, 3)]
        ]
        assert len({*others}) == 6

    @pytest.mark.parametrize("key", [(-1, 0, 0), (0, -1, 0), (0, 0, -1)])
    def test_negative_seeds_are_refused(self, key):
        with pytest.raises(ValueError, match=r"none of them can be negative"):
            example_rng(*key)


class TestOptions:
    def test_default_does_nothing(self):
        assert Augmentation().does_nothing
        assert Augmentation(rotate_range=90).does_nothing
        assert Augmentation().draw(example_rng(0, 0, 0)) == Drawn()

    @pytest.mark.parametrize("part", ALL)
    def test_each_part_does_something(self, part):
        assert not Augmentation(**{part: True}).does_nothing

    def test_options_are_fixed(self):
        with pytest.raises(FrozenInstanceError):
            Augmentation().rotate = True

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"rotate_range": 0}, r"rotate_range is 0; .* at least 1 \(rotate=False turns it off\)"),
            ({"rotate_range": 7.5}, "rotate_range is 7.5; it has to be a whole number"),
            ({"translate_range": -5}, r"translate_range is -5; .* at least 1 \(translate=False turns it off\)"),
            ({"zoom_range": 1}, "zoom_range is 1; it has to be at least 0 and less than 1"),
            ({"zoom_range": -0.1}, "zoom_range is -0.1"),
            ({"zoom_range": float("nan")}, "zoom_range is nan"),
            ({"method": "slow"}, "method is 'slow'; it is one of fast, legacy"),
        ],
    )
    def test_nonsense_is_refused(self, options, message):
        with pytest.raises(ValueError, match=message):
            Augmentation(**options)


class TestIdentity:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("options", [{}, {"rotate": True, "rotate_range": 1}, {"zoom": True, "zoom_range": 0}])
    def test_nothing_drawn_is_the_evaluations_example_to_the_bit(self, free, method, options):
        augmentation = Augmentation(**options, method=method)
        for i in range(len(free)):
            assert bits(augmented_example(free, i, augmentation, example_rng(0, 0, i))) == bits(free[i])

    @pytest.mark.parametrize("method", METHODS)
    def test_nothing_drawn_is_the_legacy_programs_input_to_the_bit(self, free, golden, method):
        expected = json.loads((golden / "preprocessing" / "manifest_free.json").read_text())["sets"]["free"]
        made = [drawn_example(free, i, Drawn(), method)[0] for i in range(len(free))]
        assert [hashlib.sha256(inputs.tobytes()).hexdigest() for inputs in made] == expected["input_sha256"]

    @pytest.mark.parametrize("method", METHODS)
    def test_flip_alone_mirrors_the_evaluations_example_to_the_bit(self, free, method):
        for i in range(len(free)):
            inputs, _, _ = drawn_example(free, i, Drawn(flip=True), method)
            assert np.array_equal(inputs, free[i][0][:, :, ::-1])


class TestPoints:
    @pytest.mark.parametrize("method", METHODS)
    @settings(deadline=None, max_examples=100)
    @example(joints=[(60, 60), (260, 180), (200, 100)], drawn=Drawn(zoom=1.0015))  # 320.48 pixels are 320
    @given(
        joints=st.lists(st.tuples(st.floats(25, 295), st.floats(25, 215)), min_size=3, max_size=3),
        drawn=draws | wide_draws,
    )
    def test_drawn_point_stays_at_its_joint(self, method, joints, drawn):
        joints = np.array(joints)
        assume((np.ptp(joints, axis=0) > 50).all())
        y, x = np.mgrid[:240, :320]
        spots = [np.exp(-((x - jx) ** 2 + (y - jy) ** 2) / 18) for jx, jy in joints]  # joint k in channel k
        with tempfile.TemporaryDirectory() as folder:
            dataset = dataset_of(Path(folder), np.rint(250 * np.stack(spots, 2)).astype(np.uint8), joints, im_size=160)
            inputs, targets, mask = drawn_example(dataset, 0, drawn, method)
            scale = drawn.zoom * np.array(dataset.view(0, drawn.zoom).crop.scale)
        assert mask.tolist() == [1] * 6
        channels = (1, 0, 2) if drawn.flip else (0, 1, 2)  # left and right change names
        for target, channel in zip(targets.reshape(3, 2), channels, strict=True):
            if (abs(target - 79.5) < 79.5 - 18 * scale).all():  # the whole spot is in the crop
                rows, columns = np.mgrid[:160, :160]
                weights = inputs[channel] / inputs[channel].sum()
                error = np.array([(weights * columns).sum(), (weights * rows).sum()]) - target
                # Half a pixel of the picture or of the crop, whichever is larger.
                assert (abs(error) < 0.5 * scale.clip(1)).all()
                # And what there is of it is what a resize to this scale has without augmentation.
                resize = (scale - 1) / 2 * ((-1, 1) if drawn.flip else (1, 1))
                np.testing.assert_allclose(error, resize, atol=0.1)

    @pytest.mark.parametrize("method", METHODS)
    def test_rotation_is_counter_clockwise_about_the_joints_box(self, make, method):
        picture = noise(64, 64)
        # The box is 31.5 -+ 20 both ways, and base_zoom makes the crop the whole picture, which is not resized.
        dataset = make(picture, [11.5, 20, 51.5, 11.5, 30, 51.5], im_size=64, base_zoom=4)
        inputs, targets, _ = drawn_example(dataset, 0, Drawn(rotation=90), method)
        assert np.array_equal(inputs, np.rot90(picture).transpose(2, 0, 1))
        # What was x to the right becomes 63 - x down, what was y down becomes x to the right.
        np.testing.assert_allclose(targets, [20, 51.5, 11.5, 11.5, 51.5, 33], atol=1e-5)

    @pytest.mark.parametrize("method", METHODS)
    def test_rotation_is_about_the_annotated_joints_box_and_not_the_pictures_centre(self, make, method):
        dataset = make(noise(100, 100), [10, 20, 30, 60, -1, -1], base_zoom=9, im_size=100)
        _, targets, mask = drawn_example(dataset, 0, Drawn(rotation=90), method)
        np.testing.assert_allclose(targets[:4], [0, 50, 40, 30], atol=1e-5)  # about (20, 40)
        assert mask.tolist() == [1, 1, 1, 1, 0, 0]

    @pytest.mark.parametrize("method", METHODS)
    def test_translation_moves_the_picture_and_not_the_crop(self, make, method):
        picture = noise(100, 100)
        # The crop is 20 .. 80 both ways, and is not resized.
        dataset = make(picture, [30, 30, 70, 70, 50, 50], im_size=60)
        inputs, targets, _ = drawn_example(dataset, 0, Drawn(translation=(4, -5)), method)
        assert np.array_equal(inputs, picture[25:85, 16:76].transpose(2, 0, 1))
        assert targets.tolist() == [14, 5, 54, 45, 34, 25]

    @pytest.mark.parametrize("method", METHODS)
    def test_zoom_magnifies_the_person_in_a_crop_that_keeps_its_size(self, make, method):
        dataset = make(noise(200, 200), [80, 80, 120, 120, 100, 100], im_size=60)
        assert dataset.view(0, 1.1).crop.width == dataset.view(0).crop.width == 60
        _, targets, _ = drawn_example(dataset, 0, Drawn(zoom=1.1), method)
        # 1.1 * 100 -+ 30 is the crop, without its fractions 80 .. 140; the joints are 22 pixels from its centre.
        np.testing.assert_allclose(targets, [8, 8, 52, 52, 30, 30], atol=1e-5)

    @pytest.mark.parametrize("method", METHODS)
    def test_coordinates_and_axes_are_those_of_the_evaluation(self, make, method):
        drawn = Drawn(9, (3, -4), 1.1, True)
        picture, joints = noise(100, 120), [30, 20, 70, 80, 60, -1]
        _, pixels, mask = drawn_example(make(picture, joints), 0, drawn, method)
        told = Preprocessing(gcn="none", axes="yx")
        dataset = make(picture, joints, preprocessing=told, coord_normalize=True)
        _, targets, swapped = drawn_example(dataset, 0, drawn, method)
        np.testing.assert_allclose(targets.reshape(3, 2)[:, ::-1].ravel() * 220 + 110, pixels, rtol=1e-5)
        assert swapped.reshape(3, 2)[:, ::-1].ravel().tolist() == mask.tolist()


class TestMask:
    @pytest.mark.parametrize("method", METHODS)
    def test_flip_swaps_left_and_right_with_their_mask_and_mirrors(self, make, method):
        # The crop is 20 .. 80 of x and 5 .. 65 of y, and is not resized.
        dataset = make(noise(100, 100), [-1, -1, 30, 15, 70, 55], im_size=60)
        assert dataset[0][2].tolist() == [0, 0, 1, 1, 1, 1]
        _, targets, mask = drawn_example(dataset, 0, Drawn(flip=True), method)
        assert mask.tolist() == [1, 1, 0, 0, 1, 1]
        assert targets[[0, 1, 4, 5]].tolist() == [49, 10, 9, 50]  # 59 - 10 and 59 - 50
        assert np.isfinite(targets).all()

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize(
        ("drawn", "expected"),
        [
            (Drawn(translation=(3, 2), zoom=1.1), [1, 0, 1, 1, 1, 1, 1, 1]),
            (Drawn(translation=(3, 2), zoom=1.1, flip=True), [1, 1, 1, 0, 1, 1, 1, 1]),
            (Drawn(rotation=1), [0, 0, 1, 1, 1, 1, 1, 1]),
            (Drawn(rotation=1, flip=True), [1, 1, 0, 0, 1, 1, 1, 1]),
        ],
    )
    def test_rotation_ignores_a_joint_that_is_known_by_half(self, make, method, drawn, expected):
        dataset = make(noise(100, 100), [40, -1, 30, 15, 70, 55, 50, 50], skeleton=FOUR)
        _, targets, mask = drawn_example(dataset, 0, drawn, method)
        assert mask.tolist() == expected
        assert np.isfinite(targets).all()

    @settings(deadline=None, max_examples=30)
    @given(drawn=draws, index=st.integers(0, 12), method=st.sampled_from(METHODS))
    def test_as_many_joints_count_as_before_and_all_labels_are_finite(self, smooth, drawn, index, method):
        _, targets, mask = drawn_example(smooth, index, drawn, method)
        known = smooth.visible[index].sum() * 2 if drawn.rotation else smooth.mask[index].sum()
        assert mask.sum() == known
        assert np.isfinite(targets).all()
        assert (targets.dtype, mask.dtype) == (np.float32, np.int32)


class TestPixels:
    @settings(deadline=None, max_examples=60)
    @given(drawn=draws, index=st.integers(0, 12))
    def test_methods_agree_on_smooth_pictures(self, smooth, drawn, index):
        fast, legacy = (drawn_example(smooth, index, drawn, method) for method in METHODS)
        difference = abs(fast[0] - legacy[0])
        assert difference.mean() < 1
        assert np.quantile(difference, 0.95) < 4  # the rest is where the picture meets the black
        assert np.array_equal(fast[1], legacy[1])
        assert np.array_equal(fast[2], legacy[2])

    @settings(deadline=None, max_examples=60)
    @given(
        drawn=draws,
        box=st.tuples(st.floats(0, 40), st.floats(0, 50), st.floats(45, 80), st.floats(55, 100)),
    )
    def test_methods_are_black_in_the_same_places(self, drawn, box):
        x0, y0, x1, y1 = box
        white = np.full((100, 80, 3), 255, np.uint8)
        with tempfile.TemporaryDirectory() as folder:
            dataset = dataset_of(Path(folder), white, [x0, y0, x1, y1, x0, y1])
            fast, legacy = (drawn_example(dataset, 0, drawn, method)[0][0] for method in METHODS)
            # Left out: a pixel and a half of the picture where black and white meet, and at the crop's edges.
            blend = (
                2 * np.ceil(1.5 * drawn.zoom * np.array(dataset.view(0, drawn.zoom).crop.scale)).astype(int)[::-1] + 1
            )
        for colour in (0, 255):
            inner = cv2.erode(
                (legacy == colour).astype(np.uint8),
                np.ones(blend, np.uint8),
                borderType=cv2.BORDER_CONSTANT,
                borderValue=0,
            )
            assert (fast[inner == 1] == colour).all()

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("zoom", [0.8, 1.2])
    def test_zoom_brings_no_black(self, make, method, zoom):
        white = np.full((30, 40, 3), 255, np.uint8)
        dataset = make(white, [0, 0, 40, 30, 20, 20])  # to the edges, and resized to more than five times its size
        assert (drawn_example(dataset, 0, Drawn(zoom=zoom), method)[0] == 255).all()

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("flip", [False, True])
    def test_translation_vacates_black_lines_even_where_a_corner_was_turned_out(self, make, method, flip):
        white = np.full((100, 100, 3), 255, np.uint8)
        dataset = make(white, [0, 0, 100, 100, 50, 50], im_size=100)
        inputs, _, _ = drawn_example(dataset, 0, Drawn(rotation=9, translation=(4, -5), flip=flip), method)
        white = inputs[0, :, ::-1] if flip else inputs[0]
        assert (white[:, :4] == 0).all()
        assert (white[95:] == 0).all()
        assert (white[10:90, 14:90] == 255).all()

    @pytest.mark.parametrize(("shift", "black"), [(3, [0, 1, 2]), (-2, [8, 9]), (0, []), (10, list(range(10)))])
    def test_translation_vacates_as_many_lines_as_it_goes(self, shift, black):
        lines = np.full((10, 4, 3), 200, np.uint8)
        augmented._vacate(lines, np.arange(10.0), 10, shift)
        assert [i for i in range(10) if (lines[i] == 0).all()] == black
        assert (np.delete(lines, black, axis=0) == 200).all()

    def test_rotation_does_not_darken(self, make):
        dataset = make(np.full((100, 100, 3), 101, np.uint8), [30, 30, 70, 70, 50, 50])
        for method in METHODS:
            assert (drawn_example(dataset, 0, Drawn(rotation=7), method)[0] == 101).all()

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("gcn", ["divide", "subtract"])
    @pytest.mark.parametrize("colour", ["BGR", "RGB"])
    def test_contrast_is_normalised_by_the_augmented_crops_own_mean_and_deviation(self, make, method, gcn, colour):
        picture = cv2.GaussianBlur(noise(100, 120), (0, 0), 1) // np.array([1, 2, 3], np.uint8)
        drawn, joints = Drawn(4, (2, -3), 0.9, True), [30, 20, 70, 80, 60, 50]
        levels = drawn_example(make(picture, joints), 0, drawn, method)[0].astype(np.float64)
        if colour == "RGB":
            levels = levels[::-1]
        levels -= levels.mean(axis=(1, 2), keepdims=True)
        deviation = levels.std(axis=(1, 2), keepdims=True) + 1e-5
        dataset = make(picture, joints, preprocessing=Preprocessing(gcn=gcn, colour=colour), gcn=gcn)
        inputs, _, _ = drawn_example(dataset, 0, drawn, method)
        assert (inputs.shape, inputs.dtype) == ((3, 220, 220), np.float32)
        expected = levels / deviation if gcn == "divide" else levels - deviation
        np.testing.assert_allclose(inputs, expected, rtol=1e-6, atol=1e-6)

    def test_picture_of_one_colour_gives_zeros(self, make):
        dataset = make(np.full((100, 100, 3), 101, np.uint8), [30, 30, 70, 70, 50, 50], gcn=True)
        for method in METHODS:
            assert (drawn_example(dataset, 0, Drawn(rotation=7), method)[0] == 0).all()

    def test_nearest_interpolation_makes_no_new_levels(self, make):
        picture = np.where(noise(100, 100) < 128, 20, 200).astype(np.uint8)
        dataset = make(picture, [30, 30, 70, 70, 50, 50], preprocessing=Preprocessing(interpolation="nearest"))
        assert np.unique(drawn_example(dataset, 0, Drawn(7, zoom=1.1))[0]).tolist() == [20, 200]


class TestExamples:
    def examples(self, dataset, keys, method):
        augmentation = Augmentation(**ALL, method=method)
        return [bits(augmented_example(dataset, i, augmentation, example_rng(7, epoch, i))) for epoch, i in keys]

    @pytest.mark.parametrize("method", METHODS)
    def test_examples_follow_from_seed_epoch_and_index_in_any_order_and_thread(self, free, method):
        keys = [(epoch, i) for epoch in range(2) for i in range(len(free))]
        expected = dict(zip(keys, self.examples(free, keys, method), strict=True))
        shuffled = [keys[k] for k in np.random.default_rng(0).permutation(len(keys))]
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda key: self.examples(free, [key], method)[0], shuffled))
        assert made == [expected[key] for key in shuffled]
        assert len({example[0] for example in made}) == len(keys)

    def test_seeds_differ(self, free):
        augmentation = Augmentation(**ALL)
        first, second = (augmented_example(free, 0, augmentation, example_rng(seed, 0, 0)) for seed in (1, 2))
        assert not np.array_equal(first[1], second[1])

    @pytest.mark.parametrize("method", METHODS)
    def test_stored_joints_masks_and_pictures_never_change(self, free, method):
        stored = [free.joints.copy(), free.mask.copy(), free.visible.copy()]
        before = [bits(example) for example in free]
        for drawn in (Drawn(), Drawn(flip=True), Drawn(zoom=1.1), Drawn(5, (3, -2), 0.9), Drawn(5, (3, -2), 0.9, True)):
            for i in range(len(free)):
                for array in drawn_example(free, i, drawn, method):
                    array[...] = 7
        assert all(map(np.array_equal, stored, [free.joints, free.mask, free.visible]))
        assert [bits(example) for example in free] == before

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("drawn", [Drawn(), Drawn(flip=True), Drawn(5, (1, 1), 1.1)])
    def test_inputs_are_written_into_their_place_in_a_batch(self, free, method, drawn):
        batch = np.full((3, 3, 220, 220), np.nan, np.float32)
        inputs, _, _ = drawn_example(free, 0, drawn, method, out=batch[1])
        assert np.shares_memory(inputs, batch[1])
        assert np.array_equal(batch[1], drawn_example(free, 0, drawn, method)[0])
        assert np.isnan(batch[[0, 2]]).all()

    @pytest.mark.parametrize(
        "out",
        [
            np.empty((3, 100, 100), np.float32),
            np.empty((3, 220, 220), np.float64),
            np.empty((220, 220, 3), np.float32).transpose(2, 0, 1),
        ],
    )
    def test_a_place_that_does_not_fit_is_refused(self, free, out):
        with pytest.raises(ValueError, match=r"it has to be float32 \(3, 220, 220\), and C-contiguous"):
            drawn_example(free, 0, Drawn(rotation=5), out=out)

    def test_indices_are_those_of_a_sequence(self, free):
        drawn = Drawn(5, (1, 1), 1.1, True)
        assert bits(drawn_example(free, -1, drawn)) == bits(drawn_example(free, 12, drawn))
        with pytest.raises(IndexError, match="index 13 of a dataset of 13"):
            drawn_example(free, 13, drawn)

    @pytest.mark.parametrize("method", METHODS)
    def test_person_outside_the_picture_is_an_error_that_names_file_and_line(self, make, method):
        dataset = make(noise(100, 80), [500, 5, 600, 50, 550, 20])
        for drawn in (Drawn(), Drawn(rotation=3), Drawn(flip=True)):
            with pytest.raises(DatasetError, match=r"a\.csv, line 1, picture .*a\.png: nothing is left of the box"):
                drawn_example(dataset, 0, drawn, method)

    @pytest.mark.parametrize("method", METHODS)
    def test_person_whom_the_zoom_moves_out_of_the_picture_is_an_error_that_says_so(self, make, method):
        # The box's centre is at -35, and the crop around it reaches to 2.5; magnified, to -4.5.
        dataset = make(noise(100, 80), [-10, 5, -60, 50, -20, 30])
        assert dataset.view(0).crop.x1 == 2
        with pytest.raises(DatasetError, match=r"line 1, picture .*a\.png, magnified 1\.2 times: nothing is left"):
            drawn_example(dataset, 0, Drawn(zoom=1.2), method)

    def test_person_in_a_picture_too_wide_for_opencv_is_found(self, make, tmp_path):
        picture = np.zeros((60, 40_000, 3), np.uint8)
        joints = np.array([[39_010.0, 20], [39_050, 40], [39_030, 30]])
        for channel, (x, y) in enumerate(joints.astype(int)):
            cv2.circle(picture, (int(x), int(y)), 2, tuple(250 * (channel == k) for k in range(3)), -1)
        dataset = make(picture, joints, im_size=30)
        inputs, targets, _ = drawn_example(dataset, 0, Drawn(5, (2, 1), 1.1))
        for channel, point in zip(inputs, targets.reshape(3, 2), strict=True):
            rows, columns = np.nonzero(channel > 100)
            assert abs(np.array([columns.mean(), rows.mean()]) - point).max() < 0.5
        with pytest.raises(DatasetError, match=r"line 1, picture .*a\.png: 40,000 pixels on a side are more than"):
            drawn_example(dataset, 0, Drawn(5), "legacy")

    def test_picture_that_cannot_be_decoded_is_an_error_that_names_file_and_line(self, make, tmp_path):
        dataset = make(noise(100, 80), [10, 5, 60, 50, 20, 30])
        (tmp_path / "a.png").write_text("not a picture")
        with pytest.raises(DatasetError, match=r"line 1, picture .*a\.png: cannot be decoded"):
            drawn_example(dataset, 0, Drawn(rotation=3))


def tight(joints, degrees, zoom, scale=(1, 1), shift=(0, 0)):
    """Normalised labels of joints in the box around them after a rotation, by the formula."""
    joints = np.array(joints, float)
    middle = (joints.min(0) + joints.max(0)) / 2
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = (joints - middle) @ np.array([[cos, sin], [-sin, cos]]).T
    sides = turned.max(0) - turned.min(0)
    sides = np.maximum(sides, 0.12 * sides.max())
    centre = (turned.max(0) + turned.min(0)) / 2 + sides * shift
    return (turned - centre) / (zoom * sides * scale)


class TestBox:
    JOINTS = ((60, 50), (110, 70), (80, 150))
    SAMPLES = st.builds(
        DrawnBox,
        rotation=st.floats(-180, 180),
        scale=st.tuples(st.floats(0.7, 1.4), st.floats(0.7, 1.4)),
        shift=st.tuples(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2)),
    )

    @pytest.fixture(scope="class")
    @classmethod
    def person(cls, tmp_path_factory):
        picture = np.zeros((240, 260, 3), np.uint8)
        for channel, (x, y) in enumerate(cls.JOINTS):
            layer = np.zeros((240, 260), np.float64)
            layer[y, x] = 1
            layer = cv2.GaussianBlur(layer, (0, 0), 3)
            picture[:, :, channel] = np.rint(250 * layer / layer.max())
        folder = tmp_path_factory.mktemp("person")
        return dataset_of(folder, picture, cls.JOINTS, coord_normalize=True, im_size=128, base_zoom=2.0)

    def test_nothing_drawn_is_the_evaluations(self, person):
        # Whose crop loses the fractions of its edges; here there are none.
        inputs, labels, mask = drawn_example(person, 0, Drawn(box=DrawnBox()))
        expected = person[0]
        np.testing.assert_allclose(labels, expected[1], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(mask, expected[2])
        assert abs(inputs - expected[0]).max() <= 1

    @settings(max_examples=30, deadline=None)
    @given(box=SAMPLES, flip=st.booleans())
    def test_labels_and_pixels_are_where_the_formula_puts_them(self, person, box, flip):
        inputs, labels, _ = drawn_example(person, 0, Drawn(box=box, flip=flip))
        expected = tight(self.JOINTS, box.rotation, 2.0, box.scale, box.shift)
        if flip:
            expected = (expected * (-1, 1))[[1, 0, 2]]
        np.testing.assert_allclose(labels.reshape(3, 2), expected, rtol=0, atol=1e-5)
        order = [1, 0, 2] if flip else [0, 1, 2]
        for joint, channel in enumerate(order):
            spot, place = inputs[channel].astype(float), labels.reshape(3, 2)[joint] * 128 + 64
            if not (place > 15).all() or not (place < 113).all():
                continue
            rows, columns = np.mgrid[:128, :128] + 0.5
            found = np.array([(spot * columns).sum(), (spot * rows).sum()]) / spot.sum()
            # A pixel of the picture is a square of half a pixel around its point.
            assert np.linalg.norm(found - place) < 0.75 * 128 / (2 * 20 * min(box.scale)) + 0.5

    def test_what_is_beyond_the_picture_is_black(self, make):
        dataset = make(np.full((60, 60, 3), 200, np.uint8), [(5, 5), (50, 5), (30, 55)], base_zoom=3.0)
        inputs, _, _ = drawn_example(dataset, 0, Drawn(box=DrawnBox(rotation=45)))
        assert (inputs[:, :20, :20] == 0).all()

    def test_a_joint_of_one_ignored_coordinate_is_ignored_when_it_is_rotated(self, make):
        dataset = make(np.full((99, 99, 3), 200, np.uint8), [(20, 20), (70, -1), (50, 80)])
        for box, expected in ((DrawnBox(), [1, 1, 1, 0, 1, 1]), (DrawnBox(rotation=9.0), [1, 1, 0, 0, 1, 1])):
            assert drawn_example(dataset, 0, Drawn(box=box))[2].tolist() == expected

    @pytest.mark.parametrize("part", ["picture", "window"])
    def test_a_network_that_sees_no_box_is_refused(self, part, make):
        person = make(np.full((99, 99, 3), 200, np.uint8), [(20, 20), (70, 30), (50, 80)])
        dataset = PoseDataset(
            person.csv, images=person.images, skeleton=THREE, preprocessing=Preprocessing(im_size=64, part=part)
        )
        with pytest.raises(DatasetError, match=f"a.csv, line 1.*move the box of the joints.*sees the {part}"):
            drawn_example(dataset, 0, Drawn(box=DrawnBox()))

    def test_both_kinds_of_geometry_do_not_go_together(self):
        with pytest.raises(ValueError, match="--rotation and --rotate, --augment legacy do not go together"):
            Augmentation(rotate=True, rotation=Spread(3.0), method="legacy")
        assert Augmentation(rotate=True, rotation=Spread(0.0)).rotate

    def test_the_old_programs_numbers_stay_as_they_were(self):
        both = Augmentation(**{"fliplr": True}, colour=Chance(1.0), cutout=Chance(0.3))
        for index in range(20):
            alone = Augmentation(fliplr=True).draw(example_rng(1, 2, index))
            assert both.draw(example_rng(1, 2, index)).flip == alone.flip


class TestColours:
    def test_they_are_what_they_say(self, make):
        picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        dataset = make(picture, [(0, 0), (64, 0), (30, 64)], im_size=64, base_zoom=1.0)
        levels = dataset[0][0].astype(float)

        def drawn(saturation=1.0, gamma=1.0, gains=(1.0, 1.0, 1.0)):
            return drawn_example(dataset, 0, Drawn(colour=DrawnColour(saturation, gamma, gains)))[0]

        np.testing.assert_array_equal(drawn(), levels)
        mean = levels.mean(0)
        for saturation in (0.0, 0.5, 1.4):
            expected = (mean + saturation * (levels - mean)).clip(0, 255)
            assert abs(drawn(saturation=saturation) - expected).max() <= 1.01
        assert abs(drawn(gamma=2.0) - 255 * (levels / 255) ** 2).max() <= 1.01
        gains = np.array([0.5, 1.0, 1.2])
        assert abs(drawn(gains=tuple(gains)) - (levels * gains[:, None, None]).clip(0, 255)).max() <= 1.01

    def test_a_crop_that_is_left_unrounded_is_rounded(self):
        levels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        drawn = DrawnColour(1.0, 1.3, (1.1, 1.0, 0.9))
        unrounded = levels.astype(np.float32) + np.float32(0.3)
        np.testing.assert_array_equal(coloured(unrounded, drawn), coloured(levels, drawn))

    def test_a_rectangle_is_left_out(self, make):
        dataset = make(np.full((64, 64, 3), 9, np.uint8), [(0, 0), (64, 0), (30, 64)], im_size=64, base_zoom=1.0)
        for corner, place in ((0.0, (0, 0)), (0.999, (48, 32))):
            inputs = drawn_example(dataset, 0, Drawn(cutout=(corner, corner, 0.25, 0.5)))[0]
            rows, columns = np.nonzero((inputs == 0).all(0))
            assert (columns.min(), rows.min()) == place
            assert len(rows) == 16 * 32
            assert (inputs != 0).any(0).sum() == 64 * 64 - 16 * 32
