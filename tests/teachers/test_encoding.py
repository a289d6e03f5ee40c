"""What a target is: float16 rows that stand for probabilities, the same whatever was added to the
logits.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from anew.teachers import Encoding

HALF = 2.0**-11
"""Half a unit in the last place of float16, relative to the number."""
FINITE = st.floats(-60, 60, width=32)


def logits_of(elements=FINITE):
    return arrays_of.arrays(
        np.float32, st.tuples(st.just(3), st.integers(2, 40)), elements=elements
    )


def softmax(logits):
    """NumPy, float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.astype(np.float64).max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def rows(logits, top_k=None):
    return Encoding(logits.shape[1], top_k).encode(torch.as_tensor(logits))


def read(words, classes, top_k=None):
    return Encoding(classes, top_k).decode(words).numpy()


def back(logits, top_k=None):
    return read(rows(logits, top_k), logits.shape[1], top_k)


def bound(classes):
    """By how much a probability may be off, as the docstring of `Targets` derives it."""
    return HALF * (0.37 + math.log(classes) / 4) + 1e-6


@settings(max_examples=200, deadline=None)
@given(logits_of())
def test_whole_rows_keep_every_probability_within_the_documented_bound(logits):
    assert np.abs(softmax(back(logits)) - softmax(logits)).max() < bound(logits.shape[1])


@pytest.mark.parametrize("classes", [2, 9, 100, 1000, 50_000])
def test_the_bound_holds_where_all_errors_fall_on_one_side_and_is_nearly_met(classes):
    # One class against all others alike: their errors add up. Worst where rounding is, just beside
    # a midpoint.
    values = np.linspace(-math.log(classes) - 3, -0.5, 4000, dtype=np.float32)
    logits = np.zeros((len(values), 2), np.float32)
    logits[:, 1] = values
    rounded = back(logits)[:, 1].astype(np.float64)
    first = [1 / (1 + (classes - 1) * np.exp(x)) for x in (values.astype(np.float64), rounded)]
    worst = np.abs(first[0] - first[1]).max()
    assert 0.3 * bound(classes) < worst < bound(classes)


def test_the_documented_figures_are_the_bound():
    assert bound(10) < 0.0005 and bound(1000) < 0.0011


@settings(max_examples=200, deadline=None)
@given(logits_of())
def test_the_largest_stays_the_largest_where_a_float16_step_tells_it_from_the_next(logits):
    below = np.sort(logits.astype(np.float64), axis=-1)
    gap = below[:, -1] - below[:, -2]
    unique = gap > 2**-24
    assert (back(logits).argmax(-1) == logits.argmax(-1))[unique].all()
    assert (back(logits).max(-1) == 0).all()


@settings(max_examples=100, deadline=None)
@given(logits_of(st.integers(-3, 3).map(float)))
def test_equal_logits_have_equal_targets(logits):
    np.testing.assert_array_equal(back(logits), logits - logits.max(-1, keepdims=True))


WHOLE = st.integers(-(2**12), 2**12).map(lambda n: n / 64)


@settings(max_examples=200, deadline=None)
@given(logits_of(WHOLE), st.integers(-(2**10), 2**10), st.sampled_from([None, 1]))
@example(np.array([[0.0, -0.0, -1.0]], np.float32), 5, None)
def test_a_constant_added_to_the_logits_changes_no_bit(logits, shift, top_k):
    moved = (logits + np.float32(shift)).astype(np.float32)
    assert torch.equal(rows(moved, top_k), rows(logits, top_k))


@settings(max_examples=200, deadline=None)
@given(logits_of(st.floats(-70_000, 70_000, width=32)))
@example(np.array([[0.0, -0.0], [-0.0, 0.0], [1e-30, -1e-30]], np.float32))
def test_writing_what_was_read_gives_the_same_words(logits):
    words = rows(logits)
    assert torch.equal(rows(read(words, logits.shape[1])), words)


