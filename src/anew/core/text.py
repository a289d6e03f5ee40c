"""Words, numbers and tables as text: one place for what people read in several formats."""

from __future__ import annotations

import base64
import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int | None = None
) -> str:
    """Return a Markdown table.

    Columns from `numbers_from` on, if it is given, are aligned to the right.
    """
    right = len(columns) if numbers_from is None else numbers_from
    aligned = ["---:" if number >= right else "---" for number in range(len(columns))]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
        for row in (columns, aligned, *rows)
    )


def csv_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as CSV: a line of column names, then one line a row."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it, at every depth.

    Dataclasses become mappings, tuples lists, bytes base64, and numbers that are not finite null.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def generations_name(generations: Sequence[int]) -> str:
    """Return the name of a generation or an ensemble in tables and charts.

    For example `generation 2`, `ensemble 0-2`, and `ensemble 0,2` if there are gaps.
    """
    first, last = generations[0], generations[-1]
    if len(generations) == 1:
        return f"generation {first}"
    if list(generations) == list(range(first, last + 1)):
        return f"ensemble {first}-{last}"
    return "ensemble " + ",".join(map(str, generations))


def generations_in_words(generations: Sequence[int]) -> str:
    """Return the name of a generation or an ensemble in a sentence.

    For example `generation 2`, `mean of generations 0 and 1`, `mean of generations 1 to 3`.
    """
    first, last = generations[0], generations[-1]
    if len(generations) == 1:
        return f"generation {first}"
    joined = "and" if len(generations) == 2 else "to"
    return f"mean of generations {first} {joined} {last}"


def capitalised(text: str) -> str:
    """Return a text with its first letter in upper case, and the others as they are."""
    return text[:1].upper() + text[1:]


def listed(values: Sequence[str]) -> str:
    """Return names as one says them: `a`, `a and b`, `a, b and c`."""
    if len(values) < 2:
        return "".join(values)
    return f"{', '.join(values[:-1])} and {values[-1]}"


def in_bytes(count: float) -> str:
    """Return a number of bytes with its unit, such as `1.05 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.3g} {unit}"
        count /= 1000
    return f"{count:,.4g} TB"


def in_time(seconds: float) -> str:
    """Return a time in seconds, minutes or hours, such as `3.2 min`."""
    if seconds < 120:
        return f"{seconds:,.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:,.1f} min"
    return f"{seconds / 3600:,.1f} h"


def in_count(count: float) -> str:
    """Return a number in thousands (k), millions (M) or billions (G), such as `184k`."""
    for unit in ("", "k", "M"):
        if count < 1000:
            return f"{count:,.3g}{unit}" if unit else f"{count:,.0f}"
        count /= 1000
    return f"{count:,.4g}G"
