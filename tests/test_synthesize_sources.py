"""synthesize.py with every KIND:ARGUMENT: the right law in the right colour, its record, and one line for bad input."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from raw_files import codes, write_dng
from test_sources import darktable
from test_sources_published import eld_file

import noisemodel
import synthesize
from noisemodel import Levels, PhysicalNoise

PROFILE = [1e-3, 4e-6, 2e-3, 9e-6, 3e-3, 1e-6]
LEVEL, SIDE = 0.3, 128


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clean images, and a file for each kind."""
    root = tmp_path_factory.mktemp("sources")
    images = {"mosaic": (SIDE, SIDE), "planes": (4, SIDE, SIDE), "rgb": (SIDE, SIDE, 3)}
    for name, shape in images.items():
        np.save(root / f"{name}.npy", np.full(shape, LEVEL, np.float32))
    write_dng(root / "a.dng", codes(), cfa="GRBG", NoiseProfile=PROFILE)
    darktable(root)
    eld_file(root, G_shape=np.array([-0.1]))
    (root / "dark").mkdir()
    pattern = np.random.default_rng(0).integers(50, 80, (SIDE, SIDE))
    for name in "ab":  # frame k of burst b adds 1000 k + 500 b: told apart in what comes out
        frames = np.stack([pattern + 1000 * k + 500 * (name == "b") for k in range(4)])
        np.save(root / "dark" / f"{name}.npy", frames.astype(np.uint16))
    (root / "dark" / "levels.json").write_text('{"black_level": 64, "white_level": 10064, "layout": "mosaic"}')
    return root


def noise_of(place: Path, out: Path, source: str, image: str, *words: str) -> np.ndarray:
    assert synthesize.main([source, str(place / f"{image}.npy"), "-o", str(out), *words]) == 0
    return np.load(out / f"{image}.npy").astype(np.float64) - LEVEL


def assert_variance(noise: np.ndarray, expected: float, kurtosis: float = 3.0) -> None:
    n = noise.size
    assert abs(noise.mean()) < 5 * math.sqrt(expected / n)
    assert abs(noise.var() / expected - 1) < 5 * math.sqrt((kurtosis - 1) / n)


