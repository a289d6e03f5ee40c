"""Which of the Parquet files or tar files in a folder are of which split."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anew.core.errors import AnewError
from anew.data.kept import some_of
from anew.data.sources.layout_names import (
    SPLITS,
    SplitName,
    is_of_system,
    split_called,
    split_in,
    split_of_shard,
)

Shards = dict[SplitName, list[Path]]
MOST_FILES = 100_000
"""So many files a pattern may stand for."""
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclass(frozen=True)
class FileKind:
    """A kind of files that hold many examples each."""

    what: str
    """What such files are called, such as `Parquet files`."""
    suffix: str
    unnamed_train: bool = False
    """Whether files whose names say no split are the training set where none is called so."""


PARQUET = FileKind("Parquet files", ".parquet")
TAR = FileKind("tar files", ".tar", unnamed_train=True)


def find_shards(name: str, place: Path, kind: FileKind = PARQUET) -> tuple[Shards, list[str]]:
    """Return the files of each split, and what is to be said of others.

    They lie in the folder itself, in its data/, in a folder for each split, or one level deeper; a
    single file is a training set. Raises `AnewError` if there is none for training.
    """
    if not place.is_dir():
        _check_suffix(name, [place])
        return {"train": [place]}, []

    inside = _folders(place)
    first = [place, *(path for path in inside if path.name == "data")]
    for base in (*first, *(path for path in inside if path.name != "data")):
        files = _files(base, kind)
        shards = _by_name(files, kind) or _by_folder(base, kind)
        if shards:
            used = {path for paths in shards.values() for path in paths}
            others = [path.name for path in files if path not in used]
            notes = [f"files outside the splits are ignored: {some_of(others)}"] if others else []
            if base != place:
                notes.append(f"the files lie in {base}")
            return shards, notes

    files = [file for folder in (place, *inside) for file in _files(folder, kind)]
    if len(files) == 1 or (files and kind.unnamed_train):
        return _unnamed(files)
    if files:
        raise AnewError(
            f"data '{name}': none of the {kind.what} in {files[0].parent} "
            f"({some_of([file.name for file in files])}) is called train*{kind.suffix}; rename "
            "those of the training set, or give one file"
        )
    _check_suffix(name, (file for folder in (place, *inside) for file in folder.iterdir()))
    raise AnewError(f"data '{name}': there is no train*{kind.suffix} in {place}; check the path")


def shards_of_pattern(name: str, pattern: str, kind: FileKind) -> tuple[Shards, list[str]]:
    """Return the files of each split that a pattern such as `train-{000..147}.tar` stands for.

    Braces hold a range or a list, and `*`, `?` and `[]` are those of shells. Raises `AnewError` if
    a file of a range or a list is missing, or if no file fits.
    """
    files: list[Path] = []
    missing: list[str] = []
    for one in _spelt_out(name, str(Path(pattern).expanduser())):
        found = sorted(glob.glob(one)) if glob.has_magic(one) else [one] * os.path.isfile(one)  # noqa: PTH113, PTH207
        files += map(Path, found)
        if not found:
            missing.append(one)
    if missing:
        count = f"{len(missing):,} of the files are missing: " if files else "there is no file "
        raise AnewError(f"data '{name}': {count}{some_of(missing, 3)}; check the path")

    files = list(dict.fromkeys(files))
    shards = _by_name(files, kind)
    if not shards:
        return _unnamed(files)
    used = {path for paths in shards.values() for path in paths}
    others = [path.name for path in files if path not in used]
    return shards, [f"files outside the splits are ignored: {some_of(others)}"] if others else []


def _spelt_out(name: str, pattern: str) -> list[str]:
    """Return the texts that a pattern with braces stands for, in order."""
    done, pending = list[str](), [pattern]
    while pending:
        one = pending.pop(0)
        braces = _BRACES.search(one)
        if braces is None:
            done.append(one)
            continue

        before, after = one[: braces.start()], one[braces.end() :]
        pending = [f"{before}{word}{after}" for word in _words(braces.group(1))] + pending
        if len(pending) + len(done) > MOST_FILES:
            raise AnewError(
                f"data '{name}': the braces stand for more than {MOST_FILES:,} files; give the "
                "folder"
            )
    return done


def _words(inside: str) -> Sequence[str]:
    """Return what braces stand for: `a,b`, or `000..147` with as many digits."""
    span = _RANGE.fullmatch(inside)
    if span is None:
        return inside.split(",")
    first, last = span.groups()
    numbers = range(int(first), min(int(last), int(first) + MOST_FILES) + 1)
    return [f"{number:0{len(first)}d}" for number in numbers]


def _by_name(files: Sequence[Path], kind: FileKind) -> Shards:
    """Return files such as train-00000-of-00002 by split; none without a training file."""
    found: Shards = {
        split: [file for file in files if split_of_shard(file.stem) == split] for split in SPLITS
    }
    for split in ("train", "test"):
        found[split] = found[split] or [file for file in files if file.name.startswith(split)]
    if not found["train"]:
        found = {
            split: [file for file in files if split_in(file.stem) == split] for split in SPLITS
        }
    if not found["train"] and kind.unnamed_train and any(found.values()):
        found["train"] = [file for file in files if split_in(file.stem) is None]
    return {split: paths for split, paths in found.items() if paths} if found["train"] else {}


def _by_folder(folder: Path, kind: FileKind) -> Shards:
    """Return the files in train/, test/ and validation/; none without a training file."""
    found: Shards = {}
    for inner in _folders(folder):
        split, files = split_called(inner.name), _files(inner, kind)
        if split is not None and files:
            found.setdefault(split, []).extend(files)
    return {split: found[split] for split in SPLITS if split in found} if "train" in found else {}


def _unnamed(files: list[Path]) -> tuple[Shards, list[str]]:
    """Return files whose names say no split as the training set."""
    are = "is" if len(files) == 1 else "are"
    names = some_of([file.name for file in files], 3)
    return {"train": files}, [f"{names} {are} used as the training set"]


def _files(folder: Path, kind: FileKind) -> list[Path]:
    return sorted(file for file in folder.glob(f"*{kind.suffix}") if not is_of_system(file.name))


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir() and not is_of_system(path.name))


def _check_suffix(name: str, files: Iterable[Path]) -> None:
    """Raise `AnewError` for Arrow files, with the way to Parquet."""
    arrow = next((file for file in files if file.suffix == ".arrow"), None)
    if arrow is not None:
        raise AnewError(
            f"data '{name}': {arrow} is an Arrow file of save_to_disk, no Parquet file; give "
            f"hf:{name.partition(':')[2]} (pip install 'anew[hf]'), or write it with "
            " datasets.load_from_disk(FOLDER)['train'].to_parquet('train.parquet'), each split "
            "into a file of its own"
        )
