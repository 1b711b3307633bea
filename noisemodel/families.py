"""NR-GAN's noise families: one definition for the data's corruption, AmbientGAN's measurement and the tests.

Kaneko & Harada, "Noise Robust Generative Adversarial Networks", CVPR 2020, families A to P; and a simulated sensor.
"""

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from noisemodel.errors import InputError
from noisemodel.family_draws import Draws
from noisemodel.family_laws import (
    Blurred,
    Gaussian,
    Law,
    Mixture,
    Multiplicative,
    NoNoise,
    Patch,
    Poisson,
    Uniform,
    shifted_sum,
)  # fmt: skip
from noisemodel.pieces import Piece, each_in_threads
from noisemodel.streams import stream

Relation = Literal["none", "independent", "multiplicative", "poisson"]
BLOCK = 1024  # images that share a stream; part of what a seed means
CHUNK = 64  # images of a block that are drawn at once: cache-sized, and all that one image needs
BINOMIAL = [0.25, 0.5, 0.25]


@final
@dataclass(frozen=True)
class Family:
    """One row of `FAMILIES`.

    Args:
        letter: in the paper; empty for what is not in it.
        relation: how the noise depends on the signal: std constant, proportional to x, or to sqrt(x).
        law: the noise, with its settings.
        description: for users, stds per 255.
        antialias: whether every model's critic sees `antialias` of the images.
    """

    letter: str
    relation: Relation
    law: Law
    description: str
    antialias: bool = False


FAMILIES: dict[str, Family] = {
    "cifar10": Family("", "none", NoNoise(), "no noise"),
    "cifar10ag25": Family("A", "independent", Gaussian(25), "Gaussian, std 25"),
    "cifar10ag5-50": Family("B", "independent", Gaussian((5, 50)), "Gaussian, std 5 to 50 by image"),
    "cifar10lg25p16": Family("C", "independent", Patch(25, (16, 16)), "Gaussian, std 25, in a 16x16 patch"),
    "cifar10lg25p8-24": Family("D", "independent", Patch(25, (8, 24)), "Gaussian, std 25, in a patch of 8 to 24 px"),
    "cifar10u50": Family("E", "independent", Uniform(50), "uniform, -50 to 50"),
    "cifar10mix": Family(
        "F", "independent", Mixture((0.7, 0.2), (15, 25), 50), "per pixel Gaussian 15 or 25, or uniform -50 to 50"
    ),
    "cifar10bg25k5": Family("G", "independent", Blurred(25, 5, 1.1), "Gaussian, std 25, blurred over 5x5"),
    "cifar10abg25k5": Family(
        "H", "independent", Blurred(25, 5, 1.1, plus_field=True), "A + G of the same field: variance 3.03 x 25^2"
    ),
    "cifar10mg25": Family("I", "multiplicative", Multiplicative(25), "Gaussian, std 25 x"),
    "cifar10mg5-50": Family("J", "multiplicative", Multiplicative((5, 50)), "Gaussian, std 5 x to 50 x by image"),
    "cifar10amg5_25": Family("K", "multiplicative", Multiplicative(25, 5), "I + Gaussian, std 5"),
    "cifar10amg25_25": Family("L", "multiplicative", Multiplicative(25, 25), "I + Gaussian, std 25"),
    "cifar10p30": Family("M", "poisson", Poisson(30), "Poisson, 30 photons at white", True),
    "cifar10p10-50": Family("N", "poisson", Poisson((10, 50)), "Poisson, 10 to 50 photons at white by image", True),
    "cifar10pg30_5": Family("O", "poisson", Poisson(30, 5), "M + Gaussian, std 5", True),
    "cifar10pg30_25": Family("P", "poisson", Poisson(30, 25), "M + Gaussian, std 25", True),
    "sensor": Family("", "poisson", Poisson(50, 15), "a sensor: shot gain 0.02 of white, read std 15", True),
    "sensor5-25": Family(
        "", "poisson", Poisson((20, 100), (5, 25)), "a sensor: shot gain 0.01 to 0.05, read std 5 to 25 by image", True
    ),
}


def family(name: str) -> Family:
    """The row of a name; raises InputError that names the known ones."""
    if name not in FAMILIES:
        raise InputError(f"unknown noise family {name!r}; known: {', '.join(FAMILIES)}")
    return FAMILIES[name]


