"""Data sets in torchvision's layout, which it can download: MNIST, Fashion-MNIST, CIFAR."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase, digits

from anew.core.errors import AnewError
from anew.data.sources import layouts
from anew.data.sources.labels import Labels, numbered
from anew.data.sources.memory import from_arrays
from anew.data.sources.source import MissingDataError, Reading, Source

_MERGED = f"{digits}{ascii_uppercase}abdefghnqrt"
EMNIST = {
    "emnist-letters": ascii_uppercase,
    "emnist-balanced": _MERGED,
    "emnist-bymerge": _MERGED,
    "emnist-byclass": f"{digits}{ascii_uppercase}{ascii_lowercase}",
}
"""The classes of EMNIST's parts; those of the others are digits."""


def idx_reader(folder: str, classes: Sequence[str], views: str) -> Callable[[Reading], Source]:
    """Return the reader of a data set in IDX files, such as MNIST."""

    def read(reading: Reading) -> Source:
        name, root, download = reading.name, reading.place, reading.spec.download
        found = layouts.find_idx(root, folder)
        if found is None and download:
            _download(name, folder, root)
            found = layouts.find_idx(root, folder)
        if found is None:
            sought = f"{', '.join(layouts.IDX_FILES)} (or .gz) in {root / folder / 'raw'}"
            raise _missing(name, sought, root, ("mnist", "idx"))
        train, test = found.pair("train"), found.pair("test")
        if not found.prefix:
            return from_arrays(train, test, classes, name, views)

        pairs: Labels = {"train": train[1], "test": test[1]}
        labels, names, notes = numbered(name, pairs, None)
        train, test = (train[0], labels["train"]), (test[0], labels["test"])
        named = EMNIST.get(found.prefix)
        if named is not None and int(labels["train"].max()) < len(named):
            names = tuple(named)
        if found.prefix.startswith("emnist"):
            notes.append("EMNIST's files hold transposed pictures; they are read as they are")
        source = from_arrays(train, test, names, name, views)
        return replace(source, notes=(f"files of {found.prefix} are read", *notes))

    return read


def cifar_reader(which: str, torchvision_name: str) -> Callable[[Reading], Source]:
    """Return the reader of CIFAR-10 or CIFAR-100 in the pickles of their authors."""

    def read(reading: Reading) -> Source:
        name, root, download = reading.name, reading.place, reading.spec.download
        place = layouts.find_cifar(root, which)
        if place is None and download:
            _download(name, torchvision_name, root)
            place = layouts.find_cifar(root, which)
        if place is None:
            folder, train, test, meta = layouts.CIFAR_FILES[which]
            sought = f"{', '.join([*train, *test, meta])} in {root / folder}"
            raise _missing(name, sought, root, (folder.removesuffix("-py"), which))
        train_pair, test_pair, classes = layouts.read_cifar(place, which)
        return from_arrays(train_pair, test_pair, classes, name, "crop+flip")

    return read


def _missing(name: str, sought: str, root: Path, words: Sequence[str]) -> MissingDataError:
    near = layouts.what_is_near(root)
    if near:
        return MissingDataError(f"data '{name}': {near}")
    archive = layouts.find_archive(root, words)
    if archive is not None:
        return MissingDataError(
            f"data '{name}': is not there (looked for {sought}), but {archive} is: unpack it "
            f"there, or name another folder with --data.root"
        )
    return MissingDataError(
        f"data '{name}': is not there (looked for {sought}); name its folder with --data.root, or "
        f"add --data.download"
    )


def _download(name: str, torchvision_name: str, root: Path) -> None:
    import torchvision

    try:
        for train in (True, False):
            getattr(torchvision.datasets, torchvision_name)(str(root), train=train, download=True)
    except (RuntimeError, OSError) as error:
        raise AnewError(
            f"data '{name}': cannot be downloaded ({' '.join(str(error).split())[:200]}); check "
            f"the network, or put the files into {root} by hand"
        ) from error
