"""The adversarial game: real and generated pairs have one law, losses are the equations, the score is proper."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import noisemodel.game as game_module
from datasets import BurstSet, CropSampler, SimulatedCamera, simulated_bursts
from datasets.burst import Burst
from noisemodel import InputError, NoiseGenerator, PhysicalNoise, stream
from noisemodel.critic import Critic
from noisemodel.game import ETA, Game, GanOptions, score_batches, treat_as_real
from noisemodel.losses import gradient_penalty
from noisemodel.patches import Crops
from noisemodel.sensor import Crop
from noisemodel.views import VIEWS, Ruler

WORDS = "shot_read_uniform_row1_rowt_fixed1_periodic"
CAMERA = SimulatedCamera(gain=1.5, rowt_std=1.5, row1_std=1.5, periodic_std=(1.0, 2.0, 0.3), pattern_std=1.5)
LINES = SimulatedCamera(row1_std=2.0, rowt_std=2.0, periodic_std=(0.0, 0.0, 0.0), pattern_std=0.0)
LEVELS = CAMERA.levels
STEP = LEVELS.adc_step
SIDE = 64  # of the sensor; planes have half
TOLERANCE = 5.0


def bursts_at(
    level: float, count: int, *, truth: bool, seed: int = 0, camera: SimulatedCamera = CAMERA
) -> tuple[BurstSet, Tensor]:
    """``count`` bursts of 4 frames of even light (0: darks) of one camera, and its fixed pattern."""
    template = simulated_bursts(seed=seed, frames=4, size=(SIDE, SIDE), camera=camera)
    exposure = np.full((SIDE, SIDE), level)
    kind = "flat" if level else "dark"
    clean = torch.full((4, SIDE // 2, SIDE // 2), level) if truth else None
    found = []
    for i in range(count):
        noise = stream(seed, "bursts", i, str(level)).initial_seed()
        source = dataclasses.replace(template.flats[0].source, exposure=exposure, seed=noise)
        found.append(Burst(f"{kind}{i}", kind, source, "mosaic", LEVELS, truth=clean))
    assert template.true_pattern is not None
    return dataclasses.replace(template, bursts=tuple(found)), template.true_pattern


@functools.cache
def crops_at(
    level: float, count: int, *, truth: bool, seed: int = 0, camera: SimulatedCamera = CAMERA
) -> tuple[Crops, Tensor]:
    """One crop, at a random origin, of each of ``count`` bursts: independent samples of real noise."""
    data, pattern = bursts_at(level, count, truth=truth, seed=seed, camera=camera)
    single = []
    for i, burst in enumerate(data.bursts):
        one = dataclasses.replace(data, bursts=(dataclasses.replace(burst, kind="scene"),) if truth else (burst,))
        single.append(CropSampler(one, crop=28, frames=4, batch_size=1, seed=seed).batch(i))
    joined = [torch.cat(field) for field in list(zip(*single, strict=True))[:5]]
    return Crops(*joined, not truth), pattern


def true_model(
    pattern: Tensor,
    words: str = WORDS,
    factor: dict[str, float] | None = None,
    camera: SimulatedCamera = CAMERA,
) -> NoiseGenerator:
    """The camera's own model; ``factor`` makes parameters wrong."""
    true = camera.parameters
    start: dict[str, Any] = {
        "shot_gain": true["shot.gain"],
        "read_std": true["read.std"],
        "row1_std": true["row1.std"],
        "rowt_std": true["rowt.std"],
        "periodic_std": tuple(true[f"periodic.std{i}"] for i in range(3)),
        "periodic_freq": CAMERA.periodic_freq,
        "fixed1_pattern": pattern,
    }
    known = words.replace("learnedfixed", "fixed1").split("_")
    chosen = {key: value for key, value in start.items() if key.split("_")[0] in known}
    physical = PhysicalNoise.from_noiselist(words, levels=LEVELS, **chosen)
    for name, wrong in (factor or {}).items():
        word, key = name.split(".")
        if word == "fixed1":
            physical.component(word).pattern.mul_(wrong)
        else:
            physical.component(word).store(key, float(physical.component(word).stored(key).detach()) * wrong)
    return NoiseGenerator(physical)


