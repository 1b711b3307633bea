"""Start values for training in closed form: photon transfer, line means, spectral lines, averaged darks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from noisemodel.calibration.moments import BurstMoments, LineStats, StaticBurst, burst_moments
from noisemodel.calibration.photon_transfer import photon_transfer, slope_error
from noisemodel.components import parse_noiselist
from noisemodel.errors import InputError
from noisemodel.sensor import Levels, unpack_mosaic

FALSE_ALARM = 1e-3  # chance that a spectrum without a line shows one
WIDEST = 0.2  # relative standard error of the gain beyond which it is not told
NO_PRNU = 1e-6  # std of the gain map where no flat was measured: none to speak of
FLOOR = 0.02  # smallest start value of a std, relative to the dark noise: a log cannot start at zero


@dataclass
class ClosedForm:
    """What moments say: start values for `PhysicalNoise.from_noiselist`, and what they cannot say.

    start: keyword arguments [fractions of white].
    notes: one line for everything that was assumed, floored or not identifiable.
    held: words and parameters that this data cannot identify, e.g. "rowt", "periodic.std0".
    white_line: (a, b): temporal variance a + b x of a single pixel.
    """

    start: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    white_line: tuple[float, float] = (0.0, 0.0)


def calibrate_closed_form(bursts: Sequence[StaticBurst], noiselist: str, levels: Levels) -> ClosedForm:
    """Estimate every word of ``noiselist`` from the moments of static bursts.

    shot, read: weighted line through temporal variance against signal (EMVA 1288 photon transfer).
    row1, col1: variance of line means less their white part; rowt, colt: the same over bursts.
    periodic: amplitude of the strongest line of the column spectrum. fixed1: mean of the darks. prnu: flats.

    Args:
        bursts: static bursts of one camera at one setting; at least 2 frames each.
        noiselist: words of the model.
        levels: black and white level.
    Raises: InputError if no pixel is valid, or variance does not grow with signal although ``shot`` is asked for.
    """
    words = parse_noiselist(noiselist)
    moments = [burst_moments(burst) for burst in bursts]
    if not sum(len(m.signal) for m in moments):
        raise InputError("no pixel lies between the black level and 95 % of white; expose otherwise, or check levels")
    result = ClosedForm()
    intercept, slope = photon_transfer(moments)
    result.white_line = (max(intercept, 1e-3 * float(min(m.variance.min() for m in moments))), max(slope, 0.0))
    floor = FLOOR * max(intercept, 1e-2 * float(min(m.variance.min() for m in moments))) ** 0.5
    rest = intercept
    if "periodic" in words:
        rest -= _periodic(moments, result, floor)
    for word, lines in (("row1", "rows"), ("col1", "columns")):
        variance = line_variance([getattr(m, lines) for m in moments])
        if word in words:
            rest -= max(variance, 0.0)
            result.start[f"{word}_std"] = _root(variance, floor, word, result)
    _static_lines(moments, words, result, floor)
    if "uniform" in words:
        rest -= levels.adc_step**2 / 12
    _white(words, rest, slope, floor, moments, result)
    _maps(moments, words, result)
    return result


def line_variance(lines: Sequence[LineStats]) -> float:
    """Variance s of what a whole line shares in a frame: var of line means = s + (v - s) / n, v that of a pixel.

    The frames' common offset was taken out of their L lines, which costs one in L. Bursts are joined by the inverse
    variance of their estimates, so that dark ones decide; it comes from the joint s, because weights that follow each
    burst's own estimate favour the low ones.
    """
    estimates, white, freedom = [], [], []
    for line in lines:
        kept = ~line.white.isnan()
        frames, count = len(line.profile), int(kept.sum())
        total = line.profile[:, kept].square().sum(dim=0) / (frames - 1) * (count / max(count - 1, 1))
        estimates.append(float((total - line.white[kept]).mean()) / (1 - 1 / max(line.pixels, 2.0)))
        white.append(float(line.white[kept].mean()))
        freedom.append(count * (frames - 1))
    shared = 0.0
    for _ in range(3):
        variance = np.maximum(np.array(white) + max(shared, 0.0), 1e-300)
        shared = float(np.average(estimates, weights=np.array(freedom) * (variance.min() / variance) ** 2))
    return shared


def _root(variance: float, floor: float, what: str, result: ClosedForm) -> float:
    """Std from an estimated variance; noted and floored where it is not positive."""
    if variance > floor**2:
        return float(variance**0.5)
    result.notes.append(f"{what}: not seen above the white noise; starts at {floor:.2e} of white")
    return floor


def _white(
    words: Sequence[str], rest: float, slope: float, floor: float, moments: Sequence[BurstMoments], result: ClosedForm
) -> None:
    """Gain from the slope; read noise from what the other terms leave of the intercept."""
    if "shot" in words:
        if slope <= 0:
            raise InputError(
                f"variance does not grow with signal (slope {slope:.2e}): no shot noise to learn; add brighter bursts, "
                "or leave 'shot' out of the noiselist"
            )
        error = slope_error(moments, max(rest, 0.0), slope)
        if error > WIDEST * slope:
            raise InputError(
                f"the signals span too little to tell gain from read noise (gain {slope:.2e} +- {error:.1e} of white): "
                "add darks, or bursts at other light levels"
            )
        result.start["shot_gain"] = slope
    if "readtl" in words:
        tail = torch.cat([m.tail for m in moments]).numpy()
        if len(tail) < 1000:
            tail = np.random.default_rng(0).standard_normal(20_000)
            result.notes.append("readtl: its shape needs dark bursts; starts near a Gaussian")
        shape = float(np.clip(stats.ppcc_max(tail, brack=(-0.3, 0.3)), -0.4, 0.5))
        share = 0.5 if "read" in words else 1.0
        unit = float(stats.tukeylambda.var(shape))
        result.start |= {"readtl_lambda": shape, "readtl_scale": _root(share * rest / unit, floor, "readtl", result)}
        rest *= 1 - share
    if "read" in words:
        result.start["read_std"] = _root(rest, floor, "read", result)


def _periodic(moments: Sequence[BurstMoments], result: ClosedForm, floor: float) -> float:
    """Frequency and amplitudes of the strongest column line; returns its mean variance per pixel."""
    layout = moments[0].burst.layout
    freq = _strongest_line([m.columns for m in moments])
    if freq is None:
        freq = 1 / 8 if layout == "mosaic" else 1 / 4
        result.notes.append(f"periodic: no line in the column spectrum at a false-alarm rate of {FALSE_ALARM:g}")
    found, weights = [], []
    for m in moments:
        place = torch.arange(m.columns.profile.shape[1], dtype=torch.float64) + m.burst.origin[1]
        kept = ~m.columns.white.isnan()
        angle = 2 * np.pi * freq * place[kept]
        inverse = torch.linalg.pinv(torch.stack([angle.cos(), angle.sin()], dim=1))  # (2, L)
        amplitude = m.columns.profile[:, kept] @ inverse.T  # (T, 2)
        white = inverse.square() @ m.columns.white[kept]
        found.append((amplitude.square().sum(dim=0) / (m.frames - 1) - white).numpy())
        weights.append((m.frames - 1) / (white.mean().item() + 1e-300) ** 2)
    s1, s2 = np.average(found, axis=0, weights=np.minimum(weights, 10 * np.median(weights)))
    for m in moments:
        _remove_wave(m.columns, freq, m.burst.origin[1])
    s0 = _common_offset(moments, result)
    result.start["periodic_freq"] = freq
    result.start["periodic_std"] = tuple(
        _root(float(v), floor, f"periodic.std{i}", result) for i, v in enumerate((s0, s1, s2))
    )
    return max(float(s1) + float(s2), 0.0) / 2


def _strongest_line(columns: Sequence[LineStats]) -> float | None:
    """Frequency [cycles per sensor pixel] of the strongest line, if it exceeds what chance makes of the median."""
    longest = max(line.profile.shape[1] for line in columns)
    power = np.zeros(longest // 2 + 1)
    frames = 0
    for line in columns:
        if line.profile.shape[1] == longest:
            scale = float(line.white.nanmean()) ** 0.5
            profile = line.profile.nan_to_num().numpy() / max(scale, 1e-300)
            power += (np.abs(np.fft.rfft(profile, axis=1)) ** 2).sum(axis=0)
            frames += len(profile) - 1
    inner = power[1:]
    limit = stats.chi2.isf(FALSE_ALARM / len(inner), 2 * frames) / stats.chi2.median(2 * frames) * np.median(inner)
    peak = int(inner.argmax())
    return (peak + 1) / longest if inner[peak] > limit else None


def _remove_wave(line: LineStats, freq: float, first: int) -> None:
    """Take the wave out of the profiles, so that it does not count as column noise."""
    angle = 2 * np.pi * freq * (torch.arange(line.profile.shape[1], dtype=torch.float64) + first)
    basis = torch.stack([angle.cos(), angle.sin()], dim=1)
    for profile in (line.profile, line.static):
        if profile is not None:
            profile.sub_((profile @ torch.linalg.pinv(basis).T) @ basis.T)


def _common_offset(moments: Sequence[BurstMoments], result: ClosedForm) -> float:
    """Variance of the frames' common offset, where no lamp drift can hide in it: with ground truth or in the dark."""
    steady = [m for m in moments if m.burst.truth is not None or m.burst.kind == "dark"]
    if any(m.burst.truth is None for m in moments):
        result.held.append("periodic.std0")
    if not steady:
        result.notes.append("periodic.std0: not identifiable, frame offsets also come from the lamp; needs darks")
        return 0.0
    found, weights = [], []
    for m in steady:
        rows = m.rows.profile
        white = float((rows.square().sum(dim=0) / (m.frames - 1)).mean()) / rows.shape[1]
        found.append(float(m.burst.summary().offsets.square().sum()) / (m.frames - 1) - white)
        weights.append(m.frames - 1)
    return float(np.average(found, weights=weights))


