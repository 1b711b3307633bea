"""calibrate.py: what it writes, for programs and for people, and that the other programs take it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import training_runs as runs
from test_calibration_figures import coloured, darks, flats

import calibrate
import noisemodel
import synthesize
import viewnoise
from datasets.patterns import load_pattern

LEVELS = ("--black_level", "100", "--white_level", "1100")
FILES = [
    "calibration.json", "defects.npz", "fixed_pattern.npz", "mean_dark.npz", "model.safetensors", "photon_transfer.png",
]  # fmt: skip
ALWAYS = {"gain_dn_per_e", "read_std_dn", "row_std_dn", "black_dn", "dark_std_dn", "dsnu_dn", "prnu_percent"}


def write_folder(root: Path, layout: str = "planes") -> Path:
    """4 darks and 3 flats as .npz; a mosaic has two each."""
    bursts = coloured((0.4, 0.5, 0.6, 0.8), "mosaic") if layout == "mosaic" else [*darks(4, row=1.0), *flats(row=1.0)]
    root.mkdir()
    for burst in bursts:
        np.savez(root / f"{burst.name}.npz", frames=np.rint(burst.source.dn).clip(0, 1100).astype(np.uint16))
    return root


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["calibrate.py", *map(str, words)])
    return calibrate.main()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with frames, and the model that was calibrated on them."""
    folder = tmp_path_factory.mktemp("calibrate")
    write_folder(folder / "frames")
    words = ("--noiselist", "shot_read_uniform_row1_fixed1", "--json", folder / "figures.json")
    with pytest.MonkeyPatch.context() as patch:
        assert run(patch, folder / "frames", "-o", folder / "model", *LEVELS, *words) == 0
    return folder


def test_every_file_is_written_and_named(made: Path) -> None:
    assert sorted(path.name for path in (made / "model").iterdir()) == FILES
    assert (made / "figures.json").read_bytes() == (made / "model" / "calibration.json").read_bytes()
    assert (made / "model" / "photon_transfer.png").read_bytes().startswith(b"\x89PNG")


def test_figures_for_other_programs(made: Path) -> None:
    found = json.loads((made / "figures.json").read_text())
    figures = {name: entry for name, entry in found.items() if isinstance(entry, dict) and "value" in entry}
    assert figures.keys() >= ALWAYS
    for name, entry in {**figures, **found["parameters"]}.items():
        assert entry.keys() == {"value", "low", "high", "unit", "estimator"}, name
        assert entry["low"] <= entry["value"] <= entry["high"], name
        assert entry["unit"] and entry["estimator"], name
    units = {"gain_dn_per_e": "DN/e-", "read_std_dn": "DN", "prnu_percent": "%", "read_std_e": "e-", "black_dn": "DN"}
    assert {name: figures[name]["unit"] for name in units} == units
    for name, truth in {"gain_dn_per_e": 0.5, "read_std_dn": 3.014, "row_std_dn": 1.0, "black_dn": 100.0}.items():
        assert figures[name]["value"] == pytest.approx(truth, rel=0.1), name
    rest = found.keys() - figures.keys()
    assert rest >= {"planes", "parameters", "noiselist", "reasons", "lack_of_fit", "levels", "notes", "cannot_tell"}
    assert found["noiselist"] == "shot_read_uniform_row1_fixed1" and found["confidence"] == 0.95


def test_the_line_is_given_level_by_level(made: Path) -> None:
    levels = json.loads((made / "figures.json").read_text())["levels"]
    assert [level["burst"] for level in levels] == sorted(path.stem for path in (made / "frames").iterdir())
    for level in levels:
        assert level["lack_of_fit"] == pytest.approx(level["variance_dn2"] / level["fitted_dn2"] - 1, abs=1e-5)
        off = level["variance_dn2"] - level["fitted_dn2"]
        assert abs(off) < 5 * level["standard_error"]


def test_maps_are_read_by_the_others(made: Path) -> None:
    pattern, mean = (load_pattern(made / "model" / name).double() for name in ("fixed_pattern.npz", "mean_dark.npz"))
    assert pattern.shape == mean.shape == (96, 128)
    frames = [np.load(path)["frames"] for path in sorted((made / "frames").glob("dark*"))]
    np.testing.assert_allclose(mean, np.concatenate(frames).mean(axis=0) - 100, atol=1e-3)
    assert float(pattern.std()) < float(mean.std())  # no pattern was there: what is left is noise, and is less
    with np.load(made / "model" / "defects.npz") as masks:
        assert {name: masks[name].shape for name in masks.files} == dict.fromkeys(("mask", "hot", "noisy"), (96, 128))
        assert (masks["mask"] == masks["hot"] | masks["noisy"]).all()


