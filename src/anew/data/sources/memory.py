"""Sources that come as arrays: scikit-learn's digits, NumPy files, tensors and torch data sets."""

from __future__ import annotations

import operator
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from anew.core.errors import AnewError, did_you_mean, in_one_line
from anew.data.sources.arrays import Array, as_examples
from anew.data.sources.source import Source, checked_source


def from_arrays(
    train: tuple[Array, Array],
    test: tuple[Array, Array] | None = None,
    classes: Sequence[str] | None = None,
    name: str = "arrays",
    views: str = "none",
) -> Source:
    """Return arrays (inputs, labels) as a source; `AnewError` names what is wrong with them."""
    count = len(classes) if classes is not None else None
    examples = as_examples(*train, name, count)
    tests = as_examples(*test, f"{name} (test)", count) if test is not None else None
    return checked_source(
        name, examples, tests, tuple(classes) if classes is not None else None, views
    )


def from_dataset(
    train: Dataset[Any], test: Dataset[Any] | None = None, classes: Sequence[str] | None = None
) -> Source:
    """Return a map-style torch data set of (picture or tensor, label) as a source: read once, into
    memory.
    """
    named = classes if classes is not None else getattr(train, "classes", None)
    pairs = [_read_dataset(one) for one in (train, test) if one is not None]
    return from_arrays(pairs[0], pairs[1] if test is not None else None, named, "data set")


def _read_dataset(dataset: Dataset[Any]) -> tuple[Array, Array]:
    inputs, labels = list[Any](), list[int]()
    try:
        for number in range(len(dataset)):  # type: ignore[arg-type]
            one, label = dataset[number][:2]
            if isinstance(one, Image.Image):
                # A palette's numbers are no colours.
                one = np.array(one.convert("RGB") if one.mode == "P" else one)
            inputs.append(torch.as_tensor(np.asarray(one)) if not isinstance(one, Tensor) else one)
            labels.append(operator.index(label))
        return torch.stack(inputs), torch.tensor(labels)
    except Exception as error:  # whatever somebody else's code raises, and items that are no pairs
        raise AnewError(
            f"data set: cannot be read ({in_one_line(error)}); it must be map-style, of pairs "
            f"(picture or tensor, "
            "whole-number label), all of one size"
        ) from error


def read_digits(name: str, place: Path, download: bool) -> Source:
    """Read scikit-learn's 1,797 grey 8x8 pictures of digits, which are always there."""
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    # 0..16 becomes 0..255, so that a picture file of a digit means the same.
    values = np.rint(np.asarray(pictures).reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return from_arrays(
        (values, np.asarray(labels)), classes=[str(digit) for digit in range(10)], name=name
    )


def read_npz(name: str, place: Path, download: bool) -> Source:
    """Read x_train, y_train, x_test, y_test, or x and y; optionally `classes`, the names."""
    if not zipfile.is_zipfile(place):
        raise AnewError(
            f"data '{name}': is no whole .npz archive; save the arrays with numpy.savez"
        )
    try:
        with np.load(place, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except Exception as error:  # damaged archives raise nearly anything
        raise AnewError(
            f"data '{name}': cannot be read as arrays of numbers ({in_one_line(error)}); save them "
            f"with numpy.savez"
        ) from error
    known = ("x_train", "y_train", "x_test", "y_test", "x", "y")
    keys = ("x_train", "y_train") if "x_train" in arrays else ("x", "y")
    if not all(key in arrays for key in keys):
        raise AnewError(
            f"data '{name}': holds {', '.join(arrays) or 'no arrays'}; it must hold x_train and "
            f"y_train "
            f"(and x_test and y_test), or x and y{did_you_mean(next(iter(arrays), ''), known)}"
        )
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise AnewError(f"data '{name}': holds only one of x_test and y_test; save both or none")
    classes = [str(one) for one in arrays["classes"]] if "classes" in arrays else None
    test = (arrays["x_test"], arrays["y_test"]) if "x_test" in arrays else None
    return from_arrays((arrays[keys[0]], arrays[keys[1]]), test, classes, name)
