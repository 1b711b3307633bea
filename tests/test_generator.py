"""NoiseGenerator: physics plus a network that starts as the identity."""

import itertools
from typing import Any

import noise_checks as checks
import pytest
import torch
from torch import Tensor

from noisemodel import InputError, Levels, NoiseGenerator, PhysicalNoise, stream
from noisemodel.generator import NETWORKS, UNET_OPTS
from noisemodel.networks import ACTIVATIONS, DOWN, UP, Unet, UnetOptions, reflect_to_multiple

WITH_UNET = tuple(kind for kind in NETWORKS if kind != "noUnet")
every_network = pytest.mark.parametrize("network", NETWORKS)
every_unet = pytest.mark.parametrize("network", WITH_UNET)


def generator_of(network: str, *, channels: int = 4, levels: Levels | None = None, **options: Any) -> NoiseGenerator:
    physical = PhysicalNoise.from_noiselist(
        "shot_read_row1",
        layout="mosaic" if channels == 4 else "planes", levels=levels, shot_gain=0.004, read_std=0.01, row1_std=0.005,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return NoiseGenerator(physical, network, channels=channels, unet_width=2, **options)


def perturb(model: NoiseGenerator, size: float = 0.05) -> NoiseGenerator:
    """Move every weight of the network, the last convolution's too, by the same numbers for the same shapes."""
    if model.network is not None:
        with torch.no_grad():
            for i, weight in enumerate(model.network.parameters()):
                weight.add_(size * torch.randn(weight.shape, generator=stream(0, "perturb", i)))
    return model


def measured(model: NoiseGenerator, clean: Tensor) -> Tensor:
    with torch.no_grad():
        return model.measure(clean, generator=stream(0, "noise"), origin=(2, 4)).noisy


SIZES = ((1, 1), (1, 7), (7, 9), (16, 16), (33, 20))


@every_network
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("burst", (False, True))
def test_every_network_starts_as_the_identity(network: str, size: tuple[int, int], burst: bool) -> None:
    model, plain = generator_of(network), generator_of("noUnet")
    clean = torch.rand((2, 3, 4, *size) if burst else (2, 4, *size), generator=stream(0, "clean")) - 0.1
    measurement = model.measure(clean, generator=stream(0, "noise"), origin=(2, 4))
    assert torch.equal(measurement.noisy.detach(), measured(plain, clean))
    torch.testing.assert_close(measurement.noise, measurement.noisy - clean, rtol=0, atol=1e-6)
    simulated = model.simulate(clean, generator=stream(1, "noise"), origin=(2, 4))
    assert torch.equal(simulated, plain.simulate(clean, generator=stream(1, "noise"), origin=(2, 4)))


@every_network
@pytest.mark.parametrize("channels", (1, 3))
def test_mono_and_colour(network: str, channels: int) -> None:
    model = perturb(generator_of(network, channels=channels))
    clean = torch.full((2, channels, 9, 11), 0.4)
    assert measured(model, clean).shape == clean.shape
    if network != "noUnet":
        with pytest.raises(InputError, match=f"{channels} planes"):
            measured(model, torch.full((2, channels + 1, 9, 11), 0.4))


@every_unet
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_trained_network_does_something_at_any_size(network: str, size: tuple[int, int]) -> None:
    model, clean = perturb(generator_of(network)), torch.full((2, 4, *size), 0.4)
    noisy = measured(model, clean)
    assert noisy.shape == clean.shape and bool(torch.isfinite(noisy).all())
    assert not torch.allclose(noisy, measured(generator_of("noUnet"), clean))


@every_unet
def test_frames_of_a_burst_pass_one_by_one(network: str) -> None:
    model = perturb(generator_of(network))
    clean, noisy = (torch.rand((2, 3, 4, 7, 9), generator=stream(0, name)) for name in ("clean", "noisy"))
    of_burst = model.after(model.before(clean), noisy)
    for t in range(3):
        of_frame = model.after(model.before(clean[:, t]), noisy[:, t])
        torch.testing.assert_close(of_burst[:, t], of_frame)


def test_what_each_network_sees() -> None:
    """Unet: the noisy image; Unet_cat: also the clean one; Unet_first: only the clean one."""
    clean, noisy, other = (torch.rand((1, 4, 7, 9), generator=stream(0, name)) for name in ("clean", "noisy", "other"))
    kinds = {network: perturb(generator_of(network)) for network in NETWORKS}
    assert torch.equal(kinds["noUnet"].after(clean, noisy), noisy)
    assert torch.equal(kinds["Unet"].after(clean, noisy), kinds["Unet"].after(other, noisy))
    assert not torch.allclose(kinds["Unet_cat"].after(clean, noisy), kinds["Unet_cat"].after(other, noisy))
    assert torch.equal(kinds["Unet_first"].after(clean, noisy), noisy)
    for network, model in kinds.items():
        assert torch.equal(model.before(clean), clean) == (network != "Unet_first")


@every_unet
def test_physical_noise_follows_the_corrected_signal(network: str) -> None:
    """noise is noisy - clean; with Unet_first the shot noise is that of the corrected signal."""
    model = generator_of(network)
    assert model.network is not None
    with torch.no_grad():
        assert model.network.leave.bias is not None
        model.network.leave.bias.fill_(0.5)
    clean = torch.zeros(200, 4, 8, 8)
    measurement = model.measure(clean, generator=stream(0, "shifted"))
    noise = measurement.noise.detach() - 0.5
    shot = 0.004 * 0.5 if network == "Unet_first" else 0.0
    checks.check_row_structure(noise.view(-1, 8)[::7], shot + 0.01**2, 0.005**2, network)


@every_network
def test_gradients_reach_the_network_and_the_physics(network: str) -> None:
    model = perturb(generator_of(network))
    clean = torch.tensor([-0.1, 0.0, 0.5]).view(3, 1, 1, 1).repeat(1, 4, 9, 10).requires_grad_()
    model.measure(clean, generator=stream(0, "gradient")).noisy.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and bool(torch.isfinite(parameter.grad).all()), name
        assert bool(parameter.grad.any()), name
    assert clean.grad is not None and bool(torch.isfinite(clean.grad).all())


@every_unet
def test_the_first_step_moves_the_last_convolution(network: str) -> None:
    """A zero last convolution still gets a gradient, or training would never start."""
    model = generator_of(network)
    assert model.network is not None
    noisy = model.measure(torch.full((2, 4, 16, 16), 0.5), generator=stream(0, "start")).noisy
    noisy.square().sum().backward()
    gradient = model.network.leave.weight.grad
    assert gradient is not None and bool(gradient.any())


@every_network
def test_training_and_evaluation_are_the_same(network: str) -> None:
    model, clean = perturb(generator_of(network)), torch.full((2, 4, 9, 10), 0.4)
    assert torch.equal(measured(model.train(), clean), measured(model.eval(), clean))


@every_network
def test_parts_and_network_sum_to_the_noise(network: str) -> None:
    model, clean = perturb(generator_of(network)), torch.full((400, 4, 6, 6), 0.4)
    with torch.no_grad():
        parts = model.parts(clean, generator=stream(0, "parts"))
        expected = model.measure(clean, generator=stream(1, "measure")).noise
    words = ["shot", "read", "row1"] + (["network"] if network != "noUnet" else [])
    assert list(parts) == words
    total = sum(parts.values(), torch.zeros_like(clean)).flatten(1)
    difference = total.mean(0) - expected.flatten(1).mean(0)
    se = ((total.var(0) + expected.flatten(1).var(0)) / 400).sqrt()
    assert bool((difference.abs() <= 5 * se).all())
    for a, b in ((total, expected.flatten(1)), (expected.flatten(1), total)):
        squares = (a - a.mean(0)).square(), (b - b.mean(0)).square()
        se = (sum(s.var(0) for s in squares) / 400).sqrt()  # type: ignore[union-attr]
        assert bool(((squares[0].mean(0) - squares[1].mean(0)).abs() <= 5 * se).all())


# Moments.


@every_network
def test_moments(network: str) -> None:
    """The identity's moments by Monte Carlo are those of the physics in closed form."""
    model, clean = generator_of(network), torch.linspace(-0.1, 0.9, 4).view(1, 4, 1, 1).repeat(1, 1, 4, 5)
    draws = 600
    mean, variance = model.moments(clean, draws, stream(0, "moments"))
    expected = model.physical.variance(clean)
    if network == "noUnet":
        assert torch.equal(variance, expected.detach()) and not mean.any()
        return
    assert bool((mean.abs() <= 5 * (expected / draws).sqrt()).all())
    assert bool(((variance - expected).abs() <= 5 * expected * (2 / (draws - 1)) ** 0.5).all())
    assert not mean.requires_grad and not variance.requires_grad


def test_moments_of_a_network_that_shifts() -> None:
    model, clean = generator_of("Unet"), torch.full((1, 4, 3, 3), 0.4)
    assert model.network is not None and model.network.leave.bias is not None
    with torch.no_grad():
        model.network.leave.bias.fill_(100.0)
    mean, variance = model.moments(clean, 500, stream(0, "shift"))
    expected = model.physical.variance(clean).detach()
    assert bool(((mean - 100).abs() <= 5 * (expected / 500).sqrt() + 1e-4).all())
    assert bool(((variance - expected).abs() <= 5 * expected * (2 / 499) ** 0.5).all())
    with pytest.raises(InputError, match="2 draws"):
        model.moments(clean, 1, stream(0, "one"))


@every_network
def test_simulate_rounds_and_clips_at_the_end(network: str) -> None:
    model = perturb(generator_of(network, levels=Levels(64, 1023)))
    clean = torch.linspace(-0.2, 1.2, 64).view(1, 1, 8, 8).repeat(2, 4, 1, 1)
    recorded = model.simulate(clean, generator=stream(0, "dn"))
    dn = recorded.double() * 959 + 64
    assert float((dn - dn.round()).abs().max()) < 1e-3
    assert float(dn.min()) >= -1e-3 and float(dn.max()) <= 1023.001


# Options.


def test_every_option_builds_another_network() -> None:
    """Perturbed by the same numbers, no two of the 90 choices do the same."""
    clean = torch.rand((1, 4, 16, 16), generator=stream(0, "clean"))
    outputs = []
    for residual, down, up, activation in itertools.product(("True", "False"), DOWN, UP, ACTIVATIONS):
        options = UnetOptions.parse(f"residual{residual}_{down}_{up}_{activation}")
        assert options == UnetOptions(residual == "True", down, up, activation)
        network = Unet(4, 4, options=options, width=2)
        with torch.no_grad():
            for weight in network.parameters():
                weight.copy_(0.5 * torch.randn(weight.shape, generator=stream(0, "same", *weight.shape)))
            outputs.append(network(clean).flatten())
    apart = torch.cdist(torch.stack(outputs), torch.stack(outputs)) + torch.eye(len(outputs)) * 1e9
    assert len(outputs) == 90 and float(apart.min()) > 1e-4


@pytest.mark.parametrize(
    "options",
    [
        "", "residualFalse", "residualFalse_conv_tconv", "residualFalse_conv_tconv_selu_selu",
        "residual_conv_tconv_selu",
        "residualFalse_tconv_conv_selu", "residualfalse_conv_tconv_selu", "residualFalse_conv_tconv_swish", "___",
        "residualFalse_conv_tconv_selu_", "False_conv_tconv_selu",
    ],
)  # fmt: skip
def test_wrong_options_are_answered_with_the_choices(options: str) -> None:
    with pytest.raises(InputError) as error:
        generator_of("Unet", unet_opts=options)
    for choice in ("True|False", *DOWN, *UP, *ACTIVATIONS):
        assert choice in str(error.value)


def test_wrong_options_are_refused_without_a_network_too() -> None:
    with pytest.raises(InputError, match="unet_opts"):
        generator_of("noUnet", unet_opts="residualMaybe")


def test_unknown_network_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="noUnet, Unet, Unet_cat, Unet_first"):
        generator_of("unet")


