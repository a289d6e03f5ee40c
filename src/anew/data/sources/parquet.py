"""Pictures and labels in Parquet files, as the `datasets` library writes them.

The columns are `image` (bytes) and `label`, or have other usual names.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from anew.core import memory
from anew.core.errors import AnewError, in_one_line
from anew.core.files import check_content, check_regular
from anew.core.parsing import parse_json
from anew.data.encoded import stamp_of
from anew.data.pictures import PictureError
from anew.data.sources.arrays import check_labels
from anew.data.sources.class_names import names_of_numbers
from anew.data.sources.encoded_source import Labelled, source_of
from anew.data.sources.labels import Labels, no_classes, numbered
from anew.data.sources.layout_names import IMAGES, LABELS, SPLITS, SplitName, column_called
from anew.data.sources.shards import find_shards
from anew.data.sources.source import Reading, Source


def read_parquet(reading: Reading) -> Source:
    """Read train*.parquet, with test*.parquet and validation*.parquet if there, or one file.

    Raises `AnewError` if no training file is at `place`, or if a file or a picture cannot be read.
    """
    name = reading.name
    shards, notes = find_shards(name, reading.place)
    splits: dict[SplitName, _Split] = {}
    for one, files in shards.items():
        split = _read_split(reading, files, is_training=one == "train")
        if split is None:
            notes.append(f"{files[0]} is not used: it has no labels")
        else:
            splits[one] = split

    classes = splits["train"].classes
    for one, split in splits.items():
        if split.classes and split.classes != classes:
            raise AnewError(
                f"data '{name}': the class names in {one}*.parquet differ from those in "
                "train*.parquet; use the same names and numbers"
            )
    given: Labels = {}
    for one, split in splits.items():
        given[one] = split.labels
    labels, names, said = numbered(name, given, classes)
    if names is None:
        names, beside = names_of_numbers({file.parent for file in shards["train"]}, labels)
        said += beside
    for values in labels.values():
        check_labels(values, name, len(names) if names else None)

    ordered = {one: labels[one].tolist() for one in SPLITS if one in labels}
    found = Labelled(
        ParquetRows([group for one in SPLITS if one in splits for group in splits[one].groups]),
        ordered["train"],
        ordered.get("test"),
        names,
        [*notes, *said],
        ordered.get("validation"),
    )
    return source_of(found, reading)


@dataclass(frozen=True)
class RowGroup:
    """A part of a Parquet file that is read at once."""

    file: str
    column: str
    """The column with the pictures."""
    number: int
    """The row group's number in its file."""
    first: int
    """The number of its first row in the file."""
    rows: int


@dataclass(frozen=True)
class _Split:
    groups: list[RowGroup]
    labels: NDArray[Any]
    classes: tuple[str, ...] | None


class ParquetRows:
    """Encoded pictures in a column of Parquet files, read a row group at a time."""

    def __init__(self, groups: Sequence[RowGroup]) -> None:
        self._groups = groups
        self._ends = list(accumulate(group.rows for group in groups))
        self._held: tuple[int, Any] | None = None

    @property
    def stamp(self) -> str:
        """A hash over the files' paths, sizes and times of change, and the columns."""
        files = list(dict.fromkeys(group.file for group in self._groups))
        columns = ",".join(dict.fromkeys(group.column for group in self._groups))
        return f"{stamp_of(files)} {columns}"

    @property
    def in_any_order(self) -> bool:
        """Whether pictures are read quickly in any order: no, a whole row group is read for one."""
        return False

    def __len__(self) -> int:
        return self._ends[-1]

    def name(self, number: int) -> str:
        """Return the file and the row."""
        group, row = self._place(number)
        return f"{group.file}, row {group.first + row}"

    def content(self, number: int) -> bytes:
        """Return the bytes of a picture. Raises `AnewError` if the file cannot be read."""
        group, row = self._place(number)
        if self._held is None or self._held[0] != id(group):
            self._held = None
            self._held = (id(group), _column_of(group))
        return _content(self.name(number), group.column, self._held[1][row].as_py())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": None}

    def _place(self, number: int) -> tuple[RowGroup, int]:
        at = bisect_right(self._ends, number)
        return self._groups[at], number - (self._ends[at] - self._groups[at].rows)