RULER = Ruler((2.5 * STEP) ** 2, CAMERA.gain * STEP)


def game_of(model: NoiseGenerator, held: Sequence[str] = (), **options: Any) -> Game:
    return Game(model, RULER, GanOptions(**{"patch": 14, "critic_width": 4, "batch_size": 4, **options}), held)


# The law of pairs.


def statistics(residual: Tensor, origin: Tensor, pattern: Tensor, centred: bool) -> dict[str, Tensor]:
    """Second moments of each sample (N,), in DN^2: pixels, rows, frames with frames, waves; with truth static ones too.

    Without truth a frame's mean was taken out of the whole frame: rows are compared less the mean of their crop.
    """
    noise = residual.double() / STEP  # (N, T, 4, h, w)
    place = Crop("mosaic", tuple(noise.shape), origin, noise.device)
    temporal = noise - noise.mean(dim=1, keepdim=True)
    rows = noise.unflatten(2, (2, 2)).mean(dim=(3, 5))  # (N, T, dy, h)
    rows = rows - rows.mean(dim=(2, 3), keepdim=True)
    columns = temporal.unflatten(2, (2, 2)).mean(dim=(2, 4))  # (N, T, dx, w)
    angle = 2 * math.pi * CAMERA.periodic_freq * place.columns[:, :2].double()  # (N, dx, w)
    found = {
        "pixel": temporal.square().mean(dim=(1, 2, 3, 4)),
        "row": (rows - rows.mean(dim=1, keepdim=True)).square().mean(dim=(1, 2, 3)),
        "frames": (noise[:, 1:] * noise[:, :-1]).mean(dim=(1, 2, 3, 4)),
        "rows of frames": (rows[:, 1:] * rows[:, :-1]).mean(dim=(1, 2, 3)),
        "rows and rows below": (rows[..., 1:] * rows[..., :-1]).mean(dim=(1, 2, 3)),
    }
    for name, wave in (("cos", angle.cos()), ("sin", angle.sin())):
        wave = wave - wave.mean(dim=(1, 2), keepdim=True)
        found[name] = (columns * wave.unsqueeze(1)).mean(dim=(2, 3)).square().mean(dim=1)
    if not centred:
        here = pattern.double()[place.rows.unsqueeze(-1), place.columns.unsqueeze(-2)] / STEP  # (N, 4, h, w)
        found["pattern"] = (noise.mean(dim=1) * (here - here.mean(dim=(1, 2, 3), keepdim=True))).mean(dim=(1, 2, 3))
        found["frame"] = noise.mean(dim=(2, 3, 4)).square().mean(dim=1)
        found["rows of bursts"] = rows.mean(dim=1).square().mean(dim=(1, 2))
    return found


def worst(crops: Crops, model: NoiseGenerator, pattern: Tensor, seed: int = 0) -> tuple[float, str]:
    """The statistic in which real and generated residuals differ most, in standard errors over samples."""
    with torch.no_grad():
        draws = [game_of(model).generate(crops, stream(seed, "law", i)) for i in range(4)]
    real = statistics(crops.residual, crops.origin, pattern, crops.centred)
    fake = [statistics(residual, crops.origin, pattern, crops.centred) for residual in draws]
    z = {}
    for name, values in real.items():
        generated = torch.cat([one[name] for one in fake])
        error = math.hypot(*(float(x.std()) / math.sqrt(len(x)) for x in (values, generated)))
        z[name] = abs(float(values.mean() - generated.mean())) / error
    name = max(z, key=lambda key: z[key])
    return z[name], name


LIGHT = (0.0, 0.02, 0.3)
SAMPLES = 40


@pytest.mark.parametrize("seed", (0, 1))
@pytest.mark.parametrize("truth", (False, True))
@pytest.mark.parametrize("level", LIGHT)
def test_real_and_generated_pairs_have_one_law(level: float, truth: bool, seed: int) -> None:
    crops, pattern = crops_at(level, SAMPLES, truth=truth, seed=seed)
    z, name = worst(crops, true_model(pattern), pattern, seed)
    assert z < TOLERANCE, f"{name} differs by {z:.1f} standard errors"


