"""Lines in the averaged periodogram of row means: found against the local level, fitted with their jitter."""

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage, stats
from torch import Tensor

from noisemodel.components.row_spectrum import spectrum_edges
from noisemodel.streams import stream

WINDOWS = (1, 3, 5)  # neighbouring ordinates joined in the test: a wandering line spreads over some
STANDS_OUT = 2.0  # a line has so many times the local level, or it is part of the smooth spectrum
LOCAL = 33  # ordinates of the local median
COARSE_BINS = 8  # of the trend that is taken off before
MARGIN = 3  # ordinates beside a line that its fit sees
STEPS = 7  # of each parameter in each of the fit's grids
ZOOMS = 12
RESAMPLED = 40
CLEARLY_STEADY = 0.8  # of lines that are Gaussian few seem so steady in some 14 frames
MANY_BURSTS = 8
NODES, NODE_WEIGHTS = (torch.from_numpy(values) for values in np.polynomial.hermite_e.hermegauss(15))


@dataclass(frozen=True)
class SpectralLine:
    """a cos 2 pi (f + d) r + b sin 2 pi (f + d) r, d ~ N(0, jitter^2); with standard errors.

    a, b ~ N(0, std^2) but for the share ``steady`` of their power, of which only the phase is random.

    A jitter below half a cycle per height comes out some 10 % low, within its error.
    """

    freq: float
    std: float
    jitter: float
    freq_error: float = math.nan
    std_error: float = math.nan
    jitter_error: float = math.nan
    steady: float = 0.0

    def power_between(self, low: float, high: float) -> float:
        """Share of std^2 between two frequencies."""
        if self.jitter == 0:
            return self.std**2 * (low <= self.freq < high)
        inside = stats.norm.cdf([low, high], loc=self.freq, scale=self.jitter)
        return self.std**2 * float(inside[1] - inside[0])


@dataclass(frozen=True)
class FrameSpectra:
    """Periodograms of single frames, at j / L, j = 1, 2, ... below L / 2.

    power: (frames, F), one-sided densities of centred profiles.
    weight: (frames,), such that the weighted sum is unbiased: T / (T - 1) is in it.
    burst: (frames,) index of the burst.
    freedom: M of the weighted sum: an ordinate follows S gamma(M) / M.
    white: the part of the density that is pixel noise.
    """

    length: int
    power: Tensor
    weight: Tensor
    burst: Tensor
    freedom: float
    white: float

    @property
    def frequency(self) -> Tensor:
        """Of the ordinates [cycles per row], (F,)."""
        return torch.arange(1, self.power.shape[1] + 1, dtype=torch.float64) / self.length

    def mean(self) -> Tensor:
        """The averaged periodogram, (F,)."""
        return self.weight @ self.power

    def resampled(self, generator: torch.Generator) -> "FrameSpectra":
        """Frames drawn again within their bursts; whole bursts where these are many (residuals of few are alike)."""
        bursts = int(self.burst.max()) + 1
        groups = [torch.where(self.burst == b)[0] for b in range(bursts)]
        if bursts >= MANY_BURSTS:
            frames = torch.cat([groups[b] for b in torch.randint(bursts, (bursts,), generator=generator).tolist()])
        else:
            frames = torch.cat([g[torch.randint(len(g), (len(g),), generator=generator)] for g in groups])
        scale = self.weight.sum() / self.weight[frames].sum()
        return replace(self, power=self.power[frames], weight=self.weight[frames] * scale, burst=self.burst[frames])


Lines = list[tuple[SpectralLine, tuple[int, int]]]


def fit_lines(spectra: FrameSpectra, false_alarm: float) -> tuple[Lines, Tensor, Tensor]:
    """Find and fit the lines of an averaged periodogram.

    Returns: lines and their bands; the level without them, white part included, (F,); and what they add, (F,).
    """
    mean = spectra.mean()
    level, higher_side = local_level(mean, spectra.freedom)
    bands = find_bands(mean / higher_side, spectra.freedom, false_alarm)
    fitted = [fit_line(spectra, level, torch.zeros_like(level), band) for band in bands]
    for _ in range(2):  # each beside what the others leak
        for i, band in enumerate(bands):
            others = sum((line_density(f, spectra) for f in fitted[:i] + fitted[i + 1 :]), torch.zeros_like(level))
            fitted[i] = fit_line(spectra, level, others, band, fitted[i])
    total = sum((line_density(line, spectra) for line in fitted), torch.zeros_like(level))
    lines = [
        _with_errors(line, spectra, level, total - line_density(line, spectra), band)
        for line, band in zip(fitted, bands, strict=True)
    ]
    return list(zip(lines, bands, strict=True)), level, total


