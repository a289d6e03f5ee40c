"""Sets of classes that hold the true one with a chosen probability: split conformal prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from anew.core.errors import AnewError


@dataclass(frozen=True)
class Conformal:
    """Which classes go into a picture's set: those whose score 1 - p is at most `threshold`."""

    coverage: float
    """The share of new examples whose set holds the true class, at least, on average."""
    threshold: float
    examples: int
    """The number of held-out examples that the threshold comes from."""

    def sets(
        self, log_probabilities: Float[Tensor, "examples classes"]
    ) -> Bool[Tensor, "examples classes"]:
        """Return which classes are in the sets of examples; a set may be empty."""
        return 1 - log_probabilities.double().exp() <= self.threshold


@dataclass(frozen=True)
class SetScores:
    """How sets of classes do on examples with labels."""

    coverage: float
    """The share of sets that hold the label, in percent."""
    size: float
    """The mean number of classes in a set."""


def check_coverage(coverage: float) -> None:
    """Raise `AnewError` if a coverage is no share between 0 and 1."""
    if not 0 < coverage < 1:
        raise AnewError(
            f"conformal must be above 0 and below 1, got {coverage:g}; set --conformal 0.9 for "
            "sets that hold the true class of 90 % of pictures"
        )


def fit_conformal(
    log_probabilities: Float[Tensor, "examples classes"],
    labels: Int64[Tensor, "examples"],
    coverage: float,
) -> Conformal:
    """Return the threshold of sets from held-out examples (N, C), by their scores 1 - p of labels.

    It is the ceil((N + 1) coverage)-th smallest of the N scores. If new examples are drawn as the
    held-out ones were, their sets hold the true class with a probability of at least `coverage`
    (Vovk et al. 2005; Sadinle et al. 2019, LAC). Raises `AnewError` for a coverage outside of 0 to
    1, and for too few examples.
    """
    check_coverage(coverage)
    count = len(labels)
    # As it is written: 0.55 times 100 is more than 55 in floating point.
    share = Fraction(repr(coverage))
    rank = math.ceil((count + 1) * share)
    if rank > count:
        least = math.ceil(share / (1 - share))
        raise AnewError(
            f"conformal: sets for {coverage:g} need at least {least:,} held-out examples, and "
            f"there are {count:,}; lower the probability, or hold out more with --data.validation"
        )

    of_labels = log_probabilities.double().gather(1, labels[:, None]).squeeze(1)
    scores = (1 - of_labels.exp()).sort().values
    return Conformal(coverage, scores[rank - 1].item(), count)


def score_sets(
    conformal: Conformal,
    log_probabilities: Float[Tensor, "examples classes"],
    labels: Int64[Tensor, "examples"],
) -> SetScores:
    """Return how sets do on examples (N, C) with labels: best on others than the held-out ones."""
    sets = conformal.sets(log_probabilities)
    covered = sets.gather(1, labels[:, None]).double().mean().item()
    return SetScores(100 * covered, sets.sum(-1).double().mean().item())
