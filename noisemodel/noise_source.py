"""What a source of noise is, and the sources that are models."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from noisemodel.errors import InputError
from noisemodel.generator import NoiseGenerator
from noisemodel.physical import PhysicalNoise
from noisemodel.quantities import describe
from noisemodel.sensor import Origin


class NoiseSource(ABC):
    """Something that adds noise to clean images."""

    model: NoiseGenerator | None

    @property
    @abstractmethod
    def layout(self) -> str:
        """The layout that it was opened in: "mosaic" or "planes"."""

    @abstractmethod
    def draw(self, clean: Tensor, *, generator: torch.Generator, origin: Origin = (0, 0)) -> Tensor:
        """A noisy version of ``clean``.

        Args:
            clean: (N, C, H, W) or (N, T, C, H, W) [fraction of white].
            generator: the stream to draw from.
            origin: sensor pixel (row, column) of the corner; (N, 2) for one per sample.
        Returns: the shape of ``clean`` [fraction of white].
        """

    def frames(
        self,
        clean: Tensor,
        *,
        frames: int,
        generator: Callable[[str | int], torch.Generator],
        origin: Origin = (0, 0),
    ) -> Iterator[Tensor]:
        """T noisy versions of ``clean`` (N, C, H, W), one at a time: frames of a static scene.

        Args:
            frames: T.
            generator: gives the stream of a frame by its number, and of what is constant over the burst by "static".
        """
        for t in range(frames):
            yield self.draw(clean, generator=generator(t), origin=origin)

    @abstractmethod
    def describe(self) -> str:
        """What it adds, on one line."""


@final
@dataclass(frozen=True, eq=False)
class ModelSource(NoiseSource):
    """Noise of one model.

    Args:
        text: what it was opened from.
        model: no gradients, in evaluation mode.
        exact: laws as `NoiseGenerator.simulate`, else as `measure`.
        remark: what is worth knowing beside the parameters.
    """

    text: str
    model: NoiseGenerator
    exact: bool
    remark: str = ""

    @property
    def layout(self) -> str:
        return self.model.physical.layout

    @torch.no_grad()
    def draw(self, clean: Tensor, *, generator: torch.Generator, origin: Origin = (0, 0)) -> Tensor:
        if self.exact:
            return self.model.simulate(clean, generator=generator, origin=origin)
        return self.model.measure(clean, generator=generator, origin=origin).noisy

    def describe(self) -> str:
        physical = self.model.physical
        words = [describe(physical.parameters_table(), physical.levels)]
        words += [self.model.kind] if self.model.network is not None else []
        return f"{self.text}: {'; '.join([*words, *([self.remark] if self.remark else [])])}"


@final
@dataclass(frozen=True, eq=False)
class ColourSource(NoiseSource):
    """var = S x + O with its own (S, O) for each plane, drawn plane by plane.

    Args:
        text: what it was opened from.
        model: one law for all planes, with the mean of S and of O over them, since a model has one gain: right on the
            average of the planes, wrong in each by the ratio of its S and O to the mean.
        white: shot and read noise of one plane.
        pairs: (S, O) of each plane [fraction of white].
        exact, remark: as `ModelSource`.
    """

    text: str
    model: NoiseGenerator
    white: PhysicalNoise
    pairs: tuple[tuple[float, float], ...]
    exact: bool
    remark: str = ""

    @property
    def layout(self) -> str:
        return self.model.physical.layout

    @torch.no_grad()
    def draw(self, clean: Tensor, *, generator: torch.Generator, origin: Origin = (0, 0)) -> Tensor:
        if clean.ndim not in (4, 5) or clean.shape[-3] != len(self.pairs):
            raise InputError(f"{self.text} states {len(self.pairs)} planes; got shape {tuple(clean.shape)}")
        planes = clean.reshape(-1, 1, *clean.shape[-2:])  # (N T C, 1, H, W): each plane an image with its own params
        values = torch.tensor(self.pairs).to(clean).repeat(len(planes) // len(self.pairs), 1)
        params = {"shot.gain": values[:, 0]}
        if "read" in self.white.components:
            params["read.std"] = values[:, 1].sqrt()
        draw = self.white.simulate if self.exact else _noisy_of(self.white)
        return draw(planes, generator=generator, params=params).reshape(clean.shape)

    def describe(self) -> str:
        each = ", ".join(f"S {slope:.3g} O {offset:.3g}" for slope, offset in self.pairs)
        return f"{self.text}: by plane {each}; {self.remark}"


def _noisy_of(physical: PhysicalNoise) -> Callable[..., Tensor]:
    return lambda *args, **options: physical.measure(*args, **options).noisy
