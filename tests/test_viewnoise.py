"""viewnoise: every panel for every kind of model and data, and one line for bad input."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread

import noisemodel
import viewnoise
from datasets import BurstSet, load_bursts, simulated_bursts
from noisemodel import Levels, NoiseGenerator, PhysicalNoise, stream
from noisemodel.evaluation.figure_style import DPI, write_png
from noisemodel.evaluation.panel_images import pictures_of, regions
from noisemodel.evaluation.panel_spectra import band_means
from noisemodel.evaluation.recording import Pair, read_recording

PANELS = ["images.png", "components.png", "histograms.png", "variance.png", "spectra.png", "parameters.png"]
LEVELS = Levels(256.0, 4095.0)


def small(with_truth: bool = True) -> BurstSet:
    found = simulated_bursts(frames=4, size=(96, 96), with_truth=with_truth)
    kept = found.scenes[:2] + found.darks[:1]
    parameters = (found.true_parameters, found.true_pattern)
    return BurstSet(found.name, found.levels, found.layout, found.cfa, kept, *parameters)


def model(kind: str) -> NoiseGenerator:
    layout = "planes" if kind in ("mono", "rgb") else "mosaic"
    start = {"shot_gain": 2.6e-4, "read_std": 6e-4, "row1_std": 2e-4}
    physical = PhysicalNoise.from_noiselist("shot_read_uniform_row1", layout=layout, levels=LEVELS, **start)
    network = kind if kind.startswith("Unet") else "noUnet"
    return NoiseGenerator(physical, network, channels=3 if kind == "rgb" else None, unet_width=4)


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["viewnoise.py", *map(str, words)])
    return viewnoise.main()


@pytest.mark.parametrize(
    ("kind", "with_truth"), [("mosaic", True), ("mosaic", False), ("mono", True), ("rgb", True), ("Unet_cat", True)]
)
def test_every_panel_is_written(
    kind: str, with_truth: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = viewnoise.view(model(kind), small(with_truth), tmp_path, crop=96)
    assert [path.name for path in written] == [*PANELS, "summary.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written)
    assert capsys.readouterr().out.splitlines() == [str(path) for path in written]
    for path in written[:-1]:
        height, width = imread(path).shape[:2]
        assert width >= 8 * DPI - 1 and height >= DPI, path.name
    report = json.loads((tmp_path / "summary.json").read_text())
    assert [r["name"] for r in report["recordings"]] == ["astronaut", "coffee", "dark_0"]
    assert report["reference"].startswith("ground truth" if with_truth else "mean of the frames")
    for level in report["signal_levels"]:
        assert 0.3 < level["std_dn"]["ratio"] < 3


def only_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(make: Callable[[], Figure], path: Path) -> None:
        write_png(make(), path) if "images" in path.name else path.touch()

    monkeypatch.setattr(viewnoise, "_draw", draw)


def test_the_same_seed_gives_the_same_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_images(monkeypatch)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        viewnoise.view(model("mosaic").physical, small(), tmp_path / name, seed=seed, crop=64)
    a, b, c = ((tmp_path / name / "images.png").read_bytes() for name in "abc")
    assert a == b != c


def test_real_and_generated_get_the_same_stretch() -> None:
    at = read_recording(small().scenes[0], size=96, most_frames=2)
    real = at.residual(at.frames)
    for region in regions(at.clean[0], at.valid[0], at.layout):
        _, one, two, left, right = pictures_of(Pair(at, real, real), region, "RGGB")
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(left, right)
        _, again, brighter, *_ = pictures_of(Pair(at, real, real + 0.05), region, "RGGB")
        np.testing.assert_array_equal(one, again)  # the stretch does not follow what was generated
        assert brighter.mean() > again.mean()


def test_the_dark_part_is_darker_than_the_bright_part() -> None:
    at = read_recording(small().scenes[0], size=96, most_frames=2)
    whole, dark, bright = regions(at.clean[0], at.valid[0], at.layout)
    cuts = [at.clean[0][:, r.rows, r.columns] for r in (dark, whole, bright)]
    assert cuts[0].max() < cuts[1].max() and cuts[0].mean() < cuts[2].mean() and cuts[1].mean() < cuts[2].mean()


def test_bands_keep_the_mean_power() -> None:
    frequency = torch.arange(1, 401, dtype=torch.float64) / 800
    _, level = band_means(frequency, torch.rand(400, generator=stream(0, "bands"), dtype=torch.float64))
    assert np.isfinite(level).all() and 0.3 < level.mean() < 0.7
    assert np.isnan(band_means(frequency[:10], torch.ones(10))[1]).any()


def test_a_pattern_smaller_than_the_scene_limits_the_crop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_images(monkeypatch)
    physical = PhysicalNoise.from_noiselist(
        "shot_read_fixed1", levels=LEVELS, shot_gain=2.6e-4, fixed1_pattern=torch.full((64, 48), 1e-4)
    )
    assert len(viewnoise.view(physical, small(), tmp_path)) == 7


@pytest.fixture
def mono_folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, electrons in (("bright", 900.0), ("dark_1", 0.5)):
        frames = 10 + rng.poisson(electrons, (4, 64, 64)) + rng.normal(0, 1.5, (4, 64, 64))
        np.save(tmp_path / f"{name}.npy", np.clip(np.rint(frames), 0, 4095).astype(np.uint16))
    return tmp_path


def test_the_program_on_a_folder_of_bursts(
    mono_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder = tmp_path / "run"
    noisemodel.save(model("mono"), run_folder)
    words = ("--data_root", mono_folder, "--black_level", 10, "--white_level", 4095)
    assert run(monkeypatch, run_folder, *words) == 0
    assert {path.name for path in (run_folder / "view").iterdir()} == {*PANELS, "summary.json"}
    out = capsys.readouterr().out
    assert str(run_folder / "view" / "spectra.png") in out and "shot.gain" in out and "DN/e" in out
    report = json.loads((run_folder / "view" / "summary.json").read_text())
    bright = report["recordings"][0]["pixel_std"]
    expected = ((900 + 1.5**2 + 1 / 12) * 3 / 4) ** 0.5  # residuals from the mean of 4 frames
    assert bright["real"] == pytest.approx(expected, rel=5 / (2 * 3 * 64 * 64) ** 0.5)


def test_bad_input_is_one_line_and_leaves_nothing(
    mono_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, mosaic = tmp_path / "m.safetensors", tmp_path / "mosaic.safetensors"
    noisemodel.save(model("mono"), checkpoint)
    noisemodel.save(model("mosaic"), mosaic)
    (tmp_path / "file").touch()
    levels = ("--black_level", 10, "--white_level", 4095)
    cases = [
        ([tmp_path / "absent"], "no such checkpoint"),
        ([checkpoint, "--data_root", tmp_path / "absent", *levels], "no such folder"),
        ([checkpoint, "--data_root", mono_folder, "--black_level", 9, "--white_level", 4], "white level must exceed"),
        ([checkpoint, "--dataset", "bursts"], "needs --data_root"),
        ([checkpoint, "--dataset", "other"], "--dataset must be"),
        ([checkpoint, "--crop", 3], "at least 16"),
        ([mosaic, "--data_root", mono_folder, *levels, "--layout", "planes"], "the model is for mosaic"),
        ([checkpoint, "-o", tmp_path / "file", "--data_root", mono_folder, *levels], "is a file"),
    ]  # fmt: skip
    for words, message in cases:
        assert run_to_code(monkeypatch, *words, *(() if "-o" in words else ("-o", tmp_path / "out"))) == 2, message
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
        assert not (tmp_path / "out").exists()


def run_to_code(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    try:
        return run(monkeypatch, *words)
    except SystemExit as stop:
        return int(stop.code or 0)


def test_a_burst_of_one_frame_or_with_nan_is_refused(mono_folder: Path, tmp_path: Path) -> None:
    frames = np.full((4, 64, 64), 500.0, np.float32)
    frames[2, 3, 3] = np.nan
    np.save(mono_folder / "broken.npy", frames)
    with pytest.raises(noisemodel.InputError, match="NaN"):
        viewnoise.view(model("mono"), load_bursts(mono_folder, black_level=10, white_level=4095), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_the_datasets_folder_the_reason_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    noisemodel.save(model("mono"), tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert run(monkeypatch, tmp_path) == 2
    assert "run viewnoise.py from a clone" in capsys.readouterr().err
