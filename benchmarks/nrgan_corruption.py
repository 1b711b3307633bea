"""Time to corrupt a CIFAR-sized set with every noise family, beside torch.randn of the same shape.

python benchmarks/nrgan_corruption.py [--images 50000] [--device cuda] [--threads 2]
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # scripts run from a clone

import torch
from torch import Tensor

from noisemodel import stream
from noisemodel.families import BLOCK, FAMILIES, corrupt

SHAPE = (3, 32, 32)


def seconds(call: Callable[[], object], device: str) -> float:
    """Wall time of ``call`` [s]."""
    if device == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def corrupt_all(name: str, images: Tensor) -> None:
    """Corrupt 8-bit images in blocks, as a data set does it."""
    for first in range(0, len(images), BLOCK):
        corrupt(name, images[first : first + BLOCK].float() / 255.0, seed=0, first=first)


def randn_all(count: int, draws: torch.Generator, device: str) -> None:
    """One normal number per value of as many images."""
    for first in range(0, count, BLOCK):
        torch.randn(min(BLOCK, count - first), *SHAPE, generator=draws, device=device)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    draws = stream(0, "benchmark", device=options.device)
    shape = (options.images, *SHAPE)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=draws, device=options.device)
    randn = seconds(lambda: randn_all(options.images, draws, options.device), options.device)
    print(f"{options.images} images of {'x'.join(map(str, SHAPE))}, {options.device}, {options.threads} threads\n")
    print(f"| family | | s | times torch.randn ({randn:.2f} s) |\n|---|---|---|---|")
    for name, row in FAMILIES.items():
        corrupt_all(name, images[:BLOCK])  # builds its tables
        took = seconds(lambda name=name: corrupt_all(name, images), options.device)  # type: ignore[misc]
        print(f"| {name} | {row.letter} | {took:.2f} | {took / randn:.1f} |")


if __name__ == "__main__":
    main()
