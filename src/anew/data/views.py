"""Augmentation as a pure function of the data's seed, the epoch and the example's number.

A view of a picture is numbered: padding d gives (2 d + 1)^2 crops, a flip doubles them, so crop
with padding 4 and flip is 162 views, 0..161. A batch of views is one gather on the device that
holds the pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int64, Num
from torch import Tensor

from anew.core import randomness
from anew.core.errors import AnewError
from anew.data.signature import Kind

KINDS = ("none", "flip", "crop", "crop+flip")
PADDING_MODES = ("zero", "reflect")


@dataclass(frozen=True)
class Views:
    """The views of a picture: crops, flips, both, or only the picture itself."""

    kind: str = "none"
    """One of `KINDS`."""
    padding: int = 4
    """How many pixels a crop moves at most."""
    padding_mode: str = "zero"
    """What a crop shows beyond the edge: "zero" is black (0, before any normalisation), "reflect"
    the picture mirrored without repeating its edge, as Wide-ResNet's authors did."""

    @property
    def crops(self) -> int:
        """The number of places that a crop can take."""
        return (2 * self.padding + 1) ** 2 if "crop" in self.kind else 1

    @property
    def count(self) -> int:
        """The number of distinct views of one picture: 162 for crop with padding 4 and flip."""
        return self.crops * (2 if "flip" in self.kind else 1)

    def check(self, kind: Kind, input_shape: tuple[int, ...]) -> None:
        """Raise `AnewError` if examples of this kind and shape (C, H, W) have no such views."""
        if self.kind != "none" and kind != "picture":
            raise AnewError(
                f"data: views '{self.kind}' need pictures, but the examples have shape "
                f"{input_shape}; set --views none"
            )

        reflects = "crop" in self.kind and self.padding_mode == "reflect"
        if reflects and self.padding >= min(input_shape[1:]):
            raise AnewError(
                f"data: padding {self.padding} with reflection needs pictures larger than that, "
                f"got {input_shape[1]}x{input_shape[2]}; lower --data.padding"
            )

    def draw(
        self, seed: int, epoch: int, indices: Int64[Tensor, "batch"]
    ) -> Int64[Tensor, "batch"]:
        """Return the number of each example's view in an epoch, drawn uniformly from all."""
        return randomness.below(randomness.key(seed, "view", epoch), indices, self.count)

    def show(
        self,
        pictures: Num[Tensor, "examples ..."],
        indices: Int64[Tensor, "batch"],
        numbers: Int64[Tensor, "batch"],
    ) -> Num[Tensor, "batch ..."]:
        """Return the given views of the given examples, dtype unchanged, in one gather.

        `pictures` (N, C, H, W) give (B, C, H, W) in channels_last memory; view number n = flip x
        crops + crop, and the crop's offset (row, column) = divmod(crop, 2 padding + 1), with
        (padding, padding) the unmoved picture.
        """
        if self.kind == "none":
            return pictures.index_select(0, indices)

        height, width = pictures.shape[-2:]
        device = pictures.device
        crop, flip = numbers % self.crops, torch.div(numbers, self.crops, rounding_mode="floor")
        rows = torch.arange(height, device=device).expand(len(indices), height)
        columns = torch.arange(width, device=device).expand(len(indices), width)
        columns = torch.where(flip[:, None].bool(), width - 1 - columns, columns)
        if "crop" in self.kind:
            side = 2 * self.padding + 1
            rows = rows + (torch.div(crop, side, rounding_mode="floor") - self.padding)[:, None]
            columns = columns + (crop % side - self.padding)[:, None]

        seen_rows, seen_columns = self._within(rows, height), self._within(columns, width)
        by_place = pictures.permute(0, 2, 3, 1)
        views = by_place[indices[:, None, None], seen_rows[:, :, None], seen_columns[:, None, :]]
        if self.padding_mode == "zero" and "crop" in self.kind:
            inside = (rows == seen_rows)[:, :, None] & (columns == seen_columns)[:, None, :]
            views = views * inside[..., None]
        return views.permute(0, 3, 1, 2)

    def _within(self, places: Tensor, size: int) -> Tensor:
        """Return the rows or columns inside the picture that stand for those beyond it."""
        if self.padding_mode == "zero":
            return places.clamp(0, size - 1)
        mirrored = places.abs()
        return torch.where(mirrored >= size, 2 * (size - 1) - mirrored, mirrored)
