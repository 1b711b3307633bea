"""Noisy versions of clean images or raw, by a learned model or another source: `synthesize.py NOISE IMAGES -o OUT`."""

import noisemodel  # before torch: it says how threads wait

# isort: split
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from noisemodel import InputError, Levels, commandline
from noisemodel.checkpoint import write_atomically
from noisemodel.commandline import REQUIRED, argument, option
from noisemodel.images import FORMATS, Array, ImageFile, open_image
from noisemodel.sources_images import ImageNoise, ImageOptions, Noise
from noisemodel.synthesis import Scale, choose_scale, synthesize_frames

PURPOSE = "synthesize"


@dataclass(frozen=True)
class Config:
    """What the program does."""

    noise: str = argument(
        "a run folder, a .safetensors file, or KIND:ARGUMENT of docs/sources.md, e.g. gaussian:25/255"
    )
    images: tuple[Path, ...] = argument("clean images (.png .tif .npy .h5) or folders of them, searched recursively")
    out: Path = option(REQUIRED, "output folder; files keep their names, types and places", aliases=("-o",))
    iso: float | None = option(None, "ISO, of a model with a law against ISO; without it the law's ISO0")
    frames: int = option(1, "noisy frames of each image: a burst, whose static terms are the same")
    seed: int = option(0, "names the noise; same seed and relative path, same noise")
    exact: bool = option(False, "exact laws (Poisson), rounded and clipped by the model's levels, as a camera records")
    device: Literal["auto", "cpu", "cuda"] = option("auto", "where noise is drawn; another device, other bits")
    param: tuple[str, ...] = option((), "parameters changed, NAME=VALUE[DN|e-], e.g. shot.gain=0.42DN read.std=2e-")
    layout: Literal["mosaic", "planes"] | None = option(
        None, "of images, for KIND:ARGUMENT; mosaic for raw (1 or 4 channels, no PNG), else planes"
    )
    cfa: str | None = option(None, "colours of a mosaic from the images' corner, e.g. RGGB, for KIND:ARGUMENT")
    black_level: float | None = option(None, "value of no light [DN]; with --white_level")
    white_level: float | None = option(None, "value of the white level [DN]; with --black_level")
    values: Literal["auto", "dn", "full_scale"] = option(
        "auto", "dn: black to white level; full_scale: 0..255, 0..65535 or 0..1; auto: see docs/synthesize.md"
    )
    srgb: bool = option(False, "values are display-encoded: decode, add noise to linear light, encode")
    per_channel: bool = option(False, "let a mosaic model treat each colour of a picture as a sensor (approximate)")
    origin: str = option("0,0", "sensor pixel ROW,COLUMN of the images' corner")
    axes: Literal["HW", "HWC", "CHW", "NHW", "NHWC", "NCHW"] | None = option(None, "axes of .npy and HDF5 arrays")
    key: str | None = option(None, "array in HDF5 files; not needed if there is one")
    overwrite: bool = option(False, "replace outputs that exist")

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.frames < 1:
            raise InputError(f"--frames must be at least 1, got {self.frames}")
        if (self.black_level is None) != (self.white_level is None):
            raise InputError("give --black_level and --white_level together")
        if self.levels is not None and self.values == "full_scale":
            raise InputError("--values full_scale leaves no use for --black_level and --white_level; drop one of them")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("--device cuda: no such device here; use cpu or auto")
        self.place  # noqa: B018 - checks it

    @property
    def levels(self) -> Levels | None:
        """Black and white level, where given."""
        if self.black_level is None or self.white_level is None:
            return None
        return Levels(self.black_level, self.white_level)

    @property
    def place(self) -> tuple[int, int]:
        """The origin as two numbers."""
        row, _, column = self.origin.partition(",")
        if not (row.strip().isdecimal() and column.strip().isdecimal()):
            raise InputError(f"--origin must be ROW,COLUMN, two whole numbers from 0, got {self.origin!r}")
        return int(row), int(column)


@dataclass(frozen=True)
class Job:
    """One image, and where its noisy versions go; ``name`` is its path below what was given, and names its noise."""

    image: ImageFile
    name: str
    targets: tuple[Path, ...]
    record: Path
    scale: Scale
    noise: Noise
    about: dict[str, Any]


def synthesize(config: Config) -> None:
    """Check everything that headers tell, then write image after image."""
    jobs = planned(config, opened(config))
    total = config.frames * sum(job.image.values for job in jobs)
    started = monotonic()
    with progress(total) as advance:
        for job in jobs:
            write_job(config, job, advance)
    rate = total / 1e6 / max(monotonic() - started, 1e-9)
    for noise in dict.fromkeys(job.about["noise"] for job in jobs):
        print(f"noise: {noise}")
    for meaning in sorted({f"{job.scale.black:g}..{job.scale.white:g} ({job.scale.why})" for job in jobs}):
        print(f"black..white: {meaning}{', sRGB-encoded' if config.srgb else ''}")
    print(f"wrote {len(jobs)} image(s) x {config.frames} frame(s) to {config.out}, {rate:.1f} million values/s")


def opened(config: Config) -> ImageNoise:
    """The noise, by whatever the command line says of it."""
    cuda = config.device != "cpu" and torch.cuda.is_available()
    said = {name: getattr(config, name) for name in ("levels", "layout", "cfa", "exact", "iso", "param", "per_channel")}
    darks = partial(open_darks, config)
    return ImageNoise(config.noise, ImageOptions(**said, device="cuda" if cuda else "cpu", open_bursts=darks))


