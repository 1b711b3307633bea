"""Measured patterns from files: every format, planes moved to the front, and one line for what is none."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
import torch

from datasets.patterns import load_pattern
from noisemodel import InputError

RNG = np.random.default_rng(0)
SENSOR = RNG.normal(0, 3, (10, 14)).astype(np.float32)
PLANES = RNG.integers(-50, 50, (4, 5, 7)).astype(np.int16)


def write_hdf5(path: Path, array: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["group/pattern"] = array


def write_matlab73(path: Path, array: np.ndarray) -> None:
    """As MATLAB does it: axes reversed, the class as an attribute."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset("pattern", data=array.T)
        data.attrs["MATLAB_class"] = np.bytes_(array.dtype.name)


WRITERS: dict[str, Callable[[Path, np.ndarray], object]] = {
    "p.npy": np.save,
    "p.npz": lambda path, array: np.savez_compressed(path, pattern=array, exposure_s=0.1, note="dark"),
    "p.mat": lambda path, array: scipy.io.savemat(path, {"pattern": array, "camera": "A"}),
    "v73.mat": write_matlab73,
    "p.h5": write_hdf5,
    "p.hdf5": write_hdf5,
    "p.tif": lambda path, array: tifffile.imwrite(path, array, photometric="minisblack"),
    "p.tiff": lambda path, array: tifffile.imwrite(path, array, photometric="minisblack"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format(name: str, tmp_path: Path) -> None:
    for array in (SENSOR, SENSOR.astype(np.float64), PLANES, PLANES[0].astype(np.uint16)):
        WRITERS[name](tmp_path / name, array)
        found = load_pattern(tmp_path / name)
        assert found.dtype == torch.float32
        np.testing.assert_array_equal(found.numpy(), array.astype(np.float32))


@pytest.mark.parametrize("name", WRITERS)
def test_planes_come_to_the_front(name: str, tmp_path: Path) -> None:
    for planes in (4, 3):
        WRITERS[name](tmp_path / name, np.ascontiguousarray(np.moveaxis(PLANES[:planes], 0, -1)))
        np.testing.assert_array_equal(load_pattern(tmp_path / name).numpy(), PLANES[:planes])


def test_planes_in_front_stay_there(tmp_path: Path) -> None:
    for shape in ((4, 6, 4), (4, 6, 3), (3, 5, 4), (1, 6, 8)):
        array = RNG.normal(size=shape).astype(np.float32)
        np.save(tmp_path / "p.npy", array)
        np.testing.assert_array_equal(load_pattern(tmp_path / "p.npy").numpy(), array)


def test_the_published_file(tmp_path: Path) -> None:
    """``fixed_pattern_noise.mat`` of the published data: mean_pattern (h, w, 4), 16-bit DN."""
    scipy.io.savemat(tmp_path / "fixed_pattern_noise.mat", {"mean_pattern": np.moveaxis(PLANES, 0, -1)})
    found = load_pattern(tmp_path / "fixed_pattern_noise.mat")
    assert found.shape == (4, 5, 7)
    np.testing.assert_array_equal(found.numpy(), PLANES)


def bad_files(folder: Path) -> dict[str, str]:
    """Write bad files; name -> what the message must hold."""
    nan = SENSOR.copy()
    nan[2, 3] = np.nan
    np.save(folder / "nan.npy", nan)
    np.save(folder / "inf.npy", np.where(np.isnan(nan), np.inf, nan))
    np.save(folder / "line.npy", SENSOR[0])
    np.save(folder / "burst.npy", np.zeros((2, 3, 4, 5)))
    np.save(folder / "complex.npy", SENSOR.astype(np.complex64))
    np.save(folder / "objects.npy", np.array([[None, 1]]), allow_pickle=True)
    np.save(folder / "empty.npy", np.zeros((0, 4)))
    np.savez(folder / "two.npz", a=SENSOR, b=SENSOR)
    np.savez(folder / "none.npz", gain=1.0)
    scipy.io.savemat(folder / "text.mat", {"camera": "A"})
    np.save(folder / "cut.npy", SENSOR)
    np.savez(folder / "cut.npz", pattern=SENSOR)
    tifffile.imwrite(folder / "cut.tif", SENSOR)
    for name in ("cut.npy", "cut.npz", "cut.tif"):
        (folder / name).write_bytes((folder / name).read_bytes()[:200])
    for name in ("bad.mat", "bad.h5", "photo.jpg", "noname"):
        (folder / name).write_bytes(b"x" * 200)
    (folder / "folder.npy").mkdir()
    return {
        "nan.npy": "holds NaN or infinite values; repair the defective pixels first",
        "inf.npy": "holds NaN or infinite values",
        **dict.fromkeys(("line.npy", "burst.npy", "complex.npy", "none.npz", "text.mat"), "axes, found none"),
        "empty.npy": "is empty, shape (0, 4); write it again",
        "two.npz": "needs one array with 2 or 3 axes, found a, b",
        **dict.fromkeys(("cut.npy", "cut.npz", "cut.tif", "bad.mat", "bad.h5", "objects.npy"), "cannot read"),
        "photo.jpg": "a fixed pattern is read from .npy, .npz, .mat, .h5",
        "noname": "a fixed pattern is read from",
        **dict.fromkeys(("folder.npy", "nowhere.npy", "nowhere.mat", "nowhere.h5", "nowhere.tif"), "no such file"),
    }


def test_bad_files_are_named(tmp_path: Path) -> None:
    for name, part in bad_files(tmp_path).items():
        with pytest.raises(InputError) as error:
            load_pattern(tmp_path / name)
        assert part in str(error.value) and str(tmp_path / name) in str(error.value), name
        assert "\n" not in str(error.value)
