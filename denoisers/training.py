"""Training runs of denoisers in pytorch-lightning: options, batches by step, learning rate, averages, resuming."""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, distributed, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from denoisers.losses import check_loss, weighed_loss
from denoisers.pairs import Pair, PairSource
from denoisers.trained import Denoiser
from denoisers.validation import mean_psnr
from noisemodel.commandline import option
from noisemodel.errors import InputError

SHOWN_AT_FIRST = 10  # steps whose loss is shown one by one
RAMP_DOWN = 0.3  # share of the steps in which the learning rate falls to 0
BETAS = (0.9, 0.99)

# Option -> least value, and the value that it must stay below.
RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("num_steps", "batch_size", "display_interval", "checkpoint_interval"), (1, math.inf)),
    "validation_interval": (0, math.inf),
    "learning_rate": (0, math.inf),
    "average_beta": (0, 1),
}


@dataclass(frozen=True)
class TrainingOptions:
    """What every method is trained by."""

    num_steps: int = option(20_000, "training steps")
    batch_size: int = option(8, "images per step, over all GPUs")
    learning_rate: float = option(3e-4, "Adam step; it falls to 0 over the last 30 % of the steps")
    average_beta: float = option(0.999, "weight of the past in the averaged network, which is saved; 0: no average")
    precision: Literal["float32", "bfloat16"] = option("float32", "of convolutions and products")
    seed: int = option(0, "of weights, crops and noise")
    display_interval: int = option(50, "steps between rows of metrics.csv")
    validation_interval: int = option(500, "steps between validations and their pictures; 0: only at the end")
    checkpoint_interval: int = option(500, "steps between states to resume from")
    deterministic: bool = option(False, "reproducible sums on a GPU; slower")

    def __post_init__(self) -> None:
        """Refuse figures that no run can use."""
        for name, (least, below) in RANGES.items():
            value = getattr(self, name)
            if not least <= value < below:
                limit = "" if below == math.inf else f" and below {below:g}"
                raise InputError(f"--{name} must be at least {least:g}{limit}, got {value}")

    @property
    def num_iter(self) -> int:
        """Steps in all, under the name that the progress line reads."""
        return self.num_steps


def learning_rate(step: int, steps: int, start: float) -> float:
    """start, then start ((1 + cos pi t) / 2)^2, t = 0 .. 1 over the last 30 % (Lehtinen et al. 2018, their code)."""
    begin = steps * (1 - RAMP_DOWN)
    t = max(0.0, (step - begin) / (steps * RAMP_DOWN))
    return start * (0.5 + math.cos(math.pi * t) / 2) ** 2


class Steps(Dataset[int]):
    """The steps themselves: a batch is made where it is used, on its device."""

    def __getitem__(self, step: int) -> int:
        """``step``."""
        return step


class StepsLeft(Sampler[int]):
    """Steps from where a run stands to its end."""

    def __init__(self, training: Any) -> None:
        """Follow the ``step`` of ``training``."""
        self.training = training

    def __iter__(self) -> Iterator[int]:
        """The steps still to do."""
        return iter(range(int(self.training.step), self.training.options.num_iter))

    def __len__(self) -> int:
        """All steps, done ones too: Lightning counts from the first."""
        return int(self.training.options.num_iter)


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, beta: float, step: int) -> None:
    """a <- b a + (1 - b) w, b = min(beta, (1 + step) / (10 + step)), so that short runs forget their start."""
    weight = 1 - min(beta, (1 + step) / (10 + step))
    for mean, value in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(value, weight) if beta else mean.copy_(value)
    for kept, new in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(new)


def channels_last(images: Tensor) -> Tensor:
    """The same values, the channels of a pixel side by side in memory; clips as they are."""
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images


class DenoiserTraining(pl.LightningModule):
    """Fits a denoiser to pairs by hand-written optimisation, with a step counter of its own.

    Args:
        denoiser: what is trained.
        source: the pairs.
        options: see `TrainingOptions`.
        loss: a row of `denoisers.losses.LOSSES`.
    """

    def __init__(self, denoiser: Denoiser, source: PairSource, options: TrainingOptions, loss: str = "l2") -> None:
        """Start at step 0, with the average at the start weights."""
        super().__init__()
        self.automatic_optimization = False
        self.denoiser = denoiser.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.source, self.options, self.loss = source, options, check_loss(loss)
        self.average = copy.deepcopy(denoiser).requires_grad_(False).eval()
        self.losses: dict[str, float] = {}
        self.psnr: float | None = None
        self.validation: Sequence[Pair] = source.validation()
        self.step: Tensor
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def train_dataloader(self) -> DataLoader[int]:
        """One item per step."""
        self.world = self.trainer.world_size
        share = self.options.batch_size // self.world
        self.rows = slice(self.global_rank * share, (self.global_rank + 1) * share)
        return DataLoader(Steps(), batch_size=None, sampler=StepsLeft(self))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with the published betas."""
        return torch.optim.Adam(self.denoiser.parameters(), lr=self.options.learning_rate, betas=BETAS)

    def training_step(self, number: int, _: int) -> None:
        """One step of Adam on the mean loss over what counts of the global batch."""
        step, asked = int(self.step), self.options
        optimiser = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimiser, torch.optim.Optimizer)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, asked.num_steps, asked.learning_rate)
        pair = self.source.pairs(step, self.rows).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=asked.precision == "bfloat16"):
            estimate = self.denoiser(channels_last(pair.noisy))
        total, weight = weighed_loss(self.loss, estimate, pair.target, pair.mask, progress=step / asked.num_steps)
        figures = torch.stack([total.detach(), weight])
        if self.world > 1:
            distributed.all_reduce(figures)
        weight = figures[1].clamp(min=1)
        loss = float(figures[0] / weight)
        if not math.isfinite(loss):
            raise InputError(_stopped(step + 1, loss, pair.files))
        optimiser.zero_grad()
        self.manual_backward(total * (self.world / weight))  # Lightning averages gradients over processes
        optimiser.step()
        follow(self.average, self.denoiser, asked.average_beta, step)
        self.step += 1
        if (step + 1) % asked.display_interval == 0 or step + 1 in (*range(SHOWN_AT_FIRST), asked.num_iter):
            self.losses = {"loss": loss}

    def trained(self) -> Denoiser:
        """The averaged denoiser: what is validated and saved."""
        return self.average

    def validate(self) -> float | None:
        """Mean PSNR of the validation images now [dB]; None where there are none."""
        self.psnr = mean_psnr(self.trained(), self.validation) if self.validation else None
        return self.psnr

    def describe(self) -> str:
        """The last loss and the last PSNR, on one line."""
        words = [f"{name} {value:.4g}" for name, value in self.losses.items()]
        return "  ".join(words + ([f"PSNR {self.psnr:.2f} dB"] if self.psnr is not None else []))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Forget Lightning's own counts: a finished epoch would not go on where num_steps has grown."""
        del checkpoint["loops"]


def _stopped(step: int, loss: float, files: Sequence[str]) -> str:
    """What to say where the loss is not a number."""
    names = f" (images: {', '.join(files)})" if files else ""
    return f"training diverged at step {step}: loss {loss}{names}; give a smaller --learning_rate, or check the images"
