"""A valid file for every reader of the project, how it is read, and what is wrong with files that are whole."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import raw_files
import scipy.io
import sidd_fixture
import tifffile
import torch
from PIL import Image

from datasets import Burst, Frames, load_bursts, load_starlight, read_metadata
from datasets.mat73 import open_mat73_image
from datasets.patterns import load_pattern
from datasets.raw import load_raw_bursts
from datasets.sidd_srgb import open_png, read_srgb_mat
from denoisers.files import open_file
from noisemodel import InputError, Levels
from noisemodel.png import write_png
from noisemodel.sensor.noise_profile import read_noise_profile
from noisemodel.sensor.raw import read_raw
from noisemodel.synthesis import choose_scale
from nrgan.data import clean_images

Array = np.ndarray[Any, Any]
Save = Callable[..., object]
SHAPE = (3, 16, 20)
BLACK_DN, WHITE_DN = 10.0, 4000.0
FACTS = {"black_level": BLACK_DN, "white_level": WHITE_DN}
HUGE = 10**5


@dataclass(frozen=True)
class Subject:
    """A reader.

    Args:
        file: what is damaged, below the folder that ``write`` fills.
        write: fills an empty folder with valid files.
        read: the numbers that the reader gives for the path of ``file``, nested in any way.
        wrong: by name, what puts a whole file with wrong content into the place of ``file``.
        text: JSON in the file, or in the header of a safetensors file: its values are exchanged.
        named: whether the file may have another name.
    """

    file: str
    write: Callable[[Path], object]
    read: Callable[[Path], Any]
    wrong: Mapping[str, Callable[[Path], object]] = field(default_factory=dict)
    text: bool = False
    named: bool = True


def numbers(found: Any) -> Iterator[Array]:
    """Every number in nested containers, as arrays."""
    if is_dataclass(found) and not isinstance(found, type):
        found = {name: getattr(found, name) for name in found.__dataclass_fields__}
    if isinstance(found, Mapping):
        found = list(found.values())
    if isinstance(found, torch.Tensor):
        yield found.detach().numpy()
    elif isinstance(found, list | tuple):
        for item in found:
            yield from numbers(item)
    elif isinstance(found, int | float | np.ndarray | np.generic):
        yield np.asarray(found)


# Frames.


def frames(seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(100, 3000, SHAPE).astype(np.uint16)


def save_npy(path: Path, array: Array, key: str = "", **_: Any) -> None:
    np.save(path, array, allow_pickle=False)


def save_npz(path: Path, array: Array, key: str = "frames", **facts: Any) -> None:
    np.savez_compressed(path, **{key: array}, **facts)


def save_h5(path: Path, array: Array, key: str = "frames", packed: bool = True, **facts: Any) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset(key, data=array, **({"compression": "gzip", "shuffle": True} if packed else {}))
        for name, value in facts.items():
            file[name] = value


def save_mat5(path: Path, array: Array, key: str = "frames", packed: bool = True, **facts: Any) -> None:
    scipy.io.savemat(path, {key: array, **facts}, do_compression=packed)


def save_mat73(path: Path, array: Array, key: str = "frames", **facts: Any) -> None:
    sidd_fixture.write_mat73(path, array, key=key, chunks=None)
    with h5py.File(path, "r+") as file:
        for name, value in facts.items():
            file[name] = value


def save_tif(path: Path, array: Array, key: str = "", packed: bool = False, **_: Any) -> None:
    tifffile.imwrite(path, array, photometric="minisblack", compression="zlib" if packed else None)


def burst_values(path: Path) -> list[Any]:
    """Every frame of every burst beside the file, checked as training and calibration do."""
    levels = {} if (path.parent / "levels.json").exists() else FACTS
    bursts = load_bursts(path.parent, **levels).bursts
    for burst in bursts:
        assert len(burst.shape) == 4 and burst.summary().level.shape == burst.shape[1:2]
    return [burst.read(range(burst.shape[0]), slice(None), slice(None)) for burst in bursts]


def wrong_frames(save: Save, *, facts: bool, text: bool = True) -> dict[str, Callable[[Path], object]]:
    """Whole files with content that no burst has."""
    good, bad = frames(), frames().astype(np.float32)
    arrays: dict[str, Array] = {
        "complex": good.astype(np.complex64),
        "NaN": np.where(good == good.max(), np.nan, bad).astype(np.float32),
        "infinity": np.where(good == good.max(), np.inf, bad).astype(np.float32),
        "beyond white": bad * 1e30,
        "two axes": good[0],
        "five axes": good[None, None],
        "one frame": good[:1],
    }
    if text:
        arrays |= {"empty": good[:0], "text": np.array([[["a", "b"]]]), "number": np.array(1.0)}
    found = {name: (lambda path, array=array: save(path, array)) for name, array in arrays.items()}
    if facts:
        levels = {"NaN": np.nan, "infinite": np.inf, "of two numbers": [1.0, 2.0], "of text": "dark"}
        found |= {f"black level {n}": (lambda path, v=v: save(path, good, black_level=v)) for n, v in levels.items()}
        found |= {
            "another key": lambda path: save(path, good[0], key="other"),
            "layout of numbers": lambda path: save(path, good, layout=3.0),
        }
    return found


def npy_claiming(shape: str, descr: str = "<u2") -> bytes:
    """A .npy whose header says more than the file has."""
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head = head.ljust((len(head) + 10 + 64) // 64 * 64 - 11) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(100)


CLAIMS = {
    "10^12 elements": "(1000, 10000, 100000)",
    "10^12 in a row": "(1000000000000,)",
    "10^30 elements": "(10, 10000000000, 10000000000)",
    "a negative size": "(3, -4, -5)",
}


def huge_npz(path: Path, member: str, shape: str) -> None:
    """A .npz with one member that claims a shape, beside good frames where it is not the frames itself."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{member}.npy", npy_claiming(shape, "<f8"))
        if member != "frames":
            content = io.BytesIO()
            np.save(content, frames())
            archive.writestr("frames.npy", content.getvalue())


