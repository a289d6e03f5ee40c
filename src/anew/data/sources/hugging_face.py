"""Data sets of Hugging Face's `datasets`: objects that a user has, saved folders, names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, cast

import numpy as np

from anew.core.errors import AnewError, in_one_line
from anew.data.encoded import PictureFiles
from anew.data.sources.arrays import check_labels
from anew.data.sources.encoded_source import Labelled, source_of
from anew.data.sources.labels import Labels, no_classes, numbered
from anew.data.sources.layout_names import (
    IMAGES,
    LABELS,
    SPLITS,
    SplitName,
    column_called,
    split_called,
)
from anew.data.sources.source import Reading, Source


def is_hugging_face(data: Any) -> bool:
    """Return whether data are a Dataset or a DatasetDict of the library `datasets`."""
    one = next(iter(cast("Mapping[str, Any]", data).values()), None) if _is_mapping(data) else data
    return all(hasattr(one, name) for name in ("features", "column_names", "with_format"))


def read_hugging_face(reading: Reading) -> Source:
    """Read a folder that save_to_disk wrote, or a data set by its name in the hub or the cache.

    Raises `AnewError` if the library is missing, or if there is no such data set.
    """
    name = reading.name
    place = name.partition(":")[2]
    try:
        datasets: Any = import_module("datasets")
    except ImportError as error:
        raise AnewError(f"data '{name}' needs datasets; pip install 'anew[hf]'") from error

    try:
        # Both give a DatasetDict, or a Dataset.
        if reading.place.is_dir() and any(
            (reading.place / file).exists() for file in ("dataset_dict.json", "state.json")
        ):
            found = datasets.load_from_disk(str(reading.place))
        else:
            at_hand = str(reading.place) if reading.place.exists() else place
            found = datasets.load_dataset(at_hand)
    except Exception as error:  # whatever the library, its files and the network raise
        raise AnewError(
            f"data '{name}': cannot be loaded by datasets ({in_one_line(error)}); check the path, "
            "the name and the network"
        ) from error
    return from_hugging_face(found, reading)


def from_hugging_face(data: Any, reading: Reading) -> Source:
    """Return a Dataset, or a DatasetDict with its splits, as a source.

    Pictures are read as their files are, each when it is needed. Raises `AnewError` if columns are
    missing, or hold no pictures.
    """
    name, notes = reading.name, list[str]()
    given = cast("Mapping[str, Any]", data) if _is_mapping(data) else {"train": data}
    if any(not hasattr(dataset, "__len__") for dataset in given.values()):
        raise AnewError(
            f"data '{name}': is a stream (IterableDataset), which cannot be read in any order; "
            "load it without streaming=True"
        )
    splits: dict[SplitName, Any] = {}
    for key, dataset in given.items():
        split = split_called(key)
        if split is None or split in splits:
            notes.append(f"the split {key} is ignored")
        else:
            splits[split] = dataset
    if "train" not in splits:
        raise AnewError(
            f"data '{name}': has no split called train (its splits: {', '.join(given)}); rename one"
        )

    image = _column(reading, splits["train"], "image")
    label = _column(reading, splits["train"], "label")
    values: Labels = {}
    for split, dataset in list(splits.items()):
        values[split] = _labels(name, dataset, label)
        is_known = values[split].dtype.kind != "i" or bool((values[split] != -1).any())
        if split != "train" and not is_known:
            notes.append(f"the {split} set is not used: it has no labels")
            del splits[split], values[split]

    feature = splits["train"].features[label]
    labels, classes, said = numbered(name, values, getattr(feature, "names", None))
    for split in splits:
        check_labels(labels[split], name, len(classes) if classes else None)
    ordered: list[SplitName] = [split for split in SPLITS if split in splits]
    numbers = {split: labels[split].tolist() for split in ordered}
    found = Labelled(
        HuggingFaceRows([(split, splits[split]) for split in ordered], image),
        numbers["train"],
        numbers.get("test"),
        classes,
        [*notes, *said],
        numbers.get("validation"),
    )
    return source_of(found, reading)


class HuggingFaceRows:
    """Encoded pictures in a column of data sets, one behind the other."""

    def __init__(self, parts: Sequence[tuple[str, Any]], image: str) -> None:
        self._image = image
        self._names = [split for split, _ in parts]
        # Without a format and without decoding, rows hold the files' bytes, or their paths.
        self._parts = [_undecoded(dataset, image) for _, dataset in parts]

    @property
    def stamp(self) -> str:
        """The library's own fingerprints of the data sets, and the column."""
        prints = [str(getattr(part, "_fingerprint", id(part))) for part in self._parts]
        return f"{' '.join(prints)} {self._image}"

    @property
    def in_any_order(self) -> bool:
        """Whether pictures are read quickly in any order: yes, the library maps its files."""
        return True

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def name(self, number: int) -> str:
        """Return the split and the row."""
        part, row = self._place(number)
        return f"{self._names[part]} set, row {row}"

    def content(self, number: int) -> bytes:
        """Return the bytes of a picture. Raises `AnewError` if the row holds none."""
        part, row = self._place(number)
        value = self._parts[part][row][self._image]
        content = value.get("bytes") if isinstance(value, dict) else value
        if content is None and isinstance(value, dict) and value.get("path"):
            return PictureFiles([str(value["path"])]).content(0)
        if not isinstance(content, bytes):
            raise AnewError(
                f"{self.name(number)}: column '{self._image}' holds no picture; cast it to "
                "datasets.Image()"
            )
        return content

    def _place(self, number: int) -> tuple[int, int]:
        for part, dataset in enumerate(self._parts):
            if number < len(dataset):
                return part, number
            number -= len(dataset)
        raise IndexError(number)


def _is_mapping(data: Any) -> bool:
    return isinstance(data, Mapping)


def _undecoded(dataset: Any, image: str) -> Any:
    feature = dataset.features[image]
    if type(feature).__name__ != "Image":
        return dataset.with_format(None)
    return dataset.with_format(None).cast_column(image, type(feature)(decode=False))


def _column(reading: Reading, dataset: Any, what: str) -> str:
    """Return a column that is named, called as usual, or the only one of its feature's type."""
    columns = list(dataset.column_names)
    asked = reading.spec.image_column if what == "image" else reading.spec.label_column
    usual, kind = (IMAGES, "Image") if what == "image" else (LABELS, "ClassLabel")
    if asked in columns:
        return asked
    typed = [name for name in columns if type(dataset.features[name]).__name__ == kind]
    found = None if asked else column_called(columns, usual)

    if found is None and not asked and len(typed) == 1:
        found = typed[0]
    if found is None:
        raise AnewError(
            f"data '{reading.name}': has no column '{asked or usual[0]}' (its columns: "
            f"{', '.join(columns)}); name it with --data.{what}-column"
        )
    return found


def _labels(name: str, dataset: Any, column: str) -> Any:
    if column not in dataset.column_names:
        return np.full(len(dataset), -1)
    values = dataset.with_format(None)[column][:]
    if all(isinstance(value, str) for value in values):
        return np.array(values, dtype=str)
    why = no_classes(values)
    if why:
        raise AnewError(f"data '{name}': column '{column}': labels {why}")
    if any(not isinstance(value, int) for value in values):
        raise AnewError(
            f"data '{name}': column '{column}' must hold whole numbers of classes, or their names, "
            "in every row; cast it to datasets.ClassLabel, or drop the other rows"
        )
    return np.array(values, np.int64)
