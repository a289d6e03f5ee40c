"""One table of settings: flags, TOML, Python's keywords and checks of an execution agree."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

import anew
from anew.cli import main
from anew.cli.options import settings_from
from anew.core import fields
from anew.core.execution import TABLE, Execution
from anew.core.recipe import Recipe
from anew.core.settings import POSITIONAL, Keywords, keywords, nest_keywords, read_settings

SETTINGS = [*fields.options(Recipe), *fields.options(Execution, (TABLE,))]
FLAGS = [setting.flag for setting in SETTINGS]


def test_every_flag_without_a_dot_is_a_keyword_and_is_typed():
    expected = {flag[2:].replace("-", "_") for flag in FLAGS if "." not in flag}
    # `from` is a word of Python's own.
    expected = expected - {"from"} | {"start_from"}
    assert set(keywords()) == set(Keywords.__annotations__) == expected - set(POSITIONAL)
    # Two settings with one flag would be one keyword.
    assert len(FLAGS) == len(set(FLAGS))


def test_keywords_and_toml_say_the_same(tmp_path):
    (tmp_path / "r.toml").write_text(
        'model = "lenet"\nobjective = {name = "kd", temperature = 4}\nseed = 3\n'
        "[training]\nepochs = 7\n[execution]\nthreads = 2\nask = 'table'\ntrust = ['m:a', 'm:b']\n"
    )
    in_python = nest_keywords(
        {
            "objective": {"name": "kd", "temperature": 4},
            "seed": 3,
            "epochs": 7,
            "threads": 2,
            "ask": "table",
            "trust": ["m:a", "m:b"],
            "teacher": None,
        }
    )
    from_toml = read_settings(tmp_path / "r.toml")
    assert from_toml == read_settings(None, {"model": "lenet"}, in_python)
    recipe, execution = from_toml
    assert (recipe.training.epochs, dict(recipe.objective.options)["temperature"]) == (7, 4.0)
    assert execution == Execution(threads=2, ask="table", trust=("m:a", "m:b"))
    # What is given later overrides single values, and leaves the others.
    over = nest_keywords({"threads": 5, "epochs": 1})
    assert read_settings(tmp_path / "r.toml", over) == (
        replace(recipe, training=replace(recipe.training, epochs=1)),
        replace(execution, threads=5),
    )


def test_a_path_is_a_teacher_and_a_name_keeps_other_options():
    nested = nest_keywords({"teacher": Path("a/b.safetensors"), "objective": "cwtm"})
    recipe, _ = read_settings(None, {"objective": {"top_k": 3}}, nested)
    assert recipe.teacher == (str(Path("a/b.safetensors")),)
    assert (recipe.objective.name, recipe.objective.top_k) == ("cwtm", 3)


def test_an_execution_and_keywords_over_it_reach_the_training(tmp_path):
    """Every value counts: of the recipe, of the execution over it, and of keywords over both."""
    with pytest.raises(anew.AnewError, match=r"no such device; set --device cpu|cuda:77"):
        anew.train(
            recipe={"execution": {"device": "cpu"}},
            execution=anew.Execution(device="cuda:77", threads=1),
            out=tmp_path / "f",
            progress=False,
        )
    result = anew.train(
        recipe={"generations": 0, "training": {"epochs": 9}, "execution": {"device": "cuda:77"}},
        execution=anew.Execution(threads=1),
        epochs=2,
        limit=64,
        keep_epochs=1,
        out=tmp_path / "f",
        progress=False,
    )
    (spec,) = result.lineage
    assert (spec.training.epochs, spec.data.limit) == (2, 64)
    assert result.family.folder(spec.id).at_epoch(1).exists()


def test_an_unknown_keyword_is_one_line_with_the_nearest():
    with pytest.raises(
        anew.AnewError, match=r"unknown keyword 'epoch' \(did you mean 'epochs'\?\)"
    ):
        anew.train(epoch=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"threads": 0}, "execution.threads must be a whole number >= 1 and <= 1,024 or none"),
        ({"jobs": 1025}, "execution.jobs must be a whole number >= 1 and <= 1,024"),
        ({"save_minutes": 0.0}, "execution.save_minutes must be a number > 0"),
        ({"save_minutes": math.nan}, "execution.save_minutes must be a number > 0"),
        ({"disk_budget": -1}, "execution.disk_budget must be a number >= 0"),
        ({"keep_epochs": 0}, "execution.keep_epochs must be a whole number >= 1"),
        ({"ask": "tabel"}, r"execution.ask must be one of .*did you mean 'table'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_execution_is_refused_wherever_it_is_made(wrong, says, tmp_path):
    with pytest.raises(anew.AnewError, match=says):
        Execution(**wrong)
    with pytest.raises(anew.AnewError, match=says):
        replace(Execution(), **wrong)
    with pytest.raises(anew.AnewError, match=says):
        read_settings(None, {TABLE: wrong})
    with pytest.raises(anew.AnewError, match=says):
        anew.train(out=tmp_path / "f", **wrong)
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"threads": True}, "execution.threads must be a whole number"),
        ({"jobs": 1.5}, "execution.jobs must be a whole number"),
        ({"device": 3}, "execution.device must be a text"),
        ({"epochs": "many"}, "training.epochs must be a whole number"),
    ],
    ids=str,
)
def test_a_wrong_type_is_one_line(wrong, says, tmp_path):
    with pytest.raises(anew.AnewError, match=says):
        read_settings(None, nest_keywords(wrong))
    with pytest.raises(anew.AnewError, match=says):
        anew.train(out=tmp_path / "f", **wrong)
    assert not (tmp_path / "f").exists()


def test_an_execution_table_is_checked_as_the_recipe_is(tmp_path):
    (tmp_path / "r.toml").write_text("[execution]\nthread = 2\n")
    says = r"recipe .*r.toml: unknown key 'execution.thread' \(did you mean 'threads'\?\)"
    with pytest.raises(anew.AnewError, match=says):
        read_settings(tmp_path / "r.toml")
    with pytest.raises(anew.AnewError, match=r"execution must be a table, got 3"):
        read_settings(None, {TABLE: 3})


def test_a_list_may_be_given_at_once_or_by_repeating_its_option():
    for words in (["--trust", "m:a", "--trust", "m:b"], ["--trust", "m:a,m:b"]):
        _, bound, _ = main.app.parse_args(["train", *words])
        recipe, execution = settings_from(None, bound.arguments)
        assert (recipe, execution) == (Recipe(), Execution(trust=("m:a", "m:b")))


def test_an_execution_table_in_a_recipe_is_overridden_by_flags(tmp_path):
    (tmp_path / "r.toml").write_text("generations = 0\n[execution]\nthreads = 3\njobs = 2\n")
    _, bound, _ = main.app.parse_args(["train", "--threads", "1"])
    recipe, execution = settings_from(tmp_path / "r.toml", bound.arguments)
    assert (recipe, execution) == (Recipe(generations=0), Execution(threads=1, jobs=2))


def test_the_package_lists_its_public_names():
    assert set(dir(anew)) == set(anew.__all__)
    assert all(getattr(anew, name) is not None for name in dir(anew))