@pytest.mark.parametrize(
    "wrong, level, truth",
    [
        ({"shot.gain": 1.2}, 0.3, False),
        ({"read.std": 1.2}, 0.0, False),
        ({"row1.std": 1.2}, 0.0, False),
        ({"periodic.std1": 2.0}, 0.0, False),
        ({"shot.gain": 1.2}, 0.3, True),
        ({"read.std": 1.2}, 0.0, True),
        ({"row1.std": 1.2}, 0.0, True),
        ({"rowt.std": 1.2}, 0.0, True),
        ({"fixed1.pattern": 1.2}, 0.0, True),
        ({"periodic.std0": 2.0}, 0.0, True),
        ({"periodic.std1": 2.0}, 0.0, True),
    ],
)
def test_a_wrong_parameter_breaks_the_law(wrong: dict[str, float], level: float, truth: bool) -> None:
    crops, pattern = crops_at(level, SAMPLES, truth=truth)
    z, name = worst(crops, true_model(pattern, factor=wrong), pattern)
    assert z > TOLERANCE, f"{wrong} is not seen: {name} differs by {z:.1f} standard errors"


def test_a_wrong_place_breaks_the_law() -> None:
    """Pattern and phase follow the origin: two columns aside, a quarter of the wave, cos becomes sin."""
    crops, pattern = crops_at(0.0, SAMPLES, truth=True)
    fits = crops.origin[:, 1] + 2 + 2 * 28 <= SIDE
    aside = torch.stack([torch.zeros(SAMPLES), torch.where(fits, 2, -2)], dim=1).long()
    moved = crops._replace(origin=crops.origin + aside)
    with torch.no_grad():
        fake = game_of(true_model(pattern)).generate(moved, stream(0, "moved"))
    real, generated = (statistics(x, crops.origin, pattern, False) for x in (crops.residual, fake))
    for name in ("sin", "pattern"):
        difference = generated[name] - real[name]
        assert abs(float(difference.mean())) > TOLERANCE * float(difference.std()) / math.sqrt(SAMPLES), name


def check_frame_means(crops: Crops, pattern: Tensor) -> None:
    """Centred, in the dark: var of a frame's mean = (T - 1)/T (row1^2 / rows + white / pixels + waves); no s0."""
    with torch.no_grad():
        noise = game_of(true_model(pattern)).generate(crops, stream(0, "frames")) / STEP
    means = noise.double().mean(dim=(2, 3, 4)).square().mean(dim=1)
    rest = CAMERA.row1_std**2 / 56 + (CAMERA.read_std**2 + 1 / 12) / 56**2  # 56 columns are 7 whole waves
    error = 5 * float(means.std()) / math.sqrt(len(means))
    assert abs(float(means.mean()) - 0.75 * rest) < error, f"{float(means.mean()):.3f}, not {0.75 * rest:.3f}"


def test_generated_frames_have_no_offsets_where_the_data_can_have_none() -> None:
    check_frame_means(*crops_at(0.0, SAMPLES, truth=False))