def huge_h5(path: Path, shape: tuple[int, ...] = (10, HUGE * 10, HUGE * 10), key: str = "frames", **facts: Any) -> None:
    """A small HDF5 file with a data set that was never written: all of it is the fill value."""
    with h5py.File(path, "w") as file:
        file.create_dataset(key, shape, np.uint16, chunks=(1,) * (len(shape) - 2) + (1024,) * min(len(shape), 2))
        for name, size in facts.items():
            file.create_dataset(name, (size,), np.float64, chunks=(1024,))
        if facts:
            del file[key]
            file[key] = frames()


def huge_mat5(path: Path) -> None:
    save_mat5(path, frames(), packed=False)
    size = struct.pack("<3i", *SHAPE)
    assert path.read_bytes().count(size) == 1
    path.write_bytes(path.read_bytes().replace(size, struct.pack("<3i", HUGE, HUGE, 100)))


def huge_tif(path: Path, packed: bool, image: Array | None = None) -> None:
    save_tif(path, frames() if image is None else image, packed=packed)
    with tifffile.TiffFile(path, mode="r+b") as file:
        for page in file.pages:
            for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
                page.tags[name].overwrite(HUGE, dtype="I")


HUGE_NPY = {name: (lambda path, s=s: path.write_bytes(npy_claiming(s))) for name, s in CLAIMS.items()}
HUGE_NPZ = {name: (lambda path, s=s: huge_npz(path, "frames", s)) for name, s in CLAIMS.items()} | {
    "black level of 10^10": lambda path: huge_npz(path, "black_level", "(10000000000,)")
}
HUGE_H5 = {
    "10^13 of the fill value": huge_h5,
    "10^5 x 10^5 of the fill value": lambda path: huge_h5(path, (3, HUGE, HUGE)),
    "10^9 frames": lambda path: huge_h5(path, (10**9, 1024, 1024)),
    "black level of 10^10": lambda path: huge_h5(path, black_level=10**10),
}


def frame_subject(name: str, save: Save, wrong: Mapping[str, Callable[[Path], object]], **options: bool) -> Subject:
    written = lambda path, array, **more: save(path, array, **options, **more)  # noqa: E731
    facts = save in (save_npz, save_h5, save_mat5)
    bad = wrong_frames(written, facts=facts, text=save not in (save_tif, save_h5, save_mat73))
    return Subject(
        name,
        lambda folder: save(folder / name, frames(), **(FACTS if facts else {}), **options),
        burst_values,
        bad | wrong,
    )


