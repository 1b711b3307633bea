"""NTGAN's networks: a generator that transfers an image to another noise level, and a critic of patches.

Zhao, Lun, Lam, "NTGAN: Learning Blind Image Denoising without Clean Reference", BMVC 2020, arXiv 2009.04286.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from denoisers.borders import pad_to_multiple
from denoisers.networks import initialise
from noisemodel.errors import InputError

if TYPE_CHECKING:
    from denoisers.trained import DenoiserSettings

MEAN = (0.4488, 0.4371, 0.4040)  # of red, green, blue, as published
WIDTH = 64  # as published
BLOCKS = 4
MULTIPLE = 4  # sizes are padded to it: the noise branch halves twice
RESIDUAL_START = 0.1  # of He's start weights at the end of a residual: 16 of them would double the variance 16 times
REDUCTION = 16  # of channels inside channel attention
CRITIC_SLOPE = 0.2  # of LeakyReLU below 0
CRITIC_START_STD = 0.02
SMALLEST_PATCH = 32  # below it the critic's instance norm would see a single pixel


class Residual(nn.Module):
    """x + conv(relu(conv(x)))."""

    def __init__(self, width: int) -> None:
        """Two 3x3 convolutions."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) -> the same shape."""
        return x + self.body(x)


class SpatialAttention(nn.Module):
    """x sigmoid(conv([mean over channels, largest over channels])): one weight per pixel (Woo 2018, eq. 3)."""

    def __init__(self) -> None:
        """A 7x7 convolution."""
        super().__init__()
        self.weigh = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) -> the same shape."""
        seen = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * self.weigh(seen).sigmoid()


class ChannelAttention(nn.Module):
    """x sigmoid(conv(relu(conv(mean over pixels)))): one weight per channel (Zhang 2018, eq. 8)."""

    def __init__(self, width: int) -> None:
        """Two 1x1 convolutions around ``width`` / 16 channels, at least 2."""
        super().__init__()
        inner = max(width // REDUCTION, 2)
        self.weigh = nn.Sequential(nn.Conv2d(width, inner, 1), nn.ReLU(inplace=True), nn.Conv2d(inner, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) -> the same shape."""
        return x * self.weigh(x.mean(dim=(-2, -1), keepdim=True)).sigmoid()


