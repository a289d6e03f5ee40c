"""`anew bench`: what it measures is consistent, what it concludes follows, and nothing is left
behind.
"""

import json

import pytest

from anew import AnewError, data
from anew.core.execution import Execution
from anew.core.recipe import Recipe
from anew.core.spec import DataSpec, ModelSpec, ObjectiveSpec, TrainingSpec
from anew.data import prepare
from anew.training import costs

RECIPE = Recipe(
    model=ModelSpec("mlp", (("hidden", 16),)),
    data=DataSpec(views="crop+flip", padding=1),
    training=TrainingSpec(epochs=40, batch_size=16),
    siblings=("cwtm",),
)


@pytest.fixture
def small(arrays):
    return prepare(data.from_arrays(arrays), RECIPE.data)


def test_every_way_is_measured_and_the_conclusions_are_its_arithmetic(small):
    found = costs.measure(RECIPE, small, Execution("cpu", 1), rounds=3, steps=4)
    names = [cost.name for cost in found.costs]
    assert names == [
        "a label-only network",
        "a student, live teacher",
        "a student, filling the cache",
        "a student, reading the cache",
        "each of 2 siblings, live",
    ]
    assert found.costs[0].ratio == found.costs[0].least == found.costs[0].most == 1
    assert all(cost.rate > 0 and cost.least <= cost.ratio <= cost.most for cost in found.costs)
    assert "40 epochs" in found.conclusions[0] and found.conclusions[1].startswith(
        "fastest here: --ask "
    )
    # 18 views and 40 epochs: 18 (1 - (17/18)^40) = 16.2 are met.
    assert "16.2 forward passes per example instead of" in found.conclusions[2]


def test_without_room_for_a_table_none_is_measured(small):
    found = costs.measure(RECIPE, small, Execution("cpu", 1, disk_budget=0), rounds=1, steps=1)
    assert not any("cache" in cost.name for cost in found.costs)
    assert found.conclusions[1].endswith("live")


def test_the_command_prints_a_table_or_json_and_keeps_nothing(command, npz, tmp_path):
    options = ["--data", f"npz:{npz}", "--model", "mlp", "--rounds", 1, "--steps", 2]
    before = sorted(tmp_path.iterdir())
    assert "a student, reading the cache" in command("bench", *options, check=0).out
    printed = json.loads(command("bench", *options, "--json", check=0).out)
    assert len(printed["costs"]) == 4 and printed["setting"].startswith("npz:")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"rounds": 0}, "rounds must be a whole number >= 1"),
        ({"steps": -3}, "steps must be a whole number >= 1"),
        ({"recipe": Recipe(objective=ObjectiveSpec("label"))}, "'label' has no teacher"),
        ({"recipe": Recipe(model=ModelSpec("modle"))}, "model 'modle' is not known"),
    ],
)
def test_what_makes_no_sense_is_refused(small, given, says):
    with pytest.raises(AnewError, match=says):
        costs.measure(
            **{"recipe": RECIPE, "data": small, "execution": Execution("cpu", 1), **given}
        )
