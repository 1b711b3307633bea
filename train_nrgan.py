"""Learn clean images and their noise from noisy images alone: NR-GAN, its rivals, and the physical prior."""

import noisemodel  # before torch: it says how threads wait

# isort: split
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from pytorch_lightning.loggers import TensorBoardLogger
from rich.console import Console
from rich.table import Table

from noisemodel.checkpoint import checkpoint_file
from noisemodel.commandline import argument, option, run, to_dict
from noisemodel.devices import choose_devices, is_first_process
from noisemodel.errors import InputError
from noisemodel.families import FAMILIES
from noisemodel.lightning_parts import Deadline, Due, ProgressLine, Recorder, run_fit
from noisemodel.physical import PhysicalNoise
from noisemodel.runs import RunFolder
from noisemodel.starting import refuse_published
from noisemodel.stopping import before_training, in_training
from noisemodel.streams import stream
from nrgan.blind_estimate import IMAGES as BLIND_IMAGES
from nrgan.blind_estimate import blind_estimate
from nrgan.corruption import NoisyImages
from nrgan.data import clean_images
from nrgan.figures import plot_losses, save_samples
from nrgan.models import NoiseSettings, PhysicalNoiseModel, check_model
from nrgan.physical_prior import physical_noise
from nrgan.snapshots import NrGan, save_snapshot, snapshot_file, trained
from nrgan.step import build_networks
from nrgan.training import NrGanTraining, TrainingOptions, number_of

PICTURED = 100  # images of a sample grid
# What may change when a run goes on; everything else makes another run.
MAY_CHANGE = {
    "num_iterations", "max_time", "resume", "overwrite", "output_directory", "device", "gpus", "nodes", "nr", "compile",
    "display_interval", "snapshot_interval", "visualize_interval", "checkpoint_interval", "data",
}  # fmt: skip
LAMBDA_START = 1e-3  # a critic beside immature images moves a start by some 3 % against it
ONLY_PHYSICAL = (
    "lambda_start",
    "noiselist",
    "noise_params",
    "noise_start",
    "noise_init",
)  # None where they are not given


@dataclass(frozen=True)
class NrGanOptions(TrainingOptions):
    """Everything that ``train_nrgan.py`` can be told."""

    dataset: str = argument(f"noise of the data: {', '.join(FAMILIES)}")
    model: str = argument("gan, ambientgan, sinrgan1, sinrgan2, sdnrgan1, sdnrgan2, sdnrgan3 or physnrgan")
    output_directory: Path = argument("the run's folder")
    data: Path | None = option(None, "images: CIFAR-10's batches, a folder or an array; without it embedded patches")
    size: int = option(32, "height and width of the images: 32, 64 or 128")
    noiselist: str | None = option(None, "words of the physical model (physnrgan), without it shot_read")
    noise_params: Literal["image", "global"] | None = option(
        None, "physnrgan: parameters from z_n for each image (without it), or the same for all"
    )
    noise_start: Literal["images", "default"] | None = option(
        None, "physnrgan: amounts of shot and read noise to start from: found in the images (without it), or fixed ones"
    )
    noise_init: Path | None = option(None, "physnrgan: a calibrated model to start from")
    max_time: float | None = option(None, "minutes after which the run saves and ends")
    resume: bool = option(False, "go on with the run in the folder")
    overwrite: bool = option(False, "replace the run in the folder")
    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    gpus: int | None = option(None, "GPUs of each node; 0 is the CPU; without it one, if there is one", aliases=("-g",))
    nodes: int = option(1, "machines that train together", aliases=("-n",))
    nr: int = option(0, "number of this machine, 0 .. nodes - 1", aliases=("-nr",))

    def __post_init__(self) -> None:
        """Refuse what makes no run: a model that does not fit the data, options that would have no effect."""
        super().__post_init__()
        physical = check_model(self.dataset, self.model).noise == "physical"
        given = [f"--{name}" for name in ONLY_PHYSICAL if getattr(self, name) is not None]
        if given and not physical:
            raise InputError(f"{', '.join(given)}: only physnrgan has a physical model, got {self.model}; leave it out")
        if self.noise_init is not None and self.noise_start is not None:
            raise InputError("--noise_init and --noise_start both say where the noise starts; give one")
        if self.max_time is not None and not self.max_time >= 0:
            raise InputError(f"--max_time must be at least 0, got {self.max_time}")
        if self.batch_size * self.g_bs_multiple % 2:
            raise InputError(f"--batch_size times --g_bs_multiple must be even, got {self.batch_size}: give another")


