"""Frames: every format gives the same crops, reads no more than them, and refuses bad files in one line."""

import json
import os
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets import open_frames
from datasets.cache import cache_folder
from noisemodel.errors import InputError

RNG = np.random.default_rng(0)
MONO = RNG.integers(0, 4096, (5, 18, 23)).astype(np.uint16)
COLOUR = RNG.integers(0, 4096, (4, 3, 18, 23)).astype(np.uint16)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NOISEMODEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_hdf5(path: Path, frames: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("frames", data=frames, chunks=True, compression="gzip")


def write_mat73(path: Path, frames: np.ndarray) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        data = file.create_dataset("frames", data=np.ascontiguousarray(frames.T))
        data.attrs["MATLAB_class"] = np.bytes_("uint16")
        cfa = file.create_dataset("cfa", data=np.array([[ord(letter)] for letter in "GRBG"], np.uint16))
        cfa.attrs["MATLAB_class"] = np.bytes_("char")
        file.create_dataset("black_level", data=np.array([[64.0]]))
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def write_appended(path: Path, frames: np.ndarray) -> None:
    with tifffile.TiffWriter(path) as tif:
        for frame in frames:
            tif.write(frame, compression="zlib", photometric="minisblack")


def write_channels_last(path: Path, frames: np.ndarray, **options: object) -> None:
    tifffile.imwrite(path, np.moveaxis(frames, 1, -1), photometric="rgb", **options)


def write_numbered(path: Path, frames: np.ndarray) -> None:
    path.mkdir()
    for t, frame in enumerate(frames):
        tifffile.imwrite(path / f"scene_{t + 8}.tif", frame, photometric="minisblack")  # 8, 9, 10: by number, not name


def write_tiff(path: Path, frames: np.ndarray, **options: object) -> None:
    tifffile.imwrite(path, frames, photometric="minisblack", **options)


WRITERS: dict[str, tuple[str, np.ndarray, Callable[[Path, np.ndarray], object]]] = {
    "npy": ("a.npy", MONO, np.save),
    "npy fortran": ("a.npy", MONO, lambda path, frames: np.save(path, np.asfortranarray(frames))),
    "npy big endian float": ("a.npy", MONO, lambda path, frames: np.save(path, frames.astype(">f4"))),
    "npy colour": ("a.npy", COLOUR, np.save),
    "npz packed": ("a.npz", MONO, lambda path, frames: np.savez_compressed(path, frames=frames, other=frames)),
    "npz any name": ("a.npz", COLOUR, lambda path, frames: np.savez(path, burst=frames, exposure=np.ones((2, 2)))),
    "hdf5": ("a.h5", MONO, write_hdf5),
    "hdf5 colour": ("a.HDF5", COLOUR, write_hdf5),
    "mat 5": ("a.mat", MONO, lambda path, frames: scipy.io.savemat(path, {"frames": frames}, do_compression=True)),
    "mat 5 colour": ("a.mat", COLOUR, lambda path, frames: scipy.io.savemat(path, {"burst": frames})),
    "mat 7.3": ("a.mat", MONO, write_mat73),
    "mat 7.3 colour": ("a.mat", COLOUR, write_mat73),
    "tif": ("a.tif", MONO, write_tiff),
    "tif plain": ("a.tiff", MONO, lambda path, frames: write_tiff(path, frames, metadata=None)),
    "tif big endian": ("a.tif", MONO, lambda path, frames: write_tiff(path, frames, byteorder=">")),
    "tif imagej": ("a.tif", MONO, lambda path, frames: write_tiff(path, frames, imagej=True)),
    "tif packed": ("a.tif", MONO, lambda path, frames: write_tiff(path, frames, compression="zlib")),
    "tif tiled": ("a.tif", MONO, lambda path, frames: write_tiff(path, frames, tile=(16, 16))),
    "tif appended": ("a.tif", MONO, write_appended),
    "tif planes": ("a.tif", COLOUR, write_tiff),
    "tif planes packed": ("a.tif", COLOUR, lambda path, frames: write_tiff(path, frames, compression="zlib")),
    "tif rgb": ("a.tif", COLOUR, write_channels_last),
    "tif rgb packed": ("a.tif", COLOUR, lambda path, frames: write_channels_last(path, frames, compression="zlib")),
    "tif planar rgb": (
        "a.tif",
        COLOUR,
        lambda path, frames: tifffile.imwrite(path, frames, photometric="rgb", planarconfig="separate"),
    ),
    "tif numbered": ("burst", MONO, write_numbered),
}


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_crop_equals_the_slice_of_the_whole(name: str, data: st.DataObject, tmp_path: Path) -> None:
    file, expected, write = WRITERS[name]
    path = tmp_path / file
    if not path.exists():
        write(path, expected)
    frames = pickle.loads(pickle.dumps(open_frames(path)))
    assert frames.shape == expected.shape
    chosen = data.draw(st.permutations(range(expected.shape[0])))[: data.draw(st.integers(1, expected.shape[0]))]
    rows, columns = (slice(*sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2)))) for n in expected.shape[-2:])
    crop = frames.read(chosen, rows, columns)
    assert crop.dtype.isnative
    np.testing.assert_array_equal(crop, expected[chosen][..., rows, columns])
    np.testing.assert_array_equal(frames.read(range(2), slice(None), slice(None)), expected[:2])


