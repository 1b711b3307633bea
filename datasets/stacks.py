"""How a crop of one frame is read from each kind of container. No file stays open between two reads."""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, final

import h5py
import numpy as np
import tifffile

tifffile.logger().addHandler(logging.NullHandler())  # what is wrong with a file is said in one error, not in a log
ReadCrop = Callable[[int, slice, slice], np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Stack(ABC):
    """Frames in a file: everything but the pixels, so it pickles in a few bytes and survives a fork.

    Args:
        path: the file, for messages.
        shape: (T, H, W) or (T, C, H, W).
        dtype: of the numbers in the file, byte order included.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @abstractmethod
    def opened(self) -> AbstractContextManager[ReadCrop]:
        """Open the file; the value reads (frame, rows, columns) -> (h, w) or (C, h, w) until the context ends."""


@final
@dataclass(frozen=True)
class MappedStack(Stack):
    """One contiguous block of a file, memory-mapped: a read touches only the pages that hold the crop.

    Args:
        file: the file that is mapped; not ``path`` when that one was unpacked into the cache.
        offset: where the block starts [bytes].
        order: "C" or "F", as in numpy.
        channels_last: the block is (T, H, W, C).
    """

    file: Path
    offset: int
    order: str = "C"
    channels_last: bool = False

    def opened(self) -> AbstractContextManager[ReadCrop]:
        """Map the block."""
        shape = self.shape
        if self.channels_last:
            frames, channels, height, width = shape
            shape = (frames, height, width, channels)
        order: Any = self.order
        block = np.memmap(self.file, self.dtype, "r", self.offset, shape, order)
        view = np.moveaxis(block, -1, 1) if self.channels_last else block
        return nullcontext(lambda frame, rows, columns: view[frame, ..., rows, columns])


@final
@dataclass(frozen=True)
class Hdf5Stack(Stack):
    """A dataset of an HDF5 file.

    Args:
        key: the dataset's name in the file.
        reversed_axes: MATLAB wrote it (v7.3), last axis first.
    """

    key: str
    reversed_axes: bool = False

    @contextmanager
    def opened(self) -> Iterator[ReadCrop]:
        """Open the file; HDF5 reads only the chunks that the crop touches."""
        with h5py.File(self.path, "r") as file:
            data = file[self.key]
            if self.reversed_axes:
                yield lambda frame, rows, columns: data[columns, rows, ..., frame].transpose(_FROM_MATLAB[data.ndim])
            else:
                yield lambda frame, rows, columns: data[frame, ..., rows, columns]


# (w, h) -> (h, w) and (w, h, C) -> (C, h, w), by the number of axes of the whole dataset.
_FROM_MATLAB = {3: (1, 0), 4: (2, 1, 0)}


@final
@dataclass(frozen=True)
class PagedStack(Stack):
    """TIFF pages that are not one block (compressed, tiled): a read decodes the pages of its frames, one at a time.

    Args:
        pages: for each frame its page numbers, one or (planes on pages of their own) C of them.
        channels_last: a page is (H, W, C).
    """

    pages: tuple[tuple[int, ...], ...]
    channels_last: bool = False

    @contextmanager
    def opened(self) -> Iterator[ReadCrop]:
        """Open the file."""
        with tifffile.TiffFile(self.path) as tif:

            def read(frame: int, rows: slice, columns: slice) -> np.ndarray[Any, Any]:
                planes = [tif.pages[page].asarray() for page in self.pages[frame]]
                image = np.moveaxis(planes[0], -1, 0) if self.channels_last else np.stack(planes)
                return image.reshape(self.shape[1:])[..., rows, columns]

            yield read


@final
@dataclass(frozen=True)
class JoinedStack(Stack):
    """Stacks one after the other along T, such as one file per frame; each is opened for its frames only."""

    parts: tuple[Stack, ...]

    @classmethod
    def of(cls, parts: list[Stack]) -> "JoinedStack":
        """Join stacks that agree in everything but T."""
        first = parts[0]
        frames = sum(part.shape[0] for part in parts)
        return cls(first.path, (frames, *first.shape[1:]), first.dtype, tuple(parts))

    def opened(self) -> AbstractContextManager[ReadCrop]:
        """Nothing to open before a frame is asked for."""
        ends = list(accumulate(part.shape[0] for part in self.parts))

        def read(frame: int, rows: slice, columns: slice) -> np.ndarray[Any, Any]:
            index = next(i for i, end in enumerate(ends) if frame < end)
            part = self.parts[index]
            with part.opened() as crop:
                return np.array(crop(frame - ends[index] + part.shape[0], rows, columns))

        return nullcontext(read)


def byte_size(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Bytes of an array."""
    return math.prod(shape) * dtype.itemsize
