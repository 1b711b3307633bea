"""One training step of NTGAN: pairs from noisy images, then the critic, then the generator and its average."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from denoisers.ntgan_levels import NoiseLevels
from denoisers.ntgan_networks import NoiseTransfer, PatchCritic, build_ntgan, corrected
from denoisers.ntgan_pairs import PairLaw, TransferBatch, make_pairs
from denoisers.trained import DenoiserSettings
from noisemodel.streams import stream

BETAS, CRITIC_BETAS = (0.9, 0.99), (0.5, 0.999)
LOW_PASS = 8  # side of the boxes over which transferred images are compared [px]
WARM_UP = 10  # the average forgets faster at first: (1 + step) / (10 + step)


class Rows:
    """Random rows of a global batch: every process draws all of them and takes its own.

    Args:
        count: rows of the global batch.
        rows: which of them to give.
        generator: the stream.
    """

    def __init__(self, count: int, rows: slice, generator: torch.Generator) -> None:
        """Keep the stream."""
        self.count, self.rows, self.generator = count, rows, generator

    def uniform(self, *shape: int) -> Tensor:
        """U(0, 1), (rows, *shape)."""
        made = torch.rand((self.count, *shape), generator=self.generator, device=self.generator.device)
        return made[self.rows]

    def normal(self, *shape: int) -> Tensor:
        """N(0, 1), (rows, *shape)."""
        made = torch.randn((self.count, *shape), generator=self.generator, device=self.generator.device)
        return made[self.rows]


@dataclass(frozen=True)
class StepSettings:
    """What a step does, beside its networks.

    Attributes:
        pairs: see `PairLaw`.
        gan_weight: weight of the least-squares adversarial loss of pairs with noise; 0 trains without a critic.
        low_pass_weight: weight of their low-pass L1.
        average_beta: weight of the past in the running average of the generator.
        correct_teacher: the first pseudo-clean images are corrected as Noisier2Noise says.
        bfloat16: whether networks compute in bfloat16.
    """

    pairs: PairLaw
    gan_weight: float = 0.02
    low_pass_weight: float = 1.0
    average_beta: float = 0.999
    correct_teacher: bool = True
    bfloat16: bool = False


class Networks(nn.Module):
    """Generator, its running average (what is used and saved), the teacher of refinement, and the critic."""

    def __init__(self, generator: NoiseTransfer, critic: PatchCritic) -> None:
        """Start average and teacher at the generator."""
        super().__init__()
        self.generator, self.critic = generator, critic
        self.average = copy.deepcopy(generator).requires_grad_(False)
        self.teacher = copy.deepcopy(generator).requires_grad_(False)
        # On a CPU a step takes 4/5 of the time.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class Optimisers(NamedTuple):
    """One for the generator, one for the critic."""

    generator: torch.optim.Optimizer
    critic: torch.optim.Optimizer


def build_networks(settings: DenoiserSettings, *, critic_width: int, seed: int) -> Networks:
    """Networks at their start weights, each from stream(seed, "weights", name); raises InputError as `build_ntgan`."""
    generator = build_ntgan(settings, generator=stream(seed, "weights", "generator"))
    return Networks(generator, PatchCritic(critic_width, generator=stream(seed, "weights", "critic")))


def build_optimisers(networks: Networks, *, lr: float, critic_lr: float) -> Optimisers:
    """Adam for both."""
    return Optimisers(
        torch.optim.Adam(networks.generator.parameters(), lr=lr, betas=BETAS),
        torch.optim.Adam(networks.critic.parameters(), lr=critic_lr, betas=CRITIC_BETAS),
    )


def train_step(
    networks: Networks,
    optimisers: Optimisers,
    images: Tensor,
    settings: StepSettings,
    *,
    step: int,
    stage: int = 0,
    draws: Rows,
    levels: NoiseLevels | None = None,
) -> dict[str, Tensor]:
    """One step of critic, generator and average.

    Args:
        networks, optimisers: changed in place.
        images: noisy images y, (N, 3, H, W) in [0, 1]: the rows of ``draws``.
        settings: see `StepSettings`.
        step: how many were done before.
        stage: 0: pairs from y; later: from the teacher's output as pseudo-clean images.
        levels: of the pictures that the images were cut from, see `make_pairs`.
    Returns: scalar losses by name, detached: means over these rows.
    """
    pseudo_clean = teach(networks.teacher, images, settings, stage) if stage else None
    batch = make_pairs(images, settings.pairs, draws, levels=levels, pseudo_clean=pseudo_clean)
    noise = batch.level_map * draws.normal(*images.shape[1:])
    with autocast(images.device, settings):
        made = networks.generator(*map(channels_last, (batch.input, noise))).float()
    losses: dict[str, Tensor] = {}
    if settings.gan_weight > 0:
        losses["critic"] = critic_step(networks.critic, optimisers.critic, batch, made.detach(), settings)
    losses |= generator_step(networks, optimisers.generator, batch, made, settings)
    update_average(networks, min(settings.average_beta, (1 + step) / (WARM_UP + step)))
    return losses


@torch.no_grad()
def teach(teacher: NoiseTransfer, images: Tensor, settings: StepSettings, stage: int) -> Tensor:
    """Pseudo-clean images: the teacher's output, corrected where it has learned from noisier images (stage 1)."""
    with autocast(images.device, settings):
        found = teacher(channels_last(images)).float()
    if stage == 1 and settings.correct_teacher and settings.pairs.pairing == "transfer":
        found = corrected(found, images, settings.pairs.ratio)
    return found.clamp(0, 1)


