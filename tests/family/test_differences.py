"""By what networks differ, and what is said of networks that are missing from a family."""

import os
import shutil
from dataclasses import replace

import pytest

from anew import AnewError
from anew.core.errors import MissingNetworkError
from anew.core.spec import DataSpec, ModelSpec, ObjectiveSpec, Spec, TrainingSpec
from anew.evaluation import evaluate_lineage
from anew.evaluation.predictor import choose
from anew.family import Family, choose_lineage, told_apart
from anew.family.differences import beside, differences
from runs import train, weights

LABEL = ObjectiveSpec.of("label", smoothing=0.0)
BASE = Spec(ModelSpec("mlp"), DataSpec(fingerprint="f" * 16), TrainingSpec(epochs=1), LABEL)
STUDENT = replace(BASE, objective=ObjectiveSpec.of("ban"), teachers=(BASE,))


def longer(spec, epochs=2):
    return replace(spec, training=replace(spec.training, epochs=epochs))


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (BASE, []),
        (longer(BASE), ["training.epochs 1 -> 2"]),
        (replace(BASE, seed=3), ["seed 0 -> 3"]),
        (replace(BASE, model=ModelSpec("lenet")), ["model mlp -> lenet"]),
        (
            replace(BASE, model=ModelSpec("mlp", (("width", 8),))),
            ["model.options none -> width=8"],
        ),
        (replace(BASE, data=DataSpec(fingerprint="e" * 16)), ["other data"]),
        (replace(BASE, data=replace(BASE.data, limit=20)), ["data.limit none -> 20"]),
        (
            replace(BASE, training=replace(BASE.training, milestones=(0.5,), learning_rate=0.05)),
            ["training.learning_rate 0.1 -> 0.05", "training.milestones 0.3,0.6,0.8 -> 0.5"],
        ),
    ],
)
def test_settings_that_differ_are_named(now, said):
    assert sorted(differences(BASE, now)) == said


def test_settings_of_teachers_are_named_where_their_own_are_the_same():
    other = replace(STUDENT, teachers=(longer(BASE),))
    assert differences(STUDENT, other) == ["its teacher's training.epochs 1 -> 2"]
    grand = replace(STUDENT, teachers=(STUDENT,))
    assert differences(grand, replace(STUDENT, teachers=(other,))) == [
        "its teacher's training.epochs 1 -> 2"
    ]
    two = replace(STUDENT, teachers=(BASE, longer(BASE)))
    assert differences(STUDENT, two) == ["1 -> 2 teachers"]
    assert told_apart([STUDENT, other]) == ["ban, teacher's epochs 1", "ban, teacher's epochs 2"]


def test_networks_are_told_apart_by_what_not_all_share():
    assert told_apart([STUDENT]) == ["ban"]
    assert told_apart([STUDENT, longer(STUDENT)]) == ["ban, epochs 1", "ban, epochs 2"]
    kd = replace(STUDENT, objective=ObjectiveSpec.of("kd", temperature=4.0))
    assert told_apart([STUDENT, kd]) == ["ban", "kd"]
    hot = replace(STUDENT, objective=ObjectiveSpec.of("kd", temperature=9.0))
    assert told_apart([STUDENT, kd, hot]) == ["ban", "kd, temperature 4", "kd, temperature 9"]


def begin(family, *specs):
    for spec in specs:
        family.begin(spec)


def test_a_network_beside_others_is_said(tmp_path):
    family = Family.create(tmp_path / "family")
    assert beside(family, [BASE, STUDENT]) == ""
    begin(family, BASE, STUDENT)
    # The same again, or one generation more, is no other network.
    assert beside(family, [BASE, STUDENT]) == ""
    assert beside(family, [BASE, STUDENT, replace(STUDENT, teachers=(STUDENT,))]) == ""

    line = beside(family, [longer(BASE)])
    assert f"generation 0 differs from network {BASE.id}" in line
    assert "(training.epochs 1 -> 2): it is trained from the start" in line
    # A student of the others is not finished either.
    assert "stay unfinished until their own settings are given again" in line
    assert BASE.id in line and STUDENT.id in line and "\n" not in line

    # The nearest of several is named.
    begin(family, replace(longer(BASE), seed=1))
    assert "(training.epochs 2 -> 5)" in beside(family, [replace(longer(BASE, 5), seed=1)])


