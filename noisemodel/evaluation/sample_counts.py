"""Histograms as sufficient statistics: counts per sample, per band of rows, and over bins fine enough for ks and w1."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from noisemodel.evaluation.recording import Recording

BAND = 64  # sensor rows that are resampled together
PER_UNIT = 200  # fine bins per unit of asinh(x / scale)
REACH = 2000  # fine bins on each side: asinh reaches 10, residuals 11,000 scales
OFFSET = 0.3819660112501051  # keeps the edges of fine bins off the grid of DN


class Sample(NamedTuple):
    """Residuals of some frames of one recording, from which a metric takes its sufficient statistics.

    residual: (T, C, h, w) [fraction of white].
    recording: where they were taken: valid pixels, clean signal, layout.
    scale: std of the real residuals [fraction of white].
    generated: whether a model made them.
    """

    residual: Tensor
    recording: Recording
    scale: float
    generated: bool = False


def counts(index: Tensor, bins: int) -> Tensor:
    """(N, n) bin numbers -> (N, bins) counts, float64; numbers outside 0..bins-1 are not counted."""
    rows = torch.arange(len(index), device=index.device).view(-1, 1) * bins
    inside = (index >= 0) & (index < bins)
    flat = torch.where(inside, index + rows, len(index) * bins).flatten()
    return torch.bincount(flat, minlength=len(index) * bins + 1)[:-1].view(len(index), bins).double()


def band_of_rows(recording: Recording) -> Tensor:
    """Number of the band that each row of the planes is in, (h,): bands of `BAND` sensor rows, at least 8 of 16."""
    height = recording.frames.shape[-2]
    sensor_rows = height * (2 if recording.layout == "mosaic" else 1)
    bands = max(sensor_rows // min(BAND, max(sensor_rows // 8, 16)), 1)
    return torch.arange(height, device=recording.frames.device) * bands // height


def band_counts(index: Tensor, bins: int, recording: Recording) -> Tensor:
    """Counts over the valid pixels of each frame and band, (bands, T, bins).

    Args:
        index: (T, C, h, w) bin numbers, each in 0..bins-1.
    """
    band = band_of_rows(recording)
    total = int(band[-1]) + 1
    place = torch.where(recording.valid[0], band.view(-1, 1) * bins, total * bins).expand(index.shape[1:])
    kept = recording.valid[0].expand(index.shape[1:])
    found = [
        torch.bincount(torch.where(kept, place + frame, place).flatten(), minlength=total * bins + 1) for frame in index
    ]
    return torch.stack(found)[:, :-1].view(len(index), total, bins).movedim(1, 0).double()


def fine_bins(residual: Tensor, scale: float) -> Tensor:
    """Bin numbers 0..2 REACH - 1, even in asinh(x / scale): scale / 200 wide in the middle, 0.5 % of x in the tails."""
    place = torch.asinh(residual / max(scale, 1e-30)) * PER_UNIT + (REACH + OFFSET)
    return place.clamp_(0, 2 * REACH - 1).long()


def fine_edges(scale: float) -> Tensor:
    """(2 REACH - 1,) inner edges of the fine bins, in the unit of ``scale``."""
    inner = torch.arange(1, 2 * REACH, dtype=torch.float64)
    return torch.sinh((inner - REACH - OFFSET) / PER_UNIT) * max(scale, 1e-30)


def fine_counts(sample: Sample) -> Tensor:
    """Fine histogram of the valid pixels of each band, (bands, 2 REACH); sums over frames."""
    residual = sample.residual
    if sample.recording.centred:
        residual = residual + _comb_dither(residual, sample.recording.levels.rounding / len(residual))
    return band_counts(fine_bins(residual, sample.scale), 2 * REACH, sample.recording).sum(dim=1)


def _comb_dither(residual: Tensor, spacing: float) -> Tensor:
    """Even values in +- spacing / 2, the golden sequence over the pixels.

    Whole DN less the mean of T frames lie on a comb of DN / T, which each frame's offset moves. In the dark its teeth
    are so high that their position would decide ks; spread over their spacing, they do not.
    """
    place = torch.arange(residual[0].numel(), device=residual.device, dtype=torch.float64)
    return (((place * OFFSET) % 1 - 0.5) * spacing).to(residual.dtype).view(residual.shape[1:])


def side_by_side(real: Tensor, model: Tensor) -> Tensor:
    """Two descriptions (units, K...) as one row of sums per unit, (units, 2 K)."""
    return torch.cat([real.flatten(1), model.flatten(1)], dim=1)


def both(sums: Tensor) -> tuple[Tensor, Tensor]:
    """The two halves of `side_by_side`, (..., K) each."""
    real, model = sums.chunk(2, dim=-1)
    return real, model


def root_mean_square(residual: Tensor, valid: Tensor) -> float:
    """sqrt(mean x^2) over the valid pixels of (T, C, h, w)."""
    weight = valid.to(residual.dtype)
    total = float((residual.square() * weight).sum(dtype=torch.float64))
    return math.sqrt(total / max(float(weight.sum(dtype=torch.float64)) * len(residual), 1.0))
