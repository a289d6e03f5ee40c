"""Data sets of torch, read once into memory."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from anew.core.errors import AnewError, in_one_line
from anew.core.spec import DataSpec
from anew.data.pictures import Form, pixels_of
from anew.data.sources.labels import Labels, numbered
from anew.data.sources.layout_names import SplitName
from anew.data.sources.memory import from_arrays
from anew.data.sources.source import Source, form_of

READ_TWICE = 8
"""So many items are read a second time, to see whether they are the same."""


def from_dataset(
    train: Dataset[Any],
    test: Dataset[Any] | None = None,
    classes: Sequence[str] | None = None,
    *,
    validation: Dataset[Any] | None = None,
    size: int | tuple[int, ...] | None = None,
) -> Source:
    """Return a map-style torch data set of (picture or tensor, label) as a source.

    The data set is read once, into memory. PIL pictures become what picture files become: upright,
    transparent parts white, all in colour if one is, resized to `size` and cut if it is given.
    Names of classes are found through Subset and ConcatDataset. Raises `AnewError` if the data set
    fails, has other items, or gives another item each time it is read.
    """
    given: dict[SplitName, Dataset[Any]] = {"train": train}
    if test is not None:
        given["test"] = test
    if validation is not None:
        given["validation"] = validation
    return from_datasets(given, DataSpec(size=(size,) if isinstance(size, int) else size), classes)


def from_datasets(
    given: Mapping[SplitName, Dataset[Any]], spec: DataSpec, classes: Sequence[str] | None = None
) -> Source:
    """Return torch data sets by split as a source, PIL pictures of a spec's size.

    Raises `AnewError` as `from_dataset` does.
    """
    form = form_of(spec.complete())
    items: dict[SplitName, tuple[list[Any], Tensor]] = {}
    for split, dataset in given.items():
        items[split] = _read_items(dataset, form)
    in_colour = any(one.shape[2] == 3 for inputs, _ in items.values() for one in _pictures(inputs))
    labels: Labels = {}
    inputs: dict[SplitName, Tensor] = {}
    for split in given:
        parts, numbers = items[split]
        inputs[split], labels[split] = _together(parts, in_colour), numbers.numpy()

    names, notes = (tuple(classes) if classes is not None else None), list[str]()
    if classes is None:
        labels, names, notes = numbered("data set", labels, _class_names(given["train"]))
    found = {split: (inputs[split], labels[split]) for split in inputs}
    source = from_arrays(
        found["train"],
        found.get("test"),
        names,
        "data set",
        validation=found.get("validation"),
    )
    return replace(source, notes=tuple(notes))


def _class_names(dataset: Any) -> Sequence[str] | None:
    """Return the names of a data set's classes, also of one that Subset and the like hold."""
    names = getattr(dataset, "classes", None)
    if names is not None:
        return names
    inner = getattr(dataset, "datasets", None)
    if isinstance(inner, Sequence) and inner:
        several = [_class_names(one) for one in inner]
        first = several[0]
        return first if first and all(list(one or ()) == list(first) for one in several) else None
    inside = getattr(dataset, "dataset", None)
    return _class_names(inside) if inside is not None else None


def _read_items(dataset: Dataset[Any], form: Form) -> tuple[list[Any], Tensor]:
    """Return the inputs of a data set's items, tensors or pictures (H, W, C), and their labels."""
    inputs, labels = list[Any](), list[int]()
    try:
        count = len(dataset)  # type: ignore[arg-type]
        for number in range(count):
            item, label = dataset[number][:2]
            inputs.append(_as_input(f"data set, item {number}", item, form))
            labels.append(operator.index(label))
        places = range(0, count, max(1, count // READ_TWICE))
        again = [_as_input("item", dataset[number][0], form) for number in places]
    except AnewError:
        raise
    except Exception as error:  # whatever somebody else's code raises, and items that are no pairs
        raise _unread(error) from error

    changed = [
        number
        for number, second in zip(places, again, strict=True)
        if not _is_same(inputs[number], second)
    ]
    if changed:
        raise AnewError(
            f"data set: item {changed[0]} is another one each time it is read, as random "
            "transforms make it, and anew reads it once; leave random transforms out and ask for "
            "views (--views crop+flip, or views='crop+flip'), which are drawn anew every epoch"
        )
    return inputs, torch.tensor(labels)


def _as_input(name: str, item: Any, form: Form) -> Any:
    if isinstance(item, Image.Image):
        return pixels_of(name, item, form)
    return item if isinstance(item, Tensor) else torch.as_tensor(np.asarray(item))


def _is_same(first: Any, second: Any) -> bool:
    if isinstance(first, np.ndarray):
        return np.array_equal(first, np.asarray(second))
    return first.shape == second.shape and bool(
        torch.equal(first.nan_to_num(), second.nan_to_num())
    )


def _pictures(inputs: Sequence[Any]) -> list[Any]:
    return [one for one in inputs if isinstance(one, np.ndarray)]


def _together(inputs: Sequence[Any], in_colour: bool) -> Tensor:
    """Return inputs as one tensor; grey pictures get three channels where others have colour."""
    if not inputs:
        raise _unread(ValueError("it holds no items"))
    pictures = _pictures(inputs)
    sizes = dict.fromkeys(one.shape[:2] for one in pictures)
    if len(sizes) > 1:
        first, second, *_ = sizes
        raise AnewError(
            f"data set: pictures are of {len(sizes)} sizes, such as {first[1]}x{first[0]} and "
            f"{second[1]}x{second[0]}; give a size to resize and cut all (size=224)"
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
        raise _unread(error) from error


def _unread(error: Exception) -> AnewError:
    return AnewError(
        f"data set: cannot be read ({in_one_line(error)}); it must be map-style, of pairs "
        "(picture or tensor, whole-number label), all of one size"
    )
