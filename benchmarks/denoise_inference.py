"""Speed and peak memory of denoise.py against image size and tile size: whole program, a process for each figure.

python benchmarks/denoise_inference.py [--sizes 1 3 12] [--tiles 512] [--width 48] [--device cuda] [--bits 16]

Peak memory is the process's resident set (the GPU's own with --device cuda is not in it).
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # scripts run from a clone

import numpy as np
import torch

from denoisers.tiling import OVERLAP, TILE
from denoisers.trained import DenoiserSettings, build_denoiser, save_denoiser
from noisemodel import stream
from noisemodel.png import write_png

RATIO = 4 / 3  # width to height


def one(words: list[str]) -> None:
    """Run denoise.py in this process; print its seconds and its peak memory [GB]."""
    import denoise

    begin = time.perf_counter()
    code = denoise.main(words)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(f"{code} {time.perf_counter() - begin:.3f} {peak:.3f}")


def measured(folder: Path, image: Path, tile: int, overlap: int, device: str) -> tuple[float, float]:
    """Seconds and GB of a process of its own."""
    words = [str(folder / "run"), str(image), "-o", str(folder / "out"), "--overwrite"]
    words += ["--tile", str(tile), "--overlap", str(overlap), "--device", device]
    command = [sys.executable, __file__, "--one", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    code, seconds, peak = done.stdout.splitlines()[-1].split()
    if code != "0":
        raise SystemExit(done.stderr)
    return float(seconds), float(peak)


def main() -> None:
    """Print a Markdown table."""
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=float, nargs="+", default=[1.0, 3.0, 12.0], help="million pixels")
    parser.add_argument("--tiles", type=int, nargs="+", default=[TILE], help="pixels a side; 0: at once")
    parser.add_argument("--overlap", type=int, default=OVERLAP)
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--bits", type=int, choices=(8, 16), default=8)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    settings = DenoiserSettings("n2n", "unet", 3, "srgb", width=options.width)
    threads = torch.get_num_threads()
    print(f"U-Net of width {options.width}, RGB PNG of {options.bits} bit, {options.device}, {threads} thread(s)\n")
    print("| million pixels | size | tile | seconds | million pixels/s | peak memory [GB] |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save_denoiser(build_denoiser(settings, generator=stream(0, "benchmark")), folder / "run")
        for size in options.sizes:
            height, width = round((size * 1e6 / RATIO) ** 0.5), round((size * 1e6 * RATIO) ** 0.5)
            top, dtype = 2**options.bits - 1, f"uint{options.bits}"
            picture = np.random.default_rng(0).integers(0, top, (height, width, 3), dtype, endpoint=True)
            write_png(folder / "a.png", picture)
            for tile in options.tiles:
                seconds, peak = measured(folder, folder / "a.png", tile, options.overlap, options.device)
                cells = (
                    f"{size:g}",
                    f"{width}x{height}",
                    tile,
                    f"{seconds:.1f}",
                    f"{size / seconds:.2f}",
                    f"{peak:.2f}",
                )
                print("|", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    main()
