"""Controls: a teacher whose answers are exchanged within its classes, and one that was never
trained.
"""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anew import AnewError, studies
from anew import data as data_sources
from anew.core import files, randomness
from anew.core.callbacks import Callback
from anew.core.distributed import World
from anew.core.execution import Execution
from anew.core.spec import DataSpec, ModelSpec, ObjectiveSpec, Spec, TrainingSpec
from anew.data import Batches
from anew.family import Family
from anew.models import network
from anew.studies import Column, Study
from anew.teachers import Encoding, LiveTeacher, Teacher
from anew.teachers.shuffled import partners_within
from runs import RECIPE, interrupted_often, train, weights

CPU = Execution("cpu", 1)
SHUFFLED = {**RECIPE, "data": {"views": "crop+flip", "padding": 1}, "objective": {"shuffled": True}}


@given(
    groups=st.lists(st.integers(0, 4), min_size=1, max_size=40), stream=st.integers(0, 2**64 - 1)
)
def test_partners_are_a_permutation_that_keeps_the_groups_in_one_cycle_each(groups, stream):
    partners = partners_within(torch.tensor(groups), stream)
    assert sorted(partners.tolist()) == list(range(len(groups)))
    assert [groups[partner] for partner in partners] == groups
    for start, group in enumerate(groups):
        cycle, at = {start}, int(partners[start])
        while at not in cycle:
            cycle.add(at)
            at = int(partners[at])
        assert at == start and len(cycle) == groups.count(group)
    assert torch.equal(partners_within(torch.tensor(groups), stream), partners)


def test_every_order_of_a_group_is_as_likely_as_any_other():
    drawn = torch.stack(
        [partners_within(torch.tensor([0, 1, 0, 0, 1, 0]), stream) for stream in range(3000)]
    )
    orders, counts = drawn.unique(dim=0, return_counts=True)
    # Four in a cycle have 3! orders; the two others have each other.
    assert len(orders) == 6 and (drawn[:, 1] == 4).all()
    assert ((counts - 500).abs() < 5 * (500 * 5 / 6) ** 0.5).all()


@pytest.fixture(scope="module")
def batches(arrays):
    spec = DataSpec(source="arrays", views="crop+flip", padding=1)
    return Batches(
        data_sources.prepare(data_sources.from_arrays(arrays), spec), 16, torch.device("cpu")
    )


@pytest.fixture
def networks(batches, arrays):
    data = data_sources.prepare(data_sources.from_arrays(arrays), DataSpec(source="arrays"))
    spec = Spec(ModelSpec("mlp"), data.spec, TrainingSpec(), ObjectiveSpec("label"), seed=3)
    return [network.build(spec, data.signature)]


def teacher(networks, world=None):
    return Teacher(LiveTeacher(networks, "float32", False), Encoding(3), 16, world=world)


def test_an_example_gets_the_same_view_of_its_partner(batches, networks):
    plain, shuffled = teacher(networks), teacher(networks)
    shuffled.shuffle(batches)
    with torch.inference_mode():
        predicted = networks[0](batches.examples.show(slice(None))).argmax(-1)
    partners = partners_within(predicted, randomness.key(batches.seed, "shuffled teacher"))
    assert len(predicted.unique()) > 1
    taught = zip(shuffled.teach(batches.epoch(2)), plain.teach(batches.epoch(2)), strict=True)
    for (batch, outputs), (same, own) in taught:
        # What the student sees is its own example, not the partner.
        assert torch.equal(batch.inputs, same.inputs) and torch.equal(batch.labels, same.labels)
        shown = batches.examples.show(partners[batch.indices], batch.views)
        assert torch.equal(outputs.logits, plain.ask(shown))
        assert not torch.equal(outputs.logits, own.logits)
        assert torch.equal(outputs.logits, shuffled.ask_about(batch).logits)


def test_processes_ask_for_their_shares_and_know_the_same_partners(batches, networks, monkeypatch):
    alone = teacher(networks)
    alone.shuffle(batches)
    shares = []
    monkeypatch.setattr(World, "sum", lambda world, values: shares.append(values) or values)
    parts = [teacher(networks, World(rank, 2)) for rank in (0, 1)]
    for part in parts:
        part.shuffle(batches)
    with torch.inference_mode():
        predicted = networks[0](batches.examples.show(slice(None))).argmax(-1)
    assert torch.equal(sum(shares), predicted)
    assert sum(part.asked for part in parts) == alone.asked == len(predicted)


@pytest.fixture(scope="module")
def shuffled(arrays, tmp_path_factory):
    place = tmp_path_factory.mktemp("shuffled") / "f"
    return train(arrays, place, recipe=SHUFFLED, generations=1, siblings=["dkpp"], ask="live")


