"""A study's table as text: for the terminal, a page, Markdown, CSV and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import median

from anew.core.text import clean, csv_table, p_value, table
from anew.evaluation.statistics import Difference, Estimate, Judged
from anew.studies.paper import STUDIES
from anew.studies.results import Cell, Results
from anew.studies.study import Study

COLUMNS = (
    "row",
    "column",
    "error %",
    "95 % interval",
    "deviation",
    "seeds",
    "published %",
    "difference",
    "95 % interval of difference",
    "needed",
    "p (Holm)",
    "p (Wilcoxon)",
    "verdict",
    "parameters, M",
    "published, M",
)
CONTROLS_COLUMNS = (
    "row",
    "column",
    "control",
    "difference",
    "95 % interval of difference",
    "needed",
    "p (Holm)",
    "p (Wilcoxon)",
    "verdict",
)


VALIDATION_COLUMNS = ("validation", "published, validation")
"""The columns behind the others in tables of language models."""


def columns(results: Results) -> list[str]:
    """Return the columns of a study's table: `COLUMNS`, or those of language models."""
    source = _published_on(results.study)
    elsewhere = f" ({source})" if source else ""
    if not results.study.is_text:
        return [f"{name}{elsewhere}" if name == "published %" else name for name in COLUMNS]
    named = {"error %": "perplexity", "published %": f"published{elsewhere}"}
    return [*(named.get(name, name) for name in COLUMNS), *VALIDATION_COLUMNS]


def _published_on(study: Study) -> str:
    """Return the data on which a study's published figures were measured, if the study has others:
    the table says so, because it shows both.
    """
    full = STUDIES.get(study.name)
    if full is None or full.data.source == study.data.source or not study.published:
        return ""
    return full.data.source


def lines(results: Results) -> list[list[str]]:
    """Return a line of texts for every cell, as `columns` names them."""
    seeds, is_text = len(results.study.seeds), results.study.is_text
    validation = [_validation(cell) if is_text else [] for cell in results.cells]
    return [
        [*_line(cell, seeds), *more] for cell, more in zip(results.cells, validation, strict=True)
    ]


def _validation(cell: Cell) -> list[str]:
    return [
        "-" if one is None else f"{one:.2f}"
        for one in (cell.validation and cell.validation.mean, cell.published_validation)
    ]


def controls_lines(results: Results) -> list[list[str]]:
    """Return a line for every comparison with a control, as `CONTROLS_COLUMNS` names them."""
    return [
        [cell.row, cell.column, control, *_compared(comparison)]
        for cell in results.cells
        for control, comparison in cell.controls.items()
    ]


def for_page(results: Results) -> tuple[list[str], list[list[str]]]:
    """Return the columns and lines of a page's table.

    Columns without any value are left out, and those for which a page has no room.
    """
    whole, names = lines(results), columns(results)
    left_out = {"deviation", "needed", "p (Wilcoxon)"}
    for place, name in enumerate(names):
        if all(line[place] == "-" for line in whole):
            left_out.add(name)
    if not any(cell.missing for cell in results.cells):
        left_out.add("seeds")
    if "published, M" in left_out:
        left_out.add("parameters, M")

    # The page's template counts columns up to the verdict.
    left_out.discard("verdict")
    kept = [place for place, name in enumerate(names) if name not in left_out]
    return [names[place] for place in kept], [[line[place] for place in kept] for line in whole]


def for_terminal(results: Results) -> tuple[list[str], list[list[str]]]:
    """Return the columns and lines of a narrower table, with a line for each row's name.

    Published figures are left out if there are none, the number of seeds if all are finished. A
    dash for a verdict means that no difference is shown.
    """
    seeds = len(results.study.seeds)
    is_text = results.study.is_text
    wanted = {
        "": True,
        "error %": not is_text,
        "perplexity": is_text,
        "seeds": any(len(cell.errors) < seeds for cell in results.cells),
        "published": any(cell.published is not None for cell in results.cells),
        "validation": is_text,
        "difference": True,
        "p (Holm)": True,
        "shown": True,
    }
    columns = [name for name, is_wanted in wanted.items() if is_wanted]

    narrow: list[list[str]] = []
    for row in results.study.rows:
        narrow.append([row, *[""] * (len(columns) - 1)])
        for cell in results.cells:
            if cell.row == row:
                texts = _narrow(cell, seeds)
                narrow.append([texts[name] for name in columns])
    return columns, narrow


