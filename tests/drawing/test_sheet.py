"""Contact sheets: who is where on them, and what is written there."""

import math

import numpy as np
import pytest

from converters.errors import DeepPoseError
from deeppose_port.data.crop import Crop
from deeppose_port.data.skeletons import FLIC, Skeleton
from deeppose_port.drawing import draw
from deeppose_port.drawing.lines import GREY, HEIGHT, WHITE, shortened, width_of, write_line
from deeppose_port.drawing.sheet import ContactSheet

NOWHERE = np.full((7, 2), math.nan)


def written(text, width, colour=WHITE):
    """What a line of text looks like."""
    strip = np.zeros((HEIGHT, width, 3), np.uint8)
    write_line(strip, text, 0, 0, width, colour)
    assert strip.any()
    return strip


def says(sheet, x, y, text, width=212, colour=WHITE):
    """Tells whether a line of text stands at (x, y), and nothing else beside it."""
    return np.array_equal(sheet[y : y + HEIGHT, x : x + width], written(text, width, colour))


class TestChoice:
    def cells(self, sheet, how_many):
        """Adds pictures of one grey each and returns the greys that the sheet shows."""
        for i in range(how_many):
            sheet.add(np.full((30, 30, 3), i + 1, np.uint8), Crop(0, 0, 30, 30, 220), NOWHERE, FLIC)
        return sheet.picture()[110:-24:238, 110::222, 0]

    def test_no_seed_is_negative(self):
        with pytest.raises(DeepPoseError, match="the seed is -1; it has to be 0 or more"):
            ContactSheet(3, 2, seed=-1)

    def test_few_are_shown_in_their_order(self):
        assert self.cells(ContactSheet(3, 2), 5).tolist() == [[1, 2, 3], [4, 5, 0]]
        assert self.cells(ContactSheet(5, 5), 3).tolist() == [[1, 2, 3]]

    def test_of_many_some_are_chosen_by_the_seed(self):
        first, again, other = (self.cells(ContactSheet(3, 3, seed), 200).ravel() for seed in (4, 4, 5))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)
        assert len(set(first)) == 9
        assert np.array_equal(first, np.sort(first))

    def test_each_has_the_same_chance(self):
        counts = np.zeros(11)
        for seed in range(600):
            counts[self.cells(ContactSheet(1, 1, seed), 10)[0, 0]] += 1
        assert counts[1:].min() > 35  # 60 each, give or take 7
        assert counts[1:].max() < 90


