"""Several teachers of one student: who they are, what they say, and its place in a family."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

import anew
from anew import AnewError, evaluation, objectives
from anew.core.errors import AnewError as Refused
from anew.core.recipe import Recipe, lineage_of
from anew.core.spec import DataSpec, ObjectiveSpec
from anew.data.batches import Batches
from anew.evaluation import insight
from anew.family import Family, choose_lineage, replicas
from anew.models import network, saving
from anew.teachers import teacher_parts

RECIPE = {
    "training": {"epochs": 2, "batch_size": 16, "learning_rate": 0.1},
    "model": {"options": {"width": 16}},
}


def train(arrays, out, **given):
    settings = {
        "generations": 1,
        "recipe": RECIPE,
        "progress": False,
        "threads": 1,
        "device": "cpu",
        "force": True,
        **given,
    }
    return anew.train("small_cnn", arrays, out=out, **settings)


@pytest.fixture(scope="module")
def chain(arrays, tmp_path_factory):
    """A family of generations 0, 1 and 2."""
    return train(arrays, tmp_path_factory.mktemp("several") / "chain", generations=2)


@pytest.fixture(scope="module")
def of_ensemble(chain, arrays, tmp_path_factory):
    """The student of the ensemble of all three, in the same family."""
    out = shutil.copytree(chain.family.path, tmp_path_factory.mktemp("several") / "same")
    return train(arrays, out, teacher=f"{out}:all", epochs=3)


def probabilities(logits):
    z = np.asarray(logits, np.float64)
    exponents = np.exp(z - z.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def taught(result, spec):
    """What a student's teachers say together of the validation examples, as it is taught."""
    networks = [
        network.place(
            saving.load(result.family.folder(one.id).weights), torch.device("cpu"), "channels_last"
        )
        for one in spec.teachers
    ]
    batches = Batches(result.data, spec.training.batch_size, torch.device("cpu"))
    teacher = teacher_parts(networks, spec, batches).teacher()
    return probabilities(teacher.ask(result.data.validation.show(slice(None))))


def stored(result, specs):
    return [
        probabilities(evaluation.read_outputs(result.family.folder(spec.id), "validation")[0])
        for spec in specs
    ]


# What they say


@pytest.mark.parametrize("weights", [(), (0.5, 0.125, 0.375)])
def test_their_answer_is_the_mean_of_their_probabilities(weights):
    logits = np.random.default_rng(0).normal(0, 5, (3, 40, 7))
    mean = objectives.mean_of_teachers(torch.from_numpy(logits), weights)
    shares = np.array(weights or [1 / 3] * 3)
    expected = (shares[:, None, None] * probabilities(logits)).sum(0)
    assert np.allclose(mean.exp().numpy(), expected, rtol=0, atol=1e-14)


def test_the_targets_of_an_ensembles_student_are_the_mean_of_the_stored_outputs(of_ensemble):
    student = of_ensemble.lineage[-1]
    assert student.teachers == of_ensemble.lineage[:-1]
    expected = np.mean(stored(of_ensemble, student.teachers), axis=0)
    # A target is a float16 row: off by less than 0.0005.
    assert np.abs(taught(of_ensemble, student) - expected).max() < 5e-4


def test_weights_are_the_teachers_shares(chain, arrays, tmp_path):
    given = {"teacher": f"{chain.family.path}:all", "ask": "table"}
    result = train(arrays, tmp_path / "f", teacher_weights=[2, 1, 1], **given)
    student = result.lineage[-1]
    assert student.teacher_weights == (0.5, 0.25, 0.25)
    expected = np.tensordot([0.5, 0.25, 0.25], stored(result, student.teachers), 1)
    assert np.abs(taught(result, student) - expected).max() < 5e-4
    assert result.family.spec(student.id) == student
    # Neither the network nor the table is that of equal shares.
    equal = train(arrays, tmp_path / "f", teacher_weights=[3, 3, 3], **given)
    assert equal.lineage[-1].teacher_weights == () and equal.lineage[-1].id != student.id
    assert len(list(result.family.stores.glob("*/*/header.json"))) == 2


# Its place in a family


def test_an_ensembles_student_is_one_generation_after_its_last_teacher(of_ensemble):
    assert [spec.generation for spec in of_ensemble.lineage] == [0, 1, 2, 3]
    assert of_ensemble.lineage[-1].origin == "ban of 3 teachers"
    names = [row.name for row in of_ensemble.scores]
    assert names[:5] == [*(f"generation {number}" for number in range(4)), "ensemble 0-1"]


