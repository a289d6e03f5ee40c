"""Folders of picture files, one folder for each class."""

from __future__ import annotations

from pathlib import Path

import torch

from anew.core.errors import AnewError, did_you_mean
from anew.data.examples import Resident
from anew.data.sources.arrays import with_labels
from anew.data.sources.pictures import read_all
from anew.data.sources.source import Source, checked_source

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")


def read_folder(name: str, place: Path, download: bool) -> Source:
    """Read PATH/train/CLASS/* and PATH/test/CLASS/*, or PATH/CLASS/* without a test set.

    Raises `AnewError` if a class has no picture, or if a picture cannot be read.
    """
    if (place / "train").is_dir():
        folders = [folder for folder in (place / "train", place / "test") if folder.is_dir()]
    else:
        folders = [place]
    classes = _class_folders(name, folders[0])
    splits = [_files(name, folder, classes) for folder in folders]

    # All splits are read as one, so that they are all grey or all in colour.
    paths = [path for paths, _ in splits for path in paths]
    pictures = read_all(((str(path), path) for path in paths), len(paths))
    parts = pictures.split([len(paths) for paths, _ in splits])
    examples: list[Resident] = []
    for part, (_, labels) in zip(parts, splits, strict=True):
        examples.append(with_labels(part, torch.tensor(labels), name))

    test = examples[1] if len(examples) > 1 else None
    return checked_source(name, examples[0], test, tuple(classes), "crop+flip")


def _class_folders(name: str, part: Path) -> list[str]:
    """Return the names of the class folders in a split's folder, sorted."""
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
            "class"
        )
    return classes


def _files(name: str, part: Path, classes: list[str]) -> tuple[list[Path], list[int]]:
    """Return the picture files of a split and the number of each one's class."""
    paths, labels = list[Path](), list[int]()
    for label in _class_folders(name, part):
        folder = part / label
        if label not in classes:
            raise AnewError(
                f"data '{name}': the test set has class '{label}', which no training example has"
                f"{did_you_mean(label, classes)}; rename or remove {folder}"
            )
        pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if not pictures:
            raise AnewError(
                f"data '{name}': class folder '{folder}' has no picture; add pictures or "
                "remove the folder"
            )

        paths += pictures
        labels += [classes.index(label)] * len(pictures)
    return paths, labels
