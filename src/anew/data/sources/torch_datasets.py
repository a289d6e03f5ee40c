"""Data sets of torch: read once into memory, or afresh whenever an item is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from anew.core.errors import AnewError
from anew.core.spec import DataSpec
from anew.data.fresh import Fresh
from anew.data.pictures import Form
from anew.data.sources.arrays import as_examples, check_labels
from anew.data.sources.fresh_items import FreshItems
from anew.data.sources.labels import Labels, numbered
from anew.data.sources.layout_names import SplitName
from anew.data.sources.memory import from_arrays
from anew.data.sources.source import Source, checked_source, form_of
from anew.data.sources.torch_items import (
    as_input,
    class_names,
    class_of,
    from_pil,
    pair_of,
    together,
    unread,
)
from anew.data.storage import Storage
from anew.data.views import FRESH

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
    given: Mapping[SplitName, Dataset[Any]],
    spec: DataSpec,
    classes: Sequence[str] | None = None,
    storage: Storage | None = None,
) -> Source:
    """Return torch data sets by split as a source, PIL pictures of a spec's size.

    With views that have the part `fresh` the items of the training set are read whenever they are
    shown. Raises `AnewError` as `from_dataset` does.
    """
    form = form_of(spec.complete())
    if FRESH in (spec.views or "").split("+"):
        return _fresh_source(given, spec, form, classes, storage or Storage())
    items: dict[SplitName, tuple[list[Any], NDArray[Any]]] = {}
    for split, dataset in given.items():
        items[split] = _read_items(dataset, form)
    in_colour = any(one.shape[2] == 3 for inputs, _ in items.values() for one in from_pil(inputs))
    labels: Labels = {}
    inputs: dict[SplitName, Tensor] = {}
    for split in given:
        parts, labels[split] = items[split]
        inputs[split] = together(parts, in_colour)

    names, notes = (tuple(classes) if classes is not None else None), list[str]()
    if classes is None:
        labels, names, notes = numbered("data set", labels, class_names(given["train"]))
    found = {split: (inputs[split], labels[split]) for split in inputs}
    source = from_arrays(
        found["train"],
        found.get("test"),
        names,
        "data set",
        validation=found.get("validation"),
    )
    return replace(source, notes=tuple(notes))


def _fresh_source(
    given: Mapping[SplitName, Dataset[Any]],
    spec: DataSpec,
    form: Form,
    classes: Sequence[str] | None,
    storage: Storage,
) -> Source:
    """Return a training set that is read whenever it is shown, and other sets in memory."""
    items = FreshItems.of(given["train"], form, storage)
    others: dict[SplitName, tuple[list[Any], NDArray[Any]]] = {}
    for split, dataset in given.items():
        if split != "train":
            others[split] = _read_items(dataset, form)
    raw: Labels = {"train": np.array(items.labels)}
    for split, (_, values) in others.items():
        raw[split] = values
    labels, names, notes = raw, tuple(classes) if classes is not None else None, list[str]()
    if classes is None:
        labels, names, notes = numbered("data set", raw, class_names(given["train"]))

    count = len(names) if names is not None else None
    train = Fresh(items, check_labels(labels["train"], "data set", count), items.workers)
    if form.size is not None and train.input_shape[1:] != form.size:
        raise AnewError(
            "data set: with fresh views only PIL pictures are resized, and items have the shape "
            f"{train.input_shape}; resize in the transforms, or drop --data.size"
        )
    held = {
        split: as_examples(together(inputs, items.in_colour), labels[split], "data set", count)
        for split, (inputs, _) in others.items()
    }
    source = checked_source(
        "data set", train, held.get("test"), names, spec.views or FRESH, held.get("validation")
    )
    return replace(source, notes=tuple(notes))


def _read_items(dataset: Dataset[Any], form: Form) -> tuple[list[Any], NDArray[Any]]:
    """Return the inputs of a data set's items, tensors or pictures (H, W, C), and their labels."""
    inputs, labels = list[Any](), list[int | str]()
    try:
        count = len(dataset)  # type: ignore[arg-type]
        for number in range(count):
            item, label = pair_of(dataset[number])
            inputs.append(as_input(f"data set, item {number}", item, form))
            labels.append(class_of(label))
        places = range(0, count, max(1, count // READ_TWICE))
        again = [as_input("item", pair_of(dataset[number])[0], form) for number in places]
    except AnewError:
        raise
    except Exception as error:  # whatever somebody else's code raises, and items that are no pairs
        raise unread(error) from error

    changed = [
        number
        for number, second in zip(places, again, strict=True)
        if not _is_same(inputs[number], second)
    ]
    if changed:
        raise AnewError(
            f"data set: item {changed[0]} changes each time it is read, perhaps by random "
            "transforms, and anew reads it once; remove random transforms and use views "
            "(views='crop+flip'), which are drawn afresh in every epoch, or read the training "
            "items again in every epoch (views='fresh')"
        )
    return inputs, np.array(labels)


def _is_same(first: Any, second: Any) -> bool:
    if isinstance(first, np.ndarray):
        return np.array_equal(first, np.asarray(second))
    return first.shape == second.shape and bool(
        torch.equal(first.nan_to_num(), second.nan_to_num())
    )