@pytest.mark.parametrize("top_k", [None, 1, 2, 3])
@pytest.mark.parametrize(
    "row",
    [
        [1e4, -1e4, 0, 5],
        [3e38, -3e38, 0, 1],
        [-3e38, -3e38, -3e38, -3e38],
        [3e38, 3e38, -3e38, -3e38],
        [0, -math.inf, 1, -math.inf],
        [-math.inf, -math.inf, 7, -math.inf],
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_extreme_logits_and_impossible_classes_are_finite_targets_of_the_right_probabilities(
    row, top_k, dtype
):
    logits = torch.tensor([row], dtype=torch.float64).clamp(-3.3e38, 3.3e38).to(dtype)
    logits[torch.tensor([row]) == -math.inf] = -math.inf
    targets = back(logits, top_k)
    assert np.isfinite(targets).all()
    exact = softmax(logits.double().numpy())
    if top_k is None:
        np.testing.assert_allclose(softmax(targets), exact, atol=bound(4))
    else:
        order = np.argsort(-exact[0], kind="stable")[:top_k]
        np.testing.assert_allclose(
            np.sort(softmax(targets)[0])[::-1][:top_k], exact[0, order], atol=0.001
        )


@pytest.mark.parametrize("top_k", [None, 1, 3])
@pytest.mark.parametrize(
    "row", [[math.nan, 0, 1, 2], [math.inf, 0, 1, 2], [-math.inf] * 4], ids=str
)
def test_an_answer_that_is_no_distribution_stays_none_for_the_loss_to_stop_on(row, top_k):
    assert torch.tensor(back(torch.tensor([row, [0.0, 1, 2, 3]]), top_k)).softmax(-1).isnan().any(
        -1
    ).tolist() == [
        True,
        False,
    ]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_of_the_network_give_the_rows_of_the_same_numbers(dtype):
    logits = (torch.randn(50, 10, generator=torch.Generator().manual_seed(0)) * 5).to(dtype)
    assert torch.equal(rows(logits), rows(logits.float()))


def expected_of_top_k(logits, k):
    """The k largest as they are, and the rest of the mass in equal parts: NumPy, float64."""
    p = softmax(logits)
    order = np.argsort(-p, axis=-1, kind="stable")
    kept, dropped = order[:, :k], order[:, k:]
    rest = np.take_along_axis(p, dropped, -1).mean(-1, keepdims=True)
    np.put_along_axis(p, dropped, rest, -1)
    return p, kept


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(2, 30))
def test_top_k_keeps_the_largest_and_spreads_the_rest_evenly(data, classes):
    k = data.draw(st.sampled_from(sorted({1, (classes + 1) // 2, classes - 1})))
    # No two alike: equal ones may be kept in any order.
    distinct = st.integers(-2000, 2000).map(lambda n: n / 100)
    logits = data.draw(arrays_of.arrays(np.float32, (3, classes), elements=distinct, unique=True))
    found = np.exp(back(logits, k).astype(np.float64))
    wanted, kept = expected_of_top_k(logits, k)
    # A log-probability is rounded to float16, so a probability p is off by p |ln p| 2^-11.
    off = HALF * 1.01 * -wanted * np.log(wanted) + 1e-6
    is_kept = np.zeros(found.shape, bool)
    np.put_along_axis(is_kept, kept, True, -1)
    assert (np.abs(found - wanted) < off)[is_kept].all()
    rest = np.where(is_kept, 0, wanted).sum(-1)
    for row, dropped, mass in zip(found, ~is_kept, rest, strict=True):
        assert len(np.unique(row[dropped])) == 1
        assert row[dropped].sum() == pytest.approx(mass, abs=HALF * 0.37 + 1e-6)
    np.testing.assert_allclose(found.sum(-1), 1, atol=HALF * (0.37 + math.log(k + 1)))


@pytest.mark.parametrize("classes", [3, 257, 32_769, 65_536, 65_537, 70_001])
def test_classes_of_any_number_survive(classes):
    places = [one for one in (1, 256, 32_767, 32_768, 65_535, 65_536, 70_000) if one < classes]
    for place in places:
        logits = np.full((1, classes), -3, np.float32)
        logits[0, place], logits[0, 0] = 9 + math.log(classes), 8 + math.log(classes)
        found = back(logits, 2)[0]
        assert np.argsort(-found, kind="stable")[:2].tolist() == [place, 0]
        assert softmax(found)[place] == pytest.approx(softmax(logits[0])[place], abs=1e-3)
        assert len(np.unique(np.delete(found, [place, 0]))) == 1


@pytest.mark.parametrize(
    ("classes", "top_k", "words"),
    [(10, None, 10), (10, 3, 7), (65_536, 10, 21), (65_537, 10, 31), (2, 1, 3)],
)
def test_a_row_has_so_many_words(classes, top_k, words):
    encoding = Encoding(classes, top_k)
    assert encoding.width == words == encoding.encode(torch.randn(2, classes)).shape[1]
