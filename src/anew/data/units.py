"""In which units pictures are: found from their values, and what a given mean then means."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from anew.core.errors import AnewError
from anew.core.spec import DataSpec
from anew.data.examples import Examples, in_parts
from anew.data.signature import Units

# Resizing with sharp filters leaves values a little beyond the ends.
BEYOND = 0.1
# Of a whole set of byte pictures some are bright. What ends below has a scale of its own, such as
# the 0..16 of scikit-learn's digits.
BRIGHT = 64
FIRST = 64
# Normalised inputs should be about 0 and 1; a foreign mean and deviation give something like it.
FARTHEST_MEAN, LEAST_DEVIATION, LARGEST_DEVIATION = 20.0, 0.05, 20.0


_RANGES: dict[Units, str] = {"bytes": "0..255", "unit": "0..1", "own": "their own"}


def find_units(examples: Examples, asked: str) -> Units:
    """Return in which units pictures are, or what was `asked` for if that is not "auto".

    Whole numbers are bytes. Floats are 0..1, or bytes, if all of them are; else their units are
    their own, as those of vectors and tokens are. Raises `AnewError` if the pictures cannot be
    what was asked for.
    """
    if examples.kind != "picture":
        if asked != "auto":
            raise AnewError("data.units: only pictures have units; drop --data.units")
        return "own"
    if not examples.show(slice(0, 1)).is_floating_point():
        if asked not in ("auto", "bytes"):
            raise AnewError(
                f"data.units must be bytes for pictures of whole numbers, got '{asked}'; drop "
                "--data.units"
            )
        return "bytes"

    low, high = _extremes(examples)
    if asked == "unit" and high > 1 + BEYOND:
        raise AnewError(
            f"data.units: the pictures hold values up to {high:g}, not 0..1; drop --data.units"
        )
    for units in _RANGES:
        if asked == units:
            return units
    if low >= -BEYOND and high <= 1 + BEYOND:
        return "unit"
    return "bytes" if low >= -255 * BEYOND and BRIGHT < high <= 255 * (1 + BEYOND) else "own"


def filled(spec: DataSpec, units: Units) -> tuple[DataSpec, tuple[str, ...]]:
    """Return a spec whose mean and deviation are in the pictures' units, and what is to be said.

    For pictures of bytes numbers up to 1 are taken for those of pictures in 0..1, as torchvision
    and timm name them, unless the spec says itself that the units are bytes.
    """
    given = [*(spec.mean or ()), *(spec.std or ())]
    if units != "bytes" or spec.units != "auto" or not any(given) or max(given) > 1:
        return spec, ()

    def times_255(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
        return None if values is None else tuple(round(255 * value, 6) for value in values)

    spec = replace(spec, mean=times_255(spec.mean), std=times_255(spec.std))
    shown = "; ".join(
        f"{name} {', '.join(f'{value:g}' for value in values)}"
        for name, values in (("mean", spec.mean), ("deviation", spec.std))
        if values is not None
    )
    return spec, (
        "--data.mean and --data.std are in 0..1 and the pictures are bytes, so they are scaled: "
        f"{shown} (--data.units bytes uses them unchanged)",
    )


def check_statistics(
    examples: Examples, mean: Tensor, std: Tensor, spec: DataSpec, units: Units
) -> tuple[str, ...]:
    """Check a mean and a deviation that were given: normalised inputs must be about 0 and 1.

    Raises `AnewError` if the first examples are far from that. If the spec says the units itself,
    that is meant so, and it is only said.
    """
    if spec.mean is None and spec.std is None:
        return ()
    first = examples.show(slice(0, min(FIRST, len(examples)))).double()
    shape = (1, -1, *(1 for _ in examples.input_shape[1:]))
    normalised = (first - mean.double().view(shape)) / std.double().view(shape)

    centre, spread = normalised.mean().item(), normalised.std(correction=0).item()
    is_constant = bool((first == first.flatten()[0]).all())
    if abs(centre) <= FARTHEST_MEAN and (
        is_constant or LEAST_DEVIATION <= spread <= LARGEST_DEVIATION
    ):
        return ()

    what = (
        "data.mean and data.std: normalised with them, the first examples have mean "
        f"{centre:.3g} and deviation {spread:.3g}, where 0 and 1 are usual"
    )
    if spec.units != "auto":
        return (what,)
    drop = "drop them to have them measured"
    if examples.kind != "picture":
        return (f"{what}; {drop}",)
    raise AnewError(
        f"{what}; give them in the pictures' units ({_RANGES[units]}), {drop}, or set "
        f"--data.units {units} if this is intended"
    )


def units_in_words(units: Units) -> str:
    """Return units for people: `bytes (0..255)`, `unit (0..1)`, `own (their own)`."""
    return f"{units} ({_RANGES[units]})"


def _extremes(examples: Examples) -> tuple[float, float]:
    """Return the smallest and the largest value of all inputs."""
    ends = [torch.stack(torch.aminmax(part)) for part in in_parts(examples)]
    both = torch.stack(ends)
    return both[:, 0].min().item(), both[:, 1].max().item()
