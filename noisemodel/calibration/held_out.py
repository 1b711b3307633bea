"""Other looks at a static burst: some frames, the middle of them, a single frame beside its ground truth."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from noisemodel.calibration.residuals import StaticBurst
from noisemodel.errors import InputError

LARGEST = 4_400_000  # sensor pixels of a scene that is measured whole; of doubles, above what glibc puts on its heap


@dataclass(frozen=True)
class SomeFrames:
    """A burst of some of a burst's frames."""

    burst: StaticBurst
    chosen: tuple[int, ...]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.burst, name)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self.chosen), *self.burst.shape[1:])

    def frame(self, t: int) -> Tensor:
        return self.burst.frame(self.chosen[t])

    def read(self, frames: Sequence[int], rows: slice, columns: slice) -> Tensor:
        """A crop of some of the chosen frames."""
        return self.burst.read([self.chosen[t] for t in frames], rows, columns)  # type: ignore[attr-defined]

    def summary(self) -> Any:
        """Offsets about the mean of the chosen frames; the rest as in the whole burst."""
        return self._summary

    @cached_property
    def _summary(self) -> Any:
        whole = self.burst.summary()
        offsets = whole.offsets[list(self.chosen)]
        return whole._replace(offsets=offsets - offsets.mean(), level=whole.level + offsets.mean())


class _Summary(NamedTuple):
    """What one pass over a burst tells."""

    offsets: Tensor
    level: Tensor
    saturated: float


@dataclass(frozen=True)
class Mirrored:
    """A single frame x + n with ground truth x as two: x + n / sqrt(2) and x - n / sqrt(2).

    About their mean, x, they have the sample variance n^2 with one degree of freedom, as the frame has about the truth;
    so every moment of a burst holds. What is constant over a burst is in n as all else.
    """

    burst: StaticBurst

    def __getattr__(self, name: str) -> Any:
        return getattr(self.burst, name)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (2, *self.burst.shape[1:])

    def frame(self, t: int) -> Tensor:
        truth = self.burst.truth
        assert truth is not None
        return truth + (1 - 2 * t) * (self.burst.frame(0) - truth) / 2**0.5

    def summary(self) -> Any:
        """Offsets of the two, and the level of the truth."""
        return self._summary

    @cached_property
    def _summary(self) -> Any:
        truth, whole = self.burst.truth, self.burst.summary()
        assert truth is not None
        level = truth.double().mean(dim=(-2, -1)).float()
        offset = float((whole.level.double() - level).mean()) / 2**0.5
        return _Summary(torch.tensor([offset, -offset]), level, whole.saturated)


@dataclass(frozen=True)
class Window:
    """The middle of a burst, in planes; only it is read, and the ground truth but once until `release`.

    Args:
        burst: one that reads by crop (``read``, ``read_truth``).
        rows, columns: of a plane.
    """

    burst: Any
    rows: slice
    columns: slice
    _kept: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.burst, name)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        height, width = self.rows.stop - self.rows.start, self.columns.stop - self.columns.start
        return (*self.burst.shape[:2], height, width)

    @property
    def origin(self) -> tuple[int, int]:
        """Sensor pixel of the window's corner."""
        step = 2 if self.burst.layout == "mosaic" else 1
        row, column = self.burst.origin
        return row + step * self.rows.start, column + step * self.columns.start

    @property
    def truth(self) -> Tensor | None:
        """(C, h, w) noise-free exposure."""
        if not self.burst.has_truth:
            return None
        return self._once("truth", lambda: self.burst.read_truth(self.rows, self.columns))

    def frame(self, t: int) -> Tensor:
        """Frame t; a single frame is read once.

        Raises: InputError if it holds NaN or infinite values.
        """
        if self.burst.shape[0] == 1:
            return self._once("frame", lambda: self._read(t))
        return self._read(t)

    def _read(self, t: int) -> Tensor:
        frame: Tensor = self.burst.read([t], self.rows, self.columns)[0]
        if not bool(torch.isfinite(frame).all()):
            raise InputError(f"frame {t} of {self.burst.name} holds NaN or infinite values; repair or leave it out")
        return frame

    def _once(self, name: str, read: Callable[[], Tensor]) -> Tensor:
        if name not in self._kept:
            self._kept[name] = read()
        return self._kept[name]

    def release(self) -> None:
        """Forget what was read."""
        self._kept.clear()

    def summary(self) -> Any:
        """Offsets and levels of the window."""
        return self._summary

    @cached_property
    def _summary(self) -> Any:
        frames = (self.frame(t) for t in range(self.shape[0]))
        found = [(frame.double().mean(dim=(-2, -1)), float((frame >= 1).double().mean())) for frame in frames]
        planes = torch.stack([means for means, _ in found])  # (T, C)
        offsets = planes.mean(dim=1)
        saturated = sum(share for _, share in found) / len(found)
        return _Summary((offsets - offsets.mean()).float(), planes.mean(dim=0).float(), saturated)


def windowed(burst: StaticBurst) -> StaticBurst:
    """Of a scene beyond `LARGEST`, the middle, in the scene's own shape; all else whole.

    Darks and flats stay whole: their maps (fixed pattern, gain) are of the whole sensor. The share of a scene that is
    left out costs little: at 4 million pixels the variance of a level is known to 1 % and better.
    """
    pixels = (
        burst.shape[1] * burst.shape[2] * burst.shape[3] if burst.layout == "mosaic" else math.prod(burst.shape[2:])
    )
    if burst.kind != "scene" or pixels <= LARGEST or not hasattr(burst, "read"):
        return burst
    sides = (int(side * (LARGEST / pixels) ** 0.5) for side in burst.shape[2:])
    rows, columns = (slice((n - m) // 2, (n - m) // 2 + m) for n, m in zip(burst.shape[2:], sides, strict=True))
    return Window(burst, rows, columns)


def with_two_frames(burst: StaticBurst) -> StaticBurst:
    """The burst; a single frame with ground truth as two."""
    return Mirrored(burst) if burst.shape[0] == 1 and burst.has_truth else burst
