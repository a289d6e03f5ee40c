"""Splits, normalisation and batches: stratified, disjoint, pure functions of the seed, measured on
training alone.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anew import AnewError
from anew.core.spec import DataSpec
from anew.data import Batches, Source, from_arrays, prepare, sizes
from anew.data.keeping import keep_classes

CPU = torch.device("cpu")
COUNTS = (101, 57, 33, 9)


def numbered(counts=COUNTS, test_counts=None):
    """A source whose inputs are vectors that hold each example's own number: training from 0, test
    from 10,000.
    """
    rng = np.random.default_rng(0)

    def part(counts, start):
        labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
        return np.arange(start, start + len(labels))[:, None], labels

    return from_arrays(
        part(counts, 0), part(test_counts, 10_000) if test_counts else None, name="numbered"
    )


def sets(data):
    """The numbers of the examples in each part of the data."""
    return {
        part: set(getattr(data, part).inputs[:, 0].int().tolist())
        for part in ("training", "validation", "test")
    }


def by_class(examples, classes=4):
    return torch.bincount(examples.labels, minlength=classes)


def refused(source: Source, spec: DataSpec, *words):
    with pytest.raises(AnewError) as refusal:
        prepare(source, spec)
    assert "\n" not in str(refusal.value)
    for word in words:
        assert word in str(refusal.value)


@given(
    counts=st.lists(st.integers(5, 80), min_size=2, max_size=6),
    seed=st.integers(0, 2**63 - 1),
    validation=st.floats(0, 0.5),
    test=st.floats(0.1, 0.4),
)
@settings(deadline=None, max_examples=50)
def test_splits_are_stratified_disjoint_and_complete(counts, seed, validation, test):
    source = numbered(counts)
    data = prepare(source, DataSpec(seed=seed, validation=validation, test=test))
    parts = sets(data)
    assert set.union(*parts.values()) == set(range(sum(counts)))
    assert sum(map(len, parts.values())) == sum(counts)
    left = torch.tensor(counts) - by_class(data.test, len(counts))
    # A rounding error of a hair apart, each class gives the whole part of its share or one more.
    assert ((by_class(data.test, len(counts)) - test * torch.tensor(counts)).abs() < 1 + 1e-6).all()
    assert ((by_class(data.validation, len(counts)) - validation * left).abs() < 1 + 1e-6).all()
    assert abs(len(data.test) - test * sum(counts)) <= 0.5 + 1e-6
    assert abs(len(data.validation) - validation * int(left.sum())) <= 0.5 + 1e-6
    for part in (data.training, data.validation, data.test):
        assert part.labels.tolist() == source.train.labels[part.inputs[:, 0].long()].tolist()


def test_splits_are_a_function_of_the_seed_alone():
    first = sets(prepare(numbered(), DataSpec(seed=3)))
    torch.manual_seed(1)
    np.random.seed(1)
    again = prepare(
        numbered(), DataSpec(seed=3, source="other", root="elsewhere", views="none", mean=(1.0,))
    )
    assert sets(again) == first
    for part, numbers in sets(prepare(numbered(), DataSpec(seed=4))).items():
        assert numbers != first[part]


def test_the_seed_draws_validation_and_limit_also_where_the_source_has_its_own_test_set():
    source = numbered(test_counts=(5, 5, 5, 5))
    for spec in (DataSpec(seed=3), DataSpec(seed=3, limit=60, validation=0.0)):
        first, other = sets(prepare(source, spec)), sets(prepare(source, replace(spec, seed=4)))
        assert first["training"] != other["training"]


def test_a_limit_counts_what_is_left_of_a_cut_off_test_set():
    data = prepare(numbered(), DataSpec(limit=60, test=0.4))
    assert len(data.training) + len(data.validation) == 60
    assert len(data.test) == 80


def test_the_test_set_is_cut_before_and_independently_of_validation_and_limit():
    whole = sets(prepare(numbered(), DataSpec()))
    for spec in (DataSpec(validation=0.0), DataSpec(validation=0.4), DataSpec(limit=60)):
        assert sets(prepare(numbered(), spec))["test"] == whole["test"]


@pytest.mark.parametrize("limit", [None, 60])
@pytest.mark.parametrize("seed", range(3))
def test_a_sources_own_test_set_is_left_whole_and_gives_no_validation(limit, seed):
    source = numbered(test_counts=(20, 5, 0, 3))
    data = prepare(source, DataSpec(seed=seed, limit=limit, validation=0.3))
    assert torch.equal(data.test.inputs, source.test.inputs)
    assert torch.equal(data.test.labels, source.test.labels)
    assert max(sets(data)["training"] | sets(data)["validation"]) < 10_000
    assert len(data.training) + len(data.validation) == (limit or sum(COUNTS))


def test_without_a_validation_share_all_examples_train_and_none_are_copied():
    source = numbered(test_counts=(2, 2))
    data = prepare(source, DataSpec(validation=0.0))
    assert len(data.validation) == 0
    assert data.training.inputs is source.train.inputs


@given(seed=st.integers(0, 2**63 - 1), limit=st.integers(30, 300))
@settings(deadline=None, max_examples=50)
def test_a_limit_holds_validation_included_and_is_shared_by_class(seed, limit):
    source = numbered(test_counts=(5, 5, 5, 5))
    data = prepare(source, DataSpec(seed=seed, limit=limit, validation=0.2))
    used = by_class(data.training) + by_class(data.validation)
    share = min(1, limit / sum(COUNTS))
    assert used.sum() == min(limit, sum(COUNTS))
    assert ((used - share * torch.tensor(COUNTS)).abs() < 1 + 1e-6).all()
    assert ((by_class(data.validation) - 0.2 * used).abs() < 1 + 1e-6).all()


def test_a_smaller_limit_takes_examples_that_a_larger_one_takes_too():
    source = numbered((100, 100, 100), (5, 5, 5))
    kept = [
        sets(prepare(source, DataSpec(limit=limit, validation=0.0)))["training"]
        for limit in (30, 60, 150, 299)
    ]
    assert kept == sorted(kept, key=len)
    for fewer, more in itertools.pairwise(kept):
        assert fewer < more


def test_training_examples_keep_the_sources_order():
    numbers = prepare(numbered(), DataSpec(limit=100)).training.inputs[:, 0]
    assert torch.equal(numbers, numbers.sort().values)


@pytest.mark.parametrize(
    "counts, spec, words",
    [
        (
            (2, 2, 2),
            DataSpec(validation=0.9, test=0.2),
            ("1 training examples are left", "3 classes need one each; lower --data.validation"),
        ),
        ((50, 50, 50), DataSpec(limit=2), ("raise --limit to at least 4",)),
        ((50, 50, 50), DataSpec(limit=2, validation=0.0), ("raise --limit to at least 3",)),
        ((2, 1, 1), DataSpec(test=0.5, validation=0.0), ("lower --data.test",)),
        (
            (1,) * 20,
            DataSpec(),
            ("20 classes need one each; no validation share helps", "add examples"),
        ),
        (
            (10, 10),
            DataSpec(test=0.01),
            ("no test example can be split off from 20", "raise --data.test"),
        ),
    ],
)
def test_splits_that_leave_nothing_to_learn_or_to_test_on_are_refused(counts, spec, words):
    refused(numbered(counts), replace(spec, source="npz:small.npz"), "data 'npz:small.npz'", *words)


@given(
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=8),
    seed=st.integers(0, 1000),
    test=st.floats(0.05, 0.8),
    validation=st.floats(0, 0.8),
    limit=st.one_of(st.none(), st.integers(2, 60)),
)
@settings(deadline=None, max_examples=150)
def test_every_class_keeps_a_training_example_where_there_is_room(
    counts, seed, test, validation, limit
):
    """And a split that has all classes anyway is the one that is drawn."""
    spec = DataSpec(seed=seed, test=test, validation=validation, limit=limit)
    source, classes = numbered(counts), len(counts)
    try:
        expected = sizes(source.contents, spec)
        data = prepare(source, spec)
    except AnewError as error:
        assert "no t" in str(error) or expected.training <= classes
        return

    found = [len(part) for part in (data.training, data.validation, data.test)]
    # A share of exactly one half of an example may be rounded either way.
    wanted = [expected.training, expected.validation, expected.test]
    assert all(abs(one - other) <= 1 for one, other in zip(found, wanted, strict=True))
    assert by_class(data.training, classes).min() >= 1
    parts = sets(data)
    assert len(set.union(*parts.values())) == sum(found)
    order = data.training.inputs[:, 0]
    assert torch.equal(order, order.sort().values)


def test_a_rare_class_comes_back_for_one_of_the_commonest():
    labels = torch.tensor([0, 0, 0, 0, 1, 2, 1])
    training, (held_out, cut_off) = keep_classes(
        labels, torch.tensor([0, 1, 2]), [torch.tensor([3, 4]), torch.tensor([5, 6])], 3
    )
    assert training.tolist() == [0, 4, 5]
    assert held_out.tolist() == [2, 3] and cut_off.tolist() == [1, 6]
    whole = torch.tensor([1, 4, 5])
    same, (rest,) = keep_classes(labels, whole, [torch.tensor([0, 2])], 3)
    assert torch.equal(same, whole) and rest.tolist() == [0, 2]


def test_the_only_example_of_a_class_is_learned_from():
    """A long tail: at every share of the test set all ten classes are there to learn from."""
    counts = (60, 25, 12, 5, 3, 1, 1, 1, 1, 1)
    for share in (0.2, 0.3, 0.4):
        data = prepare(numbered(counts), DataSpec(test=share))
        assert by_class(data.training, 10).min() >= 1
        assert len(data.test) == round(share * sum(counts))


def test_another_fingerprint_is_refused_and_the_right_one_filled_in():
    source = numbered()
    refused(
        source,
        DataSpec(fingerprint="0123456789abcdef"),
        source.fingerprint,
        "0123456789abcdef",
        "--data.fingerprint",
    )
    filled = prepare(source, DataSpec()).spec
    assert filled.fingerprint == source.fingerprint
    assert filled.views == "none"
    assert prepare(source, filled).spec == filled


# --- normalisation


def random_source(shape, dtype=np.uint8):
    rng = np.random.default_rng(0)
    # The later examples are brighter, so that statistics of others than the training examples would
    # differ.
    values = rng.integers(0, 100, (90, *shape)) + np.arange(90).reshape(-1, *[1] * len(shape))
    return from_arrays((values.astype(dtype), np.arange(90) % 3))


@pytest.mark.parametrize(
    "shape, dtype",
    [((6, 5), np.uint8), ((3, 6, 5), np.uint8), ((3, 6, 5), np.float32), ((7,), np.float64)],
)
@pytest.mark.parametrize("seed", range(3))
def test_normalisation_is_numpys_over_the_training_examples_alone(shape, dtype, seed):
    source = random_source(shape, dtype)
    data = prepare(source, DataSpec(seed=seed, validation=0.3))
    axes = (0, 2, 3) if len(shape) > 1 else 0
    training, everything = (one.inputs.double().numpy() for one in (data.training, source.train))
    assert data.mean.dtype == data.std.dtype == torch.float32
    np.testing.assert_allclose(data.mean, training.mean(axes), rtol=1e-6)
    np.testing.assert_allclose(data.std, training.std(axes), rtol=1e-6)
    assert not np.allclose(data.mean, everything.mean(axes), rtol=1e-4)


def test_normalisation_is_exact_for_many_examples_and_a_large_mean():
    rng = np.random.default_rng(0)
    features = (rng.standard_normal((10_000, 3)) * (1e-2, 1.0, 1e3) + (1e4, -1e6, 0.0)).astype(
        np.float32
    )
    data = prepare(from_arrays((features, np.arange(10_000) % 2)), DataSpec(validation=0.0))
    training = data.training.inputs.double().numpy()
    np.testing.assert_allclose(data.mean, training.mean(0), rtol=1e-6)
    np.testing.assert_allclose(data.std, training.std(0), rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -1 / 3, 1e20])
def test_a_feature_that_does_not_vary_is_not_blown_up(value):
    features = np.random.default_rng(0).standard_normal((1000, 2)).astype(np.float32)
    features[:, 1] = value
    data = prepare(from_arrays((features, np.arange(1000) % 2)), DataSpec())
    assert data.std[1] == 1
    assert data.mean[1] == np.float32(value)


def test_given_means_and_deviations_are_used_one_for_all_or_one_for_each():
    source = random_source((3, 6, 5))
    measured = prepare(source, DataSpec())
    data = prepare(source, DataSpec(mean=(127.5,), std=(10.0, 20.0, 30.0)))
    assert data.mean.tolist() == [127.5] * 3
    assert data.std.tolist() == [10.0, 20.0, 30.0]
    half = prepare(source, DataSpec(mean=(1.0, 2.0, 3.0)))
    assert half.mean.tolist() == [1.0, 2.0, 3.0]
    assert torch.equal(half.std, measured.std)
    refused(source, DataSpec(mean=(1.0, 2.0)), "data.mean", "3 channels, got 2", "--data.mean")
    refused(
        source, DataSpec(std=(1.0, 2.0, 3.0, 4.0)), "data.std", "3 channels, got 4", "--data.std"
    )


def test_the_sources_own_views_are_taken_unless_others_are_asked_for():
    pictures = (np.zeros((20, 6, 5), np.uint8), np.arange(20) % 2)
    source = from_arrays(pictures, views="crop+flip")
    assert prepare(source, DataSpec()).views.count == 162
    assert prepare(source, DataSpec(views="flip")).views.count == 2
    assert prepare(source, DataSpec(padding=1)).views.count == 18
    assert prepare(from_arrays(pictures), DataSpec()).views.count == 1
    refused(numbered(), DataSpec(views="flip"), "need pictures", "--views none")


# --- batches


def pictures(count=50, seed=0, views="crop+flip"):
    values = np.random.default_rng(0).integers(0, 256, (count, 3, 6, 5), dtype=np.uint8)
    labels = np.arange(count) % 2
    return prepare(
        from_arrays((values, labels), (values, labels), views=views),
        DataSpec(seed=seed, validation=0.0),
    )


@pytest.mark.parametrize("count, size", [(50, 7), (50, 50), (50, 1), (50, 49), (8, 100)])
def test_an_epoch_shows_each_example_at_most_once_and_leaves_out_a_remainder(count, size):
    batches = Batches(pictures(count), size, CPU)
    seen = list(batches.epoch(0))
    size = min(size, count)
    assert len(seen) == batches.steps == count // size
    assert all(len(batch.labels) == len(batch.inputs) == size for batch in seen)
    indices = torch.cat([batch.indices for batch in seen])
    assert len(indices.unique()) == len(indices) == count - count % size


def test_every_example_is_shown_in_some_epoch_whatever_the_remainder():
    batches = Batches(pictures(), 7, CPU)
    seen = torch.cat([batch.indices for epoch in range(12) for batch in batches.epoch(epoch)])
    assert torch.equal(seen.unique(), torch.arange(50))


def test_batches_hold_the_views_that_they_name_of_the_examples_that_they_name():
    data = pictures()
    for batch in Batches(data, 8, CPU).epoch(3):
        assert batch.epoch == 3
        assert batch.inputs.dtype == torch.uint8
        assert torch.equal(batch.labels, data.training.labels[batch.indices])
        assert torch.equal(batch.views, data.views.draw(0, 3, batch.indices))
        assert torch.equal(
            batch.inputs, data.views.show(data.training.inputs, batch.indices, batch.views)
        )


def same(one, other):
    return all(
        torch.equal(getattr(one, key), getattr(other, key))
        for key in ("inputs", "labels", "indices", "views")
    )


@pytest.mark.parametrize("first", [0, 1, 4, 6])
def test_a_resumed_epoch_goes_on_with_identical_batches(first):
    whole = list(Batches(pictures(), 8, CPU).epoch(2))
    resumed = list(Batches(pictures(), 8, CPU).epoch(2, first=first))
    assert len(resumed) == len(whole) - first
    assert all(map(same, resumed, whole[first:]))


def test_order_and_views_differ_by_epoch_and_by_seed():
    runs = [
        torch.cat(
            [
                torch.stack([batch.indices, batch.views])
                for batch in Batches(pictures(seed=seed), 10, CPU).epoch(epoch)
            ],
            1,
        )
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    for number, one in enumerate(runs):
        for other in runs[:number]:
            assert not torch.equal(one[0], other[0])
            # The views of the same examples, whatever their place in the order.
            assert not torch.equal(one[1][one[0].argsort()], other[1][other[0].argsort()])


def test_order_does_not_follow_the_sources_order_or_classes():
    orders = [
        torch.cat([batch.indices for batch in Batches(pictures(200), 10, CPU).epoch(epoch)])
        for epoch in range(40)
    ]
    # Places of one example over 40 epochs: uniform on 0..199, mean 99.5, standard deviation of the
    # mean 9.1.
    places = torch.stack([order.argsort() for order in orders]).float().mean(0)
    assert (places - 99.5).abs().max() < 5 * 9.1
    assert places.std() == pytest.approx(9.1, rel=0.25)
