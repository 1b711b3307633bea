"""PSNR and SSIM of denoisers on SIDD's blocks, and the benchmark's submission file: `evaluate.py sidd-denoise`."""

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from rich.table import Table

from datasets.mat5 import array_shapes, mapped_array
from datasets.sidd_blocks import KINDS, benchmark_blocks, validation_blocks, write_submission
from denoisers.image_method import image_method
from noisemodel import InputError
from noisemodel.commandline import REQUIRED, option, run
from noisemodel.evaluation.command_output import check_targets, consoles, progress, write_targets
from noisemodel.evaluation.plain_denoisers import PLAIN_DENOISERS, Denoiser
from noisemodel.evaluation.psnr_ssim import psnr, ssim

Array = np.ndarray[Any, Any]
Denoised = Callable[[int], Array]  # number of a block -> float in [0, 1]

# Name -> denoiser of one image (H, W, C) in [0, 1].
METHODS: dict[str, Denoiser] = {**PLAIN_DENOISERS}
PROTOCOLS = {"float": "as the denoiser gives it, clipped to [0, 1]", "8 bit": "the same, rounded to 8 bit"}
STEMS = {"validation": "Validation", "benchmark": "Benchmark"}
HIGHEST = 1.5  # a float image beyond this was meant in 0..255


@dataclass(frozen=True)
class SiddDenoiseOptions:
    """Options of ``evaluate.py sidd-denoise``."""

    data_root: Path = option(REQUIRED, "folder of SIDD's block files, or one above it")
    method: tuple[str, ...] = option((), f"{', '.join(METHODS)}, or run folders; noisy is shown in any case")
    denoised: Path | None = option(
        None, "blocks denoised elsewhere: .npy or .mat in the blocks' shape, or their folder"
    )
    kind: Literal["raw", "srgb"] = option("raw", "blocks")
    blocks: int | None = option(None, "the first so many validation blocks only, for a quick look")
    score: bool = option(True, "score on the validation blocks; false: only write the submission")
    submission: Path | None = option(None, "CSV file for SIDD's benchmark, of the method or of --denoised")
    csv: Path | None = option(None, "file for the figures of every block")
    markdown: Path | None = option(None, "file for the table")

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in self.method:
            if name not in METHODS and not Path(name).exists():
                raise InputError(f"unknown --method {name!r}; known: {', '.join(METHODS)}, or the path of a denoiser")
        if self.blocks is not None and self.blocks < 1:
            raise InputError(f"--blocks must be at least 1, got {self.blocks}")
        if self.submission is not None and len(self.method) + (self.denoised is not None) != 1:
            raise InputError("--submission holds one result; give one --method, or --denoised")
        if not self.score and self.submission is None:
            raise InputError("--score false leaves nothing to do; give --submission FILE")
        check_targets(submission=self.submission, csv=self.csv, markdown=self.markdown)


class Row(NamedTuple):
    """Figures of one method under one protocol, a value per block."""

    method: str
    protocol: str
    per_image: int
    psnr: Array
    ssim: Array


def sidd_denoise(options: SiddDenoiseOptions) -> None:
    """Score on validation blocks, then write the submission."""
    console, tables = consoles()
    writers: dict[Path | None, Callable[[Path], object]] = {}
    if options.score:
        rows, about = scored(options)
        tables.print(_table(rows))
        for line in about:
            console.print(line)
        writers = {
            options.csv: lambda path: path.write_text(_csv_text(rows)),
            options.markdown: lambda path: path.write_text(_markdown_text(rows, about)),
        }
    if options.submission is not None:
        writers[options.submission] = lambda path: write_submission(path, _submitted(options))
    write_targets(writers, console)


def scored(options: SiddDenoiseOptions) -> tuple[list[Row], list[str]]:
    """Rows of every method, noisy first, and the protocol."""
    noisy, clean = validation_blocks(options.data_root, options.kind)
    count = min(_count(noisy, options.kind), options.blocks or math.inf)
    sources: dict[str, Denoised] = {
        name: _by(denoiser_of(name, options.kind), noisy, options.kind)
        for name in dict.fromkeys(("noisy", *options.method))
    }
    if options.denoised is not None:
        sources[options.denoised.name] = _stored(options.denoised, "validation", noisy.shape, options.kind)
    truth = _reader(clean, options.kind)
    rows = []
    with progress(len(sources) * int(count), "denoising blocks") as advance:
        for name, denoised in sources.items():
            figures: dict[str, list[tuple[float, float]]] = {protocol: [] for protocol in _protocols(options.kind)}
            for index in range(int(count)):
                image, reference = _tensor(np.clip(denoised(index), 0, 1)), _tensor(truth(index))
                for protocol, found in figures.items():
                    shown = (image * 255).round() / 255 if protocol == "8 bit" else image
                    found.append((float(psnr(shown, reference)), float(ssim(shown, reference))))
                advance()
            rows += [Row(name, protocol, noisy.shape[1], *np.array(found).T) for protocol, found in figures.items()]
    return rows, _about(options, noisy, int(count))


