"""Moments of one static burst, streamed: what every closed-form estimate starts from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from noisemodel.sensor import Levels, unpack_mosaic

HIGHEST_VALID = 0.95  # above this a highlight's noise is cut by the white level [fraction of white]
BINS = 48  # signal levels per burst
DARK = 4.0  # below so many standard deviations a signal is not told from the fixed pattern


class BurstSummary(Protocol):
    """What one pass over a burst tells."""

    offsets: Tensor  # (T,) frame mean minus the mean over frames
    level: Tensor  # (C,) mean of each plane


class StaticBurst(Protocol):
    """T frames of one static scene, in planes and fractions of white (``datasets.Burst`` is one)."""

    @property
    def kind(self) -> Any:
        """Scene, dark or flat."""

    @property
    def layout(self) -> str:
        """Mosaic or planes."""

    @property
    def levels(self) -> Levels:
        """Black, white and clip range."""

    @property
    def origin(self) -> tuple[int, int]:
        """Sensor pixel of the recorded window's corner."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, C, H, W)."""

    @property
    def truth(self) -> Tensor | None:
        """(C, H, W) noise-free exposure, where known."""

    def frame(self, t: int) -> Tensor:
        """Frame t, (C, H, W)."""

    def summary(self) -> Any:
        """A `BurstSummary`."""


@dataclass(frozen=True)
class LineStats:
    """Means along sensor lines (rows or columns) of one burst.

    profile: (T, L) mean of each line, less the burst's own mean.
    white: (L,) variance that the mean of a line would have if all noise were pixel noise, per frame.
    static: (L,) mean over frames, less the ground truth (dark: less nothing); None where the scene is unknown.
    pixels: valid ones on a line, on average.
    """

    profile: Tensor
    white: Tensor
    static: Tensor | None
    pixels: float


@dataclass(frozen=True)
class BurstMoments:
    """Moments of one burst; variances are per frame, corrected for the burst's own mean by T / (T - 1).

    signal, variance, count: (bins,) mean signal, mean temporal variance and number of pixels per signal level.
    """

    burst: StaticBurst
    frames: int
    signal: Tensor
    variance: Tensor
    count: Tensor
    rows: LineStats
    columns: LineStats
    mean: Tensor  # (C, H, W)
    tail: Tensor  # a sample of standardised dark residuals, empty unless the burst is dark


def burst_moments(burst: StaticBurst) -> BurstMoments:
    """Temporal variance against signal, line means and the mean frame of a burst; frame offsets are removed.

    Binning must not select on the noise that is measured: pixels are sorted by the truth, or by the mean of every third
    frame, while signal and variance come from the other frames. With T = 2 both come from the same frames (Gaussian
    mean and variance are independent; the shot noise's skewness then biases the gain by less than g / (2 x T)).
    """
    frames = burst.shape[0]
    binning = [] if burst.truth is not None or frames < 3 else list(range(0, frames, 3))
    measuring = [t for t in range(frames) if t not in binning]
    offsets = burst.summary().offsets
    mean, variance = _mean_and_variance(burst, measuring, offsets)
    sorted_by = burst.truth if burst.truth is not None else mean
    whole_mean = mean
    if binning:
        sorted_by = sum(_frame(burst, t, offsets) for t in binning) / len(binning)  # type: ignore[assignment]
        whole_mean = (mean * len(measuring) + sorted_by * len(binning)) / frames
    signal = burst.truth if burst.truth is not None else mean
    valid = _valid(burst, whole_mean if burst.truth is None else burst.truth)
    bins = BINS if burst.kind == "scene" else 1
    levels = _binned(sorted_by[valid], signal[valid], variance[valid], bins)
    profiles = _line_profiles(burst, offsets, whole_mean, valid)
    reference = burst.truth
    if reference is None and burst.kind == "dark":
        reference = torch.zeros_like(whole_mean)
    static = None if reference is None else whole_mean - reference
    return BurstMoments(
        burst,
        frames,
        *(levels if burst.truth is not None else _dark_as_one(*levels)),
        _line_stats(profiles[0], variance, valid, static, burst.layout, axis=-1),
        _line_stats(profiles[1], variance, valid, static, burst.layout, axis=-2),
        whole_mean,
        _tail(burst, offsets, whole_mean) if burst.kind == "dark" else torch.empty(0),
    )


