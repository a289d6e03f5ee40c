"""The charts of a report's own sections: the answer, its study, curves and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anew.core.text import capitalised
from anew.evaluation import Row
from anew.evaluation.statistics import Judged
from anew.report.charts import Chart, Series
from anew.report.content import Comparison, NetworkSummary, Report
from anew.studies.results import Cell, Results

_ROOM = 1.5
"""How much higher the axis of a curve is than its values in the second half of training."""
_MANY_TIMES = 5
"""From which ratio of the largest to the least value on an axis is logarithmic."""
GREY = -1
"""The color of what belongs to no generation."""


def own_charts(report: Report) -> tuple[Chart, ...]:
    """Return the charts of the report's own sections, in the page's order."""
    chain = [network for network in report.networks if network.id in report.lineage]
    growing = [network for network in report.networks if network.goes_on(report.lineage)]
    charts = (
        differences(report.answer.comparisons, is_text=report.is_text),
        study(report.study.results) if report.study is not None else None,
        learning_curves([*chain, *growing]),
        validation_losses([*chain, *growing]),
        errors(report.rows),
    )
    return tuple(chart for chart in charts if chart is not None)


def differences(comparisons: Sequence[Comparison], *, is_text: bool = False) -> Chart | None:
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
    score, unit = ("perplexity", "") if is_text else ("error", ", percentage points")
    return Chart(
        name="differences",
        title=f"Test {score} compared with generation 0",
        kind="dots",
        x_title=f"difference in test {score}{unit} (left is better)",
        y_title="",
        series=(series,),
        description=f"Difference in test {score} from generation 0{unit} with 95 % intervals: "
        f"{'; '.join(said)}.",
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
    score, unit = ("perplexity", "") if results.study.is_text else ("error", ", percentage points")
    return Chart(
        name="study-differences",
        title=f"Every column compared with {results.study.reference}",
        kind="dots",
        x_title=f"difference in test {score}{unit} (left is better)",
        y_title="",
        series=series,
        description=f"Difference in test {score} from {results.study.reference}{unit}: "
        f"{'; '.join(said)}.",
        baseline=0.0,
    )


def learning_curves(networks: Sequence[NetworkSummary]) -> Chart | None:
    """Return the learning curves of networks: validation error, or training error without any."""
    measured = {name for network in networks for row in network.curve for name in row}
    if "validation_perplexity" in measured:
        words = "validation perplexity"
        return _over_training("learning-curves", networks, "validation_perplexity", words, "")
    held_out = "validation_error" in measured
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

    values = [y for one in series for y in one.y]
    is_log = not unit.endswith("%") and 0 < _MANY_TIMES * min(values) < max(values)
    ends = [f"{one.name} ends at {one.y[-1]:.3g}{unit} after {len(one.y)} epochs" for one in series]
    return Chart(
        name=name,
        title=f"{capitalised(words)} over training",
        kind="lines",
        x_title="epoch",
        y_title=f"{words},{unit}" if unit else words,
        series=tuple(series),
        description=f"{capitalised(words)} by epoch: {'; '.join(ends)}.",
        is_log=is_log,
        top=None if is_log else _top(series),
    )


def _top(series: Sequence[Series]) -> float | None:
    """Return where the axis of a measure ends, so that the second half of training can be read.

    None if it has room for all values.
    """
    late = max(max(one.y[len(one.y) // 2 :]) for one in series)
    highest = max(max(one.y) for one in series)
    top = float(f"{_ROOM * late:.2g}")
    return top if 0 < top < highest else None


def errors(rows: Sequence[Row]) -> Chart | None:
    """Return the test errors of generations, and of ensembles of consecutive ones.

    Of language models the test perplexities.
    """
    perplexities = {row.name: row.scores.perplexity for row in rows}
    known = {name: value for name, value in perplexities.items() if value is not None}
    if known:
        return _scores(rows, known, "test perplexity", "")
    return _scores(rows, {row.name: row.scores.error for row in rows}, "test error", " %")


def _scores(
    rows: Sequence[Row], values: Mapping[str, float], words: str, unit: str
) -> Chart | None:
    shown = [row for row in rows if _consecutive(row.generations)]
    if not shown:
        return None

    series = [
        Series(row.name, (capitalised(row.name),), (values[row.name],), color=row.generations[0])
        for row in shown
        if not row.is_ensemble
    ]
    ensembles = [row for row in shown if row.is_ensemble]
    if ensembles:
        names = tuple(capitalised(row.name) for row in ensembles)
        numbers = tuple(values[row.name] for row in ensembles)
        series.append(Series("ensemble", names, numbers, color=GREY))

    said = [f"{row.name} {values[row.name]:.2f}{unit}" for row in shown]
    return Chart(
        name="errors",
        title=f"{capitalised(words)} of generations and ensembles",
        kind="dots",
        x_title=f"{words},{unit}" if unit else words,
        y_title="",
        series=tuple(series),
        description=f"{capitalised(words)}: {'; '.join(said)}.",
        labelled=True,
        legend=False,
    )


def _consecutive(generations: Sequence[int]) -> bool:
    return list(generations) == list(range(generations[0], generations[-1] + 1))


def _signed(value: float) -> str:
    return f"{value:+.2f}"
