"""Weights of an ensemble's members, learned on stored validation outputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor

from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.evaluation import language, metrics
from anew.evaluation.ensemble import log_mean
from anew.evaluation.scoring import Row, label_log_p, lineage_outputs
from anew.family import Family

ITERATIONS = 10_000
CONVERGED = 1e-9
"""The largest distance to the optimum, in nats of the mean log-likelihood."""


def learn_weights(
    log_p: Sequence[Float64[Tensor, "answers"]],
) -> tuple[float, ...]:
    """Return the weights w >= 0 that add up to 1 and minimise -mean log sum_k w_k p_k(y).

    `log_p` are log p_k(y) of the right answers y, of each network k: more is not needed, so that
    language models are weighed too. The problem is convex, and EM climbs to its optimum: w_k <- w_k
    mean_n p_k(y_n) / sum_j w_j p_j(y_n). With g_k that mean, log(max_k g_k) bounds the distance to
    the optimum (Cover and Thomas 2006, theorem 16.2 of log-optimal portfolios): it ends where the
    bound is 1e-9. Raises `AnewError` without answers.
    """
    if not len(log_p[0]):
        raise AnewError("weights: there are no validation examples; train with --data.validation")
    on_label = torch.stack(list(log_p))
    # Of each example only the ratios of its probabilities count.
    ratios = (on_label - on_label.amax(0)).exp()
    weights = torch.full((len(log_p),), 1 / len(log_p), dtype=torch.float64)
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
        raise AnewError("weights: need more than one network; train with --generations 1")
    weights = learn_weights(label_log_p(family, lineage, "validation").members)
    return Row(
        tuple(spec.generation for spec in lineage),
        tuple(spec.id for spec in lineage),
        "",
        _scores(family, lineage, split, weights),
        weights=weights,
    )


def _scores(
    family: Family, lineage: Sequence[Spec], split: str, weights: Sequence[float]
) -> metrics.Scores:
    """Return the scores of a weighted mean; of language models those that are known exactly."""
    if language.is_language_model(family.folder(lineage[0].id)):
        log_p = label_log_p(family, lineage, split).mean(slice(None), weights)
        return language.ensemble_scores(log_p)
    logits, labels = lineage_outputs(family, lineage, split)
    return metrics.scores(log_mean(logits, weights=weights), labels)