def test_students_of_a_shuffled_teacher_are_others_and_learn_its_classes(
    shuffled, arrays, tmp_path
):
    specs = [shuffled.family.spec(folder.id) for folder in shuffled.family.folders()]
    assert sorted(spec.origin for spec in specs) == [
        "ban, shuffled teacher",
        "dkpp, shuffled teacher",
        "label",
    ]
    assert all(row.scores.error < 40 for row in shuffled.scores)
    plain = train(arrays, tmp_path / "f", recipe={**SHUFFLED, "objective": {}}, generations=1)
    assert plain.lineage[0] == shuffled.lineage[0] and plain.lineage[1].id != shuffled.lineage[1].id
    ours, theirs = weights(shuffled.family.path), weights(plain.family.path)
    assert len(ours.items() & theirs.items()) == 1 and not set(ours.values()) >= set(
        theirs.values()
    )


def test_by_table_and_stopped_again_and_again_the_bits_are_those_of_asking_live(
    shuffled, arrays, tmp_path
):
    given = {"recipe": SHUFFLED, "generations": 1, "siblings": ["dkpp"], "ask": "table"}
    out = interrupted_often(arrays, tmp_path / "f", **given)
    assert weights(out) == weights(shuffled.family.path)
    # The table holds what the teacher says of (example, view): an ordinary student goes on with it.
    before = list(out.glob("teachers/*/*"))
    train(arrays, out, **{**given, "recipe": {**SHUFFLED, "objective": {}}})
    assert len(before) == 1 and list(out.glob("teachers/*/*")) == before
    assert Family.open(out).verify() == (5, [])


UNTRAINED = Study(
    name="untrained",
    title="A student of nothing",
    rows={"small": ModelSpec("small_cnn", (("width", 8),))},
    columns={
        "Teacher": Column(),
        "nothing": Column(seed=500, epochs=0),
        "student": Column("nothing", ObjectiveSpec("ban")),
        "shuffled": Column("Teacher", ObjectiveSpec("ban", shuffled=True)),
        "smoothed": Column("Teacher", ObjectiveSpec("teacher-smoothing")),
    },
    training=TrainingSpec(epochs=4, batch_size=16),
    seeds=(0,),
)


class Notices(Callback):
    def __init__(self):
        self.said = []

    def log(self, text):
        self.said.append(text)


def test_an_untrained_network_keeps_its_first_weights_and_its_student_trains(npz, tmp_path):
    study = dataclasses.replace(UNTRAINED, data=DataSpec(source=f"npz:{npz}"))
    notices = Notices()
    assert studies.run(study, tmp_path / "f", CPU, notices) == {}
    family, data = Family.open(tmp_path / "f"), studies.StudyData(study)
    nothing, student = (study.spec("small", name, 0, data(0)) for name in ("nothing", "student"))
    tensors, _ = files.read_tensors(family.folder(nothing.id).weights)
    first = network.build(nothing, data.of(nothing).signature).model.state_dict()
    assert all(torch.equal(tensors[name], value) for name, value in first.items())
    assert family.folder(nothing.id).read_metrics() == []
    assert len(family.folder(student.id).read_metrics()) == 4
    record = family.folder(student.id).done["checks"]
    assert record["teacher_accuracy"] <= record["chance_limit"] and not record["forced"]
    assert sum("untrained (0 epochs)" in line for line in notices.said) == 1
    # It learns what its teacher says: nothing. What learns of labels beside it does.
    results = studies.collect(study, family, data)
    assert (
        results.cell("small", "student").errors[0]
        > 40
        > results.cell("small", "smoothed").errors[0]
    )
    assert family.verify() == (5, [])


def test_a_trained_teacher_at_chance_stops_its_students_all_the_same(npz, tmp_path):
    # A step of a rate that moves nothing: as ignorant as an untrained network, but not by design.
    training = TrainingSpec(epochs=1, batch_size=16, learning_rate=1e-9, weight_decay=0.0)
    study = dataclasses.replace(UNTRAINED, data=DataSpec(source=f"npz:{npz}"), training=training)
    failed = studies.run(study, tmp_path / "f", CPU, Callback())
    data = studies.StudyData(study)
    stopped = {study.spec("small", name, 0, data(0)).id for name in ("shuffled", "smoothed")}
    assert failed.keys() == stopped
    assert all("it has nothing to teach" in why for why in failed.values())


def test_controls_that_make_no_sense_are_refused():
    student = Column("Teacher", ObjectiveSpec("ban"), epochs=0)
    with pytest.raises(AnewError, match="column 'student': has a teacher and 0 epochs"):
        dataclasses.replace(UNTRAINED, columns={"Teacher": Column(), "student": student})
    with pytest.raises(
        AnewError, match=r"training\.epochs must be a whole number >= 1, got 0; set --epochs"
    ):
        dataclasses.replace(UNTRAINED, training=TrainingSpec(epochs=0))
