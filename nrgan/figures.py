"""Pictures of a run: what the generators make, and the losses."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from noisemodel.checkpoint import write_atomically
from noisemodel.png import write_png
from nrgan.snapshots import Samples

COLUMNS, GAP = 10, 6  # images a row; white pixels between the three grids
NOISE_RANGE = 3.0  # stds of the noise from mid-grey to black or white
Array = np.ndarray[Any, np.dtype[Any]]


def grid(images: Tensor, columns: int = COLUMNS) -> Array:
    """(N, C, H, W) in [0, 1] -> (rows H, columns W, 3) uint8; planes beyond three are left out, one becomes grey."""
    count, planes, height, width = images.shape
    shown = images[:, :3] if planes >= 3 else images[:, :1].expand(-1, 3, -1, -1)
    rows = -(-count // columns)
    page = shown.new_ones((rows * columns, 3, height, width))
    page[:count] = shown.clamp(0, 1)
    page = page.view(rows, columns, 3, height, width).permute(0, 3, 1, 4, 2)
    levels: Array = (page.reshape(rows * height, columns * width, 3) * 255).round().byte().cpu().numpy()
    return levels


def sample_picture(samples: Samples) -> Array:
    """Three grids side by side: clean, noise at its own scale (mid-grey is 0, black and white are 3 std), noisy."""
    std = max(float(samples.noise.std()), 1e-6)
    noise = 0.5 + samples.noise / (2 * NOISE_RANGE * std)
    grids = [grid(images) for images in (samples.clean, noise, samples.noisy)]
    gap = np.full((grids[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([grids[0], gap, grids[1], gap, grids[2]], axis=1)


def save_samples(samples: Samples, path: Path) -> Path:
    """Write `sample_picture` as PNG."""
    write_atomically(path, lambda temporary: write_png(temporary, sample_picture(samples)))
    return path


def plot_losses(rows: Sequence[Mapping[str, float]], path: Path) -> Path:
    """Each loss against steps, as PNG; ``rows`` are those of metrics.csv."""
    names = [name for name in dict.fromkeys(n for row in rows for n in row) if name not in ("step", "seconds")]
    figure = Figure(figsize=(7, 4), layout="constrained", dpi=120)
    axis = figure.subplots()
    for name in names:
        found = [(row["step"], row[name]) for row in rows if name in row]
        axis.plot(*zip(*found, strict=True), label=name, linewidth=1)
    axis.set(xlabel="step", ylabel="loss")
    axis.legend()
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))
    return path
