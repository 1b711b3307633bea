"""calibrate.py on what training reads: raw files, SIDD, starlight; S and O beside what the files state."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_files import write_dng
from sidd_fixture import PHONES, write_mat73, write_sidd_tree
from test_calibration_single_frames import single_frames
from test_starlight import write_paired_data

import calibrate
from datasets import dataset_of, load_sidd_group
from datasets.raw import load_raw_bursts
from noisemodel import InputError
from noisemodel.calibration.camera import calibrate as calibrated
from noisemodel.calibration.selection import choose_noiselist
from noisemodel.sensor.noise_profile import NoiseProfile

CFA, BLACK, WHITE = "GRBG", 256, 4095
GAINS = {"R": 0.5, "G": 1.0, "B": 2.0}  # DN/e-
READ = 4.0  # DN
STATED = [1e-3, 4e-6, 2e-3, 9e-6, 3e-3, 1e-6]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISEMODEL_CACHE", str(tmp_path_factory.mktemp("cache")))


def mosaic(light: float, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    dn = np.zeros((96, 96))
    for position, colour in enumerate(CFA):
        dy, dx = divmod(position, 2)
        dn[dy::2, dx::2] = GAINS[colour] * rng.poisson(light / GAINS[colour], (48, 48)) + rng.normal(0, READ, (48, 48))
    return np.clip(np.rint(BLACK + dn), 0, WHITE).astype(np.uint16)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two darks and two flats of four frames each, as DNGs with a NoiseProfile that is not true."""
    root, rng = tmp_path_factory.mktemp("raw"), np.random.default_rng(0)
    for name, light in (("darks/a", 0), ("darks/b", 0), ("flats/1", 600), ("flats/2", 2400)):
        for i in range(4):
            write_dng(root / name / f"{i}.dng", mosaic(light, rng), cfa=CFA, black=(BLACK,), NoiseProfile=STATED)
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sidd")
    write_sidd_tree(root, phones=("S6",), isos=(100, 800), scenes=4, size=(192, 192))
    return root


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["calibrate.py", *map(str, words)])
    try:
        return calibrate.main()
    except SystemExit as stop:
        return int(stop.code or 0)


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    rows = json.loads((folder / "calibration.json").read_text())["noise_profile"]
    return {row["colour"]: row for row in rows}


def assert_near(estimate: dict[str, Any], truth: float, most: float) -> None:
    """Within 2.5 half-widths of a 95 % interval (5 standard errors), and the interval narrow enough to tell."""
    half = (estimate["high"] - estimate["low"]) / 2
    assert half < most * truth
    assert abs(estimate["value"] - truth) < 2.5 * half


def test_raw_files_are_recognised_and_stand_beside_their_profile(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, raw, "-o", tmp_path / "m", "--noiselist", "shot_read_uniform", "--json", "/dev/null") == 0
    shown = capsys.readouterr().out
    assert "holds raw files: read as --dataset raw" in shown and "mosaic GRBG, black 256 DN, white 4095 DN" in shown
    assert "the maker's, and ours" in shown
    rows, step = rows_of(tmp_path / "m"), 1 / (WHITE - BLACK)
    assert list(rows) == ["G", "R", "B"]
    for colour, row in rows.items():
        slope, offset = STATED[2 * "RGB".index(colour) :][:2]
        assert row["stated"] == pytest.approx({"S": slope, "O": offset})
        assert_near(row["S"], GAINS[colour] * step, 0.15)
        assert_near(row["O"], (READ**2 + 1 / 12) * step**2, 0.1)
        assert (row["S"]["unit"], row["O"]["unit"]) == ("white/e-", "white²")
    assert not Path("/dev/null").is_file()  # still a device


def test_sidd_stands_beside_its_metadata(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tree, "--cameras", "S6", "--iso", 800, "-o", tmp_path / "m") == 0
    shown = capsys.readouterr().out
    assert "read as --dataset sidd" in shown and "1 DN is the white level" in shown and "mosaic GRBG" in shown
    true = PHONES["S6"].parameters(800)
    for colour, row in rows_of(tmp_path / "m").items():
        factor = {"R": 0.9, "G": 1.0, "B": 1.1}[colour]
        assert row["stated"] == pytest.approx({"S": factor * true["shot.gain"], "O": true["read.std"] ** 2}, rel=1e-6)
        assert_near(row["S"], true["shot.gain"], 0.2)
        assert_near(row["O"], true["read.std"] ** 2, 0.3)
    found = json.loads((tmp_path / "m" / "calibration.json").read_text())
    assert found["noiselist"] == "shot_read"  # of single frames, by every second scene


def test_darks_alone_give_no_slope_and_unknown_colours_one_row(raw: Path) -> None:
    data = load_raw_bursts(raw)
    dark = calibrated(data.darks, data.levels, noiselist="read", cfa=data.cfa, stated=data.stated_noise)
    assert [row.colour for row in dark.colours] == ["G", "R", "B"]
    assert all(row.slope is None and row.stated is not None for row in dark.colours)
    (row,) = calibrated(data.darks, data.levels, noiselist="read", stated=NoiseProfile(((1e-3, 2e-6),))).colours
    assert (row.colour, row.stated) == ("all", (1e-3, 2e-6))
    assert dark.to_dict()["noise_profile"][0]["S"] is None


