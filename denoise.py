"""Remove noise from pictures, raw files and bursts with a trained denoiser: `denoise.py RUN IMAGES -o OUT`."""

import noisemodel  # noqa: F401 - before torch: it says how threads wait

# isort: split
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice
from pathlib import Path
from time import monotonic
from typing import Literal

import torch
from torch import Tensor

from denoisers.clips import windows
from denoisers.files import find_images, open_file
from denoisers.pictures import beside, developed
from denoisers.tiling import OVERLAP, TILE, check_tiles, denoise_tiled
from denoisers.trained import Denoiser, DenoiserSettings, load_denoiser
from denoisers.values import Values, values_of
from noisemodel import InputError, Levels, commandline
from noisemodel.checkpoint import write_atomically
from noisemodel.commandline import REQUIRED, argument, option
from noisemodel.images import Array
from noisemodel.png import write_png
from synthesize import progress


@dataclass(frozen=True)
class Config:
    """What the program does."""

    run: Path = argument("denoiser: a run folder of train_denoiser.py, or a .safetensors file")
    images: tuple[Path, ...] = argument("noisy images (PNG, TIFF, JPEG, .npy, .npz, HDF5, raw), or folders of them")
    out: Path = option(REQUIRED, "output folder; files keep their names, types and places", aliases=("-o",))
    side_by_side: bool = option(False, "write NAME_side.png too: noisy | denoised, for the eye")
    render: bool = option(False, "write NAME_render.png too, of raw: the denoised mosaic developed, for the eye")
    black_level: float | None = option(None, "value of no light [DN]; with --white_level")
    white_level: float | None = option(None, "value of the white level [DN]; with --black_level")
    values: Literal["auto", "dn", "full_scale"] = option(
        "auto", "dn: black to white level; full_scale: 0..255, 0..65535 or 0..1; auto: see docs/denoise.md"
    )
    axes: Literal["HW", "HWC", "CHW", "NHW", "NHWC", "NCHW"] | None = option(None, "axes of arrays")
    key: str | None = option(None, "array in .npz and HDF5 files; not needed if there is one")
    tile: int = option(TILE, "pixels computed at once, a square of so many a side; 0: the whole image")
    overlap: int = option(OVERLAP, "pixels that neighbouring tiles share")
    device: Literal["auto", "cpu", "cuda"] = option("auto", "where the network runs")
    overwrite: bool = option(False, "replace outputs that exist")

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if (self.black_level is None) != (self.white_level is None):
            raise InputError("give --black_level and --white_level together")
        if self.levels is not None and self.values == "full_scale":
            raise InputError("--values full_scale leaves no use for --black_level and --white_level; drop one of them")
        check_tiles(self.tile, self.overlap)
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("--device cuda: no such device here; use cpu or auto")

    @property
    def levels(self) -> Levels | None:
        """Black and white level, where given."""
        if self.black_level is None or self.white_level is None:
            return None
        return Levels(self.black_level, self.white_level)


@dataclass(frozen=True)
class Job:
    """One file, what its values mean, and the files that are written."""

    values: Values
    target: Path
    side: Path | None
    render: Path | None

    @property
    def targets(self) -> list[Path]:
        """All of them."""
        return [path for path in (self.target, self.side, self.render) if path is not None]


def denoise(config: Config) -> None:
    """Check everything that headers tell, then write file after file; no file is ever half there."""
    denoiser = load_denoiser(config.run)
    if config.render and denoiser.settings.layout == "srgb":
        raise InputError(f"--render: {config.run} is for pictures, which are developed already; leave it out")
    clips = planned(config, denoiser)
    denoiser.to("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")
    jobs = list(chain.from_iterable(clips))
    total, started = sum(job.values.file.pixels for job in jobs), monotonic()
    with progress(total) as advance:
        for clip in clips:
            write_clip(config, denoiser, clip, advance)
    rate = total / 1e6 / max(monotonic() - started, 1e-9)
    for meaning in sorted({f"{v.scale.black:g}..{v.scale.white:g} ({v.scale.why})" for v in (j.values for j in jobs)}):
        print(f"black..white: {meaning}")
    print(f"wrote {len(jobs)} file(s) to {config.out}, {rate:.2f} million pixels/s")


