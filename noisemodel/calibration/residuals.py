"""Residuals of a static burst from its mean, split into what rows share, what columns share, and single pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from noisemodel.sensor import Levels, unpack_mosaic

TAIL = 100_000  # dark residuals that are kept for the shape of the read noise


class BurstSummary(Protocol):
    """What one pass over a burst tells."""

    offsets: Tensor  # (T,) frame mean minus the mean over frames
    level: Tensor  # (C,) mean of each plane
    saturated: float  # fraction of pixels at the white level


class StaticBurst(Protocol):
    """T frames of one static scene, in planes and fractions of white (``datasets.Burst`` is one)."""

    @property
    def name(self) -> str:
        """For messages."""

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

    @property
    def has_truth(self) -> bool:
        """Whether ``truth`` is known; nothing is read."""

    def frame(self, t: int) -> Tensor:
        """Frame t, (C, H, W)."""

    def summary(self) -> Any:
        """A `BurstSummary`."""


@dataclass(frozen=True)
class LineStats:
    """Means along sensor lines (rows or columns) of one burst.

    profile: (T, L) mean of each line, less the burst's own mean and the frame's.
    white: (L,) variance that the mean of a line would have if all noise were pixel noise, per frame; NaN where less
    than half of the line is valid.
    static: (L,) mean over frames, less the ground truth (dark: less nothing); None where the scene is unknown.
    pixels: valid ones on a line, on average.
    """

    profile: Tensor
    white: Tensor
    static: Tensor | None
    pixels: float


def on_sensor(planes: Tensor, layout: str) -> Tensor:
    """(C, H, W) planes in sensor pixels: (1, 2H, 2W) of a mosaic, the planes themselves otherwise."""
    return unpack_mosaic(planes).unsqueeze(0) if layout == "mosaic" else planes


def frame_on_sensor(burst: StaticBurst, t: int) -> Tensor:
    """Frame t less its offset, in sensor pixels and double precision."""
    return on_sensor(burst.frame(t).double() - burst.summary().offsets[t].double(), burst.layout)


class Residuals:
    """One pass over the frames of a burst: residuals from its mean, split into rows, columns and pixels."""

    def __init__(self, burst: StaticBurst, mean: Tensor, valid: Tensor, measuring: Sequence[int]) -> None:
        """Run the pass: profiles of all frames, the pixels' variance of the frames in ``measuring``."""
        self.burst, self.valid, self.measuring = burst, valid.double(), measuring
        first = burst.origin[1] % 2
        self.parity = (slice(first, None, 2), slice(1 - first, None, 2))  # even and odd sensor columns
        row_count = [self.valid[..., p].sum(dim=(0, -1)).clamp_min(1) for p in self.parity]
        self.row_count, self.column_count = row_count, self.valid.sum(dim=(0, -2)).clamp_min(1)
        shading = (mean - (mean * self.valid).sum() / self.valid.sum().clamp_min(1)) * self.valid
        lit = burst.kind != "dark" and float(shading.square().sum()) > 0
        rows, columns, total, squares = [], [], torch.zeros_like(mean), torch.zeros_like(mean)
        for t in range(burst.shape[0]):
            residual = (frame_on_sensor(burst, t) - mean) * self.valid
            if lit:  # the lamp's drift scales the scene
                residual -= (residual * shading).sum() / shading.square().sum() * shading
            row = [residual[..., p].sum(dim=(0, -1)) / n for p, n in zip(self.parity, row_count, strict=True)]
            pixel = residual.clone()
            for p, means in zip(self.parity, row, strict=True):
                pixel[..., p] -= means.view(-1, 1)
            columns.append(residual.sum(dim=(0, -2)) / self.column_count)
            pixel -= (pixel * self.valid).sum(dim=(0, -2)) / self.column_count
            if t in measuring:
                total += pixel * self.valid
                squares += pixel.square() * self.valid
            if t == 0:
                frames = burst.shape[0]
                flat = pixel.flatten()
                self.tail = flat[:: max(1, len(flat) // TAIL)] * (frames / (frames - 1)) ** 0.5
            rows.append(torch.stack(row))
        self.rows, self.columns = torch.stack(rows, dim=1), torch.stack(columns)  # (2, T, H), (T, W)
        used = len(measuring)
        self.measured_mean = mean + total / used
        self.variance = self._unmixed((squares - total.square() / used) / (used - 1))

    def _unmixed(self, variance: Tensor) -> Tensor:
        """Per-pixel variance from that of residuals whose row and column means are out: each mean keeps a share.

        A residual less the mean of its n like pixels has variance v (1 - 2/n) + mean(v)/n. Columns went out last, so
        they are put back first: what a row's mean left in a dark pixel counts there as its own.
        """
        variance = _put_back(variance, self.column_count, -2)
        for p, n in zip(self.parity, self.row_count, strict=True):
            variance[..., p] = _put_back(variance[..., p], n.view(-1, 1), -1)
        return variance * self.valid

    def lines(self, axis: int, static: Tensor | None) -> LineStats:
        """Stats of sensor rows (axis -1) or columns (-2)."""
        count = self.valid.sum(dim=(0, axis))
        if axis == -1:
            weights = torch.stack(self.row_count) * torch.stack(
                [self.valid[..., p].any(-1).any(0) for p in self.parity]
            )
            profile = (self.rows * weights.unsqueeze(1)).sum(dim=0) / weights.sum(dim=0).clamp_min(1)
        else:
            profile = self.columns
        white = self.variance.sum(dim=(0, axis)) / count.clamp_min(1).square()
        means = None if static is None else (static * self.valid).sum(dim=(0, axis)) / count.clamp_min(1)
        return _line_stats(profile, white, count, means)

    def alternating(self) -> LineStats:
        """Stats of half the difference of the even and odd columns of each row."""
        even, odd = (
            self.variance[..., p].sum(dim=(0, -1)) / n.square()
            for p, n in zip(self.parity, self.row_count, strict=True)
        )
        return _line_stats((self.rows[0] - self.rows[1]) / 2, (even + odd) / 4, self.valid.sum(dim=(0, -1)), None)


def _put_back(variance: Tensor, n: Tensor, axis: int) -> Tensor:
    """Undo v (1 - 2/n) + mean(v)/n along the lines of ``axis``, of n pixels each."""
    mean = variance.sum(dim=(0, axis), keepdim=True)[0] / n / (1 - 1 / n).clamp_min(0.1)
    return (variance - mean / n) / (1 - 2 / n).clamp_min(0.1)


def _line_stats(profile: Tensor, white: Tensor, count: Tensor, static: Tensor | None) -> LineStats:
    """Profiles of lines of which at least half the pixels are valid, less each frame's mean."""
    kept = count >= 0.5 * count.max().clamp_min(1)
    profile = torch.where(kept, profile - profile[:, kept].mean(dim=1, keepdim=True), 0.0)
    return LineStats(profile, torch.where(kept, white, torch.nan), static, float(count[kept].mean()))
