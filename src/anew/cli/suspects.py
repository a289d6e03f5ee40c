"""`anew suspects`: which training labels of a family's data are probably wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from anew.cli.options import (
    AS_RECORDED,
    ROWS_AS_TABLE,
    WHOLE,
    Moved,
    PrintedRows,
    execution_from,
    takes_execution,
)
from anew.cli.printing import print_json, print_rows
from anew.cli.streams import Terminal
from anew.core.errors import AnewError
from anew.core.text import clean, counted, csv_table

if TYPE_CHECKING:
    from anew.evaluation.suspects import Suspects
    from anew.training.folds import OutOfFold

SHOWN = 48
"""The most suspects on a sheet."""
MOST = 1000
COLUMNS = ("row", "label", "suggested", "p_label", "p_suggested")


@Parameter(name="*")
@dataclass(frozen=True)
class Judges:
    """The networks that judge the labels."""

    network: Annotated[
        str,
        Parameter(
            help="Use generation 0 of the lineage that ends at this network (the start of its id)."
        ),
    ] = ""
    folds: Annotated[
        int, WHOLE, Parameter(help="Number of parts into which the examples are split.")
    ] = 5
    seeds: Annotated[
        int, WHOLE, Parameter(help="Networks for each part; their probabilities are averaged.")
    ] = 1
    epochs: Annotated[
        int | None,
        WHOLE,
        Parameter(help="Epochs of these networks. Default: those of generation 0."),
    ] = None
    out: Annotated[
        Path | None,
        Parameter(help="Family folder for these networks. Default: FAMILY/folds."),
    ] = None

    def __post_init__(self) -> None:
        """Raise `AnewError` if a number is out of its range."""
        for name, least in (("folds", 2), ("seeds", 1), ("epochs", 1)):
            value = getattr(self, name)
            if value is not None and not least <= value <= MOST:
                raise AnewError(
                    f"{name} must be >= {least} and <= {MOST}, got {value}; set --{name}"
                )


@Parameter(name="*")
@dataclass(frozen=True)
class Written:
    """What is written beside the table."""

    csv: Annotated[
        Path | None, Parameter(name="--csv", help="Write a row for each suspect to this file.")
    ] = None
    sheet: Annotated[
        Path | None,
        Parameter(help="Write a contact sheet of the most suspect pictures to this PNG file."),
    ] = None


DEFAULT_JUDGES, NOTHING_ELSE = Judges(), Written()


@takes_execution("device", "threads", "trust", "storage", "workers")
def suspects(
    family: Annotated[Path, Parameter(help="The family's folder, written by `anew train --out`.")],
    /,
    *,
    judges: Judges = DEFAULT_JUDGES,
    written: Written = NOTHING_ELSE,
    moved: Moved = AS_RECORDED,
    printed: PrintedRows = ROWS_AS_TABLE,
    **given: Any,
) -> None:
    """List labels that are probably wrong: train networks like generation 0, each without one part
    of the labelled examples, and list the labels that they contradict.

    The rule is confident learning (docs/noisy-labels.md). The test set is not used.
    """
    execution, form = execution_from(given), printed.chosen

    from anew.cli import terminal
    from anew.core import files
    from anew.evaluation.suspects import find_suspects
    from anew.family import Family, generation_0
    from anew.training.folds import out_of_fold

    spec = generation_0(Family.open(family), judges.network)
    epochs = judges.epochs or spec.training.epochs
    spec = replace(
        spec,
        data=spec.data.at(moved.data, moved.root),
        training=replace(spec.training, epochs=epochs, best_epoch=False, early_stopping=0),
    )
    heading = (
        f"suspects: {counted(judges.folds * judges.seeds, 'network')} like generation 0 ("
        f"{spec.model.name}), {counted(epochs, 'epoch')} each, on {judges.folds} parts of the "
        "examples"
    )
    with terminal.watching(Terminal(stderr=True), heading) as watcher:
        out = judges.out or family / "folds"
        examples = out_of_fold(spec, judges.folds, judges.seeds, out, execution, watcher)
    found = find_suspects(examples.probabilities, examples.labels)

    rows = _rows(examples, found)
    if written.csv is not None:
        table = csv_table(COLUMNS, [[*row.values()] for row in rows])
        files.write_bytes(written.csv, table.encode())
    if written.sheet is not None:
        _write_sheet(written.sheet, examples, found)
    if form == "json":
        print_json(_summary(examples, found) | {"suspects": rows})
        return
    if form != "table":
        print_rows(form, COLUMNS, [[*row.values()] for row in rows])
        return
    _print(examples, found, [path for path in (written.csv, written.sheet) if path is not None])


def _rows(examples: OutOfFold, found: Suspects) -> list[dict[str, Any]]:
    """Return the suspects, the most suspect first; `row` is their place in the source."""
    rows: list[dict[str, Any]] = []
    for place in found.ranked.tolist():
        label, suggested = int(examples.labels[place]), int(found.suggested[place])
        p = examples.probabilities[place]
        values = (
            int(examples.rows[place]),
            examples.classes[label],
            examples.classes[suggested],
            round(float(p[label]), 6),
            round(float(p[suggested]), 6),
        )
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def _summary(examples: OutOfFold, found: Suspects) -> dict[str, Any]:
    by_class: list[dict[str, Any]] = []
    for number, name in enumerate(examples.classes):
        mine = examples.labels == number
        others = found.suggested[mine & found.is_suspect].bincount(minlength=len(examples.classes))

        by_class.append(
            {
                "class": name,
                "examples": int(mine.sum()),
                "suspects": int((mine & found.is_suspect).sum()),
                "estimated_noise": float(found.noise_by_class[number]),
                "mostly": examples.classes[int(others.argmax())] if int(others.sum()) else "",
            }
        )
    return {
        "examples": len(examples.labels),
        "networks_contradict": found.contradicted,
        "estimated_noise": found.noise,
        "classes": by_class,
    }


def _print(examples: OutOfFold, found: Suspects, written: list[Path]) -> None:
    from anew.cli import terminal

    summary = _summary(examples, found)
    rows = [
        [
            clean(entry["class"]),
            f"{entry['examples']:,}",
            f"{entry['suspects']:,}",
            f"{100 * entry['estimated_noise']:.1f}",
            clean(entry["mostly"]) or "-",
        ]
        for entry in summary["classes"]
    ]
    console = Terminal()
    columns = ("label", "examples", "suspects", "wrong %, at most", "likely class")
    terminal.show_table(console, columns, rows)
    console.note(
        f"{int(found.is_suspect.sum()):,} of {summary['examples']:,} labels are suspects: the "
        "networks are confident of another class. A suspect may still be right."
    )
    console.note(
        f"wrong %, at most: the estimated share of wrong labels, {100 * found.noise:.1f} % of all. "
        f"The networks contradict {100 * found.contradicted:.1f} % of the labels, including their "
        "own mistakes. likely class: the class that most suspects of this label look like."
    )
    if not written:
        console.note("`--csv FILE` lists every suspect, `--sheet FILE` shows the first pictures.")
    for path in written:
        console.say(f"written: {path}")


def _write_sheet(path: Path, examples: OutOfFold, found: Suspects) -> None:
    """Write the most suspect examples, each with its label and what it looks like."""
    import io

    from anew.core import files
    from anew.data.sheet import captioned_sheet

    places = found.ranked[:SHOWN].tolist()
    names = examples.classes
    captions = [
        (names[int(examples.labels[place])], f"{names[int(found.suggested[place])]}?")
        for place in places
    ]
    content = io.BytesIO()
    captioned_sheet([examples.show(place) for place in places], captions).save(content, "PNG")
    files.write_bytes(path, content.getvalue())
