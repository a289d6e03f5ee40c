"""Sources that come as arrays: scikit-learn's digits, NumPy files, tensors and torch data sets."""

from __future__ import annotations

import math
import operator
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from anew.core import files, memory
from anew.core.errors import AnewError, did_you_mean, in_one_line
from anew.data.sources.arrays import Array, as_examples, check_lengths
from anew.data.sources.source import Reading, Source, checked_source


def from_arrays(
    train: tuple[Array, Array],
    test: tuple[Array, Array] | None = None,
    classes: Sequence[str] | None = None,
    name: str = "arrays",
    views: str = "none",
) -> Source:
    """Return arrays (inputs, labels) as a source; raises `AnewError` if they are none."""
    names = tuple(classes) if classes is not None else None
    count = len(names) if names is not None else None
    examples = as_examples(*train, name, count)
    tests = as_examples(*test, f"{name} (test)", count) if test is not None else None
    return checked_source(name, examples, tests, names, views)


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


def read_digits(reading: Reading) -> Source:
    """Read scikit-learn's 1,797 grey 8x8 pictures of digits, which need no files."""
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    # 0..16 becomes 0..255, so that a picture file of a digit means the same.
    values = np.rint(np.asarray(pictures).reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return from_arrays(
        (values, np.asarray(labels)), classes=[str(digit) for digit in range(10)], name=reading.name
    )


def read_npz(reading: Reading) -> Source:
    """Read x_train, y_train, x_test, y_test, or x and y; optionally `classes`, the names.

    Raises `AnewError` if the file is damaged, or holds other arrays.
    """
    name, place = reading.name, reading.place
    files.check_regular(place)
    shapes = _headers(name, place)
    known = ("x_train", "y_train", "x_test", "y_test", "x", "y")
    keys = ("x_train", "y_train") if "x_train" in shapes else ("x", "y")
    if not all(key in shapes for key in keys):
        raise AnewError(
            f"data '{name}': holds {', '.join(shapes) or 'no arrays'}; it must hold x_train and "
            "y_train (and x_test and y_test), or x and "
            f"y{did_you_mean(next(iter(shapes), ''), known)}"
        )
    _check_sizes(name, shapes)
    arrays = _read_archive(name, place)
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise AnewError(f"data '{name}': holds only one of x_test and y_test; save both or none")

    classes = list(map(str, arrays["classes"].reshape(-1))) if "classes" in arrays else None
    test = (arrays["x_test"], arrays["y_test"]) if "x_test" in arrays else None
    return from_arrays((arrays[keys[0]], arrays[keys[1]]), test, classes, name)


def _headers(name: str, place: Path) -> dict[str, tuple[tuple[int, ...], int]]:
    """Return the shape and the bytes of each array in an archive, from the arrays' headers.

    Raises `AnewError` if one promises more bytes than the archive holds.
    """
    if not zipfile.is_zipfile(place):
        raise AnewError(
            f"data '{name}': is no whole .npz archive; save the arrays with numpy.savez"
        )

    found: dict[str, tuple[tuple[int, ...], int]] = {}
    try:
        with zipfile.ZipFile(place) as archive:
            for entry in archive.infolist():
                if not entry.filename.endswith(".npy"):
                    continue

                with archive.open(entry) as file:
                    shape, size = _header(file)
                if size > entry.file_size:
                    raise ValueError(f"{entry.filename} has fewer bytes than it promises")
                found[entry.filename.removesuffix(".npy")] = shape, size
    except Exception as error:  # damaged archives raise nearly anything
        raise _no_arrays(name, error) from error
    return found


def _header(file: Any) -> tuple[tuple[int, ...], int]:
    """Return the shape and the bytes of an array in NumPy's format."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, math.prod(shape) * dtype.itemsize


def _check_sizes(name: str, shapes: Mapping[str, tuple[tuple[int, ...], int]]) -> None:
    """Raise `AnewError` if an archive's arrays are no pairs, or more than the memory holds."""
    for inputs, labels in (("x_train", "y_train"), ("x_test", "y_test"), ("x", "y")):
        if inputs in shapes and labels in shapes:
            check_lengths(name, shapes[inputs][0], shapes[labels][0])

    sizes = [size for _, size in shapes.values()]
    # The largest is copied where its layout is not anew's.
    memory.demand(
        f"data '{name}'", sum(sizes) + max(sizes), "give fewer examples, or inputs of fewer bytes"
    )


def _read_archive(name: str, place: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(place, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except Exception as error:  # damaged archives raise nearly anything
        raise _no_arrays(name, error) from error


def _no_arrays(name: str, error: Exception) -> AnewError:
    return AnewError(
        f"data '{name}': cannot be read as arrays of numbers ({in_one_line(error)}); save them "
        "with numpy.savez"
    )
