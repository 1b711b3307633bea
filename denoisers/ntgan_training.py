"""Training runs of NTGAN in pytorch-lightning: flags, stages of refinement, what is told meanwhile."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from denoisers.ntgan_camera import CameraLaw
from denoisers.ntgan_levels import NoiseLevels
from denoisers.ntgan_pairs import InputNoise, Pairing, PairLaw, check_images
from denoisers.ntgan_step import (
    Optimisers,
    Rows,
    StepSettings,
    average_over_processes,
    build_networks,
    build_optimisers,
    start_stage,
    train_step,
)
from denoisers.pairs import Pair
from denoisers.response_curves import gamma_curve, load_response_curves
from denoisers.trained import Denoiser, DenoiserSettings
from denoisers.training import SHOWN_AT_FIRST, Steps, StepsLeft, TrainingOptions, learning_rate
from denoisers.validation import mean_psnr
from noisemodel.commandline import option
from noisemodel.errors import InputError
from noisemodel.lightning_parts import diverged
from noisemodel.streams import stream

# Option -> the value of another with which nothing comes of it.
WITHOUT_EFFECT: dict[str, tuple[str, Any]] = {
    "noise_ratio": ("input_noise", "drawn"),
    "ratio_spread": ("input_noise", "drawn"),
    "critic_width": ("gan_weight", 0),
    "critic_lr": ("gan_weight", 0),
}
REMEDY = "give a smaller --learning_rate or --critic_lr"
NoisyImages = Callable[[int, slice], Tensor]  # step, rows of its global batch -> (N, 3, H, W) noisy images in [0, 1]
Levels = Callable[[int, slice], NoiseLevels]  # likewise -> those of the pictures that the images were cut from


@dataclass(frozen=True)
class NtganOptions:
    """The flags of NTGAN alone; `PairLaw`, `CameraLaw` and `StepSettings` say what they mean."""

    pairing: Pairing = option(
        "transfer", "ntgan: transfer denoises; literal is as published, where level 0 is identity"
    )
    zero_share: float = option(0.5, "ntgan: share of pairs with target level 0, which teach denoising")
    input_noise: InputNoise = option(
        "measured", "ntgan: noise on inputs like each picture's own, or of simulated cameras"
    )
    noise_ratio: float = option(1.5, "ntgan: measured noise has so many times the std of the picture's own")
    ratio_spread: float = option(0.0, "ntgan: the ratio is uniform over 1 - spread .. 1 + spread of it")
    sigma_s: float = option(0.16, "ntgan: largest std of simulated signal-dependent noise, over the light")
    sigma_c: float = option(0.06, "ntgan: largest std of simulated constant noise, of white")
    mosaic_share: float = option(2 / 3, "ntgan: share of simulated cameras with a Bayer mosaic")
    curves: Path | None = option(None, "ntgan: file of response curves (.mat, .npz, DoRF's .txt); without it gamma 2.2")
    refine_stages: int = option(2, "ntgan: stages that take the average's output as pseudo-clean images")
    gan_weight: float = option(0.02, "ntgan: weight of the adversarial loss; 0 trains without a critic")
    low_pass_weight: float = option(1.0, "ntgan: weight of the low-pass L1 of pairs with target noise")
    critic_width: int = option(64, "ntgan: channels of the critic")
    critic_lr: float = option(2e-4, "ntgan: Adam step of the critic")

    def check_ntgan(self) -> None:
        """Refuse figures that no run can use; files are read by `step_settings`."""
        PairLaw(CameraLaw(gamma_curve(), self.sigma_s, self.sigma_c, self.mosaic_share), **self._pair_law())
        for name, (other, value) in WITHOUT_EFFECT.items():
            if getattr(self, other) == value and getattr(self, name) != getattr(NtganOptions(), name):
                raise InputError(f"--{name} has no effect with --{other} {value}; leave one of them out")
        least = {"refine_stages": 0, "gan_weight": 0, "low_pass_weight": 0, "critic_width": 1, "critic_lr": 0}
        for name, low in least.items():
            if not low <= getattr(self, name) < torch.inf:
                raise InputError(f"--{name} must be at least {low}, got {getattr(self, name)}")

    def _pair_law(self) -> dict[str, Any]:
        """What `PairLaw` takes beside the camera."""
        return {
            "pairing": self.pairing,
            "zero_share": self.zero_share,
            "input_noise": self.input_noise,
            "ratio": self.noise_ratio,
            "spread": self.ratio_spread,
        }

    def step_settings(self, options: TrainingOptions) -> StepSettings:
        """What a step needs; reads the response curves."""
        self.check_ntgan()
        curves = gamma_curve() if self.curves is None else load_response_curves(self.curves)
        camera = CameraLaw(curves, self.sigma_s, self.sigma_c, self.mosaic_share)
        return StepSettings(
            PairLaw(camera, **self._pair_law()),
            self.gan_weight,
            self.low_pass_weight,
            options.average_beta,
            bfloat16=options.precision == "bfloat16",
        )


class NtganTraining(pl.LightningModule):
    """Plays `train_step` by hand-written optimisation, with a step counter of its own.

    Args:
        settings: of the denoiser: network "ntgan".
        images: the noisy training images by step; a pure function, so that resuming gives the same bits.
        asked: the flags of NTGAN.
        options: the flags of every method.
        validation: noisy images with clean ones, N = 1 each, of any size; for the PSNR that is shown.
        levels: of the pictures that the images are cut from; without it each image is measured alone, which is rougher.
    """

    def __init__(
        self,
        settings: DenoiserSettings,
        images: NoisyImages,
        asked: NtganOptions,
        options: TrainingOptions,
        validation: Sequence[Pair] = (),
        levels: Levels | None = None,
    ) -> None:
        """Start at step 0, stage 0."""
        super().__init__()
        self.automatic_optimization = False
        self.settings, self.images, self.levels = settings, images, levels
        self.asked, self.options = asked, options
        self.networks = build_networks(settings, critic_width=asked.critic_width, seed=options.seed)
        self.law, self.validation = asked.step_settings(options), validation
        self.losses: dict[str, float] = {}
        self.psnr: float | None = None
        self.names: tuple[str, ...] = ()
        self.figures: Tensor | None = None
        self.state_file: Path | None = None  # the last good state, for messages
        self.step: Tensor
        self.stage: Tensor
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("stage", torch.zeros((), dtype=torch.int64))

    @property
    def denoiser(self) -> Denoiser:
        """The generator that learns."""
        return Denoiser(self.settings, self.networks.generator)

    def trained(self) -> Denoiser:
        """The averaged generator: what is validated and saved."""
        return Denoiser(self.settings, self.networks.average)

    def train_dataloader(self) -> DataLoader[int]:
        """One item per step."""
        share = self.options.batch_size // self.trainer.world_size
        self.rows = slice(self.global_rank * share, (self.global_rank + 1) * share)
        return DataLoader(Steps(), batch_size=None, sampler=StepsLeft(self))

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam for the generator, Adam for the critic."""
        return list(build_optimisers(self.networks, lr=self.options.learning_rate, critic_lr=self.asked.critic_lr))

    def on_train_start(self) -> None:
        """Bring the response curves to the device."""
        camera = replace(self.law.pairs.camera, curves=self.law.pairs.camera.curves.to(self.device))
        self.law = replace(self.law, pairs=replace(self.law.pairs, camera=camera))

    def training_step(self, number: int, _: int) -> None:
        """One `train_step`; its losses are read where they will be shown."""
        step, asked = int(self.step), self.options
        self._enter_stage(step)
        generator, critic = self.optimizers(use_pl_optimizer=False)  # type: ignore[misc]
        for group in generator.param_groups:
            group["lr"] = learning_rate(step, asked.num_steps, asked.learning_rate)
        losses = train_step(
            self.networks,
            Optimisers(generator, critic),
            check_images(self.images(step, self.rows)).to(self.device),
            self.law,
            step=step,
            stage=int(self.stage),
            draws=Rows(asked.batch_size, self.rows, stream(asked.seed, "train", step, device=self.device)),
            levels=self.levels(step, self.rows).to(self.device) if self.levels else None,
        )
        self.step += 1
        self._keep(losses)
        if (step + 1) % asked.display_interval == 0 or step + 1 in (*range(SHOWN_AT_FIRST), asked.num_iter):
            self.refuse_divergence()
            self._read(losses)

    def _enter_stage(self, step: int) -> None:
        """Begin the stage that this step belongs to; a run that was made longer does not go back."""
        due = step * (self.asked.refine_stages + 1) // self.options.num_steps
        while int(self.stage) < due:
            start_stage(self.networks)
            self.stage += 1

    def refuse_divergence(self) -> None:
        """Raise InputError if the last step's losses, or the weights after it, are not finite."""
        if self.figures is None:
            return
        found = dict(zip(self.names, self.figures.tolist(), strict=True))
        if not all(map(math.isfinite, found.values())):
            raise diverged(int(self.step), found, REMEDY, last_good=self.state_file)

    def _keep(self, losses: dict[str, Tensor]) -> None:
        """Keep what `refuse_divergence` looks at; broken weights show in the last layer."""
        *_, last = self.networks.generator.leave.parameters()
        self.names = (*losses, "last layer")
        self.figures = torch.stack([*losses.values(), last.detach().sum()])

    def _read(self, losses: dict[str, Tensor]) -> None:
        """Losses of the global batch, for `describe` and metrics."""
        figures = torch.stack(list(losses.values()))
        average_over_processes([figures])
        self.losses = dict(zip(losses, figures.tolist(), strict=True))

    def validate(self) -> float | None:
        """Mean PSNR of the validation images now, clipped, in float [dB]; None where there are none."""
        self.psnr = mean_psnr(self.trained(), self.validation) if self.validation else None
        return self.psnr

    def describe(self) -> str:
        """The last losses and the last PSNR, on one line."""
        words = [f"{name} {value:.3g}" for name, value in self.losses.items()]
        return "  ".join(words + ([f"PSNR {self.psnr:.2f} dB"] if self.psnr is not None else []))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Forget Lightning's own counts: a finished epoch would not go on where num_steps has grown."""
        del checkpoint["loops"]
