"""components.png: one draw of each component's noise on its own colour scale."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from noisemodel.evaluation.figure_style import RESIDUAL_MAP, short, signal_text, styled, without_axes
from noisemodel.evaluation.panel_images import sensor_picture
from noisemodel.evaluation.recording import Recording
from noisemodel.generator import NoiseGenerator

SIDE = 128  # of the part that is shown [sensor pixels]


@dataclass(frozen=True, eq=False)
class ComponentDraw:
    """One draw of one component.

    word: of the noiselist; "network" for what the network adds, "sum" for all.
    picture_dn: (H, W) in sensor pixels [DN].
    std_dn, std_electrons: of the draw [DN], [electrons] (None without shot noise).
    share: closed-form share of the physics' mean square on this scene; None for "network" and "sum".
    """

    word: str
    picture_dn: np.ndarray
    std_dn: float
    std_electrons: float | None
    share: float | None


def component_draws(model: NoiseGenerator, recording: Recording, *, generator: torch.Generator) -> list[ComponentDraw]:
    """Noise of every component, and their sum, on the middle of a recording's scene."""
    clean, origin = _middle(recording)
    with torch.no_grad():
        parts = model.parts(clean.unsqueeze(0), generator=generator, origin=origin)
        shares = _shares(model, clean.unsqueeze(0), origin)
    parts["sum"] = sum(parts.values(), torch.zeros_like(clean).unsqueeze(0))
    unit, gain = recording.levels.range_dn, gain_of(model)
    found = []
    for word, noise in parts.items():
        std = float(noise.std(correction=0))
        picture = sensor_picture(noise[0, 0], recording.layout) * unit
        found.append(ComponentDraw(word, picture, std * unit, std / gain if gain else None, shares.get(word)))
    return found


def _shares(model: NoiseGenerator, clean: torch.Tensor, origin: tuple[int, int]) -> dict[str, float]:
    """Share of each component in the sum of mean squares (variance + mean^2) over a scene."""
    squares = {
        c.name: float((c.variance(clean, origin=origin) + c.mean(clean, origin=origin).square()).mean())
        for c in model.physical.each()
    }
    total = sum(squares.values())
    return {word: square / total for word, square in squares.items()} if total > 0 else {}


def components_panel(
    model: NoiseGenerator, recording: Recording, *, generator: torch.Generator, note: str = ""
) -> Figure:
    """Noise of every component on the middle of a recording's scene: word, std in DN and electrons, own scale."""
    drawn = component_draws(model, recording, generator=generator)
    columns = min((5, 4, 3), key=lambda wide: -len(drawn) % wide)  # the fewest empty places
    rows = math.ceil(len(drawn) / columns)
    mean = signal_text(float(_middle(recording)[0].mean()) * recording.levels.range_dn)
    title = f"Noise of each component: one draw on {recording.name}, mean signal {mean}"
    with styled(title, (3.2 * columns, 3.1 * rows + 0.9), note) as figure:
        axes = figure.subplots(rows, columns, squeeze=False)
        for ax in axes.flat[len(drawn) :]:
            ax.set_axis_off()
        for ax, one in zip(axes.flat, drawn, strict=False):
            _draw(figure, ax, one)
    return figure


def _draw(figure: Figure, ax: Axes, one: ComponentDraw) -> None:
    """One component on its own colour scale."""
    without_axes(ax)
    limit = colour_limit(one.picture_dn)
    image = ax.imshow(one.picture_dn, cmap=RESIDUAL_MAP, vmin=-limit, vmax=limit, interpolation="nearest")
    electrons = "" if one.std_electrons is None else f" = {short(one.std_electrons)} e⁻"
    ax.set_title(f"$\\bf{{{one.word}}}$\nstd {short(one.std_dn)} DN{electrons}")
    bar = figure.colorbar(image, ax=ax, shrink=0.85, aspect=16, pad=0.03)
    bar.ax.set_title("DN", fontsize=8.5)
    bar.outline.set_visible(False)


def colour_limit(picture: np.ndarray) -> float:
    """Where a diverging map ends: the 99.5th percentile of the size."""
    return float(np.percentile(np.abs(picture), 99.5)) or 1e-12


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
