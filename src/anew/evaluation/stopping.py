"""Whether one more generation is worth it: a rule on validation, paired by example or by block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from anew.core.spec import Spec
from anew.core.text import generations_in_words
from anew.evaluation import statistics
from anew.evaluation.scoring import label_log_p
from anew.family import Family

Rule = Literal["network", "ensemble"]
ONE_SIDED = 1.645
"""The 95 % quantile of the normal distribution: how many standard errors a gain must exceed."""


@dataclass(frozen=True)
class Gain:
    """By how much the validation NLL fell, in nats: the mean over examples of its paired falls."""

    mean: float
    error: float
    """The standard error of the mean."""
    examples: int
    unit: str = "examples"
    block: int = 1
    """How many neighbours count as one."""

    @property
    def is_shown(self) -> bool:
        """Whether it is above 0 by a one-sided paired test at 5 %."""
        return self.mean > ONE_SIDED * self.error


def gain(
    before: Float64[Tensor, "answers"], after: Float64[Tensor, "answers"], block: int = 1
) -> Gain:
    """Return by how much the NLL falls from one to another of two log-probabilities of the labels.

    The falls d_i = log p_after(y_i) - log p_before(y_i) are paired. Their mean has the standard
    error s / sqrt(n), with the unbiased deviation s of n independent examples. Neighbours in a text
    depend on each other: `block` of them count as one. With the sums S_b of B blocks of n_b falls
    the error of the mean m is that of a ratio, sqrt(B / (B - 1) sum_b (S_b - m n_b)^2) / sum_b n_b.
    """
    sums = statistics.in_blocks({"falls": (after - before).numpy()}, block)
    falls, sizes = sums["falls"], sums["size"]
    mean, blocks = float(falls.sum() / sizes.sum()), len(sizes)
    if blocks < 2:
        return Gain(mean, math.inf, len(before))

    spread = float(np.square(falls - mean * sizes).sum()) * blocks / (blocks - 1)
    return Gain(mean, math.sqrt(spread) / float(sizes.sum()), len(before))


def last_gain(family: Family, lineage: Sequence[Spec], rule: Rule) -> Gain:
    """Return what the last network of a lineage gains, from stored validation outputs.

    By the rule `network` it is compared with the one before it, by `ensemble` the mean of all
    generations with the mean without the last.
    """
    said = label_log_p(family, lineage, "validation")
    first = -2 if rule == "network" else None
    before = said.mean(slice(first, -1))
    after = said.mean(slice(-1, None) if rule == "network" else slice(None))
    return replace(gain(before, after, said.block), unit=said.unit, block=said.block)


def in_words(found: Gain, lineage: Sequence[Spec], rule: Rule) -> str:
    """Return what was measured and decided, for the log."""
    last = lineage[-1].generation
    before, after = f"generation {last - 1}", f"generation {last}"
    if rule == "ensemble":
        numbers = [spec.generation for spec in lineage]
        before, after = generations_in_words(numbers[:-1]), generations_in_words(numbers)

    by = f" by blocks of {found.block}" if found.block > 1 else ""
    decided = "one more generation follows"
    if not found.is_shown:
        decided = (
            "no gain is shown, so the lineage ends here; this was decided on validation examples "
            "alone"
        )
    return (
        f"{after}: validation NLL {-found.mean:+.4f} +- {found.error:.4f} against {before} "
        f"({found.examples:,} {found.unit}, paired{by}): {decided}"
    )
