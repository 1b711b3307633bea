"""Moments of one static burst, streamed: what every closed-form estimate starts from."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from noisemodel.calibration.estimates import mean_of_clusters
from noisemodel.calibration.residuals import LineStats, Residuals, StaticBurst, frame_on_sensor, on_sensor

HIGHEST_VALID = 0.95  # above this a highlight's noise is cut by the white level [fraction of white]
BINS = 48  # signal levels per plane of a scene
BLOCK = 32  # side of the blocks of pixels that errors are counted over [sensor pixels]
DARK = 4.0  # below so many standard deviations a signal is not told from the fixed pattern


@dataclass(frozen=True)
class SignalLevels:
    """Mean signal, white temporal variance with its standard error, pixels and plane of each level, (K,) each."""

    signal: Tensor
    variance: Tensor
    error: Tensor
    count: Tensor
    plane: Tensor


@dataclass(frozen=True)
class BurstMoments:
    """Moments of one burst; variances are per frame, corrected for the burst's own mean by T / (T - 1).

    levels: white variance against signal: what is left of a pixel's variance without its row's and column's share.
    rows, columns: line means; alternating: half the difference of a row's even and odd columns.
    mean, variance, valid: (P, H, W) in sensor pixels, P = 1 on a mosaic.
    used: frames that ``variance`` comes from.
    """

    burst: StaticBurst
    frames: int
    used: int
    levels: SignalLevels
    rows: LineStats
    columns: LineStats
    alternating: LineStats
    mean: Tensor
    variance: Tensor
    valid: Tensor
    tail: Tensor  # a sample of standardised dark residuals, empty unless the burst is dark

    @property
    def mean_square(self) -> float:
        """Mean over sensor rows of the squared mean signal: what noise in proportion to the signal is seen against."""
        return float(self.mean.mean(dim=(0, -1)).square().mean())


def burst_moments(burst: StaticBurst) -> BurstMoments:
    """White variance against signal, line means and the mean frame of a burst; lamp drift is removed.

    Binning must not select on the noise that is measured: pixels are sorted by the truth, or by the mean of every third
    frame, while signal and variance come from the other frames. With T = 2 both come from the same frames (Gaussian
    mean and variance are independent; the shot noise's skewness then biases the gain by less than g / (2 x T)).
    A row is taken out of the pixels by the means of its even and odd columns, a column by its mean. A dark has signal 0
    whatever its offset; its dark current's noise is part of the intercept.
    """
    frames = burst.shape[0]
    binning = [] if burst.has_truth or frames < 3 or burst.kind != "scene" else list(range(0, frames, 3))
    mean = sum(frame_on_sensor(burst, t) for t in range(frames)) / frames
    assert isinstance(mean, Tensor)
    truth = _truth(burst)
    valid = _valid(burst, mean if truth is None else truth)
    pass_ = Residuals(burst, mean, valid, measuring=[t for t in range(frames) if t not in binning])
    measured = pass_.measured_mean
    sorted_by = truth if truth is not None else measured
    if binning:
        sorted_by = (mean * frames - measured * len(pass_.measuring)) / len(binning)
    signal = truth if truth is not None else torch.zeros_like(mean) if burst.kind == "dark" else measured
    levels = _levels(burst, sorted_by, signal, pass_.variance, valid)
    reference = torch.zeros_like(mean) if truth is None and burst.kind == "dark" else truth
    static = None if reference is None else mean - reference
    return BurstMoments(
        burst,
        frames,
        len(pass_.measuring),
        levels if truth is not None else _dark_as_one(levels),
        pass_.lines(-1, static),
        pass_.lines(-2, static),
        pass_.alternating(),
        mean,
        pass_.variance,
        valid,
        pass_.tail if burst.kind == "dark" else torch.empty(0),
    )


def _truth(burst: StaticBurst) -> Tensor | None:
    """(P, H, W) ground truth, read once."""
    truth = burst.truth if burst.has_truth else None
    return None if truth is None else on_sensor(truth.double(), burst.layout)


def _valid(burst: StaticBurst, reference: Tensor) -> Tensor:
    """(P, H, W) bool: signal clear of both ends of the clip range."""
    low, step = burst.levels.clip_range[0], burst.levels.adc_step
    return (reference <= HIGHEST_VALID) & (reference > low + min(2 * step, 1e-3))


def _levels(burst: StaticBurst, sorted_by: Tensor, signal: Tensor, variance: Tensor, valid: Tensor) -> SignalLevels:
    """Mean signal and variance in equally filled levels of ``sorted_by``, plane by plane; one level but for scenes."""
    planes, height, width = sorted_by.shape
    row, column = torch.arange(height).view(-1, 1), torch.arange(width)
    blocks = (row // BLOCK * (width // BLOCK + 1) + column // BLOCK).expand(planes, -1, -1)
    plane = torch.arange(planes).view(-1, 1, 1).expand_as(blocks)
    if burst.layout == "mosaic":
        plane = (2 * (row % 2) + column % 2).expand_as(blocks)
    found = []
    for index in range(burst.shape[1]):
        at = valid & (plane == index)
        bins = min(BINS if burst.kind == "scene" else 1, int(at.sum()))
        if bins:
            by, x, v, block = (values[at].numpy() for values in (sorted_by, signal, variance, blocks))
            found.append(_binned(by, x, v, block, bins, index))
    if not found:
        return SignalLevels(*(torch.zeros(0, dtype=torch.float64) for _ in range(5)))
    return SignalLevels(*(torch.from_numpy(np.concatenate(parts)).double() for parts in zip(*found, strict=True)))


def _binned(
    sorted_by: np.ndarray, signal: np.ndarray, variance: np.ndarray, block: np.ndarray, bins: int, plane: int
) -> tuple[np.ndarray, ...]:
    """Signal, variance, its error, count and plane of ``bins`` levels of one plane."""
    level = np.zeros(len(signal), np.int64)
    if bins > 1:
        level[np.argsort(sorted_by)] = np.arange(len(signal)) * bins // len(signal)
    cells, clusters = block * bins + level, int(block.max()) + 1
    count, sums = (np.bincount(cells, weights, clusters * bins).reshape(clusters, bins) for weights in (None, variance))
    mean, error = mean_of_clusters(sums, count)
    filled = count.sum(axis=0)
    # A handful of blocks says little of its own scatter; that of the values themselves is the least it can be.
    squares = np.bincount(level, np.square(variance), bins) / filled - np.square(mean)
    least = np.sqrt(np.maximum(squares, 0) / np.maximum(filled - 1, 1))
    error = np.where(np.isfinite(error), np.maximum(error, least), np.where(filled > 1, least, mean))
    return np.bincount(level, signal, bins) / filled, mean, error, filled, np.full(bins, plane)


def _dark_as_one(levels: SignalLevels) -> SignalLevels:
    """Join, in each plane, levels below `DARK` standard deviations: there the fixed pattern is taken for light.

    Of the joint level, mean signal and mean variance are right: the pattern's mean is zero.
    """
    parts = []
    for plane in levels.plane.unique():
        at = levels.plane == plane
        x, v, e, n, p = (getattr(levels, name)[at] for name in ("signal", "variance", "error", "count", "plane"))
        dark = x < DARK * float(v.min().clamp_min(0)) ** 0.5
        if int(dark.sum()) > 1:
            share = n[dark] / n[dark].sum()
            means, error = [(share * values[dark]).sum() for values in (x, v)], (share * e[dark]).square().sum().sqrt()
            joint = (*means, error, n[dark].sum(), plane)
            x, v, e, n, p = (torch.cat([a.reshape(1), b[~dark]]) for a, b in zip(joint, (x, v, e, n, p), strict=True))
        parts.append((x, v, e, n, p))
    return SignalLevels(*(torch.cat(part) for part in zip(*parts, strict=True))) if parts else levels
