"""The command that a report shows trains the networks that it is shown for."""

import shlex
from dataclasses import replace

import pytest

from anew import studies
from anew.cli import options
from anew.cli.main import app
from anew.cli.study import AS_IT_IS
from anew.core.recipe import Recipe, lineage_of
from anew.core.settings import read_settings
from anew.core.spec import DataSpec, ObjectiveSpec, Spec
from anew.report import making
from anew.training.lineage import filled, filled_siblings


def given(command):
    """Return what a command's words set, as the command line reads them."""
    _, bound, _ = app.parse_args(shlex.split(command)[1:], print_error=False, exit_on_error=False)
    return bound.kwargs


def recipe_of(values):
    recipe, _ = read_settings(None, values)
    recipe = filled(recipe)
    return replace(recipe, data=replace(recipe.data, fingerprint="f" * 16))


RECIPES = {
    "the demo": {},
    "kd with options": {
        "objective": {"name": "kd", "temperature": 3.0, "alpha": 0.5},
        "training": {"epochs": 7, "learning_rate": 0.05, "milestones": (0.5, 0.75)},
        "generations": 2,
        "seed": 3,
    },
    "switches": {
        "training": {"nesterov": False, "compile": True},
        "data": {"skip_damaged": True},
        "objective": {"shuffled": True},
    },
    "another teacher": {
        "model": {"name": "wide_resnet-10-1", "options": {"dropout": 0.1}},
        "teacher_model": {"name": "small_cnn"},
        "label_smoothing": 0.1,
    },
    "several teach": {"generations": 3, "taught_by": "all"},
    "the last two teach": {"generations": 4, "taught_by": "last-2"},
    "labels alone": {"generations": 0},
    "a text": {"data": {"source": "text:ptb"}, "model": {"name": "lstm-1-64"}},
    "another optimiser": {
        "data": {"source": "text:ptb"},
        "model": {"name": "lstm-1-64"},
        "training": {"optimizer": "adam"},
    },
    "siblings": {"siblings": ("cwtm", "dkpp"), "sibling_seeds": (4, 5)},
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_command_comes_to_the_same_networks(name):
    recipe = recipe_of(RECIPES[name])
    lineage = lineage_of(recipe, recipe.data)
    among = [one for spec in lineage for one in filled_siblings(recipe, spec)]
    command = making.command(lineage, among, "family")
    assert command.startswith("anew train --out family")

    read, _ = options.settings_from(None, {k: v for k, v in given(command).items() if k != "out"})
    read = filled(read)
    again = lineage_of(read, replace(read.data, fingerprint="f" * 16))
    assert [spec.id for spec in again] == [spec.id for spec in lineage]
    assert {one.id for spec in again for one in filled_siblings(read, spec)} == {
        one.id for one in among
    }


def test_a_sibling_at_the_end_is_shown_with_its_lineage():
    recipe = recipe_of({"siblings": ("dkpp",), "generations": 2})
    lineage = lineage_of(recipe, recipe.data)
    among = [one for spec in lineage for one in filled_siblings(recipe, spec)]
    sibling = next(one for one in among if one.objective.name == "dkpp" and one.generation == 2)
    assert making.command((*lineage[:-1], sibling), among, "f") == making.command(
        lineage, among, "f"
    )


def test_no_folder_of_the_machine_and_a_word_for_files():
    data = DataSpec("folder:/home/someone/photos", fingerprint="f" * 16, views="none")
    recipe = Recipe(data=data, generations=1)
    label = ObjectiveSpec.of("label", smoothing=0.0)
    teacher = Spec(recipe.model, data, recipe.training, label, weights="a" * 64)
    lineage = lineage_of(recipe, data, (teacher,))
    command = making.command(lineage, lineage, "family")
    assert "/home" not in command
    assert "--data folder:photos" in command and command.endswith("--teacher FILE")


def test_without_a_single_command_there_is_none():
    recipe = recipe_of({"generations": 2})
    first, second, last = lineage_of(recipe, recipe.data)
    slower = replace(second, training=replace(second.training, learning_rate=0.01))
    assert making.command((first, slower, replace(last, teachers=(slower,))), [], "f") == ""
    assert making.command((), [], "f") == ""


@pytest.mark.parametrize(
    "changes",
    [
        studies.Changes(),
        studies.Changes(seeds=(0, 1), rows=("DenseNet-90-60",), columns=("Teacher", "BAN")),
        studies.Changes(epochs=3, controls=True, data={"limit": 100}),
    ],
)
@pytest.mark.parametrize("scale", ["full", "tiny"])
def test_the_command_of_a_study(scale, changes):
    study = studies.choose("table2", scale, changes)
    values = given(making.of_study(study, "family"))
    assert values.get("choice", AS_IT_IS).of("table2") == study


def test_a_study_of_a_file_has_no_command():
    study = replace(studies.choose("table2", "tiny"), name="mine")
    assert making.of_study(study, "family") == ""
