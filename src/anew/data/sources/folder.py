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
    without_number,
)
from anew.data.sources.source import Reading, Source
from anew.data.sources.split_lists import read_split_lists
from anew.data.sources.tables import Rows, read_split_tables, read_tables

SUFFIXES = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".webp", ".ppm", ".pgm"),
        *(".pbm", ".pnm", ".tif", ".tiff", ".gif", ".avif"),
    )
)
BESIDE = ("meta", "metadata", "annotations", "labels")
"""Folders that may hold the names of classes beside the folders of pictures."""
IMAGE_FOLDERS = frozenset(("image", "images", "img", "imgs", "original", "originals"))
"""What a folder with a class's pictures is called beside one with their masks."""
_WORD = re.compile(r"([^\W\d_](?:.*[^\W\d_])?)[-_. (]*\d+\)?")
"""The stem of a file with a word before its number."""
_PART = re.compile(r"(^|[-_. ])(parts?|images?|imgs?|pictures|photos|batch|chunk|data|archive)$")
_MASKS = frozenset(
    ("mask", "masks", "segmentation", "segmentations", "ground_truth", "groundtruth", "gt")
)
_MASK_NAME = re.compile(r"(.+?)[-_ ]+(mask|seg|segmentation|gt)([-_ ]?\d+)?$", re.IGNORECASE)
DEPTH = 3
"""So many folders deep a `train/` is looked for that is not where it should be."""


