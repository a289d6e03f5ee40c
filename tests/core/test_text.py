"""Foreign text in a terminal and in CSV files: nothing of it is obeyed, harmless text stays."""

import csv
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anew.core.text import clean, csv_table, in_digits, json_text, p_value, table

HARMFUL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


@given(st.floats(min_value=1e-300, max_value=1))
def test_a_p_value_is_a_number_and_never_0(p):
    read = float(p_value(p))
    assert read > 0 and abs(read - p) <= max(0.0005, 0.1 * p)
    assert p_value(float("nan")) == "-"


@given(st.text(st.characters()))
def test_no_control_character_is_left(text):
    assert not HARMFUL.search(clean(text))
    # What is clean stays as it is.
    assert clean(clean(text)) == clean(text)


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs", "M"])))
def test_what_is_printable_stays(text):
    assert clean(text) == text


@given(st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
def test_json_stays_json_of_the_same_value(text, is_ascii):
    assert json.loads(clean(json.dumps(text, ensure_ascii=is_ascii))) == text


@pytest.mark.parametrize(
    "text, cleaned",
    [
        ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
        ("\x9b31m", "\\u009b31m"),
        ("a\nb\tc", "a\\u000ab\\u0009c"),
        ("caf\udce9", "caf\\udce9"),
        ("txt\u202egpj", "txt\\u202egpj"),
        ("\U000e0041", "\\udb40\\udc41"),
        ("Käse 🧀, 👩\u200d🔬", "Käse 🧀, 👩\u200d🔬"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
    ],
)
def test_a_control_character_is_written_out(text, cleaned):
    assert clean(text) == cleaned


def test_what_is_to_be_kept_stays():
    assert clean("a\nb\r\x1b", keep="\n") == "a\nb\\u000d\\u001b"


def test_a_cell_of_a_markdown_table_is_one_line():
    assert table(["a|b"], [["c\n\x1b"]]) == "| a\\|b |\n| --- |\n| c\\u000a\\u001b |"


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2)))
def test_no_cell_is_a_formula_and_the_table_is_read_back(rows):
    read = list(csv.reader(io.StringIO(csv_table(["a", "b"], rows))))
    assert len(read) == len(rows) + 1
    for cell in (cell for row in read[1:] for cell in row):
        assert not HARMFUL.search(cell)
        if cell.startswith(("=", "@", "+", "-")):
            # A number, a dash, or an interval of two numbers.
            words = cell.removesuffix(" %").replace(",", "").split(" to ")
            assert cell == "-" or [float(word) for word in words]


def test_json_of_numbers_that_are_not_finite_is_null():
    value = {"a": (1.5, float("nan")), "b": [{"c": float("-inf")}], "d": "NaN"}
    expected = {"a": [1.5, None], "b": [{"c": None}], "d": "NaN"}
    read = json.loads(json_text(value), parse_constant=lambda name: pytest.fail(name))
    assert read == expected
    assert [in_digits(one, 2) for one in (1.005, None, float("nan"), float("inf"))] == [
        "1.00",
        "-",
        "-",
        "-",
    ]


def test_numbers_stay_and_formulas_are_quoted():
    numbers = ["-0.5", "+1.20", "-3", "-0.10 to +0.20", "-1e-05", "-"]
    formulas = ["=1+1", "-x", "-2 +3+cmd|' /C calc'!A0", "@SUM(1)", "+1-1", "-\u0661"]
    rows = [[text] for text in (*numbers, *formulas)]
    lines = csv_table(["x"], [*rows, [-2.5]]).splitlines()
    assert lines == ["x", *numbers, *(f"'{text}" for text in formulas), "-2.5"]
