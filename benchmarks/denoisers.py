"""Time to corrupt a batch on the device, beside image by image with numpy and Pillow as published scripts do it.

python benchmarks/denoisers.py [--images 16] [--size 128] [--device cuda] [--threads 1]

The image-by-image corruptions are frozen here as a yardstick: do not improve them.
"""

import argparse
import string
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # scripts run from a clone

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from denoisers.corruption import Corruption
from denoisers.text import PACKAGED
from noisemodel.streams import stream

Array = np.ndarray[Any, np.dtype[Any]]
REPEATS = 15


def gaussian_one(image: Array, p: float, draws: np.random.Generator) -> Array:
    std = draws.uniform(0, p)
    noise = draws.normal(0, std, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def poisson_one(image: Array, p: float, draws: np.random.Generator) -> Array:
    return np.clip(draws.poisson(image / 255.0 * p) / p * 255, 0, 255).astype(np.uint8)


def bernoulli_one(image: Array, p: float, draws: np.random.Generator) -> Array:
    lost = draws.uniform(0, p)
    kept = draws.choice([0, 1], size=image.shape[:2], p=[lost, 1 - lost])
    return np.multiply(image, np.repeat(kept[:, :, None], 3, axis=2)).astype(np.uint8)


def impulse_one(image: Array, p: float, draws: np.random.Generator) -> Array:
    lost = draws.uniform(0, p)
    hit = draws.choice([1, 0], size=image.shape[:2], p=[lost, 1 - lost])
    return np.where(np.repeat(hit[:, :, None], 3, axis=2), draws.integers(0, 256, image.shape), image).astype(np.uint8)


def text_one(image: Array, p: float, draws: np.random.Generator) -> Array:
    """Strings of random letters, colour and size, until enough pixels differ from the image."""
    height, width = image.shape[:2]
    font = str(Path(matplotlib.get_data_path()) / PACKAGED)
    page, mask = Image.fromarray(image), Image.new("1", (width, height))
    pen, mask_pen = ImageDraw.Draw(page), ImageDraw.Draw(mask)
    wanted = draws.uniform(0, p)
    while np.asarray(mask).mean() < wanted:
        face = ImageFont.truetype(font, int(draws.integers(10, 29)))
        words = "".join(draws.choice(list(string.ascii_letters), int(draws.integers(10, 26))))
        place = int(draws.integers(0, width)), int(draws.integers(0, height))
        pen.text(place, words, tuple(int(c) for c in draws.integers(0, 256, 3)), font=face)
        mask_pen.text(place, words, 1, font=face)
    return np.asarray(page)


ONE_BY_ONE: dict[str, Callable[[Array, float, np.random.Generator], Array]] = {
    "gaussian": gaussian_one,
    "poisson": poisson_one,
    "bernoulli": bernoulli_one,
    "impulse": impulse_one,
    "text": text_one,
}


def published(name: str, images: list[Image.Image], p: float, device: str) -> torch.Tensor:
    """Corrupt Pillow's images one by one, turn each into a tensor, stack, and bring the batch to the device."""
    draws = np.random.default_rng(0)
    made = [Image.fromarray(ONE_BY_ONE[name](np.array(image), p, draws)) for image in images]
    tensors = [torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255) for image in made]
    return torch.stack(tensors).to(device)


def seconds(call: Callable[[], object], device: str) -> float:
    """Least time of some calls [s]: of this process on the CPU, where others may run beside it; else on the wall."""
    took, clock = [], time.process_time if device == "cpu" else time.perf_counter
    for _ in range(REPEATS):
        begin = clock()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        took.append(clock() - begin)
    return min(took)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shape = (options.images, options.size, options.size, 3)
    pictures = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    clean = (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255).contiguous().to(options.device)
    images = [Image.fromarray(picture) for picture in pictures]
    print(f"{options.images} images of {options.size} px, {options.device}, {options.threads} threads\n")
    print("| corruption | image by image [ms] | in batch [ms] | times faster |\n|---|---|---|---|")
    for name in ONE_BY_ONE:
        law = Corruption(name)

        def in_batch(law: Corruption = law) -> object:
            return law.draw(clean, generator=stream(0, "benchmark", device=options.device))

        in_batch()  # builds the atlas
        slow = seconds(lambda name=name, p=law.p: published(name, images, p, options.device), options.device)  # type: ignore[misc]
        fast = seconds(in_batch, options.device)
        print(f"| {name} | {1e3 * slow:.1f} | {1e3 * fast:.1f} | {slow / fast:.1f} |")


if __name__ == "__main__":
    main()
