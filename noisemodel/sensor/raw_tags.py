"""Tags of raw files that are TIFF inside (DNG, CR2, NEF, ARW), read without decoding the image."""

import errno
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tifffile

tifffile.logger().addHandler(logging.NullHandler())  # a damaged tag of a good image is not worth a line
TAGS = {
    "make": 271,
    "model": 272,
    "cfa_pattern": 33422,
    "iso": 34855,
    "cfa_plane_colours": 50710,
    "active_area": 50829,
    "noise_profile": 51041,
}
EXIF_TAG = 34665
CFA_PHOTOMETRIC = 32803


def check_no_pipe(path: Path) -> None:
    """Raise OSError for a pipe, which could be waited for without end."""
    if path.is_fifo():
        raise OSError(errno.ESPIPE, "it is a pipe, not a file", str(path))


def read_tags(path: Path) -> dict[str, Any]:
    """Tags of `TAGS` by name, as far as the file has them; the directory of the mosaic wins over previews.

    The index of a tag and the directory it is in vary by camera, so it is searched by its number in all of them.
    Returns: {} for a file that is no TIFF (CR3, RAF) or is damaged: decoding it will tell.
    """
    found: dict[str, Any] = {}
    check_no_pipe(path)
    try:
        with tifffile.TiffFile(path) as tif:
            directories = sorted(_directories(tif), key=lambda page: int(page.photometric or 0) != CFA_PHOTOMETRIC)
            for page in directories:
                for name, code in TAGS.items():
                    if name not in found and (tag := page.tags.get(code)) is not None:
                        found[name] = tag.value
                exif = page.tags.get(EXIF_TAG)
                if exif is not None and isinstance(exif.value, dict):
                    found.setdefault("iso", exif.value.get("ISOSpeedRatings"))
    except OSError:
        raise
    except Exception:  # tifffile raises anything from struct.error to TypeError on a damaged file
        return {}
    return found


def _directories(tif: tifffile.TiffFile) -> Iterator[Any]:
    """Every image directory, with the sub-directories in which DNG keeps its mosaic."""
    for page in tif.pages:
        yield page
        if page.subifds:
            yield from page.pages or ()


def first_number(value: Any) -> float | None:
    """The first number of a tag's value; None where it has none."""
    try:
        return float(value[0] if isinstance(value, tuple | list) else value)
    except (TypeError, ValueError, LookupError):
        return None
