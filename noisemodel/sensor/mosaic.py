"""Where planes sit on the sensor: packing a mosaic by position, and sensor coordinates of a crop."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from noisemodel.errors import InputError

LAYOUTS = ("mosaic", "planes")
Origin = tuple[int, int] | Tensor

# Plane p of a packed mosaic is the sensor position (dy, dx) of each 2x2 cell.
MOSAIC_ROW = (0, 0, 1, 1)
MOSAIC_COLUMN = (0, 1, 0, 1)


def check_layout(layout: str) -> str:
    """Return ``layout``; raise InputError unless it is "mosaic" or "planes"."""
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout {layout!r}; known: {', '.join(LAYOUTS)}")
    return layout


def pack_mosaic(mosaic: Tensor) -> Tensor:
    """(..., H, W) sensor pixels -> (..., 4, H/2, W/2) planes by position (0,0), (0,1), (1,0), (1,1).

    Raises: InputError if H or W is odd.
    """
    height, width = mosaic.shape[-2:]
    if height % 2 or width % 2:
        raise InputError(f"a mosaic has even height and width, got {height}x{width}; crop it to even sizes")
    return torch.stack([mosaic[..., dy::2, dx::2] for dy, dx in zip(MOSAIC_ROW, MOSAIC_COLUMN, strict=True)], dim=-3)


def unpack_mosaic(planes: Tensor) -> Tensor:
    """(..., 4, h, w) planes by position -> (..., 2h, 2w) sensor pixels; the inverse of `pack_mosaic`."""
    if planes.ndim < 3 or planes.shape[-3] != 4:
        raise InputError(f"a packed mosaic has 4 planes before its height and width, got shape {tuple(planes.shape)}")
    *lead, _, h, w = planes.shape
    cells = planes.reshape(*lead, 2, 2, h, w)  # (..., dy, dx, h, w)
    return cells.movedim((-4, -3), (-3, -1)).reshape(*lead, 2 * h, 2 * w)


@dataclass(frozen=True)
class Crop:
    """Sensor coordinates of every pixel of a burst.

    Args:
        layout: "mosaic" (4 planes of a 2x2 mosaic) or "planes" (every plane has all sensor pixels).
        shape: (N, T, C, H, W) of the burst.
        origin: sensor pixel (row, column) of the crop's first pixel; (N, 2) gives one per sample.
    """

    layout: str
    shape: tuple[int, int, int, int, int]
    origin: Origin
    device: torch.device

    def __post_init__(self) -> None:
        """Check the planes and bring the origin to a (1 or N, 2) tensor."""
        n, _, channels, _, _ = self.shape
        if self.layout == "mosaic" and channels != 4:
            raise InputError(f'layout "mosaic" needs 4 planes, got {channels}; say layout="planes" for mono or RGB')
        origin = torch.as_tensor(self.origin)
        if origin.is_floating_point() or (origin.device.type == "cpu" and bool((origin < 0).any())):
            raise InputError(f"origin is in whole sensor pixels from 0 on, got {self.origin}")
        origin = origin.to(torch.int64)
        if origin.shape not in {(2,), (1, 2), (n, 2)}:
            raise InputError(f"origin must be (row, column), or one pair for each of {n}, got {tuple(origin.shape)}")
        object.__setattr__(self, "origin", origin.reshape(-1, 2).to(self.device))

    def _along(self, axis: int, offsets: tuple[int, ...]) -> Tensor:
        """Coordinates (1 or N, C or 1, length) along ``axis`` (0: rows, 1: columns)."""
        assert isinstance(self.origin, Tensor)
        first = self.origin[:, axis].view(-1, 1, 1)
        index = torch.arange(self.shape[3 + axis], device=self.device).view(1, 1, -1)
        if self.layout == "planes":
            return first + index
        return first + 2 * index + torch.tensor(offsets, device=self.device).view(1, 4, 1)

    @cached_property
    def rows(self) -> Tensor:
        """Sensor row of each plane's rows, (1 or N, 1 or C, H)."""
        return self._along(0, MOSAIC_ROW)

    @cached_property
    def columns(self) -> Tensor:
        """Sensor column of each plane's columns, (1 or N, 1 or C, W)."""
        return self._along(1, MOSAIC_COLUMN)

    @property
    def sensor_extent(self) -> tuple[int, int]:
        """Smallest sensor (rows, columns) that holds every sample of the crop."""
        return int(self.rows.max()) + 1, int(self.columns.max()) + 1
