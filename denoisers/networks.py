"""Networks that denoise single images: the U-Net of Noise2Noise, and SRResNet without enlargement."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from denoisers.borders import pad_to_multiple
from noisemodel.errors import InputError

SLOPE = 0.1  # of LeakyReLU below 0
LEVELS = 5  # halvings of the U-Net
GROUPS = 8
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "group": lambda channels: nn.GroupNorm(math.gcd(channels, GROUPS), channels),
    "none": lambda _: nn.Identity(),
}


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """w ~ N(0, 2 / ((1 + slope^2) fan_in)), biases 0 (He 2015, eq. 15): every convolution of ``network``, in order."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, a=SLOPE, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _convs(inputs: int, *outputs: int) -> nn.Sequential:
    """3x3 convolutions, each with LeakyReLU."""
    parts: list[nn.Module] = []
    for channels in outputs:
        parts += [nn.Conv2d(inputs, channels, 3, padding=1), nn.LeakyReLU(SLOPE, inplace=True)]
        inputs = channels
    return nn.Sequential(*parts)


class UNet(nn.Module):
    """The U-Net of Lehtinen et al. 2018, table 2: five halvings, LeakyReLU 0.1, nearest upsampling, linear output.

    Args:
        channels: of the image.
        width: channels of the encoder (48 as published); the decoder has twice, and at the end 4/3 and 2/3 of it.
        generator: the weights are drawn from it.
    """

    def __init__(self, channels: int, width: int = 48, *, generator: torch.Generator) -> None:
        """Build encoder, decoder and output; draw the weights."""
        super().__init__()
        first = _convs(channels, width, width)
        self.encoder = nn.ModuleList([first, *(_convs(width, width) for _ in range(LEVELS - 1))])
        self.bottom = _convs(width, width)
        deep = _convs(2 * width, 2 * width, 2 * width)
        middle = (_convs(3 * width, 2 * width, 2 * width) for _ in range(LEVELS - 2))
        ends = -(-4 * width // 3), -(-2 * width // 3)
        self.decoder = nn.ModuleList([deep, *middle, _convs(2 * width + channels, *ends)])
        self.output = nn.Conv2d(ends[-1], channels, 3, padding=1)
        initialise(self, generator)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) of any size, reflected to a multiple of 32 and cropped back -> (N, C, H, W)."""
        x = pad_to_multiple(images, 2**LEVELS)
        skips = [x]
        for encode in self.encoder:
            x = functional.max_pool2d(encode(x), 2)
            skips.append(x)
        x = self.bottom(skips.pop())
        for decode in self.decoder:
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = decode(torch.cat([x, skips.pop()], dim=1))
        return self.output(x)[..., : images.shape[-2], : images.shape[-1]]


class _Residual(nn.Module):
    """x + norm(conv(PReLU(norm(conv(x)))))."""

    def __init__(self, width: int, norm: Callable[[int], nn.Module]) -> None:
        """Two 3x3 convolutions of ``width`` channels."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), norm(width), nn.PReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), norm(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) -> the same shape."""
        return x + self.body(x)


class SRResNet(nn.Module):
    """SRResNet (Ledig et al. 2017, figure 4) at constant size: 16 residual blocks of 64 features.

    Args:
        channels: of the image.
        width: features.
        blocks: residual blocks.
        norm: a row of `NORMS`; with "batch" the statistics differ between processes.
        generator: the weights are drawn from it.
    Raises: InputError for an unknown norm.
    """

    def __init__(
        self, channels: int, width: int = 64, blocks: int = 16, norm: str = "group", *, generator: torch.Generator
    ) -> None:
        """Build head, body and output; draw the weights."""
        super().__init__()
        if norm not in NORMS:
            raise InputError(f"unknown norm {norm!r}; known: {', '.join(NORMS)}")
        build = NORMS[norm]
        self.head = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.PReLU())
        last = (nn.Conv2d(width, width, 3, padding=1, bias=False), build(width))
        self.body = nn.Sequential(*(_Residual(width, build) for _ in range(blocks)), *last)
        self.output = nn.Conv2d(width, channels, 3, padding=1)
        initialise(self, generator)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) of any size -> (N, C, H, W)."""
        x = self.head(images)
        return self.output(x + self.body(x))
