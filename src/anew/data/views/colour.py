"""Brightness, contrast and saturation of whole batches, a factor for each picture.

As torchvision's functional operations, which cut bytes off after each; but products and sums are
apart and means are exact, so that a picture's bits depend on nothing but itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float32, Int64, Num
from torch import Tensor

from anew.core import randomness

# Pictures changed at once, so that what lies between two operations stays in the cache.
_AT_ONCE = 2
# Grey values are added as whole numbers, floats as multiples of this.
_STEP = 2.0**-16

Pictures = Num[Tensor, "batch channels rows columns"]
Values = Float32[Tensor, "batch channels rows columns"]
Factors = Float32[Tensor, "batch 1 1 1"]


def jitter(pictures: Pictures, numbers: Int64[Tensor, "batch"], strength: float) -> Pictures:
    """Return pictures (bytes, or floats in 0..1) with other brightness, contrast and saturation.

    Each factor is drawn uniformly from 1 - strength to 1 + strength, as by torchvision's
    ColorJitter, and they are applied in this order.
    """
    factors = [
        (1 + strength * (2 * randomness.uniform(randomness.key("colour", name), numbers) - 1))
        for name in ("brightness", "contrast", "saturation")
    ]
    jittered = torch.empty_like(pictures, memory_format=torch.channels_last)
    cut = cut_units if pictures.is_floating_point() else cut_bytes

    for start in range(0, len(pictures), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        # Channels apart, for the sums of three of them.
        values = pictures[part].to(torch.float32, memory_format=torch.contiguous_format, copy=True)
        for change, factor in zip((brightness, contrast, saturation), factors, strict=True):
            values = change(values, factor[part, None, None, None], cut)
        jittered[part] = values.to(pictures.dtype)
    return jittered


Cut = Callable[[Values], Values]
"""Brings values back into what a picture can hold, in place, as all changes below work."""


def brightness(values: Values, factor: Factors, cut: Cut) -> Values:
    """Return values times the factor."""
    return cut(values.mul_(factor))


def contrast(values: Values, factor: Factors, cut: Cut) -> Values:
    """Return values nearer to (or farther from) the mean of the picture's grey."""
    grey = _grey(values, cut)
    step = 1.0 if cut is cut_bytes else _STEP
    if cut is not cut_bytes:
        grey = grey.div_(step).round_()
    # Sums of whole numbers in float64 are exact in any order.
    total = grey.sum((1, 2, 3), keepdim=True, dtype=torch.float64)
    mean = (total / grey[0].numel() * step).float()
    return cut(values.mul_(factor).add_(mean * (1 - factor)))


def saturation(values: Values, factor: Factors, cut: Cut) -> Values:
    """Return values nearer to (or farther from) the grey of each place."""
    if values.shape[1] == 1:
        return values
    grey = _grey(values, cut)
    return cut(values.mul_(factor).add_(grey.mul_(1 - factor)))


def cut_bytes(values: Values) -> Values:
    """Bring values back to whole numbers in 0..255."""
    return values.clamp_(0, 255).floor_()


def cut_units(values: Values) -> Values:
    """Bring values back into 0..1."""
    return values.clamp_(0, 1)


def _grey(values: Values, cut: Cut) -> Float32[Tensor, "batch 1 rows columns"]:
    if values.shape[1] == 1:
        return values.clone()
    red, green, blue = values.split(1, 1)
    grey = (red * 0.2989).add_(green * 0.587).add_(blue * 0.114)
    return grey.floor_() if cut is cut_bytes else grey


def changed(
    change: Callable[[Values, Factors, Cut], Values], picture: Pictures, factor: float
) -> Pictures:
    """Return one picture (1, C, H, W) after one of the changes above."""
    cut = cut_units if picture.is_floating_point() else cut_bytes
    factors = torch.full((1, 1, 1, 1), factor, device=picture.device)
    values = picture.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    return change(values, factors, cut).to(picture.dtype)
