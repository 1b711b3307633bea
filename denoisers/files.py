"""Files to denoise: opened by type, read page by page, and written again with type, bit depth and metadata."""

import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
from PIL import Image

from denoisers.metadata import add_chunks, jpeg_chunks, png_chunks, tiff_options
from denoisers.tiff_directories import Directory, read_directories, write_directories
from noisemodel.claims import listed, npz_headers, shortened
from noisemodel.errors import InputError
from noisemodel.images import FORMATS, Array, ImageFile, describe_axes, open_image
from noisemodel.png import write_png
from noisemodel.sensor.raw import RAW_SUFFIXES, RawImage, read_raw

JPEG = (".jpg", ".jpeg")
SUFFIXES = (*FORMATS, ".npz", *JPEG, *RAW_SUFFIXES)
TIFF = (".tif", ".tiff")
KEYED = (".npz", ".h5", ".hdf5")
ARRAYS = (".npy", *KEYED)


@final
@dataclass(frozen=True, eq=False)
class OpenFile:
    """One file: its header, what reads its pages and what writes them.

    Args:
        image: type, shape, channels and pages.
        suffix: of the file that is written: the same, but JPEG becomes .png and raw .tif.
        read: gives the pages, arrays of ``image.page_shape``.
        write: (path, pages) writes them with the file's own metadata.
        raw: levels and colours of a raw file, without its pixels.
    """

    image: ImageFile
    suffix: str
    read: Callable[[], Iterator[Array]]
    write: Callable[[Path, Iterable[Array]], object]
    raw: RawImage | None = None

    @property
    def pixels(self) -> int:
        """Of all pages."""
        return self.image.values // max(1, self.image.channels + self.image.alpha)


def open_file(path: Path, *, axes: str | None = None, key: str | None = None) -> OpenFile:
    """Open a picture (PNG, TIFF, JPEG), an array (.npy, .npz, HDF5) or a raw file by its suffix.

    Args:
        path: the file.
        axes: one of `noisemodel.images.AXES`, for arrays; by default told from the shape.
        key: the array in .npz and HDF5 files that hold several.
    Raises: InputError in one line if it is missing, damaged or of another type.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise InputError(f"no such file: {path}; check the path")
    if suffix not in SUFFIXES:
        raise InputError(f"{path} is no image that is read here; known: {', '.join(SUFFIXES)}")
    if key is not None and suffix not in KEYED:
        raise InputError(f"--key: {path} is one image, only {', '.join(KEYED)} hold arrays by name; leave it out")
    if axes is not None and suffix not in ARRAYS:
        raise InputError(f"--axes: {path} says itself what its axes are, only {', '.join(ARRAYS)} do not; leave it out")
    if suffix in RAW_SUFFIXES:
        return _open_raw(path)
    if suffix in JPEG:
        return _open_jpeg(path)
    if suffix == ".npz":
        return _open_npz(path, axes, key)
    image = open_image(path, axes=axes, key=key)
    with _damaged(path):
        if suffix == ".png":
            return OpenFile(image, suffix, image.read, partial(_write_png, png_chunks(path)))
        if suffix in TIFF:
            image = replace(image, facts={**image.facts, **tiff_options(path)})
            return OpenFile(image, suffix, image.read, partial(_write_tiff, image, read_directories(path)))
    return OpenFile(image, suffix, image.read, image.write)


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    """Turn what a library raises on a bad file into one InputError that names it."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # parsers raise anything on a damaged file
        raise InputError(f"cannot read {path}: {shortened(error)}; is it complete? copy or write it again") from error


def _write_png(chunks: Sequence[tuple[bytes, bytes]], path: Path, pages: Iterable[Array]) -> None:
    (page,) = pages
    write_png(path, page)
    add_chunks(path, chunks)


def _write_tiff(image: ImageFile, directories: Mapping[int, Directory], path: Path, pages: Iterable[Array]) -> None:
    image.write(path, pages)
    write_directories(path, directories)


def _open_jpeg(path: Path) -> OpenFile:
    """A JPEG: written as PNG, since compressing it again would add what was removed."""
    with _damaged(path), Image.open(path, formats=["JPEG"]) as picture:
        if picture.mode not in ("L", "RGB"):
            raise InputError(f"{path} is a JPEG of kind {picture.mode}; convert it to grey or RGB")
        shape = (picture.height, picture.width, *([3] if picture.mode == "RGB" else []))
        chunks = jpeg_chunks(picture)
    image = ImageFile(path, ".png", np.dtype(np.uint8), shape, -1 if len(shape) == 3 else None)

    def read() -> Iterator[Array]:
        with _damaged(path), Image.open(path, formats=["JPEG"]) as picture:
            yield np.asarray(picture)

    return OpenFile(image, ".png", read, partial(_write_png, chunks))


