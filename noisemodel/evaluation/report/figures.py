"""Tables: parameters with intervals, line and pixel stds, fidelity metrics with floors, provenance."""

import json
import math
from collections.abc import Mapping
from typing import Any

import torch

import noisemodel
from noisemodel.errors import InputError
from noisemodel.evaluation.comparison import Comparison, summary
from noisemodel.evaluation.figure_style import GENERATED, short
from noisemodel.evaluation.parameter_table import COLUMNS
from noisemodel.evaluation.parameter_table import headings as headings_of
from noisemodel.evaluation.report.charts import axis, figure, numbers
from noisemodel.evaluation.report.markup import Cell, Section, chart, note, table

RATIO_TICKS = [round(digit * 10.0**power, 4) for power in range(-2, 5) for digit in (1, 2, 5)]
LONGEST = 300  # characters of a provenance entry that are shown
# Residual figure of `summary` -> heading.
STDS = {"pixel_std": "pixels", "row_mean_std": "row means", "column_mean_std": "column means"}


def parameters_section(compared: Comparison) -> Section:
    """Every parameter in three units, intervals below the figures."""
    rows = compared.rows
    shown = [h for h in headings_of(rows) if h != "95 % interval"]
    with_interval = dict(zip(("value", "dn", "electrons"), range(3), strict=True))

    def cell(row: Any, key: str) -> Cell:
        text = getattr(row, key)
        return (text, row.intervals[with_interval[key]]) if key in with_interval else text

    lines = [[cell(row, COLUMNS[heading]) for heading in shown] for row in rows]
    body = table(shown, lines, left=("state",), caption="Parameters") if rows else note("This model has no parameters.")
    if any(row.interval for row in rows):
        about = "Small figures: 95 % intervals of the calibration"
        body += note(f"{about}, in electrons at the model's gain. dark.std is all white noise in the dark.")
    else:
        body += note("Intervals are not available: the checkpoint holds none. dark.std is all white noise in the dark.")
    return Section("parameters", "Parameters", "What the model says of the sensor.", body + _calibration(compared))


def _calibration(compared: Comparison) -> str:
    """Figures and notes that the calibration left."""
    figures, notes = (compared.calibration.get(key) for key in ("figures", "notes"))
    body = ""
    if isinstance(figures, Mapping) and figures:
        rows = [
            [str(name), _figure(f.get("value")), _span(f.get("low"), f.get("high")), *_words(f, "unit", "estimator")]
            for name, f in figures.items()
            if isinstance(f, Mapping)
        ]
        headings = ("figure", "value", "95 % interval", "unit", "estimator")
        body += table(headings, rows, left=("unit", "estimator"), caption="Calibration from bursts")
    for text in notes if isinstance(notes, list | tuple) else ():
        body += note(str(text))
    return body


def _words(entry: Mapping[str, Any], *keys: str) -> list[str]:
    return [str(entry.get(key, "")) for key in keys]


def metrics_section(compared: Comparison) -> Section:
    """Distances of `fidelity` with intervals and floors, and plain stds per recording."""
    lead = "Each distance beside its floor, real frames against real frames: at the floor, no more can be told apart."
    return Section("metrics", "Metrics", lead, _fidelity(compared) + _stds(compared))


def _fidelity(compared: Comparison) -> str:
    try:
        from noisemodel.evaluation.fidelity import METRICS, fidelity
    except ImportError as error:
        return note(f"Distances with floors are not available: {error}.")
    try:
        scores = fidelity(compared.pairs, seed=compared.seed)
    except InputError as error:
        return note(f"Distances with floors are not available: {error}.")
    rows: list[list[Cell]] = [
        [
            s.metric,
            (_figure(s.value), _span(s.low, s.high)),
            (_figure(s.floor), _span(s.floor_low, s.floor_high)),
            _figure(s.value / s.floor, 3) if s.floor else "",
            s.unit,
            METRICS[s.metric].about if s.metric in METRICS else "",
        ]
        for s in scores
    ]
    headings = ("metric", "model against real", "floor", "ratio", "unit", "definition")
    body = table(
        headings, rows, left=("unit", "definition"), caption="Distances; small figures: 95 % bootstrap intervals"
    )
    return _ratios(scores) + body


