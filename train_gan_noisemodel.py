"""Learn a camera's noise from frames: closed-form start, adversarial training, and a table of what was found."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.loggers import TensorBoardLogger
from rich.console import Console

import noisemodel
from datasets import BurstSet, CropSampler, DataOptions, load_dataset
from datasets.patterns import load_pattern
from noisemodel.calibration import ClosedForm, calibrate_closed_form
from noisemodel.calibration.camera import AUTO
from noisemodel.calibration.selection import choose_noiselist
from noisemodel.commandline import option, run, to_dict
from noisemodel.devices import choose_devices, is_first_process
from noisemodel.errors import InputError
from noisemodel.evaluation.fidelity import fidelity_score
from noisemodel.evaluation.history import plot_history
from noisemodel.evaluation.parameter_table import compare_parameters
from noisemodel.evaluation.recording import pair, pattern_extent, read_recording
from noisemodel.game import Game, GanOptions
from noisemodel.generator import NoiseGenerator
from noisemodel.quantities import describe
from noisemodel.runs import RunFolder
from noisemodel.starting import Sensor, StartOptions, start_generator
from noisemodel.streams import stream
from noisemodel.training import Deadline, NoiseGan, ProgressLine, Recorder, fit
from noisemodel.views import Ruler

WIDTH = 130  # of tables that do not go to a terminal
JUDGED, SIDE = 4, 256  # bursts, and sensor pixels of each, that the final fidelity is measured on
NOISELIST = "shot_read_uniform_row1_rowt_fixed1_periodic"
PRESETS: dict[str, dict[str, Any]] = {
    "demo": {"init": "default", "save_path": "runs/demo", "overwrite": True, "view": True},
    "published": {
        "crop_size": 256, "frames": 16, "batch_size": 1, "patch": 64, "critic_width": 64, "critic_halvings": 3,
        "spectral_norm": True, "lr": 2e-4, "lr_critic": 2e-4, "lr_physics": 2e-4, "lr_decay": False, "b1": 0.5,
        "b2": 0.999, "warmup": 0, "discriminator_loss": "fourier", "num_iter": 500_000, "init": "default",
    },
}  # fmt: skip

# Option -> least value, and the value that it must stay below.
RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("crop_size", "frames", "unet_width", "epochs"), (1, math.inf)),
    **dict.fromkeys(("lr", "lr_critic", "lr_physics", "lambda_gp", "lambda_lpips"), (0, math.inf)),
    **dict.fromkeys(("warmup", "max_time"), (0, math.inf)),
    **dict.fromkeys(("b1", "b2"), (0, 1)),
}


@dataclass(frozen=True)
class TrainOptions(GanOptions, StartOptions):
    """Everything that ``train_gan_noisemodel.py`` can be told."""

    preset: Literal["demo", "published"] | None = option(None, "a row of settings; flags and --config win over it")
    dataset: Literal["simulated", "bursts"] = option("simulated", "where frames come from")
    data_root: Path | None = option(None, "folder of the data set")
    black_level: float | None = option(None, "black level [DN], where the data do not store it")
    white_level: float | None = option(None, "white level [DN], where the data do not store it")
    layout: Literal["mosaic", "planes"] | None = option(None, "mosaic, or planes (mono, RGB)")
    cfa: str | None = option(None, "colours of a mosaic by position, e.g. RGGB")
    crop_size: int = option(32, "height and width of training crops, in pixels of a plane")
    frames: int = option(4, "most frames of a burst per sample")
    noiselist: str | None = option(None, f"words joined with _, or auto; without it {NOISELIST}, or the --init file's")
    epochs: int | None = option(None, "passes over the bursts, batch_size of them a step; num_iter may end it sooner")
    max_time: float | None = option(None, "minutes after which the run saves and ends")
    save_path: Path | None = option(None, "the run's folder; without it runs/<dataset>_<network>_<noiselist>")
    notes: str = option("", "free text kept with the run")
    resume: bool = option(False, "go on with the run in save_path")
    overwrite: bool = option(False, "replace the run in save_path")
    view: bool = option(False, "write viewnoise's pictures at the end")
    device: str = option("auto", "auto, cpu, cuda or cuda:N")
    gpus: int | None = option(None, "GPUs of each node; 0 is the CPU; without it one, if there is one", aliases=("-g",))
    nodes: int = option(1, "machines that train together", aliases=("-n",))
    nr: int = option(0, "number of this machine, 0 .. nodes - 1", aliases=("-nr",))

    def __post_init__(self) -> None:
        """Refuse figures that no run can use."""
        super().__post_init__()
        for name, (least, below) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value < below:
                limit = "" if below == math.inf else f" and below {below:g}"
                raise InputError(f"--{name} must be at least {least:g}{limit}, got {value}")
        if min(self.patch, self.crop_size) < 2**self.critic_halvings:
            raise InputError(f"--critic_halvings {self.critic_halvings} leaves nothing of a crop of {self.crop_size}")


def train(options: TrainOptions) -> None:
    """Load the data set, and train on it."""
    asked = DataOptions(
        options.data_root, options.black_level, options.white_level, options.layout, options.cfa, options.seed
    )
    train_on(load_dataset(options.dataset, asked), options)


def train_on(data: BurstSet, options: TrainOptions) -> None:
    """Calibrate, train, report."""
    console = Console(soft_wrap=True, quiet=not is_first_process(options.nr))
    if not console.is_terminal:
        console.width = WIDTH
    devices = choose_devices(options.device, options.gpus, options.nodes, options.nr, options.batch_size)
    options = with_steps(options, data)
    base = None if options.init in ("default", "calibrated") else noisemodel.load(options.init)
    noiselist = options.noiselist
    if noiselist is None:
        noiselist = base.physical.noiselist if base else NOISELIST
    elif noiselist == AUTO:
        choice = choose_noiselist(data.bursts, data.levels)
        noiselist = choice.noiselist
        console.print(f"noiselist {noiselist}:", *choice.reasons, sep="\n  - ", highlight=False)
    folder = RunFolder(options.save_path or Path("runs") / f"{data.name}_{options.network}_{noiselist}")
    if is_first_process(options.nr):  # the others start when the first has begun
        folder.check(to_dict(options), resume=options.resume, overwrite=options.overwrite)
    sampler = partial(CropSampler, data, crop=options.crop_size, frames=options.frames, seed=options.seed)
    training = sampler(batch_size=options.batch_size, split="train")
    validation = sampler(batch_size=max(8, options.batch_size), split="validation")
    console.print(
        f"{data.name}: {len(data.bursts)} bursts ({len(data.darks)} dark), {data.layout}, black "
        f"{data.levels.black_dn:g} DN, white {data.levels.white_dn:g} DN"
    )
    closed = calibrate_closed_form(data.bursts, noiselist, data.levels)
    held = closed.held if training.centred else []
    notes = [f"{name}: constant over a burst, so not identifiable by training on it; held" for name in held]
    short = closed.unresolved(options.crop_size * data.bursts[0].pixel_step)
    notes += [
        f"{name}: crops of {options.crop_size} rows cannot part it from the smooth spectrum; held" for name in short
    ]
    held = [*held, *short]
    for note in [*closed.notes, *notes]:
        console.print(f"note: {note}")
    pattern = None if options.fixed_pattern is None else load_pattern(options.fixed_pattern)
    sensor = Sensor(data.layout, data.levels, data.sensor_size, data.bursts[0].shape[1])
    generator = start_generator(sensor, noiselist, closed, held, options, base=base, pattern=pattern, seed=options.seed)
    gan = NoiseGan(Game(generator, Ruler(*closed.white_line), options, held), training)
    if is_first_process(options.nr):
        folder.begin(to_dict(options), resume=options.resume)
    interval = max(1, options.num_iter // 40)
    records = Records(folder, options, data.name, closed, time.monotonic())
    recorder = Recorder(validation, interval, folder.resume_file, records)
    shown = [p.name for p in generator.physical.parameters_table() if not p.fixed and p.name not in held]
    figures = partial(_figures, generator, shown)
    callbacks = [recorder, ProgressLine(figures)]
    if options.max_time is not None:
        callbacks.insert(0, Deadline(options.max_time))  # before the recorder, which records the step that is the last
    logger = TensorBoardLogger(folder.path, name="tensorboard", version="")
    resume = folder.resume_file if options.resume else None
    try:
        fit(gan, callbacks, devices=devices, nodes=options.nodes, logger=logger, resume=resume)
    except KeyboardInterrupt:
        console.print(f"stopped; --resume goes on from the last state in {folder.resume_file}")
        raise
    if is_first_process(options.nr):
        report(console, folder, data, sensor, closed, held, options)


@dataclass(frozen=True)
class Records:
    """Writes a row of metrics per score, and the model where it is to be kept."""

    folder: RunFolder
    options: TrainOptions
    data: str
    closed: ClosedForm
    begin: float

    def __call__(self, gan: NoiseGan, score: float, keep: bool) -> None:
        """Record where ``gan`` stands."""
        generator, step = gan.game.averaged, int(gan.step)
        values = {p.name: p.value for p in generator.physical.parameters_table()}
        values |= {f"last.{p.name}": p.value for p in gan.game.generator.physical.parameters_table()}
        row = {"step": step, "seconds": round(time.monotonic() - self.begin, 1), "score": score, **gan.losses, **values}
        self.folder.add_metrics(row)
        if gan.logger is not None:
            gan.logger.log_metrics({"score": score, **{f"physics/{k}": v for k, v in values.items()}}, step=step)
        if keep:
            noisemodel.save(
                generator,
                self.folder.model_file,
                program="train_gan_noisemodel.py",
                options=to_dict(self.options),
                data=self.data,
                calibration=self.closed.to_dict(),
                step=step,
                score=score,
            )


def report(
    console: Console,
    folder: RunFolder,
    data: BurstSet,
    sensor: Sensor,
    closed: ClosedForm,
    held: list[str],
    options: TrainOptions,
) -> None:
    """Print true | calibrated | learned, draw the parameters over time, and, with --view, viewnoise's pictures."""
    model, made = noisemodel.load(folder.path), noisemodel.read_provenance(folder.path)
    physical, true = model.physical, data.true_parameters or {}
    start = dict(closed.start)
    if "fixed1" in physical.components:
        start.setdefault("fixed1_pattern", physical.component("fixed1").pattern)
    calibrated = sensor.model(physical.noiselist, start)
    console.print(compare_parameters(physical, calibrated, true, held, calibration=made["calibration"]))
    first = folder.metrics()[0]["score"]
    console.print(
        f"energy score (lower is better): {first:.5f} at the start, {made['score']:.5f} at step {made['step']}"
    )
    for name, judged in (("calibrated", NoiseGenerator(calibrated)), ("learned", model)):
        ratio = fidelity_ratio(judged, data, options.seed)
        if ratio is not None:
            console.print(f"{name}: {ratio:.3g} times the distance of real from real noise (see docs/evaluate.md)")
    console.print(f"model: {folder.model_file}")
    picture = folder.path / "parameters_over_time.png"
    plot_history(folder.metrics(), physical.parameters_table(), data.levels, true, picture)
    console.print(f"picture: {picture}")
    if options.view:
        from viewnoise import view

        view(model, data, folder.path / "view", seed=options.seed)