def test_breaking_the_law_once_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generated residual that keeps its mean, and one with offsets that the data cannot hold."""
    crops, pattern = crops_at(0.0, SAMPLES, truth=False)
    with monkeypatch.context() as patched:
        patched.setattr(game_module, "treat_as_real", lambda noise, crops: noise * crops.valid)
        z, name = worst(crops, true_model(pattern), pattern)
        assert z > TOLERANCE and name in ("frames", "rows of frames")
    monkeypatch.setattr(game_module, "as_data_hold", lambda *_: None)
    with pytest.raises(AssertionError, match=", not "):
        check_frame_means(crops, pattern)


def test_static_terms_cancel_where_residuals_are_centred() -> None:
    crops, pattern = crops_at(0.0, 2, truth=False)
    with torch.no_grad():
        one, other = (
            game_of(true_model(pattern, factor=factor)).generate(crops, stream(0, "static"))
            for factor in (None, {"rowt.std": 10.0, "fixed1.pattern": 3.0, "periodic.std0": 5.0})
        )
    torch.testing.assert_close(one, other, rtol=0, atol=1e-2 * STEP)
    assert float(one.mean(dim=1).abs().max()) < 1e-3 * STEP
    masked = crops._replace(valid=torch.zeros_like(crops.valid))
    assert not treat_as_real(one, masked).any()


# Losses.


class LinearCritic(nn.Module):
    """score = sum of weight * values: its gradient is the weight everywhere."""

    def __init__(self, norm: float, pixels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((pixels,), norm / math.sqrt(pixels)))

    def forward(self, look: Tensor) -> Tensor:
        return look.flatten(1) @ self.weight


@pytest.mark.parametrize("norm, penalty", [(1.0, 0.0), (3.0, 4.0), (0.5, 0.25)])
def test_the_penalty_of_a_linear_critic(norm: float, penalty: float) -> None:
    real, fake = (torch.randn((5, 2, 4, 4), generator=stream(i, "penalty")) for i in range(2))
    found = gradient_penalty(LinearCritic(norm, 32), real, fake, torch.rand(5, 1, 1, 1, generator=stream(2, "mix")))
    assert float(found.detach()) == pytest.approx(penalty, abs=1e-5)
    found.backward()


def test_the_penalty_is_taken_between_real_and_fake() -> None:
    """For D(x) = sum x^2 / 2 the gradient is x itself; one mix per patch."""
    real, fake = (torch.randn((3, 1, 2, 2), generator=stream(i, "between")) for i in range(2))
    mix = torch.tensor([0.0, 1.0, 0.25]).view(3, 1, 1, 1)

    class Square(nn.Module):
        def forward(self, look: Tensor) -> Tensor:
            return look.square().flatten(1).sum(dim=1) / 2

    points = torch.stack([fake[0], real[1], 0.25 * real[2] + 0.75 * fake[2]]).flatten(1)
    expected = (points.norm(dim=1) - 1).square().mean()
    torch.testing.assert_close(gradient_penalty(Square(), real, fake, mix).detach(), expected)


@pytest.fixture(scope="module")
def real() -> tuple[Crops, Tensor]:
    return crops_at(0.02, 4, truth=True)


@pytest.fixture(scope="module")
def centred() -> tuple[Crops, Tensor]:
    return crops_at(0.02, 4, truth=False)


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("split", ("patches_before", "patches_after"))
def test_the_losses_are_the_equations(name: str, split: str, real: tuple[Crops, Tensor]) -> None:
    """WGAN-GP written out: lambda * penalty - (E D(real) - E D(generated)), summed over heads."""
    crops, pattern = real
    game = game_of(true_model(pattern), discriminator_loss=name, split_into_patches=split, lambda_gp=7.0)
    loss, gap = game.critic_loss(crops, "critic 0", 3)
    with torch.no_grad():
        noises = game.residuals(crops, "critic 0", 3)
        looks = [game.look(noise, noises) for noise in noises[:2]]
        by_hand = [sum(head(look[key]).mean() for key, head in game.critic.heads.items()) for look in looks]
    torch.testing.assert_close(gap, by_hand[0] - by_hand[1])
    penalty = 0.0
    for key, head in game.critic.heads.items():
        mix = torch.rand((1, len(looks[0][key]), 1, 1, 1), generator=stream(0, "penalty", key, "critic 0", 3))[0]
        penalty += float(gradient_penalty(head, looks[0][key], looks[1][key], mix).detach())
    assert float(loss.detach()) == pytest.approx(7.0 * penalty - float(gap), rel=1e-4, abs=1e-5)
    loss.backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in game.critic.parameters())
    assert all(p.grad is None for p in game.generator.parameters())
    one = game.generator_loss(crops, 3)
    with torch.no_grad():
        pairs = game.residuals(crops, "generator", 3)
        torch.testing.assert_close(one.detach(), -game.critic(game.look(pairs.fake, pairs)))
    assert torch.equal(game.generator_loss(crops, 3), one) and not torch.equal(game.generator_loss(crops, 4), one)


def test_patches_are_made_before_or_after_the_noise(real: tuple[Crops, Tensor]) -> None:
    crops, pattern = real
    before, after = (
        [
            x.detach()
            for x in game_of(true_model(pattern, "row1"), split_into_patches=split).residuals(crops, "c", 0)[:3]
        ]
        for split in ("patches_before", "patches_after")
    )
    assert [x.shape for x in before] == [x.shape for x in after] == [(16, 4, 4, 14, 14)] * 2 + [(16, 1, 4, 14, 14)]
    assert torch.equal(before[0], after[0]) and torch.equal(before[2], after[2])
    # Side by side in one crop, patches share their rows; those cut before have rows of their own.
    rows = [x[1][..., 0].unflatten(0, (4, 2, 2)) for x in (before, after)]  # sample, patch row, patch column
    assert torch.allclose(rows[1][:, :, 0], rows[1][:, :, 1], rtol=0, atol=1e-3 * STEP)
    assert float((rows[0][:, :, 0] - rows[0][:, :, 1]).std()) > STEP
    small = game_of(true_model(pattern), patch=99).residuals(crops, "critic 0", 0)
    assert small[0].shape == (4, 4, 4, 28, 28)


@pytest.mark.parametrize("words", (WORDS, "shot_read_uniform_row1_col1"))
def test_many_processes_draw_what_one_draws(
    words: str, real: tuple[Crops, Tensor], centred: tuple[Crops, Tensor]
) -> None:
    """Each rank's rows of the global batch, bit for bit."""
    for crops, pattern in (real, centred):
        game = game_of(true_model(pattern, words))
        whole = game.generate(crops, stream(0, "noise")).detach()
        parts = []
        for rank in range(2):
            game.rank, game.world = rank, 2
            mine = slice(2 * rank, 2 * rank + 2)
            part = Crops(*(field[mine] for field in crops[:5]), crops.centred)
            parts.append(game.generate(part, stream(0, "noise")).detach())
        assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("kind", ("real", "centred"))
