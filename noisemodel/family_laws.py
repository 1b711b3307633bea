"""The laws of NR-GAN's noise families: noise from a clean image and random draws, and its variance in closed form.

Images are fractions of white, (N, C, H, W); stds and widths are settings per 255 (Kaneko & Harada 2020).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from noisemodel.errors import InputError
from noisemodel.family_draws import Amount, Draws

WHITE = 255.0


def _square(amount: Amount) -> float:
    """Mean square of an amount over images."""
    low, high = amount if isinstance(amount, tuple) else (amount, amount)
    return (low * low + low * high + high * high) / 3.0


def _inverse(amount: Amount) -> float:
    """Mean of 1 / amount over images."""
    if isinstance(amount, tuple):
        return math.log(amount[1] / amount[0]) / (amount[1] - amount[0])
    return 1.0 / amount


@dataclass(frozen=True)
class Law(ABC):
    """noise ~ law(clean): one row of settings per family."""

    def amounts(self, draws: Draws) -> dict[str, Tensor]:
        """The amounts of each image, name -> (n, 1, 1, 1) [fraction of white]; always an image's first draws."""
        return {}

    @abstractmethod
    def noise(self, clean: Tensor, draws: Draws) -> Tensor:
        """Noise of the shape of ``clean``, differentiable in it."""

    @abstractmethod
    def variance(self, clean: Tensor) -> Tensor:
        """Variance of the noise of each pixel over draws and amounts, of the shape of ``clean``."""


@final
@dataclass(frozen=True)
class NoNoise(Law):
    """noise = 0."""

    def noise(self, clean: Tensor, draws: Draws) -> Tensor:
        return torch.zeros_like(clean)

    def variance(self, clean: Tensor) -> Tensor:
        return torch.zeros_like(clean)


@final
@dataclass(frozen=True)
class Gaussian(Law):
    """noise ~ N(0, s^2), s the same for all images or drawn for each."""

    std_255: Amount

    def amounts(self, draws: Draws) -> dict[str, Tensor]:
        return {"read.std": draws.amount(self.std_255) / WHITE}

    def noise(self, clean: Tensor, draws: Draws) -> Tensor:
        return self.amounts(draws)["read.std"] * draws.normal(*clean.shape[1:])

    def variance(self, clean: Tensor) -> Tensor:
        return torch.full_like(clean, _square(self.std_255) / WHITE**2)


@final
@dataclass(frozen=True)
class Patch(Law):
    """noise ~ N(0, s^2) inside one rectangle per image, 0 outside.

    Height and width are independent, each uniform on the whole numbers low..high; the place is uniform where it fits.
    """

    std_255: float
    sides: tuple[int, int]

    def noise(self, clean: Tensor, draws: Draws) -> Tensor:
        height, width = self._fitting(clean)
        inside = self._inside(height, draws)[:, None, :, None] & self._inside(width, draws)[:, None, None, :]
        return draws.normal(*clean.shape[1:]) * (inside * (self.std_255 / WHITE))

    def _inside(self, length: int, draws: Draws) -> Tensor:
        """(n, length): which rows, or columns, the rectangle covers."""
        low, high = self.sides
        u = draws.uniform(2).double()
        side = low + (u[:, :1] * (high - low + 1)).floor()
        start = (u[:, 1:] * (length - side + 1)).floor()
        place = torch.arange(length, device=u.device)
        return (place >= start) & (place < start + side)

    def _covered(self, length: int) -> Tensor:
        """(length,) probability that the rectangle covers a row, or column."""
        low, high = self.sides
        side = torch.arange(low, high + 1, dtype=torch.float64)[:, None]
        place = torch.arange(length, dtype=torch.float64)
        starts = torch.minimum(place, length - side) - (place - side + 1).clamp(min=0) + 1
        return (starts / (length - side + 1)).mean(0)

    def _fitting(self, clean: Tensor) -> tuple[int, int]:
        """Height and width; raises InputError where the largest rectangle does not fit."""
        height, width = clean.shape[-2:]
        if min(height, width) < self.sides[1]:
            raise InputError(f"noise patches of {self.sides[1]} px need larger images, got {height}x{width}")
        return height, width

    def variance(self, clean: Tensor) -> Tensor:
        height, width = self._fitting(clean)
        covered = self._covered(height)[:, None] * self._covered(width) * (self.std_255 / WHITE) ** 2
        return covered.to(clean).expand_as(clean)


@final
@dataclass(frozen=True)
class Uniform(Law):
    """noise ~ U(-w, w)."""

    half_width_255: float

    def noise(self, clean: Tensor, draws: Draws) -> Tensor:
        return (2.0 * draws.uniform(*clean.shape[1:]) - 1.0) * (self.half_width_255 / WHITE)

    def variance(self, clean: Tensor) -> Tensor:
        return torch.full_like(clean, (self.half_width_255 / WHITE) ** 2 / 3.0)


@final
@dataclass(frozen=True)
class Mixture(Law):
    """noise ~ N(0, s1^2), N(0, s2^2) or U(-w, w), chosen per pixel and the same choice for all its channels.

    Args:
        shares: of the two normals; the uniform has what is left.
        stds_255: s1, s2.
        half_width_255: w.
    """

    shares: tuple[float, float]
    stds_255: tuple[float, float]
    half_width_255: float

    def noise(self, clean: Tensor, draws: Draws) -> Tensor:
        choice = draws.uniform(1, *clean.shape[2:])
        std = torch.where(choice < self.shares[0], self.stds_255[0] / WHITE, self.stds_255[1] / WHITE)
        normal = std * draws.normal(*clean.shape[1:])
        uniform = (2.0 * draws.uniform(*clean.shape[1:]) - 1.0) * (self.half_width_255 / WHITE)
        return torch.where(choice < sum(self.shares), normal, uniform)

    def variance(self, clean: Tensor) -> Tensor:
        parts = [share * std**2 for share, std in zip(self.shares, self.stds_255, strict=True)]
        uniform = (1.0 - sum(self.shares)) * self.half_width_255**2 / 3.0
        return torch.full_like(clean, (sum(parts) + uniform) / WHITE**2)


