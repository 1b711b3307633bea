"""Unpacked copies of files that cannot be read in part (npz, MAT v5): one .npy per array, complete or absent."""

import errno
import os
import tempfile
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

from noisemodel.errors import InputError


def cache_folder() -> Path:
    """Where unpacked copies lie: $NOISEMODEL_CACHE, else ~/.cache/noisemodel."""
    return Path(os.environ.get("NOISEMODEL_CACHE") or Path.home() / ".cache" / "noisemodel")


def unpacked(path: Path, key: str, write: Callable[[BinaryIO], None]) -> Path:
    """The .npy copy of array ``key`` of ``path``, made by ``write`` once per size and modification time of the file.

    The copy is written to a temporary file, synchronised and renamed, so no reader ever sees half of one; a copy
    of an earlier state of the file is removed.

    Args:
        path: the packed file.
        key: name of the array inside it.
        write: writes the array to an open file in .npy format.
    Raises: InputError if the cache folder cannot be written or is full; whatever ``write`` raises.
    """
    source, state = path.resolve(), path.stat()
    array = blake2b(f"{source}\x1f{key}".encode(), digest_size=16).hexdigest()
    target = cache_folder() / f"{array}-{state.st_size}-{state.st_mtime_ns}.npy"
    if not target.exists():
        _write_whole(path, target, write)
        for stale in target.parent.glob(f"{array}-*.npy"):
            if stale != target:
                stale.unlink(missing_ok=True)
    return target


def _write_whole(path: Path, target: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write ``target`` so that it appears complete or not at all, also when interrupted."""
    remedy = "set NOISEMODEL_CACHE to a folder with room for the unpacked frames"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(suffix=".part", dir=target.parent)
    except OSError as error:
        raise InputError(f"cannot unpack {path}: no cache at {target.parent} ({error.strerror}); {remedy}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(f"cannot unpack {path}: {target.parent} is full; {remedy}") from error
        raise
