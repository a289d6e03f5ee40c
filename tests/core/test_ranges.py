"""Ranges: their bounds hold what they say, in numbers and in words."""

import math

import pytest

from anew.core.ranges import Range


@pytest.mark.parametrize(
    ("allowed", "words", "inside", "outside"),
    [
        (Range(), "a number", [0, -1e9, math.inf], [math.nan, True, "1", None]),
        (Range(0, 1), "a number >= 0 and <= 1", [0, 0.5, 1.0], [-1e-9, 1.5, math.nan, False]),
        (Range(0.0, 1e3, above=True), "a number > 0 and <= 1000", [1e-9, 1000], [0, 0.0, -1]),
        (Range(0, 1, below=True), "a number >= 0 and < 1", [0, 0.999], [1, 1.0]),
        (Range(2, 10_000, whole=True), "a whole number >= 2 and <= 10,000", [2], [1, 2.5, 3.0]),
        (Range(high=3), "a number <= 3", [3, -math.inf], [4]),
    ],
)
def test_a_range_holds_what_its_words_say(allowed, words, inside, outside):
    assert str(allowed) == words
    assert all(allowed.holds(value) for value in inside)
    assert not any(allowed.holds(value) for value in outside)