def test_the_checkpoint_knows_where_it_comes_from(made: Path) -> None:
    facts, found = noisemodel.read_provenance(made / "model"), json.loads((made / "figures.json").read_text())
    assert facts["program"] == "calibrate.py" and facts["data"] == "frames"
    assert facts["options"]["black_level"] == 100 and facts["options"]["noiselist"] == found["noiselist"]
    assert facts["calibration"]["figures"]["gain_dn_per_e"] == found["gain_dn_per_e"]


def test_the_model_is_one_like_others(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """load, synthesize.py, viewnoise.py and train_gan_noisemodel.py --init take it."""
    model = noisemodel.load(made / "model")
    assert {row.name for row in model.physical.parameters_table()} >= {"shot.gain", "read.std", "row1.std"}
    np.save(made / "clean.npy", np.full((64, 64), 0.3, np.float32))
    assert synthesize.main([str(made / "model"), str(made / "clean.npy"), "-o", str(made / "noisy")]) == 0
    noisy = np.load(made / "noisy" / "clean.npy")
    assert noisy.std() == pytest.approx((0.5 * 300 + 9 + 1) ** 0.5 / 1000, rel=0.1)
    monkeypatch.setattr(
        sys, "argv", ["viewnoise.py", str(made / "model"), "--data_root", str(made / "frames"), *LEVELS]
    )
    monkeypatch.setattr(viewnoise, "view", lambda *args, **more: [])
    assert viewnoise.main() == 0
    runs.quick(monkeypatch, made)
    words = f"--init model --noiselist shot_read_uniform_row1_fixed1 --num_iter 2 {' '.join(LEVELS)}"
    assert runs.train(Path("run"), Path("frames"), words) == 0
    one, other = (noisemodel.load(made / name).physical.parameters_table() for name in ("model", "run"))
    for before, after in zip(one, other, strict=True):
        assert after.value == pytest.approx(before.value, rel=0.05), before.name


def test_a_second_run_replaces_the_first_and_gives_the_same(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: (made / "model" / name).read_bytes() for name in FILES}
    words = ("--noiselist", "shot_read_uniform_row1_fixed1", "--json", made / "figures.json")
    assert run(monkeypatch, made / "frames", "-o", made / "model", *LEVELS, *words) == 0
    after = {name: (made / "model" / name).read_bytes() for name in FILES}
    # A .npz holds the time; the header of a .safetensors is in no fixed order.
    same = [name for name in FILES if not name.endswith((".npz", ".safetensors"))]
    assert {name: before[name] for name in same} == {name: after[name] for name in same}
    first, second = (safetensors.torch.load(files["model.safetensors"]) for files in (before, after))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_mosaic_and_auto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path / "frames", "mosaic")
    words = (*LEVELS, "--layout", "mosaic", "--cfa", "RGGB", "-o", tmp_path / "one.safetensors")
    assert run(monkeypatch, tmp_path / "frames", *words) == 0
    shown = capsys.readouterr().out
    for text in (
        "figures with 95 % intervals",
        "photon transfer",
        "what this data cannot tell",
        "plane 3",
        "noiselist",
    ):
        assert text in shown
    assert shown.count("nats") >= 4  # why each word is or is not there
    assert sorted(path.name for path in tmp_path.glob("one*")) == sorted(
        ["one.safetensors", *(f"one_{name}" for name in FILES if name != "model.safetensors")]
    )
    planes = json.loads((tmp_path / "one_calibration.json").read_text())["planes"]
    values = [plane["gain_dn_per_e"]["value"] for plane in planes]
    assert values == pytest.approx([0.4, 0.5, 0.6, 0.8], rel=0.1)


def test_bursts_are_left_out_by_name(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--leave_out", "dark*", "--noiselist", "shot_read", "-o", tmp_path / "model")
    assert run(monkeypatch, made / "frames", *LEVELS, *words) == 0
    found = json.loads((tmp_path / "model" / "calibration.json").read_text())
    assert "dsnu_dn" not in found and any("black level against" in line for line in found["cannot_tell"])
    assert not (tmp_path / "model" / "fixed_pattern.npz").exists()
