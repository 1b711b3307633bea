"""Stand-ins for trained denoisers, and image files of every type, for the tests of denoise.py."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from torch import Tensor, nn

import denoise
from denoisers import Denoiser, DenoiserSettings
from noisemodel.images import Array
from noisemodel.png import read_png, write_png

RNG = np.random.default_rng(0)


class Halved(nn.Module):
    """x / 2: half of the signal."""

    def forward(self, x: Tensor) -> Tensor:
        return x / 2


class Use:
    """Lets the program load a denoiser made here; counts the most pixels it was asked for at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch, self.largest = monkeypatch, 0

    def __call__(self, network: nn.Module, **settings: Any) -> None:
        given = {"method": "n2n", "network": "unet", "channels": 3, "layout": "srgb", **settings}
        denoiser = Denoiser(DenoiserSettings(**given), network).eval()
        plain = denoiser.denoise

        def counted(images: Tensor) -> Tensor:
            self.largest = max(self.largest, images.shape[-1] * images.shape[-2])
            return plain(images)

        self.monkeypatch.setattr(denoiser, "denoise", counted)
        self.monkeypatch.setattr(denoise, "load_denoiser", lambda path: denoiser)


def run(tmp_path: Path, *words: object) -> Path:
    """Denoise into a folder, which is given back."""
    out = tmp_path / "out"
    assert denoise.main(["model", *map(str, words), "-o", str(out)]) == 0
    return out


def draw(shape: tuple[int, ...], dtype: str) -> Array:
    if dtype.startswith("float"):
        return RNG.random(shape).astype(dtype)
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def write(path: Path, array: Array) -> Path:
    suffix = path.suffix.lower()
    if suffix == ".png":
        write_png(path, array)
    elif suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, array, photometric="rgb" if array.shape[-1] == 3 else "minisblack")
    elif suffix == ".npz":
        np.savez_compressed(path, frames=array, exposure_s=np.float64(0.1))
    elif suffix == ".npy":
        np.save(path, array)
    else:
        with h5py.File(path, "w") as file:
            file["light"] = array
    return path


def read(path: Path) -> Array:
    suffix = path.suffix.lower()
    if suffix == ".png":
        return read_png(path)
    if suffix in (".tif", ".tiff"):
        return np.asarray(tifffile.imread(path))
    if suffix == ".npz":
        with np.load(path) as arrays:
            assert float(arrays["exposure_s"]) == 0.1
            return np.asarray(arrays["frames"])
    if suffix == ".npy":
        return np.asarray(np.load(path))
    with h5py.File(path) as file:
        return np.asarray(file["light"])
