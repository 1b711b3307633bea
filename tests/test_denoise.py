"""denoise.py: what comes out is what went in, but for the noise: type, bit depth, metadata, places, levels."""

from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms
from raw_files import CFAS, codes, write_dng
from torch import Tensor, nn

import denoise
from denoisers import Denoiser, DenoiserSettings
from denoisers.clips import mirrored, windows
from noisemodel import Levels, pack_mosaic
from noisemodel.images import Array
from noisemodel.png import read_png, write_png

RNG = np.random.default_rng(0)
LEVELS = Levels(64, 4095)


class Halved(nn.Module):
    """x / 2: half of the signal."""

    def forward(self, x: Tensor) -> Tensor:
        return x / 2


class Frames(nn.Module):
    """The sum over frames of 10^-t x_t: tells which frame came where."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 10.0 ** -torch.arange(x.shape[1]).view(1, -1, 1, 1, 1)).sum(1)


class Numbers(nn.Module):
    """A constant for each plane."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([0.1, 0.2, 0.3, 0.4]).view(1, 4, 1, 1).expand_as(x)


class Use:
    """Lets the program load a denoiser made here; counts the most pixels it was asked for at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch, self.largest = monkeypatch, 0

    def __call__(self, network: nn.Module, **settings: Any) -> None:
        given = {"method": "n2n", "network": "unet", "channels": 3, "layout": "srgb", **settings}
        denoiser = Denoiser(DenoiserSettings(**given), network).eval()
        plain = denoiser.denoise

        def counted(images: Tensor) -> Tensor:
            self.largest = max(self.largest, images.shape[-1] * images.shape[-2])
            return plain(images)

        self.monkeypatch.setattr(denoiser, "denoise", counted)
        self.monkeypatch.setattr(denoise, "load_denoiser", lambda path: denoiser)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    return Use(monkeypatch)


def run(tmp_path: Path, *words: object) -> Path:
    """Denoise into a folder, which is given back."""
    out = tmp_path / "out"
    assert denoise.main(["model", *map(str, words), "-o", str(out)]) == 0
    return out


def draw(shape: tuple[int, ...], dtype: str) -> Array:
    if dtype.startswith("float"):
        return RNG.random(shape).astype(dtype)
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


FILES: dict[str, tuple[tuple[int, ...], str]] = {
    "grey8.png": ((13, 17), "uint8"),
    "grey16.png": ((13, 17), "uint16"),
    "rgb8.png": ((13, 17, 3), "uint8"),
    "rgb16.png": ((13, 17, 3), "uint16"),
    "rgba16.PNG": ((13, 17, 4), "uint16"),
    "rgb16.tif": ((13, 17, 3), "uint16"),
    "rgb32.tiff": ((13, 17, 3), "float32"),
    "pages.tif": ((4, 13, 17), "uint16"),
    "chw.npy": ((3, 13, 17), "float64"),
    "stack.npy": ((2, 13, 17, 3), "uint8"),
    "burst.npz": ((5, 13, 17), "uint16"),
    "one.h5": ((13, 17), "float32"),
    "thin.png": ((40, 1, 3), "uint8"),
    "dot.npy": ((1, 1), "float32"),
}


def write(path: Path, array: Array) -> Path:
    suffix = path.suffix.lower()
    if suffix == ".png":
        write_png(path, array)
    elif suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, array, photometric="rgb" if array.shape[-1] == 3 else "minisblack")
    elif suffix == ".npz":
        np.savez_compressed(path, frames=array, exposure_s=np.float64(0.1))
    elif suffix == ".npy":
        np.save(path, array)
    else:
        with h5py.File(path, "w") as file:
            file["light"] = array
    return path


def read(path: Path) -> Array:
    suffix = path.suffix.lower()
    if suffix == ".png":
        return read_png(path)
    if suffix in (".tif", ".tiff"):
        return np.asarray(tifffile.imread(path))
    if suffix == ".npz":
        with np.load(path) as arrays:
            assert float(arrays["exposure_s"]) == 0.1
            return np.asarray(arrays["frames"])
    if suffix == ".npy":
        return np.asarray(np.load(path))
    with h5py.File(path) as file:
        return np.asarray(file["light"])


@pytest.mark.parametrize("name", FILES)
def test_files_keep_type_shape_and_values(name: str, use: Use, tmp_path: Path) -> None:
    shape, dtype = FILES[name]
    array = draw(shape, dtype)
    write(tmp_path / name, array)
    use(nn.Identity(), channels=1 if shape[-1] not in (3, 4) and shape[0] != 3 else 3)
    found = read(run(tmp_path, tmp_path / name) / name)
    assert (found.shape, found.dtype) == (array.shape, array.dtype)
    np.testing.assert_allclose(found, array, rtol=1e-6 if dtype.startswith("float") else 0)


def test_alpha_passes_and_light_is_denoised(use: Use, tmp_path: Path) -> None:
    array = draw((13, 17, 4), "uint16")
    write(tmp_path / "a.png", array)
    use(Halved())
    found = read(run(tmp_path, tmp_path / "a.png") / "a.png")
    np.testing.assert_array_equal(found[..., 3], array[..., 3])
    np.testing.assert_allclose(found[..., :3], array[..., :3] / 2, atol=0.51)


# Metadata


@cache  # it holds the time at which it was made
def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_pictures_keep_icc_exif_resolution_and_words(suffix: str, use: Use, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0110], exif[0x0112] = "Acme One", 6
    more: dict[str, Any] = {"quality": 95} if suffix == ".jpg" else {}
    picture = Image.fromarray(draw((16, 24, 3), "uint8"))
    picture.save(tmp_path / f"a{suffix}", icc_profile=profile(), exif=exif, dpi=(300, 300), **more)
    use(nn.Identity())
    written = run(tmp_path, tmp_path / f"a{suffix}") / "a.png"
    with Image.open(written) as found, Image.open(tmp_path / f"a{suffix}") as source:
        found.load()
        np.testing.assert_array_equal(np.asarray(found), np.asarray(source))
        assert found.info["icc_profile"] == profile()
        assert (found.getexif()[0x0110], found.getexif()[0x0112]) == ("Acme One", 6)
        assert found.info["dpi"] == pytest.approx((300, 300), abs=0.01)


def test_tiff_keeps_icc_resolution_orientation_and_words(use: Use, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "photometric": "rgb", "resolution": (300, 200), "resolutionunit": 2, "description": "a scene",
        "datetime": "2026:01:02 03:04:05", "software": "scanner 1", "iccprofile": profile(), "metadata": None,
        "extratags": [(274, "H", 1, 6, True), (271, "s", 0, "Acme", True), (700, "B", 4, b"<x/>", True)],
    }  # fmt: skip
    tifffile.imwrite(tmp_path / "a.tif", draw((16, 24, 3), "uint16"), **options)
    use(nn.Identity())
    with (
        tifffile.TiffFile(tmp_path / "a.tif") as a,
        tifffile.TiffFile(run(tmp_path, tmp_path / "a.tif") / "a.tif") as b,
    ):
        theirs, ours = ({tag.name: tag.value for tag in tif.pages.first.tags} for tif in (a, b))
    moved = {"StripOffsets", "StripByteCounts", "RowsPerStrip"}
    assert {name: ours.get(name) for name in theirs.keys() - moved} == {n: theirs[n] for n in theirs.keys() - moved}


# Raw


def test_raw_comes_out_as_a_16_bit_mosaic_with_its_levels(use: Use, tmp_path: Path) -> None:
    mosaic = codes((38, 52))
    path = write_dng(tmp_path / "a.dng", mosaic, black=(60, 64, 64, 70), cfa="GRBG")
    use(nn.Identity(), channels=4, layout="mosaic")
    out = run(tmp_path, path, "--render", "--side_by_side")
    with tifffile.TiffFile(out / "a.tif") as tif:
        found, tags = tif.asarray(), {tag.name: tag.value for tag in tif.pages.first.tags}
    np.testing.assert_array_equal(found, mosaic)
    assert found.dtype == np.uint16 and tags["Make"] == "Acme" and tags["WhiteLevel"] == 4095
    assert tags["CFAPattern"] == b"\x01\x00\x02\x01" and tags["BlackLevel"][::2] == (15360, 16384, 16384, 17920)
    assert read_png(out / "a_render.png").shape == (38, 52, 3)
    assert read_png(out / "a_side.png").shape == (19, 26 + 4 + 26, 3)


def test_every_position_is_taken_from_its_own_black_level(use: Use, tmp_path: Path) -> None:
    black, mosaic = (60, 64, 68, 72), codes((38, 52))
    path = write_dng(tmp_path / "a.dng", mosaic, black=black)
    use(Halved(), channels=4, layout="mosaic")
    found = read(run(tmp_path, path) / "a.tif").astype(float)
    level = np.tile(np.array(black, float).reshape(2, 2), (19, 26))
    np.testing.assert_allclose(found, level + (mosaic - level) / 2, atol=0.51)


@pytest.mark.parametrize("cfa", CFAS)
def test_colours_come_to_the_planes_that_the_denoiser_was_trained_on(cfa: str, use: Use, tmp_path: Path) -> None:
    path = write_dng(tmp_path / "a.dng", codes((38, 52)), cfa=cfa, black=(0,), white=1000)
    use(Numbers(), channels=4, layout="mosaic", cfa="RGGB")
    planes = pack_mosaic(torch.from_numpy(read(run(tmp_path, path) / "a.tif").astype(np.float32)))
    for colour, plane in zip(cfa, planes, strict=True):
        assert {int(value) for value in plane.unique()} <= {"R": {100}, "G": {200, 300}, "B": {400}}[colour]


@pytest.mark.parametrize("shape", [(8, 10), (7, 9), (1, 9), (6, 1)])
def test_mosaics_of_any_size(shape: tuple[int, int], use: Use, tmp_path: Path) -> None:
    array = RNG.integers(64, 4096, shape, np.uint16)
    np.save(tmp_path / "a.npy", array)
    use(Halved(), channels=4, layout="mosaic", levels=LEVELS)
    found = read(run(tmp_path, tmp_path / "a.npy") / "a.npy")
    np.testing.assert_allclose(found, 64 + (array - 64.0) / 2, atol=0.51)


# Clips


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_windows_are_mirrored_at_the_ends(count: int) -> None:
    reflected = np.pad(np.arange(count), 2, mode="reflect")
    assert list(windows(range(count), count, 5)) == [list(reflected[i : i + 5]) for i in range(count)]
    assert [mirrored(i, 1) for i in (-2, 0, 3)] == [0, 0, 0]


@pytest.mark.parametrize("form", ["file", "folder"])
def test_clips_of_pages_and_of_files(form: str, use: Use, tmp_path: Path) -> None:
    frames = (np.arange(1, 13) / 16).reshape(12, 1, 1) * np.ones((12, 6, 7))
    given = tmp_path / "in"
    given.mkdir()
    if form == "file":
        np.save(given / "clip.npy", frames.astype(np.float32))
    else:
        for number, frame in enumerate(frames):
            np.save(given / f"f_{number}.npy", frame.astype(np.float32))  # f_10 comes after f_9
    use(Frames(), channels=1, layout="planes", frames=5)
    out = run(tmp_path, given)
    found = np.load(out / "clip.npy") if form == "file" else np.stack([np.load(out / f"f_{i}.npy") for i in range(12)])
    padded = np.pad(frames, ((2, 2), (0, 0), (0, 0)), mode="reflect")
    expected = sum(10.0**-t * padded[t : t + 12] for t in range(5))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# Tiles, pictures, names


def test_tiles_bound_what_is_computed_at_once(use: Use, tmp_path: Path) -> None:
    array = draw((200, 300, 3), "uint8")
    write(tmp_path / "a.png", array)
    use(nn.Identity())
    out = run(tmp_path, tmp_path / "a.png", "--tile", 64, "--overlap", 32)
    np.testing.assert_array_equal(read(out / "a.png"), array)
    assert use.largest == 64 * 64


def test_side_by_side_is_noisy_beside_denoised(use: Use, tmp_path: Path) -> None:
    array = draw((13, 17), "uint16")
    write(tmp_path / "a.png", array)
    use(Halved(), channels=1)
    found = read_png(run(tmp_path, tmp_path / "a.png", "--side_by_side") / "a_side.png").astype(float)
    np.testing.assert_allclose(found[:, :17], array / 257, atol=0.51)
    np.testing.assert_allclose(found[:, 21:], array / 514, atol=0.51)


def test_places_below_a_folder_are_kept_and_outputs_are_not_overwritten(
    use: Use, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/a.png", ".hidden.png"):
        write(tmp_path / "in" / name, draw((9, 8, 3), "uint8"))
    use(nn.Identity())
    out = run(tmp_path, tmp_path / "in")
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == ["a.png", "deep/a.png"]
    words = ["model", str(tmp_path / "in"), "-o", str(out)]
    assert denoise.main(words) == 2 and "exists already" in capsys.readouterr().err
    assert denoise.main([*words, "--overwrite"]) == 0


class Breaks(nn.Module):
    """Works for the first page, not for the second."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > 1:
            raise KeyboardInterrupt
        return x


def test_nothing_is_left_half_written(use: Use, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", draw((2, 9, 8), "float32"))
    use(Breaks(), channels=1)
    assert denoise.main(["model", str(tmp_path / "a.npy"), "-o", str(tmp_path / "out")]) == 130
    assert list((tmp_path / "out").iterdir()) == []
