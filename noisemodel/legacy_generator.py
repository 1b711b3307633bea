"""LegacyGenerator: a model of the published starlight script, with its laws, used as one of ours."""

from pathlib import Path
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from noisemodel.components import FixedPattern, LearnedFixedPattern, Params
from noisemodel.generator import NoiseGenerator
from noisemodel.legacy_network import OldUnet
from noisemodel.physical import Measurement, PhysicalNoise
from noisemodel.sensor import Origin

PLANES = 4
# Published planes lie at (0,0), (0,1), (1,1), (1,0) of a cell; these are the ones by position. Its own inverse.
SWAP = [0, 1, 3, 2]


@final
class LegacyGenerator(NoiseGenerator):
    """noisy = clip(net(clean + noise), 0, 1) with the published laws; used as a `NoiseGenerator`, not trained or saved.

    Planes are by position, as everywhere; the network, which knew another order, gets them in its own.

    Args:
        physical: the published terms.
        network: "noUnet", "Unet", "Unet_cat" or "Unet_first".
        net: the U-Net, where there is one.
        args: the run's arguments.
        file: what was read.
    """

    def __init__(
        self, physical: PhysicalNoise, network: str, net: OldUnet | None, args: dict[str, Any], file: Path
    ) -> None:
        """Join what was read."""
        super().__init__(physical, "noUnet", channels=PLANES)
        self.kind, self.args, self.file = network, args, file
        self.network = net  # type: ignore[assignment]

    def config(self) -> dict[str, Any]:
        """What it is (JSON-able); a model is not built from it, but read again from the run folder."""
        return {**super().config(), "published_run": self.args}

    def _net(self, *images: Tensor) -> Tensor:
        """The network on images whose planes are by position, frames of a burst one by one."""
        x = torch.cat([image[..., SWAP, :, :] for image in images], dim=-3)
        found = cast(nn.Module, self.network)(x.reshape(-1, *x.shape[-3:]))
        return found.reshape(*x.shape[:-3], *found.shape[-3:])[..., SWAP, :, :]

    def before(self, clean: Tensor) -> Tensor:
        """The signal that meets the noise: clean, or net(clean) with ``Unet_first``."""
        return self._net(clean) if self.kind == "Unet_first" else clean

    def after(self, clean: Tensor, noisy: Tensor) -> Tensor:
        """clip(y), clip(net(y)) or clip(net([clean, y])), to [0, 1]."""
        if self.kind == "Unet":
            noisy = self._net(noisy)
        elif self.kind == "Unet_cat":
            noisy = self._net(clean, noisy)
        return noisy.clamp(0.0, 1.0)

    def measure(
        self, clean: Tensor, *, generator: torch.Generator, origin: Origin = (0, 0), params: Params = None
    ) -> Measurement:
        """noisy = clip(net(clean + noise), 0, 1) and noise = noisy - clean; args as `PhysicalNoise.measure`."""
        drawn = self.physical.measure(self.before(clean), generator=generator, origin=origin, params=params)
        noisy = self.after(clean, drawn.noisy)
        return Measurement(noisy, noisy - clean)

    @torch.no_grad()
    def simulate(
        self, clean: Tensor, *, generator: torch.Generator, origin: Origin = (0, 0), params: Params = None
    ) -> Tensor:
        """The same: these laws know no photons, and were never rounded."""
        return self.measure(clean, generator=generator, origin=origin, params=params).noisy

    @torch.no_grad()
    def published(
        self, clean: Tensor, *, generator: torch.Generator, indices: tuple[int, int] = (0, 0)
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What the published script made: its planes, its order of draws, its place of the fixed pattern.

        ``torch.Generator().manual_seed(s)`` draws what the script drew after ``torch.manual_seed(s)`` on the CPU.

        Args:
            clean: (N, 4, H, W), planes in the published order: (0,0), (0,1), (1,1), (1,0) of a cell.
            generator: the stream to draw from.
            indices: row and column of the fixed pattern's crop [pixels of a plane]; the script took them at random.
        Returns: the clipped output, and each term's noise by its word, all in the published order of planes.
        """
        signal = self.before(clean[:, SWAP])[:, SWAP]
        origin, noise = (2 * indices[0], 2 * indices[1]), {}
        for term in self.physical.each():
            if isinstance(term, FixedPattern | LearnedFixedPattern):
                noise[term.name] = term.mean(signal, origin=origin)[:, SWAP]
            else:
                noise[term.name] = term.sample(signal, generator=generator)
        return self.respond(clean, sum(noise.values(), signal)), noise

    @torch.no_grad()
    def respond(self, clean: Tensor, noisy: Tensor) -> Tensor:
        """The published output for clean + noise that is given: (N, 4, H, W), planes in the published order."""
        return self.after(clean[:, SWAP], noisy[:, SWAP])[:, SWAP]