def test_the_same_command_finds_it_and_another_seed_has_the_same_teachers(
    of_ensemble, arrays, tmp_path
):
    out = shutil.copytree(of_ensemble.family.path, tmp_path / "f")
    again = train(arrays, out, teacher=f"{out}:all", epochs=3)
    assert again.lineage == of_ensemble.lineage
    other = train(arrays, out, teacher=out, epochs=3, seed=1)
    assert other.lineage[-1].teachers == of_ensemble.lineage[-1].teachers
    assert len(list(other.family.folders())) == 5


def test_a_family_with_one_is_looked_at_as_any_other(of_ensemble, command):
    family = of_ensemble.family
    lineage = choose_lineage(family)
    assert [spec.id for spec in lineage] == [spec.id for spec in of_ensemble.lineage]
    found = insight.collect(family, lineage)
    assert found.lineage[-1].teachers == tuple(spec.id for spec in lineage[:-1])
    shown = command("show", family.path, check=0).out
    assert "generation 3 (ban of 3 teachers)" in re.sub(r"\s+", " ", shown)
    (entry,) = json.loads(command("evaluate", family.path, "--json", check=0).out)
    assert entry["lineage"] == [spec.id for spec in lineage]
    page = of_ensemble.report(family.path / "page.html").read_text()
    assert "ban of 3 teachers" in page


def test_networks_of_two_families_teach_together(chain, arrays, tmp_path):
    other = train(arrays, tmp_path / "other", generations=0, seed=7)
    teacher = [f"{chain.family.path}:0-1", other.family.folder(other.lineage[0].id).weights]
    result = train(arrays, tmp_path / "f", teacher=teacher)
    student = result.lineage[-1]
    assert [one.generation for one in student.teachers] == [0, 1, 0]
    assert [spec.generation for spec in result.lineage] == [0, 1, 2]
    assert result.scores[-1].name == "generation 0 beside, seed 0"
    assert result.scores[-1].ids == (student.teachers[-1].id,)
    assert (
        np.abs(taught(result, student) - np.mean(stored(result, student.teachers), 0)).max() < 5e-4
    )
    # The family stands on its own.
    moved = Family(shutil.move(result.family.path, tmp_path / "moved"))
    assert moved.verify() == (4, [])
    assert moved.spec(student.id) == student


# Taught by several generations


def recipe(**changes):
    return Recipe(objective=ObjectiveSpec("ban"), **changes)


def numbers(lineage):
    return [[teacher.generation for teacher in spec.teachers] for spec in lineage]


@pytest.mark.parametrize(
    ("taught_by", "teachers"),
    [
        ("last", [[], [0], [1], [2]]),
        ("last-1", [[], [0], [1], [2]]),
        ("last-2", [[], [0], [0, 1], [1, 2]]),
        ("last-9", [[], [0], [0, 1], [0, 1, 2]]),
        ("all", [[], [0], [0, 1], [0, 1, 2]]),
    ],
)
def test_students_are_taught_by_the_generations_that_are_asked_for(taught_by, teachers):
    lineage = lineage_of(recipe(taught_by=taught_by), DataSpec(fingerprint="f"))
    assert numbers(lineage) == teachers
    assert [spec.generation for spec in lineage] == [0, 1, 2, 3]


def test_who_teaches_alone_is_no_part_of_an_id():
    before, after = (
        lineage_of(recipe(taught_by=taught_by), DataSpec(fingerprint="f"))[-1]
        for taught_by in ("last", "last-1")
    )
    assert before.id == after.id and "teacher_weights" not in before.identity


def test_a_long_line_of_many_teachers_is_read_and_compared_at_once(tmp_path):
    specs = lineage_of(recipe(generations=40, taught_by="all"), DataSpec(fingerprint="f"))
    family = Family.create(tmp_path / "f")
    for spec in specs:
        family.begin(spec).finish({})
    again = Family.open(tmp_path / "f").lineage_to(specs[-1].id)
    assert again == specs
    assert replicas(family, again) == [again]


