"""A run that was stopped, or another one, does not soil what is shown of a finished lineage."""

import json
import shutil
from pathlib import Path

import pytest

from anew import report
from anew.family import Family, choose_lineage, unfinished_after
from anew.report import sections
from anew.report.closing import closing
from commands import call, good
from runs import train


@pytest.fixture(scope="module")
def both(tmp_path_factory, arrays):
    """A finished lineage of two networks, and one of another seed stopped in its fourth."""
    place = tmp_path_factory.mktemp("stopped") / "family"
    whole = train(arrays, place, generations=1).lineage
    stopped = train(arrays, place, generations=3, seed=3, force=True).lineage
    (Family(place).folder(stopped[-1].id).path / "done.json").unlink()
    return Family(place), [spec.id for spec in whole], [spec.id for spec in stopped]


def ids(lineage):
    return [spec.id for spec in lineage]


def test_the_finished_lineage_is_shown_and_not_the_longer_one_that_was_stopped(both, tmp_path):
    family, whole, stopped = both
    assert {name: ids(found) for name, found in unfinished_after(family).items()} == {
        stopped[-2]: [stopped[-1]]
    }
    assert ids(choose_lineage(family, several="longest")) == whole
    # What is named is shown, and what is there alone is shown too.
    assert ids(choose_lineage(family, stopped[2], several="longest")) == stopped[:3]
    alone = Family(Path(shutil.copytree(family.path, tmp_path / "alone")))
    shutil.rmtree(alone.folder(whole[1]).path)
    assert ids(choose_lineage(alone, several="longest")) == stopped[:3]


def test_a_lineage_that_is_continued_is_shown_as_far_as_it_is(both, tmp_path):
    family, whole, stopped = both
    alone = Family(Path(shutil.copytree(family.path, tmp_path / "alone")))
    for name in whole:
        shutil.rmtree(alone.folder(name).path)
    assert ids(choose_lineage(alone, several="longest")) == stopped[:3]
    assert ids(choose_lineage(alone)) == stopped[:3]


def test_the_report_is_of_the_finished_lineage_and_says_what_else_is_there(both):
    family, whole, stopped = both
    page = json.loads(call("report", family.path, "--no-pictures", "--json").out)
    assert page["lineage"] == whole
    several, unfinished = page["notices"]
    assert f"this page shows the one to {whole[-1]}" in several and stopped[2] in several
    assert stopped[-1] in unfinished and "The page does not show it" in unfinished
    found = report.gather(family, choose_lineage(family, several="longest"))
    (curves,) = (one for one in sections.own_charts(found) if one.name == "learning-curves")
    assert len(curves.series) == len(whole)


def test_the_stopped_lineage_has_the_curve_of_what_goes_on_from_it(both):
    family, _, stopped = both
    arguments = ("--network", stopped[2], "--no-pictures", "--json")
    page = json.loads(call("report", family.path, *arguments).out)
    assert "The page shows its curve so far" in page["notices"][1]


def test_show_draws_the_curves_of_one_lineage(both):
    family, whole, stopped = both
    shown = good("show", family.path)
    assert f"(digits mark generations of the lineage to {whole[-1]})" in shown
    # A mark is the last figure of a generation; the stopped lineage has one more.
    drawn = "".join(line.partition("|")[2] for line in shown.splitlines() if "|" in line)
    assert "1" in drawn and "2" not in drawn
    assert all(name in shown for name in [*whole, *stopped])


def test_evaluate_and_insight_say_which_lineage_is_not_finished(both):
    family, whole, stopped = both
    said = good("evaluate", family.path)
    assert f"{stopped[2]} > {stopped[3]} (not finished)" in said
    assert said.index(f" > {whole[1]}\n") < said.index(stopped[0])
    line = call("insight", family.path).err
    assert f"{stopped[2]} (" in line and "), whose student is not finished" in line


def test_the_next_commands_name_the_lineage_where_there_are_several(arrays, tmp_path):
    first = train(arrays, tmp_path / "f", generations=1)

    def commands():
        lines = closing(first.family, first.lineage, first.scores, validated=True)
        return [line for line in lines if line.startswith("next: ")]

    assert not any("--network" in line for line in commands())
    train(arrays, tmp_path / "f", generations=1, seed=3)
    end = first.lineage[-1].id
    assert all(f" --network {end}" in line for line in commands())
