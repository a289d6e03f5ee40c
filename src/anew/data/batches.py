"""Batches of training examples; the order and the views of an epoch are pure functions."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int64, Num
from torch import Tensor

from anew.core import randomness
from anew.data.examples import NO_LABEL, Request, placed
from anew.data.split import Data
from anew.data.windows import Windows

NOWHERE = -1


@dataclass(frozen=True)
class Second:
    """What pictures are mixed with: labels, their weights in the label terms, and places."""

    labels: Int64[Tensor, "batch"]
    weights: Float[Tensor, "batch"]
    indices: Int64[Tensor, "batch"]
    """The places of the examples among the training examples."""


@dataclass(frozen=True)
class Batch:
    """Examples as a step sees them.

    Where pictures are mixed, example i's picture is its own view mixed with that of the next
    example in the epoch's order: a function of (data seed, epoch, i), whatever the batch.

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
    columns: Int64[Tensor, "batch"]
    """Where a store keeps answers about them: their views' numbers, or the epoch's where views
    cannot be counted; `NOWHERE` where a store has no place for them."""
    epoch: int
    weights: Float[Tensor, "batch"] | None = None
    """The weights of the examples' label terms, float32; all 1 if None."""
    share: Float[Tensor, "batch"] | None = None
    """The shares of the examples in mixed pictures; None if no pictures are mixed."""
    second: Second | None = None
    """The labels of the second pictures, where pictures are mixed."""
    part: slice = field(default_factory=lambda: slice(None))
    number: int | None = None
    """Of a text, the batch's place in its epoch: its windows go on where those of the batch before
    it ended. None for examples that have nothing to do with each other."""
    is_labelled: Bool[Tensor, "batch"] | None = None
    """Whether each example has a label, by which its answer can be scored; all have one if None.
    The others have the label 0 and the weight 0, which takes them out of every label term."""

    @property
    def heavier(self) -> Int64[Tensor, "batch *positions"]:
        """The labels, and of two mixed pictures that of the larger share."""
        if self.share is None or self.second is None:
            return self.labels
        return torch.where(self.share >= 0.5, self.labels, self.second.labels)

    def cut(self, count: int) -> list[tuple[slice, Batch]]:
        """Return the batch in so many parts, as equal as can be, each with its place in the batch.

        For a batch whose inputs are all here, in one process.
        """
        assert len(self.inputs) == len(self.indices), "only a whole batch can be cut"
        if count == 1:
            return [(slice(None), self)]
        size, longer = divmod(len(self.indices), count)
        ends = [(number + 1) * size + min(number + 1, longer) for number in range(count)]
        places = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        return [(place, self._at(place)) for place in places]

    def _at(self, place: slice) -> Batch:
        second = self.second
        if second is not None:
            second = Second(second.labels[place], second.weights[place], second.indices[place])

        return replace(
            self,
            inputs=self.inputs[place],
            labels=self.labels[place],
            indices=self.indices[place],
            views=self.views[place],
            columns=self.columns[place],
            weights=None if self.weights is None else self.weights[place],
            share=None if self.share is None else self.share[place],
            second=second,
            is_labelled=None if self.is_labelled is None else self.is_labelled[place],
            part=slice(None),
        )

    def count_wrong(self, logits: Float[Tensor, "batch *positions classes"]) -> Int64[Tensor, ""]:
        """Return how many answers are wrong, of those that have a label."""
        wrong = logits.detach().argmax(-1) != self.heavier
        return (wrong if self.is_labelled is None else wrong & self.is_labelled).sum()

    def permutation(
        self, seed: int, classes: int, epoch: int | None
    ) -> Int64[Tensor, "batch *positions classes"]:
        """Return the random integers that permute dark knowledge, (B, *positions, C).

        Each example has a stream of its own in each epoch; one for all epochs if that is None.
        """
        purpose = ("dark knowledge", epoch) if epoch is not None else ("dark knowledge, once",)
        positions = self.labels.shape[1:]
        count = positions.numel() * classes
        counters = self.indices[:, None] * count + torch.arange(count, device=self.indices.device)
        drawn = randomness.bits(randomness.key(seed, *purpose), counters)
        return drawn.view(len(self.indices), *positions, classes)


@dataclass(frozen=True)
class _Ordered:
    """What an epoch shows, in order; all on the device."""

    epoch: int
    examples: Int64[Tensor, "examples"]
    turns: Int64[Tensor, "examples"]
    """How often each was shown before in the epoch."""
    numbers: Int64[Tensor, "examples"]
    """The numbers of the views."""


