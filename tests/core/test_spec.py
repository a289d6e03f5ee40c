"""Specs, recipes and their fields: identity, the same values from TOML, flags and JSON, one clear
line a mistake.
"""

import dataclasses
import itertools
import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anew import AnewError
from anew.core import fields
from anew.core.recipe import Recipe, lineage_of, override
from anew.core.settings import read_settings
from anew.core.spec import FORMAT_1, DataSpec, ModelSpec, ObjectiveSpec, Spec, TrainingSpec

SPEC = Spec(
    ModelSpec("lenet"),
    DataSpec(fingerprint="f"),
    TrainingSpec(),
    ObjectiveSpec.of("label", smoothing=0.0),
)


def read_recipe(path, given):
    recipe, _ = read_settings(path, given)
    return recipe


def test_equal_specs_have_equal_ids_and_where_data_lies_does_not_matter():
    moved = dataclasses.replace(
        SPEC, data=DataSpec(source="parquet:/elsewhere", root="x", download=True, fingerprint="f")
    )
    assert moved.id == SPEC.id
    assert len(SPEC.id) == 16


@pytest.mark.parametrize(
    "change",
    [
        {"model": ModelSpec("mlp")},
        {"model": ModelSpec("lenet", (("a", 1),))},
        {"data": DataSpec(fingerprint="g")},
        {"data": DataSpec(fingerprint="f", seed=1)},
        {"data": DataSpec(fingerprint="f", views="flip")},
        {"training": TrainingSpec(epochs=21)},
        {"training": TrainingSpec(precision="bfloat16")},
        {"objective": ObjectiveSpec.of("label", smoothing=0.1)},
        {"objective": ObjectiveSpec("label", (("smoothing", 0.0),), shuffled=True)},
        {"training": TrainingSpec(epochs=0)},
        {"seed": 1},
        {"teachers": (SPEC,)},
        {"weights": "abc"},
    ],
)
def test_whatever_decides_the_weights_changes_the_id(change):
    assert dataclasses.replace(SPEC, **change).id != SPEC.id


def test_a_field_that_came_later_leaves_ids_that_were_given():
    # Ids that anew gave before `objective.shuffled` was there.
    student = dataclasses.replace(
        SPEC, objective=ObjectiveSpec.of("kd", temperature=4.0, alpha=0.9), teachers=(SPEC,)
    )
    assert (SPEC.id, student.id) == ("74a8edf73a5597f5", "429efec1eee61db3")
    shuffled = dataclasses.replace(
        student, objective=dataclasses.replace(student.objective, shuffled=True)
    )
    assert shuffled.id == "63e8db2e5a26ced4"
    back = Spec.from_json(json.loads(json.dumps(shuffled.to_json())), (SPEC,))
    assert back == shuffled and back.objective.shuffled


def test_a_spec_survives_json():
    student = dataclasses.replace(
        SPEC, teachers=(SPEC,), model=ModelSpec("lenet", (("dropout", 0.5),))
    )
    back = Spec.from_json(json.loads(json.dumps(student.to_json())), (SPEC,))
    assert back == student
    assert back.id == student.id


def test_a_lineage_is_a_chain_of_generations():
    recipe = Recipe(generations=3, seed=7, teacher_model=ModelSpec("mlp"), label_smoothing=0.1)
    specs = lineage_of(recipe, DataSpec(fingerprint="f"))
    assert [spec.generation for spec in specs] == [0, 1, 2, 3]
    assert specs[0].model.name == "mlp"
    assert specs[0].objective == ObjectiveSpec.of("label", smoothing=0.1)
    assert all(student.teachers == (teacher,) for teacher, student in itertools.pairwise(specs))
    assert all(spec.seed == 7 for spec in specs)
    assert specs[3].lineage == specs


def test_label_makes_no_generations():
    with pytest.raises(AnewError, match="'label' has no teacher"):
        lineage_of(Recipe(objective=ObjectiveSpec("label")), DataSpec())


def test_an_untrained_network_is_generation_0_and_teaches_nobody_in_a_lineage():
    untrained = Recipe(training=TrainingSpec(epochs=0), generations=0)
    (spec,) = lineage_of(untrained, DataSpec())
    assert spec.is_untrained and spec.origin == "untrained"
    assert Spec.from_json(json.loads(json.dumps(spec.to_json())), ()) == spec
    assert not dataclasses.replace(spec, weights="abc").is_untrained
    with pytest.raises(
        AnewError, match=r"training\.epochs must be a whole number >= 1 .* got 0; set --epochs"
    ):
        lineage_of(dataclasses.replace(untrained, generations=1), DataSpec())


