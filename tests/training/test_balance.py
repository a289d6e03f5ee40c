"""Uneven classes: sampling by class, weights of the label terms, and the bits after a stop."""

import json
import re

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import language
from anew import AnewError
from anew.core import files
from anew.core.spec import DataSpec
from anew.data import Batches, from_arrays, prepare
from anew.data.batches import balanced_order, class_weights
from anew.family import Family
from commands import call, good
from runs import RECIPE, interrupted_often, train, weights

CPU = torch.device("cpu")


def uneven(counts=(60, 20, 10)):
    """Grey 8x8 pictures, a bright corner for each class."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    pictures = rng.integers(0, 120, (len(labels), 8, 8), dtype=np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        row, column = divmod(int(label), 2)
        picture[row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] += 120
    return pictures, labels


def recipe(balance, **data):
    return {**RECIPE, "data": {"balance": balance, **data}}


# --- sampling


@pytest.mark.parametrize("counts", [(60, 20, 10), (97, 3), (1, 1, 50, 7), (5, 5, 5)])
def test_an_epoch_is_as_long_and_shows_all_classes_equally_often(counts):
    labels = torch.tensor(
        np.random.default_rng(1).permutation(np.repeat(range(len(counts)), counts))
    )
    for epoch in range(5):
        order, turns = balanced_order(labels, len(counts), 3, epoch)
        shown = torch.bincount(labels[order], minlength=len(counts))
        assert len(order) == len(labels) == int(shown.sum())
        assert int(shown.max() - shown.min()) <= 1

        # Within a class each example is shown equally often, but for one.
        times = torch.bincount(order, minlength=len(labels))
        for number in range(len(counts)):
            of_class = times[labels == number]
            assert int(of_class.max() - of_class.min()) <= 1
        # The turns of an example are 0, 1, 2, ...
        for example in order.unique().tolist():
            seen = turns[order == example].sort().values
            assert torch.equal(seen, torch.arange(len(seen)))


def test_the_order_is_a_function_of_seed_and_epoch_and_mixes_the_classes():
    labels = torch.tensor([0] * 90 + [1] * 10)
    first = balanced_order(labels, 2, 0, 0)
    torch.manual_seed(1)
    again = balanced_order(labels, 2, 0, 0)
    assert all(map(torch.equal, first, again))
    for other in (balanced_order(labels, 2, 1, 0), balanced_order(labels, 2, 0, 1)):
        assert not torch.equal(other[0], first[0])

    # Over many epochs every example of the large class comes, and each place has either class.
    orders = torch.stack([balanced_order(labels, 2, 0, epoch)[0] for epoch in range(60)])
    assert len(orders.unique()) == 100
    share = (labels[orders] == 1).double().mean(0)
    assert share.mean() == pytest.approx(0.5)
    assert (share - 0.5).abs().max() < 5 * (0.25 / 60) ** 0.5


def test_an_example_that_comes_again_in_an_epoch_comes_in_another_view():
    pictures, labels = uneven((60, 3))
    data = prepare(from_arrays((pictures, labels), views="crop+flip"), DataSpec(balance="sampling"))
    batches = list(Batches(data, 7, CPU).epoch(2))
    assert all(batch.weights is None for batch in batches)
    indices = torch.cat([batch.indices for batch in batches])
    views = torch.cat([batch.views for batch in batches])
    rare = indices[data.training.labels[indices] == 1]
    example = rare[0]
    assert (indices == example).sum() > 5
    assert len(views[indices == example].unique()) > 5
    for batch in batches:
        shown = data.views.show(data.training.inputs, batch.indices, batch.views)
        assert torch.equal(batch.inputs, shown)


# --- weights


def test_weights_are_inverse_frequencies_of_mean_one():
    counts = torch.tensor([60, 20, 10])
    labels = torch.arange(3).repeat_interleave(counts)
    found = class_weights(labels, 3)
    np.testing.assert_allclose(found.numpy(), 90 / (3 * counts.numpy()), rtol=1e-6)
    assert found[labels].mean().item() == pytest.approx(1)

    data = prepare(from_arrays(uneven()), DataSpec(balance="weights"))
    of_classes = class_weights(data.training.labels, 3)
    for batch in Batches(data, 16, CPU).epoch(0):
        assert batch.weights is not None
        assert torch.equal(batch.weights, of_classes[batch.labels])


def test_the_recorded_loss_is_the_weighted_one(tmp_path):
    given = {**recipe("weights", validation=0.0), "training": {"epochs": 1, "batch_size": 72}}
    given["training"]["learning_rate"] = 1e-30
    result = train(uneven(), tmp_path / "f", recipe=given, generations=0)
    (row,) = result.family.folder(result.lineage[0].id).read_metrics()
    data = result.data
    network = result.network().train()
    with torch.no_grad():
        logits = network(data.training.inputs)
    counts = np.bincount(data.training.labels.numpy())
    each = F.cross_entropy(logits, data.training.labels, reduction="none").double().numpy()
    weighted = (72 / (3 * counts))[data.training.labels.numpy()] * each
    assert row["train_loss"] == pytest.approx(weighted.mean(), rel=1e-5)
    assert row["train_loss"] != pytest.approx(each.mean(), rel=1e-3)


# --- training


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    place = tmp_path_factory.mktemp("balance")
    given = {"objective": "ban+l", "siblings": ["cwtm", "dkpp"], "ask": "table", "force": True}
    for balance in ("sampling", "weights"):
        train(uneven(), place / balance, recipe=recipe(balance, views="flip"), **given)
    return place, given


@pytest.mark.parametrize("balance", ["sampling", "weights"])
def test_a_balanced_training_goes_on_to_the_same_bits(undisturbed, tmp_path, balance):
    place, given = undisturbed
    out = interrupted_often(uneven(), tmp_path / "f", recipe=recipe(balance, views="flip"), **given)
    assert weights(out) == weights(place / balance)


@pytest.mark.parametrize("balance", ["sampling", "weights"])
def test_a_table_gives_what_the_live_teacher_gives(undisturbed, tmp_path, balance):
    place, given = undisturbed
    out = tmp_path / "f"
    train(uneven(), out, recipe=recipe(balance, views="flip"), **{**given, "ask": "live"})
    assert weights(out) == weights(place / balance)


def test_balance_is_part_of_a_network_and_ids_without_it_stay(undisturbed, tmp_path):
    place, _ = undisturbed
    plain = train(uneven(), tmp_path / "f", recipe=recipe("none", views="flip"), generations=0)
    ids = {
        folder.id
        for balance in ("sampling", "weights")
        for folder in Family.open(place / balance).folders()
    }
    assert plain.lineage[0].id not in ids
    written = plain.lineage[0].to_json()["data"]
    assert "balance" not in written
    (balanced,) = {spec.data.balance for spec in Family.open(place / "sampling").specs().values()}
    assert balanced == "sampling"


def test_sampling_helps_the_rare_class(tmp_path):
    """The classes differ by a little in brightness, so that a network names the common one."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], (475, 25))
    centre = 110 + 20 * labels[:, None, None]
    pictures = np.clip(rng.normal(centre, 70, (500, 8, 8)), 0, 255).astype(np.uint8)
    test_labels = np.repeat([0, 1], 200)
    centre = 110 + 20 * test_labels[:, None, None]
    test = np.clip(rng.normal(centre, 70, (400, 8, 8)), 0, 255).astype(np.uint8)
    errors = {}
    for balance in ("none", "sampling", "weights"):
        result = train(
            (pictures, labels, test, test_labels),
            tmp_path / balance,
            recipe={
                **recipe(balance),
                "training": {"epochs": 4, "batch_size": 25, "learning_rate": 0.02},
            },
            generations=0,
        )
        errors[balance] = result.scores[0].scores.error
    assert errors["none"] > 40
    assert max(errors["sampling"], errors["weights"]) < errors["none"] - 15


