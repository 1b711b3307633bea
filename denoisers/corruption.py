"""The corruptions of Noise2Noise, for whole batches on any device: one row of `CORRUPTIONS` each."""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

import torch
from torch import Tensor

from denoisers.text import glyph_atlas, write_text
from noisemodel.errors import InputError
from noisemodel.family_draws import poisson_counts

TABULATED = 128  # largest mean count that is drawn from a table, five times as fast as torch.poisson
Draw = Callable[[Tensor, Tensor, torch.Generator, Path | None], tuple[Tensor, Tensor | None]]


class Corrupted(NamedTuple):
    """A corrupted batch.

    Attributes:
        noisy: (N, C, H, W) [fraction of white], never clipped.
        mask: (N, 1, H, W), 1 where the pixel is there, 0 where it is lost; None where all are.
    """

    noisy: Tensor
    mask: Tensor | None = None


def _gaussian(clean: Tensor, level: Tensor, draws: torch.Generator, _: Path | None) -> tuple[Tensor, None]:
    """x + N(0, (level / 255)^2)."""
    noise = torch.randn(clean.shape, generator=draws, device=clean.device, dtype=clean.dtype)
    return noise.mul_(level / 255).add_(clean), None


def _poisson(clean: Tensor, level: Tensor, draws: torch.Generator, _: Path | None) -> tuple[Tensor, None]:
    """Poisson(level x) / level, beyond white too; what is below 0 counts as 0."""
    mean = clean.clamp(min=0).mul_(level)
    most = math.ceil(float(level.max()))
    if most > TABULATED or float(mean.max()) > most:
        return torch.poisson(mean, generator=draws).div_(level), None
    return poisson_counts(mean, draws, most).div_(level), None


def _bernoulli(clean: Tensor, level: Tensor, draws: torch.Generator, _: Path | None) -> tuple[Tensor, Tensor]:
    """x m, m = 0 with probability ``level``, the same for all channels of a pixel; the mask is m."""
    kept = (_uniform(clean[:, :1], draws) >= level).to(clean.dtype)
    return clean * kept, kept


def _impulse(clean: Tensor, level: Tensor, draws: torch.Generator, _: Path | None) -> tuple[Tensor, None]:
    """With probability ``level`` a pixel is replaced by a colour, each channel uniform on 0 .. 255 over 255."""
    hit = (_uniform(clean[:, :1], draws) < level).to(clean.dtype)
    words = torch.empty(-(-clean.numel() // 8), dtype=torch.int64, device=clean.device)
    levels = words.random_(-(1 << 63), None, generator=draws).view(torch.uint8)[: clean.numel()]  # 8 of each word
    return clean.lerp(levels.to(clean.dtype).div_(255).view(clean.shape), hit), None


def _text(clean: Tensor, level: Tensor, draws: torch.Generator, font: Path | None) -> tuple[Tensor, None]:
    """Letters that cover the share ``level``, see `write_text`."""
    atlas = glyph_atlas(font, str(clean.device))
    return write_text(clean, level.flatten(), atlas, generator=draws), None


def _uniform(like: Tensor, draws: torch.Generator) -> Tensor:
    """U(0, 1) of a shape."""
    return torch.rand(like.shape, generator=draws, device=like.device, dtype=like.dtype)


@final
@dataclass(frozen=True)
class Kind:
    """A row of `CORRUPTIONS`.

    Args:
        description: of the law, p being the amount.
        draw: noisy images and mask from (clean, level (N, 1, 1, 1), generator, font).
        amount: p where none is given.
        below: p must be positive and lower than this.
        spread: levels are U(0, p) for each image; else all are p.
        loss: a row of `denoisers.losses.LOSSES`.
    """

    description: str
    draw: Draw
    amount: float
    below: float
    spread: bool
    loss: str


_BERNOULLI = Kind("pixels lost with probability ~ U(0, p)", _bernoulli, 0.95, 1.0, True, "l2")
CORRUPTIONS: dict[str, Kind] = {
    "gaussian": Kind("Gaussian, std ~ U(0, p) / 255", _gaussian, 50.0, math.inf, True, "l2"),
    "poisson": Kind("Poisson, p photons at white", _poisson, 30.0, math.inf, False, "l2"),
    "bernoulli": _BERNOULLI,
    "multiplicative_bernoulli": _BERNOULLI,  # its published name
    "impulse": Kind("pixels of random colour with probability ~ U(0, p)", _impulse, 0.95, 1.0, True, "l0"),
    "text": Kind("random letters over a share ~ U(0, p)", _text, 0.5, 1.0, True, "l1"),
}


@final
@dataclass(frozen=True)
class Corruption:
    """A kind of corruption with its amount.

    Args:
        name: a row of `CORRUPTIONS`.
        amount: p of its law; None for the published one.
        font: for text: a file; None for a packaged one.
    Raises: InputError for an unknown kind, or an amount outside its range.
    """

    name: str
    amount: float | None = None
    font: Path | None = None

    def __post_init__(self) -> None:
        """Look the kind up; fill in its amount."""
        if self.name not in CORRUPTIONS:
            close = difflib.get_close_matches(self.name, CORRUPTIONS, n=1)
            did = f"; did you mean {close[0]}?" if close else ""
            raise InputError(f"unknown corruption {self.name!r} (known: {', '.join(CORRUPTIONS)}){did}")
        if self.amount is None:
            object.__setattr__(self, "amount", self.kind.amount)
        if not 0 < self.p < self.kind.below:
            ends = "above 0" if self.kind.below == math.inf else f"above 0 and below {self.kind.below:g}"
            raise InputError(f"the amount of {self.name} must be {ends}, got {self.amount}; its law: {self.describe()}")

    @property
    def kind(self) -> Kind:
        """Its row."""
        return CORRUPTIONS[self.name]

    @property
    def p(self) -> float:
        """The amount."""
        assert self.amount is not None
        return self.amount

    @property
    def typical(self) -> float:
        """The level that denoisers are compared at: the mean of the law, p / 2, or p."""
        return self.p / 2 if self.kind.spread else self.p

    def describe(self) -> str:
        """The law with its amount."""
        return f"{self.kind.description}, p = {self.p:g}" if self.amount is not None else self.kind.description

    @torch.no_grad()
    def draw(self, clean: Tensor, *, generator: torch.Generator, level: float | None = None) -> Corrupted:
        """Corrupt a batch.

        Args:
            clean: (N, C, H, W) [fraction of white].
            generator: on the same device.
            level: the same for all images; None draws it for each by the law.
        """
        shape = (len(clean), 1, 1, 1)
        if level is not None or not self.kind.spread:
            levels = torch.full(shape, self.p if level is None else level, device=clean.device)
        else:
            levels = self.p * torch.rand(shape, generator=generator, device=clean.device)
        return Corrupted(*self.kind.draw(clean, levels, generator, self.font))
