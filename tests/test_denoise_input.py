"""denoise.py and bad input: one line that names the remedy, exit code 2, nothing written."""

import errno
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from raw_files import codes, write_dng

import denoise
from denoisers import DenoiserSettings, build_denoiser, save_denoiser
from noisemodel import Levels, stream

KINDS = {
    "rgb": DenoiserSettings("n2n", "unet", 3, "srgb", width=2),
    "grey": DenoiserSettings("n2n", "unet", 1, "srgb", width=2),
    "mosaic": DenoiserSettings("supervised", "unet", 4, "mosaic", width=2, cfa="RGGB"),
    "mono": DenoiserSettings("supervised", "unet", 1, "planes", width=2, levels=Levels(64, 4095)),
}
OVER = np.full((9, 8), 5000, np.uint16)
CASES = [
    ("rgb", "grey.png", (), "has 1 channel(s), the denoiser was trained on pictures of 3 channel(s)"),
    ("grey", "rgb.png", (), "has 3 channel(s), the denoiser was trained on pictures of 1"),
    ("rgb", "raw.dng", (), "is a raw file, the denoiser was trained on pictures"),
    ("mono", "raw.dng", (), "is a raw file, the denoiser was trained on linear images"),
    ("mosaic", "rgb.png", (), "is a picture, the denoiser was trained on raw mosaics of 4"),
    ("mosaic", "over.npy", (), "holds uint16 and the denoiser knows no levels; give --black_level and --white_level"),
    ("mono", "over.npy", (), "values reach 5000, but the white level would be 4095"),
    ("grey", "nan.npy", (), "holds NaN or infinite values"),
    ("rgb", "broken.png", (), "truncated or damaged"),
    ("rgb", "broken.jpg", (), "cannot read"),
    ("rgb", "broken.npz", (), "cannot read"),
    ("mosaic", "broken.dng", (), "broken.dng"),
    ("rgb", "cmyk.jpg", (), "is a JPEG of kind CMYK"),
    ("grey", "two.npz", (), "holds a, b; name one array with --key"),
    ("grey", "two.npz", ("--key", "c"), "holds a, b; name one array with --key"),
    ("rgb", "text.txt", (), "is no image that is read here; known: .png"),
    ("rgb", "absent.png", (), "no such file or folder: "),
    ("rgb", "absent", (), "absent; check the path"),
    ("rgb", "rgb.png", ("--key", "a"), "rgb.png is one image, only .npz, .h5, .hdf5 hold arrays by name; leave it out"),
    ("rgb", "rgb.png", ("--axes", "HWC"), "rgb.png says itself what its axes are"),
    ("rgb", "rgb.png", ("--render",), "is for pictures, which are developed already; leave it out"),
    ("rgb", "empty", (), "holds no images"),
    ("absent", "rgb.png", (), "no such denoiser"),
    ("rgb", "rgb.png", ("--tile", "100"), "--tile must be a multiple of 32"),
    ("rgb", "rgb.png", ("--tile", "64", "--overlap", "64"), "--overlap must be"),
    ("rgb", "rgb.png", ("--black_level", "3"), "give --black_level and --white_level together"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    for name, settings in KINDS.items():
        save_denoiser(build_denoiser(settings, generator=stream(0, name)), folder / name)
    Image.fromarray(np.full((9, 8), 7, np.uint8)).save(folder / "grey.png")
    Image.fromarray(np.full((9, 8, 3), 7, np.uint8)).save(folder / "rgb.png")
    Image.fromarray(np.full((9, 8, 4), 7, np.uint8), "CMYK").save(folder / "cmyk.jpg")
    np.save(folder / "over.npy", OVER)
    np.save(folder / "nan.npy", np.full((9, 8), np.nan, np.float32))
    np.savez(folder / "two.npz", a=np.zeros((9, 8)), b=np.zeros((9, 8)))
    for name in ("broken.png", "broken.jpg", "broken.npz", "broken.dng", "text.txt"):
        (folder / name).write_text("no image")
    (folder / "broken.png").write_bytes((folder / "rgb.png").read_bytes()[:50])
    write_dng(folder / "raw.dng", codes())
    (folder / "empty").mkdir()
    return folder


@pytest.mark.parametrize(("run", "image", "words", "message"), CASES)
def test_bad_input_is_one_line_and_writes_nothing(
    run: str, image: str, words: tuple[str, ...], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "out"
    try:
        code = denoise.main([str(folder / run), str(folder / image), "-o", str(out), *words])
    except SystemExit as stop:
        code = int(stop.code or 0)
    err = capsys.readouterr().err
    assert code == 2 and message in err and err.count("\n") == 1, err
    assert not out.exists()


def test_outputs_that_would_meet_or_land_among_the_inputs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = folder / "in"
    given.mkdir()
    Image.fromarray(np.full((9, 8, 3), 7, np.uint8)).save(given / "a.png")
    Image.fromarray(np.full((9, 8, 3), 7, np.uint8)).save(given / "a.jpg")
    for words, message in (
        ((given, "-o", folder / "o"), "would both be written to"),
        ((given, "-o", given / "o"), "lies in the input folder"),
        ((given / "a.png", "-o", given), "is the folder of"),
        ((given / "a.png", "-o", given / "a.jpg"), "is a file; name a folder"),
        ((given / "a.png", "-o", given / "a.jpg" / "deep" / "o"), "a.jpg, a file; name a folder"),
        ((given / "a.png", given / ".." / "in" / "a.png", "-o", folder / "o"), "is given twice; name it once"),
    ):
        assert denoise.main([str(folder / "rgb"), *map(str, words)]) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1, err


def test_what_is_wrong_with_an_image_names_it_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(folder / "nan_rgb.npy", np.full((9, 8, 3), np.nan, np.float32))
    assert denoise.main([str(folder / "rgb"), str(folder / "nan_rgb.npy"), "-o", str(folder / "once")]) == 2
    err = capsys.readouterr().err
    assert err.count("nan_rgb.npy") == 1 and "repair these pixels first" in err


def test_a_full_disk_is_told_with_the_files_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, write: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(denoise, "write_atomically", full)
    assert denoise.main([str(folder / "rgb"), str(folder / "rgb.png"), "-o", str(folder / "full")]) == 2
    expected = f"cannot write {folder / 'full' / 'rgb.png'}: No space left on device; choose another folder with --out"
    assert expected in capsys.readouterr().err


def test_a_picture_of_one_pixel_is_denoised(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((1, 1, 3), 7, np.uint8)).save(tmp_path / "dot.png")
    assert denoise.main([str(folder / "rgb"), str(tmp_path / "dot.png"), "-o", str(tmp_path / "out")]) == 0
    with Image.open(tmp_path / "out" / "dot.png") as found:
        assert found.size == (1, 1)


def test_a_single_frame_is_no_clip(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = DenoiserSettings("supervised", "unet", 1, "srgb", frames=5, width=2)
    denoiser = build_denoiser(settings, generator=stream(0, "clip"))
    monkeypatch.setattr(denoise, "load_denoiser", lambda path: denoiser)
    assert denoise.main(["model", str(folder / "grey.png"), "-o", str(folder / "o")]) == 2
    assert "is a single frame, the denoiser takes clips of 5" in capsys.readouterr().err


def test_levels_of_the_command_line_say_what_values_mean(folder: Path, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", OVER)
    words = [str(folder / "mosaic"), str(tmp_path / "a.tif"), "-o", str(tmp_path / "out")]
    assert denoise.main([*words, "--black_level", "256", "--white_level", "16383"]) == 0
    assert tifffile.imread(tmp_path / "out" / "a.tif").dtype == np.uint16
