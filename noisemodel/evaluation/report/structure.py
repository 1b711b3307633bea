"""What is correlated: power spectra of lines, of pictures, and the autocorrelation."""

from typing import Any

import numpy as np

from noisemodel.evaluation.comparison import Comparison
from noisemodel.evaluation.figure_style import GENERATED, REAL
from noisemodel.evaluation.line_spectra import LineSpectrum, darkest, line_spectrum
from noisemodel.evaluation.panel_spectra import BANDS, band_means
from noisemodel.evaluation.report.charts import DIVERGING, LEGEND, axis, curve, faded, figure, heatmap, points, steps
from noisemodel.evaluation.report.markup import Section, chart, grid
from noisemodel.evaluation.report.spectrum_2d import correlation, spectrum_2d

LAGS = 8
ACROSS: dict[str, Any] = {"constrain": "domain", "automargin": False}  # of a square map
DOWN: dict[str, Any] = {**ACROSS, "scaleanchor": "x"}


def spectra_section(compared: Comparison) -> Section:
    """Spectra of row and column means, then of whole pictures."""
    used = darkest(compared.pairs)
    unit, parts = compared.levels.range_dn, []
    for burst_mean in (False, True)[: 1 if compared.centred else 2]:
        for line in ("row", "column"):
            parts.append(_lines(line_spectrum(used, line, burst_mean=burst_mean), line, burst_mean, unit))
    names = ", ".join(p.recording.name for p in used)
    lead = f"From {names}. Look for lines, banding at low frequency, and a level above that of white noise."
    return Section("spectra", "Power spectra", lead, grid(parts, "two") + _pictures(compared))


def _lines(found: LineSpectrum, line: str, burst_mean: bool, unit: float) -> str:
    """One pair of spectra; frequency 0, the frame's mean, is left out."""
    frequency, traces = found.frequency[1:], []
    for values, colour, name in ((found.real, REAL, "real"), (found.generated, GENERATED, "generated")):
        power = values[1:] * unit**2
        edges, level = band_means(frequency, power)
        traces.append(curve(frequency, power, name, faded(colour, 0.35), width=1, showlegend=False, hoverinfo="skip"))
        traces.append(steps(edges, level, name, colour))
    white = [found.white * unit**2] * 2
    traces.append(curve([0, 0.5], white, "white noise of that pixel std", None, dash="dot", width=1))
    layout = {
        "xaxis": axis(f"frequency across {line}s [cycles/px]", range=[0, 0.5]),
        "yaxis": axis("density [DN² / (cycle/px)]", log=True),
        "legend": LEGEND,
    }
    what = "mean over the burst" if burst_mean else "every frame"
    caption = f"{found.spectra} spectra averaged. Pale: every frequency; bold: {BANDS} bands."
    return chart(figure(traces, **layout), caption, title=f"{line.capitalize()} means, {what}", height=340)


def _pictures(compared: Comparison) -> str:
    """Two-dimensional spectra, real and generated on one scale, and their ratio."""
    found = spectrum_2d(darkest(compared.pairs))
    real, made = (10 * np.log10(np.maximum(v.numpy(), 1e-6)) for v in (found.real, found.generated))
    top = max(3.0, float(np.percentile(real, 99.95)))
    span = (-3.0, round(top, 1))
    shown = {
        "Real": (real, span, "Viridis", "Decibels above white noise of the same variance."),
        "Generated": (made, span, "Viridis", "The same scale: lines and their strength should be the same."),
        "Generated / real": (made - real, (-3.0, 3.0), DIVERGING, "White is right; red is too much, blue too little."),
    }
    axes = {
        "xaxis": axis("across columns [cycles/px]", **ACROSS),
        "yaxis": axis("across rows [cycles/px]", **DOWN),
    }
    maps = [
        chart(
            figure([heatmap(z, found.frequency, found.frequency, limits, scale, "dB")], **axes),
            f"{caption} {found.spectra} squares averaged.",
            title=f"2-D spectrum: {title.lower()}",
            height=330,
        )
        for title, (z, limits, scale, caption) in shown.items()
    ]
    return grid(maps, "three")


def correlation_section(compared: Comparison) -> Section:
    """Autocorrelation along rows and columns, and over both."""
    found = correlation(darkest(compared.pairs), LAGS)
    lags = np.arange(1, LAGS + 1)
    parts = []
    for title, along_row in (("neighbours in a row", True), ("neighbours in a column", False)):
        both = (found.real, found.real_error, found.generated, found.generated_error)
        lines = [v[LAGS, LAGS + 1 :] if along_row else v[LAGS + 1 :, LAGS] for v in both]
        traces = [
            points(lags - 0.08, lines[0], 2 * lines[1], "real", REAL),
            points(lags + 0.08, lines[2], 2 * lines[3], "generated", GENERATED, symbol="square-open"),
        ]
        layout = {
            "xaxis": axis("distance [sensor px]", dtick=1),
            "yaxis": axis("correlation", rangemode="tozero"),
            "legend": LEGEND,
        }
        caption = "Bars: 2 standard errors from the scatter between frames. Unlike 0: the noise is not white."
        parts.append(chart(figure(traces, **layout), caption, title=f"Correlation of {title}", height=320))
    maps = []
    shown = {"real": _without_zero(found.real.numpy()), "generated": _without_zero(found.generated.numpy())}
    top = max(float(np.nanmax(np.abs(shown["real"]))), 1e-3)
    across = np.arange(-LAGS, LAGS + 1)
    axes = {"xaxis": axis("columns [px]", **ACROSS), "yaxis": axis("rows [px]", **DOWN)}
    for name, values in shown.items():
        trace = heatmap(np.nan_to_num(values), across, across, (-top, top), DIVERGING, "")
        caption = "Lag 0, which is 1, is left out. A horizontal line is row noise, a vertical one column noise."
        maps.append(chart(figure([trace], **axes), caption, title=f"Both ways: {name}", height=330))
    lead = "Correlation of a residual with its neighbours in the darkest recordings; white noise has none."
    return Section("correlation", "Autocorrelation", lead, grid(parts + maps, "two"))


def _without_zero(values: np.ndarray) -> np.ndarray:
    """The map with its centre taken out."""
    found = values.copy()
    found[LAGS, LAGS] = np.nan
    return found
