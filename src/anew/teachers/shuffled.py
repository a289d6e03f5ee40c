"""The shuffled teacher: a control that keeps dark knowledge by class, not by example."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int64
from torch import Tensor

from anew.core import randomness
from anew.core.errors import AnewError
from anew.data.batches import Batch, Batches
from anew.data.signature import Signature
from anew.data.views import Views


@dataclass(frozen=True)
class Shuffled:
    """Exchanges answers among training examples: view v of i gets that of view v of `partners[i]`.

    A store's rows are those of (example, view) all the same, so a table serves students with and
    without the exchange.
    """

    batches: Batches
    partners: Int64[Tensor, "examples"]

    @classmethod
    def within(cls, predicted: Int64[Tensor, "examples"], batches: Batches) -> Shuffled:
        """Exchange among training examples of one `predicted` class, drawn from the data's seed."""
        partners = partners_within(
            predicted.cpu(), randomness.key(batches.seed, "shuffled teacher")
        )
        return cls(batches, partners.to(batches.device))

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch of the partners, in the same views.

        Where views cannot be counted, a row is that of (example, epoch), so the partners are in
        their own views of the epoch.
        """
        partners = self.partners[batch.indices]
        if not self.batches.views.is_countable:
            return self.batches.at(batch.epoch, self.batches.positions(batch.epoch, partners))
        inputs = self.batches.examples.show(partners[batch.part], batch.views[batch.part])
        return replace(batch, inputs=inputs, labels=self.batches.labels[partners], indices=partners)


def check_shuffled(signature: Signature, views: Views, *, samples: bool) -> None:
    """Raise `AnewError` where answers cannot be exchanged.

    Examples with answers at several positions have no one class. Where views cannot be counted, an
    answer is that of an example in an epoch, and an epoch that `samples` by class does not show
    them all.
    """
    if samples and not views.is_countable:
        raise AnewError(
            "objective.shuffled exchanges outputs within an epoch, and with --data.balance "
            "sampling an epoch does not show all examples; drop one of them, or set --views "
            f"crop+flip instead of {views.kind}"
        )
    if signature.positions:
        raise AnewError(
            "objective.shuffled needs one predicted class for each example, and these have "
            f"{signature.positions} labels each; drop --objective.shuffled"
        )


def partners_within(groups: Int64[Tensor, "examples"], stream: int) -> Int64[Tensor, "examples"]:
    """Return a permutation pi (N,) that keeps every example's group: groups[pi(i)] = groups[i].

    Each group is one cycle in random order: no example is its own partner unless it is alone.
    """
    shuffled = randomness.order(stream, len(groups))
    # Group by group, and in random order within each.
    members = shuffled[torch.argsort(groups[shuffled], stable=True)]
    sizes = torch.unique_consecutive(groups[members], return_counts=True)[1]
    ends = sizes.cumsum(0)

    # Each member's partner is the one after it; the last one's is the first.
    following = torch.arange(1, len(groups) + 1)
    following[ends - 1] = ends - sizes
    return torch.zeros_like(members).scatter(0, members, members[following])
