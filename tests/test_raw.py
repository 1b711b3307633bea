"""Raw files come back bit for bit, with black levels, colours and noise profile in their places."""

import os
import sys
import textwrap

import numpy as np
import pytest
import tifffile
import torch
from raw_files import CFAS, XYZ_TO_CAMERA, codes, write_dng

from noisemodel import InputError, unpack_mosaic
from noisemodel.sensor.noise_profile import NoiseProfile, read_cfa, read_noise_profile
from noisemodel.sensor.raw import camera_to_srgb, read_raw
from noisemodel.sensor.raw_decoder import RawDecoder

XTRANS = [1, 1, 0, 1, 1, 2, 1, 1, 2, 1, 1, 0, 2, 0, 1, 0, 2, 1, 1, 1, 2, 1, 1, 0, 1, 1, 0, 1, 1, 2, 0, 2, 1, 2, 0, 1]


@pytest.mark.parametrize("cfa", CFAS)
@pytest.mark.parametrize("bits", [12, 16])
def test_codes_come_back_bit_for_bit(tmp_path, cfa, bits):
    mosaic = codes(bits=bits)
    raw = read_raw(write_dng(tmp_path / "a.dng", mosaic, bits=bits, cfa=cfa, black=(60, 61, 62, 63), white=4000))
    np.testing.assert_array_equal(raw.mosaic, mosaic)
    assert raw.mosaic.dtype == np.uint16
    assert (raw.cfa, raw.black_dn, raw.white_dn) == (cfa, (60, 61, 62, 63), 4000)


def test_what_the_file_says_of_the_camera(tmp_path):
    profile = [1e-4, 1e-6, 2e-4, 2e-6, 3e-4, 3e-6]
    raw = read_raw(write_dng(tmp_path / "a.DNG", codes(), NoiseProfile=profile))
    assert (raw.make, raw.model, raw.iso) == ("Acme", "One", 800)
    assert raw.white_balance == pytest.approx((2.0, 1.0, 1.5))
    assert raw.noise_profile == NoiseProfile(((1e-4, 1e-6), (2e-4, 2e-6), (3e-4, 3e-6)))
    np.testing.assert_allclose(raw.colour_matrix, camera_to_srgb(XYZ_TO_CAMERA), atol=1e-6)
    np.testing.assert_allclose(raw.colour_matrix.sum(axis=1), 1, atol=1e-6)


def test_what_the_file_does_not_say_is_none(tmp_path):
    raw = read_raw(write_dng(tmp_path / "a.dng", codes(), Make=None, Model=None, PhotographicSensitivity=None))
    assert (raw.make, raw.model, raw.iso, raw.noise_profile) == (None, None, None, None)


