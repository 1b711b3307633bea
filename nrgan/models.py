"""The models: how each makes noise for a clean image, and what it has to know of it (Kaneko & Harada 2020)."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from noisemodel import families
from noisemodel.errors import InputError
from noisemodel.families import FAMILIES
from noisemodel.physical import Measurement, PhysicalNoise
from noisemodel.streams import stream
from nrgan.networks import LATENT, ImageGenerator
from nrgan.physical_prior import PhysicalPrior, physical_noise
from nrgan.share import ALONE, Share
from nrgan.units import NOISE_SCALE, to_unit

RELATIONS = ("none", "independent", "multiplicative", "poisson")

# How G_n's output becomes a std of the noise, given the clean image in [-1, 1], detached; 2 is the range of [-1, 1].
STDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gaussian": lambda n, clean: n,
    "multiplicative": lambda n, clean: 2 * n * to_unit(clean.detach()),
    "poisson": lambda n, clean: 2 * n * to_unit(clean.detach()).sqrt(),
}


def rotate(noise: Tensor, generator: torch.Generator, share: Share) -> Tensor:
    """Turn each image by 0, 90, 180 or 270 degrees, clockwise."""
    turns = share.integers(4, len(noise), generator=generator)
    turned = torch.stack([noise.rot90(-k, dims=(2, 3)) for k in range(4)])
    return turned[turns, torch.arange(len(noise), device=noise.device)]


def shuffle_channels(noise: Tensor, generator: torch.Generator, share: Share) -> Tensor:
    """Put the channels of each image into a random order."""
    order = share.uniform(*noise.shape[:2], generator=generator).argsort(dim=1)
    return noise[torch.arange(len(noise), device=noise.device)[:, None], order]


def flip_signs(noise: Tensor, generator: torch.Generator, share: Share) -> Tensor:
    """Times -1 or 1, drawn for each channel of each image."""
    return noise * (2 * share.integers(2, *noise.shape[:2], 1, 1, generator=generator) - 1)


Transform = Callable[[Tensor, torch.Generator, Share], Tensor]
TRANSFORMS: dict[str, Transform] = {"rotate": rotate, "shuffle": shuffle_channels, "flip": flip_signs}


class NoiseModel(nn.Module, ABC):
    """noisy = clean + noise, images in the network's range [-1, 1], unclipped."""

    @abstractmethod
    def measure(
        self, clean: Tensor, *, generator: torch.Generator, z: Tensor | None = None, share: Share = ALONE
    ) -> Measurement:
        """Draw the noise of (N, C, H, W) images.

        Args:
            clean: G_x(z_x).
            generator: draws z_n first, then what the noise needs.
            z: (N, 128), z_x, for noise that depends on the image.
            share: the rows that ``clean`` is of a global batch.
        Returns: with ``latent`` and ``scale``, what the diversity term compares, where there is one.
        """


class NoNoise(NoiseModel):
    """noisy = clean: a GAN that reproduces the noise as if it were image."""

    def measure(
        self, clean: Tensor, *, generator: torch.Generator, z: Tensor | None = None, share: Share = ALONE
    ) -> Measurement:
        return Measurement(clean, torch.zeros_like(clean))


class KnownNoise(NoiseModel):
    """AmbientGAN (Bora 2018): noise of the very family that corrupted the data, with gradients to the clean image."""

    def __init__(self, family: str) -> None:
        """Draw from the ``family`` of that name."""
        super().__init__()
        self.family = family

    def measure(
        self, clean: Tensor, *, generator: torch.Generator, z: Tensor | None = None, share: Share = ALONE
    ) -> Measurement:
        light = to_unit(clean)
        noisy = families.measure(self.family, share.pad(light, 0.5), generator=generator)[share.rows(len(clean))]
        noise = NOISE_SCALE * (noisy - light)
        return Measurement(clean + noise, noise)


class LearnedNoise(NoiseModel):
    """n = T(std(G_n(z), x) eps), or T(G_n(z)): what NR-GAN learns; see `MODELS`.

    Args:
        network: G_n.
        std: a row of `STDS`; None leaves G_n's output as it is.
        transforms: rows of `TRANSFORMS`, applied in this order.
        sees_image: z = [z_x, z_n] instead of z_n.
    """

    def __init__(self, network: ImageGenerator, std: str | None, transforms: tuple[str, ...], sees_image: bool) -> None:
        """Join a network with what is assumed of the noise."""
        super().__init__()
        self.network, self.std, self.transforms, self.sees_image = network, std, transforms, sees_image

    def measure(
        self, clean: Tensor, *, generator: torch.Generator, z: Tensor | None = None, share: Share = ALONE
    ) -> Measurement:
        latent = share.normal(len(clean), LATENT, generator=generator)
        if self.sees_image:
            if z is None:
                raise ValueError("this noise depends on the image: give its latent z")
            latent = torch.cat([z, latent], dim=1)
        noise = scale = self.network(latent)
        if self.std is not None:
            eps = share.normal(*clean.shape, generator=generator)
            noise = scale = STDS[self.std](noise, clean) * eps
        for name in self.transforms:
            noise = TRANSFORMS[name](noise, generator, share)
        return Measurement(clean + noise, noise, latent, scale)