class Batches:
    """The batches of a data set's training examples, shown on a device.

    Every epoch shows each example once in a new order, except the last `len % batch_size`, which
    are left out so that all batches have one size; they are other examples in every epoch. Only a
    `part` of each batch is shown.

    A text's windows come in its order, as many streams side by side as a batch has windows, and in
    every epoch alike.

    With the spec's balance "sampling" an epoch is as long and shows all classes equally often: see
    `balanced_order`. With "weights" the batches carry `class_weights` of their examples.
    """

    def __init__(
        self, data: Data, batch_size: int, device: torch.device, part: slice = slice(None)
    ) -> None:
        training = data.training
        self.batch_size = min(batch_size, len(training))
        if isinstance(training, Windows):
            self.batch_size = batch_size
            training = training.in_streams(batch_size)
        self.examples = placed(training, device)
        self.views = self.examples.views
        has_label = self.examples.labels != NO_LABEL
        is_mixed = has_label.ndim == 1 and not bool(has_label.all())
        self._is_labelled = has_label if is_mixed else None
        self.labels = self.examples.labels.clamp_min(0)

        self.seed, self.device, self.part = data.spec.seed, device, part
        self._classes, self.samples = len(data.classes), data.spec.balance == "sampling"
        self._ordered: _Ordered | None = None
        self._weights: Tensor | None = None
        if data.spec.balance == "weights":
            labelled = self.labels[has_label] if self._is_labelled is not None else self.labels
            self._weights = class_weights(labelled, self._classes)[self.labels]
        if self._is_labelled is not None:
            everyone = self._weights if self._weights is not None else 1.0
            self._weights = has_label.float() * everyone

    @property
    def is_text(self) -> bool:
        """Whether a batch goes on where the one before it ended, with a state."""
        return isinstance(self.examples, Windows)

    @property
    def steps(self) -> int:
        """The number of batches in an epoch."""
        return len(self.labels) // self.batch_size

    def count_labelled(self, epoch: int) -> int:
        """Return how many of the examples that an epoch shows have a label."""
        shown = self.steps * self.batch_size
        if self._is_labelled is None:
            return shown
        return int(self._is_labelled[self._order(epoch).examples[:shown]].sum())

    def whole(self) -> Batches:
        """Return the same batches, all parts of them."""
        whole = copy.copy(self)
        whole.part = slice(None)
        return whole

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, starting at batch number `first`."""
        starts = range(first * self.batch_size, self.steps * self.batch_size, self.batch_size)
        everything = torch.arange(len(self.labels), device=self.device)
        parts = [everything[start : start + self.batch_size] for start in starts]
        requests = [self._request(epoch, positions) for positions in parts]
        shown_parts = zip(parts, self.examples.stream(requests), strict=True)
        for number, (positions, shown) in enumerate(shown_parts, first):
            batch = self._batch(epoch, positions, shown)
            yield replace(batch, number=number) if self.is_text else batch

    def at(self, epoch: int, positions: Int64[Tensor, "batch"]) -> Batch:
        """Return what an epoch shows at positions of its order: this process's part of it."""
        return self._batch(epoch, positions, self.examples.show(*self._request(epoch, positions)))

    def showing(self, indices: Int64[Tensor, "batch"], views: Int64[Tensor, "batch"]) -> Batch:
        """Return views, by their numbers, of training examples, by their places.

        Raises `AnewError` if views mix pictures: they are no function of one example's view.
        """
        self.views.check_unmixed()
        indices, views = indices.to(self.device), views.to(self.device)
        columns = views if self.views.is_countable else torch.full_like(views, NOWHERE)
        inputs = self.examples.show(indices, views)
        return Batch(inputs, self.labels[indices], indices, views, columns, epoch=0)

    def _request(self, epoch: int, positions: Tensor) -> Request:
        """Return which views of which examples this process's part of a batch is made of."""
        ordered = self._order(epoch)
        needed = positions[self.part]
        if self.views.mixes:
            needed, _ = self._both(positions).unique(return_inverse=True)
        return ordered.examples[needed], ordered.numbers[needed]

    def _batch(self, epoch: int, positions: Tensor, shown: Tensor) -> Batch:
        """Return the batch at positions of an epoch's order, made of the views of its request."""
        ordered = self._order(epoch)
        chosen, numbers = ordered.examples[positions], ordered.numbers[positions]
        columns = numbers
        if not self.views.is_countable:
            columns = torch.where(ordered.turns[positions] == 0, epoch, NOWHERE)

        weights = self._weights[chosen] if self._weights is not None else None
        if not self.views.mixes:
            labels = self.labels[chosen]
            batch = Batch(shown, labels, chosen, numbers, columns, epoch, weights, part=self.part)
            return batch if self._is_labelled is None else self._marked(batch)

        following = ordered.examples[self._following(positions)]
        inputs, share = self._mixed(positions, numbers, shown)
        second = Second(self.labels[following], 1 - share, following)
        if self._weights is not None:
            second = replace(second, weights=second.weights * self._weights[following])
        first = share if weights is None else share * weights
        return Batch(
            inputs,
            self.labels[chosen],
            chosen,
            numbers,
            columns,
            epoch,
            first,
            share,
            second,
            self.part,
        )

    def _marked(self, batch: Batch) -> Batch:
        """Return a batch that says which of its examples have a label."""
        assert self._is_labelled is not None
        return replace(batch, is_labelled=self._is_labelled[batch.indices])

    def _following(self, positions: Tensor) -> Int64[Tensor, "batch"]:
        """Return the positions of the examples that are mixed in: the next ones of the order."""
        return (positions + 1) % len(self.labels)

    def _both(self, positions: Tensor) -> Int64[Tensor, "pairs"]:
        """Return the positions of this process's first pictures, then those of the second ones."""
        return torch.cat([positions[self.part], self._following(positions)[self.part]])

    def _mixed(
        self, positions: Tensor, numbers: Tensor, shown: Tensor
    ) -> tuple[Num[Tensor, "part ..."], Float[Tensor, "batch"]]:
        """Return this process's mixed pictures, and the share of the first for the whole batch."""
        # Most of a batch's second pictures are among its first ones: each is made once.
        _, places = self._both(positions).unique(return_inverse=True)
        first, second = places.tensor_split(2)
        size = (shown.shape[-2], shown.shape[-1])
        mixture = self.views.mixture(numbers[self.part], size)
        share = self.views.mixture(numbers, size).share
        return mixture.mix(shown[first], shown[second]), share

    def positions(self, epoch: int, examples: Int64[Tensor, "batch"]) -> Int64[Tensor, "batch"]:
        """Return where examples that an epoch shows stand in its order, the first time."""
        ordered = self._order(epoch)
        (first,) = torch.nonzero(ordered.turns == 0, as_tuple=True)
        positions = torch.full((len(self.labels),), NOWHERE, device=self.device)
        positions[ordered.examples[first]] = first
        return positions[examples]

    def show_stored(
        self, examples: Int64[Tensor, "batch"], columns: Int64[Tensor, "batch"]
    ) -> Num[Tensor, "batch ..."]:
        """Return what was shown when the answers in a store's places were asked for."""
        if self.views.is_countable:
            return self.examples.show(examples, columns)
        inputs: list[Tensor] = []
        places: list[Tensor] = []
        for epoch in columns.unique().tolist():
            (here,) = torch.nonzero(columns == epoch, as_tuple=True)
            positions = self.positions(epoch, examples[here])
            inputs.append(self.whole().at(epoch, positions).inputs)
            places.append(here)
        return torch.cat(inputs)[torch.cat(places).argsort()]

    def _order(self, epoch: int) -> _Ordered:
        """Return an epoch's examples in the order in which they are shown, on the device."""
        if self._ordered is not None and self._ordered.epoch == epoch:
            return self._ordered
        if self.samples:
            labels = self.labels.cpu()
            order, turns = balanced_order(labels, self._classes, self.seed, epoch)
        elif isinstance(self.examples, Windows):
            order = self.examples.order
            turns = torch.zeros_like(order)
        else:
            order = randomness.order(randomness.key(self.seed, "order", epoch), len(self.labels))
            turns = torch.zeros_like(order)

        order, turns = order.to(self.device), turns.to(self.device)
        # An example that an epoch shows again is shown in another view.
        numbers = self.views.draw(self.seed, epoch, order + turns * len(order))
        self._ordered = _Ordered(epoch, order, turns, numbers)
        return self._ordered


