"""Photon noise on real dark frames: no model of the dark at all."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, final

import torch
from torch import Tensor

from noisemodel.components import as_burst
from noisemodel.errors import InputError
from noisemodel.noise_source import NoiseSource
from noisemodel.physical import PhysicalNoise
from noisemodel.sensor import Crop, Levels, Origin


class DarkBurst(Protocol):
    """What is asked of a burst of dark frames."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, C, H, W) in planes."""

    @property
    def origin(self) -> tuple[int, int]:
        """Sensor pixel (row, column) of the window's corner."""

    @property
    def path(self) -> Path:
        """Where the frames lie, for messages."""

    def read(self, frames: Sequence[int], rows: slice, columns: slice) -> Tensor:
        """(n, C, h, w) [fraction of white]."""


@final
@dataclass(frozen=True)
class DarkFrames:
    """noisy = g Poisson(x / g) + a dark frame at the same place of the sensor; x < 0 has no photons and stays.

    A dark frame holds all that the sensor does without light, its offset and fixed pattern too. Each image gets a frame
    drawn at random (all frames alike); the frames of a burst get different frames of one burst of darks.

    Args:
        bursts: of darks, all of one camera.
        shot: the photon noise.
        levels: of the darks.
        record: round on the DN grid and clip. The dark frame was rounded once already: 1/12 DN^2 count twice.
    """

    bursts: tuple[DarkBurst, ...]
    shot: PhysicalNoise
    levels: Levels
    record: bool

    @torch.no_grad()
    def noisy(self, clean: Tensor, *, generator: torch.Generator, origin: Origin) -> Tensor:
        """``clean`` (N, C, H, W) or (N, T, C, H, W) with photon noise and dark frames, same shape.

        Raises: InputError where the darks have other planes, do not cover the place, or are fewer than T.
        """
        burst, crop = as_burst(clean, self.shot.layout, origin)
        photons = self.shot.exact_noise(burst, generator=generator)
        noisy = (burst + photons + self._darks(burst, crop, generator)).reshape(clean.shape)
        return self.levels.record(noisy) if self.record else noisy

    @torch.no_grad()
    def frames(
        self,
        clean: Tensor,
        *,
        frames: int,
        generator: Callable[[str | int], torch.Generator],
        origin: Origin,
    ) -> Iterator[Tensor]:
        """T noisy versions of ``clean`` (N, C, H, W) on different frames of one burst of darks, one at a time."""
        burst, crop = as_burst(clean, self.shot.layout, origin)
        chosen, places = self._chosen(len(burst), frames, generator("static"), crop)
        for t in range(frames):
            photons = self.shot.exact_noise(burst, generator=generator(t))
            darks = [self._crop(dark, [order[t]], at, crop) for (dark, order), at in zip(chosen, places, strict=True)]
            noisy = (burst + photons + torch.stack(darks).to(burst)).reshape(clean.shape)
            yield self.levels.record(noisy) if self.record else noisy

    def _darks(self, burst: Tensor, crop: Crop, generator: torch.Generator) -> Tensor:
        """A crop of dark frames for every sample, (N, T, C, H, W)."""
        n, t, *_ = burst.shape
        chosen, places = self._chosen(n, t, generator, crop)
        crops = [self._crop(dark, order[:t], at, crop) for (dark, order), at in zip(chosen, places, strict=True)]
        return torch.stack(crops).to(burst)

    def _chosen(
        self, n: int, t: int, generator: torch.Generator, crop: Crop
    ) -> tuple[list[tuple[DarkBurst, list[int]]], list[list[int]]]:
        """For each of n samples a burst with t frames or more and an order of its frames; and the places."""
        usable = [dark for dark in self.bursts if dark.shape[0] >= t]
        if not usable:
            longest = max(dark.shape[0] for dark in self.bursts)
            raise InputError(
                f"{t} frames of a burst need as many darks; the longest of them has {longest}, record more"
            )
        device = generator.device
        weights = torch.tensor([float(dark.shape[0]) for dark in usable], device=device)
        numbers = torch.multinomial(weights, n, replacement=True, generator=generator).tolist()
        assert isinstance(crop.origin, Tensor)
        chosen = [
            (usable[i], torch.randperm(usable[i].shape[0], generator=generator, device=device).tolist())
            for i in numbers
        ]
        return chosen, crop.origin.expand(n, 2).tolist()

    def _crop(self, dark: DarkBurst, frames: list[int], place: list[int], crop: Crop) -> Tensor:
        """Some frames at one place of the sensor, (T, C, h, w)."""
        step = 2 if crop.layout == "mosaic" else 1
        _, _, channels, *size = crop.shape
        offsets = [first - start for first, start in zip(place, dark.origin, strict=True)]
        if any(offset % step for offset in offsets):
            raise InputError(f"on a mosaic, darks are cropped at even places, got {tuple(place)}; colours would swap")
        begins = [offset // step for offset in offsets]
        inside = all(b >= 0 and b + s <= e for b, s, e in zip(begins, size, dark.shape[2:], strict=True))
        if channels != dark.shape[1] or not inside:
            raise InputError(
                f"the darks {dark.path} have {dark.shape[1]} planes of {dark.shape[2]}x{dark.shape[3]}, asked for were "
                f"{channels} of {size[0]}x{size[1]} from {begins[0]},{begins[1]}; use smaller crops or a fitting origin"
            )
        rows, columns = (slice(b, b + s) for b, s in zip(begins, size, strict=True))
        return dark.read(frames, rows, columns)


def darks_of(bursts: Any, folder: Path) -> tuple[DarkBurst, ...]:
    """The dark bursts of a data set; those of a folder that holds nothing else need no name that starts with "dark".

    Raises: InputError if it has light frames but no darks.
    """
    darks = tuple(bursts.darks)
    if not darks and folder.name.lower().startswith("dark"):
        darks = tuple(bursts.bursts)
    if not darks:
        raise InputError(f"{folder} has no darks; put frames taken with the lens covered into {folder / 'darks'}")
    return darks


@final
@dataclass(frozen=True, eq=False)
class DarksSource(NoiseSource):
    """Photon noise on real dark frames; there is no model of it."""

    text: str
    darks: DarkFrames
    gain: float
    model: None = None

    @property
    def layout(self) -> str:
        return self.darks.shot.layout

    def frames(
        self,
        clean: Tensor,
        *,
        frames: int,
        generator: Callable[[str | int], torch.Generator],
        origin: Origin = (0, 0),
    ) -> Iterator[Tensor]:
        return self.darks.frames(clean, frames=frames, generator=generator, origin=origin)

    def draw(self, clean: Tensor, *, generator: torch.Generator, origin: Origin = (0, 0)) -> Tensor:
        return self.darks.noisy(clean, generator=generator, origin=origin)

    def describe(self) -> str:
        frames = sum(burst.shape[0] for burst in self.darks.bursts)
        return f"{self.text}: Poisson photons of {self.gain:.3g} of white each, on {frames} real dark frames"
