"""The U-Net that the published starlight script really built: residual blocks, LeakyReLU, no normalisation.

``unet_opts`` names four choices, of which two were lost on the way: blocks took the residual flag for dropout and the
activation for a normalisation. So every block is residual with LeakyReLU, and dropped 5 % of its channels in training.
Nothing is dropped here: a model that is read is used, not trained.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from noisemodel.errors import InputError
from noisemodel.networks import DOWN, UP, reflect_to_multiple

WIDTHS = (32, 64, 128, 256)
NORMALISATIONS = ("batch", "instance", "mixed")  # words of unet_opts that would have made one


class OldBlock(nn.Module):
    """leaky(conv2(leaky(conv1(x))) + x), the sum over as many channels as both have."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """Two 3x3 convolutions."""
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H, W)."""
        inner = self.conv2(functional.leaky_relu(self.conv1(x)))
        both = min(x.shape[1], inner.shape[1])
        added = torch.cat([inner[:, :both] + x[:, :both], inner[:, both:]], dim=1)
        return functional.leaky_relu(added)


class OldUnet(nn.Module):
    """Four halvings, each skip joined by concatenation, and a block from the input to the output; names as published.

    Args:
        inputs: 4, or 8 with ``Unet_cat``.
        outputs: 4.
        unet_opts: residual<True|False>_<down>_<up>_<activation>.
    Raises: InputError for options that the published script did not know, or that made another network.
    """

    def __init__(self, inputs: int, outputs: int, unet_opts: str) -> None:
        """Build with torch's start values, to be replaced."""
        super().__init__()
        residual, down, up, activation = [*unet_opts.split("_"), "", "", "", ""][:4]
        if down not in DOWN or up not in UP or activation in NORMALISATIONS:
            raise InputError(
                f"unet_opts {unet_opts!r} names no network of the published script; it was residual<True|False>_"
                f"<{'|'.join(DOWN)}>_<{'|'.join(UP)}>_<activation>, the last not {', '.join(NORMALISATIONS)}"
            )
        one, two, three, four = WIDTHS
        for level, width in enumerate(WIDTHS, 1):
            setattr(self, f"down{level}", _down(down, width))
            setattr(self, f"up{5 - level}", _up(up, width))
        planes = [(inputs, one), (one, two), (two, three), (three, four), (four, four)]
        planes += [(2 * four, three), (2 * three, two), (2 * two, one), (2 * one, outputs)]
        for number, (before, after) in enumerate(planes, 1):
            setattr(self, f"conv{number}", OldBlock(before, after))
        self.convres = OldBlock(inputs, outputs) if residual.removeprefix("residual") else None  # bool("False") is True

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H, W); sizes that 16 does not divide are extended by reflection."""
        height, width = x.shape[-2:]
        start = x = reflect_to_multiple(x, 16)
        skips = []
        for level in range(1, 5):
            skips.append(self._modules[f"conv{level}"](x))  # type: ignore[misc]
            x = self._modules[f"down{level}"](skips[-1])  # type: ignore[misc]
        x = self._modules["conv5"](x)  # type: ignore[misc]
        for level, skip in enumerate(reversed(skips), 1):
            x = torch.cat([self._modules[f"up{level}"](x), skip], dim=1)  # type: ignore[misc]
            x = self._modules[f"conv{level + 5}"](x)  # type: ignore[misc]
        if self.convres is not None:
            x = x + self.convres(start)
        return x[..., :height, :width]


def _down(kind: str, width: int) -> nn.Module:
    if kind == "conv":
        return nn.Conv2d(width, width, 2, stride=2, groups=width)
    return nn.AvgPool2d(2) if kind == "avgpool" else nn.MaxPool2d(2)


def _up(kind: str, width: int) -> nn.Module:
    if kind == "tconv":
        return nn.ConvTranspose2d(width, width, 2, stride=2, groups=width)
    return nn.Upsample(scale_factor=2, mode=kind)
