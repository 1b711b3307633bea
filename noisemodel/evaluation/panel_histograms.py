"""histograms.png: residuals real and generated at several signal levels, and of row and column means."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from noisemodel.evaluation.figure_style import GENERATED, GENERATED_LABEL, REAL, REAL_LABEL, short, signal_text, styled
from noisemodel.evaluation.line_spectra import darkest
from noisemodel.evaluation.recording import Pair
from noisemodel.evaluation.residual_histograms import ResidualHistogram, at_level, of_lines
from noisemodel.evaluation.variance_curve import VarianceCurve

LEVELS = 4


def histograms(pairs: Sequence[Pair], curve: VarianceCurve) -> list[ResidualHistogram]:
    """Residuals of pixels at 4 signal levels from the darkest to the brightest, then of line means in the dark."""
    unit = pairs[0].recording.levels.range_dn
    found = [at_level(pairs, low, high, f"pixels, signal {text}") for low, high, text in shown_levels(curve, unit)]
    dark = darkest(pairs)
    where = "darks" if dark[0].recording.kind == "dark" else "darkest bursts"
    return found + [of_lines(dark, line, f"{line} means, {where}") for line in ("row", "column")]


def shown_levels(curve: VarianceCurve, unit: float) -> list[tuple[float, float, str]]:
    """4 of the curve's levels from the darkest to the brightest: low and high edge, and the mean signal as text."""
    chosen = np.unique(np.linspace(0, len(curve.signal) - 1, LEVELS).round().astype(int)).tolist()
    texts = [signal_text(float(curve.signal[i]) * unit) for i in chosen]
    return [(*curve.edges[i].tolist(), text) for i, text in zip(chosen, texts, strict=True)]


def histograms_panel(found: Sequence[ResidualHistogram], *, reference: str, note: str = "") -> Figure:
    """Log densities of `histograms`, with std and Kolmogorov-Smirnov distance; residuals are from ``reference``."""
    columns = (len(found) + 1) // 2
    with styled(f"Distribution of residuals from {reference}", (4.6 * columns, 8.2), note) as figure:
        axes = figure.subplots(2, columns, squeeze=False)
        for ax in axes.flat[len(found) :]:
            ax.set_axis_off()
        for ax, one in zip(axes.flat, found, strict=False):
            _draw(ax, one)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=3)
    return figure


def _draw(ax: Axes, one: ResidualHistogram) -> None:
    """One histogram on a log axis."""
    centres = (one.edges[:-1] + one.edges[1:]) / 2
    ax.stairs(one.real.numpy(), one.edges.numpy(), fill=True, color=REAL, alpha=0.25, lw=0)
    ax.stairs(one.real.numpy(), one.edges.numpy(), color=REAL, lw=1.5, label=REAL_LABEL, baseline=None)
    ax.stairs(one.generated.numpy(), one.edges.numpy(), color=GENERATED, lw=1.5, label=GENERATED_LABEL, baseline=None)
    ax.plot(centres, one.gaussian, color="black", lw=1, ls=":", label="Gaussian of the real mean and std")
    positive = one.real[one.real > 0]
    top = max(float(one.real.max()), float(one.generated.max()), float(one.gaussian.max()))
    ax.set_yscale("log")
    ax.set_ylim(max(float(positive.min()) / 2, top * 1e-7) if len(positive) else None, top * 12)
    ax.set_title(one.title, loc="left")
    ax.set_xlabel("residual [DN]")
    ax.set_ylabel("density [1/DN]")
    floor = "" if np.isnan(one.floor) else f"   (real against real {one.floor:.4f})"
    text = f"std  real {short(one.real_std, 4)}   generated {short(one.generated_std, 4)} DN\nKS  {one.ks:.4f}{floor}"
    ax.text(0.02, 0.98, text, transform=ax.transAxes, va="top", fontsize=8.8)
