"""A study's table as text: for the terminal, Markdown, CSV, LaTeX and JSON, all from the same
cells.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping

from anew.core.text import csv_table, plain, table
from anew.evaluation.statistics import Difference, Estimate, Judged
from anew.studies.results import Cell, Results

COLUMNS = (
    "row",
    "column",
    "error %",
    "95 % interval",
    "deviation",
    "seeds",
    "published %",
    "difference",
    "95 % interval of it",
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
    "95 % interval of it",
    "p (Holm)",
    "p (Wilcoxon)",
    "verdict",
)


def lines(results: Results) -> list[list[str]]:
    """Return a line of texts for every cell, as `COLUMNS` names them."""
    return [_line(cell, len(results.study.seeds)) for cell in results.cells]


def controls_lines(results: Results) -> list[list[str]]:
    """Return a line of texts for every comparison of a cell with a control, as `CONTROLS_COLUMNS`
    names them.
    """
    return [
        [cell.row, cell.column, control, *_compared(one)]
        for cell in results.cells
        for control, one in cell.controls.items()
    ]


def for_page(results: Results) -> tuple[list[str], list[list[str]]]:
    """Return the table's columns and lines without what a page has no room for, and what says
    nothing there.
    """
    found = lines(results)
    left_out = {"deviation", "p (Wilcoxon)"}
    left_out |= {
        name for place, name in enumerate(COLUMNS) if all(line[place] == "-" for line in found)
    }
    if not any(cell.missing for cell in results.cells):
        left_out.add("seeds")
    if "published, M" in left_out:
        left_out.add("parameters, M")
    kept = [
        place for place, name in enumerate(COLUMNS) if name == "verdict" or name not in left_out
    ]
    return [COLUMNS[place] for place in kept], [[line[place] for place in kept] for line in found]


def for_terminal(results: Results) -> tuple[list[str], list[list[str]]]:
    """Return a narrower table: its columns, and its lines with a line of its own for each row's
    name.

    What nobody needs is left out: published figures where there are none, the number of seeds where
    all are done. A dash for a verdict means that no difference is shown.
    """
    seeds = len(results.study.seeds)
    wanted = {
        "": True,
        "error %": True,
        "seeds": any(len(cell.errors) < seeds for cell in results.cells),
        "published": any(cell.published is not None for cell in results.cells),
        "difference": True,
        "p (Holm)": True,
        "shown": True,
    }
    narrow: list[list[str]] = []
    for row in results.study.rows:
        narrow.append([row, *[""] * (sum(wanted.values()) - 1)])
        for cell in results.cells:
            if cell.row == row:
                whole = dict(zip(COLUMNS, _line(cell, seeds), strict=True))
                verdict = whole["verdict"] if _is_shown(cell.comparison) else "-"
                texts = [
                    f"  {cell.column}",
                    whole["error %"] + _around(cell.estimate),
                    whole["seeds"],
                    whole["published %"],
                    whole["difference"]
                    + _around(cell.comparison.difference if cell.comparison else None),
                    whole["p (Holm)"],
                    verdict,
                ]
                narrow.append(
                    [
                        text
                        for text, is_wanted in zip(texts, wanted.values(), strict=True)
                        if is_wanted
                    ]
                )
    return [name for name, is_wanted in wanted.items() if is_wanted], narrow


def controls_for_terminal(results: Results) -> tuple[list[str], list[list[str]]]:
    """Return a narrow table of the differences to the controls, which have numbers; a star where
    one is shown.
    """
    narrow: list[list[str]] = []
    rows, controls = results.study.rows, results.controls
    for row in rows:
        if len(rows) > 1:
            narrow.append([row, *[""] * len(controls)])
        for cell in results.cells:
            if cell.row == row and cell.controls:
                found = [cell.controls.get(control) for control in controls]
                narrow.append([f"  {cell.column}", *(_starred(one) for one in found)])
    return ["", *(f"[{number}] " for number, _ in enumerate(controls, 1))], narrow


def about_controls(results: Results) -> str:
    """Return what must be said with the narrow table: which control has which number."""
    names = "; ".join(f"[{number}] {control}" for number, control in enumerate(results.controls, 1))
    return (
        "Differences to controls: ours less theirs, in points; * where one is shown (better or "
        f"worse). {names}."
    )


def _starred(one: Judged | None) -> str:
    return "-" if one is None else f"{one.difference.mean:+.1f}{'*' if _is_shown(one) else ' '}"


def _is_shown(one: Judged | None) -> bool:
    return one is not None and one.verdict in ("better", "worse")


def _around(interval: Estimate | Difference | None) -> str:
    half = _half(interval)
    return "" if half == "-" else f" +- {half}"


def _half(interval: Estimate | Difference | None) -> str:
    """Return half the width of an interval."""
    if interval is None or math.isnan(interval.low):
        return "-"
    return f"{(interval.high - interval.low) / 2:.2f}"


def about(results: Results) -> list[str]:
    """Return what must be said with the table: data, seeds, settings, comparison, what was scaled
    down, what failed.
    """
    study, training = results.study, results.study.training
    limit = f", {study.data.limit:,} training examples" if study.data.limit else ""
    said = [
        f"{study.title}. Data: {study.data.source} ({results.fingerprint}){limit}; seeds: "
        f"{', '.join(map(str, study.seeds))}; {training.epochs} epochs, batch "
        f"{training.batch_size}, "
        f"{training.optimizer}, learning rate {training.learning_rate:g}, {training.schedule}.",
        f"Test error of the last epoch; nothing was chosen on test. Differences are to "
        f"'{study.reference}', paired "
        + ("by seed (paired t)" if len(study.seeds) > 1 else "by test example (McNemar, bootstrap)")
        + "; p-values are corrected for all comparisons with the same column (Holm). Neither "
        "better nor worse: no "
        "difference shown.",
        *study.notes,
    ]
    if study.published_parameters:
        names = [f"{cell.row}, {cell.column}: {_parameters(cell)}" for cell in results.cells]
        said.append(f"Parameters that are learned, in millions (published): {'; '.join(names)}.")
    missing = {why for cell in results.cells for why in cell.missing.values()}
    return said + [f"missing: {why}" for why in sorted(missing)]


def markdown(results: Results) -> str:
    """Return the table in Markdown, with what must be said with it."""
    tables = [table(COLUMNS, lines(results))]
    if compared := controls_lines(results):
        tables.append(table(CONTROLS_COLUMNS, compared))
    return "\n\n".join([*tables, *about(results)])


def as_csv(results: Results) -> str:
    """Return the table as CSV, a comment line for each thing that must be said with it.

    Comparisons with controls are further columns, which name them.
    """
    named = [f"{what} ({control})" for control in results.controls for what in CONTROLS_COLUMNS[3:]]
    rows: list[list[str]] = []
    for cell, line in zip(results.cells, lines(results), strict=True):
        compared: list[str] = []
        for control in results.controls:
            compared += _compared(cell.controls.get(control))
        rows.append([*line, *compared])
    comments = "".join(f"# {line}\n" for line in about(results))
    return comments + csv_table([*COLUMNS, *named], rows)


def latex(results: Results) -> str:
    """Return the table as a LaTeX tabular, rows by columns: mean and half the interval."""
    study = results.study
    body: list[str] = []
    for row in study.rows:
        cells = [results.cell(row, name) for name in study.columns]
        body.append(" & ".join([_escape(row), *map(_short, cells)]) + r" \\")
        # The paper gives parameters in some of its tables; there they stand below the errors.
        if any(cell is not None and cell.published_parameters is not None for cell in cells):
            counts = ["--" if cell is None else _parameters(cell) for cell in cells]
            body.append(" & ".join(["parameters, M (published)", *counts]) + r" \\")
    head = " & ".join(["", *map(_escape, study.columns)]) + r" \\"
    comments = [f"% {line}" for line in about(results)]
    begin = rf"\begin{{tabular}}{{l{'r' * len(study.columns)}}}"
    return "\n".join(
        [*comments, begin, r"\hline", head, r"\hline", *body, r"\hline", r"\end{tabular}"]
    )


def as_json(results: Results) -> str:
    """Return the table as JSON, whole."""
    return json.dumps(plain(results.to_json()), indent=1)


FORMATS: Mapping[str, Callable[[Results], str]] = {
    "markdown": markdown,
    "csv": as_csv,
    "latex": latex,
    "json": as_json,
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


def _compared(one: Judged | None) -> list[str]:
    """Return a comparison's difference, interval, p by Holm and by Wilcoxon, and verdict."""
    if one is None:
        return ["-"] * 5
    found = one.difference
    return [
        f"{found.mean:+.2f}",
        f"{found.low:+.2f} to {found.high:+.2f}",
        f"{one.corrected_p:.3f}",
        "-" if math.isnan(found.p_rank) else f"{found.p_rank:.3f}",
        one.verdict,
    ]


def _parameters(cell: Cell) -> str:
    published = f" ({cell.published_parameters:g})" if cell.published_parameters is not None else ""
    return f"{cell.parameters / 1e6:.3f}{published}"


def _short(cell: Cell | None) -> str:
    if cell is None or cell.estimate is None:
        return "--"
    return f"${cell.estimate.mean:.2f}" + (
        rf" \pm {_half(cell.estimate)}$" if cell.estimate.count > 1 else "$"
    )


def _escape(text: str) -> str:
    return text.replace("\\", r"\textbackslash{}").translate(
        str.maketrans({one: f"\\{one}" for one in "&%$#_{}"})
    )
