"""GN2GC: a denoiser trained on pairs that a trained NR-GAN generates, on held-out images: `evaluate.py nrgan-denoise`.

Kaneko & Harada 2020: noisy images alone give clean images and their noise, and these give a denoiser.
"""

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from denoisers.trained import Denoiser, DenoiserSettings, build_denoiser, save_denoiser
from evaluate_nrgan import device_of
from noisemodel import InputError, stream
from noisemodel.commandline import argument, option, run
from noisemodel.evaluation.command_output import check_targets, consoles, progress, write_targets
from noisemodel.evaluation.figure_style import styled, without_axes, write_png
from noisemodel.evaluation.psnr_ssim import psnr, ssim
from nrgan.evaluation.denoising_pairs import PAIRS, ImagePairs, PairSources, held_out
from nrgan.evaluation.run_data import Run, read_run
from nrgan.figures import grid
from nrgan.snapshots import snapshot_file

BATCH = 100  # test images at once
SHOWN = 8
ABOUT = {
    "noisy": "as they come",
    "generated": "trained on (G_x, G_x + learned noise)",
    "known_noise": "trained on (G_x, G_x + true noise)",
    "true": "trained on (clean, clean + true noise): upper bound",
}


@dataclass(frozen=True)
class NrGanDenoising:
    """Options of ``evaluate.py nrgan-denoise``."""

    run: Path = argument("a run folder of train_nrgan.py")
    data: Path | None = option(None, "the clean images, if not where the run's config.json says")
    step: int | None = option(None, "of the snapshot; the last if not given")
    pairs: tuple[str, ...] = option(("generated", "true"), f"what denoisers are trained on: {', '.join(PAIRS)}")
    denoiser_steps: int = option(1000, "training steps of each denoiser")
    batch_size: int = option(16, "pairs in a step")
    width: int = option(24, "channels of the denoisers' U-Net")
    learning_rate: float = option(1e-3, "Adam step at the beginning; it falls to 0 along a cosine")
    test_images: int = option(500, "held-out images that are denoised")
    seed: int = option(0, "of weights, pairs and order")
    save: Path | None = option(None, "folder for the denoiser trained on generated pairs, for denoise.py")
    csv: Path | None = option(None, "file for the figures of every image")
    markdown: Path | None = option(None, "file for the table")
    figure: Path | None = option(None, "PNG file for the picture")
    device: str = option("auto", "auto, cpu, cuda or cuda:N")

    def __post_init__(self) -> None:
        """Refuse what no run can use."""
        for name in ("denoiser_steps", "batch_size", "width", "test_images"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"--learning_rate must be positive, got {self.learning_rate}")
        for name in self.pairs:
            if name not in PAIRS:
                raise InputError(f"--pairs: unknown {name!r}; known: {', '.join(PAIRS)}")
        if self.save is not None and "generated" not in self.pairs:
            raise InputError("--save keeps the denoiser of generated pairs; add generated to --pairs")
        check_targets(csv=self.csv, markdown=self.markdown, figure=self.figure)


@dataclass(frozen=True, eq=False)
class Denoised:
    """One row: what was done, its images and their figures, (N,) each."""

    name: str
    images: Tensor = field(repr=False)
    psnr: Tensor
    ssim: Tensor


def denoise(options: NrGanDenoising) -> None:
    """Train the denoisers, judge them, print and write."""
    console, tables = consoles()
    device = device_of(options.device)
    trained = read_run(options.run, options.data)
    test = held_out(trained, options.test_images)
    images = trained.clean()
    snapshot = _snapshot(trained, options.step)
    gan = trained.load(snapshot, images, device)
    sources = PairSources(trained, gan, images, options.batch_size, options.seed, device)
    rows = [_judged("noisy", test.noisy, test.clean)]
    for name in dict.fromkeys(options.pairs):
        denoiser = train_denoiser(options, sources, name)
        rows.append(_judged(name, _applied(denoiser, test.noisy, device), test.clean))
        if name == "generated" and options.save is not None:
            facts = {"program": "evaluate.py nrgan-denoise", "run": str(options.run), "step": gan.step}
            console.print(str(save_denoiser(denoiser, options.save, **facts)))
    about = [
        f"{trained.model} on {trained.dataset}, step {gan.step}; {images.description}",
        f"U-Net of width {options.width}, {options.denoiser_steps} steps of {options.batch_size} pairs, seed "
        f"{options.seed}; the same start weights for all rows",
        f"{len(test.clean)} held-out images with noise of the true law; float, clipped to [0, 1]; +-: 1.96 standard "
        "errors over images",
    ]
    tables.print(_table(rows))
    for line in about:
        console.print(line)
    writers: dict[Path | None, Callable[[Path], object]] = {
        options.csv: lambda path: path.write_text(_csv_text(rows)),
        options.markdown: lambda path: path.write_text(_markdown_text(rows, about)),
        options.figure: lambda path: write_png(_panel(rows, test, about), path),
    }
    write_targets(writers, console)


def _snapshot(trained: Run, step: int | None) -> Path:
    """The snapshot of a step, or the last."""
    if step is None:
        return trained.snapshots[-1]
    file = snapshot_file(trained.path, step)
    if file not in trained.snapshots:
        steps = ", ".join(str(int(path.stem.removeprefix("step_"))) for path in trained.snapshots)
        raise InputError(f"--step {step}: no such snapshot; there are {steps}")
    return file


