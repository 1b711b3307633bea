"""What stays at its place on the sensor: fixed pattern and gain map (PRNU)."""

import math
from typing import final

import torch
from torch import Tensor, nn

from noisemodel.components.base import NoiseComponent, Params
from noisemodel.errors import InputError
from noisemodel.sensor import Crop, unpack_mosaic
from noisemodel.streams import stream


def as_sensor_map(data: Tensor, layout: str, what: str) -> Tensor:
    """Bring a measured map to (C or 1, rows, columns) in sensor pixels.

    Args:
        data: (rows, columns); or planes (C, h, w), which a mosaic unpacks to the sensor.
        layout: "mosaic" or "planes".
        what: its name in errors.
    Raises: InputError for another shape or a value that is not finite.
    """
    data = torch.as_tensor(data)
    if not data.is_floating_point():
        data = data.float()
    if data.ndim not in (2, 3) or data.numel() == 0:
        raise InputError(f"{what} must be (rows, columns) or (C, h, w), got shape {tuple(data.shape)}")
    if not bool(torch.isfinite(data).all()):
        raise InputError(f"{what} holds NaN or infinite values; repair the defective pixels first")
    if layout == "mosaic" and data.ndim == 3 and data.shape[0] != 1:
        data = unpack_mosaic(data)
    return (data if data.ndim == 3 else data.unsqueeze(0)).detach().clone().contiguous()


def crop_map(sensor_map: Tensor, crop: Crop, what: str) -> Tensor:
    """Cut (C or 1, rows, columns) at the crop's place: (N or 1, 1, C or 1, H, W).

    Raises: InputError if the map is smaller than origin + crop, or an origin is negative.
    """
    rows, columns = sensor_map.shape[-2:]
    need_rows, need_columns = crop.sensor_extent
    if need_rows > rows or need_columns > columns:
        raise InputError(
            f"{what} covers {rows}x{columns} sensor pixels, but origin + crop reaches {need_rows}x{need_columns}; "
            "use the pattern of the whole sensor or crops inside it"
        )
    if int(crop.rows.min()) < 0 or int(crop.columns.min()) < 0:
        raise InputError("origin must not be negative")
    channels = crop.shape[2]
    if sensor_map.shape[0] not in (1, channels):
        raise InputError(f"{what} has {sensor_map.shape[0]} planes, the images have {channels}")
    plane = torch.arange(sensor_map.shape[0], device=sensor_map.device).view(1, -1, 1, 1)
    cut = sensor_map[plane, crop.rows.unsqueeze(-1), crop.columns.unsqueeze(-2)]  # (N or 1, C or 1, H, W)
    return cut.unsqueeze(1)


