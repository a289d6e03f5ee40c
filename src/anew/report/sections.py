"""The charts of a report's own sections: the answer, its study, curves and errors."""

from __future__ import annotations

from collections.abc import Sequence

from anew.core.text import capitalised
from anew.evaluation import Row
from anew.evaluation.statistics import Judged
from anew.report.charts import Chart, Series
from anew.report.content import Comparison, NetworkSummary, Report
from anew.studies.results import Cell, Results

GREY = -1
"""The color of what belongs to no generation."""


def own_charts(report: Report) -> tuple[Chart, ...]:
    """Return the charts of the report's own sections, in the page's order."""
    chain = [network for network in report.networks if network.id in report.lineage]
    growing = [network for network in report.networks if not network.finished and network.curve]
    charts = (
        differences(report.answer.comparisons),
        study(report.study.results) if report.study is not None else None,
        learning_curves([*chain, *growing]),
        validation_losses([*chain, *growing]),
        errors(report.rows),
    )
    return tuple(chart for chart in charts if chart is not None)


def differences(comparisons: Sequence[Comparison]) -> Chart | None:
    """Return the chart of the answer: the difference of each generation and mean."""
    if not comparisons:
        return None
    series = Series(
        "difference",
        tuple(comparison.label for comparison in comparisons),
        tuple(comparison.difference.mean for comparison in comparisons),
        tuple(comparison.difference.low for comparison in comparisons),
        tuple(comparison.difference.high for comparison in comparisons),
        color=1,
    )

    said: list[str] = []
    for comparison in comparisons:
        difference = comparison.difference
        interval = f"{_signed(difference.low)} to {_signed(difference.high)}"
        said.append(
            f"{comparison.name} {_signed(difference.mean)} ({interval}, {comparison.verdict})"
        )
    return Chart(
        name="differences",
        title="Test error compared with generation 0",
        kind="dots",
        x_title="difference in test error, percentage points (left is better)",
        y_title="",
        series=(series,),
        description=f"Difference in test error from generation 0, percentage points with 95 % "
        f"intervals: {'; '.join(said)}.",
        baseline=0.0,
    )


def study(results: Results) -> Chart | None:
    """Return the chart of a study's table: the difference of every cell from the reference."""
    compared = [(cell, cell.comparison) for cell in results.cells if cell.comparison is not None]
    if not compared:
        return None

    by_row: dict[str, list[tuple[Cell, Judged]]] = {}
    for cell, comparison in compared:
        by_row.setdefault(cell.row, []).append((cell, comparison))
    series = tuple(
        Series(
            row,
            tuple(cell.column for cell, _ in cells),
            tuple(comparison.difference.mean for _, comparison in cells),
            tuple(comparison.difference.low for _, comparison in cells),
            tuple(comparison.difference.high for _, comparison in cells),
            color=number,
        )
        for number, (row, cells) in enumerate(by_row.items(), 1)
    )

    said = [
        f"{cell.column} on {cell.row} {_signed(comparison.difference.mean)}"
        for cell, comparison in compared
    ]
    return Chart(
        name="study-differences",
        title=f"Every column compared with {results.study.reference}",
        kind="dots",
        x_title="difference in test error, percentage points (left is better)",
        y_title="",
        series=series,
        description=f"Difference in test error from {results.study.reference}, percentage points: "
        f"{'; '.join(said)}.",
        baseline=0.0,
    )


def learning_curves(networks: Sequence[NetworkSummary]) -> Chart | None:
    """Return the learning curves of networks: validation error, or training error without any."""
    held_out = any("validation_error" in row for network in networks for row in network.curve)
    measure = "validation_error" if held_out else "train_error"
    words = "validation error" if held_out else "training error"
    return _over_training("learning-curves", networks, measure, words, " %")


def validation_losses(networks: Sequence[NetworkSummary]) -> Chart | None:
    """Return the validation loss of networks over training: the label's NLL.

    Training losses cannot be compared: each generation minimises another one.
    """
    return _over_training(
        "validation-losses", networks, "validation_nll", "validation loss", " nats"
    )


def _over_training(
    name: str, networks: Sequence[NetworkSummary], measure: str, words: str, unit: str
) -> Chart | None:
    """Return the chart of a measure over epochs; None if no network has it."""
    series: list[Series] = []
    for network in networks:
        rows = [row for row in network.curve if row.get(measure) is not None]
        if rows:
            series.append(
                Series(
                    f"generation {network.generation}"
                    + ("" if network.finished else ", not finished"),
                    tuple(float(row["epoch"]) for row in rows),
                    tuple(row[measure] for row in rows),
                    color=network.generation,
                    dashed=not network.finished,
                )
            )
    if not series:
        return None

    ends = [f"{one.name} ends at {one.y[-1]:.3g}{unit} after {len(one.y)} epochs" for one in series]
    return Chart(
        name=name,
        title=f"{capitalised(words)} over training",
        kind="lines",
        x_title="epoch",
        y_title=f"{words},{unit}",
        series=tuple(series),
        description=f"{capitalised(words)} by epoch: {'; '.join(ends)}.",
    )


def errors(rows: Sequence[Row]) -> Chart | None:
    """Return the test errors of generations, and of ensembles of consecutive ones."""
    shown = [row for row in rows if _consecutive(row.generations)]
    if not shown:
        return None

    series = [
        Series(row.name, (capitalised(row.name),), (row.scores.error,), color=row.generations[0])
        for row in shown
        if not row.is_ensemble
    ]
    ensembles = [row for row in shown if row.is_ensemble]
    if ensembles:
        names = tuple(capitalised(row.name) for row in ensembles)
        values = tuple(row.scores.error for row in ensembles)
        series.append(Series("ensemble", names, values, color=GREY))

    said = [f"{row.name} {row.scores.error:.2f} %" for row in shown]
    return Chart(
        name="errors",
        title="Test error of generations and ensembles",
        kind="dots",
        x_title="test error, %",
        y_title="",
        series=tuple(series),
        description=f"Test error: {'; '.join(said)}.",
        labelled=True,
        legend=False,
    )


def _consecutive(generations: Sequence[int]) -> bool:
    return list(generations) == list(range(generations[0], generations[-1] + 1))


def _signed(value: float) -> str:
    return f"{value:+.2f}"