def test_a_damaged_network_beside_others_hinders_no_training(tmp_path):
    family = Family.create(tmp_path / "family")
    begin(family, BASE)
    family.folder(BASE.id).spec_file.write_text("{")
    assert beside(family, [longer(BASE)]) == ""


# Networks that are missing


@pytest.fixture(scope="module")
def whole(arrays, tmp_path_factory):
    return train(arrays, tmp_path_factory.mktemp("missing") / "family")


@pytest.fixture(params=[0, 1], ids=["the first", "one between"])
def lacking(whole, tmp_path, request):
    """The family without one of its generations 0, 1, 2, that generation, and all its specs."""
    copied = Family.open(shutil.copytree(whole.family.path, tmp_path / "family"))
    shutil.rmtree(copied.folder(whole.lineage[request.param].id).path)
    return copied, request.param, whole.lineage


def test_a_missing_network_is_named_and_the_others_are_scored(lacking, whole):
    family, gone, lineage = lacking
    (line,) = family.missing()
    assert lineage[gone].id in line and lineage[gone + 1].id in line
    assert "the command that trained it trains it again, with the same bits" in line
    assert family.verify() == (2, [line])

    chains = {chain[-1].id: chain for chain in family.lineages(gaps=True)}
    chain = chains[lineage[-1].id]
    assert [spec.is_missing for spec in chain] == [True, *[False] * (2 - gone)]
    assert [spec.generation for spec in chain] == list(range(gone, 3))
    before = {row.name: row.scores for row in whole.scores}
    rows = evaluate_lineage(family, chain)
    assert rows and all(row.scores == before[row.name] for row in rows)
    assert rows[0].name == f"generation {gone + 1}"


def test_what_needs_a_missing_network_says_so(lacking):
    family, gone, lineage = lacking
    with pytest.raises(MissingNetworkError, match=lineage[gone].id):
        family.spec(lineage[-1].id)
    with pytest.raises(MissingNetworkError, match=lineage[gone].id):
        choose(family, lineage[-1].id, "all").networks()
    (last,) = choose(family, lineage[-1].id, "last").networks()
    assert last.signature.classes
    if gone == 0:
        with pytest.raises(MissingNetworkError, match="with the same bits"):
            choose_lineage(family)
        with pytest.raises(MissingNetworkError, match="with the same bits"):
            choose_lineage(family, several="longest")
    else:
        # Generation 0 alone is a whole lineage.
        assert choose_lineage(family) == lineage[:1]


def test_the_same_command_trains_a_missing_network_again(lacking, whole, arrays):
    family, _, _ = lacking
    train(arrays, family.path)
    assert weights(family.path) == weights(whole.family.path)
    assert family.missing() == [] and family.verify() == (3, [])


def test_commands_say_what_is_missing(lacking, command):
    family, gone, lineage = lacking
    for words in (["show"], ["evaluate"], ["evaluate", "--json"]):
        done = command(words[0], str(family.path), *words[1:], check=0)
        assert lineage[gone].id in done.err and lineage[-1].id in done.out
    assert f"{lineage[gone].id}  is missing" in command("show", str(family.path), check=0).out
    assert lineage[gone].id in command("verify", str(family.path), check=2).err


def test_of_several_longest_lineages_the_one_that_was_finished_last_is_shown(whole, tmp_path):
    family = Family.open(shutil.copytree(whole.family.path, tmp_path / "family"))
    first = family.folder(whole.lineage[0].id)
    others = [spec for spec in whole.lineage[1:] if family.folder(spec.id).is_done]
    assert choose_lineage(family, several="longest") == tuple(whole.lineage)
    for spec in others:
        shutil.rmtree(family.folder(spec.id).path)
    os.utime(first.done_file, (1, 1))
    assert choose_lineage(family, several="longest") == tuple(whole.lineage[:1])
    with pytest.raises(AnewError, match="no network"):
        choose_lineage(family, "zzz")
