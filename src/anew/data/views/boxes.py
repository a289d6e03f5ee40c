"""Rectangles within pictures, drawn by area and aspect as torchvision draws them."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from anew.core import randomness

ATTEMPTS = 10
_STEPS = 1 << 12


@dataclass(frozen=True)
class Shape:
    """Which rectangles are drawn."""

    area: tuple[float, float]
    """The least and the largest share of the picture's area, drawn uniformly between."""
    aspect: tuple[float, float]
    """The least and the largest width over height, drawn uniformly in their logarithm."""
    margin: int = 0
    """The rows and columns of the picture that must be left over at least."""


@dataclass(frozen=True)
class Boxes:
    """A rectangle for each of B examples: rows top..top + height - 1, columns alike."""

    top: Int64[Tensor, "batch"]
    left: Int64[Tensor, "batch"]
    height: Int64[Tensor, "batch"]
    width: Int64[Tensor, "batch"]

    def tolist(self) -> list[tuple[int, int, int, int]]:
        """Return first row, first column, height and width of each rectangle."""
        sides = (self.top, self.left, self.height, self.width)
        return list(zip(*(side.tolist() for side in sides), strict=True))

    def mask(self, rows: int, columns: int) -> Bool[Tensor, "batch 1 rows columns"]:
        """Return which places of a picture (rows, columns) lie within each rectangle."""
        device = self.top.device
        row = torch.arange(rows, device=device)[None, None, :, None]
        column = torch.arange(columns, device=device)[None, None, None, :]
        top, left, height, width = (
            value[:, None, None, None] for value in (self.top, self.left, self.height, self.width)
        )
        return (row >= top) & (row < top + height) & (column >= left) & (column < left + width)


def draw(
    shape: Shape, purpose: str, numbers: Int64[Tensor, "batch"], picture: tuple[int, int]
) -> tuple[Boxes, Bool[Tensor, "batch"]]:
    """Return a rectangle in a picture (H, W) for each number, and whether one was found.

    As torchvision's RandomResizedCrop and RandomErasing: the first of ten whose rounded sides fit.
    Where none does, the rectangle is empty.
    """
    rows, columns = picture
    counters = numbers[:, None] + torch.arange(ATTEMPTS, device=numbers.device)
    drawn = randomness.uniform(randomness.key(purpose, "area"), counters)
    low, high = shape.area
    areas = rows * columns * (low + (high - low) * drawn)
    steps = randomness.below(randomness.key(purpose, "aspect"), counters, _STEPS)
    aspects = _aspects(*shape.aspect).to(numbers.device)[steps]

    widths = (areas * aspects).sqrt().round().long()
    heights = (areas / aspects).sqrt().round().long()
    fits = (widths > 0) & (widths <= columns - shape.margin)
    fits &= (heights > 0) & (heights <= rows - shape.margin)

    # The first that fits; the largest of several equal ones is the first.
    first = fits.to(torch.int8).argmax(1, keepdim=True)
    found = fits.any(1)
    height = torch.where(found, heights.gather(1, first)[:, 0], 0)
    width = torch.where(found, widths.gather(1, first)[:, 0], 0)
    top = randomness.below(randomness.key(purpose, "top"), numbers, rows - height + 1)
    left = randomness.below(randomness.key(purpose, "left"), numbers, columns - width + 1)
    return Boxes(top, left, height, width), found


@functools.cache
def _aspects(low: float, high: float) -> Tensor:
    """Return aspects at equal steps of their logarithm, float32.

    A table, because the last bits of a logarithm depend on the device and on the place in a tensor.
    """
    span = math.log(high) - math.log(low)
    return torch.tensor(
        [math.exp(math.log(low) + span * (step + 0.5) / _STEPS) for step in range(_STEPS)]
    )