def write_levels(folder: Path) -> None:
    save_npz(folder / "scene.npz", frames())
    (folder / "levels.json").write_text(json.dumps({**FACTS, "layout": "mosaic", "cfa": "RGGB"}))


LEVELS_TEXT = {
    f"JSON {text[:12]}": (lambda path, text=text: path.write_text(text))
    for text in ("null", "[]", "3", '{"black_level": NaN, "white_level": 4}', '{"black_level": 1e999}', "[" * 10**5)
}

FRAMES: dict[str, Subject] = {
    "npy": frame_subject("scene.npy", save_npy, HUGE_NPY),
    "npz": frame_subject("scene.npz", save_npz, HUGE_NPZ),
    "h5 packed": frame_subject("scene.h5", save_h5, HUGE_H5),
    "h5": frame_subject("scene.h5", save_h5, {}, packed=False),
    "MAT v5 packed": frame_subject("scene.mat", save_mat5, {}),
    "MAT v5": frame_subject("scene.mat", save_mat5, {"10^5 x 10^5 x 100": huge_mat5}, packed=False),
    "MAT v7.3": frame_subject("scene.mat", save_mat73, HUGE_H5),
    "TIFF": frame_subject("scene.tif", save_tif, {"10^5 x 10^5": lambda path: huge_tif(path, False)}),
    "TIFF packed": frame_subject(
        "scene.tif", save_tif, {"10^5 x 10^5": lambda path: huge_tif(path, True)}, packed=True
    ),
    "levels.json": Subject("levels.json", write_levels, burst_values, LEVELS_TEXT, text=True, named=False),
}


# SIDD and starlight.