def class_weights(labels: Int64[Tensor, "examples"], classes: int) -> Float[Tensor, "classes"]:
    """Return the weights N / (C n_c) of classes with n_c of N examples, float32.

    Every class weighs equally much in all, and the mean over the examples is 1.
    """
    counts = torch.bincount(labels, minlength=classes)
    return (len(labels) / (classes * counts.double())).float()


def balanced_order(
    labels: Int64[Tensor, "examples"], classes: int, seed: int, epoch: int
) -> tuple[Int64[Tensor, "examples"], Int64[Tensor, "examples"]]:
    """Return as many examples as there are, in random order, all classes equally often but for one.

    Of a class with more examples than its share a random part is taken, a new one in each epoch;
    of a class with fewer each is taken equally often, but for one. The second tensor counts how
    often the example was taken already. A pure function of the data's seed and the epoch. Every
    class must have an example.
    """
    drawn = randomness.order(randomness.key(seed, "order", epoch), len(labels))
    members = drawn[torch.argsort(labels[drawn], stable=True)]
    counts = torch.bincount(labels, minlength=classes)
    starts = counts.cumsum(0) - counts

    # Which classes get one more, where the examples are no multiple of the classes, is drawn too.
    rank = randomness.order(randomness.key(seed, "balance, rest", epoch), classes)
    share = len(labels) // classes + (rank < len(labels) % classes).long()
    number = torch.arange(len(labels)) - (share.cumsum(0) - share).repeat_interleave(share)
    size = counts.repeat_interleave(share)
    taken = members[starts.repeat_interleave(share) + number % size]
    turns = torch.div(number, size, rounding_mode="floor")

    mixed = randomness.order(randomness.key(seed, "balance, mixed", epoch), len(labels))
    return taken[mixed], turns[mixed]
