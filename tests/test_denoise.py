"""denoise.py: what comes out is what went in, but for the noise: type, bit depth, places, levels."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from denoising import RNG, Halved, Use, draw, read, run, write
from raw_files import CFAS, codes, write_dng
from torch import Tensor, nn

import denoise
from denoisers.clips import mirrored, windows
from noisemodel import Levels, pack_mosaic
from noisemodel.png import read_png

LEVELS = Levels(64, 4095)


class Frames(nn.Module):
    """The sum over frames of 10^-t x_t: tells which frame came where."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 10.0 ** -torch.arange(x.shape[1]).view(1, -1, 1, 1, 1)).sum(1)


class Numbers(nn.Module):
    """A constant for each plane."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([0.1, 0.2, 0.3, 0.4]).view(1, 4, 1, 1).expand_as(x)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    return Use(monkeypatch)


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
