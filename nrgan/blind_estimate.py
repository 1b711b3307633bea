"""Shot and read noise from noisy images alone, in closed form: where the physical prior starts."""

from typing import NamedTuple

import torch
from torch import Tensor

SIDE = 5  # of a patch [px]
STRIDE = 3
IMAGES = 4096  # more do not change the figures
QUIET = 0.25  # of the directions of a patch, those with least variance: natural images have almost nothing there
LEVELS = (0.2, 0.8)  # patch means that are used: noise beyond is clipped


class BlindEstimate(NamedTuple):
    """var = shot_gain x + read_std^2 [fractions of white]."""

    shot_gain: float
    read_std: float


def blind_estimate(noisy: Tensor) -> BlindEstimate | None:
    """Fit var = shot_gain x + read_std^2 to the quiet directions of 5x5 patches of noisy images.

    The directions of least variance over all patches of one half of the images hold noise and hardly any image
    (Pyatykh, Hesser & Zheng 2013: the smallest principal components of patches); their power in the other half,
    regressed on the patch's mean, is the photon-transfer line. Amounts that vary by image give their mean. White noise
    only; texture makes the figures too large.

    Args:
        noisy: (N, C, H, W), fractions of white.
    Returns: None where the images leave no line to fit: too few, all dark or bright, or variance that does not rise.
    """
    patches = _patches(noisy[:IMAGES].float())
    if patches.shape[0] < 2 or patches.shape[1] == 0:
        return None
    first, second = patches[0::2].flatten(0, 1), patches[1::2].flatten(0, 1)
    power, level, averaged = [], [], 0.0
    for chosen, held in ((first, second), (second, first)):
        quiet = _quiet_directions(chosen)
        inside = _mid_grey(held)
        if not inside.any():
            return None
        found = held[inside]
        power.append((found @ quiet).square().mean(dim=1))
        weights = quiet.square().mean(dim=1)  # of a patch's pixels, as the directions see them
        level.append(found @ weights)
        averaged += float(weights.square().sum()) / 2
    return _line(torch.cat(level).double(), torch.cat(power).double(), averaged)


def _patches(images: Tensor) -> Tensor:
    """(N, patches, C * 25)."""
    blocks = images.unfold(2, SIDE, STRIDE).unfold(3, SIDE, STRIDE) if min(images.shape[-2:]) >= SIDE else None
    if blocks is None:
        return images.new_zeros(len(images), 0, 1)
    return blocks.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


def _quiet_directions(patches: Tensor) -> Tensor:
    """(D, K): eigenvectors of the second moments of (M, D) patches with the smallest eigenvalues.

    Not of the covariance: what the mean patch leaks into these directions would count as noise.
    """
    power = (patches.T @ patches).double()
    vectors: Tensor = torch.linalg.eigh(power).eigenvectors
    return vectors[:, : max(1, int(QUIET * vectors.shape[0]))].to(patches)


def _mid_grey(patches: Tensor) -> Tensor:
    """(M,) whether a patch's mean is far from black and white, and no pixel is clipped."""
    mean, low, high = patches.mean(dim=1), patches.amin(dim=1), patches.amax(dim=1)
    return (mean > LEVELS[0]) & (mean < LEVELS[1]) & (low > 0) & (high < 1)


def _line(level: Tensor, power: Tensor, averaged: float) -> BlindEstimate | None:
    """Least squares weighted by 1 / level^2, for the spread of a power grows with its level.

    Noise in the level, var ``averaged`` * power, would flatten the line (errors in variables); it is taken out.
    """
    weight = 1 / level.square()
    weight = weight / weight.sum()
    centre, mean = (weight * level).sum(), (weight * power).sum()
    spread = (weight * (level - centre).square()).sum() - averaged * mean
    gain = float((weight * (level - centre) * power).sum() / spread)
    if not (spread > 0 and 0 < gain < 1):
        return None
    return BlindEstimate(gain, max(float(mean - gain * centre), 0.0) ** 0.5)
