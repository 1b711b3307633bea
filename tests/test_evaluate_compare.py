"""evaluate.py compare: the right source is as near as real noise is to itself, a wrong one is not; one-line errors."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from sidd_fixture import PHONES, write_sidd_tree

import evaluate
import noisemodel
from noisemodel import Levels, PhysicalNoise, stream
from noisemodel.evaluation.recording import Recording
from noisemodel.evaluation.sides import Drawn, OwnFrames, compared, with_frames
from noisemodel.sources import open_source

PAIR = Path(__file__).parents[2] / "shared" / "data" / "sidd_srgb_pair"
LEVELS = ("--black_level", 10, "--white_level", 4095)
FAST = ("--draws", 0)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISEMODEL_CACHE", str(tmp_path_factory.mktemp("cache")))


def write_folder(folder: Path, seed: int, frames: int = 8, side: int = 128) -> None:
    """gain 1 DN/e-, read noise 3 DN, two scenes with even light."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    for name, electrons in (("scene_a", 200), ("scene_b", 900)):
        light = electrons * (1 + 0.5 * np.linspace(0, 1, side))
        dn = 10 + rng.poisson(light, (frames, side, side)) + rng.normal(0, 3, (frames, side, side))
        np.save(folder / f"{name}.npy", np.clip(np.rint(dn), 0, 4095).astype(np.uint16))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("compare")
    write_folder(root / "frames", 0)
    write_folder(root / "again", 1)
    write_folder(root / "small", 2, side=96)
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sidd")
    write_sidd_tree(root, phones=("S6",), isos=(800,), frames=(10, 11), size=(128, 192))
    return root


def run(*words: object) -> int:
    try:
        return evaluate.main(["compare", *map(str, words)])
    except SystemExit as stop:
        assert isinstance(stop.code, int)
        return stop.code


def ratios(path: Path) -> dict[str, float]:
    """Metric -> ratio of B against A over all recordings; NaN where there is none."""
    with path.open() as file:
        rows = [r for r in csv.DictReader(file) if r["recording"] == "all" and r["model"] == "B vs A"]
    return {row["metric"]: float(row["ratio"] or "nan") for row in rows}


