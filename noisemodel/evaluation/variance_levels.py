"""Error of the residual variance, signal level by signal level."""

import torch
from torch import Tensor

from noisemodel.evaluation.sample_counts import Sample, band_of_rows
from noisemodel.evaluation.variance_curve import LEAST_VALUES, signal_edges


def variance_error(real: Tensor, model: Tensor, clean: Tensor, edges: Tensor) -> Tensor:
    """Mean over signal levels of |v_model / v_real - 1|, v the mean squared residual at that level.

    Args:
        real, model: (N, ...) residuals.
        clean: their clean signal, broadcast to the same shape.
        edges: (K + 1,) of the levels; `signal_edges` makes some. Levels without a pixel do not count.
    Returns: (N,).
    """
    level = (torch.bucketize(clean.expand_as(real).double(), edges) - 1).flatten(1)
    inside = (level >= 0) & (level < len(edges) - 1)
    level = torch.where(inside, level, 0)
    sums = [
        torch.zeros(len(real), len(edges) - 1, dtype=torch.float64).scatter_add_(
            1, level, torch.where(inside, values.double(), 0.0)
        )
        for values in (real.square().flatten(1), model.square().flatten(1))
    ]
    return mean_error(sums[0], sums[1], sums[0] > 0)


def mean_error(real: Tensor, model: Tensor, used: Tensor) -> Tensor:
    """Mean over the used levels of |model / real - 1|; sums of squares (..., K) -> (...)."""
    error = (torch.where(used, model, 0.0) / torch.where(used, real, 1.0) - 1).abs()
    return torch.where(used, error, 0.0).sum(dim=-1) / used.sum(dim=-1).clamp_min(1)


def level_sums(sample: Sample) -> Tensor:
    """Sums of squares, and pixel counts, per band and signal level: (bands, 2, K)."""
    at = sample.recording
    lit = at.clean[at.valid]
    edges = signal_edges(at.levels, float(lit.max()) if len(lit) else 0.0).to(at.clean.device)
    bins, band = len(edges) - 1, band_of_rows(at)
    level = torch.bucketize(at.clean.double(), edges) - 1
    bands = int(band[-1]) + 1
    counted = at.valid & (level >= 0) & (level < bins)
    index = torch.where(counted, band.view(-1, 1) * bins + level, bands * bins).flatten()
    squares = sample.residual.square().sum(dim=0, dtype=torch.float64).flatten()
    sums = [torch.bincount(index, w, minlength=bands * bins + 1) for w in (squares, torch.ones_like(squares))]
    return torch.stack(sums)[:, :-1].view(2, bands, bins).movedim(0, 1)


def error_of_sums(sums: Tensor) -> Tensor:
    """`mean_error` of the totals (draws, 4 K) of two `level_sums`; levels with fewer than 400 pixels do not count.

    Where no level has as many, all that have pixels count.
    """
    real, number, model, _ = sums.chunk(4, dim=-1)
    enough = number[:1] >= LEAST_VALUES
    used = (enough if bool(enough.any()) else number[:1] > 0) & (real > 0)
    return mean_error(real, model, used)
