"""Variance against signal with the fitted line, and what each component contributes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from noisemodel.evaluation.comparison import Comparison
from noisemodel.evaluation.figure_style import COMPONENT_STYLES, GENERATED, OTHER_STYLE, REAL, short, signal_text
from noisemodel.evaluation.report.charts import DASHES, LEGEND, axis, band, bars, curve, figure, points
from noisemodel.evaluation.report.fitted_line import FittedLine, fit_line
from noisemodel.evaluation.report.markup import Cell, Section, chart, grid, note, table
from noisemodel.evaluation.report.pictures import components_pictures

GREY = "#808080"
DENSE = 200  # points of a drawn curve


def components_section(compared: Comparison) -> Section:
    """A picture of each component, and its share of the variance at every signal level."""
    lead = "One draw of every component on its own colour scale: look for a wrong structure, or one that does nothing."
    body = components_pictures(compared)
    total = compared.curve.parts["sum"]
    names = [signal_text(float(s) * compared.levels.range_dn).removesuffix(" DN") for s in compared.curve.signal]
    parts = {w: p for w, p in compared.curve.parts.items() if w != "sum" and float(p.max()) > 0}
    layers = [
        bars(names, 100 * part / total, word, style[0], hatched=style[1] != "-")
        for word, part in parts.items()
        for style in [COMPONENT_STYLES.get(word, OTHER_STYLE)]
    ]
    if layers:
        layout = {
            "barmode": "stack",
            "bargap": 0.05,
            "xaxis": axis("signal above black [DN]", type="category", tickangle=-45),
            "legend": LEGEND,
            "yaxis": axis("share [%]", range=[0, 100]),
        }
        caption = "Closed-form share of each component in the variance of a pixel, by signal level of the data."
        if compared.centred:
            caption += " What is constant over a burst cancels in this data and is left out."
        body += chart(figure(layers, **layout), caption, title="Share of the variance", height=360)
    return Section("components", "Components", lead, body)


def variance_section(compared: Comparison) -> Section:
    """The photon-transfer curve: points, fitted line with its interval, closed form; ratio and lack of fit."""
    shown = _Transfer(compared)
    body = chart(*shown.above(), title="Variance against signal", height=460)
    body += grid([shown.ratio(), shown.lack_of_fit()], "two") + shown.fitted_table() + _calibration_levels(compared)
    lead = (
        "The slope is the gain, the level in the dark read and line noise. Points and the model's curve should agree."
    )
    return Section("variance", "Variance against signal", lead, body)


class _Transfer:
    """The curve in DN, freed of what a mean of T frames takes away, with its dark level at the end of a log axis."""

    def __init__(self, compared: Comparison) -> None:
        self.compared, unit = compared, compared.levels.range_dn
        found, frames = compared.curve, {len(p.real) for p in compared.pairs}
        self.correction = 1.0
        if compared.centred and len(frames) == 1:
            (count,) = frames
            self.correction = count / (count - 1)
        scale = unit**2 * self.correction
        self.signal = (found.signal * unit).numpy()
        self.real, self.real_error = ((v * scale).numpy() for v in (found.real, found.real_error))
        self.made, self.made_error = ((v * scale).numpy() for v in (found.generated, found.generated_error))
        self.parts = {word: (part * scale).numpy() for word, part in found.parts.items()}
        self.floor = np.abs(found.floor.numpy() - 1)
        positive = self.signal[self.signal > 0.3]
        self.line: FittedLine | None = fit_line(found.signal * unit, found.real * scale, found.real_error * scale)
        self.darkest = float(positive.min()) / 3 if len(positive) else 1.0
        if self.line is not None and self.line.slope > 0 and self.line.intercept > 0:  # where light begins to matter
            matters = self.line.intercept / self.line.slope / 10
            self.darkest = min(self.darkest, max(matters, self.darkest / 1e3))

    @property
    def x(self) -> np.ndarray:
        """Signal on the log axis."""
        return np.maximum(self.signal, self.darkest)

    def axis(self) -> dict[str, Any]:
        """The signal's axis, whose left end stands for the dark."""
        top = max(float(self.signal.max()), 2 * self.darkest)
        decades = [10.0**k for k in range(-1, 6) if self.darkest * 1.6 < 10.0**k <= top * 1.5]
        dark = bool((self.signal < self.darkest).any())
        ticks: dict[str, Any] = {
            "tickvals": [self.darkest] * dark + decades,
            "ticktext": ["dark"] * dark + [f"{d:g}" for d in decades],
        }
        return axis("clean signal above black [DN]", type="log", **ticks)

    def above(self) -> tuple[dict[str, Any], str]:
        """Everything in DN^2, and its caption."""
        dense = np.append(
            self.darkest, np.geomspace(2 * self.darkest, max(float(self.x.max()), 3 * self.darkest), DENSE)
        )
        traces, true = [], np.where(dense <= self.darkest * 1.0001, max(float(self.signal.min()), 0.0), dense)
        if self.line is not None:
            middle, half = self.line.at(true), self.line.half_width(true)
            low = np.maximum(middle - half, 1e-3 * np.abs(middle))
            traces.append(band(dense, low, middle + half, "95 % interval of the line", REAL))
            traces.append(curve(dense, middle, "line fitted to real", REAL, dash="dash", width=1.5))
        for word, part in self.parts.items():
            if word != "sum" and float(part.max()) > 0:
                colour, style = COMPONENT_STYLES.get(word, OTHER_STYLE)
                drawn = np.interp(true, self.signal, part)
                drawn[0] = np.nan if drawn[0] < drawn[1] / 2 else drawn[0]  # no light in the dark
                traces.append(curve(dense, drawn, word, colour, dash=DASHES[style], width=1.3))
        total = np.interp(true, self.signal, self.parts["sum"])
        network = " (physics without the network)" if self.compared.model.network is not None else ""
        traces.append(curve(dense, total, f"model, closed form{network}", None))
        traces.append(points(self.x, self.real, 2 * self.real_error, "real", REAL))
        traces.append(points(self.x, self.made, 2 * self.made_error, "generated", GENERATED, symbol="square-open"))
        lowest = float(min(self.real.min(), self.made.min()))
        span = [np.log10(lowest / 60), np.log10(max(self.real.max(), self.made.max()) * 2)]
        down = axis("variance [DN²]", log=True, range=[round(float(v), 3) for v in span])
        caption = f"Mean squared residual about {self.compared.reference}; bars are 2 standard errors."
        if self.correction != 1.0:
            caption += (
                f" All figures are multiplied by T/(T − 1) = {self.correction:.4g}, so that they are of single frames."
            )
        return figure(traces, xaxis=self.axis(), yaxis=down, legend=LEGEND), caption

    def ratio(self) -> str:
        """Generated and closed form over real."""
        traces = [
            band(self.x, 1 - self.floor, 1 + self.floor, "real against real (halves)", GREY),
            curve(self.x, self.parts["sum"] / self.real, "closed form / real", None),
            points(
                self.x, self.made / self.real, 2 * np.hypot(self.made_error / self.made, self.real_error / self.real)
                * self.made / self.real, "generated / real", GENERATED, symbol="square-open",
            ),
        ]  # fmt: skip
        caption = "1 is right. Grey: second half of the real frames against the first."
        drawn = figure(traces, xaxis=self.axis(), yaxis=axis("ratio of variances"), legend=LEGEND)
        return chart(drawn, caption, title="Ratio to real", height=340)

    def lack_of_fit(self) -> str:
        """Residuals of the line in standard errors."""
        if self.line is None:
            return note("A line needs two signal levels.")
        relative = 100 * (self.real / self.line.at(self.signal) - 1)
        trace = points(self.x, self.line.residuals, None, "real − line", REAL)
        trace |= {"customdata": [round(float(r), 3) for r in relative], "showlegend": False}
        trace |= {"hovertemplate": "%{x} DN: %{y} standard errors (%{customdata} %)<extra></extra>"}
        flat = [curve([self.darkest, float(self.x.max())], [y, y], "±2", GREY, dash="dot", width=1) for y in (-2, 2)]
        layout = {"xaxis": self.axis(), "yaxis": axis("(real − line) / standard error"), "showlegend": False}
        caption = (
            "Points should scatter within the dotted lines; a bow means gain that changes with the signal, or PRNU."
        )
        return chart(figure([*flat, trace], **layout), caption, title="Lack of fit of the line", height=340)

    def fitted_table(self) -> str:
        """The line's two figures and how well it fits."""
        if self.line is None:
            return ""
        halves = 1.96 * np.sqrt(np.diag(self.line.covariance))
        gain, offset = self.line.slope, self.line.intercept
        root = f"std {short(offset**0.5)} DN" if offset > 0 else "below 0"
        quality = f"χ² = {short(self.line.chi_square)} with {self.line.freedom} degrees of freedom"
        wide = self.line.widening
        widened = f"intervals widened by {short(wide)}" if wide > 1 else "intervals not widened"
        rows: list[list[Cell]] = [
            ["slope (gain)", f"{short(gain, 4)} DN/e⁻", _span(gain, halves[0], "DN/e⁻")],
            ["variance in the dark", (f"{short(offset, 4)} DN²", root), _span(offset, halves[1], "DN²")],
            ["lack of fit", (quality, f"p = {short(self.line.p_value, 2)}"), widened],
        ]
        return table(("fitted to real", "value", "95 % interval"), rows, caption="Line through the real variances")


