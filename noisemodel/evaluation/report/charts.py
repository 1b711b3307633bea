"""Plotly figures as plain dictionaries: curves, points with bars, bands, stacked bars and maps, all of one look."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from torch import Tensor

from noisemodel.evaluation.figure_style import RESIDUAL_MAP

Values = np.ndarray[Any, Any] | Tensor | Sequence[float]
Trace = dict[str, Any]
# Curves without a colour of their own; the page gives them the colour of its text, which differs by light and dark.
INK = {"meta": "ink"}
# Below the chart, at the bottom of its box.
LEGEND = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"}
DASHES = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot"}
DIVERGING = [[round(i / 10, 1), mpl.colors.to_hex(mpl.colormaps[RESIDUAL_MAP](i / 10))] for i in range(11)]


def figure(traces: Sequence[Trace], **layout: Any) -> dict[str, Any]:
    """Traces under one layout."""
    return {"data": list(traces), "layout": layout}


def axis(title: str, *, log: bool = False, **more: Any) -> dict[str, Any]:
    """An axis; ``more`` as plotly names it. A logarithmic one has ticks at 1, 2 and 5 or at decades."""
    kind: dict[str, Any] = (
        {"type": "log", "exponentformat": "power", "dtick": 1, "tickfont": {"size": 10}} if log else {}
    )
    return {"title": {"text": title}, **kind, **more}


def curve(x: Values, y: Values, name: str, colour: str | None, **more: Any) -> Trace:
    """A line; None takes the colour of text."""
    width = more.pop("width", 2)
    line = {"width": width, "dash": more.pop("dash", "solid"), **({"color": colour} if colour else {})}
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": numbers(x), "y": numbers(y), "line": line,
        **({} if colour else INK), **more,
    }  # fmt: skip


def steps(edges: Values, y: Values, name: str, colour: str, *, fill: bool = False) -> Trace:
    """A histogram's outline over (K + 1,) edges."""
    height = np.asarray(y, dtype=float)
    more: Trace = {"fill": "tozeroy", "fillcolor": faded(colour, 0.2)} if fill else {}
    traced = curve(edges, np.append(height, height[-1]), name, colour, **more)
    return traced | {"line": traced["line"] | {"shape": "hv"}}


def points(x: Values, y: Values, error: Values | None, name: str, colour: str, *, symbol: str = "circle") -> Trace:
    """Points, with bars where ``error`` is given."""
    bars = {} if error is None else {"error_y": {"array": numbers(error), "thickness": 1.2, "width": 3}}
    marker = {"color": colour, "size": 7, "symbol": symbol}
    drawn = {"type": "scatter", "mode": "markers", "name": name, "marker": marker}
    return {**drawn, "x": numbers(x), "y": numbers(y), **bars}


def band(x: Values, low: Values, high: Values, name: str, colour: str) -> Trace:
    """The area between two curves."""
    across = np.concatenate([np.asarray(x, float), np.asarray(x, float)[::-1]])
    round_it = np.concatenate([np.asarray(high, float), np.asarray(low, float)[::-1]])
    filled = {"fill": "toself", "fillcolor": faded(colour, 0.25), "hoverinfo": "skip"}
    return curve(across, round_it, name, colour, width=0, **filled)


def bars(names: Sequence[str], y: Values, name: str, colour: str, *, hatched: bool = False) -> Trace:
    """One layer of stacked bars over named places; hatched where another layer has the same colour."""
    marker = {"color": colour, "line": {"width": 0}, "pattern": {"shape": "/" if hatched else "", "size": 5}}
    return {"type": "bar", "name": name, "x": list(names), "y": numbers(y), "marker": marker}


def heatmap(z: Values, x: Values, y: Values, span: tuple[float, float], scale: Any, unit: str) -> Trace:
    """A map of figures rounded to a tenth of a per cent of its span."""
    places = max(0, int(np.ceil(3 - np.log10(max(span[1] - span[0], 1e-12)))))
    rounded = np.round(np.clip(np.asarray(z, float), *span), places).tolist()
    bar = {"title": {"text": unit}, "thickness": 10, "outlinewidth": 0}
    return {
        "type": "heatmap", "z": rounded, "x": numbers(x), "y": numbers(y), "zmin": span[0], "zmax": span[1],
        "colorscale": scale, "colorbar": bar,
        "hovertemplate": f"%{{x}}, %{{y}}: %{{z}} {unit}<extra></extra>",
    }  # fmt: skip


def numbers(values: Values, digits: int = 5) -> list[float | None]:
    """Figures with ``digits`` significant digits; None, which draws a gap, for what is not finite."""
    x = np.asarray(values, dtype=float)
    finite = np.isfinite(x)
    size = np.floor(np.log10(np.abs(x, where=finite & (x != 0), out=np.ones_like(x))))
    scale = 10.0 ** (digits - 1 - size)
    rounded = np.round(np.where(finite, x, 0.0) * scale) / scale
    return [value if known else None for value, known in zip(rounded.tolist(), finite.tolist(), strict=True)]


def faded(colour: str, alpha: float) -> str:
    """``#rrggbb`` as a colour that lets what is behind it through."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"
