"""KL(p || q) = sum p ln(p / q) of binned noise [nats]: five published definitions, each under its own name.

All take natural logs. Four drop the bins that are empty in either histogram, which gives 0 for laws that do not
overlap; they are here to be compared with published figures, not to choose models by.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from noisemodel.evaluation.sample_counts import Sample, band_counts, counts

PATCH = 64  # sensor pixels
NOISE_EDGE, NOISE_WIDTH, NOISE_BINS = 0.1, 0.2 / 64, 66
RESIDUAL_BINS, IMAGE_BINS = 256, 1000


def noise_bins(residual: Tensor) -> Tensor:
    """Numbers 0..65 of the bins (-inf, -0.1), 64 of width 0.003125 on [-0.1, 0.1), [0.1, inf)."""
    return (((residual + NOISE_EDGE) / NOISE_WIDTH).floor() + 1).clamp(0, NOISE_BINS - 1).long()


def residual_bins(residual: Tensor) -> Tensor:
    """Numbers 0..255 of equal bins on [-1, 1]."""
    return ((residual + 1) * (RESIDUAL_BINS / 2)).floor().clamp(0, RESIDUAL_BINS - 1).long()


def image_bins(noisy: Tensor) -> Tensor:
    """Numbers 0..999 of equal bins on [0, 1], the upper end included; 1000 for what lies outside."""
    inside = (noisy >= 0) & (noisy <= 1)
    return torch.where(inside, (noisy * IMAGE_BINS).floor().clamp(0, IMAGE_BINS - 1).long(), IMAGE_BINS)


def kl_dropping(real: Tensor, model: Tensor) -> Tensor:
    """Sum of p ln(p / q) over the bins that neither histogram leaves empty; counts (..., K) -> (...)."""
    p, q = (h / h.sum(dim=-1, keepdim=True).clamp_min(1) for h in (real, model))
    kept = (p > 0) & (q > 0)
    ratio = torch.where(kept, p, 1.0) / torch.where(kept, q, 1.0)
    return (p * ratio.log()).sum(dim=-1)


def kl_add_one(real: Tensor, model: Tensor) -> Tensor:
    """Sum of p ln(p / q) with p = (h + 1) / (n + K); counts (..., K) -> (...)."""
    p, q = ((h + 1) / (h + 1).sum(dim=-1, keepdim=True) for h in (real, model))
    return (p * (p / q).log()).sum(dim=-1)


def kl_symmetric_inside(real: Tensor, model: Tensor) -> Tensor:
    """(KL(p || q) + KL(q || p)) / 2 dropping empty bins; the last bin counts in n only; (..., K + 1) -> (...)."""
    p, q = (h[..., :-1] / h.sum(dim=-1, keepdim=True).clamp_min(1) for h in (real, model))
    kept = (p > 0) & (q > 0)
    log_ratio = (torch.where(kept, p, 1.0) / torch.where(kept, q, 1.0)).log()
    return ((p - q) * log_ratio).sum(dim=-1) / 2


def kld_noiseflow(real: Tensor, model: Tensor) -> Tensor:
    """KL(real || model) of raw residuals in 66 bins, empty bins dropped (Noise Flow, Abdelhamed 2019).

    Args:
        real, model: (N, ...) noisy - clean [fraction of white]; a sample is a patch of 64x64 mosaic pixels.
    Returns: (N,) [nats]; the published figure is their mean.
    """
    return kl_dropping(*_histograms(noise_bins, NOISE_BINS, real, model))


def kld_noise2noiseflow(real: Tensor, model: Tensor) -> Tensor:
    """KL(real || model) of raw residuals in 66 bins, add-one smoothed (Noise2NoiseFlow, Maleky 2022).

    Args and returns as `kld_noiseflow`.
    """
    return kl_add_one(*_histograms(noise_bins, NOISE_BINS, real, model))


def kld_naflow(real: Tensor, model: Tensor) -> Tensor:
    """KL(real || model) of sRGB residuals in 256 bins on [-1, 1], empty bins dropped (NAFlow, Kim 2024).

    Args:
        real, model: (N, ...) noisy - clean of sRGB images in [0, 1]; a sample is an image.
    Returns: (N,) [nats]; the published figure is their mean.
    """
    return kl_dropping(*_histograms(residual_bins, RESIDUAL_BINS, real, model))


def kld_neca(real: Tensor, model: Tensor, clean: Tensor) -> Tensor:
    """KL(real || model) of sRGB residuals in the 66 bins, empty bins dropped (NeCA, Fu 2023).

    The generated image is clipped to [0, 1] and rounded to 8 bit first, as a real one was.

    Args:
        real, model: (N, ...) noisy - clean of sRGB images in [0, 1]; a sample is an image.
        clean: (N, ...) in [0, 1].
    Returns: (N,) [nats]; the published figure is their mean.
    """
    return kl_dropping(*_histograms(noise_bins, NOISE_BINS, real, to_8_bit(model, clean)))


def kld_starlight(real: Tensor, model: Tensor) -> Tensor:
    """(KL(p || q) + KL(q || p)) / 2 of noisy images in 1000 bins on [0, 1], empty bins dropped (Monakhova 2022).

    Args:
        real, model: (N, ...) noisy images [fraction of white]; what lies outside [0, 1] counts in n only.
    Returns: (N,) [nats]; the published figure is their sum over the test set.
    """
    return kl_symmetric_inside(*_histograms(image_bins, IMAGE_BINS + 1, real, model))


def to_8_bit(residual: Tensor, clean: Tensor) -> Tensor:
    """Residual of the image clipped to [0, 1] and rounded to 8 bit."""
    return ((clean + residual).clamp(0, 1) * 255).round() / 255 - clean


def _histograms(bins_of: Callable[[Tensor], Tensor], bins: int, real: Tensor, model: Tensor) -> tuple[Tensor, Tensor]:
    """(N, bins) counts of both batches."""
    return counts(bins_of(real).flatten(1), bins), counts(bins_of(model).flatten(1), bins)


def patch_counts(sample: Sample) -> Tensor:
    """66-bin histograms of every patch of every frame, (rows of patches, patches in a row x T, 66).

    Patches are 64x64 sensor pixels with all planes, or the whole crop where that is smaller; what is left over at the
    lower and right edge is not used, nor are saturated pixels.
    """
    side = PATCH // (2 if sample.recording.layout == "mosaic" else 1)
    index = torch.where(sample.recording.valid, noise_bins(sample.residual), -1)
    for axis in (-2, -1):
        side_here = min(side, index.shape[axis])
        kept = index.shape[axis] // side_here * side_here
        index = index.narrow(axis, 0, kept).unflatten(axis, (-1, side_here))
        index = index.movedim(axis - 1, 0)
    columns, rows = index.shape[:2]  # of patches; (columns, rows, T, C, side, side)
    patches = index.permute(1, 0, 2, 3, 4, 5).flatten(3).flatten(0, 2)
    return counts(patches, NOISE_BINS).view(rows, columns * index.shape[2], NOISE_BINS)


def patch_sums(divergence: Callable[[Tensor, Tensor], Tensor], real: Tensor, model: Tensor) -> Tensor:
    """Sum over patches of their KLD, and how many have pixels: (rows of patches, 2)."""
    filled = (real.sum(dim=-1) > 0) & (model.sum(dim=-1) > 0)
    return torch.stack([torch.where(filled, divergence(real, model), 0.0).sum(dim=1), filled.sum(dim=1)], dim=1)


def naflow_counts(sample: Sample) -> Tensor:
    """(bands, T, 256) of residuals."""
    return band_counts(residual_bins(sample.residual), RESIDUAL_BINS, sample.recording)


def neca_counts(sample: Sample) -> Tensor:
    """(bands, T, 66) of residuals, generated ones rounded to 8 bit."""
    made = to_8_bit(sample.residual, sample.recording.reference) if sample.generated else sample.residual
    return band_counts(noise_bins(made), NOISE_BINS, sample.recording)


def starlight_counts(sample: Sample) -> Tensor:
    """(bands, 1001) of noisy images, reference + residual."""
    noisy = sample.recording.reference + sample.residual
    return band_counts(image_bins(noisy), IMAGE_BINS + 1, sample.recording).sum(dim=1)