def test_a_frame_that_is_not_there_is_an_index_error(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", MONO)
    with pytest.raises(IndexError, match=r"0\.\.4"):
        open_frames(tmp_path / "a.npy").read([5], slice(None), slice(None))


@pytest.mark.parametrize("suffix", ["npy", "h5", "tif", "npz"])
def test_a_crop_does_not_bring_the_stack_into_memory(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    stack = np.zeros((16, 1024, 1024), np.uint16)  # 32 MiB
    writers = {"npy": np.save, "h5": write_hdf5, "tif": write_tiff}
    writers.get(suffix, lambda path, stack: np.savez_compressed(path, frames=stack))(path, stack)
    del stack
    tracemalloc.start()
    crop = open_frames(path).read(range(16), slice(500, 564), slice(500, 564))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert crop.shape == (16, 64, 64)
    assert peak < 4 << 20  # one copy buffer of 1 MiB, and what parsing takes


def test_the_cache_is_used_once_and_follows_the_file(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, frames=MONO)
    open_frames(path)
    (first,) = cache.iterdir()
    made = first.stat().st_mtime_ns
    open_frames(path)
    assert [file.stat().st_mtime_ns for file in cache.iterdir()] == [made]
    np.savez(path, frames=MONO + 1)  # of the same size
    os.utime(path, ns=(1, 1))
    np.testing.assert_array_equal(open_frames(path).read([0], slice(None), slice(None))[0], MONO[0] + 1)
    (second,) = cache.iterdir()  # the copy of the earlier state is gone
    assert second != first


def test_an_interrupted_unpacking_leaves_nothing(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", frames=MONO)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.copyfileobj", interrupt)
    with pytest.raises(KeyboardInterrupt):
        open_frames(tmp_path / "a.npz")
    assert list(cache.iterdir()) == []


def test_the_cache_folder_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NOISEMODEL_CACHE", str(tmp_path / "file" / "cache"))
    np.savez_compressed(tmp_path / "a.npz", frames=MONO)
    with pytest.raises(InputError, match="NOISEMODEL_CACHE"):
        open_frames(tmp_path / "a.npz")
    monkeypatch.delenv("NOISEMODEL_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "noisemodel"


def test_facts_stored_with_the_frames(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", frames=MONO, black_level=10.5, white_level=np.array([4095]), cfa="RGGB")
    assert open_frames(tmp_path / "a.npz").stored == {"black_level": 10.5, "white_level": 4095.0, "cfa": "RGGB"}
    write_hdf5(tmp_path / "a.h5", MONO)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.attrs["layout"] = "mosaic"
        file["frames"].attrs["white_level"] = 1023
        file["black_level"] = 64
    assert open_frames(tmp_path / "a.h5").stored == {"black_level": 64.0, "white_level": 1023.0, "layout": "mosaic"}
    write_mat73(tmp_path / "a.mat", MONO)
    assert open_frames(tmp_path / "a.mat").stored == {"black_level": 64.0, "cfa": "GRBG"}
    scipy.io.savemat(tmp_path / "b.mat", {"frames": MONO, "black_level": 12.0, "cfa": "BGGR"})
    assert open_frames(tmp_path / "b.mat").stored == {"black_level": 12.0, "cfa": "BGGR"}
    np.save(tmp_path / "a.npy", MONO)
    (tmp_path / "levels.json").write_text(json.dumps({"black_level": 3, "layout": "planes"}))
    assert open_frames(tmp_path / "a.npy").stored == {"black_level": 3.0, "layout": "planes"}


def cut(write: Callable[[Path, np.ndarray], object], share: float = 0.6) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        write(path, np.random.default_rng(1).integers(0, 4096, (5, 64, 64)).astype(np.uint16))
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    return make


def save_npz(path: Path, frames: np.ndarray) -> None:
    np.savez_compressed(path, frames=frames)


def unequal_pages(path: Path) -> None:
    with tifffile.TiffWriter(path) as tif:
        for size in (18, 18, 20):
            tif.write(np.zeros((size, 23), np.uint16), photometric="minisblack")


def unequal_files(last: np.ndarray) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        write_numbered(path, MONO)
        tifffile.imwrite(path / "scene_99.tif", last, photometric="minisblack")

    return make


def badly_stored(path: Path) -> None:
    np.savez(path, frames=MONO, black_level="dark")


def objects(path: Path) -> None:
    np.savez(path, frames=np.array([[["a", 1], [None, 2]]] * 2, dtype=object))


BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("a.npy", lambda path: None, "no such file"),
    "unknown type": ("a.png", Path.touch, ".tif"),
    "truncated npy": ("a.npy", cut(np.save), "truncated"),
    "truncated npz": ("a.npz", cut(save_npz), "complete"),
    "truncated h5": ("a.h5", cut(write_hdf5), "complete"),
    "truncated mat": ("a.mat", cut(lambda path, a: scipy.io.savemat(path, {"frames": a})), "complete"),
    "truncated mat 7.3": ("a.mat", cut(write_mat73), "complete"),
    "truncated tif": ("a.tif", cut(write_tiff), "copy"),
    "tif without its last pages": ("a.tif", cut(lambda p, a: write_tiff(p, a, metadata=None), 0.99), "damaged"),
    "truncated packed tif": ("a.tif", cut(lambda p, a: write_tiff(p, a, compression="zlib"), 0.95), "copy"),
    "empty file": ("a.npz", Path.touch, "complete"),
    "not a tif": ("a.tif", lambda path: path.write_text("hello"), "complete"),
    "two axes": ("a.npy", lambda path: np.save(path, MONO[0]), r"\(T, H, W\)"),
    "five axes": ("a.npy", lambda path: np.save(path, COLOUR[None]), r"\(T, H, W\)"),
    "one frame": ("a.npy", lambda path: np.save(path, MONO[:1]), "at least 2"),
    "one page": ("a.tif", lambda path: write_tiff(path, MONO[0]), "at least 2"),
    "no pixels": ("a.npy", lambda path: np.save(path, MONO[:, :0]), "empty"),
    "complex": ("a.npy", lambda path: np.save(path, MONO.astype(np.complex64)), "integers or floats"),
    "complex mat": ("a.mat", lambda path: scipy.io.savemat(path, {"frames": MONO * 1j}), "integers or floats"),
    "text": ("a.npz", lambda path: np.savez(path, frames=MONO.astype(str)), "integers or floats"),
    "cell": ("a.mat", lambda p: scipy.io.savemat(p, {"frames": np.full((2, 2, 2), "a", object)}), "MATLAB cell"),
    "pickled objects": ("a.npz", objects, "plain number array"),
    "pickled npy": ("a.npy", lambda path: np.save(path, np.full((2, 2, 2), None), allow_pickle=True), "pickled"),
    "no array": ("a.npz", lambda path: np.savez(path, image=MONO[0]), "which holds image"),
    "several arrays": ("a.npz", lambda path: np.savez(path, a=MONO, b=MONO), "a, b"),
    "channels last": ("a.npy", lambda path: np.save(path, np.moveaxis(COLOUR, 1, -1)), "channels last"),
    "unequal pages": ("a.tif", unequal_pages, "unequal size"),
    "unequal files": ("burst", unequal_files(MONO[0, 1:]), "unequal size"),
    "unequal types": ("burst", unequal_files(MONO[0].astype(np.float32)), "unequal size"),
    "many pages in a numbered file": ("burst", unequal_files(MONO), "separate"),
    "empty folder": ("burst", Path.mkdir, "got none"),
    "level is text": ("a.npz", badly_stored, "finite number"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_with_the_path_and_leaves_nothing(name: str, tmp_path: Path, cache: Path) -> None:
    file, make, remedy = BAD[name]
    path = tmp_path / file
    make(path)
    with pytest.raises(InputError, match=remedy) as caught:
        open_frames(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not cache.exists() or list(cache.iterdir()) == []


def test_an_explicit_key(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", frames=MONO, second=MONO + 1)
    crop = open_frames(tmp_path / "a.npz", key="second").read([2], slice(3), slice(3))
    np.testing.assert_array_equal(crop[0], MONO[2, :3, :3] + 1)
    with pytest.raises(InputError, match="it holds frames, second"):
        open_frames(tmp_path / "a.npz", key="third")


def test_a_file_that_is_cut_while_in_use_is_an_input_error(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", MONO)
    frames = open_frames(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.npy"):
        frames.read([0], slice(None), slice(None))


@pytest.mark.parametrize("text", ['{"black_level": 1', "[1]", '{"black": 1}', '{"black_level": "x"}', '{"cfa": 4}'])
def test_a_bad_levels_file_is_named(text: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", MONO)
    (tmp_path / "levels.json").write_text(text)
    with pytest.raises(InputError, match=r"levels\.json"):
        open_frames(tmp_path / "a.npy")