def test_auto_on_single_frames_finds_the_words_of_the_camera() -> None:
    data = single_frames()
    words = choose_noiselist(data.bursts, data.levels).noiselist.split("_")
    assert {"shot", "read", "uniform"} <= set(words) and {"row1", "rowspectrum"} & set(words)
    assert not {"excess", "rowparity", "col1", "fixed1", "prnu"} & set(words)
    assert not any("static" in name for name in calibrated(data.scenes, data.levels, noiselist="shot_read").figures)
    with pytest.raises(InputError, match="name the words instead, such as --noiselist shot_read_row1"):
        choose_noiselist(data.bursts[:1], data.levels)


def test_what_a_folder_holds(raw: Path, tree: Path, tmp_path: Path) -> None:
    assert dataset_of(None, raw)[0] == "raw"
    assert dataset_of(None, tree)[0] == "sidd" and dataset_of("bursts", tree) == ("bursts", "")
    assert dataset_of(None, tmp_path) == ("bursts", "") and dataset_of(None, tmp_path / "none") == ("bursts", "")
    write_dng(tmp_path / "a" / "0.dng", np.zeros((8, 8), np.uint16))
    np.save(tmp_path / "b.npy", np.zeros(3))
    assert dataset_of(None, tmp_path) == ("bursts", "")


def test_a_colour_without_valid_pixels_is_left_out(tmp_path: Path) -> None:
    """Green is at 97 % of white in every burst: its figures are missing, the others are there."""
    rng = np.random.default_rng(1)
    for name, light in (("flat_a", 300), ("flat_b", 1200)):
        for i in range(3):
            dn = mosaic(light, rng)
            dn[0::2, 0::2] = dn[1::2, 1::2] = BLACK + 0.97 * (WHITE - BLACK)
            write_dng(tmp_path / name / f"{i}.dng", dn, cfa=CFA, black=(BLACK,))
    data = load_raw_bursts(tmp_path)
    found = calibrated(data.bursts, data.levels, noiselist="shot_read", cfa=data.cfa)
    assert [row.colour for row in found.colours] == ["R", "B"]
    assert [sorted(plane) for plane in found.planes] == [
        [],
        ["gain_dn_per_e", "read_std_dn"],
        ["gain_dn_per_e", "read_std_dn"],
        [],
    ]


def test_starlight_is_calibrated_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_paired_data(tmp_path / "paired_data", gray=16)
    for part in ("color", "newcalib"):
        words = ("--dataset", part, "--noiselist", "read", "-o", tmp_path / part)
        assert run(monkeypatch, root, *words) == 0
        assert (tmp_path / part / "model.safetensors").is_file()


CASES = {
    "{tree}": "has S6/100, S6/800; give --cameras and --iso",
    "{tree} --iso 0": "--iso must be whole numbers joined with commas",
    "{tree} --iso 999": "no --iso 999 in",
    "{tree} --cameras XX": "no --cameras XX in",
    "{tree} --iso 800 --split nofile": "unknown split 'nofile'",
    "{tree} --iso 800 --black_level 3": "SIDD takes no --black_level",
    "{raw} --iso 100": "choose among SIDD's images; --dataset raw has one setting",
    "{raw} --dataset bursts": "it holds raw files: say --dataset raw",
    "{raw} --dataset sidd": "no SIDD scene folders",
    "{raw} --dataset gray": "no folder",
    "{raw} --dataset x": "--dataset must be one of bursts, raw, sidd, color, gray, newcalib",
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_nothing_written(
    case: str,
    raw: Path,
    tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, *case.format(raw=raw, tree=tree).split(), "-o", tmp_path / "out") == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and CASES[case] in shown, shown
    assert not (tmp_path / "out").exists()


def test_bad_ground_truth_and_bad_levels_are_named(tmp_path: Path) -> None:
    write_sidd_tree(tmp_path / "t", phones=("S6",), isos=(100,), scenes=1, size=(64, 64))
    (truth,) = (tmp_path / "t").rglob("*GT_RAW*")
    write_mat73(truth, np.full((64, 64), np.nan, np.float32))
    data = load_sidd_group(tmp_path / "t")
    with pytest.raises(InputError, match=r"GT_RAW_010\.MAT holds NaN or infinite values; fetch it again"):
        data.bursts[0].read_truth(slice(0, 4), slice(0, 4))
    for i in range(2):
        write_dng(tmp_path / "r" / f"{i}.dng", np.full((64, 64), 9, np.uint16), black=(4000,), white=3000)
    with pytest.raises(InputError, match=r"0\.dng: white level must exceed black level"):
        load_raw_bursts(tmp_path / "r")
