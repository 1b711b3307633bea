"""Measured fixed patterns from files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import tifffile
import torch
from torch import Tensor

from datasets.formats import reading
from noisemodel.errors import InputError

Array = np.ndarray[Any, Any]


def load_pattern(path: Path) -> Tensor:
    """A fixed pattern [DN above black]: (rows, columns) in sensor pixels, or planes (C, h, w).

    Reads .npy, .npz, .mat, .h5 and .tif; a file of several arrays needs just one with 2 or 3 axes (the published
    ``fixed_pattern_noise.mat`` holds ``mean_pattern``, planes last: these are moved to the front).

    Raises: InputError if the file cannot be read, has no such array or several, is empty or holds NaN.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: a fixed pattern is read from {', '.join(_READERS)}")
    if not path.is_file():
        raise InputError(f"no such file: {path}; check the path")
    with reading(path):
        arrays = reader(path)
    maps = {name: array for name, array in arrays.items() if array.ndim in (2, 3) and array.dtype.kind in "iuf"}
    if len(maps) != 1:
        raise InputError(f"{path}: needs one array with 2 or 3 axes, found {', '.join(maps) or 'none'}")
    pattern = torch.from_numpy(next(iter(maps.values())).astype(np.float32))
    if not pattern.numel():
        raise InputError(f"{path} is empty, shape {tuple(pattern.shape)}; write it again")
    if not bool(torch.isfinite(pattern).all()):
        raise InputError(f"{path} holds NaN or infinite values; repair the defective pixels first")
    if pattern.ndim == 3 and pattern.shape[-1] in (3, 4) and pattern.shape[0] not in (3, 4):
        pattern = pattern.movedim(-1, 0)
    return pattern


def _npz(path: Path) -> dict[str, Array]:
    """Every array of a .npz file."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _hdf5(path: Path) -> dict[str, Array]:
    """Every dataset of an HDF5 or MATLAB 7.3 file; MATLAB's axes are reversed."""
    found: dict[str, Array] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()].T if "MATLAB_class" in item.attrs else item[()]

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


def _mat(path: Path) -> dict[str, Array]:
    """Every array of a MATLAB file."""
    if h5py.is_hdf5(path):
        return _hdf5(path)
    return {name: value for name, value in scipy.io.loadmat(path).items() if not name.startswith("__")}


_READERS: dict[str, Callable[[Path], dict[str, Array]]] = {
    ".npy": lambda path: {path.stem: np.load(path, allow_pickle=False)},
    ".npz": _npz,
    ".mat": _mat,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".tif": lambda path: {path.stem: tifffile.imread(path)},
    ".tiff": lambda path: {path.stem: tifffile.imread(path)},
}
