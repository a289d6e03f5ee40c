"""Statistics against SciPy, by hand and by simulation: intervals cover, tests err as often as they
say.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from anew.evaluation import statistics
from anew.evaluation.statistics import Difference

VALUES = st.lists(
    st.integers(-5000, 5000).map(lambda number: number / 100), min_size=2, max_size=12
)


@given(VALUES)
@settings(deadline=None)
def test_an_estimate_is_students_interval(values):
    found = statistics.estimate(values)
    assert found.mean == pytest.approx(np.mean(values)) and found.count == len(values)
    if found.deviation > 0:
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert (found.low, found.high) == pytest.approx((low, high))


def test_one_seed_has_no_interval():
    found = statistics.estimate([3.5])
    assert found.mean == 3.5 and math.isnan(found.low) and math.isnan(found.deviation)
    with pytest.raises(ValueError, match="two seeds"):
        statistics.over_seeds([1.0], [2.0])


@given(st.integers(0, 10_000), st.integers(2, 12))
@settings(deadline=None)
def test_a_comparison_over_seeds_is_the_paired_t_test(seed, count):
    ours, theirs = np.random.default_rng(seed).normal(size=(2, count))
    found = statistics.over_seeds(ours, theirs)
    expected = stats.ttest_rel(ours, theirs)
    assert found.p == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.p_rank == pytest.approx(stats.wilcoxon(ours, theirs).pvalue)


def test_equal_errors_are_no_difference_and_equal_differences_are_certain():
    same = statistics.over_seeds([1.0, 2.0], [1.0, 2.0])
    assert (same.mean, same.p, same.p_rank) == (0, 1, 1)
    assert statistics.over_seeds([2.0, 3.0], [1.0, 2.0]).p == 0


@given(st.integers(0, 10_000), st.integers(1, 300))
@settings(deadline=None, max_examples=30)
def test_a_comparison_over_examples_is_mcnemars(seed, count):
    ours, theirs = np.random.default_rng(seed).random((2, count)) < 0.3
    found = statistics.over_examples(ours, theirs)
    only_ours, only_theirs = (ours & ~theirs).sum(), (theirs & ~ours).sum()
    assert found.mean == pytest.approx(100 * (ours.mean() - theirs.mean()))
    if only_ours + only_theirs:
        assert found.p == pytest.approx(
            stats.binomtest(int(only_ours), int(only_ours + only_theirs)).pvalue
        )
    else:
        assert (found.p, found.low, found.high) == (1, 0, 0)
    assert found.low <= found.mean <= found.high


def test_the_bootstrap_interval_is_that_of_drawn_examples():
    rng = np.random.default_rng(0)
    ours, theirs = rng.random(400) < 0.3, rng.random(400) < 0.25
    found = statistics.over_examples(ours, theirs)
    drawn = rng.integers(0, 400, (10_000, 400))
    by_hand = 100 * (ours[drawn].mean(1) - theirs[drawn].mean(1))
    assert (found.low, found.high) == pytest.approx(np.quantile(by_hand, [0.025, 0.975]), abs=0.3)


def test_what_a_comparison_needed_is_where_its_verdict_turns():
    """Values with the same spread and a mean a hair above `needed` are shown, a hair below not."""
    generator = np.random.default_rng(3)
    spread = generator.normal(0, 1, 4)
    spread -= spread.mean()
    others = [statistics.over_seeds([9.0, 5.0, 2.0, 4.0], [1.0, 7.0, 3.0, 9.0])] * 4
    for shift, shown in ((1.001, "worse"), (0.999, "no difference shown")):
        first = statistics.over_seeds(spread, np.zeros(4))
        needed = statistics.needed(first, 5)
        moved = statistics.over_seeds(spread + shift * needed, np.zeros(4))
        judged = statistics.judge([moved, *others])[0]
        assert judged.verdict == shown
        assert judged.needed == pytest.approx(needed)
        # By hand: t at 1 - 0.05 / (2 x 5) with 3 degrees of freedom, times the standard error.
        by_hand = stats.t.ppf(1 - 0.05 / 10, 3) * spread.std(ddof=1) / 2
        assert needed == pytest.approx(by_hand)


def test_what_a_comparison_over_examples_needed_is_about_mcnemars():
    ours, theirs = np.zeros(2000, bool), np.zeros(2000, bool)
    ours[:60], theirs[60:110] = True, True
    needed = statistics.needed(statistics.over_examples(ours, theirs), 1)
    # Of 110 examples that one of both gets wrong, how uneven a split McNemar's exact test shows.
    least = next(k for k in range(55, 111) if stats.binomtest(k, 110).pvalue < 0.05)
    assert needed == pytest.approx(100 * (2 * least - 110) / 2000, rel=0.12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holm_is_the_step_down_by_hand(values):
    found = statistics.holm(values)
    for index, value in enumerate(values):
        # Of all p-values up to this one, each times how many are not smaller: the largest.
        order = sorted(range(len(values)), key=lambda i: (values[i], i))
        rank = order.index(index)
        expected = max((len(values) - place) * values[order[place]] for place in range(rank + 1))
        assert found[index] == pytest.approx(min(1, expected))
        assert found[index] >= value


def test_false_positives_come_as_often_as_they_may():
    """Comparisons of 5 seeds without a difference: about 5 % are significant, and of families at
    most 5 % by Holm.
    """
    rng = np.random.default_rng(1)
    p = [statistics.over_seeds(*rng.normal(size=(2, 5))).p for _ in range(1000)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 1000))
    families = [min(statistics.holm(p[start : start + 5])) < 0.05 for start in range(0, 1000, 5)]
    assert np.mean(families) <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 200)
    examples = [statistics.over_examples(*(rng.random((2, 500)) < 0.2)).p for _ in range(500)]
    assert np.mean(np.array(examples) < 0.05) <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 500)


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(2)
    covered = [
        found.low <= 0 <= found.high
        for found in (statistics.estimate(rng.normal(size=4)) for _ in range(1000))
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=4 * math.sqrt(0.05 * 0.95 / 1000))


@pytest.mark.parametrize(
    ("low", "high", "p", "word"),
    [
        (0.1, 0.9, 0.01, "worse"),
        (-0.9, -0.1, 0.01, "better"),
        (-0.1, 0.9, 0.01, "no difference shown"),
        (0.1, 0.9, 0.2, "no difference shown"),
        (math.nan, math.nan, 0.01, "no difference shown"),
        (0.1, 0.9, math.nan, "no difference shown"),
    ],
)
def test_words_need_both_the_interval_and_the_corrected_p(low, high, p, word):
    assert statistics.verdict(Difference((low + high) / 2, low, high, p, "", 5), p) == word


def test_order_does_not_matter_to_holm():
    values = [0.01, 0.04, 0.03]
    expected = dict(zip(values, statistics.holm(values), strict=True))
    for order in itertools.permutations(values):
        assert dict(zip(order, statistics.holm(order), strict=True)) == expected
