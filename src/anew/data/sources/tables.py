"""Tables of labels beside picture files: which there are, and what their columns mean."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from anew.core.errors import AnewError
from anew.core.text import counted
from anew.data.kept import some_of
from anew.data.sources.class_names import class_key, is_called_class_names, names_beside
from anew.data.sources.labels import no_classes
from anew.data.sources.layout_names import (
    FILES,
    LABELS,
    SPLIT_COLUMNS,
    SplitName,
    column_called,
    flag_called,
    is_of_system,
    split_called,
    split_in,
)
from anew.data.sources.source import Reading
from anew.data.sources.table_files import SUFFIXES, Table, read_table

_ALL = re.compile(r"(labels?|meta_?data|annotations?|classes|data(set)?|index|images?)$")
# What tools write where there is no label. "None" and "NA" may be classes.
_NOTHING = ("", "nan", "<na>", "null")
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")
_SEVERAL = ("|", ";", ",")
_SAMPLE = re.compile(r"sample|submission")
Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Rows:
    """What tables of labels say."""

    labels: dict[SplitName, Pairs]
    """The path and the class's name of each picture, by split."""
    classes: tuple[str, ...]
    """The classes as the tables write them."""
    names: tuple[str, ...]
    """Their names: those of another file beside the pictures, or as the tables write them."""
    notes: list[str]


@dataclass(frozen=True)
class _Meaning:
    """The numbers of a table's columns."""

    file: int
    label: int
    split: int | None = None
    """The column with the names of splits."""
    flags: tuple[tuple[SplitName, int], ...] = ()
    """Columns such as `is_valid`, that say of a split which rows are its."""


def read_tables(reading: Reading, pictures: Sequence[str]) -> Rows | None:
    """Return what the tables in a folder of pictures, and in its folders, say; None without any.

    `pictures` are the paths of all pictures there. Raises `AnewError` if the columns cannot be
    told, if a row names a picture that is not there, or if a picture has two classes.
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

    # JSON beside pictures may say anything: it is no other table.
    plain = [file for file in found if file.suffix.lower() != ".json"]
    only = found[0] if len(found) == 1 else plain[0] if len(plain) == 1 else None
    tables = _Tables(reading, _Files(place, pictures), folders)
    # What is called like names of classes is looked at last: it may be a table of pictures too.
    for file in sorted(found, key=is_called_class_names):
        if tables.labels and is_called_class_names(file):
            tables.ignore(file, "there are other tables of pictures")
        else:
            tables.add(file, is_only=file == only)
    if not tables.labels.get("train"):
        return None
    return tables.rows(len(pictures))


def read_split_tables(
    place: Path, split: SplitName, pictures: Sequence[str], part: Path, classes: Sequence[str]
) -> tuple[Pairs, list[str]]:
    """Return the picture and the class of each row of a table for the pictures in a split's folder.

    The table lies in that folder `part`, or beside it with the split's name, as `test.csv`. Its
    labels are `classes`; the training pictures lie in folders of those. Returns what is to be said
    as well; no pairs if there is no such table.
    """
    deeper = sorted({Path(path).parent for path in pictures} - {part})
    folders = [part, *deeper] if len(deeper) == 1 else [part]
    inside = [file for folder in folders for file in sorted(folder.iterdir()) if file.is_file()]
    beside = [file for file in sorted(place.iterdir()) if split_called(file.stem) == split]
    files = _Files(part, pictures)
    known = {class_key(name): name for name in classes}
    notes: list[str] = []

    for file in dict.fromkeys((*inside, *beside)):
        is_table = file.suffix.lower() in SUFFIXES and not is_of_system(file.name)
        if not is_table or file.is_dir() or _SAMPLE.search(file.stem.lower()):
            continue
        try:
            table = read_table(file, lambda cell, file=file: bool(files.find(cell, file, None)))
        except AnewError as error:
            # Any text may lie beside pictures; a table with the split's name was meant.
            if split_called(file.stem) == split:
                notes.append(f"not used: {error}")
            continue
        pairs = _known_pairs(table, files, known)
        if len({label for _, label in pairs}) == 1 < len(pairs):
            notes.append(f"{file.name} is not used: all its labels are '{pairs[0][1]}'")
            continue
        if pairs:
            rest = len(pictures) - len(dict(pairs))
            left = f"; {counted(rest, 'picture')} not in it" if rest else ""
            return list(dict(pairs).items()), [
                f"labels of {part.name}/ come from {file.name}{left}"
            ]
    return [], notes


def _known_pairs(table: Table, files: _Files, known: Mapping[str, str]) -> Pairs:
    """Return the picture and the class of a table's rows; none if it does not tell them all."""
    columns = {name: table.column(name) for name in table.columns}
    named: dict[str, list[str]] = {}
    for name, cells in columns.items():
        found = [files.find(cell, table.path, None) if cell else [] for cell in cells]
        if cells and all(len(one) == 1 for one in found):
            named[name] = [one[0] for one in found]
    if not named:
        return []

    # A column of other numbers may name pictures by chance, but not so many.
    file = max(named, key=lambda name: len(set(named[name])))
    del columns[file]
    usual = column_called(list(columns), LABELS)
    fitting = [
        name for name, cells in columns.items() if all(class_key(cell) in known for cell in cells)
    ]
    if usual in fitting:
        fitting = [usual]
    if len(fitting) != 1:
        return []
    labels = [known[class_key(cell)] for cell in columns[fitting[0]]]
    return list(zip(named[file], labels, strict=True))


