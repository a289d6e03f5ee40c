"""Whether probabilities mean what they say, and whom a student harms.

Errors by class, flips between generations, and their repair by an ensemble.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import scipy
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from anew.core.text import generations_name
from anew.evaluation import metrics, statistics
from anew.evaluation.metrics import CALIBRATION_BINS, Scores
from anew.evaluation.statistics import Difference, Interval
from anew.evaluation.temperature import at_temperature, fit_temperature


@dataclass(frozen=True)
class ReliabilityBin:
    """An equal share of the examples, of about equal confidence."""

    confidence: float
    """Mean of the largest probability."""
    accuracy: float
    low: float
    """Of the accuracy's interval (Wilson 1927), 95 %."""
    high: float
    examples: int


@dataclass(frozen=True)
class Calibration:
    """How calibrated a generation or an ensemble is, as it is and at validation's temperature."""

    generations: tuple[int, ...]
    name: str
    """As in `anew evaluate`: `generation 2`, `ensemble 0-2`."""
    scores: Scores
    """Error, NLL, ECE (equal width) and Brier score: those of `anew evaluate --json`."""
    ece_equal_mass: float
    """Expected calibration error in percent, 15 bins of equally many examples."""
    bins: tuple[ReliabilityBin, ...]
    """The reliability diagram: those bins, least sure first."""
    temperature: float | None = None
    """What divides the log-probabilities for the least NLL on the validation split.

    None if none is held out, or if the validation split itself is looked at.
    """
    scaled: Scores | None = None
    """The scores at that temperature."""
    scaled_ece_equal_mass: float | None = None
    scaled_bins: tuple[ReliabilityBin, ...] = ()


@dataclass(frozen=True)
class ClassChange:
    """A class's error before and after, in percent."""

    label: int
    name: str
    examples: int
    before: float
    after: float
    change: float
    """In percentage points; more than 0 is worse."""


@dataclass(frozen=True)
class Harm:
    """What changed from one network (or ensemble) to another, example by example."""

    before: tuple[int, ...]
    """Generations: one, or those of an ensemble."""
    after: tuple[int, ...]
    name: str
    """`generation 0 to generation 1`."""
    difference: Difference
    """Of the error in percentage points, after less before (McNemar, bootstrap over examples)."""
    negative_flips: Interval
    """Share of the examples, in percent, that were right before and are wrong now."""
    positive_flips: Interval
    """Share of the examples, in percent, that were wrong before and are right now."""
    repaired: Interval
    """Share of the negative flips, in percent, that the ensemble of the whole lineage gets right.

    NaN without flips, and if `after` is that ensemble.
    """
    classes: tuple[ClassChange, ...]
    """All classes, those that lose most first."""


def measure(
    generations: tuple[int, ...],
    log_probabilities: Float[Tensor, "examples classes"],
    labels: Int64[Tensor, "examples"],
    validation: tuple[Float[Tensor, "held_out classes"], Int64[Tensor, "held_out"]] | None,
) -> Calibration:
    """Return how calibrated log-probabilities (N, C) are, as they are and at one temperature.

    `validation` are the same network's log-probabilities of other examples, and their labels. They
    choose the temperature: nothing is chosen on the examples that are scored.
    """
    bins = reliability(log_probabilities, labels)
    as_it_is = Calibration(
        generations=generations,
        name=generations_name(generations),
        scores=metrics.scores(log_probabilities, labels),
        ece_equal_mass=expected_error(bins),
        bins=bins,
    )
    if validation is None:
        return as_it_is

    temperature = fit_temperature(*validation)
    scaled = at_temperature(log_probabilities, temperature)
    scaled_bins = reliability(scaled, labels)
    return replace(
        as_it_is,
        temperature=temperature,
        scaled=metrics.scores(scaled, labels),
        scaled_ece_equal_mass=expected_error(scaled_bins),
        scaled_bins=scaled_bins,
    )


