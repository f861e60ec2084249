import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from converters.checkpoint import Preprocessing
from deeppose_port.data import normalization
from deeppose_port.data.crop import Crop
from deeppose_port.data.normalization import normalize
from deeppose_port.data.pixels import Window, cut, warp
from deeppose_port.data.view import View

ALL = np.ones(2, bool)


def crop_of_joints(joints, visible, width, height, base_zoom=1.5):
    return View.of_person(joints, visible, width, height, Preprocessing(base_zoom=base_zoom)).crop


def crop_of_box(box, width, height, im_size=220):
    return View.of_box(box, width, height, Preprocessing(im_size=im_size)).crop


coordinates = st.floats(-4000, 4000)
poses = arrays(np.float64, st.tuples(st.integers(1, 16), st.just(2)), elements=coordinates)
preprocessings = st.builds(
    Preprocessing,
    im_size=st.integers(1, 512),
    coord_normalize=st.booleans(),
    axes=st.sampled_from(["xy", "yx"]),
)


@st.composite
def crops(draw, im_size=220):
    x0, y0 = draw(st.integers(0, 2000)), draw(st.integers(0, 2000))
    return Crop(x0, y0, x0 + draw(st.integers(1, 2000)), y0 + draw(st.integers(1, 2000)), im_size)


@pytest.fixture(scope="module")
def picture():
    return np.random.RandomState(0).randint(0, 256, (300, 400, 3)).astype(np.uint8)


@pytest.fixture
def noise():
    return np.random.RandomState(0).randint(0, 256, (60, 80, 3)).astype(np.uint8)


class TestCropOfJoints:
    def test_box_of_the_joints_times_base_zoom(self):
        joints = np.array([[100.0, 100], [140, 180]])
        assert crop_of_joints(joints, ALL, 640, 480, base_zoom=1.5) == Crop(90, 80, 150, 200, 220)

    def test_edges_are_clipped_to_the_picture_and_lose_their_fractions(self):
        joints = np.array([[10.0, 20], [60.9, 80.5]])
        # x: 35.45 -+ 38.175; y: 50.25 -+ 45.375
        assert crop_of_joints(joints, ALL, 70, 480) == Crop(0, 4, 70, 95, 220)

    def test_joints_that_do_not_count_do_not_widen_it(self):
        joints = np.array([[100.0, 100], [-1, 300], [140, 180]])
        counts = np.array([True, False, True])
        assert crop_of_joints(joints, counts, 640, 480) == crop_of_joints(joints[counts], ALL, 640, 480)

    def test_joints_far_outside_leave_the_picture_within_reach(self):
        joints = np.array([[-500.0, -500], [300, 300]])
        assert crop_of_joints(joints, ALL, 200, 100) == Crop(0, 0, 200, 100, 220)

    @pytest.mark.parametrize(
        "joints",
        [
            pytest.param([[5.0, 5], [5, 5]], id="one point"),
            pytest.param([[5.0, 5], [5, 50]], id="a vertical line"),
            pytest.param([[5.1, 5], [5.3, 50]], id="less than a pixel"),
            pytest.param([[700.0, 5], [800, 50]], id="right of the picture"),
            pytest.param([[5.0, -50], [50, -20]], id="above the picture"),
        ],
    )
    def test_empty_crop_is_refused(self, joints):
        with pytest.raises(ValueError, match=r"nothing is left of the box .* picture of 640 x 480"):
            crop_of_joints(np.array(joints), ALL, 640, 480)

    def test_pose_without_joints_is_refused(self):
        with pytest.raises(ValueError, match="no joint counts"):
            crop_of_joints(np.zeros((2, 2)), ~ALL, 640, 480)

    @given(joints=arrays(np.float64, (5, 2), elements=st.floats(10, 90)), zoom=st.floats(1, 3))
    @settings(deadline=None)
    def test_crop_is_within_the_picture_and_holds_the_joints(self, joints, zoom):
        joints[0], joints[1] = (20, 20), (80, 70)
        crop = crop_of_joints(joints, np.ones(5, bool), 100, 95, base_zoom=zoom)
        assert 0 <= crop.x0 < crop.x1 <= 100
        assert 0 <= crop.y0 < crop.y1 <= 95
        inside = joints.clip(0, (100, 95))
        assert (inside >= (crop.x0, crop.y0)).all()
        assert (inside < (crop.x1 + 1, crop.y1 + 1)).all()


