"""Raw files with known content, written with pidng."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

CFAS = ("RGGB", "BGGR", "GRBG", "GBRG")
XYZ_TO_CAMERA = np.array([[1.9549, -0.7877, -0.2582], [-0.5724, 1.0121, 0.1917], [-0.1267, -0.0110, 0.6621]])
TILE = {"PhotometricInterpretation": 32803, "SamplesPerPixel": 1, "Orientation": 1}


def codes(shape: tuple[int, int] = (38, 52), bits: int = 12, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint16]]:
    return np.random.default_rng(seed).integers(0, 2**bits, shape).astype(np.uint16)


def write_dng(
    path: Path,
    mosaic: np.ndarray[Any, Any],
    *,
    bits: int = 12,
    cfa: str | None = "RGGB",
    black: tuple[int, ...] = (64,),
    white: int | None = None,
    **tags: Any,
) -> Path:
    """A DNG of ``mosaic``; ``tags`` are pidng's names, None leaves a tag out."""
    core = pytest.importorskip("pidng.core", reason="pidng writes the raw files of these tests")
    height, width = mosaic.shape[:2]
    values: dict[str, Any] = {
        **TILE,
        "ImageWidth": width,
        "ImageLength": height,
        "TileWidth": width,
        "TileLength": height,
        "BitsPerSample": bits,
        "BlackLevel": list(black),
        "WhiteLevel": 2**bits - 1 if white is None else white,
        "ColorMatrix1": [[round(10000 * value), 10000] for value in XYZ_TO_CAMERA.ravel()],
        "CalibrationIlluminant1": 21,
        "AsShotNeutral": [[1, 2], [1, 1], [2, 3]],
        "Make": "Acme",
        "Model": "One",
        "PhotographicSensitivity": [800],
    }
    if cfa is not None:
        values |= {"CFARepeatPatternDim": [2, 2], "CFAPattern": ["RGB".index(colour) for colour in cfa]}
    if len(black) == 4:
        values["BlackLevelRepeatDim"] = [2, 2]
    given = core.DNGTags()
    for name, value in (values | tags).items():
        if value is not None:
            given.set(getattr(core.Tag, name), value)
    writer = core.RAW2DNG()
    writer.options(given, path="", compress=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(writer.convert(mosaic, ""))
    return path
