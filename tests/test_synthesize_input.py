"""synthesize.py and bad input: one line that names the remedy, exit code 2, nothing written."""

import subprocess
import sys
from pathlib import Path

import h5py
import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import noisemodel
import synthesize
from noisemodel import Levels, NoiseGenerator, PhysicalNoise

ROOT = Path(__file__).parents[1]
LEVELS = Levels(64, 4095)
GREY = np.full((8, 9), 99, np.uint8)
RAW = np.full((8, 9), 999, np.uint16)


def physics(noiselist, layout="planes", levels=LEVELS, **start):
    return PhysicalNoise.from_noiselist(noiselist, layout=layout, levels=levels, **start)


def make(folder):
    """Models and images, good and bad, each in a place of its own."""
    pattern = torch.zeros(8, 8)
    models = {
        "planes": physics("shot_read"),
        "nolevels": physics("shot_read", levels=None),
        "mosaic": physics("shot_read", "mosaic"),
        "pattern": physics("read_fixed1", fixed1_pattern=pattern),
        "unet": NoiseGenerator(physics("shot_read"), "Unet", channels=1, unet_width=2),
        "mosaicunet": NoiseGenerator(physics("shot_read", "mosaic"), "Unet", unet_width=2),
    }
    for name, model in models.items():
        noisemodel.save(model, folder / f"{name}.safetensors")
    (folder / "damaged.safetensors").write_bytes(b"x" * 99)
    arrays = {
        "nan": np.where(np.eye(9) > 0, np.nan, 0.5),
        "inf": np.array([[np.inf, 0.5]], np.float32),
        "dn": np.full((8, 9), 900.0),
        "bright": np.full((8, 9), 60000, np.uint16),
        "int": np.ones((8, 9), np.int32),
        "five": np.ones((1, 1, 1, 8, 9)),
        "seven": np.ones((8, 9, 7), np.uint8),
    }
    for name, array in {**arrays, "raw": RAW}.items():
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "objects.npy", np.array([[None]]), allow_pickle=True)
    (folder / "cut.npy").write_bytes((folder / "raw.npy").read_bytes()[:150])
    (folder / "good").mkdir()
    iio.imwrite(folder / "good" / "grey.png", GREY)
    iio.imwrite(folder / "rgb.png", np.stack([GREY] * 3, -1))
    iio.imwrite(folder / "cut.png", np.random.default_rng(0).integers(0, 256, (50, 50), np.uint8))
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:1500])
    Image.fromarray(GREY).convert("P").save(folder / "palette.png")
    tifffile.imwrite(folder / "late.tif", np.stack([arrays["dn"] / 1000, np.full((8, 9), np.nan)]))
    with h5py.File(folder / "two.h5", "w") as file:
        file["a"], file["b"] = GREY, GREY
    (folder / "photo.jpg").write_bytes(b"x")
    (folder / "empty").mkdir()
    (folder / "empty" / "notes.txt").write_text("x")
    (folder / "afile").write_text("x")


