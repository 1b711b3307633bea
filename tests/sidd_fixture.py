"""SIDD-style trees from a simulated camera: five phones, known parameters per phone and ISO, both metadata styles.

Written apart from datasets.sidd: names, axes and colours come from the description of the format, not from the loader.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import scipy.io
from PIL import Image

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Phone:
    """log(shot.gain) and log(read.std) are straight lines in log(ISO / 100) [fraction of white]."""

    make: str
    model: str
    cfa: str
    gain: float
    gain_slope: float
    read: float
    read_slope: float

    def parameters(self, iso: int) -> dict[str, float]:
        """What a noise model must find."""
        ratio = iso / 100
        return {
            "shot.gain": self.gain * ratio**self.gain_slope,
            "read.std": self.read * ratio**self.read_slope,
        }

    def darkest(self, iso: int) -> float:
        """The light x that lies 3.5 stds above the clip at 0, x = 3.5 sqrt(g x + s^2) [fraction of white]."""
        gain, read = self.parameters(iso).values()
        half = 3.5**2 * gain / 2
        return half + (half**2 + (3.5 * read) ** 2) ** 0.5


PHONES = {
    "GP": Phone("Google", "Pixel", "BGGR", 1.5e-4, 0.65, 1.0e-3, 0.60),
    "IP": Phone("Apple", "iPhone 7", "RGGB", 3.0e-4, 0.45, 2.0e-3, 0.40),
    "S6": Phone("samsung", "SM-G920A", "GRBG", 2.5e-4, 0.60, 1.6e-3, 0.55),
    "N6": Phone("motorola", "Nexus 6", "BGGR", 2.0e-4, 0.70, 1.8e-3, 0.50),
    "G4": Phone("LGE", "LG-H815", "BGGR", 3.5e-4, 0.50, 1.4e-3, 0.60),
}
ISOS = (100, 800, 3200)
# Ids of Noise Flow's split, so that every group of a tree has a training and a test instance.
TRAIN_IDS = (4, 11, 13, 22, 23, 25, 27, 28, 29, 30, 34, 35, 39, 40, 42, 43, 44, 45, 47, 81, 86, 88, 90, 101, 102, 104)
TEST_IDS = (54, 55, 57, 59, 60, 62, 63, 66, 150, 151, 152, 154, 155, 159, 160, 161, 163, 164, 165, 166, 198, 199)
COLOURS = "RGB"


def scene_colours(scene: int, size: tuple[int, int], darkest: float = 0.05) -> Array:
    """(3, H, W) light of a known scene up to 0.7: red grows downwards, blue to the right, green is a wave.

    The rows in the middle, a quarter of all, are even and as dark as ``darkest``: there read noise shows.
    """
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    light = 0.9 + 0.1 * (scene % 3)
    red, blue = 0.40 + 0.25 * rows, 0.08 + 0.20 * columns
    green = 0.30 + 0.15 * np.sin(7.0 * rows + 3.0 * columns + scene)
    lit = np.clip(light * np.stack([red, green, blue]), darkest, 0.7)
    return np.where(abs(rows - 0.5) < 0.125, darkest, lit)


def mosaic_of(colours: Array, cfa: str) -> Array:
    """(H, W) of what each filter lets through; ``cfa`` names the cell's positions (0,0), (0,1), (1,0), (1,1)."""
    mosaic = np.empty(colours.shape[1:])
    for position, letter in enumerate(cfa):
        dy, dx = divmod(position, 2)
        mosaic[dy::2, dx::2] = colours[COLOURS.index(letter), dy::2, dx::2]
    return mosaic


def record(clean: Array, parameters: dict[str, float], rng: np.random.Generator) -> Array:
    """clip(g Poisson(x / g) + N(0, s^2), 0, 1), float32."""
    gain = parameters["shot.gain"]
    noisy = gain * rng.poisson(clean / gain) + parameters["read.std"] * rng.standard_normal(clean.shape)
    return np.clip(noisy, 0.0, 1.0).astype(np.float32)


