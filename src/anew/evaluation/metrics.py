"""How good probabilities are: error, negative log-likelihood, calibration, Brier score.

All functions take probabilities, or their logarithms if these are more exact, and labels. They
compute in float64 on the CPU and return plain numbers.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from anew.data.classes import are_uneven
from anew.evaluation.evidence import balanced_accuracy

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Scores:
    """The scores of a network or an ensemble on a set of examples."""

    error: float
    """Top-1 error in percent; NaN of an ensemble of language models, as `ece` and `brier` are."""
    nll: float
    """Mean negative log-likelihood of the labels, in nats."""
    ece: float
    """Expected calibration error in percent: 15 bins of equal width (Guo et al. 2017, equation 3).
    """
    brier: float
    """Mean squared distance to the one-hot label, summed over the classes: 0 to 2 (Brier 1950)."""
    examples: int
    balanced_error: float | None = None
    """The mean of the classes' errors in percent, if the classes are uneven; None if they are not,
    and for examples with answers at several positions."""
    perplexity: float | None = None
    """exp of the NLL of a token, of language models."""
    perplexity_interval: tuple[float, float] | None = None
    """Its 95 % interval, by the bootstrap over blocks of tokens."""

    def to_json(self) -> dict[str, Any]:
        """Return the scores by name, those alone that there are."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        if self.perplexity is None:
            return known
        first = {"perplexity": known.pop("perplexity"), **known}
        return {name: value for name, value in first.items() if not _is_nan(value)}


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def scores(
    log_probabilities: Float[Tensor, "*examples classes"], labels: Int64[Tensor, "*examples"]
) -> Scores:
    """Return all scores of predicted log-probabilities (N, *positions, C) against labels.

    Every position counts as an example.
    """
    is_single = labels.ndim == 1
    exact = log_probabilities.double().flatten(end_dim=-2)
    labels = labels.flatten()
    probabilities = exact.exp()
    confidence, predicted = probabilities.max(-1)
    correct = predicted == labels

    return Scores(
        error=100 * (1 - correct.double().mean().item()),
        nll=F.nll_loss(exact, labels).item(),
        ece=100 * calibration_error(confidence, correct),
        brier=(probabilities - F.one_hot(labels, exact.shape[-1])).square().sum(-1).mean().item(),
        examples=len(labels),
        balanced_error=_balanced_error(predicted, labels, exact.shape[-1]) if is_single else None,
    )


def _balanced_error(predicted: Tensor, labels: Tensor, classes: int) -> float | None:
    """Return the mean error of the classes that are there, in percent; None if they are even."""
    if not len(labels) or not are_uneven(torch.bincount(labels, minlength=classes)):
        return None
    return 100 * (1 - balanced_accuracy(predicted, labels))


def calibration_error(
    confidence: Float[Tensor, "examples"], correct: Tensor, bins: int = CALIBRATION_BINS
) -> float:
    """Return the expected calibration error over bins of equal width, each closed above.

    sum_b (n_b / N) |accuracy_b - mean confidence_b|, as a share (Guo et al. 2017, equation 3).
    """
    number = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = torch.zeros(bins, dtype=torch.float64).index_add_(
        0, number, correct.double() - confidence.double()
    )
    return (gap.abs().sum() / len(confidence)).item()
