"""JSON and TOML that nobody wrote by hand: deep, and with numbers of thousands of digits."""

import json

import pytest

from anew import AnewError
from anew.core import files
from anew.core.parsing import MOST_LEVELS, parse_json, parse_toml
from anew.core.recipe import read_toml
from anew.studies.toml import read_study


@pytest.mark.parametrize("levels", [MOST_LEVELS + 1, 990, 5000, 100_000])
@pytest.mark.parametrize("start", ["[", '{"a": '])
def test_what_is_nested_too_deeply_is_a_value_error(levels, start):
    end = "]" if start == "[" else "}"
    with pytest.raises(ValueError, match="is nested more than 100 levels deep"):
        parse_json(start * levels + "1" + end * levels)
    inner = "1" if start == "[" else "b = 1"
    start, end = start.replace('"a":', "a ="), end
    text = "x = " + start * levels + (inner if start == "[" else "1") + end * levels
    with pytest.raises(ValueError, match="is nested more than 100 levels deep"):
        parse_toml(text)


def test_what_anew_writes_is_read_as_the_standard_library_does():
    value = {"a": [1, 2.5, None, True, {"b": [[], {}]}], "n": 2**64, "deep": [[[[["x"]]]]]}
    assert parse_json(json.dumps(value)) == value
    deepest = "[" * (MOST_LEVELS - 1) + "1" + "]" * (MOST_LEVELS - 1)
    assert parse_json(deepest) == json.loads(deepest)
    assert parse_toml('a = 1\n[b]\nc = "d"') == {"a": 1, "b": {"c": "d"}}


@pytest.mark.parametrize("digits", [302, 4301, 100_000])
def test_numbers_of_too_many_digits_are_one_line(tmp_path, digits):
    (tmp_path / "x.toml").write_text("seed = " + "9" * digits)
    for read in (read_toml, read_study):
        with pytest.raises(AnewError, match=r"x\.toml: is not TOML \([^\n]*digits") as caught:
            read(tmp_path / "x.toml")
        assert len(str(caught.value)) < 500
    (tmp_path / "x.json").write_text('{"a": %s}' % ("9" * digits))
    with pytest.raises(AnewError, match=r"x\.json: is damaged \([^\n]*digits"):
        files.read_json(tmp_path / "x.json")
    (tmp_path / "h.toml").write_text("seed = 0x" + "f" * 5000)
    with pytest.raises(AnewError, match="more than 300 digits"):
        read_toml(tmp_path / "h.toml")
