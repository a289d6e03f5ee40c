"""The mean of several networks' probabilities, over any subset of a lineage."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from anew.core.errors import AnewError
from anew.models.matching import conform
from anew.models.network import Network
from anew.objectives import mean_of_teachers

ALL_RUNS_UP_TO = 9
"""The most generations of which every run of neighbours is listed; there are 36 of them."""
LAST_RUNS_UP_TO = 8
"""The length of the longest ensemble of the last generations that a longer lineage lists."""
SUM_TOLERANCE = 1e-6


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
    logits: Sequence[Float[Tensor, "*examples classes"]],
    dtype: torch.dtype = torch.float64,
    weights: Sequence[float] = (),
) -> Float[Tensor, "*examples classes"]:
    """Return log(1/n sum_i softmax(z_i)), the logarithm of the mean of networks' probabilities.

    The result is in `dtype`. `weights` that add up to 1 are the networks' shares in the mean.
    Raises `AnewError` if they do not, or are not one for each.
    """
    wrong = any(not weight >= 0 for weight in weights) or abs(sum(weights) - 1) > SUM_TOLERANCE
    if weights and (len(weights) != len(logits) or wrong):
        raise AnewError(
            f"weights: must be {len(logits)} numbers >= 0 that add up to 1, got "
            f"{', '.join(f'{weight:g}' for weight in weights)}; divide them by their sum"
        )
    # A member of weight 0 has no logarithm, and no part in the mean.
    if 0 in weights:
        pairs = [pair for pair in zip(logits, weights, strict=True) if pair[1] > 0]
        logits, weights = [one for one, _ in pairs], [weight for _, weight in pairs]
    return mean_of_teachers(torch.stack([member.to(dtype) for member in logits]), weights)


def consecutive(count: int) -> Iterator[tuple[int, ...]]:
    """Yield every run of two or more neighbours among generations 0..count-1, short ones first."""
    for length in range(2, count + 1):
        for first in range(count - length + 1):
            yield tuple(range(first, first + length))


def listed(count: int) -> list[tuple[int, ...]]:
    """Return the ensembles of neighbours that are listed of so many generations, short ones first.

    Every run of up to `ALL_RUNS_UP_TO` generations. Of more there are too many, n (n - 1) / 2, so
    that only the first k are listed, for every k, and the last k, up to `LAST_RUNS_UP_TO`.
    """
    if count <= ALL_RUNS_UP_TO:
        return list(consecutive(count))
    runs: list[tuple[int, ...]] = []
    for length in range(2, count + 1):
        runs.append(tuple(range(length)))
        if length <= LAST_RUNS_UP_TO:
            runs.append(tuple(range(count - length, count)))
    return runs


def listed_means(
    logits: Sequence[Float[Tensor, "*examples classes"]],
) -> Iterator[tuple[tuple[int, ...], Float[Tensor, "*examples classes"]]]:
    """Yield each of the ensembles that `listed` names, with its `log_mean`.

    Those of long lineages are sums that grow by one network, so that all together take a time that
    is linear in the number of generations.
    """
    runs = listed(len(logits))
    if len(logits) <= ALL_RUNS_UP_TO:
        yield from ((run, log_mean([logits[member] for member in run])) for run in runs)
        return

    first, last = _growing_means(logits), _growing_means(logits[::-1])
    for run in runs:
        yield run, next(first if run[0] == 0 else last)


def notice_of_listed(count: int) -> str:
    """Return a sentence on the ensembles of so many generations that are left out, "" if none."""
    if count <= ALL_RUNS_UP_TO:
        return ""
    return (
        f"Of {count} generations only the ensembles of the first k and of the last 2 to "
        f"{LAST_RUNS_UP_TO} are listed; any other is `anew.evaluation.ensemble.log_mean` of "
        "stored outputs (`anew.evaluation.read_outputs`)."
    )


def _growing_means(logits: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield the log of the mean of the first 2, 3, ... networks' probabilities, in float64."""
    total = F.log_softmax(logits[0].double(), dim=-1)
    for count, member in enumerate(logits[1:], 2):
        total = torch.logaddexp(total, F.log_softmax(member.double(), dim=-1))
        yield total - math.log(count)


def subsets(count: int) -> Iterator[tuple[int, ...]]:
    """Yield every subset of two or more of generations 0..count-1, smaller ones first."""
    for length in range(2, count + 1):
        yield from itertools.combinations(range(count), length)
