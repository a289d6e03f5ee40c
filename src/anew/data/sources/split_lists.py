"""Lists of the pictures of each split beside folders of classes: `train.txt`, `test.txt`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from anew.core.errors import AnewError
from anew.core.files import check_regular
from anew.core.text import counted
from anew.data.kept import some_of
from anew.data.sources.layout_names import (
    SPLITS,
    SplitName,
    is_of_system,
    split_called,
    without_number,
)
from anew.data.sources.table_files import text_of

SUFFIXES = (".txt", ".lst", ".list")
NUMBERED = ("images.txt", "train_test_split.txt")
"""A list of numbers and pictures, and one of the same numbers with 1 for training or 0 for test."""


@dataclass(frozen=True)
class SplitLists:
    """The pictures of each split; none if no lists say them."""

    pictures: Mapping[SplitName, list[str]] = field(default_factory=dict[SplitName, list[str]])
    notes: list[str] = field(default_factory=list[str])


def read_split_lists(folders: Sequence[Path], root: Path, pictures: Sequence[str]) -> SplitLists:
    """Return what lists in one of the folders say of pictures below `root`.

    A line names a picture by its path, from `root` or from above it, with or without its suffix;
    what follows behind a space may be its class. There must be a list for training and another one.
    Or one list numbers the pictures, and another says of each number whether it is for training.
    """
    lists = {folder: _lists_in(folder) for folder in folders}

    has_lists = any(len(files) > 1 for files in lists.values())
    if not has_lists and not any((folder / NUMBERED[1]).is_file() for folder in folders):
        return SplitLists()
    known: dict[str, str] = {}
    for path in pictures:
        inside = PurePath(path).relative_to(root)
        known[inside.as_posix()] = known[inside.with_suffix("").as_posix()] = path

    for folder in folders:
        by_numbers = _by_numbers(folder, known)
        if by_numbers is not None:
            return _checked(by_numbers, [folder / name for name in NUMBERED], [], pictures)
    for files in lists.values():
        found, notes = _pictures_of(files, known)
        if notes or (len(found) > 1 and "train" in found):
            used = [file for split, file in files.items() if split in found]
            return _checked(found, used, notes, pictures)
    return SplitLists()


def _lists_in(folder: Path) -> dict[SplitName, Path]:
    """Return the files in a folder that are called like splits, the first of each.

    Where there are only numbered ones, as `train1.txt` to `train10.txt`, those of the first number.
    """
    found: dict[SplitName, Path] = {}
    numbered: dict[int, dict[SplitName, Path]] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in SUFFIXES or is_of_system(file.name) or not file.is_file():
            continue
        word, number = without_number(file.stem)
        split = split_called(word)
        if split is not None:
            of_number = found if number is None else numbered.setdefault(number, {})
            of_number.setdefault(split, file)

    if found or not numbered:
        return found
    return numbered[min(numbered)]


def _by_numbers(folder: Path, known: Mapping[str, str]) -> dict[SplitName, list[str]] | None:
    """Return the pictures of the splits that a folder's lists of numbers say, as CUB-200 has them.

    None if it has not both lists, or one does not fit the other or the pictures.
    """
    files = [folder / name for name in NUMBERED]
    if not all(file.is_file() for file in files):
        return None
    names, flags = (
        {number: rest for number, _, rest in (line.partition(" ") for line in _lines(file))}
        for file in files
    )

    pictures = {number: _named(name, known) for number, name in names.items()}
    is_whole = flags.keys() == pictures.keys() and None not in pictures.values()
    if not is_whole or set(flags.values()) != {"0", "1"}:
        return None

    found: dict[SplitName, list[str]] = {"train": [], "test": []}
    for number, path in pictures.items():
        assert path is not None
        found["train" if flags[number] == "1" else "test"].append(path)
    return found


def _pictures_of(
    files: Mapping[SplitName, Path], known: Mapping[str, str]
) -> tuple[dict[SplitName, list[str]], list[str]]:
    """Return the pictures that each list names, and what is to be said of those that miss some."""
    found: dict[SplitName, list[str]] = {}
    notes: list[str] = []
    for split, file in files.items():
        lines = _lines(file)
        named = [_named(line, known) for line in lines]
        missing = [line for line, path in zip(lines, named, strict=True) if path is None]
        if missing and len(missing) < len(lines):
            notes.append(
                f"the list {file.name} is not used: {len(missing):,} of its {len(lines):,} lines "
                f"name no picture: {some_of(missing, 3)}"
            )
        elif lines and not missing:
            found[split] = list(dict.fromkeys(path for path in named if path is not None))
    return found, notes


def _checked(
    found: dict[SplitName, list[str]], files: list[Path], notes: list[str], pictures: Sequence[str]
) -> SplitLists:
    if len(found) < 2 or "train" not in found:
        return SplitLists(notes=notes)
    counts = ", ".join(f"{len(found[split]):,} {split}" for split in SPLITS if split in found)
    number = without_number(files[0].stem)[1]
    if number is not None:
        notes = [f"of the numbered lists those of number {number} are used", *notes]
    notes = [f"the sets come from {some_of([file.name for file in files])}: {counts}", *notes]
    rest = len(set(pictures).difference(*found.values()))
    if rest:
        notes.append(f"ignored: {counted(rest, 'picture')} not in any list")
    return SplitLists(found, notes)


def _lines(file: Path) -> list[str]:
    try:
        check_regular(file)
        text = text_of(file.read_bytes())
    except (AnewError, OSError, UnicodeDecodeError):
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]


def _named(line: str, known: Mapping[str, str]) -> str | None:
    """Return the picture that a line names, None if there is none."""
    for text in (line, line.rsplit(None, 1)[0], line.split()[0]):
        parts = PurePath(text.replace("\\", "/")).parts
        # Without the folders above the classes; a file's name alone may be that of several.
        for start in range(len(parts) - 1):
            path = known.get("/".join(parts[start:]))
            if path is not None:
                return path
    return None
