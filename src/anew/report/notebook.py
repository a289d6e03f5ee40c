"""How a result looks in a notebook: its answer and its scores as HTML, in the notebook's colors."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from anew.evaluation import Row, score_table

_NUMBER = "text-align:right;padding:0.2em 0.8em"
_NAME = "text-align:left"


def html(sentence: str, basis: str, rows: Sequence[Row]) -> str:
    """Return the answer and the table of scores as HTML without scripts.

    Whatever is given is text, never markup.
    """
    columns, lines = score_table(rows)
    head = _line(columns, "th")
    body = "".join(_line(line, "td") for line in lines)
    return (
        f"<div><p><strong>{escape(sentence)}</strong><br><small>{escape(basis)}</small></p>"
        f"<table><thead>{head}</thead><tbody>{body}</tbody></table></div>"
    )


def _line(cells: Sequence[str], tag: str) -> str:
    """Return a table's line; its first cell names it."""
    name, *others = cells
    numbers = "".join(f'<{tag} style="{_NUMBER}">{escape(cell)}</{tag}>' for cell in others)
    return f'<tr><th style="{_NAME}">{escape(name)}</th>{numbers}</tr>'
