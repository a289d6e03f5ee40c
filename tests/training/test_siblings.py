"""Siblings: each has the bits that it has alone, one's failure is its own, and a killed group goes
on together.
"""

import pytest

from anew import AnewError, objectives
from anew.family import Family
from anew.objectives import Objective, Terms
from conftest import quick
from runs import RECIPE, kill_at_random, metrics, train, weights

AUGMENTED = {**RECIPE, "data": {"views": "crop+flip", "padding": 2}}
AUGMENTED["model"] = {"options": {"width": 16, "dropout": 0.1}}
OBJECTIVES = ("ban+l", "cwtm", "dkpp")


@pytest.fixture(scope="module")
def together(arrays, tmp_path_factory):
    out = tmp_path_factory.mktemp("siblings") / "f"
    return train(
        arrays, out, recipe=AUGMENTED, generations=1, siblings=OBJECTIVES, sibling_seeds=[1]
    )


def test_a_group_is_every_objective_with_every_seed(together):
    specs = [together.family.spec(folder.id) for folder in together.family.folders()]
    first = {(spec.objective.name, spec.seed) for spec in specs if spec.generation == 0}
    assert first == {("label", 0), ("label", 1)}
    students = {(spec.objective.name, spec.seed) for spec in specs if spec.generation == 1}
    assert students == {(name, seed) for name in ("ban", *OBJECTIVES) for seed in (0, 1)}
    assert all(spec.teachers == (together.lineage[0],) for spec in specs if spec.generation == 1)
    assert [row.name for row in together.scores][:2] == ["generation 0", "generation 1"]
    assert len(together.scores) == 3 + 1 + 7


@pytest.mark.parametrize(
    ("objective", "seed"), [("ban", 0), ("ban+l", 0), ("cwtm", 0), ("dkpp", 0), ("dkpp", 1)]
)
def test_a_sibling_has_the_bits_that_it_has_alone(together, arrays, tmp_path, objective, seed):
    # The lineage's own teacher is that of seed 0: it is given, so that only the student has the
    # other seed.
    teacher = f"{together.family.path}:{together.lineage[0].id}"
    alone = train(
        arrays,
        tmp_path / "f",
        recipe=AUGMENTED,
        generations=1,
        objective=objective,
        seed=seed,
        teacher=teacher,
    )
    mine, theirs = weights(alone.family.path), weights(together.family.path)
    assert mine.items() <= theirs.items()
    ours, others = metrics(alone.family.path), metrics(together.family.path)
    assert all(others[name] == rows for name, rows in ours.items())


def test_siblings_that_are_there_are_not_trained_again(together, arrays, tmp_path):
    out = tmp_path / "f"
    train(arrays, out, recipe=AUGMENTED, generations=1, objective="dkpp")
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("weights.safetensors")}
    train(arrays, out, recipe=AUGMENTED, generations=1, siblings=OBJECTIVES, sibling_seeds=[1])
    assert weights(out) == weights(together.family.path)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


@pytest.fixture
def bursting(monkeypatch):
    """An objective of one's own whose first step makes weights that are not finite."""

    def terms(context):
        return Terms(teacher=1e38 * objectives.ban(context.logits, context.teacher))

    monkeypatch.setitem(objectives.OBJECTIVES, "bursting", Objective("bursting", "fails", terms))


def test_a_siblings_failure_is_its_own(together, arrays, tmp_path, bursting):
    siblings = ["cwtm", "bursting", "dkpp"]
    result = train(arrays, tmp_path / "f", recipe=AUGMENTED, generations=2, siblings=siblings)
    assert [spec.generation for spec in result.lineage] == [0, 1, 2]
    assert len(result.failures) == 2
    for generation, failure in enumerate(result.failures, start=1):
        assert f"(generation {generation}, bursting)" in str(
            failure
        ) and "lower --learning-rate" in str(failure)
    specs = {folder: result.family.spec(folder.id) for folder in result.family.folders()}
    assert {spec.objective.name for folder, spec in specs.items() if not folder.is_done} == {
        "bursting"
    }
    # Who was trained beside it has the bits that it has elsewhere.
    shared = weights(tmp_path / "f").items() & weights(together.family.path).items()
    assert len(shared) == 4


def test_a_lineage_whose_own_network_fails_ends_when_its_siblings_are_done(
    arrays, tmp_path, bursting
):
    with pytest.raises(AnewError, match=r"\(generation 1, bursting\)"):
        train(
            arrays,
            tmp_path / "f",
            recipe=AUGMENTED,
            generations=2,
            objective="bursting",
            siblings=["ban"],
        )
    done = [folder for folder in Family.open(tmp_path / "f").folders() if folder.is_done]
    assert len(done) == 2


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_group_goes_on_to_the_same_bits(together, npz, tmp_path, seed):
    options = [
        *quick(generations=1),
        "--model.options",
        "dropout=0.1",
        "--views",
        "crop+flip",
        "--data.padding",
        "2",
        "--siblings",
        ",".join(OBJECTIVES),
        "--sibling-seeds",
        "1",
    ]
    out = tmp_path / "f"
    kill_at_random(out, npz, 3, seed, options)
    assert weights(out) == weights(together.family.path)
    assert metrics(out) == metrics(together.family.path)
    assert Family.open(out).verify() == (10, [])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"siblings": ["cwtn"]}, "objective 'cwtn' is not known .did you mean 'cwtm'"),
        ({"siblings": ["label"]}, "objective 'label' has no teacher"),
        ({"siblings": ["ban"]}, "objective 'ban' with seed 0 is given twice"),
        ({"sibling_seeds": [3, 3]}, "with seed 3 is given twice"),
        ({"sibling_seeds": [-1]}, "sibling_seeds must be"),
    ],
)
def test_siblings_that_make_no_sense_are_refused(arrays, tmp_path, given, says):
    with pytest.raises(AnewError, match=says):
        train(arrays, tmp_path / "f", generations=1, **given)
    assert not (tmp_path / "f").exists()
