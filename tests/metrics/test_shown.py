"""Numbers of metrics with their units and signs."""

import math

import pytest

from deeppose_port.metrics.shown import bare, difference, interval, number

EN_DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.53571, "%", "53.6 %"),
        (50.034, "px", "50.03 px"),
        (0.06011512, "", "0.060115"),
        (123456, "", "123456"),
        (math.nan, "%", EN_DASH),
        (math.inf, "px", "inf px"),
    ],
)
def test_numbers_have_their_unit(value, unit, text):
    assert number(value, unit) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"), [(0.53571, "%", "53.6"), (50.034, "px", "50.03"), (math.nan, "px", EN_DASH)]
)
def test_columns_have_it_in_their_heading(value, unit, text):
    assert bare(value, unit) == text


@pytest.mark.parametrize(
    ("old", "new", "unit", "text"),
    [
        (0.615, 0.0, "%", MINUS + "61.5"),
        (0.25, 0.5, "%", "+25.0"),
        (0.5, 0.502, "%", "+0.2"),
        (50.0, 45.5, "px", MINUS + "4.50"),
        (50.0, 50.0048, "px", "+0.0048"),
        (50.0, 50.006, "px", "+0.01"),
        (0.5, 0.5002, "%", "+0.02"),
        (0.5, 0.5 - 1e-9, "%", MINUS + "1.0e" + MINUS + "07"),
        (1.0, 1e9, "px", "+1.0e+09"),
        (0.5, 0.5, "%", "0"),
        (math.nan, 0.5, "%", EN_DASH),
        (math.inf, math.inf, "px", EN_DASH),
    ],
)
def test_differences_are_in_the_unit_of_their_numbers(old, new, unit, text):
    assert difference(old, new, unit) == text


def test_intervals_have_two_ends():
    assert interval((0.25, 0.5), "%") == "25.0 % to 50.0 %"
    assert interval((0.1, 0.2), "") == "0.1 to 0.2"
    assert interval((math.nan, 1), "%") == interval((1, math.inf), "px") == EN_DASH
