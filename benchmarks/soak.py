"""Calibration, synthesis and viewnoise over changing inputs in one process: `python benchmarks/soak.py [-o FOLDER]`.

Records memory, open files, threads and child processes after every round, draws them, and ends with exit code 1 if one
of them grew, 2 if it was too short to tell. A cycle is one round of every input: sizes, layouts, file types, models.
"""

import argparse
import csv
import gc
import io
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ.setdefault("OMP_NUM_THREADS", "1")

import h5py
import numpy as np
import tifffile
import torch
from matplotlib.figure import Figure
from PIL import Image

import calibrate
import noisemodel
import synthesize
import viewnoise
from datasets import simulated_bursts
from noisemodel import PhysicalNoise
from noisemodel.evaluation.figure_style import write_png

Array = np.ndarray[Any, Any]
FRAMES = 6
LEAST_CYCLES = 4  # below it nothing can be said of growth
ALLOWED_MB = 48.0  # that memory may wander over a run


class Round(NamedTuple):
    """Inputs of a round."""

    side: int
    layout: str
    suffix: str
    noiselist: str
    picture: str
    html: bool


CYCLE = (
    Round(64, "mosaic", ".npz", "shot_read_row1", ".png", False),
    Round(96, "planes", ".npy", "shot_read_uniform_col1", ".tif", True),
    Round(128, "mosaic", ".h5", "shot_readtl_row1_rowt", ".npy", False),
    Round(80, "planes", ".tif", "shot_read_periodic", ".h5", False),
    Round(72, "mosaic", ".dng", "shot_read_rowt_colt", ".png", True),
)


class State(NamedTuple):
    """What must not grow."""

    seconds: float
    memory_mb: float
    files: int
    threads: int
    children: int


def state(begin: float) -> State:
    """Of this process, after garbage was collected."""
    gc.collect()
    own = Path("/proc/self")
    memory = next(int(line.split()[1]) for line in (own / "status").read_text().splitlines() if "VmRSS" in line)
    tasks = list((own / "task").iterdir())
    children = sum(len((task / "children").read_text().split()) for task in tasks)
    return State(time.monotonic() - begin, memory / 1024, len(os.listdir(own / "fd")), len(tasks), children)


def save_frames(path: Path, frames: Array) -> None:
    """A burst in a file of the type that ``path`` ends with; of .dng a folder."""
    if path.suffix == ".npz":
        np.savez(path, frames=frames)
    elif path.suffix == ".npy":
        np.save(path, frames)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("frames", data=frames, compression="gzip")
    elif path.suffix == ".tif":
        tifffile.imwrite(path, frames, photometric="minisblack")
    else:
        for number, frame in enumerate(frames):
            import_module("raw_files").write_dng(path.with_suffix("") / f"{number}.dng", frame, black=(256,))


def save_picture(path: Path, values: Array) -> None:
    """(H, W) uint16 in a file of the type that ``path`` ends with."""
    if path.suffix == ".png":
        Image.fromarray(values).save(path)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, values, photometric="minisblack")
    elif path.suffix == ".npy":
        np.save(path, values)
    else:
        with h5py.File(path, "w") as file:
            file["image"] = values


def write_inputs(inputs: Round, place: Path, seed: int) -> None:
    """Bursts, a picture and a model of a noiselist."""
    (place / "bursts").mkdir(parents=True)
    found = simulated_bursts(seed=seed, frames=FRAMES, size=(inputs.side, inputs.side), with_truth=False)
    for burst in (*found.scenes[:2], *found.darks[:2], *found.flats[:1]):
        frames = burst.source.read(range(FRAMES), slice(None), slice(None)).astype(np.uint16)
        frames = frames if inputs.layout == "mosaic" else np.ascontiguousarray(frames[:, ::2, 1::2])
        save_frames(place / "bursts" / f"{Path(burst.name).name}{inputs.suffix}", frames)
    side = inputs.side if inputs.layout == "mosaic" else inputs.side // 2  # a fixed pattern covers no more
    values = np.random.default_rng(seed).integers(300, 3000, (side, side)).astype(np.uint16)
    save_picture(place / f"picture{inputs.picture}", values)
    levels = noisemodel.Levels(256.0, 4095.0)
    model = PhysicalNoise.from_noiselist(inputs.noiselist, layout=inputs.layout, levels=levels)
    noisemodel.save(model, place / "listed")


