"""Mixup and cutmix: a picture and the next one of its epoch become one, with both their labels.

Mixup (Zhang et al. 2018) adds them up, cutmix (Yun et al. 2019) pastes a rectangle of the second
into the first. Where both are asked for, each example draws one of them.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass

import scipy
import torch
from jaxtyping import Bool, Float32, Int64, Num
from torch import Tensor

from anew.core import randomness
from anew.data.views.boxes import Boxes
from anew.data.views.moves import Size

PARTS = ("mixup", "cutmix")
_STEPS = 1 << 16
_AT_ONCE = 2

Pictures = Num[Tensor, "batch channels rows columns"]


@dataclass(frozen=True)
class Mixture:
    """How each of B pictures is mixed with another."""

    share: Float32[Tensor, "batch"]
    """The share of the first picture, and the weight of its label."""
    is_cut: Bool[Tensor, "batch"]
    """Whether the second is pasted into it, not added to it."""
    pasted: Boxes
    """The rectangle of the second that is pasted, where one is."""

    def mix(self, first: Pictures, second: Pictures) -> Pictures:
        """Return the mixed pictures, in channels_last memory; bytes are rounded to the nearest."""
        mixed = torch.empty_like(first, memory_format=torch.channels_last)
        # A few at a time stay in a processor's cache; other devices take all at once.
        at_once = _AT_ONCE if first.device.type == "cpu" else max(1, len(first))
        for start in range(0, len(first), at_once):
            part = slice(start, start + at_once)
            mixed[part] = _added(first[part], second[part], self.share[part])

        (places,) = torch.nonzero(self.is_cut, as_tuple=True)
        sides = (self.pasted.top, self.pasted.left, self.pasted.height, self.pasted.width)
        told = (places, *(side[places] for side in sides))
        for place, top, left, height, width in zip(*(one.tolist() for one in told), strict=True):
            mixed[place] = first[place]
            box = (place, slice(None), slice(top, top + height), slice(left, left + width))
            mixed[box] = second[box]
        return mixed


def _added(first: Pictures, second: Pictures, share: Float32[Tensor, "batch"]) -> Pictures:
    """Return shares of the first pictures and the rest of the second ones."""
    weights = share[:, None, None, None]
    # Products and a sum apart: fused ones would differ in their last bits with the place in the
    # batch.
    added = first * weights
    added += second * (1 - weights)
    return added if first.is_floating_point() else added.round_().to(first.dtype)


def draw(
    kinds: Collection[str], alpha: float, numbers: Int64[Tensor, "batch"], picture: Size
) -> Mixture:
    """Return how pictures (H, W) of the given numbers are mixed, by shares from Beta(alpha, alpha).

    `kinds` are one or both of `PARTS`. A rectangle has the share 1 - lambda of the area, a middle
    anywhere and no part beyond the picture; the labels' weights are the areas that are seen.
    """
    step = randomness.below(randomness.key("mixing, share"), numbers, _STEPS)
    share = _shares(alpha).to(numbers.device)[step]
    chosen = randomness.below(randomness.key("mixing, kind"), numbers, 2).bool()
    is_cut = chosen if len(kinds) == 2 else torch.full_like(chosen, "cutmix" in kinds)

    rows, columns = picture
    half = 0.5 * (1 - share).sqrt()
    sides: list[tuple[Tensor, Tensor]] = []
    for name, side in (("row", rows), ("column", columns)):
        middle = randomness.below(randomness.key("mixing", name), numbers, side)
        reach = (half * side).long()
        first = (middle - reach).clamp_min(0)
        sides.append((first, (middle + reach).clamp_max(side) - first))

    (top, height), (left, width) = sides
    pasted = Boxes(top, left, height, width)
    seen = 1 - (height * width).float() / (rows * columns)
    return Mixture(torch.where(is_cut, seen, share), is_cut, pasted)


@functools.cache
def _shares(alpha: float) -> Float32[Tensor, "steps"]:
    """Return the quantiles of Beta(alpha, alpha) at equal steps of probability.

    A table, because the last bits of what a device would compute depend on the device.
    """
    steps = (torch.arange(_STEPS, dtype=torch.float64) + 0.5) / _STEPS
    quantiles = torch.from_numpy(scipy.special.betaincinv(alpha, alpha, steps.numpy()))
    # Whole steps, all exact in float32: another library's last bits change nothing.
    return ((quantiles * _STEPS).round() / _STEPS).float()