def test_toml_and_flags_fill_the_same_fields(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(
        'generations = 2\nmodel = "wide_resnet-10-1"\n[training]\nepochs = 12\nmilestones = [0.5]\n'
        '[data]\nlimit = 100\n[teacher_model]\nname = "resnet18"\noptions = { dropout = 0.3 }\n'
    )
    from_toml = read_recipe(path, {})
    from_flags = read_recipe(
        None,
        {
            "generations": "2",
            "model": {"name": "wide_resnet-10-1"},
            "training": {"epochs": "12", "milestones": "0.5"},
            "data": {"limit": "100"},
            "teacher_model": {"name": "resnet18", "options": ["dropout=0.3"]},
        },
    )
    assert from_toml == from_flags
    assert read_recipe(path, {"training": {"epochs": "3"}}).training == TrainingSpec(
        epochs=3, milestones=(0.5,)
    )


def test_a_printed_recipe_can_be_read_again(tmp_path):
    recipe = Recipe(
        model=ModelSpec("wide_resnet-10-1", (("dropout", 0.3),)),
        data=DataSpec(source='folder:a "b"', limit=5),
        teacher_model=ModelSpec("mlp"),
        objective=ObjectiveSpec.of("kd", temperature=2.0),
    )
    path = tmp_path / "recipe.toml"
    path.write_text(fields.to_toml(recipe))
    assert read_recipe(path, {}) == recipe


def test_given_values_go_over_a_recipe_and_leave_the_rest():
    recipe = override(
        Recipe(training=TrainingSpec(epochs=5)), {"training": {"batch_size": 16}, "seed": 3}
    )
    assert (recipe.training.epochs, recipe.training.batch_size, recipe.seed) == (5, 16, 3)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"training": {"epochs": "ten"}},
            "training.epochs must be a whole number >= 0 .* got 'ten'; set --epochs",
        ),
        ({"training": {"epochs": -3}}, "training.epochs must be .* got -3"),
        ({"objective": {"shuffled": "perhaps"}}, "objective.shuffled must be true or false"),
        ({"training": {"epochs": 2.5}}, "training.epochs must be a whole number"),
        ({"training": {"epochs": True}}, "training.epochs must be a whole number"),
        ({"training": {"epochs": 10**12}}, "training.epochs must be"),
        ({"training": {"epoch": 3}}, "unknown key 'training.epoch' .did you mean 'epochs'"),
        ({"modle": "x"}, "unknown key 'modle' .did you mean 'model'"),
        (
            {"training": {"learning_rate": float("nan")}},
            "training.learning_rate must be a number > 0",
        ),
        ({"training": {"learning_rate": "inf"}}, "training.learning_rate must be a number > 0"),
        ({"training": {"learning_rate": 0}}, "training.learning_rate must be a number > 0"),
        ({"training": {"schedule": "cosin"}}, "must be one of .*did you mean 'cosine'"),
        ({"training": {"nesterov": "maybe"}}, "training.nesterov must be true or false"),
        ({"training": {"milestones": "0.3,x"}}, "training.milestones must be a number"),
        ({"training": {"milestones": 3}}, "training.milestones must be a number >= 0 and <= 1"),
        ({"training": {"momentum": 1.0}}, "training.momentum must be"),
        ({"training": 3}, "training must be a table, got 3"),
        ({"data": {"views": "crp"}}, "data.views must be none, or parts .*did you mean 'crop'"),
        ({"data": {"validation": 1.5}}, "data.validation must be"),
        (
            {"data": {"limit": 1}},
            "data.limit must be a whole number >= 2 .* or none, got 1; set --limit",
        ),
        ({"data": {"fingerprint": 3}}, "data.fingerprint must be a text"),
        ({"seed": -1}, "seed must be a whole number >= 0"),
        ({"model": {"name": 3}}, "model.name must be a text, got 3; set --model "),
        ({"model": {"options": ["dropout"]}}, "model.options must be written key=value"),
        ({"model": {"options": {"a": [1]}}}, "model.options.a must be"),
        ({"generations": "many"}, "generations must be a whole number"),
    ],
)
def test_wrong_values_are_refused_with_one_line(given, says):
    with pytest.raises(AnewError, match=says) as caught:
        read_recipe(None, given)
    assert "\n" not in str(caught.value)


def test_a_recipe_that_is_missing_or_not_toml(tmp_path):
    with pytest.raises(AnewError, match="cannot be read"):
        read_recipe(tmp_path / "none.toml", {})
    path = tmp_path / "bad.toml"
    path.write_text("epochs = = 3")
    with pytest.raises(AnewError, match="is not TOML"):
        read_recipe(path, {})
    path.write_text("[training]\nepochss = 3")
    with pytest.raises(
        AnewError, match=r"bad.toml: unknown key 'training.epochss' \(did you mean 'epochs'\?\)"
    ):
        read_recipe(path, {})


