"""Sums over pixels, exact for bytes: what the normalisation of inputs is measured from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from anew.data.pictures import Pixels

_LEVELS = np.arange(256, dtype=np.int64)


@dataclass(frozen=True)
class Moments:
    """Sums over the pixels of pictures, for each channel: whole numbers where pixels are bytes."""

    pixels: int
    totals: tuple[float, ...]
    squares: tuple[float, ...]


def moments_of(parts: Iterable[Pixels], channels: int) -> Moments:
    """Return the sums over pictures that come a part (B, H, W, C) at a time.

    Bytes are counted, level by level, which takes no memory of their size.
    """
    pixels = 0
    # Whole numbers stay whole, of any size; adding floats makes floats.
    totals: list[float] = [0] * channels
    squares: list[float] = [0] * channels

    for part in parts:
        pixels += part[..., 0].size
        for channel in range(channels):
            values = part[..., channel].ravel()
            if part.dtype == np.uint8:
                counts = np.bincount(values, minlength=256)
                totals[channel] += int(counts @ _LEVELS)
                squares[channel] += int(counts @ np.square(_LEVELS))
            else:
                exact = values.astype(np.float64)
                totals[channel] += float(exact.sum())
                squares[channel] += float(np.square(exact).sum())
    return Moments(pixels, tuple(totals), tuple(squares))
