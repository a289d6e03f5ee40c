"""TrivialAugment (Mueller and Hutter 2021) and RandAugment (Cubuk et al. 2020).

Torchvision's functional operations, driven by a view's number: a picture at a time, so that its
bits depend on nothing but itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType

import torch
from jaxtyping import Int64, Num
from torch import Tensor

from anew.core import randomness
from anew.data.views import colour

BINS = 31

Picture = Num[Tensor, "1 channels rows columns"]
Pictures = Num[Tensor, "batch channels rows columns"]


@dataclass(frozen=True)
class Operation:
    """A change of a picture by a magnitude."""

    apply: Callable[[Picture, float], Picture]
    trivial: tuple[float, float] = (0.0, 0.0)
    """The magnitudes of the first and of the last bin for TrivialAugment."""
    rand: tuple[float, float] = (0.0, 0.0)
    """The same for RandAugment."""
    is_signed: bool = False
    """Whether the magnitude is as often negative."""
    of_side: int | None = None
    """The axis of the picture that RandAugment's magnitudes are shares of; None for none."""
    is_whole: bool = False


def _functional() -> ModuleType:
    """Return torchvision's operations, imported where they are used: it takes seconds."""
    from torchvision.transforms.v2 import functional

    return functional


def _sheared(picture: Picture, x: float, y: float) -> Picture:
    shear = [math.degrees(math.atan(x)), math.degrees(math.atan(y))]
    return _functional().affine(picture, 0.0, [0, 0], 1.0, shear, center=[0, 0])


def _moved(picture: Picture, x: float, y: float) -> Picture:
    return _functional().affine(picture, 0.0, [int(x), int(y)], 1.0, [0.0, 0.0])


def _solarized(picture: Picture, share: float) -> Picture:
    return _functional().solarize(picture, share * (1 if picture.is_floating_point() else 255))


_SHEAR, _ENHANCE = ((0.0, 0.99), (0.0, 0.3), True), ((0.0, 0.99), (0.0, 0.9), True)
_MOVE = ((0.0, 32.0), (0.0, 150.0 / 331.0), True)

OPERATIONS: Mapping[str, Operation] = {
    "Identity": Operation(lambda picture, by: picture),
    "ShearX": Operation(lambda picture, by: _sheared(picture, by, 0.0), *_SHEAR),
    "ShearY": Operation(lambda picture, by: _sheared(picture, 0.0, by), *_SHEAR),
    "TranslateX": Operation(lambda picture, by: _moved(picture, by, 0), *_MOVE, of_side=-1),
    "TranslateY": Operation(lambda picture, by: _moved(picture, 0, by), *_MOVE, of_side=-2),
    "Rotate": Operation(
        lambda picture, by: _functional().rotate(picture, by), (0.0, 135.0), (0.0, 30.0), True
    ),
    "Brightness": Operation(
        lambda picture, by: colour.changed(colour.brightness, picture, 1 + by), *_ENHANCE
    ),
    "Color": Operation(
        lambda picture, by: colour.changed(colour.saturation, picture, 1 + by), *_ENHANCE
    ),
    "Contrast": Operation(
        lambda picture, by: colour.changed(colour.contrast, picture, 1 + by), *_ENHANCE
    ),
    "Sharpness": Operation(
        lambda picture, by: _functional().adjust_sharpness(picture, 1 + by), *_ENHANCE
    ),
    "Posterize": Operation(
        lambda picture, by: _functional().posterize(picture, int(by)),
        (8.0, 2.0),
        (8.0, 4.0),
        is_whole=True,
    ),
    "Solarize": Operation(_solarized, (1.0, 0.0), (1.0, 0.0)),
    "AutoContrast": Operation(lambda picture, by: _functional().autocontrast(picture)),
    "Equalize": Operation(lambda picture, by: _functional().equalize(picture)),
}
"""Torchvision's, under its names and in its order."""


def trivial(pictures: Pictures, numbers: Int64[Tensor, "batch"]) -> Pictures:
    """Return each picture after one operation of a magnitude drawn from 31 bins."""
    bins = randomness.below(randomness.key("trivial", "bin"), numbers, BINS).tolist()

    def magnitude(operation: Operation, place: int, picture: Picture) -> float:
        return _at(operation.trivial, bins[place], operation)

    return _applied(pictures, numbers, "trivial", magnitude)


def rand(
    pictures: Pictures, numbers: Int64[Tensor, "batch"], count: int, strength: int
) -> Pictures:
    """Return each picture after `count` operations of one magnitude, bin 0..30 of 31."""

    def magnitude(operation: Operation, place: int, picture: Picture) -> float:
        side = 1 if operation.of_side is None else picture.shape[operation.of_side]
        return side * _at(operation.rand, strength, operation)

    for turn in range(count):
        pictures = _applied(pictures, numbers, f"rand {turn}", magnitude)
    return pictures


def _applied(
    pictures: Pictures,
    numbers: Int64[Tensor, "batch"],
    purpose: str,
    magnitude: Callable[[Operation, int, Picture], float],
) -> Pictures:
    """Return each picture after an operation that its number draws, as often with each sign."""
    names = list(OPERATIONS)
    drawn = randomness.below(randomness.key(purpose, "operation"), numbers, len(names)).tolist()
    signs = randomness.below(randomness.key(purpose, "sign"), numbers, 2).tolist()
    applied = torch.empty_like(pictures, memory_format=torch.channels_last)

    for place, (name, negative) in enumerate(zip(drawn, signs, strict=True)):
        operation = OPERATIONS[names[name]]
        picture = pictures[place : place + 1]
        by = magnitude(operation, place, picture)
        applied[place] = operation.apply(picture, -by if operation.is_signed and negative else by)[
            0
        ]
    return applied


def _at(ends: tuple[float, float], number: int, operation: Operation) -> float:
    """Return the magnitude of a bin."""
    value = ends[0] + (ends[1] - ends[0]) * number / (BINS - 1)
    return round(value) if operation.is_whole else value