def _narrow(cell: Cell, seeds: int) -> dict[str, str]:
    """Return a cell's texts in the narrower table, by column."""
    whole = dict(zip(COLUMNS, _line(cell, seeds), strict=True))
    difference = cell.comparison.difference if cell.comparison else None
    return {
        "": f"  {cell.column}",
        "error %": whole["error %"] + _around(cell.estimate),
        "perplexity": whole["error %"] + _around(cell.estimate),
        "validation": _validation(cell)[0],
        "seeds": whole["seeds"],
        "published": whole["published %"],
        "difference": whole["difference"] + _around(difference),
        "p (Holm)": whole["p (Holm)"],
        "shown": whole["verdict"] if _is_shown(cell.comparison) else "-",
    }


def controls_for_terminal(results: Results) -> tuple[list[str], list[list[str]]]:
    """Return a narrow table of differences to the controls, which have numbers.

    A star marks a difference that is shown.
    """
    narrow: list[list[str]] = []
    rows, controls = results.study.rows, results.controls
    for row in rows:
        if len(rows) > 1:
            narrow.append([row, *[""] * len(controls)])
        for cell in results.cells:
            if cell.row == row and cell.controls:
                starred = [_starred(cell.controls.get(control)) for control in controls]
                narrow.append([f"  {cell.column}", *starred])
    return ["", *(f"[{number}] " for number, _ in enumerate(controls, 1))], narrow


def about_controls(results: Results) -> str:
    """Return the note to the narrow table: which control has which number."""
    names = "; ".join(f"[{number}] {control}" for number, control in enumerate(results.controls, 1))
    return (
        "Differences to the controls: column minus control, in points; * marks a difference that "
        f"is shown. {names}."
    )


def _starred(comparison: Judged | None) -> str:
    if comparison is None:
        return "-"
    return f"{comparison.difference.mean:+.1f}{'*' if _is_shown(comparison) else ' '}"


def _is_shown(comparison: Judged | None) -> bool:
    return comparison is not None and comparison.verdict in ("better", "worse")


def _around(interval: Estimate | Difference | None) -> str:
    half = _half(interval)
    return "" if half == "-" else f" +- {half}"


def _half(interval: Estimate | Difference | None) -> str:
    """Return half the width of an interval."""
    if interval is None or math.isnan(interval.low):
        return "-"
    return f"{(interval.high - interval.low) / 2:.2f}"


def about(results: Results, *, titled: bool = False) -> list[str]:
    """Return the notes to a table: data, seeds, settings, comparison, scale, and what failed.

    They begin with the study's title, unless the table is `titled`.
    """
    study, training = results.study, results.study.training
    score, unit = ("perplexity", "tokens") if study.is_text else ("error", "examples")
    limit = f", {study.data.limit:,} training {unit}" if study.data.limit else ""
    paired = "by test example (McNemar, bootstrap)"
    if study.is_text:
        paired = "by blocks of the test text (bootstrap)"
    if len(study.seeds) > 1:
        paired = "by seed (paired t)"

    end = "" if study.title.endswith(("?", "!", ".")) else "."
    title = "" if titled else f"{study.title}{end} "
    notes = [
        f"{title}Data: {study.data.source} ({results.fingerprint}){limit}; seeds: "
        f"{', '.join(map(str, study.seeds))}; {training.epochs} epochs, batch "
        f"{training.batch_size}, "
        f"{training.optimizer}, learning rate {training.learning_rate:g}, {training.schedule}.",
        f"{score}: on the test {unit}, after the last epoch; nothing was chosen on test.",
        f"difference: to '{study.reference}', paired {paired}; +- is half of the 95 % interval.",
        "p (Holm): corrected for all comparisons with the same column.",
        "better, worse: p (Holm) is below 0.05; otherwise no difference is shown.",
        *_could_show(results),
        *study.notes,
    ]
    if study.published_parameters:
        names = [f"{cell.row}, {cell.column}: {_parameters(cell)}" for cell in results.cells]
        notes.append(f"Trained parameters, in millions (published): {'; '.join(names)}.")
    if elsewhere := _published_on(study):
        notes.append(f"Published figures were measured on {elsewhere}.")
    missing = {why for cell in results.cells for why in cell.missing.values()}
    return notes + [f"missing: {why}" for why in sorted(missing)]