def planned(config: Config, denoiser: Denoiser) -> list[list[Job]]:
    """Clips of jobs; raises InputError for whatever the headers and the output folder tell is wrong."""
    jobs: list[Job] = []
    taken: dict[Path, Path] = {}
    for path, name in find_images(config.images, config.out):
        file = open_file(path, axes=config.axes, key=config.key)
        values = values_of(file, denoiser.settings, values=config.values, levels=config.levels)
        target = config.out / name.with_suffix(file.suffix if file.suffix != path.suffix.lower() else path.suffix)
        side, render = (target.with_name(f"{target.stem}_{word}.png") for word in ("side", "render"))
        job = Job(values, target, side if config.side_by_side else None, render if config.render else None)
        for written in job.targets:
            if written in taken and taken[written].resolve() == path.resolve():
                raise InputError(f"{path} is given twice; name it once")
            if written in taken:
                raise InputError(f"{taken[written]} and {path} would both be written to {written}; rename one")
            if written.exists() and not config.overwrite:
                raise InputError(f"{written} exists already; choose another folder, or say --overwrite")
            taken[written] = path
        jobs.append(job)
    return as_clips(jobs, denoiser.settings.frames)


def as_clips(jobs: Sequence[Job], frames: int) -> list[list[Job]]:
    """A file with several pages is a clip; so are neighbours of one page, one shape and one folder.

    Raises: InputError for a single frame, where the denoiser compares several.
    """
    if frames == 1:
        return [[job] for job in jobs]
    clips: list[list[Job]] = []
    for kind, group in groupby(jobs, key=_clip_kind):
        found = list(group)
        clips += [[job] for job in found] if kind is None else [found]
    for clip in clips:
        if sum(job.values.file.image.pages for job in clip) < 2:
            path = clip[0].values.file.image.path
            raise InputError(f"{path} is a single frame, the denoiser takes clips of {frames}; give it several frames")
    return clips


def _clip_kind(job: Job) -> tuple[object, ...] | None:
    """What frames of one clip have in common; None for a file that is a clip."""
    image = job.values.file.image
    return (image.path.parent, image.page_shape, image.dtype) if image.pages == 1 else None


def write_clip(config: Config, denoiser: Denoiser, clip: Sequence[Job], advance: Callable[[int], None]) -> None:
    """Denoise the pages of all files of a clip in one go, and write each to its file."""
    results = denoised_pages(config, denoiser, clip, advance)
    for job in clip:
        write_job(job, islice(results, job.values.file.image.pages), denoiser.settings)


def write_job(job: Job, results: Iterator[tuple[Array, Array]], settings: DenoiserSettings) -> None:
    """Write one file, and its pictures for the eye, of its first page."""
    noisy, clean = first = next(results)  # a bad image is noticed before a folder is made
    pages = (page for _, page in chain([first], results))
    write_whole(job.target, lambda temporary: job.values.file.write(temporary, pages))
    if job.side is not None:
        side = beside(job.values, noisy, clean, settings)
        write_whole(job.side, lambda temporary: write_png(temporary, side))
    if job.render is not None:
        shown = developed(job.values, clean, settings)
        write_whole(job.render, lambda temporary: write_png(temporary, shown))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file that is there when it is complete; raises InputError where it cannot be written."""
    try:
        write_atomically(path, write)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; choose another folder with --out") from error


def denoised_pages(
    config: Config, denoiser: Denoiser, clip: Sequence[Job], advance: Callable[[int], None]
) -> Iterator[tuple[Array, Array]]:
    """(noisy, denoised) page after page of all files of a clip."""

    def frames() -> Iterator[tuple[Values, Array, Tensor]]:
        for job in clip:
            for page in job.values.file.read():
                yield job.values, page, job.values.signal(page)

    width = denoiser.settings.frames
    count = sum(job.values.file.image.pages for job in clip)
    device = next((value.device for value in denoiser.parameters()), torch.device("cpu"))
    for window in windows(frames(), count, width):
        values, page, middle = window[width // 2]
        signal = torch.stack([frame for _, _, frame in window]) if width > 1 else middle
        clean = denoise_tiled(
            denoiser.denoise, signal.unsqueeze(0), tile=config.tile, overlap=config.overlap, device=device
        )
        yield page, values.page(clean[0], page)
        advance(values.file.pixels // values.file.image.pages)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    return commandline.run(denoise, Config, "Remove noise with a trained denoiser.", argv)


if __name__ == "__main__":
    raise SystemExit(main())
