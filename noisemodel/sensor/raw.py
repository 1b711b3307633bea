"""Raw files of cameras: DNG, CR2, CR3, NEF, ARW, RAF and what else LibRaw reads with a 2x2 mosaic."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from noisemodel.errors import InputError
from noisemodel.sensor.levels import Levels
from noisemodel.sensor.mosaic import pack_mosaic
from noisemodel.sensor.noise_profile import NoiseProfile, parse_noise_profile
from noisemodel.sensor.raw_decoder import DECODER, RawDecoder
from noisemodel.sensor.raw_tags import check_no_pipe, first_number, read_tags

RAW_SUFFIXES = (".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw")
Mosaic = np.ndarray[Any, np.dtype[np.uint16]]
XYZ_FROM_SRGB = np.array(  # IEC 61966-2-1, D65
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
SMALLEST_MATRIX = 0.125  # LibRaw's own test of whether a file has a camera matrix


@final
@dataclass(frozen=True, eq=False)
class RawImage:
    """One raw frame: the codes of the active area and what the file says of them.

    Args:
        path: the file.
        mosaic: (H, W) uint16 [DN], black level still in.
        black_dn: black level of the positions (0,0), (0,1), (1,0), (1,1) of each 2x2 cell [DN].
        white_dn: [DN].
        cfa: colours by position, e.g. "RGGB".
        make, model, iso: of the camera, where the file says them.
        white_balance: gains of red, green and blue as shot, green 1.
        colour_matrix: (3, 3), white-balanced camera RGB to linear sRGB; rows sum to 1.
        noise_profile: what a DNG states of its noise.
    """

    path: Path
    mosaic: Mosaic
    black_dn: tuple[float, float, float, float]
    white_dn: float
    cfa: str
    make: str | None = None
    model: str | None = None
    iso: float | None = None
    white_balance: tuple[float, float, float] | None = None
    colour_matrix: np.ndarray[Any, np.dtype[np.float64]] | None = None
    noise_profile: NoiseProfile | None = None

    @property
    def levels(self) -> Levels:
        """The highest of the four black levels, and the white level.

        Raises: InputError if white does not exceed black.
        """
        try:
            return Levels(max(self.black_dn), self.white_dn)
        except InputError as error:
            raise InputError(f"{self.path}: {error}; give the levels, or leave the file out") from error

    def planes(self) -> Tensor:
        """x_p = (DN - black_p) / (white - max black): (4, H/2, W/2) by position [fraction of white], float32.

        One divisor for all positions, so that the gain in DN per electron stays one. The last row or column of an odd
        size is left out.
        """
        height, width = (2 * (size // 2) for size in self.mosaic.shape)
        dn = pack_mosaic(torch.from_numpy(self.mosaic[:height, :width].astype(np.float32)))
        return (dn - torch.tensor(self.black_dn).view(4, 1, 1)) / self.levels.range_dn


def read_raw(path: str | Path, *, decoder: RawDecoder = DECODER) -> RawImage:
    """Read a raw file; the decoding runs in a child process, which a damaged file may crash.

    Args:
        path: the file.
        decoder: which process decodes.
    Raises: InputError in one line if the file is missing, cannot be opened, is no raw file, is truncated or damaged, or
        has no 2x2 mosaic (X-Trans, Foveon, linear DNG, monochrome).
    """
    path = Path(path)
    if path.suffix.lower() not in RAW_SUFFIXES:
        raise InputError(f"{path} is not called a raw file; read are {', '.join(RAW_SUFFIXES)}")
    _check_readable(path)
    facts, mosaic = decoder.decode(path)
    if mosaic is None:
        raise InputError(f"{path} {_unusable(facts)}; convert it, or use a camera with a Bayer mosaic")
    tags = read_tags(path)
    pattern = [index for row in facts["pattern"] for index in row]
    return RawImage(
        path,
        mosaic,
        _black_by_position(facts, pattern, tags),
        facts["white"],
        "".join(facts["colours"][index] for index in pattern),
        **_camera(path, tags, facts),
        white_balance=_white_balance(facts["white_balance"]),
        colour_matrix=_colour_matrix(facts),
        noise_profile=_stated_noise(tags),
    )


def camera_to_srgb(xyz_to_camera: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Matrix from white-balanced camera RGB to linear sRGB: the inverse of M XYZ_FROM_SRGB, rows brought to sum 1.

    Args:
        xyz_to_camera: M, (3, 3), the ColorMatrix of DNG for daylight.
    """
    camera_from_srgb = xyz_to_camera @ XYZ_FROM_SRGB
    return np.asarray(np.linalg.inv(camera_from_srgb / camera_from_srgb.sum(axis=1, keepdims=True)))