def denoiser_of(name: str, kind: str) -> Denoiser:
    """A row of `METHODS`, or the trained denoiser of a path."""
    if name in METHODS:
        return METHODS[name]
    return image_method(Path(name), *(("mosaic", 4, "raw blocks") if kind == "raw" else ("srgb", 3, "sRGB blocks")))


def _protocols(kind: str) -> list[str]:
    """Raw numbers are floats; sRGB is submitted in 8 bit."""
    return ["float"] if kind == "raw" else list(PROTOCOLS)


def _about(options: SiddDenoiseOptions, noisy: Array, count: int) -> list[str]:
    """The protocol in words."""
    total, side = _count(noisy, options.kind), noisy.shape[-1 if options.kind == "raw" else -2]
    some = f"all {count}" if count == total else f"the first {count} of {total}"
    what = "the mosaic as one image" if options.kind == "raw" else "each colour by itself, then their mean"
    lines = [f"{options.kind} validation blocks: {some}, {side}x{side}, none cropped; mean over blocks"]
    lines += [f"{name}: {PROTOCOLS[name]}" for name in _protocols(options.kind)]
    lines.append("PSNR: 10 log10(1 / mean square error of a block), peak 1 (white), then the mean of dB")
    lines.append(f"SSIM: Wang 2004, 11x11 Gaussian window of sigma 1.5, white 1; {what}")
    lines.append("+-: 1.96 standard errors of the mean over images; blocks of one image are alike")
    return lines


def _count(blocks: Array, kind: str) -> int:
    """How many blocks there are."""
    return math.prod(blocks.shape[: -2 if kind == "raw" else -3])


def _reader(blocks: Array, kind: str) -> Denoised:
    """Block by number, in [0, 1]; a memory-mapped array is read block by block."""
    shape = blocks.shape[: -2 if kind == "raw" else -3]

    def read(index: int) -> Array:
        block = np.asarray(blocks[np.unravel_index(index, shape)])
        if block.dtype == np.uint8:
            return block.astype(np.float32) / 255
        return block.astype(np.float32)

    return read


def _by(denoiser: Denoiser, noisy: Array, kind: str) -> Denoised:
    """Blocks denoised on the way."""
    read = _reader(noisy, kind)

    def denoised(index: int) -> Array:
        block = read(index)
        if kind == "srgb":
            return denoiser(block)
        side = block.shape[0] // 2
        cells = block.reshape(side, 2, side, 2).transpose(0, 2, 1, 3).reshape(side, side, 4)
        planes = denoiser(np.ascontiguousarray(cells)).reshape(side, side, 2, 2)
        return planes.transpose(0, 2, 1, 3).reshape(2 * side, 2 * side)

    return denoised


def _stored(path: Path, part: str, shape: tuple[int, ...], kind: str) -> Denoised:
    """Blocks denoised elsewhere.

    Raises: InputError if the file is missing, of another shape or type, or in another range than [0, 1].
    """
    file = _file_of(path, part, kind)
    blocks = _opened(file)
    if blocks.shape != shape:
        raise InputError(f"{file} must hold blocks of shape {shape}, got {blocks.shape}; keep the order of the blocks")
    if blocks.dtype != np.uint8 and blocks.dtype.kind != "f":
        raise InputError(f"{file} must be float in [0, 1] or uint8, got {blocks.dtype}; convert it")
    read = _reader(blocks, kind)

    def checked(index: int) -> Array:
        block = read(index)
        if not np.isfinite(block).all() or np.abs(block).max() > HIGHEST:
            raise InputError(f"block {index} of {file} is not in [0, 1]; divide by 255, and repair NaN")
        return block

    return checked


