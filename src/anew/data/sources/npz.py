"""NumPy's archives of arrays, as people and collections such as MedMNIST name them."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from anew.core import files, memory
from anew.core.errors import AnewError, did_you_mean, in_one_line
from anew.data.kept import some_of
from anew.data.sources.arrays import check_lengths
from anew.data.sources.class_names import names_of_numbers
from anew.data.sources.encoded_source import NO_TEST
from anew.data.sources.labels import Labels, numbered
from anew.data.sources.layout_names import SPLITS, SplitName, split_called
from anew.data.sources.memory import from_arrays
from anew.data.sources.source import Reading, Source

NAMES = ("classes", "class_names", "label_names")
"""What an array with the names of the classes is called."""
KNOWN = ("x_train", "y_train", "x_test", "y_test", "x_val", "y_val", "x", "y")
_INPUTS = {"x", "image", "images", "img", "imgs", "data", "inputs", "pictures", "features"}
_LABELS = {"y", "label", "labels", "target", "targets"}
_POSITIONS = {"arr_0": "x", "arr_1": "y"}
_SAVE = "save its arrays with numpy.savez as x and y"
_INSTEAD = {
    ".npy": "save the inputs and the labels together: numpy.savez('data.npz', x=x, y=y)",
    ".mat": f"read it with scipy.io.loadmat, and {_SAVE} (examples on the first axis)",
    ".h5": f"read it with h5py, and {_SAVE}",
    ".hdf5": f"read it with h5py, and {_SAVE}",
    ".pt": f"read it with torch.load, and {_SAVE}, or give them to anew.train(data=(x, y))",
    ".pth": f"read it with torch.load, and {_SAVE}, or give them to anew.train(data=(x, y))",
    ".pkl": f"read it with pickle, and {_SAVE}",
    ".pickle": f"read it with pickle, and {_SAVE}",
    ".csv": f"read it with numpy.loadtxt or pandas, and {_SAVE} (pictures as N x H x W)",
    ".parquet": "give parquet:PATH",
}
"""What to do with files of other kinds."""
Shapes = Mapping[str, tuple[tuple[int, ...], int]]


@dataclass(frozen=True)
class _Pair:
    """The names of the arrays of a split."""

    inputs: str | None = None
    labels: str | None = None


def read_npz(reading: Reading) -> Source:
    """Read x_train, y_train, x_test, y_test, or x and y; optionally `classes`, the names.

    Other usual names serve as well, such as MedMNIST's train_images, train_labels, val_images.
    Raises `AnewError` if the file is damaged, or holds other arrays.
    """
    name, place = reading.name, reading.place
    files.check_regular(place)
    shapes = _headers(name, place)
    pairs = _pairs(name, shapes)
    _check_sizes(name, shapes, pairs)
    arrays = _read_archive(name, place)

    labels: Labels = {}
    for split, pair in pairs.items():
        labels[split] = _column(arrays[pair.labels or ""])
    given = next((arrays[key] for key in NAMES if key in arrays), None)
    classes = list(map(str, given.reshape(-1))) if given is not None else None
    is_named = any(values.dtype.kind in "US" for values in labels.values())
    labels, names, notes = numbered(name, labels, classes if not is_named else None)

    if names is None:
        names, beside = names_of_numbers([place.parent], labels)
        notes += beside
    sets = {split: (arrays[pair.inputs or ""], labels[split]) for split, pair in pairs.items()}
    source = from_arrays(
        sets["train"],
        sets.get("test"),
        names,
        name,
        validation=sets.get("validation"),
    )
    used = {key for pair in pairs.values() for key in (pair.inputs, pair.labels)}
    others = [key for key in shapes if key not in used and key not in NAMES]
    if others:
        notes.append(f"arrays that are ignored: {some_of(others)}")
    if source.validation is not None and source.test is None:
        notes.append(NO_TEST)
    return replace(source, notes=tuple(notes))


def _pairs(name: str, shapes: Shapes) -> dict[SplitName, _Pair]:
    """Return the names of each split's arrays."""
    found: dict[SplitName | None, _Pair] = {}
    for key in shapes:
        role = _role(key)
        if role is None:
            continue
        split, kind = role
        pair = found.get(split, _Pair())
        if getattr(pair, kind) is None:
            found[split] = replace(pair, **{kind: key})

    first = "train" if found.get("train", _Pair()).inputs else None
    train = found.get(first, _Pair())
    if train.inputs is None or train.labels is None:
        raise AnewError(
            f"data '{name}': holds {', '.join(shapes) or 'no arrays'}; it must hold x_train and "
            "y_train (and x_test and y_test, x_val and y_val), or x and "
            f"y{did_you_mean(next(iter(shapes), ''), KNOWN)}"
        )
    pairs: dict[SplitName, _Pair] = {"train": train}
    for split in SPLITS[1:]:
        pair = found.get(split, _Pair())
        if (pair.inputs is None) != (pair.labels is None):
            short = "test" if split == "test" else "val"
            raise AnewError(
                f"data '{name}': holds only one of x_{short} and y_{short}; save both or none"
            )
        if pair.inputs is not None:
            pairs[split] = pair
    return pairs


def _role(key: str) -> tuple[SplitName | None, Literal["inputs", "labels"]] | None:
    """Return the split of an array, None if it names none, and what it holds."""
    words = re.split(r"[_. -]+", _POSITIONS.get(key, key).lower())
    kinds = [word for word in words if word in _INPUTS | _LABELS]
    splits = [split_called(word) for word in words if word not in kinds]
    if len(kinds) != 1 or len(splits) > 1 or None in splits:
        return None
    split = split_called(next((word for word in words if word not in kinds), ""))
    return split, ("inputs" if kinds[0] in _INPUTS else "labels")


def _column(labels: NDArray[Any]) -> NDArray[Any]:
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def _headers(name: str, place: Path) -> dict[str, tuple[tuple[int, ...], int]]:
    """Return the shape and the bytes of each array in an archive, from the arrays' headers.

    Raises `AnewError` if one promises more bytes than the archive holds.
    """
    instead = _INSTEAD.get(place.suffix.lower())
    if instead is not None:
        raise AnewError(f"data '{name}': is no .npz archive; {instead}")
    if place.is_dir():
        raise AnewError(
            f"data '{name}': is a folder; give the .npz file (numpy.savez('data.npz', x_train=..., "
            "y_train=...)), or folder:PATH for pictures"
        )
    if not zipfile.is_zipfile(place):
        files.check_content(place)
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


def _check_sizes(name: str, shapes: Shapes, pairs: Mapping[SplitName, _Pair]) -> None:
    """Raise `AnewError` if an archive's arrays are no pairs, or more than the memory holds."""
    for pair in pairs.values():
        check_lengths(name, shapes[pair.inputs or ""][0], shapes[pair.labels or ""][0])

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
        if "allow_pickle" in str(error):
            raise AnewError(
                f"data '{name}': an array holds Python objects, which could run code when they are "
                "loaded; save it with a type of its own: names as array.astype(str), pictures as "
                "one array of numbers"
            ) from error
        raise _no_arrays(name, error) from error


def _no_arrays(name: str, error: Exception) -> AnewError:
    return AnewError(
        f"data '{name}': cannot be read as arrays of numbers ({in_one_line(error)}); save them "
        "with numpy.savez"
    )
