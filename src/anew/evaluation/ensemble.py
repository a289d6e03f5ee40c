"""The mean of several networks' probabilities, over any subset of a lineage."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from anew.objectives import mean_of_teachers


def log_mean(
    logits: Sequence[Float[Tensor, "examples classes"]],
) -> Float[Tensor, "examples classes"]:
    """Return the logarithm of the mean of the networks' probabilities, in float64: log(1/n sum_i
    softmax(z_i)).
    """
    return mean_of_teachers(torch.stack([one.double() for one in logits]))


def consecutive(count: int) -> Iterator[tuple[int, ...]]:
    """Yield every run of at least two neighbours among generations 0..count-1, shorter runs
    first.
    """
    for length in range(2, count + 1):
        for first in range(count - length + 1):
            yield tuple(range(first, first + length))


def subsets(count: int) -> Iterator[tuple[int, ...]]:
    """Yield every subset of at least two of generations 0..count-1, smaller ones first."""
    for length in range(2, count + 1):
        yield from itertools.combinations(range(count), length)
