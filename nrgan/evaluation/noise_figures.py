"""Figures of noise beside the image it is on: amount, spectrum, neighbours, dependence on the signal."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

WHITE = 255.0
MIDDLE = (0.2, 0.8)  # signals where noise of a tenth of white is not clipped
LEVELS = 20  # bins of the curve of std against signal
LEAST_PIXELS = 500  # of a bin that is shown
HIGH_PASS = ((1.0, -2.0, 1.0), (-2.0, 4.0, -2.0), (1.0, -2.0, 1.0))


class NoiseLook(NamedTuple):
    """What is drawn of noise.

    power: (H, W) spectrum, zero frequency in the middle. levels, stds: (n,), noise std against signal, both fractions
    of white.
    """

    power: Tensor
    levels: Tensor
    stds: Tensor


def noise_figures(clean: Tensor, noise: Tensor) -> dict[str, float]:
    """The amount of noise, its correlation between neighbours, and how its variance follows the signal.

    Args:
        clean, noise: (N, C, H, W) [fraction of white].
    Returns: noise_std_255 [1/255 of white]; lag1_across and lag1_down, sum n(p) n(p + 1) / sum n^2 along rows and
        columns; variance_slope [fraction of white] and variance_intercept_255 (its signed root, per 255) of the line
        through n^2 against x, for x in 0.2 .. 0.8; abs_correlation, between |n| and x. NaN where there is no noise.
    """
    values = {"noise_std_255": WHITE * float(noise.double().std())}
    if values["noise_std_255"] == 0:
        names = ("lag1_across", "lag1_down", "variance_slope", "variance_intercept_255", "abs_correlation")
        return values | dict.fromkeys(names, math.nan)
    centred = (noise - noise.mean()).double()
    values["lag1_across"] = float((centred[..., 1:] * centred[..., :-1]).mean() / centred.square().mean())
    values["lag1_down"] = float((centred[..., 1:, :] * centred[..., :-1, :]).mean() / centred.square().mean())
    inside = (clean > MIDDLE[0]) & (clean < MIDDLE[1])
    slope, intercept = _line(clean[inside].double(), noise[inside].double().square())
    values["variance_slope"] = slope
    values["variance_intercept_255"] = WHITE * math.copysign(math.sqrt(abs(intercept)), intercept)
    values["abs_correlation"] = _correlation(clean.double().flatten(), noise.double().abs().flatten())
    return values


def _line(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Slope and intercept by least squares; NaN where x does not vary."""
    if len(x) < 2 or float(x.var()) == 0:
        return math.nan, math.nan
    slope = float(((x - x.mean()) * (y - y.mean())).mean() / x.var(correction=0))
    return slope, float(y.mean()) - slope * float(x.mean())


def _correlation(x: Tensor, y: Tensor) -> float:
    """Pearson's; NaN where one does not vary."""
    spread = x.std(correction=0) * y.std(correction=0)
    return float(((x - x.mean()) * (y - y.mean())).mean() / spread) if float(spread) > 0 else math.nan


def noise_look(clean: Tensor, noise: Tensor) -> NoiseLook:
    """What is drawn of the noise of (N, C, H, W) images."""
    edges = torch.linspace(0, 1, LEVELS + 1, dtype=clean.dtype, device=clean.device)
    place = torch.bucketize(clean.flatten(), edges[1:-1])
    count, light, sums, squares = (
        torch.zeros(LEVELS, dtype=torch.float64, device=clean.device).index_add_(0, place, values.flatten().double())
        for values in (torch.ones_like(clean), clean, noise, noise.square())
    )
    filled = count >= LEAST_PIXELS
    variance = squares / count - (sums / count).square()
    levels = light / count
    return NoiseLook(power_spectrum(noise).cpu(), levels[filled].cpu(), variance[filled].clamp(min=0).sqrt().cpu())


def power_spectrum(noise: Tensor) -> Tensor:
    """mean |fft2 n|^2 / (H W) over images and channels: its mean over frequencies is the mean of n^2.

    Args:
        noise: (N, C, H, W).
    Returns: (H, W), float64, zero frequency in the middle.
    """
    power = torch.fft.fft2(noise.double(), norm="ortho").abs().square().mean(dim=(0, 1))
    return torch.fft.fftshift(power)


def radial_profile(power: Tensor) -> tuple[Tensor, Tensor]:
    """Mean power in rings of one cycle per image, up to half a cycle per pixel.

    Args:
        power: (H, W), zero frequency in the middle.
    Returns: frequency [cycles per pixel] and power, (min(H, W) // 2 + 1,) each.
    """
    height, width = power.shape
    down, across = (torch.fft.fftshift(torch.fft.fftfreq(length)) for length in (height, width))
    size = min(height, width)
    ring = ((down[:, None].square() + across.square()).sqrt() * size).round().long().to(power.device)
    count, total = (
        power.new_zeros(int(ring.max()) + 1).index_add_(0, ring.flatten(), values.flatten())
        for values in (torch.ones_like(power), power)
    )
    profile = (total / count)[: size // 2 + 1]
    return torch.arange(len(profile)) / size, profile


def spectrum_rms_db(one: Tensor, other: Tensor) -> float:
    """Root mean square of 10 log10(P1 / P2) over all frequencies, each spectrum divided by its mean [dB].

    Shape alone: the amount is `noise_figures`' std. NaN where one side has no power.

    Args:
        one, other: (H, W) spectra of `power_spectrum`.
    """
    if min(float(one.mean()), float(other.mean())) <= 0:
        return math.nan
    shapes = [(power / power.mean()).clamp(min=1e-12) for power in (one, other)]
    return float((10 * (shapes[0].log10() - shapes[1].log10())).square().mean().sqrt())


def high_pass_std(images: Tensor) -> float:
    """sqrt(pi / 2) mean |x * N| / 6 with N = [1 -2 1; -2 4 -2; 1 -2 1]: an estimate of noise (Immerkaer 1996).

    N lets linear changes of the picture pass as 0; fine detail counts as noise, so compare with that of clean images.

    Args:
        images: (N, C, H, W).
    Returns: std in the images' unit, for white noise.
    """
    kernel = torch.tensor(HIGH_PASS, dtype=images.dtype, device=images.device)[None, None]
    response = functional.conv2d(images.flatten(0, 1).unsqueeze(1), kernel)
    return math.sqrt(math.pi / 2) / 6 * float(response.abs().double().mean())