@final
class FixedPattern(NoiseComponent):
    """A measured pattern P, cropped at the sample's origin: mean P, variance 0."""

    name = "fixed1"
    static = True

    def __init__(self, layout: str, pattern: Tensor | None = None) -> None:
        """Take ``pattern`` [fraction of white] in sensor pixels or packed planes; see `as_sensor_map`."""
        super().__init__(layout)
        if pattern is None:
            raise InputError(
                "fixed1 needs a measured pattern: record darks, give --fixed_pattern FILE (fixed1_pattern=...), "
                "or leave it out of the noiselist"
            )
        self.pattern: Tensor
        self.register_buffer("pattern", as_sensor_map(pattern, layout, "fixed1 pattern"))

    def _mean(self, burst: Tensor, crop: Crop) -> Tensor:
        return crop_map(self.pattern, crop, "fixed1 pattern").to(burst.dtype)

    def _variance(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        return burst.new_zeros(())

    def _sample(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        return self._mean(burst, crop)


@final
class LearnedFixedPattern(NoiseComponent):
    """A trainable pattern P over the sensor, starting from the measured one or 0: mean P, variance 0."""

    name = "learnedfixed"
    static = True

    def __init__(
        self, layout: str, pattern: Tensor | None = None, sensor_size: tuple[int, int] | None = None, channels: int = 1
    ) -> None:
        """Start from ``pattern`` (see `as_sensor_map`), or from 0 over ``sensor_size`` (rows, columns)."""
        super().__init__(layout)
        if pattern is None:
            if sensor_size is None:
                raise InputError("learnedfixed needs sensor_size=(rows, columns) or a measured pattern to start from")
            pattern = torch.zeros(channels, *sensor_size)
        self.pattern = nn.Parameter(as_sensor_map(pattern, layout, "learnedfixed pattern"))

    def _mean(self, burst: Tensor, crop: Crop) -> Tensor:
        return crop_map(self.pattern, crop, "learnedfixed pattern").to(burst.dtype)

    def _variance(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        return burst.new_zeros(())

    def _sample(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        return self._mean(burst, crop)


@final
class PhotoResponse(NoiseComponent):
    """Photo-response non-uniformity: x G, with a gain map G of std s: mean x G, variance 0.

    G is measured, or drawn once at construction as s Z over the sensor, Z ~ N(0, 1) from a stream of its own.
    """

    name = "prnu"
    units = {"std": "1"}
    static = True

    def __init__(
        self,
        layout: str,
        std: float | None = None,
        map_: Tensor | None = None,
        sensor_size: tuple[int, int] | None = None,
        seed: int = 0,
    ) -> None:
        """Take a measured ``map_`` (its std is then fixed), or draw one of std ``std`` over ``sensor_size``."""
        if map_ is None and sensor_size is None:
            raise InputError("prnu needs sensor_size=(rows, columns) to draw its gain map, or a measured prnu_map")
        if map_ is not None:
            if std is not None:
                raise InputError("give prnu_std or prnu_map, not both")
            unit = as_sensor_map(map_, layout, "prnu map")
            std = float(unit.std(correction=0))
            if std == 0:
                raise InputError("prnu map is constant; leave prnu out of the noiselist instead")
            unit = unit / std
        else:
            assert sensor_size is not None
            unit = torch.randn((1, *sensor_size), generator=stream(seed, "prnu", "gain map"))
            std = 0.01 if std is None else std
        super().__init__(layout, {"std": std})
        self.unit_map: Tensor
        self.register_buffer("unit_map", unit)
        if map_ is not None:
            self.fix("std")

    def gain_map(self) -> Tensor:
        """G = s Z over the sensor, (C or 1, rows, columns)."""
        return self.stored("std") * self.unit_map

    def _gain(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        return self.value("std", params) * crop_map(self.unit_map, crop, "prnu map").to(burst.dtype)

    def _mean(self, burst: Tensor, crop: Crop) -> Tensor:
        return burst * self._gain(burst, crop, None)

    def _variance(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        return burst.new_zeros(())

    def _sample(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        return burst * self._gain(burst, crop, params)


@final
class Periodic(NoiseComponent):
    """Periodic noise, per frame: s0 a + s1 b cos(2 pi f k) + s2 c sin(2 pi f k), with a, b, c ~ N(0, 1).

    k is the absolute sensor column (or row) and f is in cycles per sensor pixel, so the phase follows the origin and
    the law does not depend on the crop. Mean 0, variance s0^2 + s1^2 cos^2 + s2^2 sin^2. Planes share a, b, c.
    """

    name = "periodic"
    units = {"std0": "white", "std1": "white", "std2": "white", "freq": "cycles/px"}

    def __init__(
        self,
        layout: str,
        std: tuple[float, float, float] = (1e-3, 1e-3, 1e-3),
        freq: float | None = None,
        axis: str = "column",
    ) -> None:
        """Start at ``std`` = (s0, s1, s2); ``freq`` is fixed: 1/8 on a mosaic, 1/4 otherwise; k runs along ``axis``."""
        if len(tuple(std)) != 3:
            raise InputError(f"periodic_std is (s0, s1, s2), got {std}")
        super().__init__(layout, {f"std{i}": float(s) for i, s in enumerate(std)})
        if axis not in ("column", "row"):
            raise InputError(f"periodic_axis is 'column' or 'row', got {axis!r}")
        freq = (1 / 8 if layout == "mosaic" else 1 / 4) if freq is None else float(freq)
        if not 0 < freq <= 0.5:
            raise InputError(f"periodic.freq must lie in (0, 0.5] cycles per sensor pixel, got {freq}")
        self.axis, self.freq = axis, freq
        self.fixed.add("freq")

    def stored(self, key: str) -> Tensor:
        """exp(log s), or the fixed frequency."""
        return torch.tensor(self.freq) if key == "freq" else super().stored(key)

    def store(self, key: str, value: float) -> None:
        """Set a std, or the frequency (0, 0.5]."""
        if key != "freq":
            super().store(key, value)
        elif not 0 < value <= 0.5:
            raise InputError(f"periodic.freq must lie in (0, 0.5] cycles per sensor pixel, got {value}")
        else:
            self.freq = float(value)

    def options(self) -> dict[str, object]:
        """Axis and frequency."""
        return {"axis": self.axis, "freq": self.freq}

    def waves(self, burst: Tensor, crop: Crop) -> tuple[Tensor, Tensor]:
        """cos and sin of 2 pi f k, (N or 1, 1, C or 1, 1, W), or (..., H, 1) along rows; whole turns taken off."""
        place = crop.columns.unsqueeze(-2) if self.axis == "column" else crop.rows.unsqueeze(-1)
        turns = torch.frac(place.double() * self.freq)
        angle = (2 * math.pi * turns).unsqueeze(1)
        return angle.cos().to(burst.dtype), angle.sin().to(burst.dtype)

    def _variance(self, burst: Tensor, crop: Crop, params: Params) -> Tensor:
        cos, sin = self.waves(burst, crop)
        s0, s1, s2 = (self.value(f"std{i}", params) for i in range(3))
        return s0.square() + (s1 * cos).square() + (s2 * sin).square()

    def _sample(self, burst: Tensor, crop: Crop, params: Params, generator: torch.Generator) -> Tensor:
        shape = (3, *burst.shape[:2], 1, 1, 1)
        a, b, c = torch.randn(shape, generator=generator, device=burst.device, dtype=burst.dtype)
        cos, sin = self.waves(burst, crop)
        s0, s1, s2 = (self.value(f"std{i}", params) for i in range(3))
        return s0 * a + s1 * b * cos + s2 * c * sin
