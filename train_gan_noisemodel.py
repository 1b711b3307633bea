"""Learn a camera's noise from frames: closed-form start, adversarial training, and a table of what was found."""

import noisemodel  # noqa: F401 - before torch: it says how threads wait

# isort: split
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger
from rich.console import Console

from datasets import DATASETS, BurstSet, CropSampler, DataOptions, find_instances, load_dataset
from datasets.asked import asked_cameras, asked_isos
from datasets.patterns import load_pattern
from noisemodel.calibration import ClosedForm, calibrate_closed_form
from noisemodel.calibration.camera import AUTO
from noisemodel.calibration.selection import choose_noiselist
from noisemodel.commandline import option, run, to_dict
from noisemodel.devices import choose_devices, is_first_process
from noisemodel.errors import InputError
from noisemodel.game import Game, GanOptions
from noisemodel.generator import NoiseGenerator
from noisemodel.iso_groups import IsoCrops, IsoRulers
from noisemodel.iso_law import middle_iso
from noisemodel.lightning_parts import Deadline, ProgressLine
from noisemodel.patches import CropSource
from noisemodel.runs import RunFolder
from noisemodel.starting import (
    Sensor,
    StartOptions,
    base_model,
    held_words,
    start_together,
    takes_pattern,
)
from noisemodel.stopping import before_training, in_training
from noisemodel.training import NoiseGan, Recorder, fit, learned_figures
from noisemodel.views import Ruler
from train_gan_records import Records, report

WIDTH = 130  # of tables that do not go to a terminal
NOISELIST = "shot_read_uniform_row1_rowt_fixed1_periodic"
NOISELISTS = {"sidd": "shot_read_row1"}  # no darks, no ADC step: what is left to be seen in images with ground truth
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
    dataset: str = option("simulated", f"where frames come from: {', '.join(DATASETS)}")
    data_root: Path | None = option(None, "folder of the data set")
    black_level: float | None = option(None, "black level [DN], where the data do not store it")
    white_level: float | None = option(None, "white level [DN], where the data do not store it")
    layout: Literal["mosaic", "planes"] | None = option(None, "mosaic, or planes (mono, RGB)")
    cfa: str | None = option(None, "colours of a mosaic by position, e.g. RGGB")
    cameras: str | None = option(None, "phone of SIDD: GP, IP, S6, N6 or G4")
    iso: str | None = option(
        None, "ISO of SIDD; several joined with commas, or all without it, learn a law against ISO"
    )
    split: str | None = option(None, "of SIDD: noiseflow, holdout or a file of training ids; its training side is used")
    skip_bad_files: bool = option(False, "warn of bad files of SIDD and starlight, and go on without them")
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
        if self.dataset not in DATASETS:
            raise InputError(f"--dataset must be one of {', '.join(DATASETS)}, got {self.dataset!r}")
        given = [f"--{name}" for name in ("cameras", "iso", "split") if getattr(self, name) is not None]
        if given and self.dataset != "sidd":
            raise InputError(f"{', '.join(given)} choose among SIDD's images; --dataset {self.dataset} has one setting")
        self.isos  # noqa: B018 - checks them
        for name, (least, below) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value < below:
                limit = "" if below == math.inf else f" and below {below:g}"
                raise InputError(f"--{name} must be at least {least:g}{limit}, got {value}")
        if min(self.patch, self.crop_size) < 2**self.critic_halvings:
            raise InputError(f"--critic_halvings {self.critic_halvings} leaves nothing of a crop of {self.crop_size}")

    @property
    def isos(self) -> tuple[int, ...]:
        """The ISOs asked for."""
        return asked_isos(self.iso)


def train(options: TrainOptions) -> None:
    """Load the data, and train on them."""
    names = ("data_root", "black_level", "white_level", "layout", "cfa", "seed", "split", "skip_bad_files")
    asked = DataOptions(**{name: getattr(options, name) for name in names}, iso=options.isos)
    with before_training(console_of(options).print):
        sets = load_sets(options.dataset, replace(asked, cameras=asked_cameras(options.cameras)))
    train_on(sets, options)


def console_of(options: TrainOptions) -> Console:
    """Where the first process prints."""
    console = Console(soft_wrap=True, quiet=not is_first_process(options.nr))
    if not console.is_terminal:
        console.width = WIDTH
    return console


def load_sets(dataset: str, asked: DataOptions) -> dict[int, BurstSet]:
    """ISO -> its bursts; 0 -> the bursts of a data set that has one setting only."""
    if dataset != "sidd" or asked.data_root is None:
        return {0: load_dataset(dataset, asked)}
    part = None if asked.split is None else "train"
    found = find_instances(asked.data_root, cameras=asked.cameras, iso=asked.iso, split=asked.split, part=part)
    phones, isos = sorted({i.phone for i in found}), sorted({i.iso for i in found})
    if len(phones) > 1:
        raise InputError(f"a model is of one phone, {asked.data_root} has {', '.join(phones)}; give one by --cameras")
    if absent := sorted(set(asked.iso) - set(isos)):
        raise InputError(f"{phones[0]} has no images at ISO {', '.join(map(str, absent))}; only at {isos} of these")
    return {iso: load_dataset(dataset, replace(asked, iso=(iso,))) for iso in isos}


