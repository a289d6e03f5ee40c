"""Pictures and labels in Parquet files, as the `datasets` library writes them.

The columns are `image` (bytes) and `label`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import torch

from anew.core import memory
from anew.core.errors import AnewError, in_one_line
from anew.core.files import check_regular
from anew.core.parsing import parse_json
from anew.data.encoded import stamp_of
from anew.data.sources.arrays import check_labels
from anew.data.sources.encoded_source import Labelled, source_of
from anew.data.sources.source import Reading, Source

IMAGE = ("image", "img")
LABEL = ("label", "fine_label")


def read_parquet(reading: Reading) -> Source:
    """Read train*.parquet and test*.parquet.

    Raises `AnewError` if no training file is at `place`, or if a file or a picture cannot be read.
    """
    name, place = reading.name, reading.place
    training = sorted(place.glob("train*.parquet"))
    if not training:
        raise AnewError(f"data '{name}': there is no train*.parquet in {place}; check the path")
    tests = sorted(place.glob("test*.parquet"))
    train = _read_split(name, training)
    test = _read_split(name, tests) if tests else None

    classes = train.classes
    if test is not None and test.classes and test.classes != classes:
        raise AnewError(
            f"data '{name}': the class names in test*.parquet are not those in train*.parquet; "
            "number the classes alike"
        )
    for split in (train, test) if test is not None else (train,):
        check_labels(torch.tensor(split.labels), name, len(classes) if classes else None)
    encoded = ParquetRows([*train.groups, *(test.groups if test is not None else ())])
    test_labels = test.labels if test is not None else None
    return source_of(Labelled(encoded, train.labels, test_labels, classes), reading)


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
    labels: list[int]
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
        raise AnewError(f"{group.file}: announces {group.rows:,} rows and holds others; mend it")
    return column


def _read_split(name: str, files: Sequence[Path]) -> _Split:
    """Return the row groups, labels and class names; names are None without metadata."""
    groups: list[RowGroup] = []
    labels: list[int] = []
    classes: tuple[str, ...] | None = None
    for file in files:
        check_regular(file)
        with _parquet(str(file), name) as parquet:
            opened = parquet.ParquetFile(file)
            schema = opened.schema_arrow
            image, label = (_column(file, schema, names) for names in (IMAGE, LABEL))
            classes = classes or _class_names(file, schema, label)
            memory.demand(f"{file}", 8 * opened.metadata.num_rows, "give a smaller file")

            first = 0
            for number in range(opened.num_row_groups):
                rows = opened.metadata.row_group(number).num_rows
                groups.append(RowGroup(str(file), image, number, first, rows))
                first += rows

            if opened.metadata.num_rows:
                column = opened.read(columns=[label], use_threads=False).column(label)
                labels += _whole_numbers(file, label, column.to_pylist())
        if len(labels) != sum(group.rows for group in groups):
            raise AnewError(f"{file}: announces {first:,} rows and holds others; mend it")
    if not labels:
        raise AnewError(f"data '{name}': {files[0]} has no rows; fetch it again")
    return _Split([group for group in groups if group.rows], labels, classes)


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
        raise AnewError(
            f"{whose}{file} cannot be read as Parquet ({in_one_line(error)}); fetch it again"
        ) from error


def _content(place: str, column: str, value: Any) -> bytes:
    """Return the bytes of a picture from a cell: the bytes, or a dictionary with them."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise AnewError(
            f"{place}: column '{column}' holds no bytes of a picture; write them into it"
        )
    return content


def _column(file: Path, schema: Any, names: Sequence[str]) -> str:
    for name in names:
        if schema.names.count(name) > 1:
            raise AnewError(f"{file}: has the column '{name}' twice; drop or rename one")
        if name in schema.names:
            return name
    raise AnewError(
        f"{file}: has no column '{names[0]}' (its columns: {', '.join(schema.names)}); rename it"
    )


def _whole_numbers(file: Path, column: str, values: list[Any]) -> list[int]:
    if any(not isinstance(value, int) or abs(value) >= 1 << 63 for value in values):
        raise AnewError(
            f"{file}: column '{column}' must hold whole numbers of classes in every row; mend or "
            "drop the others"
        )
    return values


def _class_names(file: Path, schema: Any, label: str) -> tuple[str, ...] | None:
    """Return the class names in the schema's `huggingface` metadata, or None."""
    written = (schema.metadata or {}).get(b"huggingface")
    if not written:
        return None
    try:
        names = parse_json(written.decode())["info"]["features"][label]["names"]
    except (ValueError, KeyError, TypeError):
        return None
    if names is not None and not isinstance(names, list):
        raise AnewError(f"{file}: its class names are no list; write them as `datasets` does")
    return tuple(map(str, cast("list[Any]", names))) if names else None
