"""Which array of a .npy, .npz, HDF5 or MAT file holds the frames, and how it is read."""

import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from datasets.cache import unpacked
from datasets.stacks import Hdf5Stack, MappedStack, Stack, byte_size
from datasets.stored import FACTS, checked_facts
from noisemodel.claims import check_hdf5_claim, listed, npy_header, npz_headers, shortened
from noisemodel.errors import InputError
from noisemodel.mat_tags import load_mat, mat_variables

Facts = dict[str, float | str]
FRAMES_KEY = "frames"

# What scipy.io.whosmat calls an array of real numbers.
_MAT_NUMBERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)} | {"single", "double"}


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a file library raises on a bad file into one InputError line that names it."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the name of {os.fsencode(path)!r} is not UTF-8; rename it") from error
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"no such file: {error.filename or path}; check the path") from error
    except Exception as error:  # the parsers raise anything from struct.error to TypeError on a damaged file
        raise InputError(f"cannot read {path}: {shortened(error)}; is it complete? copy or write it again") from error


def check_stack(shape: tuple[int, ...], dtype: np.dtype[Any], path: Path) -> None:
    """Raise InputError unless an array can be a burst: real numbers, (T, H, W) or (T, C, H, W), T >= 2, not empty."""
    if dtype.hasobject:
        raise InputError(f"{path} holds pickled objects, which are not loaded; save the frames as a plain number array")
    if dtype.kind not in "uif":
        raise InputError(f"frames in {path} must be integers or floats in DN, got dtype {dtype}; convert them")
    if len(shape) not in (3, 4):
        raise InputError(f"frames in {path} must be (T, H, W) or (T, C, H, W), got shape {shape}; reshape them")
    if 0 in shape:
        raise InputError(f"frames in {path} are empty, got shape {shape}; record them again")
    if shape[0] < 2:
        raise InputError(f"{path} has {shape[0]} frame; a burst needs at least 2 frames of the same scene")
    if len(shape) == 4 and shape[1] > 4 >= shape[3]:
        raise InputError(f"frames in {path} have channels last, got shape {shape}; save them as (T, C, H, W)")


def chosen_key(dimensions: Mapping[str, int], key: str | None, path: Path) -> str:
    """The name of the array that holds the frames: ``key``, else "frames", else the only one with 3 or more axes.

    Args:
        dimensions: name -> number of axes of every array in the file.
    Raises: InputError if there is none, or more than one.
    """
    names = listed(sorted(dimensions))
    wanted = key or (FRAMES_KEY if FRAMES_KEY in dimensions else None)
    if wanted is not None:
        if wanted not in dimensions:
            raise InputError(f"no array {wanted!r} in {path}; it holds {names}")
        return wanted
    stacks = sorted(name for name, axes in dimensions.items() if axes >= 3)
    if len(stacks) != 1:
        found = "no array" if not stacks else f"{len(stacks)} arrays ({', '.join(stacks)})"
        raise InputError(f"{found} with 3 or more axes in {path}, which holds {names}; name the frames {FRAMES_KEY!r}")
    return stacks[0]


def _mapped_npy(file: Path, path: Path) -> MappedStack:
    """Map the .npy ``file``; ``path`` is what messages name."""
    with file.open("rb") as stream:
        shape, fortran, dtype, offset = npy_header(stream)
    check_stack(shape, dtype, path)
    needed = offset + byte_size(shape, dtype)
    if file.stat().st_size < needed:
        raise InputError(f"{path} is truncated: {file.stat().st_size} bytes of {needed}; copy it again")
    return MappedStack(path, shape, dtype, file, offset, "F" if fortran else "C")


def open_npy(path: Path, key: str | None) -> tuple[Stack, Facts]:
    """A .npy file, memory-mapped."""
    return _mapped_npy(path, path), {}


def open_npz(path: Path, key: str | None) -> tuple[Stack, Facts]:
    """A .npz file: its array is unpacked into the cache, member by member, never whole into memory."""
    headers = npz_headers(path)
    wanted = chosen_key({name: len(header.shape) for name, header in headers.items()}, key, path)
    check_stack(headers[wanted].shape, headers[wanted].dtype, path)
    with zipfile.ZipFile(path) as archive:
        with np.load(path, allow_pickle=False) as arrays:
            facts = checked_facts({name: arrays[name] for name in FACTS if name in headers}, path)

        def write(file: BinaryIO) -> None:
            with archive.open(f"{wanted}.npy") as member:
                shutil.copyfileobj(member, file, 1 << 20)

        return _mapped_npy(unpacked(path, wanted, write), path), facts


def open_hdf5(path: Path, key: str | None) -> tuple[Stack, Facts]:
    """An HDF5 file, or a MATLAB file of version 7.3 (which is HDF5 with reversed axes), read by crop."""
    with h5py.File(path, "r") as file:
        found: dict[str, Any] = {}
        file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        wanted = chosen_key({name: len(item.shape or ()) for name, item in found.items()}, (key or "").strip("/"), path)
        data = found[wanted]
        matlab = "MATLAB_class" in data.attrs
        if matlab and "MATLAB_empty" in data.attrs:
            raise InputError(f"frames in {path} are empty; record them again")
        shape = tuple(int(n) for n in (reversed(data.shape) if matlab else data.shape))
        check_stack(shape, data.dtype, path)
        for dataset in (data, *(found[name] for name in FACTS if name in found)):
            check_hdf5_claim(dataset, path)
        facts = {name: found[name][()] for name in FACTS if name in found}
        stored = {**facts, **dict(file.attrs), **dict(data.attrs)}
        return Hdf5Stack(path, shape, data.dtype, wanted, matlab), checked_facts(stored, path)


def open_mat(path: Path, key: str | None) -> tuple[Stack, Facts]:
    """A MATLAB file; size(frames) is [T H W] or [T C H W]. Versions before 7.3 are unpacked into the cache."""
    if h5py.is_hdf5(path):
        return open_hdf5(path, key)
    described = {name: (shape, kind) for name, shape, kind in mat_variables(path)}
    wanted = chosen_key({name: len(shape) for name, (shape, _) in described.items()}, key, path)
    shape, kind = described[wanted]
    if kind not in _MAT_NUMBERS:
        raise InputError(f"frames in {path} must be integers or floats in DN, got a MATLAB {kind}; convert them")
    check_stack(shape, np.dtype(np.float64), path)
    facts = load_mat(path, FACTS)

    def write(file: BinaryIO) -> None:
        frames = load_mat(path, (wanted,))[wanted]
        check_stack(frames.shape, frames.dtype, path)
        np.save(file, np.ascontiguousarray(frames), allow_pickle=False)

    return _mapped_npy(unpacked(path, wanted, write), path), checked_facts(facts, path)