def test_real_frames_against_sources_and_other_frames(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    physics = PhysicalNoise.from_noiselist(
        "shot_read_uniform", layout="planes", levels=Levels(10, 4095), shot_gain=1 / 4085, read_std=3 / 4085
    )
    noisemodel.save(physics, tmp_path / "model")
    found = {}
    frames, out = folder / "frames", tmp_path / "a.csv"
    sides = {"right": tmp_path / "model", "text": "poisson-gaussian:1DN,3DN", "other": folder / "again"}
    for name, side in {**sides, "wrong": "gaussian:25DN"}.items():
        files = ("--csv", out, "-o", tmp_path / f"{name}.png", "--markdown", tmp_path / "a.md")
        assert run("real", side, "--on", frames, *LEVELS, *FAST, *files) == 0
        found[name] = ratios(out)
        printed = capsys.readouterr().out
        assert "real vs real" in printed and "8 frames each, 128x128 sensor pixels" in printed
        assert imread(tmp_path / f"{name}.png").shape[1] == 1950
    for name in sides:
        for metric in ("ks", "w1", "akld", "row_spectrum", "autocorrelation", "kld_noise2noiseflow"):
            assert found[name][metric] < 2.5, (name, metric)
    assert found["wrong"]["variance_curve"] > 5 and found["wrong"]["ks"] > 5 and found["wrong"]["akld"] > 1.5


def test_a_source_against_itself_is_at_its_floor(folder: Path, tmp_path: Path) -> None:
    words = ("--on", folder / "frames", *LEVELS, *FAST, "--csv", tmp_path / "a.csv", "-o", tmp_path / "a.png")
    assert run("gaussian:5DN", "gaussian:5DN", *words, "--frames", 4) == 0
    same = ratios(tmp_path / "a.csv")
    assert run("gaussian:5DN", "gaussian:10DN", *words, "--frames", 4, "--bursts", "*_a") == 0
    other = ratios(tmp_path / "a.csv")
    assert all(other[metric] > 3 * same[metric] for metric in ("ks", "w1", "variance_curve", "akld"))
    # Every metric at its floor but for sampling noise, which a ratio of two small numbers has.
    assert np.exp(np.mean(np.log(list(same.values())))) < 1.3


def test_sidd_knows_its_truth(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gain, read = PHONES["S6"].parameters(800).values()
    words = ("--on", tree, "--dataset", "sidd", "--cameras", "S6", "--iso", 800, *FAST, "--csv", tmp_path / "a.csv")
    assert run("real", f"poisson-gaussian:{gain},{read}", *words, "-o", tmp_path / "a.png") == 0
    printed = capsys.readouterr().out
    assert "residuals from the clean image" in printed and "1 DN is the white level" in printed
    found = ratios(tmp_path / "a.csv")
    assert found["akld"] < 1.2 and found["kld_noise2noiseflow"] < 1.5


@pytest.mark.skipif(not PAIR.is_dir(), reason="shared/data/sidd_srgb_pair is not here")
def test_one_srgb_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--on", PAIR, *FAST, "-o", tmp_path / "a.png", "--csv", tmp_path / "a.csv")
    assert run("real", "gaussian:39/255", *words) == 0
    printed = capsys.readouterr().out
    assert "no floor" in printed and "kld_neca" in printed and "kld_noiseflow" not in printed
    assert all(np.isnan(ratio) for ratio in ratios(tmp_path / "a.csv").values())


def test_both_sides_are_drawn_apart_and_centred_alike() -> None:
    clean = torch.full((1, 1, 64, 64), 0.2)
    levels = Levels(0, 4095)
    frames = clean + 0.01 * torch.randn((4, 1, 64, 64), generator=stream(0, "frames"))
    valid = torch.ones_like(clean, dtype=torch.bool)
    mean = frames.mean(dim=0, keepdim=True)
    at = Recording("a", "scene", "planes", levels, frames, mean, mean, valid, (0, 0), centred=True)
    drawn = Drawn(open_source("gaussian:0.01", layout="planes"))
    pair = compared(at, (OwnFrames(), drawn), (stream(0, "A"), stream(0, "B")))
    for residual in (pair.real, pair.generated):  # centred: a share of 3/4 is left
        assert float(residual.mean(dim=0).abs().max()) < 1e-6
        assert abs(float(residual.var()) / (0.75e-4) - 1) < 5 * (2 / (3 * 64 * 64)) ** 0.5
    pair = compared(with_frames(at, 6), (drawn, drawn), (stream(0, "A"), stream(0, "B")))
    assert not pair.recording.centred and len(pair.real) == 6
    a, b = pair.real.flatten(), pair.generated.flatten()
    assert abs(float((a * b).mean())) < 5e-4 / len(a) ** 0.5
    assert abs(float(a.var()) / 1e-4 - 1) < 5 * (2 / len(a)) ** 0.5
    clipped = Drawn(open_source("gaussian:0.9", layout="planes"), clipped=True)
    low = clipped.residual(replace(at, centred=False), generator=stream(0, "clip")) + mean
    assert float(low.min()) >= -1e-6 and float(low.max()) <= 1 + 1e-6


def test_the_same_seed_writes_the_same_file(folder: Path, tmp_path: Path) -> None:
    words = ("real", "gaussian:5DN", "--on", folder / "frames", *LEVELS, "--metrics", "ks", "--draws", 5)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert run(*words, "--seed", seed, "--csv", tmp_path / name, "-o", tmp_path / "x.png", "--crop", 64) == 0
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_bad_input_is_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    on, out = ("--on", folder / "frames", *LEVELS, *FAST), ("-o", tmp_path / "a.png")
    cases = [
        (("real", "gaussian:3DN", *out), "missing: --on"),
        (("real", *on, *out), "missing"),
        (("real", "gausian:3DN", *on, *out), "did you mean gaussian:STD?"),
        (("real", "gaussian:30", *on, *out), "write 30/255 or 30DN"),
        (("real", folder / "small", *on, *out), "compare frames of one size"),
        (("real", tmp_path / "absent", *on, *out), "B: "),
        (("real", "gaussian:3DN", *on, *out, "--metrics", "kl"), "unknown metric 'kl'"),
        (("real", "gaussian:3DN", *on, *out, "--metrics", "kld_neca"), "defined on sRGB images"),
        (("real", "gaussian:3DN", *on, *out, "--frames", 0), "--frames must be at least 1, got 0"),
        (("real", "gaussian:3DN", *on, *out, "--crop", 8), "--crop must be at least 64"),
        (("real", "gaussian:3DN", *on, *out, "--bursts", "night"), "no burst is called 'night'"),
        (("real", "gaussian:3DN", *on, "-o", tmp_path), "is a folder"),
        (("real", "gaussian:3DN", "--on", tmp_path / "absent", *LEVELS, *out), "no such folder"),
    ]
    for words, message in cases:
        assert run(*words) == 2, message
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1, (message, err)
    assert list(tmp_path.iterdir()) == []
