"""Data sets of torch, read once into memory."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from anew.core.errors import AnewError, in_one_line
from anew.data.sources.arrays import Array
from anew.data.sources.memory import from_arrays
from anew.data.sources.source import Source


def from_dataset(
    train: Dataset[Any], test: Dataset[Any] | None = None, classes: Sequence[str] | None = None
) -> Source:
    """Return a map-style torch data set of (picture or tensor, label) as a source.

    The data set is read once, into memory. Raises `AnewError` if it fails or has other items.
    """
    named = classes if classes is not None else getattr(train, "classes", None)
    training = _read_dataset(train)
    tests = _read_dataset(test) if test is not None else None
    return from_arrays(training, tests, named, "data set")


def _read_dataset(dataset: Dataset[Any]) -> tuple[Array, Array]:
    inputs, labels = list[Tensor](), list[int]()
    try:
        for number in range(len(dataset)):  # type: ignore[arg-type]
            item, label = dataset[number][:2]
            inputs.append(_as_tensor(item))
            labels.append(operator.index(label))
        return torch.stack(inputs), torch.tensor(labels)
    except Exception as error:  # whatever somebody else's code raises, and items that are no pairs
        raise AnewError(
            f"data set: cannot be read ({in_one_line(error)}); it must be map-style, of pairs "
            "(picture or tensor, whole-number label), all of one size"
        ) from error


def _as_tensor(item: Any) -> Tensor:
    if isinstance(item, Tensor):
        return item
    if isinstance(item, Image.Image):
        # A palette's numbers are no colours.
        item = np.array(item.convert("RGB") if item.mode == "P" else item)
    return torch.as_tensor(np.asarray(item))
