"""Random resized crops: a rectangle of each picture, resized to the shown size with antialias.

On a processor each rectangle is resized by torch's own operation, which is quick for bytes; on
other devices all of a batch are resized at once, tap by tap. Both make the same picture but for
rounding, and on one device a picture does not depend on the others of its batch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int64, Num
from torch import Tensor

from anew.data.views import boxes
from anew.data.views.boxes import Boxes, Shape
from anew.data.views.moves import Size

ASPECT = (3 / 4, 4 / 3)

Pictures = Num[Tensor, "examples channels kept_rows kept_columns"]


def draw(numbers: Int64[Tensor, "batch"], area: float, kept: Size) -> Boxes:
    """Return the rectangle of each number in a picture (H, W), as torchvision's RandomResizedCrop.

    Its area is a share in [area, 1] of the picture's, its aspect 3/4 to 4/3. A picture in which no
    such rectangle was found shows its middle, cut to the nearest aspect.
    """
    found, is_found = boxes.draw(Shape((area, 1.0), ASPECT), "resized crop", numbers, kept)
    rows, columns = kept
    aspect = columns / rows
    height = rows if aspect >= ASPECT[0] else round(columns / ASPECT[0])
    width = columns if aspect <= ASPECT[1] else round(rows * ASPECT[1])

    middle = ((rows - height) // 2, (columns - width) // 2, height, width)
    sides = (found.top, found.left, found.height, found.width)
    chosen = [torch.where(is_found, side, other) for side, other in zip(sides, middle, strict=True)]
    return Boxes(*chosen)


def show(
    pictures: Pictures,
    indices: Int64[Tensor, "batch"],
    crops: Boxes,
    flips: Bool[Tensor, "batch"],
    size: Size,
) -> Num[Tensor, "batch channels rows columns"]:
    """Return a rectangle of each given picture in the size (H, W), flipped where told.

    In channels_last memory, dtype unchanged.
    """
    if pictures.device.type != "cpu":
        return resample(pictures, indices, crops, flips, size)

    shown = torch.empty(
        (len(indices), pictures.shape[1], *size),
        dtype=pictures.dtype,
        memory_format=torch.channels_last,
    )
    told = zip(indices.tolist(), crops.tolist(), flips.tolist(), strict=True)
    for place, (index, (top, left, height, width), flip) in enumerate(told):
        piece = pictures[index : index + 1, :, top : top + height, left : left + width]
        resized = F.interpolate(piece, size=size, mode="bilinear", antialias=True)
        shown[place] = (resized.flip(-1) if flip else resized)[0]
    return shown


def resample(
    pictures: Pictures,
    indices: Int64[Tensor, "batch"],
    crops: Boxes,
    flips: Bool[Tensor, "batch"],
    size: Size,
) -> Num[Tensor, "batch channels rows columns"]:
    """Return what `show` does, on any device: both axes one after the other, on the whole batch."""
    kept = (pictures.shape[-2], pictures.shape[-1])
    rows, row_weights = _taps(crops.top, crops.height, kept[0], size[0])
    columns, column_weights = _taps(crops.left, crops.width, kept[1], size[1])
    columns = torch.where(flips[:, None, None], columns.flip(1), columns)
    column_weights = torch.where(flips[:, None, None], column_weights.flip(1), column_weights)

    # Columns first and rows last, as torch does; sums one tap at a time, so that a picture's bits
    # do not depend on how many others there are.
    by_place = pictures.permute(0, 2, 3, 1)
    batch = torch.arange(len(indices), device=pictures.device)[:, None, None]
    every_row = torch.arange(kept[0], device=pictures.device)[None, :, None]
    narrow = torch.zeros(
        (len(indices), kept[0], size[1], pictures.shape[1]), device=pictures.device
    )
    for tap in range(columns.shape[-1]):
        taken = by_place[indices[:, None, None], every_row, columns[:, None, :, tap]]
        narrow += taken * column_weights[:, None, :, tap, None]
    every_column = torch.arange(size[1], device=pictures.device)[None, None, :]
    shown = torch.zeros((len(indices), *size, pictures.shape[1]), device=pictures.device)
    for tap in range(rows.shape[-1]):
        taken = narrow[batch, rows[:, :, tap, None], every_column]
        shown += taken * row_weights[:, :, tap, None, None]

    if not pictures.is_floating_point():
        shown = shown.round().clamp(0, torch.iinfo(pictures.dtype).max)
    return shown.to(pictures.dtype).permute(0, 3, 1, 2)


def _taps(
    first: Int64[Tensor, "batch"], length: Int64[Tensor, "batch"], kept: int, shown: int
) -> tuple[Int64[Tensor, "batch shown taps"], Num[Tensor, "batch shown taps"]]:
    """Return the rows (or columns) that each shown one is made of, and their weights.

    A triangle about the middle of what a shown row covers, as wide as two rows at least: the
    bilinear filter with antialias of torch and Pillow.
    """
    scale = (length.float() / shown)[:, None]
    reach = scale.clamp_min(1.0)
    middle = scale * (torch.arange(shown, device=first.device) + 0.5)
    start = (middle - reach + 0.5).long().clamp_min(0)
    end = torch.minimum((middle + reach + 0.5).long(), length[:, None])

    most = 2 * math.ceil(max(1.0, kept / shown)) + 1
    taps = start[..., None] + torch.arange(most, device=first.device)
    weights = 1 - ((taps - middle[..., None] + 0.5) / reach[..., None]).abs()
    weights = torch.where(taps < end[..., None], weights.clamp_min(0), 0.0)
    total = torch.zeros_like(weights[..., 0])
    for tap in range(most):
        total = total + weights[..., tap]
    places = (taps + first[:, None, None]).clamp_max(kept - 1)
    return places, weights / total[..., None]
