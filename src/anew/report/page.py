"""The page of a report: one HTML file, by a Jinja template that escapes whatever it is given."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module, resources
from typing import Any

from anew.core.errors import AnewError
from anew.core.text import capitalised, counted, csv_table, p_value, plain
from anew.evaluation import Row, score_table
from anew.evaluation.insight import wording
from anew.report import gallery, insight_sections, networks, plotly_figures, sections, using
from anew.report.charts import Chart, color_of, symbol_of
from anew.report.content import NetworkSummary, Picture, Report

PLOTLY = "vendor/plotly.js/plotly-cartesian.min.js"
"""What draws the charts: the part of plotly.js for charts with x and y, unchanged."""
_SHOWN_CLASSES = 3
_MARKS = {
    "circle": "M5 1a4 4 0 1 0 .01 0z",
    "square": "M1.5 1.5h7v7h-7z",
    "diamond": "M5 .5 9.5 5 5 9.5.5 5z",
    "triangle-up": "M5 1.2 9.2 8.8H.8z",
    "cross": "M3.6 1h2.8v2.6H9v2.8H6.4V9H3.6V6.4H1V3.6h2.6z",
    "triangle-down": "M5 8.8.8 1.2h8.4z",
    "x": "M2.3.9 5 3.6 7.7.9 9.1 2.3 6.4 5l2.7 2.7-1.4 1.4L5 6.4 2.3 9.1.9 7.7 3.6 5 .9 2.3z",
    "star": "M5 .6l1.3 2.9 3.2.3-2.4 2.1.7 3.1L5 7.4 2.2 9l.7-3.1L.5 3.8l3.2-.3z",
}
"""The marks of the legends, as SVG paths in a square of ten.

Legends are the page's own lists: they wrap where Plotly's would overlap.
"""


@dataclass(frozen=True)
class Table:
    """A table of the page: names of columns, and lines of texts."""

    columns: Sequence[str]
    lines: Sequence[Sequence[str]]


def render(report: Report) -> str:
    """Return the page: one HTML file that loads nothing from elsewhere.

    Raises `AnewError` if `anew[report]` is not installed.
    """
    jinja2 = require("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_own),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Our own files and tags, and the only texts that are not escaped.
    trusted = jinja2.utils.markupsafe.Markup

    def as_markup(text: str) -> Any:
        return trusted(marked(text))

    own_filters = {"typeset": typeset, "p_value": p_value, "counted": counted, "marked": as_markup}
    environment.filters |= own_filters

    own = {chart.name: chart for chart in sections.own_charts(report)}
    insight, numbers = (), []
    if report.insight is not None:
        insight = insight_sections.insight_sections(report.insight)
        numbers = wording.sections(report.insight)
    charts = [*own.values(), *(chart for section in insight for chart in section.charts)]
    shared, differing = settings(report.shown or report.networks)

    return environment.get_template("page.html").render(
        report=report,
        charts=own,
        insight=insight,
        numbers=numbers,
        scores=scores(report.rows),
        figures=plain({chart.name: plotly_figures.figure(chart) for chart in charts}),
        heights={chart.name: plotly_figures.height(chart) for chart in charts},
        next_command=using.commands(report.use, report.family)[0] if report.use else "",
        chart_link=chart_link,
        csv_link=csv_link,
        color_of=color_of,
        symbol_of=symbol_of,
        marks=_MARKS,
        kinds=gallery.KINDS,
        beliefs=beliefs,
        picture_uri=picture_uri,
        shared=shared,
        differing=differing,
        networks=networks,
        environments=environments(report.networks),
        totals=totals(report.networks),
        style=trusted(_own("page.css")),
        script=trusted(_own("page.js")),
        plotly=trusted(_own(PLOTLY)),
    )


def scores(rows: Sequence[Row]) -> dict[str, Table]:
    """Return the page's two tables of scores: of generations, and of ensembles."""
    columns, generations = score_table(row for row in rows if not row.is_ensemble)
    _, ensembles = score_table(row for row in rows if row.is_ensemble)
    for line in (*generations, *ensembles):
        line[0] = capitalised(line[0])
    # An ensemble has no objective.
    return {
        "generations": Table(columns, generations),
        "ensembles": Table(
            [columns[0], *columns[2:]], [[line[0], *line[2:]] for line in ensembles]
        ),
    }


