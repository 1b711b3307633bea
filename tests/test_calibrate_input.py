"""calibrate.py and bad input: one line that names the remedy, exit code 2, nothing written."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import training_runs as runs
from test_calibrate import run, write_folder

import noisemodel
from noisemodel import Levels, PhysicalNoise

ROOT = Path(__file__).parents[1]
LEVELS = "--black_level 100 --white_level 1100"


def make(folder: Path) -> None:
    """Folders of frames, good and bad, and a model of another program."""
    write_folder(folder / "good")
    frames = np.load(folder / "good" / "dark10.npz")["frames"]
    nan = frames.astype(np.float32)
    nan[1, 5, 5] = np.nan
    bad = {
        "nan": nan,
        "one": frames[:1],
        "saturated": np.full_like(frames, 1100),
        "two": frames[:2],
        "same": np.repeat(frames[:1], 4, axis=0),
        "odd": frames[:, :95],
    }
    for name, content in bad.items():
        (folder / name).mkdir()
        np.savez(folder / name / "bad.npz", frames=content)
    (folder / "cut").mkdir()
    whole = (folder / "good" / "dark10.npz").read_bytes()
    (folder / "cut" / "bad.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "empty").mkdir()
    (folder / "afile").write_text("x")
    (folder / "folder.safetensors").mkdir()
    other = PhysicalNoise.from_noiselist("shot_read", layout="planes", levels=Levels(100, 1100))
    noisemodel.save(other, folder / "other.safetensors", program="train_gan_noisemodel.py")
    (folder / "damaged.safetensors").write_bytes(b"x" * 99)


# The folder of frames, other words -> what the line must hold.
CASES = {
    "nowhere": "no such folder: nowhere",
    "afile": "no such folder: afile",
    "empty": "no bursts in empty; supported are .npy",
    "cut": "cannot read cut/bad.npz: BadZipFile",
    "nan": "frame 1 of nan/bad.npz holds NaN or infinite values; repair or leave out the burst",
    "one": "has 1 frame",
    "saturated": "saturated/bad.npz: 100% of the pixels are saturated",
    "two": "auto holds out every second frame and needs 4 frames or more of each burst, bad has 2; name the words",
    "same": "identical",
    "odd --layout mosaic": "a mosaic has even height and width, odd/bad.npz has 95x128; crop it",
    "good --noiselist shot_raed": "unknown word 'raed' in noiselist 'shot_raed' (did you mean 'read'?)",
    "good --noiselist=": "the noiselist is empty",
    "good --noiselist shot_read --leave_out flat*": "one light level alone tells no gain from read noise: add",
    "good --leave_out nobody": "no burst is called 'nobody'; there are: dark10",
    "good --black_level 1200": "white level must exceed black level, got 1100.0 <= 1200.0 DN",
    "good --white_level 200": "far above the white level 200 DN; give the right --white_level",
    "good --black_level 400": "far below the black level 400 DN; give the right --black_level",
    "good --black_level x": "--black_level must be a number or null, got 'x'",
    "good --layout bayer": "--layout must be one of mosaic, planes or null, got 'bayer'",
    "good --cfa XTRANS": "cfa must be 4 colour letters such as RGGB",
    "good --jsn x": "unknown option --jsn; did you mean --json?",
    "good -o other.safetensors": "other.safetensors was not made by calibrate.py and is not replaced; give -o another",
    "good -o damaged.safetensors": "damaged.safetensors: damaged or not a safetensors file",
    "good -o folder.safetensors": "-o folder.safetensors: nothing can be written there",
    "good -o afile/model": "nothing can be written there",
    "good -o /proc/model": "/proc/model",
    "good --json afile/figures.json": "--json afile/figures.json: nothing can be written there",
    "good --json empty": "--json empty: nothing can be written there",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    make(folder)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_nothing_written(
    case: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("NOISEMODEL_CACHE", str(tmp_path))
    before = runs.listing(place)
    words = case.split()
    named = ("-o", "out") if "-o" not in words else ()
    quick = () if any(word.startswith("--noiselist") for word in words) or case == "two" else ("--noiselist", "read")
    given = [word for word in zip(LEVELS.split()[::2], LEVELS.split()[1::2], strict=True) if word[0] not in words]
    try:
        code = run(monkeypatch, *words, *named, *quick, *(part for pair in given for part in pair))
    except SystemExit as stop:
        code = int(stop.code or 0)
    shown = capsys.readouterr().err
    assert (code, shown.count("\n")) == (2, 1), shown
    assert shown.startswith("calibrate.py: error: ") and CASES[case] in shown
    assert runs.listing(place) == before


def test_levels_are_asked_for(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(place)
    assert run(monkeypatch, "good", "-o", "out") == 2
    assert "unknown; give --black_level and --white_level" in capsys.readouterr().err
    assert not (place / "out").exists()


def test_from_the_shell(place: Path) -> None:
    words = [sys.executable, str(ROOT / "calibrate.py"), "nan", "-o", "out", *LEVELS.split()]
    done = subprocess.run(words, cwd=place, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "frame 1 of nan/bad.npz holds NaN or infinite values; repair or leave out the burst" in done.stderr
    assert not (place / "out").exists()


def test_what_looks_wrong_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A black level that the darks contradict, darks cut at 0, codes 16 apart, a mosaic taken for mono: a note each."""
    rng = np.random.default_rng(0)

    def frames(light: float, black: float, cells: bool = False, step: int = 1) -> np.ndarray:
        scale = np.where(np.arange(96) % 2, 1.0, 0.7) if cells else 1.0
        dn = 0.5 * rng.poisson(light * scale / 0.5, (4, 64, 96)) + black + 2.0 * rng.standard_normal((4, 64, 96))
        return (np.clip(np.rint(dn), 0, 255) * step).astype(np.uint16)

    cases = {
        "black": ({"black": 64.0}, "60", "the darks show black at 64"),
        "cut": ({"black": 3.0}, "3", "of the dark's pixels are cut at the lowest code"),
        "step": ({"black": 64.0, "step": 16}, "1024", "all codes are 16 DN apart"),
        "mosaic": ({"black": 64.0, "cells": True}, "64", "as a colour mosaic does; give --layout mosaic"),
    }
    for name, (how, black, words) in cases.items():
        (tmp_path / name / "darks").mkdir(parents=True)
        for index in range(2):
            np.savez(tmp_path / name / "darks" / f"{index}.npz", frames=frames(0.0, **how))  # type: ignore[arg-type]
        for light in (40.0, 90.0, 150.0):
            np.savez(tmp_path / name / f"flat_{light:g}.npz", frames=frames(light, **how))  # type: ignore[arg-type]
        given = ("--black_level", black, "--white_level", "4095", "--noiselist", "shot_read")
        assert run(monkeypatch, tmp_path / name, "-o", tmp_path / f"model_{name}", *given) == 0
        shown = capsys.readouterr().out
        assert words in shown, name
        assert sum(other in shown for _, _, other in cases.values()) == 1, name


def test_darks_that_are_not_dark_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "f" / "darks").mkdir(parents=True)
    for name, light in (("darks/a", 0.0), ("darks/b", 900.0), ("flat", 500.0)):
        dn = rng.poisson(light + 64, (4, 64, 64)).astype(np.uint16)
        np.savez(tmp_path / "f" / f"{name}.npz", frames=dn)
    words = ("--black_level", "64", "--white_level", "4095")
    assert run(monkeypatch, tmp_path / "f", "-o", tmp_path / "m", *words) == 2
    assert "darks/b and darks/a differ by" in capsys.readouterr().err
    assert run(monkeypatch, tmp_path / "f", "-o", tmp_path / "m", *words, "--leave_out", "darks/a") == 2
    assert "the dark darks/b is brighter than flat" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()
