"""NR-GAN's training step against an independent slow reference with the same random numbers, and each model's noise."""

import copy
import dataclasses
import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import nrgan.step
from noisemodel import InputError, PhysicalNoise, families, stream
from noisemodel.families import FAMILIES
from nrgan.losses import diversity, squared_slope
from nrgan.models import MODELS, NoiseSettings, build_noise, check_model, flip_signs, rotate, shuffle_channels
from nrgan.networks import Critic, ImageGenerator
from nrgan.share import ALONE, Share
from nrgan.step import (
    CRITIC_NORM,
    GENERATORS_NORM,
    Networks,
    Optimisers,
    StepSettings,
    build_networks,
    build_optimisers,
    train_step,
)
from nrgan.units import to_network, to_unit

DATA_OF = {"sdnrgan1": "cifar10mg25", "physnrgan": "sensor"}  # others: cifar10ag25
LR, BETAS, BETA = 2e-4, (0.0, 0.99), 0.9
LAMBDA_START = 0.3  # of physnrgan


def settings_of(model: str, dataset: str | None = None, **other: Any) -> NoiseSettings:
    return NoiseSettings(dataset or DATA_OF.get(model, "cifar10ag25"), model, channels=6, **other)


def networks_of(model: str, dataset: str | None = None, **other: Any) -> Networks:
    """Small networks whose every weight matters."""
    asked = settings_of(model, dataset, **other)
    found = build_networks(asked, d_channels=6, antialiased=FAMILIES[asked.dataset].antialias, seed=3)
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=stream(0, name)))
    return found


# The reference: the published step written out, from the networks' outputs on.


def reference_noise(nets: Networks, model: str, dataset: str, x: Tensor, z: Tensor, g: torch.Generator) -> tuple:
    """Noise, what the diversity term compares, and z_n; images one by one."""
    if model == "gan":
        return torch.zeros_like(x), None, None
    if model == "ambientgan":
        light = (x + 1) / 2
        return (families.measure(dataset, light, generator=g) - light) * 2 * 255 / 256, None, None
    zn = torch.randn(len(x), 128, generator=g)
    if model == "physnrgan":
        return reference_physics(nets, x, zn, g), None, None
    zn = torch.cat([z, zn], 1) if model in ("sdnrgan2", "sdnrgan3") else zn
    n = nets.noise.network(zn)
    if model in ("sinrgan1", "sdnrgan1", "sdnrgan2"):
        eps = torch.randn(x.shape, generator=g)
        if model == "sdnrgan1":
            light = (x.detach() + 1) / 2
            n = 2 * n * (light if dataset == "cifar10mg25" else torch.sqrt(light))
        n = n * eps
    compared = n
    if model == "sinrgan2":
        turns = torch.randint(4, (len(x),), generator=g)
        n = torch.stack([torch.rot90(image, -int(k), (1, 2)) for image, k in zip(n, turns, strict=True)])
        order = torch.rand(x.shape[:2], generator=g).argsort(1)
        n = torch.stack([image[o] for image, o in zip(n, order, strict=True)])
    if model in ("sinrgan2", "sdnrgan3"):
        signs = torch.randint(2, (*x.shape[:2], 1, 1), generator=g) * 2.0 - 1
        n = torch.stack([image * s for image, s in zip(n, signs, strict=True)])
    return n, compared, zn


def reference_physics(nets: Networks, x: Tensor, zn: Tensor, g: torch.Generator) -> Tensor:
    """Shot and read noise with parameters from z_n; no diversity term."""
    prior = nets.noise.prior
    first, last = prior.head[0], prior.head[2]
    shift = torch.tanh(zn @ first.weight.T + first.bias) @ last.weight.T
    gain = torch.exp(prior.physical.components["shot"].log["gain"] + shift[:, 0])[:, None, None, None]
    read = torch.exp(prior.physical.components["read"].log["std"] + shift[:, 1])[:, None, None, None]
    light = (x + 1) / 2
    eps = torch.empty(len(x), 1, *x.shape[1:]).normal_(generator=g)[:, 0]
    return torch.sqrt(gain * light + read**2) * eps * 2 * 255 / 256


def reference_departure(prior: Any, zn: Tensor) -> Tensor:
    """Mean squared step of ln p from the start, which had a head of its own, in units of 0.1."""
    first, last = prior.head[0], prior.head[2]
    shift = torch.tanh(zn @ first.weight.T + first.bias) @ last.weight.T
    first, last = prior.start_head[0], prior.start_head[2]
    shift = shift - torch.tanh(zn @ first.weight.T + first.bias) @ last.weight.T
    logs = [prior.physical.components["shot"].log["gain"], prior.physical.components["read"].log["std"]]
    total = sum(
        ((log - start + shift[:, k]) / 0.1).square().sum()
        for k, (log, start) in enumerate(zip(logs, prior.start_logs, strict=True))
    )
    return total / (2 * len(zn))


