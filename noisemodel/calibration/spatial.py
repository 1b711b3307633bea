"""What stays at its place: dark pattern (DSNU), gain map (PRNU), defective pixels, per-pixel read noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from noisemodel.calibration.empirical_bayes import PixelLaw, law_of_means, law_of_variances
from noisemodel.calibration.estimates import Estimate, chi_square, joined, normal, total
from noisemodel.calibration.moments import BurstMoments

DEFECT_RATE = 1e-5  # false alarms per pixel of the tests for defects
WHOLE = 0.9  # share of a dark's pixels that must be clear of the clip range's ends to tell a law of pixels
EVEN = 0.1  # of the median: what lamp and lens do to a flat
SHADING_DEGREE = 3  # of the polynomial that takes lamp and lens out of a flat


@dataclass(frozen=True)
class Spread:
    """Spatial variance of a map, split into what rows share, what columns share, and single pixels."""

    rows: Estimate
    columns: Estimate
    pixels: Estimate

    @property
    def total(self) -> Estimate:
        """Their sum."""
        text = "spatial variance less temporal variance / frames"
        return total((self.rows, self.columns, self.pixels), text)


@dataclass(frozen=True)
class Defects:
    """Pixels that are hot (mean) or noisy (temporal variance, as random telegraph noise is) in the dark.

    hot, noisy: (P, H, W) bool; the shares are with 95 % Clopper-Pearson intervals.
    """

    hot: Tensor
    noisy: Tensor
    hot_share: Estimate
    noisy_share: Estimate

    @property
    def mask(self) -> Tensor:
        """Either."""
        return self.hot | self.noisy


def dark_pattern(darks: Sequence[BurstMoments]) -> Tensor | None:
    """Mean dark frame (P, H, W), weighted by frames; None without darks, or where their windows differ."""
    if not darks or len({(m.burst.shape[1:], m.burst.origin) for m in darks}) != 1:
        return None
    mean: Tensor = sum(m.mean * m.frames for m in darks) / sum(m.frames for m in darks)  # type: ignore[assignment]
    return mean


def spread(pattern: Tensor, temporal: float, row: float, column: float, unit: str = "white") -> Spread:
    """Split the spatial variance of a mean frame by a two-way analysis of variance, less what is left of the noise.

    Args:
        pattern: (P, H, W); each plane's mean is taken out.
        temporal: variance of a pixel of it by pixel noise, e.g. v / T.
        row, column: the same of what its rows and columns share.
    """
    pattern = pattern - pattern.mean(dim=(-2, -1), keepdim=True)
    planes, height, width = pattern.shape
    rows, columns = pattern.mean(dim=(0, -1)), pattern.mean(dim=(0, -2))
    pixel = pattern - rows.view(-1, 1) - columns
    freedom = planes * height * width - height - width + 1
    white = float(pixel.square().sum()) / freedom
    error = _error_of_mean(pixel.square())
    text = "two-way analysis of variance of the mean frame"
    parts = []
    for means, n, shared in ((rows, planes * width, row), (columns, planes * height, column)):
        variance = float(means.square().sum()) / (len(means) - 1)
        parts.append(chi_square(variance - white / n - shared, _error_of_power(means), white / n + shared, unit, text))
    return Spread(parts[0], parts[1], normal(white - temporal, error, unit, text))


def _error_of_power(means: Tensor) -> float:
    """Standard error of the variance of line means: sqrt(sum P_k^2) / K with P the periodogram, whose E[P^2] = 2 S^2.

    What a wave left in the mean frame is a draw or two, however many lines there are.
    """
    power = torch.fft.fft(means - means.mean()).abs().square()[1:] / len(means)
    return float(power.square().sum()) ** 0.5 / len(power)


def _error_of_mean(values: Tensor, side: int = 32) -> float:
    """Standard error of the mean over pixels: from the scatter of blocks of ``side``, or of pixels where few."""
    single = float(values.std()) / values.numel() ** 0.5
    height, width = (n // side for n in values.shape[-2:])
    if height * width < 16:
        return single
    blocks = values[..., : height * side, : width * side].unflatten(-1, (width, side)).unflatten(-3, (height, side))
    means = blocks.mean(dim=(0, -3, -1))
    return max(single, float(means.std()) / means.numel() ** 0.5)


def gain_map(flat: BurstMoments, pattern: Tensor | None) -> tuple[Tensor, float]:
    """Relative gain map G (P, H, W) of a flat, less the dark pattern and shading, and its temporal variance per pixel.

    Shading of lamp and lens is the polynomial of degree `SHADING_DEGREE` in both coordinates that fits each plane.
    """
    light = flat.mean if pattern is None or pattern.shape != flat.mean.shape else flat.mean - pattern
    planes = _colour_planes(light, flat.burst.layout)
    ratio = torch.stack([plane / _shading(plane) for plane in planes]) - 1
    temporal = float((flat.variance.sum() / flat.valid.sum().clamp_min(1)) / flat.frames) / float(light.mean()) ** 2
    return _to_sensor(ratio, flat.burst.layout), temporal


def is_even(m: BurstMoments) -> bool:
    """Whether a burst shows even light, whatever its name: in each plane 98 % of the pixels lie within `EVEN`."""
    for plane in _colour_planes(m.mean, m.burst.layout):
        low, middle, high = (float(np.quantile(plane.numpy(), q)) for q in (0.01, 0.5, 0.99))
        noise = 2.4 * float(m.variance.mean() / m.frames) ** 0.5
        if not (middle > 0 and max(high - middle, middle - low) - noise < EVEN * middle):
            return False
    return True


def shading(flat: BurstMoments) -> float:
    """Relative std of the smooth part of a flat: how uneven its light is."""
    return max(float(_shading(p).std() / p.mean()) for p in _colour_planes(flat.mean, flat.burst.layout))


def _colour_planes(image: Tensor, layout: str) -> list[Tensor]:
    """Planes (h, w) of equal colour."""
    if layout == "mosaic":
        return [image[0, dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)]
    return list(image)


def _to_sensor(planes: Tensor, layout: str) -> Tensor:
    """The inverse of `_colour_planes`."""
    if layout != "mosaic":
        return planes
    out = planes.new_empty(1, 2 * planes.shape[1], 2 * planes.shape[2])
    for index, plane in enumerate(planes):
        out[0, index // 2 :: 2, index % 2 :: 2] = plane
    return out


def _shading(plane: Tensor) -> Tensor:
    """Least-squares polynomial surface of a plane (h, w), in products of Legendre polynomials."""
    bases = []
    for length in plane.shape:
        degree = min(SHADING_DEGREE, length // 16)
        values = np.polynomial.legendre.legvander(np.linspace(-1, 1, length), degree)
        bases.append(torch.linalg.qr(torch.from_numpy(values))[0])
    rows, columns = bases
    return rows @ (rows.T @ plane @ columns) @ columns.T


def defects(darks: Sequence[BurstMoments]) -> Defects | None:
    """Hot and noisy pixels of darks of one window, by tests with `DEFECT_RATE` false alarms per pixel.

    hot: the mean dark stands above its median by more than its robust std says. noisy: the temporal variance exceeds
    the median one by more than a chi-square of its degrees of freedom allows.
    """
    pattern = dark_pattern(darks)
    if pattern is None:
        return None
    freedom = sum(m.used - 1 for m in darks)
    variance = sum(m.variance * (m.used - 1) for m in darks) / freedom
    assert isinstance(variance, Tensor)
    median = float(variance.median()) / float(stats.chi2.median(freedom)) * freedom
    noisy = variance > median * float(stats.chi2.isf(DEFECT_RATE, freedom)) / freedom
    centred = pattern - pattern.median(dim=-1, keepdim=True).values.median(dim=-2, keepdim=True).values
    robust = float(centred.abs().median()) / float(stats.norm.isf(0.25))
    hot = centred > robust * float(stats.norm.isf(DEFECT_RATE))
    return Defects(hot, noisy, *(_share(int(mask.sum()), mask.numel()) for mask in (hot, noisy)))


def _share(found: int, of: int) -> Estimate:
    """found / of with the Clopper-Pearson interval."""
    low, high = stats.binomtest(found, of).proportion_ci(0.95)
    return Estimate(found / of, float(low), float(high), "1", f"tests at a false-alarm rate of {DEFECT_RATE:g} a pixel")


def read_law(darks: Sequence[BurstMoments]) -> PixelLaw | None:
    """The law of each pixel's variance in the dark [white, squared]; None without darks of one window."""
    if dark_pattern(darks) is None or min(float(m.valid.double().mean()) for m in darks) < WHOLE:
        return None
    freedom = sum(m.used - 1 for m in darks)
    variance = sum(m.variance * (m.used - 1) for m in darks) / freedom
    assert isinstance(variance, Tensor)
    if float(variance.median()) <= 0:  # read noise below the ADC step
        return None
    return law_of_variances(variance, freedom)


