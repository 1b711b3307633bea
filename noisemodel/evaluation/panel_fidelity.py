"""The picture of evaluate: how far above the floor each model is, metric by metric."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from noisemodel.evaluation.fidelity import Score
from noisemodel.evaluation.fidelity_report import REAL, Judged
from noisemodel.evaluation.figure_style import FLOOR, styled

COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#000000")
MARKERS = "osD^vPX"
HIGH = 0.7  # of a metric's row that its models take
NEAREST = 0.2  # smallest ratio shown


def fidelity_panel(models: Sequence[Judged], *, note: str = "") -> Figure:
    """Value / floor on a log scale with 95 % intervals, one row per metric; grey: the interval of the floor."""
    shown = [m for m in models if m.name != REAL]
    metrics = models[0].scores
    with styled("Generated against real noise", (9.5, 1.6 + 0.62 * len(metrics)), note) as figure:
        ax = figure.add_subplot()
        for row, score in enumerate(metrics):
            low, high = (_over_floor(score, x) for x in (score.floor_low, score.floor_high))
            if math.isfinite(low):
                label = "real against real (floor)" if row == 0 else None
                ax.fill_betweenx([row - 0.5, row + 0.5], low, high, color=FLOOR, alpha=0.35, lw=0, label=label)
        for k, model in enumerate(shown):
            rows = [i + HIGH * ((k + 0.5) / len(shown) - 0.5) for i in range(len(metrics))]
            points = [(_over_floor(s, s.value), _over_floor(s, s.low), _over_floor(s, s.high)) for s in model.scores]
            errors = [[max(v - a, 0) for v, a, _ in points], [max(b - v, 0) for v, _, b in points]]
            ax.errorbar(
                [v for v, _, _ in points], rows, xerr=errors, fmt=MARKERS[k % len(MARKERS)], ms=5, lw=1.3,
                color=COLOURS[k % len(COLOURS)], label=f"{model.name} (mean ratio {model.mean_ratio:.3g})",
            )  # fmt: skip
        ax.axvline(1, color="#555555", lw=1)
        ax.set_xscale("log")
        ax.set_xlim(left=max(ax.get_xlim()[0], NEAREST))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        ax.set_yticks(range(len(metrics)), [s.metric for s in metrics])
        ax.set_ylim(len(metrics) - 0.5, -0.5)
        ax.set_xlabel("distance from real noise / its floor")
        figure.legend(loc="outside right upper")
    return figure


def _over_floor(score: Score, value: float) -> float:
    """In units of the floor, kept on a log axis; NaN where there is no floor."""
    return max(value / score.floor, NEAREST / 2) if score.floor > 0 and math.isfinite(value) else math.nan
