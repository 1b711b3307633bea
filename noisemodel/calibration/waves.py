"""Periodic noise: lines of the spectrum of line means, their amplitudes, and the frames' common offset."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from noisemodel.calibration.estimates import Estimate, chi_square
from noisemodel.calibration.line_terms import unbiased_profile
from noisemodel.calibration.moments import BurstMoments
from noisemodel.calibration.residuals import LineStats

FALSE_ALARM = 1e-3  # chance that a spectrum without a line shows one


@dataclass(frozen=True)
class SpectralLine:
    """A line of the spectrum of row or column means: frequency [cycles per sensor pixel] and std [white]."""

    axis: str
    freq: float
    std: float


def spectral_lines(lines: Sequence[LineStats], axis: str) -> list[SpectralLine]:
    """Lines that stand above what chance makes of the median power, strongest first, at a rate of `FALSE_ALARM`.

    The limit follows the chi-square law of the averaged periodogram about a running median, so that smooth banding is
    no line.
    """
    longest = max(int((~line.white.isnan()).sum()) for line in lines)
    profiles = [p for p in map(unbiased_profile, lines) if p.shape[1] == longest]
    freedom = sum(len(p) - 1 for p in profiles)
    if longest < 16 or freedom < 1:
        return []
    scales = [float(p.square().mean()) ** 0.5 or 1.0 for p in profiles]
    power = sum(
        (np.abs(np.fft.rfft(p.numpy() / scale, axis=1)) ** 2).sum(axis=0)
        for p, scale in zip(profiles, scales, strict=True)
    )
    inner = np.asarray(power)[1:]
    width = min(len(inner) // 2, 32)
    padded = np.pad(inner, width, mode="reflect")
    median = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * width + 1), axis=1)
    ratio = stats.chi2.isf(FALSE_ALARM / len(inner), 2 * freedom) / stats.chi2.median(2 * freedom)
    variance = float(np.mean(np.square(scales)))
    found = []
    for peak in np.flatnonzero(inner > ratio * median):
        excess = (inner[peak] - median[peak]) / freedom * 2 / longest**2 * variance
        found.append((inner[peak] / median[peak], SpectralLine(axis, (peak + 1) / longest, float(excess) ** 0.5)))
    return [line for _, line in sorted(found, key=lambda item: -item[0])]


def wave_variances(moments: Sequence[BurstMoments], freq: float) -> tuple[Estimate, Estimate]:
    """s1^2 and s2^2 of s1 b cos(2 pi f k) + s2 c sin(2 pi f k) per frame, k the sensor column."""
    found, whites, weights = [], [], []
    for m in moments:
        kept = ~m.columns.white.isnan()
        inverse = torch.linalg.pinv(_waves(m, freq)[kept])  # (2, L)
        amplitude = m.columns.profile[:, kept] @ inverse.T  # (T, 2)
        white = (inverse.square() @ m.columns.white[kept]).numpy()
        found.append((amplitude.square().sum(dim=0) / (m.frames - 1)).numpy())
        whites.append(white)
        weights.append((m.frames - 1) / (white.mean() + 1e-300) ** 2)
    capped = np.minimum(weights, 10 * np.median(weights))
    total, white = (np.average(x, axis=0, weights=capped) for x in (found, whites))
    shares = capped / capped.sum()
    freedom = 1 / float(np.sum(shares**2 / np.array([m.frames - 1 for m in moments])))
    text = "amplitudes of the wave in column means, frame by frame"
    s1, s2 = (chi_square(t - w, t * (2 / freedom) ** 0.5, w, estimator=text) for t, w in zip(total, white, strict=True))
    return s1, s2


def without_wave(m: BurstMoments, freq: float) -> LineStats:
    """The column means of a burst without the wave, so that it does not count as column noise."""
    waves = _waves(m, freq)
    inverse = torch.linalg.pinv(waves)

    def rest(profile: Tensor) -> Tensor:
        return profile - (profile @ inverse.T) @ waves.T

    static = None if m.columns.static is None else rest(m.columns.static)
    return replace(m.columns, profile=rest(m.columns.profile), static=static)


def _variance_of_mean(line: LineStats) -> float:
    """Variance of the mean of a burst's lines by their own noise, per frame."""
    profile = line.profile[:, ~line.white.isnan()]
    frames, count = profile.shape
    return float(profile.square().sum()) / (frames - 1) / (count - 1) / count


def flat_of_wave(pattern: Tensor, freq: float) -> Tensor:
    """A mean frame (P, H, W) without the wave in its columns, of whatever phase."""
    angle = 2 * np.pi * freq * torch.arange(pattern.shape[-1], dtype=pattern.dtype)
    waves = torch.stack([angle.cos(), angle.sin()], dim=1)
    means = pattern.mean(dim=(0, -2))
    return pattern - (means - means.mean()) @ torch.linalg.pinv(waves).T @ waves.T


def _waves(m: BurstMoments, freq: float) -> Tensor:
    """(L, 2) cos and sin at the burst's sensor columns."""
    place = torch.arange(m.columns.profile.shape[1], dtype=torch.float64) + m.burst.origin[1]
    angle = 2 * np.pi * freq * place
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def offset_variance(moments: Sequence[BurstMoments]) -> Estimate | None:
    """Variance of the frames' common offset, where no lamp drift can hide in it: with ground truth or in the dark.

    The means of the rows', the columns' and the pixels' own noise are no common offset and come off.
    """
    steady = [m for m in moments if m.burst.has_truth or m.burst.kind == "dark"]
    if not steady:
        return None
    found, whites, weights = [], [], []
    for m in steady:
        lines = (m.rows, m.columns)
        pixels = float(m.rows.white.nanmean()) / len(m.rows.white)  # in the means of both
        whites.append(sum(_variance_of_mean(line) for line in lines) - pixels)
        found.append(float(m.burst.summary().offsets.double().square().sum()) / (m.frames - 1))
        weights.append(m.frames - 1)
    total, white = float(np.average(found, weights=weights)), float(np.average(whites, weights=weights))
    text = "offsets of frames in the dark or against ground truth"
    return chi_square(total - white, total * (2 / sum(weights)) ** 0.5, white, estimator=text)
