"""What differences between networks' errors show: intervals, paired tests, corrections.

Over seeds, values are one number a seed. On one seed, networks are compared by which test examples
each gets wrong. All in float64, by SciPy; intervals hold with probability 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import scipy
from numpy.typing import NDArray

T = TypeVar("T")
CONFIDENCE = 0.95
OVER_SEEDS = "paired t over seeds"
BOOTSTRAP_SAMPLES = 10_000
MEANS_SAMPLES = 1_000
DRAWN_AT_ONCE = 1_000_000
Values = Sequence[float] | NDArray[np.float64]
Columns = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval; of one seed there is no interval (NaN)."""

    mean: float
    deviation: float
    """The sample's standard deviation, NaN for one seed."""
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Difference:
    """Ours less theirs, paired by seed or by example: mean, interval and p-value."""

    mean: float
    low: float
    high: float
    p: float
    """Two-sided, not corrected."""
    test: str
    count: int
    p_rank: float = math.nan
    """The p-value of Wilcoxon's signed-rank test over seeds; it assumes no normal distribution."""

    @property
    def is_over_seeds(self) -> bool:
        """Whether values of seeds were compared, not test examples of one seed."""
        return self.test == OVER_SEEDS


@dataclass(frozen=True)
class Judged:
    """One of several differences, and what it shows after Holm's correction for all of them."""

    difference: Difference
    corrected_p: float
    verdict: str
    needed: float
    """The least difference, as large as a mean, that would have been shown: see `needed`."""


@dataclass(frozen=True)
class Interval:
    """A number measured on examples, and the bootstrap's interval over them.

    NaN if it is not defined.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OverSeeds(Interval):
    """A number measured once a seed: the mean, Student's interval over seeds, and each value."""

    values: tuple[float, ...]
    """By seed, in their order; NaN where it is not defined, and then the mean is NaN too."""


def estimate(values: Values) -> Estimate:
    """Return mean, standard deviation and Student's t interval of values over seeds."""
    numbers = np.asarray(values, np.float64)
    mean, count = float(numbers.mean()), len(numbers)
    if count < 2:
        return Estimate(mean, math.nan, math.nan, math.nan, count)
    deviation = float(numbers.std(ddof=1))
    half = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * deviation / math.sqrt(count)
    return Estimate(mean, deviation, mean - half, mean + half, count)


def across_seeds(values: Sequence[float]) -> OverSeeds:
    """Return the mean of a number that was measured once a seed, with its interval over seeds.

    Of one seed there is no interval (NaN).
    """
    found = estimate(values)
    return OverSeeds(found.mean, found.low, found.high, tuple(values))


def across(measured: Sequence[T]) -> T:
    """Return a description whose intervals are over seeds, from one of each seed.

    Fields that are no intervals are the first seed's.
    """
    first: Any = measured[0]
    values = {
        field.name: across_seeds([getattr(one, field.name).value for one in measured])
        for field in fields(first)
        if isinstance(getattr(first, field.name), Interval)
    }
    return replace(first, **values)


def over_seeds(ours: Values, theirs: Values) -> Difference:
    """Compare two networks' errors paired by seed: paired t, with Wilcoxon's p beside it.

    Raises ValueError for fewer than two seeds.
    """
    differences = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    if len(differences) < 2:
        raise ValueError("a comparison over seeds needs two seeds or more")

    mean = estimate(differences.tolist())
    # Equal differences in every seed: certain if they are not 0, and no evidence if they are.
    p = (
        float(mean.mean == 0)
        if mean.deviation == 0
        else _p(scipy.stats.ttest_1samp(differences, 0.0))
    )
    rank = _p(scipy.stats.wilcoxon(differences)) if bool((differences != 0).any()) else 1.0
    return Difference(mean.mean, mean.low, mean.high, p, OVER_SEEDS, mean.count, rank)


def over_examples(
    ours_wrong: NDArray[np.bool_], theirs_wrong: NDArray[np.bool_], seed: int = 0
) -> Difference:
    """Compare two networks by the test examples that each gets wrong, in percentage points.

    The p-value is McNemar's, exact: of the examples that only one gets wrong, as many on either
    side. The interval is the bootstrap's over examples, by percentiles. Both say nothing of other
    seeds.
    """
    ours, theirs = np.asarray(ours_wrong, bool), np.asarray(theirs_wrong, bool)
    only_ours, only_theirs = int((ours & ~theirs).sum()), int((~ours & theirs).sum())
    discordant = only_ours + only_theirs
    p = _p(scipy.stats.binomtest(only_ours, discordant)) if discordant else 1.0

    # A sample of examples with replacement holds a multinomial number of each kind, so the examples
    # need not be drawn.
    count = len(ours)
    rates = [only_ours / count, only_theirs / count, 1 - discordant / count]
    drawn = np.random.default_rng(seed).multinomial(count, rates, BOOTSTRAP_SAMPLES)
    points = 100 * (drawn[:, 0] - drawn[:, 1]) / count
    low, high = np.quantile(points, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])

    mean = 100 * (only_ours - only_theirs) / count
    return Difference(
        mean, float(low), float(high), p, "McNemar, bootstrap over test examples", count
    )


def means_over_examples(ours: Values, theirs: Values) -> Difference:
    """Compare the means of a number that two networks have for each test example, such as the NLL.

    Paired: Student's t of the differences, whose interval and p-value say nothing of other seeds.
    """
    found = over_seeds(ours, theirs)
    return replace(found, test="paired t over test examples", p_rank=math.nan)