CASES = {
    "nowhere good -o out": "no such checkpoint",
    "damaged.safetensors good -o out": "damaged or not a safetensors file",
    "planes nowhere -o out": "known: .png",
    "planes nowhere.png -o out": "no such file: nowhere.png",
    "planes empty -o out": "empty holds no images (.png",
    "planes photo.jpg -o out": "photo.jpg is no image that can be written back",
    "planes cut.png -o out": "cut.png is truncated or damaged",
    "planes cut.npy -o out": "cannot read cut.npy",
    "planes palette.png -o out": "has a palette",
    "planes objects.npy -o out": "cannot read objects.npy",
    "planes int.npy -o out": "holds int32; images are uint8, uint16, float32, float64",
    "planes five.npy -o out": "cannot tell the axes of shape (1, 1, 1, 8, 9); say --axes",
    "planes raw.npy -o out --axes CHW": "which is not CHW",
    "planes two.h5 -o out": "two.h5 holds a, b; name one array with --key",
    "planes two.h5 -o out --key c": "name one array with --key",
    "planes nan.npy -o out": "nan.npy: it holds NaN or infinite values",
    "planes inf.npy -o out": "inf.npy: it holds NaN or infinite values",
    "planes late.tif -o out": "late.tif: it holds NaN",
    "planes dn.npy -o out": "dn.npy: values reach 900, but the white level would be 1",
    "planes bright.npy -o out": "values reach 60000, but the white level would be 4095",
    "nolevels raw.npy -o out --values dn": "the model has none; give --black_level and --white_level",
    "planes raw.npy -o out --black_level 3": "give --black_level and --white_level together",
    "planes raw.npy -o out --black_level 9 --white_level 3": "white level must exceed black level",
    "planes raw.npy -o out --black_level 0 --white_level 3 --values full_scale": "drop one of them",
    "planes raw.npy -o out --values dn --srgb": "values in DN are linear",
    "planes good -o good": "lies in the input folder",
    "planes good -o good/noisy": "lies in the input folder",
    "planes good/grey.png -o good": "is the folder of good/grey.png",
    "planes good -o afile": "output afile is a file",
    "planes good good/grey.png -o out": "would both be written to out/grey.png",
    "mosaic rgb.png -o out": "rgb.png: it has 3 channels, the model is one of a mosaic; give the raw mosaic",
    "mosaicunet rgb.png -o out --per_channel": "network knows only a mosaic; give the raw mosaic",
    "planes rgb.png -o out --per_channel": "--per_channel is for a mosaic model",
    "unet rgb.png -o out": "it has 3 channels, the model's network was made for 1",
    "mosaic seven.npy -o out --axes HWC": "it has 7 channels",
    "pattern good -o out": "covers 8x8 sensor pixels, but origin + crop reaches 8x9",
    "planes good -o out --origin 3": "--origin must be ROW,COLUMN",
    "planes good -o out --origin=-1,2": "--origin must be ROW,COLUMN",
    "planes good -o out --frames 0": "--frames must be at least 1",
    "planes good -o out --seed x": "--seed must be a whole number",
    "planes good -o out --param row1.std=1": "'row1.std'; this model has: shot.gain, read.std",
    "planes good -o out --param read.std": "--param: cannot read 'read.std'",
    "planes good -o out --param read.std=-1": "--param: read.std must be a positive number",
    "nolevels good -o out --param read.std=1DN": "--param: read.std in DN needs the black and white level",
    "planes good": "missing: --out",
    "planes good -o out --sead 3": "did you mean --seed?",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    make(folder)
    return folder


def words_of(command):
    model, *rest = command.split()
    return [model if model.endswith(".safetensors") else f"{model}.safetensors", *rest]


@pytest.mark.parametrize("command", CASES)
def test_one_line_and_nothing_written(place, monkeypatch, capsys, command):
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    try:
        code = synthesize.main(words_of(command))
    except SystemExit as stop:
        code = stop.code
    shown = capsys.readouterr()
    assert code == 2 and shown.out == "" and shown.err.count("\n") == 1
    assert CASES[command] in shown.err
    out = place / "out"
    if command.startswith("planes late.tif"):  # the second page is bad: the folder is there, and empty
        assert not list(out.iterdir())
        out.rmdir()
    assert sorted(place.rglob("*")) == before


def test_existing_outputs_are_kept(place, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(place)
    words = ["planes.safetensors", "good", "-o", str(tmp_path / "noisy")]
    assert synthesize.main(words) == 0
    before = (tmp_path / "noisy" / "grey.png").read_bytes()
    capsys.readouterr()
    assert synthesize.main([*words, "--seed", "1"]) == 2
    assert "exists already; choose another folder, or say --overwrite" in capsys.readouterr().err
    assert (tmp_path / "noisy" / "grey.png").read_bytes() == before
    assert synthesize.main([*words, "--seed", "1", "--overwrite"]) == 0
    assert (tmp_path / "noisy" / "grey.png").read_bytes() != before


def test_from_the_shell(place):
    words = words_of("planes nan.npy -o out")
    done = subprocess.run([sys.executable, ROOT / "synthesize.py", *words], cwd=place, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    line = "synthesize.py: error: nan.npy: it holds NaN or infinite values; repair these pixels first\n"
    assert done.stderr == line
