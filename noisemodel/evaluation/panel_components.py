"""components.png: one draw of each component's noise on its own colour scale."""

import math

import numpy as np
import torch
from matplotlib.figure import Figure

from noisemodel.evaluation.figure_style import RESIDUAL_MAP, short, signal_text, styled, without_axes
from noisemodel.evaluation.panel_images import sensor_picture
from noisemodel.evaluation.recording import Recording
from noisemodel.generator import NoiseGenerator

SIDE = 128  # of the part that is shown [sensor pixels]


def components_panel(
    model: NoiseGenerator, recording: Recording, *, generator: torch.Generator, note: str = ""
) -> Figure:
    """Noise of every component on the middle of a recording's scene: word, std in DN and electrons, own scale."""
    clean, origin = _middle(recording)
    with torch.no_grad():
        parts = model.parts(clean.unsqueeze(0), generator=generator, origin=origin)
    parts["sum"] = sum(parts.values(), torch.zeros_like(clean).unsqueeze(0))
    unit, gain = recording.levels.range_dn, gain_of(model)
    count = len(parts)
    columns = min((5, 4, 3), key=lambda wide: -count % wide)  # the fewest empty places
    rows = math.ceil(count / columns)
    mean = signal_text(float(clean.mean()) * unit)
    title = f"Noise of each component: one draw on {recording.name}, mean signal {mean}"
    with styled(title, (3.2 * columns, 3.1 * rows + 0.9), note) as figure:
        axes = figure.subplots(rows, columns, squeeze=False)
        for ax in axes.flat[count:]:
            ax.set_axis_off()
        for ax, (word, noise) in zip(axes.flat, parts.items(), strict=False):
            without_axes(ax)
            picture = sensor_picture(noise[0, 0], recording.layout) * unit
            limit = float(np.percentile(np.abs(picture), 99.5)) or 1e-12
            drawn = ax.imshow(picture, cmap=RESIDUAL_MAP, vmin=-limit, vmax=limit, interpolation="nearest")
            std = float(noise.std(correction=0)) * unit
            electrons = f" = {short(std / unit / gain)} e⁻" if gain else ""
            ax.set_title(f"$\\bf{{{word}}}$\nstd {short(std)} DN{electrons}")
            bar = figure.colorbar(drawn, ax=ax, shrink=0.85, aspect=16, pad=0.03)
            bar.ax.set_title("DN", fontsize=8.5)
            bar.outline.set_visible(False)
    return figure


def gain_of(model: NoiseGenerator) -> float | None:
    """Fraction of white per electron; None without shot noise."""
    known = {p.name: p.value for p in model.physical.parameters_table()}
    return known.get("shot.gain")


def _middle(recording: Recording) -> tuple[torch.Tensor, tuple[int, int]]:
    """The middle of the clean signal, (1, C, h, w), and the sensor pixel of its corner."""
    step = 2 if recording.layout == "mosaic" else 1
    sides = [min(SIDE // step, length) for length in recording.clean.shape[-2:]]
    top, left = ((length - side) // 2 for length, side in zip(recording.clean.shape[-2:], sides, strict=True))
    clean = recording.clean[..., top : top + sides[0], left : left + sides[1]]
    return clean, (recording.origin[0] + step * top, recording.origin[1] + step * left)
