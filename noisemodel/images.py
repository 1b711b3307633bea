"""Image files of any supported type, page by page: read, and written again with the same type and bit depth."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, final

import h5py
import numpy as np
import tifffile

from noisemodel import png
from noisemodel.claims import check_claim, check_hdf5_claim, cut, listed, mapped_npy, shortened
from noisemodel.errors import InputError

Array = np.ndarray[Any, np.dtype[Any]]
DTYPES = ("uint8", "uint16", "float32", "float64")
# --axes WORD -> whether pages come first, and the axis of a page that holds its channels.
AXES: dict[str, tuple[bool, int | None]] = {
    "HW": (False, None),
    "HWC": (False, -1),
    "CHW": (False, 0),
    "NHW": (True, None),
    "NHWC": (True, -1),
    "NCHW": (True, 0),
}
ALPHA = (1, 2)  # TIFF ExtraSamples: associated, unassociated alpha
BIG = 2**32 - 2**24  # bytes that a classic TIFF can hold, less room for its tags


@final
@dataclass(frozen=True)
class ImageFile:
    """What an image file holds; it keeps no handle open.

    Args:
        path: the file.
        suffix: the row of `FORMATS` that reads and writes it.
        dtype: of its values, byte order included.
        page_shape: (H, W), (H, W, C) or (C, H, W) of every page.
        channel_axis: 0, -1, or None for a single channel without an axis.
        alpha: whether the last channel is opacity, which is not light.
        pages: how many images it holds.
        stacked: whether the pages have an axis of their own (.npy, HDF5).
        facts: what its writer needs besides.
    """

    path: Path
    suffix: str
    dtype: np.dtype[Any]
    page_shape: tuple[int, ...]
    channel_axis: int | None = None
    alpha: bool = False
    pages: int = 1
    stacked: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what is not an image of real intensities."""
        if self.dtype.newbyteorder("=").name not in DTYPES:
            raise InputError(f"{self.path} holds {self.dtype}; images are {', '.join(DTYPES)}: convert it")
        if 0 in (self.pages, *self.page_shape):
            raise InputError(f"{self.path} is empty, got pages of shape {self.page_shape}; write it again")

    @property
    def channels(self) -> int:
        """Channels of light, without alpha."""
        return (1 if self.channel_axis is None else self.page_shape[self.channel_axis]) - self.alpha

    @property
    def values(self) -> int:
        """How many numbers all its pages hold."""
        return self.pages * math.prod(self.page_shape)

    def read(self) -> Iterator[Array]:
        """Its pages one after the other, in native byte order; raises InputError if the file is damaged."""
        with _reading(self.path):
            for page in FORMATS[self.suffix].read(self):
                if page.shape != self.page_shape:
                    raise InputError(f"{self.path} has pages of {self.page_shape} and {page.shape}; split them")
                yield np.ascontiguousarray(page, self.dtype.newbyteorder("="))

    def write(self, path: Path, pages: Iterable[Array], frames: int = 1) -> None:
        """Write ``frames`` versions of each page, page by page, as a file of this one's type (PNG: one page)."""
        FORMATS[self.suffix].write(self, path, pages, frames)


