"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int | None = None
) -> str:
    """Return a table whose columns from `numbers_from` on, where given, are aligned to the
    right.
    """
    right = len(columns) if numbers_from is None else numbers_from
    aligned = ["---:" if number >= right else "---" for number in range(len(columns))]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
        for row in (columns, aligned, *rows)
    )