def train(options: NrGanOptions) -> None:
    """Read the images, add their noise, train, show."""
    console = Console(soft_wrap=True, quiet=not is_first_process(options.nr))
    with before_training(console.print):
        devices = choose_devices(options.device, options.gpus, options.nodes, options.nr, options.batch_size)
        start = options.noise_init
        data = {"data": options.data, "noise_init": None if start is None else checkpoint_file(start)}
        folder = RunFolder(options.output_directory, MAY_CHANGE, "output_directory", data, "num_iterations")
        if is_first_process(options.nr):
            folder.check(to_dict(options), resume=options.resume, overwrite=options.overwrite)
        training, settings = prepare(options, devices, console)
        if is_first_process(options.nr):
            begin(folder, options)
        if folder.note:
            console.print(folder.note)
        records = Records(folder, options, settings, time.monotonic())
        callbacks = [Recorder(records.due(), options.checkpoint_interval, folder.resume_file)]
        deadline = [] if options.max_time is None else [Deadline(options.max_time)]  # first: it marks the last step
        logger = TensorBoardLogger(folder.path, name="tensorboard", version="")
    with in_training(console.print, folder.resume_file):
        run_fit(
            training,
            [*deadline, *callbacks, ProgressLine(training.describe)],
            devices=devices,
            nodes=options.nodes,
            logger=logger,
            resume=folder.resume_file if options.resume else None,
            deterministic=options.deterministic,
        )
    if is_first_process(options.nr):
        gan = trained(training.networks, settings, int(training.step))
        report(console, folder, gan, options.model_seed)


def prepare(options: NrGanOptions, devices: Sequence[int], console: Console) -> tuple[NrGanTraining, NoiseSettings]:
    """The images with their noise, and the networks at their start."""
    clean = clean_images(options.data, size=options.size)
    place = f"cuda:{devices[0]}" if len(devices) == 1 else "cpu"
    images = NoisyImages(clean, options.dataset, options.data_seed, device=place, clip=not options.no_clip)
    family = FAMILIES[options.dataset]
    settings, started = noise_settings(options, images)
    networks = build_networks(
        settings, d_channels=options.d_channels, antialiased=family.antialias, seed=options.model_seed
    )
    console.print(f"{clean.description}; noise: {family.description}", highlight=False)
    if started:
        console.print(started, highlight=False)
    parts = {"G_x": networks.image, "noise": networks.noise, "critic": networks.critic}
    console.print("parameters:", ", ".join(f"{name} {number_of(part):,}" for name, part in parts.items()))
    return NrGanTraining(networks, images, with_trust(options, settings)), settings


def noise_settings(options: NrGanOptions, images: NoisyImages) -> tuple[NoiseSettings, str]:
    """What the networks are built from, and a line on where physnrgan starts; reads --noise_init."""
    start, spread, started = None, 0.0, ""
    if check_model(options.dataset, options.model).noise == "physical":
        start, spread, started = physical_start(options, images)
    settings = NoiseSettings(
        options.dataset,
        options.model,
        options.size,
        images.images.shape[0],
        options.g_channels,
        options.noiselist,
        options.noise_params != "global",
        start,
        spread,
    )
    return settings, started


def with_trust(options: NrGanOptions, settings: NoiseSettings) -> NrGanOptions:
    """--lambda_start where it is not given: what a start that was found is worth; fixed values are worth nothing."""
    if options.lambda_start is not None or settings.start is None:
        return options
    return replace(options, lambda_start=LAMBDA_START)


def physical_start(options: NrGanOptions, images: NoisyImages) -> tuple[PhysicalNoise | None, float, str]:
    """The model that physnrgan starts from (None: fixed values), the spread of amounts over images, what to say."""
    if options.noise_init is not None:
        loaded = noisemodel.load(options.noise_init)
        refuse_published(loaded, "--noise_init", options.noise_init)
        if loaded.network is not None:
            raise InputError(f"--noise_init {options.noise_init} has a U-Net, physnrgan is physics alone; give another")
        return loaded.physical, 0.0, f"noise starts from {options.noise_init}"
    if options.noise_start == "default":
        return None, 0.0, ""
    found = blind_estimate(images.batch(slice(0, BLIND_IMAGES)).cpu())
    if found is None:
        return None, 0.0, "the images show no line of variance over signal: noise starts from fixed values"
    start = physical_noise(options.noiselist, found=found)
    amounts = f"shot.gain {found.shot_gain:.3g}, read.std {found.read_std:.3g} of white"
    varies = f"; variances vary by a factor of {math.exp(found.spread):.2f} over images" if found.spread else ""
    return start, found.spread, f"noise starts from the images: {amounts}{varies}"


