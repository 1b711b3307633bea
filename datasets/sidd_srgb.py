"""SIDD's sRGB images: PNG files, decoded once into the cache, and small crops of them in MAT files."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets.cache import unpacked
from datasets.formats import reading
from datasets.mat5 import array_shapes, read_arrays
from datasets.stacks import ReadCrop, Stack
from noisemodel.claims import listed
from noisemodel.errors import InputError
from noisemodel.png import check_size

WHITE = 255.0
# The chunk that ends a PNG, and in how many last bytes of the file it is looked for.


@final
@dataclass(frozen=True)
class PngImage(Stack):
    """An 8-bit colour PNG as one frame (1, 3, H, W); the first read decodes it into the cache, where it is mapped."""

    @contextmanager
    def opened(self) -> Iterator[ReadCrop]:
        """Map the decoded copy."""
        image = np.load(unpacked(self.path, "srgb", self._write), mmap_mode="r", allow_pickle=False)
        yield lambda frame, rows, columns: np.moveaxis(image[rows, columns], -1, 0)

    def _write(self, file: BinaryIO) -> None:
        """Decode all of it."""
        with Image.open(self.path, formats=("PNG",)) as image:
            np.save(file, np.asarray(image), allow_pickle=False)


def open_png(path: Path) -> Stack:
    """Open an 8-bit colour PNG lazily.

    Raises: InputError if the file is missing, no PNG, or not 8-bit RGB.
    """
    if not path.is_file():
        raise InputError(f"no such file: {path}; is the data set complete?")
    with reading(path), Image.open(path, formats=("PNG",)) as image:
        if image.mode != "RGB":
            raise InputError(f"{path} must be 8-bit RGB, got mode {image.mode}; fetch it again")
        width, height = image.size
        check_size(path, 3 * width * height)
    return PngImage(path, (1, 3, height, width), np.dtype(np.uint8))


def read_srgb_mat(path: str | Path) -> Tensor:
    """The one colour image in a MAT file of version 5, (3, H, W) in [0, 1].

    Raises: InputError if the file cannot be read, or does not hold just one (H, W, 3) array of 8-bit numbers.
    """
    path = Path(path)
    shapes = array_shapes(path)
    images = [name for name, shape in shapes.items() if len(shape) == 3 and shape[2] == 3]
    if len(images) != 1:
        found = listed(f"{name} {shape}" for name, shape in shapes.items())
        raise InputError(f"{path} must hold one (H, W, 3) image, got {found}")
    image = read_arrays(path, images[0])[images[0]]
    if image.dtype != np.uint8:
        raise InputError(f"{images[0]} in {path} must be 8-bit, got dtype {image.dtype}")
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0))).float() / WHITE
