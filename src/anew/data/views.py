"""Augmentation as a pure function: the view of example i in epoch e depends on (data seed, epoch,
i) and nothing else.

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

KINDS = ("none", "flip", "crop", "crop+flip")
PADDING_MODES = ("zero", "reflect")


@dataclass(frozen=True)
class Views:
    """The views that a picture has: which kinds of change, how far a crop moves, what is seen
    beyond the edge.

    `padding` is in pixels; `padding_mode` "zero" shows black there (0, before any normalisation),
    "reflect" the picture mirrored without repeating its edge, as Wide-ResNet's authors did.
    """

    kind: str = "none"
    padding: int = 4
    padding_mode: str = "zero"

    @property
    def crops(self) -> int:
        """The number of places that a crop can take."""
        return (2 * self.padding + 1) ** 2 if "crop" in self.kind else 1

    @property
    def count(self) -> int:
        """The number of distinct views of one picture: 162 for crop with padding 4 and flip."""
        return self.crops * (2 if "flip" in self.kind else 1)

    def check(self, input_shape: tuple[int, ...]) -> None:
        """Raise `AnewError` where inputs of this shape (without the batch) have no such views."""
        if self.kind != "none" and len(input_shape) != 3:
            raise AnewError(
                f"data: views '{self.kind}' need pictures, but the examples have shape "
                f"{input_shape}; set --views none"
            )
        if (
            "crop" in self.kind
            and self.padding_mode == "reflect"
            and self.padding >= min(input_shape[1:])
        ):
            raise AnewError(
                f"data: padding {self.padding} with reflection needs pictures larger than that, "
                f"got {input_shape[1]}x{input_shape[2]}; lower --data.padding"
            )

    def draw(
        self, seed: int, epoch: int, indices: Int64[Tensor, "batch"]
    ) -> Int64[Tensor, "batch"]:
        """Return the number of the view that each example shows in an epoch, uniform over all of
        them.
        """
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
        side = 2 * self.padding + 1
        crop, flip = numbers % self.crops, torch.div(numbers, self.crops, rounding_mode="floor")
        device = pictures.device
        rows = torch.arange(height, device=device).expand(len(indices), height)
        columns = torch.arange(width, device=device).expand(len(indices), width)
        columns = torch.where(flip[:, None].bool(), width - 1 - columns, columns)
        if "crop" in self.kind:
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
        """Map places beyond the edge to those inside that are shown for them."""
        if self.padding_mode == "zero":
            return places.clamp(0, size - 1)
        mirrored = places.abs()
        return torch.where(mirrored >= size, 2 * (size - 1) - mirrored, mirrored)