def run_programs(inputs: Round, place: Path) -> None:
    """Calibrate, add noise with two models, look at both."""
    raw = inputs.suffix == ".dng"
    data = f"--data_root {place / 'bursts'}" + ("" if raw else f" --layout {inputs.layout}")
    levels = "" if raw else " --black_level 256 --white_level 4095"
    call(calibrate.main, f"{place / 'bursts'}{data.partition('bursts')[2]}{levels} -o {place / 'calibrated'}")
    for model in ("calibrated", "listed"):
        call(
            synthesize.main, f"{place / model} {place / f'picture{inputs.picture}'} -o {place / model}/noisy --frames 2"
        )
        page = f"--html {place / model}/view.html" if inputs.html else f"-o {place / model}/view"
        call(viewnoise.main, f"{place / model} {data}{levels} {page}")


def call(main: Callable[[], int], words: str) -> None:
    """Run a program of this project in this process; its output is kept back."""
    sys.argv = [main.__module__, *words.split()]
    with redirect_stdout(io.StringIO()) as said:
        code = main()
    if code:
        raise SystemExit(f"soak: {' '.join(sys.argv)} ended with exit code {code}\n{said.getvalue()}")


def grown(states: Sequence[State], cycle: int) -> list[str]:
    """What grew from the second cycle to the last: a line each; the first cycle fills caches and imports.

    Memory is compared by a straight line through the cycles' medians, counts by their largest values.
    """
    cycles = [states[first : first + cycle] for first in range(0, len(states) - cycle + 1, cycle)][1:]
    medians = [float(np.median([s.memory_mb for s in each])) for each in cycles]
    rise = float(np.polyfit(range(len(medians)), medians, 1)[0]) * (len(medians) - 1)
    lines = [f"memory rose by {rise:.0f} MB in {len(cycles)} cycles"] if rise > ALLOWED_MB else []
    for name in ("files", "threads", "children"):
        early, late = (max(getattr(s, name) for s in each) for each in (cycles[0], cycles[-1]))
        if late > early:
            lines.append(f"{name}: {early} became {late}")
    return lines


def verdict(states: Sequence[State], cycle: int) -> tuple[int, str]:
    """Exit code and words: 0 nothing grew, 1 something did, 2 too short to tell."""
    if len(states) < LEAST_CYCLES * cycle:
        return 2, f"too short to tell: run it for {LEAST_CYCLES} cycles of {cycle} rounds or more"
    lines = grown(states, cycle)
    return int(bool(lines)), "\n".join(lines) or "nothing grew"


def draw(states: Sequence[State], path: Path) -> None:
    """Each quantity against time."""
    figure = Figure(figsize=(7, 7), layout="constrained")
    minutes = [s.seconds / 60 for s in states]
    for axes, name in zip(figure.subplots(4, 1, sharex=True), State._fields[1:], strict=True):
        axes.plot(minutes, [getattr(s, name) for s in states], lw=1)
        axes.set_ylabel({"memory_mb": "memory [MB]"}.get(name, name))
        axes.set_ylim(0, 1.15 * max(1, *(getattr(s, name) for s in states)))
    axes.set_xlabel("minutes")
    write_png(figure, path)


def main() -> int:
    """Exit code as of `verdict`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("-o", "--out", type=Path, default=Path("soak"), help="folder of soak.csv and soak.png")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    begin, states = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder, (asked.out / "soak.csv").open("w", newline="") as file:
        os.environ["NOISEMODEL_CACHE"] = f"{folder}/cache"
        rows = csv.writer(file)
        rows.writerow(State._fields)
        for number, inputs in enumerate(itertools.cycle(CYCLE)):
            if time.monotonic() - begin > 60 * asked.minutes and number % len(CYCLE) == 0 and number:
                break
            place = Path(folder) / f"round {number}".replace(" ", "_")
            write_inputs(inputs, place, number)
            run_programs(inputs, place)
            shutil.rmtree(place)
            shutil.rmtree(f"{folder}/cache", ignore_errors=True)
            states.append(state(begin))
            rows.writerow(states[-1])
            file.flush()
    draw(states, asked.out / "soak.png")
    first, last = states[min(len(CYCLE), len(states) - 1)], states[-1]
    print(f"{len(states)} rounds in {last.seconds / 60:.1f} minutes; after the first cycle and at the end:")
    for name in State._fields[1:]:
        print(f"  {name}: {getattr(first, name):.4g} and {getattr(last, name):.4g}")
    print(f"figure: {asked.out / 'soak.png'}")
    code, words = verdict(states, len(CYCLE))
    print(words)
    return code


if __name__ == "__main__":
    sys.exit(main())
