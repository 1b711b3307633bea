"""Export to NoiseProfile pairs, darktable and ELD: what is kept comes back, what is lost is said."""

import json
import math
from pathlib import Path

import pytest
import torch

import convert
import noisemodel
from noisemodel import InputError, Levels, NoiseGenerator, PhysicalNoise
from noisemodel.iso_law import IsoLaw
from noisemodel.sources import open_source
from noisemodel.sources_export import FORMATS, Target, export
from noisemodel.sources_published import read_eld

GAIN, READ = 2e-4, 1.5e-3
LEVELS = [None, Levels(64, 1023), Levels(512, 16383)]


def built(noiselist: str = "shot_read", levels: Levels | None = None, **start) -> NoiseGenerator:
    start = {"shot_gain": GAIN, **({"read_std": READ} if "read_" in f"{noiselist}_" else {}), **start}
    return NoiseGenerator(PhysicalNoise.from_noiselist(noiselist, levels=levels, **start)).eval()


def values(model: NoiseGenerator) -> dict[str, float]:
    return {p.name: p.value for p in model.physical.parameters_table()}


def write(folder: Path, kind: str, model: NoiseGenerator, target: Target | None = None) -> tuple[Path, tuple[str, ...]]:
    found = export(model, kind, target)
    path = folder / f"out.{'npy' if kind == 'eld' else 'json'}"
    path.write_bytes(found.content)
    return path, found.lost


@pytest.mark.parametrize("levels", LEVELS)
def test_pairs_come_back(tmp_path, levels):
    path, lost = write(tmp_path, "profile", built(levels=levels))
    again = values(open_source(f"profile:{path}", levels=levels).model)
    assert again == pytest.approx({"shot.gain": GAIN, "read.std": READ}, rel=1e-6) and lost == ()


@pytest.mark.parametrize("levels", LEVELS)
def test_darktable_comes_back(tmp_path, levels):
    target = Target("Maker", "Model 1 Mark II", 800)
    path, lost = write(tmp_path, "darktable", built(levels=levels), target)
    again = values(open_source(f"darktable:{path},Model 1 Mark II,800", levels=levels).model)
    assert again == pytest.approx({"shot.gain": GAIN, "read.std": READ}, rel=1e-6)
    assert any("red, green and blue" in line for line in lost)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("shape", [-0.2, 0.1])
def test_eld_comes_back(tmp_path, levels, shape):
    start = {"readtl_scale": 1e-3, "readtl_lambda": shape, "row1_std": 4e-4}
    start |= {"uniform_width": 1 / 15583} if levels is None else {}
    model = built("shot_readtl_row1_uniform", levels, **start)
    path, lost = write(tmp_path, "eld", model)
    gain = lost[-1].split(": ")[1].split()[0]
    again = values(open_source(f"eld:{path},{gain}", levels=levels).model)
    assert again == pytest.approx(values(model), rel=1e-5)
    assert lost[:-1] == ("uniform: its width; readers take one step of their own DN",)


def test_gaussian_read_noise_keeps_its_variance_in_eld(tmp_path):
    model = built("shot_read")
    path, lost = write(tmp_path, "eld", model)
    gain = lost[-1].split(": ")[1].split()[0]
    again = open_source(f"eld:{path},{gain}").model.physical
    dark = torch.zeros(1, 4, 1, 1)
    assert float(again.component("readtl").variance(dark).mean()) == pytest.approx(READ**2, rel=1e-5)
    assert "becomes Tukey-lambda" in lost[0] and any("no row noise" in line for line in lost)
    assert read_eld(path, float(gain)).gaussian_std_dn == pytest.approx(READ * 15583, rel=1e-5)


