"""Measured fixed patterns from files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
import torch
from torch import Tensor

from datasets.formats import reading
from noisemodel.claims import check_claim, check_hdf5_claim, check_plain_file, listed, mapped_npy, npz_headers
from noisemodel.errors import InputError
from noisemodel.mat_tags import load_mat, mat_variables

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
        raise InputError(f"{path}: needs one array with 2 or 3 axes, found {listed(maps) if maps else 'none'}")
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
    npz_headers(path)
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _hdf5(path: Path) -> dict[str, Array]:
    """Every dataset of an HDF5 or MATLAB 7.3 file; MATLAB's axes are reversed."""
    found: dict[str, Array] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            check_hdf5_claim(item, path)
            found[name] = item[()].T if "MATLAB_class" in item.attrs else item[()]

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


def _mat(path: Path) -> dict[str, Array]:
    """Every array of a MATLAB file."""
    check_plain_file(path)
    if h5py.is_hdf5(path):
        return _hdf5(path)
    names = [name for name, shape, _ in mat_variables(path) if len(shape) in (2, 3)]
    return {name: value for name, value in load_mat(path, names).items() if name in names}


def _tif(path: Path) -> dict[str, Array]:
    """The first series of a TIFF file."""
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        check_claim(series.nbytes, file.filehandle.size, path)
        return {path.stem: series.asarray()}


_READERS: dict[str, Callable[[Path], dict[str, Array]]] = {
    ".npy": lambda path: {path.stem: np.array(mapped_npy(path))},
    ".npz": _npz,
    ".mat": _mat,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".tif": _tif,
    ".tiff": _tif,
}
