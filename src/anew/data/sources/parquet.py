"""Pictures and labels in Parquet files, as the `datasets` library writes them: `image` (bytes) and
`label`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anew.core.errors import AnewError, in_one_line
from anew.data.examples import Resident
from anew.data.sources.arrays import with_labels
from anew.data.sources.pictures import read_all
from anew.data.sources.source import Source, checked_source

ROWS_AT_ONCE = 1024
IMAGE = ("image", "img")
LABEL = ("label", "fine_label")


def read_parquet(name: str, place: Path, download: bool) -> Source:
    """Read train*.parquet and test*.parquet."""

    def read(pattern: str) -> tuple[Resident, tuple[str, ...] | None] | None:
        files = sorted(place.glob(pattern))
        if not files:
            return None
        pictures, labels, classes = read_files(name, files)
        return with_labels(
            pictures, torch.tensor(labels), name, len(classes) if classes else None
        ), classes

    train = read("train*.parquet")
    if train is None:
        raise AnewError(f"data '{name}': there is no train*.parquet in {place}; check the path")
    test = read("test*.parquet")
    if test and test[1] and test[1] != train[1]:
        raise AnewError(
            f"data '{name}': the class names in test*.parquet are not those in train*.parquet; "
            f"number the classes alike"
        )
    return checked_source(name, train[0], test[0] if test else None, train[1], "crop+flip")


def read_files(
    name: str, files: Sequence[Path]
) -> tuple[Tensor, list[int], tuple[str, ...] | None]:
    """Return the pictures (N, C, H, W), the labels and, where the metadata has them, the class
    names of some files.

    A part at a time, so that the files' content is never in memory as a whole.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise AnewError(f"data '{name}' needs pyarrow; pip install 'anew[parquet]'") from error
    labels: list[int] = []
    classes: tuple[str, ...] | None = None
    count = 0
    file = files[0]

    def pictures() -> Iterator[tuple[str, bytes]]:
        nonlocal file
        for file, opened in zip(files, handles, strict=True):
            image, label = (_column(file, opened.schema_arrow, names) for names in (IMAGE, LABEL))
            row = 0
            for batch in opened.iter_batches(ROWS_AT_ONCE, columns=[image, label]):
                labels.extend(_whole_numbers(file, label, batch.column(label).to_pylist()))
                for value in batch.column(image).to_pylist():
                    content = value.get("bytes") if isinstance(value, dict) else value
                    if not isinstance(content, bytes):
                        raise AnewError(
                            f"{file}, row {row}: column '{image}' holds no bytes of a picture; "
                            f"write them into it"
                        )
                    yield f"{file}, row {row}", content
                    row += 1

    try:
        handles: list[Any] = []
        for file in files:
            handles.append(pyarrow.parquet.ParquetFile(file))
            schema = handles[-1].schema_arrow
            classes = classes or _class_names(schema, _column(file, schema, LABEL))
            count += handles[-1].metadata.num_rows
        if not count:
            raise AnewError(f"data '{name}': {files[0]} has no rows; fetch it again")
        return read_all(pictures(), count), labels, classes
    except (OSError, pyarrow.ArrowException) as error:
        raise AnewError(
            f"data '{name}': {file} cannot be read as Parquet ({in_one_line(error)}); fetch it "
            f"again"
        ) from error
    finally:
        # What was read lies in buffers that would be kept for the next file.
        pyarrow.default_memory_pool().release_unused()


def _column(file: Path, schema: Any, names: Sequence[str]) -> str:
    for name in names:
        if name in schema.names:
            return name
    raise AnewError(
        f"{file}: has no column '{names[0]}' (its columns: {', '.join(schema.names)}); rename it"
    )


def _whole_numbers(file: Path, column: str, values: list[Any]) -> list[int]:
    if any(not isinstance(one, int) for one in values):
        raise AnewError(
            f"{file}: column '{column}' must hold whole numbers in every row; mend or drop the "
            f"others"
        )
    return values


def _class_names(schema: Any, label: str) -> tuple[str, ...] | None:
    """Return the class names in the schema's `huggingface` metadata, or None."""
    written = (schema.metadata or {}).get(b"huggingface")
    try:
        names = json.loads(written)["info"]["features"][label]["names"] if written else None
    except (ValueError, KeyError, TypeError):
        return None
    return tuple(map(str, names)) if names else None