class TestEveryPixelTouched:
    """The crop of asanakoy/deeppose_tf: left and top lose their fractions, the sizes gain them and are rounded up."""

    @pytest.mark.parametrize(
        ("joints", "zoom", "expected"),
        [
            ([[100, 100], [140, 180]], 1.5, (90, 80, 150, 200)),
            ([[100, 100], [141, 180]], 1.5, (89, 80, 152, 200)),  # 89.75 .. 151.25
            ([[10.5, 20.25], [30.5, 40.75]], 1.0, (10, 20, 31, 41)),
            ([[1, 20], [101, 70]], 1.2, (0, 15, 111, 75)),  # -9 .. 111
            ([[1, 2], [2, 70]], 1.2, (0, 0, 3, 77)),  # 0.9 .. 2.1; -4.8 .. 76.8
            ([[600, 440], [639, 479]], 1.5, (590, 430, 640, 480)),
        ],
    )
    def test_it_grows_to_whole_pixels(self, joints, zoom, expected):
        told = Preprocessing(im_size=227, base_zoom=zoom, part="joints-whole")
        crop = View.of_person(np.array(joints, float), ALL, 640, 480, told).crop
        assert (crop.x0, crop.y0, crop.x1, crop.y1) == expected

    def test_a_box_is_the_crop_itself(self):
        told = Preprocessing(im_size=227, part="joints-whole")
        assert View.of_box((10, 20, 30, 40), 640, 480, told).crop == Crop(10, 20, 40, 60, 227)


class TestMargin:
    """The crop of the Keras course: a share of the person's height on each side, in whole pixels."""

    JOINTS = np.array([[100.9, 100.9], [140.2, 180.7]])

    @pytest.mark.parametrize(
        ("scale", "expected"),
        [(2.0, (20, 20, 220, 260)), (1.01, (60, 60, 180, 220)), (20.0, (0, 0, 640, 480)), (None, (84, 84, 156, 196))],
    )
    def test_it_is_by_mpiis_scale_or_the_longer_side(self, scale, expected):
        told = Preprocessing(im_size=256, part="joints-margin", margin=0.2, truncate=True)
        crop = View.of_person(self.JOINTS, ALL, 640, 480, told, scale).crop
        assert (crop.x0, crop.y0, crop.x1, crop.y1) == expected

    def test_joints_lose_their_fractions(self):
        told = Preprocessing(im_size=256, part="joints-margin", frame="unit", margin=0.2, truncate=True)
        view = View.of_person(self.JOINTS, ALL, 640, 480, told, 2.0)
        np.testing.assert_allclose(view.labels(self.JOINTS), [80 / 200, 80 / 240, 120 / 200, 160 / 240], rtol=1e-6)

    @pytest.mark.parametrize("margin", [-0.1, 11, float("nan")])
    def test_a_margin_that_is_none(self, margin):
        with pytest.raises(ValueError, match="margin is"):
            Preprocessing(margin=margin)


class TestUnrounded:
    def test_a_crop_keeps_what_lies_between_two_levels(self):
        picture = np.zeros((2, 2, 3), np.uint8)
        picture[:, 1] = 3
        told = Preprocessing(im_size=4, gcn="none", colour="RGB", interpolation="unrounded", scale=127.5, mean=(1,) * 3)
        seen = View.of_box(None, 2, 2, told).input(picture)
        np.testing.assert_allclose((seen[0, 0] + 1) * 127.5, [0, 0.75, 2.25, 3], rtol=0, atol=1e-4)

    def test_it_goes_without_gcn_only(self):
        with pytest.raises(ValueError, match="without gcn only"):
            Preprocessing(interpolation="unrounded")


class TestCropOfBox:
    def test_box_is_the_crop_itself(self):
        assert crop_of_box((10, 20, 30, 40), 640, 480, 128) == Crop(10, 20, 40, 60, 128)

    def test_box_is_clipped(self):
        assert crop_of_box((-10, 470.5, 30.7, 40), 640, 480) == Crop(0, 470, 20, 480, 220)

    def test_no_box_is_the_whole_picture(self):
        assert crop_of_box(None, 640, 480) == Crop(0, 0, 640, 480, 220)

    @pytest.mark.parametrize("box", [(10, 10, 0, 5), (10, 10, 5, -5), (640, 0, 10, 10), (0, -20, 10, 10)])
    def test_empty_box_is_refused(self, box):
        with pytest.raises(ValueError, match="nothing is left of the box"):
            crop_of_box(box, 640, 480)

    @pytest.mark.parametrize("box", [(1, 2, 3), (0, 0, float("nan"), 5), (0, 0, float("inf"), 5)])
    def test_box_that_is_not_four_numbers_is_refused(self, box):
        with pytest.raises(ValueError, match="not four finite numbers"):
            crop_of_box(box, 640, 480)


