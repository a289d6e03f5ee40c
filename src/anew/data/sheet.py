"""A contact sheet: what training sees of a data set, on one picture to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int64, Num, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from anew.core.errors import AnewError
from anew.core.text import clean
from anew.data.examples import Examples
from anew.data.split import Data

CLASSES, STILLS, VIEWS = 12, 4, 4
LEAST, MOST = 64, 160
GAP, LABEL = 4, 14
CAPTIONED, IN_A_ROW = 80, 8
"""The least side of a captioned picture, and how many stand in a row."""


def contact_sheet(data: Data) -> Image.Image:
    """Return a picture with a row for each class, at most twelve of them.

    A row shows up to four training examples as evaluation shows them, then four views of the first
    as an epoch of training draws them. Raises `AnewError` if the examples are no pictures.
    """
    examples = data.training
    if examples.kind != "picture":
        raise AnewError("data: a sheet needs pictures, and these examples are not; drop --sheet")
    labels = examples.labels
    classes = labels.unique().tolist()[:CLASSES]
    height, width = examples.input_shape[1:]
    scale = min(max(LEAST, max(height, width)), MOST) / max(height, width)
    side = (max(1, round(width * scale)), max(1, round(height * scale)))

    columns = STILLS + VIEWS
    canvas = Image.new(
        "RGB",
        (columns * (side[0] + GAP) + 2 * GAP, len(classes) * (side[1] + LABEL + GAP) + GAP),
        "white",
    )
    draw = ImageDraw.Draw(canvas)
    low, high = _range(examples)
    for row, label in enumerate(classes):
        members = (labels == label).nonzero().flatten()[:STILLS]
        top = GAP + row * (side[1] + LABEL + GAP)
        name = _latin(data.classes[label])
        draw.text((GAP, top), f"{name}: as evaluated, then views", fill="black")

        shown = torch.cat([examples.show(members), _views(data, members[0])])
        places = [*range(len(members)), *range(STILLS, columns)]
        for place, pixels in zip(places, _bytes(shown, low, high), strict=True):
            left = GAP + place * (side[0] + GAP) + (GAP if place >= STILLS else 0)
            canvas.paste(_picture(pixels).resize(side), (left, top + LABEL))
    return canvas


def captioned_sheet(
    pictures: Sequence[Num[Tensor, "channels height width"]], captions: Sequence[tuple[str, str]]
) -> Image.Image:
    """Return pictures of one size side by side, each with two short lines below it.

    Raises `AnewError` if there are none, or the examples are no pictures.
    """
    if not pictures:
        raise AnewError("sheet: there is no picture to show; drop --sheet")
    if pictures[0].ndim != 3:
        raise AnewError("data: a sheet needs pictures, and these examples are not; drop --sheet")
    height, width = pictures[0].shape[1:]
    scale = min(max(CAPTIONED, max(height, width)), MOST) / max(height, width)
    side = (max(1, round(width * scale)), max(1, round(height * scale)))

    rows = -(-len(pictures) // IN_A_ROW)
    cell = (side[0] + GAP, side[1] + 2 * LABEL + GAP)
    size = (min(IN_A_ROW, len(pictures)) * cell[0] + GAP, rows * cell[1] + GAP)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    low, high = _values(torch.stack(list(pictures)))
    for number, (pixels, lines) in enumerate(zip(pictures, captions, strict=True)):
        left = GAP + (number % IN_A_ROW) * cell[0]
        top = GAP + (number // IN_A_ROW) * cell[1]
        canvas.paste(_picture(_bytes(pixels[None], low, high)[0]).resize(side), (left, top))
        for line, text in enumerate(lines):
            short = _latin(text)[: side[0] // 6]
            draw.text((left, top + side[1] + line * LABEL), short, fill="black")
    return canvas


def _latin(text: str) -> str:
    return clean(text).encode("latin-1", "replace").decode("latin-1")


def _views(data: Data, example: Int64[Tensor, ""]) -> Tensor:
    """Return one example in the views of the first epochs."""
    views = data.views
    one = example.reshape(1)
    numbers = [views.draw(data.spec.seed, epoch, one) for epoch in range(VIEWS)]
    return data.training.show(one.repeat(VIEWS), torch.cat(numbers))


def _range(examples: Examples) -> tuple[float, float]:
    """Return the values that are shown black and white."""
    return _values(examples.show(slice(0, 256)))


def _values(first: Tensor) -> tuple[float, float]:
    if first.dtype == torch.uint8:
        return 0.0, 255.0
    return float(first.min()), max(float(first.max()), float(first.min()) + 1e-6)


def _bytes(pictures: Tensor, low: float, high: float) -> UInt8[Tensor, "count height width c"]:
    scaled = (pictures.float() - low) * (255 / (high - low))
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _picture(pixels: Tensor) -> Image.Image:
    array = np.ascontiguousarray(pixels.numpy())
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array[:, :, :3])
