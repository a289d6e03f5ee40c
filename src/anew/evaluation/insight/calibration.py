"""Whether probabilities mean what they say, and whom a student harms: errors by class, flips, and
their repair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from scipy import optimize, stats
from torch import Tensor

from anew.evaluation import metrics, statistics
from anew.evaluation.metrics import CALIBRATION_BINS, Scores
from anew.evaluation.statistics import Difference, Interval

TEMPERATURES = (0.02, 50.0)
"""Between which temperatures are looked for: where a network is right on all of validation, none is
the best.
"""


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
    """How calibrated a generation or an ensemble is, as it is and at the temperature that
    validation chose.
    """

    generations: tuple[int, ...]
    name: str
    """As in `anew evaluate`: `generation 2`, `ensemble 0-2`."""
    scores: Scores
    """Error, NLL, ECE (equal width) and Brier score: those of `anew evaluate --json`."""
    ece_equal_mass: float
    """Expected calibration error in percent, 15 bins of equally many examples."""
    bins: tuple[ReliabilityBin, ...]
    """The reliability diagram: those bins, least sure first."""
    temperature: float | None
    """What divides the log-probabilities for the least NLL on the validation split; None where none
    is held out, or the validation split itself is looked at.
    """
    scaled: Scores | None
    """The scores at that temperature."""
    scaled_ece_equal_mass: float | None
    scaled_bins: tuple[ReliabilityBin, ...]


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
    """Of the error in percentage points, after less before: McNemar's test and the bootstrap over
    examples.
    """
    negative_flips: Interval
    """Share of the examples, in percent, that were right before and are wrong now."""
    positive_flips: Interval
    """Share of the examples, in percent, that were wrong before and are right now."""
    repaired: Interval
    """Share of the negative flips, in percent, that the ensemble of the whole lineage gets right;
    NaN without flips, and where that ensemble is what came after.
    """
    classes: tuple[ClassChange, ...]
    """All classes, those that lose most first."""


def measure(
    generations: tuple[int, ...],
    name: str,
    log_probabilities: Float[Tensor, "examples classes"],
    labels: Int64[Tensor, "examples"],
    validation: tuple[Float[Tensor, "held_out classes"], Int64[Tensor, "held_out"]] | None,
) -> Calibration:
    """Return how calibrated log-probabilities (N, C) are, as they are and at the temperature that
    validation picks.

    `validation` are the same network's log-probabilities of other examples, and their labels:
    nothing is chosen on the examples that are scored.
    """
    bins = reliability(log_probabilities, labels)
    temperature = fit_temperature(*validation) if validation is not None else None
    scaled = (
        F.log_softmax(log_probabilities.double() / temperature, dim=-1)
        if temperature is not None
        else None
    )
    scaled_bins = reliability(scaled, labels) if scaled is not None else ()
    return Calibration(
        generations=generations,
        name=name,
        scores=metrics.scores(log_probabilities, labels),
        ece_equal_mass=expected_error(bins),
        bins=bins,
        temperature=temperature,
        scaled=metrics.scores(scaled, labels) if scaled is not None else None,
        scaled_ece_equal_mass=expected_error(scaled_bins) if scaled is not None else None,
        scaled_bins=scaled_bins,
    )


def reliability(
    log_probabilities: Float[Tensor, "examples classes"], labels: Int64[Tensor, "examples"]
) -> tuple[ReliabilityBin, ...]:
    """Return 15 bins of equally many examples (or one more), ordered by confidence: a reliability
    diagram's points.

    Equal mass rather than equal width (Nixon et al. 2019): no bin is nearly empty. Ties stay in the
    examples' order.
    """
    confidence, called = log_probabilities.double().exp().max(-1)
    correct = called == labels
    bins: list[ReliabilityBin] = []
    for part in torch.argsort(confidence, stable=True).tensor_split(CALIBRATION_BINS):
        if len(part):
            right = int(correct[part].sum())
            interval = stats.binomtest(right, len(part)).proportion_ci(
                statistics.CONFIDENCE, method="wilson"
            )
            mean = confidence[part].mean().item()
            bins.append(
                ReliabilityBin(
                    mean, right / len(part), float(interval.low), float(interval.high), len(part)
                )
            )
    return tuple(bins)


def expected_error(bins: Sequence[ReliabilityBin]) -> float:
    """Return the expected calibration error in percent, sum_b n_b / N |accuracy_b - confidence_b|,
    over such bins.
    """
    total = sum(one.examples for one in bins)
    return 100 * sum(one.examples * abs(one.accuracy - one.confidence) for one in bins) / total


def fit_temperature(
    log_probabilities: Float[Tensor, "held_out classes"], labels: Int64[Tensor, "held_out"]
) -> float:
    """Return the T > 0 of the least mean NLL of softmax(log p / T) (Guo et al. 2017, section 4.2).

    The NLL is convex in 1/T, so a search over an interval finds the one minimum; T lies in [0.02,
    50].
    """
    exact = log_probabilities.double()

    def nll(inverse_logarithm: float) -> float:
        return F.cross_entropy(exact * math.exp(inverse_logarithm), labels).item()

    bounds = tuple(sorted(-math.log(one) for one in TEMPERATURES))
    found = optimize.minimize_scalar(nll, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return math.exp(-float(found.x))


def compare(
    before: tuple[int, ...],
    after: tuple[int, ...],
    name: str,
    right_before: Bool[Tensor, "examples"],
    right_after: Bool[Tensor, "examples"],
    right_ensemble: Bool[Tensor, "examples"] | None,
    labels: Int64[Tensor, "examples"],
    classes: Sequence[str],
) -> Harm:
    """Return what changed between two networks, from which examples each gets right.

    `right_ensemble` says what the ensemble that may repair gets right; None where that is one of
    the two.
    """
    negative, positive = right_before & ~right_after, ~right_before & right_after
    repaired = (
        negative & right_ensemble
        if right_ensemble is not None
        else torch.full_like(negative, False)
    )
    flips = {"lost": negative, "won": positive, "repaired": repaired}
    intervals = statistics.bootstrap(
        {name: one.double().numpy() for name, one in flips.items()},
        lambda mean: {
            "negative_flips": 100 * mean["lost"],
            "positive_flips": 100 * mean["won"],
            "repaired": 100 * mean["repaired"] / mean["lost"],
        },
    )
    if right_ensemble is None:
        intervals["repaired"] = Interval(math.nan, math.nan, math.nan)
    changes: list[ClassChange] = []
    for number, one in enumerate(classes):
        of_class = labels == number
        count = int(of_class.sum())
        errors = [
            100 * (~right[of_class]).double().mean().item() for right in (right_before, right_after)
        ]
        changes.append(ClassChange(number, one, count, errors[0], errors[1], errors[1] - errors[0]))
    return Harm(
        before=before,
        after=after,
        name=name,
        difference=statistics.over_examples((~right_after).numpy(), (~right_before).numpy()),
        **intervals,
        # A class without examples has no change, and comes last.
        classes=tuple(
            sorted(changes, key=lambda one: (one.examples == 0, -one.change if one.examples else 0))
        ),
    )
