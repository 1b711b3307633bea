"""The spectrum of row noise from row means: a smooth part in bins, and lines that wander in frequency."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import special
from torch import Tensor

from noisemodel.calibration.spectral_lines import FrameSpectra, SpectralLine, above_smooth_part, fit_lines
from noisemodel.components.row_spectrum import spectrum_edges
from noisemodel.errors import InputError

SHORTEST = 32  # rows, below which there is no spectrum to speak of
FLOOR = 1e-3  # smallest density, as a share of the mean one with its white part: a logarithm cannot hold 0
CLEAR = 0.5  # an ordinate is the smooth part's where lines have less than so much of the local level


@dataclass(frozen=True)
class RowSpectrumFit:
    """The law of `SpectralRows`, in the unit of the profiles; errors are standard errors, intervals 95 %.

    std, std_error: of the smooth part.
    edges: (K + 1,) of its bins [cycles per row]; psd, low, high: (K,) one-sided density and its interval.
    lines: by falling power.
    """

    std: float
    std_error: float
    edges: Tensor
    psd: Tensor
    low: Tensor
    high: Tensor
    lines: tuple[SpectralLine, ...]

    @property
    def variance(self) -> float:
        """std^2 of the smooth part and of all lines."""
        return self.std**2 + sum(line.std**2 for line in self.lines)

    def start(self, word: str) -> dict[str, object]:
        """Start values of ``word``, "rowspectrum" or "rowparity" (profiles in fractions of white)."""
        return {
            f"{word}_std": self.std,
            f"{word}_psd": tuple(self.psd.tolist()),
            f"{word}_edges": tuple(self.edges.tolist()),
            f"{word}_lines": tuple((line.freq, line.std, line.jitter, line.steady) for line in self.lines),
        }

    def band_power(self, low: float, high: float) -> float:
        """Variance between two frequencies [cycles per row], lines included."""
        inside = self.edges.clamp(low, high).diff()
        return float((self.psd * inside).sum()) + sum(line.power_between(low, high) for line in self.lines)

    def covariance(self, lag: int) -> float:
        """Covariance of rows k = ``lag`` apart.

        Integral of S cos 2 pi f k, plus s^2 cos 2 pi f k exp(-2 (pi k jitter)^2) of each line.
        """
        phase = 2 * math.pi * lag
        waves = (phase * self.edges).sin().diff() / phase if lag else self.edges.diff()
        of_lines = (
            line.std**2 * math.cos(phase * line.freq) * math.exp(-((phase * line.jitter) ** 2) / 2)
            for line in self.lines
        )
        return float((self.psd * waves).sum()) + sum(of_lines)


def fit_row_spectrum(
    profiles: Sequence[Tensor], white: Sequence[float], *, bins: int = 24, false_alarm: float = 1e-3
) -> RowSpectrumFit:
    """Fit S(f) and lines to the averaged periodogram 2 |FFT(p)|^2 / L of row means, times T / (T - 1).

    Bins are log-spaced from both ends of 0..1/2, because row spectra rise at either end, and their edges lie between
    the ordinates. Lines are found against the local level and fitted together with their jitter (`fit_lines`). The
    smooth part is the mean of the ordinates that are clear of lines, less the white part 2 * white; lines take what it
    leaves in their bands. The ordinates at 0 and 1/2 are not used. Alternating-sign profiles give ``rowparity``.

    Bursts are joined with weights 1 / variance^2, so that the quiet ones decide.

    Args:
        profiles: per burst (T, L), the mean residual of each sensor row in each frame, centred over the T frames and
            over each frame's rows.
        white: per burst, the variance per frame that a row's mean has from pixel noise alone.
        bins: of the smooth part; fewer where rows are too few to fill them.
        false_alarm: chance that a spectrum without a line shows one.
    Raises: InputError for profiles of no, different or too short length, single frames, or values that are not finite.
    """
    _check(profiles, white, bins, false_alarm)
    spectra = _frame_spectra(profiles, white)
    lines, level, of_lines = fit_lines(spectra, false_alarm)
    clear = of_lines < CLEAR * level
    total = torch.where(clear, spectra.mean() - of_lines, level)
    edges = _edges_between_ordinates(bins, spectra.length)
    index = torch.bucketize(spectra.frequency, edges[1:-1])
    psd, low, high, error = _binned(total, clear, index, len(edges) - 1, spectra)
    width = edges.diff()
    std = float((psd * width).sum().sqrt())
    std_error = float((error * width).square().sum().sqrt()) / (2 * std)
    return RowSpectrumFit(
        std, std_error, edges, psd, low, high, above_smooth_part(lines, spectra, psd[index] + spectra.white)
    )


def _frame_spectra(profiles: Sequence[Tensor], white: Sequence[float]) -> FrameSpectra:
    """Periodograms of all frames, with the weight of each frame's burst.

    The weight follows the variance with the joint row noise, not each burst's own, which would favour low ones.
    """
    length = profiles[0].shape[1]
    frames = np.array([len(profile) for profile in profiles])
    variance = np.array([float(p.double().square().sum()) / (len(p) - 1) / (length - 1) for p in profiles])
    floor, shared = np.array(white, float), 0.0
    for _ in range(3):
        weight = 1 / np.maximum(floor + shared, 1e-3 * variance.mean()) ** 2
        shared = max(float(np.average(variance - floor, weights=weight * (frames - 1))), 0.0)
    power = torch.cat([torch.fft.rfft(p.double(), dim=1).abs().square() * (2 / length) for p in profiles])
    freedom = float((weight * (frames - 1)).sum())
    last = (length - 1) // 2
    return FrameSpectra(
        length=length,
        power=power[:, 1 : last + 1],
        weight=torch.from_numpy(np.repeat(weight, frames)) / freedom,
        burst=torch.from_numpy(np.repeat(np.arange(len(frames)), frames)),
        freedom=freedom**2 / float((weight**2 * (frames - 1)).sum()),
        white=2 * float((weight * (frames - 1) * floor).sum()) / freedom,
    )


def _edges_between_ordinates(bins: int, length: int) -> Tensor:
    """`spectrum_edges` moved between the ordinates j / L, each bin with one at least."""
    edges = spectrum_edges(bins, 1.5 / length)[1:-1]
    cells = ((edges * length - 0.5).round() + 0.5).clamp(1.5, (length - 1) // 2 - 0.5).unique()
    return torch.cat([edges.new_zeros(1), cells / length, edges.new_tensor([0.5])])


def _binned(
    total: Tensor, clear: Tensor, index: Tensor, bins: int, spectra: FrameSpectra
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Density of the smooth part per bin, its 95 % interval and standard error, (K,) each.

    The mean of n ordinates of M degrees follows a gamma law of n M. Where lines cover a bin its local level stands in.
    """
    used = clear | (torch.zeros(bins).index_add(0, index, clear.float())[index] == 0)
    zeros = torch.zeros(bins, dtype=torch.float64)
    count = zeros.index_add(0, index, used.double())
    mean = zeros.index_add(0, index, total * used) / count
    freedom = (count * spectra.freedom).numpy()
    floor = FLOOR * float(spectra.mean().mean())
    low, high = (mean * torch.from_numpy(freedom / special.gammaincinv(freedom, q)) for q in (0.975, 0.025))
    psd, low, high = ((density - spectra.white).clamp_min(floor) for density in (mean, low, high))
    return psd, torch.minimum(low, psd), torch.maximum(high, psd), mean / torch.from_numpy(freedom).sqrt()


