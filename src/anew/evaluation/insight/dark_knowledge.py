"""What networks think beyond their answer: alike classes, how sure they are, second thoughts.

With a = argmax p of an example, the similarity of classes i != j is

    (1)  S_ij = sum over examples with a = i of p_j / sum over them and over k != i of p_k

and what it is held against is how often what is called i is truly j, of the errors among what is
called i:

    (2)  E_ij = (examples with a = i and y = j) / (examples with a = i and y != i)

Both say "called i, may be j": of a network whose every probability is calibrated they are equal but
for chance. They are compared by Spearman's rank correlation over the pairs i != j of those rows i
that have errors, so that neither few large entries nor how often i is named decides.

The paper says that DKPP's permutation "destroys the pairwise similarities of the original output
covariance matrix" (Furlanello et al. 2018). That matrix, over examples, is given before and after,
with the correlation of both. The permutation leaves each argmax in its place, and with it the part
of the covariance that the argmax makes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from anew import objectives
from anew.evaluation import statistics
from anew.evaluation.statistics import Interval

SECOND_THOUGHTS = 24

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class SecondThought:
    """A picture that a network calls one class and nearly another."""

    example: int
    """Its number in the split (for `train`, among the training examples as split)."""
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
    """Mean entropy, in nats, of the outputs without their largest, scaled to sum 1.

    log(C - 1) if all other classes are equally likely, 0 if one of them has it all.
    """
    similarity: Matrix
    """Row i: where the probability beside the largest lies, over the examples called i.

    Rows sum to 1, or to 0 if nothing is called i. The diagonal is 0.
    """
    permuted: Matrix
    """The same after DKPP's permutation."""
    confusion: tuple[tuple[int, ...], ...]
    """Row i, column j: how many examples of class i are called j."""
    agreement: float
    """Spearman's rank correlation of `similarity` with the errors, equations (1) and (2).

    NaN without errors.
    """
    agreement_permuted: float
    """The same with `permuted`: what the permutation leaves of it."""
    kept_by_permutation: float
    """Spearman's rank correlation of `similarity` with `permuted` over pairs i != j."""
    covariance: Matrix
    """The covariance over examples of the probabilities of every two classes."""
    covariance_permuted: Matrix
    """The same after DKPP's permutation."""
    covariance_kept: float
    """Pearson's correlation of both over pairs i < j: what the permutation leaves of it."""
    second_thoughts: tuple[SecondThought, ...]
    """The pictures with the likeliest second class, likeliest first, at most 24.

    One for each pair of classes.
    """


@dataclass(frozen=True)
class Generation:
    """A network of the lineage, and what it says of the examples."""

    number: int
    id: str
    logits: Float[Tensor, "examples classes"]


def measure(
    generation: Generation,
    labels: Int64[Tensor, "examples"],
    permutation: Int64[Tensor, "examples classes"],
    places: Int64[Tensor, "examples"],
) -> DarkKnowledge:
    """Return what a network's logits hold beside the answer.

    `permutation` are DKPP's random integers, `places` the examples' numbers in their split.
    """
    logits = generation.logits.double()
    log_p = F.log_softmax(logits, dim=-1)
    p = log_p.exp()
    called = p.argmax(-1)
    is_called = F.one_hot(called, p.shape[-1]).bool()
    # Again from the logits: 1 - max p has no digits left if a network is nearly certain.
    log_rest = F.log_softmax(logits.masked_fill(is_called, -math.inf), dim=-1)

    columns = {
        "confidence": p.amax(-1),
        "correct": p.gather(-1, labels[:, None]).squeeze(-1),
        "entropy": _entropy(log_p),
        "dark_entropy": _entropy(log_rest),
    }
    intervals = statistics.bootstrap(
        {name: values.numpy() for name, values in columns.items()}, lambda mean: mean
    )

    similar = similarity(p, called)
    shuffled = objectives.permute_dark_knowledge(p, permutation)
    permuted = similarity(shuffled, called)
    covariances = covariance(p), covariance(shuffled)
    confusion = confusion_matrix(labels, called, p.shape[-1])
    return DarkKnowledge(
        generation=generation.number,
        id=generation.id,
        **intervals,
        similarity=_rows(similar),
        permuted=_rows(permuted),
        confusion=tuple(tuple(map(int, row)) for row in confusion.tolist()),
        agreement=agreement(similar, confusion),
        agreement_permuted=agreement(permuted, confusion),
        kept_by_permutation=rank_correlation(similar, permuted, similar.sum(-1) > 0),
        covariance=_rows(covariances[0]),
        covariance_permuted=_rows(covariances[1]),
        covariance_kept=covariance_correlation(*covariances),
        second_thoughts=_second_thoughts(p, called, labels, places),
    )