def test_the_default_options_are_readable() -> None:
    assert UnetOptions.parse(UNET_OPTS) == UnetOptions(False, "conv", "tconv", "selu")


# Any size.


@pytest.mark.parametrize("size", (1, 2, 3, 5, 15, 16, 17, 31, 33))
def test_padding_reflects(size: int) -> None:
    """0 1 2 3 4 -> 0 1 2 3 4 3 2 1 0 1 2 ..., however small the image."""
    x = torch.arange(size).float().view(1, 1, 1, size)
    padded = reflect_to_multiple(x, 16)[0, 0]
    assert padded.shape == (16, -(-size // 16) * 16)
    period = list(range(size)) + list(range(size - 2, 0, -1))
    assert padded[0].tolist() == [period[i % len(period)] for i in range(padded.shape[1])]


@every_unet
def test_size_does_not_move_the_image(network: str) -> None:
    """Far from the border, an image and its part of 16 n pixels are corrected alike: no shift by the padding."""
    model = perturb(generator_of(network, unet_opts="residualFalse_avgpool_nearest_relu"))
    clean = torch.rand((1, 4, 33, 45), generator=stream(0, "clean"))
    whole = model.after(model.before(clean), clean)
    changed = clean.clone()
    changed[..., 20, 30] += 1.0
    moved = (model.after(model.before(changed), changed) - whole).abs().sum((0, 1))
    if network != "Unet_first":
        assert divmod(int(moved.argmax()), 45) == (20, 30)
