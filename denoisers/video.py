"""A small video denoiser: one clean frame from five noisy ones (Tassano 2020, "FastDVDnet")."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from denoisers.borders import pad_to_multiple
from denoisers.networks import NORMS, initialise
from denoisers.trained import DenoiserSettings
from noisemodel.errors import InputError

FRAMES = 5
TRIPLE = 3
HALVINGS = 2
FIRST_SCALE = 0.02  # of the last weights of a stage, which starts near the identity


class VideoDenoiser(nn.Module):
    """y_2 = B(A(x_0, x_1, x_2), A(x_1, x_2, x_3), A(x_2, x_3, x_4)): no motion is estimated or compensated.

    A and B are small U-Nets of three frames; A's weights serve all three triples. Other than as published no map of
    the noise level is asked for, since the level is what the network was trained on.

    Args:
        channels: of a frame.
        width: channels at full size; 2 and 4 times as many below (32 as published).
        norm: a row of `networks.NORMS`; "batch" is as published.
        generator: the weights are drawn from it.
    Raises: InputError for an unknown norm.
    """

    def __init__(self, channels: int, width: int = 32, norm: str = "group", *, generator: torch.Generator) -> None:
        """Build both stages; draw the weights."""
        super().__init__()
        if norm not in NORMS:
            raise InputError(f"unknown norm {norm!r}; known: {', '.join(NORMS)}")
        self.channels = channels
        self.first, self.second = (TripleDenoiser(channels, width, norm) for _ in range(2))
        initialise(self, generator)
        for stage in (self.first, self.second):
            stage.output.weight.data.mul_(FIRST_SCALE)

    def forward(self, clips: Tensor) -> Tensor:
        """(N, 5, C, H, W) of any size -> (N, C, H, W), the middle frame.

        Raises: InputError for another number of frames or channels.
        """
        if clips.ndim != 5 or clips.shape[1:3] != (FRAMES, self.channels):
            raise InputError(
                f"the video denoiser takes (N, {FRAMES}, {self.channels}, H, W), got {tuple(clips.shape)}; "
                "repeat frames at the ends of a clip by reflection"
            )
        height, width = clips.shape[-2:]
        frames = pad_to_multiple(clips, 2**HALVINGS)
        triples = frames.unfold(1, TRIPLE, 1).movedim(-1, 2)  # (N, 3, 3, C, H, W)
        middles = self.first(triples.flatten(0, 1)).unflatten(0, triples.shape[:2])
        return self.second(middles)[..., :height, :width]


class TripleDenoiser(nn.Module):
    """x_1 + f(x_0, x_1, x_2), f a U-Net of two halvings whose first layer sees each frame by itself."""

    def __init__(self, channels: int, width: int, norm: str) -> None:
        """Build; the weights are drawn by the caller."""
        super().__init__()
        self.enter = nn.Sequential(
            nn.Conv2d(TRIPLE * channels, TRIPLE * width, 3, padding=1, groups=TRIPLE),
            nn.ReLU(),
            *_convs(TRIPLE * width, norm, width),
        )
        self.down = nn.ModuleList(_down(width * 2**level, norm) for level in range(HALVINGS))
        self.up = nn.ModuleList(_up(width * 2**level, norm) for level in reversed(range(HALVINGS)))
        self.leave = nn.Sequential(*_convs(width, norm, width))
        self.output = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, frames: Tensor) -> Tensor:
        """(N, 3, C, H, W), H and W multiples of 4 -> (N, C, H, W)."""
        x = self.enter(frames.flatten(1, 2))
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        for up in self.up:
            x = functional.pixel_shuffle(up(x), 2) + skips.pop()
        return frames[:, 1] + self.output(self.leave(x))


def _convs(inputs: int, norm: str, *outputs: int, stride: int = 1) -> list[nn.Module]:
    """3x3 convolutions, each with norm and ReLU; the first has the stride."""
    parts: list[nn.Module] = []
    for channels in outputs:
        parts += [nn.Conv2d(inputs, channels, 3, stride=stride, padding=1), NORMS[norm](channels), nn.ReLU()]
        inputs, stride = channels, 1
    return parts


def _down(width: int, norm: str) -> nn.Sequential:
    """``width`` channels to twice as many at half the size."""
    return nn.Sequential(*_convs(width, norm, *(2 * width,) * 3, stride=2))


def _up(width: int, norm: str) -> nn.Sequential:
    """Twice ``width`` channels to ``width`` at twice the size, before the pixels are shuffled."""
    return nn.Sequential(*_convs(2 * width, norm, 2 * width, 2 * width), nn.Conv2d(2 * width, 4 * width, 3, padding=1))


def build_video(settings: DenoiserSettings, *, generator: torch.Generator) -> VideoDenoiser:
    """The network of ``settings``.

    Raises: InputError for another number of frames than five.
    """
    if settings.frames != FRAMES:
        raise InputError(
            f"the video denoiser takes {FRAMES} frames, got frames={settings.frames}; say --frames {FRAMES}"
        )
    return VideoDenoiser(settings.channels, settings.width, settings.norm, generator=generator)
