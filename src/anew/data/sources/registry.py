"""Where examples come from: one function and one line in the table for each kind of source."""

from __future__ import annotations

import hashlib
import json
import operator
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from anew.core.errors import AnewError, did_you_mean, in_one_line
from anew.data.examples import Resident
from anew.data.sources import layouts
from anew.data.sources.arrays import Array, as_examples, names_of, with_labels
from anew.data.sources.parquet import read_files
from anew.data.sources.pictures import read_all, read_picture

__all__ = [
    "SOURCES",
    "Contents",
    "Kind",
    "MissingDataError",
    "Source",
    "from_arrays",
    "from_dataset",
    "load",
    "read_picture",
]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


class MissingDataError(AnewError):
    """The files of a data set are not at hand."""


@dataclass(frozen=True)
class Contents:
    """How many examples of what form a source holds: all that is needed to say what training on it
    takes.
    """

    training: int
    test: int
    """Examples of its own test set; 0 where one is cut off from the training examples."""
    input_shape: tuple[int, ...]
    classes: int
    views: str


@dataclass(frozen=True)
class Source:
    """What a source holds, before any split: training examples, a test set or None, class names,
    and suitable views.

    `fingerprint` is a hash of the content alone: equal pictures, labels and names have equal ones
    in whatever files.
    """

    train: Resident
    test: Resident | None
    classes: tuple[str, ...]
    views: str
    fingerprint: str

    @property
    def contents(self) -> Contents:
        """How many examples of what form the source holds."""
        test = len(self.test) if self.test is not None else 0
        return Contents(
            len(self.train), test, tuple(self.train.inputs.shape[1:]), len(self.classes), self.views
        )


@dataclass(frozen=True)
class Kind:
    """A kind of source: how it is written, what it is, how it is read from its place, and whether
    one must be named.
    """

    summary: str
    read: Callable[[str, Path, bool], Source]
    needs_place: bool = False
    contents: Contents | None = None
    """What every such source holds, where that is known without its files."""


def load(source: str, root: Path = Path("data"), download: bool = False) -> Source:
    """Read a source by name, such as `digits`, `fashion-mnist`, `fashion-mnist:PATH` or
    `parquet:PATH`.

    `root` is where torchvision's data sets lie when no path is named; `download` fetches a missing
    one into it.
    """
    name, _, place = source.partition(":")
    if name not in SOURCES:
        raise AnewError(
            f"data '{source}' is not known{did_you_mean(name, SOURCES)}; choose one of "
            f"{', '.join(SOURCES)}"
        )
    if SOURCES[name].needs_place and not place:
        raise AnewError(f"data '{source}': names no place; write {name}:PATH")
    if SOURCES[name].needs_place and not Path(place).exists():
        raise AnewError(f"data '{source}': there is nothing at {place}; check the path")
    return SOURCES[name].read(source, Path(place) if place else root, download)


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
    return _source(name, examples, tests, tuple(classes) if classes is not None else None, views)


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


def _source(
    name: str, train: Resident, test: Resident | None, classes: tuple[str, ...] | None, views: str
) -> Source:
    """Check what all sources must hold, and take the fingerprint."""
    if int(train.labels.max()) >= len(train) and classes is None:
        # Before anything is counted: a stray label of 2^40 must not ask for that much memory.
        raise AnewError(
            f"data '{name}': label {int(train.labels.max())} in {len(train)} training examples "
            f"leaves classes without "
            "any; number the classes from 0 without gaps"
        )
    names = classes or names_of([train.labels])
    if len(names) < 2:
        raise AnewError(
            f"data '{name}': has {len(names)} class, and a classifier needs at least 2; add another"
        )
    counts = torch.bincount(train.labels, minlength=len(names))
    missing = (counts == 0).nonzero().flatten().tolist()
    if missing:
        raise AnewError(
            f"data '{name}': class {missing[0]} ('{names[missing[0]]}') has no training example; "
            f"number the classes "
            "without gaps, or add some"
        )
    if test is not None:
        if int(test.labels.max()) >= len(names):
            raise AnewError(
                f"data '{name}': the test set has label {int(test.labels.max())}, the training "
                f"examples only "
                f"0 to {len(names) - 1}; remove those, or train on that class"
            )
        if test.inputs.shape[1:] != train.inputs.shape[1:]:
            raise AnewError(
                f"data '{name}': training inputs are {tuple(train.inputs.shape[1:])}, test inputs "
                f"{tuple(test.inputs.shape[1:])}; they must be alike"
            )
    return Source(train, test, names, views, _fingerprint(train, test, names))