@final
@dataclass(frozen=True)
class Blurred(Law):
    """noise = s (k * f) / sqrt(sum k^2), f ~ N(0, 1), k a Gaussian kernel with a zero border; plus s f if asked.

    The zero border leaves 0.757 of the centre's variance at an edge and 0.572 in a corner.

    With ``plus_field`` the white noise that is added is the SAME field f, as in the published code, so the two are
    correlated: the variance is 2 + 2 k[0, 0] / sqrt(sum k^2) = 3.03 times s^2, not 2 times.

    Args:
        std_255: s.
        taps: length of the kernel.
        sigma: its std [px].
        plus_field: whether s f is added.
    """

    std_255: float
    taps: int
    sigma: float
    plus_field: bool = False

    @cached_property
    def kernel(self) -> Tensor:
        """(taps,) of one axis, scaled so that the sum of squares is 1."""
        place = torch.arange(self.taps, dtype=torch.float64) - self.taps // 2
        weights = (-0.5 * (place / self.sigma) ** 2).exp()
        return weights / weights.square().sum().sqrt()

    def noise(self, clean: Tensor, draws: Draws) -> Tensor:
        field = draws.normal(*clean.shape[1:])
        blurred = shifted_sum(shifted_sum(field, self.kernel.tolist(), -2), self.kernel.tolist(), -1)
        return (blurred + field if self.plus_field else blurred) * (self.std_255 / WHITE)

    def variance(self, clean: Tensor) -> Tensor:
        sides = [torch.ones(1, 1, length, 1, dtype=torch.float64) for length in clean.shape[-2:]]
        rows, columns = (shifted_sum(side, self.kernel.square().tolist(), -2).flatten() for side in sides)
        variance = rows[:, None] * columns  # (H, W)
        if self.plus_field:
            variance = variance + 1.0 + 2.0 * float(self.kernel[self.taps // 2]) ** 2
        return (variance * (self.std_255 / WHITE) ** 2).to(clean).expand_as(clean)


def shifted_sum(images: Tensor, kernel: list[float], axis: int) -> Tensor:
    """sum_i kernel[i] images[x + i - half] along an axis: convolution with an odd, symmetric kernel and zero border."""
    half = len(kernel) // 2
    length = images.shape[axis]
    total = images * kernel[half]
    for shift in range(1, min(half, length - 1) + 1):
        ahead, behind = (images.narrow(axis, start, length - shift) for start in (shift, 0))
        total.narrow(axis, 0, length - shift).add_(ahead, alpha=kernel[half + shift])
        total.narrow(axis, shift, length - shift).add_(behind, alpha=kernel[half - shift])
    return total


@final
@dataclass(frozen=True)
class Multiplicative(Law):
    """noise ~ N(0, (s x)^2), plus independent N(0, r^2).

    Args:
        std_255: s at x = 1, the same for all images or drawn for each.
        read_255: r.
    """

    std_255: Amount
    read_255: float = 0.0

    def amounts(self, draws: Draws) -> dict[str, Tensor]:
        read = draws.amount(self.read_255) / WHITE
        return {"multiplicative.std": draws.amount(self.std_255) / WHITE, "read.std": read}

    def noise(self, clean: Tensor, draws: Draws) -> Tensor:
        amounts = self.amounts(draws)
        noise = amounts["multiplicative.std"] * clean * draws.normal(*clean.shape[1:])
        return noise + amounts["read.std"] * draws.normal(*clean.shape[1:]) if self.read_255 else noise

    def variance(self, clean: Tensor) -> Tensor:
        return (_square(self.std_255) * clean.square() + self.read_255**2) / WHITE**2


@final
@dataclass(frozen=True)
class Poisson(Law):
    """noise = Poisson(K x) / K - x, plus independent N(0, r^2): shot noise of gain 1 / K and read noise.

    Its differentiable draw is the normal approximation N(0, x / K), which the published code uses for AmbientGAN.

    Args:
        rate: K, photons at x = 1, the same for all images or drawn for each.
        read_255: r, the same for all images or drawn for each.
    """

    rate: Amount
    read_255: Amount = 0.0

    @property
    def largest_rate(self) -> float:
        """The largest K of any image."""
        return self.rate[1] if isinstance(self.rate, tuple) else self.rate

    def amounts(self, draws: Draws) -> dict[str, Tensor]:
        rate = draws.amount(self.rate)
        return {"shot.gain": 1.0 / rate, "read.std": draws.amount(self.read_255) / WHITE}

    def noise(self, clean: Tensor, draws: Draws) -> Tensor:
        amounts = self.amounts(draws)
        gain = amounts["shot.gain"]
        mean = (clean.clamp(min=0.0) / gain).clamp(max=self.largest_rate)
        noise = (draws.poisson(mean, self.largest_rate) - mean) * gain
        return noise + amounts["read.std"] * draws.normal(*clean.shape[1:]) if self.read_255 else noise

    def variance(self, clean: Tensor) -> Tensor:
        return clean.clamp(min=0.0) * _inverse(self.rate) + _square(self.read_255) / WHITE**2
