"""train_nrgan.py: runs, resuming to the same bits, snapshots, pictures, many processes, and what is refused."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_runs import same
from two_processes import two_processes

import noisemodel
import nrgan.training
import train_nrgan
from noisemodel.runs import LOCK
from nrgan.figures import COLUMNS, GAP, grid, sample_picture
from nrgan.models import MODELS
from nrgan.snapshots import Samples, load_snapshot
from nrgan.step import build_networks

ROOT = Path(__file__).parents[1]
STEPS = 6
TINY = "--batch_size 4 --g_channels 4 --d_channels 4 --device cpu --display_interval 2 --checkpoint_interval 1"


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["train_nrgan.py"])
    monkeypatch.setattr(train_nrgan, "PICTURED", 4)
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 grey-ish gradients with an edge, as an array of 8-bit RGB images."""
    made = np.random.default_rng(0).integers(0, 200, (20, 3, 1, 1)) + np.arange(32)[None, None, :, None]
    path = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(path, np.broadcast_to(made, (20, 3, 32, 32)).astype(np.uint8))
    return path


def words_of(out: Path, images: Path, words: str, dataset: str = "cifar10ag25", model: str = "sinrgan1") -> list[str]:
    """A command line: TINY, then ``words`` (split at spaces)."""
    return [dataset, model, str(out), *TINY.split(), "--data", str(images), *words.split()]


def train(out: Path, images: Path, words: str = f"--num_iterations {STEPS}", **names: str) -> int:
    try:
        return train_nrgan.main(words_of(out, images, words, **names))
    except SystemExit as stop:
        return int(stop.code or 0)


def state(run: Path) -> dict[str, Any]:
    found = torch.load(run / "resume.ckpt", weights_only=True)
    return {name: found[name] for name in ("state_dict", "optimizer_states")}


def metrics(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_nrgan, "PICTURED", 4)
        assert train(folder, images) == 0
    return folder


def test_a_run_leaves_everything(whole: Path) -> None:
    names = {path.name for path in whole.iterdir() if path.name != LOCK}
    pictures = {f"samples_{STEPS:06d}.png", "losses.png"}
    kept = {"config.json", "data.json", "metrics.csv", "resume.ckpt"}
    assert names == {*kept, "snapshots", "tensorboard", *pictures}
    assert [row["step"] for row in metrics(whole)] == ["2", "4", "6"]
    assert list(metrics(whole)[0]) == ["step", "generator", "diversity", "real", "fake", "r1"]
    found = state(whole)
    assert int(found["state_dict"]["step"]) == STEPS
    steps = [int(next(iter(adam["state"].values()))["step"]) for adam in found["optimizer_states"]]
    assert steps == [STEPS - 1, STEPS]  # the first step trains the critic only


def test_resuming_gives_the_same_bits(whole: Path, images: Path, tmp_path: Path) -> None:
    for step in range(1, STEPS + 1):
        words = f"--num_iterations {STEPS} --max_time 0" + (" --resume" if step > 1 else "")
        assert train(tmp_path / "run", images, words) == 0
        assert int(state(tmp_path / "run")["state_dict"]["step"]) == step
    assert same(state(tmp_path / "run"), state(whole))
    assert metrics(tmp_path / "run")[-1] == metrics(whole)[-1]
    name = f"samples_{STEPS:06d}.png"
    assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes()


def test_a_killed_run_goes_on_to_the_same_bits(whole: Path, images: Path, tmp_path: Path) -> None:
    killer = (
        "import os, signal, sys, torch, nrgan.training, train_nrgan\n"
        "torch.set_num_threads(1)\n"
        "step = nrgan.training.train_step\n"
        "def killing(*a, **k):\n"
        "    killing.count += 1\n"
        "    return os.kill(os.getpid(), signal.SIGKILL) if killing.count == 5 else step(*a, **k)\n"
        "killing.count = 0\n"
        "nrgan.training.train_step = killing\n"
        "train_nrgan.main(sys.argv[1:])\n"
    )
    words = words_of(tmp_path / "run", images, f"--num_iterations {STEPS} --checkpoint_interval 3")
    done = subprocess.run([sys.executable, "-c", killer, *words], env=environment(), capture_output=True)
    assert done.returncode == -9
    assert int(state(tmp_path / "run")["state_dict"]["step"]) == 3
    assert train(tmp_path / "run", images, f"--num_iterations {STEPS} --resume") == 0
    assert same(state(tmp_path / "run"), state(whole))
    assert metrics(tmp_path / "run") == metrics(whole)


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **more}


