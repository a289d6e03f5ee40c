"""Examples of a torch data set with random transforms: each item is read anew for each view.

Such transforms draw from the global generators of Python, NumPy and torch. They are seeded with the
view's number before an item is read, and restored afterwards, so an item is a function of its place
and its view's number alone, in any process and after any other item.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int64, Num
from torch import Tensor

from anew.core import randomness
from anew.data.examples import Examples, Request
from anew.data.on_demand import OnDemand
from anew.data.signature import Kind
from anew.data.views import FRESH, Views

MEASURED = 10_000
"""So many examples the normalisation is measured on: all are drawn at random anyway."""
_NUMBERS = (1 << 63) - 1


@runtime_checkable
class Items(Protocol):
    """A data set's items. Worker processes read them."""

    @property
    def digests(self) -> Sequence[bytes]:
        """The SHA-256 of each item as it is drawn without a view."""
        ...

    def __len__(self) -> int:
        """Return the number of items."""
        ...

    def read(self, places: Sequence[int], seeds: Sequence[int]) -> Num[Tensor, "chosen ..."]:
        """Return the inputs of items, each drawn from its own seed, in anew's layout.

        Raises `AnewError` if one cannot be read, or has another shape or label than before.
        """
        ...


class Fresh(OnDemand):
    """Items of a data set, chosen by their numbers, each read when it is shown.

    Without views each is shown as it is drawn from its place.
    """

    def __init__(
        self,
        items: Items,
        labels: Int64[Tensor, "examples"],
        workers: int,
        views: Views | None = None,
    ) -> None:
        super().__init__(torch.arange(len(items)), labels, views or Views(FRESH))
        self.items, self.workers = items, workers
        first = items.read([0], still_seeds([0]))
        self._shape, self._is_picture = tuple(first.shape[1:]), first.ndim == 4

    @property
    def kind(self) -> Kind:
        """What an example is: a picture or a vector."""
        return "picture" if self._is_picture else "vector"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input as it is shown."""
        size = self._views.size
        return self._shape if size is None else (self._shape[0], *size)

    def ahead(self) -> int:
        """Return how many processes read items ahead."""
        return self.workers

    def show_here(self, request: Request) -> Num[Tensor, "chosen ..."]:
        """Return what `show` returns for a request on the CPU, without a device."""
        indices, views = request
        chosen = self.numbers[indices].tolist()
        if views is None:
            return self._views.still(self.items.read(chosen, still_seeds(chosen)))
        inputs = self.items.read(chosen, views.tolist())
        others = replace(self._views, kind=self._views.without_fresh)
        return others.show(inputs, torch.arange(len(inputs)), views)


def still_seeds(places: Sequence[int]) -> list[int]:
    """Return the seeds of items that are shown without a view: they depend on the place alone."""
    stream = randomness.key("fresh, without a view")
    return (randomness.bits(stream, torch.tensor(places, dtype=torch.int64)) & _NUMBERS).tolist()


def measurable(examples: Examples) -> Examples:
    """Return the examples on which units and normalisation are measured: of fresh ones a part."""
    if not isinstance(examples, Fresh) or len(examples) <= MEASURED:
        return examples
    return examples.take(torch.arange(MEASURED) * len(examples) // MEASURED)