def blurred(x: Tensor) -> Tensor:
    p = functional.pad(x, (1, 1, 1, 1))
    down = (p[..., :-2, 1:-1] + 2 * x + p[..., 2:, 1:-1]) / 4
    across = (p[..., 1:-1, :-2] + 2 * x + p[..., 1:-1, 2:]) / 4
    return torch.cat([down, across], 1)


def adam(parameters: list[Tensor], gradients: list[Tensor], lr: float) -> list[Tensor]:
    """Adam's first step: both moments are corrected to the gradient and its square."""
    return [p - lr * g / (g.abs() + 1e-8) for p, g in zip(parameters, gradients, strict=True)]


def reference_step(nets: Networks, model: str, dataset: str, images: Tensor, draws: Any, first: bool) -> dict:
    """Losses of one published step; weights and averages of ``nets`` are replaced."""
    look = blurred if FAMILIES[dataset].antialias else lambda x: x
    losses = {}
    if not first:
        g = draws("generators")
        z = torch.randn(2 * len(images), 128, generator=g)
        again = torch.Generator().set_state(g.get_state())
        x = nets.image(z)
        n, compared, latent = reference_noise(nets, model, dataset, x, z, g)
        losses["generator"] = -torch.log(torch.sigmoid(nets.critic(look((x + n).clamp(-1, 1))))).mean()
        total = losses["generator"]
        if compared is not None:
            half = len(images)
            ratios = [
                (compared[i] - compared[half + i]).abs().mean() / (latent[i] - latent[half + i]).abs().mean()
                for i in range(half)
            ]
            losses["diversity"] = -0.02 * sum(ratios) / half
            total = total + losses["diversity"]
        every = [*nets.image.named_parameters(), *nets.noise.named_parameters()]
        pairs = [(name, p, a) for (name, p), a in zip(every, nets.averages()[0], strict=True) if p.requires_grad]
        named, averages = [(name, p) for name, p, _ in pairs], [a for _, _, a in pairs]
        learned = [p for _, p in named]
        if model == "physnrgan":
            zn = torch.randn(2 * len(images), 128, generator=again)
            losses["departure"] = LAMBDA_START * reference_departure(nets.noise.prior, zn)
            total = total + losses["departure"]
        gradients = torch.autograd.grad(total, learned)
        losses[GENERATORS_NORM] = torch.cat([g.flatten() for g in gradients]).square().sum().sqrt()
        for (name, p), g, average in zip(named, gradients, averages, strict=True):
            with torch.no_grad():
                p.copy_(adam([p], [g], 1e-3 if "physical" in name else LR)[0])
                average.copy_(BETA * average + (1 - BETA) * p)
    place = torch.rand(images.shape, generator=draws("real 0"))
    real = look((2 * (images * 255 / 256 - 0.5) + place / 128).clamp(-1, 1))
    losses["real"] = -torch.log(torch.sigmoid(nets.critic(real))).mean()
    squares = []
    for image in real:
        leaf = image[None].detach().requires_grad_()
        squares.append(torch.autograd.grad(nets.critic(leaf).sum(), leaf, create_graph=True)[0].square().sum())
    losses["r1"] = 10 * sum(squares) / len(squares)
    g = draws("fake 0")
    z = torch.randn(len(images), 128, generator=g)
    x = nets.image(z)
    fake = look((x + reference_noise(nets, model, dataset, x, z, g)[0]).clamp(-1, 1)).detach()
    losses["fake"] = -torch.log(1 - torch.sigmoid(nets.critic(fake))).mean()
    parameters = list(nets.critic.parameters())
    gradients = torch.autograd.grad(losses["real"] + losses["fake"] + losses["r1"], parameters)
    losses[CRITIC_NORM] = torch.cat([g.flatten() for g in gradients]).square().sum().sqrt()
    for p, new in zip(parameters, adam(parameters, list(gradients), LR), strict=True):
        p.data.copy_(new)
    return losses


