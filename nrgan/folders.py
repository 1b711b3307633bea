"""Images in a folder, brought to one size, and the embedded pictures that serve where no path is given."""

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import torch
from PIL import Image, ImageOps
from torch import Tensor

from noisemodel.errors import InputError
from noisemodel.fingerprint import data_files
from noisemodel.png import open_picture
from noisemodel.streams import stream

Array = np.ndarray[Any, Any]
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp", ".tif", ".tiff")
EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
SIZES = (32, 64, 128)
TEST_SHARE = 10  # the last tenth is for tests
NAMED = 3  # bad files that an error names

# Colour pictures inside scikit-image's wheel.
PICTURES: dict[str, Callable[[], Array]] = {
    "astronaut": skimage.data.astronaut,
    "chelsea": skimage.data.chelsea,
    "coffee": skimage.data.coffee,
    "motorcycle": lambda: skimage.data.stereo_motorcycle()[0],
    "rocket": skimage.data.rocket,
}
SHRINKS = (1, 2, 4)  # patches are cut from each picture at these box averages


def split_part(count: int, split: str, what: str) -> slice:
    """Which of ``count`` items a split has: the last tenth (at least one) is "test", the others "train".

    Raises: InputError where nothing is left.
    """
    border = count - max(count // TEST_SHARE, 1)
    if split == "train" and border == 0:
        raise InputError(f"{what} has {count} image, and the last tenth is for tests; give more images")
    return slice(0, border) if split == "train" else slice(border, count)


def read_folder(path: Path, size: int, split: str) -> Tensor:
    """All 8-bit images under a folder, in the order of their paths.

    Each is turned as its EXIF tag says, made RGB, cut to its central square and resized (Lanczos, antialiased).

    Args:
        path: the folder; its subfolders are read too.
        size: height and width of the result [px].
        split: "test" is the last tenth of the files, "train" the others.
    Returns: (N, 3, size, size) uint8.
    Raises: InputError if there is no image, or some cannot be read: it names them.
    """
    files = sorted(file for _, file in data_files(path) if file.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{path} has no images; known types: {', '.join(SUFFIXES)}")
    files = files[split_part(len(files), split, str(path))]
    images = torch.empty(len(files), 3, size, size, dtype=torch.uint8)

    def read(i: int) -> str | None:
        try:
            images[i] = torch.from_numpy(_square(files[i], size))
        except Exception as error:  # Pillow's decoders raise anything
            return f"{files[i]} ({' '.join(str(error).split()) or type(error).__name__})"
        return None

    with warnings.catch_warnings(), ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as threads:
        warnings.filterwarnings("ignore", module="PIL")  # what is wrong is said in one error
        bad = [said for said in threads.map(read, range(len(files))) if said]
    if bad:
        more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        raise InputError(f"cannot read {', '.join(bad[:NAMED])}{more}; repair or remove them")
    return images


def _square(path: Path, size: int) -> Array:
    """One image as (3, size, size)."""
    with open_picture(path) as image:
        if image.mode not in EIGHT_BIT:
            raise ValueError(f"mode {image.mode}, not 8 bit; give such images as an array of fractions of white")
        upright = ImageOps.exif_transpose(image).convert("RGB")
    return np.moveaxis(np.asarray(ImageOps.fit(upright, (size, size), Image.Resampling.LANCZOS)), -1, 0).copy()


def embedded_patches(size: int, split: str) -> tuple[Tensor, Tensor]:
    """Patches of scikit-image's bundled pictures at three scales, half overlapping, with their mirror images.

    The upper three quarters of each picture are "train", the rest "test"; the order is a fixed shuffle.

    Returns: (N, 3, size, size) uint8, and for each the number of its picture, (N,) int64.
    """
    patches, labels = [], []
    for number, load in enumerate(PICTURES.values()):
        picture = torch.from_numpy(load()[..., :3].copy()).permute(2, 0, 1)  # (3, H, W)
        border = picture.shape[1] * 3 // 4
        part = picture[:, :border] if split == "train" else picture[:, border:]
        for shrink in SHRINKS:
            cut = tiles(_shrunk(part, shrink)[None], size, size // 2)
            patches += [cut, cut.flip(-1)]
            labels.append(torch.full((2 * len(cut),), number))
    images, numbers = torch.cat(patches), torch.cat(labels)
    order = torch.randperm(len(images), generator=stream(0, "embedded", size, split))
    return images[order], numbers[order]


def _shrunk(picture: Tensor, shrink: int) -> Tensor:
    """(3, H, W) uint8 averaged over shrink x shrink boxes."""
    if shrink == 1:
        return picture
    return torch.nn.functional.avg_pool2d(picture.float(), shrink).round().to(torch.uint8)


def tiles(images: Tensor, size: int, step: int) -> Tensor:
    """Cut (N, C, H, W) into (M, C, size, size), ``step`` apart, row by row; none where the images are too small."""
    if min(images.shape[-2:]) < size:
        return images.new_empty(0, images.shape[1], size, size)
    cut = images.unfold(2, size, step).unfold(3, size, step)  # (N, C, rows, columns, size, size)
    return cut.permute(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1], size, size)
