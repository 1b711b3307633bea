"""Pictures that denoisers are trained on: the images of a folder, or the embedded ones."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, final, overload

import numpy as np
import torch
from PIL import ImageOps
from torch import Tensor

from noisemodel.errors import InputError
from noisemodel.fingerprint import data_files
from noisemodel.images import FORMATS, ImageFile, open_image
from noisemodel.png import open_picture
from nrgan.folders import EIGHT_BIT, PICTURES
from nrgan.folders import SUFFIXES as EIGHT_BIT_SUFFIXES

SUFFIXES = sorted({*EIGHT_BIT_SUFFIXES, *FORMATS})
HELD_BYTES = 2 << 30  # images beyond this are read again each time
HELD_OUT, MOST_HELD_OUT = 10, 16  # the last tenth is for validation, at most so many
LARGEST = 512  # height and width of the middle that is validated on [px]
Array = np.ndarray[Any, np.dtype[Any]]


class PictureSet(NamedTuple):
    """Images, (C, H, W) each, uint8 or fractions of white; ``names`` are those of ``train``."""

    train: Sequence[Tensor]
    held_out: Sequence[Tensor]
    names: tuple[str, ...]
    description: str


@final
class PictureFiles(Sequence[Tensor]):
    """Image files, read when first asked for and kept as long as there is room.

    Args:
        files: of any type in `SUFFIXES`; integers are divided by the largest of their type (8 bit: when used).
        channels: 1 makes colour grey (Rec. 601), 3 repeats grey.
        change: what is done to each.
    """

    def __init__(self, files: Sequence[Path], channels: int, change: Callable[[Tensor], Tensor] | None = None) -> None:
        """Nothing is read yet."""
        self.files, self.channels, self.change = files, channels, change
        self.held: dict[int, Tensor] = {}
        self.room = HELD_BYTES

    def __len__(self) -> int:
        """How many files."""
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        """(C, H, W); raises InputError if the file cannot be read."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        if index in self.held:
            return self.held[index]
        image = read_picture(self.files[index], self.channels)
        image = image if self.change is None else self.change(image)
        if image.nbytes <= self.room:
            self.room -= image.nbytes
            self.held[index] = image
        return image


def picture_size(path: Path) -> tuple[int, int]:
    """(H, W) as the header says, in either order where EXIF turns it; raises InputError if it cannot be opened."""
    with _reading(path):
        if path.suffix.lower() in EIGHT_BIT_SUFFIXES:
            with open_picture(path) as image:
                return image.height, image.width
        found = open_image(path)
        height, width = (side for axis, side in enumerate(found.page_shape) if axis != _channel_axis(found))
        return height, width