def corrupt(name: str, images: Tensor, *, seed: int, first: int = 0, clip: bool = True) -> Tensor:
    """Noisy = images + noise, exact laws; image i's noise is a pure function of (name, seed, i) and the image's shape.

    Drawn in blocks of 1024, ``stream(seed, name, i // 1024)``, row i % 1024, 64 rows at a time on several threads; so
    any slice of the images gets the same bits. Another device type gives other bits.

    Args:
        name: a row of `FAMILIES`.
        images: (N, C, H, W) float, clean [fraction of white].
        seed: of the data.
        first: number of the first image.
        clip: whether the result is clipped to [0, 1].
    Returns: the noisy images, of the same shape, type and device.
    Raises: InputError for an unknown name, images that are not fractions of white, or too small for the family.
    """
    row = family(name)
    _check(row, images, first)
    noisy = torch.empty_like(images, memory_format=torch.contiguous_format)

    @torch.no_grad()
    def fill(at: Piece, generator: torch.Generator) -> None:
        clean = images[at[0]].contiguous()
        draws = Draws(generator, CHUNK, at[1], exact=True)
        out = noisy[at[0]].copy_(clean + row.law.noise(clean, draws))
        if clip:
            out.clamp_(0.0, 1.0)

    places = _chunks(name, seed, first, len(images), images.device)
    if images.device.type == "cpu" and places:
        each_in_threads(fill, places)
    else:
        for place in places:
            fill(*place)
    return noisy


def measure(name: str, clean: Tensor, *, generator: torch.Generator, detach: bool = False) -> Tensor:
    """Noisy = clean + noise, differentiable in clean, unclipped; Poisson by its normal approximation.

    Args:
        name: a row of `FAMILIES`.
        clean: (N, C, H, W) [fraction of white].
        generator: the stream to draw from, on the device of ``clean``.
        detach: whether the noise's std is a constant to the gradient, as in the published code.
    Returns: (N, C, H, W).
    """
    draws = Draws(generator, len(clean))
    return clean + family(name).law.noise(clean.detach() if detach else clean, draws)


def variance(name: str, clean: Tensor) -> Tensor:
    """Variance of each pixel's noise over draws and over amounts that vary by image, before clipping.

    Args:
        name: a row of `FAMILIES`.
        clean: (N, C, H, W) [fraction of white].
    Returns: (N, C, H, W) [fraction of white, squared].
    """
    return family(name).law.variance(clean)


def amounts(name: str, count: int, *, seed: int, first: int = 0) -> dict[str, Tensor]:
    """The true noise amounts of the images that `corrupt` makes with the same seed on the CPU.

    Returns: name -> (count,) [fraction of white]: shot.gain, read.std (as `PhysicalNoise` names them) or
        multiplicative.std; empty for a family without such an amount.
    """
    law = family(name).law
    places = _chunks(name, seed, first, count, torch.device("cpu"))
    parts = [law.amounts(Draws(generator, CHUNK, at[1])) for at, generator in places]
    return {key: torch.cat([part[key].flatten() for part in parts]) for key in (parts[0] if parts else {})}


def antialias(images: Tensor) -> Tensor:
    """[1, 2, 1] / 4 blurred vertically, and blurred horizontally, side by side; zero border.

    Args:
        images: (N, C, H, W).
    Returns: (N, 2C, H, W), what the critic sees of families M to P.
    """
    return torch.cat([shifted_sum(images, BINOMIAL, axis) for axis in (-2, -1)], dim=1)


def _chunks(name: str, seed: int, first: int, count: int, device: torch.device) -> list[tuple[Piece, torch.Generator]]:
    """Chunks that hold images first..first + count - 1: ((which images, which rows of the chunk), the chunk's stream).

    A block's stream seeds its chunks, so that one image does not cost the draws of the 1023 others.
    """
    places = []
    for block in range(first // BLOCK, -(-(first + count) // BLOCK)):
        seeds = torch.randint(2**62, (BLOCK // CHUNK,), generator=stream(seed, name, block)).tolist()
        for i, chunk_seed in enumerate(seeds):
            start = block * BLOCK + i * CHUNK
            begin, end = max(start, first), min(start + CHUNK, first + count)
            if begin < end:
                at = slice(begin - first, end - first), slice(begin - start, end - start)
                places.append((at, torch.Generator(device=device).manual_seed(chunk_seed)))
    return places


def _check(row: Family, images: Tensor, first: int) -> None:
    """Refuse images that are no fractions of white; those without noise may be noisy already, and so outside [0, 1]."""
    if images.ndim != 4 or not images.is_floating_point():
        raise InputError(f"images must be (N, C, H, W) floats, got {tuple(images.shape)} {images.dtype}; convert them")
    if first < 0:
        raise InputError(f"images are numbered from 0, got {first}")
    if row.relation != "none" and images.numel():
        low, high = (float(value) for value in images.aminmax())
        if not (low >= 0.0 and high <= 1.0):
            raise InputError(f"clean images must lie in [0, 1], got {low:g} to {high:g}; divide by the white level")
