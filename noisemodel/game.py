"""The adversarial game itself, in plain torch: what the critic and the generator minimise, and the proper score."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from noisemodel.commandline import option
from noisemodel.components import Periodic, as_burst
from noisemodel.critic import Critic
from noisemodel.errors import InputError
from noisemodel.evaluation.energy_score import energy_score
from noisemodel.generator import NoiseGenerator
from noisemodel.iso_groups import IsoRulers
from noisemodel.losses import gradient_penalty, perceptual_distance, perceptual_loss
from noisemodel.patches import Crops, CropSource, cut, cut_crops
from noisemodel.streams import seeded, stream
from noisemodel.views import PARITY, VIEWS, Looks, Ruler, noise_features

SCORE_BATCHES = 8
ETA = 3  # the average's weight grows as step^ETA


@dataclass(frozen=True)
class GanOptions:
    """The adversarial game; the defaults suit a CPU and a physical model, ``--preset published`` the paper's sizes."""

    discriminator_loss: Literal["residual", "real", "fourier", "mixed", "complex", "mean"] = option(
        "residual", "what the critic sees"
    )
    generator_loss: Literal["none", "lpips"] = option("none", "what the generator minimises beside the critic's score")
    lambda_lpips: float = option(0.1, "weight of lpips")
    split_into_patches: Literal["patches_before", "patches_after"] = option(
        "patches_after", "cut crops into patches before or after the noise is added"
    )
    patch: int = option(32, "height and width of what the critic sees, in pixels of a plane")
    num_iter: int = option(800, "generator steps")
    batch_size: int = option(4, "bursts per step, over all GPUs")
    lr: float = option(2e-4, "Adam step of the U-Net")
    lr_critic: float = option(0.02, "Adam step of the critic")
    lr_physics: float = option(0.02, "Adam step of the logs of physical parameters")
    lr_decay: bool = option(True, "let the steps shrink linearly until num_iter: generator to 0, critic to a tenth")
    b1: float = option(0.0, "Adam beta1")
    b2: float = option(0.9, "Adam beta2")
    critic_steps: int = option(5, "critic steps per generator step")
    warmup: int = option(20, "first steps in which only the critic learns, so that a good start is not kicked away")
    lambda_gp: float = option(10.0, "weight of the gradient penalty")
    critic_width: int = option(16, "channels of the critic's first convolution")
    critic_halvings: int = option(0, "stride-2 convolutions of the critic, each doubling the width")
    spectral_norm: bool = option(False, "spectral norm on the critic's convolutions")
    seed: int = option(0, "of every random stream")

    def __post_init__(self) -> None:
        """Refuse sizes that make no game."""
        for name in ("patch", "num_iter", "batch_size", "critic_steps", "critic_width"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} must be at least 1, got {getattr(self, name)}")
        if self.patch // 2**self.critic_halvings < 1 or self.critic_halvings < 0:
            raise InputError(f"--critic_halvings {self.critic_halvings} leaves nothing of a patch of {self.patch}")


