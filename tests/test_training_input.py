"""train_gan_noisemodel.py and bad input: one line that names the word and the remedy, exit code 2, nothing left."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import tifffile
import training_runs as runs

import noisemodel
from noisemodel import Levels, NoiseGenerator, PhysicalNoise

ROOT = Path(__file__).parents[1]
LEVELS = Levels(256, 4095)


def make(folder: Path) -> None:
    """Burst folders, patterns and models, good and bad, each in a place of its own."""
    arrays = runs.frames_of()
    scene = arrays["coffee"]
    lit = {name: arrays[name] for name in ("coffee", "motorcycle")}
    nan = scene.astype(np.float32)
    nan[1, 5, 5] = np.nan
    ramp, rng = np.linspace(300, 3000, 64), np.random.default_rng(0)
    dimming = np.rint(ramp + rng.normal(0, 10 - ramp / 400, scene.shape)).astype(np.uint16)
    bursts = {
        "good": arrays,
        "lit": lit,
        "nan": {**lit, "bad": nan},
        "one": {**lit, "bad": scene[:1]},
        "saturated": {**lit, "bad": np.full_like(scene, 4095)},
        "small": {**lit, "bad": scene[:, :20, :20]},
        "odd": {**lit, "bad": scene[:, :, :63]},
        "planes": {**lit, "bad": scene.reshape(4, 4, 32, 32)[:, :3]},
        "dim": {**lit, "bad": np.full_like(scene, 20)},
        "dimming": {"bad": dimming},
    }
    for name, content in bursts.items():
        runs.write_bursts(folder / name, content)
    runs.write_bursts(folder / "swapped", lit, black_level=4095, white_level=256)
    runs.write_bursts(folder / "nolevels", lit, layout="mosaic")
    runs.write_bursts(folder / "cut", lit)
    whole = (folder / "cut" / "coffee.npz").read_bytes()
    (folder / "cut" / "coffee.npz").write_bytes(whole[: len(whole) // 2])
    runs.write_bursts(folder / "ragged", lit)
    ragged = np.empty(2, object)
    ragged[:] = [scene[0], scene[1, :30]]
    np.savez(folder / "ragged" / "bad.npz", frames=ragged)
    runs.write_bursts(folder / "pages", {}, black_level=256, white_level=4095)
    for t, frame in enumerate((scene[0], scene[1], scene[2, :30, :40])):
        tifffile.imwrite(folder / "pages" / f"bad_{t}.tif", frame)
    (folder / "empty").mkdir()
    (folder / "afile").write_text("x")
    patterns = {"pnan": np.full((64, 64), np.nan), "psmall": np.zeros((32, 64)), "pgood": np.zeros((64, 64))}
    for name, pattern in {**patterns, "p3": np.zeros((3, 32, 32)), "p1": np.zeros(64)}.items():
        np.save(folder / f"{name}.npy", pattern)
    scipy.io.savemat(folder / "ptwo.mat", {"a": patterns["pgood"], "b": patterns["pgood"]})
    for name, layout in (("mono", "planes"), ("model", "mosaic")):
        physical = PhysicalNoise.from_noiselist("shot_read", layout=layout, levels=LEVELS)
        noisemodel.save(physical, folder / f"{name}.safetensors")
    other = PhysicalNoise.from_noiselist("shot_read", layout="mosaic", levels=Levels(64, 1023))
    noisemodel.save(other, folder / "levels.safetensors")
    noisemodel.save(NoiseGenerator(physical, "Unet", unet_width=2), folder / "unet.safetensors")
    (folder / "damaged.safetensors").write_bytes(b"x" * 99)
    (folder / "badkey.json").write_text('{"batch_sise": 4}')
    (folder / "badvalue.json").write_text('{"batch_size": "many"}')


# The folder of bursts, other words -> what the line must hold.
CASES = {
    # the noiselist
    "good --noiselist shot_raed": "unknown word 'raed' in noiselist 'shot_raed' (did you mean 'read'?); known: shot",
    "good --noiselist threadless": "unknown word 'threadless'",
    "good --noiselist shot_read_shot": "word 'shot' stands twice in noiselist 'shot_read_shot'",
    "good --noiselist fixed1_learnedfixed": "'fixed1' and 'learnedfixed' contradict each other",
    "good --noiselist=": "the noiselist is empty; join words with '_'",
    "good --noiselist shot__read": "unknown word '' in noiselist 'shot__read'",
    "lit --noiselist shot_read_fixed1": "fixed1 needs a measured pattern: record darks",
    # the data
    "nowhere": "no such folder: nowhere; name a folder of bursts",
    "afile": "no such folder: afile",
    "empty": "no bursts in empty; supported are .npy",
    "cut": "cannot read cut/coffee.npz: BadZipFile",
    "ragged": "ragged/bad.npz",
    "pages": "frames of unequal size in pages/bad_2.tif: (30, 40)",
    "nan": "frame 1 of nan/bad.npz holds NaN or infinite values; repair or leave out",
    "one": "one/bad.npz has 1 frame; a burst needs at least 2",
    "saturated": "saturated/bad.npz: 100% of the pixels are saturated",
    "dim": "dim/bad.npz has a mean of 20 DN, far below the black level 256 DN; give the right --black_level",
    "odd": "a mosaic has even height and width, odd/bad.npz has 64x63; crop it",
    "planes": "a packed mosaic has 4 planes, planes/bad.npz has 3; say --layout planes",
    "dimming": "variance does not grow with signal",
    "swapped": "white level must exceed black level, got 256.0 <= 4095.0 DN",
    "nolevels": "black_level and white_level of nolevels/coffee.npz unknown; give --black_level and --white_level",
    "good --white_level 200": "white level must exceed black level, got 200.0 <= 256.0 DN",
    "good --white_level 1023": "far above the white level 1023 DN; give the right --white_level",
    "good --cfa XTRANS": "cfa must be 4 colour letters such as RGGB",
    "good --layout bayer": "--layout must be one of mosaic, planes or null, got 'bayer'",
    "good --dataset imagenet": "--dataset must be one of simulated, bursts, raw, sidd, color, gray, newcalib, got",
    "good --dataset sidd": "no SIDD scene folders such as 0001_001_S6_00100_00060_3200_L with frames in good",
    "good --iso 100": "--iso choose among SIDD's images; --dataset bursts has one setting",
    "good --dataset sidd --iso 100,x": "--iso must be whole numbers joined with commas, such as 100,800, got '100,x'",
    "good --dataset simulated": "the simulated camera takes no --data_root",
    # sizes and figures
    "good --crop_size 33": "crop 33 is larger than good/coffee.npz: 32x32 per plane; give a smaller --crop_size",
    "small": "crop 16 is larger than small/bad.npz: 10x10 per plane; give a smaller --crop_size",
    "good --crop_size 0": "--crop_size must be at least 1, got 0",
    "good --batch_size 0": "--batch_size must be at least 1, got 0",
    "good --batch_size -3": "--batch_size must be at least 1, got -3",
    "good --batch_size two": "--batch_size must be a whole number, got 'two'",
    "good --patch 0": "--patch must be at least 1, got 0",
    "good --frames 0": "--frames must be at least 1, got 0",
    "good --frames 1": "2 frames (without ground truth the reference is their mean)",
    "good --num_iter 0": "--num_iter must be at least 1, got 0",
    "good --epochs 0": "--epochs must be at least 1, got 0",
    "good --max_time -1": "--max_time must be at least 0, got -1",
    "good --warmup -1": "--warmup must be at least 0, got -1",
    "good --critic_steps 0": "--critic_steps must be at least 1, got 0",
    "good --critic_width 0": "--critic_width must be at least 1, got 0",
    "good --critic_halvings -1": "--critic_halvings -1",
    "good --critic_halvings 5": "--critic_halvings 5 leaves nothing of a patch of 16",
    "good --critic_halvings 5 --patch 32": "--critic_halvings 5 leaves nothing of a crop of 16",
    "good --unet_width 0": "--unet_width must be at least 1, got 0",
    "good --unet_opts residualMaybe_conv_tconv_selu": "cannot read unet_opts 'residualMaybe_conv_tconv_selu' at 'resid",
    "good --lr -1": "--lr must be at least 0, got -1",
    "good --lr nan": "--lr must be a number, got 'nan'",
    "good --lr_physics -1": "--lr_physics must be at least 0, got -1",
    "good --lambda_gp -1": "--lambda_gp must be at least 0, got -1",
    "good --b1 1": "--b1 must be at least 0 and below 1, got 1",
    "good --b2 -0.5": "--b2 must be at least 0 and below 1, got -0.5",
    # flags
    "good --batch_sise 4": "unknown option --batch_sise; did you mean --batch_size?",
    "good more": "unexpected argument 'more'",
    "good --network UNET": "--network must be one of noUnet, Unet, Unet_cat, Unet_first, got 'UNET'",
    "good --discriminator_loss wasserstein": "--discriminator_loss must be one of residual, real, fourier, mixed,",
    "good --split_into_patches no": "--split_into_patches must be one of patches_before, patches_after",
    "good --spectral_norm maybe": "--spectral_norm must be true or false, got 'maybe'",
    "good --preset big": "--preset must be one of demo, published or null, got 'big'",
    "good --config nowhere.json": "--config: No such file or directory: nowhere.json",
    "good --config badkey.json": "--config: badkey.json: unknown option 'batch_sise'; did you mean batch_size?",
    "good --config badvalue.json": "--batch_size must be a whole number, got 'many'",
    "good --generator_loss lpips": "--generator_loss lpips needs the lpips package",
    "good --gpus 1": "1 GPU(s) wanted (auto), 0 visible; use --gpus 0 for the CPU",
    "good --nodes 2 --batch_size 3": "--nodes needs the variables MASTER_ADDR and MASTER_PORT",
    # values given by name
    "good --fix shot.gian=1DN": "cannot set 'shot.gian'; this model has: shot.gain",
    "good --fix row1.std=1 --noiselist shot_read": "cannot set 'row1.std'; this model has: shot.gain, read.std",
    "good --fix read.std=1kg": "cannot read 'read.std=1kg'; write NAME=VALUE with DN, e- or no unit",
    "good --fix shot.gain=1e-": "shot.gain has unit 'white/e-' and cannot be given in e-",
    "good --fix read.std": "cannot read 'read.std'; write NAME=VALUE",
    "good --fix read.std=-1": "read.std must be a positive number, got -1",
    "good --fix read.std=1e- --noiselist read_row1": "read.std in electrons needs 'shot' in the noiselist",
    "good --start shot.gian=1DN": "cannot set 'shot.gian'",
    "good --start read.std=0": "read.std must be a positive number, got 0",
    "good --noiselist shot_read --fix shot.gain=1DN read.std=2DN": "nothing to learn: every parameter is fixed",
    "good --noiselist rowt_fixed1": "nothing to learn: every parameter is fixed or not identifiable from this data",
    # files
    "good --init nowhere": "nowhere/model.safetensors: no such checkpoint; give a run folder or",
    "good --init damaged.safetensors": "damaged.safetensors: damaged or not a safetensors file",
    "good --init model.safetensors --noiselist shot_read_row1": "model.safetensors is shot_read, mosaic; the run wants",
    "good --init levels.safetensors": "is for black 64 and white 1023 DN, the data have 256 and 4095: its fractions of",
    "good --init mono.safetensors": "--init mono.safetensors is shot_read, planes; the run wants shot_read, mosaic",
    "good --init unet.safetensors --network Unet": "--init unet.safetensors has a network of its own; give --",
    "good --init unet.safetensors": "--init unet.safetensors has a network of its own; give --network",
    "good --init model.safetensors --fixed_pattern pgood.npy": "--fixed_pattern is for fixed1 or learnedfixed",
    "good --fixed_pattern nowhere.npy": "no such file: nowhere.npy",
    "good --fixed_pattern afile": "afile: a fixed pattern is read from .npy",
    "good --fixed_pattern pnan.npy": "pnan.npy holds NaN or infinite values; repair",
    "good --fixed_pattern psmall.npy": "fixed1 pattern covers 32x64 sensor pixels, but origin + crop reaches 64x64",
    "good --fixed_pattern psmall.npy --noiselist read_learnedfixed": "learnedfixed pattern covers 32x64 sensor pixels",
    "good --fixed_pattern p3.npy": "a packed mosaic has 4 planes",
    "good --fixed_pattern p1.npy": "p1.npy: needs one array with 2 or 3 axes, found none",
    "good --fixed_pattern ptwo.mat": "ptwo.mat: needs one array with 2 or 3 axes, found a, b",
    "good --fixed_pattern pgood.npy --noiselist shot_read": "--fixed_pattern is for fixed1 or learnedfixed, 'shot",
    "good --save_path afile": "--save_path afile is a file; name a folder",
    "good --save_path afile/run": "cannot write to afile/run (Not a directory); choose another --save_path",
    "good --save_path /proc/run": "cannot write to /proc/run",
    "good --resume": "out/resume.ckpt: nothing to resume; leave --resume out to start a run there",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    make(folder)
    return folder


@pytest.fixture(autouse=True)
def here(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.quick(monkeypatch, place)
    monkeypatch.setenv("NOISEMODEL_CACHE", str(tmp_path))
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_nothing_left(case: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, _, words = case.partition(" ")
    before = sorted(place.rglob("*"))
    assert runs.train(Path("out"), Path(data), words) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and shown.startswith("train_gan_noisemodel.py: error: ")
    assert CASES[case] in shown
    assert sorted(place.rglob("*")) == before


def test_data_root_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--dataset", "bursts", "--gpus", "0"]
    assert runs.train_gan_noisemodel.main(words) == 2
    assert capsys.readouterr().err.endswith("error: --dataset bursts needs --data_root, a folder of bursts\n")


def test_a_batch_that_cannot_be_shared(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")
    assert runs.train(Path("out"), Path("good"), "--nodes 2 --batch_size 3") == 2
    assert capsys.readouterr().err.endswith("--batch_size 3 must be a multiple of the 2 processes\n")
    assert not (place / "out").exists()


def test_from_the_shell(place: Path) -> None:
    words = runs.words_of(Path("out"), Path("nan"))
    done = subprocess.run(
        [sys.executable, ROOT / "train_gan_noisemodel.py", *words], cwd=place, capture_output=True, text=True
    )
    line = "frame 1 of nan/bad.npz holds NaN or infinite values; repair or leave out the burst\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"train_gan_noisemodel.py: error: {line}")
    assert not (place / "out").exists()
