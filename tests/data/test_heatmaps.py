import numpy as np
import pytest

from converters import Preprocessing
from deeppose_port.data.heatmaps import joints_of


def maps_with(*pixels, height=8, width=16):
    """One map of zeros with these (row, column, number)."""
    maps = np.zeros((1, 1, height, width), np.float32)
    for row, column, number in pixels:
        maps[0, 0, row, column] = number
    return maps


class TestArgmax:
    @pytest.mark.parametrize(
        ("pixels", "expected"),
        [
            ([(3, 5, 9)], (5.5, 3.5)),
            ([(3, 5, 9), (3, 6, 2)], (5.75, 3.5)),
            ([(3, 5, 9), (3, 6, 2), (3, 4, 3)], (5.25, 3.5)),
            ([(3, 5, 9), (4, 5, 1), (2, 5, -1)], (5.5, 3.75)),
            ([(3, 5, 9), (2, 5, 1), (3, 4, 1)], (5.25, 3.25)),
            ([(0, 5, 9), (0, 6, 2)], (5.5, 0.5)),  # at an edge it is not moved
            ([(3, 15, 9), (2, 15, 2)], (15.5, 3.5)),
            ([(7, 0, 9)], (0.5, 7.5)),
            ([(3, 5, 9), (5, 9, 9)], (5.5, 3.5)),  # the first of two
        ],
    )
    def test_the_largest_pixel_a_quarter_toward_its_larger_neighbour(self, pixels, expected):
        found = joints_of(maps_with(*pixels))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[0] * (16, 8), expected, rtol=0, atol=1e-6)

    def test_each_joint_of_each_example_has_its_own_map(self):
        maps = np.stack([maps_with((i, 2 * i, 1))[:, 0] for i in range(6)]).reshape(2, 3, 8, 16)
        found = joints_of(maps).reshape(6, 2) * (16, 8)
        np.testing.assert_allclose(found, [(2 * i + 0.5, i + 0.5) for i in range(6)])

    def test_no_examples_have_no_joints(self):
        assert joints_of(np.zeros((0, 16, 8, 8), np.float32)).shape == (0, 32)

    @pytest.mark.parametrize("size", [1, 2])
    def test_tiny_maps(self, size):
        np.testing.assert_array_equal(joints_of(np.zeros((1, 1, size, size), np.float32)), [[0.5 / size] * 2])


class TestSoftArgmax:
    def test_it_is_the_mean_by_the_softmax(self):
        maps = maps_with((3, 5, np.log(3)), height=8, width=16)
        rows, columns = np.mgrid[:8, :16] + 0.5
        weights = np.ones((8, 16))
        weights[3, 5] = 3
        expected = [(weights * columns).sum() / weights.sum() / 16, (weights * rows).sum() / weights.sum() / 8]
        np.testing.assert_allclose(joints_of(maps, "soft-argmax")[0], expected, rtol=0, atol=1e-6)

    def test_large_numbers_do_not_overflow(self):
        found = joints_of(maps_with((3, 5, 1e30)), "soft-argmax")
        np.testing.assert_allclose(found[0] * (16, 8), (5.5, 3.5))

    def test_it_goes_with_a_preprocessing(self):
        assert Preprocessing.from_dict(Preprocessing(decoding="soft-argmax").as_dict()).decoding == "soft-argmax"
        with pytest.raises(ValueError, match="decoding is 'mean'"):
            Preprocessing(decoding="mean")


@pytest.mark.parametrize("decoding", ["argmax", "soft-argmax"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_map_without_a_largest_number_has_no_joint(number, decoding):
    maps = np.concatenate([maps_with((3, 5, number)), maps_with((3, 5, 9))], axis=1)
    found = joints_of(maps, decoding)[0]
    assert np.isnan(found[:2]).all()
    assert np.isfinite(found[2:]).all()
