"""Files of tables beside pictures: CSV, TSV, JSON, and lists of a path and a class a line."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from anew.core.errors import AnewError
from anew.core.files import check_regular
from anew.core.parsing import parse_json

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".txt")
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Table:
    """A table as its file has it; without a header its columns are `column 1`, `column 2`, ..."""

    path: Path
    columns: list[str]
    rows: list[list[str]]

    @property
    def has_header(self) -> bool:
        """Whether the file names its columns."""
        return not self.columns[0].startswith("column ")

    def column(self, name: str) -> list[str]:
        """Return the cells of a column, without the spaces around them."""
        number = self.columns.index(name)
        return [row[number].strip() for row in self.rows]


def read_table(file: Path, names_picture: Callable[[str], bool]) -> Table:
    """Read a table. `names_picture` says whether a cell names a picture, as no header does.

    Raises `AnewError` if it cannot be read, is empty, or has rows of several lengths.
    """
    check_regular(file)
    try:
        text = text_of(file.read_bytes())
        if file.suffix.lower() == ".jsonl":
            return _of_records(
                file, [parse_json(line) for line in text.splitlines() if line.strip()]
            )
        if file.suffix.lower() == ".json":
            return _of_json(file, text, names_picture)
        rows = _rows(text, names_picture)
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        raise AnewError(f"{file}: cannot be read as a table ({error}); save it in UTF-8") from error
    if not rows:
        raise AnewError(f"{file}: is empty; give a header and a row for each picture")

    header, *rest = rows
    # Without a header the first row names a picture already.
    if any(names_picture(cell) for cell in header if cell):
        header, rest = [f"column {number}" for number in range(1, len(header) + 1)], rows
    uneven = [number for number, row in enumerate(rest, 2) if len(row) != len(header)]
    if uneven:
        raise AnewError(
            f"{file}: line {uneven[0]} does not have the header's {len(header)} cells; correct it"
        )
    return Table(file, header, rest)


def text_of(content: bytes) -> str:
    """Return a file's text: UTF-8, or UTF-16 as spreadsheets save it, with its mark."""
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_wide else "utf-8-sig")


def _rows(text: str, names_picture: Callable[[str], bool]) -> list[list[str]]:
    lines = text.splitlines()
    start = next((line for line in lines if line.strip()), "")
    delimiter = max(_DELIMITERS, key=start.count)
    # A list such as `images/a b.png 3`: a path may hold spaces, the class behind it may not.
    if delimiter not in start and names_picture(start.strip().rsplit(None, 1)[0]):
        return [line.strip().rsplit(None, 1) for line in lines if line.strip()]
    return [row for row in csv.reader(lines, delimiter=delimiter) if any(row)]


def _of_json(file: Path, text: str, names_picture: Callable[[str], bool]) -> Table:
    """Return a table of JSON: a list of records, or a mapping from a picture to its class.

    Any other JSON, also a damaged one, is a table without rows: what lies beside pictures may say
    anything.
    """
    columns = ["column 1", "column 2"]
    try:
        value = parse_json(text)
    except ValueError:
        return Table(file, columns, [])

    if isinstance(value, list) and all(
        isinstance(one, dict) for one in cast("list[object]", value)
    ):
        return _of_records(file, cast("list[object]", value))
    if not isinstance(value, dict):
        return Table(file, columns, [])

    mapping = cast("Mapping[str, object]", value)
    is_plain = all(isinstance(one, str | int) for one in mapping.values())
    if not is_plain or not any(map(names_picture, mapping)):
        return Table(file, columns, [])
    return Table(file, columns, [[name, _text(one)] for name, one in mapping.items()])


def _of_records(file: Path, values: Sequence[object]) -> Table:
    records: list[Mapping[str, object]] = []
    for record in values:
        if record is None:
            continue
        if not isinstance(record, dict):
            raise ValueError("a line is no object")
        records.append(cast("Mapping[str, object]", record))
    columns = list(dict.fromkeys(name for record in records for name in record)) or ["column 1"]
    rows = [[_text(record.get(name)) for name in columns] for record in records]
    return Table(file, columns, rows)


def _text(value: object) -> str:
    return "" if value is None else str(value)