class Block(nn.Module):
    """x + channel attention(residual, residual, spatial attention, residual, residual)."""

    def __init__(self, width: int) -> None:
        """Four residual blocks and two attentions."""
        super().__init__()
        first, second = ([Residual(width), Residual(width)] for _ in range(2))
        self.body = nn.Sequential(*first, SpatialAttention(), *second, ChannelAttention(width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) -> the same shape."""
        return x + self.body(x)


def _conv(inputs: int, outputs: int) -> list[nn.Module]:
    """A 3x3 convolution with ReLU."""
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]


def noise_branch(width: int) -> nn.Sequential:
    """Features of a noise map: widths 1, 2, 4, two averages over 2x2 between them, one transposed convolution by 4."""
    return nn.Sequential(
        *_conv(3, width), *_conv(width, width), nn.AvgPool2d(2),
        *_conv(width, 2 * width), *_conv(2 * width, 2 * width), nn.AvgPool2d(2),
        *_conv(2 * width, 4 * width), *_conv(4 * width, 4 * width),
        nn.ConvTranspose2d(4 * width, width, 8, stride=4, padding=2), nn.ReLU(inplace=True),
    )  # fmt: skip


class NoiseTransfer(nn.Module):
    """G(x, M) = x + n + f(x - mean, n), n = M eps, eps ~ N(0, 1): an image of another noise level; M = 0 denoises.

    f: a convolution, four blocks with weights of their own, a long skip, the features of n beside it, four
    convolutions. The last one starts at zero, so that a new network changes nothing.

    Args:
        width: features; 64 as published (3.5 million weights).
        generator: the weights are drawn from it.
    """

    mean: Tensor

    def __init__(self, width: int = WIDTH, *, generator: torch.Generator) -> None:
        """Build both branches; draw the weights."""
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.enter = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(BLOCKS)))
        self.noise = noise_branch(width)
        self.leave = nn.Sequential(
            *_conv(2 * width, width), *_conv(width, width), *_conv(width, width), nn.Conv2d(width, 3, 3, padding=1)
        )
        initialise(self, generator)
        self._calm_start()

    @torch.no_grad()
    def _calm_start(self) -> None:
        """Shrink the ends of residuals, zero the last layer."""
        for residual in self.modules():
            if isinstance(residual, Residual):
                residual.get_parameter("body.2.weight").mul_(RESIDUAL_START)
        nn.init.zeros_(self.get_parameter(f"leave.{len(self.leave) - 1}.weight"))

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Transfer with the noise given; without noise, denoise.

        Args:
            images: (N, 3, H, W) of any size, reflected to a multiple of 4 and cropped back [fractions of white].
            noise: M eps, of the same shape.
        Returns: (N, 3, H, W), unclipped.
        """
        if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
            raise InputError(f"NTGAN takes RGB images (N, 3, H, W), got {tuple(images.shape)}; give such")
        height, width = images.shape[-2:]
        x = pad_to_multiple(images, MULTIPLE)
        n = torch.zeros_like(x) if noise is None else pad_to_multiple(noise, MULTIPLE)
        entered = self.enter(x - self.mean)
        features = torch.cat([entered + self.blocks(entered), self.noise(n)], dim=1)
        return (x + n + self.leave(features))[..., :height, :width]

    def transfer(self, images: Tensor, level_map: Tensor, *, generator: torch.Generator) -> Tensor:
        """Transfer images to the noise level M.

        Args:
            images: (N, 3, H, W) of any size [fractions of white].
            level_map: M, std of the noise per pixel and channel, of a shape that broadcasts to the images'.
            generator: eps is drawn from it.
        Raises: InputError where the map is negative or does not fit.
        """
        try:
            level_map = level_map.expand_as(images)
        except RuntimeError as error:
            shapes = tuple(level_map.shape), tuple(images.shape)
            raise InputError(
                f"a level map of {shapes[0]} does not fit images of {shapes[1]}; give one per pixel"
            ) from (error)
        if bool((level_map < 0).any()):
            raise InputError(f"a level map is a std, at least 0, got {float(level_map.min()):g}; give its magnitude")
        drawn = torch.randn(images.shape, generator=generator, device=images.device, dtype=images.dtype)
        return self(images, level_map * drawn)

    def denoise(self, images: Tensor) -> Tensor:
        """Transfer to level 0: one pass; (N, 3, H, W) of any size, clipped to [0, 1]."""
        return self(images).clamp(0, 1)


def corrected(found: Tensor, images: Tensor, ratio: float) -> Tensor:
    """((1 + a^2) f(y) - y) / a^2: the clean image that E[image with noise | image with noise and a times more] implies.

    Exact where the noise is Gaussian, what was added had a times its std (same law, independent), and y has both
    (Moran et al. 2020, eq. 8).

    Args:
        found: f(y), the network's output.
        images: y, its input.
        ratio: a.
    Raises: InputError unless a > 0.
    """
    if not ratio > 0:
        raise InputError(f"the ratio of the added noise must be above 0, got {ratio:g}; give what training used")
    return ((1 + ratio**2) * found - images) / ratio**2


class PatchCritic(nn.Module):
    """A score per patch of 70x70 pixels for an image beside what it was transferred to (Isola 2017, PatchGAN).

    Args:
        width: channels of the first convolution; doubled three times.
        generator: the weights are drawn from it, N(0, 0.02^2).
    """

    def __init__(self, width: int = 64, *, generator: torch.Generator) -> None:
        """Five 4x4 convolutions, three of stride 2, instance norm in the middle."""
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(6, width, 4, stride=2, padding=1), nn.LeakyReLU(CRITIC_SLOPE)]
        for inputs, stride in ((width, 2), (2 * width, 2), (4 * width, 1)):
            conv = nn.Conv2d(inputs, 2 * inputs, 4, stride=stride, padding=1, bias=False)
            layers += [conv, nn.InstanceNorm2d(2 * inputs), nn.LeakyReLU(CRITIC_SLOPE)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, padding=1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=CRITIC_START_STD, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor, transferred: Tensor) -> Tensor:
        """(N, 3, H, W) twice, H, W >= 32 -> (N, 1, h, w) scores."""
        if min(images.shape[-2:]) < SMALLEST_PATCH:
            height, width = images.shape[-2:]
            raise InputError(f"the critic needs patches of at least {SMALLEST_PATCH} px, got {height}x{width}")
        return self.layers(torch.cat([images, transferred], dim=1))


def build_ntgan(settings: "DenoiserSettings", *, generator: torch.Generator) -> NoiseTransfer:
    """The generator for a denoiser's settings; raises InputError unless these are RGB pictures, one at a time."""
    if (settings.channels, settings.layout, settings.frames) != (3, "srgb", 1):
        got = f"{settings.channels} channels, layout {settings.layout!r}, {settings.frames} frames"
        raise InputError(
            f'NTGAN is for RGB pictures (3 channels, layout "srgb", 1 frame), got {got}; use another method'
        )
    return NoiseTransfer(settings.width, generator=generator)