def test_crop_without_pixels_cannot_be_made():
    with pytest.raises(ValueError, match="holds no pixel"):
        Crop(10, 10, 10, 20, 220)


class TestPoints:
    def test_each_axis_has_its_own_scale(self):
        crop = Crop(10, 20, 120, 460, 220)
        assert crop.to_crop([[10, 20], [120, 460], [65, 20]]).tolist() == [[0, 0], [220, 220], [110, 0]]
        assert crop.to_picture([[0, 0], [220, 220], [110, 0]]).tolist() == [[10, 20], [120, 460], [65, 20]]

    @given(crop=crops(), points=poses)
    @settings(deadline=None)
    def test_to_picture_inverts_to_crop(self, crop, points):
        np.testing.assert_allclose(crop.to_picture(crop.to_crop(points)), points, atol=1e-8)

    def test_points_keep_their_dimensions_and_are_not_changed(self):
        points = np.ones((2, 3, 4, 2))
        assert Crop(0, 0, 5, 5, 10).to_crop(points).shape == Crop(0, 0, 5, 5, 10).to_picture(points).shape
        assert (points == 1).all()


class TestLabels:
    crop = Crop(10, 20, 120, 460, 220)
    points = ((10, 20), (120, 460), (65, 20))

    def test_normalised_labels_are_fractions_of_the_crop_from_its_middle(self):
        made = View(self.crop, Preprocessing()).labels(self.points)
        assert made.dtype == np.float32
        assert made.tolist() == [-0.5, -0.5, 0.5, 0.5, 0, -0.5]

    def test_labels_in_pixels_of_the_resized_crop(self):
        made = View(self.crop, Preprocessing(coord_normalize=False)).labels(self.points)
        assert made.tolist() == [0, 0, 220, 220, 110, 0]

    def test_the_middle_of_an_odd_size_loses_its_half(self):
        crop = Crop(0, 0, 221, 221, 221)
        made = View(crop, Preprocessing(im_size=221)).labels([[110, 0]])
        assert made.tolist() == [0, np.float32(-110 / 221)]

    def test_y_goes_first_in_yx(self):
        view = View(self.crop, Preprocessing(coord_normalize=False, axes="yx"))
        made = view.labels(self.points)
        assert made.tolist() == [0, 0, 220, 220, 0, 110]
        assert view.points(made).tolist() == [list(point) for point in self.points]

    @given(data=st.data(), points=poses, preprocessing=preprocessings)
    @settings(deadline=None)
    def test_points_inverts_labels(self, data, points, preprocessing):
        view = View(data.draw(crops(preprocessing.im_size)), preprocessing)
        made = view.labels(points)
        assert made.shape == (2 * len(points),)
        np.testing.assert_allclose(view.points(made), points, rtol=0, atol=1e-3)

    def test_batch_of_outputs(self):
        outputs = np.random.RandomState(0).randn(3, 2, 14)
        view = View(self.crop, Preprocessing())
        points = view.points(outputs)
        assert (points.shape, points.dtype) == ((3, 2, 7, 2), np.float64)
        assert np.array_equal(points[2, 1], view.points(outputs[2, 1]))


class TestMiddle:
    """Labels of -0.5 .. 0.5 from the very middle: an odd input's is half a pixel from what the legacy program took."""

    def test_corners_and_middle(self):
        told = Preprocessing(im_size=227, frame="middle", part="picture")
        view = View.of_box(None, 100, 50, told)
        points = np.array([[0, 0], [100, 50], [50, 25], [75, 10]])
        np.testing.assert_allclose(view.labels(points), [-0.5, -0.5, 0.5, 0.5, 0, 0, 0.25, -0.3], atol=1e-7)

    def test_answers_outside_are_clipped_where_the_network_asks_for_it(self):
        outputs = [-0.9, 0.25, 0.1, 0.7]
        views = [
            View.of_box((10, 20, 40, 80), 100, 100, Preprocessing(im_size=227, frame="middle", clip=clip))
            for clip in (True, False)
        ]
        np.testing.assert_allclose(views[0].points(outputs), [[10, 80], [34, 100]])
        np.testing.assert_allclose(views[1].points(outputs), [[-6, 80], [34, 116]])