def image_of(shape: tuple[int, ...] = (16, 20), seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(0.1, 0.9, shape).astype(np.float32)


def checked(path: Path, stack: Any, layout: str) -> Any:
    """The one frame of a stack, checked as that of a burst."""
    return Burst("fuzz", "scene", Frames(path, stack, {}), layout, Levels(0.0, 255.0)).frame(0)


def write_still(folder: Path) -> None:
    place = folder / "paired_data" / "stillpairs_mat"
    place.mkdir(parents=True)
    arrays = {"noisy_list": image_of((2, 16, 20, 4)), "gt_list": image_of((1, 16, 20, 4)), "alpha": 1.0}
    scipy.io.savemat(place / "still.mat", arrays, do_compression=True)


def starlight_values(path: Path) -> list[Any]:
    found = load_starlight(path.parents[1], "color").bursts
    return [(b.summary().level, b.read(range(b.shape[0]), slice(None), slice(None)), b.truth) for b in found]


def huge_mat73(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        data = file.create_dataset("x", (HUGE * 10, HUGE * 10), np.float32, chunks=(256, 256), compression="gzip")
        data.attrs["MATLAB_class"] = np.bytes_("single")


RECORDINGS: dict[str, Subject] = {
    "SIDD image": Subject(
        "image.MAT",
        lambda folder: sidd_fixture.write_mat73(folder / "image.MAT", image_of()),
        lambda path: checked(path, open_mat73_image(path), "mosaic"),
        {
            "10^6 x 10^6 of the fill value": huge_mat73,
            "another key": lambda path: sidd_fixture.write_mat73(path, image_of(), key="y"),
            "three axes": lambda path: sidd_fixture.write_mat73(path, image_of((3, 16, 20)), chunks=None),
            "whole numbers": lambda path: sidd_fixture.write_mat73(path, frames()[0]),
            "NaN": lambda path: sidd_fixture.write_mat73(path, image_of() * np.float32("nan")),
        },
    ),
    "SIDD metadata": Subject(
        "metadata.MAT",
        lambda folder: sidd_fixture.write_metadata(folder / "metadata.MAT", sidd_fixture.PHONES["IP"], 100),
        read_metadata,
        {"another struct": lambda path: scipy.io.savemat(path, {"meta": {"ISO": 3.0}})},
    ),
    "SIDD sRGB": Subject(
        "image.PNG",
        lambda folder: sidd_fixture.write_srgb(folder / "image.PNG", image_of((3, 16, 20))),
        lambda path: checked(path, open_png(path), "planes"),
    ),
    "SIDD sRGB crop": Subject(
        "crop.mat",
        lambda folder: scipy.io.savemat(folder / "crop.mat", {"x": (255 * image_of((16, 20, 3))).astype(np.uint8)}),
        read_srgb_mat,
        {"floats": lambda path: scipy.io.savemat(path, {"x": image_of((16, 20, 3))})},
    ),
    "starlight": Subject(
        "paired_data/stillpairs_mat/still.mat",
        write_still,
        starlight_values,
        {
            "NaN": lambda path: scipy.io.savemat(
                path,
                {"noisy_list": image_of((2, 16, 20, 4)) * np.nan, "gt_list": image_of((1, 16, 20, 4)), "alpha": 1.0},
            ),
            "alpha of text": lambda path: scipy.io.savemat(
                path, {"noisy_list": image_of((2, 16, 20, 4)), "gt_list": image_of((1, 16, 20, 4)), "alpha": "one"}
            ),
        },
    ),
    "fixed pattern npz": Subject(
        "pattern.npz", lambda folder: save_npz(folder / "pattern.npz", image_of(), "pattern"), load_pattern, HUGE_NPZ
    ),
    "fixed pattern h5": Subject(
        "pattern.h5", lambda folder: save_h5(folder / "pattern.h5", image_of(), "pattern"), load_pattern, HUGE_H5
    ),
}

# Raw files.


def write_dngs(folder: Path) -> None:
    for name in ("a.dng", "b.dng"):
        raw_files.write_dng(folder / "scene" / name, raw_files.codes(), NoiseProfile=[2e-4, 1e-6])


def raw_values(path: Path) -> list[Any]:
    raw = read_raw(path)
    planes = raw.planes()
    assert planes.shape == (4, *(size // 2 for size in raw.mosaic.shape))
    return [planes, raw]


def raw_burst_values(path: Path) -> list[Any]:
    found = load_raw_bursts(path.parents[1]).bursts
    return [(b.summary().level, b.read(range(b.shape[0]), slice(None), slice(None))) for b in found]


def retagged(**tags: int) -> Callable[[Path], None]:
    """Writes other values into tags of a DNG."""

    def change(path: Path) -> None:
        raw_files.write_dng(path, raw_files.codes())
        with tifffile.TiffFile(path, mode="r+b") as file:
            for name, value in tags.items():
                file.pages[0].tags[name].overwrite(value, dtype="I")

    return change


WRONG_RAW = {
    "10^5 x 10^5": retagged(ImageWidth=HUGE, ImageLength=HUGE, TileWidth=HUGE, TileLength=HUGE),
    "no pixels": retagged(ImageWidth=0, ImageLength=0),
    "one column": retagged(ImageWidth=1),
    "white below black": lambda path: raw_files.write_dng(path, raw_files.codes(), black=(200,), white=100),
    "linear": lambda path: raw_files.write_dng(path, raw_files.codes(), cfa=None, PhotometricInterpretation=34892),
    "no mosaic": lambda path: raw_files.write_dng(path, raw_files.codes(), cfa=None),
}
RAW: dict[str, Subject] = {
    "DNG": Subject("scene/a.dng", write_dngs, raw_values, WRONG_RAW),
    "DNG bursts": Subject("scene/a.dng", write_dngs, raw_burst_values, WRONG_RAW),
    "DNG noise profile": Subject(
        "scene/a.dng",
        write_dngs,
        read_noise_profile,
        {"NaN": lambda path: raw_files.write_dng(path, raw_files.codes(), NoiseProfile=[float("nan"), 1e-6])},
    ),
}

# Pictures.


def picture(shape: tuple[int, ...] = (33, 40, 3), seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def picture_values(path: Path) -> list[Any]:
    """The light in a picture, as the programs that take pictures ask for it."""
    file = open_file(path)
    scale = choose_scale(file.image.dtype, values="full_scale")
    found = []
    for page in file.read():
        try:
            found.append(scale.to_signal(torch.from_numpy(page.astype(np.float32))))
        except InputError as error:  # programs add the name
            raise InputError(f"{path}: {error}") from error
    assert len(found) == file.image.pages and all(page.shape == file.image.page_shape for page in found)
    return found


def training_values(path: Path) -> Any:
    """The pictures of a folder, or an array of them, as NR-GAN takes them."""
    found = clean_images(path.parent if path.suffix in (".png", ".jpg") else path)
    assert found.values.ndim == 4 and found.shape[1:] == (32, 32)
    return found[:]


def write_pictures(folder: Path, name: str) -> None:
    for number in range(2):
        Image.fromarray(picture(seed=number)).save(folder / (name if number == 0 else f"z{name}"))


def huge_png(path: Path) -> None:
    """A PNG whose header claims 10^5 x 10^5, its checksum right."""
    Image.fromarray(picture()).save(path)
    data = path.read_bytes()
    header = data[12:16] + struct.pack(">II", HUGE, HUGE) + data[24:29]
    path.write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])


def huge_jpeg(path: Path) -> None:
    Image.fromarray(picture()).save(path, "JPEG")
    data = path.read_bytes()
    place = data.index(b"\xff\xc0") + 5
    path.write_bytes(data[:place] + struct.pack(">HH", 65000, 65000) + data[place + 4 :])


def picture_subject(name: str, save: Callable[[Path], object], **wrong: Callable[[Path], object]) -> Subject:
    return Subject(name, lambda folder: save(folder / name), picture_values, wrong)


WRONG_PNG = {"10^5 x 10^5": huge_png, "palette": lambda path: Image.fromarray(picture()).quantize().save(path)}
WRONG_JPEG = {
    "65000 x 65000": huge_jpeg,
    "CMYK": lambda path: Image.fromarray(picture()).convert("CMYK").save(path, "JPEG"),
}
NAN = np.full((4, 16, 20), np.nan, np.float32)
PICTURES: dict[str, Subject] = {
    "PNG": picture_subject("p.png", lambda path: Image.fromarray(picture()).save(path), **WRONG_PNG),
    "PNG 16 bit": picture_subject("p.png", lambda path: write_png(path, picture().astype(np.uint16) * 257)),
    "JPEG": picture_subject("p.jpg", lambda path: Image.fromarray(picture()).save(path), **WRONG_JPEG),
    "TIFF picture": picture_subject(
        "p.tif",
        lambda path: tifffile.imwrite(path, picture(), compression="zlib", metadata=None),
        **{"10^5 x 10^5": lambda path: huge_tif(path, True, picture((1, 33, 40)))},
        NaN=lambda path: tifffile.imwrite(path, NAN[0], metadata=None),
    ),
    "npy picture": picture_subject(
        "p.npy", lambda path: np.save(path, picture()), **HUGE_NPY, NaN=lambda p: np.save(p, NAN)
    ),
    "npz picture": picture_subject("p.npz", lambda path: np.savez(path, picture()), **HUGE_NPZ),
    "h5 picture": picture_subject("p.h5", lambda path: save_h5(path, picture(), "p"), **HUGE_H5),
    "folder of PNG": Subject("p.png", lambda folder: write_pictures(folder, "p.png"), training_values, WRONG_PNG),
    "folder of JPEG": Subject("p.jpg", lambda folder: write_pictures(folder, "p.jpg"), training_values, WRONG_JPEG),
    "npy images": Subject(
        "i.npy",
        lambda folder: np.save(folder / "i.npy", picture((4, 3, 32, 32))),
        training_values,
        {**HUGE_NPY, "NaN": lambda path: np.save(path, np.full((4, 3, 32, 32), np.nan))},
    ),
    "npz images": Subject(
        "i.npz",
        lambda folder: np.savez(folder / "i.npz", images=picture((4, 3, 32, 32)), labels=np.arange(4)),
        training_values,
        {
            **HUGE_NPZ,
            "labels of text": lambda path: np.savez(path, images=picture((4, 3, 32, 32)), labels=list("abcd")),
            "nothing": lambda path: np.savez(path),
        },
    ),
}
FILES: dict[str, Subject] = {**FRAMES, **RECORDINGS, **RAW, **PICTURES}