def local_level(power: Tensor, freedom: float) -> tuple[Tensor, Tensor]:
    """Local median of the ordinates, as a mean: a trend in `COARSE_BINS` bins times a running median beside it.

    Returns: with the median over both sides, and with the higher of one over either side, beside which the edge of a
    step is no line; (F,) each.
    """
    count = len(power)
    median = float(stats.gamma.median(freedom)) / freedom  # of an ordinate of mean 1
    edges = (spectrum_edges(COARSE_BINS, 3 / (2 * count)) * 2 * count).round().int().unique().tolist()
    parts = [slice(a, b) for a, b in itertools.pairwise(edges)]
    centres = [(part.start + part.stop - 1) / 2 for part in parts]
    logs = [float(power[part].median().clamp_min(1e-300).log()) for part in parts]
    trend = torch.from_numpy(np.exp(np.interp(np.arange(count), centres, logs)))
    beside = (power / trend).numpy()
    side = min(LOCAL, count) // 2
    both, left, right = (
        ndimage.median_filter(beside, size, origin=origin, mode="reflect")
        for size, origin in ((2 * side + 1, 0), (side, (side - 1) // 2), (side, -(side // 2)))
    )
    level, higher = (trend * torch.from_numpy(found) / median for found in (both, np.maximum(left, right)))
    return level, torch.maximum(level, higher)


def find_bands(ratio: Tensor, freedom: float, false_alarm: float) -> list[tuple[int, int]]:
    """First and last ordinate of each line: means of neighbours too high for a gamma law, and `STANDS_OUT`.

    ``ratio`` is to a level that is a median of `LOCAL` ordinates; its scatter, 1.57 / LOCAL of theirs, widens the law.
    """
    chance = false_alarm / (len(ratio) * len(WINDOWS))
    marked = np.zeros(len(ratio), bool)
    for window in WINDOWS:
        joined = ndimage.uniform_filter1d(ratio.numpy(), window, mode="nearest")
        shape = window * freedom / (1 + 1.57 * window / LOCAL)
        found = joined > max(STANDS_OUT, float(stats.gamma.isf(chance, shape)) / shape)
        peaks = found & (joined >= ndimage.maximum_filter1d(joined, 2 * window + 1))
        marked |= ndimage.binary_dilation(peaks, iterations=window // 2) if window > 1 else peaks
    marked = ndimage.binary_closing(np.pad(marked, 2), iterations=1)[2:-2]
    groups, count = ndimage.label(marked)
    return [(int(np.flatnonzero(groups == i)[0]), int(np.flatnonzero(groups == i)[-1])) for i in range(1, count + 1)]


def line_kernel(freq: Tensor, jitter: Tensor, frequency: Tensor, length: int) -> Tensor:
    """Expected one-sided periodogram of a line of std 1: mean over d of (D(f_j - f - d)^2 + D(f_j + f + d)^2) / L.

    D(x) = sin(pi L x) / sin(pi x). ``freq`` and ``jitter`` (...,); returns (..., F).
    """
    wandering = (freq.unsqueeze(-1) + jitter.unsqueeze(-1) * NODES).unsqueeze(-1)  # (..., nodes, 1)
    total = torch.zeros(())
    for sign in (-1, 1):
        x = torch.pi * (frequency + sign * wandering)
        x = torch.where(x.sin().abs() < 1e-9, 1e-9, x)
        total = total + ((length * x).sin() / x.sin()).square() / length
    weight = (NODE_WEIGHTS / NODE_WEIGHTS.sum()).unsqueeze(-1)
    return (weight * total).sum(dim=-2)


def line_density(line: SpectralLine, spectra: FrameSpectra) -> Tensor:
    """What a line adds to the averaged periodogram, (F,)."""
    freq, jitter = (torch.tensor(value, dtype=torch.float64) for value in (line.freq, line.jitter))
    return line.std**2 * line_kernel(freq, jitter, spectra.frequency, spectra.length)


def fit_line(
    spectra: FrameSpectra, level: Tensor, others: Tensor, band: tuple[int, int], start: SpectralLine | None = None
) -> SpectralLine:
    """Frequency and jitter by the least sum of log m + P / m (Whittle 1953), std from the excess power in the band.

    m = level + others + the line, on grids that shrink. The likelihood's own std leans on the line's faint skirts,
    where a jitter that is not Gaussian shows most; the power is exact whatever the shape.
    """
    seen = _seen(band)
    power, below = spectra.mean()[seen], (level + others)[seen]
    frequency, cell = spectra.frequency[seen], 1 / spectra.length
    excess = (power - below).clamp_min(0)
    if start is None:
        centre = float((frequency * excess).sum() / excess.sum().clamp_min(1e-300))
        start = SpectralLine(centre, math.sqrt(max(float(excess.sum()) * cell, 1e-300)), cell / 2)
    best = torch.tensor([start.freq, math.log(start.std), start.jitter], dtype=torch.float64)
    span = torch.tensor([max(band[1] - band[0], 2) * cell / 2, 0.7, cell], dtype=torch.float64)
    steps = torch.linspace(-1, 1, STEPS, dtype=torch.float64)
    for _ in range(ZOOMS):
        freq = (best[0] + span[0] * steps).clamp(frequency[0], frequency[-1])
        jitter = (best[2] + span[2] * steps).clamp(0, MARGIN * cell + (band[1] - band[0]) * cell)
        log_std = best[1] + span[1] * steps
        grid = torch.stack(torch.meshgrid(freq, log_std, jitter, indexing="ij"), dim=-1)  # (7, 7, 7, 3)
        kernel = line_kernel(freq.unsqueeze(1), jitter.unsqueeze(0), frequency, spectra.length)  # (7, 7, F)
        model = below + (2 * log_std).exp()[:, None, None] * kernel.unsqueeze(1)
        best = grid.flatten(0, 2)[int((model.log() + power / model).sum(dim=-1).argmin())]
        span = span * 0.7
    shape = SpectralLine(float(best[0]), start.std, float(best[2]))
    return with_excess(shape, spectra, level + others, seen)


def with_excess(line: SpectralLine, spectra: FrameSpectra, below: Tensor, seen: slice) -> SpectralLine:
    """The line with the power that lies above ``below``, (F,), in the band ``seen``."""
    share = (line_density(line, spectra)[seen].sum() / line.std**2).clamp_min(1e-300)
    variance = float((spectra.mean() - below)[seen].sum() / share)
    return replace(line, std=math.sqrt(max(variance, 1e-6 * line.std**2)))


def _seen(band: tuple[int, int]) -> slice:
    """The ordinates of a line and some beside it."""
    return slice(max(band[0] - MARGIN, 0), band[1] + 1 + MARGIN)


def above_smooth_part(lines: Lines, spectra: FrameSpectra, smooth: Tensor) -> tuple[SpectralLine, ...]:
    """Lines with the power that a smooth part, (F,) with its white part, leaves in their bands: nothing is lost."""
    total = sum((line_density(line, spectra) for line, _ in lines), torch.zeros_like(smooth))
    changed = [
        with_excess(line, spectra, smooth + total - line_density(line, spectra), _seen(band)) for line, band in lines
    ]
    seen = [line for line in changed if line.std > line.std_error]
    return tuple(sorted(seen, key=lambda line: -line.std))


def _with_errors(
    line: SpectralLine, spectra: FrameSpectra, level: Tensor, others: Tensor, band: tuple[int, int]
) -> SpectralLine:
    """Standard errors by fitting resampled frames."""
    generator = stream(0, "row spectrum", "resampled frames")
    again = [fit_line(spectra.resampled(generator), level, others, band, line) for _ in range(RESAMPLED)]
    freq, std, jitter = (float(np.std([getattr(a, key) for a in again], ddof=1)) for key in ("freq", "std", "jitter"))
    steady = steady_share(spectra, level + others, band)
    return replace(line, freq_error=freq, std_error=std, jitter_error=jitter, steady=steady)


def steady_share(spectra: FrameSpectra, below: Tensor, band: tuple[int, int]) -> float:
    """Share m of a line's power that is the same in every frame, from the scatter of its power over frames.

    The power l of a line with Gaussian and steady part has var l = (E l)^2 (1 - m^2). Noise of density N in its band
    adds sum N^2 and 2 E l N; and the burst's own mean, taken off T frames, leaves m (1 - 1/T). Few frames tell little:
    a line counts as steady only where m^2 exceeds `CLEARLY_STEADY`, else m is 0.
    """
    seen = _seen(band)
    noise = below[seen]
    power = spectra.power[:, seen].sum(dim=1)
    frames = torch.bincount(spectra.burst).double()
    kept = float(((frames - 1) / frames).mean())
    mean, variance = float(power.mean()) - kept * float(noise.sum()), float(power.var())
    if mean <= 0:
        return 0.0
    excess = (spectra.mean()[seen] - noise).clamp_min(0)
    under = float((excess * noise).sum() / excess.sum().clamp_min(1e-300))
    of_line = variance - kept**2 * float(noise.square().sum()) - 2 * mean * kept * under
    squared = (1 - of_line / mean**2) / kept**2
    return min(math.sqrt(squared), 1.0) if squared > CLEARLY_STEADY else 0.0
