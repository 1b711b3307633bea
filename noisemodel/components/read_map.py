"""Read noise whose std varies from pixel to pixel: readmap."""

from typing import final

import torch
from torch import Tensor

from noisemodel.components.base import NoiseComponent, Params
from noisemodel.components.pattern import as_sensor_map, crop_map
from noisemodel.errors import InputError
from noisemodel.sensor import Crop
from noisemodel.streams import stream

SPREAD = 0.2  # std of the logarithm of a pixel's std, where nothing is known


@final
class ReadMap(NoiseComponent):
    """Gaussian read noise N(0, (s m_i)^2), m_i the relative std of pixel i, of RMS 1 over the sensor.

    m is measured, or drawn once at construction as exp(spread z_i), z_i ~ N(0, 1) from a stream of its own.
    """

    name = "readmap"
    units = {"std": "white"}
    white = True
    white_gaussian = True

    def __init__(
        self,
        layout: str,
        std: float | None = None,
        map_: Tensor | None = None,
        spread: float | None = None,
        sensor_size: tuple[int, int] | None = None,
        seed: int = 0,
    ) -> None:
        """Take a measured ``map_`` or draw one.

        Args:
            layout: "mosaic" or "planes".
            std: RMS over the sensor [fraction of white]; without it that of ``map_``.
            map_: std of each pixel, relative or [fraction of white]; see `as_sensor_map`.
            spread: std of log m, where m is drawn.
            sensor_size: (rows, columns) [sensor pixels], where m is drawn.
            seed: of the map.
        Raises: InputError without map and sensor size, for both map and spread, or a map of no std.
        """
        if map_ is not None:
            if spread is not None:
                raise InputError("give readmap_map or readmap_spread, not both")
            unit, rms = _unit_map(as_sensor_map(map_, layout, "readmap map"))
            std = rms if std is None else std
        elif sensor_size is None:
            raise InputError("readmap needs sensor_size=(rows, columns) to draw its map, or a measured readmap_map")
        else:
            spread = SPREAD if spread is None else spread
            if not 0 <= spread <= 3:
                raise InputError(f"readmap_spread must lie in [0, 3], the std of log m, got {spread}")
            draws = torch.randn((1, *sensor_size), generator=stream(seed, "readmap", "map"))
            unit, _ = _unit_map((spread * draws).exp())
        super().__init__(layout, {"std": 3e-3 if std is None else std})
        self.unit_map: Tensor
        self.register_buffer("unit_map", unit)

    def std_map(self) -> Tensor:
        """s m over the sensor [fraction of white], (C or 1, rows, columns)."""
        return self.stored("std") * self.unit_map

    def _std(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        return self.value("std", params) * crop_map(self.unit_map, crop, "readmap map").to(burst.dtype)

    def _variance(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        return self._std(burst, crop, params).square()

    def _sample(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        draws = torch.randn(burst.shape, generator=generator, device=burst.device, dtype=burst.dtype)
        return self._std(burst, crop, params) * draws


def _unit_map(std_map: Tensor) -> tuple[Tensor, float]:
    """A map of std scaled to RMS 1, and its RMS."""
    rms = float(std_map.double().square().mean().sqrt())
    if rms == 0 or bool((std_map < 0).any()):
        raise InputError("readmap map holds the std of each pixel: none may be negative, and not all 0")
    return std_map / rms, rms
