"""The mean of several networks' probabilities, over any subset of a lineage."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from anew.models.matching import conform
from anew.models.network import Network
from anew.objectives import mean_of_teachers


class Ensemble(nn.Module):
    """The mean of several networks' probabilities, as one module.

    Takes what its members take and returns the logarithm of the mean of their probabilities
    (B, *positions, C), in `dtype`; MPS has no float64. One member is an ensemble too. Members that
    take other units than the first, or answer in another order of the classes, are brought to the
    first's. The members are set to evaluation mode. The forward pass is a plain graph of tensor
    operations, so that `torch.export` can trace it. Raises `AnewError` if the members' units or
    classes do not go together.
    """

    def __init__(self, members: Sequence[Network], dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.signature = members[0].signature
        alike = [conform(member, self.signature, "a member of the ensemble") for member in members]
        self.members = nn.ModuleList(alike)
        self.dtype = dtype
        self.eval()

    def forward(self, inputs: Shaped[Tensor, "batch ..."]) -> Float[Tensor, "batch ... classes"]:
        """Return log(1/n sum_i softmax(z_i)) of the members' logits z_i."""
        return log_mean([member(inputs) for member in self.members], self.dtype)


def log_mean(
    logits: Sequence[Float[Tensor, "*examples classes"]], dtype: torch.dtype = torch.float64
) -> Float[Tensor, "*examples classes"]:
    """Return log(1/n sum_i softmax(z_i)), the logarithm of the mean of networks' probabilities.

    The result is in `dtype`.
    """
    return mean_of_teachers(torch.stack([member.to(dtype) for member in logits]))


def consecutive(count: int) -> Iterator[tuple[int, ...]]:
    """Yield every run of two or more neighbours among generations 0..count-1, short ones first."""
    for length in range(2, count + 1):
        for first in range(count - length + 1):
            yield tuple(range(first, first + length))


def subsets(count: int) -> Iterator[tuple[int, ...]]:
    """Yield every subset of two or more of generations 0..count-1, smaller ones first."""
    for length in range(2, count + 1):
        yield from itertools.combinations(range(count), length)
