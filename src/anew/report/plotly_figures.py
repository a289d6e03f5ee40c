"""A chart as Plotly draws it on the page: plain dictionaries, without colors of text and lines,
which the page's own style sheet gives for light, dark and paper. Titles of axes are the page's too:
there they break where there is no room.
"""

from __future__ import annotations

from typing import Any

from anew.report.charts import GREYISH, Chart, Series, color_of, symbol_of

_BAND_OPACITY = 0.16
_HEAT = ((0.0, "rgba(47, 127, 193, 0.02)"), (1.0, "rgba(47, 127, 193, 0.55)"))
"""Never so strong that a number on it could not be read, on white or on black."""
_NUMBERED_CELLS = 12
"""Up to so many columns a heat map's cells carry their numbers."""


def figure(chart: Chart) -> dict[str, Any]:
    """Return a chart's traces and layout."""
    traces = {"lines": _lines, "dots": _dots, "heatmap": _heatmap}[chart.kind](chart)
    axes: dict[str, Any] = {
        "automargin": True,
        "fixedrange": True,
        "zeroline": False,
        "ticklabelstandoff": 4,
    }
    layout: dict[str, Any] = {
        "height": height(chart),
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "dragmode": False,
        "hovermode": "closest",
        "showlegend": False,
        "hoverlabel": {
            "bgcolor": "#1b2027",
            "bordercolor": "#1b2027",
            "font": {"color": "#ffffff"},
        },
        "xaxis": dict(axes),
        "yaxis": dict(axes),
        "shapes": [],
    }
    if chart.kind == "dots":
        names = chart.names
        low, high = chart.ends
        room = (high - low) or 1.0
        layout["xaxis"]["range"] = [low - 0.06 * room, high + 0.06 * room]
        layout["yaxis"] |= {
            "tickvals": list(range(len(names))),
            "ticktext": [_text(name) for name in names],
            "range": [len(names) - 0.4, -0.6],
            "showgrid": False,
            "ticklabelstandoff": 8,
        }
    if chart.connected:
        place = {name: number for number, name in enumerate(chart.names)}
        for name, number in place.items():
            values = [
                y for one in chart.series for x, y in zip(one.x, one.y, strict=True) if x == name
            ]
            layout["shapes"].append(_line(min(values), max(values), number, number))
    if chart.kind == "lines" and not chart.diagonal:
        xs = [x for one in chart.series for x in one.x if isinstance(x, float)]
        if xs and all(x.is_integer() for x in xs) and max(xs) - min(xs) <= 12:
            layout["xaxis"] |= {"tickmode": "linear", "dtick": 1, "showgrid": False}
    if chart.kind == "heatmap":
        layout["yaxis"] |= {
            "autorange": "reversed",
            "showgrid": False,
            "type": "category",
            "ticks": "",
        }
        layout["xaxis"] |= {
            "showgrid": False,
            "type": "category",
            "side": "top",
            "tickangle": -40 if len(chart.series) <= 6 else -55,
            "ticks": "",
        }
    if chart.baseline is not None:
        layout["shapes"].append(_line(chart.baseline, chart.baseline, 0, 1, yref="paper"))
    if chart.diagonal:
        layout["shapes"].append(
            {**_line(0, 1, 0, 1), "line": {"dash": "dot", "width": 1.5, "color": GREYISH}}
        )
    return {"data": traces, "layout": layout}


def height(chart: Chart) -> int:
    """Return how high a chart is drawn, in pixels."""
    if chart.kind == "dots":
        lanes = len(chart.series) if chart.is_dodged else 1
        return 50 + len(chart.names) * (12 + 15 * lanes)
    if chart.kind == "heatmap":
        return 100 + min(640, 36 * len(chart.series))
    return 420 if chart.diagonal else 330


def _lines(chart: Chart) -> list[dict[str, Any]]:
    traces: list[dict[str, Any]] = []
    for one in chart.series:
        color = color_of(one.color)
        if one.low:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "x": [*one.x, *reversed(one.x)],
                    "y": [*one.high, *reversed(one.low)],
                    "fill": "toself",
                    "fillcolor": color,
                    "opacity": _BAND_OPACITY,
                    "line": {"width": 0},
                    "hoverinfo": "skip",
                }
            )
        few = len(one.x) <= 30
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if few else "lines",
                "name": _text(one.name),
                "x": list(one.x),
                "y": list(one.y),
                "line": {"color": color, "width": 2, "dash": "dash" if one.dashed else "solid"},
                "marker": {"color": color, "size": 7, "symbol": symbol_of(one.color)},
                "hovertemplate": f"{_text(one.name)}<br>%{{x:.4~g}}: %{{y:.4~g}}<extra></extra>",
            }
        )
    return traces


def _dots(chart: Chart) -> list[dict[str, Any]]:
    place = {name: float(number) for number, name in enumerate(chart.names)}
    traces: list[dict[str, Any]] = []
    for number, one in enumerate(chart.series):
        shift = chart.shift(number)
        color = color_of(one.color)
        trace: dict[str, Any] = {
            "type": "scatter",
            "mode": "markers",
            "name": _text(one.name),
            "x": list(one.y),
            "y": [place[str(name)] + shift for name in one.x],
            "marker": {"color": color, "size": 9, "symbol": symbol_of(one.color)},
            "text": [_text(f"{name}: {_hover(one, at)}") for at, name in enumerate(one.x)],
            "hovertemplate": "%{text}<extra>"
            + (_text(one.name) if len(chart.series) > 1 else "")
            + "</extra>",
        }
        if chart.labelled:
            trace |= {
                "mode": "markers+text",
                "texttemplate": "\u2002%{x:.2f}\u2002",
                "textposition": [
                    "middle left" if y > sum(chart.ends) / 2 else "middle right" for y in one.y
                ],
                "cliponaxis": False,
                "hovertemplate": "%{text}<extra></extra>",
            }
        if one.low:
            trace["error_x"] = {
                "type": "data",
                "symmetric": False,
                "color": color,
                "thickness": 2,
                "width": 4,
                "array": [high - y for high, y in zip(one.high, one.y, strict=True)],
                "arrayminus": [y - low for low, y in zip(one.low, one.y, strict=True)],
            }
        traces.append(trace)
    return traces


def _heatmap(chart: Chart) -> list[dict[str, Any]]:
    columns = [_text(str(name)) for name in chart.series[0].x]
    trace: dict[str, Any] = {
        "type": "heatmap",
        "x": columns,
        "y": [_text(one.name) for one in chart.series],
        "z": [list(one.y) for one in chart.series],
        "colorscale": [list(stop) for stop in _HEAT],
        "showscale": False,
        "hoverongaps": False,
        "xgap": 2,
        "ygap": 2,
        "hovertemplate": "%{y}, %{x}: %{z:.1f} %<extra></extra>",
    }
    if len(columns) <= _NUMBERED_CELLS:
        trace["texttemplate"] = "%{z:.0f}"
    return [trace]


def _hover(one: Series, at: int) -> str:
    text = f"{one.y[at]:.4g}"
    return f"{text} ({one.low[at]:.4g} to {one.high[at]:.4g})" if one.low else text


def _line(x0: float, x1: float, y0: float, y1: float, **more: str) -> dict[str, Any]:
    style = {"color": GREYISH, "width": 1.5}
    return {
        "type": "line",
        "x0": x0,
        "x1": x1,
        "y0": y0,
        "y1": y1,
        "layer": "below",
        "line": style,
        **more,
    }


def _text(text: str) -> str:
    """Return a name as Plotly shows it: it reads a few tags and entities in texts, and a name has
    none.
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