def train_denoiser(options: NrGanDenoising, sources: PairSources, name: str) -> Denoiser:
    """Minimise the mean square of D(noisy) - clean over pairs of a row of `PAIRS`.

    Returns: the denoiser, in the evaluation mode.
    Raises: InputError where the loss becomes infinite or NaN, or the images fit no denoiser.
    """
    planes = sources.images.shape[0]
    layout = "mosaic" if planes == 4 else "srgb"
    settings = DenoiserSettings("gn2gc", "unet", planes, layout, width=options.width)
    denoiser = build_denoiser(settings, generator=stream(options.seed, "denoiser")).to(sources.device)
    denoiser.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(denoiser.parameters(), lr=options.learning_rate)
    with progress(options.denoiser_steps, f"denoiser, {name} pairs") as advance:
        for step in range(options.denoiser_steps):
            pair: ImagePairs = PAIRS[name](sources, step)
            done = step / options.denoiser_steps
            optimiser.param_groups[0]["lr"] = options.learning_rate * (1 + math.cos(math.pi * done)) / 2
            optimiser.zero_grad(set_to_none=True)
            loss = functional.mse_loss(denoiser(pair.noisy), pair.clean)
            loss.backward()
            optimiser.step()
            advance()
    if not math.isfinite(loss.item()):
        raise InputError(f"the denoiser diverged on {name} pairs; give a smaller --learning_rate")
    return denoiser.eval()


def _applied(denoiser: Denoiser, noisy: Tensor, device: torch.device) -> Tensor:
    """Denoised images in [0, 1], on the CPU."""
    return torch.cat([denoiser.denoise(part.to(device)).clamp(0, 1).cpu() for part in noisy.split(BATCH)])


def _judged(name: str, images: Tensor, clean: Tensor) -> Denoised:
    """With PSNR and SSIM."""
    images = images.clamp(0, 1)
    return Denoised(name, images, psnr(images, clean), ssim(images, clean))


def _half_width(values: Tensor) -> float:
    """1.96 standard errors of the mean over images; NaN for one image."""
    return 1.96 * float(values.std()) / len(values) ** 0.5 if len(values) > 1 else math.nan


HEADINGS = ("images", "PSNR [dB]", "SSIM", "PSNR below the upper bound [dB]")


def _cells(row: Denoised, rows: Sequence[Denoised]) -> tuple[str, ...]:
    """A line of the table; the last cell compares image by image."""
    bound = next((other for other in rows if other.name == "true"), None)
    figures = [(row.psnr, 2), (row.ssim, 4)] + ([(bound.psnr - row.psnr, 2)] if bound not in (None, row) else [])
    cells = [f"{float(v.mean()):.{n}f} +- {_half_width(v):.{n}f}" for v, n in figures]
    return (f"{row.name}: {ABOUT[row.name]}", *cells, *["-"] * (3 - len(cells)))


def _table(rows: Sequence[Denoised]) -> Table:
    """For the terminal."""
    table = Table(title=f"denoising {len(rows[0].psnr)} held-out images", title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading)
    for row in rows:
        table.add_row(*_cells(row, rows))
    return table


def _markdown_text(rows: Sequence[Denoised], about: Sequence[str]) -> str:
    """The table and the protocol."""
    lines = ["# GN2GC: a denoiser from generated pairs", "", *(f"- {line}" for line in about), ""]
    lines += [f"| {' | '.join(cells)} |" for cells in (HEADINGS, ["---"] * 4, *(_cells(row, rows) for row in rows))]
    return "\n".join(lines) + "\n"


def _csv_text(rows: Sequence[Denoised]) -> str:
    """A line per row and image."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["pairs", "image", "psnr_db", "ssim"])
    for row in rows:
        figures = zip(row.psnr.tolist(), row.ssim.tolist(), strict=True)
        writer.writerows([row.name, i, f"{p:.5f}", f"{s:.6f}"] for i, (p, s) in enumerate(figures))
    return text.getvalue()


def _panel(rows: Sequence[Denoised], test: ImagePairs, about: Sequence[str]) -> Figure:
    """The first held-out images, one line per row of the table, clean ones last."""
    shown: list[tuple[str, Any]] = [(f"{r.name}: {float(r.psnr.mean()):.2f} dB", r.images) for r in rows]
    with styled("GN2GC on held-out images", (9.5, 1.5 * (len(rows) + 1) + 1.0), "\n".join(about)) as figure:
        axes = np.atleast_1d(figure.subplots(len(shown) + 1, 1))
        for ax, (title, images) in zip(axes, [*shown, ("clean", test.clean)], strict=True):
            without_axes(ax)
            ax.imshow(grid(images[:SHOWN], SHOWN), interpolation="nearest")
            ax.set_title(title, loc="left")
    return figure


def main(words: Sequence[str] | None = None) -> int:
    """Run the subcommand; returns its exit code."""
    return run(denoise, NrGanDenoising, "nrgan-denoise: a denoiser trained on what a trained NR-GAN generates.", words)


if __name__ == "__main__":
    raise SystemExit(main())