@given(
    st.dictionaries(
        st.text("abc", min_size=1),
        st.one_of(st.booleans(), st.integers(-9, 9), st.text("xyz")),
        max_size=4,
    )
)
def test_options_do_not_depend_on_their_order(options):
    reversed_ = dict(reversed(options.items()))
    one, other = (fields.read(ModelSpec, {"options": given}) for given in (options, reversed_))
    assert one == other


def test_every_setting_has_a_flag_of_its_own():
    flags = [option.flag for option in fields.options(Recipe)]
    assert len(flags) == len(set(flags))
    assert {"--model", "--data", "--objective", "--epochs", "--limit", "--teacher-model"} <= set(
        flags
    )


@pytest.mark.parametrize("part", ["model", "data", "training", "objective"])
def test_a_field_that_is_added_leaves_ids_unless_it_is_given(part):
    old = getattr(SPEC, part)
    later = dataclasses.make_dataclass(
        "Later",
        [("added", int, fields.option(3, "a field of a later version"))],
        bases=(type(old),),
        frozen=True,
    )
    values = {field.name: getattr(old, field.name) for field in dataclasses.fields(old)}
    assert dataclasses.replace(SPEC, **{part: later(**values)}).id == SPEC.id
    given = dataclasses.replace(SPEC, **{part: later(**values, added=4)})
    assert given.id != SPEC.id
    assert given.identity[part]["added"] == 4


def test_the_first_format_of_an_identity_is_complete():
    assert {part: set(written) for part, written in SPEC.identity.items() if part in FORMAT_1} == {
        part: set(names) for part, names in FORMAT_1.items()
    }


OBJECTIVES_OLD_JSON = {
    "name": "kd",
    "smoothing": None,
    "temperature": 4.0,
    "alpha": 0.9,
    "label_weight": None,
    "top_k": None,
}


def test_an_objectives_options_stand_beside_its_name_in_files():
    objective = ObjectiveSpec.of("kd", temperature=4.0, alpha=0.9)
    student = dataclasses.replace(SPEC, objective=objective, teachers=(SPEC,))
    assert list(student.to_json()["objective"].items()) == list(OBJECTIVES_OLD_JSON.items())
    assert fields.read(ObjectiveSpec, OBJECTIVES_OLD_JSON) == objective


@pytest.mark.parametrize(
    "given",
    [
        {"name": "kd", "temperature": 4, "alpha": 0.5},
        {"name": "kd", "temperature": "4", "options": ["alpha=0.5"]},
        {"name": "kd", "options": {"temperature": 4, "alpha": 0.5}, "smoothing": None},
    ],
)
def test_options_of_an_objective_are_the_same_however_they_are_given(given):
    written = ObjectiveSpec.of("kd", temperature=4.0, alpha=0.5)
    assert read_recipe(None, {"objective": given}).objective == written


def test_overrides_change_single_options_of_an_objective_and_of_no_model():
    recipe = Recipe(
        model=ModelSpec("mlp", (("hidden", 8), ("layers", 2))),
        objective=ObjectiveSpec.of("kd", temperature=4.0, alpha=0.5),
    )
    changed = override(
        recipe,
        {
            "objective": {"temperature": 2, "alpha": None, "top_k": 3},
            "model": {"options": {"hidden": 9}},
        },
    )
    assert changed.objective == ObjectiveSpec("kd", (("temperature", 2),), top_k=3)
    assert changed.model == ModelSpec("mlp", (("hidden", 9),))
    assert override(recipe, {"objective": "ban"}).objective == ObjectiveSpec("ban")


# TOML has no surrogates, and tomllib reads a carriage return before a newline as the newline.
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@given(source=texts, options=st.dictionaries(texts, texts, max_size=3))
def test_what_is_written_as_toml_is_read_back(source, options):
    recipe = Recipe(
        model=ModelSpec("mlp", tuple(sorted(options.items()))), data=DataSpec(source=source)
    )
    assert fields.write(recipe)["data"]["source"] == source
    back = tomllib.loads(fields.to_toml(recipe))
    assert back["data"]["source"] == source
    assert back["model"].get("options", {}) == options


def test_a_folder_with_an_emoji_survives_toml(tmp_path):
    recipe = Recipe(data=DataSpec(source="folder:/data/\N{HATCHING CHICK} pictures"))
    path = tmp_path / "recipe.toml"
    path.write_text(fields.to_toml(recipe), encoding="utf-8")
    assert read_recipe(path, {}) == recipe


def test_data_that_a_family_names_are_read_at_another_place_and_never_fetched():
    stored = dataclasses.replace(SPEC.data, source="mnist", root="there", download=True)
    assert stored.at() == dataclasses.replace(stored, download=False)
    here = stored.at("npz:x", "here")
    assert (here.source, here.root, here.download) == ("npz:x", "here", False)
