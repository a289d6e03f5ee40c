"""Weights of an ensemble's members, learned on stored validation outputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.evaluation import metrics
from anew.evaluation.ensemble import log_mean
from anew.evaluation.scoring import Row, lineage_outputs
from anew.family import Family

ITERATIONS = 10_000
CONVERGED = 1e-9
"""The largest distance to the optimum, in nats of the mean log-likelihood."""


def learn_weights(
    logits: Sequence[Float[Tensor, "examples classes"]], labels: Int64[Tensor, "examples"]
) -> tuple[float, ...]:
    """Return the weights w >= 0 that add up to 1 and minimise -mean log sum_k w_k p_k(y).

    The problem is convex, and EM climbs to its optimum: w_k <- w_k mean_n p_k(y_n) / sum_j w_j
    p_j(y_n). With g_k that mean, log(max_k g_k) bounds the distance to the optimum (Cover and
    Thomas 2006, theorem 16.2 of log-optimal portfolios): it ends where the bound is 1e-9. Raises
    `AnewError` without examples.
    """
    if not len(labels):
        raise AnewError("weights: there are no validation examples; train with --data.validation")
    on_label = torch.stack(
        [one.double().log_softmax(-1).gather(1, labels[:, None]).squeeze(1) for one in logits]
    )
    # Of each example only the ratios of its probabilities count.
    ratios = (on_label - on_label.amax(0)).exp()
    weights = torch.full((len(logits),), 1 / len(logits), dtype=torch.float64)
    for _ in range(ITERATIONS):
        growth = (ratios / (weights @ ratios)).mean(1)
        if float(growth.max().log()) < CONVERGED:
            break
        weights = weights * growth
    return tuple((weights / weights.sum()).tolist())


def evaluate_weighted(family: Family, lineage: Sequence[Spec], split: str = "test") -> Row:
    """Return the scores of all generations of a lineage with weights learned on validation.

    Raises `AnewError` if the lineage is of one network, or a network held out no examples.
    """
    if len(lineage) < 2:
        raise AnewError(
            "weights: one network has no others to be weighed against; train --generations 1"
        )
    weights = learn_weights(*lineage_outputs(family, lineage, "validation"))
    logits, labels = lineage_outputs(family, lineage, split)
    return Row(
        tuple(spec.generation for spec in lineage),
        tuple(spec.id for spec in lineage),
        "",
        metrics.scores(log_mean(logits, weights=weights), labels),
        weights=weights,
    )