def by_position(noise: np.ndarray, image: str) -> list[np.ndarray]:
    return [noise[i // 2 :: 2, i % 2 :: 2] for i in range(4)] if image == "mosaic" else list(noise)


@pytest.mark.parametrize("image", ["mosaic", "planes", "rgb"])
@pytest.mark.parametrize(("source", "variance"), [("gaussian:5.1/255", 4e-4), ("poisson-gaussian:1e-3,0.01", 4e-4)])
def test_a_law_without_colours(place: Path, tmp_path: Path, source: str, variance: float, image: str) -> None:
    assert_variance(noise_of(place, tmp_path / "o", source, image), variance)
    record = json.loads((tmp_path / "o" / f"{image}.npy.json").read_text())
    assert record["noise"].startswith(f"{source}: ") and record["file"] is None
    assert {row["name"] for row in record["parameters"]} == {"read.std"} | ({"shot.gain"} if "p" in source else set())


@pytest.mark.parametrize("exact", [(), ("--exact",)])
@pytest.mark.parametrize(("image", "colours"), [("mosaic", "GRBG"), ("planes", "GRBG"), ("rgb", "RGB")])
def test_a_profile_is_drawn_by_colour(
    place: Path, tmp_path: Path, image: str, colours: str, exact: tuple[str, ...]
) -> None:
    noise = noise_of(place, tmp_path / "o", f"profile:{place / 'a.dng'}", image, *exact)
    planes = list(np.moveaxis(noise, -1, 0)) if image == "rgb" else by_position(noise, image)
    for plane, colour in zip(planes, colours, strict=True):
        slope, offset = PROFILE[2 * "RGB".index(colour) :][:2]
        assert_variance(plane, slope * LEVEL + offset, 3.1)
    record = json.loads((tmp_path / "o" / f"{image}.npy.json").read_text())
    assert record["file"]["path"].endswith("a.dng") and len(record["file"]["sha256"]) == 64
    assert "by plane" in record["noise"] and record["model"] is None


def test_darktable_takes_the_colours_that_are_said(place: Path, tmp_path: Path) -> None:
    source = f"darktable:{place / 'profiles, all.json'},Alpha,100"
    noise = noise_of(place, tmp_path / "o", source, "mosaic", "--cfa", "BGGR")
    for plane, slope in zip(by_position(noise, "mosaic"), (3e-3, 2e-3, 2e-3, 1e-3), strict=True):
        assert_variance(plane, slope * LEVEL + 1e-5, 3.1)
    noise_of(place, tmp_path / "mean", source, "mosaic")
    assert "differences are lost" in json.loads((tmp_path / "mean" / "mosaic.npy.json").read_text())["noise"]


def test_eld_has_its_rows_and_tails(place: Path, tmp_path: Path) -> None:
    noise = noise_of(place, tmp_path / "o", f"eld:{place / 'Camera_params.npy'},4", "mosaic")
    row_std = math.exp(0.5 * math.log(4) - 0.5) / 15583
    within = noise.var(axis=1, ddof=1).mean() / SIDE
    found = noise.mean(axis=1).var(ddof=1) - within
    assert abs(found / row_std**2 - 1) < 5 * math.sqrt(2 / SIDE) * (1 + within / row_std**2)
    parameters = json.loads((tmp_path / "o" / "mosaic.npy.json").read_text())["parameters"]
    values = {row["name"]: row["value"] for row in parameters}
    assert values["row1.std"] == pytest.approx(row_std) and values["shot.gain"] == pytest.approx(4 / 15583)


def test_darks_of_a_burst_are_different_frames_of_one(place: Path, tmp_path: Path) -> None:
    words = ("--frames", "3")
    frames = noise_of(place, tmp_path / "o", f"darks:{place / 'dark'},0.0001DN", "mosaic", *words) * 10000
    offsets = [round(float(frame.mean())) for frame in frames]
    numbers = {(offset + 10) // 500 for offset in offsets}
    assert len(numbers) == 3 and len({number % 2 for number in numbers}) == 1, offsets
    pattern = np.load(place / "dark" / "a.npy")[0] - 64.0
    for frame in frames:  # at its place on the sensor
        assert np.corrcoef((frame - frame.mean()).ravel(), pattern.ravel())[0, 1] > 0.95
    again = noise_of(place, tmp_path / "again", f"darks:{place / 'dark'},0.0001DN", "mosaic") * 10000
    np.testing.assert_array_equal(again, frames[0])


def test_parameters_of_a_kind_that_is_one_model(place: Path, tmp_path: Path) -> None:
    assert_variance(noise_of(place, tmp_path / "o", "gaussian:0.1", "rgb", "--param", "read.std=0.01"), 1e-4)


CASES = {
    "gausian:0.1 mosaic.npy": "did you mean gaussian:STD?",
    "gaussian: mosaic.npy": "needs its argument; write gaussian:STD",
    "gaussian:3DN mosaic.npy": "needs the black and white level",
    "gaussian:0.1 mosaic.npy --iso 100": "--iso: for a learned model; gaussian:0.1 has no use for it",
    "gaussian:0.1 mosaic.npy --per_channel": "--per_channel: for a learned model",
    "gaussian:0.1 mosaic.npy --cfa RGG": "--cfa must be 4 colour letters",
    "model mosaic.npy --iso 100": "this model knows one setting only, not ISO 100",
    "model mosaic.npy --layout planes": "--layout: a model has its own",
    "profile:a.dng mosaic.npy --param read.std=1": "has no one set of parameters",
    "profile:mosaic.npy mosaic.npy": "has no NoiseProfile",
    "profile:none.dng mosaic.npy": "cannot open none.dng",
    "eld:mosaic.npy,1 mosaic.npy": "not one pickled dict",
    "darktable:a.dng,Alpha,100 mosaic.npy": "a.dng",
    "darks:nowhere,1DN mosaic.npy": "no such folder: nowhere",
    "darks:dark mosaic.npy": "write darks:FOLDER,G",
    "darks:dark,1DN rgb.npy": 'have layout "mosaic", the data "planes"',
    "darks:dark,1DN mosaic.npy --frames 5": "the longest of them has 4",
    "darks:dark,1DN mosaic.npy --origin 2,0": "asked for were 4 of 64x64 from 1,0",
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_nothing_written(
    case: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    if case.startswith("model"):
        physical = PhysicalNoise.from_noiselist("shot_read", layout="mosaic", levels=Levels(64, 1023))
        noisemodel.save(physical, "model")
    assert synthesize.main([*case.split(), "-o", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and CASES[case] in shown, shown
    assert not (tmp_path / "out").exists()


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", np.zeros((4, 4), np.float32))
    (tmp_path / "in" / "a.npy").rename(tmp_path / "in" / "b\udcff.npy")
    assert synthesize.main(["gaussian:0.1", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 2
    assert "is not UTF-8" in capsys.readouterr().err and not (tmp_path / "out").exists()
