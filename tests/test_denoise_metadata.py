"""denoise.py and what a file says beside its pixels: colours, EXIF, place, resolution and words stay."""

import struct
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from denoising import Use, draw, run
from PIL import Image, ImageCms, PngImagePlugin
from raw_files import codes, write_dng
from torch import nn

from denoisers.metadata import add_chunks, png_chunks
from denoisers.tiff_directories import EXIF, GPS, read_directories, write_directories
from noisemodel.images import Array
from noisemodel.png import write_png


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    return Use(monkeypatch)


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


def with_exif(path: Path, array: Array) -> Path:
    """A TIFF as cameras' converters write it: tags in the EXIF and GPS directories, one inside EXIF, a maker's note."""
    exif = Image.Exif()
    exif[0x010E], exif[0x0110] = "a scene", "Acme One"
    directories: dict[int, dict[int, Any]] = {
        EXIF: {
            0x829A: (1, 50), 0x8827: 800, 0x9003: "2026:01:02 03:04:05", 0x920A: 35.5, 0x9286: b"ASCII\0\0\0words",
            37500: b"note of a maker", 40965: {1: "R98"},
        },
        GPS: {1: "N", 2: (48.0, 8.0, 14.5), 3: "E", 4: (11.0, 34.0, 30.0)},
    }  # fmt: skip
    for code, content in directories.items():
        exif.get_ifd(code).update(content)
        exif[code] = content
    Image.fromarray(array).save(path, exif=exif, icc_profile=profile(), dpi=(300, 200))
    return path


@pytest.mark.parametrize(("shape", "dtype"), [((16, 24, 3), "uint8"), ((16, 24), "uint16")])
def test_tiff_keeps_exif_and_gps(shape: tuple[int, ...], dtype: str, use: Use, tmp_path: Path) -> None:
    source = with_exif(tmp_path / "a.tif", draw(shape, dtype))
    use(nn.Identity(), channels=3 if len(shape) == 3 else 1)
    with Image.open(source) as a, Image.open(run(tmp_path, source) / "a.tif") as b:
        np.testing.assert_array_equal(np.asarray(b), np.asarray(a))
        assert b.info["icc_profile"] == profile() and b.info["dpi"] == (300, 200)
        theirs, ours = a.getexif(), b.getexif()
        assert (ours[0x010E], ours[0x0110]) == ("a scene", "Acme One")
        assert ours.get_ifd(GPS) == theirs.get_ifd(GPS) != {}
        expected = {code: value for code, value in theirs.get_ifd(EXIF).items() if code not in (37500, 40965)}
        found = ours.get_ifd(EXIF)
        assert {code: found[code] for code in expected} == expected and len(expected) == 5
        assert 37500 not in found  # its own offsets would lead astray


def test_directories_are_the_same_in_every_byte_order_and_size_of_offsets(tmp_path: Path) -> None:
    kept = read_directories(with_exif(tmp_path / "a.tif", draw((16, 24), "uint8")))
    assert kept.keys() == {EXIF, GPS} and any(isinstance(entry.content, tuple) for entry in kept[EXIF])
    pages = draw((3, 9, 8), "uint16")
    for number, (big, order) in enumerate([(False, "<"), (False, ">"), (True, "<"), (True, ">")]):
        path = tmp_path / f"{number}.tif"
        tifffile.imwrite(path, pages, bigtiff=big, byteorder=order, photometric="minisblack")
        write_directories(path, kept)
        assert read_directories(path) == kept
        with tifffile.TiffFile(path) as tif:
            np.testing.assert_array_equal(tif.asarray(), pages)
            tags = tif.pages.first.tags
            assert tags[EXIF].value["ISOSpeedRatings"] == 800 and tags[GPS].value["GPSLatitudeRef"] == "N"


