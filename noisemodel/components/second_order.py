"""Noise that grows with the signal itself rather than with its root: rowgain, excess."""

from typing import final

import torch
from torch import Tensor

from noisemodel.components.base import NoiseComponent, Params, safe_sqrt, scaled
from noisemodel.components.lines import line_shape, spread_lines
from noisemodel.sensor import Crop


@final
class RowGain(NoiseComponent):
    """Row noise of the gain: x r, r ~ N(0, s^2) per sensor row and frame: variance s^2 x^2, also at x < 0.

    Planes that cross a sensor row share r.
    """

    name = "rowgain"
    units = {"std": "1"}

    def __init__(self, layout: str, std: float = 1e-3) -> None:
        """Start at the relative ``std`` of a row's gain."""
        super().__init__(layout, {"std": std})

    def _variance(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        return scaled(burst.square(), self.value("std", params).square())

    def _sample(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        shape = (*burst.shape[:2], *line_shape(self.layout, burst.shape[-2]))
        draws = torch.randn(shape, generator=generator, device=burst.device, dtype=burst.dtype)
        return burst * (self.value("std", params) * spread_lines(draws, self.layout, along_rows=True))


@final
class Excess(NoiseComponent):
    """White noise N(0, c x+^2), x+ = max(x, 0): the curvature of a photon-transfer line.

    Source noise, or a gain that grows with the signal.
    """

    name = "excess"
    units = {"coefficient": "1"}
    white = True
    white_gaussian = True

    def __init__(self, layout: str, coefficient: float = 1e-4) -> None:
        """Start at ``coefficient`` c: variance per squared signal."""
        super().__init__(layout, {"coefficient": coefficient})

    def _variance(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        return scaled(burst.clamp_min(0).square(), self.value("coefficient", params))

    def _sample(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        draws = torch.randn(burst.shape, generator=generator, device=burst.device, dtype=burst.dtype)
        return safe_sqrt(self._variance(burst, crop, params)) * draws
