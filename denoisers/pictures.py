"""Results for the eye: noisy beside denoised, and developed raw."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from denoisers.trained import DenoiserSettings
from denoisers.values import Values
from noisemodel.images import Array
from noisemodel.sensor.raw import read_raw
from noisemodel.sensor.rendering import develop_raw, render, stretch_of

RIM = 4  # white pixels between two pictures


def side_by_side(pictures: list[Array]) -> Array:
    """Pictures of one size, (H, W) or (H, W, 3) uint8, in a row with a white rim between them."""
    rim = np.full((len(pictures[0]), RIM, *pictures[0].shape[2:]), 255, np.uint8)
    parts = [part for picture in pictures for part in (rim, picture)]
    return np.concatenate(parts[1:], axis=1)


def beside(values: Values, noisy: Array, clean: Array, settings: DenoiserSettings) -> Array:
    """Noisy | denoised, uint8; raw and linear images at one stretch, that of the denoised one.

    A mosaic is shown at half its size, each 2x2 cell as one pixel.
    """
    signals = [values.signal(page) for page in (noisy, clean)]
    if settings.layout != "srgb":
        cfa = settings.cfa or (values.file.raw.cfa if values.file.raw is not None else None)
        cells = [_cells(signal, cfa) if len(signal) == 4 else signal for signal in signals]
        stretch = stretch_of(cells[1], "planes", balance=True)
        return side_by_side([_as_bytes(render(cell, stretch, "planes")) for cell in cells])
    pictures = [signal.movedim(0, -1).numpy() for signal in signals]
    return side_by_side([_as_bytes(picture[..., 0] if picture.shape[-1] == 1 else picture) for picture in pictures])


def developed(values: Values, page: Array, settings: DenoiserSettings) -> Array:
    """A denoised page as a camera shows it, uint8; without a raw file's facts at its own stretch, grey world."""
    if values.file.raw is not None:
        raw = read_raw(values.file.image.path)
        return _as_bytes(develop_raw(replace(raw, mosaic=page)))
    signal = values.signal(page)
    layout = "mosaic" if settings.layout == "mosaic" else "planes"
    return _as_bytes(render(signal, stretch_of(signal, layout, settings.cfa), layout, settings.cfa))


def _cells(planes: Tensor, cfa: str | None) -> Tensor:
    """(4, h, w) planes by position -> (3, h, w) RGB, green the mean of both; (1, h, w) for unknown colours."""
    if cfa is None or sorted(cfa) != sorted("RGGB"):
        return planes.mean(0, keepdim=True)
    return torch.stack([planes[[i for i, c in enumerate(cfa) if c == colour]].mean(0) for colour in "RGB"])


def _as_bytes(picture: Array) -> Array:
    """[0, 1] -> uint8, clipped and rounded."""
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
