"""Histograms of residuals, and their quantiles real against generated."""

import numpy as np
import torch
from scipy.stats import norm

from noisemodel.evaluation.comparison import Comparison
from noisemodel.evaluation.figure_style import GENERATED, REAL, short
from noisemodel.evaluation.panel_histograms import histograms, shown_levels
from noisemodel.evaluation.report.charts import LEGEND, axis, curve, faded, figure, steps
from noisemodel.evaluation.report.markup import Section, chart, grid, key
from noisemodel.evaluation.residual_histograms import ResidualHistogram
from noisemodel.streams import stream

LEVEL_COLOURS = ("#440154", "#31688E", "#35B779", "#E6AB02")  # dark to bright
MOST_VALUES = 2_000_000  # per level and kind, evenly chosen
REACH = 5.0  # of the diagonal [std]
LEAST_VALUES = 200  # of a level
LEAST_RANGE_DN = 100.0  # below, signals are not counted in steps of an ADC
TAIL_VALUES = 30  # values beyond the outermost quantile
GREY = "#808080"
LEGEND_HTML = {"real": REAL, "generated": GENERATED, "Gaussian of the real std": "dotted"}


def distributions_section(compared: Comparison) -> Section:
    """Histograms on a log axis, then quantiles."""
    found = histograms(compared.pairs, compared.curve)
    body = key(LEGEND_HTML) + grid([_histogram(one) for one in found], "three") + _quantiles(compared)
    lead = f"Residuals from {compared.reference}. Look at the tails, and at the shape of the line means."
    return Section("distributions", "Distribution of residuals", lead, body)


def _histogram(one: ResidualHistogram) -> str:
    centres = (one.edges[:-1] + one.edges[1:]) / 2
    positive = one.real[one.real > 0]
    top = max(float(one.real.max()), float(one.generated.max()), float(one.gaussian.max()))
    lowest = max(float(positive.min()) / 2, top * 1e-7) if len(positive) else top * 1e-7
    blank = [np.where(np.asarray(y) > 0, y, lowest / 10) for y in (one.real, one.generated)]
    traces = [
        steps(one.edges, blank[0], "real", REAL, fill=True),
        steps(one.edges, blank[1], "generated", GENERATED),
        curve(centres, one.gaussian, "Gaussian of real std", None, dash="dot", width=1),
    ]
    span = [round(float(np.log10(v)), 3) for v in (lowest, top * 2)]
    layout = {
        "xaxis": axis("residual [DN]"),
        "yaxis": axis("density [1/DN]", log=True, range=span),
        "showlegend": False,
    }
    floor = "" if np.isnan(one.floor) else f" (real against real {one.floor:.4f})"
    stds = f"std real {short(one.real_std, 4)}, generated {short(one.generated_std, 4)} DN"
    title = one.title[:1].upper() + one.title[1:]
    return chart(figure(traces, **layout), f"{stds}; KS {one.ks:.4f}{floor}.", title=title, height=240)


def _quantiles(compared: Comparison) -> str:
    """Quantiles of generated against real residuals per signal level, both over the real std, and their difference."""
    against, apart, unit = [], [], compared.levels.range_dn
    for (low, high, text), colour in zip(shown_levels(compared.curve, unit), LEVEL_COLOURS, strict=False):
        real, made = (_sample(compared, name, low, high) for name in ("real", "generated"))
        std = float(real.std())
        if len(real) < LEAST_VALUES or std == 0:
            continue
        chance = probabilities(min(len(real) // 2, len(made)))
        first, second, x, y = (np.quantile(v, chance) / std for v in (real[::2], real[1::2], real, made))
        z = norm.ppf(chance)
        floor = {"width": 1, "showlegend": False, "hoverinfo": "skip"}
        against.append(curve(x, y, text, colour, mode="lines+markers", marker={"size": 4, "color": colour}))
        apart.append(curve(z, second - first, "real against real", faded(colour, 0.45), dash="dot", **floor))
        apart.append(curve(z, y - x, text, colour))
    against.append(curve([-REACH, REACH], [-REACH, REACH], "equal", None, dash="dot", width=1))
    across = {"xaxis": axis("quantile of real residuals [real std]"), "legend": LEGEND}
    along = {"xaxis": axis("quantile of a standard Gaussian"), "legend": LEGEND}
    straight = "On the dotted line both agree; a tilt is a wrong std, ends that bend away are wrong tails."
    level = (
        "The same as a difference: flat at 0 is right, a slope is a wrong std. Dotted: two halves of the real values."
    )
    return grid(
        [
            chart(
                figure(against, **across, yaxis=axis("quantile of generated ones [real std]")),
                straight,
                title="Quantiles, generated against real",
                height=380,
            ),
            chart(
                figure(apart, **along, yaxis=axis("generated − real [real std]")),
                level,
                title="Quantiles, generated − real",
                height=380,
            ),
        ],
        "two",
    )


def probabilities(count: int) -> np.ndarray:
    """Probabilities even in Gaussian quantiles, out to where ``TAIL_VALUES`` of ``count`` values lie beyond."""
    end = -norm.ppf(min(max(TAIL_VALUES / max(count, 1), 1e-7), 0.25))
    return np.asarray(norm.cdf(np.linspace(-end, end, 61)))


def _sample(compared: Comparison, name: str, low: float, high: float) -> np.ndarray:
    """Residuals at one signal level [fraction of white], at most MOST_VALUES of them, spread over their ADC step."""
    kept = []
    for p in compared.pairs:
        at = (p.recording.valid & (p.recording.clean > low) & (p.recording.clean <= high))[0]
        kept.append(getattr(p, name)[:, at].flatten())
    values = torch.cat(kept)
    values = values[:: max(1, -(-len(values) // MOST_VALUES))].double()
    if compared.levels.range_dn > LEAST_RANGE_DN:
        generator = stream(compared.seed, "report", "quantiles", name)
        values += (torch.rand(values.shape, generator=generator) - 0.5) * compared.levels.rounding
    return values.numpy()