@pytest.mark.parametrize("area", [(2, 4, 38, 52), (3, 4, 37, 52), (3, 5, 37, 51), (2, 5, 38, 51)])
@pytest.mark.parametrize("cfa", CFAS)
def test_colours_and_black_levels_follow_the_active_area(tmp_path, cfa, area):
    """DNG 1.7: CFAPattern and BlackLevel begin at the corner of ActiveArea. LibRaw begins at the next even pixel."""
    black = (10, 20, 30, 40)
    stored = codes()
    raw = read_raw(write_dng(tmp_path / "a.dng", stored, cfa=cfa, black=black, ActiveArea=list(area)))
    top, left = (first + first % 2 for first in area[:2])
    np.testing.assert_array_equal(raw.mosaic, stored[top : area[2], left : area[3]])
    skip = np.array([top - area[0], left - area[1]])
    places = [tuple((np.array(place) + skip) % 2) for place in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert raw.cfa == "".join(cfa[2 * row + column] for row, column in places)
    assert raw.black_dn == tuple(black[2 * row + column] for row, column in places)


@pytest.mark.parametrize("shape", [(38, 52), (37, 51)])
def test_planes_go_back_to_codes_exactly(tmp_path, shape):
    black = (60, 70, 64, 66)
    raw = read_raw(write_dng(tmp_path / "a.dng", codes(shape, bits=16), bits=16, black=black))
    planes = raw.planes()
    assert raw.levels.black_dn == 70
    dn = planes.double() * raw.levels.range_dn + torch.tensor(black).view(4, 1, 1)
    height, width = (size // 2 * 2 for size in shape)
    np.testing.assert_array_equal(unpack_mosaic(dn).round().numpy(), raw.mosaic[:height, :width])


@pytest.mark.parametrize(
    ("tags", "channels", "said"),
    [
        ({"CFARepeatPatternDim": [6, 6], "CFAPattern": XTRANS, "cfa": None}, 1, "X-Trans"),
        (
            {"PhotometricInterpretation": 34892, "SamplesPerPixel": 3, "BitsPerSample": [16] * 3, "cfa": None},
            3,
            "linear",
        ),
        ({"PhotometricInterpretation": 34892, "cfa": None}, 1, "monochrome"),
    ],
)
def test_what_is_no_2x2_mosaic_is_refused(tmp_path, tags, channels, said):
    mosaic = codes() if channels == 1 else np.repeat(codes()[:, :, None], channels, axis=2)
    with pytest.raises(InputError, match=f"a.dng .*{said}.*convert it"):
        read_raw(write_dng(tmp_path / "a.dng", mosaic, bits=16, **tags))


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kept", [0, 4, 100, 700, -2000, -8])
def test_a_truncated_file_is_one_line(tmp_path, kept):
    path = write_dng(tmp_path / "a.dng", codes())
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"a\.dng") as error:
        read_raw(path)
    assert one_line(error)


def test_what_cannot_be_a_raw_file_is_one_line(tmp_path):
    (tmp_path / "text.dng").write_text("hello" * 1000)
    (tmp_path / "folder.dng").mkdir()
    tifffile.imwrite(tmp_path / "picture.tif", codes())
    for name, said in {
        "text.dng": "cannot decode",
        "folder.dng": "Is a directory",
        "none.dng": "No such file",
        "picture.tif": r"not called a raw file; read are \.dng",
    }.items():
        with pytest.raises(InputError, match=said) as error:
            read_raw(tmp_path / name)
        assert name in one_line(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_one_line(tmp_path):
    path = write_dng(tmp_path / "a.dng", codes())
    path.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        read_raw(path)


def test_random_damage_never_ends_the_process(tmp_path):
    whole = write_dng(tmp_path / "a.dng", codes()).read_bytes()
    random = np.random.default_rng(1)
    path = tmp_path / "b.dng"
    for _ in range(60):
        damaged = bytearray(whole)
        for place in random.integers(0, 700, 12):
            damaged[place] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            read_raw(path)
        except InputError as error:
            assert "b.dng" in str(error) and "\n" not in str(error)
    np.testing.assert_array_equal(read_raw(tmp_path / "a.dng").mosaic, codes())


FRAGILE = """
import os, signal, sys, time
sys.path.insert(0, {folder!r})
import raw_worker
def decode(path, real=raw_worker.decode):
    name = os.path.basename(path)
    if "crash" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "stall" in name:
        time.sleep(60)
    if "chatty" in name:
        os.write(1, b"the library prints this")
    return real(path)
raw_worker.decode = decode
raw_worker.main()
"""


def test_a_crash_or_stall_of_the_decoder_costs_one_file(tmp_path):
    from noisemodel.sensor import raw_worker

    script = tmp_path / "fragile.py"
    script.write_text(textwrap.dedent(FRAGILE.format(folder=os.path.dirname(raw_worker.__file__))))
    decoder = RawDecoder((sys.executable, "-P", str(script)), time_limit_s=2.0)
    names = ("good", "crash", "chatty", "stall", "last")
    for name in names:
        write_dng(tmp_path / f"{name}.dng", codes())
    read = {}
    said = {}
    for name in names:
        try:
            read[name] = read_raw(tmp_path / f"{name}.dng", decoder=decoder).mosaic
        except InputError as error:
            said[name] = str(error)
    decoder.close()
    assert set(read) == {"good", "chatty", "last"}
    assert "crash.dng: the decoder crashed (SIGSEGV)" in said["crash"]
    assert "stall.dng: it took more than 2 s" in said["stall"]
    assert all(np.array_equal(mosaic, codes()) for mosaic in read.values())


def test_one_child_serves_many_files(tmp_path):
    decoder = RawDecoder()
    path = write_dng(tmp_path / "a.dng", codes())
    children = set()
    for _ in range(3):
        decoder.decode(path)
        children.add(decoder._child.pid)
    decoder.close()
    assert len(children) == 1


@pytest.mark.parametrize(
    ("numbers", "cfa", "expected"),
    [
        ([2e-4, 3e-6], "BGGR", [(2e-4, 3e-6)] * 4),
        ([1e-4, 1e-6, 2e-4, 2e-6, 3e-4, 3e-6], "GBRG", [(2e-4, 2e-6), (3e-4, 3e-6), (1e-4, 1e-6), (2e-4, 2e-6)]),
    ],
)
def test_noise_profile_of_each_plane(tmp_path, numbers, cfa, expected):
    profile = read_noise_profile(write_dng(tmp_path / "a.dng", codes(), cfa=cfa, NoiseProfile=numbers))
    assert list(profile.of_colours(cfa)) == expected
    signal = torch.full((2, 4, 3, 3), 0.5, dtype=torch.float64)
    wanted = torch.tensor([s * 0.5 + o for s, o in expected], dtype=torch.float64).view(4, 1, 1).expand(2, 4, 3, 3)
    torch.testing.assert_close(profile.variance(signal, cfa), wanted, rtol=1e-12, atol=0)
    assert profile.mean(cfa) == pytest.approx(tuple(np.mean(expected, axis=0)))


def test_noise_profile_in_the_order_of_the_colour_planes(tmp_path):
    tags = {"NoiseProfile": [1e-4, 1e-6, 2e-4, 2e-6, 3e-4, 3e-6], "CFAPlaneColor": [2, 1, 0]}
    profile = read_noise_profile(write_dng(tmp_path / "a.dng", codes(), **tags))
    assert profile.of_colours("RGB") == ((3e-4, 3e-6), (2e-4, 2e-6), (1e-4, 1e-6))


@pytest.mark.parametrize("numbers", [[1e-4, 1e-6, 2e-4], [1e-4, 1e-6] * 2, [-1e-4, 1e-6], [float("nan"), 0.0]])
def test_a_noise_profile_that_makes_no_sense_is_refused_but_the_frame_is_read(tmp_path, numbers):
    path = write_dng(tmp_path / "a.dng", codes(), NoiseProfile=numbers)
    with pytest.raises(InputError, match=r"a\.dng.*fit the noise"):
        read_noise_profile(path)
    assert read_raw(path).noise_profile is None


def test_tags_of_the_mosaic_win_over_those_of_the_preview(tmp_path):
    """Most cameras keep the mosaic in a sub-directory behind a preview."""
    preview, mosaic = [1e-3, 1e-3], [2e-4, 3e-6]
    with tifffile.TiffWriter(tmp_path / "a.dng") as tif:
        tif.write(codes(), photometric="minisblack", subifds=1, extratags=[(51041, 12, 2, preview, True)])
        tif.write(
            codes(), photometric="cfa", extratags=[(51041, 12, 2, mosaic, True), (33422, 1, 4, b"\2\1\1\0", True)]
        )
    assert read_noise_profile(tmp_path / "a.dng").pairs == ((2e-4, 3e-6),)
    assert read_cfa(tmp_path / "a.dng") == "BGGR"


def test_a_file_without_noise_profile_has_none(tmp_path):
    assert read_noise_profile(write_dng(tmp_path / "a.dng", codes())) is None
    with pytest.raises(InputError, match="No such file"):
        read_noise_profile(tmp_path / "b.dng")
