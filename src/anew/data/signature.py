"""What an example is: the one place that knows the shape, the units and the class names."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, cast

import torch
from jaxtyping import Num
from torch import Tensor, nn

Kind = Literal["picture", "vector", "tokens"]
Units = Literal["bytes", "unit", "own"]
"""What the numbers of pictures are: 0..255, 0..1, or something else, such as normalised ones."""
Arranged = TypeVar("Arranged", Tensor, nn.Module)
_SMALLEST, _LARGEST = (float(getattr(torch.finfo(torch.float32), end)) for end in ("tiny", "max"))
_KIND_OF_LENGTH: dict[int, Kind] = {3: "picture", 1: "vector"}


@dataclass(frozen=True)
class Signature:
    """What goes into a network and what comes out of it.

    Inputs are pictures (C, H, W), vectors (F,) or whole-number tokens (T,). A network answers with
    logits of `output_shape`: one answer for an example, or one for each of its positions.
    """

    input_shape: tuple[int, ...]
    """The shape of one example: (C, H, W), (F,) or (T,)."""
    classes: tuple[str, ...]
    """The names of the classes; for tokens, the vocabulary."""
    mean: tuple[float, ...] = ()
    """One number for each channel or feature, in the units of the stored inputs (0..255 for uint8
    pictures); empty for tokens, which are not normalised."""
    std: tuple[float, ...] = ()
    """The deviations that belong to `mean`."""
    kind: Kind | None = None
    """Pictures and vectors are told apart by the length of their shape if it is not given."""
    positions: tuple[int, ...] = ()
    """() for one answer an example, (T,) for one at each of T positions."""
    units: Units | None = None
    """In which units pictures are; bytes if not given. Vectors and tokens are in their own."""
    kept_size: tuple[int, int] | None = None
    """Height and width to which picture files are resized and cut before the centre of
    `input_shape` is taken; None for pictures that come in their size."""

    def __post_init__(self) -> None:
        """Fill in the kind; `ValueError` if nothing can be of this description."""
        kind = self.kind or _KIND_OF_LENGTH.get(len(self.input_shape))
        statistics = 0 if kind == "tokens" else next(iter(self.input_shape), 0)
        fits = (
            kind is not None
            and min(self.input_shape, default=0) >= 1
            and len(self.input_shape) == (3 if kind == "picture" else 1)
            and min(self.positions, default=1) >= 1
            and len(self.classes) >= 2
            and {len(self.mean), len(self.std)} == {statistics}
        )
        if not fits:
            raise ValueError(
                f"{len(self.mean)} means, {len(self.std)} deviations, {len(self.classes)} classes "
                f"for inputs {self.input_shape}"
            )

        # Networks compute with float32, and with one over the deviation.
        numbers = (*self.mean, *self.std)
        is_finite = all(abs(number) <= _LARGEST for number in numbers)
        if not is_finite or min(self.std, default=1.0) < _SMALLEST:
            raise ValueError(
                f"a mean or deviation is not finite, or a deviation is not above {_SMALLEST:.2g}: "
                f"mean {self.mean}, std {self.std}"
            )

        units = (self.units or "bytes") if kind == "picture" else "own"
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "units", units)

    @classmethod
    def of_shape(cls, input_shape: tuple[int, ...], classes: int) -> Signature:
        """Return the signature of pictures or vectors, with numbered classes and mean 0, std 1."""
        channels = input_shape[0]
        names = tuple(map(str, range(classes)))
        return cls(input_shape, names, (0.0,) * channels, (1.0,) * channels)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the logits of one example: (C,), or (T, C)."""
        return (*self.positions, len(self.classes))

    @property
    def is_picture(self) -> bool:
        """Whether an example is a picture (C, H, W)."""
        return self.kind == "picture"

    def blank(self, count: int) -> Num[Tensor, "count ..."]:
        """Return `count` blank inputs on the default device: zeros, whole numbers for tokens."""
        dtype = torch.int64 if self.kind == "tokens" else torch.float32
        return torch.zeros(count, *self.input_shape, dtype=dtype)

    def prepare(
        self, inputs: Num[Tensor, "batch ..."], mean: Tensor, scale: Tensor
    ) -> Num[Tensor, "batch ..."]:
        """Return stored inputs as a model takes them: (x - mean) x scale, tokens as they are.

        `mean` and `scale` (one over the deviation) are `statistics()`, on the inputs' device.
        """
        if self.kind == "tokens":
            return inputs
        return (inputs.float() - mean) * scale

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Return mean and one over the deviation, float32, shaped to broadcast over a batch."""
        shape = (1, -1, *(1 for _ in self.input_shape[1:]))
        return torch.tensor(self.mean).view(shape), (1 / torch.tensor(self.std)).view(shape)

    def arrange(self, value: Arranged, memory_format: str = "channels_last") -> Arranged:
        """Return a batch of inputs, or a module, in a memory format; only pictures have several.

        Of a module only tensors of four dimensions have that format; others stay as they are.
        """
        if memory_format != "channels_last" or not self.is_picture:
            return value
        if isinstance(value, Tensor):
            return value.contiguous(memory_format=torch.channels_last)
        for tensor in (*value.parameters(), *value.buffers()):
            if tensor.ndim == 4:
                tensor.data = tensor.data.to(memory_format=torch.channels_last)
        return value

    def in_units(self, units: Units) -> Signature:
        """Return the signature of the same inputs in other units, mean and deviation with them.

        `ValueError` if either units are a scale of their own, and not the same.
        """
        if units == self.units:
            return self
        if "own" in (self.units, units):
            raise ValueError(f"inputs in units '{self.units}' are no inputs in units '{units}'")
        factor = 255.0 if units == "bytes" else 1 / 255
        mean, std = (tuple(factor * value for value in values) for values in (self.mean, self.std))
        return replace(self, mean=mean, std=std, units=units)

    def in_words(self) -> str:
        """Return what an example is, for messages: `3x32x32`, `vectors of 64`, `12 tokens`."""
        if self.is_picture:
            return "x".join(map(str, self.input_shape))
        size = self.input_shape[0]
        return f"vectors of {size}" if self.kind == "vector" else f"{size} tokens"

    def inputs(self) -> dict[str, Any]:
        """Return what is known of the inputs, for JSON; units are those of pictures."""
        known: dict[str, Any] = {"kind": self.kind, "shape": self.input_shape}
        if self.is_picture:
            known["units"] = self.units
        if self.mean:
            known |= {"mean": self.mean, "std": self.std}
        return known

    def to_header(self) -> dict[str, Any]:
        """Return the signature as the header of a network's file holds it.

        Pictures and vectors have only what the first format had. Kind and positions are for tokens.
        Units are written where the statistics alone would not say bytes.
        """
        header: dict[str, Any] = {
            "input_shape": self.input_shape,
            "classes": self.classes,
            "mean": self.mean,
            "std": self.std,
        }

        if self.kind == "tokens":
            header["kind"] = self.kind
        if self.positions:
            header["positions"] = self.positions
        if self.is_picture and {self.units, _likely_units(self.mean, self.std)} != {"bytes"}:
            header["units"] = self.units
        if self.kept_size is not None:
            header["kept_size"] = self.kept_size
        return header

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Signature:
        """Return the signature in a file's header.

        Raises KeyError, TypeError, ValueError or OverflowError if there is none.
        """
        kind, units = header.get("kind"), header.get("units")
        if kind not in (None, "picture", "vector", "tokens"):
            raise ValueError("an unknown kind of examples")
        if units not in (None, "bytes", "unit", "own"):
            raise ValueError("unknown units of examples")

        mean, std = _numbers(header, "mean"), _numbers(header, "std")
        return cls(
            whole_numbers(header, "input_shape"),
            _class_names(header),
            mean,
            std,
            kind,
            whole_numbers({"positions": (), **header}, "positions"),
            units or _likely_units(mean, std),
            _size_in(header),
        )


def whole_numbers(header: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """Return the whole numbers that a header holds under a name.

    Raises KeyError if there are none, and ValueError if they are something else.
    """
    return _listed(header, name, (int,), "whole numbers")


def _numbers(header: Mapping[str, Any], name: str) -> tuple[float, ...]:
    return tuple(map(float, _listed(header, name, (int, float), "numbers")))


def _class_names(header: Mapping[str, Any]) -> tuple[str, ...]:
    names = _listed(header, "classes", (str,), "names")
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two classes have the name {repeated!r}")
    return names


def _listed(
    header: Mapping[str, Any], name: str, kinds: tuple[type, ...], called: str
) -> tuple[Any, ...]:
    """Return the values of a list; a truth value is no number, and a text no list of letters."""
    values = header[name]
    if not isinstance(values, list | tuple):
        raise ValueError(f"{name} is no list of {called}: {_shortened(values)}")
    for value in cast("Sequence[Any]", values):
        if type(value) not in kinds:
            raise ValueError(f"{name} holds {_shortened(value)} among {called}")
    return tuple(cast("Sequence[Any]", values))


def _shortened(value: object) -> str:
    return textwrap.shorten(repr(value), 60, placeholder=" ...")


def _likely_units(mean: tuple[float, ...], std: tuple[float, ...]) -> Units:
    """Return in which units pictures of such statistics are, for files that do not say it."""
    if min(mean, default=0) < 0:
        return "own"
    return "unit" if max(mean, default=2) <= 1 and max(std, default=2) <= 0.6 else "bytes"


def _size_in(header: Mapping[str, Any]) -> tuple[int, int] | None:
    size = header.get("kept_size")
    if size is None:
        return None
    if len(size) != 2 or not all(type(side) is int and side >= 1 for side in size):
        raise ValueError("a kept size that is no height and width")
    return size[0], size[1]
