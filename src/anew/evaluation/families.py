"""Families side by side: the scores of each on the same test examples, and how they differ.

Families with two seeds or more in common are compared by seed, others by test example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.core.text import generations_name
from anew.evaluation import ensemble, language, metrics, statistics
from anew.evaluation.metrics import Scores
from anew.evaluation.scoring import lineage_outputs, lineage_said
from anew.evaluation.statistics import Difference
from anew.family import Family, choose_generations, choose_lineage, replicas, split_name
from anew.family.differences import differences


@dataclass(frozen=True)
class _Answers:
    """What one seed's networks say of the test examples together."""

    seed: int
    scores: Scores
    labels: Tensor
    wrong: NDArray[np.bool_] | None
    """(N,), None for language models, of which the likeliest word is not stored for an ensemble."""
    nll: NDArray[np.float64]
    """(N,): -log p of each label."""


@dataclass(frozen=True)
class Compared:
    """One family of a comparison: which of its networks, and their scores by seed."""

    name: str
    spec: Spec
    """The last network, of the first seed."""
    generations: tuple[int, ...]
    answers: tuple[_Answers, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the lineages."""
        return tuple(one.seed for one in self.answers)

    def mean(self, name: str) -> float | None:
        """Return the mean of a score over the seeds, None if there is no such score."""
        values = [getattr(one.scores, name) for one in self.answers]
        return None if None in values else float(np.mean(values))

    def to_json(self) -> dict[str, Any]:
        """Return names, numbers of each seed, and their means."""
        return {
            "family": self.name,
            "id": self.spec.id,
            "what": generations_name(self.generations),
            "seeds": list(self.seeds),
            "scores": [one.scores.to_json() for one in self.answers],
            "error": self.mean("error"),
            "nll": self.mean("nll"),
            "perplexity": self.mean("perplexity"),
        }


@dataclass(frozen=True)
class Contrast:
    """A family minus the first one: differences of scores, and the settings that differ."""

    name: str
    error: Difference | None
    """In percentage points; None for language models."""
    nll: Difference
    """In nats; of language models, of perplexities."""
    settings: tuple[str, ...]
    seeds: tuple[tuple[int, int], ...]
    """Which seed of this family is compared with which of the first."""

    def to_json(self) -> dict[str, Any]:
        """Return the differences with their intervals and tests."""
        return {
            "family": self.name,
            "error": None if self.error is None else vars(self.error),
            "nll": vars(self.nll),
            "settings": list(self.settings),
            "seeds": [list(pair) for pair in self.seeds],
        }


def compare(
    names: Sequence[str], generations: str = "last"
) -> tuple[list[Compared], list[Contrast]]:
    """Return families by their scores, and the contrast of each with the first.

    A name is `FAMILY`, or `FAMILY:ID` for the lineage that ends at that network; lineages that
    differ from it in their seeds alone count with it. `generations` says which of each lineage, as
    `choose_generations` reads it; of several the mean of their probabilities. Raises `AnewError` if
    a name is no family, or if two families were trained on different data.
    """
    families = [_compared(name, generations) for name in names]
    first = families[0]
    for other in families[1:]:
        _check_same_data(first, other)
    return families, [_contrast(first, other) for other in families[1:]]


def _compared(name: str, generations: str) -> Compared:
    named = split_name(name)
    if named is None:
        raise AnewError(
            f"compare: '{name}' is no family; give the folder that `anew train --out` wrote, or "
            "FOLDER:ID for one of its lineages"
        )
    family, end, what = named

    chosen = choose_lineage(
        family, end or ("" if what == "all" else what), several="alike", flag=f"{family.path}:ID"
    )
    numbers = choose_generations(generations, len(chosen))
    answers = [
        _answers(family, [lineage[number] for number in numbers], lineage[-1].seed)
        for lineage in replicas(family, chosen)
    ]
    shown = tuple(chosen[0].generation + number for number in numbers)
    return Compared(name, chosen[-1], shown, tuple(answers))


def _answers(family: Family, specs: Sequence[Spec], seed: int) -> _Answers:
    """Return what networks say of the test examples, from their stored outputs."""
    if language.is_language_model(family.folder(specs[0].id)):
        said = lineage_said(family, specs, "test")
        log_p = language.ensemble_log_p([one.log_p for one in said])
        scores = said[0].scores() if len(said) == 1 else language.ensemble_scores(log_p)
        return _Answers(seed, scores, said[0].labels, None, -log_p.numpy())

    logits, labels = lineage_outputs(family, specs, "test")
    if not len(labels):
        raise AnewError(f"{family.path}: has no test examples, so it cannot be compared")
    log_probabilities = ensemble.log_mean(logits)
    rows = log_probabilities.flatten(end_dim=-2)
    flat = labels.flatten()
    nll = -rows.gather(1, flat[:, None])[:, 0]
    return _Answers(
        seed,
        metrics.scores(log_probabilities, labels),
        labels,
        (rows.argmax(-1) != flat).numpy(),
        nll.double().numpy(),
    )


def _check_same_data(first: Compared, other: Compared) -> None:
    """Raise `AnewError`, which says what differs, if two families had different data."""
    ours, theirs = first.answers[0].labels, other.answers[0].labels
    is_same = first.spec.data.fingerprint == other.spec.data.fingerprint
    if is_same and ours.shape == theirs.shape and torch.equal(ours, theirs):
        return

    changed = [
        one
        for one in differences(first.spec, other.spec)
        if one.startswith(("data.", "other data"))
    ]
    counted = f"{len(ours):,} and {len(theirs):,} test examples"
    raise AnewError(
        f"compare: {first.name} and {other.name} have different data ({counted}; "
        f"{', '.join(changed) or 'other test labels'}), so their scores cannot be compared; give "
        "families of the same data"
    )


def _contrast(first: Compared, other: Compared) -> Contrast:
    by_seed = {one.seed: one for one in first.answers}
    pairs = [(one, by_seed[one.seed]) for one in other.answers if one.seed in by_seed]
    settings = tuple(differences(first.spec, other.spec))
    is_text = other.answers[0].wrong is None
    pairs = pairs or [(other.answers[0], first.answers[0])]
    seeds = tuple((ours.seed, theirs.seed) for ours, theirs in pairs)
    if len(pairs) > 1:
        measure = "perplexity" if is_text else "nll"
        error = None if is_text else _over_seeds(pairs, "error")
        return Contrast(other.name, error, _over_seeds(pairs, measure), settings, seeds)

    ours, theirs = pairs[0]
    if ours.wrong is None or theirs.wrong is None:
        text = statistics.over_blocks(ours.nll, theirs.nll, language.BLOCK)
        return Contrast(other.name, None, text, settings, seeds)
    error = statistics.over_examples(ours.wrong, theirs.wrong)
    nll = statistics.means_over_examples(ours.nll, theirs.nll)
    return Contrast(other.name, error, nll, settings, seeds)


def _over_seeds(pairs: Sequence[tuple[_Answers, _Answers]], name: str) -> Difference:
    ours = [getattr(one.scores, name) for one, _ in pairs]
    theirs = [getattr(one.scores, name) for _, one in pairs]
    return statistics.over_seeds(ours, theirs)
