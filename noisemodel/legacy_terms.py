"""The noise terms of the published starlight script (Monakhova 2022) with their laws as they were, slips included."""

import math
from collections.abc import Mapping
from typing import final

import scipy.special
import torch
from torch import Tensor, nn

from noisemodel.components.base import NoiseComponent, Params
from noisemodel.errors import InputError
from noisemodel.sensor import Crop


class PublishedTerm(NoiseComponent):
    """A term whose numbers are multiplied with draws as they are: any sign, no logarithm."""

    def __init__(self, layout: str, raw: Mapping[str, float]) -> None:
        """Take ``raw``, key of `units` -> number."""
        super().__init__(layout)
        self.raw = nn.ParameterDict({key: nn.Parameter(torch.tensor(float(value))) for key, value in raw.items()})
        self.units = {key: unit for key, unit in type(self).units.items() if key in raw}

    def stored(self, key: str) -> Tensor:
        """The number itself."""
        return self.raw[key]

    def store(self, key: str, value: float) -> None:
        """Set a number of either sign."""
        if key not in self.raw or not math.isfinite(value):
            raise InputError(f"{self.name}.{key} = {value} cannot be set; it has: {', '.join(self.raw)}")
        with torch.no_grad():
            self.raw[key].fill_(value)

    def leaf(self, key: str) -> nn.Parameter | None:
        """The trainable tensor behind a parameter."""
        return self.raw.get(key)


@final
class OldShotRead(PublishedTerm):
    """N(0, (a x + b)^2): the std is what was meant as the variance, a x + b. Without ``shot``, N(0, b^2)."""

    name = "oldshotread"
    units = {"slope": "1", "offset": "white"}
    white = True
    white_gaussian = True

    def scale(self, burst: Tensor, params: Params = None) -> Tensor:
        """A x + b, which the normal draw is multiplied with."""
        offset = self.value("offset", params)
        return burst * self.value("slope", params) + offset if "slope" in self.raw else offset.expand_as(burst)

    def _variance(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        return self.scale(burst, params).square()

    def _sample(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        return _normal(burst.shape, burst, generator) * self.scale(burst, params)


@final
class OldUniform(PublishedTerm):
    """U(0, w): brightens by w / 2, variance w^2 / 12."""

    name = "olduniform"
    units = {"width": "white"}
    white = True

    def _mean(self, burst: Tensor, crop: Crop) -> Tensor:
        return self.value("width") / 2

    def _variance(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        return self.value("width", params).square() / 12

    def _sample(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        draws = torch.rand(burst.shape, generator=generator, device=burst.device, dtype=burst.dtype)
        return self.value("width", params) * draws


@final
class OldRow(PublishedTerm):
    """One N(0, s^2) per column of each plane and frame, constant along H: called row noise."""

    name = "oldrow1"
    units = {"std": "white"}

    def _variance(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        return self.value("std", params).square()

    def _sample(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        *lead, _, width = burst.shape
        return self.value("std", params) * _normal((*lead, width), burst, generator).unsqueeze(-2)


@final
class OldTemporalRow(PublishedTerm):
    """One N(0, s^2) per column and frame, constant along H and the same in all planes: called temporal row noise."""

    name = "oldrowt"
    units = {"std": "white"}

    def _variance(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        return self.value("std", params).square()

    def _sample(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        draws = _normal((*burst.shape[:2], burst.shape[-1]), burst, generator)
        return self.value("std", params) * draws[:, :, None, None]


@final
class OldPeriodic(PublishedTerm):
    """|p0 a + (p1 b + i p2 c) u_k + (p1 b - i p2 c) v_k| / sqrt(H W), with a, b, c ~ N(0, 1) per plane and frame.

    u_k = exp(2 pi i k j / W), j = W // 4, and v_k with j = 3 W // 4: |ifft2| of three lines. Never negative; where 4
    divides W it is the size of a real wave of period 4. Its amplitude falls with the size of the crop.
    """

    name = "oldperiodic"
    units = {"p0": "white px", "p1": "white px", "p2": "white px"}

    def lines(self, burst: Tensor, params: Params = None) -> tuple[Tensor, Tensor, Tensor]:
        """The three complex factors of a, b and c: (N or 1, 1, 1, 1, W), divided by sqrt(H W)."""
        height, width = burst.shape[-2:]
        low, high = width // 4, 3 * width // 4
        k = torch.arange(width, device=burst.device, dtype=torch.float64)
        kind = torch.complex64 if burst.dtype == torch.float32 else torch.complex128
        u, v = (torch.polar(torch.ones_like(k), 2 * math.pi * torch.frac(k * j / width)).to(kind) for j in (low, high))
        u = u * (low != high)  # a line written twice holds what was written last
        p0, p1, p2 = (self.value(f"p{i}", params) / math.sqrt(height * width) for i in range(3))
        return p0 * torch.full_like(u, float(low > 0)), p1 * (u + v), p2 * (1j * (u - v))

    def _sample(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        a, b, c = (_normal(burst.shape[:3], burst, generator)[..., None, None] for _ in range(3))
        of_a, of_b, of_c = self.lines(burst, params)
        return (of_a * a + of_b * b + of_c * c).abs()

    def _second_moments(self, burst: Tensor, params: Params = None) -> tuple[Tensor, Tensor]:
        """Variances of the complex sum along its principal axes, larger and smaller."""
        factors = torch.stack(torch.broadcast_tensors(*self.lines(burst, params)))
        real, imag, both = (
            (one * other).sum(0)
            for one, other in ((factors.real,) * 2, (factors.imag,) * 2, (factors.real, factors.imag))
        )
        half = ((real - imag).square() / 4 + both.square()).sqrt()
        centre = (real + imag) / 2
        return centre + half, (centre - half).clamp_min(0)

    def _mean(self, burst: Tensor, crop: Crop) -> Tensor:
        return self._mean_size(burst, None)

    @torch.no_grad()
    def _mean_size(self, burst: Tensor, params: Params) -> Tensor:
        """sqrt(2 v / pi) E(1 - w / v) of a complex normal with principal variances v >= w, E the elliptic integral."""
        large, small = self._second_moments(burst, params)
        parameter = torch.where(large > 0, 1 - small / large.clamp_min(1e-30), 1.0)
        elliptic = torch.from_numpy(scipy.special.ellipe(parameter.double().cpu().numpy())).to(large)
        return (2 / math.pi * large).sqrt() * elliptic

    def _variance(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        large, small = self._second_moments(burst, params)
        return (large + small - self._mean_size(burst, params).square()).clamp_min(0)


def _normal(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)