def _column_of(group: RowGroup) -> Any:
    """Return the pictures' column of a row group, as Arrow holds it."""
    with _parquet(group.file) as parquet:
        opened = parquet.ParquetFile(group.file)
        size = opened.metadata.row_group(group.number).total_byte_size
        memory.demand(f"{group.file}: row group {group.number}", size, "write smaller row groups")
        # Without threads: other processes, forked from this one, read too.
        read = opened.read_row_group(group.number, columns=[group.column], use_threads=False)
        column = read.column(group.column)
    if len(column) != group.rows:
        raise AnewError(f"{group.file}: announces {group.rows:,} rows and holds others; correct it")
    return column


def _read_split(reading: Reading, files: Sequence[Path], *, is_training: bool) -> _Split | None:
    """Return the row groups, labels and class names; names are None without metadata.

    None if the split has no labels, as test sets of competitions have none.
    """
    name = reading.name
    groups: list[RowGroup] = []
    labels: list[NDArray[Any]] = []
    classes: tuple[str, ...] | None = None
    for file in files:
        check_regular(file)
        with _parquet(str(file), name) as parquet:
            opened = parquet.ParquetFile(file)
            schema = opened.schema_arrow
            features = _features(schema)
            image = _column(file, schema, _Wanted("image", reading.spec.image_column, IMAGES))
            wanted = _Wanted("label", reading.spec.label_column, LABELS)
            if not is_training and not _has_column(schema, wanted):
                return None
            label = _column(file, schema, wanted)
            classes = classes or _class_names(file, features, label)
            memory.demand(f"{file}", 8 * opened.metadata.num_rows, "give a smaller file")

            first = 0
            for number in range(opened.num_row_groups):
                rows = opened.metadata.row_group(number).num_rows
                groups.append(RowGroup(str(file), image, number, first, rows))
                first += rows
            if first:
                column = opened.read(columns=[label], use_threads=False).column(label)
                labels.append(_labels(file, label, column.to_pylist()))
        if sum(map(len, labels)) != sum(group.rows for group in groups):
            raise AnewError(f"{file}: announces {first:,} rows and holds others; correct it")

    if not labels:
        raise AnewError(f"data '{name}': {files[0]} has no rows; download it again")
    kinds = {values.dtype.kind for values in labels}
    if len(kinds) > 1:
        raise AnewError(f"data '{name}': {files[0]} and others have labels of several types")
    together = np.concatenate(labels)
    if together.dtype.kind == "i" and not is_training and bool((together == -1).all()):
        return None
    return _Split([group for group in groups if group.rows], together, classes)


@contextmanager
def _parquet(file: str, name: str = "") -> Generator[Any]:
    """Give pyarrow's module of Parquet; its errors are one line that names the file."""
    whose = f"data '{name}': " if name else ""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise AnewError(f"{whose}{file} needs pyarrow; pip install 'anew[parquet]'") from error
    try:
        yield pyarrow.parquet
    except (OSError, pyarrow.ArrowException) as error:
        check_content(Path(file))
        raise AnewError(
            f"{whose}{file} cannot be read as Parquet ({in_one_line(error)}); download it again"
        ) from error