def _span(value: float, half: float, unit: str) -> str:
    return f"{short(value - half, 4)} … {short(value + half, 4)} {unit}"


def _calibration_levels(compared: Comparison) -> str:
    """The points and line of the calibration itself, where the checkpoint kept them."""
    stored = compared.calibration.get("levels")
    keys = ("signal_dn", "variance_dn2", "standard_error", "fitted_dn2")
    known = [
        level
        for level in (stored if isinstance(stored, list) else [])
        if isinstance(level, Mapping) and all(isinstance(level.get(key), int | float) for key in keys)
    ]
    if not known:
        return note("The points that the calibration was fitted to are not available in this checkpoint.")
    known = sorted(known, key=lambda level: level["signal_dn"])
    signal, variance, error, fitted = (np.array([level[key] for level in known], float) for key in keys)
    traces = [
        curve(signal, fitted, "calibrated line", REAL, dash="dash"),
        points(signal, variance, 2 * error, "bursts of the calibration", REAL),
    ]
    layout = {"xaxis": axis("signal above black [DN]"), "yaxis": axis("variance [DN²]"), "legend": LEGEND}
    off = (variance - fitted) / np.maximum(error, 1e-300)
    down = axis("(burst − line) / standard error")
    beside = figure([points(signal, off, None, "bursts", REAL)], xaxis=layout["xaxis"], yaxis=down, showlegend=False)
    about = "What the calibration was fitted to; bars are 2 standard errors."
    parts = [
        chart(figure(traces, **layout), about, title="Calibration"),
        chart(beside, "Each burst's distance from the line.", title="Lack of fit of the calibration"),
    ]
    return grid(parts, "two")
