"""A training step of sinrgan1 in the published order of operations beside ours: time, and equality of the losses.

python benchmarks/nrgan_step.py [--batch 64] [--channels 128] [--rounds 5] [--device cpu] [--compile]

The published order: separate critic passes for the real loss, R1 and the fake loss; the generators' graph kept in the
critic step; gradients of the critic's weights in the generators' step; upsampling by concatenation, pooling by strided
sums; plain float32 Adam and averages. It is frozen: it says what "times faster" refers to. Rounds are interleaved, so
that a busy machine slows all columns.
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import Tensor, nn
from torch.nn import functional

from noisemodel.streams import stream
from nrgan.models import NoiseSettings
from nrgan.networks import Critic, ImageGenerator
from nrgan.step import Networks, Optimisers, StepSettings, build_networks, build_optimisers, train_step
from nrgan.units import to_network

LATENT, R1, DS, BETA = 128, 10.0, 0.02, 0.999


def upsample(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    x = torch.cat((x, x, x, x), 1).permute(0, 2, 3, 1).contiguous().view(n, h, w, 2, 2, c)
    return x.permute(0, 5, 1, 3, 2, 4).contiguous().view(n, c, 2 * h, 2 * w)


def pool(x: Tensor) -> Tensor:
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


class PlainBlock(nn.Module):
    """Residual block, ``kind``: up, down, first (down from an image) or same."""

    def __init__(self, inputs: int, channels: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv1 = nn.Conv2d(inputs, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        if kind != "same":
            self.conv_shortcut = nn.Conv2d(inputs, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "up":
            return self.conv_shortcut(upsample(x)) + 0.1 * self.conv2(self.conv1(upsample(x.relu())).relu())
        if self.kind == "same":
            return x + 0.1 * self.conv2(self.conv1(x.relu()).relu())
        if self.kind == "first":
            return self.conv_shortcut(pool(x)) + 0.1 * pool(self.conv2(self.conv1(x).relu()))
        return pool(self.conv_shortcut(x)) + 0.1 * pool(self.conv2(self.conv1(x.relu()).relu()))


class PlainGenerator(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.linear1 = nn.Linear(LATENT, channels * 16)
        self.block2, self.block3, self.block4 = (PlainBlock(channels, channels, "up") for _ in range(3))
        self.conv5 = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.block4(self.block3(self.block2(self.linear1(z).view(-1, self.channels, 4, 4))))
        return self.conv5(x.relu()).tanh()


class PlainCritic(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block1, self.block2 = PlainBlock(3, channels, "first"), PlainBlock(channels, channels, "down")
        self.block3, self.block4 = (PlainBlock(channels, channels, "same") for _ in range(2))
        self.linear5 = nn.Linear(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block4(self.block3(self.block2(self.block1(x))))
        return self.linear5(x.relu().mean(3).mean(2)).squeeze()


class PlainStep:
    """The step as published, on copies of the weights of ``networks``."""

    def __init__(self, networks: Networks, channels: int, d_channels: int, device: torch.device) -> None:
        plain = PlainGenerator(channels), PlainGenerator(channels), PlainCritic(d_channels)
        weights = networks.image, networks.noise.network, networks.critic
        for module, source in zip(plain, weights, strict=True):
            assert isinstance(source, ImageGenerator | Critic)
            module.load_state_dict(source.state_dict())
            module.to(device)
        self.image, self.noise, self.critic = plain
        self.averages = copy.deepcopy(self.image), copy.deepcopy(self.noise)
        self.adams = [torch.optim.Adam(module.parameters(), lr=2e-4, betas=(0.0, 0.99)) for module in plain]

    def fake(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        z, zn = (torch.randn(count, LATENT, generator=generator, device=generator.device) for _ in range(2))
        x, std = self.image(z), self.noise(zn)
        n = std * torch.randn(x.shape, generator=generator, device=generator.device)
        return (x + n).clamp(-1, 1), n, zn

    def generators_step(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        fake, n, zn = self.fake(count, generator)
        logits = self.critic(fake)
        adversarial = functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
        half = count // 2
        far = [(v[:half] - v[half:]).abs().flatten(1).mean(1) for v in (n, zn)]
        diversity = -DS * (far[0] / (far[1] + 1e-12)).mean()
        for adam in self.adams[:2]:
            adam.zero_grad()
        (adversarial + diversity).backward()
        for adam in self.adams[:2]:
            adam.step()
        with torch.no_grad():
            for average, module in zip(self.averages, (self.image, self.noise), strict=True):
                for mean, value in zip(average.parameters(), module.parameters(), strict=True):
                    mean.copy_(BETA * mean + (1 - BETA) * value)
        return {"generator": adversarial.detach(), "diversity": diversity.detach()}

    def critic_step(self, real: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        logits = self.critic(real)
        real_loss = functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
        again = real.detach().requires_grad_(True)
        slope = torch.autograd.grad(self.critic(again).sum(), again, create_graph=True)[0]
        penalty = R1 * slope.flatten(1).square().sum(1).mean()
        logits = self.critic(self.fake(len(real), generator)[0].detach())
        fake_loss = functional.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits))
        self.adams[2].zero_grad()
        (real_loss + fake_loss + penalty).backward()
        self.adams[2].step()
        return {"real": real_loss.detach(), "fake": fake_loss.detach(), "r1": penalty.detach()}

    def __call__(self, images: Tensor, draws: Callable[[str], torch.Generator]) -> dict[str, Tensor]:
        losses = self.generators_step(2 * len(images), draws("generators"))
        real = to_network(images, generator=draws("real 0")).clamp(-1, 1)
        return losses | self.critic_step(real, draws("fake 0"))


def main() -> None:
    """Time all columns and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("batch", 64), ("channels", 128), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="compile G_x and G_n of ours too")
    asked = parser.parse_args()
    device = torch.device(asked.device)
    steps: dict[str, Callable[..., dict[str, Tensor]]] = {}
    settings = NoiseSettings("cifar10ag25", "sinrgan1", channels=asked.channels)
    start = build_networks(settings, d_channels=asked.channels, seed=0)
    steps["published"] = PlainStep(start, asked.channels, asked.channels, device)
    for name, bfloat16 in (("ours, float32", False), ("ours, bfloat16", True)):
        networks = copy.deepcopy(start).to(device)
        if asked.compile:
            for module in (networks.image, networks.noise.network):
                assert isinstance(module, nn.Module)
                module.compile()
        optimisers = build_optimisers(networks, betas=(0.0, 0.99))
        steps[name] = partial(our_step, networks, optimisers, StepSettings(bfloat16=bfloat16))
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    gaps: dict[str, float] = {}
    for k in range(asked.rounds + 1):  # the first warms up, and is where weights are still equal
        images = torch.rand((asked.batch, 3, 32, 32), generator=stream(0, "images", k)).to(device)
        losses = {}
        for name, step in steps.items():
            begin = time.perf_counter()
            losses[name] = {key: float(v) for key, v in step(images, partial(stream, 0, k, device=device)).items()}
            seconds[name].append(time.perf_counter() - begin)
            if k == 0:
                gaps[name] = max(abs(losses[name][key] / losses["published"][key] - 1) for key in losses["published"])
    plain = statistics.median(seconds["published"][1:])
    threads = f"{torch.get_num_threads()} threads, median of {asked.rounds} rounds"
    print(f"batch {asked.batch}, {asked.channels} channels, {device}, {threads}")
    print("| step | seconds | times faster | losses differ by (relative) |\n|---|---|---|---|")
    for name, found in seconds.items():
        median = statistics.median(found[1:])
        print(f"| {name} | {median:.3f} | {plain / median:.2f} | {gaps[name]:.1e} |")


def our_step(
    networks: Networks,
    optimisers: Optimisers,
    settings: StepSettings,
    images: Tensor,
    draws: Callable[[str], torch.Generator],
) -> dict[str, Tensor]:
    """`nrgan.step.train_step` on one batch."""
    return train_step(networks, optimisers, [images], settings, draws=draws)


if __name__ == "__main__":
    main()
