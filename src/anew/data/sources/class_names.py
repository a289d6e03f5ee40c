"""Names of classes in a file beside the data, such as `classes.txt` or `synset_words.txt`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from anew.core.errors import AnewError
from anew.core.files import check_regular
from anew.core.parsing import parse_json
from anew.data.kept import some_of
from anew.data.sources.labels import Labels
from anew.data.sources.layout_names import column_called, is_of_system
from anew.data.sources.table_files import text_of

SUFFIXES = (".txt", ".csv", ".tsv", ".json", ".names")
MOST_BYTES = 16_000_000
"""A larger file holds something else. WordNet's list of all nouns has 2.7 million bytes."""
# Files that hold nothing but names: where they are not used, that is said.
_SURE = re.compile(
    r"class(es)?|(class|label|category|synset)_?(names?|list|map(ping)?|words|index|indices)|"
    r"classnames|categories|names|synsets?|(id|idx|index)_?(2|to)_?(label|name|class)|"
    r"(class|label|cat)_?(2|to)_?(idx|index|id|name)|label_num_to_\w+|obj"
)
# Files that hold names in some data sets, and other things in others.
_PERHAPS = re.compile(r"labels?|words|.*_synset_mapping|imagenet_class\w*|\w*class_?names|.*meta")
_NAME_COLUMNS = (
    "name",
    "class_name",
    "classname",
    "label_name",
    "sign_name",
    "signname",
    "category_name",
    "category",
    "species",
    "class",
    "label",
    "english",
    "description",
)
_LISTS = ("names", "classes", "class_names", "label_names", "labels", "id2label", "categories")
_NUMBER_KEYS, _NAME_KEYS = ("id", "index", "label", "class_id"), ("name", "class", "label_name")
Pairs = dict[str, str]
"""Names by the number or the code of their class."""


@dataclass(frozen=True)
class NamesFound:
    """What the files beside the data say of the classes' names."""

    names: tuple[str, ...] | None = None
    """A name for each class, in their order; None if no file gives them."""
    file: Path | None = None
    """The file that they come from."""
    notes: list[str] = field(default_factory=list[str])


def names_beside(
    folders: Sequence[Path], classes: Sequence[str], tables: Sequence[Path] = ()
) -> NamesFound:
    """Return names for classes that have numbers or codes, from a file in one of the folders.

    A file has a name for each number or code, or is a list of as many names as there are classes,
    which have the numbers from 0 or from 1. Classes whose names hold no digit have names already.
    Files of which several say different things are not used, nor are `tables`, which say which
    picture is of which class.
    """
    if not all(re.search(r"\d", one) for one in classes):
        return NamesFound()

    found: dict[Path, tuple[str, ...]] = {}
    notes: list[str] = []
    for path in _files(folders):
        if path in tables:
            continue
        content = _content(path)
        is_sure = is_called_class_names(path)
        names = _names(content, classes, is_sure=is_sure)
        if isinstance(names, tuple):
            if names != tuple(classes):
                found[path] = names
        elif is_sure and not _is_known(content, classes):
            notes.append(f"class names in {path.name} are not used: {names}")

    if len(set(found.values())) > 1:
        files = some_of([path.name for path in found])
        return NamesFound(notes=[f"class names in {files} are not used: the files disagree"])
    if not found:
        return NamesFound(notes=notes)
    path, names = next(iter(found.items()))
    return NamesFound(
        names, path, [f"class names come from {path.name}: {some_of(list(names), 3)}"]
    )


def names_of_numbers(
    folders: Iterable[Path], labels: Labels
) -> tuple[tuple[str, ...] | None, list[str]]:
    """Return the names of classes that have the numbers of labels, and what is to be said of them.

    None if no file in the folders gives a name for each number, from 0 to the largest label.
    """
    if not all(values.dtype.kind in "iu" and values.ndim == 1 for values in labels.values()):
        return None, []
    used = np.unique(labels["train"])
    if used.tolist() != list(range(len(used))):
        return None, []
    found = names_beside(list(folders), [str(number) for number in used.tolist()])
    return found.names, found.notes


def is_called_class_names(path: Path) -> bool:
    """Return whether a file has a name that says that it holds the names of classes."""
    return bool(_SURE.fullmatch(_plain(path)))


def _files(folders: Sequence[Path]) -> list[Path]:
    """Return the files in folders that may hold names of classes."""
    found: list[Path] = []
    for folder in dict.fromkeys(folders):
        try:
            inside = sorted(folder.iterdir())
        except OSError:
            # A file can be read in a folder that cannot be listed.
            continue

        found += [
            path
            for path in inside
            if path.suffix.lower() in SUFFIXES
            and not is_of_system(path.name)
            and (is_called_class_names(path) or _PERHAPS.fullmatch(_plain(path)))
            and path.is_file()
            and path.stat().st_size <= MOST_BYTES
        ]
    return found


def _plain(path: Path) -> str:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", path.stem)
    return re.sub(r"[-_. ]+", "_", words).lower()


def _content(path: Path) -> Pairs | list[str]:
    """Return what a file says: names by their class, or a list of names; empty if nothing."""
    try:
        check_regular(path)
        text = text_of(path.read_bytes())
        if path.suffix.lower() == ".json":
            return _of_json(parse_json(text))
        if path.suffix.lower() in (".csv", ".tsv"):
            return _of_table(text)
    except (AnewError, OSError, UnicodeDecodeError, ValueError, csv.Error):
        return []
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _of_lines(lines)