def test_gradients_reach_what_is_learned_and_nothing_else(kind: str, request: pytest.FixtureRequest) -> None:
    crops, pattern = request.getfixturevalue(kind)
    model = true_model(pattern, WORDS.replace("fixed1", "learnedfixed"))
    model.physical.fix("read.std=2DN")
    held = ["rowt", "learnedfixed", "periodic.std0"] if crops.centred else []
    game = game_of(model, held)
    game.generator_loss(crops, 0).backward()
    for component in model.physical.each():
        for name, leaf in component.named_parameters():
            parameter = f"{component.name}.{name.removeprefix('log.')}"
            learned = parameter not in ("read.std", "uniform.width", *held) and component.name not in held
            assert leaf.requires_grad == learned, parameter
            assert (leaf.grad is not None and bool(leaf.grad.any())) == learned, parameter
            assert leaf.grad is None or bool(torch.isfinite(leaf.grad).all())
    assert not any(p.requires_grad for p in game.averaged.parameters())


def test_nothing_to_learn_is_refused() -> None:
    model = NoiseGenerator(PhysicalNoise.from_noiselist("rowt", levels=LEVELS))
    with pytest.raises(InputError, match="nothing to learn"):
        game_of(model, ["rowt"])


def test_the_same_seed_makes_the_same_critic() -> None:
    pattern = torch.zeros(SIDE, SIDE)
    one, same, other = (game_of(true_model(pattern), seed=seed).critic.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("spectral, halvings", [(False, 0), (True, 2)])
def test_a_critic_scores_patches_of_any_size(spectral: bool, halvings: int) -> None:
    """The sum over heads of the mean over patches; no sigmoid: scores go both ways without bound."""
    critic = Critic({"a": 3, "b": 2}, width=4, halvings=halvings, spectral=spectral).eval()
    draws = stream(0, "critic")
    looks = {"a": torch.randn((5, 3, 8, 8), generator=draws), "b": torch.randn((2, 2, 8, 1), generator=draws)}
    with torch.no_grad():
        total = critic(looks)
        assert total.shape == ()
        torch.testing.assert_close(total, critic.heads["a"](looks["a"]).mean() + critic.heads["b"](looks["b"]).mean())
        assert critic.heads["a"](looks["a"]).shape == (5,)
        large = [float(critic({k: s * 1e4 * v for k, v in looks.items()}).abs()) for s in (1, -1)]
        assert max(large) > 10


def test_the_average_is_weighted_by_the_step_cubed() -> None:
    """Polynomial decay: after steps 1..n the weight of iterate k is close to k^ETA, and the first is forgotten."""
    pattern = torch.zeros(SIDE, SIDE)
    game = game_of(true_model(pattern))
    leaf, mean = (g.physical.component("read").log["std"] for g in (game.generator, game.averaged))
    values = torch.randn(6, generator=stream(0, "average"))
    expected = float(mean)
    for step, value in enumerate(values, start=1):
        leaf.data.fill_(float(value))
        game.average(step)
        share = (ETA + 1) / (step + ETA)
        expected = (1 - share) * expected + share * float(value)
    assert float(mean) == pytest.approx(expected, rel=1e-6)
    weights = [math.prod(range(k, k + ETA)) for k in range(1, 7)]  # k (k + 1) (k + 2)
    assert float(mean) == pytest.approx(float((values * torch.tensor(weights)).sum()) / sum(weights), rel=1e-5)


@pytest.mark.parametrize("name", ("patch", "num_iter", "batch_size", "critic_steps", "critic_width"))
def test_options_refuse_sizes_below_one(name: str) -> None:
    with pytest.raises(InputError, match=f"--{name} must be at least 1, got 0"):
        GanOptions(**{name: 0})


@pytest.mark.parametrize("options", ({"patch": 8, "critic_halvings": 4}, {"critic_halvings": -1}))
def test_options_refuse_halvings_that_leave_nothing(options: dict[str, int]) -> None:
    with pytest.raises(InputError, match="leaves nothing of a patch"):
        GanOptions(**options)
    assert GanOptions(patch=8, critic_halvings=3).critic_halvings == 3


# The score.


SCORE_WORDS, SCORE_SEED = "shot_read_uniform_row1_rowt", 5


@functools.cache
def scores(level: float, count: int, truth: bool, name: str = "read.std", factor: float = 1.0) -> Tensor:
    """Score of each crop, the mean over some games with draws of their own."""
    crops, pattern = crops_at(level, count, truth=truth, seed=SCORE_SEED, camera=LINES)
    model = true_model(pattern, SCORE_WORDS, {name: factor}, LINES)
    return torch.stack([game_of(model, seed=seed).score([crops]) for seed in range(6)]).mean(dim=0)


@pytest.mark.parametrize(
    "name, truth",
    [*itertools.product(("shot.gain", "read.std", "row1.std"), (True, False)), ("rowt.std", True)],
)
@pytest.mark.parametrize("factor", (1.3, 1 / 1.3))
def test_the_true_model_scores_lowest(name: str, truth: bool, factor: float) -> None:
    """Where the parameter shows, by more than 2 standard errors over crops."""
    level = 0.3 if name == "shot.gain" else 0.0
    count = 192 if truth and "row" in name else 64  # static rows hide those of frames, and the other way round
    difference = scores(level, count, truth, name, factor) - scores(level, count, truth)
    assert float(difference.mean()) > 2 * float(difference.std()) / math.sqrt(len(difference))


def test_the_score_uses_the_same_draws_and_the_averaged_model() -> None:
    crops, pattern = crops_at(0.0, 64, truth=False, seed=5, camera=LINES)
    game = game_of(true_model(pattern, SCORE_WORDS))
    first = game.score([crops, crops])
    assert first.shape == (128,) and torch.equal(game.score([crops, crops]), first)
    assert not torch.equal(first[:64], first[64:])  # every batch has draws of its own
    game.generator.physical.component("read").log["std"].data.add_(3.0)
    assert torch.equal(game.score([crops, crops]), first)
    game.averaged.physical.component("read").log["std"].data.add_(3.0)
    assert float(game.score([crops, crops]).mean()) > float(first.mean())


def test_score_batches_are_always_the_same() -> None:
    data, _ = bursts_at(0.02, 3, truth=False)
    sampler = CropSampler(data, crop=8, frames=3, batch_size=2, seed=0, split="validation")
    one, other = score_batches(sampler), score_batches(sampler)
    assert len(one) == game_module.SCORE_BATCHES
    assert all(torch.equal(a.frames, b.frames) and a.centred for a, b in zip(one, other, strict=True))
    assert not torch.equal(one[0].frames, one[1].frames)
