"""What a student kept of its teacher: its answers, its doubts, and which classes are alike to it.

Of an example let a be the teacher's answer, argmax p. What is beside it, p without p_a scaled to
sum 1, is the teacher's dark knowledge of that example. It is compared with the student's
probabilities without q_a, scaled likewise, so that how sure either is does not count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from anew.evaluation import statistics
from anew.evaluation.insight import dark_knowledge
from anew.evaluation.statistics import Columns, Interval


@dataclass(frozen=True)
class Kept:
    """What a network kept of a teacher, on one set of examples."""

    error: Interval
    """Share of the examples, in percent, that it gets wrong."""
    confidence: Interval
    """Mean of its largest probability, in percent."""
    same_class: Interval
    """Share of the examples, in percent, to which both give the same class."""
    kl: Interval
    """Mean of KL(p || q) in nats."""
    kl_beside: Interval
    """The same of what is beside the teacher's answer, each scaled to sum 1."""
    same_second: Interval
    """Share of the examples, in percent, of which both have the same class beside that answer."""
    rank: Interval
    """Mean Spearman's rank correlation of the probabilities beside that answer.

    NaN of fewer than three classes.
    """
    sureness: Interval
    """Correlation over examples of both largest probabilities, which are CWTM's weights."""
    right_class: Interval
    """Correlation over examples of both probabilities of the right class, equation 9's weights."""
    similarity: Interval
    """Spearman's rank correlation of both matrices of similar classes over pairs i != j.

    On one set of examples it has no interval (NaN).
    """
    covariance: Interval
    """Correlation of both outputs' covariances over pairs i < j; likewise without an interval."""


def measure(
    student: Float[Tensor, "examples classes"],
    teacher: Float[Tensor, "examples classes"],
    labels: Int64[Tensor, "examples"],
) -> Kept:
    """Return what a student kept of its teacher, from logits or log-probabilities of both."""
    log_q, log_p = (F.log_softmax(one.double(), dim=-1) for one in (student, teacher))
    q, p = log_q.exp(), log_p.exp()
    intervals = statistics.bootstrap(_columns(log_q, log_p, labels), _quantities)

    alike = [dark_knowledge.similarity(one, one.argmax(-1)) for one in (q, p)]
    named = (alike[0].sum(-1) > 0) & (alike[1].sum(-1) > 0)
    return Kept(
        **intervals,
        similarity=alone(dark_knowledge.rank_correlation(alike[0], alike[1], named)),
        covariance=alone(
            dark_knowledge.covariance_correlation(
                dark_knowledge.covariance(q), dark_knowledge.covariance(p)
            )
        ),
    )


def alone(value: float) -> Interval:
    """Return a number without an interval."""
    return Interval(value, math.nan, math.nan)


def _columns(log_q: Tensor, log_p: Tensor, labels: Tensor) -> dict[str, NDArray[np.float64]]:
    """Return what each example adds, by name."""
    q, p, answer = log_q.exp(), log_p.exp(), log_p.argmax(-1)
    is_answer = F.one_hot(answer, p.shape[-1]).bool()
    # Again a softmax: 1 - p_a has no digits left if the teacher is nearly certain.
    beside_q, beside_p = (
        F.log_softmax(one.masked_fill(is_answer, -math.inf), dim=-1) for one in (log_q, log_p)
    )
    rank = _ranks(beside_q, beside_p, is_answer)
    right = [one.gather(-1, labels[:, None]).squeeze(-1) for one in (q, p)]

    columns = {
        "error": 100 * (log_q.argmax(-1) != labels).double(),
        "confidence": 100 * q.amax(-1),
        "same_class": 100 * (log_q.argmax(-1) == answer).double(),
        "kl": _divergence(log_p, log_q),
        "kl_beside": _divergence(beside_p, beside_q),
        "same_second": 100 * (beside_q.argmax(-1) == beside_p.argmax(-1)).double(),
        "rank": rank,
        **_products("sureness", q.amax(-1), p.amax(-1)),
        **_products("right_class", *right),
    }
    return {name: values.numpy() for name, values in columns.items()}


def _quantities(mean: Columns) -> Columns:
    plain = ("error", "confidence", "same_class", "kl", "kl_beside", "same_second", "rank")
    found = {name: mean[name] for name in plain}
    for name in ("sureness", "right_class"):
        x, y, xx, yy, xy = (mean[f"{name} {part}"] for part in ("x", "y", "xx", "yy", "xy"))
        found[name] = (xy - x * y) / np.sqrt((xx - x**2) * (yy - y**2))
    return found


def _products(name: str, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return the products whose means a correlation needs; centred, so that they keep digits."""
    x, y = x - x.mean(), y - y.mean()
    parts = {"x": x, "y": y, "xx": x * x, "yy": y * y, "xy": x * y}
    return {f"{name} {part}": values for part, values in parts.items()}


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return KL(p || q) of each row in nats; what has no probability in p does not count."""
    return torch.where(log_p > -math.inf, log_p.exp() * (log_p - log_q), 0.0).sum(-1)


def _ranks(first: Tensor, second: Tensor, left_out: Tensor) -> Tensor:
    """Return Spearman's correlation of each row, without the entry that is left out."""
    count = first.shape[-1] - 1
    if count < 2:
        return torch.full(first.shape[:1], math.nan, dtype=torch.float64)
    rows = [one[~left_out].view(-1, count).numpy() for one in (first, second)]
    return torch.from_numpy(row_correlation(*(scipy.stats.rankdata(one, axis=-1) for one in rows)))


def row_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Pearson's correlation of each row with the other's, 0 where one is constant."""
    x, y = (one - one.mean(-1, keepdims=True) for one in (first, second))
    size = np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
    return np.divide((x * y).sum(-1), size, out=np.zeros_like(size), where=size > 1e-12)