class Game(nn.Module):
    """WGAN-GP: the critic learns to tell real from generated noise, the generator to leave it nothing to tell.

    Args:
        generator: what is trained.
        ruler: scale of residuals, see `Ruler`.
        options: see `GanOptions`.
        held: words and parameters that the data cannot identify; they keep their values.
        rulers: of each ISO, for a generator with a law against ISO: its batches say the ISO of each crop, the law gives
            the parameters, and the critic sees the ISO beside everything else.
    """

    def __init__(
        self,
        generator: NoiseGenerator,
        ruler: Ruler,
        options: GanOptions,
        held: Sequence[str] = (),
        rulers: IsoRulers | None = None,
    ) -> None:
        """Build the critic; raises InputError where nothing is left to learn."""
        super().__init__()
        self.generator, self.ruler, self.options, self.rulers = generator, ruler, options, rulers
        self.layout = generator.physical.layout
        looks: Mapping[str, int]
        view, looks = VIEWS[options.discriminator_loss]
        asked: dict[str, Any] = {}
        periodic = self._periodic()
        self.parity = "rowparity" in generator.physical.components
        if options.discriminator_loss == "residual":
            if self.parity:
                looks = {**looks, PARITY: looks["row"]}
                asked["parity"] = True
            if periodic is not None:
                across = "column" if periodic.axis == "column" else "row"
                looks = {**looks, across: looks[across] + 2}
                asked["wave_look"] = across
        self.view: Callable[..., Looks] = partial(view, **asked)
        with seeded(stream(options.seed, "critic weights")):
            self.critic = Critic(
                {name: per_plane * generator.channels + (rulers is not None) for name, per_plane in looks.items()},
                width=options.critic_width,
                halvings=options.critic_halvings,
                spectral=options.spectral_norm,
            )
        self.perceptual: nn.Module | None = perceptual_loss() if options.generator_loss == "lpips" else None
        self.rank, self.world = 0, 1  # of the process, where several share a batch
        hold(generator, held)
        self.averaged = copy.deepcopy(generator).requires_grad_(False)
        if not any(p.requires_grad for p in generator.parameters()):
            raise InputError("nothing to learn: every parameter is fixed or not identifiable from this data")

    def critic_loss(self, crops: Crops, purpose: str, step: int) -> tuple[Tensor, Tensor]:
        """Loss of the critic, lambda * penalty - gap, and the gap E D(real) - E D(generated); sums over its heads."""
        with torch.no_grad():
            pairs = self.residuals(crops, purpose, step)
            real, fake = (self.look(noise, pairs) for noise in (pairs.real, pairs.fake))
        gap = self.critic(real) - self.critic(fake)
        penalty = gap.new_zeros(())
        for name, head in self.critic.heads.items():
            draws = stream(self.options.seed, "penalty", name, purpose, step, device=gap.device)
            mix = torch.rand((self.world, len(real[name]), 1, 1, 1), generator=draws, device=gap.device)
            penalty = penalty + gradient_penalty(head, real[name], fake[name], mix[self.rank])
        return self.options.lambda_gp * penalty - gap, gap.detach()

    def generator_loss(self, crops: Crops, step: int) -> Tensor:
        """Loss of the generator: -E D(generated), plus lpips where asked for."""
        pairs = self.residuals(crops, "generator", step)
        loss = -self.critic(self.look(pairs.fake, pairs))
        if self.perceptual is not None:
            pictures = ((pairs.reference + noise).flatten(0, 1) for noise in (pairs.fake, pairs.real))
            loss = loss + self.options.lambda_lpips * perceptual_distance(self.perceptual, *pictures)
        return loss

    @torch.no_grad()
    def average(self, step: int) -> None:
        """Move ``averaged`` by (eta + 1) / (step + eta) to the generator: polynomial-decay averaging (Shamir 2013).

        An adversarial game circles around its equilibrium; the average, weighted by step^eta, lies in the middle.
        """
        share = (ETA + 1) / (step + ETA)
        for mean, value in zip(self.averaged.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(value, share)
        for model in (self.averaged, self.generator):
            if model.iso_law is not None:
                model.iso_law.apply_to(model.physical, model.iso_law.iso0)

    def look(self, residual: Tensor, pairs: "Pairs") -> Looks:
        """What the critic sees of a residual of ``pairs``; where they differ by ISO, ln(ISO) as one more channel."""
        waves = {} if pairs.waves is None else {"waves": pairs.waves}
        looks = self.view(residual, pairs.reference, self._ruler(pairs.iso), self.layout, **waves)
        if pairs.iso is None or self.rulers is None:
            return looks
        place = self.generator.iso_law.place(pairs.iso)
        return {name: torch.cat([look, _plane_of(place, look)], dim=1) for name, look in looks.items()}

    def residuals(self, crops: Crops, purpose: str, step: int) -> "Pairs":
        """Real and generated residual, and what they stand beside, cut into patches."""
        patch = min(self.options.patch, crops.frames.shape[-1])
        if self.options.split_into_patches == "patches_before":
            crops = cut_crops(crops, patch, 2 if self.layout == "mosaic" else 1)
        fake = self.generate(crops, stream(self.options.seed, "noise", purpose, step, device=crops.frames.device))
        waves, real = self._waves(crops), cut(crops.residual, patch)
        iso = None if crops.iso is None else crops.iso.repeat_interleave(len(real) // len(crops.frames))
        return Pairs(
            real, cut(fake, patch), cut(crops.reference, patch), None if waves is None else cut(waves, patch), iso
        )

    def _ruler(self, iso: Tensor | None) -> Ruler:
        """The scale of residuals, each at its own ISO."""
        return self.ruler if iso is None or self.rulers is None else self.rulers.at(iso)

    def _periodic(self) -> Periodic | None:
        """The periodic component, if there is one."""
        return next((c for c in self.generator.physical.each() if isinstance(c, Periodic)), None)

    def _waves(self, crops: Crops) -> Tensor | None:
        """cos and sin of the periodic term, (N, 1, 2 C, h, w), for the head that must know its phase; else None.

        A score averaged over crops at any place could tell the wave's power, but not its split into cos and sin.
        """
        periodic = self._periodic()
        if periodic is None or self.options.discriminator_loss != "residual":
            return None
        waves = periodic.waves(*as_burst(crops.clean, self.layout, crops.origin))
        return torch.cat([wave.expand_as(crops.clean) for wave in waves], dim=2)

    def generate(self, crops: Crops, draws: torch.Generator) -> Tensor:
        """Generated residual on the same clean signal, treated as the real one was.

        Each process draws the global batch's numbers and takes its rows, so that many processes equal one.
        """
        clean = crops.clean.expand_as(crops.frames)
        signal, origin, iso = self.generator.before(clean), crops.origin, crops.iso
        count = len(signal)
        mine = slice(self.rank * count, (self.rank + 1) * count)
        if self.world > 1:
            before, after = mine.start, (self.world - 1) * count - mine.start
            signal = nn.functional.pad(signal, (0, 0) * 4 + (before, after))
            origin = nn.functional.pad(origin, (0, 0, before, after))
            iso = None if iso is None else nn.functional.pad(iso, (before, after), value=1.0)
        params = params_of(self.generator, signal, crops._replace(iso=iso))
        noisy = self.generator.physical.measure(signal, generator=draws, origin=origin, params=params).noisy[mine]
        return treat_as_real(self.generator.after(clean, noisy) - clean, crops)

    @torch.no_grad()
    def score(self, batches: Sequence[Crops]) -> Tensor:
        """Energy score of the averaged generator against real noise, in units of the ruler; lower is better.

        The mean over pixels, line means and, with ground truth, burst means, each weighted by the number of values that
        it holds, as a likelihood would; always with the same draws. Every process computes the same figures.

        Returns: one score per validation crop.
        """
        found = []
        for index, crops in enumerate(batches):
            scale = self._ruler(crops.iso).std(crops.reference)
            real, one, other = (
                noise_features(noise / scale, self.layout, parity=self.parity)
                for noise in (crops.residual, *(self._score_draw(crops, index, which) for which in range(2)))
            )
            weights = {name: values.numel() for name, values in real.items() if not (crops.centred and "burst" in name)}
            weighted = [weights[name] * energy_score(real[name], one[name], other[name]) for name in weights]
            found.append(torch.stack(weighted).sum(dim=0) / sum(weights.values()))
        return torch.cat(found).cpu()

    def _score_draw(self, crops: Crops, index: int, which: int) -> Tensor:
        """One of the draws that every score uses."""
        draws = stream(self.options.seed, "score", index, which, device=crops.frames.device)
        clean = crops.clean.expand_as(crops.frames)
        params = params_of(self.averaged, clean, crops)
        noise = self.averaged.measure(clean, generator=draws, origin=crops.origin, params=params).noise
        return treat_as_real(noise, crops)


def params_of(generator: NoiseGenerator, signal: Tensor, crops: Crops) -> dict[str, Tensor] | None:
    """Parameters that vary by crop: what the law against ISO says, and what the data hold."""
    held = as_data_hold(generator, signal, crops)
    if generator.iso_law is None or crops.iso is None:
        return held
    return {**generator.iso_law.params(crops.iso), **(held or {})}


def _plane_of(values: Tensor, look: Tensor) -> Tensor:
    """(B,) values as a constant channel beside looks (B T, channels, h, w)."""
    each = values.repeat_interleave(len(look) // len(values)).to(look)
    return each.view(-1, 1, 1, 1).expand(-1, 1, *look.shape[-2:])


def as_data_hold(generator: NoiseGenerator, signal: Tensor, crops: Crops) -> dict[str, Tensor] | None:
    """Without ground truth the data hold no frame offsets (they could be the lamp's): generate none, s0 = 0."""
    if not crops.centred or "periodic" not in generator.physical.components:
        return None
    return {"periodic.std0": signal.new_zeros(len(signal))}


class Pairs(NamedTuple):
    """Residuals that the critic compares, and what stands beside both.

    real, fake: (B, T, C, p, p). reference: (B, 1, C, p, p). waves: (B, 1, 2 C, p, p), see `Game`, or None. iso: (B,),
    or None where all have one.
    """

    real: Tensor
    fake: Tensor
    reference: Tensor
    waves: Tensor | None
    iso: Tensor | None = None


def treat_as_real(noise: Tensor, crops: Crops) -> Tensor:
    """Generated residual as the real one was made: valid pixels, without ground truth less the burst's own mean."""
    if crops.centred:
        noise = noise - noise.mean(dim=1, keepdim=True)
    return noise * crops.valid


def score_batches(validation: CropSource, device: torch.device | str = "cpu") -> list[Crops]:
    """The crops that every score uses."""
    batches = [validation.batch(index, "validation") for index in range(SCORE_BATCHES)]
    return [crops.to(device) for crops in batches]


def hold(generator: NoiseGenerator, held: Sequence[str]) -> None:
    """Take words (``rowt``) and parameters (``periodic.std0``) out of learning, without fixing them in the model."""
    for component in generator.physical.each():
        if component.name in held:
            component.requires_grad_(False)
        for parameter in component.parameters_table():
            leaf = component.leaf(parameter.name.split(".")[1])
            if leaf is not None and parameter.name in held:
                leaf.requires_grad_(False)
    if generator.iso_law is not None:
        generator.iso_law.hold(held)
        generator.iso_law.takes_over(generator.physical)
