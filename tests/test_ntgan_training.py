"""NTGAN's step and training runs: what each pairing learns, shares of a batch, resuming, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import same

from denoisers import DenoiserSettings, ntgan_step
from denoisers.ntgan_camera import CameraLaw
from denoisers.ntgan_pairs import PairLaw
from denoisers.ntgan_step import (
    Networks,
    Rows,
    StepSettings,
    build_networks,
    build_optimisers,
    start_stage,
    train_step,
    update_average,
)
from denoisers.ntgan_training import NtganOptions, NtganTraining
from denoisers.pairs import Pair
from denoisers.response_curves import gamma_curve
from denoisers.training import TrainingOptions
from noisemodel import stream
from noisemodel.errors import InputError
from noisemodel.evaluation.psnr_ssim import psnr
from noisemodel.lightning_parts import Deadline, Recorder, run_fit

SIZE, BATCH = 32, 4
SETTINGS = DenoiserSettings("ntgan", "ntgan", 3, "srgb", width=4)
LAW = PairLaw(CameraLaw(gamma_curve(), mosaic_share=0.0), zero_share=0.5)
STEP = StepSettings(LAW, average_beta=0.9)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def clean(count: int, name: str = "clean") -> torch.Tensor:
    """Two flat halves of random colours."""
    colours = 0.2 + 0.6 * torch.rand((count, 3, 1, 2), generator=stream(0, name))
    return colours.repeat_interleave(SIZE // 2, dim=-1).expand(-1, -1, SIZE, -1)


def noisy(step: int, rows: slice) -> torch.Tensor:
    """A fresh picture with noise of std 0.08 for each row of the batch of a step."""
    x = clean(BATCH, f"picture {step}")
    return (x + 0.08 * torch.randn(x.shape, generator=stream(0, "noise", step))).clamp(0, 1)[rows]


def draws(step: int, rows: slice = slice(0, BATCH)) -> Rows:
    return Rows(BATCH, rows, stream(0, "train", step))


def networks(**more: Any) -> Networks:
    return build_networks(replace(SETTINGS, **more), critic_width=4, seed=0)


def gain_db(made: Networks) -> float:
    """PSNR of the average's output less that of its input."""
    x = clean(4, "held out")
    y = x + 0.08 * torch.randn(x.shape, generator=stream(1, "held out"))
    with torch.no_grad():
        return float((psnr(made.average(y), x) - psnr(y, x)).mean())


@pytest.mark.parametrize(("pairing", "steps", "low", "high"), [("transfer", 40, 1.0, 20), ("literal", 15, -0.1, 0.1)])
def test_transfer_denoises_and_literal_is_the_identity(pairing, steps, low, high):
    made = networks(width=8)
    optimisers = build_optimisers(made, lr=2e-3, critic_lr=2e-4)
    settings = replace(STEP, pairs=replace(LAW, pairing=pairing, zero_share=1.0, ratio=1.5), gan_weight=0.0)
    for step in range(steps):
        optimisers.generator.param_groups[0]["lr"] = 3e-3 * min(1, (steps - step) / 20)
        train_step(made, optimisers, noisy(step, slice(0, BATCH)), settings, step=step, draws=draws(step))
    assert low < gain_db(made) < high


def losses_of(rows: slice, monkeypatch: pytest.MonkeyPatch, stage: int) -> dict[str, torch.Tensor]:
    """Losses of a step that changes nothing."""
    monkeypatch.setattr(ntgan_step, "optimise", lambda *_: None)
    made = networks()
    optimisers = build_optimisers(made, lr=1e-3, critic_lr=1e-3)
    return train_step(
        made, optimisers, noisy(0, rows), STEP, step=0, stage=stage, draws=draws(0, rows)
    )  # fmt: skip


@pytest.mark.parametrize("stage", [0, 1])
def test_losses_are_means_over_processes(monkeypatch, stage):
    """So that gradients, averaged over processes, are those of the global batch; also where a share has only M = 0."""
    whole = losses_of(slice(0, BATCH), monkeypatch, stage)
    parts = [losses_of(slice(k, k + 1), monkeypatch, stage) for k in range(BATCH)]
    assert set(whole) == {"critic", "denoise", "low_pass", "gan"}
    for name, value in whole.items():
        torch.testing.assert_close(torch.stack([part[name] for part in parts]).mean(), value, rtol=1e-4, atol=1e-6)


