"""`anew suspects`: confident learning against loops in NumPy, and planted errors that it finds."""

import csv
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import anew
from anew import AnewError
from anew.core.spec import DataSpec
from anew.data import from_arrays, prepare, sizes
from anew.evaluation.suspects import find_suspects
from commands import call


def by_hand(p, labels):
    """Equations 1 and 2 of Northcutt et al. 2021, example by example."""
    count = p.shape[1]
    thresholds = [p[labels == j, j].mean() if (labels == j).any() else np.inf for j in range(count)]
    counts, suggested = np.zeros((count, count)), labels.copy()
    for i, row in enumerate(p):
        reached = [j for j in range(count) if row[j] >= thresholds[j]]
        if reached:
            suggested[i] = max(reached, key=lambda j: row[j])
            counts[labels[i], suggested[i]] += 1
    joint = np.zeros((count, count))
    for j in range(count):
        if counts[j].sum() == 0:
            counts[j, j] = 1
        joint[j] = counts[j] / counts[j].sum() * (labels == j).sum() / len(labels)
    return suggested, joint


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(1, 60))
def test_confident_learning_is_that_of_the_equations(seed, classes, count):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, 0.5), count)
    labels = rng.integers(0, classes, count)
    found = find_suspects(torch.tensor(p), torch.tensor(labels))
    suggested, joint = by_hand(p, labels)

    assert np.array_equal(found.suggested.numpy(), suggested)
    assert np.allclose(found.joint.numpy(), joint, atol=1e-12)
    assert found.noise == pytest.approx(1 - np.trace(joint), abs=1e-12)
    assert np.array_equal(found.is_suspect.numpy(), suggested != labels)
    margins = found.margin[found.ranked]
    assert bool((margins[1:] >= margins[:-1]).all())


def test_the_estimate_of_noise_is_near_what_was_planted():
    """Classes that are well apart, of which 30 % carry the next class's label."""
    rng = np.random.default_rng(1)
    true = rng.integers(0, 4, 4000)
    wrong = rng.random(4000) < 0.3
    labels = np.where(wrong, (true + 1) % 4, true)
    p = np.full((4000, 4), 0.1)
    p[np.arange(4000), true] = 0.7
    found = find_suspects(torch.tensor(p), torch.tensor(labels))
    assert found.noise == pytest.approx(wrong.mean(), abs=0.01)
    assert np.array_equal(found.is_suspect.numpy(), wrong)


def test_what_is_no_probability_is_refused():
    with pytest.raises(AnewError, match="apply softmax"):
        find_suspects(torch.tensor([[2.0, -1.0]]), torch.tensor([0]))


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 9), st.integers(0, 5), st.integers(24, 60))
def test_folds_hold_every_example_once_by_class(folds, seed, count):
    labels = np.arange(count) % 3
    source = from_arrays((np.arange(count, dtype=np.float32)[:, None], labels))
    seen = []
    for fold in range(folds):
        spec = DataSpec(seed=seed, folds=folds, fold=fold, validation=0.0)
        data = prepare(source, spec)
        assert sizes(source.contents, spec).validation == len(data.validation)
        held_out = data.validation.show(slice(None)).flatten()
        assert torch.equal(held_out.long(), data.places.held_out)
        assert not set(held_out.tolist()) & set(data.training.show(slice(None)).flatten().tolist())
        assert not set(held_out.tolist()) & set(data.test.show(slice(None)).flatten().tolist())
        by_class = torch.bincount(data.validation.labels, minlength=3)
        assert int(by_class.max() - by_class.min()) <= 1
        seen += held_out.tolist()
    assert len(seen) == len(set(seen)) == count - len(data.test)


def test_a_fold_that_does_not_exist_is_refused():
    source = from_arrays((np.zeros((20, 2), np.float32), np.arange(20) % 2))
    with pytest.raises(AnewError, match=r"data\.fold must be < data\.folds, 3"):
        prepare(source, DataSpec(folds=3, fold=3))
    with pytest.raises(AnewError, match=r"data\.folds must be <= 16"):
        prepare(source, DataSpec(folds=17))


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A family that learned pictures of bars, of whose training labels some are wrong."""
    folder = tmp_path_factory.mktemp("planted")
    rng = np.random.default_rng(3)

    def part(count):
        labels = rng.integers(0, 3, count)
        pictures = rng.integers(0, 60, (count, 8, 8)).astype(np.uint8)
        for number, label in enumerate(labels):
            pictures[number, :, 2 * label + 1] += 150
        return pictures, labels

    x, y = part(180)
    wrong = rng.choice(180, 18, replace=False)
    given = y.copy()
    given[wrong] = (y[wrong] + 1 + rng.integers(0, 2, 18)) % 3
    x_test, y_test = part(30)
    np.savez(folder / "bars.npz", x_train=x, y_train=given, x_test=x_test, y_test=y_test)
    done = call(
        *("train", "--data", f"npz:{folder / 'bars.npz'}", "--out", folder / "family"),
        *("--generations", 0, "--model.options", "width=8", "--threads", 1),
        *("--epochs", 6, "--batch-size", 16, "--data.validation", 0.2),
    )
    assert done.code == 0, done.err
    return folder, set(wrong.tolist()), y


def test_the_command_finds_planted_errors_and_shows_them(planted, tmp_path):
    folder, wrong, true = planted
    family, names = folder / "family", ("row", "label", "suggested", "p_label", "p_suggested")
    common = ("suspects", family, "--folds", 3, "--threads", 1)
    done = call(*common, "--json", "--csv", tmp_path / "s.csv", "--sheet", tmp_path / "s.png")
    assert done.code == 0, done.err
    told = json.loads(done.out)

    rows = {row["row"] for row in told["suspects"]}
    assert told["examples"] == 180
    assert len(wrong & rows) >= 16 and len(rows - wrong) <= 4
    for row in told["suspects"]:
        if row["row"] in wrong:
            assert row["suggested"] == str(true[row["row"]])
    assert told["estimated_noise"] == pytest.approx(0.1, abs=0.04)

    with (tmp_path / "s.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [int(row["row"]) for row in written] == [row["row"] for row in told["suspects"]]
    assert tuple(written[0]) == names
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.size[0] > 500

    # The family itself stays one lineage, and what is trained is not trained again.
    weights = sorted((family / "folds").rglob("weights.safetensors"))
    assert len(weights) == 3
    assert len(anew.Family.open(family).lineages()) == 1
    times = [path.stat().st_mtime_ns for path in weights]
    table = good_out(*common)
    assert [path.stat().st_mtime_ns for path in weights] == times
    assert "The networks contradict" in " ".join(table.split()) and "likely class" in table


def good_out(*arguments):
    done = call(*arguments)
    assert done.code == 0, done.err
    return done.out


def test_bad_numbers_are_one_line(planted):
    folder, _, _ = planted
    for option, value in (("--folds", 1), ("--seeds", 0), ("--epochs", 0), ("--folds", 5000)):
        done = call("suspects", folder / "family", option, value)
        assert done.code == 2 and done.err.count("\n") == 1 and option in done.err
    done = call("suspects", folder / "family", "--folds", 900, "--threads", 1)
    assert done.code == 2 and "data.folds must be <= 180" in done.err
