"""Batches of resident data: the order and the views of an epoch are pure functions, a batch is one
gather.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Int64, Num
from torch import Tensor

from anew.core import randomness
from anew.data.split import Data


@dataclass(frozen=True)
class Batch:
    """Examples as a step sees them: views of the inputs (B, ...) in their own dtype, labels, and
    which they are.

    Where several processes share the batches, `inputs` are those of this process's `part` of the
    batch; all else is the whole batch's.
    """

    inputs: Num[Tensor, "part ..."]
    labels: Int64[Tensor, "batch *positions"]
    indices: Int64[Tensor, "batch"]
    views: Int64[Tensor, "batch"]
    epoch: int
    part: slice = field(default_factory=lambda: slice(None))

    def permutation(self, seed: int, classes: int) -> Int64[Tensor, "batch *positions classes"]:
        """Return the random integers that permute dark knowledge, from each view's own stream: (B,
        C).
        """
        positions = self.labels.shape[1:]
        count = positions.numel() * classes
        counters = self.indices[:, None] * count + torch.arange(count, device=self.indices.device)
        drawn = randomness.bits(randomness.key(seed, "dark knowledge", self.epoch), counters)
        return drawn.view(len(self.indices), *positions, classes)


class Batches:
    """The training examples of a data set, resident on a device as they are stored (uint8 for
    pictures).

    Every epoch shows each example once, in an order of its own, but for the last `len %
    batch_size`, which are left out so that all batches are of one size: other examples in every
    epoch. Of each batch only a `part` is made.
    """

    def __init__(
        self, data: Data, batch_size: int, device: torch.device, part: slice = slice(None)
    ) -> None:
        examples = data.training
        self.examples = examples.to(device)
        self.labels = self.examples.labels
        self.views, self.seed, self.device = data.views, data.spec.seed, device
        self.batch_size = min(batch_size, len(examples))
        self.part = part

    @property
    def steps(self) -> int:
        """The number of batches in an epoch."""
        return len(self.labels) // self.batch_size

    def whole(self) -> Batches:
        """Return the same batches, all parts of them."""
        whole = copy.copy(self)
        whole.part = slice(None)
        return whole

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, starting at batch number `first`."""
        order = randomness.order(randomness.key(self.seed, "order", epoch), len(self.labels)).to(
            self.device
        )
        views = self.views.draw(self.seed, epoch, order)
        for start in range(first * self.batch_size, self.steps * self.batch_size, self.batch_size):
            chosen = order[start : start + self.batch_size]
            numbers = views[start : start + self.batch_size]
            inputs = self.examples.show(chosen[self.part], numbers[self.part])
            yield Batch(inputs, self.labels[chosen], chosen, numbers, epoch, self.part)