def _frame(burst: StaticBurst, t: int, offsets: Tensor) -> Tensor:
    """Frame t less its offset, in double precision."""
    return burst.frame(t).double() - offsets[t].double()


def _mean_and_variance(burst: StaticBurst, frames: Sequence[int], offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Per-pixel mean and unbiased variance over ``frames``, one frame in memory at a time (Welford)."""
    mean = torch.zeros(burst.shape[1:], dtype=torch.float64)
    squares = torch.zeros_like(mean)
    for count, t in enumerate(frames, start=1):
        step = _frame(burst, t, offsets) - mean
        mean += step / count
        squares += step.square() * ((count - 1) / count)
    return mean, squares / (len(frames) - 1)


def _valid(burst: StaticBurst, reference: Tensor) -> Tensor:
    """(C, H, W) bool: signal clear of both ends of the clip range."""
    low, step = burst.levels.clip_range[0], burst.levels.adc_step
    return (reference <= HIGHEST_VALID) & (reference > low + min(2 * step, 1e-3))


def _binned(sorted_by: Tensor, signal: Tensor, variance: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean signal, mean variance and count in ``bins`` equally filled levels of ``sorted_by``."""
    count = len(sorted_by)
    index = np.empty(count, np.int64)
    index[torch.argsort(sorted_by).numpy()] = np.arange(count) * bins // max(count, 1)
    filled = np.bincount(index, minlength=bins)
    keep = filled > 0
    means = (np.bincount(index, x.double().numpy(), minlength=bins)[keep] / filled[keep] for x in (signal, variance))
    x, v = (torch.from_numpy(mean) for mean in means)
    return x, v, torch.from_numpy(filled[keep]).double()


def _dark_as_one(signal: Tensor, variance: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Join the bins below `DARK` standard deviations: there the fixed pattern sorts pixels, and is taken for light.

    Of the joint bin, mean signal and mean variance are right: the pattern's mean is zero.
    """
    dark = signal < DARK * float(variance.min() if len(variance) else 0.0) ** 0.5
    if int(dark.sum()) < 2:
        return signal, variance, count
    joint = [(x[dark] * count[dark]).sum() / count[dark].sum() for x in (signal, variance)]
    parts = zip((*joint, count[dark].sum()), (signal, variance, count), strict=True)
    x, v, n = (torch.cat([one.reshape(1), rest[~dark]]) for one, rest in parts)
    return x, v, n


def _lines(planes: Tensor, layout: str, axis: int) -> Tensor:
    """Sums over sensor lines of (C, H, W): (lines, ), along rows (axis -1) or columns (axis -2)."""
    if layout == "mosaic":
        return unpack_mosaic(planes).sum(dim=axis)
    return planes.sum(dim=0).sum(dim=axis)


def _line_profiles(burst: StaticBurst, offsets: Tensor, mean: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """(T, rows) and (T, columns): mean residual of each sensor line in each frame, over its valid pixels."""
    weight = valid.double()
    counts = [_lines(weight, burst.layout, axis).clamp_min(1) for axis in (-1, -2)]
    found: list[list[Tensor]] = [[], []]
    for t in range(burst.shape[0]):
        residual = (_frame(burst, t, offsets) - mean) * weight
        for kind, axis in enumerate((-1, -2)):
            found[kind].append(_lines(residual, burst.layout, axis) / counts[kind])
    return torch.stack(found[0]), torch.stack(found[1])


def _line_stats(
    profile: Tensor, variance: Tensor, valid: Tensor, static: Tensor | None, layout: str, axis: int
) -> LineStats:
    """Profiles of lines of which at least half the pixels are valid, with their white part."""
    weight = valid.double()
    count = _lines(weight, layout, axis)
    white = _lines(variance * weight, layout, axis) / count.clamp_min(1).square()
    kept = count >= 0.5 * count.max().clamp_min(1)
    white = torch.where(kept, white, torch.nan)
    if static is not None:
        static = _lines(static * weight, layout, axis) / count.clamp_min(1)
    return LineStats(profile, white, static, float(count[kept].mean()))


def _tail(burst: StaticBurst, offsets: Tensor, mean: Tensor, most: int = 20_000) -> Tensor:
    """A regular sample of dark residuals, scaled to the variance that single frames have."""
    frame = (_frame(burst, 0, offsets) - mean).flatten()
    frames = burst.shape[0]
    return frame[:: max(1, len(frame) // most)] * (frames / (frames - 1)) ** 0.5
