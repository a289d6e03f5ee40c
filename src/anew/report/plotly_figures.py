"""A chart as Plotly draws it on the page, in plain dictionaries.

The page's style sheet gives the colors of text and lines, for light, dark and paper. Titles of axes
are the page's too, because there they can wrap.
"""

from __future__ import annotations

from typing import Any

from anew.report.charts import GREYISH, MOST_NUMBERED, Chart, Series, color_of, symbol_of

_BAND_OPACITY = 0.16
_HEAT = ((0.0, "rgba(47, 127, 193, 0.02)"), (1.0, "rgba(47, 127, 193, 0.55)"))
"""So light that numbers on it can be read, on white and on black."""


def figure(chart: Chart) -> dict[str, Any]:
    """Return a chart's traces and layout."""
    traces = {"lines": _lines, "dots": _dots, "heatmap": _heatmap}[chart.kind](chart)
    layout = _layout(chart)
    {"lines": _arrange_lines, "dots": _arrange_dots, "heatmap": _arrange_heatmap}[chart.kind](
        chart, layout
    )

    shapes: list[dict[str, Any]] = layout["shapes"]
    if chart.baseline is not None:
        shapes.append(_line(chart.baseline, chart.baseline, 0, 1, yref="paper"))
    if chart.diagonal:
        dotted = {"dash": "dot", "width": 1.5, "color": GREYISH}
        shapes.append({**_line(0, 1, 0, 1), "line": dotted})
    return {"data": traces, "layout": layout}


def _layout(chart: Chart) -> dict[str, Any]:
    """Return what the layouts of all kinds of charts have in common."""
    axes: dict[str, Any] = {
        "automargin": True,
        "fixedrange": True,
        "zeroline": False,
        "ticklabelstandoff": 4,
    }

    return {
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


def _arrange_lines(chart: Chart, layout: dict[str, Any]) -> None:
    """Give a few whole numbers a tick each, and the y axis its scale."""
    if chart.diagonal:
        return
    if chart.is_log:
        # Plotly would write 0.05 as a small 5.
        ticks = chart.log_ticks()
        layout["yaxis"] |= {"type": "log", "tickvals": ticks, "ticktext": [f"{y:g}" for y in ticks]}
    if chart.top is not None:
        layout["yaxis"]["range"] = [chart.bottom(chart.top), chart.top]
    xs = [x for series in chart.series for x in series.x if isinstance(x, float)]
    if xs and all(x.is_integer() for x in xs) and max(xs) - min(xs) <= 12:
        layout["xaxis"] |= {"tickmode": "linear", "dtick": 1, "showgrid": False}


def _arrange_dots(chart: Chart, layout: dict[str, Any]) -> None:
    """Write the names down the chart, and join dots of one name if they are before and after."""
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
        for number, name in enumerate(names):
            values = chart.values_of(name)
            layout["shapes"].append(_line(min(values), max(values), number, number))


def _arrange_heatmap(chart: Chart, layout: dict[str, Any]) -> None:
    """Write the columns' names above, steeper if there are many."""
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


def height(chart: Chart) -> int:
    """Return how high a chart is drawn, in pixels."""
    if chart.kind == "dots":
        lanes = len(chart.series) if chart.is_dodged else 1
        # Less than this and Plotly has no room for the ticks.
        return max(110, 50 + len(chart.names) * (12 + 15 * lanes))
    if chart.kind == "heatmap":
        return 100 + min(640, 36 * len(chart.series))
    return 420 if chart.diagonal else 330


def _lines(chart: Chart) -> list[dict[str, Any]]:
    traces: list[dict[str, Any]] = []
    for series in chart.series:
        color, name = color_of(series.color), _text(series.name)
        if series.low:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "x": [*series.x, *reversed(series.x)],
                    "y": [*series.high, *reversed(series.low)],
                    "fill": "toself",
                    "fillcolor": color,
                    "opacity": _BAND_OPACITY,
                    "line": {"width": 0},
                    "hoverinfo": "skip",
                }
            )

        dash = "dash" if series.dashed else "solid"
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if len(series.x) <= 30 else "lines",
                "name": name,
                "x": list(series.x),
                "y": list(series.y),
                "line": {"color": color, "width": 2, "dash": dash},
                "marker": {"color": color, "size": 7, "symbol": symbol_of(series.color)},
                "hovertemplate": f"{name}<br>%{{x:.4~g}}: %{{y:.4~g}}<extra></extra>",
            }
        )
    return traces


def _dots(chart: Chart) -> list[dict[str, Any]]:
    place = {name: float(number) for number, name in enumerate(chart.names)}
    middle = sum(chart.ends) / 2
    traces: list[dict[str, Any]] = []
    for number, series in enumerate(chart.series):
        color, shift = color_of(series.color), chart.shift(number)
        extra = _text(series.name) if len(chart.series) > 1 else ""
        trace: dict[str, Any] = {
            "type": "scatter",
            "mode": "markers",
            "name": _text(series.name),
            "x": list(series.y),
            "y": [place[str(name)] + shift for name in series.x],
            "marker": {"color": color, "size": 9, "symbol": symbol_of(series.color)},
            "text": [_text(f"{name}: {_hover(series, at)}") for at, name in enumerate(series.x)],
            "hovertemplate": f"%{{text}}<extra>{extra}</extra>",
        }

        if chart.labelled:
            # Towards the middle of the chart, where there is room.
            sides = ["middle left" if y > middle else "middle right" for y in series.y]
            trace |= {
                "mode": "markers+text",
                "texttemplate": "\u2002%{x:.2f}\u2002",
                "textposition": sides,
                "cliponaxis": False,
                "hovertemplate": "%{text}<extra></extra>",
            }
        if series.low:
            trace["error_x"] = {
                "type": "data",
                "symmetric": False,
                "color": color,
                "thickness": 2,
                "width": 4,
                "array": [high - y for high, y in zip(series.high, series.y, strict=True)],
                "arrayminus": [y - low for low, y in zip(series.low, series.y, strict=True)],
            }
        traces.append(trace)
    return traces


def _heatmap(chart: Chart) -> list[dict[str, Any]]:
    columns = [_text(str(name)) for name in chart.series[0].x]
    trace: dict[str, Any] = {
        "type": "heatmap",
        "x": columns,
        "y": [_text(series.name) for series in chart.series],
        "z": [list(series.y) for series in chart.series],
        "colorscale": [list(stop) for stop in _HEAT],
        "showscale": False,
        "hoverongaps": False,
        "xgap": 2,
        "ygap": 2,
        "hovertemplate": "%{y}, %{x}: %{z:.1f} %<extra></extra>",
    }

    if len(columns) <= MOST_NUMBERED:
        trace["texttemplate"] = "%{z:.0f}"
    return [trace]


def _hover(series: Series, at: int) -> str:
    text = f"{series.y[at]:.4g}"
    if not series.low:
        return text
    return f"{text} ({series.low[at]:.4g} to {series.high[at]:.4g})"


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
    """Return a name that Plotly shows as it is: it would read tags and entities in it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
