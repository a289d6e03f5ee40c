"""A new objective with a new option: its registration is the only place that knows of it."""

import json

import pytest

import anew
from anew.core.errors import AnewError
from anew.core.ranges import Number, Range
from anew.core.settings import read_settings
from anew.core.spec import DataSpec, ModelSpec, ObjectiveSpec, Spec, TrainingSpec
from anew.family import Family
from anew.objectives import OBJECTIVES, Objective, Terms, ban, fill
from commands import call


@pytest.fixture
def toy(monkeypatch):
    """An objective with an option that no other has."""

    def terms(context, *, sharpness):
        return Terms(teacher=ban(context.logits, sharpness * context.teacher))

    options = {"sharpness": Number(1.0, Range(0, 10, above=True))}
    monkeypatch.setitem(OBJECTIVES, "toy", Objective("toy", "a sharper teacher", terms, options))


def id_of(objective):
    first = Spec(ModelSpec("mlp"), DataSpec(), TrainingSpec(), ObjectiveSpec.of("label"))
    return Spec(ModelSpec("mlp"), DataSpec(), TrainingSpec(), objective, teachers=(first,)).id


def test_its_option_comes_from_toml_python_and_the_command_line(toy, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('[objective]\nname = "toy"\nsharpness = 2\n')
    recipes = [
        read_settings(path)[0],
        read_settings(None, {"objective": {"name": "toy", "sharpness": 2.0}})[0],
        read_settings(None, {"objective": {"name": "toy", "options": ["sharpness=2"]}})[0],
    ]
    assert len(set(recipes)) == 1
    assert fill(recipes[0].objective) == ObjectiveSpec.of("toy", sharpness=2.0)


def test_its_option_is_part_of_ids_unless_it_is_at_its_default(toy):
    default = fill(ObjectiveSpec("toy"))
    assert fill(ObjectiveSpec.of("toy", sharpness=1.0)) == default == ObjectiveSpec("toy")
    assert id_of(fill(ObjectiveSpec.of("toy", sharpness=2))) != id_of(default)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sharpness": 0}, "'toy': sharpness must be > 0 and <= 10, got 0; set .*sharpness"),
        ({"sharpness": "much"}, "'toy': sharpness must be .* got 'much'"),
        ({"sharpness": True}, "'toy': sharpness must be .* got True"),
        ({"sharpnes": 2.0}, "'toy' takes no sharpnes .did you mean 'sharpness'"),
    ],
)
def test_a_wrong_option_is_one_line(toy, options, says):
    with pytest.raises(AnewError, match=says):
        fill(ObjectiveSpec.of("toy", **options))


def test_it_trains_from_the_command_line_and_from_python_to_the_same_bits(toy, npz, tmp_path):
    quick = ["--epochs", 2, "--generations", 1, "--model", "mlp", "--threads", 1]
    options = ["--objective", "toy", "--objective.options", "sharpness=2"]
    assert (
        call("train", "--out", tmp_path / "f", "--data", f"npz:{npz}", *quick, *options).code == 0
    )
    result = anew.train(
        "mlp",
        f"npz:{npz}",
        objective={"name": "toy", "sharpness": 2},
        epochs=2,
        generations=1,
        threads=1,
        out=tmp_path / "f",
        progress=False,
    )
    family = Family.open(tmp_path / "f")
    assert len(list(family.folders())) == 2
    written = json.loads((family.folder(result.lineage[-1].id).path / "spec.json").read_text())
    assert written["objective"]["sharpness"] == 2.0
    assert family.spec(result.lineage[-1].id).objective == ObjectiveSpec.of("toy", sharpness=2.0)
