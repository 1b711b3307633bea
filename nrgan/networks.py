"""NR-GAN's networks: a ResNet that makes images, and one that judges them (Kaneko & Harada 2020)."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from noisemodel.errors import InputError

LATENT = 128  # numbers in z_x and in z_n
SIZES = (32, 64, 128)
RESIDUAL = 0.1  # weight of a residual branch
UP_BLOCKS = 3


def spread(weight: Tensor) -> Tensor:
    """w * [[1, 1], [1, 1]], the full convolution of 3x3 kernels with a 2x2 box: (O, I, 3, 3) -> (O, I, 4, 4)."""
    wide = functional.pad(weight, (0, 1)) + functional.pad(weight, (1, 0))
    return functional.pad(wide, (0, 0, 0, 1)) + functional.pad(wide, (0, 0, 1, 0))


def up_then_conv(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """conv(nearest(x)): (N, I, H, W) -> (N, O, 2H, 2W), as published."""
    return conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


def conv_then_pool(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Mean of conv(x) over 2x2 pixels: (N, I, 2H, 2W) -> (N, O, H, W), as published."""
    return functional.avg_pool2d(conv(x), 2)


def up_conv(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """`up_then_conv` as one transposed convolution, with 4 products per input pixel and output pixel instead of 9.

    Each new pixel sees 2x2 old ones; those that nearest-neighbour upsampling repeats share the sum of their weights. A
    1x1 kernel commutes with upsampling, and so goes first.
    """
    if conv.kernel_size == (1, 1):
        return functional.interpolate(conv(x), scale_factor=2.0, mode="nearest")
    kernel = spread(conv.weight).flip(2, 3).transpose(0, 1)  # (I, O, 4, 4)
    return functional.conv_transpose2d(x, kernel, conv.bias, stride=2, padding=1)


def conv_pool(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """`conv_then_pool` as one 4x4 convolution of stride 2: 16 products per output pixel instead of 36.

    A 1x1 kernel commutes with the mean, and so goes last.
    """
    if conv.kernel_size == (1, 1):
        return conv(functional.avg_pool2d(x, 2))
    return functional.conv2d(x, spread(conv.weight) / 4, conv.bias, stride=2, padding=1)


def plain_conv(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """conv(x)."""
    return conv(x)


Resample = Callable[[Tensor, nn.Conv2d], Tensor]


class Order(NamedTuple):
    """In what order of operations a convolution is resampled; the result is the same."""

    up: Resample
    down: Resample


ORDERS = {"fast": Order(up_conv, conv_pool), "published": Order(up_then_conv, conv_then_pool)}


class Block(nn.Module):
    """shortcut(x) + 0.1 conv2(relu(conv1(relu(x)))), up-, down- or not resampled.

    Args:
        inputs, outputs: channels.
        first: how conv1 is applied.
        second: how conv2 is applied.
        shortcut: how the 1x1 convolution of the shortcut is applied; None passes x on as it is.
        bare: the input is an image: no relu before conv1.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        first: Resample = plain_conv,
        second: Resample = plain_conv,
        shortcut: Resample | None = None,
        bare: bool = False,
    ) -> None:
        """Two 3x3 convolutions, and one of 1x1 where there is a ``shortcut``."""
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = None if shortcut is None else nn.Conv2d(inputs, outputs, 1)
        self.first, self.second, self.shortcut, self.bare = first, second, shortcut, bare

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H', W')."""
        beside = x if self.conv_shortcut is None or self.shortcut is None else self.shortcut(x, self.conv_shortcut)
        inner = self.first(x if self.bare else x.relu(), self.conv1)
        return torch.add(beside, self.second(inner.relu(), self.conv2), alpha=RESIDUAL)


class ImageGenerator(nn.Module):
    """z -> tanh(conv(relu(up(up(up(linear(z))))))): G_x and G_n, in [-1, 1].

    Args:
        latent: numbers in z (128; 256 where it is [z_x, z_n]).
        size: height and width of the image, 32, 64 or 128.
        planes: channels of the image.
        channels: channels inside; 128 with a latent of 128 make 1,202,691 parameters.
        order: a row of `ORDERS`.
        generator: draws the start weights.
    Raises: InputError for another size.
    """

    def __init__(
        self,
        latent: int = LATENT,
        *,
        size: int = 32,
        planes: int = 3,
        channels: int = 128,
        order: str = "fast",
        generator: torch.Generator,
    ) -> None:
        """Build and initialise."""
        super().__init__()
        if size not in SIZES:
            raise InputError(f"images are {', '.join(map(str, SIZES))} pixels high and wide, got {size}; cut or resize")
        if min(latent, planes, channels) < 1:
            raise InputError(f"a network needs at least 1 of each: latent {latent}, planes {planes}, width {channels}")
        up = ORDERS[order].up
        self.latent, self.start = latent, (channels, size >> UP_BLOCKS, size >> UP_BLOCKS)
        self.linear1 = nn.Linear(latent, math.prod(self.start))
        self.block2, self.block3, self.block4 = (
            Block(channels, channels, first=up, shortcut=up) for _ in range(UP_BLOCKS)
        )
        self.conv5 = nn.Conv2d(channels, planes, 3, padding=1)
        initialise(self, generator=generator)

    def forward(self, z: Tensor) -> Tensor:
        """(N, latent) -> (N, planes, size, size) in [-1, 1], at least float32 whatever the inner precision."""
        x = self.linear1(z).unflatten(1, self.start).contiguous(memory_format=torch.channels_last)
        x = self.block4(self.block3(self.block2(x)))
        return at_least_float32(self.conv5(x.relu())).tanh()


class Critic(nn.Module):
    """linear(mean over pixels(relu(four residual blocks, the first two halving))): one logit per image, real > 0.

    Args:
        planes: channels of what it sees: 3, or 6 with the anti-aliased input.
        channels: channels inside; 128 with 3 planes make 1,053,825 parameters.
        order: a row of `ORDERS`.
        generator: draws the start weights.
    """

    def __init__(
        self, planes: int = 3, *, channels: int = 128, order: str = "fast", generator: torch.Generator
    ) -> None:
        """Build and initialise."""
        super().__init__()
        down = ORDERS[order].down
        self.block1 = Block(planes, channels, second=down, shortcut=down, bare=True)
        self.block2 = Block(channels, channels, second=down, shortcut=down)
        self.block3, self.block4 = Block(channels, channels), Block(channels, channels)
        self.linear5 = nn.Linear(channels, 1)
        initialise(self, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        """(N, planes, H, W) -> (N,) logits, at least float32 whatever the inner precision."""
        x = images.contiguous(memory_format=torch.channels_last)
        x = self.block4(self.block3(self.block2(self.block1(x))))
        return at_least_float32(self.linear5(x.relu().mean(dim=(2, 3))).squeeze(1))


def at_least_float32(values: Tensor) -> Tensor:
    """What autocast computed in half precision, as float32; other types as they are."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


@torch.no_grad()
def initialise(network: nn.Module, *, generator: torch.Generator) -> None:
    """Xavier uniform weights, U(-a, a) with a = gain sqrt(6 / (fan in + fan out)); zero biases.

    The gain is sqrt(2) inside residual branches (``conv1``, ``conv2``), else 1.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            inside = name.endswith((".conv1", ".conv2"))
            nn.init.xavier_uniform_(module.weight, gain=math.sqrt(2) if inside else 1.0, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