def _file_of(path: Path, part: str, kind: str) -> Path:
    """The file of one part in a folder, e.g. ValidationDenoisedBlocksRaw.npy; a file is taken as it is."""
    stem, ending = STEMS[part], KINDS[kind][0]
    if path.is_dir():
        found = sorted(f for suffix in ("npy", "mat") for f in path.glob(f"{stem}*{ending}.{suffix}"))
        if len(found) != 1:
            raise InputError(f"{path} must hold one file {stem}*{ending}.npy or .mat, got {len(found)}")
        return found[0]
    other = next((word for name, word in STEMS.items() if name != part))
    if path.stem.startswith(other):
        raise InputError(f"{path} holds {other.lower()} blocks, asked for were {part} blocks; give a folder of both")
    return path


def _opened(file: Path) -> Array:
    """An array of a .npy or .mat file, memory-mapped."""
    if not file.is_file():
        raise InputError(f"no such file: {file}; --denoised is a .npy or .mat file, or a folder of them")
    if file.suffix.lower() == ".mat":
        names = list(array_shapes(file))
        if len(names) != 1:
            raise InputError(f"{file} must hold one array, got {', '.join(names) or 'nothing'}")
        return mapped_array(file, names[0])
    try:
        found: Array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{file} is no .npy or .mat file of plain numbers; save it with numpy.save") from error
    return found


def _submitted(options: SiddDenoiseOptions) -> Iterator[Array]:
    """Denoised benchmark blocks, in the type that the benchmark takes."""
    noisy = benchmark_blocks(options.data_root, options.kind)
    if options.denoised is not None:
        denoised = _stored(options.denoised, "benchmark", noisy.shape, options.kind)
    else:
        denoised = _by(denoiser_of(options.method[0], options.kind), noisy, options.kind)
    count = _count(noisy, options.kind)
    with progress(count, "submission") as advance:
        for index in range(count):
            block = np.clip(denoised(index), 0, 1)
            yield block.astype(np.float32) if options.kind == "raw" else np.rint(block * 255).astype(np.uint8)
            advance()


def _tensor(block: Array) -> torch.Tensor:
    """(H, W) or (H, W, 3) -> (1, C, H, W)."""
    planes = block[None] if block.ndim == 2 else np.moveaxis(block, -1, 0)
    return torch.from_numpy(np.ascontiguousarray(planes)).unsqueeze(0)


def _half_width(values: Array, per_image: int) -> float:
    """1.96 standard errors of the mean, with the blocks of an image as one value."""
    groups = [values[i : i + per_image].mean() for i in range(0, len(values), per_image)]
    return 1.96 * float(np.std(groups, ddof=1)) / len(groups) ** 0.5 if len(groups) > 1 else math.nan


def _cells(row: Row) -> tuple[str, ...]:
    errors = [_half_width(values, row.per_image) for values in (row.psnr, row.ssim)]
    shown = [f" +- {error:.{n}f}" if math.isfinite(error) else "" for error, n in zip(errors, (2, 4), strict=True)]
    return (row.method, row.protocol, f"{row.psnr.mean():.3f}{shown[0]}", f"{row.ssim.mean():.4f}{shown[1]}")


HEADINGS = ("method", "protocol", "PSNR [dB]", "SSIM")


def _table(rows: Sequence[Row]) -> Table:
    table = Table(title=f"validation blocks ({len(rows[0].psnr)})", title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading)
    for row in rows:
        table.add_row(*_cells(row))
    return table


def _markdown_text(rows: Sequence[Row], about: Sequence[str]) -> str:
    lines = ["# Denoising on SIDD's validation blocks", "", *(f"- {line}" for line in about), ""]
    lines += [f"| {' | '.join(cells)} |" for cells in (HEADINGS, ["---"] * 4, *map(_cells, rows))]
    return "\n".join(lines) + "\n"


def _csv_text(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "protocol", "block", "psnr_db", "ssim"])
    for row in rows:
        figures = zip(row.psnr.tolist(), row.ssim.tolist(), strict=True)
        writer.writerows([row.method, row.protocol, i, f"{p:.5f}", f"{s:.6f}"] for i, (p, s) in enumerate(figures))
    return text.getvalue()


def main(words: Sequence[str] | None = None) -> int:
    """Run the subcommand; returns its exit code."""
    about = "sidd-denoise: PSNR and SSIM on SIDD's validation blocks, and the benchmark's submission file."
    return run(sidd_denoise, SiddDenoiseOptions, about, words)
