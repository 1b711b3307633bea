"""The physical prior: a sum of a sensor's noise terms whose parameters are learned, common or from z_n by image."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from noisemodel.errors import InputError
from noisemodel.physical import PhysicalNoise
from nrgan.blind_estimate import BlindEstimate
from nrgan.networks import LATENT, at_least_float32

NOISELIST = "shot_read"
TRUST = 0.1  # of ln p: how far the start may be off before it costs (see `PhysicalPrior.departure`)
WIDTH = 32  # of the head's hidden layer
LEAST = {"shot_gain": 1e-4, "read_std": 1e-3}  # a start value below could hardly grow: logs are learned
SPREAD = {"shot.gain": 1.0, "read.std": 0.5}  # spread of the log, times BlindEstimate.spread
# Where training starts unless told [fraction of white]; words without a row start at the library's values.
START = {"shot": {"shot_gain": 5e-3}, "read": {"read_std": 2e-2}}


def physical_noise(
    noiselist: str | None, base: PhysicalNoise | None = None, found: BlindEstimate | None = None
) -> PhysicalNoise:
    """The model of a noiselist (default shot_read) for images in [0, 1], or a copy of ``base``.

    ``found``: shot and read noise to start from.

    Raises: InputError for a wrong word, a mosaic, or a noiselist that ``base`` contradicts.
    """
    if base is not None:
        if base.layout != "planes":
            raise InputError(f"--noise_init is for layout 'planes', got {base.layout!r}; calibrate mono or RGB images")
        if noiselist not in (None, base.noiselist):
            raise InputError(f"--noise_init has noiselist {base.noiselist!r}, got --noiselist {noiselist!r}; leave one")
        return copy.deepcopy(base)
    words = NOISELIST if noiselist is None else noiselist
    start: dict[str, Any] = {key: value for word in words.split("_") for key, value in START.get(word, {}).items()}
    if found is not None:
        start |= {key: max(value, LEAST[key]) for key, value in found._asdict().items() if key in start}
    return PhysicalNoise.from_noiselist(words, layout="planes", **start)


class PhysicalPrior(nn.Module):
    """log p_k = log p0_k + h_k(z_n): each positive parameter of each image; without a head, p = p0 for all.

    The head h is Linear, tanh, Linear without bias (p0 is its bias), and starts at 0, or with a std of ``spread``.

    Args:
        physical: holds log p0; what is fixed in it stays as it is for all images.
        per_image: whether there is a head.
        generator: draws the start weights.
        spread: std over images of ln r^2 and ln g of read and shot noise at the start (`BlindEstimate.spread`).
    """

    def __init__(
        self, physical: PhysicalNoise, per_image: bool, *, generator: torch.Generator, spread: float = 0.0
    ) -> None:
        """Find the parameters that may vary; raises InputError if nothing is left to learn."""
        super().__init__()
        self.physical = physical
        if not any(leaf.requires_grad for leaf in physical.parameters()):
            raise InputError(f"noiselist {physical.noiselist!r} leaves nothing to learn: every parameter is fixed")
        self.varying = [
            f"{component.name}.{key}"
            for component in physical.each()
            for key in component.units
            if key in component.log and component.log[key].ndim == 0 and component.log[key].requires_grad
        ]
        self.head: nn.Sequential | None = None
        if per_image and self.varying:
            first, last = nn.Linear(LATENT, WIDTH), nn.Linear(WIDTH, len(self.varying), bias=False)
            nn.init.xavier_uniform_(first.weight, generator=generator)
            for zero in (first.bias, last.weight):
                nn.init.zeros_(zero)
            self.head = nn.Sequential(first, nn.Tanh(), last)
            if spread > 0:
                self._spread_out(spread, generator)
        self.start_head = copy.deepcopy(self.head)
        self.start_logs: Tensor
        self.register_buffer("start_logs", self.logs().detach().clone())
        if self.start_head is not None:
            self.start_head.requires_grad_(False)

    @torch.no_grad()
    def _spread_out(self, spread: float, generator: torch.Generator) -> None:
        """Give the head's outputs the std that `SPREAD` says, uncorrelated as long as its layer is wide enough."""
        assert self.head is not None
        hidden = self.head[:2](torch.randn(4096, LATENT, generator=generator))
        scales = torch.tensor([spread * SPREAD.get(name, 0.0) for name in self.varying])
        square = torch.linalg.qr(torch.randn(WIDTH, max(WIDTH, len(scales)), generator=generator)).Q
        shown = hidden @ square[:, : len(scales)]
        (last,) = self.head[2].parameters()
        last.copy_((square[:, : len(scales)] * scales / shown.std(dim=0)).T)

    def parameters_of(self, latent: Tensor) -> dict[str, Tensor]:
        """(N, 128) z_n -> name: (N,) values; empty where all images share theirs."""
        if self.head is None:
            return {}
        shifts = at_least_float32(self.head(latent))
        return {name: (self.log_of(name) + shifts[:, k]).exp() for k, name in enumerate(self.varying)}

    def departure(self, latent: Tensor) -> Tensor:
        """Mean of ((ln p - ln p_start) / 0.1)^2 over the varying parameters of (N, 128) z_n, a scalar.

        The start that was found in the images is within some 10 % of the truth; a critic beside immature images is not.
        """
        moved = self.logs() - self.start_logs
        if not self.varying:
            return moved.sum()
        if self.head is not None and self.start_head is not None:
            moved = moved + at_least_float32(self.head(latent)) - at_least_float32(self.start_head(latent))
        return (moved / TRUST).square().mean()

    def logs(self) -> Tensor:
        """(K,) log p0 of the parameters that may vary."""
        return torch.stack([self.log_of(name) for name in self.varying]) if self.varying else torch.zeros(0)

    def log_of(self, name: str) -> Tensor:
        """log p0 of a parameter that may vary."""
        word, key = name.split(".")
        return self.physical.component(word).log[key]

    @torch.no_grad()
    def typical(self, *, generator: torch.Generator) -> PhysicalNoise:
        """A copy of the physical model at the median parameters over images."""
        model = copy.deepcopy(self.physical)
        for name, quantiles in self.spread(generator=generator).items():
            word, key = name.split(".")
            model.component(word).store(key, float(quantiles[1]))
        return model

    @torch.no_grad()
    def spread(self, *, generator: torch.Generator, count: int = 1024) -> dict[str, Tensor]:
        """name -> (3,): 5 %, 50 % and 95 % quantile of each parameter over images."""
        device = next(self.physical.parameters()).device
        latent = torch.randn((count, LATENT), generator=generator, device=generator.device).to(device)
        values = self.parameters_of(latent) or {name: self.log_of(name).exp().expand(count) for name in self.varying}
        at = torch.tensor([0.05, 0.5, 0.95], device=device)
        return {name: value.quantile(at) for name, value in values.items()}
