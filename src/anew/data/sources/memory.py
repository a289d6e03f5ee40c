"""Sources that come as arrays: tensors, NumPy's arrays and scikit-learn's digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from anew.core.errors import AnewError
from anew.data.examples import Resident
from anew.data.sources.arrays import as_examples, one_array
from anew.data.sources.labels import Labels, no_classes, numbered
from anew.data.sources.layout_names import SplitName
from anew.data.sources.source import Reading, Source, checked_source


def from_arrays(
    train: tuple[Any, Any],
    test: tuple[Any, Any] | None = None,
    classes: Sequence[str] | None = None,
    name: str = "arrays",
    views: str = "none",
    *,
    validation: tuple[Any, Any] | None = None,
) -> Source:
    """Return arrays or lists (inputs, labels) as a source; raises `AnewError` if they are none.

    Labels are numbers from 0, or, where `classes` are not given, names or numbers from 1. Without a
    test or a validation set one is cut off from the training examples.
    """
    pairs: dict[SplitName, tuple[Any, Any]] = {"train": train}
    if test is not None:
        pairs["test"] = test
    if validation is not None:
        pairs["validation"] = validation
    labels: Labels = {}
    for split, pair in pairs.items():
        labels[split] = _as_labels(pair[1], name)
    names, notes = (tuple(classes) if classes is not None else None), list[str]()
    if classes is None and all(values.ndim == 1 for values in labels.values()):
        labels, names, notes = numbered(name, labels, None)

    count = len(names) if names is not None else None
    sets: dict[SplitName, Resident] = {}
    for split, pair in pairs.items():
        called = name if split == "train" else f"{name} ({split})"
        sets[split] = as_examples(one_array(pair[0], called), labels[split], called, count)
    source = checked_source(
        name, sets["train"], sets.get("test"), names, views, sets.get("validation")
    )
    return replace(source, notes=tuple(notes))


def _as_labels(labels: Any, name: str) -> NDArray[Any]:
    """Return labels as an array: of a list, a tensor, a column of a table."""
    try:
        values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    except ValueError as error:
        # Lists of several lengths.
        raise AnewError(f"data '{name}': labels {no_classes(list(labels))}") from error
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype == object and all(isinstance(value, str) for value in values.flat):
        return values.astype(str)
    return values


def read_digits(reading: Reading) -> Source:
    """Read scikit-learn's 1,797 grey 8x8 pictures of digits, which need no files."""
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    # 0..16 becomes 0..255, so that a picture file of a digit means the same.
    values = np.rint(np.asarray(pictures).reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return from_arrays(
        (values, np.asarray(labels)), classes=[str(digit) for digit in range(10)], name=reading.name
    )
