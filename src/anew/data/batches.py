"""Batches of training examples; the order and the views of an epoch are pure functions."""

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
    """Examples as a step sees them.

    If several processes share the batches, `inputs` belong to this process's `part` of the batch;
    all else is the whole batch's.
    """

    inputs: Num[Tensor, "part ..."]
    """The views that are shown, (B, ...), in the dtype of the stored inputs."""
    labels: Int64[Tensor, "batch *positions"]
    indices: Int64[Tensor, "batch"]
    """The places of the examples among the training examples."""
    views: Int64[Tensor, "batch"]
    """The numbers of the views that are shown."""
    epoch: int
    part: slice = field(default_factory=lambda: slice(None))

    def permutation(self, seed: int, classes: int) -> Int64[Tensor, "batch *positions classes"]:
        """Return the random integers that permute dark knowledge, (B, *positions, C).

        Each example has a stream of its own in each epoch.
        """
        positions = self.labels.shape[1:]
        count = positions.numel() * classes
        counters = self.indices[:, None] * count + torch.arange(count, device=self.indices.device)
        drawn = randomness.bits(randomness.key(seed, "dark knowledge", self.epoch), counters)
        return drawn.view(len(self.indices), *positions, classes)


class Batches:
    """The batches of a data set's training examples, shown on a device.

    Every epoch shows each example once in a new order, except the last `len % batch_size`, which
    are left out so that all batches have one size; they are other examples in every epoch. Only a
    `part` of each batch is shown.
    """

    def __init__(
        self, data: Data, batch_size: int, device: torch.device, part: slice = slice(None)
    ) -> None:
        self.examples = data.training.to(device)
        self.labels, self.views = self.examples.labels, self.examples.views
        self.seed, self.device, self.part = data.spec.seed, device, part
        self.batch_size = min(batch_size, len(data.training))

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
        order = randomness.order(randomness.key(self.seed, "order", epoch), len(self.labels))
        order = order.to(self.device)
        views = self.views.draw(self.seed, epoch, order)

        for start in range(first * self.batch_size, self.steps * self.batch_size, self.batch_size):
            chosen = order[start : start + self.batch_size]
            numbers = views[start : start + self.batch_size]
            inputs = self.examples.show(chosen[self.part], numbers[self.part])
            yield Batch(inputs, self.labels[chosen], chosen, numbers, epoch, self.part)
