"""Other looks at a static burst: some of its frames; a single frame beside its ground truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from noisemodel.calibration.residuals import StaticBurst


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


def with_two_frames(bursts: Sequence[StaticBurst]) -> list[StaticBurst]:
    """The bursts, single frames with ground truth as two."""
    return [Mirrored(b) if b.shape[0] == 1 and b.truth is not None else b for b in bursts]