def open_darks(config: Config, folder: Path) -> Any:
    """The bursts of ``darks:FOLDER,G``, with the levels and layout of the command line where it says them."""
    try:
        from datasets import DataOptions, dataset_of, load_dataset
    except ImportError as error:
        raise InputError("darks: needs the folder datasets/, which is not installed; run from a clone") from error
    facts = (config.black_level, config.white_level, config.layout, config.cfa)
    return load_dataset(dataset_of(None, folder)[0], DataOptions(folder, *facts))


def planned(config: Config, noise: ImageNoise) -> list[Job]:
    """What is to be done; raises InputError for whatever the headers and the output folder tell is wrong."""
    if config.out.exists() and not config.out.is_dir():
        raise InputError(f"output {config.out} is a file; name a folder")
    jobs: list[Job] = []
    taken: dict[Path, Path] = {}
    for path, name in found_images(config):
        if not _is_utf8(name):
            raise InputError(f"the name of {os.fsencode(path)!r} is not UTF-8, and names the noise; rename it")
        image = open_image(path, axes=config.axes, key=config.key)
        raw = image.suffix != ".png" and image.channels in (1, 4) and not image.alpha
        about = noise.record(noise.layout(raw=raw))
        with named(path):
            scale = choose_scale(
                image.dtype,
                values="dn" if config.levels else config.values,
                levels=config.levels or noise.levels(raw=raw),
                raw=raw,
                srgb=config.srgb,
            )
            job = Job(image, name, *outputs(config, image, name), scale, noise.of_image(image.channels, raw=raw), about)
        for target in (*job.targets, job.record):
            if target in taken:
                raise InputError(f"{taken[target]} and {path} would both be written to {target}; rename one")
            if target.exists() and not config.overwrite:
                raise InputError(f"{target} exists already; choose another folder, or say --overwrite")
            taken[target] = path
        jobs.append(job)
    return jobs


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def found_images(config: Config) -> Iterator[tuple[Path, str]]:
    """Every image with its path below what was given, sorted; hidden files and other types are passed over."""
    out = config.out.resolve()
    for given in config.images:
        if not given.is_dir():
            if out == given.resolve().parent:
                raise InputError(f"output folder {config.out} is the folder of {given}; name another one")
            yield given, given.name
            continue
        if out.is_relative_to(given.resolve()):
            raise InputError(f"output folder {config.out} lies in the input folder {given}; name another one")
        files = (file for file in given.rglob("*") if file.suffix.lower() in FORMATS and file.is_file())
        if not (images := sorted(file for file in files if not file.name.startswith("."))):
            raise InputError(f"{given} holds no images ({', '.join(FORMATS)}); name another folder")
        yield from ((file, file.relative_to(given).as_posix()) for file in images)


def outputs(config: Config, image: ImageFile, name: str) -> tuple[tuple[Path, ...], Path]:
    """Noisy files and JSON; a PNG holds one picture, so its frames become NAME_t00.png, NAME_t01.png, ..."""
    target = config.out / name
    record = target.with_name(f"{target.name}.json")
    if config.frames == 1 or image.suffix != ".png":
        return (target,), record
    digits = max(2, len(str(config.frames - 1)))
    return tuple(target.with_name(f"{target.stem}_t{t:0{digits}}{target.suffix}") for t in range(config.frames)), record


def write_job(config: Config, job: Job, advance: Callable[[int], None]) -> None:
    """Write the noisy versions of one image, and the JSON when they are complete; no file is ever half there."""
    pages = noisy_pages(config, job, advance)
    pages = chain([next(pages)], pages)  # a bad image is noticed before a folder is made
    each = job.image.pages * config.frames // len(job.targets)
    for target in job.targets:
        write_atomically(target, lambda temporary: job.image.write(temporary, islice(pages, each), config.frames))
    record = {
        "image": job.name,
        "source": str(job.image.path.resolve()),
        "outputs": [target.name for target in job.targets],
        "type": str(job.image.dtype),
        "pages": job.image.pages,
        "stream": [config.seed, PURPOSE, job.name, "page", "frame, or 'static'"],
        "values": {"black": job.scale.black, "white": job.scale.white, "srgb": job.scale.srgb, "why": job.scale.why},
        **job.about,
        "frames": config.frames,
        "exact": config.exact,
        "origin": config.place,
        "seed": config.seed,
        "options": commandline.to_dict(config),
        "program": {"noisemodel": noisemodel.__version__, "torch": torch.__version__},
    }
    write_atomically(job.record, lambda temporary: temporary.write_text(json.dumps(record, indent=2) + "\n"))


def noisy_pages(config: Config, job: Job, advance: Callable[[int], None]) -> Iterator[Array]:
    """Page after page, and of each page frame after frame."""
    image = job.image
    for number, page in enumerate(image.read()):
        with named(image.path):
            for noisy in synthesize_frames(
                job.noise,
                page,
                job.scale,
                seed=config.seed,
                purpose=(PURPOSE, job.name, number),
                frames=config.frames,
                exact=config.exact,
                origin=config.place,
                channel_axis=image.channel_axis,
                alpha=image.alpha,
            ):
                yield np.ascontiguousarray(noisy)
                advance(noisy.size)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Put the image's name before what is wrong with it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


class Rate(ProgressColumn):
    """Million values a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{(task.speed or 0) / 1e6:.1f} M/s")


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar with rate and time left on a terminal's stderr; gives the function that moves it on."""
    console = Console(stderr=True)
    columns = (BarColumn(), TextColumn("{task.percentage:3.0f} %"), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda values: bar.advance(task, values)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    return commandline.run(
        synthesize,
        Config,
        "Noisy versions of clean images, by a learned noise model or any other source of noise.",
        argv,
    )


if __name__ == "__main__":
    raise SystemExit(main())
