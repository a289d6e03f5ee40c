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

    shown = pictures.clone(memory_format=torch.preserve_format)
    (places,) = torch.nonzero(found, as_tuple=True)
    sides = (erased.top, erased.left, erased.height, erased.width)
    told = (places, *(side[places] for side in sides))
    for place, top, left, height, width in zip(*(one.tolist() for one in told), strict=True):
        colour = _mean_colour(pictures[place])
        shown[place, :, top : top + height, left : left + width] = colour
    return shown


def _mean_colour(
    picture: Num[Tensor, "channels rows columns"],
) -> Num[Tensor, "channels 1 1"]:
    """Return a picture's mean colour; of bytes it is exact and rounded."""
    if picture.is_floating_point():
        return picture.double().mean((-2, -1), keepdim=True).to(picture.dtype)
    total = picture.sum((-2, -1), keepdim=True, dtype=torch.int64)
    count = picture.shape[-2] * picture.shape[-1]
    return ((2 * total + count) // (2 * count)).to(picture.dtype)