def open_image(path: Path, *, axes: str | None = None, key: str | None = None) -> ImageFile:
    """Read the header of a PNG, TIFF, .npy or HDF5 file.

    Args:
        path: the file; its type is told from its suffix.
        axes: one of `AXES`, for .npy and HDF5; by default told from the shape.
        key: the data set in an HDF5 file; by default its only array.
    Raises: InputError if the file is missing, damaged, or not an image.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise InputError(f"{path} is no image that can be written back; known: {', '.join(FORMATS)}")
    if not path.is_file():
        raise InputError(f"no such file: {path}; check the path")
    with _reading(path):
        return FORMATS[suffix].open(path, axes, key)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever a file library raises on a bad file into one InputError that names it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the parsers raise anything from struct.error to SyntaxError on a damaged file
        raise InputError(f"cannot read {path}: {shortened(error)}; is it complete? copy or write it again") from error


# PNG: one page.


def _open_png(path: Path, axes: str | None, key: str | None) -> ImageFile:
    dtype, shape = png.png_header(path)
    axis, alpha = (None, False) if len(shape) == 2 else (-1, shape[2] in (2, 4))
    return ImageFile(path, ".png", dtype, shape, axis, alpha)


def _read_png(image: ImageFile) -> Iterator[Array]:
    yield png.read_png(image.path)


def _write_png(image: ImageFile, path: Path, pages: Iterable[Array], frames: int) -> None:
    (page,) = pages
    png.write_png(path, page)


# TIFF.


@contextmanager
def _tiff(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF with all its pages found; what tifffile only logs (a cut chain of pages) is an error here."""
    complaints: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: complaints.append(record.getMessage())  # type: ignore[method-assign]
    tifffile.logger().addHandler(handler)
    try:
        with tifffile.TiffFile(path) as tif:
            if len(tif.pages) == 0 or complaints:
                cause = cut(" ".join(complaints or ["no pages"]))
                raise InputError(f"{path} is damaged: {cause}; copy or write it again")
            yield tif
    finally:
        tifffile.logger().removeHandler(handler)


def _open_tiff(path: Path, axes: str | None, key: str | None) -> ImageFile:
    with _tiff(path) as tif:
        page = tif.pages.first
        grey = page.photometric in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.CFA)
        if not grey and page.photometric != tifffile.PHOTOMETRIC.RGB:
            kind = tifffile.PHOTOMETRIC(page.photometric).name
            raise InputError(f"{path} is of kind {kind}; TIFF is read as MINISBLACK, CFA or RGB: convert it")
        if page.axes not in ("YX", "YXS", "SYX") or page.dtype is None:
            raise InputError(f"pages of {path} must be images, got axes {page.axes}; save them as plain pages")
        if page.bitspersample != 8 * page.dtype.itemsize:
            raise InputError(f"{path} packs {page.bitspersample} bits a sample; save it with {8 * page.dtype.itemsize}")
        if (series := tif.series[0]).size > len(tif.pages) * page.size:
            raise InputError(f"{path} keeps {series.shape} in {len(tif.pages)} page; save it as plain pages")
        check_claim(page.nbytes, sum(page.databytecounts), path)
        facts = {
            "photometric": "minisblack" if grey else "rgb",
            "planarconfig": None if page.axes == "YX" else "separate" if page.axes == "SYX" else "contig",
            "extrasamples": tuple(page.extrasamples) or None,
            "byteorder": tif.byteorder,
        }
        alpha = bool(page.extrasamples) and page.extrasamples[-1] in ALPHA
        axis = {"YX": None, "YXS": -1, "SYX": 0}[page.axes]
        return ImageFile(path, path.suffix.lower(), page.dtype, page.shape, axis, alpha, len(tif.pages), facts=facts)


def _read_tiff(image: ImageFile) -> Iterator[Array]:
    with _tiff(image.path) as tif:
        for page in tif.pages:
            page = page.aspage()
            ends = [a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
            if max(ends, default=0) > tif.filehandle.size:
                raise InputError(f"{image.path} is truncated: page {page.index} reaches beyond its end; copy it again")
            if page.dtype != image.dtype:
                raise InputError(f"{image.path} has pages of {image.dtype} and {page.dtype}; split them")
            yield page.asarray()


def _write_tiff(image: ImageFile, path: Path, pages: Iterable[Array], frames: int) -> None:
    facts = dict(image.facts)
    big = image.values * image.dtype.itemsize * frames > BIG
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=facts.pop("byteorder")) as tif:
        for page in pages:
            tif.write(page, metadata=None, **facts)


# .npy and HDF5: one array.


