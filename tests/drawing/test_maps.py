"""Heat maps over crops: what is where."""

from dataclasses import replace

import numpy as np
import pytest

from converters import Preprocessing
from deeppose_port.data.view import View
from deeppose_port.drawing.maps import draw_heatmaps, stacked

PREPROCESSING = Preprocessing(im_size=64, frame="unit")


def drawn(maps, points, preprocessing=PREPROCESSING, box=(10, 20, 40, 80), title=""):
    image = np.full((120, 100, 3), 200, np.uint8)
    view = View.of_box(box, 100, 120, preprocessing)
    names = [f"joint {i}" for i in range(len(maps))]
    return draw_heatmaps(image, view, np.float32(maps), np.float64(points), names, title)


def test_each_joint_has_a_cell_in_the_shape_of_the_crop():
    maps = np.zeros((3, 16, 16))
    maps[1, 4, 8] = 2  # a quarter down, in the middle
    sheet = drawn(maps, [[np.nan, np.nan]] * 3)
    height, width = 220, 110  # the crop's 80 x 40 in the longest side of a cell
    assert sheet.shape[0] >= height
    assert sheet.shape[1] == 3 * (width + 4)
    cells = [sheet[:height, i * (width + 4) :][:, :width] for i in range(3)]
    for cell in (cells[0], cells[2]):
        assert (cell == 120).all()  # grey, dimmed, without a map
    bright = np.abs(cells[1].astype(int) - 120).sum(axis=2)
    row, column = np.unravel_index(bright.argmax(), bright.shape)
    assert abs(row - 4.5 / 16 * height) <= 7
    assert abs(column - 8.5 / 16 * width) <= 4
    assert (bright[height // 2 :] == 0).all()


def test_a_dot_is_where_the_joint_was_found():
    sheet = drawn(np.zeros((1, 16, 16)), [[30.0, 60.0]])  # the middle of the crop
    assert tuple(sheet[110, 55]) == (66, 228, 240)
    assert tuple(sheet[55, 55]) == (120, 120, 120)


def test_a_letterbox_is_shown_as_the_network_sees_it():
    told = replace(PREPROCESSING, part="letterbox", im_width=48)
    sheet = drawn(np.zeros((1, 16, 12)), [[0.0, 0.0]], told, box=(0, 0, 100, 20))
    assert sheet.shape[1] == 165 + 4  # 48 : 64 of 220
    assert (sheet[220 // 2, 82] > 100).all()  # the box
    assert (sheet[3, 82] == 0).all()  # above of the picture


@pytest.mark.parametrize("number", [np.nan, np.inf, -1.0])
def test_numbers_that_are_no_heat_are_no_colour(number):
    maps = np.zeros((1, 16, 16))
    maps[0, 3, 3] = number
    assert (drawn(maps, [[np.nan] * 2])[:220, :110] == 120).all()


def test_sheets_of_several_persons_stand_under_each_other():
    one = drawn(np.zeros((1, 16, 16)), [[30.0, 60.0]], title="person 1")
    other = drawn(np.zeros((2, 16, 16)), [[30.0, 60.0]] * 2, title="person 2")
    both = stacked([one, other])
    assert both.shape == (one.shape[0] + other.shape[0], other.shape[1], 3)
    np.testing.assert_array_equal(both[: one.shape[0], : one.shape[1]], one)
