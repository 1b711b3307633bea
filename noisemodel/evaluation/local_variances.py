"""AKLD: how far local noise variances are apart, each taken for that of a Gaussian of mean 0."""

import torch
from torch import Tensor
from torch.nn import functional

from noisemodel.evaluation.sample_counts import Sample, band_of_rows

KERNEL = (0.03125, 0.109375, 0.21875, 0.28125, 0.21875, 0.109375, 0.03125)  # OpenCV's Gaussian of 7, as published
LEAST_VARIANCE = 1e-10
LOWEST, HIGHEST = 0.1, 10.0  # of the ratio of two variances


def local_variance(residual: Tensor) -> Tensor:
    """Squared residual (..., h, w), blurred by a 7x7 Gaussian with mirrored borders, at least 1e-10; h, w >= 4."""
    squares = residual.square().reshape(-1, 1, *residual.shape[-2:])
    kernel = torch.tensor(KERNEL, dtype=squares.dtype, device=squares.device)
    padded = functional.pad(squares, (3, 3, 3, 3), mode="reflect")
    blurred = functional.conv2d(functional.conv2d(padded, kernel.view(1, 1, 1, 7)), kernel.view(1, 1, 7, 1))
    return blurred.reshape(residual.shape).clamp_(min=LEAST_VARIANCE)


def akld_map(real: Tensor, model: Tensor) -> Tensor:
    """0.5 (r - 1 - ln r), r the ratio model / real of local variances, clamped to [0.1, 10]; pixel by pixel."""
    ratio = (model / real).clamp_(LOWEST, HIGHEST)
    return 0.5 * (ratio - 1 - ratio.log())


def akld(real: Tensor, model: Tensor) -> Tensor:
    """Mean of 0.5 (r - 1 - ln r) with r = local variance of the model / of the real residual (DANet, Yue 2020).

    KL of two Gaussians of mean 0. Blind to correlation. Published over 50 draws of the model for each real image; one
    draw has the same expectation.

    Args:
        real: (N, C, H, W) noisy - clean.
        model: (N, C, H, W), or (draws, N, C, H, W) to average over.
    Returns: (N,) [nats].
    """
    found = akld_map(local_variance(real).expand(model.shape), local_variance(model)).mean(dim=(-3, -2, -1))
    return found.mean(dim=0) if model.ndim > real.ndim else found


def variance_maps(sample: Sample) -> tuple[Tensor, Sample]:
    """(T, C, h, w) local variances."""
    return local_variance(sample.residual), sample


def band_sums(real: tuple[Tensor, Sample], model: tuple[Tensor, Sample]) -> Tensor:
    """Sum of the map over the valid pixels of each band, and their number: (bands, 2)."""
    recording = real[1].recording
    band, weight = band_of_rows(recording), recording.valid.to(real[0].dtype)
    rows = torch.stack(
        [(akld_map(real[0], model[0]) * weight).sum(dim=(0, 1, 3)), weight.sum(dim=(0, 1, 3)) * len(real[0])], dim=1
    ).double()
    return torch.zeros(int(band[-1]) + 1, 2, dtype=torch.float64, device=rows.device).index_add_(0, band, rows)