CASES = [(model, DATA_OF.get(model, "cifar10ag25")) for model in MODELS]
CASES += [("sdnrgan1", "cifar10p30"), ("ambientgan", "cifar10pg30_5"), ("sinrgan2", "sensor")]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("model", "dataset"), CASES)
def test_a_step_is_the_published_one(model: str, dataset: str, first: bool) -> None:
    ours = networks_of(model, dataset).double()
    reference = copy.deepcopy(ours)
    start = copy.deepcopy(ours.state_dict())
    images = torch.rand(4, 3, 32, 32, generator=stream(0, "images"))
    settings = StepSettings(model_average_beta=BETA, antialias=FAMILIES[dataset].antialias, lambda_start=LAMBDA_START)
    draws = partial(stream, 0, "step")
    torch.set_default_dtype(torch.float64)  # Adam's first step, g / |g|, would amplify rounding
    try:
        found = train_step(
            ours, build_optimisers(ours, betas=BETAS), [images.double()], settings, draws=draws, first=first
        )
        expected = reference_step(reference, model, dataset, images.double(), draws, first)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value.detach(), rtol=1e-9, atol=1e-12)
    moved = {"critic": False, "image.": first, "image_average": first}  # part -> whether it must stand still
    for part, still in moved.items():
        assert all(torch.equal(v, start[k]) for k, v in ours.state_dict().items() if k.startswith(part)) == still
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=0, atol=1e-7, msg=name)
    assert all(p.requires_grad for p in ours.critic.parameters())


def test_the_published_settings_have_an_effect() -> None:
    images = [torch.rand(4, 3, 32, 32, generator=stream(0, "images", k)) for k in range(2)]
    base = StepSettings()
    changes: list[dict[str, Any]] = [
        {"lambda_r1": 0.0}, {"lambda_ds": 0.5}, {"clip": False}, {"bfloat16": True}, {"num_critic": 2},
        {"g_bs_multiple": 1}, {"model_average_beta": 0.5},
    ]  # fmt: skip
    seen = []
    for change in [{}, *changes]:
        settings, nets = dataclasses.replace(base, **change), networks_of("sinrgan1")
        train_step(
            nets, build_optimisers(nets, betas=BETAS), images[: settings.num_critic], settings, draws=partial(stream, 0)
        )
        seen.append(torch.cat([p.detach().flatten() for p in nets.parameters()]))
    assert all(not torch.equal(seen[0], other) for other in seen[1:])


def test_bfloat16_stays_close() -> None:
    images = torch.rand(8, 3, 32, 32, generator=stream(0, "images"))
    losses = []
    for bfloat16 in (False, True):
        nets = networks_of("sinrgan1")
        settings = StepSettings(bfloat16=bfloat16)
        losses.append(
            train_step(nets, build_optimisers(nets, betas=BETAS), [images], settings, draws=partial(stream, 0))
        )
    assert all(abs(float(losses[0][k] / losses[1][k]) - 1) < 0.02 for k in losses[0])


def test_losses_in_closed_form() -> None:
    weights = torch.randn(3, 4, 4, generator=stream(0, "w"))
    images = torch.rand(5, 3, 4, 4, generator=stream(0, "x")).requires_grad_()
    assert float(squared_slope((images * weights).sum((1, 2, 3)), images).detach()) == pytest.approx(
        float(weights.square().sum())
    )
    noise = torch.tensor([1.0, 5.0, 2.0, 2.0])[:, None, None, None].expand(-1, 3, 2, 2)
    latent = torch.tensor([[0.0, 0.0], [0.0, 4.0], [1.0, 1.0], [0.0, 0.0]])
    assert float(diversity(noise, latent)) == pytest.approx(-(1 / 1 + 3 / 2) / 2)


# Each model's noise.


def test_images_map_to_the_networks_range() -> None:
    images = torch.tensor([0.0, 0.5, 1.0])[:, None, None, None].expand(-1, 3, 64, 64)
    mapped = to_network(images, generator=stream(0, "place"))
    low = 2 * (images * 255 / 256 - 0.5)
    assert bool((mapped >= low).all()) and bool((mapped <= low + 1 / 128 + 1e-6).all())
    place = (mapped - low) * 128
    assert abs(float(place.mean()) - 0.5) < 5 * math.sqrt(1 / 12 / place.numel())
    assert abs(float(place.var()) - 1 / 12) < 5 * math.sqrt(1 / 180 / place.numel())
    assert float((to_unit(mapped).mean((1, 2, 3)) - images[:, 0, 0, 0]).abs().max()) < 1 / 512 + 1e-4