def test_two_processes_equal_one(images: Path, tmp_path: Path) -> None:
    """Gloo on the CPU: gathered noise, averaged gradients; the second process writes nothing.

    Losses of every step agree to a few units in the last place of float32: measured 1e-7. Gradients of sums in another
    order agree to 3e-6 of their largest value.
    """
    names = {"dataset": "sensor", "model": "sinrgan2"}
    words = "--num_iterations 4 --lambda_ds 3 --display_interval 1"
    assert train(tmp_path / "one", images, words, **names) == 0
    codes, said = two_processes("train_nrgan", words_of(tmp_path / "two", images, words, **names))
    assert codes == [0, 0], said
    assert [row["step"] for row in metrics(tmp_path / "one")] == ["1", "2", "3", "4"]
    for row, other in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        assert {k: float(v or 0) for k, v in row.items()} == pytest.approx(
            {k: float(v or 0) for k, v in other.items()}, rel=1e-5
        )
    one, two = (state(tmp_path / name)["optimizer_states"] for name in ("one", "two"))
    for adam, other in zip(one, two, strict=True):
        for key, held in adam["state"].items():  # with beta1 = 0 exp_avg is the last gradient
            gradient = held["exp_avg"]
            scale = 1e-5 * float(gradient.abs().max())
            torch.testing.assert_close(other["state"][key]["exp_avg"], gradient, rtol=1e-5, atol=scale)


@pytest.mark.parametrize("model", [m for m in MODELS if m != "sinrgan1"])
def test_every_model_trains_and_is_read_back(model: str, images: Path, tmp_path: Path) -> None:
    dataset = "cifar10p30" if model in ("sdnrgan1", "physnrgan") else "cifar10bg25k5"
    assert train(tmp_path, images, "--num_iterations 2 --model_average_beta 0.5", dataset=dataset, model=model) == 0
    gan = load_snapshot(tmp_path)
    assert gan.step == 2 and gan.settings.model == model
    samples = gan.sample(4, generator=noisemodel.stream(0, "samples"))
    assert samples.noisy.shape == (4, 3, 32, 32) and torch.equal(samples.noisy, samples.clean + samples.noise)
    assert float(samples.clean.min()) >= 0 and float(samples.clean.max()) <= 1
    assert bool(samples.noise.any()) == (model != "gan")
    saved = torch.load(tmp_path / "resume.ckpt", weights_only=True)["state_dict"]
    averages = {k.split("_average.")[1]: v for k, v in saved.items() if "networks.image_average" in k}
    assert same(dict(gan.image.state_dict()), averages)
    start = build_networks(gan.settings, d_channels=4, seed=0).image
    assert not torch.equal(gan.image.conv5.weight, start.conv5.weight)


def test_physnrgan_goes_from_a_calibrated_model_to_a_model(images: Path, tmp_path: Path, capsys: Any) -> None:
    base = noisemodel.PhysicalNoise.from_noiselist("shot_read_row1", layout="planes", shot_gain=0.03, row1_std=0.02)
    noisemodel.save(base, tmp_path / "start")
    words = f"--num_iterations 3 --noise_init {tmp_path / 'start'} --physics_lr 0.01 --noise_params global"
    assert train(tmp_path / "run", images, words, dataset="sensor", model="physnrgan") == 0
    shown = capsys.readouterr().out
    assert "shot.gain" in shown and "row1.std" in shown
    model = noisemodel.load(tmp_path / "run").physical
    assert model.noiselist == "shot_read_row1"
    gain = {p.name: p.value for p in model.parameters_table()}["shot.gain"]
    assert gain != pytest.approx(0.03, rel=1e-7) and gain == pytest.approx(0.03, rel=0.05)
    assert float(metrics(tmp_path / "run")[-1]["shot.gain 50%"]) == pytest.approx(gain, rel=1e-4)


def test_options_reach_the_run(whole: Path, images: Path, tmp_path: Path) -> None:
    before = state(whole)["state_dict"]
    for number, words in enumerate(
        ("--g_lr 1e-3", "--d_lr 1e-3", "--beta1 0.5", "--beta2 0.9", "--data_seed 1", "--model_seed 1",
         "--no_clip", "--precision bfloat16", "--batch_size 6")
    ):  # fmt: skip
        run = tmp_path / str(number)
        assert train(run, images, f"--num_iterations 2 {words}") == 0
        at_two = state(run)["state_dict"]
        if number == 0:
            assert train(tmp_path / "plain", images, "--num_iterations 2") == 0
            before = state(tmp_path / "plain")["state_dict"]
        assert at_two.keys() == before.keys()
        assert not all(torch.equal(before[name], at_two[name]) for name in before), words