def _channel_axis(found: ImageFile) -> int | None:
    """The axis of a page's channels, counted from the first."""
    return None if found.channel_axis is None else found.channel_axis % len(found.page_shape)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """One InputError with the path for whatever a decoder raises."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # decoders raise anything
        said = " ".join(str(error).replace(f"'{path}'", "it").split()) or type(error).__name__
        raise InputError(f"cannot read {path} ({said}); repair or remove it") from error


def read_picture(path: Path, channels: int) -> Tensor:
    """One image as (C, H, W), uint8 or float fractions of white; raises InputError if it cannot be read."""
    with _reading(path):
        if path.suffix.lower() in EIGHT_BIT_SUFFIXES:
            with open_picture(path) as image:
                if image.mode in EIGHT_BIT:
                    upright = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
                    return torch.from_numpy(np.array(upright)).view(*upright.size[::-1], channels).permute(2, 0, 1)
        found = open_image(path)
        page = next(iter(found.read()))
    values = page[None] if found.channel_axis is None else np.moveaxis(page, found.channel_axis, 0)[: found.channels]
    return _of_channels(_fractions(values, path), channels, path)


def _fractions(values: Array, path: Path) -> Tensor:
    """8 bit as it is, 16 bit divided by 65535, floats checked."""
    if values.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(values))
    if values.dtype == np.uint16:
        return torch.from_numpy(values.astype(np.float32) / 65535)
    if not np.isfinite(values).all():
        raise InputError(f"{path} holds NaN or infinity; repair or remove it")
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):
        raise InputError(f"{path} must hold fractions of white, got {low:g} to {high:g}; divide by the white level")
    return torch.from_numpy(values.astype(np.float32))


def _of_channels(image: Tensor, channels: int, path: Path) -> Tensor:
    """Grey repeated, or colour made grey."""
    if len(image) == channels:
        return image
    if len(image) == 1:
        return image.expand(channels, -1, -1)
    if channels == 1 and len(image) == 3:
        grey = (image.float() * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0, keepdim=True)
        return grey.round().byte() if image.dtype == torch.uint8 else grey
    raise InputError(f"{path} has {len(image)} channels, the denoiser {channels}; say --channels, or remove it")


def middle(image: Tensor) -> Tensor:
    """Its middle, `LARGEST` pixels along each axis at most."""
    height, width = image.shape[-2:]
    top, left = max(height - LARGEST, 0) // 2, max(width - LARGEST, 0) // 2
    return image[:, top : top + LARGEST, left : left + LARGEST]


def read_pictures(path: Path | None, channels: int, smallest: int = 1) -> PictureSet:
    """The images of a folder, its subfolders included but for run folders, or the embedded ones.

    Args:
        path: the folder; None for scikit-image's pictures: their upper three quarters, at two scales, train.
        channels: 1 or 3.
        smallest: height and width that each of the folder must have [px].
    Raises: InputError for a folder without two images, or with one that cannot be opened.
    """
    if path is None:
        return _embedded(channels)
    files = _found(path, 2, "two are needed, one is for validation", smallest)
    border = len(files) - min(max(len(files) // HELD_OUT, 1), MOST_HELD_OUT)
    train, held_out = PictureFiles(files[:border], channels), PictureFiles(files[border:], channels, middle)
    words = f"{path}: {len(train)} images for training, {len(held_out)} for validation"
    return PictureSet(train, held_out, tuple(str(file) for file in files[:border]), words)


def read_noisy_pictures(path: Path, smallest: int) -> PictureFiles:
    """All images of a folder as RGB, read when they are asked for; none is held out.

    Args:
        path: the folder.
        smallest: height and width that each must have [px].
    Raises: InputError for a folder without an image, with a smaller one, or with one that cannot be opened.
    """
    return PictureFiles(_found(path, 1, "one is needed at least", smallest), 3)


def _found(path: Path, least: int, why: str, smallest: int) -> list[Path]:
    """The image files of a folder. Each is opened, so that a bad one is named before training and not in the midst."""
    if not path.is_dir():
        raise InputError(f"--data {path} is no folder; name a folder of images, or leave it out for embedded ones")
    files = sorted(file for _, file in data_files(path) if file.suffix.lower() in SUFFIXES)
    if len(files) < least:
        raise InputError(f"--data {path} has {len(files)} images; {why}: {', '.join(SUFFIXES)}")
    for file in files:
        height, width = picture_size(file)
        if min(height, width) < smallest:
            raise InputError(f"{file} has {height}x{width} px, at least {smallest} are needed; leave it out")
    return files


def _embedded(channels: int) -> PictureSet:
    """scikit-image's pictures, without a download."""
    train, held_out, names = [], [], []
    for name, load in PICTURES.items():
        image = torch.from_numpy(load()[..., :3].copy()).permute(2, 0, 1)
        image = _of_channels(image, channels, Path(name))
        border = image.shape[1] * 3 // 4
        half = torch.nn.functional.avg_pool2d(image[:, :border].float(), 2).round().byte()
        train += [image[:, :border], half]
        names += [name, f"{name}/2"]
        held_out.append(middle(image[:, border:]))
    words = f"embedded pictures: {len(train)} for training, the lower quarters of {len(held_out)} for validation"
    return PictureSet(train, held_out, tuple(names), words)
