"""Random erasing (Zhong et al. 2020): a rectangle of a picture becomes its mean colour."""

from __future__ import annotations

import torch
from jaxtyping import Int64, Num
from torch import Tensor

from anew.core import randomness
from anew.data.views import boxes
from anew.data.views.boxes import Shape

# As torchvision's RandomErasing: area, width over height, and never a whole side.
SHAPE = Shape((0.02, 0.33), (0.3, 3.3), margin=1)


def erase(
    pictures: Num[Tensor, "batch channels rows columns"],
    numbers: Int64[Tensor, "batch"],
    share: float,
) -> Num[Tensor, "batch channels rows columns"]:
    """Return pictures of which a `share` has lost a rectangle.

    It holds the picture's own mean colour, which means as little in any unit.
    """
    rows, columns = pictures.shape[-2], pictures.shape[-1]
    erased, found = boxes.draw(SHAPE, "erase", numbers, (rows, columns))
    found &= randomness.uniform(randomness.key("erase"), numbers) < share

    mask = erased.mask(rows, columns) & found[:, None, None, None]
    return torch.where(mask, _mean_colour(pictures), pictures)


def _mean_colour(pictures: Tensor) -> Num[Tensor, "batch channels 1 1"]:
    """Return each picture's mean colour; of bytes it is exact and rounded."""
    count = pictures.shape[-2] * pictures.shape[-1]
    if not pictures.is_floating_point():
        total = pictures.sum((-2, -1), keepdim=True, dtype=torch.int64)
        return ((2 * total + count) // (2 * count)).to(pictures.dtype)
    # One by one: a sum's last bits may depend on how many others are summed with it.
    means = [one.double().mean((-2, -1), keepdim=True) for one in pictures.contiguous().split(1)]
    return torch.cat(means).to(pictures.dtype)
