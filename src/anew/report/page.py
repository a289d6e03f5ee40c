"""The page of a report: one HTML file with everything in it, by a Jinja template that escapes
whatever it is given.
"""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module, resources
from typing import Any

from anew.core.errors import AnewError
from anew.evaluation.insight import wording
from anew.report import gallery, plotly_figures, sections
from anew.report.charts import Chart, color_of, symbol_of
from anew.report.content import Network, Picture, Report, plain

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
"""The marks of the legends, as paths in a square of ten: a list beside a chart breaks where
Plotly's would overlap.
"""


def render(report: Report) -> str:
    """Return the page: HTML that asks for nothing outside of itself. `AnewError` where
    `anew[report]` is missing.
    """
    jinja2, plotly = require("jinja2"), require("plotly.offline")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_own),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["lone"] = _is_lone
    environment.filters |= {"typeset": typeset, "p_value": p_value}
    own = {chart.name: chart for chart in sections.own_charts(report)}
    insight = sections.insight_sections(report.insight) if report.insight is not None else ()
    charts = [*own.values(), *(chart for section in insight for chart in section.charts)]
    shared, differing = settings(report.shown or report.networks)
    return environment.get_template("page.html").render(
        report=report,
        charts=own,
        insight=insight,
        numbers=wording.sections(report.insight) if report.insight is not None else [],
        figures=plain({chart.name: plotly_figures.figure(chart) for chart in charts}),
        heights={chart.name: plotly_figures.height(chart) for chart in charts},
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
        environments=environments(report.networks),
        totals=totals(report.networks),
        style=jinja2.utils.markupsafe.Markup(_own("page.css")),
        script=jinja2.utils.markupsafe.Markup(_own("page.js")),
        plotly=jinja2.utils.markupsafe.Markup(plotly.get_plotlyjs()),
    )


def require_all() -> None:
    """Raise `AnewError` where what a page is made with is missing: before anything else is done."""
    for module in ("jinja2", "plotly"):
        require(module)


def require(module: str) -> Any:
    """Return a module of an extra; `AnewError` that says how to get it where it is missing."""
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
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return _uri("text/csv", text.getvalue().encode())


def beliefs(picture: Picture, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return what every generation says of a picture: the likeliest classes and the label's,
    likeliest first.
    """
    found: list[dict[str, Any]] = []
    for generation, probabilities in enumerate(picture.probabilities):
        order = sorted(range(len(probabilities)), key=lambda one: -probabilities[one])
        shown = order[:_SHOWN_CLASSES]
        if picture.label not in shown:
            shown = [*shown[:-1], picture.label]
        found.append(
            {
                "generation": generation,
                "right": picture.predicted[generation] == picture.label,
                "classes": [
                    {
                        "name": classes[one],
                        "is_label": one == picture.label,
                        "share": probabilities[one],
                    }
                    for one in shown
                ],
            }
        )
    return found


def settings(
    networks: Sequence[Network],
) -> tuple[list[tuple[str, str]], list[tuple[str, list[str]]]]:
    """Return the settings that all networks share, and those that differ with each network's value;
    by name.
    """
    names = list(dict.fromkeys(name for network in networks for name in network.spec))
    shared: list[tuple[str, str]] = []
    differing: list[tuple[str, list[str]]] = []
    for name in names:
        values = [_in_words(network.spec.get(name)) for network in networks]
        if len(set(values)) == 1:
            shared.append((name, values[0]))
        else:
            differing.append((name, values))
    return shared, differing


def environments(networks: Sequence[Network]) -> list[tuple[str, list[str]]]:
    """Return every environment in words, with the ids of the networks that were trained in it."""
    found: dict[str, list[str]] = {}
    for network in networks:
        for one in network.environments:
            text = ", ".join(f"{name} {value}" for name, value in one.items())
            found.setdefault(text, []).append(network.id)
    return list(found.items())


def totals(networks: Sequence[Network]) -> Mapping[str, float | int | None]:
    """Return the sums of what the networks took; None where no network recorded it."""

    def total(values: Iterable[float | int | None]) -> float | int | None:
        known = [value for value in values if value is not None]
        return sum(known) if known else None

    return {
        "seconds": total(network.cost.seconds for network in networks),
        "pictures": total(network.cost.pictures for network in networks),
        "asked": total(network.cost.asked for network in networks),
        "served": total(network.cost.served for network in networks),
        "saved": total(network.cost.saved for network in networks),
    }


def typeset(text: object) -> str:
    """Return a text with the signs of print, and no line's end within a quantity; CSV files keep
    what programs read.
    """
    signs = re.sub(r"(?<![\w.,-])-(?=\d)", "\u2212", str(text)).replace("'", "\u2019")
    return re.sub(r" (?=±)|(?<=±) |(?<=\d) (?=%)", "\u00a0", signs)


def p_value(p: float) -> str:
    """Return a p-value in words: none is 0."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _is_lone(generations: Sequence[int]) -> bool:
    """Whether a row of scores is one generation's and no ensemble's."""
    return len(generations) == 1


def _in_words(value: Any) -> str:
    if value is None or value == [] or value == "" or value == {}:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_in_words(one) for one in value)
    return str(value)


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _own(name: str) -> str:
    return (resources.files("anew.report") / name).read_text(encoding="utf-8")
