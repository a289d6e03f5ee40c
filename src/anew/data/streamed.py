"""Examples whose pictures lie on the disk and are decoded when they are shown."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int64, Num
from torch import Tensor

from anew.data.examples import Examples, Request, Resident
from anew.data.kept import DamagedError, Pictures, damaged_error
from anew.data.moments import Moments
from anew.data.on_demand import OnDemand
from anew.data.pictures import Part
from anew.data.signature import Kind
from anew.data.views import Views


class Streamed(OnDemand):
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
        super().__init__(numbers, labels, views or Views())
        self.pictures = pictures

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
    def dtype(self) -> torch.dtype:
        """The type of a pixel."""
        return torch.float32 if self.pictures.layout.is_deep else torch.uint8

    @property
    def bytes(self) -> int:
        """The memory that the kept pictures take."""
        return len(self) * self.pictures.layout.bytes

    def ahead(self) -> int:
        """Return how many processes decode pictures ahead."""
        return self.pictures.ahead(len(self))

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
