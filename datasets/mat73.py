"""One image in a MATLAB 7.3 file (HDF5), read by crop and never whole.

MATLAB stores arrays column by column, so HDF5 shows size(x) = [H W] as (W, H). A forgotten transpose turns a GRBG
mosaic into GBRG and leaves RGGB and BGGR as they were.
"""

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO, final

import h5py
import numpy as np

from datasets.cache import unpacked
from datasets.formats import reading
from datasets.stacks import MappedStack, ReadCrop, Stack
from noisemodel.claims import check_hdf5_claim
from noisemodel.errors import InputError

# A crop decodes every chunk that it touches; larger chunks are decoded once, into the cache [bytes].
LARGEST_CHUNK = 8 << 20


@final
@dataclass(frozen=True)
class ChunkedImage(Stack):
    """A chunked image, (1, H, W): a read decodes the chunks that the crop touches.

    Args:
        key: the array's name in the file.
    """

    key: str

    @contextmanager
    def opened(self) -> Iterator[ReadCrop]:
        """Open the file; no chunk is needed twice, so HDF5 keeps none."""
        with h5py.File(self.path, "r", rdcc_nbytes=0) as file:
            image = file[self.key]
            read = partial(inflated_crop, image) if _only_deflated(image) else image.__getitem__
            yield lambda frame, rows, columns: read((columns, rows)).T


def _only_deflated(image: h5py.Dataset) -> bool:
    """Whether chunks are packed by zlib and nothing else."""
    filters = image.id.get_create_plist()
    return filters.get_nfilters() == 1 and filters.get_filter(0)[0] == h5py.h5z.FILTER_DEFLATE


def inflated_crop(image: h5py.Dataset, place: tuple[slice, slice]) -> np.ndarray[Any, Any]:
    """A crop of a 2-D deflated array, chunk by chunk with Python's zlib: a fifth faster than HDF5's own way."""
    spans = [axis.indices(length)[:2] for axis, length in zip(place, image.shape, strict=True)]
    crop = np.empty([stop - start for start, stop in spans], image.dtype)
    sizes = image.chunks
    corners = [
        range(start // size * size, stop, size) if stop > start else range(0)
        for (start, stop), size in zip(spans, sizes, strict=True)
    ]
    for corner in product(*corners):
        try:
            skipped, packed = image.id.read_direct_chunk(corner)
        except (OSError, RuntimeError, ValueError):  # a chunk that was never written, or a damaged index
            return np.asarray(image[place])
        if skipped:
            return np.asarray(image[place])
        chunk = np.frombuffer(zlib.decompress(packed, bufsize=math.prod(sizes) * image.dtype.itemsize), image.dtype)
        inside, target = [], []
        for first, size, (start, stop) in zip(corner, sizes, spans, strict=True):
            low, high = max(first, start), min(first + size, stop)
            inside.append(slice(low - first, high - first))
            target.append(slice(low - start, high - start))
        crop[tuple(target)] = chunk.reshape(sizes)[tuple(inside)]
    return crop


def open_mat73_image(path: Path, key: str = "x") -> Stack:
    """Open a 2-D array of floats lazily, as one frame (1, H, W) in image order.

    A contiguous array is memory-mapped; a chunked one is read through HDF5.

    Args:
        path: a MAT file of version 7.3.
        key: the array's name.
    Raises: InputError if the file is missing, damaged, of an older version, or holds something else.
    """
    if not path.is_file():
        raise InputError(f"no such file: {path}; is the data set complete?")
    with reading(path):
        if not h5py.is_hdf5(path):
            raise InputError(
                f"{path} is no MATLAB 7.3 file (HDF5); is it complete? fetch it again, or save it as -v7.3"
            )
        with h5py.File(path, "r") as file:
            image = _checked(file, key, path)
            check_hdf5_claim(image, path)
            return _opened(path, key, image)


def _checked(file: h5py.File, key: str, path: Path) -> h5py.Dataset:
    """The array ``key``, if it can be an image."""
    image = file.get(key)
    if not isinstance(image, h5py.Dataset):
        raise InputError(f"no array {key!r} in {path}; it holds {', '.join(file) or 'nothing'}; is it an image file?")
    if image.dtype.kind != "f":
        raise InputError(f"{key} in {path} must be floats in 0..1, got dtype {image.dtype}; fetch the file again")
    if len(image.shape or ()) != 2 or 0 in image.shape or "MATLAB_empty" in image.attrs:
        raise InputError(f"{key} in {path} must be a 2-D mosaic, got shape {image.shape}; fetch the file again")
    return image


def _opened(path: Path, key: str, image: h5py.Dataset) -> Stack:
    """How the image is read: mapped where it is one block of the file, else by chunks."""
    width, height = map(int, image.shape)
    shape, dtype, offset = (1, height, width), image.dtype, image.id.get_offset()
    if offset is not None and not image.external:
        needed = offset + height * width * dtype.itemsize
        if path.stat().st_size < needed:
            raise InputError(f"{path} is truncated: {path.stat().st_size} bytes of {needed}; fetch it again")
        return MappedStack(path, shape, dtype, path, offset, "F")
    if image.chunks is not None and image.chunks[0] * image.chunks[1] * dtype.itemsize > LARGEST_CHUNK:
        copy = unpacked(path, key, lambda file: _write(file, image))
        mapped = np.load(copy, mmap_mode="r", allow_pickle=False)
        return MappedStack(path, shape, mapped.dtype, copy, mapped.offset)
    return ChunkedImage(path, shape, dtype, key)


def _write(file: BinaryIO, image: Any) -> None:
    """The whole image as (1, H, W), in .npy format."""
    np.save(file, np.ascontiguousarray(image[()].T)[None], allow_pickle=False)
