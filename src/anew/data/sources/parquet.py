"""Pictures and labels in Parquet files, as the `datasets` library writes them.

The columns are `image` (bytes) and `label`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from anew.core.errors import AnewError, in_one_line
from anew.core.files import check_regular
from anew.core.parsing import parse_json
from anew.data.examples import Resident
from anew.data.sources.arrays import with_labels
from anew.data.sources.pictures import read_all
from anew.data.sources.source import Source, checked_source

ROWS_AT_ONCE = 1024
IMAGE = ("image", "img")
LABEL = ("label", "fine_label")


def read_parquet(name: str, place: Path, download: bool) -> Source:
    """Read train*.parquet and test*.parquet.

    Raises `AnewError` if no training file is at `place`, or if a file or a picture cannot be read.
    """
    training = sorted(place.glob("train*.parquet"))
    if not training:
        raise AnewError(f"data '{name}': there is no train*.parquet in {place}; check the path")
    train, classes = _read_split(name, training)

    tests = sorted(place.glob("test*.parquet"))
    test, test_classes = _read_split(name, tests) if tests else (None, None)
    if test_classes and test_classes != classes:
        raise AnewError(
            f"data '{name}': the class names in test*.parquet are not those in train*.parquet; "
            "number the classes alike"
        )
    return checked_source(name, train, test, classes, "crop+flip")


def _read_split(name: str, files: Sequence[Path]) -> tuple[Resident, tuple[str, ...] | None]:
    pictures, labels, classes = read_files(name, files)
    count = len(classes) if classes else None
    return with_labels(pictures, torch.tensor(labels), name, count), classes


def read_files(
    name: str, files: Sequence[Path]
) -> tuple[Tensor, list[int], tuple[str, ...] | None]:
    """Return pictures (N, C, H, W), labels and class names; names are None without metadata.

    The files are read a part at a time, so that their content is never in memory as a whole.
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
            row, announced = 0, opened.metadata.num_rows
            for batch in opened.iter_batches(ROWS_AT_ONCE, columns=[image, label]):
                labels.extend(_whole_numbers(file, label, batch.column(label).to_pylist()))

                for value in batch.column(image).to_pylist():
                    place = f"{file}, row {row}"
                    yield place, _content(place, image, value)
                    row += 1
                if row > announced:
                    break
            if row != announced:
                raise AnewError(f"{file}: announces {announced:,} rows and holds others; mend it")

    try:
        handles: list[Any] = []
        for file in files:
            check_regular(file)
            handles.append(pyarrow.parquet.ParquetFile(file))
            schema = handles[-1].schema_arrow
            classes = classes or _class_names(file, schema, _column(file, schema, LABEL))
            count += handles[-1].metadata.num_rows

        if not count:
            raise AnewError(f"data '{name}': {files[0]} has no rows; fetch it again")
        return read_all(pictures(), count), labels, classes
    except (OSError, pyarrow.ArrowException) as error:
        raise AnewError(
            f"data '{name}': {file} cannot be read as Parquet ({in_one_line(error)}); fetch it "
            "again"
        ) from error
    finally:
        # What was read lies in buffers that would be kept for the next file.
        pyarrow.default_memory_pool().release_unused()


def _content(place: str, column: str, value: Any) -> bytes:
    """Return the bytes of a picture from a cell: the bytes, or a dictionary with them."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise AnewError(
            f"{place}: column '{column}' holds no bytes of a picture; write them into it"
        )
    return content


def _column(file: Path, schema: Any, names: Sequence[str]) -> str:
    for name in names:
        if schema.names.count(name) > 1:
            raise AnewError(f"{file}: has the column '{name}' twice; drop or rename one")
        if name in schema.names:
            return name
    raise AnewError(
        f"{file}: has no column '{names[0]}' (its columns: {', '.join(schema.names)}); rename it"
    )


def _whole_numbers(file: Path, column: str, values: list[Any]) -> list[int]:
    if any(not isinstance(value, int) or abs(value) >= 1 << 63 for value in values):
        raise AnewError(
            f"{file}: column '{column}' must hold whole numbers of classes in every row; mend or "
            "drop the others"
        )
    return values


def _class_names(file: Path, schema: Any, label: str) -> tuple[str, ...] | None:
    """Return the class names in the schema's `huggingface` metadata, or None."""
    written = (schema.metadata or {}).get(b"huggingface")
    if not written:
        return None
    try:
        names = parse_json(written.decode())["info"]["features"][label]["names"]
    except (ValueError, KeyError, TypeError):
        return None
    if names is not None and not isinstance(names, list):
        raise AnewError(f"{file}: its class names are no list; write them as `datasets` does")
    return tuple(map(str, cast("list[Any]", names))) if names else None
