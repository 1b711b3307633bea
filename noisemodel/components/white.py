"""Noise that is independent from pixel to pixel: shot, read, Tukey-lambda read, uniform."""

import math
from typing import final

import torch
from torch import Tensor, nn

from noisemodel.components.base import NoiseComponent, Params, safe_sqrt, scaled
from noisemodel.errors import InputError
from noisemodel.sensor import Crop, Levels

MOST_LAMBDA = 100.0  # U(0, 1) is lambda = 1: beyond it nothing is left of a tail
UNKNOWN_STEP = 1 / 1023  # of an ADC of which nothing is known: 10 bits [fraction of white]
ZETA_2, ZETA_3, ZETA_4 = math.pi**2 / 6, 1.2020569031595942, math.pi**4 / 90


@final
class Shot(NoiseComponent):
    """Photon shot noise: sample N(0, g x+); simulate g Poisson(x+ / g) - x+, with x+ = max(x, 0) (Foi 2008).

    g is the white fraction per electron; the full well that it implies is 1 / g electrons.
    """

    name = "shot"
    units = {"gain": "white/e-"}
    white = True
    white_gaussian = True

    def __init__(self, layout: str, gain: float = 1e-3) -> None:
        """Start at ``gain`` [white fraction per electron]."""
        super().__init__(layout, {"gain": gain})

    def _variance(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        return scaled(burst.clamp_min(0), self.value("gain", params))

    def _sample(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        return safe_sqrt(self._variance(burst, crop, params)) * _randn(burst, generator)

    def _simulate(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        gain = self.value("gain", params).to(burst.dtype)
        light = burst.clamp_min(0)
        return gain * torch.poisson(light / gain, generator=generator) - light


@final
class Read(NoiseComponent):
    """Gaussian read noise: N(0, s^2)."""

    name = "read"
    units = {"std": "white"}
    white = True
    white_gaussian = True

    def __init__(self, layout: str, std: float = 3e-3) -> None:
        """Start at ``std`` [fraction of white]."""
        super().__init__(layout, {"std": std})

    def _variance(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        return self.value("std", params).square()

    def _sample(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        return scaled(_randn(burst, generator), self.value("std", params))


@final
class TukeyLambdaRead(NoiseComponent):
    """Heavy-tailed read noise by inverse CDF: s (u^l - (1-u)^l) / l, logistic s ln(u / (1-u)) at l = 0 (Wei 2020).

    l > -1/2 by construction (l = -1/2 + softplus(.)), so that the variance exists. u is drawn in double precision:
    float32 draws stop at 6e-8 and would cut the tail off.
    """

    name = "readtl"
    units = {"scale": "white", "lambda": "1"}
    white = True

    def __init__(self, layout: str, scale: float = 2e-3, lambda_: float = 0.1) -> None:
        """Start at ``scale`` [fraction of white] and shape ``lambda_``; raises InputError if lambda <= -0.5."""
        super().__init__(layout, {"scale": scale})
        self.raw_lambda = nn.Parameter(torch.zeros(()))
        self.store("lambda", lambda_)

    def stored(self, key: str) -> Tensor:
        """exp(log scale), or lambda = -1/2 + softplus(raw)."""
        return nn.functional.softplus(self.raw_lambda) - 0.5 if key == "lambda" else super().stored(key)

    def store(self, key: str, value: float) -> None:
        """Set scale or lambda; raises InputError if scale <= 0 or lambda <= -0.5."""
        if key != "lambda":
            super().store(key, value)
            return
        if not -0.5 < value < MOST_LAMBDA:
            raise InputError(
                f"readtl.lambda must exceed -0.5 (below it the variance is infinite) and be below {MOST_LAMBDA:g}, "
                f"got {value}"
            )
        shifted = value + 0.5
        with torch.no_grad():
            self.raw_lambda.fill_(shifted + math.log(-math.expm1(-shifted)))

    def leaf(self, key: str) -> nn.Parameter | None:
        """The trainable tensor behind scale or lambda."""
        return self.raw_lambda if key == "lambda" else super().leaf(key)

    def _variance(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        scale, shape = self.value("scale", params), self.value("lambda", params)
        return (scale.square() * tukey_lambda_variance(shape)).to(burst.dtype)

    def _sample(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        u = torch.rand(burst.shape, generator=generator, device=burst.device, dtype=torch.float64)
        u = u.clamp(2.0**-54, 1 - 2.0**-53)
        lower, upper = u.log().to(burst.dtype), torch.log1p(-u).to(burst.dtype)
        shape = self.value("lambda", params).to(burst.dtype)
        return self.value("scale", params) * (_power_over(lower, shape) - _power_over(upper, shape))


@final
class Uniform(NoiseComponent):
    """Uniform noise U(-w/2, w/2), variance w^2 / 12: stands for the ADC's rounding while training.

    Where the ADC step is known, w is that step, 1 / (white - black), and fixed.
    """

    name = "uniform"
    units = {"width": "white"}
    white = True

    def __init__(self, layout: str, width: float | None = None, levels: Levels | None = None) -> None:
        """Start at ``width`` [fraction of white]; without one, the ADC step of ``levels``, fixed."""
        step = levels.rounding if levels is not None and levels.rounding else UNKNOWN_STEP
        super().__init__(layout, {"width": width if width is not None else step})
        if width is None and step != UNKNOWN_STEP:
            self.fix("width")

    def _variance(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        return self.value("width", params).square() / 12

    def _sample(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        return scaled(centred_uniform(burst.shape, burst, generator), self.value("width", params))


def centred_uniform(shape: torch.Size, like: Tensor, generator: torch.Generator) -> Tensor:
    """U(-1/2, 1/2) of ``shape``; float32 on CPU takes 16 random bits a value (mid-points of 2^16 cells).

    The cells are 2^-16 of the width apart, and the variance is short of 1/12 by 2^-32; one 64-bit draw feeds four
    values, which makes the draw three times faster than torch.rand.
    """
    if like.dtype != torch.float32 or like.device.type != "cpu":
        return torch.rand(shape, generator=generator, device=like.device, dtype=like.dtype) - 0.5
    count = math.prod(shape)
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    return words.view(torch.int16)[:count].view(shape).to(like.dtype).add_(0.5).mul_(2.0**-16)


def tukey_lambda_variance(shape: Tensor) -> Tensor:
    """2 / l^2 (1 / (1 + 2l) - B(l+1, l+1)) of the unit Tukey-lambda law, pi^2 / 3 at l = 0; needs l > -1/2."""
    shape = shape.double()
    small = shape.abs() < 1e-3
    safe = torch.where(small, 1.0, shape)
    log_ratio = 2 * torch.lgamma(1 + safe) - torch.lgamma(1 + 2 * safe)
    series = ZETA_2 - 2 * ZETA_3 * shape + 3.5 * ZETA_4 * shape.square()
    return 2 / (1 + 2 * shape) * torch.where(small, series, -torch.expm1(log_ratio) / safe.square())


def _power_over(log_u: Tensor, shape: Tensor) -> Tensor:
    """(u^l - 1) / l from log u, continuous through l = 0 in value and gradient."""
    small = shape.abs() < 1e-4
    safe = torch.where(small, 1.0, shape)
    series = log_u * (1 + shape * log_u / 2 + (shape * log_u).square() / 6)
    return torch.where(small, series, torch.expm1(safe * log_u) / safe)


def _randn(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal draws, one per element of ``like``."""
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
