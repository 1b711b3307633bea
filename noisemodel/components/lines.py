"""Noise that is constant along a line of the sensor: row1, rowt, col1, colt."""

from typing import ClassVar, final

import torch
from torch import Tensor

from noisemodel.components.base import NoiseComponent, Params
from noisemodel.sensor import Crop
from noisemodel.sensor.mosaic import MOSAIC_COLUMN, MOSAIC_ROW


class LineNoise(NoiseComponent):
    """One N(0, s^2) per sensor line (row or column), constant along the line, shared by the planes that cross it.

    On a mosaic, planes 0,1 share a sensor row and planes 2,3 the next; planes 0,2 share a sensor column and planes 1,3
    the next. Mono and RGB have one draw per line for all channels.
    """

    units = {"std": "white"}
    along_rows: ClassVar[bool]

    def __init__(self, layout: str, std: float = 1e-3) -> None:
        """Start at ``std`` [fraction of white]."""
        super().__init__(layout, {"std": std})

    def _variance(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        return self.value("std", params).square()

    def _sample(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        n, t, _, height, width = burst.shape
        draws = torch.randn(
            (n, 1 if self.static else t, *line_shape(self.layout, height if self.along_rows else width)),
            generator=generator,
            device=burst.device,
            dtype=burst.dtype,
        )
        lines = spread_lines(draws, self.layout, along_rows=self.along_rows)
        return self.value("std", params) * lines


def line_shape(layout: str, length: int) -> tuple[int, ...]:
    """Shape of one draw per sensor line: (length, 2) on a mosaic (two sensor lines a cell), else (length,)."""
    return (length, 2) if layout == "mosaic" else (length,)


def spread_lines(draws: Tensor, layout: str, *, along_rows: bool) -> Tensor:
    """(N, T, *line_shape) draws -> (N, T, C or 1, H, 1) constant along rows, or (N, T, C or 1, 1, W) along columns."""
    if layout == "mosaic":
        planes = draws[..., MOSAIC_ROW if along_rows else MOSAIC_COLUMN].movedim(-1, 2)  # (N, T, 4, length)
    else:
        planes = draws.unsqueeze(2)  # (N, T, 1, length)
    return planes.unsqueeze(-1 if along_rows else -2)


@final
class Row1(LineNoise):
    """Row noise, new in every frame: N(0, s^2) per sensor row and frame."""

    name = "row1"
    along_rows = True


@final
class RowT(LineNoise):
    """Static banding: N(0, s^2) per sensor row, one draw for all frames of a burst, new per burst."""

    name = "rowt"
    along_rows = True
    static = True


@final
class Col1(LineNoise):
    """Column noise, new in every frame: N(0, s^2) per sensor column and frame."""

    name = "col1"
    along_rows = False


@final
class ColT(LineNoise):
    """Static column banding: N(0, s^2) per sensor column, one draw for all frames of a burst, new per burst."""

    name = "colt"
    along_rows = False
    static = True