def _fingerprint(train: Resident, test: Resident | None, classes: tuple[str, ...]) -> str:
    """Return 16 hexadecimal digits of SHA-256 over shapes, types, values, labels and class
    names.
    """
    digest = hashlib.sha256(json.dumps(classes).encode())
    for examples in (train, test) if test is not None else (train,):
        inputs = examples.inputs
        digest.update(f"{tuple(inputs.shape)} {inputs.dtype}".encode())
        by_place = inputs.permute(0, 2, 3, 1) if inputs.ndim == 4 else inputs
        digest.update(by_place.contiguous().numpy().data)
        digest.update(examples.labels.contiguous().numpy().data)
    return digest.hexdigest()[:16]


def _read_digits(name: str, place: Path, download: bool) -> Source:
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    # 0..16 becomes 0..255, so that a picture file of a digit means the same.
    values = np.rint(np.asarray(pictures).reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return from_arrays(
        (values, np.asarray(labels)), classes=[str(digit) for digit in range(10)], name=name
    )


def _read_idx(
    folder: str, classes: Sequence[str], views: str
) -> Callable[[str, Path, bool], Source]:
    def read(name: str, root: Path, download: bool) -> Source:
        place = layouts.find_idx(root, folder)
        if place is None and download:
            _download(name, folder, root)
            place = layouts.find_idx(root, folder)
        if place is None:
            files = ", ".join(file for names in layouts.IDX_FILES.values() for file in names)
            raise _missing(name, f"{files} (or .gz) in {root / folder / 'raw'}")
        train, test = (layouts.read_idx_pair(place, split) for split in ("train", "test"))
        return from_arrays(train, test, classes, name, views)

    return read


def _read_cifar(which: str, torchvision_name: str) -> Callable[[str, Path, bool], Source]:
    def read(name: str, root: Path, download: bool) -> Source:
        place = layouts.find_cifar(root, which)
        if place is None and download:
            _download(name, torchvision_name, root)
            place = layouts.find_cifar(root, which)
        if place is None:
            folder, train, test, meta = layouts.CIFAR_FILES[which]
            raise _missing(name, f"{', '.join([*train, *test, meta])} in {root / folder}")
        train_pair, test_pair, classes = layouts.read_cifar(place, which)
        return from_arrays(train_pair, test_pair, classes, name, "crop+flip")

    return read


def _missing(name: str, files: str) -> MissingDataError:
    return MissingDataError(
        f"data '{name}': is not there (looked for {files}); name its folder with --data.root, or "
        f"add --data.download"
    )


def _download(name: str, torchvision_name: str, root: Path) -> None:
    import torchvision

    try:
        for train in (True, False):
            getattr(torchvision.datasets, torchvision_name)(str(root), train=train, download=True)
    except (RuntimeError, OSError) as error:
        raise AnewError(
            f"data '{name}': cannot be fetched ({' '.join(str(error).split())[:200]}); check the "
            f"network, or put the "
            f"files into {root} by hand"
        ) from error


def _read_folder(name: str, place: Path, download: bool) -> Source:
    """Read PATH/train/CLASS/* and PATH/test/CLASS/*, or PATH/CLASS/* without a test set."""
    parts = [place / "train", place / "test"] if (place / "train").is_dir() else [place]
    classes = _class_folders(name, parts[0])
    found = [_files(name, part, classes) for part in parts if part.is_dir()]
    everything = read_all(
        ((str(path), path) for paths, _ in found for path in paths),
        sum(len(one) for one, _ in found),
    )
    sizes = [len(paths) for paths, _ in found]
    examples = [
        with_labels(inputs, torch.tensor(labels), name)
        for inputs, (_, labels) in zip(everything.split(sizes), found, strict=True)
    ]
    return _source(
        name, examples[0], examples[1] if len(examples) > 1 else None, tuple(classes), "crop+flip"
    )


def _class_folders(name: str, part: Path) -> list[str]:
    if not part.is_dir():
        raise AnewError(
            f"data '{name}': {part} is no folder; it must hold a folder of pictures for each class"
        )
    classes = sorted(
        path.name for path in part.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    if not classes:
        raise AnewError(
            f"data '{name}': {part} holds no class folders; put the pictures into one folder a "
            f"class"
        )
    return classes


def _files(name: str, part: Path, classes: list[str]) -> tuple[list[Path], list[int]]:
    paths, labels = list[Path](), list[int]()
    for one in _class_folders(name, part):
        if one not in classes:
            raise AnewError(
                f"data '{name}': the test set has class '{one}', which no training example has"
                f"{did_you_mean(one, classes)}; rename or remove {part / one}"
            )
        pictures = sorted(
            path for path in (part / one).iterdir() if path.suffix.lower() in SUFFIXES
        )
        if not pictures:
            raise AnewError(
                f"data '{name}': class folder '{part / one}' has no picture; add pictures or "
                f"remove the folder"
            )
        paths += pictures
        labels += [classes.index(one)] * len(pictures)
    return paths, labels


def _read_parquet(name: str, place: Path, download: bool) -> Source:
    """Read train*.parquet and test*.parquet."""

    def read(pattern: str) -> tuple[Resident, tuple[str, ...] | None] | None:
        files = sorted(place.glob(pattern))
        if not files:
            return None
        pictures, labels, classes = read_files(name, files)
        return with_labels(
            pictures, torch.tensor(labels), name, len(classes) if classes else None
        ), classes

    train = read("train*.parquet")
    if train is None:
        raise AnewError(f"data '{name}': there is no train*.parquet in {place}; check the path")
    test = read("test*.parquet")
    if test and test[1] and test[1] != train[1]:
        raise AnewError(
            f"data '{name}': the class names in test*.parquet are not those in train*.parquet; "
            f"number the classes alike"
        )
    return _source(name, train[0], test[0] if test else None, train[1], "crop+flip")


def _read_npz(name: str, place: Path, download: bool) -> Source:
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


SOURCES: Mapping[str, Kind] = {
    "digits": Kind("scikit-learn's 1,797 grey 8x8 digits, always at hand", _read_digits),
    "fashion-mnist": Kind(
        "Fashion-MNIST in torchvision's layout (or fashion-mnist:PATH)",
        _read_idx("FashionMNIST", FASHION, "crop+flip"),
        contents=Contents(60_000, 10_000, (1, 28, 28), 10, "crop+flip"),
    ),
    "mnist": Kind(
        "MNIST in torchvision's layout (or mnist:PATH)",
        _read_idx("MNIST", [str(digit) for digit in range(10)], "none"),
        contents=Contents(60_000, 10_000, (1, 28, 28), 10, "none"),
    ),
    "cifar10": Kind(
        "CIFAR-10 in torchvision's layout (or cifar10:PATH)",
        _read_cifar("cifar10", "CIFAR10"),
        contents=Contents(50_000, 10_000, (3, 32, 32), 10, "crop+flip"),
    ),
    "cifar100": Kind(
        "CIFAR-100 in torchvision's layout (or cifar100:PATH)",
        _read_cifar("cifar100", "CIFAR100"),
        contents=Contents(50_000, 10_000, (3, 32, 32), 100, "crop+flip"),
    ),
    "folder": Kind(
        "folder:PATH, one folder of pictures a class, or train/ and test/ with such",
        _read_folder,
        True,
    ),
    "parquet": Kind(
        "parquet:PATH, train and test Parquet files with image bytes and labels",
        _read_parquet,
        True,
    ),
    "npz": Kind(
        "npz:PATH, NumPy arrays x_train, y_train, x_test, y_test, or x and y", _read_npz, True
    ),
}
