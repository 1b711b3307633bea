"""Distance of the autocorrelations of residuals: which neighbours share noise."""

import torch
from torch import Tensor

from noisemodel.evaluation.sample_counts import Sample, band_of_rows
from noisemodel.sensor import unpack_mosaic

REACH = 8  # largest lag along both axes [sensor pixels]


def autocorrelation(real: Tensor, model: Tensor, *, layout: str = "planes") -> Tensor:
    """Rms over lags of rho_model - rho_real, rho(dy, dx) = E[n(y, x) n(y + dy, x + dx)] / E[n^2].

    Lags of up to 8 sensor pixels both ways, one of each pair of opposite ones and not (0, 0): 144. Row means are kept:
    what a row shares shows at dy = 0.

    Args:
        real, model: (..., T, C, h, w) residuals of T frames.
        layout: "mosaic" (unpacked first) or "planes" (averaged over planes).
    Returns: (...).
    """
    images = [unpack_mosaic(r).unsqueeze(-3) if layout == "mosaic" else r for r in (real, model)]
    frames, planes = images[0].shape[-4:-2]
    pairs = _lag_sums(torch.ones_like(images[0][..., :1, :1, :, :])) * (frames * planes)
    real_sums, model_sums = (_lag_sums(image) for image in images)
    return correlation_distance(real_sums, model_sums, pairs).squeeze(-1)


def correlation_distance(real: Tensor, model: Tensor, pairs: Tensor) -> Tensor:
    """Rms of rho_model - rho_real from sums of products and numbers of pixel pairs, (..., 145), lag (0, 0) first."""
    means = [sums / pairs.clamp_min(0.5) for sums in (real, model)]
    rho = [mean[..., 1:] / mean[..., :1].clamp_min(1e-300) for mean in means]
    return (rho[1] - rho[0]).square().mean(dim=-1).sqrt()


def _lag_sums(image: Tensor, bands: int = 1) -> Tensor:
    """Sums of x(p) x(p + lag) over p in each band of rows, p + lag anywhere inside, added up over frames and planes.

    Args:
        image: (..., T, C, h, w).
    Returns: (..., bands, 145).
    """
    height, width = image.shape[-2] // bands, image.shape[-1]
    size = [-(-(n + REACH) // 32) * 32 for n in (height, width)]  # zeros behind the edge, and a length the FFT likes
    reaching = torch.nn.functional.pad(image, (0, 0, 0, REACH)).unfold(-2, height + REACH, height)[..., :bands, :, :]
    reaching = reaching.transpose(-2, -1)  # (..., T, C, bands, height + 8, w)
    further, here = torch.fft.rfft2(reaching, s=size), torch.fft.rfft2(reaching[..., :height, :], s=size)
    product = (further * here.conj()).sum(dim=(-5, -4))
    sums = torch.fft.irfft2(product, s=size).double()
    rows, columns = torch.meshgrid(torch.arange(REACH + 1), torch.arange(-REACH, REACH + 1), indexing="ij")
    kept = (rows > 0) | (columns >= 0)
    return sums[..., rows[kept], columns[kept]]


def lag_sums(sample: Sample) -> Tensor:
    """Sums of products, and numbers of pixel pairs, over the valid pixels of each band: (bands, 2, 145)."""
    at = sample.recording
    residual, valid = sample.residual * at.valid, at.valid.to(sample.residual.dtype)
    if at.layout == "mosaic":
        residual, valid = (unpack_mosaic(x).unsqueeze(1) for x in (residual, valid))
    bands = int(band_of_rows(at)[-1]) + 1
    return torch.stack([_lag_sums(residual, bands), _lag_sums(valid, bands) * len(residual)], dim=1)


def distance_of_sums(sums: Tensor) -> Tensor:
    """`correlation_distance` of the totals (draws, 4 x 145) of two `lag_sums`."""
    real, pairs, model, _ = sums.chunk(4, dim=-1)
    return correlation_distance(real, model, pairs)