class _Tables:
    """Tables as they are read one after the other, and what is to be said of them."""

    def __init__(self, reading: Reading, files: _Files, folders: Sequence[Path]) -> None:
        self._reading, self._files, self._folders = reading, files, folders
        self._used: list[Path] = []
        self._notes: list[str] = []
        self._ignored: dict[Path, str] = {}
        self.labels: dict[SplitName, Pairs] = {}

    def add(self, file: Path, *, is_only: bool) -> None:
        """Read a table and take its rows, unless it is no table of labels."""
        split = split_called(file.stem) or (
            split_called(file.parent.name) if file.parent != self._reading.place else None
        )
        is_all = bool(_ALL.search(file.stem.lower())) or is_only
        if file.suffix.lower() in (".txt", ".json") and not (is_all or split):
            # Any text may lie beside pictures.
            return
        if split is None and not is_all:
            self._ignored[file] = "its name is none of labels.csv, train.csv, metadata.csv, ..."
            return

        try:
            table = read_table(file, lambda cell: bool(self._files.find(cell, file, None)))
        except AnewError:
            if file.suffix.lower() != ".txt" or split is not None:
                raise
            self._ignored[file] = "it lists no pictures first"
            return
        if file.suffix.lower() == ".txt" and not self._is_list(table):
            self._ignored[file] = "it lists no pictures first"
            return
        may_be_other = file.suffix.lower() == ".json" or (split is None and not is_only)
        if may_be_other and not any(
            self._files.find(cell.strip(), file, None)
            for row in table.rows
            for cell in row
            if cell.strip()
        ):
            self._ignored[file] = "it names no picture here"
            return
        table = self._with_classes_of_flags(table)
        meaning = self._meaning(table, split)
        if meaning is None:
            self._notes.append(f"the table {file.name} is not used: it has no column of labels")
            return
        self._used.append(file)
        for one, pairs in self._pairs(table, meaning, split).items():
            self.labels.setdefault(one, []).extend(pairs)

    def ignore(self, file: Path, why: str) -> None:
        """Leave a file out; that is said unless it turns out to hold the names of the classes."""
        self._ignored[file] = why

    def _is_list(self, table: Table) -> bool:
        """Return whether a text is a list of pictures with their classes, a picture first."""
        first = [row[0].strip() for row in table.rows]
        is_named = [len(self._files.find(cell, table.path, None)) == 1 for cell in first]
        return len(table.columns) > 1 and sum(is_named) > len(first) / 2

    def rows(self, pictures: int) -> Rows:
        """Return what all tables say together of so many pictures."""
        self._drop_repeated()
        self._name_whole_numbers()
        names = {label for _, label in self.labels["train"]}
        numbers = [_number(label) for label in names]
        if all(number is not None for number in numbers) and no_classes(numbers):
            raise AnewError(f"{self._used[0]}: labels {no_classes(numbers)}")
        self._check_several_classes(names)

        is_numbered = all(name.isascii() and name.isdigit() for name in names)
        classes = sorted(names, key=int) if is_numbered else sorted(names)
        used = {path for pairs in self.labels.values() for path, _ in pairs}
        counts = ", ".join(f"{len(pairs):,} {split}" for split, pairs in self.labels.items())
        files = some_of([file.name for file in self._used])
        named = names_beside(self._folders, classes, self._used)
        notes = [f"labels come from {files}: {counts}", *named.notes, *self._notes]
        notes += [
            f"the table {file.name} is ignored: {why}"
            for file, why in self._ignored.items()
            if file != named.file
        ]
        left = pictures - len(used)
        if left:
            notes.append(f"ignored: {counted(left, 'picture')} not in any table")
        return Rows(self.labels, tuple(classes), named.names or tuple(classes), notes)

    def _drop_repeated(self) -> None:
        """Keep one row for each picture of a split. Raises `AnewError` if two classes are named."""
        classes: dict[str, str] = {}
        repeated, shared = 0, 0
        for split, pairs in self.labels.items():
            kept: dict[str, str] = {}
            for path, label in pairs:
                if classes.get(path, label) != label:
                    raise AnewError(
                        f"{some_of([str(file) for file in self._used])}: {path} has the classes "
                        f"'{classes[path]}' and '{label}'; leave one of the rows"
                    )
                shared += path in classes and path not in kept
                repeated += path in kept
                kept[path] = classes[path] = label
            self.labels[split] = list(kept.items())

        if repeated:
            self._notes.append(f"{counted(repeated, 'row')} that repeat another are skipped")
        if shared:
            self._notes.append(
                f"{counted(shared, 'picture')} are in several splits by the tables: an error "
                "rate on them says nothing about new pictures"
            )

    def _name_whole_numbers(self) -> None:
        """Write 1.0 as 1 if all labels are whole numbers: a column with gaps turns into those."""
        labels = {label for pairs in self.labels.values() for _, label in pairs}
        if not all(re.fullmatch(r"\d+(\.0+)?", label) for label in labels):
            return
        for split, pairs in self.labels.items():
            self.labels[split] = [(path, label.partition(".")[0]) for path, label in pairs]

    def _check_several_classes(self, names: set[str]) -> None:
        """Raise `AnewError` if labels such as `cat|dog` are made of other labels."""
        for between in _SEVERAL:
            made = [
                name
                for name in sorted(names)
                if between in name and {part.strip() for part in name.split(between)} <= names
            ]
            if made:
                raise AnewError(
                    f"{self._used[0]}: labels such as '{made[0]}' {no_classes([[0, 1, 1]])}"
                )

        made = [name for name in sorted(names) if " " in name and set(name.split()) <= names]
        if made:
            self._notes.append(
                f"labels such as '{made[0]}' are made of others: each is a class of its own"
            )

    def _with_classes_of_flags(self, table: Table) -> Table:
        """Return a table with a column of classes if it has a column of 0 and 1 for each."""
        spec = self._reading.spec
        names = [name for name in table.columns if name != spec.image_column]
        file = spec.image_column or column_called(names, FILES)
        rest = [name for name in names if name != file and flag_called(name) is None]
        if spec.label_column or column_called(rest, LABELS) or not table.rows:
            return table
        flags = [name for name in rest if {*table.column(name)} <= {*_YES[:2], *_NO[:2]}]
        cells = [
            [cell in _YES for cell in row] for row in zip(*map(table.column, flags), strict=True)
        ]
        if len(flags) < 2 or any(sum(row) != 1 for row in cells):
            return table

        self._notes.append(f"{table.path.name} has a column of 0 and 1 for each class")
        rows = [
            [*row, flags[cell.index(True)]] for row, cell in zip(table.rows, cells, strict=True)
        ]
        return replace(table, columns=[*table.columns, "label"], rows=rows)

    def _meaning(self, table: Table, split: SplitName | None) -> _Meaning | None:
        """Return the numbers of the columns of files, of labels, and of splits if there are any.

        None if a test table has no labels, which is usual.
        """
        columns, spec = table.columns, self._reading.spec
        for asked, flag in ((spec.image_column, "image"), (spec.label_column, "label")):
            if asked and asked not in columns and split in (None, "train"):
                raise AnewError(
                    f"{table.path}: has no column '{asked}' (its columns: {', '.join(columns)}); "
                    f"set --data.{flag}-column"
                )

        file = spec.image_column or column_called(columns, FILES)
        label = spec.label_column or column_called(
            [column for column in columns if column != file], LABELS
        )
        part, flags = self._splits(table, (file, label))
        rest = [name for name in columns if name not in (file, label, part, *flags)]
        if file is None and columns and not table.has_header:
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
                f"{table.path}: of its columns ({', '.join(columns)}) none has a usual name for "
                f"the {missing}; name it with --data.{flag}-column"
            )
        return _Meaning(
            columns.index(file),
            columns.index(label),
            columns.index(part) if part else None,
            tuple((split, columns.index(name)) for name, split in flags.items()),
        )

    def _splits(
        self, table: Table, taken: Sequence[str | None]
    ) -> tuple[str | None, dict[str, SplitName]]:
        """Return the column of splits, and those that say yes or no of one split."""
        columns = [name for name in table.columns if name not in taken]
        part = column_called(columns, SPLIT_COLUMNS)
        if part is not None and not any(map(split_called, set(table.column(part)))):
            values = some_of(sorted(set(table.column(part))), 3)
            self._notes.append(f"column '{part}' names no splits ({values}) and is not used")
            part = None
        if part is None:
            part = _column_of_splits(table, columns)
            if part is not None:
                self._notes.append(f"column '{part}' says which rows are of which set")

        flags: dict[str, SplitName] = {}
        for name in columns:
            split = flag_called(name)
            if split and {cell.lower() for cell in table.column(name)} <= {*_YES, *_NO}:
                flags[name] = split
        return part, flags

    def _pairs(
        self, table: Table, meaning: _Meaning, split: SplitName | None
    ) -> dict[SplitName, Pairs]:
        """Return the picture and the class of each row, by split."""
        found: dict[SplitName, Pairs] = {}
        missing: list[str] = []
        for row in table.rows:
            name, value = row[meaning.file].strip(), row[meaning.label].strip()
            if value.lower() in _NOTHING:
                raise AnewError(
                    f"{table.path}: '{name}' has no label; give it one, or drop its row"
                )
            mine = _split_of(table, row, meaning) or split or "train"
            paths = self._files.find(name, table.path, mine)
            if len(paths) > 1:
                raise AnewError(
                    f"{table.path}: '{name}' may be {paths[0]} or {paths[1]}; write the folder too"
                )
            if paths:
                found.setdefault(mine, []).append((paths[0], value))
            else:
                missing.append(name)

        if missing:
            are_not = (
                f"{len(missing):,} of {len(table.rows):,} pictures are not there: "
                f"{some_of(missing)}"
            )
            if not self._reading.spec.skip_damaged or not found:
                raise AnewError(f"{table.path}: {are_not}; correct the names, or drop the rows")
            self._notes.append(f"{table.path.name}: {are_not}; they are skipped")
        return found