def _check_readable(path: Path) -> None:
    """Raise InputError where the file is none, cannot be opened, or is empty."""
    try:
        check_no_pipe(path)
        with path.open("rb") as file:
            if not file.read(1):
                raise InputError(f"{path} is empty; copy it again")
    except OSError as error:
        raise InputError(f"cannot open {path}: {error.strerror}; check the path and its permissions") from error


def _unusable(facts: Mapping[str, Any]) -> str:
    """Why a file that can be decoded is not one 2x2 mosaic."""
    if facts["kind"] != "flat":
        return "holds full colour at every pixel (Foveon or linear DNG), not a mosaic"
    size = len(facts["pattern"] or ())
    return "is X-Trans (6x6), not a 2x2 mosaic" if size == 6 else "is monochrome or has another mosaic than 2x2"


def _black_by_position(
    facts: Mapping[str, Any], pattern: list[int], tags: Mapping[str, Any]
) -> tuple[float, float, float, float]:
    """Black levels by position, from LibRaw's, which are by colour index (0 R, 1 G, 2 B, 3 second G).

    LibRaw starts at an even row and column, but lays the 2x2 black levels of a DNG from there on; they begin at the
    corner of its ActiveArea (DNG 1.7, BlackLevelRepeatDim), one pixel earlier where that is odd.
    """
    black = np.array([facts["black"][index] for index in pattern]).reshape(2, 2)
    area = tags.get("active_area")
    if area is not None and len(area) == 4:
        skipped = [int(margin) - int(first) for margin, first in zip(facts["margins"], area[:2], strict=True)]
        black = np.roll(black, (-skipped[0], -skipped[1]), axis=(0, 1))
    first, second, third, fourth = black.ravel().tolist()
    return first, second, third, fourth


def _camera(path: Path, tags: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Make, model and ISO, as far as the file says them."""
    make, model = (str(tags[name]).strip("\0 ") or None if name in tags else None for name in ("make", "model"))
    if path.suffix.lower() == ".raf":
        with path.open("rb") as file:
            head = file.read(60)
        if head.startswith(b"FUJIFILMCCD-RAW "):
            make, model = "FUJIFILM", head[28:60].split(b"\0")[0].decode("ascii", "replace") or None
    iso = facts["iso"] if facts["iso"] > 0 else first_number(tags.get("iso"))
    return {"make": make, "model": model, "iso": iso}


def _white_balance(gains: list[float]) -> tuple[float, float, float] | None:
    """Gains with green at 1; None where the file has none."""
    red, green, blue = gains[:3]
    if min(red, blue) <= 0 or not all(map(np.isfinite, gains)):
        return None
    green = green if green > 0 else 1.0
    return red / green, 1.0, blue / green


def _colour_matrix(facts: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """From the camera's XYZ matrix, or the one that LibRaw worked out from the file's own; None without either."""
    xyz, direct = (np.array(facts[name], np.float64) for name in ("xyz_to_camera", "camera_to_srgb"))
    if np.isfinite(xyz).all() and abs(np.linalg.det(xyz)) > 1e-6:
        return camera_to_srgb(xyz)
    return direct if np.isfinite(direct).all() and direct[0, 0] > SMALLEST_MATRIX else None


def _stated_noise(tags: Mapping[str, Any]) -> NoiseProfile | None:
    """The tag's profile; None where there is none or it makes no sense, for the frame is good without it."""
    if "noise_profile" not in tags:
        return None
    try:
        return parse_noise_profile(tags["noise_profile"], tags.get("cfa_plane_colours"))
    except InputError:
        return None