def test_a_lineage_that_many_teach_trains(arrays, tmp_path):
    result = train(arrays, tmp_path / "f", generations=2, taught_by="all", siblings=["cwtm"])
    assert numbers(result.lineage) == [[], [0], [0, 1]]
    # Its last network is one of its generations, and no student of its ensemble.
    more = train(arrays, tmp_path / "f", generations=3, taught_by="all")
    assert more.lineage[:3] == result.lineage
    assert len(list(more.family.folders())) == 3 + 2 + 1


# Names


@pytest.mark.parametrize(
    ("what", "generations"),
    [("all", [0, 1, 2]), ("last", [2]), ("last-2", [1, 2]), ("0-1", [0, 1]), ("0,2", [0, 2])],
)
def test_generations_of_a_family_are_named_as_in_predict(
    chain, arrays, tmp_path, what, generations
):
    heard = []

    class Heard(anew.Callback):
        def log(self, text):
            heard.append(text)

    place = f"{chain.family.path}:{what}"
    result = train(arrays, tmp_path / "f", teacher=place, epochs=1, progress=Heard())
    assert [one.generation for one in result.lineage[-1].teachers] == generations
    (said,) = [text for text in heard if text.startswith(f"teacher {place}")]
    assert all(f"{number} ({chain.lineage[number].id})" in said for number in generations)


def test_of_several_lineages_one_is_named_by_its_end(chain, arrays, tmp_path):
    out = shutil.copytree(chain.family.path, tmp_path / "f")
    other = train(arrays, out, generations=2, seed=3).lineage
    with pytest.raises(AnewError, match="holds 2 lineages; name one by the id at its end"):
        train(arrays, out, teacher=out)
    result = train(arrays, out, teacher=f"{out}:{other[-1].id[:8]}:0-1", epochs=1)
    assert result.lineage[-1].teachers == other[:2]
    # What all lineages share need not be told apart.
    shared = train(arrays, tmp_path / "g", generations=1).family.path
    train(arrays, shared, generations=1, objective="cwtm")
    assert train(arrays, shared, teacher=f"{shared}:0-0", epochs=1).lineage[0].generation == 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"teacher": ["C:all", "C:last"]}, "is given twice .also by .*chain:all"),
        ({"teacher": "C:0-7"}, "generations must be last, all, one of 0 to 2.*set --teacher"),
        ({"teacher": "C:last-4"}, "got 'last-4'; set --teacher"),
        ({"teacher": "C:zz:all"}, "no network with an id that starts with 'zz'"),
        ({"teacher": "nowhere:all"}, "is no file and no network of a family"),
        ({"teacher": "C,C"}, "for several, repeat --teacher"),
        ({"teacher": []}, None),
        (
            {"teacher": "C", "teacher_weights": [1, 2]},
            "2 weights for 3 networks that teach together",
        ),
        ({"teacher": "C", "teacher_weights": [1, 2, 0]}, "teacher_weights must be .*> 0"),
        ({"teacher_weights": [1, 2]}, "set --teacher"),
        (
            {"teacher": "C", "teacher_weights": [1, 2, 3], "taught_by": "all", "generations": 2},
            "students teach with them",
        ),
        ({"taught_by": "first"}, "taught_by must be last, all, or last-K.*got 'first'"),
        ({"taught_by": "last-0"}, "got 'last-0'"),
    ],
)
def test_what_names_no_teachers_is_refused_before_anything_is_written(
    chain, arrays, tmp_path, given, says
):
    given = json.loads(
        json.dumps(given)
        .replace('"C', f'"{chain.family.path}')
        .replace(",C", f",{chain.family.path}")
    )
    if says is None:
        assert len(train(arrays, tmp_path / "f", **given).lineage) == 2
        return
    with pytest.raises(Refused, match=says):
        train(arrays, tmp_path / "f", **given)
    assert not (tmp_path / "f").exists()


def test_an_objective_of_features_is_refused_several_teachers(chain, arrays, tmp_path, monkeypatch):
    ban = objectives.OBJECTIVES["ban"]
    hint = type(ban)(
        "hint",
        "compares",
        ban.terms,
        needs=frozenset({"teacher", "features"}),
        features=lambda model: ["fc"],
    )
    monkeypatch.setitem(objectives.OBJECTIVES, "hint", hint)
    with pytest.raises(
        AnewError, match="compares features with a single teacher's, got 3 teachers"
    ):
        train(arrays, tmp_path / "f", teacher=chain.family.path, objective="hint")
    assert not (tmp_path / "f").exists()
