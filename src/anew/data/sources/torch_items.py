"""Items of a torch data set, whatever they hold, as anew's inputs."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from anew.core.errors import AnewError, in_one_line
from anew.data.pictures import Form, pixels_of
from anew.data.sources.labels import no_classes
from anew.data.sources.layout_names import IMAGES, LABELS, column_called

_INPUTS = ("x", "input", "inputs", "data", "features")


def class_names(dataset: Any) -> Sequence[str] | None:
    """Return the names of a data set's classes, also of one that Subset and the like hold."""
    names = getattr(dataset, "classes", None)
    if names is not None:
        return names
    inner = getattr(dataset, "datasets", None)
    if isinstance(inner, Sequence) and inner:
        several = [class_names(one) for one in inner]
        first = several[0]
        return first if first and all(list(one or ()) == list(first) for one in several) else None
    inside = getattr(dataset, "dataset", None)
    return class_names(inside) if inside is not None else None


def pair_of(item: Any) -> tuple[Any, Any]:
    """Return an item's input and label: the first two of a sequence, or by their usual names."""
    if not isinstance(item, Mapping):
        value, label = item[:2]
        return value, label
    named = cast("Mapping[Any, Any]", item)
    names = [name for name in named if isinstance(name, str)]
    value, label = column_called(names, (*IMAGES, *_INPUTS)), column_called(names, LABELS)
    if value is None or label is None:
        raise AnewError(
            f"data set: of an item's entries ({', '.join(names)}) none is known to hold the "
            f"{'input' if value is None else 'label'}; name them image and label, or let it be "
            "map-style, of pairs (picture or tensor, whole-number label)"
        )
    return named[value], named[label]


def class_of(label: Any) -> int | str:
    """Return an item's label, a number or a name.

    Raises `AnewError` if it is a regression's, of several classes, or a number with a point.
    """
    if isinstance(label, str):
        return str(label)
    try:
        return operator.index(label)
    except (TypeError, ValueError):
        values = np.asarray(label)
        if values.shape == (1,):
            return class_of(values[0])
        why = no_classes(values[None])
        if not why and values.ndim == 0 and values.dtype.kind == "f":
            why = f"are floats ({float(values)!r}); give whole numbers: int(label)"
        if why:
            raise AnewError(f"data set: labels {why}") from None
        raise


def as_input(name: str, item: Any, form: Form) -> Any:
    """Return an item's input: a tensor, or of a PIL picture an array (H, W, C) in a form."""
    if isinstance(item, Image.Image):
        return pixels_of(name, item, form)
    return item if isinstance(item, Tensor) else torch.as_tensor(np.asarray(item))


def from_pil(inputs: Sequence[Any]) -> list[Any]:
    """Return those of some inputs that were PIL pictures."""
    return [one for one in inputs if isinstance(one, np.ndarray)]


def together(inputs: Sequence[Any], in_colour: bool) -> Tensor:
    """Return inputs as one tensor; grey pictures get three channels where others have colour."""
    if not inputs:
        raise unread(ValueError("it holds no items"))
    pictures = from_pil(inputs)
    sizes = dict.fromkeys(one.shape[:2] for one in pictures)
    if len(sizes) > 1:
        first, second, *_ = sizes
        raise AnewError(
            f"data set: pictures have {len(sizes)} sizes, such as {first[1]}x{first[0]} and "
            f"{second[1]}x{second[0]}; set a size to resize and crop them to (size=224)"
        )

    try:
        if len(pictures) < len(inputs):
            return torch.stack([torch.as_tensor(one) for one in inputs])
        alike = [
            one.repeat(3, axis=2) if in_colour and one.shape[2] == 1 else one for one in pictures
        ]
        stacked = torch.from_numpy(np.stack(alike))
        # Without the axis of its only channel a grey picture's shape is clear.
        return stacked[..., 0] if stacked.shape[3] == 1 else stacked
    except Exception as error:  # inputs of several shapes and types
        raise unread(error) from error


def unread(error: Exception) -> AnewError:
    """Return the one line for a data set that fails, or holds something else."""
    return AnewError(
        f"data set: cannot be read ({in_one_line(error)}); it must be map-style, of pairs "
        "(picture or tensor, whole-number label), all of one size"
    )
