"""A family keeps which study it was trained for, with its options; a forged file runs nothing."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from commands import call, good

STUDY = """
title = "Does a student gain?"
seeds = [0, 1]
[data]
source = "npz:{data}"
[training]
epochs = 2
batch_size = 16
[rows]
small = {{ name = "small_cnn", options = {{ width = 8 }} }}
[columns.Teacher]
[columns.BAN]
teacher = "Teacher"
objective = "ban"
"""
OPTIONS = ("--seeds", "0", "--epochs", "1", "--controls")


@pytest.fixture(scope="module")
def place(tmp_path_factory, arrays):
    """A study of a user's own that was run with options, once."""
    folder = tmp_path_factory.mktemp("remembered")
    np.savez(folder / "small.npz", x=arrays[0], y=arrays[1])
    (folder / "question.toml").write_text(STUDY.format(data=folder / "small.npz"))
    columns = ("--columns", "Teacher")
    out = ("--out", folder / "family", "--threads", "1", "--force")
    done = call("study", "run", folder / "question.toml", *OPTIONS, *columns, *out)
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def copied(place, tmp_path):
    return Path(shutil.copytree(place / "family", tmp_path / "family"))


def kept(family):
    return family / "studies" / "question.json"


def shown(*arguments):
    done = call("study", "show", *arguments, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out), done.err


def test_a_study_is_shown_as_it_was_run_without_its_options(place):
    family, file = place / "family", place / "question.toml"
    whole = good("study", "show", file, family, *OPTIONS, "--columns", "Teacher", "--json")
    for named in ((family,), ("question", family), (file, family)):
        found, said = shown(*named)
        assert found == json.loads(whole)
        assert said.startswith(
            "options of the last run: --seeds 0 --columns Teacher --controls --epochs 1;"
        )
    assert found["cells"][0]["column"] == "Teacher"


def test_options_that_are_given_override_those_of_the_run(place):
    found, said = shown(place / "family", "--columns", "BAN", "--no-controls")
    assert [cell["column"] for cell in found["cells"]] == ["BAN"]
    assert (found["seeds"], found["training"]["epochs"]) == ([0], 1)
    assert not any(flag in said for flag in ("--columns", "--controls")) and "--seeds 0" in said


def test_the_report_of_a_family_opens_with_the_study_it_was_trained_for(place, tmp_path):
    page = json.loads(call("report", place / "family", "--no-pictures", "--json").out)
    assert page["study"]["title"] == "Does a student gain?"
    assert page["study"]["results"]["seeds"] == [0]
    # Data that are gone take the table, and not the page.
    moved = Path(shutil.copytree(place / "family", tmp_path / "moved"))
    record = json.loads(kept(moved).read_text())
    record["options"]["data"] = "npz:gone.npz"
    kept(moved).write_text(json.dumps(record))
    done = call("report", moved, "--no-pictures", "--json")
    assert json.loads(done.out)["study"] is None
    assert "the page has no table of study question: " in done.err


def test_a_family_from_before_is_shown_with_its_options(copied, place):
    shutil.rmtree(copied / "studies")
    found, said = shown(place / "question.toml", copied, *OPTIONS)
    assert found["seeds"] == [0] and said == ""
    done = call("study", "show", copied)
    assert done.code == 2 and "does not record which study it was trained for; name it" in done.err
    assert json.loads(call("report", copied, "--no-pictures", "--json").out)["study"] is None


def test_of_several_studies_one_is_named(copied, place):
    other = copied / "studies" / "table2.json"
    record = {"format": 1, "study": "table2", "toml": "", "options": {"scale": "tiny"}}
    other.write_text(json.dumps(record))
    done = call("study", "show", copied)
    assert done.code == 2 and "trained for 2 studies (question, table2)" in done.err
    found, said = shown("table2", copied)
    assert "digits" in found["title"] and "--scale tiny" in said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("no JSON", "is damaged"),
        ({"format": 2}, "has format 2, this anew reads 1; upgrade anew"),
        ({"study": "table2"}, "is damaged"),
        ({"toml": ""}, "'question' is no study that is built in"),
        ({"toml": "rows = 1"}, "rows must be a table"),
        ({"toml": "a = "}, "its text is not TOML"),
        ({"options": {"device": "cuda"}}, "'device' is no option"),
        ({"options": {"seeds": "0"}}, "'seeds' is no option, or has no such value"),
        ({"options": {"epochs": True}}, "'epochs' is no option, or has no such value"),
        ({"options": {"epochs": -3}}, "epochs must be"),
        ({"options": {"rows": ["none"]}}, "none"),
    ],
)
def test_what_is_forged_is_refused_with_a_line(copied, change, says):
    record = json.loads(kept(copied).read_text())
    text = change if isinstance(change, str) else json.dumps({**record, **change})
    kept(copied).write_text(text)
    done = call("study", "show", "question", copied)
    assert (done.code, done.out) == (2, "")
    line = done.err.strip().splitlines()[-1]
    assert line.startswith("anew: ") and says in line
    # It may be somebody's own.
    assert "remove" not in line and "delete" not in line
    # The family itself can be read all the same.
    assert call("report", copied, "--no-pictures", "--json").code == 0


@pytest.mark.parametrize("where", ["rows", "columns"])
def test_a_text_in_a_family_runs_no_code(copied, tmp_path, monkeypatch, where):
    (tmp_path / "canary.py").write_text("open('ran', 'w').close()\ndef build(): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    record = json.loads(kept(copied).read_text())
    evil = '[rows]\nevil = "canary:build"\n[columns.Teacher]\n'
    if where == "columns":
        evil = '[rows]\na = "mlp"\n[columns.Teacher]\nmodel = { name = "canary:build" }\n'
    kept(copied).write_text(json.dumps({**record, "toml": evil, "options": {}}))
    for command in (("study", "show", copied), ("report", copied, "--no-pictures")):
        assert "is not run from a family's file" in call(*command).err
    assert not Path("ran").exists() and "canary" not in sys.modules


def test_options_that_cannot_be_kept_stop_no_training(copied, place):
    shutil.rmtree(copied / "studies")
    (copied / "studies").write_text("a file in its place")
    out = ("--out", copied, "--threads", "1", "--force")
    done = call("study", "run", place / "question.toml", *OPTIONS, "--columns", "Teacher", *out)
    assert done.code == 0 and "the study's options are not kept: " in done.err
