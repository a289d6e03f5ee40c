"""Tables of labels beside picture files: CSV, TSV and JSON lines."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import cast

from anew.core.errors import AnewError
from anew.core.files import check_regular
from anew.core.parsing import parse_json
from anew.core.text import counted
from anew.data.kept import some_of
from anew.data.sources.labels import no_classes
from anew.data.sources.layout_names import (
    FILES,
    LABELS,
    SPLIT_COLUMNS,
    SplitName,
    column_called,
    is_of_system,
    split_called,
)
from anew.data.sources.source import Reading

SUFFIXES = (".csv", ".tsv", ".jsonl")
_ALL = re.compile(r"(labels?|meta_?data|annotations?|classes|data(set)?|index|images?)$")
Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Rows:
    """What tables of labels say."""

    labels: dict[SplitName, Pairs]
    """The path and the class's name of each picture, by split."""
    classes: tuple[str, ...]
    notes: list[str]


@dataclass(frozen=True)
class _Table:
    path: Path
    columns: list[str]
    rows: list[list[str]]


def read_tables(reading: Reading, pictures: Sequence[str]) -> Rows | None:
    """Return what the tables in a folder of pictures, and in its folders, say; None without any.

    `pictures` are the paths of all pictures there. Raises `AnewError` if the columns cannot be
    told, or if a row names a picture that is not there.
    """
    place = reading.place
    inside = sorted(path for path in place.iterdir() if path.is_dir())
    folders = [place, *(path for path in inside if not is_of_system(path.name))]
    found = [
        file
        for folder in folders
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in SUFFIXES and not is_of_system(file.name) and not file.is_dir()
    ]
    if not found or not pictures:
        return None

    files = _Files(place, pictures)
    labels: dict[SplitName, Pairs] = {}
    notes: list[str] = []
    for file in found:
        split = split_called(file.stem) or (
            split_called(file.parent.name) if file.parent != place else None
        )
        is_all = bool(_ALL.search(file.stem.lower())) or len(found) == 1
        if split is None and not is_all:
            notes.append(
                f"the table {file.name} is passed over: its name is none of labels.csv, "
                "train.csv, metadata.csv, ..."
            )
            continue
        table = _read(file, files)
        columns = _columns(reading, table, split)
        if columns is None:
            notes.append(f"the table {file.name} is not used: it has no column of labels")
            continue
        for one, pairs in _pairs(table, columns, split, files).items():
            labels.setdefault(one, []).extend(pairs)

    if not labels.get("train"):
        return None
    return _rows(labels, notes, pictures, found)


def _rows(
    labels: dict[SplitName, Pairs], notes: list[str], pictures: Sequence[str], found: list[Path]
) -> Rows:
    names = {label for _, label in labels["train"]}
    numbers = [_number(label) for label in names]
    if all(number is not None for number in numbers) and no_classes(numbers):
        raise AnewError(f"{found[0]}: labels {no_classes(numbers)}")
    is_numbered = all(name.isascii() and name.isdigit() for name in names)
    classes = sorted(names, key=int) if is_numbered else sorted(names)
    used = {path for pairs in labels.values() for path, _ in pairs}
    counts = ", ".join(f"{len(pairs):,} {split}" for split, pairs in labels.items())
    notes.insert(0, f"labels come from {some_of([file.name for file in found])}: {counts}")
    left = len(pictures) - len(used)
    if left:
        notes.append(f"passed over: {counted(left, 'picture')} that no table names")
    return Rows(labels, tuple(classes), notes)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _check_several(table: _Table, rest: Sequence[str]) -> None:
    """Raise `AnewError` if a table has no labels, but several columns of 0 and 1."""
    flags = [
        name
        for name in rest
        if {row[table.columns.index(name)].strip() for row in table.rows} <= {"0", "1"}
    ]
    if len(flags) > 1:
        rows = [[float(row[table.columns.index(name)]) for name in flags] for row in table.rows]
        raise AnewError(
            f"{table.path}: its columns {some_of(flags)} are labels that {no_classes(rows)}"
        )


class _Files:
    """Picture files by what a table may call them."""

    def __init__(self, place: Path, pictures: Sequence[str]) -> None:
        self._place = place
        self._paths = {Path(path): path for path in pictures}
        self._names: dict[str, list[str]] = {}
        for path in self._paths:
            for name in {path.name, path.stem}:
                self._names.setdefault(name, []).append(os.fspath(path))

    def find(self, name: str, table: Path, split: SplitName | None) -> list[str]:
        """Return the pictures that a row may mean: one, if the table is sound."""
        for base in (table.parent, self._place):
            path = base / name
            if path in self._paths:
                return [self._paths[path]]
        found = self._names.get(PurePath(name).name, [])
        if len(found) > 1:
            found = [path for path in found if path.endswith(os.sep + name)] or found
        if len(found) > 1 and split is not None:
            # The same name in train/ and in test/ is that of the table's split.
            mine = [path for path in found if self._split(path) == split]
            found = mine or found
        return found

    def _split(self, path: str) -> SplitName | None:
        return split_called(PurePath(path).relative_to(self._place).parts[0])


