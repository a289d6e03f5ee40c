"""Folders of picture files, one folder for each class, or a table that names each file's class."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from anew.core.errors import AnewError, did_you_mean
from anew.core.text import counted, listed
from anew.data.encoded import PictureFiles
from anew.data.kept import some_of
from anew.data.sources.class_names import NamesFound, names_beside
from anew.data.sources.encoded_source import Labelled, source_of
from anew.data.sources.layout_names import (
    SPLITS,
    SplitName,
    is_of_system,
    split_called,
    split_in,
)
from anew.data.sources.source import Reading, Source
from anew.data.sources.tables import Rows, read_split_tables, read_tables

SUFFIXES = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".webp", ".ppm", ".pgm"),
        *(".pbm", ".pnm", ".tif", ".tiff", ".gif", ".avif"),
    )
)
BESIDE = ("meta", "metadata", "annotations", "labels")
"""Folders that may hold the names of classes beside the folders of pictures."""
DEPTH = 3
"""So many folders deep a `train/` is looked for that is not where it should be."""


@dataclass
class Found:
    """What lies below a folder, seen once."""

    pictures: list[str] = field(default_factory=list[str])
    """Paths, sorted, folder by folder."""
    deeper: int = 0
    """How many of the pictures lie in sub-folders."""
    others: Counter[str] = field(default_factory=Counter[str])
    """How many other files there are, by suffix."""
    broken: list[str] = field(default_factory=list[str])
    """Pictures that are links to files which are not there."""


def read_folder(reading: Reading) -> Source:
    """Read PATH/train/CLASS/*, with test/ and val/ where they are, or PATH/CLASS/*.

    Splits have any of their usual names. All pictures below a class folder are of that class. Where
    there are no class folders, a table such as labels.csv names each file's class. Raises
    `AnewError` if neither is found, or if a class of the other splits has no training example.
    """
    place = reading.place
    if not place.is_dir():
        raise AnewError(f"data '{reading.name}': {place} {_what_else(place)}")

    tree = _Tree(reading.name, place)
    tree.check_links(skip=reading.spec.skip_damaged)
    splits = tree.splits() or tree.splits_by_words()
    classes = tree.classes(place)
    of_splits = {} if splits else tree.class_folders_of_splits()
    if of_splits:
        return source_of(tree.labelled_by_names(of_splits), reading)
    if not splits and (len(classes) < 2 or all(map(split_called, classes))):
        rows = read_tables(reading, tree.everything())
        if rows is not None:
            return source_of(_labelled(reading.name, rows), reading)
        tree.check_place()
    return source_of(tree.labelled(splits or {"train": place}), reading)


class _Tree:
    """A folder of pictures, and what is to be said of it."""

    def __init__(self, name: str, place: Path) -> None:
        self._name, self._place = name, place
        self._below: dict[Path, Found] = {}
        self._notes: list[str] = []

    def splits(self) -> dict[SplitName, Path]:
        """Return the folders of the splits; none if there is no train/ with class folders."""
        called = [(split_called(path.name), path) for path in _folders(self._place)]
        found: dict[SplitName, Path] = {}

        for split in SPLITS:
            several = [path for one, path in called if one == split]
            # A class may be called train: a split has class folders.
            if split == "train":
                several = [path for path in several if self.classes(path)]
                if not several:
                    return {}
                if len(several) > 1:
                    raise self._error(
                        f"{listed([path.name for path in several])} could each be the training "
                        "set; rename all but one"
                    )
            if several:
                chosen = max(several, key=lambda path: (path.name.lower() == split, path.name))
                found[split] = chosen
                self._notes += [
                    f"{path.name}/ is not used: {chosen.name}/ is the {split} set"
                    for path in several
                    if path != chosen
                ]
        return {split: self._inner(path) for split, path in found.items()}

    def splits_by_words(self) -> dict[SplitName, Path]:
        """Return folders that a word of their names calls splits, such as `seg_train`, `val2017`.

        None unless two of them have class folders of the same names: `bullet_train` may be a class.
        """
        found: dict[SplitName, Path] = {}
        for path in _folders(self._place):
            split = _split_by_word(path.name)
            if split is None:
                continue
            if split in found:
                return {}
            found[split] = self._inner(path)

        if len(found) < 2 or "train" not in found:
            return {}
        classes = set(self.classes(found["train"]))
        others = {
            name for split, path in found.items() if split != "train" for name in self.classes(path)
        }
        if len(classes) < 2 or not classes & others:
            return {}
        for split, path in found.items():
            self._notes.append(f"{path.relative_to(self._place)}/ is used as the {split} set")
        return found

    def class_folders_of_splits(self) -> dict[SplitName, dict[str, Path]]:
        """Return the class folders of each split where a name says both: `trainA`, `test_cat`.

        None unless all folders of pictures have such names, of at least two splits and two classes,
        and hold no folders of pictures themselves.
        """
        found: dict[SplitName, dict[str, Path]] = {}
        for name in self.classes(self._place):
            split, rest = _split_and_rest(name)
            if split is None or self.classes(self._place / name):
                return {}
            found.setdefault(split, {})[rest] = self._place / name

        train = found.get("train", {})
        if len(found) < 2 or len(train) < 2 or any(set(one) - set(train) for one in found.values()):
            return {}
        return found

    def labelled_by_names(self, folders: Mapping[SplitName, Mapping[str, Path]]) -> Labelled:
        """Return the pictures of folders whose names say a split and a class."""
        classes = sorted(folders["train"])
        paths: list[str] = []
        labels: dict[SplitName, list[int]] = {}
        for split in SPLITS:
            for name, folder in sorted(folders.get(split, {}).items()):
                pictures = self.below(folder).pictures
                labels.setdefault(split, []).extend([classes.index(name)] * len(pictures))
                paths += pictures

        used = [f"{path.name}/" for split in SPLITS for path in folders.get(split, {}).values()]
        self._notes.append(
            f"{some_of(used, 6)} are read as class folders of splits: the classes "
            f"{some_of(classes)}; {listed([split for split in SPLITS if split in labels])} sets"
        )
        return Labelled(
            PictureFiles(paths),
            labels["train"],
            labels.get("test"),
            tuple(classes),
            self._notes,
            labels.get("validation"),
        )

    def check_links(self, *, skip: bool) -> None:
        """Raise `AnewError` if pictures are links that lead nowhere, or note it with `skip`."""
        broken = self.below(self._place).broken
        if not broken:
            return
        are = "is a link to a missing file" if len(broken) == 1 else "are links to missing files"
        lead = f"{counted(len(broken), 'picture')} {are}: {some_of(broken)}"
        if not skip:
            raise self._error(
                f"{lead}; restore those files, or skip the links with --data.skip-damaged"
            )
        self._notes.append(f"{lead}; skipped")

    def _inner(self, split: Path) -> Path:
        """Return the folder with a split's classes: often `train/train/`, as archives unpack."""
        inside = self.classes(split)
        if len(inside) != 1 or len(self.classes(split / inside[0])) < 2:
            return split
        is_same = _split_by_word(inside[0]) == _split_by_word(split.name)
        return split / inside[0] if is_same else split

    def classes(self, part: Path) -> list[str]:
        """Return the folders in a split's folder that hold pictures, sorted."""
        return sorted(path.name for path in _folders(part) if self.below(path).pictures)

    def below(self, folder: Path) -> Found:
        """Return what lies below a folder."""
        if folder not in self._below:
            self._below[folder] = _walk(folder)
        return self._below[folder]

    def everything(self) -> list[str]:
        """Return the paths of all pictures."""
        return self.below(self._place).pictures

    def labelled(self, splits: Mapping[SplitName, Path]) -> Labelled:
        """Return the pictures of the splits with their classes."""
        train = splits["train"]
        classes = self.classes(train)
        if not classes:
            raise self._error(
                f"{train} holds no class folders{self._no_pictures(train)}; put the pictures "
                "into one folder for each class, or give a table of files and classes beside "
                "them (labels.csv)"
            )
        if len(classes) == 1:
            raise self._error(
                f"all pictures of {train} lie in one folder, {classes[0]}/, and a classifier "
                "needs at least 2 classes; put the pictures into one folder for each class, or "
                "give a table of files and classes beside them (labels.csv)"
            )
        self._look_into_classes(train, classes)
        splits = self._as_tiny_imagenet(splits, classes)

        paths: list[str] = []
        labels: dict[SplitName, list[int]] = {}
        for split in SPLITS:
            mine = self._of_split(split, splits[split], classes) if split in splits else []
            if mine:
                labels[split] = [label for label, files in mine for _ in files]
                paths += [file for _, files in mine for file in files]
        named = self._names(classes)
        self._note_rest(train, [splits[split] for split in labels], named)

        return Labelled(
            PictureFiles(paths),
            labels["train"],
            labels.get("test"),
            named.names or tuple(classes),
            self._notes,
            labels.get("validation"),
        )

    def check_place(self) -> None:
        """Raise `AnewError` if the pictures lie in another place than this one, and say where."""
        folders = _folders(self._place)
        deeper = [path for path in _below(folders) if split_called(path.name) == "train"]
        parents = list(dict.fromkeys(path.parent for path in deeper if self.classes(path)))
        if len(parents) == 1:
            raise self._error(
                f"has no folder train/ of its own, and there is one in {parents[0]}; give "
                f"folder:{parents[0]}"
            )

        with_pictures = self.classes(self._place)
        if len(with_pictures) == 1 and len(self.classes(self._place / with_pictures[0])) > 1:
            inner = self._place / with_pictures[0]
            raise self._error(f"has one folder of pictures, {inner}; give folder:{inner}")
        if _are_splits(with_pictures):
            hold = "hold" if len(with_pictures) > 1 else "holds"
            raise self._error(
                f"{listed([f'{name}/' for name in with_pictures])} {hold} pictures outside class "
                "folders; put those for training into train/CLASS/, or give a table of files and "
                "classes beside them (train.csv)"
            )
        if len(with_pictures) > 1 and all(map(split_called, with_pictures)):
            raise self._error(
                f"{listed([f'{name}/' for name in with_pictures])} are no training set; call the "
                "folder of that train/"
            )

    def _no_pictures(self, part: Path) -> str:
        """Return what lies in a part without pictures, in words."""
        others = self.below(part).others
        if not others or self.below(part).pictures:
            return ""
        return f", and no file with a suffix of pictures: {_counts(others)}"

    def _look_into_classes(self, train: Path, classes: Sequence[str]) -> None:
        """Look whether what seem to be classes hold the splits, or the classes themselves.

        Raises `AnewError` if each of them holds a training set; notes it if all hold the same
        folders.
        """
        inside = [tuple(self.classes(train / name)) for name in classes]
        if len(set(inside)) > 1 or len(inside[0]) < 2:
            return
        same = inside[0]
        if _are_splits(same):
            raise self._error(
                f"each class folder of {train} holds {listed([f'{name}/' for name in same])}; put "
                "the splits above the classes: train/CLASS/, test/CLASS/"
            )
        if len(classes) > 1:
            self._notes.append(
                f"all {len(classes)} class folders hold the same folders ({some_of(list(same), 3)})"
                f": if those are the classes, give one of {train}'s folders, or put theirs together"
            )

    def _as_tiny_imagenet(
        self, splits: Mapping[SplitName, Path], classes: Sequence[str]
    ) -> Mapping[SplitName, Path]:
        """Return the splits; those of Tiny ImageNet, whose test set has no labels, with val/ as it.

        It is known by its file of classes, `wnids.txt`.
        """
        is_it = (self._place / "wnids.txt").is_file() and "validation" in splits
        if not is_it or ("test" in splits and self._has_classes(splits["test"], classes)):
            return splits
        validation = splits["validation"]
        self._notes.append(
            f"{validation.name}/ is used as the test set, as is usual for Tiny ImageNet: its own "
            "test set has no public labels"
        )
        return {"train": splits["train"], "test": validation}

    def _of_split(
        self, split: SplitName, part: Path, classes: Sequence[str]
    ) -> list[tuple[int, list[str]]]:
        """Return the numbers of a split's classes with their picture files, none without labels."""
        if split == "train" or self._has_classes(part, classes):
            return self._pictures(part, classes)

        pictures = self.below(part).pictures
        pairs, notes = read_split_tables(self._place, split, pictures, part, classes)
        self._notes += notes
        if pairs:
            by_class: dict[str, list[str]] = {}
            for path, label in pairs:
                by_class.setdefault(label, []).append(path)
            return [(number, by_class.get(name, [])) for number, name in enumerate(classes)]

        what = "no picture"
        if pictures:
            what = f"{counted(len(pictures), 'picture')} without class folders"
        self._notes.append(f"{part.name}/ is not used: it holds {what}")
        return []

    def _has_classes(self, part: Path, classes: Sequence[str]) -> bool:
        """Return whether a split's pictures lie in folders of the classes."""
        found = self.classes(part)
        unlabelled = not found or (len(found) == 1 and found[0] not in classes)
        return not unlabelled or bool(did_you_mean(found[0] if found else "", classes))

    def _pictures(self, part: Path, classes: Sequence[str]) -> list[tuple[int, list[str]]]:
        """Return the numbers of a split's classes with their picture files."""
        found: list[tuple[int, list[str]]] = []
        deeper = total = 0
        composed = {unicodedata.normalize("NFC", name): name for name in classes}
        for label in self.classes(part):
            # File systems write the same letters in two ways.
            known = composed.get(unicodedata.normalize("NFC", label), label)
            if known not in classes:
                raise self._error(
                    f"{part.name}/ has class '{label}', which no training example has"
                    f"{did_you_mean(label, classes)}; rename {part / label}, or give it training "
                    "examples"
                )
            below = self.below(part / label)
            found.append((classes.index(known), below.pictures))
            deeper, total = deeper + below.deeper, total + len(below.pictures)

        if deeper:
            self._notes.append(
                f"{deeper:,} of {total:,} pictures of {part} lie in sub-folders of their class's "
                "folder"
            )
        return found

    def _names(self, classes: Sequence[str]) -> NamesFound:
        """Return the classes' names in a file beside their folders, and note where they are."""
        beside = [path for path in _folders(self._place) if path.name.lower() in BESIDE]
        named = names_beside([self._place, *beside], classes)
        self._notes += named.notes
        return named

    def _note_rest(self, train: Path, used: Sequence[Path], named: NamesFound) -> None:
        """Note the files and folders that are passed over."""
        others = Counter[str]()
        loose = 0
        for part in dict.fromkeys((self._place, *used)):
            folders, files = _split_entries(part)
            loose += sum(is_picture(file) for file in files)
            others.update(
                _suffix(file) for file in files if not is_picture(file) and Path(file) != named.file
            )
            for path in sorted(map(Path, folders)):
                if part not in used:
                    is_used = any(path in (one, *one.parents) for one in used)
                    if not is_used and split_called(path.name) is None:
                        count = len(self.below(path).pictures)
                        self._notes.append(f"{path}/ is ignored: {counted(count, 'picture')}")
                    continue
                others.update(self.below(path).others)
                # A class may have no example in the other splits.
                if part == train and not self.below(path).pictures:
                    self._notes.append(f"{path}/ holds no picture and is no class")

        if loose:
            lie = "lies" if loose == 1 else "lie"
            self._notes.append(
                f"ignored: {counted(loose, 'picture')} that {lie} in no class folder"
            )
        if others:
            self._notes.append(f"files that are no pictures are ignored: {_counts(others)}")

    def _error(self, text: str) -> AnewError:
        return AnewError(f"data '{self._name}': {text}")


def is_picture(name: str) -> bool:
    """Return whether a file's name is that of a picture."""
    return PurePath(name).suffix.lower() in SUFFIXES


def _counts(others: Counter[str]) -> str:
    """Return how many files there are of each suffix."""
    return some_of([f"{count:,} {suffix}" for suffix, count in others.most_common()])


def _what_else(place: Path) -> str:
    """Return what a file is that is given for a folder of pictures, and what mends it."""
    name = place.name.lower()
    if name.endswith((".zip", ".tar", ".tar.gz", ".tgz", ".rar", ".7z")):
        return f"is an archive; unpack it, and give its folder{' or tar:' if '.t' in name else ''}"
    if name.endswith((".csv", ".tsv", ".jsonl")):
        return f"is a table; give the folder that it and its pictures lie in, {place.parent}"
    return "is no folder; it must hold a folder of pictures for each class"


def _labelled(name: str, rows: Rows) -> Labelled:
    """Return the pictures that a table of labels names."""
    train = rows.labels["train"]
    numbers = {label: number for number, label in enumerate(rows.classes)}
    paths: list[str] = []
    labels: dict[SplitName, list[int]] = {}
    for split in SPLITS:
        mine = rows.labels.get(split)
        if mine is None:
            continue
        unknown = sorted({label for _, label in mine if label not in numbers})
        if unknown:
            raise AnewError(
                f"data '{name}': the {split} set has class '{unknown[0]}', which no training "
                f"example has{did_you_mean(unknown[0], numbers)}; rename it, or give it training "
                "examples"
            )
        paths += [path for path, _ in mine]
        labels[split] = [numbers[label] for _, label in mine]

    assert train, "a table has training examples"
    return Labelled(
        PictureFiles(paths),
        labels["train"],
        labels.get("test"),
        rows.names,
        rows.notes,
        labels.get("validation"),
    )


def _are_splits(names: Iterable[str]) -> bool:
    """Return whether all folders are called like splits, of which one is for training."""
    splits = [split_called(name) for name in names]
    return "train" in splits and None not in splits


def _split_by_word(name: str) -> SplitName | None:
    """Return the split that a word of a folder's name says: `seg_train`, `train2017`."""
    return split_called(name) or split_in(re.sub(r"\d+$", "", name))


def _split_and_rest(name: str) -> tuple[SplitName | None, str]:
    """Return the split that a folder's first or last word says, and the rest of its name."""
    words = re.split(r"[-_. ]+|(?<=[a-z])(?=[A-Z])", name)
    for word, start in ((words[0], True), (words[-1], False)):
        split = split_called(word)
        rest = name[len(word) :] if start else name[: -len(word)]
        if split is not None and rest.strip("-_. "):
            return split, rest.strip("-_. ")
    return None, name


def _folders(place: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without those of the system."""
    return sorted(Path(path) for path in _split_entries(place)[0])


def _below(folders: Sequence[Path]) -> list[Path]:
    """Return the folders in folders, a few levels deep."""
    found: list[Path] = []
    for _ in range(DEPTH):
        folders = [inner for folder in folders[:100] for inner in _folders(folder)]
        found += folders
    return found


def _split_entries(
    folder: str | Path, broken: list[str] | None = None
) -> tuple[list[str], list[str]]:
    """Return the paths of the folders and of the files in a folder.

    Links that lead nowhere are neither, and are added to `broken`.
    """
    broken = [] if broken is None else broken
    folders, files = list[str](), list[str]()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_of_system(entry.name):
                    continue
                if entry.is_symlink() and not Path(entry.path).exists():
                    broken.append(entry.path)
                else:
                    (folders if entry.is_dir() else files).append(entry.path)
    except OSError as error:
        raise AnewError(f"{folder}: cannot be read ({error.strerror}); check the path") from error
    return folders, files


def _walk(top: Path) -> Found:
    """Return what lies below a folder; links are followed, each folder is entered once."""
    found = Found()
    seen: set[tuple[int, int]] = set()
    pending = [os.fspath(top)]
    while pending:
        folder = pending.pop()
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))

        broken = list[str]()
        folders, files = _split_entries(folder, broken)
        found.broken += filter(is_picture, broken)
        pending += folders
        pictures = [file for file in files if is_picture(file)]
        found.pictures += pictures
        found.deeper += 0 if folder == os.fspath(top) else len(pictures)
        found.others.update(_suffix(file) for file in files if not is_picture(file))
    found.pictures.sort(key=lambda path: PurePath(path).parts)
    return found


def _suffix(file: str) -> str:
    return PurePath(file).suffix.lower() or "without suffix"
