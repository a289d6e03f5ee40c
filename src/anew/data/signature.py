"""What an example is: the one place that knows shape, units and class names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anew.data.split import Data


@dataclass(frozen=True)
class Signature:
    """What goes into a network and what comes out: shape, normalisation and class names.

    `mean` and `std` are in the units of the stored inputs (0..255 for uint8 pictures), one a
    channel or feature.
    """

    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, data: Data) -> Signature:
        """Return the signature that a data set asks for."""
        return cls(
            data.input_shape, data.classes, tuple(data.mean.tolist()), tuple(data.std.tolist())
        )

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Signature:
        """Return the signature that a file's header tells of; KeyError, TypeError or ValueError
        where it does not.
        """
        shape, classes = tuple(map(int, header["input_shape"])), tuple(map(str, header["classes"]))
        mean, std = (tuple(map(float, header[name])) for name in ("mean", "std"))
        if (
            len(shape) not in (1, 3)
            or min(shape) < 1
            or len(classes) < 2
            or {len(mean), len(std)} != {shape[0]}
        ):
            raise ValueError(
                f"{len(mean)} means, {len(std)} deviations, {len(classes)} classes for inputs "
                f"{shape}"
            )
        return cls(shape, classes, mean, std)
