"""Where NR-GAN's images come from: CIFAR-10, a folder, an array, or the embedded pictures."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from noisemodel.claims import listed, mapped_npy, npz_headers, shortened
from noisemodel.errors import InputError
from nrgan.cifar import is_cifar, read_cifar
from nrgan.folders import SIZES, embedded_patches, read_folder, split_part, tiles

SPLITS = ("train", "test")
LOWEST, HIGHEST = -0.5, 1.5  # fractions of white beyond these are DN [white]


@final
@dataclass(frozen=True, eq=False)
class Images:
    """Images of one size in memory.

    Args:
        values: (N, C, H, W), uint8 or float32 fractions of white.
        labels: (N,) int64, or None.
        description: what they are, in a line.
    """

    values: Tensor = field(repr=False)
    labels: Tensor | None = field(repr=False)
    description: str

    def __len__(self) -> int:
        """N."""
        return len(self.values)

    def __getitem__(self, indices: Tensor | list[int] | slice) -> Tensor:
        """(n, C, H, W) float32 [fraction of white]; 8-bit values are divided by 255."""
        values = self.values[indices]
        return values.float() / 255.0 if values.dtype == torch.uint8 else values

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.values.shape[1:]
        return channels, height, width


def clean_images(path: str | Path | None = None, *, size: int = 32, kind: str = "auto", split: str = "train") -> Images:
    """Read the images of a path.

    Args:
        path: what `DATA` says; None for the embedded pictures.
        size: height and width: 32, 64 or 128 px.
        kind: a row of `DATA`, or "auto": told from the path.
        split: "train" or "test"; CIFAR-10 has its own, else the last tenth is for tests (embedded: the last quarter
            of each picture's rows).
    Raises: InputError for what is missing, damaged, something else, or not there at this size.
    """
    if size not in SIZES:
        raise InputError(f"image sizes are {', '.join(map(str, SIZES))} px, got {size}; choose one")
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    place = None if path is None else Path(path).expanduser()
    if place is not None and not place.exists():
        raise InputError(f"no such file or folder: {place}; check the path, or leave it out for embedded pictures")
    if kind == "auto":
        kind = _kind(place)
    if kind not in DATA:
        raise InputError(f"unknown kind of data {kind!r}; known: auto, {', '.join(DATA)}")
    if (place is None) != (kind == "embedded"):
        raise InputError(f"data of kind {kind!r} and path {path} do not fit; {DATA[kind].description}")
    return DATA[kind].read(place, size, split)


def images_from_array(
    values: Any, *, size: int, split: str = "train", labels: Any = None, what: str = "array"
) -> Images:
    """Images cut from an array into tiles without overlap; never resized, for that changes the noise.

    Args:
        values: (N, C, H, W) tensor or array: uint8, or floats in fractions of white (packed raw has 4 planes).
        size: of the tiles [px].
        split: "test" is the last tenth of the N, "train" the others.
        labels: (N,) whole numbers, or None.
        what: its name in errors.
    Raises: InputError for other shapes, types, values, or images smaller than a tile.
    """
    values = torch.as_tensor(values) if isinstance(values, Tensor) else _tensor(values, what)
    if values.ndim != 4 or 0 in values.shape:
        raise InputError(f"{what} must be (N, C, H, W), got {tuple(values.shape)}; reshape it")
    if values.dtype != torch.uint8:
        values = _fractions(values, what)
    if min(values.shape[-2:]) < size:
        raise InputError(
            f"{what} has images of {tuple(values.shape[-2:])}, smaller than {size} px; choose a smaller size"
        )
    if not isinstance(labels, Tensor | None) and np.asarray(labels).dtype.kind not in "iub":
        raise InputError(f"{what} has labels of {np.asarray(labels).dtype}; give whole numbers from 0")
    numbers = None if labels is None else torch.as_tensor(labels).long()
    if numbers is not None and numbers.shape != values.shape[:1]:
        raise InputError(f"{what} has {len(values)} images and labels of shape {tuple(numbers.shape)}; give one each")
    part = split_part(len(values), split, what)
    cut = tiles(values[part], size, size).contiguous()
    per_image = len(cut) // len(values[part])
    numbers = None if numbers is None else numbers[part].repeat_interleave(per_image)
    return Images(cut, numbers, f"{what}, {split}: {len(cut)} tiles of {size} px")


def _tensor(values: Any, what: str) -> Tensor:
    """An array of uint8 or floats as a tensor in native byte order."""
    array = np.asarray(values)
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise InputError(f"{what} holds {array.dtype}; give uint8, or DN minus black divided by white minus black")
    return torch.from_numpy(np.array(array, dtype=np.uint8 if array.dtype == np.uint8 else np.float32))


def _fractions(values: Tensor, what: str) -> Tensor:
    """Floats, checked to be fractions of white."""
    if not values.is_floating_point():
        raise InputError(f"{what} holds {values.dtype}; give uint8, or DN minus black divided by white minus black")
    values = values.float()
    low, high = (float(value) for value in values.aminmax())
    if not (low >= LOWEST and high <= HIGHEST):
        raise InputError(
            f"{what} must hold fractions of white, got {low:g} to {high:g}; subtract black, divide by white"
        )
    return values


def _kind(path: Path | None) -> str:
    """What a path holds."""
    if path is None:
        return "embedded"
    if path.is_dir():
        return "cifar10" if is_cifar(path) else "folder"
    return "array"


def _embedded(_path: Path | None, size: int, split: str) -> Images:
    """Patches of the bundled pictures."""
    values, labels = embedded_patches(size, split)
    if not len(values):
        raise InputError(f"the embedded pictures have no {split} patches of {size} px; choose a smaller size")
    return Images(values, labels, f"embedded pictures, {split}: {len(values)} patches of {size} px")


def _cifar(path: Path | None, size: int, split: str) -> Images:
    """The official batches."""
    assert path is not None
    if size != 32:
        raise InputError(f"CIFAR-10 has 32 px, got size {size}; use 32, or a folder of larger images")
    return Images(*read_cifar(path, split))


def _folder(path: Path | None, size: int, split: str) -> Images:
    """A folder of 8-bit images."""
    assert path is not None
    if not path.is_dir():
        raise InputError(f"{path} is no folder; give the folder of the images")
    values = read_folder(path, size, split)
    return Images(values, None, f"{path}, {split}: {len(values)} images at {size} px")


def _array(path: Path | None, size: int, split: str) -> Images:
    """A .npy file, or a .npz file with ``images`` (or a single array) and perhaps ``labels``."""
    assert path is not None
    if path.suffix.lower() not in (".npy", ".npz"):
        raise InputError(f"{path} is no .npy or .npz file; give one, a folder of images, or CIFAR-10's folder")
    try:
        fields = {"images": mapped_npy(path)} if path.suffix.lower() == ".npy" else _members(path)
    except InputError:
        raise
    except Exception as error:  # numpy raises anything on a damaged file
        raise InputError(f"{path} cannot be read ({shortened(error)}); write it again") from error
    rest = [name for name in fields if name != "labels"]
    if "images" not in fields and len(rest) != 1:
        raise InputError(f"{path} has {listed(fields)}; name the array of images 'images'")
    values = fields.get("images", fields[rest[0]])
    return images_from_array(values, size=size, split=split, labels=fields.get("labels"), what=str(path))


def _members(path: Path) -> dict[str, Any]:
    """The arrays of a .npz file."""
    npz_headers(path)
    with path.open("rb") as file:  # numpy leaves a damaged archive open
        return dict(np.load(file, allow_pickle=False).items())


@final
@dataclass(frozen=True)
class Data:
    """One row of `DATA`: what a path must be, and how it is read."""

    description: str
    read: Callable[[Path | None, int, str], Images]


DATA: dict[str, Data] = {
    "embedded": Data("it takes no path: patches of scikit-image's pictures", _embedded),
    "cifar10": Data("it takes the folder of CIFAR-10's official python batches", _cifar),
    "folder": Data("it takes a folder of 8-bit images: centre crop, then resize", _folder),
    "array": Data("it takes a .npy or .npz file of (N, C, H, W), cut into tiles", _array),
}
