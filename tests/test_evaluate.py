"""evaluate.py: the tables it writes, its split, and one line for bad input."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

import evaluate
import noisemodel
from datasets import DATASETS, load_bursts, simulated_bursts
from evaluate_noise import split_bursts
from noisemodel import Levels, NoiseGenerator, PhysicalNoise
from noisemodel.evaluation.figure_style import DPI

LEVELS = ("--black_level", 10, "--white_level", 4095)
RANGE = 4085.0


def write_burst(folder: Path, name: str, electrons: float, frames: int = 8, side: int = 96) -> None:
    """gain 1, read noise 1.5 DN, rows of 0.8 DN."""
    rng = np.random.default_rng(len(name) + int(electrons))
    dn = 10 + rng.poisson(electrons, (frames, side, side)) + rng.normal(0, 1.5, (frames, side, side))
    dn += rng.normal(0, 0.8, (frames, side, 1))
    np.save(folder / f"{name}.npy", np.clip(np.rint(dn), 0, 4095).astype(np.uint16))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bursts")
    for name, electrons in (("bright_a", 100), ("bright_b", 400), ("bright_c", 900), ("dark_1", 0), ("dark_2", 0)):
        write_burst(root, name, electrons)
    return root


def physics(noiselist: str = "shot_read_uniform_row1", layout: str = "planes") -> PhysicalNoise:
    start = {"shot_gain": 1 / RANGE, "read_std": 1.5 / RANGE, "row1_std": 0.8 / RANGE}
    used = {key: value for key, value in start.items() if key.split("_")[0] in noiselist}
    return PhysicalNoise.from_noiselist(noiselist, layout=layout, levels=Levels(10, 4095), **used)


def run(*words: object) -> int:
    try:
        return evaluate.main([str(word) for word in words])
    except SystemExit as stop:
        assert isinstance(stop.code, int)
        return stop.code


def read_csv(path: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    with path.open() as file:
        return {(row["model"], row["metric"], row["recording"]): row for row in csv.DictReader(file)}


def test_the_tables_say_which_model_is_right(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noisemodel.save(physics(), tmp_path / "right")
    noisemodel.save(physics("shot_read_uniform"), tmp_path / "without rows" / "other.safetensors")
    checkpoints = (tmp_path / "right", tmp_path / "without rows" / "other.safetensors")
    files = [tmp_path / name for name in ("out/a.csv", "a.md", "a.png")]
    words = ("noise", "--data_root", folder, *LEVELS, "--checkpoint", *checkpoints, "--test", "dark_2", "bright_b")
    assert run(*words, "--csv", files[0], "--markdown", files[1], "--figure", files[2], "--draws", 40) == 0
    found, printed, page = read_csv(files[0]), capsys.readouterr().out, files[1].read_text()
    models = ["gaussian", "poisson-gaussian", "dark-frames", "calibrated", "right", "other", "real vs real"]
    assert list(dict.fromkeys(model for model, _, _ in found)) == models
    assert {recording for _, _, recording in found} == {"all", "dark_2", "bright_b"}
    for name in models:
        assert name in printed and f"| {name} |" in page

    def ratio(model: str, metric: str) -> float:
        return float(found[model, metric, "all"]["ratio"])

    for metric in ("row_spectrum", "autocorrelation"):
        assert ratio("other", metric) > 1.5 * ratio("right", metric) and ratio("poisson-gaussian", metric) > 1.5
        assert ratio("right", metric) < 1.4 and ratio("dark-frames", metric) < 1.4
    assert ratio("gaussian", "w1") > 5 * ratio("poisson-gaussian", "w1")
    assert ratio("real vs real", "ks") == 1
    row = found["right", "ks", "all"]
    values = [float(found["right", "ks", name]["value"]) for name in ("dark_2", "bright_b")]
    assert float(row["value"]) == pytest.approx(sum(values) / 2, rel=1e-4)
    assert float(row["low"]) <= float(row["value"]) <= float(row["high"])
    assert "fitted on: bright_a, bright_c, dark_1" in printed and "judged: bright_b, dark_2" in printed
    assert "ks [1]: largest difference" in printed and "mean ratio" in printed
    assert imread(files[2]).shape[1] >= 9 * DPI


def test_the_same_seed_writes_the_same_file(folder: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        words = ("--metrics", "ks", "akld", "--frames", 4, "--crop", 64, "--draws", 10, "--seed", seed)
        assert run("noise", "--data_root", folder, *LEVELS, *words, "--csv", tmp_path / name) == 0
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_the_simulated_camera_needs_no_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "simulated", lambda options: simulated_bursts(frames=2, size=(64, 64)))
    words = ("--metrics", "w1", "variance_curve", "--frames", 2, "--crop", 64, "--draws", 0)
    words += ("--noiselist", "shot_read_uniform_row1")  # auto needs four frames
    assert run("noise", *words, "--test", "coffee", "flat_0.25", "dark_0", "--csv", tmp_path / "a.csv") == 0
    found = read_csv(tmp_path / "a.csv")
    assert found["calibrated", "w1", "all"]["low"] == "" and len(found) == 5 * 2 * 4
    assert "residuals from the truth" in capsys.readouterr().out


def test_split(folder: Path) -> None:
    bursts = load_bursts(folder, black_level=10, white_level=4095).bursts
    by_name = {burst.name: burst for burst in bursts}

    def names(*given: str, test: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
        split = split_bursts([by_name[name] for name in given], test)
        return [b.name for b in split.fitted], [b.name for b in split.judged]

    assert names(*by_name) == (["bright_a", "bright_c", "dark_1"], ["dark_2", "bright_b"])
    assert names("bright_a", "bright_b", "dark_1") == (["bright_a", "dark_1"], ["bright_b"])
    assert names("bright_a", "dark_1", "dark_2") == (["bright_a", "dark_1", "dark_2"],) * 2
    assert names(*by_name, test=("*_a", "dark_?"))[1] == ["bright_a", "dark_1", "dark_2"]


def test_too_few_bursts_are_said(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_burst(tmp_path, "bright", 300)
    write_burst(tmp_path, "bright_small", 300, frames=4, side=64)
    (tmp_path / "bright_small.npy").unlink()
    words = ("--metrics", "ks", "--draws", 0, "--noiselist", "read")
    assert run("noise", "--data_root", tmp_path, *LEVELS, *words) == 0
    out = capsys.readouterr().out
    assert "warning: too few bursts" in out and "dark-frames: left out" in out
    words = ("--metrics", "ks", "--draws", 0, "--test", "bright_b")
    write_burst(tmp_path, "bright_b", 300)
    assert run("noise", "--data_root", tmp_path, *LEVELS, *words) == 0
    assert "calibrated: left out, " in capsys.readouterr().out


def test_commands(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    known = ", ".join(evaluate.COMMANDS)
    assert known == "noise, sidd-noise, sidd-denoise, compare, nrgan, nrgan-denoise, denoise"
    for words, message in ((["denois"], "unknown command 'denois'"), ([], "no command")):
        assert run(*words) == 2
        out, err = capsys.readouterr()
        assert err == f"evaluate.py: error: {message}; known: {known}\n" and not out
    assert run("--help") == 0
    page = capsys.readouterr().out
    for name, command in evaluate.COMMANDS.items():
        assert f"  {name} " in page and command.about in page
        assert run(name, "--help") == 0 and f"{name}: " in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "noise", "--help"])
    with pytest.raises(SystemExit) as stop:
        evaluate.main()
    assert stop.value.code == 0 and "--data_root" in capsys.readouterr().out


def test_bad_input_is_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noisemodel.save(physics(layout="mosaic"), tmp_path / "mosaic")
    noisemodel.save(NoiseGenerator(physics(), "Unet", channels=3, unet_width=4), tmp_path / "rgb")
    (tmp_path / "single").mkdir()
    for name in ("bright_1", "bright_2"):
        write_burst(tmp_path / "single", name, 100, frames=1)
    (tmp_path / "three").mkdir()
    for name, electrons in (("bright_1", 100), ("bright_2", 400), ("dark_1", 0)):
        write_burst(tmp_path / "three", name, electrons, frames=3)
    data = ("--data_root", folder, *LEVELS)
    cases = [
        ((*data, "--metrics", "kl"), "unknown metric 'kl'; known: ks, w1"),
        ((*data, "--metrics", "kld_neca"), "kld_neca is defined on sRGB images"),
        ((*data, "--test", "night_*"), "--test 'night_*' matches no burst; there are: bright_a"),
        ((*data, "--test", "*"), "--test matches every burst"),
        ((*data, "--checkpoint", tmp_path / "absent"), "no such checkpoint"),
        ((*data, "--checkpoint", tmp_path / "mosaic"), "mosaic is for mosaic, the data is planes"),
        ((*data, "--checkpoint", tmp_path / "rgb"), "rgb is for 3 planes, the data has 1"),
        ((*data, "--noiselist", "shot_snow"), "snow"),
        ((*data, "--frames", 1), "--frames must be at least 2, got 1"),
        ((*data, "--crop", 8), "--crop must be at least 64, got 8"),
        (("--data_root", tmp_path / "absent", *LEVELS), "no such folder"),
        (("--data_root", tmp_path / "single", *LEVELS), "has 1 frame; a burst needs at least 2"),
        (("--data_root", tmp_path / "three", *LEVELS), "3 frames cannot be split into two halves"),
        ((*data, "--csv", folder / "bright_a.npy" / "x.csv", "--metrics", "ks", "--draws", 0), "lies below a file"),
        ((*data, "--markdown", folder), "is a folder"),
    ]
    for words, message in cases:
        assert run("noise", *words) == 2, message
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1, (message, err)
