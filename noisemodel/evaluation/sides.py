"""Two sides of a comparison on the same recording: real frames, other real frames, or a source of noise."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from noisemodel.errors import InputError
from noisemodel.evaluation.recording import Pair, ReadableBurst, Recording, generate, read_recording
from noisemodel.noise_source import ModelSource, NoiseSource


class Side(ABC):
    """What makes noisy frames of a recording's scene."""

    real: bool

    @abstractmethod
    def residual(self, at: Recording, *, generator: torch.Generator) -> Tensor:
        """Residuals (T, C, h, w) [fraction of white], made as those of ``at`` are."""


@final
@dataclass(frozen=True)
class OwnFrames(Side):
    """The real frames of the recording itself."""

    real: bool = True

    def residual(self, at: Recording, *, generator: torch.Generator) -> Tensor:
        return at.residual(at.frames)


@final
@dataclass(frozen=True, eq=False)
class OtherFrames(Side):
    """Real frames from elsewhere, of the recording's name and place; residuals from their own reference.

    bursts: by name; a single one stands for every recording.
    """

    bursts: Mapping[str, ReadableBurst]
    real: bool = True

    def residual(self, at: Recording, *, generator: torch.Generator) -> Tensor:
        burst = next(iter(self.bursts.values())) if len(self.bursts) == 1 else self.bursts.get(at.name)
        if burst is None:
            raise InputError(f"no burst {at.name} among {', '.join(self.bursts)}; name both folders' bursts alike")
        step = 2 if at.layout == "mosaic" else 1
        side = step * max(at.frames.shape[-2:])
        other = read_recording(burst, size=side, most_frames=len(at.frames))
        if other.frames.shape[1:] != at.frames.shape[1:] or other.centred != at.centred:
            found, asked = (f"{tuple(r.frames.shape[1:])}{' centred' * r.centred}" for r in (other, at))
            raise InputError(f"{burst.path} gives {found}, {at.name} {asked}; compare frames of one size and reference")
        return other.residual(other.frames)


@final
@dataclass(frozen=True, eq=False)
class Drawn(Side):
    """Frames of a source of noise.

    clipped: to the data's clip range, for data that the source knows no levels of.
    """

    source: NoiseSource
    clipped: bool = False
    real: bool = False

    @torch.no_grad()
    def residual(self, at: Recording, *, generator: torch.Generator) -> Tensor:
        if isinstance(self.source, ModelSource) and self.source.exact:
            noisy = generate(self.source.model, at, generator=generator)
        else:
            clean = at.clean.expand_as(at.frames).unsqueeze(0)
            noisy = self.source.draw(clean, generator=generator, origin=at.origin)[0]
        return at.residual(noisy.clamp(*at.levels.clip_range) if self.clipped else noisy)


def compared(at: Recording, sides: tuple[Side, Side], generators: tuple[torch.Generator, torch.Generator]) -> Pair:
    """Residuals of both sides; ``real`` of the pair is the first side.

    Two sources are compared on the clean image itself, without the centring that real frames without truth need.
    """
    if not any(side.real for side in sides):
        at = replace(at, centred=False, reference=at.clean)
    first, second = (side.residual(at, generator=g) for side, g in zip(sides, generators, strict=True))
    count = min(len(first), len(second))
    if count < len(at.frames):
        at = replace(at, frames=at.frames[:count])
    return Pair(at, first[:count], second[:count])


def with_frames(at: Recording, count: int) -> Recording:
    """The recording with room for ``count`` frames of its scene; their content is the clean image."""
    return replace(at, frames=at.clean.expand(count, -1, -1, -1), centred=False, reference=at.clean)