def critic_step(
    critic: PatchCritic,
    optimiser: torch.optim.Optimizer,
    batch: TransferBatch,
    made: Tensor,
    settings: StepSettings,
) -> Tensor:
    """Minimise (D(x, target) - 1)^2 / 2 + D(x, G(x, M))^2 / 2 where M > 0 (least squares, Mao 2017)."""
    kept = transferred_rows(batch)
    with autocast(made.device, settings):
        real = critic(batch.input[kept], batch.target[kept]).float()
        fake = critic(batch.input[kept], made[kept]).float()
    loss = rows_mean((real - 1).square() + fake.square(), batch.zero[kept], len(made)) / 2
    optimise(optimiser, loss, critic.parameters())
    return loss.detach()


def generator_step(
    networks: Networks,
    optimiser: torch.optim.Optimizer,
    batch: TransferBatch,
    made: Tensor,
    settings: StepSettings,
) -> dict[str, Tensor]:
    """Minimise L1 where M = 0; elsewhere L1 after a low pass, and (D(x, G(x, M)) - 1)^2. The critic stays as it is."""
    error = made - batch.target
    zero = batch.zero.to(made.dtype)
    low = functional.avg_pool2d(error, LOW_PASS).abs().mean(dim=(1, 2, 3))
    losses = {
        "denoise": (error.abs().mean(dim=(1, 2, 3)) * zero).mean(),
        "low_pass": settings.low_pass_weight * (low * (1 - zero)).mean(),
    }
    if settings.gan_weight > 0:
        kept = transferred_rows(batch)
        networks.critic.requires_grad_(False)
        with autocast(made.device, settings):
            scores = networks.critic(batch.input[kept], made[kept]).float()
        losses["gan"] = settings.gan_weight * rows_mean((scores - 1).square(), batch.zero[kept], len(made))
        networks.critic.requires_grad_(True)
    optimise(optimiser, torch.stack(list(losses.values())).sum(), networks.generator.parameters())
    return {name: loss.detach() for name, loss in losses.items()}


def transferred_rows(batch: TransferBatch) -> Tensor:
    """Numbers of the rows with M > 0; one row where there is none, for `rows_mean` to give no weight."""
    found = (~batch.zero).nonzero()[:, 0]
    return found if len(found) else found.new_zeros(1)


def rows_mean(scores: Tensor, zero: Tensor, count: int) -> Tensor:
    """Mean over ``count`` rows of each row's mean score (N, 1, h, w); rows with ``zero`` count 0."""
    return (scores.mean(dim=(1, 2, 3)) * ~zero).sum() / count


def optimise(optimiser: torch.optim.Optimizer, loss: Tensor, parameters: Iterable[nn.Parameter]) -> None:
    """One step down the gradient of the global batch's mean loss; processes have equally many rows."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    average_over_processes([p.grad for p in parameters if p.grad is not None])
    optimiser.step()


def average_over_processes(tensors: list[Tensor]) -> None:
    """Replace each tensor by its mean over the processes, in one message."""
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


@torch.no_grad()
def update_average(networks: Networks, beta: float) -> None:
    """average <- beta average + (1 - beta) weights."""
    for average, weights in zip(networks.average.parameters(), networks.generator.parameters(), strict=True):
        average.lerp_(weights, 1 - beta)


@torch.no_grad()
def start_stage(networks: Networks) -> None:
    """The teacher becomes the average, for the stage that begins."""
    networks.teacher.load_state_dict(networks.average.state_dict())


def channels_last(images: Tensor) -> Tensor:
    """The same values, the channels of a pixel side by side in memory."""
    return images.contiguous(memory_format=torch.channels_last)


def autocast(device: torch.device, settings: StepSettings) -> torch.autocast:
    """bfloat16 in convolutions, where it is asked for; noise, losses and averages stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=settings.bfloat16)
