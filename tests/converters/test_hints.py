from typing import Literal

import pytest

from converters.hints import fits


@pytest.mark.parametrize(
    ("hint", "values", "others"),
    [
        (int, [3], [True, "3", None]),
        (bool, [True], [1, "True"]),
        (int | None, [3, None], [True, "3"]),
        (Literal["xy", "yx"], ["xy"], ["zy", 1, []]),
        (tuple[int, ...], [[], [1, 2], (1,)], [[1, "2"], 1, "12"]),
        (tuple[int, str], [[1, "a"]], [[1], [1, "a", "b"], ["a", 1]]),
        (tuple[tuple[int, int], ...], [[[1, 2], [3, 4]]], [[[1, 2], [3]], [[1, 2, 3]]]),
        (dict[str, object], [{"a": 1}], [[], None]),
    ],
)
def test_values_from_json_are_what_a_hint_says(hint, values, others):
    assert [value for value in (*values, *others) if fits(value, hint, isinstance)] == values
