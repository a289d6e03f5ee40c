"""A report's charts as figures for a paper: SVG and PNG by matplotlib, in the page's colors."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from anew import evaluation
from anew.core import files
from anew.core.errors import AnewError
from anew.core.spec import Spec
from anew.family import Family
from anew.report import insight_sections, sections
from anew.report.charts import GREYISH, MOST_NUMBERED, Chart, Series, color_of, symbol_of
from anew.report.content import Report
from anew.report.gathering import network_of

DOTS_PER_INCH = 300
_WIDTH = 6.3
"""Inches: a column and a half, or a page's text."""
_GRID = "#e3e7ec"
_MARKS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "cross": "P",
    "triangle-down": "v",
    "x": "X",
    "star": "*",
}
# Text stays text, so that an editor can change its font. A salt makes equal files of equal charts.
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "anew",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREYISH,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "text.parse_math": False,
}


def require() -> None:
    """Raise `AnewError` if matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        raise AnewError(
            "figures: need matplotlib, which is not installed; pip install 'anew[report]'"
        )


def write(report: Report, folder: Path) -> list[Path]:
    """Write every chart of a report as NAME.svg and NAME.png into a folder; return the files."""
    require()
    charts = [*sections.own_charts(report)]
    if report.insight is not None:
        for section in insight_sections.insight_sections(report.insight):
            charts += section.charts

    paths: list[Path] = []
    for chart in charts:
        drawn = draw(chart)
        for form in ("svg", "png"):
            path = folder / f"{chart.name}.{form}"
            files.sweep(path)
            files.write_bytes(path, as_bytes(drawn, form))
            paths.append(path)
    return paths


def of_lineage(family: Family, lineage: Sequence[Spec]) -> Any:
    """Return the learning curves and the test errors of a lineage as one matplotlib figure."""
    require()
    networks = [network_of(family.folder(spec.id), spec) for spec in lineage]
    rows = evaluation.evaluate_lineage(family, lineage)
    charts = (sections.learning_curves(networks), sections.errors(rows))
    return draw(*(chart for chart in charts if chart is not None))


def draw(*charts: Chart) -> Any:
    """Return a matplotlib figure of charts, one below the other.

    It belongs to no window and needs no closing.
    """
    import matplotlib
    from matplotlib.figure import Figure

    kinds = {"lines": _lines, "dots": _dots, "heatmap": _heatmap}
    with matplotlib.rc_context(_STYLE):
        heights = [_height(chart) for chart in charts]
        figure = Figure(figsize=(_WIDTH, sum(heights)), layout="constrained")
        grid = figure.subplots(len(charts), 1, squeeze=False, height_ratios=heights)
        for chart, axes in zip(charts, grid[:, 0], strict=True):
            kinds[chart.kind](chart, axes)
            # The legend stands between the axes and the title.
            rows = -(-len(chart.series) // _columns(chart)) if chart.has_legend else 0
            axes.set_title(chart.title, pad=6 + 12 * rows)
    return figure


def as_bytes(figure: Any, form: str) -> bytes:
    """Return a figure as a file of a form, `svg` or `png`."""
    import matplotlib

    # Without a date, equal charts give equal files.
    metadata = {"Date": None} if form == "svg" else None
    file = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(file, format=form, dpi=DOTS_PER_INCH, metadata=metadata)
    return file.getvalue()


def _height(chart: Chart) -> float:
    """Return how high a chart is drawn, in inches."""
    if chart.kind == "dots":
        lanes = len(chart.series) if chart.is_dodged else 1
        return 1.0 + len(chart.names) * (0.14 + 0.1 * lanes)
    if chart.kind == "heatmap":
        return 1.4 + 0.3 * min(len(chart.series), 20)
    return 3.2


def _lines(chart: Chart, axes: Any) -> None:
    for series in chart.series:
        color = color_of(series.color)
        if series.low:
            axes.fill_between(
                series.x, series.low, series.high, color=color, alpha=0.16, linewidth=0
            )
        axes.plot(
            series.x,
            series.y,
            "--" if series.dashed else "-",
            color=color,
            label=series.name,
            marker=_MARKS[symbol_of(series.color)] if len(series.x) <= 30 else None,
            markersize=4,
            linewidth=1.4,
        )

    if chart.is_log:
        axes.set_yscale("log")
        ends = axes.get_ylim()
        ticks = chart.log_ticks()
        # matplotlib's own labels are mathematics, and no text of a chart is read as such.
        axes.set_yticks(ticks, [f"{y:g}" for y in ticks])
        axes.minorticks_off()
        axes.set_ylim(ends)
    if chart.top is not None:
        axes.set_ylim(chart.bottom(chart.top), chart.top)
    if chart.diagonal:
        axes.plot([0, 1], [0, 1], ":", color=GREYISH, linewidth=1)
    axes.set_xlabel(chart.x_title)
    axes.set_ylabel(chart.y_label)
    axes.grid(axis="y", color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    _legend(chart, axes)


def _dots(chart: Chart, axes: Any) -> None:
    place = {name: number for number, name in enumerate(chart.names)}
    for number, series in enumerate(chart.series):
        at = [place[str(name)] + chart.shift(number) for name in series.x]
        color = color_of(series.color)
        if series.low:
            axes.hlines(at, series.low, series.high, color=color, linewidth=1.6)
        mark = _MARKS[symbol_of(series.color)]
        axes.plot(series.y, at, mark, color=color, label=series.name, markersize=5)
        if chart.labelled:
            _label_dots(chart, series, at, axes)

    if chart.connected:
        for name, number in place.items():
            values = chart.values_of(name)
            axes.hlines(number, min(values), max(values), color=GREYISH, linewidth=1.2, zorder=0)
    if chart.baseline is not None:
        axes.axvline(chart.baseline, color=GREYISH, linewidth=1, zorder=0)

    axes.set_yticks(range(len(place)), list(place))
    axes.set_ylim(len(place) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xlabel(chart.x_title)
    _legend(chart, axes)


def _label_dots(chart: Chart, series: Series, at: Sequence[float], axes: Any) -> None:
    """Write each dot's value beside it, towards the middle of the chart."""
    middle = sum(chart.ends) / 2
    for value, line in zip(series.y, at, strict=True):
        left = value > middle
        axes.annotate(
            f"{value:.2f}",
            (value, line),
            (-6 if left else 6, 0),
            textcoords="offset points",
            va="center",
            ha="right" if left else "left",
            fontsize=7,
        )


