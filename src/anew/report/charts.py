"""What a chart shows, apart from how it is drawn: the page draws it with Plotly, `figures` with
matplotlib.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["lines", "dots", "heatmap"]

PALETTE = ("#7b8490", "#2f7fc1", "#d0662a", "#2f9163", "#9467c9", "#cf4f7c", "#1f8f9c", "#9a7440")
"""One color a generation, each readable (3 to 1) on white and on the page's dark ground."""
GREYISH = "#8a929c"
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "x", "star")


def color_of(number: int) -> str:
    """Return the color of a generation, or of what has none of its own (-1)."""
    return GREYISH if number < 0 else PALETTE[number % len(PALETTE)]


def symbol_of(number: int) -> str:
    """Return the mark of a generation, by Plotly's names: colors alone do not tell it to
    everybody.
    """
    return _SYMBOLS[number % len(_SYMBOLS)]


@dataclass(frozen=True)
class Series:
    """One line, one set of marks or bars: values y over x, with an interval where there is one."""

    name: str
    x: tuple[float, ...] | tuple[str, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    color: int = 0
    """Which color of the palette: a generation's number, so that it has one color in all charts; -1
    is grey.
    """
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
    """The alternative text: what a reader who does not see the chart must know."""
    baseline: float | None = None
    """Where a straight line marks no difference."""
    diagonal: bool = False
    """Whether a dashed line marks y = x."""
    connected: bool = False
    """Whether dots of one name stand on one line, joined: before and after."""
    labelled: bool = False
    """Whether each dot carries its value."""
    legend: bool = True
    """Whether the series are named beside the chart; not where their names are on it already."""

    @property
    def has_legend(self) -> bool:
        """Whether the series are named beside the chart."""
        return self.legend and self.kind != "heatmap" and len(self.series) > 1

    @property
    def names(self) -> tuple[str, ...]:
        """The names that run down a chart of dots, each once, in the order of the series."""
        return tuple(dict.fromkeys(str(name) for one in self.series for name in one.x))

    @property
    def is_dodged(self) -> bool:
        """Whether several series of dots share a name, so that their marks must not lie on each
        other.
        """
        return not self.connected and len(self.names) < sum(len(one.x) for one in self.series)

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest value that a chart of dots shows, intervals and the straight
        line included.
        """
        values = [
            value
            for one in self.series
            for value in (*one.y, *one.low, *one.high)
            if not math.isnan(value)
        ]
        values += [] if self.baseline is None else [self.baseline]
        return (min(values), max(values)) if values else (0.0, 1.0)

    def shift(self, number: int) -> float:
        """Return how far below its name's middle a series' dots stand, in names."""
        if not self.is_dodged:
            return 0.0
        return 0.7 * ((number + 0.5) / len(self.series) - 0.5)

    def csv(self) -> str:
        """Return the chart's data as CSV, one line a point."""
        columns = {
            "lines": [self.x_title, self.y_title],
            "dots": ["name", self.x_title],
            "heatmap": ["column", "value"],
        }
        rows: list[list[str]] = [
            ["row" if self.kind == "heatmap" else "series", *columns[self.kind], "low", "high"]
        ]
        for one in self.series:
            for number, (x, y) in enumerate(zip(one.x, one.y, strict=True)):
                low, high = (_number(ends[number]) if ends else "" for ends in (one.low, one.high))
                rows.append(
                    [one.name, x if isinstance(x, str) else _number(x), _number(y), low, high]
                )
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue()


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.10g}"


def spoken(values: Sequence[str]) -> str:
    """Return names as one says them: `a`, `a and b`, `a, b and c`."""
    return (
        " and ".join([", ".join(values[:-1]), values[-1]]) if len(values) > 1 else "".join(values)
    )
