"""Charts of reports, read back: where marks lie on the axes that the labels tell."""

import re

import numpy as np


class Axis:
    """An axis by its labels: pixels and the numbers that they show."""

    def __init__(self, pixels, numbers):
        assert len(numbers) >= 2
        self.slope, self.start = np.polyfit(pixels, numbers, 1)
        spread = max(numbers) - min(numbers)
        np.testing.assert_allclose(self.at(pixels), numbers, rtol=0, atol=0.004 * spread, err_msg="the labels")

    def at(self, pixels):
        """The numbers at some pixels."""
        return self.start + self.slope * np.asarray(pixels, float)


def axes_of(chart, numbers_of=float):
    """The horizontal and the vertical axis of a chart; `numbers_of` reads a label of the vertical one."""
    texts = [text for text in chart.all("text") if "muted" in text.classes]
    horizontal = [t for t in texts if t.attributes["text-anchor"] == "middle" and re.fullmatch(r"[\d.]+", t.text)]
    vertical = [t for t in texts if t.attributes["text-anchor"] == "end"]
    x = Axis([float(t.attributes["x"]) for t in horizontal], [float(t.text) for t in horizontal])
    if not vertical:
        return x, None
    return x, Axis([float(t.attributes["y"]) - 4 for t in vertical], [numbers_of(t.text) for t in vertical])


def points_of(path):
    """The points of a path of straight lines, (n, 2)."""
    found = re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path.attributes["d"])
    return np.array(found, float)


def line_of(chart, style):
    """A curve's numbers: where its points lie, horizontally and vertically."""
    x, y = axes_of(chart)
    points = points_of(chart.one("path", style, "line"))
    return x.at(points[:, 0]), y.at(points[:, 1])


def steps_of(chart, style):
    """A histogram's right edges and heights."""
    x, y = axes_of(chart)
    path = next(p for p in chart.all("path", style) if {"area", "line"} & set(p.classes))
    found = np.array(re.findall(r"V(-?[\d.]+)H(-?[\d.]+)", path.attributes["d"]), float)
    return x.at(found[:, 1]), y.at(found[:, 0])