def test_the_balanced_error_stands_beside_the_error(undisturbed, tmp_path):
    place, _ = undisturbed
    family = Family.open(place / "weights")
    (spec,) = [one for one in family.specs().values() if one.generation == 0]
    tensors, _ = files.read_tensors(family.folder(spec.id).outputs)
    labels, said = tensors["test.labels"], tensors["test.last"].argmax(-1)
    of_classes = [(said[labels == one] != one).double().mean().item() for one in range(3)]
    expected = 100 * np.mean(of_classes)

    rows = json.loads(good("evaluate", place / "weights", "--json"))[0]["rows"]
    assert rows[0]["balanced_error"] == pytest.approx(expected)
    assert "balanced error %" in good("evaluate", place / "weights")
    shown = re.sub(r"[\s│]+", " ", good("show", place / "weights"))
    assert f"(mean over classes {expected:.2f} %)" in shown
    page = tmp_path / "page.html"
    # Which of the family's two lineages it shows is said.
    done = call("report", place / "weights", "--no-pictures", "-o", page)
    assert done.code == 0 and "lineage" in done.err
    assert "balanced error %" in page.read_text()


def test_positions_have_no_one_class():
    with pytest.raises(AnewError, match="needs one class for each"):
        prepare(language.source(), DataSpec(balance="weights"))