def test_a_law_against_iso_is_written_at_its_isos(tmp_path):
    model = built()
    rows = {"shot.gain": (math.log(GAIN), 1.0, 0.0), "read.std": (math.log(READ), 0.7, 0.0)}
    model.iso_law = IsoLaw(rows, 400.0, [100, 400, 1600])
    path, _ = write(tmp_path, "darktable", model, Target("Maker", "Model"))
    for iso in (100, 400, 800, 1600):
        again = values(open_source(f"darktable:{path},Maker Model,{iso}").model)
        assert again["shot.gain"] == pytest.approx(GAIN * iso / 400, rel=1e-5)
        if iso != 800:
            assert again["read.std"] == pytest.approx(READ * (iso / 400) ** 0.7, rel=1e-5)
    path, _ = write(tmp_path, "eld", model)
    for iso in (100, 230, 1600):  # a line in logarithms, so also between the ISOs
        noise = read_eld(path, GAIN * iso / 400 * 15583)
        assert noise.gaussian_std_dn == pytest.approx(READ * (iso / 400) ** 0.7 * 15583, rel=1e-5)
    path, _ = write(tmp_path, "profile", model)
    found = json.loads(path.read_text())
    assert found["noise_profile"][0] == pytest.approx([GAIN, READ**2], rel=1e-5)
    assert [row["iso"] for row in found["by_iso"]] == [100, 400, 1600]
    path, _ = write(tmp_path, "profile", model, Target(iso=100))
    assert json.loads(path.read_text())["noise_profile"][0][0] == pytest.approx(GAIN / 4, rel=1e-5)


def test_what_is_lost_is_said_and_white_noise_adds_up_in_o(tmp_path):
    model = built("shot_read_uniform_row1_excess_periodic", uniform_width=2e-3, row1_std=3e-3, excess_coefficient=1e-4)
    path, lost = write(tmp_path, "profile", model)
    ((slope, offset),) = json.loads(path.read_text())["noise_profile"]
    assert (slope, offset) == pytest.approx((GAIN, READ**2 + 2e-3**2 / 12), rel=1e-5)
    said = " ".join(lost)
    assert "row1: left out, std 0.003" in said and "excess: left out, std 0.005" in said and "periodic" in said
    network = NoiseGenerator(built().physical, "Unet", unet_width=4)
    for kind in FORMATS:
        target = Target("Maker", "Model", 100)
        assert any("network" in line for line in export(network, kind, target).lost)


@pytest.mark.parametrize(
    ("kind", "model", "target", "said"),
    [
        ("darktable", built(), None, "give --maker, --camera and --iso"),
        ("darktable", NoiseGenerator(PhysicalNoise.from_noiselist("read")), Target("M", "m", 1), "need shot noise"),
        ("eld", NoiseGenerator(PhysicalNoise.from_noiselist("read_row1")), None, "hold shot and read noise"),
        ("profile", NoiseGenerator(PhysicalNoise.from_noiselist("row1")), None, "neither shot nor read"),
        ("raw", built(), None, "known: profile, darktable, eld"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(kind, model, target, said):
    with pytest.raises(InputError, match=said):
        export(model, kind, target)


def test_the_command_writes_once_and_prints_what_is_lost(tmp_path, capsys):
    noisemodel.save(built("shot_read_row1"), tmp_path / "run")
    words = [str(tmp_path / "run"), "--to", "profile", "-o", str(tmp_path / "pairs.json")]
    assert convert.main(words) == 0
    assert "lost: row1: left out" in capsys.readouterr().out
    assert convert.main(words) == 2 and "--overwrite" in capsys.readouterr().err
    assert convert.main([*words, "--overwrite"]) == 0
    assert convert.main([str(tmp_path / "run"), "-o", str(tmp_path / "x")]) == 2
    assert "give --to" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]", '{"noise_profile": [[1, "x"]]}', '{"noise_profile": 3}', "[" * 5000])
def test_another_json_is_no_profile(tmp_path, text):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(InputError, match="no noise_profile of pairs"):
        open_source(f"profile:{tmp_path / 'bad.json'}")
