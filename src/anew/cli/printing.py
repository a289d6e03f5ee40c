"""How commands print results: JSON, rows as CSV or Markdown, and notices beside them.

A result goes to standard output alone, so that a program can read it; notices go to standard error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from anew.cli.streams import Terminal
from anew.core.text import csv_table, in_digits, json_text, table


def print_json(value: Any) -> None:
    """Print a value as JSON that any program reads."""
    print(json_text(value))


def print_rows(form: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print the rows of a table as `csv` or `markdown`, with all digits of CSV's numbers."""
    if form == "csv":
        print(csv_table(columns, rows), end="")
    else:
        print(table(columns, [[_in_markdown(value) for value in row] for row in rows]))


def print_facts(form: str, facts: Mapping[str, Any]) -> None:
    """Print what is known of one thing as JSON, or as rows of a name and a value."""
    if form == "json":
        print_json(facts)
        return
    rows = [[name, _listed(value)] for name, value in facts.items()]
    print_rows(form, ("what", "value"), rows)


def notify(lines: Iterable[str]) -> None:
    """Say on standard error what a reader of the result must know."""
    for line in lines:
        Terminal(stderr=True).say(line)


def _in_markdown(value: object) -> str:
    if value is None:
        return "-"
    return in_digits(value, 4) if isinstance(value, float) else str(value)


def _listed(value: Any) -> Any:
    """Return a list's values in one text, since a cell holds one; any other value as it is."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {one}" for name, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "; ".join(map(str, value))
    return value
