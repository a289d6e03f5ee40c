"""Examples that are read when they are shown, by worker processes ahead of training.

What reads them, from a disk or from a data set of torch, is a subclass: `Streamed`, `Fresh`.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from jaxtyping import Int64, Num
from torch import Tensor

from anew.data.examples import Indices, Request, moved, on_cpu
from anew.data.signature import Kind
from anew.data.views import Views
from anew.data.workers import in_order


class OnDemand(ABC):
    """Examples chosen from a larger set by their numbers, with their labels."""

    def __init__(
        self, numbers: Int64[Tensor, "examples"], labels: Int64[Tensor, "examples"], views: Views
    ) -> None:
        self.numbers = numbers
        self._labels, self._views = labels, views
        self._device = torch.device("cpu")

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """What an example is."""

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input as it is shown."""

    @abstractmethod
    def show_here(self, request: Request) -> Num[Tensor, "chosen ..."]:
        """Return what `show` returns for a request on the CPU, without a device."""

    @abstractmethod
    def ahead(self) -> int:
        """Return how many processes read ahead; 0 for none."""

    @property
    def labels(self) -> Int64[Tensor, "examples"]:
        """The labels, on the device."""
        return self._labels

    @property
    def views(self) -> Views:
        """The views in which the examples can be shown."""
        return self._views

    def __len__(self) -> int:
        return len(self.numbers)

    def show(
        self, indices: Indices, views: Int64[Tensor, "chosen"] | None = None
    ) -> Num[Tensor, "chosen ..."]:
        """Return inputs in the given views, or as they are, on the device."""
        return moved(self.show_here(on_cpu((indices, views))), self._device)

    def stream(self, requests: Sequence[Request]) -> Iterator[Num[Tensor, "chosen ..."]]:
        """Yield what `show` returns for each request, read ahead by processes."""
        plain = [on_cpu(request) for request in requests]
        workers = self.ahead() if len(plain) > 1 else 0
        # Other processes do not get the device.
        here = self if self._device.type == "cpu" else self.to(torch.device("cpu"))
        for shown in in_order(partial(_shown, here), plain, workers):
            yield moved(shown, self._device)

    def take(self, indices: Int64[Tensor, "chosen"]) -> OnDemand:
        """Return the examples at the given places, in that order."""
        taken = copy.copy(self)
        taken.numbers, taken._labels = self.numbers[indices.cpu()], self._labels[indices]
        return taken

    def with_views(self, views: Views) -> OnDemand:
        """Return the same examples with other views."""
        other = copy.copy(self)
        other._views = views
        return other

    def to(self, device: torch.device) -> OnDemand:
        """Return the same examples, shown on a device from now on."""
        other = copy.copy(self)
        other._labels, other._device = self._labels.to(device), device
        return other


def _shown(examples: OnDemand, request: Request) -> Tensor:
    return examples.show_here(request)
