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
        _print_contrast(console, contrast, compared[0].name, is_text=is_text)


def _print_contrast(console: Terminal, contrast: Contrast, first: str, *, is_text: bool) -> None:
    """Print the differences of a family from the first, how they were tested, and the settings."""
    from anew.cli import terminal

    name, digits = ("perplexity", 2) if is_text else ("NLL", 4)
    measured = [("error, points", contrast.error, 2), (name, contrast.nll, digits)]
    lines: list[list[str]] = []
    tests: list[str] = []
    for what, one, places in measured:
        if one is not None:
            interval = f"{one.low:+.{places}f} to {one.high:+.{places}f}"
            lines.append([what, f"{one.mean:+.{places}f}", interval, f"{one.p:.2g}"])
            tests.append(one.test)

    columns = ["", "difference", "95 % interval", "p"]
    console.say(f"{contrast.name} minus {first}", style="table.title")
    terminal.show_table(console, columns, lines)
    if (contrast.error or contrast.nll).is_over_seeds:
        console.note(f"Paired by seed, {len(contrast.seeds)} common seeds.")
    else:
        ours, theirs = contrast.seeds[0]
        which = f"Seed {ours}" if ours == theirs else f"Seeds {ours} and {theirs}"
        console.note(f"{which} only; another seed may differ by more.")
    console.note(f"Tests: {'; '.join(dict.fromkeys(tests))}.")
    console.say(f"Settings that differ: {'; '.join(contrast.settings) or 'none'}.")