def bootstrap(
    columns: Columns, of_means: Callable[[Columns], Columns], seed: int = 0
) -> dict[str, Interval]:
    """Return quantities of means over examples, with the bootstrap's intervals by percentiles.

    `columns` are numbers of each example (N,), by name. `of_means` takes their means, one for each
    of 1,000 samples of examples, and returns quantities of the same shape; most are ratios of
    means. Samples in which a quantity is not finite do not count for it. If it is not finite for
    the examples themselves, value and interval are NaN.
    """
    names, numbers = list(columns), np.stack(list(columns.values()), axis=-1)
    count = len(numbers)
    generator = np.random.default_rng(seed)

    # First the examples themselves, then samples of them, a few at once to bound the memory.
    drawn: list[NDArray[np.float64]] = [numbers.mean(0, keepdims=True)]
    at_once = max(1, DRAWN_AT_ONCE // count)
    for start in range(0, MEANS_SAMPLES, at_once):
        samples = min(at_once, MEANS_SAMPLES - start)
        chosen = (
            generator.integers(0, count, (samples, count)) + count * np.arange(samples)[:, None]
        )
        times = np.bincount(chosen.ravel(), minlength=samples * count).reshape(samples, count)
        drawn.append(times @ numbers / count)

    means = np.concatenate(drawn)
    with np.errstate(divide="ignore", invalid="ignore"):
        quantities = of_means(dict(zip(names, means.T, strict=True)))
    return {name: _percentiles(values[0], values[1:]) for name, values in quantities.items()}


def in_blocks(columns: Columns, length: int) -> dict[str, NDArray[np.float64]]:
    """Return the sums of numbers over blocks of neighbours, for `bootstrap`, and the blocks' sizes.

    Neighbours in a text are alike, so a sample draws blocks of them. The mean over the examples is
    the mean of a column over that of `size`; the last block may be shorter.
    """
    count = len(next(iter(columns.values())))
    starts = np.arange(0, count, length)
    sums = {name: np.add.reduceat(values, starts) for name, values in columns.items()}
    return {**sums, "size": np.diff(np.append(starts, count)).astype(np.float64)}


def over_blocks(
    ours_nll: NDArray[np.float64], theirs_nll: NDArray[np.float64], length: int, seed: int = 0
) -> Difference:
    """Compare the perplexities of two language models by -log p of each token of a text.

    The interval is the bootstrap's over blocks of `length` tokens; the p-value is twice the share
    of samples on the other side of 0. Both say nothing of other seeds.
    """
    columns = {"ours": np.asarray(ours_nll), "theirs": np.asarray(theirs_nll)}
    blocks = in_blocks(columns, length)
    ours, theirs, sizes = blocks["ours"], blocks["theirs"], blocks["size"]

    generator = np.random.default_rng(seed)
    means: list[NDArray[np.float64]] = []
    for start in range(0, BOOTSTRAP_SAMPLES, 500):
        drawn_at_once = (min(500, BOOTSTRAP_SAMPLES - start), len(sizes))
        chosen = generator.integers(0, len(sizes), drawn_at_once)
        tokens = sizes[chosen].sum(1)
        apart = np.exp(ours[chosen].sum(1) / tokens) - np.exp(theirs[chosen].sum(1) / tokens)
        means.append(apart)
    drawn = np.concatenate(means)
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])

    mean = float(np.exp(ours.sum() / sizes.sum()) - np.exp(theirs.sum() / sizes.sum()))
    above, below = float((drawn >= 0).mean()), float((drawn <= 0).mean())
    p = min(1.0, 2 * max(min(above, below), 1 / BOOTSTRAP_SAMPLES))
    return Difference(
        mean, float(low), float(high), p, "bootstrap over blocks of the test text", len(sizes)
    )


def _percentiles(value: np.float64, samples: NDArray[np.float64]) -> Interval:
    finite = samples[np.isfinite(samples)]
    if not math.isfinite(value) or not len(finite):
        return Interval(math.nan, math.nan, math.nan)
    low, high = np.quantile(finite, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(value), float(low), float(high))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm's step-down method (Holm 1979), in the order given."""
    order = np.argsort(p_values, kind="stable")
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order.tolist()):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def judge(differences: Sequence[Difference]) -> list[Judged]:
    """Return what several differences show together, in the order given.

    Their p-values are corrected for each other.
    """
    corrected = holm([difference.p for difference in differences])
    return [
        Judged(difference, p, verdict(difference, p), needed(difference, len(differences)))
        for difference, p in zip(differences, corrected, strict=True)
    ]


def needed(difference: Difference, comparisons: int) -> float:
    """Return the least difference that would have been shown, given how much this one varies.

    It is the half interval at the level 5 % / `comparisons`, Holm's first step: Student's over
    seeds, and by a normal approximation over examples.
    """
    half = (difference.high - difference.low) / 2
    tail = (1 - CONFIDENCE) / 2
    over_seeds = difference.is_over_seeds
    distribution = scipy.stats.t(difference.count - 1) if over_seeds else scipy.stats.norm
    return half * float(distribution.ppf(1 - tail / comparisons) / distribution.ppf(1 - tail))


def verdict(difference: Difference, corrected_p: float) -> str:
    """Return what a difference in error shows: only what interval and corrected p-value support."""
    excludes_zero = difference.low > 0 or difference.high < 0
    if not excludes_zero or not corrected_p < 1 - CONFIDENCE:
        return "no difference shown"
    return "worse" if difference.mean > 0 else "better"


def _p(result: Any) -> float:
    return float(result.pvalue)
