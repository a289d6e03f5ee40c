"""`anew compare`: families side by side on the same test examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from anew.cli.options import ROWS_AS_TABLE, Generations, PrintedRows
from anew.cli.printing import print_json, print_rows
from anew.cli.streams import Terminal
from anew.core.errors import AnewError
from anew.core.text import generations_name, in_digits

if TYPE_CHECKING:
    from anew.evaluation.families import Compared, Contrast
    from anew.evaluation.statistics import Difference


def compare(
    *families: Annotated[
        str,
        Parameter(
            help="Two or more folders written by `anew train --out`; FOLDER:ID for the lineage "
            "that ends at a network. The others are compared with the first."
        ),
    ],
    generations: Generations = "last",
    printed: PrintedRows = ROWS_AS_TABLE,
) -> None:
    """Compare families that were trained on the same data: test error, NLL, the differences with
    95 % intervals, and the settings that differ.

    Differences are paired by seed if at least two seeds are common, otherwise by test example.
    """
    from anew.evaluation import families as comparing

    if len(families) < 2:
        raise AnewError(
            f"compare: needs two families or more, got {len(families)}; give their folders one "
            "after another"
        )
    if len(set(families)) < len(families):
        raise AnewError("compare: a family is given twice; give each once")
    form = printed.chosen
    compared, contrasts = comparing.compare(families, generations)

    if form == "json":
        print_json(
            {
                "families": [one.to_json() for one in compared],
                "differences": [one.to_json() for one in contrasts],
            }
        )
    elif form != "table":
        print_rows(form, *_rows(compared, contrasts))
    else:
        _print(compared, contrasts)


def _rows(
    compared: list[Compared], contrasts: list[Contrast]
) -> tuple[list[str], list[list[object]]]:
    """Return one line a family, with its differences from the first."""
    columns = ["family", "what", "seeds", "error", "nll", "perplexity"]
    parts = ("mean", "low", "high", "p", "test")
    columns += [f"{name}_difference_{part}" for name in ("error", "nll") for part in parts]

    lines: list[list[object]] = []
    for place, one in enumerate(compared):
        scores = [one.mean("error"), one.mean("nll"), one.mean("perplexity")]
        seeds = " ".join(map(str, one.seeds))
        line: list[object] = [one.name, generations_name(one.generations), seeds, *scores]
        contrast = contrasts[place - 1] if place else None
        for difference in (contrast.error, contrast.nll) if contrast else (None, None):
            line += [getattr(difference, part, "") for part in parts]
        lines.append(line)
    return columns, lines


def _print(compared: list[Compared], contrasts: list[Contrast]) -> None:
    from anew.cli import terminal

    console = Terminal()
    is_text = compared[0].mean("perplexity") is not None
    lines: list[list[str]] = []
    for one in compared:
        first = in_digits(one.mean("perplexity" if is_text else "error"), 2)
        numbers = [first, in_digits(one.mean("nll"), 4), str(len(one.seeds))]
        lines.append([one.name, generations_name(one.generations), *numbers])
    columns = ["family", "", "perplexity" if is_text else "error %", "NLL", "seeds"]
    examples = compared[0].answers[0].scores.examples
    terminal.show_table(console, columns, lines, f"test, {examples:,} examples", numbers_from=2)

    for contrast in contrasts:
        console.print()
        for line in _in_words(contrast, compared[0].name, is_text=is_text):
            console.say(line)


def _in_words(contrast: Contrast, first: str, *, is_text: bool) -> list[str]:
    """Return what a contrast says, line by line."""
    words = [f"{contrast.name} less {first}:"]
    if contrast.error is not None:
        words.append(f"  error {_difference(contrast.error, 2, ' points')}")
    words.append(
        f"  {'perplexity' if is_text else 'NLL'} {_difference(contrast.nll, 2 if is_text else 4)}"
    )
    shown = contrast.error or contrast.nll
    if shown.is_over_seeds:
        words.append(f"  paired by seed, {shown.count} seeds")
    else:
        words.append("  on the examples of one seed: says nothing about other seeds")
    words.append(f"  settings that differ: {'; '.join(contrast.settings) or 'none'}")
    return words


def _difference(one: Difference, digits: int, unit: str = "") -> str:
    interval = f"{one.low:+.{digits}f} to {one.high:+.{digits}f}"
    return f"{one.mean:+.{digits}f}{unit} (95 %: {interval}), p = {one.p:.2g}, {one.test}"