def _open_npz(path: Path, axes: str | None, key: str | None) -> OpenFile:
    """One array of a .npz; the others are written again as they are."""
    with _damaged(path):
        headers, packed = _npz_headers(path)
    images = [name for name, (shape, _) in headers.items() if len(shape) >= 2]
    wanted = key or (images[0] if len(images) == 1 else "")
    if wanted not in headers:
        raise InputError(f"{path} holds {listed(headers)}; name one array with --key")
    shape, dtype = headers[wanted]
    image = ImageFile(path, ".npz", dtype, **describe_axes(shape, axes, path))

    def read() -> Iterator[Array]:
        with _damaged(path), np.load(path, allow_pickle=False) as arrays:
            array = arrays[wanted]
        yield from array if image.stacked else [array]

    def write(target: Path, pages: Iterable[Array]) -> None:
        denoised = np.stack(list(pages)) if image.stacked else next(iter(pages))
        with np.load(path, allow_pickle=False) as arrays, target.open("wb") as file:
            kept = {**arrays, wanted: denoised.astype(dtype)}
            (np.savez_compressed if packed else np.savez)(file, **kept)

    return OpenFile(image, ".npz", read, write)


def _npz_headers(path: Path) -> tuple[dict[str, tuple[tuple[int, ...], np.dtype[Any]]], bool]:
    """Name -> shape and type of the arrays, without reading them, and whether they are compressed."""
    found = {name: (header.shape, header.dtype) for name, header in npz_headers(path).items()}
    with zipfile.ZipFile(path) as archive:
        return found, any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist())


def _open_raw(path: Path) -> OpenFile:
    """A raw file: written as a 16-bit TIFF of its mosaic, in its own DN, with colours and levels as DNG's tags."""
    raw = read_raw(path)
    image = ImageFile(path, ".tif", np.dtype(np.uint16), raw.mosaic.shape, facts=_raw_facts(raw))

    def read() -> Iterator[Array]:
        yield read_raw(path).mosaic

    write = partial(_write_tiff, image, read_directories(path))
    return OpenFile(image, ".tif", read, write, replace(raw, mosaic=raw.mosaic[:0].copy()))


def _raw_facts(raw: RawImage) -> dict[str, Any]:
    """Options of tifffile that say what the numbers mean (TIFF/EP 33421, 33422; DNG 50713, 50714, 50717)."""
    tags: list[tuple[Any, ...]] = [
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, bytes("RGB".find(colour) & 0xFF for colour in raw.cfa), True),
        (50713, "H", 2, (2, 2), True),
        (50714, "2I", 4, tuple(number for black in raw.black_dn for number in (round(black * 256), 256)), True),
        (50717, "I", 1, round(raw.white_dn), True),
    ]
    words = ((271, raw.make), (272, raw.model))
    tags += [(code, "s", 0, text, True) for code, text in words if text and text.isascii()]
    return {"photometric": "cfa", "byteorder": "<", "planarconfig": None, "software": False, "extratags": tags}


def find_images(given: Sequence[Path], out: Path) -> Iterator[tuple[Path, Path]]:
    """Every file with its path below what was given; folders are searched through, hidden files passed over.

    Frames of a folder come in the order of the numbers in their names.
    Raises: InputError for a path that is not there, a folder without images, an output among the inputs or in a file.
    """
    place = out.resolve()
    file = next((part for part in (out, *out.parents) if part.exists() and not part.is_dir()), None)
    if file is not None:
        raise InputError(f"output {out} {'is' if file == out else f'lies below {file},'} a file; name a folder")
    for path in given:
        if not path.exists():
            raise InputError(f"no such file or folder: {path}; check the path")
        if not path.is_dir():
            if place == path.resolve().parent:
                raise InputError(f"output folder {out} is the folder of {path}; name another one")
            yield path, Path(path.name)
            continue
        if place.is_relative_to(path.resolve()):
            raise InputError(f"output folder {out} lies in the input folder {path}; name another one")
        files = [f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file() and f.name[0] != "."]
        if not files:
            raise InputError(f"{path} holds no images ({', '.join(SUFFIXES)}); name another folder")
        yield from ((file, file.relative_to(path)) for file in sorted(files, key=by_number))


def by_number(path: Path) -> list[tuple[int, str]]:
    """A sorting key: frame_2 before frame_10, and the files of a folder together."""
    words = [word for part in (path.parent.as_posix(), path.name) for word in re.split(r"(\d+)", f"{part}\0")]
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in words]
