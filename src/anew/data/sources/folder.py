"""Folders of picture files, one folder for each class."""

from __future__ import annotations

from pathlib import Path

import torch

from anew.core.errors import AnewError, did_you_mean
from anew.data.sources.arrays import with_labels
from anew.data.sources.pictures import read_all
from anew.data.sources.source import Source, checked_source

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")


def read_folder(name: str, place: Path, download: bool) -> Source:
    """Read PATH/train/CLASS/* and PATH/test/CLASS/*, or PATH/CLASS/* without a test set."""
    parts = [place / "train", place / "test"] if (place / "train").is_dir() else [place]
    classes = _class_folders(name, parts[0])
    found = [_files(name, part, classes) for part in parts if part.is_dir()]
    everything = read_all(
        ((str(path), path) for paths, _ in found for path in paths),
        sum(len(one) for one, _ in found),
    )
    sizes = [len(paths) for paths, _ in found]
    examples = [
        with_labels(inputs, torch.tensor(labels), name)
        for inputs, (_, labels) in zip(everything.split(sizes), found, strict=True)
    ]
    return checked_source(
        name, examples[0], examples[1] if len(examples) > 1 else None, tuple(classes), "crop+flip"
    )


def _class_folders(name: str, part: Path) -> list[str]:
    if not part.is_dir():
        raise AnewError(
            f"data '{name}': {part} is no folder; it must hold a folder of pictures for each class"
        )
    classes = sorted(
        path.name for path in part.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    if not classes:
        raise AnewError(
            f"data '{name}': {part} holds no class folders; put the pictures into one folder a "
            f"class"
        )
    return classes


def _files(name: str, part: Path, classes: list[str]) -> tuple[list[Path], list[int]]:
    paths, labels = list[Path](), list[int]()
    for one in _class_folders(name, part):
        if one not in classes:
            raise AnewError(
                f"data '{name}': the test set has class '{one}', which no training example has"
                f"{did_you_mean(one, classes)}; rename or remove {part / one}"
            )
        pictures = sorted(
            path for path in (part / one).iterdir() if path.suffix.lower() in SUFFIXES
        )
        if not pictures:
            raise AnewError(
                f"data '{name}': class folder '{part / one}' has no picture; add pictures or "
                f"remove the folder"
            )
        paths += pictures
        labels += [classes.index(one)] * len(pictures)
    return paths, labels
