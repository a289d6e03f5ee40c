"""The files of MNIST and Fashion-MNIST (IDX) and of CIFAR (pickles), in torchvision's layout."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anew.core import files, memory
from anew.core.errors import AnewError
from anew.data.sources.pickles import read_pickle

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_IDX_NAME = re.compile(
    r"(?P<prefix>.*?)[-_.]?(?P<split>train|t10k|test)[-_.](?P<what>images|labels)"
    r"[-_.]idx[13][-_.]ubyte(\.gz)?$"
)
ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
CIFAR_FILES = {
    "cifar10": (
        "cifar-10-batches-py",
        [f"data_batch_{number}" for number in range(1, 6)],
        ["test_batch"],
        "batches.meta",
    ),
    "cifar100": ("cifar-100-python", ["train"], ["test"], "meta"),
}
Pair = tuple[NDArray[np.uint8], NDArray[Any]]


@dataclass(frozen=True)
class IdxFiles:
    """The files of a data set in IDX format."""

    prefix: str
    """What their names begin with, such as `emnist-letters`; usually empty."""
    files: Mapping[str, Path]
    """`train images`, `train labels`, `test images`, `test labels`."""

    def pair(self, split: str) -> Pair:
        """Return pictures (N, H, W) and labels (N,) of `train` or `test`, gzipped or plain.

        Raises `AnewError` if a file is damaged.
        """
        pictures_file, labels_file = self.files[f"{split} images"], self.files[f"{split} labels"]
        pictures, labels = _read_idx(pictures_file, 3), _read_idx(labels_file, 1)
        if len(pictures) != len(labels):
            raise AnewError(
                f"{pictures_file}: holds {len(pictures)} pictures, {labels_file.name} "
                f"{len(labels)} labels; download both again"
            )
        return pictures, labels


def find_idx(root: Path, folder: str) -> IdxFiles | None:
    """Return a data set's IDX files in ROOT/folder/raw, ROOT/raw or ROOT, or None.

    Names may have a dot for a hyphen, and a prefix; ROOT may end with the prefix that is meant.
    Raises `AnewError` if files with several prefixes lie there.
    """
    for place in (root / folder / "raw", root / "raw", root):
        sets = _idx_sets(place)
        if "" in sets:
            return sets[""]
        if len(sets) > 1:
            raise AnewError(
                f"{place} holds several data sets ({', '.join(sorted(sets))}); choose one: "
                f"{place / min(sets)}"
            )
        if sets:
            return next(iter(sets.values()))
    return _idx_sets(root.parent).get(root.name) if root.name else None


def _idx_sets(place: Path) -> dict[str, IdxFiles]:
    """Return the whole data sets in a folder by the prefix of their names."""
    if not place.is_dir():
        return {}
    found: dict[str, dict[str, Path]] = {}
    # Plain files stand before gzipped ones.
    for path in sorted(place.iterdir()):
        name = _IDX_NAME.match(path.name)
        if name:
            part = f"{'train' if name['split'] == 'train' else 'test'} {name['what']}"
            found.setdefault(name["prefix"], {}).setdefault(part, path)
    whole = {prefix: files for prefix, files in found.items() if len(files) == len(IDX_FILES)}
    return {prefix: IdxFiles(prefix, files) for prefix, files in whole.items()}


def find_archive(root: Path, words: Sequence[str]) -> Path | None:
    """Return an archive in a folder, or in one of its folders, that was not unpacked, or None.

    Its name holds one of the words, or is that of an IDX file.
    """
    folders = [root, *(path for path in root.iterdir() if path.is_dir())] if root.is_dir() else []
    for folder in folders:
        for path in sorted(folder.iterdir()):
            name = path.name.lower()
            if name.endswith(ARCHIVES) and any(word in name for word in words):
                return path
    return None


def what_is_near(root: Path) -> str:
    """Return what lies in a folder in place of a data set, with what mends it; "" for nothing.

    CIFAR's files for C, or a part of the IDX files.
    """
    if not root.is_dir():
        return ""
    names = {path.name for folder in (root, root / "cifar-10-batches-bin") for path in _in(folder)}
    if {"data_batch_1.bin", "test_batch.bin"} <= names or {"train.bin", "test.bin"} <= names:
        return (
            f"{root} holds CIFAR's binary files for C; give the ones for Python "
            "(cifar-10-batches-py, cifar-100-python), or another --data.root with --data.download"
        )

    for place in (root / "raw", root):
        found = [
            match for match in map(_IDX_NAME.match, (path.name for path in _in(place))) if match
        ]
        there = {
            (match["prefix"], "train" if match["split"] == "train" else "test", match["what"])
            for match in found
        }
        for prefix in sorted({prefix for prefix, _, _ in there}):
            missing = [
                f"{'train' if split == 'train' else 't10k'}-{what}"
                for split in ("train", "test")
                for what in ("images", "labels")
                if (prefix, split, what) not in there
            ]
            return f"{place} lacks the files {' and '.join(missing)}; download them too"
    return ""


def _in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def find_cifar(root: Path, name: str) -> Path | None:
    """Return the folder with CIFAR's files: ROOT/cifar-10-batches-py, ROOT itself, or None."""
    folder, train, test, meta = CIFAR_FILES[name]
    for place in (root / folder, root):
        if all((place / file).exists() for file in (*train, *test, meta)):
            return place
    return None


