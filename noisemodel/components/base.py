"""One physical cause of noise: what every component shares."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from noisemodel.errors import InputError
from noisemodel.sensor import Crop, Origin
from noisemodel.sensor.mosaic import check_layout

Params = Mapping[str, Tensor] | None


@dataclass(frozen=True)
class Parameter:
    """One physical parameter: a figure, its unit, its 95 % interval where one is known, and whether it is fixed."""

    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    fixed: bool = False


def safe_sqrt(variance: Tensor) -> Tensor:
    """sqrt(variance) with gradient 0 where the variance is 0 (plain sqrt gives infinity there, and NaN behind it)."""
    if not (torch.is_grad_enabled() and variance.requires_grad):
        return variance.sqrt()
    positive = variance > 0
    return torch.where(positive, torch.where(positive, variance, 1.0).sqrt(), 0.0)


def scaled(draws: Tensor, factor: Tensor) -> Tensor:
    """factor * draws, in place where no gradient needs the draws (which the caller has just made)."""
    if torch.is_grad_enabled() and factor.requires_grad:
        return draws * factor
    return draws.mul_(factor)


class NoiseComponent(nn.Module, ABC):
    """noise ~ law(clean; parameters): one cause, with a differentiable draw, an exact draw and closed-form moments.

    Signals are fractions of the white level. ``clean`` is (N, C, H, W) or (N, T, C, H, W), a burst of T frames of one
    static scene; an image is a burst with T = 1. ``origin`` is the sensor pixel (row, column) of the crop's corner, for
    the batch or one per sample. ``params`` replaces parameters by a value per image: name -> (N,) tensor; names of
    other components are ignored here (`PhysicalNoise` refuses unknown ones).

    Positive parameters live as logs in ``self.log`` and are therefore positive by construction.
    """

    name: ClassVar[str]
    units: dict[str, str] = {}  # of each parameter; differs by instance where their number does
    static: ClassVar[bool] = False  # constant over a burst: cancels where the reference is the burst's own mean
    white: ClassVar[bool] = False  # independent from pixel to pixel
    white_gaussian: ClassVar[bool] = False  # white, zero-mean and Gaussian: draws may be merged

    def __init__(self, layout: str, positive: Mapping[str, float] | None = None) -> None:
        """Store ``positive`` parameters (name without the component's word -> start value) as logs."""
        super().__init__()
        self.layout = check_layout(layout)
        self.fixed: set[str] = set()
        self.log = nn.ParameterDict()
        for key, start in (positive or {}).items():
            if not (math.isfinite(start) and start > 0):
                raise InputError(f"{self.name}.{key} must be a positive number, got {start}")
            self.log[key] = nn.Parameter(torch.tensor(math.log(start)))

    # What a concrete component defines: tensors that broadcast to the burst's (N, T, C, H, W).

    @abstractmethod
    def _sample(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        """One differentiable draw."""

    @abstractmethod
    def _variance(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        """Variance over repeated draws."""

    def _simulate(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        """One draw of the exact law; the same as the differentiable one unless a component says otherwise."""
        return self._sample(burst, crop, params, generator)

    def _mean(self, burst: Tensor, crop: Crop) -> Tensor:
        """Mean over repeated draws; zero unless a component says otherwise."""
        return burst.new_zeros(())

    # What users call.

    def sample(
        self, clean: Tensor, *, generator: torch.Generator, origin: Origin = (0, 0), params: Params = None
    ) -> Tensor:
        """One differentiable draw of the noise, shape of ``clean``."""
        burst, crop = as_burst(clean, self.layout, origin)
        noise = self._sample(burst, crop, per_image(params, clean), generator)
        return noise.expand(burst.shape).reshape(clean.shape)

    @torch.no_grad()
    def simulate(
        self, clean: Tensor, *, generator: torch.Generator, origin: Origin = (0, 0), params: Params = None
    ) -> Tensor:
        """One draw of the exact law, shape of ``clean``, no gradient."""
        burst, crop = as_burst(clean, self.layout, origin)
        noise = self._simulate(burst, crop, per_image(params, clean), generator)
        return noise.expand(burst.shape).reshape(clean.shape)

    def mean(self, clean: Tensor, *, origin: Origin = (0, 0)) -> Tensor:
        """Mean of the noise over repeated draws, shape of ``clean``."""
        burst, crop = as_burst(clean, self.layout, origin)
        return self._mean(burst, crop).expand(burst.shape).reshape(clean.shape)

    def variance(self, clean: Tensor, *, origin: Origin = (0, 0), params: Params = None) -> Tensor:
        """Variance of the noise over repeated draws [fraction of white, squared], shape of ``clean``."""
        burst, crop = as_burst(clean, self.layout, origin)
        variance = self._variance(burst, crop, per_image(params, clean)).to(burst.dtype)
        return variance.expand(burst.shape).reshape(clean.shape)

    # Parameters.

    def value(self, key: str, params: Params = None) -> Tensor:
        """A parameter's value: scalar, or (N, 1, 1, 1, 1) where ``params`` gives one per image."""
        given = None if params is None else params.get(f"{self.name}.{key}")
        return self.stored(key) if given is None else given.view(-1, 1, 1, 1, 1)

    def stored(self, key: str) -> Tensor:
        """The value of a parameter from its stored form: exp(log)."""
        return self.log[key].exp()

    def store(self, key: str, value: float) -> None:
        """Set a parameter to ``value`` in its own unit; raises InputError where the law does not allow it."""
        if key not in self.log:
            raise InputError(f"{self.name} has no parameter {key!r}; it has: {', '.join(self.units) or 'none'}")
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{self.name}.{key} must be a positive number, got {value}")
        with torch.no_grad():
            self.log[key].fill_(math.log(value))

    def leaf(self, key: str) -> nn.Parameter | None:
        """The trainable tensor behind a parameter; None where it has none (a frequency)."""
        return self.log.get(key)

    def fix(self, key: str) -> None:
        """Hold a parameter: it takes no gradient from now on, also after saving and loading."""
        if (leaf := self.leaf(key)) is not None:
            leaf.requires_grad_(False)
        self.fixed.add(key)

    def parameters_table(self) -> list[Parameter]:
        """Every physical parameter with its value and unit."""
        return [
            Parameter(f"{self.name}.{key}", float(self.stored(key).detach()), unit, fixed=key in self.fixed)
            for key, unit in self.units.items()
        ]

    def options(self) -> dict[str, object]:
        """What, beside the weights, is needed to build this component again (JSON-able)."""
        return {}


def per_image(params: Params, clean: Tensor) -> Params:
    """``params`` in the type and on the device of ``clean``; raises InputError unless each has one value per image."""
    for name, value in (params or {}).items():
        if not isinstance(value, Tensor):
            raise InputError(f"params[{name!r}] must be a tensor of one value per image, got {type(value).__name__}")
        if value.shape != clean.shape[:1]:
            raise InputError(f"params[{name!r}] must be ({clean.shape[0]},), one per image, got {tuple(value.shape)}")
    return params and {name: value.to(clean) for name, value in params.items()}


def as_burst(clean: Tensor, layout: str, origin: Origin) -> tuple[Tensor, Crop]:
    """View (N, C, H, W) as a burst with T = 1 and place it on the sensor.

    Raises: InputError for another number of dimensions, a wrong number of planes, or an origin of the wrong shape.
    """
    if clean.ndim not in (4, 5):
        raise InputError(f"expected (N, C, H, W) images or (N, T, C, H, W) bursts, got shape {tuple(clean.shape)}")
    if clean.dtype not in (torch.float32, torch.float64):
        remedy = "convert with .float(): half precision cannot hold the variance of read noise"
        raise InputError(f"signals are fractions of the white level in float32 or float64, got {clean.dtype}; {remedy}")
    if clean.numel() == 0:
        raise InputError(f"there is nothing to add noise to, got shape {tuple(clean.shape)}")
    burst = clean if clean.ndim == 5 else clean.unsqueeze(1)
    n, t, c, h, w = burst.shape
    return burst, Crop(layout, (n, t, c, h, w), origin, burst.device)
