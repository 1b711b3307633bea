"""Training on trees in SIDD's layout, and calibration of frames too large to be held in memory."""

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import raw_files
import test_starlight
import torch
import training_runs as runs
from safetensors.torch import load_file
from sidd_fixture import ISOS, PHONES, write_sidd_tree

import noisemodel
import synthesize
import train_gan_noisemodel as program
import viewnoise
from datasets import load_sidd, load_sidd_group, simulated_bursts
from datasets.burst import Burst
from noisemodel import Levels
from noisemodel.calibration import ClosedForm, Evidence, calibrate_closed_form, held_out
from noisemodel.calibration.held_out import SomeFrames, Window, windowed
from noisemodel.checkpoint import read_model
from noisemodel.iso_groups import starting_law
from noisemodel.physical import PhysicalNoise
from noisemodel.starting import Sensor, StartOptions, start_law

ROOT = Path(__file__).parents[1]
WITHIN = 0.05  # of the truth, for shot and read
LEARNS = "--critic_width 16 --critic_steps 3 --crop_size 24 --patch 24 --warmup 0 --gpus 0"
QUICK = "--critic_width 8 --critic_steps 2 --crop_size 16 --patch 16 --batch_size 6 --warmup 0 --gpus 0"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.quick(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All phones at all ISOs, two scenes each."""
    root = tmp_path_factory.mktemp("sidd") / "tree"
    for seed, phone in enumerate(PHONES):
        write_sidd_tree(root, phones=[phone], size=(192, 224), seed=seed)
    return root


def train(words: str) -> int:
    try:
        return program.main(words.split())
    except SystemExit as stop:
        return int(stop.code or 0)


def figures(model: noisemodel.NoiseGenerator) -> dict[str, float]:
    return {p.name: p.value for p in model.physical.parameters_table()}


def off(found: dict[str, float], phone: str, iso: int) -> float:
    """The largest relative distance from the fixture's truth."""
    return max(abs(found[name] / value - 1) for name, value in PHONES[phone].parameters(iso).items())


# What calibration says of every phone.


@pytest.fixture(scope="module")
def closed(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, ClosedForm]]:
    """Phone -> ISO -> closed form."""
    patch = pytest.MonkeyPatch()
    patch.setenv("NOISEMODEL_CACHE", str(tmp_path_factory.mktemp("cache")))
    found: dict[str, dict[int, ClosedForm]] = {phone: {} for phone in PHONES}
    for group in load_sidd(tree):
        _, phone, iso = group.name.split("/")
        found[phone][int(iso)] = calibrate_closed_form(group.bursts, "shot_read", group.levels)
    patch.undo()
    return found


@pytest.mark.parametrize("phone", PHONES)
def test_calibration_finds_every_phone_and_an_iso_that_it_has_not_seen(
    phone: str, closed: dict[str, dict[int, ClosedForm]]
) -> None:
    levels = Levels(0.0, 1.0, clip=(0.0, 1.0))
    models = {
        iso: PhysicalNoise.from_noiselist("shot_read", levels=levels, **each.start)
        for iso, each in closed[phone].items()
    }
    for iso, physical in models.items():
        found = {p.name: p.value for p in physical.parameters_table()}
        assert off(found, phone, iso) < WITHIN
        for name, truth in PHONES[phone].parameters(iso).items():
            interval = closed[phone][iso].intervals[name]
            assert abs(interval.value - truth) < 5 * (interval.high - interval.low) / (2 * 1.96)
    seen = {iso: model for iso, model in models.items() if iso != ISOS[1]}
    law = starting_law(seen, closed[phone], models[ISOS[0]], ISOS[0])
    assert off(law.at(ISOS[1]), phone, ISOS[1]) < WITHIN
    slopes = {"shot.gain": PHONES[phone].gain_slope, "read.std": PHONES[phone].read_slope}
    for name, slope in slopes.items():
        errors = [closed[phone][iso].intervals[name] for iso in seen]
        widest = max((e.high - e.low) / (2 * 1.96 * e.value) for e in errors)
        assert abs(law.rows[name].slope - slope) < 5 * widest * 2**0.5 / np.log(ISOS[2] / ISOS[0])


# Training.