def _static_lines(moments: Sequence[BurstMoments], words: Sequence[str], result: ClosedForm, floor: float) -> None:
    """rowt, colt: variance of line means over bursts, less their temporal part; darks first, else ground truth."""
    for word, name, temporal in (("rowt", "rows", "row1"), ("colt", "columns", "col1")):
        if word not in words:
            continue
        if any(m.burst.truth is None for m in moments):
            result.held.append(word)
        used = [m for m in moments if m.burst.kind == "dark"]
        if len(used) < 2:
            used = [m for m in moments if m.burst.truth is not None]
        lines: list[LineStats] = [getattr(m, name) for m in used]
        same = len({(m.burst.shape, m.burst.origin) for m in used}) == 1
        if len(used) < 2 or not same:
            result.notes.append(f"{word}: not identifiable from this data; needs at least two dark bursts of one size")
            result.start[f"{word}_std"] = floor
            continue
        static = torch.stack([line.static - line.static.mean() for line in lines if line.static is not None])
        per_frame = result.start.get(f"{temporal}_std", 0.0) ** 2
        white = np.mean([(float(getattr(m, name).white.nanmean()) + per_frame) / m.frames for m in used])
        kept = ~torch.stack([line.white for line in lines]).isnan().any(dim=0)
        count = int(kept.sum())
        variance = float(static[:, kept].var(dim=0).mean()) * (count / max(count - 1, 1)) - float(white)
        result.start[f"{word}_std"] = _root(variance, floor, word, result)


