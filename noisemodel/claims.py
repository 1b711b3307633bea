"""What a file claims to hold, checked against what it is before anything is allocated."""

import math
import os
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from noisemodel.errors import InputError

LARGEST_UNPROVEN = 1 << 28  # bytes that are believed without a look at the file
MOST_PACKED = 1100  # bytes out of one by deflate, which gives 1032 of zeros
LONGEST_LIST = 200  # characters
LONGEST_HEADER = 1 << 20  # bytes of a .npy header


class ArrayHeader(NamedTuple):
    """Of a .npy file: shape, whether Fortran's order, type of values, and where they begin [bytes]."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    begin: int

    @property
    def bytes(self) -> int:
        """Of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


def check_plain_file(path: Path) -> None:
    """Raise InputError for a pipe, which could be waited for without end, a device, or a file that may not be read."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path} is a pipe or device; name a file")
    if path.is_file():
        try:
            path.open("rb").close()
        except PermissionError as error:
            raise InputError(f"cannot open {path}: permission denied; allow yourself to read it") from error


def check_claim(claimed: int, held: int, path: Path) -> None:
    """Raise InputError where ``held`` packed bytes can never be the ``claimed`` ones that would be allocated."""
    if claimed > LARGEST_UNPROVEN and claimed > MOST_PACKED * held:
        raise InputError(f"{path} claims {claimed / 1e9:.3g} GB and holds {held} bytes of them; write it again, whole")


def check_hdf5_claim(data: Any, path: Path) -> None:
    """`check_claim` for an HDF5 dataset: what was never written is filled in when it is read, chunk by chunk."""
    shape, chunks, stored = data.shape or (), data.chunks or (), data.id.get_storage_size()
    if chunks and len(chunks) != len(shape):  # the library would allocate gigabytes
        raise InputError(f"{path}: {data.name} of shape {shape} in chunks of {chunks} is damaged; write it again")
    for sizes in (shape, chunks):
        check_claim(math.prod(sizes) * data.dtype.itemsize, stored, path)


def npy_header(stream: BinaryIO | Any) -> ArrayHeader:
    """Header of a .npy stream, left at its first value; raises ValueError, or what numpy raises on damaged text."""
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):  # numpy would read whatever length is claimed, up to 4 GB
        (length,) = struct.unpack("<I", stream.read(4).ljust(4, b"\0"))
        if length > LONGEST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        stream.seek(-4, os.SEEK_CUR)
    readers: dict[tuple[int, int], Callable[..., Any]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, fortran, dtype = readers.get(version, np.lib.format.read_array_header_2_0)(stream)
    sizes = tuple(int(size) for size in shape)
    if min(sizes, default=0) < 0:
        raise ValueError(f"an array of shape {sizes}")
    return ArrayHeader(sizes, bool(fortran), dtype, stream.tell())


def mapped_npy(path: Path) -> np.ndarray[Any, Any]:
    """The array of a .npy file, memory-mapped.

    Raises: ValueError for a file shorter than its header says; whatever numpy raises on a damaged header.
    """
    check_plain_file(path)
    with path.open("rb") as file:
        header = npy_header(file)
    if path.stat().st_size < header.begin + header.bytes:
        raise ValueError(f"truncated, {path.stat().st_size} bytes of {header.begin + header.bytes}")
    mapped: np.ndarray[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def npz_headers(path: Path) -> dict[str, ArrayHeader]:
    """Name -> header of every array of a .npz file.

    Raises: InputError for one that claims more than it holds; whatever zipfile and numpy raise on a damaged file.
    """
    check_plain_file(path)
    found = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.endswith(".npy"):
                with archive.open(member) as file:
                    header = npy_header(file)
                if member.file_size < header.begin + header.bytes:
                    raise InputError(
                        f"{path} is damaged: {member.filename} claims {header.bytes} bytes; write it again"
                    )
                check_claim(member.file_size, member.compress_size, path)
                found[member.filename.removesuffix(".npy")] = header
    return found


def check_finite(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Raise InputError where weights are NaN or infinite; minus infinity is the log of a std of 0, and stays."""
    for name, value in tensors.items():
        if value.is_floating_point():
            logs = name.split(".")[-2:-1] == ["log"]
            good = torch.isfinite(value) | (value == -torch.inf) if logs else torch.isfinite(value)
            if not bool(good.all()):
                raise InputError(f"{file}: {name} holds NaN or infinite values; use another checkpoint")


def shortened(error: BaseException) -> str:
    """What an error of a library says, on one line of at most 200 characters."""
    return cut(f"{type(error).__name__}: {error}")


def cut(text: str) -> str:
    """A text on one line of at most 200 characters."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_LIST else f"{line[:LONGEST_LIST]} ..."


def listed(names: Iterable[str]) -> str:
    """Names that a file holds, for one line of a message; "nothing" without any."""
    text = ", ".join("".join(c if c.isprintable() else "?" for c in name) for name in names)
    return (text if len(text) <= LONGEST_LIST else f"{text[:LONGEST_LIST]} ...") or "nothing"
