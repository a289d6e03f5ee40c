"""What a chart shows. The page draws it with Plotly, `figures` with matplotlib."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from anew.core.text import csv_table

Kind = Literal["lines", "dots", "heatmap"]

PALETTE = ("#7b8490", "#2f7fc1", "#d0662a", "#2f9163", "#9467c9", "#cf4f7c", "#1f8f9c", "#9a7440")
"""One color a generation, each readable (3 to 1) on white and on the page's dark ground."""
GREYISH = "#8a929c"
MOST_NUMBERED = 12
"""The most columns of a heat map whose cells carry their numbers."""
_MOST_POWERS = 3
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "x", "star")


def color_of(number: int) -> str:
    """Return the color of a generation; grey for -1, what belongs to no generation."""
    return GREYISH if number < 0 else PALETTE[number % len(PALETTE)]


def symbol_of(number: int) -> str:
    """Return the mark of a generation, by Plotly's names.

    Not every reader can tell colors apart.
    """
    return _SYMBOLS[number % len(_SYMBOLS)]


@dataclass(frozen=True)
class Series:
    """One line or one set of marks: values y over x, with intervals if they are known."""

    name: str
    x: tuple[float, ...] | tuple[str, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    color: int = 0
    """A generation's number, which has one color in all charts; -1 is grey."""
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart: `lines` over numbers, `dots` with intervals beside names, or a `heatmap`.

    Of `dots`, names run down and values across: a series' x are the names, its y the values. Of a
    `heatmap` each series is a row, and its x the columns' names.
    """

    name: str
    """For files and links: lower case, words joined by hyphens."""
    title: str
    kind: Kind
    x_title: str
    y_title: str
    series: tuple[Series, ...]
    description: str
    """The alternative text, for a reader who does not see the chart."""
    baseline: float | None = None
    """The value at which a straight line marks no difference."""
    diagonal: bool = False
    """Whether a dashed line marks y = x."""
    connected: bool = False
    """Whether dots of one name stand on one line, joined: before and after."""
    labelled: bool = False
    """Whether each dot carries its value."""
    legend: bool = True
    """Whether the series need names beside the chart; not if the chart shows their names."""
    is_log: bool = False
    """Whether the y axis of `lines` is logarithmic."""
    top: float | None = None
    """Where the y axis of `lines` ends, if some values lie above it."""

    @property
    def has_legend(self) -> bool:
        """Whether the series are named beside the chart."""
        return self.legend and self.kind != "heatmap" and len(self.series) > 1

    @property
    def y_label(self) -> str:
        """The title of the y axis, with its scale."""
        if self.is_log:
            return f"{self.y_title} (log scale)"
        if self.top is not None:
            return f"{self.y_title} (axis ends at {self.top:g})"
        return self.y_title

    def bottom(self, top: float) -> float:
        """Return where the y axis of `lines` begins, just below the least value."""
        lowest = min(y for series in self.series for y in series.y)
        return lowest - 0.05 * (top - lowest)

    def log_ticks(self) -> list[float]:
        """Return 1, 2 and 5 times the powers of ten around the values of a logarithmic axis; the
        powers alone where that would be many.
        """
        values = [y for series in self.series for y in series.y]
        low, high = (math.floor(math.log10(end)) for end in (min(values), max(values)))
        steps = (1, 2, 5) if high - low <= _MOST_POWERS else (1,)
        return [float(f"{step}e{power}") for power in range(low, high + 2) for step in steps]

    @property
    def names(self) -> tuple[str, ...]:
        """The names that run down a chart of dots, each once, in the order of the series."""
        return tuple(dict.fromkeys(str(name) for series in self.series for name in series.x))

    @property
    def is_dodged(self) -> bool:
        """Whether series of dots share a name, so that their marks are moved apart."""
        return not self.connected and len(self.names) < sum(len(series.x) for series in self.series)

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest value of a chart of dots, with intervals and the baseline."""
        values: list[float] = []
        for series in self.series:
            shown = (*series.y, *series.low, *series.high)
            values += [value for value in shown if not math.isnan(value)]
        if self.baseline is not None:
            values.append(self.baseline)
        return (min(values), max(values)) if values else (0.0, 1.0)

    def values_of(self, name: str) -> list[float]:
        """Return the values of a name in a chart of dots, by series."""
        return [
            y
            for series in self.series
            for x, y in zip(series.x, series.y, strict=True)
            if x == name
        ]

    def shift(self, number: int) -> float:
        """Return how far below the middle of its name a series' dots are, in heights of a name."""
        if not self.is_dodged:
            return 0.0
        return 0.7 * ((number + 0.5) / len(self.series) - 0.5)

    def csv(self) -> str:
        """Return the chart's data as CSV, one line a point."""
        columns = {
            "lines": ("series", self.x_title, self.y_title),
            "dots": ("series", "name", self.x_title),
            "heatmap": ("row", "column", "value"),
        }[self.kind]

        rows: list[list[str]] = []
        for series in self.series:
            for number, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
                low = _number(series.low[number]) if series.low else ""
                high = _number(series.high[number]) if series.high else ""
                place = x if isinstance(x, str) else _number(x)
                rows.append([series.name, place, _number(y), low, high])
        return csv_table([*columns, "low", "high"], rows)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.10g}"