def test_a_step_moves_both_networks_and_the_average_follows():
    made = networks()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    optimisers = build_optimisers(made, lr=1e-3, critic_lr=1e-3)
    for step in range(2):  # the last layer starts at zero: the first step moves it alone
        train_step(made, optimisers, noisy(step, slice(0, BATCH)), STEP, step=step, draws=draws(step))
    moved = {name.split(".")[0] for name, value in made.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"generator", "critic", "average"}
    assert all(p.requires_grad for p in made.critic.parameters())
    start_stage(made)
    assert same(made.teacher.state_dict(), made.average.state_dict())


def test_without_weight_there_is_no_critic_step():
    made = networks()
    before = {name: value.clone() for name, value in made.critic.state_dict().items()}
    optimisers = build_optimisers(made, lr=1e-3, critic_lr=1e-3)
    losses = train_step(
        made, optimisers, noisy(0, slice(0, BATCH)), replace(STEP, gan_weight=0.0), step=0, draws=draws(0)
    )
    assert set(losses) == {"denoise", "low_pass"}
    assert same(made.critic.state_dict(), before)


def test_the_average_is_a_mean_of_weights():
    made = networks()
    with torch.no_grad():
        for parameter in made.generator.parameters():
            parameter.add_(1)
    start = [p.clone() for p in made.average.parameters()]
    update_average(made, 0.75)
    for now, old in zip(made.average.parameters(), start, strict=True):
        torch.testing.assert_close(now, old + 0.25)


def training(**more: Any) -> NtganTraining:
    asked = {"num_steps": 4, "batch_size": BATCH, "display_interval": 1, "learning_rate": 1e-3, **more}
    x = clean(1, "held out")
    pair = Pair(x + 0.05, x)
    return NtganTraining(
        SETTINGS, noisy, NtganOptions(critic_width=4, refine_stages=1), TrainingOptions(**asked), [pair]
    )


def test_resuming_gives_the_same_bits(tmp_path: Path):
    whole = training()
    run_fit(whole, [])
    assert (int(whole.step), int(whole.stage)) == (4, 1)
    file = tmp_path / "resume.ckpt"
    for step in range(1, 5):
        part = training()
        run_fit(part, [Deadline(0), Recorder([], 100, file)], resume=file if step > 1 else None)
        assert int(part.step) == step
    assert same(part.state_dict(), whole.state_dict())
    assert not same(whole.networks.average.state_dict(), training().networks.average.state_dict())


def test_what_a_run_tells():
    made = training()
    run_fit(made, [])
    assert made.validate() == pytest.approx(26, abs=3)
    assert made.describe().startswith("critic ") and made.describe().endswith("dB")
    assert made.trained().settings == SETTINGS
    x = torch.rand((1, 3, 9, 11), generator=stream(0, "x"))
    assert torch.equal(made.trained().denoise(x), made.networks.average(x))


def test_divergence_stops_with_the_step():
    with pytest.raises(InputError, match=r"diverged at step \d+ \(.*nan.*give a smaller"):
        run_fit(training(learning_rate=1e30), [])


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.full((BATCH, 3, SIZE, SIZE), float("nan")), "NaN"),
        (torch.zeros(BATCH, 1, SIZE, SIZE), "RGB"),
        (torch.zeros(BATCH, 3, 4, SIZE), "at least 16 px"),
    ],
)
def test_images_that_cannot_be_learned_from(images, said):
    asked = NtganOptions(critic_width=4)
    made = NtganTraining(
        SETTINGS, lambda step, rows: images[rows], asked, TrainingOptions(num_steps=2, batch_size=BATCH)
    )
    with pytest.raises(InputError, match=said):
        run_fit(made, [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"noise_ratio": 0.0},
        {"zero_share": 1.5},
        {"refine_stages": -1},
        {"gan_weight": -1.0},
        {"sigma_c": -0.1},
        {"input_noise": "drawn", "ratio_spread": 0.5},
        {"gan_weight": 0.0, "critic_lr": 1e-3},
    ],
)
def test_flags_that_no_run_can_use(wrong):
    with pytest.raises(InputError):
        NtganOptions(**wrong).check_ntgan()


def test_flags_that_go_together():
    NtganOptions(input_noise="drawn").check_ntgan()
    NtganOptions(gan_weight=0.0).check_ntgan()
    NtganOptions(ratio_spread=0.5, critic_lr=1e-3).check_ntgan()


def test_curves_come_from_the_file(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        NtganOptions(curves=tmp_path / "a.mat").step_settings(TrainingOptions())