def describe_axes(shape: tuple[int, ...], axes: str | None, path: Path) -> dict[str, Any]:
    """What an array's axes mean: as ``axes`` says, else told by 1, 3 or 4 channels at one end of a page."""
    if axes is None:
        first, last = (shape[-3] in (1, 3, 4), shape[-1] in (1, 3, 4)) if len(shape) > 2 else (False, False)
        words = {2: ["HW"], 3: ["CHW"] * first + ["HWC"] * last or ["NHW"], 4: ["NCHW"] * first + ["NHWC"] * last}
        found = words.get(len(shape), [])
        if len(found) != 1:
            raise InputError(f"{path}: cannot tell the axes of shape {shape}; say --axes {'|'.join(AXES)}")
        (axes,) = found
    if len(axes) != len(shape):
        raise InputError(f"{path} has shape {shape}, which is not {axes}; say --axes {'|'.join(AXES)}")
    stacked, channel_axis = AXES[axes]
    pages, page_shape = (shape[0], shape[1:]) if stacked else (1, shape)
    return {"page_shape": page_shape, "channel_axis": channel_axis, "pages": pages, "stacked": stacked}


def _written_shape(image: ImageFile, frames: int) -> tuple[int, ...]:
    """(N,) (T,) page: the axis of frames, if there are several, stands before the page's own."""
    return (*(image.pages,) * image.stacked, *(frames,) * (frames > 1), *image.page_shape)


def _open_npy(path: Path, axes: str | None, key: str | None) -> ImageFile:
    array = mapped_npy(path)
    return ImageFile(path, ".npy", array.dtype, **describe_axes(array.shape, axes, path))


def _read_npy(image: ImageFile) -> Iterator[Array]:
    array = mapped_npy(image.path)
    yield from array if image.stacked else [array]


def _write_npy(image: ImageFile, path: Path, pages: Iterable[Array], frames: int) -> None:
    header = {"descr": image.dtype.str, "fortran_order": False, "shape": _written_shape(image, frames)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for page in pages:
            file.write(page.astype(image.dtype).tobytes())


def _open_hdf5(path: Path, axes: str | None, key: str | None) -> ImageFile:
    with h5py.File(path, "r") as file:
        found: dict[str, Any] = {}
        file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        images = [name for name, item in found.items() if item.ndim >= 2]
        wanted = key.strip("/") if key else images[0] if len(images) == 1 else None
        if wanted not in found:
            raise InputError(f"{path} holds {listed(found)}; name one array with --key")
        data = found[wanted]
        check_hdf5_claim(data, path)
        meaning = describe_axes(data.shape, axes, path)
        return ImageFile(path, path.suffix.lower(), data.dtype, facts={"key": wanted}, **meaning)


def _read_hdf5(image: ImageFile) -> Iterator[Array]:
    with h5py.File(image.path, "r") as file:
        data = file[image.facts["key"]]
        yield from (data[i] for i in range(image.pages)) if image.stacked else [data[()]]


def _write_hdf5(image: ImageFile, path: Path, pages: Iterable[Array], frames: int) -> None:
    shape = _written_shape(image, frames)
    with h5py.File(image.path, "r") as source, h5py.File(path, "w") as file:
        like = source[image.facts["key"]]
        packing = {"compression": like.compression, "compression_opts": like.compression_opts, "shuffle": like.shuffle}
        data = file.create_dataset(image.facts["key"], shape, image.dtype, **(packing if like.compression else {}))
        for ours, theirs in ((file.attrs, source.attrs), (data.attrs, like.attrs)):
            ours.update(theirs)
        places = np.ndindex(shape[: len(shape) - len(image.page_shape)])
        for place, page in zip(places, pages, strict=True):
            data[place] = page


class Format(NamedTuple):
    """How one type of file is opened, read and written."""

    open: Callable[[Path, str | None, str | None], ImageFile]
    read: Callable[[ImageFile], Iterator[Array]]
    write: Callable[[ImageFile, Path, Iterable[Array], int], None]


FORMATS = {
    ".png": Format(_open_png, _read_png, _write_png),
    **dict.fromkeys((".tif", ".tiff"), Format(_open_tiff, _read_tiff, _write_tiff)),
    ".npy": Format(_open_npy, _read_npy, _write_npy),
    **dict.fromkeys((".h5", ".hdf5"), Format(_open_hdf5, _read_hdf5, _write_hdf5)),
}