class TestInput:
    def test_cut_takes_the_crop(self, noise):
        assert np.array_equal(cut(noise, Crop(10, 20, 50, 60, 40)), noise[20:60, 10:50])

    def test_nearest_repeats_pixels(self, noise):
        expected = noise[20:24, 10:14].repeat(5, axis=0).repeat(5, axis=1)
        assert np.array_equal(cut(noise, Crop(10, 20, 14, 24, 20), "nearest"), expected)
        assert not np.array_equal(cut(noise, Crop(10, 20, 14, 24, 20)), expected)

    def test_linear_keeps_a_ramp(self):
        ramp = np.arange(0, 240, 4, dtype=np.uint8)[None, :, None].repeat(30, 0).repeat(3, 2)
        wide = cut(np.ascontiguousarray(ramp), Crop(0, 0, 60, 30, 120)).astype(int)
        # An output's pixel x looks at (x + 0.5) / 2 - 0.5 in the ramp of 4 a pixel.
        assert np.array_equal(wide[60, 1:-1, 0], 4 * ((np.arange(120) + 0.5) / 2 - 0.5)[1:-1])

    @pytest.mark.parametrize("shape", [(1, 1), (1, 60), (59, 1), (3, 7), (60, 80)])
    def test_size_is_exact_whatever_the_crop(self, noise, shape):
        made = View(Crop(0, 0, shape[1], shape[0], 227), Preprocessing(im_size=227)).input(noise)
        assert (made.shape, made.dtype) == ((3, 227, 227), np.float32)
        assert np.isfinite(made).all()

    def test_without_gcn_the_levels_stay(self, noise):
        made = View(Crop(0, 0, 60, 60, 60), Preprocessing(im_size=60, gcn="none")).input(noise)
        assert made.dtype == np.float32
        assert np.array_equal(made, noise[:, :60].transpose(2, 0, 1))

    def test_gcn_gives_mean_0_and_deviation_1(self, noise):
        made = normalize(noise, Preprocessing()).astype(np.float64)
        np.testing.assert_allclose(made.mean(axis=(1, 2)), 0, atol=1e-7)
        np.testing.assert_allclose(made.std(axis=(1, 2)), 1, atol=1e-6)

    def test_subtracting_gcn_gives_minus_the_deviation(self, noise):
        made = normalize(noise, Preprocessing(gcn="subtract")).astype(np.float64)
        deviation = noise.astype(np.float64).std(axis=(0, 1))
        np.testing.assert_allclose(made.mean(axis=(1, 2)), -deviation - 1e-5, rtol=1e-6)
        np.testing.assert_allclose(made.std(axis=(1, 2)), deviation, rtol=1e-6)

    @pytest.mark.parametrize("gcn", ["divide", "subtract"])
    @given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 240), low=st.integers(0, 255))
    @settings(deadline=None, max_examples=50)
    def test_gcn_is_the_plain_float64_formula_bit_for_bit(self, gcn, seed, size, low):
        picture = np.random.RandomState(seed).randint(low, 256, (size, size, 3)).astype(np.uint8)
        expected = picture.astype(np.float64)
        expected -= expected.mean(axis=(0, 1))
        deviation = expected.std(axis=(0, 1)) + 1e-5
        expected = expected / deviation if gcn == "divide" else expected - deviation
        made = normalize(picture, Preprocessing(gcn=gcn))
        assert np.array_equal(made, expected.transpose(2, 0, 1).astype(np.float32))

    @given(seed=st.integers(0, 2**32 - 1), low=st.integers(0, 255))
    @settings(deadline=None, max_examples=20)
    def test_deviation_is_numpys_to_the_last_bit_of_float64(self, seed, low):
        picture = np.random.RandomState(seed).randint(low, 256, (220, 220, 3)).astype(np.uint8)
        mean = picture.mean(axis=(0, 1))
        expected = (picture - mean).std(axis=(0, 1))
        levels = np.arange(256.0)[:, None] - mean
        made = [normalization._deviation(np.ascontiguousarray(picture[:, :, k]), levels[:, k].copy()) for k in range(3)]
        assert made == expected.tolist()

    def test_sums_of_the_legacy_program_decide_where_rounding_does(self, monkeypatch):
        asked = []
        original = normalization._deviation
        monkeypatch.setattr(normalization, "_deviation", lambda *given: asked.append(given) or original(*given))
        for seed in range(60):
            normalize(np.random.RandomState(seed).randint(0, 256, (220, 220, 3)).astype(np.uint8), Preprocessing())
        assert 0 < len(asked) < 30  # of 180 planes

    @pytest.mark.parametrize("gcn", ["divide", "subtract", "none"])
    def test_inputs_are_written_where_they_are_wanted(self, noise, gcn):
        batch = np.full((3, 3, 60, 80), np.nan, np.float32)
        assert np.shares_memory(normalize(noise, Preprocessing(gcn=gcn), batch[1]), batch)
        assert np.array_equal(batch[1], normalize(noise, Preprocessing(gcn=gcn)))
        assert np.isnan(batch[[0, 2]]).all()

    def test_constant_picture_becomes_0(self):
        assert not normalize(np.full((9, 9, 3), 77, np.uint8), Preprocessing()).any()

    def test_rgb_reverses_the_channels(self, noise):
        made = normalize(noise, Preprocessing(colour="RGB"))
        assert np.array_equal(made, normalize(noise, Preprocessing())[::-1])

    @pytest.mark.parametrize(
        "image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3), np.float32)]
    )
    def test_picture_that_is_not_colour_uint8_is_refused(self, image):
        with pytest.raises(ValueError, match="has to be uint8"):
            View(Crop(0, 0, 9, 9, 220), Preprocessing()).input(image)


