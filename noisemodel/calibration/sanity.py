"""What is wrong with bursts before anything is estimated from them, and what a user should be told of them."""

from collections.abc import Sequence

import numpy as np
import torch

from noisemodel.calibration.moments import BurstMoments
from noisemodel.calibration.residuals import StaticBurst
from noisemodel.errors import InputError
from noisemodel.sensor import Levels

SMALLEST = 32  # sensor rows and columns of a frame
BLACK_OFF = 0.5  # DN between the given black level and that of the darks that is worth a word
CUT = 0.005  # share of a dark's pixels at the low end of the clip range that bends its variance
UNCUT = 0.5  # share that must be clear of it for a dark to be of use
DARKS_APART = 0.01  # of white, by which darks of one camera at one setting do not differ
ALTERNATES = 0.03  # relative difference of the four phases of a 2x2 cell that speaks of a mosaic


def check_size(burst: StaticBurst) -> None:
    """Raise InputError for frames that are too small for statistics of lines."""
    step = 2 if burst.layout == "mosaic" else 1
    rows, columns = (step * n for n in burst.shape[-2:])
    if min(rows, columns) < SMALLEST:
        raise InputError(
            f"{burst.name} is {rows}x{columns} pixels; statistics of noise need {SMALLEST}x{SMALLEST} or more: "
            "record larger frames, or leave it out"
        )


def check_moments(m: BurstMoments) -> None:
    """Raise InputError for a burst whose frames are one and the same, or a dark that is cut at the low end."""
    cut = _cut_share(m.burst)
    if m.burst.kind == "dark" and cut > UNCUT:
        raise InputError(
            f"{m.burst.name}: {cut:.0%} of the dark's pixels are cut at the lowest code, so it tells no read noise; "
            "raise the camera's offset (black level), or leave it out"
        )
    if bool(m.valid.any()) and not bool(m.variance.any()) and not bool(m.rows.profile.any()):
        raise identical_frames(m.burst.name)


def identical_frames(name: str) -> InputError:
    """The error for a burst whose frames are one and the same."""
    return InputError(
        f"the frames of {name} are identical: no temporal noise to learn; record single exposures, or leave it out"
    )


def check_noise(name: str, residual: torch.Tensor) -> None:
    """Raise InputError for real frames, (T, C, h, w) less their mean or their ground truth, without any noise."""
    if residual.numel() and not bool(residual.any()):
        raise identical_frames(name)


def check_darks(moments: Sequence[BurstMoments]) -> None:
    """Raise InputError for darks that are not dark, or not of one black level."""
    darks = [m for m in moments if m.burst.kind == "dark"]
    lit = [m for m in moments if m.burst.kind != "dark"]
    levels = {m.burst.name: float(m.burst.summary().level.double().mean()) for m in moments}
    brightest = max(darks, key=lambda m: levels[m.burst.name], default=None)
    if brightest is None:
        return
    name = brightest.burst.name
    others = [levels[m.burst.name] for m in darks]
    if max(others) - min(others) > DARKS_APART:
        lowest = min(darks, key=lambda m: levels[m.burst.name]).burst
        apart = (max(others) - min(others)) * lowest.levels.range_dn
        raise InputError(
            f"the darks {name} and {lowest.name} differ by {apart:.4g} DN: one saw light, or another black level; keep "
            "them apart"
        )
    dimmest = min(lit, key=lambda m: levels[m.burst.name], default=None)
    if dimmest is not None and levels[name] > levels[dimmest.burst.name] + DARKS_APART:
        raise InputError(
            f"the dark {name} is brighter than {dimmest.burst.name}; are flats and darks swapped? Darks are recorded "
            "with the lens covered"
        )


def _cut_share(burst: StaticBurst) -> float:
    """Share of the first frame's pixels at the low end of the clip range."""
    low, step = burst.levels.clip_range[0], burst.levels.rounding
    return float((burst.frame(0) <= low + 0.5 * step).double().mean()) if step else 0.0


def warnings(moments: Sequence[BurstMoments], levels: Levels, black_dn: float | None) -> list[str]:
    """What may be wrong with the data or its levels, in one line each.

    Args:
        moments: of all bursts.
        levels: as given.
        black_dn: as the darks show it, if there are darks.
    """
    found = []
    if black_dn is not None and abs(black_dn - levels.black_dn) > BLACK_OFF:
        found.append(
            f"the darks show black at {black_dn:.2f} DN, {levels.black_dn:g} is given: this bends the photon-transfer "
            f"line and biases the gain; give --black_level {black_dn:.2f}"
        )
    for m in moments:
        cut = _cut_share(m.burst)
        if m.burst.kind == "dark" and cut > CUT:
            found.append(
                f"{m.burst.name}: {cut:.1%} of the dark's pixels are cut at the lowest code; its noise reads low"
            )
    step = _common_step(moments)
    if step > 1:
        found.append(f"all codes are {step} DN apart: the ADC step is {step} DN, and quantisation is taken as 1 DN")
    if moments and moments[0].burst.layout == "planes" and moments[0].burst.shape[1] == 1:
        name = next((m.burst.name for m in moments if m.burst.kind == "flat" and _alternates(m)), None)
        if name is not None:
            found.append(
                f"{name} alternates from pixel to pixel as a colour mosaic does; give --layout mosaic and --cfa"
            )
    return found


def _common_step(moments: Sequence[BurstMoments]) -> int:
    """Largest number of DN that all codes of the first frames are multiples of; 1 where codes are not whole."""
    step = 0
    for m in moments:
        if not m.burst.levels.rounding:
            return 1
        dn = m.burst.levels.to_dn(m.burst.frame(0).double()).flatten()[:100_000]
        if float((dn - dn.round()).abs().max()) > 1e-2:
            return 1
        codes = torch.unique(dn.round()).long().numpy()
        step = int(np.gcd(step, np.gcd.reduce(np.diff(codes)))) if len(codes) > 1 else step
    return max(step, 1)


def _alternates(m: BurstMoments) -> bool:
    """Whether the means of the four phases of 2x2 cells differ by more than `ALTERNATES`."""
    phases = [float(m.mean[..., dy::2, dx::2].mean()) for dy in (0, 1) for dx in (0, 1)]
    return max(phases) - min(phases) > ALTERNATES * abs(sum(phases) / 4)
