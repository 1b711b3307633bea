"""One training step of NR-GAN: generators first, then the critic (Kaneko & Harada 2020, and its released settings)."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from noisemodel.families import antialias
from noisemodel.physical import Measurement
from noisemodel.streams import stream
from nrgan.losses import diversity, score_as_fake, score_as_real, squared_slope
from nrgan.models import NoiseModel, NoiseSettings, PhysicalNoiseModel, build_noise
from nrgan.networks import LATENT, Critic, ImageGenerator
from nrgan.share import ALONE, Share
from nrgan.units import to_network

GENERATORS_NORM, CRITIC_NORM = "generators' gradient", "critic's gradient"  # names among the losses
Draws = Callable[[str], torch.Generator]  # purpose -> its stream


@dataclass(frozen=True)
class StepSettings:
    """What a step does, beside its networks.

    Attributes:
        g_bs_multiple: the generators' batch is so many times the critic's.
        num_critic: critic steps after each step of the generators.
        lambda_r1, lambda_ds: weights of the critic's slope and of the diversity term.
        model_average_beta: weight of the past in the running average of the generators.
        lambda_start: weight of physnrgan's departure from the noise it starts from.
        clip: whether the critic sees images clamped to [-1, 1].
        antialias: whether it sees them blurred vertically and horizontally instead (6 channels).
        bfloat16: whether networks compute in bfloat16.
    """

    g_bs_multiple: int = 2
    num_critic: int = 1
    lambda_r1: float = 10.0
    lambda_ds: float = 0.02
    model_average_beta: float = 0.999
    lambda_start: float = 0.0
    clip: bool = True
    antialias: bool = False
    bfloat16: bool = False


class Networks(nn.Module):
    """G_x, the noise model with its G_n, the critic, and the running averages that are sampled and saved."""

    def __init__(self, image: ImageGenerator, noise: NoiseModel, critic: Critic) -> None:
        """Start the averages at the networks."""
        super().__init__()
        self.image, self.noise, self.critic = image, noise, critic
        self.image_average = copy.deepcopy(image).requires_grad_(False)
        self.noise_average = copy.deepcopy(noise).requires_grad_(False)

    def learned(self) -> list[nn.Parameter]:
        """What the generators' step changes."""
        return [p for module in (self.image, self.noise) for p in module.parameters() if p.requires_grad]

    def averages(self) -> tuple[list[Tensor], list[Tensor]]:
        """Parameters of the averages, and of what they follow, pairwise."""
        pairs = ((self.image_average, self.image), (self.noise_average, self.noise))
        one, other = ([p for pair in pairs for p in pair[k].parameters()] for k in range(2))
        return list(one), list(other)


class Optimisers(NamedTuple):
    """One for G_x and G_n together, one for the critic."""

    generators: torch.optim.Optimizer
    critic: torch.optim.Optimizer


def build_networks(settings: NoiseSettings, *, d_channels: int = 128, antialiased: bool = False, seed: int) -> Networks:
    """All networks at their start weights, each drawn from its own stream(seed, "weights", name)."""
    noise = build_noise(settings, seed=seed)
    image = ImageGenerator(
        size=settings.size,
        planes=settings.planes,
        channels=settings.channels,
        generator=stream(seed, "weights", "image"),
    )
    planes = settings.planes * (1 + antialiased)
    critic = Critic(planes, channels=d_channels, generator=stream(seed, "weights", "critic"))
    return Networks(image, noise, critic)


def build_optimisers(
    networks: Networks, *, g_lr: float = 2e-4, d_lr: float = 2e-4, physics_lr: float = 1e-3, betas: tuple[float, float]
) -> Optimisers:
    """Adam; the logs of physical parameters have a step of their own."""
    noise = networks.noise
    physics = list(noise.prior.physical.parameters()) if isinstance(noise, PhysicalNoiseModel) else []
    apart = {id(p) for p in physics}
    groups = [
        {"params": [p for p in networks.learned() if id(p) not in apart], "lr": g_lr},
        {"params": [p for p in physics if p.requires_grad], "lr": physics_lr},
    ]
    return Optimisers(
        torch.optim.Adam([group for group in groups if group["params"]], betas=betas, fused=True),
        torch.optim.Adam(networks.critic.parameters(), lr=d_lr, betas=betas, fused=True),
    )


