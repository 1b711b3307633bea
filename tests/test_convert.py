"""convert.py: an ISO that has no effect is refused; models that have to be converted first say so."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import training_runs as runs

import convert
import noisemodel
import synthesize
from noisemodel import InputError
from noisemodel.iso_law import IsoLaw
from noisemodel.starting import base_model, refuse_published
from noisemodel.synthesis import model_for
from train_nrgan import NrGanOptions, physical_start


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A model of one setting."""
    model = noisemodel.PhysicalNoise.from_noiselist("shot_read", layout="planes", shot_gain=0.01, read_std=0.002)
    noisemodel.save(model, tmp_path / "plain")
    return tmp_path / "plain"


@pytest.fixture
def lawful(tmp_path: Path) -> Path:
    """A model with a law against ISO."""
    physical = noisemodel.PhysicalNoise.from_noiselist("shot_read", layout="planes", shot_gain=0.01, read_std=0.002)
    generator = noisemodel.NoiseGenerator(physical)
    rows = {"shot.gain": (math.log(0.01), 1.0, 0.0), "read.std": (math.log(0.002), 1.0, 0.0)}
    generator.iso_law = IsoLaw(rows, 100, [100, 400])
    noisemodel.save(generator, tmp_path / "lawful")
    return tmp_path / "lawful"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A run of the published script."""
    run = tmp_path / "published"
    run.mkdir()
    torch.save({"shot_noise": torch.tensor(0.02), "read_noise": torch.tensor(0.004)}, run / "bestgenerator3_KLD0.1.pt")
    args = {"network": "noUnet", "noiselist": "shot_read", "unet_opts": "", "crop_size": 32}
    (run / "args.txt").write_text(json.dumps(args))
    return run


def refused(words: Sequence[object], capsys: pytest.CaptureFixture[str]) -> str:
    assert convert.main([str(word) for word in words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("iso", ["-5", "0"])
@pytest.mark.parametrize("kind", ["profile", "eld", "darktable", "ours"])
def test_an_iso_is_a_positive_number(
    iso: str, kind: str, plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused([plain, "--to", kind, f"--iso={iso}", "-o", tmp_path / "out"], capsys)
    assert f"--iso must be above 0, got {iso}" in said
    assert not (tmp_path / "out").exists()


def test_an_iso_without_effect_is_refused(
    plain: Path, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for kind in ("profile", "eld"):
        said = refused([plain, "--to", kind, "--iso", "800", "-o", out], capsys)
        assert f"--iso 800: {plain} is of one setting, and --to {kind} does not name it; leave it out" in said
    said = refused([published, "--iso", "800", "-o", out], capsys)
    assert "only exports (--to profile, darktable, eld) take it; leave it out" in said
    assert not out.exists()


def test_an_iso_with_effect_is_taken(plain: Path, lawful: Path, tmp_path: Path) -> None:
    pairs = []
    for iso in (100, 400):
        out = tmp_path / f"{iso}.json"
        assert convert.main([str(lawful), "--to", "profile", "--iso", str(iso), "-o", str(out)]) == 0
        pairs.append(json.loads(out.read_text())["noise_profile"][0])
    assert np.allclose(pairs[1][0] / pairs[0][0], 4, rtol=1e-4)
    words = [
        str(plain),
        "--to",
        "darktable",
        "--iso",
        "800",
        "--maker",
        "A",
        "--camera",
        "B",
        "-o",
        str(tmp_path / "d"),
    ]
    assert convert.main(words) == 0
    assert '"iso": 800' in (tmp_path / "d").read_text()


def test_a_published_run_has_to_be_converted_before_training(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = runs.write_bursts(tmp_path / "bursts")
    runs.quick(monkeypatch, tmp_path)
    for noiselist in ("--noiselist shot_read_excess", ""):
        assert runs.train(tmp_path / "run", data, f"{noiselist} --init {published}") == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"--init {published} is a run of the published scripts" in said
        assert f"convert it first: python convert.py {published} --out FOLDER, then give --init FOLDER" in said
    assert convert.main([str(published), "--out", str(tmp_path / "ours")]) == 0
    assert runs.train(tmp_path / "run", data, f"--num_iter 1 --init {tmp_path / 'ours'}") == 0


def test_so_it_has_for_images_and_for_each_channel(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = NrGanOptions(dataset="cifar10ag25", model="physnrgan", output_directory=tmp_path, noise_init=published)
    with pytest.raises(InputError, match=r"--noise_init .* convert it first: python convert\.py .* --out FOLDER"):
        physical_start(options, None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"convert it first: python convert\.py .*\.pt --out FOLDER"):
        model_for(noisemodel.load(published), 3, per_channel=True)
    np.save(tmp_path / "rgb.npy", np.full((3, 32, 32), 0.5, np.float32))
    words = [str(published), str(tmp_path / "rgb.npy"), "--per_channel", "-o", str(tmp_path / "out")]
    assert synthesize.main(words) == 2
    said = capsys.readouterr().err
    assert "convert it first" in said and said.count("\n") == 1


def test_models_of_ours_need_no_conversion(plain: Path) -> None:
    model = base_model(str(plain), [0])
    refuse_published(model, "--init", plain)
    assert model.physical.noiselist == "shot_read"
