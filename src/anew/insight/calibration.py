"""Whether probabilities mean what they say, and whom a student harms: errors by class, flips, and their repair."""

from __future__ import annotations

from dataclasses import dataclass

from anew.metrics import Scores
from anew.statistics import Difference, Interval


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
    """How calibrated a generation or an ensemble is, as it is and at the temperature that validation chose."""

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
    """What divides the log-probabilities for the least NLL on the validation split; None where none is held out, or
    the validation split itself is looked at.
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
    """Of the error in percentage points, after less before: McNemar's test and the bootstrap over examples."""
    negative_flips: Interval
    """Share of the examples, in percent, that were right before and are wrong now."""
    positive_flips: Interval
    """Share of the examples, in percent, that were wrong before and are right now."""
    repaired: Interval
    """Share of the negative flips, in percent, that the ensemble of the whole lineage gets right; NaN without flips."""
    classes: tuple[ClassChange, ...]
    """All classes, those that lose most first."""