def read_cifar(place: Path, name: str) -> tuple[Pair, Pair, tuple[str, ...]]:
    """Return train and test pairs and the classes of CIFAR-10 or CIFAR-100 (fine labels).

    Pictures are (N, 3, 32, 32). Raises `AnewError` if a file is damaged, or asks for code.
    """
    _, train_files, test_files, meta = CIFAR_FILES[name]
    label_key, names_key = "fine_labels", "fine_label_names"
    if name == "cifar10":
        label_key, names_key = "labels", "label_names"

    classes = _class_names(place / meta, names_key)
    train = _read_cifar_files([place / file for file in train_files], label_key)
    test = _read_cifar_files([place / file for file in test_files], label_key)
    return train, test, classes


def _read_cifar_files(paths: list[Path], label_key: str) -> Pair:
    pictures, labels = list[NDArray[np.uint8]](), list[NDArray[Any]]()
    for path in paths:
        content = read_pickle(path)
        rows = _entry(path, content, "data")
        is_array = isinstance(rows, np.ndarray) and rows.dtype == np.uint8
        if not is_array or rows.ndim != 2 or rows.shape[1] != 3072:
            raise AnewError(
                f"{path}: holds no rows of 3072 bytes, so it is no CIFAR file; download it again"
            )

        pictures.append(rows.reshape(-1, 3, 32, 32))
        labels.append(_labels(path, _entry(path, content, label_key), len(rows)))
    return np.concatenate(pictures), np.concatenate(labels)


def _class_names(path: Path, key: str) -> tuple[str, ...]:
    names = _entry(path, read_pickle(path), key)
    try:
        return tuple(name.decode() if isinstance(name, bytes) else _checked(name) for name in names)
    except (TypeError, UnicodeDecodeError) as error:
        raise AnewError(
            f"{path}: '{key}' is no list of class names in UTF-8; download it again"
        ) from error


def _checked(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError("a class name must be a text")
    return name


def _labels(path: Path, labels: Any, count: int) -> NDArray[np.int64]:
    """Return labels as an array; they come as a list of whole numbers, or as an array of them."""
    if isinstance(labels, np.ndarray):
        values = labels if labels.dtype.kind in "iu" and labels.ndim == 1 else None
    else:
        is_plain = isinstance(labels, list) and all(type(label) is int for label in labels)
        values = labels if is_plain and all(0 <= label < 2**31 for label in labels) else None
    if values is None or len(values) != count:
        raise AnewError(f"{path}: holds no whole-number label for each picture; download it again")
    return np.asarray(values, np.int64)


def _entry(path: Path, content: Any, key: str) -> Any:
    if isinstance(content, dict):
        for spelling in (key, key.encode()):
            if spelling in content:
                return content[spelling]
    raise AnewError(f"{path}: has no entry '{key}', so it is no CIFAR file; download it again")


def _read_idx(file: Path, axes: int) -> NDArray[np.uint8]:
    """Return the array in an IDX file.

    The format: bytes 0, 0, 8 (unsigned), the number of axes, their sizes, then the values.
    """
    files.check_regular(file)
    start = 4 + 4 * axes
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
            header = opened.read(start)
            if len(header) < start or header[:4] != bytes([0, 0, 8, axes]):
                raise AnewError(f"{file}: is no IDX file of {axes} axes; download it again")
            sizes = struct.unpack(f">{axes}I", header[4:])
            expected = math.prod(sizes)
            memory.demand(
                f"{file}", 2 * expected, "download it again, it is no file of this data set"
            )
            # No more than the header promises: a small file may become gigabytes.
            content = opened.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise AnewError(f"{file}: is truncated or damaged ({error}); download it again") from error

    if len(content) != expected:
        found = "more" if len(content) > expected else f"{len(content):,}"
        raise AnewError(
            f"{file}: has {found} bytes, its header promises {expected:,}; download it again"
        )
    return np.frombuffer(content, np.uint8).reshape(sizes)
