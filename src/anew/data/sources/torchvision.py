"""Data sets in torchvision's layout, which it can download: MNIST, Fashion-MNIST, CIFAR."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from anew.core.errors import AnewError
from anew.data.sources import layouts
from anew.data.sources.memory import from_arrays
from anew.data.sources.source import MissingDataError, Reading, Source


def idx_reader(folder: str, classes: Sequence[str], views: str) -> Callable[[Reading], Source]:
    """Return the reader of a data set in IDX files, such as MNIST."""

    def read(reading: Reading) -> Source:
        name, root, download = reading.name, reading.place, reading.spec.download
        place = layouts.find_idx(root, folder)
        if place is None and download:
            _download(name, folder, root)
            place = layouts.find_idx(root, folder)
        if place is None:
            files = ", ".join(file for names in layouts.IDX_FILES.values() for file in names)
            raise _missing(name, f"{files} (or .gz) in {root / folder / 'raw'}")
        train, test = (layouts.read_idx_pair(place, split) for split in ("train", "test"))
        return from_arrays(train, test, classes, name, views)

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
            raise _missing(name, f"{', '.join([*train, *test, meta])} in {root / folder}")
        train_pair, test_pair, classes = layouts.read_cifar(place, which)
        return from_arrays(train_pair, test_pair, classes, name, "crop+flip")

    return read


def _missing(name: str, files: str) -> MissingDataError:
    return MissingDataError(
        f"data '{name}': is not there (looked for {files}); name its folder with --data.root, or "
        f"add --data.download"
    )


def _download(name: str, torchvision_name: str, root: Path) -> None:
    import torchvision

    try:
        for train in (True, False):
            getattr(torchvision.datasets, torchvision_name)(str(root), train=train, download=True)
    except (RuntimeError, OSError) as error:
        raise AnewError(
            f"data '{name}': cannot be fetched ({' '.join(str(error).split())[:200]}); check the "
            f"network, or put the files into {root} by hand"
        ) from error