@pytest.mark.parametrize("transform", [rotate, shuffle_channels, flip_signs])
def test_transforms_are_uniform_over_what_leaves_the_law_alone(transform) -> None:
    count = 4000
    one = torch.arange(1.0, 13.0).view(1, 3, 2, 2)
    results = transform(one.expand(count, -1, -1, -1), stream(0, transform.__name__), ALONE)
    kinds, times = results.flatten(1).unique(dim=0, return_counts=True)
    expected = {"rotate": 4, "shuffle_channels": 6, "flip_signs": 8}[transform.__name__]
    assert len(kinds) == expected
    share = 1 / expected
    assert float((times / count - share).abs().max()) < 5 * math.sqrt(share * (1 - share) / count)
    assert torch.equal(kinds.abs().sort(dim=1).values, one.flatten(1).expand(expected, -1))


@pytest.mark.parametrize(("dataset", "std"), [("cifar10mg25", lambda x: 2 * x), ("cifar10p30", lambda x: 2 * x.sqrt())])
def test_sdnrgan1_scales_with_the_signal(dataset: str, std) -> None:
    noise = build_noise(settings_of("sdnrgan1", dataset), seed=0)
    light = torch.tensor([0.0, 0.25, 1.0])
    clean = (2 * light - 1)[None, :, None, None].expand(64, -1, 32, 32).clone().requires_grad_()
    made = noise.measure(clean, generator=stream(0, "n"))
    amount = noise.network(torch.randn(64, 128, generator=stream(0, "n"))).detach()
    ratio = made.noise.detach() / amount / std(light)[:, None, None]
    for channel in (1, 2):
        values = ratio[:, channel][amount[:, channel] != 0]
        assert abs(float(values.var()) - 1) < 5 * math.sqrt(2 / len(values))
    assert not made.noise[:, 0].any()
    assert torch.equal(torch.autograd.grad(made.noisy.sum(), clean)[0], torch.ones_like(clean))  # x is detached


def test_ambientgan_adds_the_familys_noise() -> None:
    clean = torch.zeros(32, 3, 32, 32)
    noise = build_noise(settings_of("ambientgan", "cifar10ag25"), seed=0).measure(clean, generator=stream(0, "n")).noise
    expected = (25 / 256 * 2) ** 2
    assert abs(float(noise.var()) / expected - 1) < 5 * math.sqrt(2 / noise.numel())


@pytest.mark.parametrize("per_image", [True, False])
def test_physnrgan_has_the_sensors_variance_and_gradients(per_image: bool) -> None:
    nets = networks_of("physnrgan", noiselist="shot_read_row1", per_image=per_image)
    prior = nets.noise.prior
    if prior.head is not None:
        prior.head[2].weight.data.zero_()
    table = {p.name: p.value for p in prior.physical.parameters_table()}
    clean = torch.full((48, 3, 32, 32), 0.5)
    made = nets.noise.measure(clean, generator=stream(0, "n"))
    rows = made.noise.mean((1, 3))  # one draw per row for all channels
    white = made.noise - rows[:, None, :, None]
    scale = (2 * 255 / 256) ** 2
    expected = (table["shot.gain"] * 0.75 + table["read.std"] ** 2) * scale
    assert abs(float(white.detach().var()) / (expected * (1 - 1 / 96)) - 1) < 5 * math.sqrt(2 / white.numel())
    line = table["row1.std"] ** 2 * scale + expected / 96
    assert abs(float(rows.detach().var()) / line - 1) < 5 * math.sqrt(2 / rows.numel())
    made.noise.square().mean().backward()
    assert all(leaf.grad is not None and bool(leaf.grad.any()) for leaf in prior.physical.parameters())
    assert made.scale is None  # no diversity term, which would make fixed amounts vary


def test_physnrgan_draws_each_image_from_its_own_amounts() -> None:
    nets = networks_of("physnrgan")
    nets.noise.prior.head[2].weight.data.normal_(std=0.5, generator=stream(0, "head"))
    values = nets.noise.prior.parameters_of(torch.randn(64, 128, generator=stream(0, "n")))
    made = nets.noise.measure(torch.zeros(64, 3, 32, 32), generator=stream(0, "n"))
    expected = (values["shot.gain"] / 2 + values["read.std"] ** 2) * (2 * 255 / 256) ** 2
    ratio = made.noise.square().mean((1, 2, 3)) / expected
    assert float(expected.detach().max() / expected.detach().min()) > 2
    assert float((ratio - 1).detach().abs().max()) < 5 * math.sqrt(2 / 3072)