def test_pictures_and_snapshots_at_intervals(images: Path, tmp_path: Path) -> None:
    assert train(tmp_path, images, "--num_iterations 5 --visualize_interval 2 --snapshot_interval 3") == 0
    assert sorted(p.name for p in tmp_path.glob("samples*")) == [f"samples_{k:06d}.png" for k in (2, 4, 5)]
    assert sorted(p.name for p in (tmp_path / "snapshots").iterdir()) == [
        f"step_{k:06d}.safetensors" for k in (3, 5)
    ]  # fmt: skip
    assert train(tmp_path, images, "--num_iterations 1 --overwrite") == 0
    assert [p.name for p in tmp_path.glob("samples*")] == ["samples_000001.png"]


def test_the_picture_shows_clean_noise_and_noisy() -> None:
    clean = torch.rand(12, 3, 8, 8, generator=noisemodel.stream(0, "clean"))
    noise = 0.01 * torch.randn(clean.shape, generator=noisemodel.stream(0, "noise"))
    page = sample_picture(Samples(clean, noise, clean + noise))
    width = COLUMNS * 8
    assert page.shape == (16, 3 * width + 2 * GAP, 3)
    assert np.array_equal(page[:, :width], grid(clean))
    shown = page[:8, width + GAP : 2 * width + GAP].astype(float)
    assert abs(shown.std() / (255 / 6) - 1) < 0.05  # its own scale: 6 std from black to white
    cell = grid(clean)[8:16, 8:16]  # the 12th image: second row, second column
    assert np.array_equal(cell, (clean[11].permute(1, 2, 0) * 255).round().byte().numpy())


REFUSED = {
    ("cifar10ag25", "sdnrgan1", ""): "models that fit: gan, ambientgan, sinrgan1, sinrgan2, sdnrgan2, sdnrgan3",
    ("cifar10ag26", "gan", ""): "unknown data set 'cifar10ag26'; known: cifar10, cifar10ag25",
    ("cifar10ag25", "gna", ""): "unknown model 'gna'; known: gan, ambientgan",
    ("cifar10ag25", "sinrgan1", "--noiselist read"): "only physnrgan has a physical model",
    ("cifar10ag25", "physnrgan", "--noiselist raed"): "raed",
    ("cifar10ag25", "physnrgan", "--noiselist="): "the noiselist is empty",
    ("cifar10ag25", "gan", "--size 48"): "48",
    ("cifar10ag25", "gan", "--beta2 1"): "--beta2 must be at least 0 and below 1, got 1.0",
    ("cifar10ag25", "gan", "--num_iterations 0"): "--num_iterations must be at least 1, got 0",
    ("cifar10ag25", "gan", "--batch_size 3 --g_bs_multiple 1"): "must be even",
    ("cifar10ag25", "gan", "--nodes 3"): "needs the variables MASTER_ADDR",
}


@pytest.mark.parametrize("asked", REFUSED)
def test_what_makes_no_sense_is_one_line(
    asked: tuple[str, str, str], images: Path, tmp_path: Path, capsys: Any
) -> None:
    dataset, model, words = asked
    assert train(tmp_path / "run", images, words, dataset=dataset, model=model) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and REFUSED[asked] in shown
    assert not (tmp_path / "run").exists()


def test_another_run_is_not_touched(whole: Path, images: Path, capsys: Any) -> None:
    for words, part in (
        ("", "another output_directory"), ("--resume --g_lr 1", "--g_lr was"), ("--resume --size 64", "--size was")
    ):  # fmt: skip
        assert train(whole, images, words) == 2
        shown = capsys.readouterr().err
        assert shown.count("\n") == 1 and part in shown
    assert json.loads((whole / "config.json").read_text())["g_lr"] == 2e-4


def test_damaged_and_foreign_snapshots(whole: Path, tmp_path: Path) -> None:
    good = next((whole / "snapshots").iterdir()).read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(good[:1000])
    noisemodel.save(noisemodel.PhysicalNoise.from_noiselist("read", layout="planes"), tmp_path / "other.safetensors")
    for name, part in (("cut", "damaged"), ("other", "not a snapshot of NR-GAN")):
        with pytest.raises(noisemodel.InputError, match=part):
            load_snapshot(tmp_path / f"{name}.safetensors")
    with pytest.raises(noisemodel.InputError, match="no snapshot here"):
        load_snapshot(tmp_path / "nowhere")


def test_compiling_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from nrgan.models import NoiseSettings

    networks = build_networks(NoiseSettings("cifar10ag25", "sinrgan1", channels=4), d_channels=4, seed=0)

    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no compiler\nmore")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fails)
    with pytest.warns(UserWarning, match=r"--compile: goes on without \(no compiler\)"):
        nrgan.training.compile_generators(networks)
    assert networks.image(torch.zeros(1, 128)).shape == (1, 3, 32, 32)


def test_divergence_is_told(images: Path, tmp_path: Path, capsys: Any) -> None:
    assert train(tmp_path, images, "--num_iterations 20 --d_lr 1e20 --g_lr 1e20") == 2
    assert "training diverged at step" in capsys.readouterr().err
