"""Trainings whose views cannot be counted: the same bits live, by a table and after stops, and
later students served.
"""

import numpy as np
import pytest
import torch

from anew import AnewError
from anew.core.callbacks import Callback
from anew.core.spec import DataSpec
from anew.data import Batches, from_arrays, prepare
from anew.family import Family
from anew.training import checks
from runs import RECIPE, interrupted_often, train, weights

VIEWS = ["resized-crop+flip", "flip+mixup", "mixup+cutmix"]


class Watcher(Callback):
    """Keeps what was said."""

    def __init__(self):
        self.said = []

    def log(self, text):
        self.said.append(text)


def recipe(views, **objective):
    return {
        **RECIPE,
        "data": {"views": views},
        "objective": {"name": "ban+l", **objective},
    }


@pytest.fixture(scope="module", params=VIEWS)
def tabled(request, arrays, tmp_path_factory):
    """The family of a student that learned from a table, and its recipe."""
    told = recipe(request.param)
    out = tmp_path_factory.mktemp("table") / "family"
    train(arrays, out, recipe=told, generations=1, ask="table")
    return out, told


def test_the_bits_are_those_of_asking_live_and_of_runs_that_were_stopped(tabled, arrays, tmp_path):
    family, told = tabled
    watcher = Watcher()
    given = {"recipe": told, "generations": 1}
    train(arrays, tmp_path / "auto", progress=watcher, **given)
    assert weights(tmp_path / "auto") == weights(family)
    assert any(
        "no view occurs twice" in line and "computed in each epoch" in line for line in watcher.said
    )
    assert not (tmp_path / "auto" / "teachers").exists()
    stopped = interrupted_often(arrays, tmp_path / "stopped", ask="table", **given)
    assert weights(stopped) == weights(family)


def test_later_students_of_the_same_teacher_are_served(tabled, arrays, tmp_path):
    family, told = tabled
    before = set(weights(family))
    watcher = Watcher()
    train(arrays, family, recipe=told, objective="cwtm", generations=1, progress=watcher)
    (new,) = set(weights(family)) - before
    assert any("because an earlier student began it" in line for line in watcher.said)
    record = Family.open(family).folder(new).done["teacher"]
    # The signal's check asks for its batches and opening the table for three; training for none.
    assert record["asked"] == (checks.SIGNAL_BATCHES + 3) * told["training"]["batch_size"]
    assert record["served"] > 2 * record["asked"]
    alone = train(arrays, tmp_path / "alone", recipe=told, objective="cwtm", generations=1)
    assert weights(alone.family.path)[new] == weights(family)[new]


def test_a_shuffled_teacher_has_the_same_bits_live_and_by_a_table(tabled, arrays, tmp_path):
    views = tabled[1]["data"]["views"]
    ways = {}
    for way in ("live", "table"):
        told = {"recipe": recipe(views, shuffled=True), "generations": 1, "ask": way}
        ways[way] = weights(train(arrays, tmp_path / way, **told).family.path)
    assert ways["live"] == ways["table"]


def test_sampled_epochs_show_an_example_again_in_another_view(arrays, tmp_path):
    pictures, labels = arrays
    kept = np.flatnonzero((labels > 0) | (np.arange(len(labels)) % 12 == 0))
    uneven = pictures[kept], labels[kept]
    told = recipe(VIEWS[0])
    told["data"]["balance"] = "sampling"
    data = prepare(from_arrays(uneven), DataSpec(**told["data"]))
    batches = list(Batches(data, 16, torch.device("cpu")).epoch(1))
    shown = [
        (index, column)
        for batch in batches
        for index, column in zip(batch.indices.tolist(), batch.columns.tolist(), strict=True)
    ]
    stored = [place for place in shown if place[1] == 1]
    again = [index for index, column in shown if column == -1]
    assert len(stored) == len(set(stored)) and len(again) > 20
    assert {column for _, column in shown} == {1, -1}

    for ask in ("live", "table"):
        train(uneven, tmp_path / ask, recipe=told, generations=1, ask=ask)
    assert weights(tmp_path / "live") == weights(tmp_path / "table")
    with pytest.raises(AnewError, match="exchanges outputs within an epoch"):
        told["objective"]["shuffled"] = True
        train(uneven, tmp_path / "shuffled", recipe=told, generations=1)


@pytest.mark.parametrize("views", VIEWS)
def test_the_parts_of_a_batch_are_the_whole_batchs(views, arrays):
    data = prepare(from_arrays(arrays), DataSpec(views=views))
    cpu = torch.device("cpu")
    whole = list(Batches(data, 16, cpu).epoch(2))
    for part in (slice(0, 8), slice(8, 16)):
        for one, other in zip(whole, Batches(data, 16, cpu, part).epoch(2), strict=True):
            assert torch.equal(one.inputs[part], other.inputs)
            assert torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("views", VIEWS)
def test_what_a_store_holds_answers_for_can_be_shown_again(views, arrays):
    batches = Batches(prepare(from_arrays(arrays), DataSpec(views=views)), 16, torch.device("cpu"))
    shown = [batch for epoch in (0, 3) for batch in batches.epoch(epoch)]
    indices, columns = (
        torch.cat([getattr(batch, name) for batch in shown]) for name in ("indices", "columns")
    )
    mixed = torch.randperm(len(indices), generator=torch.Generator().manual_seed(0))[:50]
    inputs = torch.cat([batch.inputs for batch in shown])
    assert torch.equal(batches.show_stored(indices[mixed], columns[mixed]), inputs[mixed])