def without_noise(pattern: Tensor, found: Spread, temporal: float) -> tuple[Tensor, Tensor]:
    """A mean dark without what is left of the noise in it: nearest to the truth, and a draw with the truth's spread.

    Rows and columns are shrunk by the share of their variance that is not noise (Wiener); pixels by `law_of_means`.

    Args:
        pattern: (P, H, W).
        found: its spread, less noise.
        temporal: variance that noise leaves in a pixel of it.
    """
    level = pattern.mean(dim=(-2, -1), keepdim=True)
    rows = (pattern - level).mean(dim=(0, -1)).view(-1, 1)
    columns = (pattern - level).mean(dim=(0, -2))
    pixels = pattern - level - rows - columns
    for part, estimate in ((rows, found.rows), (columns, found.columns)):
        part *= min(max(estimate.value, 0.0) / max(float(part.var()), 1e-300), 1.0) ** 0.5
    law = law_of_means(pixels, temporal**0.5)
    if law is None:
        return pattern, pattern
    low, high = float(law.grid[0]), float(law.grid[-1])
    far = (pixels < low) | (pixels > high)  # too far off to be drawn back
    smooth = level + rows + columns
    return smooth + torch.where(far, pixels, law.means()), smooth + torch.where(far, pixels, law.draws())


def black_offset(darks: Sequence[BurstMoments]) -> Estimate | None:
    """Mean dark signal over what the black level says [fraction of white]: from the means of single frames."""
    found = []
    for m in darks:
        level = float(m.burst.summary().level.double().mean())
        found.append((level + m.burst.summary().offsets.double()).numpy())
    if not found:
        return None
    means, errors = zip(*((f.mean(), f.std(ddof=1) / len(f) ** 0.5) for f in found if len(f) > 1), strict=True)
    value, error = joined(means, errors)
    if len(means) > 1:  # darks of different exposures also differ by dark current
        value, error = float(np.mean(means)), max(error, float(np.std(means, ddof=1)) / len(means) ** 0.5)
    freedom = sum(len(f) - 1 for f in found) if len(found) == 1 else len(found) - 1
    return normal(value, error, estimator="mean of the darks' frame means", freedom=freedom)
