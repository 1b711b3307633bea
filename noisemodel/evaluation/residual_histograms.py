"""Histograms of residuals, real beside generated, with a Gaussian of the real one's mean and std."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noisemodel.evaluation.line_spectra import line_means
from noisemodel.evaluation.recording import Pair

REACH = 6.0  # half width in std
PER_STD = 4.0  # bins per std


@dataclass(frozen=True, eq=False)
class ResidualHistogram:
    """Densities [1 / DN] of real and generated residuals over (K + 1,) ``edges`` [DN].

    real_std, generated_std: [DN].
    ks: largest difference of the cumulative histograms; floor: the same of the real frames' two halves.
    """

    title: str
    edges: Tensor
    real: Tensor
    generated: Tensor
    gaussian: Tensor
    real_std: float
    generated_std: float
    ks: float
    floor: float


def histogram(title: str, real: Sequence[Tensor], generated: Sequence[Tensor], step_dn: float) -> ResidualHistogram:
    """Compare two samples [DN].

    Args:
        title: of the panel.
        real, generated: samples, one per recording with the frames in order, so that halves are halves of the frames.
        step_dn: the grid that values lie on: bins are odd multiples of it, centred on 0; 0 for no grid.
    """
    joined, made = torch.cat(list(real)), torch.cat(list(generated))
    std, mean = float(joined.std()), float(joined.mean())
    edges = histogram_edges(std, step_dn)
    halves = [torch.cat([s[:n] if first else s[-n:] for s in real if (n := len(s) // 2)]) for first in (True, False)]
    counts = [_share(sample, edges) for sample in (joined, made, *halves)]
    ks, floor = (float((a.cumsum(0) - b.cumsum(0)).abs().max()) for a, b in (counts[:2], counts[2:]))
    cdf = 0.5 * (1 + torch.erf((edges - mean) / max(std, 1e-300) / math.sqrt(2)))
    width = edges[1] - edges[0]
    densities = (counts[0] / width, counts[1] / width, cdf.diff() / width)
    return ResidualHistogram(title, edges, *densities, std, float(made.std()), ks, floor)


def histogram_edges(std: float, step_dn: float) -> Tensor:
    """Edges around 0 over some 6 std, a quarter std apart; odd multiples of the ADC step, where there is one."""
    width = max(std, 1e-12) / PER_STD
    if step_dn:
        width = step_dn * (2 * max(round((width / step_dn - 1) / 2), 0) + 1)
    half = math.ceil(REACH * max(std, 1e-12) / width)
    return (torch.arange(-half, half + 2, dtype=torch.float64) - 0.5) * width


def at_level(pairs: Sequence[Pair], low: float, high: float, title: str) -> ResidualHistogram:
    """Residuals of all pixels with clean signal in (low, high] [fraction of white]."""
    scale = pairs[0].recording.levels.range_dn
    found: dict[str, list[Tensor]] = {"real": [], "generated": []}
    for p in pairs:
        at = (p.recording.valid & (p.recording.clean > low) & (p.recording.clean <= high))[0]
        for name, values in found.items():
            values.append(getattr(p, name)[:, at].flatten() * scale)
    return histogram(title, found["real"], found["generated"], 1.0 if scale > 100 else 0.0)


def of_lines(pairs: Sequence[Pair], line: str, title: str) -> ResidualHistogram:
    """Means of sensor lines of every frame ("row" or "column")."""
    scale = pairs[0].recording.levels.range_dn
    real, generated = (
        [line_means(getattr(p, name), p.recording.valid, p.recording.layout, line).flatten() * scale for p in pairs]
        for name in ("real", "generated")
    )
    return histogram(title, real, generated, 0.0)


def _share(sample: Tensor, edges: Tensor) -> Tensor:
    """Share of a sample in each bin; what lies outside counts in no bin."""
    counts = torch.histc(sample.double(), len(edges) - 1, float(edges[0]), float(edges[-1]))
    return counts / max(len(sample), 1)
