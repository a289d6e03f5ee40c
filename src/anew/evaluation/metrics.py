"""How good probabilities are: error, negative log-likelihood, calibration, Brier score.

All functions take probabilities, or their logarithms if these are more exact, and labels. They
compute in float64 on the CPU and return plain numbers.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Scores:
    """The scores of a network or an ensemble on a set of examples."""

    error: float
    """Top-1 error in percent."""
    nll: float
    """Mean negative log-likelihood of the labels, in nats."""
    ece: float
    """Expected calibration error in percent: 15 bins of equal width (Guo et al. 2017, equation 3).
    """
    brier: float
    """Mean squared distance to the one-hot label, summed over the classes: 0 to 2 (Brier 1950)."""
    examples: int

    def to_json(self) -> dict[str, float | int]:
        """Return the scores by name."""
        return asdict(self)


def scores(
    log_probabilities: Float[Tensor, "*examples classes"], labels: Int64[Tensor, "*examples"]
) -> Scores:
    """Return all scores of predicted log-probabilities (N, *positions, C) against labels.

    Every position counts as an example.
    """
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
    )


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
