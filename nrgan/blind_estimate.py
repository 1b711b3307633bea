"""Shot and read noise from noisy images alone, in closed form: where the physical prior starts."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

SIDE = 5  # of a patch [px]
STRIDE = 3
IMAGES = 4096  # more do not change the figures
QUIET = 0.25  # of the directions of a patch, those with least power: natural images have almost nothing there
LOUD = 6  # directions with most power: a patch without its noise, nearly
LEVELS = (0.25, 0.75)  # of all pixels of such a patch: noise beyond is clipped
FEWEST = 5  # patches in half an image that say how noisy it is
STEADY = 0.005  # relative variance of the noise power over images that counts as none


class BlindEstimate(NamedTuple):
    """var = g x + r^2 [fractions of white]; over images ln g and ln r^2 have std ``spread``, and these medians."""

    shot_gain: float
    read_std: float
    spread: float = 0.0


class _Powers(NamedTuple):
    """Of each patch: power in the quiet directions, level, whether it counts; (N, P) each. averaged: see `_line`."""

    power: Tensor
    level: Tensor
    counts: Tensor
    averaged: float


def blind_estimate(noisy: Tensor) -> BlindEstimate | None:
    """Fit var = g x + r^2 to the quiet directions of 5x5 patches of noisy images, and its spread over images.

    The directions of least power over all patches of one half of the images hold noise and hardly any image (Pyatykh,
    Hesser & Zheng 2013: the smallest principal components of patches); their power in the other half, regressed on the
    patch's level, is the photon-transfer line. How alike the two halves of an image are in it gives the spread over
    images; that g and r vary independently and alike is assumed. White noise only; texture makes the figures too large.

    Args:
        noisy: (N, C, H, W), fractions of white.
    Returns: medians over images; None where the images leave no line to fit: too few, all dark or bright, no noise.
    """
    patches = _patches(noisy[:IMAGES].float())
    if patches.shape[0] < 2 or patches.shape[1] == 0:
        return None
    first, second = patches[0::2], patches[1::2]
    found = [_powers(first, second), _powers(second, first)]
    power, level = (torch.cat([getattr(each, name)[each.counts] for each in found]) for name in ("power", "level"))
    if len(power) < 2 or not float(power.mean()) > 0:
        return None
    gain, offset = _line(level.double(), power.double(), sum(each.averaged for each in found) / 2)
    return None if not 0 <= gain < 1 else _with_spread(gain, offset, _alike(found, gain, offset))


def _patches(images: Tensor) -> Tensor:
    """(N, patches, C * 25), row by row."""
    if min(images.shape[-2:]) < SIDE:
        return images.new_zeros(len(images), 0, 1)
    blocks = images.unfold(2, SIDE, STRIDE).unfold(3, SIDE, STRIDE)
    return (
        blocks.permute(0, 3, 2, 1, 4, 5).flatten(3).flatten(1, 2)
    )  # columns outside, so that halves are left and right


def _powers(chosen: Tensor, held: Tensor) -> _Powers:
    """Directions of ``chosen`` (N, P, D) patches, looked at in those ``held`` apart.

    Eigenvectors of the second moments, not of the covariance: what the mean patch leaks would count as noise.
    """
    flat = chosen.flatten(0, 1)
    directions = torch.linalg.eigh((flat.T @ flat).double()).eigenvectors.to(flat)
    quiet, loud = directions[:, : max(1, int(QUIET * len(directions)))], directions[:, -LOUD:]
    smooth = (held @ loud) @ loud.T
    counts = (smooth.amin(dim=2) > LEVELS[0]) & (smooth.amax(dim=2) < LEVELS[1])
    weights = quiet.square().mean(dim=1)  # of a patch's pixels, as the quiet directions see them
    return _Powers((held @ quiet).square().mean(dim=2), held @ weights, counts, float(weights.square().sum()))


def _line(level: Tensor, power: Tensor, averaged: float) -> tuple[float, float]:
    """g, r^2 by least squares, weighted by 1 / level^2, for the spread of a power grows with its level.

    Noise in the level, var ``averaged`` * power, would flatten the line (errors in variables); it is taken out. A
    falling line is a level one.
    """
    weight = 1 / level.square()
    weight = weight / weight.sum()
    centre, mean = (weight * level).sum(), (weight * power).sum()
    spread = (weight * (level - centre).square()).sum() - averaged * mean
    gain = float((weight * (level - centre) * power).sum() / spread)
    if not spread > 0:
        return math.nan, math.nan
    gain = max(gain, 0.0)
    return gain, max(float(mean - gain * centre), 0.0)


def _alike(found: list[_Powers], gain: float, offset: float) -> float:
    """Relative variance over images of the noise power: mean product of the two halves of an image, less 1."""
    halves = []
    for power, level, counts, _ in found:
        ratio = torch.where(counts, power / (gain * level + offset), 0.0)
        middle = ratio.shape[1] // 2
        rest = slice(0, middle - math.isqrt(ratio.shape[1])), slice(middle, None)  # a column apart: patches overlap
        sums = [(ratio[:, part].sum(dim=1), counts[:, part].sum(dim=1)) for part in rest]
        enough = (sums[0][1] >= FEWEST) & (sums[1][1] >= FEWEST)
        halves.append(torch.stack([(total / count)[enough] for total, count in sums]))
    left, right = torch.cat(halves, dim=1).double()
    return float((left * right).mean() / (left.mean() * right.mean()) - 1) if len(left) > 1 else 0.0


def _with_spread(gain: float, offset: float, alike: float) -> BlindEstimate:
    """Medians and spread from means and the relative variance of the power at mid-grey.

    With the same relative variance c^2 of g and of r^2, independent: var(g / 2 + r^2) = c^2 ((g / 2)^2 + r^4).
    """
    if not alike > STEADY:
        return BlindEstimate(gain, offset**0.5)
    shot = gain / 2
    square = math.log1p(alike * (shot + offset) ** 2 / (shot**2 + offset**2))
    return BlindEstimate(gain * math.exp(-square / 2), (offset * math.exp(-square / 2)) ** 0.5, square**0.5)