def _could_show(results: Results) -> list[str]:
    """Return the note that says which differences to the reference would have been shown."""
    needed = [cell.comparison.needed for cell in results.cells if cell.comparison is not None]
    if not needed:
        return []
    study = results.study
    seeds = f"{len(study.seeds)} seeds" if len(study.seeds) > 1 else "one seed"
    unit = "" if study.is_text else " points"
    if len(needed) == 1:
        return [f"Smallest difference that {seeds} could show here: {needed[0]:.2f}{unit}."]
    return [
        f"Smallest difference that {seeds} could show here, with {len(needed)} comparisons: "
        f"{min(needed):.2f} to {max(needed):.2f}{unit}, median {median(needed):.2f} (column "
        "'needed' of Markdown and CSV)."
    ]


def markdown(results: Results) -> str:
    """Return the table in Markdown, with its notes."""
    tables = [table(columns(results), lines(results))]
    if compared := controls_lines(results):
        tables.append(table(CONTROLS_COLUMNS, compared))
    return "\n\n".join([*tables, *about(results)])


def as_csv(results: Results) -> str:
    """Return the table as CSV, with its notes as comment lines.

    Comparisons with controls are further columns, which name them.
    """
    named = [f"{what} ({control})" for control in results.controls for what in CONTROLS_COLUMNS[3:]]

    rows: list[list[str]] = []
    for cell, line in zip(results.cells, lines(results), strict=True):
        compared: list[str] = []
        for control in results.controls:
            compared += _compared(cell.controls.get(control))
        rows.append([*line, *compared])
    comments = "".join(f"# {clean(line)}\n" for line in about(results))
    return comments + csv_table([*columns(results), *named], rows)


def latex(results: Results) -> str:
    """Return the table as a LaTeX tabular, rows by columns: mean and half the interval."""
    study = results.study

    body: list[str] = []
    for row in study.rows:
        cells = [results.cell(row, name) for name in study.columns]
        body.append(" & ".join([_escape(row), *map(_short, cells)]) + r" \\")
        # In some of its tables the paper gives parameters, below the errors.
        if any(cell is not None and cell.published_parameters is not None for cell in cells):
            counts = ["--" if cell is None else _parameters(cell) for cell in cells]
            body.append(" & ".join(["parameters, M (published)", *counts]) + r" \\")

    head = " & ".join(["", *map(_escape, study.columns)]) + r" \\"
    comments = [f"% {clean(line)}" for line in about(results)]
    begin = rf"\begin{{tabular}}{{l{'r' * len(study.columns)}}}"
    return "\n".join(
        [*comments, begin, r"\hline", head, r"\hline", *body, r"\hline", r"\end{tabular}"]
    )


FORMATS: Mapping[str, Callable[[Results], str]] = {
    "markdown": markdown,
    "csv": as_csv,
    "latex": latex,
}


def _line(cell: Cell, seeds: int) -> list[str]:
    estimate = cell.estimate
    several = estimate is not None and estimate.count > 1
    return [
        cell.row,
        cell.column,
        f"{estimate.mean:.2f}" if estimate else "-",
        f"{estimate.low:.2f} to {estimate.high:.2f}" if estimate and several else "-",
        f"{estimate.deviation:.2f}" if estimate and several else "-",
        f"{len(cell.errors)}/{seeds}",
        f"{cell.published:.2f}" if cell.published is not None else "-",
        *_compared(cell.comparison),
        f"{cell.parameters / 1e6:.3f}",
        f"{cell.published_parameters:g}" if cell.published_parameters is not None else "-",
    ]


def _compared(comparison: Judged | None) -> list[str]:
    """Return a comparison's difference, interval, least difference to be shown, p, and verdict."""
    if comparison is None:
        return ["-"] * 6
    difference = comparison.difference
    return [
        f"{difference.mean:+.2f}",
        f"{difference.low:+.2f} to {difference.high:+.2f}",
        f"{comparison.needed:.2f}",
        p_value(comparison.corrected_p),
        p_value(difference.p_rank),
        comparison.verdict,
    ]


def _parameters(cell: Cell) -> str:
    published = f" ({cell.published_parameters:g})" if cell.published_parameters is not None else ""
    return f"{cell.parameters / 1e6:.3f}{published}"


def _short(cell: Cell | None) -> str:
    if cell is None or cell.estimate is None:
        return "--"
    around = rf" \pm {_half(cell.estimate)}" if cell.estimate.count > 1 else ""
    return f"${cell.estimate.mean:.2f}{around}$"


def _escape(text: str) -> str:
    escapes = str.maketrans({sign: f"\\{sign}" for sign in "&%$#_{}"})
    return text.replace("\\", r"\textbackslash{}").translate(escapes)
