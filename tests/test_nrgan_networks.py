"""NR-GAN's networks: parameter counts, start weights, and the fast order of operations against the published one."""

import copy
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from noisemodel import InputError, stream
from nrgan.networks import ORDERS, Critic, ImageGenerator, conv_pool, conv_then_pool, up_conv, up_then_conv

LEGACY = Path(__file__).parents[2] / "shared/data/legacy/nrgan/sinrgan1"


def draws(name: str = "weights") -> torch.Generator:
    return stream(0, name)


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("latent", "expected"), [(128, 1_202_691), (256, 1_464_835)])
def test_generator_has_the_published_number_of_parameters(latent: int, expected: int) -> None:
    assert count(ImageGenerator(latent, generator=draws())) == expected


@pytest.mark.parametrize(("planes", "expected"), [(3, 1_053_825), (6, 1_057_665)])
def test_critic_has_the_published_number_of_parameters(planes: int, expected: int) -> None:
    assert count(Critic(planes, generator=draws())) == expected


def test_start_weights_are_xavier_uniform() -> None:
    found = {"gain 1": [], "gain sqrt 2": []}  # type: dict[str, list[Tensor]]
    for network in (ImageGenerator(channels=32, generator=draws()), Critic(6, channels=32, generator=draws("critic"))):
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                assert module.bias is not None and not module.bias.any()
                fans = nn.init._calculate_fan_in_and_fan_out(module.weight)
                inside = "conv1" in name or "conv2" in name
                limit = math.sqrt((12 if inside else 6) / sum(fans))
                found["gain sqrt 2" if inside else "gain 1"].append((module.weight / limit).flatten())
    for values in (torch.cat(parts).detach() for parts in found.values()):
        assert values.abs().max() <= 1
        assert abs(float(values.square().mean()) - 1 / 3) < 5 * math.sqrt(4 / 45 / len(values))  # var of u^2
        assert abs(float(values.mean())) < 5 * math.sqrt(1 / 3 / len(values))


def test_start_weights_are_drawn_from_the_generator() -> None:
    one, same, other = (ImageGenerator(channels=8, generator=draws(name)).conv5.weight for name in "aab")
    assert torch.equal(one, same) and not torch.equal(one, other)


# Two orders of operations, one function.


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize(("fast", "published"), [(up_conv, up_then_conv), (conv_pool, conv_then_pool)])
def test_resampled_convolutions_are_equal_with_their_gradients(fast, published, kernel) -> None:
    conv = nn.Conv2d(3, 5, kernel, padding=kernel // 2).double()
    x = torch.randn(2, 3, 6, 10, dtype=torch.float64, generator=draws("x")).requires_grad_()
    leaves = [x, *conv.parameters()]
    results = []
    for order in (fast, published):
        out = order(x, conv)
        weight = torch.randn(out.shape, dtype=out.dtype, generator=draws("out"))
        results.append([out, *torch.autograd.grad((out * weight).sum(), leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_networks_of_both_orders_agree(size: int) -> None:
    z = torch.randn(3, 128, generator=draws("z"))
    images = torch.randn(3, 3, size, size, generator=draws("images"))
    for build, given in (
        (lambda order: ImageGenerator(size=size, channels=12, order=order, generator=draws()), z),
        (lambda order: Critic(channels=12, order=order, generator=draws()), images),
    ):
        outputs = []
        for order in ORDERS:
            network = build(order)
            with torch.no_grad():
                for parameter in network.parameters():  # biases and branches must matter
                    parameter.add_(0.1 * torch.randn(parameter.shape, generator=draws("shift")))
            outputs.append(network(given))
        assert float(outputs[0].detach().abs().max()) > 0.01
        torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-5)
    assert ImageGenerator(size=size, channels=8, generator=draws())(z).shape == (3, 3, size, size)


def plain_critic(critic: Critic, x: Tensor) -> Tensor:
    """The critic written out from its weights."""

    def conv(name: str, x: Tensor) -> Tensor:
        weight, bias = critic.get_parameter(f"{name}.weight"), critic.get_parameter(f"{name}.bias")
        return functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    def halve(x: Tensor) -> Tensor:
        return sum(x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4

    x = halve(conv("block1.conv_shortcut", x)) + 0.1 * halve(conv("block1.conv2", conv("block1.conv1", x).relu()))
    inner = conv("block2.conv2", conv("block2.conv1", x.relu()).relu())
    x = halve(conv("block2.conv_shortcut", x)) + 0.1 * halve(inner)
    for name in ("block3", "block4"):
        x = x + 0.1 * conv(f"{name}.conv2", conv(f"{name}.conv1", x.relu()).relu())
    return x.relu().mean((2, 3)) @ critic.linear5.weight[0] + critic.linear5.bias


def test_critic_and_its_slope_are_those_written_out() -> None:
    critic = Critic(6, channels=10, generator=draws()).double()
    x = torch.randn(4, 6, 32, 32, dtype=torch.float64, generator=draws("x")).requires_grad_()
    slopes = []
    for out in (critic(x), plain_critic(critic, x)):
        slope = torch.autograd.grad(out.sum(), x, create_graph=True)[0]
        second = torch.autograd.grad(slope.square().sum(), critic.block1.conv2.weight)[0]
        slopes.append((out, slope, second))
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_output_is_float32_where_the_inside_is_not() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        image = ImageGenerator(channels=8, generator=draws())(torch.randn(2, 128, generator=draws("z")))
        logits = Critic(channels=8, generator=draws())(image)
    assert image.dtype == logits.dtype == torch.float32 and logits.shape == (2,)


def test_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="images are 32, 64, 128 pixels high and wide, got 48"):
        ImageGenerator(size=48, generator=draws())


def test_a_copy_follows_its_own_weights() -> None:
    network = Critic(channels=4, generator=draws())
    twin = copy.deepcopy(network)
    with torch.no_grad():
        network.block1.conv1.weight.zero_()
    assert twin.block1.conv1.weight.any()


# The published program's own weights and outputs.


def legacy_state(name: str) -> dict[str, Tensor]:
    """Published weights, names without the wrappers' ``conv``."""
    found = torch.load(LEGACY / f"net{name}_iter_20.pth", weights_only=True)
    return {re.sub(r"(\.conv)+\.(weight|bias)$", r".\2", key): value for key, value in found.items()}


@pytest.mark.skipif(not LEGACY.is_dir(), reason="needs ../shared/data/legacy/nrgan")
def test_published_weights_give_published_outputs() -> None:
    with np.load(LEGACY / "reference.npz") as file:
        given = {name: torch.from_numpy(file[name]) for name in file.files}
    for name, key, expected in (("G", "z", "image"), ("Gn", "zn", "noise_std")):
        network = ImageGenerator(channels=16, generator=draws())
        network.load_state_dict(legacy_state(name))
        torch.testing.assert_close(network(given[key]), given[expected], rtol=0, atol=1e-5)
    critic = Critic(channels=16, generator=draws())
    critic.load_state_dict(legacy_state("D"))
    torch.testing.assert_close(critic(given["d_input"]), given["d_logit"], rtol=1e-4, atol=1e-5)