def train_step(
    networks: Networks,
    optimisers: Optimisers,
    real: Sequence[Tensor],
    settings: StepSettings,
    *,
    draws: Draws,
    first: bool = False,
    share: Share = ALONE,
) -> dict[str, Tensor]:
    """One step of the generators and their averages, then one of the critic per batch of ``real``.

    Args:
        networks, optimisers: changed in place.
        real: ``num_critic`` batches (N, C, H, W) of noisy images in [0, 1].
        settings: see `StepSettings`.
        draws: purpose ("generators", "real k", "fake k") -> the stream to draw from.
        first: the first step of a run trains the critic only.
        share: the rows that ``real`` is of the global batch.
    Returns: scalar losses by name, and the norms of both gradients, detached.
    """
    losses: dict[str, Tensor] = {}
    if not first:
        count = settings.g_bs_multiple * len(real[0])
        losses |= generators_step(networks, optimisers.generators, count, settings, draws("generators"), share)
        update_averages(networks, settings.model_average_beta)
    for k, images in enumerate(real):
        prepared = seen(to_network(images, generator=draws(f"real {k}"), share=share), settings)
        losses |= critic_step(networks, optimisers.critic, prepared, settings, draws(f"fake {k}"), share)
    return losses


def generators_step(
    networks: Networks,
    optimiser: torch.optim.Optimizer,
    count: int,
    settings: StepSettings,
    generator: torch.Generator,
    share: Share = ALONE,
) -> dict[str, Tensor]:
    """Minimise -log sigmoid(D(x + n)) + lambda_ds * diversity over G_x and G_n; the critic takes no gradient."""
    networks.critic.requires_grad_(False)
    with autocast(generator.device, settings):
        made = draw_noisy(networks.image, networks.noise, count, generator=generator, share=share)
        logits = networks.critic(seen(made.noisy, settings))
    losses = {"generator": score_as_real(logits)}
    total = losses["generator"]
    if settings.lambda_ds > 0 and made.scale is not None and made.latent is not None:
        losses["diversity"] = settings.lambda_ds * diversity(share.gather(made.scale), share.gather(made.latent))
        total = total + share.world * losses["diversity"]  # each process holds its rows' part of the gradient
    if settings.lambda_start > 0 and isinstance(networks.noise, PhysicalNoiseModel) and made.latent is not None:
        losses["departure"] = settings.lambda_start * networks.noise.prior.departure(made.latent)
        total = total + losses["departure"]
    losses[GENERATORS_NORM] = optimise(optimiser, total, networks.learned(), share)
    networks.critic.requires_grad_(True)
    return {name: loss.detach() for name, loss in losses.items()}


def critic_step(
    networks: Networks,
    optimiser: torch.optim.Optimizer,
    real: Tensor,
    settings: StepSettings,
    generator: torch.Generator,
    share: Share = ALONE,
) -> dict[str, Tensor]:
    """Minimise -log sigmoid(D(real)) - log(1 - sigmoid(D(fake))) + lambda_r1 ||dD/dreal||^2 over the critic.

    Real loss and slope share one pass; the generators keep no graph.
    """
    with autocast(generator.device, settings):
        with torch.no_grad():
            made = draw_noisy(networks.image, networks.noise, len(real), generator=generator, share=share)
            fake = seen(made.noisy, settings)
        sloped = settings.lambda_r1 > 0
        real = real.detach().requires_grad_(sloped)
        logits = networks.critic(real)
        losses = {"real": score_as_real(logits), "fake": score_as_fake(networks.critic(fake))}
        if sloped:
            losses["r1"] = settings.lambda_r1 * squared_slope(logits, real)
    total = sum(losses.values(), logits.new_zeros(()))
    losses[CRITIC_NORM] = optimise(optimiser, total, list(networks.critic.parameters()), share)
    return {name: loss.detach() for name, loss in losses.items()}


def draw_noisy(
    image: nn.Module, noise: NoiseModel, count: int, *, generator: torch.Generator, share: Share = ALONE
) -> Measurement:
    """Noise on ``count`` images of G_x: z_x is drawn first, then what the noise needs; in [-1, 1], unclipped."""
    z = share.normal(count, LATENT, generator=generator)
    return noise.measure(image(z), generator=generator, z=z, share=share)


def seen(images: Tensor, settings: StepSettings) -> Tensor:
    """What the critic sees of noisy images in [-1, 1]."""
    images = images.clamp(-1, 1) if settings.clip else images
    return antialias(images) if settings.antialias else images


def optimise(
    optimiser: torch.optim.Optimizer, loss: Tensor, parameters: Iterable[nn.Parameter], share: Share
) -> Tensor:
    """One step down the gradient of the global batch's mean loss; returns the gradient's norm."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    gradients = [p.grad for p in parameters if p.grad is not None]
    share.average(gradients)
    optimiser.step()
    return torch.nn.utils.get_total_norm(gradients)


@torch.no_grad()
def update_averages(networks: Networks, beta: float) -> None:
    """average <- beta average + (1 - beta) weights."""
    averages, weights = networks.averages()
    torch._foreach_lerp_(averages, weights, 1 - beta)


def autocast(device: torch.device, settings: StepSettings) -> torch.autocast:
    """bfloat16 in convolutions and products, where it is asked for; losses and noise stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=settings.bfloat16)