class TestPersons:
    IMAGE = np.full((100, 200, 3), 50, np.uint8)
    IMAGE[20:60, 30:50] = 200
    CROP = Crop(30, 20, 50, 60, 220)  # 5.5 times as large, in the middle of a cell

    def test_a_crop_is_in_the_middle_of_its_cell_with_its_joints_where_they_are(self):
        points = NOWHERE.copy()
        points[[0, 3, 6]] = [36, 26], [40, 40], [44, 54]
        sheet = ContactSheet(1, 1)
        sheet.add(self.IMAGE, self.CROP, points, FLIC, caption="some.png")
        picture = sheet.picture()
        assert (picture[:220, :55] == 36).all()
        assert (picture[:220, 165:] == 36).all()
        assert (picture[:20, 55:165] == 200).all()
        for (x, y), colour in (((36, 26), draw.LEFT), ((40, 40), draw.CENTRE), ((44, 54), draw.RIGHT)):
            assert tuple(picture[round(5.5 * (y - 20)), round(55 + 5.5 * (x - 30))]) == colour
        assert says(picture, 4, 220, "some.png")

    def test_the_truth_stands_beside_the_answer_and_nothing_over_it(self):
        truth = np.array([[32, 26], [36, 30], [40, 36], [40, 40], [44, 46], [46, 50], [48, 50]], float)
        points = truth + np.array([3, 4])  # 5 px off, in a box that is 20 px high without the first, which is not known
        visible = np.arange(7) > 0
        truth[6] = 42, 46
        points[6] = 45, 42
        sheet = ContactSheet(2, 2)
        for line in (1, 2, 3):
            sheet.add(self.IMAGE, self.CROP, points, FLIC, caption=f"a.png, line {line}", truth=truth, visible=visible)
        picture = sheet.picture()
        assert picture.shape[1] == 2 * 444 - 2
        for x, pose, known in ((0, points, None), (222, truth, visible)):
            alone = ContactSheet(1, 1)
            alone.add(self.IMAGE, self.CROP, np.where(visible[:, None] | (known is None), pose, np.nan), FLIC)
            assert np.array_equal(picture[:220, x : x + 220], alone.picture()[:220]), "no dashes over it"
        colours = [*[draw.LEFT] * 3, draw.CENTRE, *[draw.RIGHT] * 3]
        for number in range(3):
            top, left = 254 * (number // 2), 444 * (number % 2)
            for x0, joints, known in ((left, points, visible | True), (left + 222, truth, visible)):
                for (x, y), colour, is_known in zip(joints, colours, known, strict=True):
                    drawn = tuple(picture[top + round(5.5 * (y - 20)), x0 + round(55 + 5.5 * (x - 30))])
                    assert drawn == (colour if is_known else (200, 200, 200))
            assert says(picture, left + 4, top + 220, f"a.png, line {number + 1}", 434)
            assert says(picture, left + 4, top + 236, "network: 5.0 px, 25 %", colour=GREY)
            assert says(picture, left + 226, top + 236, "truth: 6 of 7 joints", colour=GREY)
        assert (picture[254:506, 444:] == 0).all(), "nobody is there"

    @pytest.mark.parametrize(
        ("points", "visible", "text"),
        [
            (NOWHERE, np.ones(7, bool), "network: no answer"),
            (np.zeros((7, 2)), np.zeros(7, bool), "network: no joint to compare"),
            (np.full((7, 2), 3.0), np.arange(7) == 2, "network: 5.0 px"),
        ],
    )
    def test_an_error_that_there_is_not_is_said(self, points, visible, text):
        truth = np.tile([6.0, 7.0], (7, 1))
        sheet = ContactSheet(1, 1)
        sheet.add(self.IMAGE, self.CROP, points, FLIC, truth=truth, visible=visible)
        assert says(sheet.picture(), 4, 236, text, colour=GREY)

    def test_a_skeleton_without_sides_has_no_colours_to_tell(self):
        sheet, face = ContactSheet(1, 1), Skeleton("face", ("chin", "nose"), ((0, 1),))
        sheet.add(self.IMAGE, self.CROP, NOWHERE[:2], face, caption="some.png")
        assert sheet.picture().shape[0] == 220 + HEIGHT + 2 + 8
        assert not sheet.picture()[238:].any()

    def test_the_legend_tells_the_colours(self):
        sheet = ContactSheet(1, 1)
        sheet.add(self.IMAGE, self.CROP, NOWHERE, FLIC, truth=np.zeros((7, 2)))
        legend = sheet.picture()[254:]
        assert legend.shape == (3 * HEIGHT + 8, 442, 3)
        x = 4
        for colour, words in (
            (draw.LEFT, "person's left"),
            (draw.RIGHT, "person's right"),
            (draw.CENTRE, "middle"),
        ):
            assert (legend[10:14, x : x + 13] == colour).all()
            assert says(legend, x + 18, 4, words, width_of(words))
            x += 18 + width_of(words) + 12
        assert says(legend, 4, 20, "each person: the network, then the truth", 434)
        assert says(legend, 4, 36, "error: mean of the joints, px of the picture, % of the person's box", 434)

    def test_joints_that_nobody_knows_are_numbered_within_the_picture(self):
        sheet = ContactSheet(1, 1)
        image = np.full((44, 44, 3), 90, np.uint8)
        sheet.add(image, Crop(0, 0, 44, 44, 220), np.array([[43.4, 0.4], [22.0, 22.0]]), None)
        picture = sheet.picture()
        changed = (picture[:220, :220] != 90).any(axis=2)
        assert changed[:16, 205:212].any(), "the number 0, left of where it would be cut off"
        assert says(picture[238:], 4, 4, "joints are numbered from 0")


class TestLines:
    def test_a_long_line_keeps_its_beginning_and_its_end(self):
        text = f"{'a very long name ' * 20}of a picture.png, line 12"
        short = shortened(text, 200)
        assert width_of(short) <= 200 < width_of(text)
        assert width_of(short) > 180
        first, last = short.split("\N{HORIZONTAL ELLIPSIS}")
        assert text.startswith(first)
        assert text.endswith(last)
        assert abs(len(first) - len(last)) <= 1
        assert shortened("short.png", 200) == "short.png"

    def test_a_path_of_thousands_of_letters_is_measured_a_few_times(self, monkeypatch):
        measured = []

        def counting(text):
            measured.append(text)
            return width_of(text)

        monkeypatch.setattr("deeppose_port.drawing.lines.width_of", counting)
        assert len(shortened("folder/" * 580, 200)) > 20
        assert len(measured) < 20

    def test_nothing_is_written_beyond_the_width(self):
        strip = np.zeros((HEIGHT, 100, 3), np.uint8)
        assert write_line(strip, "W" * 50, 10, 0, 40) <= 40
        assert strip[:, 10:50].any()
        assert not strip[:, :10].any()
        assert not strip[:, 50:].any()

    def test_letters_of_other_languages_are_letters(self):
        strips = [written(text, 60) for text in ("Ж", "é", "ω", "?")]
        assert len({strip.tobytes() for strip in strips}) == 4

    def test_what_is_no_letter_is_shown_as_messages_show_it(self):
        assert np.array_equal(written("a\nb", 60), written("a\\nb", 60))