def _content(place: str, column: str, value: Any) -> bytes:
    """Return the bytes of a picture from a cell: the bytes, or a dictionary with them."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if content is None:
        raise PictureError(f"{place}: column '{column}' holds no picture")

    if isinstance(content, str):
        raise AnewError(
            f"{place}: column '{column}' holds a text and no bytes of a picture; if it names a "
            "file, write the table as labels.csv beside the pictures, and give folder:PATH"
        )
    if isinstance(content, list):
        raise AnewError(
            f"{place}: column '{column}' holds numbers and no bytes of a picture file; save them "
            "with numpy.savez as x and y, and give npz:FILE"
        )
    if not isinstance(content, bytes):
        raise AnewError(
            f"{place}: column '{column}' holds no bytes of a picture; write them into it"
        )
    return content


@dataclass(frozen=True)
class _Wanted:
    """A column that is looked for."""

    what: str
    asked: str
    """Its name, if the user gives it."""
    usual: Sequence[str]


def _has_column(schema: Any, wanted: _Wanted) -> bool:
    if wanted.asked:
        return wanted.asked in schema.names
    return _found(schema, wanted) is not None


def _column(file: Path, schema: Any, wanted: _Wanted) -> str:
    name = wanted.asked if wanted.asked in schema.names else None
    if not wanted.asked:
        name = _found(schema, wanted)
    if name is None:
        sought = wanted.asked or wanted.usual[0]
        raise AnewError(
            f"{file}: has no column '{sought}' (its columns: {', '.join(schema.names)}); name the "
            f"one that is meant with --data.{wanted.what}-column"
        )
    if schema.names.count(name) > 1:
        raise AnewError(f"{file}: has the column '{name}' twice; drop or rename one")
    return name


def _found(schema: Any, wanted: _Wanted) -> str | None:
    """Return the column that is called as usual, else the only one of the feature's type."""
    name = column_called(schema.names, wanted.usual)
    if name is not None:
        return name
    kind = {"image": "Image", "label": "ClassLabel"}[wanted.what]
    typed = [
        name
        for name, feature in _features(schema).items()
        if isinstance(feature, dict)
        and cast("dict[str, Any]", feature).get("_type") == kind
        and name in schema.names
    ]
    return typed[0] if len(typed) == 1 else None


def _labels(file: Path, column: str, values: list[Any]) -> NDArray[Any]:
    """Return labels as an array of whole numbers, or of names."""
    if values and all(isinstance(value, list) and len(value) == 1 for value in values):
        values = [value[0] for value in values]
    if all(isinstance(value, str) for value in values):
        return np.array(values, dtype=str)
    why = no_classes(values)
    if why:
        raise AnewError(f"{file}: column '{column}': labels {why}")
    if any(isinstance(value, float) for value in values):
        raise AnewError(
            f"{file}: column '{column}' holds numbers with fractions, or none in some rows, and "
            f"must hold whole numbers of classes; drop rows without a label and cast it "
            f"(in pandas: frame['{column}'].astype('int64'))"
        )

    if any(not isinstance(value, int) or abs(value) >= 1 << 63 for value in values):
        raise AnewError(
            f"{file}: column '{column}' must hold whole numbers of classes, or their names, in "
            "every row; mend or drop the others"
        )
    numbers = np.array(values, np.int64)
    if 0 < int((numbers < 0).sum()) < len(numbers):
        raise AnewError(
            f"{file}: column '{column}': label {int(numbers.min())} is negative; labels start "
            "at 0: drop the rows without a label"
        )
    return numbers


def _features(schema: Any) -> dict[str, Any]:
    """Return the features in the schema's `huggingface` metadata; none without."""
    written = (schema.metadata or {}).get(b"huggingface")
    if not written:
        return {}
    try:
        found = parse_json(written.decode())["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _class_names(file: Path, features: Mapping[str, Any], label: str) -> tuple[str, ...] | None:
    """Return the class names of the labels' feature, or None."""
    feature = features.get(label)
    names = cast("dict[str, Any]", feature).get("names") if isinstance(feature, dict) else None
    if names is not None and not isinstance(names, list):
        raise AnewError(f"{file}: its class names are no list; write them as `datasets` does")
    return tuple(map(str, cast("list[Any]", names))) if names else None