def _split_of(table: Table, row: Sequence[str], meaning: _Meaning) -> SplitName | None:
    """Return the split that a row's own columns say, None if they say none."""
    if meaning.split is not None:
        called = _split_of_cell(row[meaning.split])
        if called is None:
            raise AnewError(
                f"{table.path}: '{row[meaning.split]}' in column "
                f"'{table.columns[meaning.split]}' is no split; write train, validation or test"
            )
        return called

    if not meaning.flags:
        return None
    for split, number in meaning.flags:
        if row[number].strip().lower() in _YES:
            return split
    # Which row is no training example is held out; if that is not said, the others are training.
    named = {split for split, _ in meaning.flags}
    if "train" not in named:
        return "train"
    return "validation" if "test" in named else "test"


def _column_of_splits(table: Table, columns: Sequence[str]) -> str | None:
    """Return the only column whose cells all name splits, for training and another one."""
    found: list[str] = []
    for name in columns:
        splits = {_split_of_cell(cell) for cell in set(table.column(name))}
        if len(splits) > 1 and None not in splits and "train" in splits:
            found.append(name)
    return found[0] if len(found) == 1 else None


def _split_of_cell(cell: str) -> SplitName | None:
    """Return the split that a cell names: `train`, `TEST`, `PublicTest`."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", cell)
    return split_called(cell) or split_in(words)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _check_several(table: Table, rest: Sequence[str]) -> None:
    """Raise `AnewError` if a table has no labels, but several columns of 0 and 1."""
    flags = [name for name in rest if {*table.column(name)} <= {*_YES[:2], *_NO[:2]}]
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
        self._numbers: dict[int, list[str]] = {}
        for path in self._paths:
            if path.stem.isascii() and path.stem.isdigit():
                self._numbers.setdefault(int(path.stem), []).append(os.fspath(path))
            for name in {path.name, path.stem}:
                self._names.setdefault(name, []).append(os.fspath(path))

    def find(self, name: str, table: Path, split: SplitName | None) -> list[str]:
        """Return the pictures that a row may mean: one, if the table is sound."""
        name = name.replace("\\", "/") if "\\" in name else name
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
        if not found and name.isascii() and name.isdigit():
            # Spreadsheets drop the zeros before a number: 7 is 00007.png.
            return self._numbers.get(int(name), [])
        return found

    def _split(self, path: str) -> SplitName | None:
        return split_called(PurePath(path).relative_to(self._place).parts[0])
