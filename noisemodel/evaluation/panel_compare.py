"""The picture of evaluate.py compare: one scene with the noise of A and of B, their difference, and their laws."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from noisemodel.evaluation.figure_style import GENERATED, REAL, RESIDUAL_MAP, short, styled, without_axes
from noisemodel.evaluation.line_spectra import line_spectrum
from noisemodel.evaluation.panel_images import SCALE_PERCENTILE, pictures_of, regions
from noisemodel.evaluation.panel_spectra import band_means
from noisemodel.evaluation.recording import Pair, Recording
from noisemodel.evaluation.residual_histograms import histogram
from noisemodel.evaluation.sample_counts import Sample
from noisemodel.evaluation.variance_curve import LEAST_VALUES
from noisemodel.evaluation.variance_levels import level_sums

PICTURES = ("clean", "A", "B", "B − A")
LONG = 24  # characters of a name that stands above a picture
NARROW = 30  # ratio of signals below which their axis is even


def compare_panel(
    pairs: Sequence[Pair], names: tuple[str, str], *, unit: str, cfa: str | None = None, note: str = ""
) -> Figure:
    """Clean, A and B at one stretch, B − A; then the laws of the residuals of both.

    Args:
        pairs: of all scenes; ``real`` is A, ``generated`` B.
        names: of A and B.
        unit: of figures, "DN" or "white".
        cfa: colours of a mosaic by position.
        note: what was compared.
    """
    shown = max(pairs, key=lambda p: float(p.recording.clean.std()))
    title = f"A {names[0]}, B {names[1]}"
    height, width = shown.recording.reference.shape[-2:]
    whole = 3.0 * min(max(height / width, 0.4), 1.5)
    with styled(title, (15.0, whole + 7.6), note) as figure:
        axes = figure.subplots(3, 4, height_ratios=(whole + 0.3, 3.3, 3.2))
        _pictures(figure, axes[:2], shown, cfa, unit)
        _histogram(axes[2, 0], pairs, unit)
        _variance(axes[2, 1], pairs, unit)
        for ax, line in zip(axes[2, 2:], ("row", "column"), strict=True):
            _spectrum(ax, pairs, line, unit)
        handles, labels = axes[2, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=2)
    return figure


def _pictures(figure: Figure, axes: np.ndarray, pair: Pair, cfa: str | None, unit: str) -> None:
    """The whole crop, and its dark part."""
    at = pair.recording
    chosen = regions(at.clean[0], at.valid[0], at.layout)[:2]
    for row, region in zip(axes, chosen, strict=True):
        clean, first, second, left, right = pictures_of(pair, region, cfa)
        difference = (right - left) * at.levels.range_dn
        limit = max(float(np.percentile(np.abs(difference), SCALE_PERCENTILE)), 1e-9)
        smoothing = "antialiased" if region is chosen[0] else "nearest"
        for ax, picture, title in zip(row, (clean, first, second), PICTURES, strict=False):
            ax.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation=smoothing)
            ax.set_title(title)
        drawn = row[3].imshow(difference, cmap=RESIDUAL_MAP, vmin=-limit, vmax=limit, interpolation=smoothing)
        row[3].set_title(PICTURES[3])
        for ax in row:
            without_axes(ax)
        bar = figure.colorbar(drawn, ax=row[3], shrink=0.85, extend="both")
        bar.set_label(f"[{unit}]")
        row[0].set_ylabel(region.title)
    axes[0, 0].set_title(f"clean: {at.name}" if len(at.name) < LONG else "clean")


def _histogram(ax: Axes, pairs: Sequence[Pair], unit: str) -> None:
    """Residuals of all valid pixels."""
    scale = pairs[0].recording.levels.range_dn
    first, second = (
        [getattr(p, side)[:, p.recording.valid[0]].flatten() * scale for p in pairs] for side in ("real", "generated")
    )
    wider = float(torch.cat(second).std()) > float(torch.cat(first).std())  # its std sets the range
    ordered = (second, first) if wider else (first, second)
    found = histogram("residuals", *ordered, 1.0 if scale > 100 else 0.0)
    (a, std_a), (b, std_b) = ((found.real, found.real_std), (found.generated, found.generated_std))[
        :: -1 if wider else 1
    ]
    for values, colour, label in ((a, REAL, "A"), (b, GENERATED, "B")):
        ax.stairs(values.numpy(), found.edges.numpy(), color=colour, lw=1.5, label=label, baseline=None)
    ax.set_yscale("log")
    positive = found.real[found.real > 0]
    ax.set_ylim(bottom=float(positive.min()) / 3 if len(positive) else None)
    ax.set_title("residuals", loc="left")
    stds = f"std A {short(std_a)}\nstd B {short(std_b)}"
    ax.text(0.02, 0.98, stds, transform=ax.transAxes, va="top", fontsize=8.8)
    ax.set_xlabel(f"residual [{unit}]")
    ax.set_ylabel(f"density [1/{unit}]")


def _variance(ax: Axes, pairs: Sequence[Pair], unit: str) -> None:
    """Mean squared residual against signal."""
    scale = pairs[0].recording.levels.range_dn
    for side, colour in (("real", REAL), ("generated", GENERATED)):
        points = [point for p in pairs for point in signal_variance(p.recording, getattr(p, side))]
        signal, variance = np.array(sorted(points)).reshape(-1, 2).T
        ax.plot(signal * scale, variance * scale**2, "o", ms=3.5, color=colour, alpha=0.8)
        if len(signal) and signal.max() > NARROW * max(signal.min(), 0.0):
            ax.set_xscale("symlog", linthresh=1e-3 * scale)
    ax.set_yscale("log")
    ax.set_title("variance against signal", loc="left")
    ax.set_xlabel(f"signal [{unit}]")
    ax.set_ylabel(f"mean squared residual [{unit}²]")


def signal_variance(at: Recording, residual: Tensor) -> list[tuple[float, float]]:
    """(signal, mean squared residual) of every signal level with 400 values [fraction of white, and squared]."""
    squares, number = level_sums(Sample(residual, at, 1.0)).sum(dim=0)
    light = level_sums(Sample(at.clean.clamp_min(0).sqrt(), at, 1.0)).sum(dim=0)[0]
    kept = number * len(residual) >= LEAST_VALUES
    values = squares[kept] / (number[kept] * len(residual))
    return list(zip((light / number)[kept].tolist(), values.tolist(), strict=True))


def _spectrum(ax: Axes, pairs: Sequence[Pair], line: str, unit: str) -> None:
    """Power spectrum of line means; pale: every frequency."""
    spectrum = line_spectrum(pairs, line)
    scale = pairs[0].recording.levels.range_dn ** 2
    frequency = spectrum.frequency[1:]
    for values, colour in ((spectrum.real, REAL), (spectrum.generated, GENERATED)):
        ax.plot(frequency, values[1:] * scale, color=colour, lw=0.8, alpha=0.35)
        edges, level = band_means(frequency, values[1:] * scale)
        ax.stairs(level, edges, color=colour, lw=1.8, baseline=None)
    ax.axhline(spectrum.white * scale, color="black", lw=1, ls=":")
    ax.set_yscale("log")
    ax.set_xlim(0, 0.5)
    ax.set_title(f"{line} means; dotted: white noise of A's std", loc="left")
    ax.set_xlabel("frequency [cycles per sensor pixel]")
    ax.set_ylabel(f"power density [{unit}² / (cycle/px)]")
