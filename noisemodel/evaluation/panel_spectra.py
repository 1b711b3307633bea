"""spectra.png: power spectra of row and column means, real and generated."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from noisemodel.evaluation.figure_style import GENERATED, GENERATED_LABEL, REAL, REAL_LABEL, styled
from noisemodel.evaluation.line_spectra import LineSpectrum, darkest, line_spectrum
from noisemodel.evaluation.recording import Pair

BANDS = 40


def spectra_panel(pairs: Sequence[Pair], *, note: str = "") -> Figure:
    """Per frame, and with ground truth also of the burst mean; from the darks, or the darkest bursts."""
    used = darkest(pairs)
    unit = used[0].recording.levels.range_dn
    truth = not used[0].recording.centred
    about = "ground truth" if truth else "the burst's mean"
    title = f"Power spectra of line means, residuals from {about}"
    names = ", ".join(p.recording.name for p in used)
    note = f"{note}\nFrom {names}. Pale: every frequency; bold: means of {BANDS} bands."
    with styled(title, (14.0, 8.6 if truth else 4.9), note) as figure:
        axes = figure.subplots(2 if truth else 1, 2, squeeze=False, sharex=True)
        for row, burst_mean in enumerate((False, True)[: 1 + truth]):
            for ax, line in zip(axes[row], ("row", "column"), strict=True):
                _draw(ax, line_spectrum(used, line, burst_mean=burst_mean), line, burst_mean, unit)
        for ax, line in zip(axes[-1], ("row", "column"), strict=True):
            ax.set_xlabel(f"frequency across {line}s [cycles per sensor pixel]")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=3)
    return figure


def band_means(frequency: Tensor, power: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean power in `BANDS` equal bands of 0..1/2: their edges, and one value each (NaN where none falls in)."""
    edges = np.linspace(0.0, 0.5, BANDS + 1)
    index = np.clip(np.digitize(frequency.numpy(), edges) - 1, 0, BANDS - 1)
    count = np.bincount(index, minlength=BANDS)
    with np.errstate(invalid="ignore"):
        return edges, np.bincount(index, power.numpy(), minlength=BANDS) / count


def _draw(ax: Axes, spectrum: LineSpectrum, line: str, burst_mean: bool, unit: float) -> None:
    """One pair of spectra; frequency 0, the frame's mean, is left out."""
    frequency = spectrum.frequency[1:]
    for values, colour, label, width in (
        (spectrum.real, REAL, REAL_LABEL, 2.6),
        (spectrum.generated, GENERATED, GENERATED_LABEL, 1.6),
    ):
        ax.plot(frequency, values[1:] * unit**2, color=colour, lw=0.9, alpha=0.4)
        edges, level = band_means(frequency, values[1:] * unit**2)
        ax.stairs(level, edges, color=colour, lw=width, label=label, baseline=None)
    white = spectrum.white * unit**2
    ax.axhline(white, color="black", lw=1, ls=":", label="white noise of the same pixel variance")
    ax.set_yscale("log")
    ax.set_xlim(0, 0.5)
    what = "mean over the burst" if burst_mean else "every frame"
    ax.set_title(f"{line} means, {what} ({spectrum.spectra} spectra averaged)", loc="left")
    ax.set_ylabel("power density [DN² / (cycle/px)]")
