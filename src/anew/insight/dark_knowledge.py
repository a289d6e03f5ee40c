"""What networks think beyond their answer: classes that are alike to them, how sure they are, second thoughts."""

from __future__ import annotations

from dataclasses import dataclass

from anew.statistics import Interval

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class SecondThought:
    """A picture that a network calls one class and nearly another."""

    example: int
    """Its place in the split (for `train`, among the training examples as split)."""
    label: int
    first: int
    first_probability: float
    second: int
    second_probability: float


@dataclass(frozen=True)
class DarkKnowledge:
    """What is in a generation's outputs beside the answer."""

    generation: int
    id: str
    confidence: Interval
    """Mean of the largest probability."""
    correct: Interval
    """Mean probability of the right class."""
    entropy: Interval
    """Mean entropy of the outputs, in nats."""
    dark_entropy: Interval
    """Mean entropy, in nats, of the outputs without their largest, scaled to sum 1: log(C - 1) where all other classes
    are equally likely, 0 where there is one second thought.
    """
    similarity: Matrix
    """Row i: where the probability beside the largest lies, over the examples called i. Rows sum to 1 (0 where nothing
    is called i), the diagonal is 0.
    """
    permuted: Matrix
    """The same after DKPP's permutation."""
    confusion: tuple[tuple[int, ...], ...]
    """Row i, column j: how many examples of class i are called j."""
    agreement: float
    """Spearman's rank correlation, over pairs of classes i != j, of `similarity[i][j]` with how often what is called i
    is j. NaN where there are no errors.
    """
    agreement_permuted: float
    """The same of `permuted`: what the permutation leaves of it."""
    kept_by_permutation: float
    """Spearman's rank correlation of `similarity` with `permuted` over pairs i != j."""
    second_thoughts: tuple[SecondThought, ...]
    """The pictures with the likeliest second class, one for each pair of classes, likeliest first, at most 24."""