def similarity(
    probabilities: Float[Tensor, "examples classes"], called: Int64[Tensor, "examples"]
) -> Float[Tensor, "classes classes"]:
    """Return the matrix of equation (1); its rows sum to 1, or to 0 if nothing is called so."""
    classes = probabilities.shape[-1]
    rest = probabilities.scatter(-1, called[:, None], 0.0)
    mass = torch.zeros(classes, classes, dtype=rest.dtype).index_add_(0, called, rest)
    total = mass.sum(-1, keepdim=True)
    return torch.where(total > 0, mass / total.clamp_min(1e-300), 0.0)


def confusion_matrix(
    labels: Int64[Tensor, "examples"], called: Int64[Tensor, "examples"], classes: int
) -> Int64[Tensor, "classes classes"]:
    """Return how many examples of class i (row) are called j (column)."""
    return torch.bincount(labels * classes + called, minlength=classes * classes).view(
        classes, classes
    )


def covariance(probabilities: Float[Tensor, "examples classes"]) -> Float[Tensor, "c c"]:
    """Return the covariance over examples of the probabilities of every two classes."""
    centred = probabilities - probabilities.mean(0)
    return centred.T @ centred / len(probabilities)


def covariance_correlation(first: Float[Tensor, "c c"], second: Float[Tensor, "c c"]) -> float:
    """Return Pearson's correlation of two covariances over pairs i < j; NaN of fewer than 3."""
    rows, columns = torch.triu_indices(len(first), len(first), 1)
    left, right = first[rows, columns].numpy(), second[rows, columns].numpy()
    if len(left) < 3 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return math.nan
    return float(np.corrcoef(left, right)[0, 1])


def agreement(
    similar: Float[Tensor, "classes classes"], confusion: Int64[Tensor, "classes classes"]
) -> float:
    """Return Spearman's rank correlation of the matrices of equations (1) and (2).

    NaN without errors.
    """
    errors = confusion.T.double().fill_diagonal_(0)
    total = errors.sum(-1, keepdim=True)
    return rank_correlation(similar, errors / total.clamp_min(1), total.squeeze(-1) > 0)


def rank_correlation(
    left: Float[Tensor, "classes classes"],
    right: Float[Tensor, "classes classes"],
    rows: Bool[Tensor, "classes"],
) -> float:
    """Return Spearman's correlation over the entries beside the diagonal of the given rows."""
    beside = ~torch.eye(len(left), dtype=torch.bool) & rows[:, None]
    first, second = left[beside].numpy(), right[beside].numpy()
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    correlation: Any = scipy.stats.spearmanr(first, second)
    return float(correlation.statistic)


def _entropy(log_probabilities: Tensor) -> Tensor:
    probabilities = log_probabilities.exp()
    return -torch.where(probabilities > 0, probabilities * log_probabilities, 0.0).sum(-1)


def _rows(matrix: Tensor) -> Matrix:
    return tuple(tuple(row) for row in matrix.tolist())


def _second_thoughts(
    p: Tensor, called: Tensor, labels: Tensor, places: Tensor
) -> tuple[SecondThought, ...]:
    """Return the examples with the likeliest second class, one for each pair of classes."""
    second_probability, second = p.scatter(-1, called[:, None], -1.0).max(-1)
    ranked = torch.argsort(second_probability, descending=True, stable=True).tolist()

    thoughts: dict[tuple[int, int], SecondThought] = {}
    for number in ranked:
        pair = (int(called[number]), int(second[number]))
        if pair in thoughts:
            continue
        thoughts[pair] = SecondThought(
            example=int(places[number]),
            label=int(labels[number]),
            first=pair[0],
            first_probability=p[number, pair[0]].item(),
            second=pair[1],
            second_probability=second_probability[number].item(),
        )
        if len(thoughts) == SECOND_THOUGHTS:
            break
    return tuple(thoughts.values())
