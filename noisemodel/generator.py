"""NoiseGenerator: physics plus an optional network; what the GAN trains and what users sample."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from noisemodel.components import Params
from noisemodel.errors import InputError
from noisemodel.networks import Unet, UnetOptions
from noisemodel.physical import Measurement, PhysicalNoise
from noisemodel.sensor import Origin

NETWORKS = ("noUnet", "Unet", "Unet_cat", "Unet_first")
UNET_OPTS = "residualFalse_conv_tconv_selu"


class NoiseGenerator(nn.Module):
    """noisy = network(clean + physical noise); the network starts as the identity.

    ``noUnet``: y = x + n. ``Unet``: y + f(y). ``Unet_cat``: y + f([x, y]). ``Unet_first``: (x + f(x)) + n(x + f(x)).

    Args:
        physical: the sum of components.
        network: one of `NETWORKS`.
        channels: planes of the images, for the U-Net; 4 on a mosaic.
        unet_opts: see `UnetOptions.parse`.
        unet_width: channels of the U-Net at full size.
    """

    def __init__(
        self,
        physical: PhysicalNoise,
        network: str = "noUnet",
        *,
        channels: int | None = None,
        unet_opts: str = UNET_OPTS,
        unet_width: int = 32,
    ) -> None:
        """Join physics and network; raises InputError for an unknown network or unreadable options."""
        super().__init__()
        if network not in NETWORKS:
            raise InputError(f"unknown network {network!r}; known: {', '.join(NETWORKS)}")
        if channels is None:
            channels = 4 if physical.layout == "mosaic" else 1
        options = UnetOptions.parse(unet_opts)
        self.physical = physical
        self.kind, self.channels, self.unet_opts, self.unet_width = network, channels, unet_opts, unet_width
        self.iso_law: Any = None  # an `iso_law.IsoLaw`, where parameters follow the ISO
        self.network: Unet | None = None
        if network != "noUnet":
            inputs = 2 * channels if network == "Unet_cat" else channels
            self.network = Unet(inputs, channels, options=options, width=unet_width)

    def config(self) -> dict[str, Any]:
        """What, beside the weights, is needed to build this generator again (JSON-able)."""
        return {
            "physical": self.physical.config(),
            "network": self.kind,
            "channels": self.channels,
            "unet_opts": self.unet_opts,
            "unet_width": self.unet_width,
            **({} if self.iso_law is None else {"iso_law": self.iso_law.config()}),
        }

    def at_iso(self, iso: float) -> "NoiseGenerator":
        """A copy whose parameters are those of the law at ``iso``, for good: it has no law of its own.

        Beyond the fitted ISOs a warning says that the law extrapolates. Raises: InputError if there is no law.
        """
        if self.iso_law is None:
            raise InputError(f"this model knows one setting only, not ISO {iso:g}; train it on several ISOs")
        self.iso_law.warn_beyond(iso)
        model = copy.deepcopy(self)
        model.iso_law = None
        self.iso_law.apply_to(model.physical, iso)
        return model

    def before(self, clean: Tensor) -> Tensor:
        """The signal that meets the noise: clean, or clean + f(clean) with ``Unet_first``."""
        return clean + self._correct(clean) if self.kind == "Unet_first" else clean

    def after(self, clean: Tensor, noisy: Tensor) -> Tensor:
        """The noisy image behind the network: y, y + f(y) or y + f([clean, y])."""
        if self.kind == "Unet":
            return noisy + self._correct(noisy)
        if self.kind == "Unet_cat":
            return noisy + self._correct(torch.cat([clean, noisy], dim=-3))
        return noisy

    def _correct(self, x: Tensor) -> Tensor:
        """f(x), frames of a burst one by one."""
        assert self.network is not None
        if x.shape[-3] != self.network.enter.body[0].in_channels:
            raise InputError(f"this model's network was made for {self.channels} planes; got shape {tuple(x.shape)}")
        corrected = self.network(x.reshape(-1, *x.shape[-3:]))
        return corrected.reshape(*x.shape[:-3], *corrected.shape[-3:])

    def measure(
        self, clean: Tensor, *, generator: torch.Generator, origin: Origin = (0, 0), params: Params = None
    ) -> Measurement:
        """noisy = network(clean + noise) and noise = noisy - clean, differentiable, unclipped.

        Args as `PhysicalNoise.measure`.
        """
        if self.network is None:
            return self.physical.measure(clean, generator=generator, origin=origin, params=params)
        physical = self.physical.measure(self.before(clean), generator=generator, origin=origin, params=params)
        noisy = self.after(clean, physical.noisy)
        return Measurement(noisy, noisy - clean)

    def parts(
        self, clean: Tensor, *, generator: torch.Generator, origin: Origin = (0, 0), params: Params = None
    ) -> dict[str, Tensor]:
        """One draw of every component, and ``network``: what the network adds to their sum."""
        signal = self.before(clean)
        parts = self.physical.parts(signal, generator=generator, origin=origin, params=params)
        if self.network is not None:
            total = sum(parts.values(), torch.zeros_like(clean))
            parts["network"] = self.after(clean, signal + total) - clean - total
        return parts

    @torch.no_grad()
    def simulate(
        self, clean: Tensor, *, generator: torch.Generator, origin: Origin = (0, 0), params: Params = None
    ) -> Tensor:
        """What a camera records: exact laws, network, rounded on the DN grid and clipped (without levels: neither)."""
        signal = self.before(clean)
        noise = self.physical.exact_noise(signal, generator=generator, origin=origin, params=params)
        noisy = self.after(clean, signal + noise)
        return noisy if self.physical.levels is None else self.physical.levels.record(noisy)

    @torch.no_grad()
    def moments(
        self, clean: Tensor, draws: int, generator: torch.Generator, *, origin: Origin = (0, 0), params: Params = None
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance of noisy - clean over repeated draws, each of the shape of ``clean``.

        In closed form without a network; by Monte Carlo over ``draws`` >= 2 draws with one.
        """
        if self.network is None:
            return self.physical.mean(clean, origin=origin), self.physical.variance(clean, origin=origin, params=params)
        if draws < 2:
            raise InputError(f"a variance needs at least 2 draws, got {draws}")
        mean, squares = torch.zeros_like(clean), torch.zeros_like(clean)
        for count in range(1, draws + 1):  # Welford: no cancellation
            step = self.measure(clean, generator=generator, origin=origin, params=params).noise - mean
            mean += step / count
            squares += step.square() * ((count - 1) / count)
        return mean, squares / (draws - 1)