def _of_lines(lines: Sequence[str]) -> Pairs | list[str]:
    """Return names of lines such as `n01440764 tench`, `3: cat` or `cat 3`, or the lines."""
    split = [re.split(r"\s*[\t,;:]\s*|\s+", line, maxsplit=1) for line in lines]
    keys = [class_key(parts[0]) for parts in split]
    is_pairs = all(len(parts) == 2 and parts[1] and re.search(r"\d", parts[0]) for parts in split)
    if is_pairs and len(set(keys)) == len(keys):
        return {key: parts[1] for key, parts in zip(keys, split, strict=True)}

    numbered = [re.fullmatch(r"(.*[^\s,;:])[\s,;:]+(\d+)", line) for line in lines]
    found = {class_key(one[2]): one[1] for one in numbered if one}
    return found if len(found) == len(lines) else list(lines)


def _of_table(text: str) -> Pairs | list[str]:
    lines = [line for line in text.splitlines() if line.strip()]
    delimiter = max((",", ";", "\t", "|"), key=lines[0].count) if lines else ","
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    if len({len(row) for row in rows}) != 1:
        return []
    columns = len(rows[0])
    header = rows[0] if not re.search(r"\d", rows[0][0]) else None
    body = rows[1:] if header is not None else rows
    if columns == 1:
        return [row[0] for row in body]

    key = next(
        (
            number
            for number in range(columns)
            if all(re.search(r"\d", row[number]) for row in body)
            and len({row[number] for row in body}) == len(body)
        ),
        None,
    )
    others = [number for number in range(columns) if number != key]
    named = column_called([header[number] for number in others], _NAME_COLUMNS) if header else None
    name = others[0] if len(others) == 1 else header.index(named) if header and named else None
    if key is None or name is None:
        return []
    return {class_key(row[key]): row[name] for row in body}


def _of_json(value: Any) -> Pairs | list[str]:
    if isinstance(value, list):
        return _of_json_list(cast("list[Any]", value))
    if not isinstance(value, dict):
        return []

    mapping = cast("dict[str, Any]", value)
    for key in _LISTS:
        if isinstance(mapping.get(key), dict | list):
            return _of_json(mapping[key])
    values = list(mapping.values())
    if all(isinstance(one, str) for one in values):
        return {class_key(key): name.strip() for key, name in mapping.items()}
    if all(type(one) is int for one in values) and len(set(values)) == len(values):
        return {str(number): name for name, number in mapping.items()}
    if all(_is_texts(one) and len(one) == 2 for one in values):
        # As imagenet_class_index.json: a number, with the code and the name of its class.
        by_number = {class_key(key): pair[1] for key, pair in mapping.items()}
        return by_number | {pair[0]: pair[1] for pair in values}
    return []


def _of_json_list(values: list[Any]) -> Pairs | list[str]:
    if _is_texts(values):
        return [name.strip() for name in values]
    pairs: Pairs = {}
    for one in values:
        if not isinstance(one, dict):
            return []
        entry = cast("Mapping[str, Any]", one)
        number = next((entry[key] for key in _NUMBER_KEYS if isinstance(entry.get(key), int)), None)
        name = next((entry[key] for key in _NAME_KEYS if isinstance(entry.get(key), str)), None)
        if number is None or name is None:
            return []
        pairs[str(number)] = name
    return pairs


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in cast("list[Any]", value))


def _names(
    content: Pairs | list[str], classes: Sequence[str], *, is_sure: bool
) -> tuple[str, ...] | str:
    """Return a name for each class, or why a file gives none, in words."""
    if not content:
        return "no names can be read from it"
    if isinstance(content, dict):
        # The numbers of a file that may be about pictures are perhaps those of pictures.
        if not is_sure and len(content) != len(classes) and all(map(str.isdigit, content)):
            return f"it has {len(content):,} numbers, and there are {len(classes):,} classes"
        missing = [one for one in classes if not content.get(class_key(one))]
        if missing:
            return f"it has no name for {some_of(missing, 3)}"
        names = tuple(content[class_key(one)] for one in classes)
        return _distinct(names, classes)

    if len(content) != len(classes):
        return f"it has {len(content):,} names, and there are {len(classes):,} classes"
    numbers = [int(one) if one.isascii() and one.isdigit() else -1 for one in classes]
    first = min(numbers)
    if first not in (0, 1) or sorted(numbers) != list(range(first, first + len(classes))):
        return "it is a list, and the classes are not numbered from 0 or 1 without gaps"
    if len(set(content)) < len(content):
        return "some names in it are equal"
    return tuple(content[number - first] for number in numbers)


def _distinct(names: tuple[str, ...], classes: Sequence[str]) -> tuple[str, ...]:
    """Return names of which each occurs once: ImageNet has two cranes."""
    return tuple(
        f"{name} ({key})" if names.count(name) > 1 else name
        for name, key in zip(names, classes, strict=True)
    )


def _is_known(content: Pairs | list[str], classes: Sequence[str]) -> bool:
    """Return whether a file says nothing but what the classes are called already."""
    said = content.values() if isinstance(content, dict) else content
    return set(classes) <= {*said, *map(str, content)}


def class_key(text: str) -> str:
    """Return the number or the code of a class as it is compared: 007 and 7 are one number."""
    text = text.strip()
    return str(int(text)) if text.isascii() and text.isdigit() else text
