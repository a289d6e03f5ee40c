"""Lists of the pictures of each split beside folders of classes: `train.txt`, `test.txt`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from anew.core.errors import AnewError
from anew.core.files import check_regular
from anew.core.text import counted
from anew.data.kept import some_of
from anew.data.sources.layout_names import SPLITS, SplitName, is_of_system, split_called
from anew.data.sources.table_files import text_of

SUFFIXES = (".txt", ".lst", ".list")


@dataclass(frozen=True)
class SplitLists:
    """The pictures of each split; none if no lists say them."""

    pictures: Mapping[SplitName, list[str]] = field(default_factory=dict[SplitName, list[str]])
    notes: list[str] = field(default_factory=list[str])


def read_split_lists(folders: Sequence[Path], root: Path, pictures: Sequence[str]) -> SplitLists:
    """Return what lists in one of the folders say of pictures below `root`.

    A line names a picture by its path, from `root` or from above it, with or without its suffix;
    what follows behind a space may be its class. There must be a list for training and another one.
    """
    lists = {folder: _lists_in(folder) for folder in folders}
    if not any(len(files) > 1 for files in lists.values()):
        return SplitLists()
    known: dict[str, str] = {}
    for path in pictures:
        inside = PurePath(path).relative_to(root)
        known[inside.as_posix()] = known[inside.with_suffix("").as_posix()] = path

    for files in lists.values():
        found, notes = _pictures_of(files, known)
        if notes or (len(found) > 1 and "train" in found):
            used = [file for split, file in files.items() if split in found]
            return _checked(found, used, notes, pictures)
    return SplitLists()


def _lists_in(folder: Path) -> dict[SplitName, Path]:
    """Return the files in a folder that are called like splits, the first of each."""
    found: dict[SplitName, Path] = {}
    for file in sorted(folder.iterdir()):
        split = split_called(file.stem)
        is_list = file.suffix.lower() in SUFFIXES and not is_of_system(file.name)
        if split is not None and is_list and file.is_file():
            found.setdefault(split, file)
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