def require(module: str) -> Any:
    """Return a module of an extra, or raise `AnewError` with how to install it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise AnewError(
            f"report: needs {module.partition('.')[0]}, which is not installed; pip install "
            f"'anew[report]'"
        ) from error


def chart_link(chart: Chart) -> str:
    """Return a chart's data as the address of a CSV file that the page holds."""
    return _uri("text/csv", chart.csv().encode())


def picture_uri(picture: Picture) -> str:
    """Return a picture as an address that the page holds."""
    return _uri("image/png", picture.png)


def csv_link(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as the address of a CSV file that the page holds."""
    return _uri("text/csv", csv_table(columns, rows).encode())


def beliefs(picture: Picture, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return what every generation says of a picture.

    The likeliest classes, likeliest first, and the label's class if it is not among them.
    """
    says: list[dict[str, Any]] = []
    for generation, probabilities in enumerate(picture.probabilities):
        ranked = sorted(range(len(probabilities)), key=lambda number: -probabilities[number])
        shown = ranked[:_SHOWN_CLASSES]
        if picture.label not in shown:
            shown = [*shown[:-1], picture.label]

        likeliest = [
            {
                "name": classes[number],
                "is_label": number == picture.label,
                "share": probabilities[number],
            }
            for number in shown
        ]
        right = picture.predicted[generation] == picture.label
        says.append({"generation": generation, "right": right, "classes": likeliest})
    return says


def settings(
    members: Sequence[NetworkSummary],
) -> tuple[list[tuple[str, str]], list[tuple[str, list[str]]]]:
    """Return the settings that all networks share, and those that differ.

    A shared setting has one value, another one a value for each network.
    """
    names = list(dict.fromkeys(name for network in members for name in network.spec))
    shared: list[tuple[str, str]] = []
    differing: list[tuple[str, list[str]]] = []
    for name in names:
        values = [_in_words(network.spec.get(name)) for network in members]
        if len(set(values)) == 1:
            shared.append((name, values[0]))
        else:
            differing.append((name, values))
    return shared, differing


def environments(members: Sequence[NetworkSummary]) -> list[tuple[str, list[str]]]:
    """Return every environment in words, with the ids of the networks that were trained in it."""
    ids: dict[str, list[str]] = {}
    for network in members:
        for environment in network.environments:
            text = ", ".join(f"{name} {value}" for name, value in environment.items())
            ids.setdefault(text, []).append(network.id)
    return list(ids.items())


def totals(members: Sequence[NetworkSummary]) -> Mapping[str, float | int | None]:
    """Return the sums of what the networks took; None for what no network recorded."""

    def total(values: Iterable[float | int | None]) -> float | int | None:
        known = [value for value in values if value is not None]
        return sum(known) if known else None

    return {
        "seconds": total(network.cost.seconds for network in members),
        "pictures": total(network.cost.pictures for network in members),
        "asked": total(network.cost.asked for network in members),
        "served": total(network.cost.served for network in members),
        "saved": total(network.cost.saved for network in members),
    }


def typeset(text: object) -> str:
    """Return a text with typographic signs, and without line breaks within a quantity.

    CSV files keep the plain signs that programs read.
    """
    signs = re.sub(r"(?<![\w.,-])-(?=\d)", "\u2212", str(text)).replace("'", "\u2019")
    return re.sub(r" (?=±)|(?<=±) |(?<=\d) (?=%)", "\u00a0", signs)


def marked(text: str) -> str:
    """Return a text as HTML: escaped, and with a command between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _in_words(value: Any) -> str:
    if value is None or value == [] or value == "" or value == {}:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_in_words(item) for item in value)
    return str(value)


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _own(name: str) -> str:
    return (resources.files("anew.report") / name).read_text(encoding="utf-8")
