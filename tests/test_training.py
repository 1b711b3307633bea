"""train_gan_noisemodel.py: what a run leaves behind, every flag's effect, many processes as one, and that it learns."""

import csv
import json
import math
import os
import socket
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_runs as runs
from torch import Tensor, nn
from training_runs import metrics, model_tensors, resume_state, same, train

import noisemodel
import train_gan_noisemodel as program
from datasets import CropSampler, load_bursts
from noisemodel import training
from noisemodel.commandline import parse
from noisemodel.devices import choose_devices
from noisemodel.game import Game, GanOptions
from noisemodel.patches import Crops
from noisemodel.runs import LOCK
from noisemodel.sensor import Levels
from noisemodel.views import Ruler

ROOT = Path(__file__).parents[1]
STEP = Levels(256, 4095).adc_step
UNET = "--network Unet"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.quick(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.write_bursts(tmp_path_factory.mktemp("training") / "bursts")


@pytest.fixture(scope="module")
def base(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A run of TINY and the given words; each is made once."""
    folder, made = tmp_path_factory.mktemp("base"), dict[str, Path]()

    def run(words: str) -> Path:
        if words not in made:
            made[words] = folder / str(len(made))
            assert train(made[words], data, words) == 0
        return made[words]

    return run


def weights(run: Path) -> dict[str, Tensor]:
    """Everything that the run would go on with: generator, critic, average."""
    found = resume_state(run)["state_dict"]
    return {name: value for name, value in found.items() if name != "step"}


def learned(run: Path) -> dict[str, noisemodel.Parameter]:
    return {p.name: p for p in noisemodel.load(run).physical.parameters_table()}


# What a run leaves behind.


def test_what_a_run_leaves_behind(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    runs.quick(monkeypatch, tmp_path, plot=True)
    out = tmp_path / "new" / "run"
    assert train(out, data, "--view true --notes indoors") == 0
    shown = capsys.readouterr()
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and path.name != LOCK}
    events = {name for name in files if name.startswith("tensorboard/events.out.tfevents")}
    panels = ("images", "components", "histograms", "variance", "spectra", "parameters")
    assert len(events) == 1
    assert files - events == {
        "config.json", "data.json", "model.safetensors", "resume.ckpt", "metrics.csv", "parameters_over_time.png",
        "tensorboard/hparams.yaml", "view/summary.json", *(f"view/{name}.png" for name in panels),
    }  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {"new", "cache"}
    assert (out / "parameters_over_time.png").read_bytes().startswith(b"\x89PNG")
    model = noisemodel.load(out)
    for name in ("shot.gain", "read.std", "row1.std", "periodic.std1"):
        assert name in shown.out
    assert shown.err == "" and "calibrated" in shown.out and "learned" in shown.out
    assert f"model: {out / 'model.safetensors'}" in shown.out.replace("\n", "")
    assert model.physical.noiselist == program.NOISELIST and not model.training
    assert model.physical.levels == Levels(256, 4095)

    config = json.loads((out / "config.json").read_text())
    made = noisemodel.read_provenance(out)
    assert (made["program"], made["data"], made["options"]["notes"]) == ("train_gan_noisemodel.py", "bursts", "indoors")
    assert made["options"] == config and made["torch"] == torch.__version__
    rows = metrics(out)
    assert [row["step"] for row in rows] == ["0", "1", "2", "3"]
    assert {"score", "shot.gain", "last.shot.gain", "critic_gap", "generator_loss"} <= rows[-1].keys()
    kept = next(row for row in rows if int(row["step"]) == made["step"])
    assert float(kept["score"]) == made["score"]
    assert all(math.isclose(float(kept[n]), p.value, rel_tol=1e-6) for n, p in learned(out).items())

    again = tmp_path / "again"
    assert program.main(["--config", str(out / "config.json"), "--save_path", str(again), "--view", "false"]) == 0
    assert runs.same_runs(out, again)


def test_on_the_embedded_camera(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line of the issue on a machine without a GPU, made short; the true values stand in the table."""
    words = "--batch_size 1 --gpus 0 --noiselist shot_read_uniform_row1_rowt_fixed1_periodic"
    assert program.main(f"{words} --num_iter 1 --crop_size 16 --frames 2 --critic_width 2 --warmup 0".split()) == 0
    run = tmp_path / "runs" / "simulated_noUnet_shot_read_uniform_row1_rowt_fixed1_periodic"
    assert (run / "model.safetensors").is_file()
    assert "true" in capsys.readouterr().out
    truth = 1.0 * STEP
    assert learned(run)["shot.gain"].value == pytest.approx(truth, rel=0.1)


# Every flag has an effect: (words of both runs, words of the second one).
CHANGES_WEIGHTS = {
    "network Unet": ("", "--network Unet"),
    "network Unet_cat": (UNET, "--network Unet_cat"),
    "network Unet_first": (UNET, "--network Unet_first"),
    "unet_opts residual": (UNET, "--unet_opts residualTrue_conv_tconv_selu"),
    "unet_opts down": (UNET, "--unet_opts residualFalse_maxpool_tconv_selu"),
    "unet_opts up": (UNET, "--unet_opts residualFalse_conv_bilinear_selu"),
    "unet_opts activation": (UNET, "--unet_opts residualFalse_conv_tconv_gelu"),
    "unet_width": (UNET, "--unet_width 3"),
    "lr": (UNET, "--lr 0.01"),
    "noiselist": ("", "--noiselist shot_read_row1"),
    "crop_size": ("", "--crop_size 18"),
    "frames": ("", "--frames 3"),
    "patch": ("", "--patch 8"),
    "split_into_patches": ("--patch 8", "--split_into_patches patches_before"),
    "real": ("", "--discriminator_loss real"),
    "fourier": ("", "--discriminator_loss fourier"),
    "mixed": ("", "--discriminator_loss mixed"),
    "complex": ("", "--discriminator_loss complex"),
    "mean": ("", "--discriminator_loss mean"),
    "lr_critic": ("", "--lr_critic 0.001"),
    "lr_physics": ("", "--lr_physics 0.001"),
    "lr_decay": ("", "--lr_decay false"),
    "b1": ("", "--b1 0.5"),
    "b2": ("", "--b2 0.999"),
    "critic_steps": ("", "--critic_steps 1"),
    "warmup": ("", "--warmup 2"),
    "lambda_gp": ("", "--lambda_gp 1"),
    "critic_width": ("", "--critic_width 6"),
    "critic_halvings": ("", "--critic_halvings 1"),
    "spectral_norm": ("", "--spectral_norm true"),
    "batch_size": ("", "--batch_size 3"),
    "seed": ("", "--seed 1"),
    "start": ("", "--start shot.gain=2DN row1.std=0.3e-"),
    "fix": ("", "--fix shot.gain=2DN"),
    "init": ("", "--init default"),
    "num_iter": ("", "--num_iter 2"),
    "epochs": ("", "--epochs 1 --batch_size 2 --num_iter 2"),
    "black_level": ("", "--black_level 250"),
    "white_level": ("", "--white_level 4000"),
    "fixed_pattern": ("", "--fixed_pattern pattern.npy"),
    "generator_loss": ("", "--generator_loss lpips"),
    "lambda_lpips": ("--generator_loss lpips", "--lambda_lpips 5"),
}  # fmt: skip


class BlurredDistance(nn.Module):
    """Stands for lpips.LPIPS, which is not installed: a distance of blurred pictures."""

    def __init__(self, **_: object) -> None:
        super().__init__()
        self.blur = nn.AvgPool2d(2)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return 1e5 * (self.blur(one) - self.blur(other)).square().mean(dim=(1, 2, 3), keepdim=True)


@pytest.mark.parametrize("flag", CHANGES_WEIGHTS)
def test_flag_changes_the_weights(
    flag: str, data: Path, base: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=BlurredDistance))
    np.save(tmp_path / "pattern.npy", np.arange(64.0 * 64).reshape(64, 64) % 7)
    common, changed = CHANGES_WEIGHTS[flag]
    assert train(tmp_path / "changed", data, f"{common} {changed}") == 0
    assert not same(weights(tmp_path / "changed"), weights(base(common)))
    moved = [float(row["score"]) for row in metrics(tmp_path / "changed")]
    assert all(map(math.isfinite, moved)) and len(set(moved)) > 1, "it trains"


def test_every_option_is_tried() -> None:
    """A new option needs a row above, or a test of its own among those named here."""
    elsewhere = {
        "preset", "dataset", "data_root", "cfa", "max_time", "save_path", "notes", "resume", "overwrite", "view",
        "device", "gpus", "nodes", "nr", "layout", "cameras", "iso", "split", "skip_bad_files",
    }  # fmt: skip
    tried = {word[2:] for row in CHANGES_WEIGHTS.values() for word in " ".join(row).split() if word.startswith("--")}
    assert set(program.TrainOptions.__dataclass_fields__) == elsewhere | tried


def test_sizes_are_those_asked_for(base: Callable[[str], Path]) -> None:
    def sizes(words: str) -> int:
        return sum(v.numel() for name, v in weights(base(words)).items() if name.startswith("game.critic"))

    assert sizes("--critic_width 6") > sizes("") < sizes("--critic_halvings 1")
    assert any(name.endswith("original") or "_u" in name for name in weights(base("--spectral_norm true")))
    assert sum("components" in name for name in model_tensors(base("--noiselist shot_read"))) == 2


def test_layout(tmp_path: Path) -> None:
    """One file of a mosaic sensor, read as a mosaic and as a single plane."""
    folder = runs.write_bursts(tmp_path / "bursts", **runs.LEVELS)
    for layout, planes, cfa in (("mosaic", 4, "--cfa RGGB"), ("planes", 1, "")):
        assert train(tmp_path / layout, folder, f"--layout {layout} {cfa}") == 0
        model = noisemodel.load(tmp_path / layout)
        assert (model.physical.layout, model.channels) == (layout, planes)
    assert not same(metrics(tmp_path / "mosaic"), metrics(tmp_path / "planes"))


def test_number_of_steps(data: Path, tmp_path: Path) -> None:
    """5 bursts, 2 a step: an epoch is 3 steps; the first of num_iter and epochs ends the run."""
    for words, steps in (("--epochs 2 --num_iter 99", 6), ("--epochs 9 --num_iter 4", 4)):
        assert train(tmp_path / words, data, words) == 0
        assert int(metrics(tmp_path / words)[-1]["step"]) == steps
    assert train(tmp_path / "timed", data, "--num_iter 100000 --max_time 0") == 0
    assert metrics(tmp_path / "timed")[-1]["step"] == "1"
    assert noisemodel.load(tmp_path / "timed").physical.noiselist == program.NOISELIST


def test_fixed_values_are_held(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "run", data, "--fix read.std=3.25DN shot.gain=1.5DN --start row1.std=2e-") == 0
    found = learned(tmp_path / "run")
    assert found["read.std"].value == pytest.approx(3.25 * STEP) and found["read.std"].fixed
    assert found["shot.gain"].value == pytest.approx(1.5 * STEP) and found["shot.gain"].fixed
    for row in metrics(tmp_path / "run"):
        assert float(row["read.std"]) == float(row["last.read.std"]) == found["read.std"].value
    assert not found["row1.std"].fixed
    rows = metrics(tmp_path / "run")
    assert float(rows[0]["row1.std"]) != float(rows[-1]["last.row1.std"])
    shown = capsys.readouterr().out
    for name in ("read.std", "shot.gain"):
        assert next(line for line in shown.splitlines() if line.startswith(f"│ {name}")).split()[-2] == "fixed"
    # "fixed" survives in the model: --init FILE holds them again, and learns the rest.
    assert train(tmp_path / "next", data, f"--init {tmp_path / 'run'}") == 0
    again = learned(tmp_path / "next")
    assert again["read.std"] == found["read.std"] and again["row1.std"].value != found["row1.std"].value


def test_start_values(data: Path, base: Callable[[str], Path], tmp_path: Path) -> None:
    first = {words: metrics(base(words))[0] for words in ("", "--init default")}
    assert float(first[""]["shot.gain"]) == pytest.approx(1.0 * STEP, rel=0.05)
    assert float(first["--init default"]["shot.gain"]) == pytest.approx(1e-3)
    assert float(first["--init default"]["rowt.std"]) == float(first[""]["rowt.std"]), "held, so calibrated"
    assert train(tmp_path / "start", data, "--start shot.gain=2DN read.std=3e- row1.std=1e-4") == 0
    row = metrics(tmp_path / "start")[0]
    assert float(row["shot.gain"]) == pytest.approx(2 * STEP)
    assert float(row["read.std"]) == pytest.approx(3 * 2 * STEP)
    assert float(row["row1.std"]) == pytest.approx(1e-4)


def test_start_from_a_file(data: Path, base: Callable[[str], Path], tmp_path: Path) -> None:
    for words in ("", UNET):
        before, out = base(words), tmp_path / f"from{words[-4:]}"
        assert train(out, data, f"--init {before / 'model.safetensors'} --lr_physics 0 --lr 0 {words}") == 0
        assert same(model_tensors(out), model_tensors(before))
    # Physics alone, with the words of the file, in the levels of the data at hand.
    other = noisemodel.PhysicalNoise.from_noiselist("shot_read_uniform", levels=Levels(256, 4070), shot_gain=2e-3)
    noisemodel.save(other, tmp_path / "other.safetensors")
    assert train(tmp_path / "physics", data, "--init other.safetensors --lr_physics 0") == 0
    found = noisemodel.load(tmp_path / "physics").physical
    assert (found.noiselist, found.levels) == ("shot_read_uniform", Levels(256, 4095))
    assert {p.name: p.value for p in found.parameters_table()}["shot.gain"] == pytest.approx(2e-3)
    assert {p.name: p.value for p in found.parameters_table()}["uniform.width"] == pytest.approx(STEP)


def test_measured_pattern(data: Path, tmp_path: Path) -> None:
    """[DN above black] in the file, fractions of white in the model; also where no dark gives one."""
    pattern = np.random.default_rng(0).normal(0, 2, (64, 64))
    np.save(tmp_path / "pattern.npy", pattern)
    lit = runs.write_bursts(tmp_path / "lit", runs.frames_of(("coffee", "motorcycle")))
    for word, folder in (("fixed1", data), ("fixed1", lit), ("learnedfixed", data), ("learnedfixed", lit)):
        out = tmp_path / f"{word}_{folder.name}"
        assert train(out, folder, f"--noiselist shot_read_{word} --fixed_pattern pattern.npy") == 0
        found = model_tensors(out)[f"physical.components.{word}.pattern"]
        torch.testing.assert_close(found, torch.tensor(pattern[None] * STEP, dtype=torch.float32))


def test_words_that_need_more_than_the_data_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without darks and flats: said in one line each, and kept out of learning."""
    lit = runs.write_bursts(tmp_path / "lit", runs.frames_of(("coffee", "motorcycle")))
    assert train(tmp_path / "run", lit, "--noiselist shot_read_rowt_learnedfixed_prnu_periodic") == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    for word in ("rowt", "learnedfixed", "prnu", "periodic.std0"):
        assert f"note: {word}: not identifiable" in shown.out
        assert f"note: {word}: constant over a burst, so not identifiable by training" in shown.out
    rows = metrics(tmp_path / "run")
    for name in ("rowt.std", "prnu.std", "periodic.std0"):
        assert len({row[f"last.{name}"] for row in rows}) == 1
    assert len({row["last.periodic.std1"] for row in rows}) > 1
    assert not model_tensors(tmp_path / "run")["physical.components.learnedfixed.pattern"].any()


# Presets, aliases and devices.


def options(words: str) -> program.TrainOptions:
    return parse(program.TrainOptions, words.split(), description="", presets=program.PRESETS)


def test_presets(tmp_path: Path) -> None:
    demo, published = options("--preset demo"), options("--preset published")
    assert (demo.save_path, demo.overwrite, demo.view) == (Path("runs/demo"), True, True)
    for name, preset in program.PRESETS.items():
        given = options(f"--preset {name}")
        for key, value in preset.items():
            assert getattr(given, key) == (Path(value) if key == "save_path" else value)
    assert (published.crop_size, published.frames, published.patch, published.lr) == (256, 16, 64, 2e-4)
    assert (published.b1, published.b2, published.critic_steps, published.lambda_gp) == (0.5, 0.999, 5, 10)
    assert published.spectral_norm and published.discriminator_loss == "fourier"
    mine = options("--lr 0.1 --preset published --b1 0.25 --spectral_norm false")
    assert (mine.lr, mine.b1, mine.spectral_norm, mine.b2) == (0.1, 0.25, False, 0.999)
    (tmp_path / "mine.json").write_text('{"lr": 0.5, "b1": 0.125}')
    mixed = options("--config mine.json --preset published --b1 0.25")
    assert (mixed.lr, mixed.b1, mixed.b2) == (0.5, 0.25, 0.999)


def test_lines_of_the_published_scripts() -> None:
    line = "--batch_size 1 --gpus 1 --noiselist shot_read_uniform_row1_rowt_fixed1_periodic"
    assert (options(line).batch_size, options(line).gpus) == (1, 1)
    short = options("-n 2 -g 4 -nr 1")
    assert (short.nodes, short.gpus, short.nr) == (2, 4, 1)
    assert options("--nodes 2 --gpus 4 --nr 1") == short


DEVICES: dict[tuple[int, str], list[int] | str] = {
    (0, ""): [],
    (2, ""): [0],
    (2, "--gpus 0"): [],
    (2, "--gpus 2"): [0, 1],
    (2, "--device cpu"): [],
    (2, "--device cpu --gpus 0"): [],
    (2, "--device cuda"): [0],
    (2, "--device cuda --gpus 2"): [0, 1],
    (2, "--device cuda:1"): [1],
    (2, "--device cuda:1 --gpus 1"): [1],
    (0, "--gpus 1"): "1 GPU(s) wanted (auto), 0 visible; use --gpus 0 for the CPU",
    (0, "--device cuda"): "use --gpus 0 for the CPU",
    (2, "--gpus 3"): "3 GPU(s) wanted (auto), 2 visible",
    (2, "--gpus -1"): "need --gpus >= 0",
    (2, "--device cuda:2"): "(cuda:2), 2 visible",
    (2, "--device cuda:1 --gpus 2"): "--device cuda:1 is one GPU, --gpus 2 are more",
    (2, "--device cpu --gpus 1"): "--device cpu and --gpus 1 contradict each other",
    (2, "--device cuda --gpus 0"): "--device cuda and --gpus 0 contradict each other",
    (2, "--device tpu"): "--device is auto, cpu, cuda or cuda:N, got 'tpu'",
    (2, "--device cpu:0"): "--device is auto, cpu, cuda or cuda:N, got 'cpu:0'",
    (2, "--device cuda:x"): "--device is auto, cpu, cuda or cuda:N, got 'cuda:x'",
    (2, "--gpus 2 --batch_size 3"): "--batch_size 3 must be a multiple of the 2 processes",
    (2, "--nodes 2 --nr 2"): "0 <= --nr < --nodes",
    (2, "--nodes 0"): "0 <= --nr < --nodes",
    (0, "--nodes 2"): "--nodes needs the variables MASTER_ADDR and MASTER_PORT",
}


@pytest.mark.parametrize(("visible", "words"), DEVICES)
def test_devices(visible: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    expected, asked = DEVICES[visible, words], options(words)
    figures = (asked.device, asked.gpus, asked.nodes, asked.nr, asked.batch_size)
    if isinstance(expected, list):
        assert choose_devices(*figures) == expected
    else:
        with pytest.raises(noisemodel.InputError) as error:
            choose_devices(*figures)
        assert expected in str(error.value) and "\n" not in str(error.value)


def test_the_trainer_gets_these_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    class Trainer:
        def __init__(self, **options: Any) -> None:
            asked.update(options)

        def fit(self, *_: Any, **__: Any) -> None:
            pass

    monkeypatch.setattr(training.pl, "Trainer", Trainer)
    gan: Any = types.SimpleNamespace(options=GanOptions(batch_size=4))
    for devices, nodes, expected in (
        ([], 1, ("cpu", 1, 1, "auto")),
        ([1], 1, ("gpu", [1], 1, "auto")),
        ([0, 1], 2, ("gpu", [0, 1], 2, "ddp_find_unused_parameters_true")),
    ):
        training.fit(gan, [], devices=devices, nodes=nodes)
        assert tuple(asked[k] for k in ("accelerator", "devices", "num_nodes", "strategy")) == expected


# Many processes equal one.


@pytest.mark.parametrize("split", ["patches_after", "patches_before"])
def test_gradients_of_two_halves_average_to_the_whole(split: str, data: Path) -> None:
    """Each rank draws the global batch's numbers and takes its rows: losses and gradients are those of one process."""
    asked = options(f"{runs.TINY} --patch 8 --batch_size 4 --split_into_patches {split}")
    bursts = load_bursts(data)
    physical = noisemodel.PhysicalNoise.from_noiselist("shot_read_row1_periodic", levels=bursts.levels)
    game = Game(noisemodel.NoiseGenerator(physical), Ruler(1e-6, 3e-4), asked)
    sampler = CropSampler(bursts, crop=16, frames=2, batch_size=4, seed=0)

    def played(rows: slice | None) -> Iterator[Tensor]:
        """Losses and gradients of a critic's and a generator's step."""
        crops = Crops(*sampler.batch(3, "critic 1", rows))
        for loss in (game.critic_loss(crops, "critic 1", 3)[0], game.generator_loss(crops, 3)):
            yield loss.detach()
            game.zero_grad()
            loss.backward()
            yield from [p.grad.clone() for p in game.parameters() if p.grad is not None]

    whole, halves = list(played(None)), []
    for rank in range(2):
        game.rank, game.world = rank, 2
        halves.append(list(played(slice(2 * rank, 2 * rank + 2))))
    assert not torch.allclose(halves[0][0], halves[1][0])
    for one, first, second in zip(whole, *halves, strict=True):
        torch.testing.assert_close((first + second) / 2, one, rtol=1e-4, atol=1e-4 * float(one.abs().max()) + 1e-6)


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def test_two_processes_equal_one(data: Path, tmp_path: Path) -> None:
    """Two "machines" on this one, as a user starts them.

    Adam divides by the gradient's own size, so rounding decides the sign of steps whose gradient is nearly 0: with a
    small step for the critic these stay small, and what remains must agree to rounding.
    """
    words = "--noiselist shot_read_row1 --batch_size 4 --num_iter 4 --lr_critic 1e-5 --lr_physics 0.05"
    assert train(tmp_path / "one", data, words) == 0
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
    }  # fmt: skip
    command = [sys.executable, ROOT / "train_gan_noisemodel.py", *runs.words_of(tmp_path / "two", data, words)]
    machines = [
        subprocess.Popen(
            [*command, "-n", "2", "-nr", str(number)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(2)
    ]  # fmt: skip
    try:
        shown = [machine.communicate(timeout=120) for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
    assert [machine.returncode for machine in machines] == [0, 0], shown
    assert "learned" in shown[0][0] and "learned" not in shown[1][0], "the first machine reports"
    one, two = (weights(tmp_path / name) for name in ("one", "two"))
    for name, value in one.items():
        close = {"rtol": 0, "atol": 1e-4} if "critic" in name else {"rtol": 1e-5, "atol": 0}
        torch.testing.assert_close(two[name], value, **close)
    assert not list((tmp_path / "two").glob(".*.tmp"))
    for row, other in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        for name, value in row.items():
            least = 1e-6 if name == "critic_gap" else 1e-12  # the gap is a difference of larger figures
            assert float(other[name] or 0) == pytest.approx(float(value or 0), rel=1e-5, abs=least), name


def test_other_processes_leave_the_folder_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lightning starts them when the first has begun to write: they neither complain, nor write, nor print."""
    assert train(tmp_path / "run", data) == 0
    before = runs.listing(tmp_path / "run")
    monkeypatch.setattr(program, "fit", lambda *_, **__: None)
    monkeypatch.setenv("LOCAL_RANK", "1")
    capsys.readouterr()
    assert train(tmp_path / "run", data) == 0
    assert runs.listing(tmp_path / "run") == before
    assert capsys.readouterr() == ("", "")


# It learns, and says so when it cannot.


def test_learns_from_a_wrong_gain(data: Path, tmp_path: Path) -> None:
    words = (
        "--noiselist shot_read --init default --start shot.gain=3DN read.std=2.5DN --lr_physics 0.05 --crop_size 24 "
        "--patch 24 --batch_size 4 --frames 4 --critic_width 8 --critic_steps 5 --num_iter 25"
    )
    assert train(tmp_path / "run", data, words) == 0
    rows = metrics(tmp_path / "run")
    off = [abs(math.log(float(row["shot.gain"]) / STEP)) for row in (rows[0], rows[-1])]
    assert off[1] < 0.6 * off[0]
    assert float(rows[-1]["score"]) < 0.99 * float(rows[0]["score"])
    assert learned(tmp_path / "run")["shot.gain"].value < 2 * STEP


def test_divergence_is_said_in_one_line(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "run", data, "--lr_critic 1e30") == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and "training diverged at step" in shown and "--lr_critic" in shown
    found = {p.name: p.value for p in noisemodel.load(tmp_path / "run").physical.parameters_table()}
    assert all(map(math.isfinite, found.values())), "the last good model stays"
    assert not list((tmp_path / "run").glob(".*.tmp"))


def test_notes_are_kept_and_metrics_are_a_table(data: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "run", data, "--notes=Kitchen,ISO100") == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["notes"] == "Kitchen,ISO100"
    assert noisemodel.read_provenance(tmp_path / "run")["options"]["notes"] == "Kitchen,ISO100"
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert len({len(row) for row in rows}) == 1 and len(rows) == 5
