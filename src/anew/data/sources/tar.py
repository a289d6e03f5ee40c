"""Pictures and labels in tar files, as WebDataset keeps them: `0001.jpg` beside `0001.cls`.

Tar files are read by the places of their members, in any order, and never unpacked.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anew.core.errors import AnewError
from anew.core.text import counted
from anew.data.encoded import stamp_of
from anew.data.kept import some_of
from anew.data.sources.arrays import check_labels
from anew.data.sources.class_names import names_of_numbers
from anew.data.sources.encoded_source import Labelled, source_of
from anew.data.sources.labels import Labels, numbered
from anew.data.sources.layout_names import SPLITS, SplitName
from anew.data.sources.shards import TAR, Shards, find_shards, shards_of_pattern
from anew.data.sources.source import Reading, Source
from anew.data.sources.tar_index import NO_LABEL, TarIndex, Wanted, index_of

OPENED = 64
"""So many tar files a process keeps open."""
CAPTIONS = 20
"""Of so many examples and more, labels that are nearly all different are no classes."""
_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")


def read_tar(reading: Reading) -> Source:
    """Read tar files by split, from a folder, one file, or a pattern such as `t-{000..147}.tar`.

    Members whose names are alike up to their first dot are an example: a picture, and its label in
    `.cls`, in a field of `.json`, or in `.txt`. Raises `AnewError` if files are damaged or
    compressed, or if pictures have no label or are several.
    """
    name, spec = reading.name, reading.spec
    shards, notes = _shards(reading)
    splits: list[SplitName] = [split for split in SPLITS if split in shards]
    paths = [path for split in splits for path in shards[split]]
    wanted = Wanted(spec.image_column.lstrip("."), spec.label_column.lstrip("."))
    index = index_of(paths, wanted, reading.storage)
    notes += _check_files(name, paths, index, lenient=spec.skip_damaged)

    numbers: dict[SplitName, NDArray[np.int64]] = {}
    ends = np.cumsum([0, *(len(shards[split]) for split in splits)])
    for number, split in enumerate(splits):
        inside = (index.tars >= ends[number]) & (index.tars < ends[number + 1])
        mine = np.flatnonzero(inside)
        labelled = mine[index.labels[mine] != NO_LABEL]
        if split != "train" and not len(labelled):
            notes.append(f"the {split} set is not used: it has no labels")
            continue
        if len(labelled) < len(mine):
            without = mine[index.labels[mine] == NO_LABEL]
            notes.append(_unlabelled(name, index, without, lenient=spec.skip_damaged))
        numbers[split] = labelled
    if not len(numbers["train"]):
        raise AnewError(
            f"data '{name}': {some_of([str(path) for path in shards['train']], 3)} hold no picture "
            f"with a label{_what_is_there(index)}; write pictures as .jpg or .png and labels as "
            ".cls"
        )

    labels, classes, said = numbered(name, _labels(index, numbers), None)
    if classes is None:
        folders = [one for path in paths for one in (path.parent, path.parent.parent)]
        classes, beside = names_of_numbers(folders, labels)
        said += beside
    _check_classes(name, labels)
    for values in labels.values():
        check_labels(values, name, len(classes) if classes else None)
    ordered = {split: labels[split].tolist() for split in numbers}
    chosen = np.concatenate([numbers[split] for split in numbers])
    found = Labelled(
        TarPictures(paths, index, chosen),
        ordered["train"],
        ordered.get("test"),
        classes,
        [*notes, *said],
        ordered.get("validation"),
    )
    return source_of(found, reading)


class TarPictures:
    """Encoded pictures in tar files, each read from its place."""

    def __init__(self, paths: Sequence[Path], index: TarIndex, chosen: NDArray[np.int64]) -> None:
        self._paths = [os.fspath(path) for path in paths]
        self._index, self._chosen = index, chosen
        self._opened: dict[int, int] = {}
        self._process = 0

    @property
    def stamp(self) -> str:
        """A hash over the files' paths, sizes and times of change, and the pictures' places."""
        digest = hashlib.sha256(stamp_of(self._paths).encode())
        for array in (self._index.tars, self._index.offsets, self._index.sizes):
            digest.update(np.ascontiguousarray(array[self._chosen]).data)
        return digest.hexdigest()

    @property
    def in_any_order(self) -> bool:
        """Whether pictures are read quickly in any order: yes, from their places."""
        return True

    def __len__(self) -> int:
        return len(self._chosen)

    def name(self, number: int) -> str:
        """Return the tar file and the key."""
        at = int(self._chosen[number])
        return f"{self._paths[self._index.tars[at]]}, {self._index.key(at)}"

    def content(self, number: int) -> bytes:
        """Return the bytes of a picture. Raises `AnewError` if the file cannot be read."""
        at = int(self._chosen[number])
        tar, size = int(self._index.tars[at]), int(self._index.sizes[at])
        try:
            content = os.pread(self._descriptor(tar), size, int(self._index.offsets[at]))
        except OSError as error:
            raise AnewError(
                f"{self._paths[tar]}: cannot be read ({error.strerror}); check the path"
            ) from error
        if len(content) < size:
            raise AnewError(
                f"{self.name(number)}: the file has been truncated meanwhile; download it again"
            )
        return content

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}, "_process": 0}

    def _descriptor(self, tar: int) -> int:
        """Return a file's descriptor; each process opens its own, and few at once."""
        if self._process != os.getpid():
            self._opened, self._process = {}, os.getpid()
        if tar not in self._opened:
            while len(self._opened) >= OPENED:
                os.close(self._opened.pop(next(iter(self._opened))))
            self._opened[tar] = os.open(self._paths[tar], os.O_RDONLY)
        return self._opened[tar]


