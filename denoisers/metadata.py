"""What an image file says beside its pixels, taken along when it is written again."""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tifffile
from PIL import Image

from noisemodel.png import SIGNATURE

Chunk = tuple[bytes, bytes]  # name, data
# PNG chunks that stay true when pixel values change: colour, resolution, EXIF, words, time.
PNG_KEPT = (
    b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"mDCV", b"cLLI", b"sBIT", b"pHYs", b"eXIf", b"tEXt", b"zTXt",
    b"iTXt", b"tIME",
)  # fmt: skip
DESCRIPTION, PROFILE, WORDS = 270, 34675, 2  # two TIFF tags that tifffile writes by name; the type of words
# The other tags that are kept; EXIF and GPS are the work of `denoisers.tiff_directories`.
TIFF_KEPT = {
    269: "DocumentName", 271: "Make", 272: "Model", 274: "Orientation", 285: "PageName", 305: "Software",
    306: "DateTime", 315: "Artist", 316: "HostComputer", 700: "XMP", 33421: "CFARepeatPatternDim", 33422: "CFAPattern",
    33432: "Copyright", 33723: "IPTC", 34377: "Photoshop", 50713: "BlackLevelRepeatDim", 50714: "BlackLevel",
    50717: "WhiteLevel",
}  # fmt: skip
INCH, CENTIMETRE = 2, 3


def png_chunks(path: Path) -> list[Chunk]:
    """The chunks of a PNG file that are kept, in their order, wherever in the file they stand."""
    found: list[Chunk] = []
    with path.open("rb") as file:
        file.seek(len(SIGNATURE))
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name in PNG_KEPT:
                found.append((name, file.read(length)))
                file.seek(4, 1)
            else:
                file.seek(length + 4, 1)
    return found


def jpeg_chunks(picture: Image.Image) -> list[Chunk]:
    """ICC profile, EXIF and resolution of an opened JPEG, as PNG chunks."""
    found: list[Chunk] = []
    if profile := picture.info.get("icc_profile"):
        found.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)))
    if dots := picture.info.get("dpi"):
        found.append((b"pHYs", struct.pack(">IIB", *(round(float(each) / 0.0254) for each in dots), 1)))
    if exif := picture.info.get("exif"):
        found.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
    return found


def add_chunks(path: Path, chunks: Sequence[Chunk]) -> None:
    """Put chunks behind the header of a PNG file that has just been written."""
    if not chunks:
        return
    written = path.read_bytes()
    end = len(SIGNATURE) + 25  # the header chunk has 13 bytes of data
    added = [struct.pack(">I", len(data)) + name + data + _checksum(name + data) for name, data in chunks]
    with path.open("wb") as file:
        file.writelines([written[:end], *added, written[end:]])


def _checksum(data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data))


def tiff_options(path: Path) -> dict[str, Any]:
    """Options of ``TiffWriter.write`` that repeat the tags of the first page: ICC, resolution, words, orientation."""
    with tifffile.TiffFile(path) as tif:
        tags = tif.pages.first.tags

        def value(tag: tifffile.TiffTag) -> Any:
            """What it holds; words as bytes, for cameras write more than ASCII, and tifffile does not."""
            if int(tag.dtype) != WORDS:
                return tag.value
            tif.filehandle.seek(tag.valueoffset)
            return tif.filehandle.read(tag.count).rstrip(b"\0")

        options: dict[str, Any] = {"software": False}
        if DESCRIPTION in tags and (words := value(tags[DESCRIPTION])):
            options["description"] = words
        if PROFILE in tags and tags[PROFILE].value:
            options["iccprofile"] = tags[PROFILE].value
        if 282 in tags and 283 in tags and all(tags[code].value[1] for code in (282, 283)):
            unit = int(tags[296].value) if 296 in tags else INCH
            options["resolution"] = tags[282].value, tags[283].value
            options["resolutionunit"] = unit
        found = [(tags[code], value(tags[code])) for code in TIFF_KEPT if code in tags]
        options["extratags"] = [
            (tag.code, int(tag.dtype), tag.count if int(tag.dtype) != WORDS else 0, kept, True) for tag, kept in found
        ]
        return options