def _ratios(scores: Any) -> str:
    """How many times its floor each distance is, on a log axis."""
    known = [s for s in scores if s.floor > 0 and s.value > 0 and math.isfinite(s.value / s.floor)][::-1]
    if not known:
        return ""
    names = [s.metric for s in known]
    ratio, low, high = ([getattr(s, key) / s.floor for s in known] for key in ("value", "low", "high"))
    ends = {
        "array": numbers([b - a for a, b in zip(ratio, high, strict=True)]),
        "arrayminus": numbers([b - max(a, 1e-3) for a, b in zip(low, ratio, strict=True)]),
    }
    marker = {"color": GENERATED, "size": 9}
    drawn = {"type": "scatter", "mode": "markers", "x": numbers(ratio), "y": names, "marker": marker}
    drawn |= {
        "error_x": {"symmetric": False, **ends},
        "name": "model against real",
        "hovertemplate": "%{y}: %{x}<extra></extra>",
    }
    line = {
        "type": "line",
        "x0": 1,
        "x1": 1,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"dash": "dot", "color": "#808080"},
    }
    across = axis("distance over its floor", type="log", tickvals=RATIO_TICKS)
    figured = figure([drawn], xaxis=across, yaxis=axis("", automargin=True), shapes=[line], showlegend=False)
    caption = "1, dotted: as near as other real frames. Bars: 95 % bootstrap intervals of the distance."
    return chart(figured, caption, title="Distance over its floor", height=110 + 32 * len(names))


def _stds(compared: Comparison) -> str:
    """Std of pixels and line means per recording, from `summary`."""
    rows = []
    for at in summary(compared.pairs, compared.curve)["recordings"]:
        cells: list[Cell] = [at["name"], _figure(at["mean_signal_dn"])]
        for key in STDS:
            found = at[key]
            cells.append(
                (f"{_figure(found['real'])} / {_figure(found['generated'])}", f"ratio {_figure(found['ratio'])}")
            )
        rows.append(cells)
    headings = ("recording", "mean signal [DN]", *STDS.values())
    return table(headings, rows, caption="Std of residuals [DN], real / generated")


def provenance_section(compared: Comparison) -> Section:
    """Where model and data come from, as recorded in the checkpoint."""
    entries = {"data": compared.note.replace("\n", " "), "seed of the generated noise": str(compared.seed)}
    entries["read with"] = f"noisemodel {noisemodel.__version__}, torch {torch.__version__}"
    config = {f"model.{name}": text for name, text in flattened(compared.model.config()).items()}
    stored = {k: v for k, v in compared.provenance.items() if k != "calibration"}
    made = {f"made.{name}": text for name, text in flattened(stored).items()}
    rows = [[name, _cut(text)] for name, text in {**entries, **config, **made}.items()]
    body = table(("entry", "value"), rows, left=("value",), caption="Provenance")
    if not stored:
        body += note("The checkpoint says nothing of how it was made.")
    lead = "What was compared, the model's configuration, and how the checkpoint says it was made."
    return Section("provenance", "Provenance", lead, body)


def flattened(tree: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """A tree of mappings as dotted name -> text; lists stay JSON."""
    found: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = (
                value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            )
    return found


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text)} characters)"


def _figure(value: Any, digits: int = 4) -> str:
    known = isinstance(value, int | float) and math.isfinite(value)
    return short(float(value), digits) if known else ""


def _span(low: Any, high: Any) -> str:
    texts = [_figure(low), _figure(high)]
    return " … ".join(texts) if all(texts) else ""