def write_mat73(
    path: Path,
    image: Array,
    *,
    key: str = "x",
    chunks: tuple[int, int] | None = (16, 32),
    deflate: int | None = 3,
) -> None:
    """One array as MATLAB's -v7.3 writes it: 512 bytes of its own in front, axes reversed, its class as an attribute.

    Args:
        path: the file.
        image: in image order.
        key: name of the array.
        chunks: (columns, rows), in HDF5's order; None is contiguous.
        deflate: level, where chunked.
    """
    stored = image.transpose()
    with h5py.File(path, "w", userblock_size=512) as file:
        if chunks is None:
            data = file.create_dataset(key, data=stored)
        else:
            fitting = tuple(min(a, b) for a, b in zip(chunks, stored.shape, strict=False))
            packing = {"compression": "gzip", "compression_opts": deflate} if deflate is not None else {}
            data = file.create_dataset(key, data=stored, chunks=fitting, **packing)
        data.attrs["MATLAB_class"] = np.bytes_({"f4": "single", "f8": "double"}.get(image.dtype.str[1:], "uint16"))
    text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 00:00:00 2018 HDF5 schema 1.00 ."
    with path.open("r+b") as file:
        file.write(text.ljust(124) + b"\x00\x02IM")


def tags(*entries: tuple[int, Array]) -> Array:
    """UnknownTags: a column of structs with ID, Offset and Value."""
    column = np.empty((len(entries), 1), dtype=[("ID", object), ("Offset", object), ("Value", object)])
    for row, (number, value) in enumerate(entries):
        column[row, 0] = (np.uint16(number), np.uint32(1000 + row), np.atleast_2d(value))
    return column


def cells(*items: Any) -> Array:
    """A cell array, one row."""
    row = np.empty((1, len(items)), dtype=object)
    for column, item in enumerate(items):
        row[0, column] = item
    return row


def metadata_fields(phone: Phone, iso: int) -> dict[str, Any]:
    """imfinfo's struct: an iPhone keeps the mosaic in SubIFDs and the ISO in DigitalCamera, others on top."""
    cfa = np.array([COLOURS.index(letter) for letter in phone.cfa], np.uint8)
    parameters = phone.parameters(iso)
    shot, read = parameters["shot.gain"], parameters["read.std"] ** 2
    fields = {
        "Filename": "frame.dng",
        "Make": phone.make,
        "Model": phone.model,
        "AsShotNeutral": np.array([[0.5, 1.0, 0.6]]),
        "ColorMatrix1": np.arange(9.0)[None] + 1,
        "ColorMatrix2": np.arange(9.0)[None] + 11,
    }
    other = (50712, np.array([[1, 2, 3]], np.uint16))
    if phone.make == "Apple":
        inner = {"BitDepth": 14.0, "UnknownTags": tags((33421, np.array([[2, 2]], np.uint16)), (33422, cfa))}
        return fields | {
            "DigitalCamera": {"ExposureTime": 0.01, "ISOSpeedRatings": np.uint16(iso)},
            "SubIFDs": cells(inner, {"BitDepth": 8.0}),
            "UnknownTags": tags(other, (51041, np.array([[shot, read]])), (51111, np.array([[7]], np.uint8))),
        }
    profile = np.array([[0.9 * shot, read, shot, read, 1.1 * shot, read]])
    return fields | {
        "ISOSpeedRatings": np.uint16(iso),
        "UnknownTags": tags(other, (33422, cfa), (51041, profile)),
    }


def write_metadata(path: Path, phone: Phone, iso: int) -> None:
    """A metadata file, MATLAB v5."""
    scipy.io.savemat(path, {"metadata": metadata_fields(phone, iso)}, do_compression=True)


def write_srgb(path: Path, colours: Array) -> None:
    """A PNG of (3, H, W) in [0, 1]."""
    Image.fromarray(np.rint(255 * np.moveaxis(colours, 0, -1)).astype(np.uint8)).save(path)


