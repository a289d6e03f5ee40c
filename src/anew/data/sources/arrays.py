"""Arrays as examples: the meaning of shapes and types, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anew.core.errors import AnewError
from anew.core.text import counted
from anew.data.examples import Resident
from anew.data.sources.labels import no_classes

CHANNELS = (1, 3, 4)
Array = Tensor | NDArray[Any]


def as_examples(inputs: Array, labels: Array, name: str, classes: int | None = None) -> Resident:
    """Return an array pair as examples.

    Inputs are (N, H, W) grey, (N, H, W, C) or (N, C, H, W) with 1, 3 or 4 channels, or with any
    number of channels where height and width are equal, or (N, F) vectors. Whole numbers of
    pictures must be 0..255 and become uint8; others become float32.
    Labels are whole numbers (N,) from 0 to `classes` - 1. Raises `AnewError` for anything else.
    """
    return with_labels(as_inputs(inputs, name), labels, name, classes)


def with_labels(inputs: Tensor, labels: Array, name: str, classes: int | None = None) -> Resident:
    """Return inputs in anew's layout and unchecked labels as examples.

    Raises `AnewError` if the labels are not whole numbers of classes, one for each input.
    """
    check_lengths(name, inputs.shape, labels.shape)
    _check_classes(labels, name)
    return Resident(inputs, check_labels(labels, name, classes))


def check_lengths(name: str, inputs: Sequence[int], labels: Sequence[int]) -> None:
    """Raise `AnewError` if arrays of two shapes are no inputs with a label each."""
    # What several columns are, their numbers say: see `_check_classes`.
    if len(labels) not in (1, 2):
        raise AnewError(
            f"data '{name}': labels must have shape (N,), got {tuple(labels)}; give the number of "
            "one class for each input"
        )

    count = inputs[0] if inputs else 0
    if count != labels[0] and len(inputs) == 4 and inputs[-1] == labels[0]:
        raise AnewError(
            f"data '{name}': inputs of shape {tuple(inputs)} have the {labels[0]} examples on the "
            "last axis, as MATLAB has them; give numpy.moveaxis(x, -1, 0)"
        )
    if count != labels[0]:
        raise AnewError(
            f"data '{name}': {count} inputs and {labels[0]} labels; give one label for each input"
        )


def as_inputs(inputs: Array, name: str = "arrays") -> Tensor:
    """Return inputs in anew's layout: pictures (N, C, H, W), or vectors (N, F).

    Pictures are uint8 or float32 in channels_last memory, vectors float32. Raises `AnewError` if
    the shape is of neither kind, or if a number is not finite.
    """
    tensor = _tensor(inputs, name)
    if tensor.numel() == 0:
        raise AnewError(f"data '{name}': holds no examples; give at least one")
    if tensor.ndim == 2:
        return _finite(tensor.float().contiguous(), name)
    if tensor.ndim not in (3, 4):
        raise AnewError(
            f"data '{name}': inputs of shape {tuple(tensor.shape)} are neither pictures (N, H, W), "
            "(N, H, W, C), (N, C, H, W) nor vectors (N, F); reshape them"
        )

    pictures = tensor[:, None] if tensor.ndim == 3 else _channels_first(tensor, name)
    return _finite(_plain(pictures, name).contiguous(memory_format=torch.channels_last), name)


def names_of(labels: Sequence[Tensor]) -> tuple[str, ...]:
    """Return the names of classes that have none: "0" to the largest label."""
    largest = max(int(part.max()) for part in labels)
    return tuple(map(str, range(largest + 1)))


def _tensor(array: Array, name: str) -> Tensor:
    """Return an array or tensor of real numbers as a tensor on the CPU."""
    if not isinstance(array, Tensor):
        return _from_numpy(array, name)
    if array.is_complex():
        raise AnewError(
            f"data '{name}': an array holds {array.dtype}, not real numbers; convert it"
        )
    tensor = array.detach().cpu()
    # Torch compares and sums no unsigned numbers of more than a byte.
    if tensor.dtype in (torch.uint16, torch.uint32, torch.uint64):
        return tensor.long()
    return tensor


def one_array(inputs: Any, name: str) -> Array:
    """Return inputs that may come as a list, or as an array of arrays, as one array.

    Raises `AnewError` if they are of several shapes.
    """
    if isinstance(inputs, Tensor):
        return inputs
    try:
        values = np.asarray(inputs)
        if values.dtype == object and values.ndim == 1:
            values = np.stack([np.asarray(value) for value in values])
    except ValueError as error:
        raise AnewError(
            f"data '{name}': inputs are of several shapes; give all the same shape, such as by "
            "resizing pictures, in one array"
        ) from error
    return values


def _from_numpy(array: NDArray[Any], name: str) -> Tensor:
    values = np.asarray(array)
    if values.dtype.kind not in "buif":
        raise AnewError(f"data '{name}': an array holds {values.dtype}, not numbers; convert it")
    if values.dtype.kind == "u" and values.dtype.itemsize > 1:
        values = values.astype(np.int64)
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        values = values.astype(np.float64)
    # Torch takes no other byte order and no reversed axis.
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("=")).reshape(values.shape)
    # A copy if the array is read-only, as from a file that is mapped: torch would rightly warn.
    return torch.from_numpy(values if values.flags.writeable else values.copy())


def _channels_first(tensor: Tensor, name: str) -> Tensor:
    first, last = tensor.shape[1] in CHANNELS, tensor.shape[3] in CHANNELS
    if not first and not last:
        # Of other numbers of channels, as satellites have, those are of a square picture.
        first, last = (tensor.shape[at] == tensor.shape[2] for at in (3, 1))
    if first == last:
        raise AnewError(
            f"data '{name}': for inputs of shape {tuple(tensor.shape)} it is unclear which axis "
            "holds the channels (1, 3 or 4; others of square pictures); give (N, C, H, W) or (N, "
            "H, W, C) with the channels clear"
        )
    return tensor if first else tensor.permute(0, 3, 1, 2)


def _plain(pictures: Tensor, name: str) -> Tensor:
    if pictures.dtype == torch.bool:
        return pictures.to(torch.uint8) * 255
    if pictures.is_floating_point():
        return pictures.float()
    if pictures.dtype != torch.uint8 and (pictures.min() < 0 or pictures.max() > 255):
        raise AnewError(
            f"data '{name}': whole-number pictures must be 0..255, got {pictures.min()} to "
            f"{pictures.max()}; convert them to float32"
        )
    return pictures.to(torch.uint8)


def _finite(inputs: Tensor, name: str) -> Tensor:
    if inputs.is_floating_point():
        sound = inputs.isfinite().flatten(1).all(1)
        if not bool(sound.all()):
            raise AnewError(
                f"data '{name}': input {int((~sound).nonzero()[0])} holds NaN or infinity "
                f"({counted(int((~sound).sum()), 'such input')}); correct them, or leave them out"
            )
    return inputs


def _check_classes(labels: Array, name: str) -> None:
    """Raise `AnewError` if labels are a regression's, or name several classes an example."""
    values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else labels
    why = no_classes(values)
    if why:
        raise AnewError(f"data '{name}': labels of shape {tuple(values.shape)} {why}")


def check_labels(labels: Array, name: str, classes: int | None) -> Tensor:
    """Return labels as int64 (N,); `AnewError` if they are not whole numbers of classes."""
    tensor = _tensor(labels, name)
    if tensor.ndim == 2:
        tensor = tensor[:, 0]

    if tensor.is_floating_point():
        raise AnewError(
            f"data '{name}': labels must be whole numbers, got {tensor.dtype}; cast them to int64"
        )

    tensor = tensor.long()
    if len(tensor) and int(tensor.min()) < 0:
        raise AnewError(f"data '{name}': label {int(tensor.min())} is negative; labels start at 0")
    if classes is not None and len(tensor) and int(tensor.max()) >= classes:
        raise AnewError(
            f"data '{name}': label {int(tensor.max())} is out of range: there are {classes} "
            f"classes, 0 to {classes - 1}; relabel it, or leave it out"
        )
    return tensor