def _check(profiles: Sequence[Tensor], white: Sequence[float], bins: int, false_alarm: float) -> None:
    """Raise InputError for what cannot be fitted."""
    shapes = sorted({tuple(profile.shape) for profile in profiles})
    if not profiles or any(len(shape) != 2 for shape in shapes):
        raise InputError(f"row profiles must be (T, L) tensors, one per burst, got {shapes or 'none'}")
    if len({shape[1] for shape in shapes}) > 1 or shapes[0][1] < SHORTEST:
        raise InputError(f"row profiles must have one length of at least {SHORTEST} rows, got {shapes}; crop them")
    if shapes[0][0] < 2:
        raise InputError(f"row profiles need 2 frames or more of each burst, got {shapes[0][0]}; record more")
    if len(white) != len(profiles) or not all(math.isfinite(w) and w >= 0 for w in white):
        raise InputError(f"white must hold one variance >= 0 for each of {len(profiles)} bursts, got {list(white)}")
    if not all(bool(torch.isfinite(profile).all()) for profile in profiles):
        raise InputError("row profiles hold NaN or infinite values; leave rows without valid pixels out")
    if not any(bool(profile.any()) for profile in profiles):
        raise InputError("row profiles are all 0: there is no row noise to fit; record single exposures")
    if bins < 2 or not 0 < false_alarm < 1:
        raise InputError(f"bins must be 2 or more and false_alarm in (0, 1), got {bins} and {false_alarm}")
