"""Crops and flips by number: a batch of views is one gather on the device of the pictures.

Padding d gives (2 d + 1)^2 crops, a flip doubles them, so crop with padding 4 and flip is 162
views, 0..161. Where pictures are kept larger than they are shown, a crop moves within them instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int64, Num
from torch import Tensor

from anew.data.views.boxes import Boxes

Size = tuple[int, int]


def centre(kept: Size, shown: Size) -> Size:
    """Return the offset (row, column) of the crop in the middle, as torchvision's CenterCrop."""
    return round((kept[0] - shown[0]) / 2), round((kept[1] - shown[1]) / 2)


@dataclass(frozen=True)
class Moves:
    """The crops and flips of a picture; without either it has only its middle."""

    crops: bool
    flips: bool
    padding: int
    """How many pixels a crop moves at most, where a picture is shown whole."""
    padding_mode: str
    """What a crop shows beyond the edge: zero or reflect."""
    size: Size | None = None
    """The rows and columns that are shown; None is all of them."""

    def places(self, kept: Size) -> Size:
        """Return how many rows and columns a crop of a picture (H, W) can start at."""
        if not self.crops:
            return 1, 1
        if self.size in (None, kept):
            return 2 * self.padding + 1, 2 * self.padding + 1
        assert self.size is not None
        return kept[0] - self.size[0] + 1, kept[1] - self.size[1] + 1

    def count(self, kept: Size) -> int:
        """Return the number of distinct views of a picture (H, W)."""
        rows, columns = self.places(kept)
        return rows * columns * (2 if self.flips else 1)

    def within(self, numbers: Int64[Tensor, "batch"], kept: Size) -> Boxes:
        """Return the rectangle that each view shows of a picture that is kept larger (H, W)."""
        assert self.size is not None, "only a part of a picture lies within it"
        starts, (top, left) = self.places(kept), self._first(kept)
        crop = numbers % (starts[0] * starts[1])
        return Boxes(
            top + torch.div(crop, starts[1], rounding_mode="floor"),
            left + crop % starts[1],
            torch.full_like(crop, self.size[0]),
            torch.full_like(crop, self.size[1]),
        )

    def show(
        self,
        pictures: Num[Tensor, "examples channels kept_rows kept_columns"],
        indices: Int64[Tensor, "batch"],
        numbers: Int64[Tensor, "batch"],
    ) -> Num[Tensor, "batch channels rows columns"]:
        """Return the given views of the given pictures, dtype unchanged, in channels_last memory.

        View number n = flip x crops + crop, and the crop's offset (row, column) = divmod(crop,
        columns that it can start at), with (padding, padding) the unmoved picture where it is shown
        whole.
        """
        kept = (pictures.shape[-2], pictures.shape[-1])
        height, width = self.size or kept
        starts = self.places(kept)
        crop = numbers % (starts[0] * starts[1])
        flip = torch.div(numbers, starts[0] * starts[1], rounding_mode="floor")

        top, left = self._first(kept)
        if self.size not in (None, kept) and pictures.device.type == "cpu":
            seen = self.within(numbers, kept)
            return _cut(pictures, indices, (seen.top, seen.left, flip), (height, width))

        device = pictures.device
        rows = torch.arange(height, device=device).expand(len(indices), height)
        columns = torch.arange(width, device=device).expand(len(indices), width)
        columns = torch.where(flip[:, None].bool(), width - 1 - columns, columns)
        rows = rows + (torch.div(crop, starts[1], rounding_mode="floor") + top)[:, None]
        columns = columns + (crop % starts[1] + left)[:, None]

        seen_rows, seen_columns = self._within(rows, kept[0]), self._within(columns, kept[1])
        by_place = pictures.permute(0, 2, 3, 1)
        views = by_place[indices[:, None, None], seen_rows[:, :, None], seen_columns[:, None, :]]
        if self.padding_mode == "zero" and self.crops and self.size in (None, kept):
            inside = (rows == seen_rows)[:, :, None] & (columns == seen_columns)[:, None, :]
            views = views * inside[..., None]
        return views.permute(0, 3, 1, 2)

    def _first(self, kept: Size) -> Size:
        """Return the row and the column at which the first crop starts."""
        if not self.crops:
            return centre(kept, self.size or kept)
        if self.size in (None, kept):
            return -self.padding, -self.padding
        return 0, 0

    def _within(self, places: Tensor, size: int) -> Tensor:
        """Return the rows or columns inside the picture that stand for those beyond it."""
        if self.padding_mode == "zero":
            return places.clamp(0, size - 1)
        mirrored = places.abs()
        return torch.where(mirrored >= size, 2 * (size - 1) - mirrored, mirrored)


def _cut(
    pictures: Num[Tensor, "examples channels kept_rows kept_columns"],
    indices: Int64[Tensor, "batch"],
    places: tuple[Tensor, Tensor, Tensor],
    size: Size,
) -> Num[Tensor, "batch channels rows columns"]:
    """Return rectangles within pictures: first rows, first columns, and whether they are flipped.

    One by one, which is quicker on a processor than a gather by three indices.
    """
    channels = pictures.shape[1]
    shown = torch.empty(
        (len(indices), channels, *size), dtype=pictures.dtype, memory_format=torch.channels_last
    )

    told = (indices, *places)
    for place, (index, top, left, flip) in enumerate(
        zip(*(one.tolist() for one in told), strict=True)
    ):
        piece = pictures[index, :, top : top + size[0], left : left + size[1]]
        shown[place] = piece.flip(-1) if flip else piece
    return shown