def train_on(data: BurstSet | Mapping[int, BurstSet], options: TrainOptions) -> None:
    """Calibrate, train, report; on several ISOs of one camera together, where ``data`` holds more than one."""
    sets, console = data if isinstance(data, Mapping) else {0: data}, console_of(options)
    with before_training(console.print):
        devices = choose_devices(options.device, options.gpus, options.nodes, options.nr, options.batch_size)
        options = with_steps(options, sum(len(each.bursts) for each in sets.values()))
        ready = prepare(sets, options, console)
        folder, callbacks = ready.folder, list(ready.callbacks)
        if options.max_time is not None:
            callbacks.insert(0, Deadline(options.max_time))  # before the recorder: it marks the last step
        logger = TensorBoardLogger(folder.path, name="tensorboard", version="")
    with in_training(console.print, folder.resume_file):
        resume = folder.resume_file if options.resume else None
        fit(ready.gan, callbacks, devices=devices, nodes=options.nodes, logger=logger, resume=resume)
    if is_first_process(options.nr):
        report(console, folder, sets, ready.sensor, ready.closed, ready.held, options)


class Ready(NamedTuple):
    """A run that can begin, and what its report is made from."""

    folder: RunFolder
    gan: NoiseGan
    callbacks: Sequence[pl.Callback]
    sensor: Sensor
    closed: Mapping[int, ClosedForm]
    held: list[str]


def prepare(sets: Mapping[int, BurstSet], options: TrainOptions, console: Console) -> Ready:
    """Open the run's folder, calibrate, and build the game."""
    data = sets[iso0 := middle_iso(sets)]
    base = None if options.init in ("default", "calibrated") else base_model(options.init, list(sets))
    noiselist = chosen_noiselist(data, options, base, console)
    name = data.name if len(sets) == 1 else data.name.removesuffix(str(iso0)) + "-".join(map(str, sorted(sets)))
    place = options.save_path or Path("runs") / f"{name}_{options.network}_{noiselist}"
    split = Path(options.split) if options.split and Path(options.split).is_file() else None
    folder = RunFolder(place, data={"data_root": options.data_root, "split": split})
    if is_first_process(options.nr):  # the others start when the first has begun
        folder.check(to_dict(options), resume=options.resume, overwrite=options.overwrite)
    training, validation = crops_of(sets, options, "train"), crops_of(sets, options, "validation")
    for each in sets.values():
        levels = f"black {each.levels.black_dn:g} DN, white {each.levels.white_dn:g} DN"
        console.print(f"{each.name}: {len(each.bursts)} bursts ({len(each.darks)} dark), {each.layout}, {levels}")
    closed = {iso: calibrate_closed_form(each.bursts, noiselist, each.levels) for iso, each in sets.items()}
    held, notes = held_words(closed, options.crop_size * data.bursts[0].pixel_step, has_truth=data.has_truth)
    for note in notes:
        console.print(f"note: {note}")
    pattern = None if options.fixed_pattern is None else load_pattern(options.fixed_pattern)
    if pattern is None and base is None and data.measured_pattern is not None and takes_pattern(noiselist):
        pattern = data.measured_pattern / data.levels.adc_step
    size = tuple(max(each.sensor_size[axis] for each in sets.values()) for axis in (0, 1))
    sensor = Sensor(data.layout, data.levels, (size[0], size[1]), data.bursts[0].shape[1])
    generator = start_together(
        sensor, noiselist, closed, held, options, base=base, pattern=pattern, seed=options.seed, iso0=iso0
    )
    rulers = {iso: Ruler(*each.white_line) for iso, each in closed.items()}
    game = Game(generator, rulers[iso0], options, held, IsoRulers(rulers) if len(sets) > 1 else None)
    if is_first_process(options.nr):
        folder.begin(to_dict(options), resume=options.resume)
    if folder.note:
        console.print(folder.note)
    records = Records(folder, options, name, closed[iso0], time.monotonic())
    recorder = Recorder(validation, max(1, options.num_iter // 40), folder.resume_file, records)
    shown = [p.name for p in generator.physical.parameters_table() if not p.fixed and p.name not in held]
    callbacks = [recorder, ProgressLine(partial(learned_figures, generator, shown))]
    return Ready(folder, NoiseGan(game, training), callbacks, sensor, closed, held)


def chosen_noiselist(data: BurstSet, options: TrainOptions, base: NoiseGenerator | None, console: Console) -> str:
    """The words asked for, those of --init, the data set's, or with ``auto`` those that the data show."""
    if options.noiselist is None:
        return base.physical.noiselist if base else NOISELISTS.get(options.dataset, NOISELIST)
    if options.noiselist != AUTO:
        return options.noiselist
    choice = choose_noiselist(data.bursts, data.levels)
    console.print(f"noiselist {choice.noiselist}:", *choice.reasons, sep="\n  - ", highlight=False)
    return choice.noiselist


def crops_of(sets: Mapping[int, BurstSet], options: TrainOptions, split: Literal["train", "validation"]) -> CropSource:
    """Batches of a split: of one data set, or of all ISOs in turn, with as many frames of each."""
    size = options.batch_size if split == "train" else max(8, options.batch_size)
    frames = min([options.frames, *(burst.shape[0] for each in sets.values() for burst in each.bursts)])
    sampler = partial(CropSampler, crop=options.crop_size, batch_size=size, seed=options.seed, split=split)
    if len(sets) == 1:
        return sampler(next(iter(sets.values())), frames=options.frames)
    return IsoCrops({iso: sampler(each, frames=frames) for iso, each in sets.items()}, size)


def with_steps(options: TrainOptions, bursts: int) -> TrainOptions:
    """num_iter as what num_iter and epochs say, whichever ends first."""
    if options.epochs is None:
        return options
    steps = options.epochs * math.ceil(bursts / options.batch_size)
    return replace(options, num_iter=min(options.num_iter, steps))


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run(train, TrainOptions, "Learn a camera's noise from its frames.", argv, PRESETS)


if __name__ == "__main__":
    raise SystemExit(main())
