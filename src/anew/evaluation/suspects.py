"""Which labels are probably wrong, from what networks say of examples that they never saw."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from anew.core.errors import AnewError


@dataclass(frozen=True)
class Suspects:
    """Confident learning's judgement of N labelled examples of C classes."""

    suggested: Int64[Tensor, "examples"]
    """The class that an example confidently belongs to; its own label if there is none."""
    is_suspect: Bool[Tensor, "examples"]
    """Whether that is another class than the label's."""
    margin: Float[Tensor, "examples"]
    """The label's probability less the largest other one, in -1..1: small ones are suspect most."""
    thresholds: Float[Tensor, "classes"]
    """The mean probability of each class in the examples that have its label; infinite for a class
    that no example has."""
    contradicted: float
    """The share of the labels that are not the class of the largest probability: what the networks
    get wrong, and labels that are wrong."""
    joint: Float[Tensor, "classes classes"]
    """The estimated share of examples by label (row) and true class (column); it adds up to 1."""

    @property
    def noise(self) -> float:
        """The estimated share of wrong labels; mistakes of weak networks count as such too."""
        return max(0.0, 1 - float(self.joint.diagonal().sum()))

    @property
    def noise_by_class(self) -> Float[Tensor, "classes"]:
        """The estimated share of wrong labels among the examples that have each label; 0 if none
        has it.
        """
        total = self.joint.sum(1)
        return torch.where(total > 0, 1 - self.joint.diagonal() / total.clamp_min(1e-300), 0.0)

    @property
    def ranked(self) -> Int64[Tensor, "suspects"]:
        """The places of the suspects, the most suspect first."""
        (places,) = torch.nonzero(self.is_suspect, as_tuple=True)
        return places[torch.argsort(self.margin[places], stable=True)]


def find_suspects(
    probabilities: Float[Tensor, "examples classes"], labels: Int64[Tensor, "examples"]
) -> Suspects:
    """Judge labels by probabilities that come from networks which did not learn the examples.

    Confident learning (Northcutt, Jiang and Chuang 2021, "Confident learning: estimating
    uncertainty in dataset labels"): an example belongs confidently to the class j of the largest
    p_j among those that reach the threshold t_j, the mean of p_j over the examples with label j
    (equation 1). It is a suspect if j is not its label. The counts by label and j, scaled to the
    number of examples of each label, estimate the joint distribution of labels and true classes
    (equation 2). A network that memorised wrong labels would confirm them: hence probabilities from
    held-out folds.

    Raises `AnewError` if rows are no probabilities.
    """
    p = probabilities.double()
    sums = p.sum(1)
    if not bool((p >= 0).all()) or not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        raise AnewError(
            "suspects: rows must be probabilities, which are >= 0 and add up to 1; apply softmax "
            "to logits first"
        )

    count = p.shape[1]
    own = p.gather(1, labels[:, None]).squeeze(1)
    sizes = torch.bincount(labels, minlength=count)
    totals = torch.zeros(count, dtype=p.dtype).index_add(0, labels, own)
    thresholds = torch.where(sizes > 0, totals / sizes.clamp_min(1), torch.inf)

    reaches = p >= thresholds
    confident = torch.where(reaches, p, -1.0).argmax(1)
    is_confident = reaches.any(1)
    suggested = torch.where(is_confident, confident, labels)

    counts = torch.zeros(count, count, dtype=p.dtype)
    pairs = labels[is_confident] * count + confident[is_confident]
    counts += torch.bincount(pairs, minlength=count * count).view(count, count)
    # A class without one confident example is taken to be right.
    empty = counts.sum(1) == 0
    counts[empty] += torch.eye(count, dtype=p.dtype)[empty]
    joint = counts / counts.sum(1, keepdim=True) * sizes[:, None] / len(labels)

    others = p.scatter(1, labels[:, None], -1.0).amax(1)
    contradicted = float((p.argmax(1) != labels).double().mean())
    return Suspects(suggested, suggested != labels, own - others, thresholds, contradicted, joint)