def _heatmap(chart: Chart, axes: Any) -> None:
    values = [list(series.y) for series in chart.series]
    known = [value for row in values for value in row if not math.isnan(value)]
    # The colors stay so light that the numbers on them can be read.
    darkest = min(known) + (max(known) - min(known)) * 1.6
    axes.imshow(values, cmap="Blues", aspect="auto", vmin=min(known), vmax=darkest)

    columns = [str(name) for name in chart.series[0].x]
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
    axes.set_yticks(range(len(chart.series)), [series.name for series in chart.series])
    axes.set_xlabel(chart.y_title)
    axes.tick_params(length=0)

    if len(columns) <= MOST_NUMBERED:
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                if not math.isnan(value):
                    axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7)


def _legend(chart: Chart, axes: Any) -> None:
    """Name the series above the axes, because inside there may be marks in every corner."""
    if chart.has_legend:
        legend = axes.legend(
            fontsize=8,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=_columns(chart),
            borderaxespad=0.2,
            borderpad=0,
            columnspacing=1.2,
            handletextpad=0.5,
        )
        # The title's distance makes room for it; a wide legend must not narrow the axes.
        legend.set_in_layout(False)


def _columns(chart: Chart) -> int:
    """Return how many names of series go side by side."""
    longest = max(len(series.name) for series in chart.series)
    return max(1, min(len(chart.series), 76 // (longest + 6)))