def _shards(reading: Reading) -> tuple[Shards, list[str]]:
    """Return the tar files of each split; compressed ones are refused with the way to unpack."""
    name, place = reading.name, reading.place
    if not place.exists():
        return shards_of_pattern(name, str(place), TAR)
    try:
        return find_shards(name, place, TAR)
    except AnewError:
        packed = [path.name for path in place.rglob("*") if path.name.lower().endswith(_PACKED)]
        if not packed:
            raise
        are = "is" if len(packed) == 1 else "are"
        raise AnewError(
            f"data '{name}': {some_of(sorted(packed), 3)} {are} compressed, which allows no "
            "random access; unpack it once to .tar files (gzip -d, xz -d, zstd -d)"
        ) from None


def _check_files(name: str, paths: Sequence[Path], index: TarIndex, *, lenient: bool) -> list[str]:
    """Raise `AnewError` for damaged files and several pictures of a key; return what is to be said.

    `lenient` uses what is whole, and says it.
    """
    notes: list[str] = []
    pairs = list(zip(paths, index.notes, strict=True))
    damaged = [f"{path} {one['damage']}" for path, one in pairs if one["damage"]]
    if damaged and not lenient:
        raise AnewError(
            f"data '{name}': {len(damaged)} of {len(paths)} tar files are damaged: "
            f"{some_of(damaged)}; download them again, or use their intact examples with "
            "--data.skip-damaged"
        )
    if damaged:
        notes.append(f"of damaged tar files only the intact examples are used: {some_of(damaged)}")

    several = [
        f"{path}, {key} ({which})" for path, one in pairs for key, which in one["several"].items()
    ]
    if several and not lenient:
        raise AnewError(
            f"data '{name}': {len(several):,} keys have more than one picture: "
            f"{some_of(several, 3)}; choose a suffix with --data.image-column, or skip these "
            "keys with --data.skip-damaged"
        )
    if several:
        notes.append(f"{len(several):,} keys with several pictures are skipped: {some_of(several)}")

    without = [f"{path.name}, {key}" for path, one in pairs for key in one["without_picture"]]
    if without:
        notes.append(f"{len(without):,} keys without a picture are ignored: {some_of(without)}")
    others = Counter[str]()
    for one in index.notes:
        others.update(one["others"])
    if others:
        counts = [f"{count:,} {what}" for what, count in others.most_common()]
        notes.append(f"in the tar files are ignored: {some_of(counts)}")
    return notes


def _what_is_there(index: TarIndex) -> str:
    """Return how many keys have no picture, in words."""
    keys = [key for one in index.notes for key in one["without_picture"]]
    return f" ({counted(len(keys), 'key')} without a picture: {some_of(keys, 3)})" if keys else ""


def _unlabelled(name: str, index: TarIndex, without: NDArray[np.int64], *, lenient: bool) -> str:
    """Return the note of pictures without a label, left out where that is asked for."""
    names = some_of([index.key(int(number)) for number in without])
    if lenient:
        return f"{len(without):,} pictures without a label are skipped: {names}"
    folders = sorted({PurePath(index.key(int(number))).parent.name for number in without})
    if 1 < len(folders) <= len(without) / 2 and all(folders):
        raise AnewError(
            f"data '{name}': {len(without):,} pictures have no label, and lie in folders "
            f"({some_of(folders, 3)}), which seem to be the classes; unpack the tar file, and give "
            "folder:PATH"
        )

    raise AnewError(
        f"data '{name}': {len(without):,} pictures have no readable label in .cls, a field of "
        f".json, or .txt: {names}; name the suffix or the field with --data.label-column, or "
        "skip these pictures with --data.skip-damaged"
    )


def _labels(index: TarIndex, numbers: dict[SplitName, NDArray[np.int64]]) -> Labels:
    """Return the labels of each split: whole numbers if all are, else names."""
    used = {int(code) for mine in numbers.values() for code in np.unique(index.labels[mine])}
    whole = all(_WHOLE.fullmatch(index.texts[code]) for code in used)
    texts: NDArray[Any] = np.array(index.texts)
    if whole:
        texts = np.array(
            [int(text) if code in used else 0 for code, text in enumerate(index.texts)], np.int64
        )
    labels: Labels = {}
    for split, mine in numbers.items():
        labels[split] = texts[index.labels[mine]]
    return labels


def _check_classes(name: str, labels: Labels) -> None:
    """Raise `AnewError` for labels that are captions: each picture has its own."""
    count = len(labels["train"])
    if count >= CAPTIONS and len(np.unique(labels["train"])) > count / 2:
        raise AnewError(
            f"data '{name}': {count:,} pictures have {len(np.unique(labels['train'])):,} "
            "different labels, like captions; name the suffix or the field of the classes with "
            "--data.label-column"
        )
