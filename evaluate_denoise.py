"""PSNR and SSIM of trained denoisers on pairs of noisy and clean images: `evaluate.py denoise RUN --pairs FOLDER`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from denoisers.clips import windows
from denoisers.files import OpenFile, open_file
from denoisers.pairs_on_disk import Files, find_pairs
from denoisers.scores import Score, crops_figure, csv_text, markdown_text, scores_table, shown_crop
from denoisers.tiling import OVERLAP, TILE, check_tiles, denoise_tiled
from denoisers.trained import Denoiser, DenoiserSettings, load_denoiser
from denoisers.values import values_of
from noisemodel import InputError, Levels
from noisemodel.commandline import REQUIRED, argument, option, run
from noisemodel.evaluation.command_output import check_targets, consoles, progress, write_targets
from noisemodel.evaluation.figure_style import write_png
from noisemodel.evaluation.plain_denoisers import PLAIN_DENOISERS
from noisemodel.evaluation.psnr_ssim import WINDOW, psnr, ssim

PROTOCOLS = {"float": "the result clipped to [0, 1]", "8 bit": "the same, rounded to 8 bit; pictures only"}
Method = Callable[[Tensor], Tensor]  # (T, C, h, w), or (1, C, h, w) -> (1, C, h, w)


@dataclass(frozen=True)
class DenoiseOptions:
    """Options of ``evaluate.py denoise``."""

    runs: tuple[Path, ...] = argument("denoisers: run folders of train_denoiser.py, or .safetensors files")
    pairs: Path = option(REQUIRED, "folder of *_real and *_mean files, or with noisy/ and clean/, or of noisy images")
    truth: Path | None = option(None, "folder of clean images, of the same names as those of --pairs")
    method: tuple[str, ...] = option((), f"classical ones beside them: {', '.join(PLAIN_DENOISERS)}")
    images: int | None = option(None, "the first so many pairs only, for a quick look")
    black_level: float | None = option(None, "value of no light [DN]; with --white_level")
    white_level: float | None = option(None, "value of the white level [DN]; with --black_level")
    values: Literal["auto", "dn", "full_scale"] = option("auto", "what pixel values mean: see docs/denoise.md")
    tile: int = option(TILE, "pixels computed at once, a square of so many a side; 0: the whole image")
    overlap: int = option(OVERLAP, "pixels that neighbouring tiles share")
    device: Literal["auto", "cpu", "cuda"] = option("auto", "where networks run")
    csv: Path | None = option(None, "file for the figures of every image")
    markdown: Path | None = option(None, "file for the table")
    figure: Path | None = option(None, "PNG of crops: noisy, every method, clean")

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in self.method:
            if name not in PLAIN_DENOISERS:
                raise InputError(f"unknown --method {name!r}; known: {', '.join(PLAIN_DENOISERS)}")
        if self.images is not None and self.images < 1:
            raise InputError(f"--images must be at least 1, got {self.images}")
        if (self.black_level is None) != (self.white_level is None):
            raise InputError("give --black_level and --white_level together")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("--device cuda: no such device here; use cpu or auto")
        check_tiles(self.tile, self.overlap)
        check_targets(csv=self.csv, markdown=self.markdown, figure=self.figure)

    @property
    def levels(self) -> Levels | None:
        """Black and white level, where given."""
        if self.black_level is None or self.white_level is None:
            return None
        return Levels(self.black_level, self.white_level)


class Image(NamedTuple):
    """One page of a pair: its noisy frames, (T, C, h, w), the middle one of which is judged, and the clean one."""

    name: str
    frames: Tensor
    clean: Tensor  # (1, C, h, w)

    @property
    def noisy(self) -> Tensor:
        """The frame that is judged, (1, C, h, w)."""
        middle = len(self.frames) // 2
        return self.frames[middle : middle + 1]


def evaluate_denoise(options: DenoiseOptions) -> None:
    """Denoise every pair with every method; print the table and write what was asked for."""
    console, tables = consoles()
    pairs = find_pairs(options.pairs, options.truth)[: options.images]
    denoisers = loaded(options.runs)
    settings = next(iter(denoisers.values())).settings
    methods = methods_of(options, denoisers)
    frames = max(denoiser.settings.frames for denoiser in denoisers.values())
    scores: list[Score] = []
    crops: list[list[Tensor]] = []
    with progress(len(pairs) * len(methods), "denoising pairs") as advance:
        for pair in pairs:
            for number, image in enumerate(images_of(pair, settings, frames, options)):
                results = {}
                for name, method in methods.items():
                    results[name] = method(image.frames).clamp(0, 1)
                    scores += judged(name, pair.name, results[name], image.clean, settings)
                    if number == 0:
                        advance()
                if options.figure is not None and number == 0 and len(crops) < 4:
                    crops.append(shown_crop([*results.values(), image.clean]))
    about = protocol(options, settings, len(pairs))
    tables.print(scores_table(scores))
    for line in about:
        console.print(line)
    titles = [*methods, "clean"]
    writers: dict[Path | None, Callable[[Path], object]] = {
        options.csv: lambda path: path.write_text(csv_text(scores)),
        options.markdown: lambda path: path.write_text(markdown_text(scores, about)),
        options.figure: lambda path: write_png(crops_figure(crops, titles, settings), path),
    }
    write_targets(writers, console)


def loaded(runs: Sequence[Path]) -> dict[str, Denoiser]:
    """Denoisers by the name of their folder; raises InputError where they are for different images."""
    found: dict[str, Denoiser] = {}
    for path in runs:
        name = path.resolve().name if path.suffix != ".safetensors" else path.resolve().parent.name
        if name in found or name in PLAIN_DENOISERS:
            name = str(path)
        found[name] = load_denoiser(path)
    kinds: dict[tuple[str, int], str] = {}
    for name, denoiser in found.items():
        kinds.setdefault((denoiser.settings.layout, denoiser.settings.channels), name)
    if len(kinds) > 1:
        words = "; ".join(f"{name}: {layout}, {channels} channel(s)" for (layout, channels), name in kinds.items())
        raise InputError(f"these denoisers are for different images ({words}); judge them one by one")
    return found


def methods_of(options: DenoiseOptions, denoisers: dict[str, Denoiser]) -> dict[str, Method]:
    """The noisy input, the classical methods, the denoisers."""
    device = "cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu"

    def plain(name: str) -> Method:
        def denoised(frames: Tensor) -> Tensor:
            middle = frames[len(frames) // 2].clamp(0, 1).movedim(0, -1).contiguous().numpy()
            return torch.from_numpy(PLAIN_DENOISERS[name](middle)).movedim(-1, 0).unsqueeze(0)

        return denoised

    def trained(denoiser: Denoiser) -> Method:
        wanted = denoiser.to(device).settings.frames

        def denoised(frames: Tensor) -> Tensor:
            first = (len(frames) - wanted) // 2
            images = (
                frames[first : first + wanted].unsqueeze(0) if wanted > 1 else frames[len(frames) // 2].unsqueeze(0)
            )
            return denoise_tiled(denoiser.denoise, images, tile=options.tile, overlap=options.overlap, device=device)

        return denoised

    names = dict.fromkeys(("noisy", *options.method))
    return {name: plain(name) for name in names} | {name: trained(each) for name, each in denoisers.items()}


def images_of(pair: Files, settings: DenoiserSettings, frames: int, options: DenoiseOptions) -> Iterator[Image]:
    """The pages of a pair; one clean page may stand for all noisy ones, as of a static scene."""
    noisy, clean = (open_file(path) for path in (pair.noisy, pair.clean))
    if clean.image.pages not in (1, noisy.image.pages):
        pages = f"{noisy.image.pages} and {clean.image.pages}"
        raise InputError(f"{pair.noisy} and {pair.clean} have {pages} pages; give as many, or one clean one")
    if frames > 1 and noisy.image.pages == 1:
        raise InputError(f"{pair.noisy} is a single frame, the denoiser takes clips of {frames}; use files of clips")
    truths = signals(clean, settings, options)
    if clean.image.pages < noisy.image.pages:
        truths = repeat(next(truths))
    for window, truth in zip(
        windows(signals(noisy, settings, options), noisy.image.pages, frames), truths, strict=False
    ):
        if window[0].shape != truth.shape:
            sizes = " and ".join("x".join(map(str, x.shape)) for x in (window[0], truth))
            raise InputError(f"{pair.noisy} and {pair.clean} must have one size, got {sizes}")
        if min(truth.shape[-2:]) < WINDOW:
            raise InputError(f"{pair.noisy}: SSIM needs {WINDOW}x{WINDOW} pixels of planes; leave such images out")
        yield Image(pair.name, torch.stack(window), truth.unsqueeze(0))


def signals(file: OpenFile, settings: DenoiserSettings, options: DenoiseOptions) -> Iterator[Tensor]:
    """Pages as (C, h, w) fractions of white."""
    values = values_of(file, settings, values=options.values, levels=options.levels)
    return (values.signal(page) for page in chain(file.read()))


def judged(method: str, name: str, found: Tensor, clean: Tensor, settings: DenoiserSettings) -> list[Score]:
    """Figures of one image under every protocol."""
    rows = []
    for protocol in PROTOCOLS if settings.layout == "srgb" else ["float"]:
        shown = (found * 255).round() / 255 if protocol == "8 bit" else found
        rows.append(Score(method, protocol, name, float(psnr(shown, clean)), float(ssim(shown, clean))))
    return rows


def protocol(options: DenoiseOptions, settings: DenoiserSettings, count: int) -> list[str]:
    """How it was done, in words."""
    kinds = {"srgb": "gamma-coded", "planes": "linear", "mosaic": "linear raw, four planes by position"}
    lines = [f"{count} pair(s) of {options.pairs}, {kinds[settings.layout]}; whole images, none cropped or aligned"]
    lines += [f"{name}: {about}" for name, about in PROTOCOLS.items() if name == "float" or settings.layout == "srgb"]
    lines.append("PSNR: 10 log10(1 / mean square error of an image), peak 1 (white), then the mean of dB over images")
    lines.append(
        "SSIM: Wang 2004, 11x11 Gaussian window of sigma 1.5, white 1; each channel by itself, then their mean"
    )
    lines.append("gain: PSNR less that of the noisy input, image by image")
    lines.append(
        "+-: half the 95 % interval of the mean over images (Student's t); says nothing of other training seeds"
    )
    return lines


def main(words: Sequence[str] | None = None) -> int:
    """Run the subcommand; returns its exit code."""
    about = "denoise: PSNR and SSIM of trained denoisers on pairs of noisy and clean images."
    return run(evaluate_denoise, DenoiseOptions, about, words)
