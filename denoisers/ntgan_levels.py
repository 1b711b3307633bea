"""How noisy a picture is, from the picture alone: variance by brightness, coarseness and channel; and such noise.

The quietest blocks of each brightness hold noise and little of the picture (noise level functions: Liu et al. 2006,
"Noise estimation from a single image"). Real pictures have been demosaicked, denoised and compressed: their noise is
coarser than a pixel, alike in the channels, and stronger where it is bright, which a single figure cannot say.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from noisemodel.errors import InputError
from noisemodel.streams import stream

BOXES = (1, 2, 4)  # over which noise is averaged to see how coarse it is [px]
BLOCK = 16  # side of the blocks whose variances are looked at [px]
BINS = 4  # of brightness, equally full
LEAST_BLOCKS = 20  # in a bin; small pictures have fewer bins
QUIET = 0.05  # quantile of the blocks' variances, within a bin, that counts as noise
SMOOTH = 5  # side of the mean that brightness is looked up by [px]
SWEEPS = 20
PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))  # entries of a covariance of three channels
TINY = 1e-12
INDEPENDENT = 0.02  # share of each channel's noise that is its own at least, so that a root exists


class Draws(Protocol):
    """Random rows of a batch: see `denoisers.ntgan_step.Rows`."""

    def normal(self, *shape: int) -> Tensor: ...


class NoiseLevels(NamedTuple):
    """Of N pictures.

    Attributes:
        brightness: (N, 3, BINS) middle of each bin, rising.
        power: (N, S, 3, BINS) variance of each of the S parts of `unit_parts` in each bin.
        mixing: (N, S, 3, 3) lower triangles L: channels are correlated as L L^T, whose diagonal is 1.
    """

    brightness: Tensor
    power: Tensor
    mixing: Tensor

    def to(self, device: torch.device | str) -> "NoiseLevels":
        """The same on a device."""
        return NoiseLevels(*(part.to(device) for part in self))


class PictureLevels:
    """Levels of whole pictures, each measured when it is first asked for.

    Args:
        pictures: (3, H, W) each, fractions of white or uint8.
    """

    def __init__(self, pictures: Sequence[Tensor]) -> None:
        """Nothing is measured yet."""
        self.pictures, self.found = pictures, dict[int, NoiseLevels]()

    def __call__(self, numbers: Sequence[int]) -> NoiseLevels:
        """Levels of the pictures of these numbers, in this order."""
        for number in {*numbers} - self.found.keys():
            picture = self.pictures[number]
            scale = 1.0 if picture.is_floating_point() else 255.0
            self.found[number] = measure_levels(picture[None] / scale)
        return NoiseLevels(*(torch.cat(parts) for parts in zip(*(self.found[n] for n in numbers), strict=True)))


def measure_levels(images: Tensor) -> NoiseLevels:
    """Levels of each image: of its blocks without their planes, the quantile `QUIET` of the variances in each bin.

    Args:
        images: (N, 3, H, W), H, W >= BLOCK.
    Raises: InputError for smaller ones.
    """
    if min(images.shape[-2:]) < BLOCK:
        size = "x".join(map(str, images.shape[-2:]))
        raise InputError(f"noise is measured on pictures of at least {BLOCK} px, got {size}; leave them out")
    light, covariances = block_covariances(images)  # (N, 3, B), (N, S, 6, B)
    count = light.shape[-1]
    bins = max(min(BINS, count // LEAST_BLOCKS), 1)
    order = light.argsort(dim=-1)
    parts = order.tensor_split(bins, dim=-1)
    brightness = torch.stack([light.gather(-1, part).mean(dim=-1) for part in parts], dim=-1)
    variances = covariances[:, :, :3]
    wanted = torch.stack([_in_bin(variances, part).quantile(QUIET, dim=-1) for part in parts], dim=-1)
    power = share_out(wanted.movedim(1, 0), unit_leaks().to(images.device, wanted.dtype)).movedim(0, 1)
    mixing = _mixing(covariances, parts)
    full = torch.arange(BINS, device=images.device) * bins // BINS
    return NoiseLevels(*(part.float() for part in (brightness[..., full], power[..., full], mixing)))


def _in_bin(variances: Tensor, part: Tensor) -> Tensor:
    """(N, S, 3, B) at the blocks (N, 3, b): (N, S, 3, b)."""
    return variances.gather(-1, part[:, None].expand(-1, variances.shape[1], -1, -1))


def _mixing(covariances: Tensor, parts: Sequence[Tensor]) -> Tensor:
    """Cholesky roots of the correlations of the channels in the quietest blocks of each bin of green: (N, S, 3, 3)."""
    chosen = []
    for part in parts:
        green = part[:, 1, None, None].expand(-1, *covariances.shape[1:3], -1)
        inside = covariances.gather(-1, green)  # (N, S, 6, b)
        total = inside[:, :1, :3].sum(dim=2, keepdim=True)
        quiet = total.argsort(dim=-1)[..., : max(round(QUIET * total.shape[-1]), 1)].expand(*inside.shape[:3], -1)
        picked = inside.gather(-1, quiet)
        chosen.append(picked / picked[:, :, :3].sum(dim=2, keepdim=True).clamp(min=TINY))  # dark bins count alike
    mean = torch.cat(chosen, dim=-1).mean(dim=-1)
    matrix = mean.new_zeros(*mean.shape[:2], 3, 3)
    for entry, (row, column) in enumerate(PAIRS):
        matrix[..., row, column] = matrix[..., column, row] = mean[..., entry]
    std = matrix.diagonal(dim1=-2, dim2=-1).clamp(min=TINY).sqrt()
    correlation = (matrix / std[..., None] / std[..., None, :]).clamp(-1, 1) * (1 - INDEPENDENT)
    eye = torch.eye(3, device=mean.device, dtype=mean.dtype)
    correlation = torch.where(eye.bool(), eye, correlation)
    root, failed = torch.linalg.cholesky_ex(correlation)
    return torch.where(failed[..., None, None] == 0, root, eye)


def block_covariances(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the channels in every block, planes taken out.

    Args:
        images: (N, 3, H, W).
    Returns: means (N, 3, B); covariances (N, S, 6, B) of the image averaged over each of `BOXES`, entries as `PAIRS`.
    """
    sides = [size // BLOCK * BLOCK for size in images.shape[-2:]]
    whole = images[..., : sides[0], : sides[1]].double()
    whole = whole - (offset := whole.mean(dim=(-2, -1), keepdim=True))
    found = []
    for box in BOXES:
        side = BLOCK // box
        pooled = functional.avg_pool2d(whole, box)
        planes = _plane(side).to(pooled)  # (3, 1, side, side), orthonormal
        fits = functional.conv2d(pooled.flatten(0, 1)[:, None], planes, stride=side).unflatten(0, pooled.shape[:2])
        products = torch.stack([pooled[:, a] * pooled[:, b] for a, b in PAIRS], dim=1)
        sums = functional.avg_pool2d(products, side) * side**2
        fitted = torch.stack([(fits[:, a] * fits[:, b]).sum(dim=1) for a, b in PAIRS], dim=1)
        found.append((sums - fitted).flatten(2) / (side**2 - len(planes)))
    means = functional.avg_pool2d(whole, BLOCK) + offset
    return means.flatten(2), torch.stack(found, dim=1)


@functools.cache
def _plane(side: int) -> Tensor:
    """Three orthonormal kernels (3, 1, side, side): constant, ramp across, ramp down."""
    ramp = torch.linspace(-1, 1, side, dtype=torch.float64)
    kernels = torch.stack(
        [torch.ones(side, side, dtype=torch.float64), ramp.expand(side, side), ramp.expand(side, side).T]
    )
    return (kernels / kernels.flatten(1).norm(dim=1)[:, None, None])[:, None]


@functools.cache
def unit_leaks() -> Tensor:
    """(S, S): what `measure_levels` sees at each box of each of `unit_parts`, from a large sample."""
    draws = _Single(stream(0, "noise levels"))
    parts = unit_parts((1, 3, 1024, 1024), draws)
    seen = [block_covariances(part)[1][:, :, :3].quantile(QUIET, dim=-1).mean(dim=(0, 2)) for part in parts]
    return torch.stack(seen, dim=1)


class _Single:
    """Draws of one row."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def normal(self, *shape: int) -> Tensor:
        return torch.randn((1, *shape), generator=self.generator)


def unit_parts(shape: Sequence[int], draws: Draws) -> list[Tensor]:
    """White noise of std 1 on grids of `BOXES`, enlarged bilinearly to (N, 3, H, W)."""
    _, channels, *size = shape
    parts = []
    for box in BOXES:
        part = draws.normal(channels, *(-(-side // box) for side in size))
        if box > 1:
            part = functional.interpolate(part, scale_factor=box, mode="bilinear")[..., : size[0], : size[1]]
        parts.append(part)
    return parts


def share_out(wanted: Tensor, leaks: Tensor) -> Tensor:
    """p >= 0 with sum_t leaks[s, t] p[t] = wanted[s], or nearly: projected Gauss-Seidel.

    Args:
        wanted: (S, ...).
        leaks: (S, S).
    Returns: (S, ...).
    """
    power = torch.zeros_like(wanted)
    for _ in range(SWEEPS):
        for row in range(len(wanted)):
            others = torch.tensordot(leaks[row], power, dims=1) - leaks[row, row] * power[row]
            power[row] = ((wanted[row] - others) / leaks[row, row]).clamp(min=0)
    return power


def measured_noise(images: Tensor, levels: NoiseLevels, draws: Draws) -> Tensor:
    """Gaussian noise of the levels' variance at each pixel's brightness, as coarse and as correlated.

    Args:
        images: what the noise depends on, (N, 3, H, W).
        levels: of N pictures, on the same device.
    Returns: (N, 3, H, W).
    """
    lower, share = _between(functional.avg_pool2d(images, SMOOTH, 1, SMOOTH // 2, count_include_pad=False), levels)
    noise = torch.zeros_like(images)
    for part, power, mixing in zip(
        unit_parts(images.shape, draws), levels.power.unbind(1), levels.mixing.unbind(1), strict=True
    ):
        low, high = (power.gather(-1, place).view_as(images) for place in (lower, lower + 1))
        noise += torch.lerp(low, high, share.view_as(images)).sqrt() * torch.einsum("ncd,ndhw->nchw", mixing, part)
    return noise


def _between(images: Tensor, levels: NoiseLevels) -> tuple[Tensor, Tensor]:
    """The bin below each pixel's brightness, and how far it is to the next, both (N, 3, H W)."""
    light, middles = images.flatten(2).contiguous(), levels.brightness.contiguous()
    lower = torch.searchsorted(middles, light).sub_(1).clamp_(0, BINS - 2)
    low, high = middles.gather(-1, lower), middles.gather(-1, lower + 1)
    return lower, ((light - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
