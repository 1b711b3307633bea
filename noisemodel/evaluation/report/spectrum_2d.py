"""Two-dimensional power spectra and autocorrelation of residuals, real beside generated."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noisemodel.evaluation.recording import Pair
from noisemodel.sensor import unpack_mosaic

TILE = 128  # side of the squares whose spectra are averaged [sensor pixels]


@dataclass(frozen=True, eq=False)
class Spectrum2D:
    """Two-sided power densities over the variance of the real residuals: 1 everywhere for white noise of that variance.

    frequency: (L,) along rows and columns, ascending from -1/2 [cycles per sensor pixel].
    real, generated: (L, L), rows are the frequency across rows.
    spectra: how many were averaged.
    """

    frequency: Tensor
    real: Tensor
    generated: Tensor
    spectra: int


@dataclass(frozen=True, eq=False)
class Correlation:
    """Autocorrelation r(k, l) = E[n(i, j) n(i + k, j + l)] / E[n^2], (2 K + 1, 2 K + 1), lag 0 in the middle.

    real, generated: means over frames.
    real_error, generated_error: standard errors from the scatter between frames.
    """

    real: Tensor
    generated: Tensor
    real_error: Tensor
    generated_error: Tensor


def spectrum_2d(pairs: Sequence[Pair]) -> Spectrum2D:
    """Mean |F|^2 over squares of side L, frames and recordings (Bartlett's method), over the mean sum n^2 of real ones.

    By Parseval's theorem the mean of ``real`` over all frequencies is 1.

    Args:
        pairs: recordings; saturated pixels count as 0.
    """
    side = min(TILE, *(min(_pictures(p.real[:1], p)[0].shape[-2:]) for p in pairs))
    power = {name: torch.zeros(side, side, dtype=torch.float64) for name in ("real", "generated")}
    spectra = 0
    for p in pairs:
        for name, total in power.items():
            for picture in _pictures(getattr(p, name), p)[0]:
                tiles = picture.unfold(0, side, side).unfold(1, side, side).flatten(0, 1)
                total += torch.fft.fft2(tiles).abs().square().sum(dim=0).double()
                spectra += len(tiles) * (name == "real")
    scale = max(float(power["real"].mean()), 1e-300)
    real, generated = (torch.fft.fftshift(total / scale) for total in power.values())
    return Spectrum2D(torch.fft.fftshift(torch.fft.fftfreq(side, dtype=torch.float64)), real, generated, spectra)


def correlation(pairs: Sequence[Pair], lags: int) -> Correlation:
    """Autocorrelation up to ``lags`` sensor pixels both ways, without wrapping round; saturated pixels are left out."""
    found = {}
    for name in ("real", "generated"):
        frames = torch.cat([_correlations(*_pictures(getattr(p, name), p), lags) for p in pairs])
        found[name] = frames.mean(dim=0), frames.std(dim=0) / max(len(frames), 1) ** 0.5
    return Correlation(found["real"][0], found["generated"][0], found["real"][1], found["generated"][1])


def _correlations(pictures: Tensor, mask: Tensor, lags: int) -> Tensor:
    """(n, 2 K + 1, 2 K + 1) of (n, H, W) pictures, by the Wiener-Khinchin theorem on zero-padded ones."""
    size = [length + lags for length in mask.shape]
    overlap = torch.fft.irfft2(torch.fft.rfft2(mask.double(), s=size).abs().square(), s=size)
    sums = torch.stack([torch.fft.irfft2(torch.fft.rfft2(x.double(), s=size).abs().square(), s=size) for x in pictures])
    wanted = torch.arange(-lags, lags + 1)
    means = (sums / overlap.clamp_min(0.5))[:, wanted][:, :, wanted]
    return means / means[:, lags : lags + 1, lags : lags + 1].clamp_min(1e-300)


def _pictures(residual: Tensor, at: Pair) -> tuple[Tensor, Tensor]:
    """(n, H, W) residuals in sensor pixels with 0 where not valid, and the (H, W) mask; each plane for itself."""
    valid = at.recording.valid
    masked = residual * valid
    if at.recording.layout == "mosaic":
        return unpack_mosaic(masked), unpack_mosaic(valid.float())[0]
    shared = valid.all(dim=1, keepdim=True).expand_as(valid)
    return (masked * shared).flatten(0, 1), shared[0, 0].float()