_NPZ = "with numpy.savez as x and y, and give npz:FILE"
_INSTEAD = {
    ".heic": "convert them to JPEG",
    ".dcm": "convert them to PNG, in the window of what they show",
    ".npy": f"save the arrays {_NPZ}",
    ".mat": f"read it with scipy.io.loadmat, and save its arrays {_NPZ}",
    ".h5": f"read it with h5py, and save its arrays {_NPZ}",
    ".hdf5": f"read it with h5py, and save its arrays {_NPZ}",
    ".tfrecord": "write the pictures into files, one folder for each class",
    ".npz": "give npz:FILE",
    ".parquet": "give parquet:PATH",
    ".tar": "give tar:PATH",
    ".csv": f"if the tables hold pixels, save them {_NPZ}",
}
"""What to do with files that are no pictures where there are none."""


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
    by_lists = None if splits else tree.labelled_by_lists()
    if by_lists is not None:
        return source_of(by_lists, reading)
    are_parts = not splits and _are_parts(classes)
    if not splits and (len(classes) < 2 or are_parts or all(map(_split_with_number, classes))):
        rows = read_tables(reading, tree.everything())
        if rows is not None:
            return source_of(_labelled(reading.name, rows), reading)
        tree.check_place()
        if are_parts:
            tree.note_parts(classes)
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
        return self._inner_of(found)

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
            found[split] = path

        if len(found) < 2 or "train" not in found:
            return {}
        found = self._inner_of(found)
        classes = set(self.classes(found["train"]))
        others = {
            name for split, path in found.items() if split != "train" for name in self.classes(path)
        }
        # A test set may have a table in place of class folders, if there is nothing else.
        is_all = {path.parts[len(self._place.parts)] for path in found.values()} == set(
            self.classes(self._place)
        )
        if len(classes) < 2 or not (classes & others or is_all):
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

    def labelled_by_lists(self) -> Labelled | None:
        """Return the pictures of class folders whose splits `train.txt` and `test.txt` list.

        The class folders lie here or in the only folder with pictures. None without such lists.
        """
        root, classes = self._place, self.classes(self._place)
        if len(classes) == 1:
            root = self._place / classes[0]
            classes = self.classes(root)
        if len(classes) < 2:
            return None
        without = [path for path in _folders(self._place) if not self.below(path).pictures]
        lists = read_split_lists([self._place, root, *without], root, self.below(root).pictures)
        self._notes += lists.notes
        if not lists.pictures:
            return None

        names = [PurePath(path).relative_to(root).parts[0] for path in lists.pictures["train"]]
        classes = sorted(set(names))
        labels: dict[SplitName, list[int]] = {}
        for split, paths in lists.pictures.items():
            names = [PurePath(path).relative_to(root).parts[0] for path in paths]
            unknown = sorted(set(names) - set(classes))
            if unknown:
                raise self._error(
                    f"the list of the {split} set has class '{unknown[0]}', which no picture in "
                    "the training list has; correct the lists"
                )
            labels[split] = [classes.index(name) for name in names]

        ordered: list[SplitName] = [split for split in SPLITS if split in labels]
        return Labelled(
            PictureFiles([path for split in ordered for path in lists.pictures[split]]),
            labels["train"],
            labels.get("test"),
            self._names(classes).names or tuple(classes),
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

    def _inner_of(self, splits: dict[SplitName, Path]) -> dict[SplitName, Path]:
        """Return the folders with the splits' classes, which may lie one folder deeper.

        Archives unpack to `train/train/`, and others hold `train/images/`.
        """
        if "train" not in splits:
            return splits
        train = self._inner(splits["train"], None)
        classes = set(self.classes(train))
        return {
            split: train if split == "train" else self._inner(path, classes)
            for split, path in splits.items()
        }

    def _inner(self, split: Path, classes: set[str] | None) -> Path:
        """Return the folder with a split's classes; `classes` are those of the training set."""
        inside = self.classes(split)
        if len(inside) != 1:
            return split

        below = set(self.classes(split / inside[0]))
        if classes is None:
            return split / inside[0] if len(below) > 1 else split
        is_deeper = inside[0] not in classes and bool(below & classes)
        return split / inside[0] if is_deeper else split

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
        self._check_classes(train, classes)
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
        with_classes = [name for name in with_pictures if len(self.classes(self._place / name)) > 1]
        if _are_splits(with_pictures) and len(with_classes) > 1:
            raise self._error(
                f"{listed([f'{name}/' for name in with_classes])} hold class folders each; put "
                "those for training into one folder train/, those for testing into test/"
            )
        if _are_splits(with_pictures):
            hold = "hold" if len(with_pictures) > 1 else "holds"
            raise self._error(
                f"{listed([f'{name}/' for name in with_pictures])} {hold} pictures outside class "
                f"folders{self._said_by_names()}; put those for training into train/CLASS/, or "
                "give a table of files and classes beside them (train.csv)"
            )
        if len(with_pictures) > 1 and all(map(_split_with_number, with_pictures)):
            raise self._error(
                f"{listed([f'{name}/' for name in with_pictures])} are no training set; call the "
                "folder of that train/"
            )

    def _check_classes(self, train: Path, classes: Sequence[str]) -> None:
        """Raise `AnewError` if there are not two classes, with what lies there instead."""
        put = (
            "put the pictures into one folder for each class, or give a table of files and classes "
            "beside them (labels.csv)"
        )

        if not classes:
            others = self.below(train).others if not self.below(train).pictures else Counter[str]()
            for suffix, advice in _INSTEAD.items():
                if suffix in others:
                    raise self._error(f"{train} holds no pictures, but {_counts(others)}; {advice}")
            also = f", and no file with a suffix of pictures: {_counts(others)}" if others else ""
            raise self._error(f"{train} holds no class folders{also}{self._said_by_names()}; {put}")
        if len(classes) == 1:
            raise self._error(
                f"all pictures of {train} lie in one folder, {classes[0]}/, and a classifier "
                f"needs at least 2 classes{self._said_by_names()}{self._tables_not_read()}; {put}"
            )

    def note_parts(self, classes: Sequence[str]) -> None:
        """Note that the class folders seem to be the parts of an archive, without labels."""
        self._notes.append(
            f"{some_of([f'{name}/' for name in classes], 3)} are read as classes, but seem to be "
            "the parts of one set; if so, give a table of files and classes beside them "
            "(labels.csv)"
        )

    def _said_by_names(self) -> str:
        """Return which classes the names of the files seem to say, as `cat.12.jpg` does."""
        words = [_WORD.fullmatch(PurePath(path).stem) for path in self.everything()]
        counts = Counter(word[1] for word in words if word)
        if not 2 <= len(counts) <= len(words) / 2 or counts.total() < 0.5 * len(words):
            return ""
        shown = [f"{word} {count:,}" for word, count in counts.most_common()]
        return f" (the files' names may say the classes: {some_of(shown, 3)})"

    def _tables_not_read(self) -> str:
        """Return which tables lie there that are not read, in words."""
        folders = [self._place, *_folders(self._place)]
        found = [
            PurePath(file).name
            for folder in folders
            for file in _split_entries(folder)[1]
            if file.lower().endswith((".xlsx", ".xls", ".ods", ".mat", ".xml", ".pkl", ".parquet"))
        ]
        if not found:
            return ""
        return f" ({some_of(found, 3)} {'is' if len(found) == 1 else 'are'} not read: save CSV)"

    def _look_into_classes(self, train: Path, classes: Sequence[str]) -> None:
        """Look whether what seem to be classes hold the splits, or the classes themselves.

        Raises `AnewError` if each of them holds a training set; notes it if all hold the same
        folders.
        """
        inside = [tuple(self.classes(self._only(train / name))) for name in classes]
        if len(set(inside)) > 1 or len(inside[0]) < 2:
            return
        same = inside[0]
        if all(name.lower() in {*_MASKS, *IMAGE_FOLDERS} for name in same):
            return

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

    def _only(self, folder: Path) -> Path:
        """Return a folder, or the one with pictures in it if that is the only one there."""
        inside = self.classes(folder)
        return folder / inside[0] if len(inside) == 1 else folder

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
        deeper = total = masks = 0
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
            pictures = _without_masks(below.pictures, part / label)
            found.append((classes.index(known), pictures))
            masks += len(below.pictures) - len(pictures)
            deeper, total = deeper + below.deeper, total + len(below.pictures)

        if deeper:
            self._notes.append(
                f"{deeper:,} of {total:,} pictures of {part} lie in sub-folders of their class's "
                "folder"
            )
        if masks:
            self._notes.append(f"{counted(masks, 'mask')} of other pictures of {part} are ignored")
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


def _without_masks(pictures: list[str], folder: Path) -> list[str]:
    """Return a class's pictures without those that are masks of others there, by their names.

    A mask lies in a folder `masks` and has the stem of another picture, or is called `NAME_mask`
    beside NAME.
    """
    inside = {path: PurePath(path).relative_to(folder).parts for path in pictures}
    in_mask_folder = {
        path for path, parts in inside.items() if _MASKS & {part.lower() for part in parts[:-1]}
    }
    plain = {PurePath(path).stem for path in pictures if path not in in_mask_folder}
    beside = {(PurePath(path).parent, PurePath(path).stem) for path in pictures}

    masks: set[str] = set()
    for path in pictures:
        named = _MASK_NAME.fullmatch(PurePath(path).stem)
        stem = named[1] if named else PurePath(path).stem
        if path in in_mask_folder:
            is_mask = bool({stem, PurePath(path).stem} & plain)
        else:
            is_mask = named is not None and (PurePath(path).parent, stem) in beside
        if is_mask:
            masks.add(path)
    return [path for path in pictures if path not in masks]


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
    splits = [_split_with_number(name) for name in names]
    return "train" in splits and None not in splits


def _split_with_number(name: str) -> SplitName | None:
    """Return the split that a folder's name says without a number behind it: `test1`."""
    return split_called(without_number(name)[0])


def _are_parts(classes: Sequence[str]) -> bool:
    """Return whether folders are numbered parts of one set: `images_001`, `images_part_2`."""
    plain = {re.sub(r"\d+", "", name.lower()).strip("-_. ") for name in classes}
    numbered = all(re.search(r"\d", name) for name in classes)
    return len(classes) > 1 and numbered and len(plain) == 1 and bool(_PART.search(plain.pop()))


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
