"""Random 256x256 crops from 12-megapixel SIDD images: crops per second and memory, for every packing MATLAB may write.

python benchmarks/sidd_reading.py [--folder FOLDER] [--crops 400]
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # datasets/ is not installed: scripts run from a clone

import h5py
import numpy as np
import torch

from datasets.burst import Burst
from datasets.frames import Frames
from datasets.mat73 import open_mat73_image
from datasets.sidd import RAW_LEVELS

HEIGHT, WIDTH, CROP = 3000, 4000, 256
IMAGES = 4
# Name -> chunk (columns, rows) in HDF5's order; deflated at level 3, as MATLAB does; None is contiguous.
PACKINGS: dict[str, tuple[int, int] | None] = {
    "contiguous": None,
    "64 x 64": (64, 64),
    "94 x 125": (125, 94),
    "750 x 8": (8, 750),
    "column strips": (16, HEIGHT),
    "single columns": (1, HEIGHT),
    "one chunk": (WIDTH, HEIGHT),
}


def write_images(folder: Path, packing: tuple[int, int] | None) -> list[Path]:
    """Noisy 10-bit mosaics of a gradient, float32, transposed as MATLAB does it."""
    rng, paths = np.random.default_rng(0), []
    light = np.linspace(0.05, 0.6, WIDTH)[:, None] * np.ones(HEIGHT)
    for i in range(IMAGES):
        codes = np.rint((light + 0.02 * rng.standard_normal(light.shape)) * 1023)
        stored = (np.clip(codes, 0, 1023) / 1023).astype(np.float32)
        paths.append(folder / f"{i}.MAT")
        options = {} if packing is None else {"chunks": packing, "compression": "gzip", "compression_opts": 3}
        with h5py.File(paths[-1], "w", userblock_size=512) as file:
            file.create_dataset("x", data=stored, **options)
    return paths


def read_crops(paths: list[Path], crops: int, seed: int) -> tuple[float, float, float]:
    """Seconds and CPU seconds per crop, with packing into planes; growth of private memory in the second half [MiB]."""
    torch.set_num_threads(1)
    rng, memory = np.random.default_rng(seed), 0.0
    bursts = [Burst(p.stem, "scene", Frames(p, open_mat73_image(p), {}), "mosaic", RAW_LEVELS) for p in paths]
    begin, begin_cpu = time.perf_counter(), time.process_time()
    for i in range(crops):
        if i == crops // 2:
            memory = private_mib()
        top, left = (int(rng.integers(0, (size - CROP) // 2)) for size in (HEIGHT, WIDTH))
        half = CROP // 2
        crop = bursts[rng.integers(len(bursts))].read([0], slice(top, top + half), slice(left, left + half))
        assert crop.shape == (1, 4, half, half)
    spent = time.perf_counter() - begin, time.process_time() - begin_cpu
    return spent[0] / crops, spent[1] / crops, private_mib() - memory


def private_mib() -> float:
    """Memory of this process that no file backs [MiB]; Linux only."""
    status = Path("/proc/self/status").read_text()
    return float(status.split("RssAnon:")[1].split()[0]) / 1024


def measure(name: str, folder: Path, crops: int) -> str:
    """One row of the table."""
    place = folder / name.replace(" ", "_")
    place.mkdir()
    paths = write_images(place, PACKINGS[name])
    size = sum(path.stat().st_size for path in paths) / IMAGES / 1e6
    read_crops(paths, crops // 10, 0)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.starmap(read_crops, [(paths, crops // 10, 1)] * 2)
        both = pool.starmap(read_crops, [(paths, crops, seed) for seed in (2, 3)])
    _, cpu, _ = read_crops(paths, crops, 4)
    rate = sum(1 / each for each, _, _ in both)
    growth = max(mib for _, _, mib in both)
    return f"| {name} | {size:.0f} | {1 / cpu:.0f} | {rate:.0f} | {growth:+.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where 2 GB of images are written; a temporary folder without it")
    parser.add_argument("--crops", type=int, default=400)
    options = parser.parse_args()
    print(f"{CROP}x{CROP} mosaic pixels of {HEIGHT}x{WIDTH}, {IMAGES} images, warm, packed into planes")
    print("| chunks (rows x columns) | MB per file | crops per CPU second | crops/s, 2 processes | MiB grown |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for name in PACKINGS:
            print(measure(name, Path(folder), options.crops), flush=True)


if __name__ == "__main__":
    main()
