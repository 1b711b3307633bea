"""Everything that a set of bursts says of its camera, each measured once and when asked for."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from noisemodel.calibration import spatial, waves
from noisemodel.calibration.estimates import Estimate
from noisemodel.calibration.held_out import Window, windowed, with_two_frames
from noisemodel.calibration.line_terms import (
    dark_enough,
    growing_variance,
    known_static,
    shared_variance,
    static_variance,
)
from noisemodel.calibration.moments import BurstMoments, burst_moments
from noisemodel.calibration.photon_transfer import PhotonTransfer, photon_transfer
from noisemodel.calibration.residuals import StaticBurst
from noisemodel.calibration.row_spectrum import RowSpectrumFit, fit_row_spectrum
from noisemodel.calibration.sanity import check_darks, check_moments, check_size, warnings
from noisemodel.errors import InputError
from noisemodel.sensor import Levels

UNCUT = 0.99  # share of a flat's pixels clear of the white level, below which it tells no gain map


class Evidence:
    """Moments of bursts, and the estimates made of them [fractions of white; variances squared]."""

    def __init__(
        self,
        bursts: Sequence[StaticBurst],
        levels: Levels,
        progress: Callable[[Iterable[StaticBurst]], Iterable[StaticBurst]] = iter,
    ) -> None:
        """Read the bursts; raises InputError if no pixel is valid or a burst has one frame."""
        looks = [with_two_frames(windowed(burst)) for burst in bursts]
        for burst in looks:
            if burst.shape[0] < 2:
                raise InputError(f"{burst.name} has one frame; noise over time needs 2 or more of a static scene")
            check_size(burst)
        self.levels = levels
        self._flats: list[BurstMoments] = []
        self.moments = [self._measured(burst) for burst in progress(looks)]
        if not sum(len(m.levels.signal) for m in self.moments):
            raise InputError(
                "no pixel lies between the black level and 95 % of white; expose otherwise, or check levels"
            )
        check_darks(self.moments)

    def _measured(self, burst: StaticBurst) -> BurstMoments:
        """Moments of a burst; its maps only where something needs them: darks and flats, by name or by evenness."""
        moments = burst_moments(burst)
        check_moments(moments)
        for look in (burst, getattr(burst, "burst", None)):
            if isinstance(look, Window):
                look.release()
        if moments.burst.kind == "dark":
            return moments
        if moments.burst.kind == "flat" or spatial.is_even(moments):
            self._flats.append(moments)
            return moments
        return without_maps(moments)

    @cached_property
    def warnings(self) -> list[str]:
        """What may be wrong with the data or its levels."""
        offset = spatial.black_offset(self.darks)
        black = None if offset is None else self.levels.black_dn + offset.value * self.levels.range_dn
        return warnings(self.moments, self.levels, black)

    @property
    def darks(self) -> list[BurstMoments]:
        """With the lens covered."""
        return [m for m in self.moments if m.burst.kind == "dark"]

    @property
    def lit(self) -> list[BurstMoments]:
        """All others."""
        return [m for m in self.moments if m.burst.kind != "dark"]

    def has_levels(self, planes: Sequence[int] | None = None) -> bool:
        """Whether one of ``planes`` (all, if None) has valid pixels in any burst."""
        found = torch.cat([m.levels.plane for m in self.moments]).long().unique().tolist()
        return bool(found) if planes is None else not set(found).isdisjoint(planes)

    @property
    def has_truth(self) -> bool:
        """Whether every burst has ground truth, so that static terms can be seen in training."""
        return all(m.burst.truth is not None for m in self.moments)

    @cached_property
    def line(self) -> PhotonTransfer:
        """White variance = a + g x."""
        return photon_transfer(self.moments)

    @cached_property
    def curve(self) -> PhotonTransfer:
        """White variance = a + g x + c x^2."""
        return photon_transfer(self.moments, curved=True)

    @cached_property
    def rows(self) -> Estimate:
        """Variance that a row shares in one frame, in the dark where there are darks."""
        return shared_variance([m.rows for m in dark_enough(self.moments)])

    @cached_property
    def alternating(self) -> Estimate:
        """The same of half the difference of even and odd columns."""
        return shared_variance([m.alternating for m in dark_enough(self.moments)])

    @cached_property
    def growth(self) -> Estimate:
        """Variance of row noise relative to the signal."""
        return growing_variance(self.moments, self.rows)

    def columns(self, without: float | None = None) -> Estimate:
        """Variance that a column shares in one frame; ``without`` a wave of that frequency."""
        used = dark_enough(self.moments)
        return shared_variance([m.columns if without is None else waves.without_wave(m, without) for m in used])

    def static_lines(self, name: str, used: Sequence[BurstMoments] | None = None) -> Estimate | None:
        """Variance that "rows" or "columns" keep during a burst and change between bursts; None where not told."""
        used = known_static(self.moments) if used is None else used
        if name == "rows":
            return static_variance(used, [m.rows for m in used], max(self.rows.value, 0.0))
        wave = self.column_lines[0].freq if self.column_lines else None
        columns = [m.columns if wave is None else waves.without_wave(m, wave) for m in used]
        return static_variance(used, columns, max(self.columns(wave).value, 0.0))

    @cached_property
    def column_lines(self) -> list[waves.SpectralLine]:
        """Lines in the spectrum of column means."""
        return waves.spectral_lines([m.columns for m in self.moments], "column")

    @cached_property
    def row_lines(self) -> list[waves.SpectralLine]:
        """Lines in the spectrum of row means."""
        return waves.spectral_lines([m.rows for m in dark_enough(self.moments)], "row")

    @cached_property
    def row_spectrum(self) -> RowSpectrumFit:
        """Spectrum of the row noise in the dark."""
        return self._row_spectrum("rows")

    @cached_property
    def alternating_spectrum(self) -> RowSpectrumFit:
        """Spectrum of what alternates between even and odd columns."""
        return self._row_spectrum("alternating")

    def _row_spectrum(self, lines: str) -> RowSpectrumFit:
        """Fit to the bursts whose rows are all there."""
        used = [getattr(m, lines) for m in dark_enough(self.moments)]
        kept = [~line.white.isnan() for line in used]
        longest = max(int(at.sum()) for at in kept)
        whole = [(line, at) for line, at in zip(used, kept, strict=True) if int(at.sum()) == longest]
        return fit_row_spectrum(
            [line.profile[:, at] for line, at in whole], [float(line.white[at].mean()) for line, at in whole]
        )

    @cached_property
    def pattern(self) -> Tensor | None:
        """Mean dark frame (P, H, W)."""
        return spatial.dark_pattern(self.darks)

    @cached_property
    def clean_pattern(self) -> tuple[Tensor, Tensor] | None:
        """The mean dark without the noise in it: nearest to the truth, and with the truth's spread."""
        if self.pattern is None or self.dark_spread is None:
            return None
        return spatial.without_noise(self.pattern, self.dark_spread, self._per_pixel(self.darks))

    @cached_property
    def defects(self) -> spatial.Defects | None:
        """Hot and noisy pixels."""
        return spatial.defects(self.darks)

    @cached_property
    def dark_spread(self) -> spatial.Spread | None:
        """DSNU: spatial variance of the mean dark."""
        return None if self.pattern is None else self._spread(self.pattern, self.darks)

    @cached_property
    def gain_map(self) -> Tensor | None:
        """Relative gain map of the brightest flat, (P, H, W)."""
        return None if self.flat is None else spatial.gain_map(self.flat, self.pattern)[0]

    @cached_property
    def flat(self) -> BurstMoments | None:
        """The brightest flat, by name or by evenness; None without one."""
        even = [m for m in self._flats if float(m.mean.mean()) > 0]
        flats = [m for m in even if float(m.valid.double().mean()) > UNCUT]
        return max(flats, key=lambda m: float(m.mean.mean())) if flats else None

    @cached_property
    def gain_spread(self) -> spatial.Spread | None:
        """PRNU: spatial variance of the gain map, dimensionless."""
        if self.flat is None:
            return None
        gains, temporal = spatial.gain_map(self.flat, self.pattern)
        light = float(self.flat.mean.mean()) ** 2
        if self.pattern is not None and self.pattern.shape == self.flat.mean.shape:
            temporal += self._per_pixel(self.darks) / light
        rows = max(self.rows.value, 0.0) / light + max(self.growth.value, 0.0)
        shared = [rows / self.flat.frames, max(self.columns().value, 0.0) / light / self.flat.frames]
        for axis, name in enumerate(("rows", "columns")):
            banding = self.static_lines(name, self.darks)
            shared[axis] += max(banding.value, 0.0) * (1 + 1 / len(self.darks)) / light if banding else 0.0
        return spatial.spread(gains, temporal, shared[0], shared[1], "1")

    def _spread(self, pattern: Tensor, used: Sequence[BurstMoments]) -> spatial.Spread:
        """Spread of the mean frame of some bursts."""
        frames = sum(m.frames for m in used)
        wave = self.column_lines[0].freq if self.column_lines else None
        if wave is not None:  # what it leaves in the mean is a single draw, and no pattern
            pattern = waves.flat_of_wave(pattern, wave)
        row, column = (max(e.value, 0.0) / frames for e in (self.rows, self.columns(wave)))
        for name in ("rows", "columns"):
            banding = self.static_lines(name, used)
            share = max(banding.value, 0.0) / len(used) if banding else 0.0
            row, column = (row + share, column) if name == "rows" else (row, column + share)
        return spatial.spread(pattern, self._per_pixel(used), row, column)

    @staticmethod
    def _per_pixel(used: Sequence[BurstMoments]) -> float:
        """Variance that pixel noise leaves in the mean of the frames of ``used``, each pixel on its own."""
        frames = sum(m.frames for m in used)
        total = sum(float(m.variance.sum() / m.valid.sum().clamp_min(1)) * m.frames for m in used)
        return total / frames**2

    @cached_property
    def tail(self) -> Tensor:
        """A sample of standardised dark residuals; empty without darks."""
        return torch.cat([m.tail for m in self.moments])


def without_maps(moments: BurstMoments) -> BurstMoments:
    """The same with row means in place of the mean, and overall means of variance and of valid: views of a few values.

    Shapes, `BurstMoments.mean_square` and sums over all pixels stay what they are.
    """
    mean = moments.mean.mean(dim=-1, keepdim=True).expand_as(moments.mean)
    variance, valid = (values.double().mean().expand_as(moments.mean) for values in (moments.variance, moments.valid))
    return replace(moments, mean=mean, variance=variance, valid=valid)