class TestWarp:
    """Of the part of a picture that it looks at, as `cv2.warpAffine` of all of it."""

    @settings(deadline=None, max_examples=100)
    @given(
        degrees=st.floats(-180, 180),
        scale=st.tuples(st.floats(0.1, 4), st.floats(0.1, 4)),
        middle=st.tuples(st.floats(-100, 500), st.floats(-100, 400)),
        border=st.sampled_from([cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE]),
        interpolation=st.sampled_from(["linear", "nearest"]),
    )
    def test_it_is_opencvs_warp(self, picture, degrees, scale, middle, border, interpolation):
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn = np.diag(scale) @ [[cos, -sin], [sin, cos]]
        matrix = np.column_stack([turn, (30, 20) - turn @ middle])
        flags = {"linear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST}[interpolation]
        expected = cv2.warpAffine(picture, matrix, (60, 40), flags=flags, borderMode=border)
        # A position that OpenCV 4 rounds to 1/32 pixel may fall to the other side.
        assert (warp(picture, matrix, 60, 40, interpolation, border) != expected).mean() < 0.01

    def test_small_part_of_a_picture_that_is_too_large_for_opencv(self):
        picture = np.zeros((4, 40_000, 3), np.uint8)
        picture[1, 39_000] = 200
        shifted = warp(picture, np.array([[1.0, 0, -38_990], [0, 1, 0]]), 20, 4)
        assert np.argwhere(shifted[:, :, 0]).tolist() == [[1, 10]]

    def test_large_part_of_it_is_refused(self):
        picture = np.zeros((4, 40_000, 3), np.uint8)
        with pytest.raises(ValueError, match=r"40,000 pixels on a side are more than the 32,766 .* smaller"):
            warp(picture, np.array([[0.001, 0, 0], [0, 1, 0]]), 40, 4)
        with pytest.raises(ValueError, match="33,000 pixels on a side"):
            warp(np.zeros((4, 4, 3), np.uint8), np.eye(2, 3), 33_000, 4)

    @given(x0=st.integers(0, 30), y0=st.integers(0, 30), left=st.integers(0, 60), top=st.integers(0, 60))
    @settings(deadline=None, max_examples=50)
    def test_window_gives_the_whole_pictures_crop_to_the_bit(self, picture, x0, y0, left, top):
        crop = Crop(100 + left, 90 + top, 250, 200, 64)
        window = Window(picture[90 - y0 : 220, 100 - x0 : 260], 100 - x0, 90 - y0, (1.0, 1.0), 400, 300)
        assert np.array_equal(window.cut(crop), cut(picture, crop))

    @pytest.mark.parametrize("interpolation", ["linear", "nearest"])
    def test_matrix_of_a_crop_is_where_a_resize_takes_pixels_from(self, interpolation):
        smooth = cv2.GaussianBlur(np.random.RandomState(0).randint(0, 256, (90, 120, 3)).astype(np.uint8), (0, 0), 4)
        crop = Crop(13, 7, 97, 83, 60)
        made = Window.whole(smooth).warp(crop.matrix, 60, interpolation, cv2.BORDER_REPLICATE)
        assert abs(made.astype(int) - cut(smooth, crop, interpolation)).max() <= (
            2 if interpolation == "linear" else 40
        )

    def test_reduced_window_shows_what_the_picture_does_at_the_same_place(self):
        y, x = np.mgrid[:240, :320].astype(np.float64)
        ramp = np.stack([x * 0.75, y, (x + y) / 2.5], axis=2)  # which bilinear interpolation does not change
        picture = np.rint(ramp).astype(np.uint8)
        reduced = np.asarray(cv2.resize(picture[40:200, 20:260], (80, 64), interpolation=cv2.INTER_AREA), np.uint8)
        window = Window(reduced, 20, 40, (80 / 240, 64 / 160), 320, 240)
        crop = Crop(60, 80, 180, 160, 50)
        assert abs(window.cut(crop).astype(int) - cut(picture, crop)).max() <= 1