def test_one_phone_at_one_iso_is_learned(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gain, read = PHONES["S6"].parameters(800).values()
    start = f"--start shot.gain={1.2 * gain:.4g} read.std={0.85 * read:.4g}"
    words = f"--dataset sidd --data_root {tree} --cameras S6 --iso 800 --noiselist shot_read {start} {LEARNS}"
    assert train(f"{words} --num_iter 80 --save_path run") == 0
    found = read_model("run")
    assert found.iso_law is None and found.physical.layout == "mosaic" and off(figures(found), "S6", 800) < WITHIN
    assert "sidd/S6/800: 2 bursts (0 dark), mosaic, black 0 DN, white 1 DN" in capsys.readouterr().out


def test_the_law_is_learned_and_used(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a law that is wrong by 20 and 15 %, the middle ISO left out: a short game, and what becomes of its model."""
    gain, read = PHONES["S6"].parameters(100).values()
    start = f"--start shot.gain={1.2 * gain:.4g} read.std={0.85 * read:.4g}"
    words = f"--dataset sidd --data_root {tree} --cameras S6 --iso 100,3200 --noiselist shot_read {QUICK}"
    assert train(f"{words} {start} {LEARNS} --batch_size 6 --num_iter 100 --seed 1") == 0
    folder = Path("runs/sidd/S6/100-3200_noUnet_shot_read")
    shown = capsys.readouterr().out
    assert "law against ISO: ln p = intercept + slope ln(ISO / 100)" in shown
    model, first = read_model(folder), runs.metrics(folder)[0]
    assert float(first["shot.gain"]) == pytest.approx(1.2 * gain, rel=0.01)
    for iso in ISOS:
        assert off(figures(model.at_iso(iso)), "S6", iso) < (WITHIN if iso == 800 else 2 * WITHIN), iso
    assert noisemodel.read_provenance(folder)["data"] == "sidd/S6/100-3200"
    assert {"iso_law.low", "iso_law.high", "iso_law.scatter"} <= set(load_file(folder / "model.safetensors"))
    # It goes on from where it stands: another joint run from its law, and a run at one ISO from what it says there.
    assert train(f"{words} --init {folder} --num_iter 1 --save_path next") == 0
    for name, value in model.iso_law.at(3200).items():
        assert read_model("next").iso_law.at(3200)[name] == pytest.approx(value, rel=0.1)
    assert train(f"{words} --iso 800 --init {folder} --num_iter 1 --save_path one") == 0
    assert float(runs.metrics(Path("one"))[0]["read.std"]) == pytest.approx(model.iso_law.at(800)["read.std"])
    assert read_model("one").iso_law is None
    # And on, bit for bit, from its resume state.
    assert train(f"{words} --num_iter 3 --save_path whole --lr_decay false") == 0
    for steps in (2, 3):
        resume = "--resume true" if steps == 3 else ""
        assert train(f"{words} --num_iter {steps} --save_path parts --lr_decay false {resume}") == 0
    state = [runs.resume_state(Path(name))["state_dict"] for name in ("whole", "parts")]
    assert runs.same(*state)


def test_what_starts_the_law(tree: Path) -> None:
    """--start goes through ISO0 at the fitted slope; --fix is one figure for all ISOs; default has no slope."""
    group = {iso: load_sidd_group(tree, cameras=["IP"], iso=[iso]) for iso in ISOS}
    closed = {iso: calibrate_closed_form(each.bursts, "shot_read_row1", each.levels) for iso, each in group.items()}
    sensor = Sensor("mosaic", group[800].levels, (192, 224), 4)
    for options, slope in ((StartOptions(start=("read.std=1e-4",)), 0.4), (StartOptions(init="default"), 0.0)):
        physical = sensor.model("shot_read_row1", {"read_std": 1e-4})
        law = start_law(sensor, closed, [], options, physical, base=None, pattern=None, iso0=800)
        assert law.rows["read.std"].slope == pytest.approx(slope, abs=0.03)
        assert set(law.names) == {"shot.gain", "read.std", "row1.std"}
    assert law.at(100)["read.std"] == pytest.approx(3e-3), "the default of a model"
    law = start_law(
        sensor, closed, [], StartOptions(start=("read.std=1e-4",)), physical, base=None, pattern=None, iso0=800
    )
    assert law.at(800)["read.std"] == pytest.approx(1e-4)
    physical.fix("shot.gain=1e-3")
    law = start_law(sensor, closed, [], StartOptions(), physical, base=None, pattern=None, iso0=800)
    assert set(law.names) == {"read.std", "row1.std"}


BAD = {
    "--cameras S6,IP": "a model is of one phone, {tree} has IP, S6; give one by --cameras",
    "": "a model is of one phone, {tree} has G4, GP, IP, N6, S6; give one by --cameras",
    "--cameras S6 --iso 100,200": "no --iso 200 in {tree}; there are 100, 800, 3200",
    "--cameras S6 --iso 0": "--iso must be whole numbers joined with commas, such as 100,800, got '0'",
    "--cameras S6 --iso 100 --black_level 64": "SIDD takes no --black_level",
}


@pytest.mark.parametrize("words", BAD)
def test_bad_choices(words: str, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(f"--dataset sidd --data_root {tree} {words} --gpus 0 --save_path out") == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and BAD[words].format(tree=tree) in shown
    assert not Path("out").exists()


def test_an_iso_that_only_another_phone_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for phone, iso in (("S6", 100), ("IP", 200)):
        write_sidd_tree(tmp_path / "tree" / phone, phones=[phone], isos=[iso], size=(64, 64))
    (tmp_path / "tree" / "IP").rename(tmp_path / "IP")
    for folder in (tmp_path / "IP").iterdir():
        folder.rename(tmp_path / "tree" / "S6" / folder.name.replace("0004", "0011").replace("0054", "0055"))
    assert train("--dataset sidd --data_root tree/S6 --cameras S6 --iso 100,200 --gpus 0 --save_path out") == 2
    assert "S6 has no images at ISO 200; only at [100] of these" in capsys.readouterr().err


def test_bad_files_are_skipped_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sidd_tree(tmp_path / "tree", phones=["S6"], isos=[100], scenes=3, size=(64, 96))
    file = next((tmp_path / "tree").rglob("*_NOISY_RAW_010.MAT"))
    file.write_bytes(file.read_bytes()[:3000])
    words = f"--dataset sidd --data_root tree --noiselist shot_read {QUICK} --num_iter 1 --save_path run"
    assert train(words) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and file.name in shown and not Path("run").exists()
    assert train(f"{words} --skip_bad_files") == 0
    shown = capsys.readouterr()
    assert file.name in shown.err and "2 bursts" in shown.out


@pytest.mark.parametrize("part", ["color", "gray", "newcalib"])
def test_starlight_trains(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_starlight, "SIZE", (64, 64))
    draws = np.random.default_rng(0)
    numbered = test_starlight.numbered

    def noisy(frames: int) -> np.ndarray:
        clean = numbered(frames)
        return clean + draws.standard_normal(clean.shape) * np.sqrt(1e-4 + 1e-3 * clean)

    monkeypatch.setattr(test_starlight, "numbered", noisy)
    data = test_starlight.write_paired_data(tmp_path)
    words = f"--dataset {part} --data_root {data} --noiselist shot_read_fixed1 {QUICK} --num_iter 1 --save_path run"
    assert train(words) == 0
    pattern = read_model("run").physical.component("fixed1").pattern
    assert float(pattern.std()) > 1e-4, "the measured pattern of the data set"


def test_raw_files_train(tmp_path: Path) -> None:
    found = simulated_bursts(frames=2, size=(64, 64), with_truth=False)
    for burst in found.bursts:
        if burst.kind != "flat":
            for t, frame in enumerate(burst.source.read(range(2), slice(None), slice(None))):
                raw_files.write_dng(tmp_path / "raw" / burst.name / f"{t}.dng", frame, black=(256,))
    assert train(f"--dataset raw --data_root raw --noiselist shot_read {QUICK} --num_iter 1 --save_path run") == 0
    assert read_model("run").physical.levels == Levels(256, 4095)


# Frames of many megapixels.


def test_large_scenes_are_calibrated_on_their_middle(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_sidd_group(tree, cameras=["S6"], iso=[100])
    monkeypatch.setattr(held_out, "LARGEST", 96 * 112)
    windows = [windowed(burst) for burst in data.bursts]
    for window, burst in zip(windows, data.bursts, strict=True):
        assert isinstance(window, Window) and window.shape == (1, 4, 48, 56) and window.origin == (48, 56)
        assert torch.equal(window.frame(0), burst.frame(0)[:, 24:72, 28:84])
        assert window.truth is not None and torch.equal(window.truth, burst.read_truth(slice(24, 72), slice(28, 84)))
        assert window.summary().level == pytest.approx(window.frame(0).double().mean(dim=(-2, -1)), rel=1e-5)
    middle = calibrate_closed_form(data.bursts, "shot_read_row1", data.levels)
    assert off({"shot.gain": middle.start["shot_gain"], "read.std": middle.start["read_std"]}, "S6", 100) < WITHIN
    monkeypatch.setattr(held_out, "LARGEST", 192 * 224)
    assert all(windowed(burst) is burst for burst in data.bursts)
    assert middle.start != calibrate_closed_form(data.bursts, "shot_read_row1", data.levels).start


def test_windows_of_some_frames_and_of_whole_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "LARGEST", 32 * 32)
    data = simulated_bursts(frames=4, size=(64, 64), with_truth=False)
    assert all((windowed(burst) is burst) == (burst.kind != "scene") for burst in data.bursts)
    window = windowed(SomeFrames(data.scenes[0], (1, 3)))
    assert window.shape == (2, 4, 16, 16)
    for t, number in enumerate((1, 3)):
        assert torch.equal(window.frame(t), data.scenes[0].frame(number)[:, 8:24, 8:24])
    offsets = window.summary().offsets
    means = torch.stack([window.frame(t).mean() for t in range(2)])
    assert torch.allclose(offsets, means - means.mean(), atol=1e-6)


@dataclass(frozen=True)
class Counting:
    """A burst that counts the values it reads."""

    burst: Burst
    read_: list[int]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.burst, name)

    def frame(self, t: int) -> torch.Tensor:
        raise AssertionError("a large scene is never read whole")

    def read(self, frames: Sequence[int], rows: slice, columns: slice) -> torch.Tensor:
        found = self.burst.read(frames, rows, columns)
        self.read_.append(found.numel())
        return found


def test_calibration_holds_no_maps_of_scenes(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "LARGEST", 96 * 112)
    data, counts = load_sidd_group(tree, cameras=["S6"], iso=[100]), list[int]()
    evidence = Evidence([Counting(burst, counts) for burst in data.bursts], data.levels)
    assert counts == [4 * 48 * 56] * 2, "each frame is read once, and only its middle"
    for m in evidence.moments:
        assert m.mean.shape == (1, 96, 112)
        assert sum(values.untyped_storage().nbytes() for values in (m.mean, m.variance, m.valid)) < 8 * 120
        assert not m.burst._kept  # type: ignore[attr-defined]


def test_maps_of_darks_and_flats_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    data = simulated_bursts(frames=4, size=(64, 64), with_truth=False)
    evidence = Evidence(data.bursts, data.levels)
    whole = {m.burst.name: m.mean.untyped_storage().nbytes() >= m.mean.numel() * 8 for m in evidence.moments}
    assert all(whole[b.name] == (b.kind != "scene") for b in data.bursts if b.name != "even")
    same = Evidence._measured
    monkeypatch.setattr("noisemodel.calibration.evidence.without_maps", lambda moments: moments)
    full = Evidence(data.bursts, data.levels)
    assert Evidence._measured is same
    for one, other in zip(evidence.moments, full.moments, strict=True):
        assert one.mean_square == pytest.approx(other.mean_square, rel=1e-12)
        assert float(one.variance.sum()) == pytest.approx(float(other.variance.sum()), rel=1e-9)
    for name in ("growth", "gain_spread", "dark_spread"):
        assert getattr(evidence, name) == getattr(full, name), name


# The documentation.


def test_every_command_of_the_documentation_runs(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "sidd.md").read_text().split("## Train", 1)[1]
    commands = re.search(r"```sh\n(.*?)```", text, re.DOTALL)[1].splitlines()  # type: ignore[index]
    Path("SIDD_Medium_Raw").symlink_to(tree)
    np.save(tmp_path / "clean.npy", np.full((4, 32, 32), 0.2, np.float32))
    programs = {"train_gan_noisemodel.py": program, "synthesize.py": synthesize}
    assert len(commands) == 4
    for command in commands:
        python, script, *words = shlex.split(command, comments=True)
        quick = f"{QUICK} --num_iter 1".split() if script == "train_gan_noisemodel.py" else []
        assert python == "python" and programs[script].main([*words, *quick]) == 0, command
    assert Path("noisy/clean.npy").is_file()


def test_programs_without_an_iso_say_which_they_take(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    words = f"--dataset sidd --data_root {tree} --cameras S6 --noiselist shot_read {QUICK} --num_iter 1 --save_path run"
    assert train(words) == 0 and caplog.text == ""
    assert read_model("run").iso_law.iso0 == 800
    monkeypatch.setattr(
        sys, "argv", ["viewnoise.py", "run", "--dataset", "simulated", "--crop", "32", "--html", "page.html"]
    )
    assert viewnoise.main() == 0 and Path("page.html").is_file()
    assert "run/model.safetensors follows a law against ISO; no ISO is given: parameters of ISO 800" in caplog.text
