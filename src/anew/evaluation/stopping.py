"""Whether one more generation is worth it: a rule on validation examples, paired by example."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float, Int64
from torch import Tensor

from anew.core.spec import Spec
from anew.core.text import generations_in_words
from anew.evaluation.ensemble import log_mean
from anew.evaluation.scoring import lineage_outputs
from anew.family import Family

Rule = Literal["network", "ensemble"]
ONE_SIDED = 1.645
"""The 95 % quantile of the normal distribution: how many standard errors a gain must exceed."""


@dataclass(frozen=True)
class Gain:
    """By how much the validation NLL fell, in nats: the mean over examples of its paired falls."""

    mean: float
    error: float
    """The standard error of the mean over examples."""
    examples: int

    @property
    def is_shown(self) -> bool:
        """Whether it is above 0 by a one-sided paired test at 5 %."""
        return self.mean > ONE_SIDED * self.error


def gain(
    before: Float[Tensor, "examples classes"],
    after: Float[Tensor, "examples classes"],
    labels: Int64[Tensor, "examples"],
) -> Gain:
    """Return by how much the NLL falls from one to another of two sets of log-probabilities.

    The falls d_i = log p_after(y_i) - log p_before(y_i) are paired by example; their mean has the
    standard error s / sqrt(n), with the unbiased deviation s.
    """
    falls = (after - before).double().gather(1, labels[:, None]).squeeze(1)
    count = len(falls)
    error = float(falls.std() / math.sqrt(count)) if count > 1 else math.inf
    return Gain(float(falls.mean()), error, count)


def last_gain(family: Family, lineage: Sequence[Spec], rule: Rule) -> Gain:
    """Return what the last network of a lineage gains, from stored validation outputs.

    By the rule `network` it is compared with the one before it, by `ensemble` the mean of all
    generations with the mean without the last.
    """
    logits, labels = lineage_outputs(family, lineage, "validation")
    if rule == "network":
        return gain(log_mean(logits[-2:-1]), log_mean(logits[-1:]), labels)
    return gain(log_mean(logits[:-1]), log_mean(logits), labels)


def in_words(found: Gain, lineage: Sequence[Spec], rule: Rule) -> str:
    """Return what was measured and decided, for the log."""
    last = lineage[-1].generation
    before, after = f"generation {last - 1}", f"generation {last}"
    if rule == "ensemble":
        numbers = [spec.generation for spec in lineage]
        before, after = generations_in_words(numbers[:-1]), generations_in_words(numbers)

    decided = "one more generation follows"
    if not found.is_shown:
        decided = (
            "no gain is shown, so the lineage ends here; that is a choice on validation, of which "
            "the test set knows nothing"
        )
    return (
        f"{after}: validation NLL {-found.mean:+.4f} +- {found.error:.4f} against {before} "
        f"({found.examples:,} examples, paired): {decided}"
    )
