"""What a SIDD metadata file says about a frame, found by name and tag ID wherever the phone keeps it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from datasets.formats import reading
from noisemodel.errors import InputError
from noisemodel.mat_tags import load_mat

Numbers = tuple[float, ...]

# TIFF tags by ID (TIFF/EP 2001; DNG 1.4): imfinfo of MATLAB knows neither and lists them under UnknownTags.
CFA_TAG, NOISE_PROFILE_TAG = 33422, 51041
CFA_LETTERS = "RGB"
# Maker -> SIDD's code of its phone, and code -> colours of the mosaic by position.
PHONE_OF_MAKE = {"apple": "IP", "google": "GP", "samsung": "S6", "motorola": "N6", "lge": "G4"}
CFA_OF_PHONE = {"GP": "BGGR", "IP": "RGGB", "S6": "GRBG", "N6": "BGGR", "G4": "BGGR"}
_DEEPEST = 6


@dataclass(frozen=True)
class Metadata:
    """Facts about one frame.

    Args:
        iso: sensitivity.
        cfa: colours of the mosaic by position, e.g. "GRBG".
        noise_profile: (S, O) of var = S x + O [fraction of white], once or per colour. A claim, not the truth.
        as_shot_neutral: camera colours of a neutral patch, (3,).
        colour_matrix: XYZ to camera colours, three rows; ColorMatrix2 where there is one (daylight), else ColorMatrix1.
        make, model: of the phone.
    """

    iso: int | None
    cfa: str
    noise_profile: tuple[tuple[float, float], ...] | None
    as_shot_neutral: Numbers | None
    colour_matrix: tuple[Numbers, Numbers, Numbers] | None
    make: str
    model: str


def read_metadata(path: str | Path) -> Metadata:
    """Read ``0001_METADATA_RAW_010.MAT`` (MATLAB v5).

    Raises: InputError if the file is missing, damaged or no such metadata, or says nothing about the mosaic.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no such file: {path}; is the data set complete?")
    with reading(path):
        if h5py.is_hdf5(path):
            raise InputError(f"{path} is a MATLAB 7.3 file; SIDD's metadata are version 5, fetch it again")
        stored = load_mat(path, ("metadata",)).get("metadata")
        if not isinstance(stored, np.ndarray) or not stored.dtype.names or not stored.size:
            raise InputError(f"no struct 'metadata' in {path}; is it a metadata file?")
        return _gathered(stored, path)


def _gathered(stored: Any, path: Path) -> Metadata:
    """Facts from the fields and tags."""
    fields, tags = _fields(stored), _tags(stored)
    make = _text(fields.get("Make"))
    cfa = _cfa(tags.get(CFA_TAG), make, path)
    iso = _numbers(fields.get("ISOSpeedRatings"))
    profile = _numbers(tags.get(NOISE_PROFILE_TAG))
    if profile and len(profile) % 2:
        raise InputError(f"NoiseProfile in {path} must be pairs of S and O, got {len(profile)} numbers")
    matrix = _numbers(fields.get("ColorMatrix2")) or _numbers(fields.get("ColorMatrix1"))
    if matrix and len(matrix) != 9:
        raise InputError(f"the colour matrix in {path} must be 9 numbers, got {len(matrix)}; fetch the file again")
    return Metadata(
        iso=int(iso[0]) if iso else None,
        cfa=cfa,
        noise_profile=tuple(zip(profile[0::2], profile[1::2], strict=True)) if profile else None,
        as_shot_neutral=_numbers(fields.get("AsShotNeutral")),
        colour_matrix=(matrix[0:3], matrix[3:6], matrix[6:9]) if matrix else None,
        make=make,
        model=_text(fields.get("Model")),
    )


def _structs(value: Any) -> Iterator[Any]:
    """Every struct in a MATLAB value, outer ones first."""
    level = [value]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for item in level:
            if not isinstance(item, np.ndarray | np.void):
                continue
            if item.dtype.names:
                for struct in np.atleast_1d(np.asarray(item)).ravel():
                    yield struct
                    inner.extend(struct[name] for name in item.dtype.names)
            elif item.dtype.hasobject:
                inner.extend(np.asarray(item).ravel())
        level = inner


def _fields(stored: Any) -> dict[str, Any]:
    """Name -> value over all structs; the outermost one that is not empty counts."""
    found: dict[str, Any] = {}
    for struct in _structs(stored):
        for name in struct.dtype.names:
            if np.size(struct[name]) and not np.size(found.get(name, ())):
                found[name] = struct[name]
    return found


def _tags(stored: Any) -> dict[int, Any]:
    """ID -> Value of every unknown tag, wherever it is kept; the outermost counts."""
    found: dict[int, Any] = {}
    for struct in _structs(stored):
        if {"ID", "Value"} <= set(struct.dtype.names):
            number = _numbers(struct["ID"])
            if number and np.size(struct["Value"]):
                found.setdefault(int(number[0]), struct["Value"])
    return found


def _cfa(tag: Any, make: str, path: Path) -> str:
    """Four letters, from the tag or, without one, from the phone's maker."""
    codes = _numbers(tag)
    if codes is None:
        if make.lower() not in PHONE_OF_MAKE:
            raise InputError(f"no CFA pattern (tag {CFA_TAG}) in {path}, and {make or 'no maker'!r} is none of SIDD's")
        return CFA_OF_PHONE[PHONE_OF_MAKE[make.lower()]]
    letters = "".join(CFA_LETTERS[int(code)] if code in (0, 1, 2) else "?" for code in codes)
    if sorted(letters) != sorted("RGGB"):
        raise InputError(f"CFA pattern (tag {CFA_TAG}) in {path} must be 4 of 0 R, 1 G, 2 B, got {codes}")
    return letters


def _numbers(value: Any) -> Numbers | None:
    """An array of finite real numbers, row by row; None where there is none."""
    array = np.asarray(value if value is not None else ())
    if not array.size or array.dtype.kind not in "uif":
        return None
    numbers = tuple(float(number) for number in array.ravel())
    return numbers if np.isfinite(numbers).all() else None


def _text(value: Any) -> str:
    """A MATLAB text; "" where there is none."""
    array = np.asarray(value if value is not None else ())
    return str(array.ravel()[0]).strip() if array.size and array.dtype.kind == "U" else ""
