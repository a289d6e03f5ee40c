"""The names of sources, such as `cifar10` or `folder:PATH`. A new kind is one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from anew.core.errors import AnewError, did_you_mean
from anew.data.sources.folder import read_folder
from anew.data.sources.memory import read_digits, read_npz
from anew.data.sources.parquet import read_parquet
from anew.data.sources.source import Contents, Source
from anew.data.sources.torchvision import cifar_reader, idx_reader

FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@dataclass(frozen=True)
class Kind:
    """A kind of source: how it is written, what it is, how it is read from its place, and whether
    one must be named.
    """

    summary: str
    read: Callable[[str, Path, bool], Source]
    needs_place: bool = False
    contents: Contents | None = None
    """What every such source holds, where that is known without its files."""


def load(source: str, root: Path = Path("data"), download: bool = False) -> Source:
    """Read a source by name, such as `digits`, `fashion-mnist`, `fashion-mnist:PATH` or
    `parquet:PATH`.

    `root` is where torchvision's data sets lie when no path is named; `download` fetches a missing
    one into it.
    """
    name, _, place = source.partition(":")
    if name not in SOURCES:
        raise AnewError(
            f"data '{source}' is not known{did_you_mean(name, SOURCES)}; choose one of "
            f"{', '.join(SOURCES)}"
        )
    if SOURCES[name].needs_place and not place:
        raise AnewError(f"data '{source}': names no place; write {name}:PATH")
    if SOURCES[name].needs_place and not Path(place).exists():
        raise AnewError(f"data '{source}': there is nothing at {place}; check the path")
    return SOURCES[name].read(source, Path(place) if place else root, download)


SOURCES: Mapping[str, Kind] = {
    "digits": Kind("scikit-learn's 1,797 grey 8x8 digits, always at hand", read_digits),
    "fashion-mnist": Kind(
        "Fashion-MNIST in torchvision's layout (or fashion-mnist:PATH)",
        idx_reader("FashionMNIST", FASHION, "crop+flip"),
        contents=Contents(60_000, 10_000, (1, 28, 28), 10, "crop+flip"),
    ),
    "mnist": Kind(
        "MNIST in torchvision's layout (or mnist:PATH)",
        idx_reader("MNIST", [str(digit) for digit in range(10)], "none"),
        contents=Contents(60_000, 10_000, (1, 28, 28), 10, "none"),
    ),
    "cifar10": Kind(
        "CIFAR-10 in torchvision's layout (or cifar10:PATH)",
        cifar_reader("cifar10", "CIFAR10"),
        contents=Contents(50_000, 10_000, (3, 32, 32), 10, "crop+flip"),
    ),
    "cifar100": Kind(
        "CIFAR-100 in torchvision's layout (or cifar100:PATH)",
        cifar_reader("cifar100", "CIFAR100"),
        contents=Contents(50_000, 10_000, (3, 32, 32), 100, "crop+flip"),
    ),
    "folder": Kind(
        "folder:PATH, one folder of pictures a class, or train/ and test/ with such",
        read_folder,
        True,
    ),
    "parquet": Kind(
        "parquet:PATH, train and test Parquet files with image bytes and labels",
        read_parquet,
        True,
    ),
    "npz": Kind(
        "npz:PATH, NumPy arrays x_train, y_train, x_test, y_test, or x and y", read_npz, True
    ),
}
