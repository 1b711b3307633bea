import itertools
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image
from training_runs import metrics, model_tensors, resume_state, same, same_runs, write_bursts
from two_processes import two_processes

import train_denoiser
from denoisers import DenoiserSettings, build_denoiser, load_denoiser
from denoisers.corruption import Corruption
from denoisers.pairs import Pair
from denoisers.picture_pairs import PairSettings, PicturePairs
from denoisers.trained import denoiser_provenance
from denoisers.training import DenoiserTraining, TrainingOptions, follow, learning_rate
from denoisers.validation import comparison, mean_psnr
from noisemodel import stream
from noisemodel.errors import InputError
from noisemodel.lightning_parts import run_fit
from train_denoiser_pictures import PictureFiles, read_picture, read_pictures

TINY = "--num_steps 4 --batch_size 2 --crop_size 32 --width 4 --gpus 0 --display_interval 1"


@pytest.fixture
def pictures(tmp_path):
    """Five pictures of four kinds and sizes, some smaller than a crop."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    draws = np.random.default_rng(0)
    for name, size in (("a.png", (40, 61)), ("b.jpg", (20, 90)), ("more/c.png", (33, 32)), ("e.png", (64, 48))):
        shape = size if name == "more/c.png" else (*size, 3)
        Image.fromarray(draws.integers(0, 256, shape, dtype=np.uint8)).save(folder / name)
    np.save(folder / "d.npy", draws.random((3, 30, 31), dtype=np.float32))
    return folder


def program(out, words="", data=None):
    """Run in process; returns the exit code."""
    torch.set_num_threads(1)
    given = [*TINY.split(), "-o", str(out), *words.split(), *(["--data", str(data)] if data else [])]
    try:
        return train_denoiser.main(given)
    except SystemExit as stop:
        return int(stop.code or 0)


def training(law="gaussian", *, clean=False, loss="l2", width=6, picture=None, **options):
    images = [torch.rand((1, 40, 40), generator=stream(0, "picture")) if picture is None else picture]
    asked = TrainingOptions(**{"num_steps": 5, "batch_size": 4, **options})
    law = Corruption(law)
    settings = PairSettings(asked.batch_size, 32, 1, asked.seed)
    source = PicturePairs(images, images, law, None if clean else law, settings, ["the picture"])
    built = build_denoiser(DenoiserSettings("n2n", "unet", 1, "srgb", width=width), generator=stream(0, "weights"))
    return DenoiserTraining(built, source, asked, loss)


def test_the_learning_rate_stays_then_falls_to_zero():
    rates = [learning_rate(step, 1000, 3e-4) for step in range(1001)]
    assert set(rates[:701]) == {3e-4}
    assert all(a > b for a, b in itertools.pairwise(rates[700:]))
    assert math.isclose(rates[850], 3e-4 / 4) and rates[1000] < 1e-20


def test_the_average_follows():
    one, other = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    for network, value in ((one, 0.0), (other, 1.0)):
        torch.nn.init.constant_(network.weight, value)
    follow(one, other, 0.9, 10**6)
    assert abs(float(one.weight.detach()) - 0.1) < 1e-6
    follow(one, other, 0.9, 0)  # a young average forgets its start
    assert abs(float(one.weight.detach()) - (0.1 + 0.9 * 0.9)) < 1e-6
    follow(one, other, 0.0, 5)
    assert float(one.weight.detach()) == 1.0


def test_training_denoises():
    picture = torch.linspace(0.2, 0.8, 64).expand(1, 64, 64)
    run = training(num_steps=60, learning_rate=3e-3, picture=picture, width=8)
    before = run.validate()
    run_fit(run, [])
    assert int(run.step) == 60
    assert run.validate() > before + 5
    assert "PSNR" in run.describe() and "loss" in run.describe()


def test_processes_that_share_a_batch_take_the_mean_over_all_of_it(monkeypatch):
    def of_two(figures):
        figures *= 2  # the other process has seen the same

    alone, beside = training("bernoulli", num_steps=2), training("bernoulli", num_steps=2)
    one_process = beside.train_dataloader

    def two_processes():
        loader = one_process()
        beside.world = 2
        return loader

    monkeypatch.setattr(torch.distributed, "all_reduce", of_two)
    monkeypatch.setattr(beside, "train_dataloader", two_processes)
    for run in (alone, beside):
        run_fit(run, [])
    assert alone.losses == beside.losses
    states = alone.denoiser.state_dict(), beside.denoiser.state_dict()
    assert all(torch.allclose(states[0][name], states[1][name], atol=1e-7) for name in states[0])
    optimisers = [run.optimizers(use_pl_optimizer=False).state_dict()["state"][0]["exp_avg"] for run in (alone, beside)]
    assert torch.allclose(*optimisers, rtol=1e-4)


def test_two_processes_equal_one(tmp_path):
    """Gloo on the CPU: losses of every step agree to a few units in the last place of float32, gradients nearly so."""
    words = "--corruption bernoulli --channels 1 --batch_size 4 --validation_interval 0"
    assert program(tmp_path / "one", words) == 0
    codes, said = two_processes("train_denoiser", [*TINY.split(), "-o", str(tmp_path / "two"), *words.split()])
    assert codes == [0, 0], said
    one, two = ([float(row["loss"]) for row in metrics(tmp_path / name)] for name in ("one", "two"))
    assert len(one) == 4 and one == pytest.approx(two, rel=1e-5)
    one, two = (resume_state(tmp_path / name)["optimizer_states"][0]["state"] for name in ("one", "two"))
    for key, held in one.items():
        mean = held["exp_avg"]
        torch.testing.assert_close(two[key]["exp_avg"], mean, rtol=1e-4, atol=1e-4 * float(mean.abs().max()))


class Broken:
    """Pairs that are not numbers from the third step on."""

    channels, frames, layout = 1, 1, "srgb"

    def pairs(self, step, rows):
        value = math.nan if step >= 2 else 0.5
        return Pair(torch.full((2, 1, 32, 32), value)[rows], torch.zeros(2, 1, 32, 32)[rows], None, ("x.png", "y.png"))

    def validation(self):
        return []


def test_a_loss_that_is_no_number_stops_with_step_and_files_and_leaves_the_weights():
    built = build_denoiser(DenoiserSettings("n2n", "unet", 1, "srgb", width=4), generator=stream(0, "weights"))
    run = DenoiserTraining(built, Broken(), TrainingOptions(num_steps=5, batch_size=2))
    with pytest.raises(InputError, match=r"diverged at step 3: loss nan \(images: x.png, y.png\); give a smaller"):
        run_fit(run, [])
    assert all(bool(torch.isfinite(value).all()) for value in run.state_dict().values())
    assert run.validate() is None


def test_a_run_leaves_what_it_should(tmp_path, capsys):
    assert program(tmp_path / "run", "--validation_interval 2 --method n2n") == 0
    said = capsys.readouterr().out
    assert "validation: PSNR" in said and "embedded pictures: 10" in said and "PSNR" in said.split("left")[1]
    names = {path.name for path in (tmp_path / "run").iterdir() if path.name[0] != "."}
    assert names == {"config.json", "data.json", "losses.png", "metrics.csv", "model.safetensors", "resume.ckpt",
                     "validation_000002.png", "validation_000004.png"}  # fmt: skip
    rows = metrics(tmp_path / "run")
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert [bool(row["psnr"]) for row in rows] == [False, True, False, True]
    denoiser = load_denoiser(tmp_path / "run")
    pairs = read_pictures(None, 3)
    source = PicturePairs(pairs.train, pairs.held_out, Corruption("gaussian"), None, PairSettings(1))
    found = mean_psnr(denoiser, source.validation())
    assert abs(found - float(rows[-1]["psnr"])) < 1e-6  # memory is laid out otherwise, sums round otherwise
    assert denoiser_provenance(tmp_path / "run")["options"]["method"] == "n2n"
    picture = np.asarray(Image.open(tmp_path / "run" / "validation_000004.png"))
    assert np.abs(picture.astype(int) - comparison(denoiser, source.validation())).max() <= 1


@pytest.mark.parametrize(
    "words", ["--corruption bernoulli", "--corruption text --average_beta 0 --network srresnet --blocks 1"]
)
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path, pictures, words):
    words = f"{words} --validation_interval 0"
    assert program(tmp_path / "whole", words, pictures) == 0
    assert program(tmp_path / "parts", f"{words} --max_time 0", pictures) == 0
    assert int(resume_state(tmp_path / "parts")["state_dict"]["step"]) == 1
    assert program(tmp_path / "parts", f"{words} --resume", pictures) == 0
    assert same(model_tensors(tmp_path / "whole"), model_tensors(tmp_path / "parts"))
    whole, parts = (resume_state(tmp_path / name) for name in ("whole", "parts"))
    assert same(whole["state_dict"], parts["state_dict"]) and same(whole["optimizer_states"], parts["optimizer_states"])
    assert not same_runs(tmp_path / "whole", tmp_path / "parts")  # the stop has a validation of its own


@pytest.mark.parametrize(
    ("words", "layout"),
    [
        ("--method n2c --corruption impulse --channels 1", "srgb"),
        ("--method n2n --noise gaussian:25/255 --precision bfloat16", "srgb"),
        (
            "--method supervised --noise poisson-gaussian:0.01,0.02 --layout mosaic --network srresnet --blocks 1",
            "mosaic",
        ),
        ("--method n2n --crop_size 0 --corruption poisson --loss l1", "srgb"),
        ("--method ntgan --critic_width 4", "srgb"),
    ],
)
def test_every_method_runs_on_a_folder(tmp_path, pictures, words, layout):
    data = pictures
    if "supervised" in words:
        data = None  # images of 30 px are too small for mosaics
    assert program(tmp_path / "run", f"--num_steps 2 {words}", data) == 0
    denoiser = load_denoiser(tmp_path / "run")
    assert denoiser.settings.layout == layout
    channels = denoiser.settings.channels
    assert denoiser.denoise(torch.rand((1, channels, 21, 43), generator=stream(0, "x"))).shape == (1, channels, 21, 43)


def test_real_bursts_are_pairs(tmp_path):
    data = write_bursts(tmp_path / "bursts")
    assert program(tmp_path / "run", f"--num_steps 2 --crop_size 16 --noise bursts:{data}") == 0
    found = load_denoiser(tmp_path / "run").settings
    assert (found.layout, found.channels, found.cfa, found.levels.black_dn) == ("mosaic", 4, "RGGB", 256)


def test_levels_and_layout_of_bursts_that_do_not_say_them(tmp_path):
    (tmp_path / "bursts").mkdir()
    frames = 300 + 50 * torch.rand((4, 64, 64), generator=stream(0, "frames"))
    np.save(tmp_path / "bursts" / "scene.npy", frames.numpy())
    words = f"--num_steps 1 --batch_size 2 --crop_size 16 --noise bursts:{tmp_path / 'bursts'}"
    assert program(tmp_path / "none", words) == 2
    given = "--black_level 256 --white_level 4095 --layout mosaic --cfa GBRG"
    assert program(tmp_path / "run", f"{words} {given}") == 0
    found = load_denoiser(tmp_path / "run").settings
    assert (found.layout, found.cfa, found.levels.black_dn, found.levels.white_dn) == ("mosaic", "GBRG", 256, 4095)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--method n3n", "unknown method 'n3n' .* did you mean n2n"),
        ("--light 0.1,0.2", "--light: not used by method n2n; leave it out"),
        ("--method supervised", "supervised needs --noise"),
        ("--method supervised --noise gaussian:0.1 --amount 3", "--amount: not used by method supervised"),
        ("--noise gaussian:0.1 --corruption text", "--noise and --corruption exclude each other"),
        ("--blocks 3", "only --network srresnet has it"),
        ("--width 0", "--width must be at least 1, got 0"),
        ("--network srresnet --blocks -2", "--blocks must be at least 1, got -2"),
        ("--black_level 3", "--black_level: only --noise bursts:FOLDER has it"),
        ("--cfa RGGB", "--cfa: only --noise bursts:FOLDER has it"),
        ("--method supervised --noise gaussian:0.1 --white_level 3", "--white_level: not used by method supervised"),
        ("--method supervised --noise gaussian:0.1 --cfa XYZW", "--cfa: only a mosaic has it, the layout is planes"),
        ("--font /x.ttf", "only --corruption text writes letters"),
        ("--corruption text --amount 1", "amount of text must be above 0 and below 1, got 1"),
        ("--corruption text --font /missing.ttf", "no such font: /missing.ttf"),
        ("--loss l3", "unknown --loss 'l3'; known: l2, l1, l0"),
        ("--network video", "network video does not fit"),
        ("--num_steps 0", "--num_steps must be at least 1"),
        ("--average_beta 1", "--average_beta must be at least 0 and below 1"),
        ("--method n2c --noise bursts:/x", "has no clean targets"),
        ("--noise bursts:/missing", "no such folder: /missing"),
        ("--data /missing", "/missing is no folder"),
        ("--channels 2", "--channels must be 1 or 3 for method n2n, got 2"),
    ],
)
def test_what_makes_no_run_is_told_in_one_line(tmp_path, capsys, words, said):
    assert program(tmp_path / "run", words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(said, line), line
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_overwritten_and_goes_on_with_its_own_options(tmp_path, pictures, capsys):
    assert program(tmp_path / "run", "--num_steps 1", pictures) == 0
    assert program(tmp_path / "run", "--num_steps 1", pictures) == 2
    assert program(tmp_path / "run", "--num_steps 2 --resume --corruption text", pictures) == 2
    assert "--corruption was None" in capsys.readouterr().err
    assert program(tmp_path / "run", "--num_steps 2 --resume", pictures) == 0


def test_pictures_of_all_types_are_read(pictures, tmp_path):
    found = read_pictures(pictures, 3)
    assert len(found.train) == 4 and len(found.held_out) == 1
    shapes = [tuple(image.shape) for image in (*found.train, *found.held_out)]
    assert shapes == [(3, 40, 61), (3, 20, 90), (3, 30, 31), (3, 64, 48), (3, 33, 32)]
    assert found.train[2].dtype == torch.float32 and found.train[0].dtype == torch.uint8
    assert [len(image) for image in read_pictures(pictures, 1).train] == [1] * 4
    deep = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert torch.equal(read_picture(tmp_path / "deep.png", 1)[0], torch.from_numpy(deep.astype(np.float32) / 65535))


def test_pictures_that_cannot_be_read_are_named(pictures, tmp_path):
    (pictures / "a.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"a\.png"):
        _ = read_pictures(pictures, 3).train[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has 0 images; two are needed"):
        read_pictures(tmp_path / "empty", 3)
    Image.new("RGB", (8, 8)).save(pictures / "a.png")
    np.save(pictures / "d.npy", np.full((3, 8, 8), np.nan, np.float32))
    with pytest.raises(InputError, match=r"d\.npy holds NaN or infinity; repair or remove it"):
        _ = read_pictures(pictures, 3).train[2]
    np.save(pictures / "d.npy", np.full((3, 8, 8), 200.0, np.float32))
    with pytest.raises(InputError, match="must hold fractions of white, got 200 to 200"):
        _ = read_pictures(pictures, 3).train[2]
    assert len(PictureFiles([pictures / "e.png"], 3)) == 1