@dataclass(frozen=True)
class Model:
    """A row of `MODELS`.

    Attributes:
        assumes: what has to be known of the noise.
        noise: "none", "known" (simulator), "network" or "physical".
        std: row of `STDS`; "relation" is the row of the data's relation; None leaves G_n's output as it is.
        transforms: rows of `TRANSFORMS`.
        sees_image: G_n takes [z_x, z_n], 256 numbers, not the 128 of z_n.
        fits: relations of noise to signal that the model can be trained on.
    """

    assumes: str
    noise: str
    std: str | None = None
    transforms: tuple[str, ...] = ()
    sees_image: bool = False
    fits: tuple[str, ...] = RELATIONS


MODELS = {
    "gan": Model("there is none", "none"),
    "ambientgan": Model("type, amount and relation to the signal", "known"),
    "sinrgan1": Model("Gaussian, independent of the signal", "network", std="gaussian"),
    "sinrgan2": Model(
        "invariance to rotation, order of channels, sign", "network", None, ("rotate", "shuffle", "flip")
    ),
    "sdnrgan1": Model("Gaussian, relation to the signal", "network", "relation", fits=("multiplicative", "poisson")),
    "sdnrgan2": Model("Gaussian", "network", "gaussian", sees_image=True),
    "sdnrgan3": Model("nothing but symmetry in sign", "network", None, ("flip",), sees_image=True),
    "physnrgan": Model("physics of the sensor (--noiselist); amounts unknown, may vary by image", "physical"),
}


class NoiseSettings(NamedTuple):
    """What a noise model is built from.

    dataset, model: names of rows. size, planes, channels: of images and networks. noiselist, per_image, start, spread:
    of physnrgan, see `physical_noise` and `PhysicalPrior`.
    """

    dataset: str
    model: str
    size: int = 32
    planes: int = 3
    channels: int = 128
    noiselist: str | None = None
    per_image: bool = True
    start: PhysicalNoise | None = None
    spread: float = 0.0


def check_model(dataset: str, model: str) -> Model:
    """The row of ``model``; raises InputError for a wrong name, or a prior that the data set does not name."""
    if dataset not in FAMILIES:
        raise InputError(f"unknown data set {dataset!r}; known: {', '.join(FAMILIES)}")
    if model not in MODELS:
        raise InputError(f"unknown model {model!r}; known: {', '.join(MODELS)}")
    relation = FAMILIES[dataset].relation
    if relation not in MODELS[model].fits:
        fitting = ", ".join(name for name, row in MODELS.items() if relation in row.fits)
        raise InputError(
            f"{model} needs noise that is {' or '.join(MODELS[model].fits)}, {dataset}'s relation to the signal is "
            f"{relation!r}; models that fit: {fitting}"
        )
    return MODELS[model]


def build_noise(settings: NoiseSettings, *, seed: int) -> NoiseModel:
    """The noise model of a row of `MODELS` at its start weights, drawn from stream(seed, "weights", "noise").

    Raises: InputError for a combination that makes no sense.
    """
    row = check_model(settings.dataset, settings.model)
    weights = stream(seed, "weights", "noise")
    if row.noise == "none":
        return NoNoise()
    if row.noise == "known":
        return KnownNoise(settings.dataset)
    if row.noise == "physical":
        physical = physical_noise(settings.noiselist, settings.start)
        prior = PhysicalPrior(physical, settings.per_image, generator=weights, spread=settings.spread)
        return PhysicalNoiseModel(prior)
    network = ImageGenerator(
        LATENT * (1 + row.sees_image),
        size=settings.size,
        planes=settings.planes,
        channels=settings.channels,
        generator=weights,
    )
    std = FAMILIES[settings.dataset].relation if row.std == "relation" else row.std
    return LearnedNoise(network, std, row.transforms, row.sees_image)


class PhysicalNoiseModel(NoiseModel):
    """n = a draw of the physical model given x, with parameters from z_n (one set per image) or common to all.

    Without the diversity term, which would make amounts vary that are the same for all images.
    """

    def __init__(self, prior: PhysicalPrior) -> None:
        """Draw from ``prior``."""
        super().__init__()
        self.prior = prior

    def measure(
        self, clean: Tensor, *, generator: torch.Generator, z: Tensor | None = None, share: Share = ALONE
    ) -> Measurement:
        latent = share.normal(len(clean), LATENT, generator=generator)
        params = self.prior.parameters_of(latent)
        light = to_unit(clean)
        everywhere = {name: share.pad(value, 1.0) for name, value in params.items()}
        drawn = self.prior.physical.measure(share.pad(light), generator=generator, params=everywhere or None)
        noise = NOISE_SCALE * drawn.noise[share.rows(len(clean))]
        return Measurement(clean + noise, noise, latent)
