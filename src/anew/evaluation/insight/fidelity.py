"""How alike the generations are, and what that leaves for their average to gain."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from anew.core.text import generations_name
from anew.evaluation import ensemble, statistics
from anew.evaluation.statistics import Interval

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class EnsembleGain:
    """An ensemble against its average member, errors in percent."""

    generations: tuple[int, ...]
    name: str
    error: float
    mean_member_error: float
    gain: Interval
    """Mean member's error less the ensemble's, in percentage points: more than 0 is a gain."""
    best_member_error: float
    disagreement: float
    """Share of the examples, in percent, that exactly one of two members gets right.

    The mean over pairs of members.
    """
    double_faults: float
    """Share of the examples, in percent, that both get wrong; the mean over pairs of members."""


@dataclass(frozen=True)
class Fidelity:
    """Every generation against every other; rows and columns of matrices are generations."""

    agreement: Matrix
    """Share of the examples, in percent, to which both give the same class."""
    kl: Matrix
    """Row i, column j: mean of KL(p_i || p_j) in nats, how far j is from what i says."""
    disagreement: Matrix
    """Share of the examples, in percent, that exactly one of the two gets right.

    Kuncheva and Whitaker 2003.
    """
    double_faults: Matrix
    """Share of the examples, in percent, that both get wrong."""
    ensembles: tuple[EnsembleGain, ...]
    """Of runs of neighbours in the lineage, shorter first: see `ensemble.listed`."""


def measure(
    logits: Sequence[Float[Tensor, "examples classes"]], labels: Int64[Tensor, "examples"]
) -> Fidelity:
    """Return how the networks with these logits agree, and what their ensembles gain.

    The networks are given oldest first.
    """
    log_p = [F.log_softmax(member.double(), dim=-1) for member in logits]
    called = [member.argmax(-1) for member in log_p]
    right = [member == labels for member in called]
    everyone = range(len(logits))

    def matrix(entry: Callable[[int, int], float]) -> Matrix:
        return tuple(tuple(entry(i, j) for j in everyone) for i in everyone)

    return Fidelity(
        agreement=matrix(lambda i, j: _percent(called[i] == called[j])),
        kl=matrix(lambda i, j: _divergence(log_p[i], log_p[j])),
        disagreement=matrix(lambda i, j: _percent(right[i] ^ right[j])),
        double_faults=matrix(lambda i, j: _percent(~right[i] & ~right[j])),
        ensembles=tuple(
            _gain(members, mean.argmax(-1) == labels, right)
            for members, mean in ensemble.listed_means(logits)
        ),
    )


def _gain(members: tuple[int, ...], together: Tensor, right: Sequence[Tensor]) -> EnsembleGain:
    """Return what an ensemble gains: which examples it gets right, and which each network."""
    own = torch.stack([right[member] for member in members]).double()
    gains = together.double() - own.mean(0)
    intervals = statistics.bootstrap({"gain": 100 * gains.numpy()}, lambda mean: mean)

    one_right, both_wrong = _mean_over_pairs([right[member] for member in members])
    errors = [_percent(~right[member]) for member in members]
    return EnsembleGain(
        generations=members,
        name=generations_name(members),
        error=_percent(~together),
        mean_member_error=sum(errors) / len(errors),
        gain=intervals["gain"],
        best_member_error=min(errors),
        disagreement=one_right,
        double_faults=both_wrong,
    )


def _mean_over_pairs(right: Sequence[Tensor]) -> tuple[float, float]:
    """Return how often exactly one of a pair is right, and both wrong: percent, mean over pairs."""
    if len(right) <= ensemble.ALL_RUNS_UP_TO:
        pairs = list(itertools.combinations(right, 2))
        one_right = sum(_percent(first ^ second) for first, second in pairs)
        return one_right / len(pairs), sum(_percent(~i & ~j) for i, j in pairs) / len(pairs)

    # Of r networks that are right and w that are wrong, r w pairs differ: no pair is looked at.
    rights = torch.stack(list(right)).double().sum(0)
    wrong = len(right) - rights
    pair_count = len(right) * (len(right) - 1) / 2
    differing, faults = rights * wrong, wrong * (wrong - 1) / 2
    percent = 100 / pair_count
    return percent * differing.mean().item(), percent * faults.mean().item()


def _percent(chosen: Tensor) -> float:
    return 100 * chosen.double().mean().item()


def _divergence(log_p: Tensor, log_r: Tensor) -> float:
    """Return the mean of KL(p || r) = sum_i p_i (log p_i - log r_i) in nats."""
    p = log_p.exp()
    return torch.where(p > 0, p * (log_p - log_r), 0.0).sum(-1).mean().item()