def test_a_start_model_gives_its_parameters() -> None:
    base = PhysicalNoise.from_noiselist("shot_read", layout="planes", shot_gain=0.02, read_std=0.05)
    base.fix("read.std=0.05")
    prior = build_noise(settings_of("physnrgan", start=base), seed=0).prior
    assert prior.varying == ["shot.gain"]
    spread = prior.spread(generator=stream(0, "spread"))
    assert spread["shot.gain"].tolist() == pytest.approx([0.02] * 3)


def test_models_that_do_not_fit_are_refused_with_those_that_do() -> None:
    for dataset, row in FAMILIES.items():
        for model in MODELS:
            if model == "sdnrgan1" and row.relation in ("none", "independent"):
                with pytest.raises(InputError, match="models that fit: gan, ambientgan, sinrgan1") as error:
                    check_model(dataset, model)
                assert "sdnrgan1" not in str(error.value).split("that fit")[1] and "\n" not in str(error.value)
            else:
                build_noise(settings_of(model, dataset), seed=0)
    for words, part in ((("cifar11", "gan"), "unknown data set"), (("cifar10", "ngan"), "unknown model")):
        with pytest.raises(InputError, match=f"{part}.*known: "):
            check_model(*words)
    mosaic = PhysicalNoise.from_noiselist("shot_read", layout="mosaic")
    planes = PhysicalNoise.from_noiselist("shot_read", layout="planes")
    for start, noiselist, part in ((mosaic, None, "layout 'planes'"), (planes, "read", "leave one")):
        with pytest.raises(InputError, match=part):
            build_noise(settings_of("physnrgan", start=start, noiselist=noiselist), seed=0)


# Many processes equal one.


@pytest.mark.parametrize("model", ["ambientgan", "sinrgan2", "sdnrgan2", "physnrgan"])
def test_two_halves_average_to_the_whole(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of two shares average to those of one process: diversity over the global batch, rows of its draws."""
    images = torch.rand(4, 3, 32, 32, generator=stream(0, "images"))
    antialias = FAMILIES[settings_of(model).dataset].antialias
    settings = StepSettings(lambda_ds=5.0, antialias=antialias)
    noises: dict[int, Tensor] = {}

    def gradients(share: Share) -> list[Tensor]:
        nets = networks_of(model)
        kept: list[Tensor] = []

        def keep(optimiser: Any, loss: Tensor, parameters: Any, _: Share) -> Tensor:
            optimiser.zero_grad()
            loss.backward()
            kept.extend(p.grad.clone() for p in parameters)
            return loss.new_zeros(())

        monkeypatch.setattr(nrgan.step, "optimise", keep)
        rows = share.rows(len(images) // share.world)
        train_step(
            nets, build_optimisers(nets, betas=BETAS), [images[rows]], settings, draws=partial(stream, 0), share=share
        )
        return kept

    def gather(share: Share, mine: Tensor) -> Tensor:
        if share.world == 1:
            noises[mine.ndim] = mine.detach()
            return mine
        rows, whole = share.rows(len(mine)), noises[mine.ndim] if mine.ndim == 4 else noises[2]
        torch.testing.assert_close(mine.detach(), whole[rows], rtol=1e-4, atol=1e-5)
        return torch.cat([whole[: rows.start], mine, whole[rows.stop :]])

    if model != "physnrgan":  # its two gathered tensors have the same number of axes
        monkeypatch.setattr(Share, "gather", gather)
    else:
        settings = dataclasses.replace(settings, lambda_ds=0.0)
    whole = gradients(ALONE)
    halves = [gradients(Share(rank, 2)) for rank in range(2)]
    for one, *parts in zip(whole, *halves, strict=True):
        torch.testing.assert_close(sum(parts) / 2, one, rtol=1e-3, atol=1e-4 * float(one.abs().max()) + 1e-7)


def test_averages_move_by_the_published_share() -> None:
    nets = networks_of("sinrgan1")
    before, now = ([t.clone() for t in part] for part in nets.averages())
    nrgan.step.update_averages(nets, 0.75)
    for average, old, weight in zip(nets.averages()[0], before, now, strict=True):
        torch.testing.assert_close(average, 0.75 * old + 0.25 * weight)


def test_optimisers_hold_every_weight_once() -> None:
    for model in MODELS:
        nets = networks_of(model)
        optimisers = Optimisers(*build_optimisers(nets, betas=BETAS))
        held = [p for optimiser in optimisers for group in optimiser.param_groups for p in group["params"]]
        assert len({id(p) for p in held}) == len(held) == sum(p.requires_grad for p in nets.parameters())
    assert isinstance(nets.image, ImageGenerator) and isinstance(nets.critic, Critic)
