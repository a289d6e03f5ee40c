"""Words, numbers and tables as text: one place for what people read in several formats.

Names of files, classes and networks come from outside. A terminal would obey the escape sequences
in them (move the cursor, set the title, paste from the clipboard), and a spreadsheet would take a
cell that starts with = for a formula: `clean` and `csv_table` make them harmless.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
# A number, an interval of two, or the dash that stands for what is not known. Nothing else may
# follow a number: -2+3+cmd|... is a formula too.
_NUMBER = r"[+-]?(?:[0-9][0-9,]*\.?[0-9]*|\.[0-9]+|inf|nan)(?:e[+-]?[0-9]+)?"
_NUMBERS = re.compile(rf"-|{_NUMBER}(?: to {_NUMBER})?(?: %)?")
# Control characters, formats (such as the marks that turn the direction of writing), surrogates (as
# in names that are not UTF-8), and the separators of lines and paragraphs.
_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Formats that join signs, or keep them apart: Persian, Hindi and emoji are written with them.
_JOINERS = "\u200c\u200d"


def clean(text: str, keep: str = "") -> str:
    r"""Return a text whose control characters are written out, such as `\u001b` for an escape.

    Characters in `keep`, such as a line's end, stay. What is printable stays as it is. JSON stays
    JSON of the same values: it writes characters out in the same way.
    """
    if text.isprintable():
        return text
    return "".join(
        _written_out(character)
        if unicodedata.category(character) in _HARMFUL and character not in keep + _JOINERS
        else character
        for character in text
    )


def _written_out(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int | None = None
) -> str:
    """Return a Markdown table, its cells cleaned.

    Columns from `numbers_from` on, if it is given, are aligned to the right.
    """
    right = len(columns) if numbers_from is None else numbers_from
    aligned = ["---:" if number >= right else "---" for number in range(len(columns))]
    return "\n".join(
        "| " + " | ".join(clean(cell).replace("|", "\\|") for cell in row) + " |"
        for row in (columns, aligned, *rows)
    )


def csv_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as CSV: a line of column names, then one line a row.

    Texts are cleaned, and one that a spreadsheet would take for a formula starts with an
    apostrophe. Numbers, also as texts such as -0.5, stay as they are.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in (columns, *rows):
        writer.writerow([_cell(value) for value in row])
    return text.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = clean(value)
    is_formula = text.startswith(_FORMULA_STARTS) and not _NUMBERS.fullmatch(text)
    return f"'{text}" if is_formula else text


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


def json_text(value: Any, indent: int | None = 1) -> str:
    """Return a value as JSON of its `plain` form, which any program reads: it knows no NaN."""
    return json.dumps(plain(value), indent=indent, allow_nan=False)


def in_digits(value: float | None, digits: int) -> str:
    """Return a number with so many digits after its point; `-` for none and one not finite."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def p_value(p: float) -> str:
    """Return a p-value as text: three decimals, of a smaller one its first digit, never 0.

    `-` where it is not defined (NaN).
    """
    if math.isnan(p):
        return "-"
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1g}"


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

    For example `generation 2`, `ensemble of generations 0 and 1`, or
    `ensemble of generations 1 to 3`.
    """
    first, last = generations[0], generations[-1]
    if len(generations) == 1:
        return f"generation {first}"
    joined = "and" if len(generations) == 2 else "to"
    return f"ensemble of generations {first} {joined} {last}"


def capitalised(text: str) -> str:
    """Return a text with its first letter in upper case, and the others as they are."""
    return text[:1].upper() + text[1:]


def counted(count: int, what: str) -> str:
    """Return a number of things, such as `1 picture` or `1,200 pictures`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


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