def _read(file: Path, files: _Files) -> _Table:
    check_regular(file)
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() == ".jsonl":
            return _of_json_lines(file, text)
        start = text[:4096].splitlines()[0] if text else ""
        delimiter = max((",", ";", "\t"), key=start.count)
        rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if any(row)]
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        raise AnewError(f"{file}: cannot be read as a table ({error}); save it in UTF-8") from error
    if not rows:
        raise AnewError(f"{file}: is empty; give a header and a row for each picture")

    header, *rest = rows
    # Without a header the first row names a picture already.
    if any(files.find(cell, file, None) for cell in header if cell):
        header, rest = [f"column {number}" for number in range(1, len(header) + 1)], rows
    uneven = [number for number, row in enumerate(rest, 2) if len(row) != len(header)]
    if uneven:
        raise AnewError(
            f"{file}: line {uneven[0]} has not {len(header)} cells as the header has; mend it"
        )
    return _Table(file, header, rest)


def _of_json_lines(file: Path, text: str) -> _Table:
    records: list[Mapping[str, object]] = []
    for line in text.splitlines():
        record = parse_json(line) if line.strip() else None
        if record is None:
            continue
        if not isinstance(record, dict):
            raise ValueError("a line is no object")
        records.append(cast("Mapping[str, object]", record))
    columns = list(dict.fromkeys(name for record in records for name in record))
    rows = [[_text(record.get(name)) for name in columns] for record in records]
    return _Table(file, columns, rows)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _columns(
    reading: Reading, table: _Table, split: SplitName | None
) -> tuple[int, int, int | None] | None:
    """Return the numbers of the columns of files, of labels, and of splits if there is one.

    None if a test table has no labels, which is usual.
    """
    columns = table.columns
    for asked, flag in (
        (reading.spec.image_column, "image"),
        (reading.spec.label_column, "label"),
    ):
        if asked and asked not in columns and split in (None, "train"):
            raise AnewError(
                f"{table.path}: has no column '{asked}' (its columns: {', '.join(columns)}); set "
                f"--data.{flag}-column"
            )

    file = reading.spec.image_column or column_called(columns, FILES)
    label = reading.spec.label_column or column_called(
        [column for column in columns if column != file], LABELS
    )
    part = column_called(columns, SPLIT_COLUMNS)
    rest = [column for column in columns if column not in (file, label, part)]
    if file is None and columns and columns[0].startswith("column "):
        file, rest = columns[0], columns[1:]
    if label is None and len(rest) == 1:
        label = rest[0]
    if label not in columns and split in ("test", "validation"):
        return None
    if label not in columns and table.rows:
        _check_several(table, rest)
    if file not in columns or label not in columns:
        missing, flag = ("files", "image") if file not in columns else ("labels", "label")
        raise AnewError(
            f"{table.path}: of its columns ({', '.join(columns)}) none is known to hold the "
            f"{missing}; name it with --data.{flag}-column"
        )
    return columns.index(file), columns.index(label), columns.index(part) if part else None


def _pairs(
    table: _Table, columns: tuple[int, int, int | None], split: SplitName | None, files: _Files
) -> dict[SplitName, Pairs]:
    """Return the picture and the class of each row, by split."""
    file, label, part = columns
    found: dict[SplitName, Pairs] = {}
    missing: list[str] = []
    for row in table.rows:
        name, value = row[file].strip(), row[label].strip()
        if not value:
            raise AnewError(f"{table.path}: '{name}' has no label; give it one, or drop its row")
        mine = split or "train"
        if part is not None:
            called = split_called(row[part])
            if called is None:
                raise AnewError(
                    f"{table.path}: '{row[part]}' in column '{table.columns[part]}' is no split; "
                    "write train, validation or test"
                )
            mine = called

        paths = files.find(name, table.path, mine)
        if len(paths) > 1:
            raise AnewError(
                f"{table.path}: '{name}' may be {paths[0]} or {paths[1]}; write the folder too"
            )
        if paths:
            found.setdefault(mine, []).append((paths[0], value))
        else:
            missing.append(name)
    if missing:
        raise AnewError(
            f"{table.path}: {len(missing):,} of {len(table.rows):,} pictures are not there: "
            f"{some_of(missing)}; mend the names, or drop the rows"
        )
    return found
