"""Examples whose pictures lie on the disk and are decoded when they are shown."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from jaxtyping import Int64, Num
from torch import Tensor

from anew.data.examples import Examples, Indices, Request, Resident, moved, on_cpu
from anew.data.kept import DamagedError, Pictures, damaged_error
from anew.data.moments import Moments
from anew.data.pictures import Part
from anew.data.signature import Kind
from anew.data.views import Views
from anew.data.workers import in_order


class Streamed:
    """Pictures of a source, chosen by their numbers, with their labels.

    Shown, they have the bits of `resident()`.
    """

    def __init__(
        self,
        pictures: Pictures,
        numbers: Int64[Tensor, "examples"],
        labels: Int64[Tensor, "examples"],
        views: Views | None = None,
    ) -> None:
        self.pictures, self.numbers = pictures, numbers
        self._labels, self._views = labels, views or Views()
        self._device = torch.device("cpu")

    @property
    def labels(self) -> Int64[Tensor, "examples"]:
        """The labels, on the device."""
        return self._labels

    @property
    def kind(self) -> Kind:
        """The kind: pictures."""
        return "picture"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape (C, H, W) of a picture as it is shown."""
        layout = self.pictures.layout
        return (layout.channels, *(self._views.size or (layout.height, layout.width)))

    @property
    def views(self) -> Views:
        """The views in which the pictures can be shown."""
        return self._views

    @property
    def dtype(self) -> torch.dtype:
        """The type of a pixel."""
        return torch.float32 if self.pictures.layout.is_deep else torch.uint8

    @property
    def bytes(self) -> int:
        """The memory that the kept pictures take."""
        return len(self) * self.pictures.layout.bytes

    def __len__(self) -> int:
        return len(self.numbers)

    def show(
        self, indices: Indices, views: Int64[Tensor, "chosen"] | None = None
    ) -> Num[Tensor, "chosen ..."]:
        """Return pictures in the given views, or as they are, on the device."""
        return moved(self.show_here(on_cpu((indices, views))), self._device)

    def stream(self, requests: Sequence[Request]) -> Iterator[Num[Tensor, "chosen ..."]]:
        """Yield what `show` returns for each request, decoded ahead by processes."""
        plain = [on_cpu(request) for request in requests]
        workers = self.pictures.ahead(len(self)) if len(plain) > 1 else 0
        for shown in in_order(partial(_shown, self._on_cpu()), plain, workers):
            yield moved(shown, self._device)

    def take(self, indices: Int64[Tensor, "chosen"]) -> Streamed:
        """Return the examples at the given places, in that order."""
        taken = copy.copy(self)
        taken.numbers, taken._labels = self.numbers[indices.cpu()], self._labels[indices]
        return taken

    def with_views(self, views: Views) -> Streamed:
        """Return the same examples with other views."""
        other = copy.copy(self)
        other._views = views
        return other

    def to(self, device: torch.device) -> Streamed:
        """Return the same examples, shown on a device from now on."""
        other = copy.copy(self)
        other._labels, other._device = self._labels.to(device), device
        return other

    def resident(self) -> Resident:
        """Return the examples in memory; raises `DamagedError` if some cannot be decoded."""
        block = torch.from_numpy(self.pictures.load(self.numbers.tolist()))
        return Resident(block.permute(0, 3, 1, 2), self._labels, self._views)

    def moments(self) -> Moments:
        """Return the sums over all pictures, as they are shown without views.

        All are decoded for it, so that damage shows before training; raises `DamagedError`.
        """
        return self.pictures.moments(self.numbers.tolist(), self._views.size)

    def show_here(self, request: Request) -> Num[Tensor, "chosen ..."]:
        """Return what `show` returns for a request on the CPU, without a device."""
        indices, views = request
        chosen = self.numbers[indices]
        pixels = self.pictures.kept.pixels(chosen.tolist(), parts=self._seen(len(chosen), views))
        kept = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        if views is None:
            return self._views.still(kept)
        return self._views.show(kept, torch.arange(len(kept)), views)

    def _seen(self, count: int, views: Tensor | None) -> list[Part] | None:
        """Return the part of each kept picture that is shown; None for all of them."""
        layout = self.pictures.layout
        kept = (layout.height, layout.width)
        if views is None:
            middle = self._views.middle(kept)
            return None if middle is None else [middle] * count
        boxes = self._views.seen(views, kept)
        return None if boxes is None else boxes.tolist()

    def _on_cpu(self) -> Streamed:
        """Return the examples as other processes need them: without the device."""
        return self if self._device.type == "cpu" else self.to(torch.device("cpu"))


def settled(splits: Sequence[Examples], what: str) -> list[Examples]:
    """Return splits of a data set held as its storage says: in memory, or on the disk.

    Those that are in memory already stay. Pictures that stay on the disk are all decoded once, so
    that damaged ones are named now and not in the middle of training.
    """
    streamed = [one for one in splits if isinstance(one, Streamed)]
    if not streamed:
        return list(splits)
    size = sum(one.bytes for one in streamed)
    in_memory = streamed[0].pictures.storage.holds(what, size)
    if not in_memory:
        streamed[0].pictures.prepare_for_streaming()

    held: list[Examples] = []
    damaged: dict[int, str] = {}
    for one in splits:
        try:
            held.append(_held(one, in_memory=in_memory))
        except DamagedError as error:
            damaged |= error.damaged
    if damaged:
        raise damaged_error(damaged, sum(map(len, streamed)))
    return held


def _held(examples: Examples, *, in_memory: bool) -> Examples:
    if not isinstance(examples, Streamed):
        return examples
    if in_memory:
        return examples.resident()
    examples.moments()
    return examples


def _shown(examples: Streamed, request: Request) -> Tensor:
    return examples.show_here(request)
