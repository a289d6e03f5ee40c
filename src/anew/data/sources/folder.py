"""Folders of picture files, one folder for each class."""

from __future__ import annotations

from pathlib import Path

from anew.core.errors import AnewError, did_you_mean
from anew.data.encoded import PictureFiles
from anew.data.sources.encoded_source import Labelled, source_of
from anew.data.sources.source import Reading, Source

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")


def read_folder(reading: Reading) -> Source:
    """Read PATH/train/CLASS/* and PATH/test/CLASS/*, or PATH/CLASS/* without a test set.

    Raises `AnewError` if a class has no picture, or if a picture cannot be read.
    """
    name, place = reading.name, reading.place
    if (place / "train").is_dir():
        folders = [folder for folder in (place / "train", place / "test") if folder.is_dir()]
    else:
        folders = [place]
    classes = _class_folders(name, folders[0])
    (train, labels), *tests = [_files(name, folder, classes) for folder in folders]

    # All splits are read as one, so that they are all grey or all in colour.
    paths = [*train, *(path for paths, _ in tests for path in paths)]
    test_labels = tests[0][1] if tests else None
    found = Labelled(PictureFiles(paths), labels, test_labels, tuple(classes))
    return source_of(found, reading)


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
