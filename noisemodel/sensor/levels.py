"""Black level, white level and clip range of a camera."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from noisemodel.errors import InputError


@dataclass(frozen=True)
class Levels:
    """x = (DN - black) / (white - black): the affine map between digital numbers and fractions of the white level.

    Args:
        black_dn: the code at which no light was seen [DN]; need not be an integer.
        white_dn: the code at which the sensor saturates [DN].
        clip: range that the data set clips to [fraction of white]; None is what black-subtracted
            raw can hold, [-black / (white - black), 1]. SIDD is (0.0, 1.0).
    Raises: InputError if white does not exceed black, or a number is not finite.
    """

    black_dn: float
    white_dn: float
    clip: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Refuse levels that no camera has."""
        if not (math.isfinite(self.black_dn) and math.isfinite(self.white_dn)):
            raise InputError(f"black and white level must be finite, got {self.black_dn} and {self.white_dn} DN")
        if self.white_dn <= self.black_dn:
            raise InputError(f"white level must exceed black level, got {self.white_dn} <= {self.black_dn} DN")
        if self.clip is not None:
            low, high = map(float, self.clip)
            if not low < high:
                raise InputError(f"clip range must be (low, high) with low < high, got {self.clip}")
            object.__setattr__(self, "clip", (low, high))

    @property
    def range_dn(self) -> float:
        """White minus black [DN]: what one fraction of the white level is worth."""
        return self.white_dn - self.black_dn

    @property
    def adc_step(self) -> float:
        """One DN as a fraction of the white level, 1 / (white - black)."""
        return 1.0 / self.range_dn

    @property
    def rounding(self) -> float:
        """Step that recorded values are rounded to [fraction of white]: one DN, or 0 for levels of 0 and 1.

        Frames that come as fractions (SIDD) are not on a grid that anyone knows.
        """
        return self.adc_step if self.range_dn > 1 else 0.0

    @property
    def clip_range(self) -> tuple[float, float]:
        """The range a recorded value can have [fraction of white]."""
        return self.clip if self.clip is not None else (-self.black_dn / self.range_dn, 1.0)

    def to_fraction(self, dn: Tensor) -> Tensor:
        """(DN - black) / (white - black), any shape."""
        return (dn - self.black_dn) / self.range_dn

    def to_dn(self, fraction: Tensor) -> Tensor:
        """x (white - black) + black, any shape, not rounded."""
        return fraction * self.range_dn + self.black_dn

    def record(self, signal: Tensor) -> Tensor:
        """Round on the DN grid, if there is one, then clip: the end of the camera's chain [fraction of white]."""
        low, high = self.clip_range
        rounded = self.to_fraction(torch.round(self.to_dn(signal))) if self.rounding else signal
        return rounded.clamp(low, high)