def write_instance(
    folder: Path,
    phone: Phone,
    iso: int,
    rng: np.random.Generator,
    *,
    frames: Sequence[int] = (10,),
    size: tuple[int, int] = (64, 96),
    full: bool = False,
    srgb: bool = False,
    moving: bool = False,
    **packing: Any,
) -> None:
    """The files of a scene-instance folder, whose name says the rest.

    Args:
        folder: e.g. ``0001_001_S6_00100_00060_3200_L``.
        rng: where the noise is drawn.
        full: images in sub-folders, as in the full data set.
        srgb: PNG pairs as well.
        moving: the ground truth differs from frame to frame.
        packing: of the MAT files, as `write_mat73`.
    """
    instance, scene = folder.name.split("_")[:2]
    for kind in ("NOISY", "GT", "METADATA"):
        (folder / (f"{instance}_{kind}_RAW" if full else "")).mkdir(parents=True, exist_ok=True)
    for frame in frames:

        def place(kind: str, space: str, ending: str, frame: int = frame) -> Path:
            inner = f"{instance}_{kind}_RAW/" if full and space == "RAW" else ""
            return folder / f"{inner}{instance}_{kind}_{space}_{frame:03d}.{ending}"

        colours = scene_colours(int(scene) + (frame if moving else 0), size, phone.darkest(iso))
        clean = mosaic_of(colours, phone.cfa)
        write_mat73(place("GT", "RAW", "MAT"), clean.astype(np.float32), **packing)
        write_mat73(place("NOISY", "RAW", "MAT"), record(clean, phone.parameters(iso), rng), **packing)
        write_metadata(place("METADATA", "RAW", "MAT"), phone, iso)
        if srgb:
            write_srgb(place("GT", "SRGB", "PNG"), colours)
            write_srgb(
                place("NOISY", "SRGB", "PNG"), np.clip(colours + 0.02 * rng.standard_normal(colours.shape), 0, 1)
            )


def write_sidd_tree(
    root: Path,
    *,
    phones: Sequence[str] = tuple(PHONES),
    isos: Sequence[int] = ISOS,
    scenes: int = 2,
    frames: Sequence[int] = (10,),
    size: tuple[int, int] = (64, 96),
    layout: Literal["flat", "data", "full"] = "flat",
    srgb: bool = False,
    moving: bool = False,
    seed: int = 0,
    **packing: Any,
) -> dict[tuple[str, int], dict[str, float]]:
    """Write a tree; instances of a group are in turn of Noise Flow's training and test ids.

    Args:
        root: made if it is not there.
        phones, isos: groups; ``scenes`` instances each.
        frames: (10,) is Small, (10, 11) Medium.
        size: (rows, columns) of the mosaic.
        layout: "flat" (Small, Medium), "data" (below ``Data/``) or "full" (sub-folders).
        seed: of all noise.
    Returns: (phone, ISO) -> its true parameters.
    """
    rng = np.random.default_rng(seed)
    ids = [iter(TRAIN_IDS), iter(TEST_IDS)]
    truth = {}
    for code in phones:
        for iso in isos:
            truth[code, iso] = PHONES[code].parameters(iso)
            for scene in range(1, scenes + 1):
                name = f"{next(ids[(scene - 1) % 2]):04d}_{scene:03d}_{code}_{iso:05d}_00060_3200_L"
                folder = root / ("Data" if layout == "data" else "") / name
                full = layout == "full"
                write_instance(
                    folder,
                    PHONES[code],
                    iso,
                    rng,
                    frames=frames,
                    size=size,
                    full=full,
                    srgb=srgb,
                    moving=moving,
                    **packing,
                )
    return truth


def write_blocks(
    root: Path, *, count: tuple[int, int] = (2, 3), side: int = 32, phone: str = "S6", iso: int = 800, seed: int = 0
) -> dict[str, Array]:
    """Write validation and benchmark blocks, raw and sRGB, and return them by the stems of their names."""
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    written = {}
    for part, kinds in (("Validation", ("Gt", "Noisy")), ("Benchmark", ("Noisy",))):
        offset = 0 if part == "Validation" else 100
        scenes = [scene_colours(offset + i, (side, side)) for i in range(count[0] * count[1])]
        clean = np.stack([mosaic_of(scene, PHONES[phone].cfa) for scene in scenes])
        srgb = np.moveaxis(np.stack(scenes), 1, -1)
        for kind in kinds:
            noisy = record(clean, PHONES[phone].parameters(iso), rng) if kind == "Noisy" else clean.astype(np.float32)
            pictures = srgb + (0.02 * rng.standard_normal(srgb.shape) if kind == "Noisy" else 0.0)
            written[f"{part}{kind}BlocksRaw"] = noisy.reshape(*count, side, side)
            coded = np.rint(255 * np.clip(pictures, 0, 1)).astype(np.uint8)
            written[f"{part}{kind}BlocksSrgb"] = coded.reshape(*count, side, side, 3)
    for stem, blocks in written.items():
        scipy.io.savemat(root / f"{stem}.mat", {stem: blocks}, do_compression=True)
    return written
