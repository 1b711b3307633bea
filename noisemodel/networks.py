"""The optional U-Net that corrects what physics leaves out."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from noisemodel.errors import InputError

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leakyrelu": nn.LeakyReLU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}
DOWN = ("conv", "avgpool", "maxpool")
UP = ("tconv", "bilinear", "nearest")
DEPTH = 4  # halvings: sizes are padded to a multiple of 2**DEPTH


@dataclass(frozen=True)
class UnetOptions:
    """The four choices of ``--unet_opts residual<True|False>_<down>_<up>_<activation>``."""

    residual: bool
    down: str
    up: str
    activation: str

    @classmethod
    def parse(cls, text: str) -> "UnetOptions":
        """Read e.g. ``residualFalse_conv_tconv_selu``; raises InputError that names the choices."""
        residual, down, up, activation, *rest = [*text.split("_"), "", "", "", ""][: max(4, text.count("_") + 1)]
        choices = (("residualTrue", "residualFalse"), DOWN, UP, tuple(ACTIVATIONS))
        for given, known in zip((residual, down, up, activation), choices, strict=True):
            if given not in known or rest:
                raise InputError(
                    f"cannot read unet_opts {text!r} at {given!r}: write residual<True|False>_<{'|'.join(DOWN)}>_"
                    f"<{'|'.join(UP)}>_<{'|'.join(ACTIVATIONS)}>"
                )
        return cls(residual == "residualTrue", down, up, activation)


class ConvBlock(nn.Module):
    """Two 3x3 convolutions with activations; with ``residual``, the input (1x1-projected) is added."""

    def __init__(self, inputs: int, outputs: int, options: UnetOptions) -> None:
        """Map ``inputs`` to ``outputs`` channels at the same size."""
        super().__init__()
        activation = ACTIVATIONS[options.activation]
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1), activation(),
            nn.Conv2d(outputs, outputs, 3, padding=1), activation(),
        )  # fmt: skip
        self.skip = nn.Conv2d(inputs, outputs, 1) if options.residual else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H, W)."""
        return self.body(x) if self.skip is None else self.body(x) + self.skip(x)


def _down(channels: int, kind: str) -> nn.Module:
    if kind == "conv":
        return nn.Conv2d(channels, channels, 2, stride=2)
    return nn.AvgPool2d(2) if kind == "avgpool" else nn.MaxPool2d(2)


def _up(inputs: int, outputs: int, kind: str) -> nn.Module:
    if kind == "tconv":
        return nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
    corners = {"align_corners": False} if kind == "bilinear" else {}
    return nn.Sequential(nn.Upsample(scale_factor=2, mode=kind, **corners), nn.Conv2d(inputs, outputs, 3, padding=1))


class Unet(nn.Module):
    """f(x) of a U-Net with four halvings, no normalisation, no dropout; its last convolution starts at zero.

    Any size: pads by reflection to a multiple of 16 and crops back.
    """

    def __init__(self, inputs: int, outputs: int, *, options: UnetOptions, width: int = 32) -> None:
        """Map ``inputs`` to ``outputs`` channels; ``width`` channels at full size, doubled at every halving."""
        super().__init__()
        widths = [width * 2**level for level in range(DEPTH + 1)]
        self.enter = ConvBlock(inputs, width, options)
        self.down = nn.ModuleList(_down(w, options.down) for w in widths[:-1])
        self.encode = nn.ModuleList(ConvBlock(a, b, options) for a, b in pairwise(widths))
        self.up = nn.ModuleList(_up(b, a, options.up) for a, b in pairwise(widths))
        self.decode = nn.ModuleList(ConvBlock(2 * a, a, options) for a in widths[:-1])
        self.leave = nn.Conv2d(width, outputs, 1)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) of any size -> (N, outputs, H, W)."""
        height, width = x.shape[-2:]
        x = self.enter(reflect_to_multiple(x, 2**DEPTH))
        skips = []
        for down, encode in zip(self.down, self.encode, strict=True):
            skips.append(x)
            x = encode(down(x))
        for up, decode, skip in zip(reversed(self.up), reversed(self.decode), reversed(skips), strict=True):
            x = decode(torch.cat([up(x), skip], dim=1))
        return self.leave(x)[..., :height, :width]


def reflect_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Extend H and W at their ends by reflection to a multiple; also where the padding exceeds the image."""
    for axis in (-2, -1):
        size = x.shape[axis]
        target = -(-size // multiple) * multiple
        if target != size:
            period = max(1, 2 * size - 2)
            place = torch.arange(target, device=x.device) % period
            x = x.index_select(axis, torch.minimum(place, period - place) if size > 1 else place)
    return x
