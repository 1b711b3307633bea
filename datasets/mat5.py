"""Arrays in MATLAB files of version 5, which cannot be read in part: unpacked once into the cache, then mapped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from datasets.cache import unpacked
from datasets.formats import reading
from noisemodel.claims import check_plain_file, listed
from noisemodel.errors import InputError
from noisemodel.mat_tags import load_mat, mat_variables

Array = np.ndarray[Any, Any]


def array_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every array in a MAT file, without its numbers.

    Raises: InputError if the file is missing, damaged or of version 7.3.
    """
    _check_version(path)
    with reading(path):
        return {name: shape for name, shape, _ in mat_variables(path)}


def read_arrays(path: Path, *names: str) -> dict[str, Array]:
    """The named arrays of a MAT file, whole.

    Raises: InputError if the file is missing, damaged or of version 7.3, or an array is missing or not of numbers.
    """
    _check_version(path)
    with reading(path):
        found = load_mat(path, names)
    for name in names:
        if name not in found:
            raise InputError(f"no array {name!r} in {path}; it holds {listed(array_shapes(path))}")
        if not isinstance(found[name], np.ndarray) or found[name].dtype.kind not in "uif":
            raise InputError(f"{name} in {path} must be numbers, got {_kind(found[name])}; write it again")
    return {name: found[name] for name in names}


def mapped_array(path: Path, key: str, arranged: Callable[[Array], Array] = np.ascontiguousarray) -> Array:
    """An array of a MAT file, memory-mapped from its unpacked copy; the file is read whole once.

    Args:
        path: the file.
        key: the array's name.
        arranged: applied before the copy is written, e.g. to move axes; raises InputError if the array is unfit.
    """

    def write(file: BinaryIO) -> None:
        np.save(file, arranged(read_arrays(path, key)[key]), allow_pickle=False)

    if not path.is_file():
        raise InputError(f"no such file: {path}; is the data set complete?")
    copy = unpacked(path, f"{key}\x1f{getattr(arranged, '__qualname__', '')}", write)
    mapped: Array = np.load(copy, mmap_mode="r", allow_pickle=False)
    return mapped


def _check_version(path: Path) -> None:
    """Raise InputError unless the file is there and not HDF5."""
    if not path.is_file():
        raise InputError(f"no such file: {path}; is the data set complete?")
    check_plain_file(path)
    if h5py.is_hdf5(path):
        raise InputError(f"{path} is a MATLAB 7.3 file, expected version 5; save it with -v7")


def _kind(value: Any) -> str:
    """What an entry of a MAT file is, for messages."""
    return f"dtype {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