def _maps(moments: Sequence[BurstMoments], words: Sequence[str], result: ClosedForm) -> None:
    """fixed1, learnedfixed: the mean of all darks; prnu: relative deviation of flats, less its temporal part."""
    darks = [m for m in moments if m.burst.kind == "dark"]
    pattern = _average(darks)
    if pattern is not None:
        for word, axis in (("rowt", -1), ("colt", -2)):
            pattern = _without_banding(pattern, axis, result.start.get(f"{word}_std", 0.0) ** 2 / len(darks))
    for word in ("fixed1", "learnedfixed"):
        if word in words:
            if any(m.burst.truth is None for m in moments):
                result.held.append(word)
            if pattern is None:
                result.notes.append(f"{word}: not identifiable from this data; needs darks or --fixed_pattern FILE")
            else:
                result.start[f"{word}_pattern"] = pattern.float()
    if "prnu" in words:
        if any(m.burst.truth is None for m in moments):
            result.held.append("prnu")
        flats = [m for m in moments if m.burst.kind == "flat" and float(m.mean.mean()) > 0]
        if not flats:
            result.notes.append(f"prnu: not identifiable without flats (files named flat*); held at {NO_PRNU:g}")
            result.start["prnu_std"] = NO_PRNU
            return
        brightest = max(flats, key=lambda m: float(m.mean.mean()))
        flat = brightest.mean / brightest.mean.mean(dim=(-2, -1), keepdim=True) - 1
        temporal = float(brightest.variance.mean()) / brightest.frames / float(brightest.mean.mean()) ** 2
        result.start["prnu_std"] = max(float(flat.var()) - temporal, 1e-12) ** 0.5


def _without_banding(pattern: Tensor, axis: int, banding: float) -> Tensor:
    """Take out of a mean dark what is left of static banding, of variance ``banding``, along ``axis`` (Wiener)."""
    lines = pattern.mean(dim=axis if pattern.ndim == 2 else (0, axis), keepdim=True)
    lines = lines - lines.mean()
    share = min(1.0, banding / max(float(lines.var()), 1e-300))
    return pattern - share * lines


def _average(darks: Sequence[BurstMoments]) -> Tensor | None:
    """Mean dark frame, weighted by the number of frames; None without darks, or where their windows differ."""
    if not darks or len({(m.burst.shape[1:], m.burst.origin) for m in darks}) != 1:
        return None
    mean: Tensor = sum(m.mean * m.frames for m in darks) / sum(m.frames for m in darks)  # type: ignore[assignment]
    return unpack_mosaic(mean) if darks[0].burst.layout == "mosaic" else mean
