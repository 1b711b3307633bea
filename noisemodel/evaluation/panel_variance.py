"""variance.png: noise variance against signal, real, generated and in closed form."""

from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from noisemodel.evaluation.figure_style import (
    CLOSED_FORM,
    COMPONENT_STYLES,
    FLOOR,
    GENERATED,
    GENERATED_LABEL,
    OTHER_STYLE,
    REAL,
    REAL_LABEL,
    short,
    styled,
)  # fmt: skip
from noisemodel.evaluation.variance_curve import VarianceCurve
from noisemodel.sensor import Levels

LOWEST_SHARE = 1e-4  # components below this share of the smallest total are off the axis


def variance_panel(
    curve: VarianceCurve, levels: Levels, *, reference: str, has_network: bool = False, note: str = ""
) -> Figure:
    """Mean squared residual [DN^2] against signal above black [DN], and everything relative to the real one."""
    unit = levels.range_dn
    with styled(f"Noise variance against signal, residuals from {reference}", (12.0, 8.6), note) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
        signal = (curve.signal * unit).numpy()
        form = "closed form of the physics" + (", without the network" if has_network else "")
        for word, part in curve.parts.items():
            if word != "sum" and float(part.max()) > 0:
                colour, line = COMPONENT_STYLES.get(word, OTHER_STYLE)
                above.plot(*_dense(signal, (part * unit**2).numpy()), color=colour, ls=line, lw=1.3, label=word)
        above.plot(*_dense(signal, (curve.parts["sum"] * unit**2).numpy()), color=CLOSED_FORM, lw=1.4, label=form)
        for axes, scale in ((above, None), (below, curve.real)):
            _points(axes, signal, curve.real, curve.real_error, scale, unit, REAL, "o", REAL_LABEL)
            _points(axes, signal, curve.generated, curve.generated_error, scale, unit, GENERATED, "s", GENERATED_LABEL)
        _finish_above(above, curve, unit)
        below.plot(signal, (curve.parts["sum"] / curve.real).numpy(), color=CLOSED_FORM, lw=1.4)
        floor = np.abs(curve.floor.numpy() - 1).clip(1e-4)
        halves = "real against real\n(halves of the frames)"
        below.fill_between(signal, 1 - floor, 1 + floor, color=FLOOR, alpha=0.35, lw=0, label=halves)
        _finish_below(below, signal, levels)
    return figure


def _dense(signal: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A curve that is linear in signal between the levels, as shot noise is, fine enough for log axes."""
    pieces = [np.geomspace(max(a, 1e-2), b, 20, endpoint=False) for a, b in pairwise(signal) if b > 1e-2]
    dense = np.unique(np.concatenate([signal, *pieces]))
    return dense, np.interp(dense, signal, variance)


def _points(
    ax: Axes,
    signal: np.ndarray,
    value: Tensor,
    error: Tensor,
    scale: Tensor | None,
    unit: float,
    colour: str,
    marker: str,
    label: str,
) -> None:
    """Points with bars of two standard errors: in DN^2, or over ``scale``."""
    factor = unit**2 if scale is None else 1 / scale
    y, bar = (value * factor).numpy(), (2 * error * factor).numpy()
    ax.errorbar(
        signal, y, yerr=bar, fmt=marker, ms=5, color=colour, mfc=colour if marker == "o" else "none", capsize=2.5,
        elinewidth=1.2, lw=0, label=label, zorder=3,
    )  # fmt: skip


def _finish_above(ax: Axes, curve: VarianceCurve, unit: float) -> None:
    lowest = min(float(x.min()) for x in (curve.real, curve.generated))
    highest = max(float(x.max()) for x in (curve.real, curve.generated))
    shown = [float(p.median()) for p in curve.parts.values() if p.median() > 0]
    bottom = max(min([lowest, *shown]), lowest * LOWEST_SHARE)
    ax.set_yscale("log")
    ax.set_ylim(bottom * unit**2 / 1.8, highest * unit**2 * 2.5)
    ax.set_ylabel("mean squared residual [DN²]")
    handles, labels = ax.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: labels[i] not in (REAL_LABEL, GENERATED_LABEL))
    ax.legend([handles[i] for i in order], [labels[i] for i in order], loc="center left", bbox_to_anchor=(1.01, 0.5))


def _finish_below(ax: Axes, signal: np.ndarray, levels: Levels) -> None:
    """The ratio's axis, and a signal axis that has room for the dark (0 has no logarithm)."""
    linear = min(1.0, levels.range_dn * 4e-4)
    ax.set_xscale("symlog", linthresh=linear, linscale=0.4)
    ax.set_xlim(min(float(signal.min()), 0) - 0.25 * linear, max(float(signal.max()) * 1.25, linear))
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, -0.05), min(high, 3.0))
    ax.set_ylabel("ratio to real")
    ax.set_xlabel(f"clean signal above black [DN], linear below {short(linear)} DN; bars: 2 standard errors")
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
