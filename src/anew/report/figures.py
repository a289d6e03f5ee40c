"""A report's charts as figures for a paper: SVG and PNG by matplotlib, white ground, the page's
colors and marks.
"""

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
from anew.report.charts import GREYISH, Chart, color_of, symbol_of
from anew.report.content import Report
from anew.report.gathering import network_of

DOTS_PER_INCH = 300
_WIDTH = 6.3
"""Inches: a column and a half, or a page's text."""
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
# Text stays text, so that an editor can change its font; equal charts give equal files.
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
    """Raise `AnewError` where matplotlib is missing."""
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
    """Return a matplotlib figure of charts, one below the other; it belongs to no window and needs
    no closing.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        heights = [_height(chart) for chart in charts]
        figure = Figure(figsize=(_WIDTH, sum(heights)), layout="constrained")
        axes = figure.subplots(len(charts), 1, squeeze=False, height_ratios=heights)
        for chart, one in zip(charts, axes[:, 0], strict=True):
            {"lines": _lines, "dots": _dots, "heatmap": _heatmap}[chart.kind](chart, one)
            rows = -(-len(chart.series) // _columns(chart)) if chart.has_legend else 0
            one.set_title(chart.title, pad=6 + 12 * rows)
    return figure


def as_bytes(figure: Any, form: str) -> bytes:
    """Return a figure as a file of a form, `svg` or `png`."""
    import matplotlib

    file = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(
            file, format=form, dpi=DOTS_PER_INCH, metadata={"Date": None} if form == "svg" else None
        )
    return file.getvalue()


def _height(chart: Chart) -> float:
    if chart.kind == "dots":
        lanes = len(chart.series) if chart.is_dodged else 1
        return 1.0 + len(chart.names) * (0.14 + 0.1 * lanes)
    if chart.kind == "heatmap":
        return 1.4 + 0.3 * min(len(chart.series), 20)
    return 3.2


def _lines(chart: Chart, axes: Any) -> None:
    for one in chart.series:
        color = color_of(one.color)
        if one.low:
            axes.fill_between(one.x, one.low, one.high, color=color, alpha=0.16, linewidth=0)
        mark = _MARKS[symbol_of(one.color)] if len(one.x) <= 30 else None
        style = "--" if one.dashed else "-"
        axes.plot(
            one.x,
            one.y,
            style,
            color=color,
            label=one.name,
            marker=mark,
            markersize=4,
            linewidth=1.4,
        )
    if chart.diagonal:
        axes.plot([0, 1], [0, 1], ":", color=GREYISH, linewidth=1)
    axes.set_xlabel(chart.x_title)
    axes.set_ylabel(chart.y_title)
    axes.grid(axis="y", color="#e3e7ec", linewidth=0.7)
    axes.set_axisbelow(True)
    _legend(chart, axes)


def _dots(chart: Chart, axes: Any) -> None:
    place = {name: number for number, name in enumerate(chart.names)}
    for number, one in enumerate(chart.series):
        at = [place[str(name)] + chart.shift(number) for name in one.x]
        color = color_of(one.color)
        if one.low:
            axes.hlines(at, one.low, one.high, color=color, linewidth=1.6)
        axes.plot(
            one.y, at, _MARKS[symbol_of(one.color)], color=color, label=one.name, markersize=5
        )
        for value, line in zip(one.y, at, strict=True) if chart.labelled else ():
            left = value > sum(chart.ends) / 2
            axes.annotate(
                f"{value:.2f}",
                (value, line),
                (-6 if left else 6, 0),
                textcoords="offset points",
                va="center",
                ha="right" if left else "left",
                fontsize=7,
            )
    for name, number in place.items() if chart.connected else ():
        values = [y for one in chart.series for x, y in zip(one.x, one.y, strict=True) if x == name]
        axes.hlines(number, min(values), max(values), color=GREYISH, linewidth=1.2, zorder=0)
    if chart.baseline is not None:
        axes.axvline(chart.baseline, color=GREYISH, linewidth=1, zorder=0)
    axes.set_yticks(range(len(place)), list(place))
    axes.set_ylim(len(place) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e3e7ec", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xlabel(chart.x_title)
    _legend(chart, axes)


def _heatmap(chart: Chart, axes: Any) -> None:
    values = [list(one.y) for one in chart.series]
    known = [value for row in values for value in row if not math.isnan(value)]
    axes.imshow(
        values,
        cmap="Blues",
        aspect="auto",
        vmin=min(known),
        vmax=min(known) + (max(known) - min(known)) * 1.6,
    )
    columns = [str(name) for name in chart.series[0].x]
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
    axes.set_yticks(range(len(chart.series)), [one.name for one in chart.series])
    axes.set_xlabel(chart.y_title)
    axes.tick_params(length=0)
    if len(columns) <= 12:
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                if not math.isnan(value):
                    axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7)


def _legend(chart: Chart, axes: Any) -> None:
    """Name the series above the axes: no corner of a chart is free of marks for certain."""
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
        # Its room is the title's distance; a wide one must not press the axes together.
        legend.set_in_layout(False)


def _columns(chart: Chart) -> int:
    """Return how many names of series go side by side."""
    longest = max(len(one.name) for one in chart.series)
    return max(1, min(len(chart.series), 76 // (longest + 6)))