def fidelity_ratio(model: NoiseGenerator, data: BurstSet, seed: int) -> float | None:
    """Geometric mean, over the proper metrics, of distance from real noise over that of real from real noise.

    None where bursts have too few frames to be parted into halves.
    """
    bursts = data.bursts[:: max(1, len(data.bursts) // JUDGED)]
    if any(burst.shape[0] < (4 if burst.truth is None else 2) for burst in bursts):
        return None
    extent = pattern_extent(model)
    try:
        recordings = [read_recording(burst, size=SIDE, most_frames=8, extent=extent) for burst in bursts]
        pairs = [pair(model, at, generator=stream(seed, "fidelity", at.name)) for at in recordings]
        return math.exp(fidelity_score(pairs))
    except InputError:
        return None  # bursts too small for spectra


def with_steps(options: TrainOptions, data: BurstSet) -> TrainOptions:
    """num_iter as what num_iter and epochs say, whichever ends first."""
    if options.epochs is None:
        return options
    steps = options.epochs * math.ceil(len(data.bursts) / options.batch_size)
    return replace(options, num_iter=min(options.num_iter, steps))


def _figures(generator: NoiseGenerator, names: list[str]) -> str:
    """The learned physical parameters in DN and electrons."""
    table = generator.physical.parameters_table()
    return describe([p for p in table if p.name in names], generator.physical.levels)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run(train, TrainOptions, "Learn a camera's noise from its frames.", argv, PRESETS)


if __name__ == "__main__":
    raise SystemExit(main())
