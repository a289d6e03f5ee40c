"""How a result looks in a notebook: its answer and its scores as HTML without scripts, in the
notebook's colors.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from anew.evaluation import Row

_STYLE = "text-align:right;padding:0.2em 0.8em"


def html(sentence: str, basis: str, rows: Sequence[Row]) -> str:
    """Return the answer and the table of scores; whatever is given is text, never markup."""
    head = "".join(
        f'<th style="{_STYLE if number else "text-align:left"}">{title}</th>'
        for number, title in enumerate(("", "objective", "error %", "NLL", "ECE %", "Brier"))
    )
    lines = "".join(
        f'<tr><th style="text-align:left">{escape(row.name)}</th><td '
        f'style="{_STYLE}">{escape(row.objective)}</td>'
        + "".join(
            f'<td style="{_STYLE}">{value}</td>'
            for value in (
                f"{row.scores.error:.2f}",
                f"{row.scores.nll:.4f}",
                f"{row.scores.ece:.2f}",
                f"{row.scores.brier:.4f}",
            )
        )
        + "</tr>"
        for row in rows
    )
    return (
        f"<div><p><strong>{escape(sentence)}</strong><br><small>{escape(basis)}</small></p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
    )
