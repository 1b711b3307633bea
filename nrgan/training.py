"""Training runs of NR-GAN in pytorch-lightning: options, batches by step, divergence, compiling."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from noisemodel.commandline import option
from noisemodel.errors import InputError
from noisemodel.lightning_parts import GradientWatch, diverged
from noisemodel.streams import stream
from nrgan.corruption import NoisyImages
from nrgan.corruption import Sampler as Order
from nrgan.models import LearnedNoise
from nrgan.share import Share
from nrgan.step import CRITIC_NORM, GENERATORS_NORM, Networks, Optimisers, StepSettings, build_optimisers, train_step

REMEDY = "give a smaller --g_lr, --d_lr or --physics_lr"
SHOWN_AT_FIRST = 10  # steps whose losses are read one by one

# Option -> least value, and the value that it must stay below.
RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("num_iterations", "batch_size", "g_bs_multiple", "num_critic"), (1, torch.inf)),
    **dict.fromkeys(("display_interval", "checkpoint_interval"), (1, torch.inf)),
    **dict.fromkeys(("snapshot_interval", "visualize_interval"), (0, torch.inf)),
    **dict.fromkeys(("g_channels", "d_channels"), (1, torch.inf)),
    **dict.fromkeys(("g_lr", "d_lr", "physics_lr", "lambda_r1", "lambda_ds", "lambda_start"), (0, torch.inf)),
    **dict.fromkeys(("beta1", "beta2"), (0, 1)),
    "model_average_beta": (0, 1.0 + 1e-12),
}


@dataclass(frozen=True)
class TrainingOptions:
    """The published settings (Kaneko & Harada 2020, appendix), and how a run is recorded."""

    num_iterations: int = option(200_000, "training steps")
    batch_size: int = option(64, "real images per critic step, over all GPUs")
    g_bs_multiple: int = option(2, "the generators' batch is so many times batch_size")
    g_lr: float = option(2e-4, "Adam step of G_x and G_n")
    d_lr: float = option(2e-4, "Adam step of the critic")
    physics_lr: float = option(1e-3, "Adam step of the logs of physical parameters (physnrgan)")
    beta1: float = option(0.0, "Adam beta1")
    beta2: float = option(0.99, "Adam beta2")
    lambda_r1: float = option(10.0, "weight of the critic's squared slope at real images")
    lambda_ds: float = option(0.02, "weight of the diversity of the noise")
    lambda_start: float | None = option(
        None, "weight of physnrgan's departure from the noise it starts from; without it 0.001, or 0 for fixed values"
    )
    g_channels: int = option(128, "channels of G_x and G_n")
    d_channels: int = option(128, "channels of the critic")
    model_average_beta: float = option(0.999, "weight of the past in the averages that are sampled and saved")
    num_critic: int = option(1, "critic steps per step of the generators")
    display_interval: int = option(100, "steps between rows of metrics.csv")
    snapshot_interval: int = option(5000, "steps between snapshots; 0: only at the end")
    visualize_interval: int = option(5000, "steps between pictures; 0: only at the end")
    checkpoint_interval: int = option(1000, "steps between states to resume from")
    data_seed: int = option(0, "of the noise in the data")
    model_seed: int = option(0, "of weights, order of the images and everything drawn in training")
    no_clip: bool = option(False, "leave noisy images, real and generated, beyond black and white unclipped")
    deterministic: bool = option(False, "reproducible sums on a GPU; slower")
    precision: Literal["float32", "bfloat16"] = option("float32", "of convolutions and products")
    compile: bool = option(False, "compile G_x and G_n; goes on without where it cannot")

    def __post_init__(self) -> None:
        """Refuse figures that no run can use."""
        for name, (least, below) in RANGES.items():
            value = getattr(self, name)
            if value is None:
                continue
            if not least <= value < below:
                limit = (
                    "" if below == torch.inf else f" and at most {below:g}" if below > 1 else f" and below {below:g}"
                )
                raise InputError(f"--{name} must be at least {least:g}{limit}, got {value}")

    @property
    def num_iter(self) -> int:
        """Steps in all, under the name that the progress line reads."""
        return self.num_iterations

    def step_settings(self, *, antialias: bool) -> StepSettings:
        """What of it a step needs."""
        return StepSettings(
            self.g_bs_multiple,
            self.num_critic,
            self.lambda_r1,
            self.lambda_ds,
            self.model_average_beta,
            self.lambda_start or 0.0,
            not self.no_clip,
            antialias,
            self.precision == "bfloat16",
        )


class StepBatches(Dataset[list[Tensor]]):
    """The real batches of one step: ``num_critic`` of them."""

    def __init__(self, images: NoisyImages, order: Order, num_critic: int, rows: slice) -> None:
        """Read ``rows`` of every global batch."""
        self.images, self.order, self.num_critic, self.rows = images, order, num_critic, rows

    def __getitem__(self, step: int) -> list[Tensor]:
        """(N, C, H, W) in [0, 1] each."""
        numbers = range(step * self.num_critic, (step + 1) * self.num_critic)
        return [self.images.batch(self.order.indices(number, self.rows)) for number in numbers]


class StepsLeft(Sampler[int]):
    """Steps from where the run stands to its end."""

    def __init__(self, training: "NrGanTraining") -> None:
        """Follow the step count of ``training``."""
        self.training = training

    def __iter__(self) -> Iterator[int]:
        """The steps still to do."""
        return iter(range(int(self.training.step), self.training.options.num_iterations))

    def __len__(self) -> int:
        """All steps, done ones too: Lightning counts from the first."""
        return self.training.options.num_iterations


class NrGanTraining(pl.LightningModule):
    """Plays `train_step` by hand-written optimisation, with a step counter of its own.

    Gradients are averaged over processes in `train_step`, in one message per optimiser, not by the hooks of
    DistributedDataParallel: a critic step calls autograd twice, and its second order would confuse them.

    Args:
        networks: see `Networks`.
        images: the training images.
        options: see `TrainingOptions`.
    """

    def __init__(self, networks: Networks, images: NoisyImages, options: TrainingOptions) -> None:
        """Start at step 0."""
        super().__init__()
        self.automatic_optimization = False
        self.networks, self.images, self.options = networks, images, options
        self.settings = options.step_settings(antialias=images.family.antialias)
        self.losses: dict[str, float] = {}
        self.watch = GradientWatch()
        self.state_file: Path | None = None  # the last good state, for messages
        self.bad: tuple[Tensor, Tensor] | None = None  # first step whose figures were not finite (or -1), its figures
        self.step: Tensor
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def train_dataloader(self) -> DataLoader[list[Tensor]]:
        """One item per step."""
        self.share = Share(self.global_rank, self.trainer.world_size)
        order = Order(len(self.images), self.options.batch_size, self.options.model_seed)
        rows = self.share.rows(self.options.batch_size // self.share.world)
        batches = StepBatches(self.images, order, self.options.num_critic, rows)
        return DataLoader(batches, batch_size=None, sampler=StepsLeft(self))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for the generators, Adam for the critic."""
        asked = self.options
        return list(
            build_optimisers(
                self.networks,
                g_lr=asked.g_lr,
                d_lr=asked.d_lr,
                physics_lr=asked.physics_lr,
                betas=(asked.beta1, asked.beta2),
            )
        )

    def on_train_start(self) -> None:
        """Compile where asked for."""
        if self.options.compile:
            compile_generators(self.networks)

    def training_step(self, real: list[Tensor], _: int) -> None:
        """One `train_step`; its losses are read where they will be shown."""
        step = int(self.step)
        losses = train_step(
            self.networks,
            Optimisers(*self.optimizers(use_pl_optimizer=False)),  # type: ignore[misc]
            real,
            self.settings,
            draws=partial(stream, self.options.model_seed, "train", step, device=self.device),
            first=step == 0,
            share=self.share,
        )
        self.step += 1
        figures = torch.stack(list(losses.values()))
        self._note_bad(figures)
        step += 1
        if step % self.options.display_interval == 0 or step in (*range(SHOWN_AT_FIRST), self.options.num_iter):
            self.refuse_divergence()
            self.share.average([figures])
            found = dict(zip(losses, figures.tolist(), strict=True))
            norms = {"critic": found.pop(CRITIC_NORM, 0.0), "generators": found.pop(GENERATORS_NORM, 0.0)}
            self.watch.look(norms, step)
            self.losses = found

    def _note_bad(self, figures: Tensor) -> None:
        """Keep the first step whose figures are not finite, without waiting for the device."""
        here = self.step
        if self.bad is None or len(self.bad[1]) != len(figures):
            self.bad = (here.new_full((), -1), torch.zeros_like(figures))
        first, kept = self.bad
        now = ~torch.isfinite(figures).all() & (first < 0)
        self.bad = (torch.where(now, here, first), torch.where(now, figures, kept))

    def refuse_divergence(self) -> None:
        """Raise InputError if any step so far had losses or gradients that are not finite."""
        if self.bad is None or (step := int(self.bad[0])) < 0:
            return
        order = Order(len(self.images), self.options.batch_size, self.options.model_seed)
        numbers = order.indices((step - 1) * self.options.num_critic).tolist()
        about = [
            f"images {', '.join(map(str, numbers[:SHOWN_AT_FIRST]))}{' ...' if len(numbers) > SHOWN_AT_FIRST else ''}"
        ]
        raise diverged(step, {"sum of losses": float(self.bad[1].sum())}, REMEDY, about, self.state_file)

    def describe(self) -> str:
        """The last losses that were read, on one line."""
        return "  ".join(f"{name} {value:.3f}" for name, value in self.losses.items())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Forget Lightning's own counts: a finished epoch would not go on where num_iterations has grown."""
        del checkpoint["loops"]


def compile_generators(networks: Networks) -> None:
    """torch.compile G_x and G_n in place; where the machine cannot, warn and leave them as they are.

    The critic is left alone: the slope needs second derivatives, which compiled code has not.
    """
    noise = networks.noise
    for network in [networks.image] + ([noise.network] if isinstance(noise, LearnedNoise) else []):
        network.compile()
        latent = next(network.parameters()).new_zeros((2, network.latent))
        try:
            torch.autograd.grad(network(latent).sum(), list(network.parameters()))
        except Exception as error:  # a compiler that is missing or fails raises anything
            network._compiled_call_impl = None
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            warnings.warn(f"--compile: goes on without ({reason})", stacklevel=2)


def number_of(networks: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(p.numel() for p in networks.parameters() if p.requires_grad)
