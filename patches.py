"""Cut real noisy frames (bursts, raw files, SIDD) into patches that train_nrgan.py learns from."""

import noisemodel  # noqa: F401 - before torch: it says how threads wait

# isort: split
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from datasets import Burst, BurstSet, DataOptions, asked_cameras, asked_isos, dataset_of, load_dataset
from noisemodel import InputError
from noisemodel.checkpoint import write_atomically
from noisemodel.commandline import argument, option, run
from noisemodel.streams import stream

LOWEST, HIGHEST = -0.5, 1.5  # what train_nrgan.py takes as fractions of white


@dataclass(frozen=True)
class PatchOptions:
    """Options of patches.py."""

    frames: Path = argument("folder of bursts, raw files or SIDD")
    out: Path = option(Path("patches.npy"), "file of the patches", aliases=("-o",))
    truth: Path | None = option(None, "file for the same patches without noise, where the data have ground truth")
    size: int = option(32, "height and width of a patch, in pixels of a plane")
    count: int = option(10_000, "patches at most")
    signal: float = option(0.0, "patches whose mean is below this fraction of white are left out")
    seed: int = option(0, "of their places")
    dataset: Literal["bursts", "raw", "sidd", "color", "gray", "newcalib"] | None = option(
        None, "what the folder holds; without it told from its files: bursts, raw or sidd"
    )
    black_level: float | None = option(None, "black level [DN], where the data do not store it")
    white_level: float | None = option(None, "white level [DN], where the data do not store it")
    layout: Literal["mosaic", "planes"] | None = option(None, "mosaic, or planes (mono, RGB)")
    cfa: str | None = option(None, "colours of a mosaic by position, e.g. RGGB")
    cameras: str | None = option(None, "phone of SIDD: GP, IP, S6, N6 or G4")
    iso: str | None = option(None, "ISO of SIDD")

    def __post_init__(self) -> None:
        """Refuse what cannot be cut."""
        if self.size < 1 or self.count < 1:
            raise InputError(f"--size and --count must be at least 1, got {self.size} and {self.count}")
        for file in (self.out, self.truth):
            if file is not None and file.suffix != ".npy":
                raise InputError(f"{file}: patches are written as .npy; give a name that ends so")


def cut_patches(options: PatchOptions) -> None:
    """Read, cut, write."""
    console = Console(soft_wrap=True)
    data = load(options, console)
    bursts = [burst for burst in data.bursts if burst.kind != "dark"]
    if not bursts:
        raise InputError(f"{options.frames} has dark frames only; patches need light")
    if options.truth is not None and not all(burst.has_truth for burst in bursts):
        raise InputError(f"{options.frames} has no ground truth; leave --truth out")
    noisy, clean = [], []
    places = sorted(tiles(bursts, options), key=lambda place: (place[0], place[1]))
    for index, frame, row, column in track(places, "cutting", console=console, transient=True):
        rows, columns = slice(row, row + options.size), slice(column, column + options.size)
        patch = bursts[index].read([frame], rows, columns)[0]
        if float(patch.mean()) < options.signal:
            continue
        noisy.append(patch.clamp(LOWEST, HIGHEST))
        if options.truth is not None:
            clean.append(bursts[index].read_truth(rows, columns))
    if not noisy:
        raise InputError(f"no patch of {options.frames} is as bright as --signal {options.signal:g}; lower it")
    order = torch.randperm(len(noisy), generator=stream(options.seed, "order"))
    for file, patches in ((options.out, noisy), (options.truth, clean)):
        if file is not None:
            write(file, torch.stack(patches)[order])
            console.print(f"{file}: {len(patches)} patches of {noisy[0].shape[0]} x {options.size} x {options.size}")
    below = float(torch.stack(noisy).lt(0).float().mean())
    remedy = "; train with --no_clip, which leaves them" if below > 0.001 else ""
    console.print(f"{below:.1%} of the values lie below black{remedy}")


def load(options: PatchOptions, console: Console) -> BurstSet:
    """The data set that the options name."""
    dataset, line = dataset_of(options.dataset, options.frames)
    if line:
        console.print(line)
    asked = DataOptions(
        data_root=options.frames,
        black_level=options.black_level,
        white_level=options.white_level,
        layout=options.layout,
        cfa=options.cfa,
        cameras=asked_cameras(options.cameras),
        iso=asked_isos(options.iso),
    )
    return load_dataset(dataset, asked)


def tiles(bursts: Sequence[Burst], options: PatchOptions) -> list[tuple[int, int, int, int]]:
    """(burst, frame, row, column) of random tiles of a grid, as many of each frame as of any other.

    Raises: InputError if a frame is smaller than a patch.
    """
    frames = [(index, frame) for index, burst in enumerate(bursts) for frame in range(burst.shape[0])]
    each = math.ceil(options.count / len(frames))
    found = []
    for index, frame in frames:
        height, width = bursts[index].shape[2:]
        rows, columns = height // options.size, width // options.size
        if not rows or not columns:
            raise InputError(f"{bursts[index].path} has {height}x{width} per plane; give a smaller --size")
        draws = stream(options.seed, "tiles", index, frame)
        chosen: Tensor = torch.randperm(rows * columns, generator=draws)[:each]
        found += [(index, frame, options.size * (i // columns), options.size * (i % columns)) for i in chosen.tolist()]
    keep = torch.randperm(len(found), generator=stream(options.seed, "keep"))[: options.count]
    return [found[i] for i in keep.tolist()]


def write(file: Path, patches: Tensor) -> None:
    """(N, C, size, size) float32 as .npy; never half a file."""

    def save(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            np.save(handle, patches.numpy())

    write_atomically(file, save)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run(cut_patches, PatchOptions, "Cut real noisy frames into patches that train_nrgan.py learns from.", argv)


if __name__ == "__main__":
    raise SystemExit(main())
