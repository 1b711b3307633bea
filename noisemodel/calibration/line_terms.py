"""What whole sensor lines share: analysis of variance of row and column means, temporal and static."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from noisemodel.calibration.estimates import Estimate, chi_square, normal
from noisemodel.calibration.held_out import Mirrored
from noisemodel.calibration.moments import BurstMoments
from noisemodel.calibration.residuals import LineStats

DARK_OF = 0.02  # a burst this much darker than the brightest counts as dark for what does not grow with the signal


@dataclass(frozen=True)
class LineVariance:
    """Variance that lines share in one burst, its error, and the white part that was taken off, [white, squared].

    power: (K,) averaged periodogram of the profiles, its mean the variance of line means; freedom: frames less one.
    """

    value: float
    error: float
    white: float
    power: Tensor
    freedom: int


def line_variance(line: LineStats) -> LineVariance:
    """s^2 = var of line means - v / n, with v the pixels' variance and n their number on a line.

    Rows may be correlated (banding), which widens the error: it comes from the averaged periodogram P of the profiles,
    error^2 = 2 sum P_k^2 / (T - 1) / K^2 over its K ordinates.
    """
    kept = ~line.white.isnan()
    profile = line.profile[:, kept].double()
    frames, count = profile.shape
    if frames < 2 or count < 4:
        return LineVariance(0.0, np.inf, 0.0, profile.new_zeros(0), 0)
    profile = profile - profile.mean(dim=1, keepdim=True)
    power = torch.fft.fft(profile, dim=1).abs().square().sum(dim=0)[1:] / count / (frames - 1)
    white = float(line.white[kept].mean())
    squares = float(power.square().sum()) * (frames - 1) / frames  # E of a squared ordinate's mean is (1 + 1/n) S^2
    # Ordinates k and L - k of a real profile are one and the same.
    error = (2 * squares / (frames - 1)) ** 0.5 / (count - 1)
    return LineVariance(float(power.mean()) - white, error, white, power, frames - 1)


def shared_variance(lines: Sequence[LineStats]) -> Estimate:
    """Variance that lines share, joined over bursts by the inverse variance of their estimates.

    The errors come from the joint spectrum S of bursts whose lines are equally many: error^2 = 2 sum (S_k + v / n)^2 /
    (T - 1) / K^2. Errors that follow each burst's own variance would favour the bursts where it happens to be low.
    """
    parts = [part for part in map(line_variance, lines) if np.isfinite(part.error)]
    if not parts:
        return Estimate(0.0, 0.0, np.inf, estimator="no lines")
    values, whites = np.array([p.value for p in parts]), np.array([p.white for p in parts])
    pooled, weights = 0.0, np.ones(len(parts))
    for _ in range(3):
        weights = _joint_errors(parts, max(pooled, 0.0)).clip(1e-300) ** -2.0
        pooled = float(np.average(values, weights=weights))
    offset = float(np.average(whites, weights=weights))
    return chi_square(
        pooled, float(weights.sum() ** -0.5), offset, estimator="variance of line means less pixel variance / pixels"
    )


def _joint_errors(parts: Sequence[LineVariance], pooled: float) -> np.ndarray:
    """Standard error of each burst's value, from the spectrum of all bursts with as many lines as it has."""
    errors = np.zeros(len(parts))
    for count in {len(part.power) for part in parts}:
        at = [i for i, part in enumerate(parts) if len(part.power) == count]
        weight = np.array([parts[i].freedom / max(pooled + parts[i].white, 1e-100) ** 2 for i in at])
        weight /= weight.sum()
        shared = sum(w * (parts[i].power.numpy() - parts[i].white) for i, w in zip(at, weight, strict=True))
        independent = 1 / sum(w**2 / parts[i].freedom for i, w in zip(at, weight, strict=True))
        for i in at:
            power = np.maximum(shared + parts[i].white, 0.0)
            squares = float(np.square(power).sum()) / (1 + 1 / independent)
            errors[i] = (2 * squares / parts[i].freedom) ** 0.5 / count
    return errors


def dark_enough(moments: Sequence[BurstMoments]) -> list[BurstMoments]:
    """The bursts in which noise that does not grow with the signal is looked for: darks, or else all."""
    darks = [m for m in moments if m.burst.kind == "dark"]
    return darks or list(moments)


def growing_variance(moments: Sequence[BurstMoments], constant: Estimate) -> Estimate:
    """rho^2 of row noise in proportion to the signal: (s^2(x) - s^2(0)) / x^2, over bursts with light."""
    found, errors = [], []
    for m in moments:
        part = line_variance(m.rows)
        if m.burst.kind != "dark" and m.mean_square > 0 and np.isfinite(part.error):
            found.append((part.value - constant.value) / m.mean_square)
            errors.append(max(part.error, (constant.high - constant.low) / 4) / m.mean_square)
    if not found:
        return Estimate(0.0, 0.0, 0.0, "1", "needs bursts with light")
    weights = 1 / np.square(errors)
    value = float(np.average(found, weights=weights))
    error = float(weights.sum() ** -0.5)
    if len(found) > 1:
        error *= max(1.0, float((weights * np.square(np.array(found) - value)).sum()) / (len(found) - 1)) ** 0.5
    return normal(value, error, "1", "growth of the row variance with the squared signal", max(len(found) - 1, 1))


def static_variance(moments: Sequence[BurstMoments], lines: Sequence[LineStats], temporal: float) -> Estimate | None:
    """Variance of what lines keep during a burst and change between bursts: var over bursts less the temporal part.

    Args:
        moments: of bursts whose static profile is known; see `known_static`.
        lines: their rows, or their columns.
        temporal: variance that lines share per frame [white, squared].
    Returns: None unless there are two bursts of one size.
    """
    if len(moments) < 2 or len({(m.burst.shape[1:], m.burst.origin) for m in moments}) != 1:
        return None
    kept = ~torch.stack([line.white for line in lines]).isnan().any(dim=0)
    static = torch.stack([line.static[kept] for line in lines if line.static is not None])
    static = static - static.mean(dim=1, keepdim=True)
    bursts, count = static.shape
    white = float(
        np.mean(
            [(float(line.white[kept].mean()) + temporal) / m.frames for line, m in zip(lines, moments, strict=True)]
        )
    )
    # As in `line_variance`: a wave leaves few draws in the bursts' means, however many lines there are.
    power = torch.fft.fft(static - static.mean(dim=0), dim=1).abs().square().sum(dim=0)[1:] / count / (bursts - 1)
    value = float(power.mean()) - white
    error = (2 * float(power.square().sum()) / bursts) ** 0.5 / (count - 1)
    return chi_square(value, error, white, estimator="variance of line means over bursts less their temporal part")


def known_static(moments: Sequence[BurstMoments]) -> list[BurstMoments]:
    """Bursts whose noise-free lines are known: two or more darks, else those with ground truth.

    A single frame's own noise and what is static are one and the same, so it tells nothing here.
    """
    whole = [m for m in moments if not isinstance(m.burst, Mirrored)]
    darks = [m for m in whole if m.burst.kind == "dark"]
    return darks if len(darks) > 1 else [m for m in whole if m.burst.has_truth]


def unbiased_profile(line: LineStats) -> Tensor:
    """(T, L) profile of lines that hold enough pixels, scaled to the variance of single frames: sqrt(T / (T - 1))."""
    frames = len(line.profile)
    return line.profile[:, ~line.white.isnan()] * (frames / max(frames - 1, 1)) ** 0.5