def begin(folder: RunFolder, options: NrGanOptions) -> None:
    """Write the config; a new run clears an old one's pictures and snapshots."""
    folder.begin(to_dict(options), resume=options.resume)
    if not options.resume:
        shutil.rmtree(folder.path / "snapshots", ignore_errors=True)
        for picture in (*folder.path.glob("samples*.png"), folder.path / "losses.png"):
            picture.unlink(missing_ok=True)


@dataclass(frozen=True)
class Records:
    """Writes metrics, pictures and snapshots of a run."""

    folder: RunFolder
    options: NrGanOptions
    settings: NoiseSettings
    begin: float

    def due(self) -> list[Due]:
        """What is written how often."""
        asked = self.options
        return [
            Due(asked.display_interval, self.metrics),
            Due(asked.visualize_interval, self.pictures),
            Due(asked.snapshot_interval, self.snapshot),
        ]

    def metrics(self, training: NrGanTraining) -> None:
        """A row of metrics.csv, and of TensorBoard: losses, and the amounts that physnrgan has come to."""
        step, values = int(training.step), dict(training.losses)
        for name, quantiles in amounts(
            trained(training.networks, self.settings, step), self.options.model_seed
        ).items():
            values |= {f"{name} {at}": value for at, value in zip(("5%", "50%", "95%"), quantiles, strict=True)}
        self.folder.add_metrics({"step": step, "seconds": round(time.monotonic() - self.begin, 1), **values})
        if training.logger is not None:
            training.logger.log_metrics(values, step=step)

    def pictures(self, training: NrGanTraining) -> None:
        """samples_STEP.png: the same latents at every step."""
        gan = trained(training.networks, self.settings, int(training.step))
        draws = stream(self.options.model_seed, "pictures", device=training.device)
        save_samples(gan.sample(PICTURED, generator=draws), self.folder.path / f"samples_{gan.step:06d}.png")

    def snapshot(self, training: NrGanTraining) -> None:
        """The averages, as a snapshot; physnrgan's noise also as a noise model of its own, at the median amounts."""
        gan = trained(training.networks, self.settings, int(training.step))
        save_snapshot(gan, snapshot_file(self.folder.path, gan.step), options=to_dict(self.options))
        if isinstance(gan.noise, PhysicalNoiseModel):
            model = gan.noise.prior.typical(generator=amount_draws(self.options.model_seed, training.device))
            noisemodel.save(model, self.folder.model_file, program="train_nrgan.py", step=gan.step)


def amount_draws(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The stream that amounts are looked at with."""
    return stream(seed, "amounts", device=device)


def amounts(gan: NrGan, seed: int) -> dict[str, list[float]]:
    """5 %, 50 % and 95 % quantile over images of each physical parameter [fraction of white]; empty without any."""
    if not isinstance(gan.noise, PhysicalNoiseModel):
        return {}
    draws = amount_draws(seed, next(gan.image.parameters()).device)
    return {name: values.tolist() for name, values in gan.noise.prior.spread(generator=draws).items()}


def report(console: Console, folder: RunFolder, gan: NrGan, seed: int) -> None:
    """Print what was learned and where it lies; draw the losses."""
    if found := amounts(gan, seed):
        table = Table("parameter", "5 %", "median", "95 % of images", title="noise, fractions of white")
        for name, values in found.items():
            table.add_row(name, *(f"{value:.4g}" for value in values))
        console.print(table)
    if rows := folder.metrics():
        console.print(f"losses: {plot_losses(rows, folder.path / 'losses.png')}")
    console.print(f"pictures: {folder.path / f'samples_{gan.step:06d}.png'} (clean | noise | noisy)")
    console.print(f"snapshot: {snapshot_file(folder.path, gan.step)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run(train, NrGanOptions, "Learn clean images and their noise from noisy images alone.", argv)


if __name__ == "__main__":
    raise SystemExit(main())
