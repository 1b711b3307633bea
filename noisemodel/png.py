"""PNG files of 8 and 16 bit: Pillow, but for 16-bit colour, which it would read as 8 bit and does not write."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from noisemodel.claims import check_claim
from noisemodel.errors import InputError

Array = np.ndarray[Any, np.dtype[Any]]
SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # colour type -> samples a pixel; a palette (3) has no intensities


def png_header(path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Type (uint8 or uint16) and shape, (H, W) or (H, W, 2 | 3 | 4), without reading the picture.

    Raises: InputError if the file is no PNG, or one without a full number of bytes a sample.
    """
    with path.open("rb") as file:
        head = file.read(26)
    if len(head) < 26 or not head.startswith(SIGNATURE):
        raise InputError(f"{path} is not a PNG file, or cut short; write it again")
    width, height, depth, colour = struct.unpack(">IIBB", head[16:])
    if colour not in CHANNELS or depth not in (8, 16) or (colour, depth) == (4, 16):
        kind = "has a palette" if colour == 3 else f"is of colour type {colour} and {depth} bit"
        raise InputError(f"{path} {kind}; PNG is read as 8 or 16 bit grey, RGB or RGBA, 8 bit grey+alpha: convert it")
    channels = CHANNELS[colour]
    check_size(path, width * height * channels * depth // 8)
    return np.dtype(f"uint{depth}"), (height, width) if channels == 1 else (height, width, channels)


def check_size(path: Path, claimed: int) -> None:
    """Raise InputError unless the chunks of a PNG end within it, and can hold the ``claimed`` bytes of its picture.

    Pillow would allocate what a chunk's length says, up to 4 GB.
    """
    size = path.stat().st_size
    check_claim(claimed, size, path)
    with path.open("rb") as file:
        at, kind = len(SIGNATURE), b""
        while kind != b"IEND":
            file.seek(at)
            head = file.read(8)
            length, kind = struct.unpack(">I4s", head.ljust(8, b"\0"))
            at += length + 12  # length, kind, checksum
            if len(head) < 8 or at > size:
                raise InputError(
                    f"{path} is truncated or damaged: a chunk ends behind its end; write or fetch it again"
                )


def open_picture(path: Path) -> Image.Image:
    """A picture of any type that Pillow opens, not yet decoded; of a PNG `check_size`, for 1 bit a pixel at least."""
    picture = Image.open(path)
    if picture.format == "PNG":
        try:
            check_size(path, picture.width * picture.height // 8)
        except InputError:
            picture.close()
            raise
    return picture


def read_png(path: Path) -> Array:
    """The picture, in the type and shape that `png_header` tells.

    Raises: InputError if it is animated; whatever Pillow raises on a damaged file.
    """
    dtype, shape = png_header(path)
    with Image.open(path, formats=["PNG"]) as picture:
        if getattr(picture, "n_frames", 1) != 1:
            raise InputError(f"{path} is animated; save its frames as files of their own")
        if dtype == np.uint8 or len(shape) == 2:
            return np.asarray(picture)
    return _bytes_of_16(path, "B").astype(np.uint16) << 8 | _bytes_of_16(path, "L")


def _bytes_of_16(path: Path, order: str) -> Array:
    """High ("B") or low ("L") bytes of a 16-bit colour PNG: Pillow keeps what it is told is the high one."""
    with Image.open(path, formats=["PNG"]) as picture:
        (tile,) = picture.tile
        picture.tile = [tile._replace(args=f"{picture.mode};16{order}")]
        return np.asarray(picture)


def write_png(path: Path, picture: Array) -> None:
    """Write uint8 or uint16 (H, W) or (H, W, 2 | 3 | 4), hardly compressed, for noise does not compress."""
    if picture.dtype == np.uint8 or picture.ndim == 2:
        Image.fromarray(picture).save(path, "PNG", compress_level=1)
        return
    height, width, channels = picture.shape
    colour = {count: kind for kind, count in CHANNELS.items()}[channels]
    squeeze = zlib.compressobj(1)
    rows = [squeeze.compress(b"\0" + row.tobytes()) for row in picture.astype(">u2")]  # \0: no filter
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    with path.open("wb") as file:
        file.write(SIGNATURE)
        for name, data in ((b"IHDR", header), (b"IDAT", b"".join([*rows, squeeze.flush()])), (b"IEND", b"")):
            file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))
