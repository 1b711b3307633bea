"""A stack of frames in DN, read crop by crop from any supported file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np

from datasets.formats import Facts, open_hdf5, open_mat, open_npy, open_npz, reading
from datasets.stacks import Stack
from datasets.stored import facts_beside
from datasets.tiff import TIFF_SUFFIXES, joined_files, numbered_series, open_tiff
from noisemodel.errors import InputError

FORMATS: dict[str, Callable[[Path, str | None], tuple[Stack, Facts]]] = {
    ".npy": open_npy,
    ".npz": open_npz,
    ".h5": open_hdf5,
    ".hdf5": open_hdf5,
    ".mat": open_mat,
    **dict.fromkeys(TIFF_SUFFIXES, open_tiff),
}


class FrameSource(Protocol):
    """What a burst reads from: a file, or a simulated camera."""

    @property
    def path(self) -> Path:
        """Where the frames lie, for messages."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, H, W) or (T, C, H, W)."""

    def read(self, frames: Sequence[int], rows: slice, columns: slice) -> np.ndarray[Any, Any]:
        """(n, h, w) or (n, C, h, w) in DN."""


@final
@dataclass(frozen=True)
class Frames:
    """Frames of one static scene in a file [DN]. It holds no file handle: pickle it, fork it, have any number.

    Args:
        path: the file, or the first of numbered files.
        stack: how it is read.
        stored: black_level, white_level [DN], cfa and layout as far as they are stored with the frames.
    """

    path: Path
    stack: Stack
    stored: Facts

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, H, W) or (T, C, H, W)."""
        return self.stack.shape

    def read(self, frames: Sequence[int], rows: slice, columns: slice) -> np.ndarray[Any, Any]:
        """Read a crop of some frames, and nothing else of the file.

        Args:
            frames: frame numbers in 0..T-1, in any order.
            rows, columns: slices with step 1.
        Returns: (n, h, w) or (n, C, h, w) [DN], the file's dtype in native byte order.
        Raises: IndexError for a frame that is not there; InputError if the file cannot be read any more.
        """
        count, *channels, height, width = self.shape
        if not all(0 <= frame < count for frame in frames):
            raise IndexError(f"frames of {self.path} are 0..{count - 1}, got {list(frames)}")
        rows, columns = (slice(*axis.indices(length)[:2]) for axis, length in ((rows, height), (columns, width)))
        size = (max(rows.stop - rows.start, 0), max(columns.stop - columns.start, 0))
        crops = np.empty((len(frames), *channels, *size), self.stack.dtype.newbyteorder("="))
        with reading(self.path), self.stack.opened() as crop:
            for i, frame in enumerate(frames):
                crops[i] = crop(frame, rows, columns)
        return crops


def open_frames(path: str | Path, *, key: str | None = None) -> Frames:
    """Open a stack of frames lazily: .npy, .npz, .h5, .hdf5, .mat, multi-page .tif, or a folder of numbered .tif.

    Args:
        path: a file, or a folder with the numbered single-page TIFF files of one burst.
        key: the array's name in .npz, HDF5 and .mat; by default "frames", or the only array with 3 or more axes.
    Raises: InputError if the file is missing, damaged or not a stack of at least 2 equal frames of real numbers.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path)
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"unknown type of file: {path}; frames are read from {', '.join(FORMATS)}")
    if not path.is_file():
        raise InputError(f"no such file: {path}; check the path")
    with reading(path):
        stack, stored = FORMATS[path.suffix.lower()](path, key)
    return Frames(path, stack, {**facts_beside(path.parent), **stored})


def open_numbered(files: Sequence[Path]) -> Frames:
    """Open single-page TIFF files as one burst, in the order given.

    Raises: InputError as `open_frames`.
    """
    return Frames(files[0], joined_files(files), facts_beside(files[0].parent))


def _open_folder(folder: Path) -> Frames:
    """The one series of numbered TIFF files in a folder."""
    series = numbered_series([file for file in sorted(folder.iterdir()) if file.suffix.lower() in TIFF_SUFFIXES])
    if len(series) != 1:
        found = ", ".join(name or "(numbers only)" for name in series) or "none"
        raise InputError(f"{folder} must hold one series of numbered .tif files, got {found}; separate them")
    return open_numbered(next(iter(series.values())))