def test_raw_files_keep_exif(use: Use, tmp_path: Path) -> None:
    path = write_dng(tmp_path / "a.dng", codes((38, 52)))
    source = with_exif(tmp_path / "b.tif", draw((16, 24), "uint8"))
    write_directories(path, read_directories(source))
    use(nn.Identity(), channels=4, layout="mosaic")
    with tifffile.TiffFile(run(tmp_path, path) / "a.tif") as tif:
        assert tif.pages.first.tags[EXIF].value["ISOSpeedRatings"] == 800
        np.testing.assert_array_equal(tif.asarray(), codes((38, 52)))


def test_what_is_damaged_of_directories_is_left_out_and_the_picture_comes_through(use: Use, tmp_path: Path) -> None:
    array = draw((16, 24), "uint8")
    content = bytearray(with_exif(tmp_path / "a.tif", array).read_bytes())
    places = [content.index(struct.pack("<HHI", code, 4, 1)) + 8 for code in (EXIF, GPS)]
    exif, gps = (struct.unpack_from("<I", content, place)[0] for place in places)
    struct.pack_into("<I", content, places[1], len(content) + 100)  # a directory outside the file
    first = content.index(struct.pack("<HH", 0x9003, 2), exif)
    struct.pack_into("<I", content, first + 4, 1 << 30)  # an entry that is longer than the file
    (tmp_path / "a.tif").write_bytes(content)
    found = read_directories(tmp_path / "a.tif")
    assert found.keys() == {EXIF} and {entry.code for entry in found[EXIF]} == {
        0x829A, 0x8827, 0x920A, 0x9286, 40965,
    }  # fmt: skip
    struct.pack_into("<I", content, places[1], gps)  # tifffile refuses a file with such a directory, before all else
    (tmp_path / "a.tif").write_bytes(content)
    use(nn.Identity(), channels=1)
    np.testing.assert_array_equal(tifffile.imread(run(tmp_path, tmp_path / "a.tif") / "a.tif"), array)
    (tmp_path / "far.tif").write_bytes(b"MM" + struct.pack(">HHHQ", 43, 8, 0, (1 << 64) - 1))
    assert read_directories(tmp_path / "far.tif") == {}
    for end in (2, 3, 6, 9, 100):
        (tmp_path / "cut.tif").write_bytes(content[:end])
        assert read_directories(tmp_path / "cut.tif") == {}


@pytest.mark.parametrize(("shape", "dtype"), [((16, 24), "uint8"), ((16, 24, 3), "uint16"), ((16, 24), "uint16")])
def test_png_of_every_depth_keeps_its_chunks(shape: tuple[int, ...], dtype: str, use: Use, tmp_path: Path) -> None:
    words = PngImagePlugin.PngInfo()
    words.add_text("Title", "a scene")
    words.add_itxt("Author", "Zoë")
    words.add(b"gAMA", struct.pack(">I", 45455))
    Image.new("L", (4, 4)).save(tmp_path / "words.png", pnginfo=words, icc_profile=profile(), exif=Image.Exif())
    chunks = png_chunks(tmp_path / "words.png")
    write_png(tmp_path / "a.png", draw(shape, dtype))
    add_chunks(tmp_path / "a.png", chunks)
    use(nn.Identity(), channels=3 if len(shape) == 3 else 1)
    written = run(tmp_path, tmp_path / "a.png") / "a.png"
    assert png_chunks(written) == chunks
    assert {name for name, _ in chunks} >= {b"iCCP", b"tEXt", b"iTXt", b"gAMA"}
    with Image.open(written) as found:
        found.load()
        assert (found.info["Title"], found.info["Author"], found.info["gamma"]) == ("a scene", "Zoë", 0.45455)
        assert found.info["icc_profile"] == profile()


def test_words_that_are_not_ascii_stay_in_tiff(use: Use, tmp_path: Path) -> None:
    words = "Zoë, 35 µm".encode()
    extra: Any = [(315, "s", 0, words, True)]
    tifffile.imwrite(tmp_path / "a.tif", draw((9, 8), "uint8"), description=words, extratags=extra, metadata=None)
    use(nn.Identity(), channels=1)
    written = run(tmp_path, tmp_path / "a.tif") / "a.tif"
    assert written.read_bytes().count(words) == 2
