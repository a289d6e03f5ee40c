"""The names of sources, such as `cifar10` or `folder:PATH`. A new kind is one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anew.core import fields
from anew.core.errors import AnewError, did_you_mean
from anew.core.spec import DataSpec
from anew.data.sources.folder import read_folder
from anew.data.sources.hugging_face import read_hugging_face
from anew.data.sources.memory import read_digits
from anew.data.sources.npz import read_npz
from anew.data.sources.parquet import read_parquet
from anew.data.sources.source import Contents, Reading, Source, resized
from anew.data.sources.table_files import SUFFIXES as TABLES
from anew.data.sources.tar import read_tar
from anew.data.sources.text import made_up_words, read_ptb, read_text
from anew.data.sources.torchvision import cifar_reader, idx_reader
from anew.data.storage import Storage

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
class SourceKind:
    """A kind of source, such as `cifar10` or `folder`."""

    summary: str
    """One line for `anew data`."""
    read: Callable[[Reading], Source]
    """Reads a source from its description and its place."""
    needs_place: bool = False
    """Whether the source is written with a place, as `folder:PATH`."""
    takes_patterns: bool = False
    """Whether the place may be a pattern of several files, which the reader looks for."""
    contents: Contents | None = None
    """The sizes of every such source, if they are known without its files."""


def load(
    source: str,
    root: Path = Path("data"),
    download: bool = False,
    *,
    storage: Storage | None = None,
    **options: Any,
) -> Source:
    """Read a source by name, such as `digits`, `fashion-mnist:PATH` or `parquet:PATH`.

    `root` is the folder of torchvision's data sets if no path is named; `download` fetches a
    missing one into it. `options` are fields of `DataSpec`, such as `size=224`. Pictures are held
    in memory if they fit. Raises `AnewError` if the source is not known or cannot be read, and
    `MissingDataError` if its files are not at hand.
    """
    values = {"source": source, "root": str(root), "download": download, **options}
    return open_source(fields.read(DataSpec, values, prefix=("data",)), storage).settled()


def open_source(spec: DataSpec, storage: Storage | None = None) -> Source:
    """Open the source of a data spec; pictures in files are read when they are asked for.

    Raises `AnewError` as `load` does.
    """
    spec, source = spec.complete(), spec.source
    name, _, place = source.partition(":")
    if name in OTHER_NAMES:
        raise AnewError(
            f"data '{source}': such data are called {OTHER_NAMES[name]} here; write "
            f"{OTHER_NAMES[name]}:{place or 'PATH'}"
        )
    if name not in SOURCES:
        meant = _kind_of_path(source) or _kind_of_path(place)
        raise AnewError(
            f"data '{source}' is not known{did_you_mean(name, SOURCES)}; "
            + (f"write {meant}" if meant else f"choose one of {', '.join(SOURCES)}")
        )
    if SOURCES[name].needs_place and not place:
        raise AnewError(f"data '{source}': names no place; write {name}:PATH")

    path = Path(place).expanduser() if place else Path(spec.root).expanduser()
    looks_itself = SOURCES[name].takes_patterns
    if SOURCES[name].needs_place and not path.exists() and not looks_itself:
        raise AnewError(f"data '{source}': there is nothing at {place}; check the path")
    reading = Reading(spec, path, storage or Storage())
    return resized(SOURCES[name].read(reading), reading.form)


def _kind_of_path(text: str) -> str:
    """Return how a path that was given without a kind is written, "" if there is nothing."""
    path = Path(text).expanduser()
    if not text or not path.exists():
        return ""
    kinds = {".npz": "npz", ".parquet": "parquet", ".tar": "tar", ".txt": "text"}
    if path.is_file() and path.suffix.lower() not in kinds:
        is_table = path.suffix.lower() in TABLES and path.suffix.lower() != ".txt"
        return f"folder:{path.parent}, the folder that the table lies in" if is_table else ""
    kind = "folder" if path.is_dir() else kinds[path.suffix.lower()]
    return f"{kind}:{text}"


OTHER_NAMES = {
    "webdataset": "tar",
    "wds": "tar",
    "imagefolder": "folder",
    "huggingface": "hf",
    "datasets": "hf",
}
"""What others call the kinds of sources."""

SOURCES: Mapping[str, SourceKind] = {
    "digits": SourceKind("scikit-learn's 1,797 grey 8x8 digits, always available", read_digits),
    "fashion-mnist": SourceKind(
        "Fashion-MNIST in torchvision's layout (or fashion-mnist:PATH)",
        idx_reader("FashionMNIST", FASHION, "crop+flip"),
        contents=Contents(60_000, 10_000, (1, 28, 28), 10, "crop+flip"),
    ),
    "mnist": SourceKind(
        "MNIST in torchvision's layout (or mnist:PATH)",
        idx_reader("MNIST", [str(digit) for digit in range(10)], "none"),
        contents=Contents(60_000, 10_000, (1, 28, 28), 10, "none"),
    ),
    "cifar10": SourceKind(
        "CIFAR-10 in torchvision's layout (or cifar10:PATH)",
        cifar_reader("cifar10", "CIFAR10"),
        contents=Contents(50_000, 10_000, (3, 32, 32), 10, "crop+flip"),
    ),
    "cifar100": SourceKind(
        "CIFAR-100 in torchvision's layout (or cifar100:PATH)",
        cifar_reader("cifar100", "CIFAR100"),
        contents=Contents(50_000, 10_000, (3, 32, 32), 100, "crop+flip"),
    ),
    "folder": SourceKind(
        "folder:PATH, one folder of pictures for each class, or such folders in train/, val/ and "
        "test/",
        read_folder,
        True,
    ),
    "parquet": SourceKind(
        "parquet:PATH, one Parquet file of encoded pictures and labels, or one for each split",
        read_parquet,
        True,
    ),
    "tar": SourceKind(
        "tar:PATH or tar:t-{00..47}.tar, pictures and labels in WebDataset's tar files",
        read_tar,
        True,
        takes_patterns=True,
    ),
    "hf": SourceKind(
        "hf:NAME or hf:PATH, a Hugging Face data set (datasets.load_dataset or save_to_disk)",
        read_hugging_face,
    ),
    "npz": SourceKind(
        "npz:PATH, NumPy arrays x and y, or x_train, y_train, x_val, y_val, x_test and y_test",
        read_npz,
        True,
    ),
    "ptb": SourceKind(
        "the Penn Treebank, as Mikolov's ptb.zip in --data.root (or ptb:PATH); not downloaded",
        read_ptb,
        # Windows of 35 tokens; the longest of the words has 19 of 48 characters.
        contents=Contents(
            *(26_559, 2_355, (35,), 10_000, "none", 2_107),
            positions=(35,),
            words=made_up_words(10_000, characters=48, longest=19),
        ),
    ),
    "text": SourceKind(
        "text:PATH, a text file, or train.txt, valid.txt and test.txt in a folder or a zip; "
        "`text:` is 300 kB of Shakespeare, always available",
        read_text,
    ),
}
