"""What people call the parts of their data: splits, columns, files of the system."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

SplitName = Literal["train", "test", "validation"]
SPLITS: tuple[SplitName, ...] = ("train", "test", "validation")
"""The splits, in the order in which a source holds their pictures."""

_WORDS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "validation": "validation",
    "validate": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "development": "validation",
    "devel": "validation",
    "test": "test",
    "testing": "test",
    "tst": "test",
    "eval": "test",
    "evaluation": "test",
}
_ADDED = re.compile(
    r"[_ .-]*(set|data|dataset|images?|imgs?|pictures|split|labels?|lists?|annotations?|files?)$"
)
_SYSTEM = {
    "__macosx",
    "thumbs.db",
    "desktop.ini",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
}

IMAGES = ("image", "img", "pixel_values", "picture", "photo", "image_bytes", "png", "jpg", "jpeg")
"""What a column with pictures is called, the first that is there."""
FILES = (
    "file_name",
    "filename",
    "file",
    "image",
    "image_name",
    "img",
    "img_name",
    "path",
    "filepath",
    "file_path",
    "image_path",
    "image_id",
    "imageid",
    "image_file",
    "picture",
    "photo",
    "filenames",
    "file_names",
    "filepaths",
    "img_path",
    "image_index",
    "fname",
    "name",
    "id",
    "url",
    "image_url",
    "uri",
)
"""What a column with the names of picture files is called."""
LABELS = (
    "label",
    "fine_label",
    "labels",
    "fine_labels",
    "target",
    "targets",
    "class",
    "classes",
    "class_name",
    "classname",
    "category",
    "category_name",
    "label_name",
    "class_id",
    "label_id",
    "category_id",
    "classid",
    "label_idx",
    "species",
    "breed",
    "diagnosis",
    "cls",
    "y",
    "dx",
    "finding_labels",
    "class_label",
)
"""What a column with classes is called."""
SPLIT_COLUMNS = ("split", "subset", "partition", "fold", "set")
"""What a column with the names of splits is called."""


def split_called(name: str) -> SplitName | None:
    """Return the split that a folder or a table of this name holds: `Training_Set` is train."""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().strip()
    while plain not in _WORDS:
        shorter = _ADDED.sub("", plain)
        if shorter == plain:
            return None
        plain = shorter
    return _WORDS[plain]


def without_number(name: str) -> tuple[str, int | None]:
    """Return a name without the number at its end, and the number: `test1` is test and 1."""
    found = re.fullmatch(r"(.*?)[-_. ]*(\d+)", name)
    return (found[1], int(found[2])) if found else (name, None)


def flag_called(name: str) -> SplitName | None:
    """Return the split of which a column of yes and no says what is in it, such as `is_valid`."""
    plain = name.strip().lower().replace(" ", "_")
    return split_called(plain.removeprefix("is_")) if plain.startswith("is_") else None


def split_of_shard(stem: str) -> SplitName | None:
    """Return the split of a file such as `train-00000-of-00002` or `val`, without its suffix."""
    word = re.match(r"[^0-9]*?(?=[-_. ]?\d|$)", stem)
    return split_called(word.group()) if word else None


def split_in(stem: str) -> SplitName | None:
    """Return the split that one word of a file's name says, as in `imagenet-val-000`."""
    said: list[SplitName] = []
    for word in re.split(r"[-_. ]+", stem):
        split = split_called(word)
        if split is not None and split not in said:
            said.append(split)
    return said[0] if len(said) == 1 else None


def column_called(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the first of the usual names that a table has, in any case."""
    plain = {column.strip().lower().replace(" ", "_"): column for column in reversed(columns)}
    return next((plain[name] for name in names if name in plain), None)


def is_of_system(name: str) -> bool:
    """Return whether a file or folder is one that systems and tools leave: hidden, or a cache."""
    return name.startswith(".") or name.lower() in _SYSTEM