def reliability(
    log_probabilities: Float[Tensor, "examples classes"], labels: Int64[Tensor, "examples"]
) -> tuple[ReliabilityBin, ...]:
    """Return the points of a reliability diagram: 15 bins of equally many examples, or one more.

    They are ordered by confidence; ties stay in the examples' order. With equal mass rather than
    equal width no bin is nearly empty (Nixon et al. 2019).
    """
    confidence, called = log_probabilities.double().exp().max(-1)
    correct = called == labels

    bins: list[ReliabilityBin] = []
    for part in torch.argsort(confidence, stable=True).tensor_split(CALIBRATION_BINS):
        if len(part):
            right = int(correct[part].sum())
            low, high = _wilson(right, len(part))
            mean = confidence[part].mean().item()
            bins.append(ReliabilityBin(mean, right / len(part), low, high, len(part)))
    return tuple(bins)


# SciPy takes a millisecond, and the bins of many networks hold few different counts.
@lru_cache(maxsize=4096)
def _wilson(right: int, count: int) -> tuple[float, float]:
    """Return the interval of a share of so many examples (Wilson 1927)."""
    interval = scipy.stats.binomtest(right, count).proportion_ci(
        statistics.CONFIDENCE, method="wilson"
    )
    return float(interval.low), float(interval.high)


def expected_error(bins: Sequence[ReliabilityBin]) -> float:
    """Return the expected calibration error in percent over the bins of `reliability`.

    sum_b n_b / N |accuracy_b - confidence_b|.
    """
    total = sum(part.examples for part in bins)
    gaps = sum(part.examples * abs(part.accuracy - part.confidence) for part in bins)
    return 100 * gaps / total


@dataclass(frozen=True)
class Answers:
    """Which examples a network or an ensemble gets right."""

    generations: tuple[int, ...]
    right: Bool[Tensor, "examples"]


def compare(
    before: Answers,
    after: Answers,
    repair: Answers | None,
    labels: Int64[Tensor, "examples"],
    classes: Sequence[str],
) -> Harm:
    """Return what changed between two networks, from which examples each gets right.

    `repair` is the ensemble that may repair what is lost; None if that is one of the two.
    """
    negative, positive = before.right & ~after.right, ~before.right & after.right
    repaired = negative & repair.right if repair is not None else torch.zeros_like(negative)
    flips = {"lost": negative, "won": positive, "repaired": repaired}
    intervals = statistics.bootstrap(
        {name: flipped.double().numpy() for name, flipped in flips.items()},
        lambda mean: {
            "negative_flips": 100 * mean["lost"],
            "positive_flips": 100 * mean["won"],
            "repaired": 100 * mean["repaired"] / mean["lost"],
        },
    )
    if repair is None:
        intervals["repaired"] = Interval(math.nan, math.nan, math.nan)

    names = [generations_name(answers.generations) for answers in (before, after)]
    return Harm(
        before=before.generations,
        after=after.generations,
        name=" to ".join(names),
        difference=statistics.over_examples((~after.right).numpy(), (~before.right).numpy()),
        **intervals,
        classes=_class_changes(before, after, labels, classes),
    )


def _class_changes(
    before: Answers, after: Answers, labels: Tensor, classes: Sequence[str]
) -> tuple[ClassChange, ...]:
    """Return the errors of all classes before and after, those that lose most first.

    A class without examples has no change, and comes last.
    """

    def error(right: Tensor) -> float:
        return 100 * (~right).double().mean().item()

    changes: list[ClassChange] = []
    for number, name in enumerate(classes):
        of_class = labels == number
        first, second = error(before.right[of_class]), error(after.right[of_class])
        count = int(of_class.sum())
        changes.append(ClassChange(number, name, count, first, second, second - first))

    def loss(change: ClassChange) -> tuple[bool, float]:
        return change.examples == 0, -change.change if change.examples else 0.0

    return tuple(sorted(changes, key=loss))
