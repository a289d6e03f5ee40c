"""Examples of a torch data set with random transforms: each item is read anew for each view.

Such transforms draw from the global generators of Python, NumPy and torch. They are seeded with the
view's number before an item is read, and restored afterwards, so an item is a function of its place
and its view's number alone, in any process and after any other item.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int64, Num
from torch import Tensor

from anew.core import randomness
from anew.data.examples import Examples, Indices, Request, moved, on_cpu
from anew.data.signature import Kind
from anew.data.views import FRESH, Views
from anew.data.workers import in_order

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


class Fresh:
    """Items of a data set, chosen by their numbers, each read when it is shown."""

    def __init__(
        self,
        items: Items,
        labels: Int64[Tensor, "examples"],
        workers: int,
        views: Views | None = None,
    ) -> None:
        self.items, self.workers = items, workers
        self.numbers = torch.arange(len(items))
        self._labels, self._views = labels, views or Views(FRESH)
        self._device = torch.device("cpu")
        first = items.read([0], still_seeds([0]))
        self._shape, self._is_picture = tuple(first.shape[1:]), first.ndim == 4

    @property
    def labels(self) -> Int64[Tensor, "examples"]:
        """The labels, on the device."""
        return self._labels

    @property
    def kind(self) -> Kind:
        """What an example is: a picture or a vector."""
        return "picture" if self._is_picture else "vector"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input as it is shown."""
        size = self._views.size
        return self._shape if size is None else (self._shape[0], *size)

    @property
    def views(self) -> Views:
        """The views in which the examples are shown."""
        return self._views

    def __len__(self) -> int:
        return len(self.numbers)

    def show(
        self, indices: Indices, views: Int64[Tensor, "chosen"] | None = None
    ) -> Num[Tensor, "chosen ..."]:
        """Return inputs in the given views; without views each as it is drawn from its place."""
        return moved(self.show_here(on_cpu((indices, views))), self._device)

    def stream(self, requests: Sequence[Request]) -> Iterator[Num[Tensor, "chosen ..."]]:
        """Yield what `show` returns for each request, read ahead by processes."""
        plain = [on_cpu(request) for request in requests]
        workers = self.workers if len(plain) > 1 else 0
        here = self if self._device.type == "cpu" else self.to(torch.device("cpu"))
        for shown in in_order(partial(_shown, here), plain, workers):
            yield moved(shown, self._device)

    def take(self, indices: Int64[Tensor, "chosen"]) -> Fresh:
        """Return the examples at the given places, in that order."""
        taken = copy.copy(self)
        taken.numbers, taken._labels = self.numbers[indices.cpu()], self._labels[indices]
        return taken

    def with_views(self, views: Views) -> Fresh:
        """Return the same examples with other views."""
        other = copy.copy(self)
        other._views = views
        return other

    def to(self, device: torch.device) -> Fresh:
        """Return the same examples, shown on a device from now on."""
        other = copy.copy(self)
        other._labels, other._device = self._labels.to(device), device
        return other

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


def _shown(examples: Fresh, request: Request) -> Tensor:
    return examples.show_here(request)
