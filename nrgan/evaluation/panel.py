"""The picture of a run's evaluation: distances over steps, the noise beside the true one, samples."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from noisemodel.evaluation.figure_style import GENERATED, REAL, styled, without_axes
from nrgan.evaluation.judging import Judged, Reference, best_of, names_of
from nrgan.evaluation.noise_figures import WHITE, radial_profile
from nrgan.figures import NOISE_RANGE, grid

ACROSS, DOWN = 8, 5  # images of a sample grid
TRUE, LEARNED = "data", "learned"
LOWEST_DB = -30.0


def evaluation_panel(judged: Sequence[Judged], reference: Reference, *, note: str = "") -> Figure:
    """Curves on top, spectra beside them, and below clean, noise and noisy images of the data and of the run.

    Args:
        judged: all snapshots, in order.
        reference: the data's side.
        note: what was compared.
    """
    best = best_of(judged, reference.extractor) or judged[-1]
    run = reference.run
    with styled(f"{run.model} on {run.dataset}, step {best.step}", (12.5, 11.0), note) as figure:
        parts: Any = figure.subfigures(4, 1, height_ratios=(1.0, 0.9, 1.1, 1.1))
        top, middle, low, lowest = parts
        left, centre, right = top.subplots(1, 3)
        _distances(left, judged, reference)
        _radial(centre, best, reference.judged)
        _against_signal(right, best, reference.judged)
        spectra = middle.subplots(1, 4)
        _spectra(spectra, best, reference.judged)
        for rest, side, name in ((low, reference.judged, TRUE), (lowest, best, f"{run.model}, step {best.step}")):
            _samples(rest.subplots(1, 3), side, name, reference.judged)
    return figure


def _distances(ax: Axes, judged: Sequence[Judged], reference: Reference) -> None:
    """Each distance over steps, and the floor of it as a dashed line."""
    ax.set_xlabel("step")
    steps = [found.step or 0 for found in judged]
    if reference.extractor is None:
        ax.plot(steps, [j.values["noise_std_255"] for j in judged], "o-", color=GENERATED)
        ax.set_title("std of the noise [1/255]", loc="left")
        if (truth := reference.judged.values.get("noise_std_255")) is not None:
            ax.axhline(truth, color=REAL, ls="--")
        return
    for name, colour in zip(names_of(reference.extractor), (GENERATED, "#009E73"), strict=True):
        ax.plot(steps, [j.values[name] for j in judged], "o-", ms=4, color=colour, label=name)
        if name in reference.judged.values:
            ax.axhline(reference.judged.values[name], color=colour, ls="--", lw=1)
    ax.set_yscale("log")
    ax.set_title("distance (dashed: two halves of the data)", loc="left")
    ax.legend()


def _radial(ax: Axes, best: Judged, data: Judged) -> None:
    """Power of the noise over spatial frequency."""
    for side, colour, label in ((data, REAL, TRUE), (best, GENERATED, LEARNED)):
        if side.look is not None and float(side.look.power.mean()) > 0:
            frequency, power = radial_profile(side.look.power)
            ax.plot(frequency, WHITE**2 * power, color=colour, label=label)
            ax.legend()
    ax.set_ylim(bottom=0)
    ax.set_xlabel("cycles per pixel")
    ax.set_title("noise spectrum [(1/255)² per pixel]", loc="left")


def _against_signal(ax: Axes, best: Judged, data: Judged) -> None:
    """Std of the noise over the clean image's value."""
    for side, colour, label in ((data, REAL, TRUE), (best, GENERATED, LEARNED)):
        if side.look is not None and len(side.look.levels):
            ax.plot(side.look.levels, WHITE * side.look.stds, "o-", ms=3, color=colour, label=label)
            ax.legend()
    ax.set_ylim(bottom=0)
    ax.set_xlabel("clean value")
    ax.set_title("noise std [1/255], after clipping", loc="left")


def _spectra(axes: Sequence[Axes], best: Judged, data: Judged) -> None:
    """Spectra of both sides as pictures on one scale, their ratio, and the colour bar."""
    for ax in axes:
        without_axes(ax)
    shapes = [_shape(side) for side in (data, best)]
    for ax, shape, label in zip(axes, shapes, (TRUE, LEARNED), strict=False):
        ax.set_title(f"{label}: spectrum [dB of its mean]" if shape is not None else f"{label}: no noise", loc="left")
        if shape is not None:
            ax.figure.colorbar(ax.imshow(shape, cmap="viridis", vmin=-10, vmax=10), ax=ax)
    if shapes[0] is not None and shapes[1] is not None:
        axes[2].set_title("learned over data [dB]", loc="left")
        picture = axes[2].imshow(shapes[1] - shapes[0], cmap="RdBu_r", vmin=-6, vmax=6)
        axes[2].figure.colorbar(picture, ax=axes[2])
    words = axes[3].text(0, 1, _words(best, data), va="top", fontsize=7, family="monospace")
    words.set(transform=axes[3].transAxes, in_layout=False)


def _shape(side: Judged) -> np.ndarray | None:
    """Spectrum over its mean in dB; None where there is no noise."""
    if side.look is None or float(side.look.power.mean()) <= 0:
        return None
    ratio: np.ndarray = (side.look.power / side.look.power.mean()).numpy()
    return np.maximum(10 * np.log10(np.maximum(ratio, 1e-12)), LOWEST_DB)


def _words(best: Judged, data: Judged) -> str:
    """The figures beside each other; of quantiles the median."""
    lines = [f"{'':<22} {'data':>9} {LEARNED:>9}"]
    for name, value in best.values.items():
        if name.endswith((" 5%", " 95%")):
            continue
        truth = data.values.get(name, math.nan)
        cells = (f"{v:9.4g}" if math.isfinite(v) else f"{'-':>9}" for v in (truth, value))
        lines.append(f"{name:<22} {' '.join(cells)}")
    return "\n".join(lines)


def _samples(axes: Sequence[Axes], side: Judged, name: str, data: Judged) -> None:
    """Clean, noise and noisy images; noise of both sides on one scale, black to white six stds of the data's."""
    scale = float(data.samples.noise.std()) or float(side.samples.noise.std()) or 1.0
    noise = 0.5 + side.samples.noise / (2 * NOISE_RANGE * scale)
    shown: tuple[tuple[str, Tensor], ...] = (
        ("clean", side.samples.clean),
        ("noise", noise),
        ("noisy", side.samples.noisy),
    )
    for ax, (what, images) in zip(axes, shown, strict=True):
        without_axes(ax)
        ax.imshow(grid(images[: DOWN * ACROSS], ACROSS), interpolation="nearest")
        ax.set_title(f"{name}: {what}", loc="left")
