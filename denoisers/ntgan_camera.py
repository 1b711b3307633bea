"""Camera noise for pseudo supervision: light, noise, response, Bayer mosaic, demosaicing, all on batches in torch.

As Guo et al. 2019 (CBDNet) and NTGAN simulate it. N(m, s) names a std here, not a variance: the signal-dependent part
has std sigma_s I, as their code has it; shot noise would have std proportional to sqrt(I).
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from denoisers.response_curves import ResponseCurves
from noisemodel.errors import InputError

# Row and column of red in the 2x2 cell.
PATTERNS = {"RGGB": (0, 0), "GRBG": (0, 1), "GBRG": (1, 0), "BGGR": (1, 1)}
KERNELS = (((1, 2, 1), (2, 4, 2), (1, 2, 1)), ((0, 1, 0), (1, 4, 1), (0, 1, 0)), ((1, 2, 1), (2, 4, 2), (1, 2, 1)))


class Draws(Protocol):
    """Random rows of a batch: see `denoisers.ntgan_step.Rows`."""

    def uniform(self, *shape: int) -> Tensor: ...

    def normal(self, *shape: int) -> Tensor: ...


@dataclass(frozen=True)
class CameraLaw:
    """From what a batch's cameras are drawn.

    Args:
        curves: response curves, one is drawn per image.
        sigma_s: std of the signal-dependent noise over I is U(0, sigma_s) per image and channel.
        sigma_c: std of the constant noise is U(0, sigma_c) per image and channel [fraction of white].
        mosaic_share: share of images that are mosaicked and demosaicked.
    Raises: InputError for negative levels, or both 0, or another share than 0 .. 1.
    """

    curves: ResponseCurves
    sigma_s: float = 0.16
    sigma_c: float = 0.06
    mosaic_share: float = 2 / 3

    def __post_init__(self) -> None:
        """Check the numbers."""
        if min(self.sigma_s, self.sigma_c) < 0 or self.sigma_s + self.sigma_c == 0:
            got = f"{self.sigma_s} and {self.sigma_c}"
            raise InputError(f"sigma_s and sigma_c must be at least 0, and not both 0, got {got}; give stds")
        if not 0 <= self.mosaic_share <= 1:
            raise InputError(f"mosaic_share must be from 0 to 1, got {self.mosaic_share}; give a share")


class Cameras(NamedTuple):
    """A camera per image.

    which: (N,) numbers of response curves. sigma_s, sigma_c: (N, 3, 1, 1). red: (N, 2) row and column of red in the
    2x2 cell. mosaic: (N,) whether there is one.
    """

    which: Tensor
    sigma_s: Tensor
    sigma_c: Tensor
    red: Tensor
    mosaic: Tensor


def draw_cameras(law: CameraLaw, draws: Draws) -> Cameras:
    """A camera for every row that ``draws`` has."""
    which = (draws.uniform() * len(law.curves)).long().clamp(max=len(law.curves) - 1)
    sigma_s, sigma_c = law.sigma_s * draws.uniform(3, 1, 1), law.sigma_c * draws.uniform(3, 1, 1)
    red = (draws.uniform(2) < 0.5).long()
    return Cameras(which, sigma_s, sigma_c, red, draws.uniform() < law.mosaic_share)


def light_noise(light: Tensor, cameras: Cameras, draws: Draws) -> Tensor:
    """N(0, sigma_s I) + N(0, sigma_c), both stds; (N, 3, H, W) -> the same shape."""
    shape = light.shape[1:]
    return cameras.sigma_s * light * draws.normal(*shape) + cameras.sigma_c * draws.normal(*shape)


def camera_noise(
    images: Tensor, cameras: Cameras, curves: ResponseCurves, draws: Draws, *, centred: bool = False
) -> Tensor:
    """D(f(f^-1(y) + n) - y): what the simulated camera adds to a picture.

    D is mosaic and bilinear demosaicing, or nothing. D is linear, so that this is D(camera with noise) - D(y): the
    picture, which a camera has made already, is not blurred a second time.

    Args:
        images: y, (N, 3, H, W) gamma pictures in [0, 1]; clipped to it.
        centred: D(f(I + n) - f(I - n)) / 2 instead: of mean 0 at every pixel, where a bent and clipped response moves
            the mean; what another camera's curve does to the mean would be learned as a cast of colour.
    Returns: (N, 3, H, W).
    """
    images = images.clamp(0, 1)
    light = curves.linear(images, cameras.which)
    drawn = light_noise(light, cameras, draws)
    bright = curves.respond(light + drawn, cameras.which)
    noise = (bright - curves.respond(light - drawn, cameras.which)) / 2 if centred else bright - images
    return torch.where(cameras.mosaic.view(-1, 1, 1, 1), demosaic(mosaic(noise, cameras.red), cameras.red), noise)


def simulate(images: Tensor, cameras: Cameras, curves: ResponseCurves, draws: Draws) -> Tensor:
    """D(f(f^-1(y) + n)): the whole picture through the camera, as published."""
    images = images.clamp(0, 1)
    light = curves.linear(images, cameras.which)
    noisy = curves.respond(light + light_noise(light, cameras, draws), cameras.which)
    return torch.where(cameras.mosaic.view(-1, 1, 1, 1), demosaic(mosaic(noisy, cameras.red), cameras.red), noisy)


def level_map(images: Tensor, cameras: Cameras, curves: ResponseCurves) -> Tensor:
    """std = f'(I) sqrt((sigma_s I)^2 + sigma_c^2), I = f^-1(y): of the noise before the mosaic, to first order."""
    light = curves.linear(images.clamp(0, 1), cameras.which)
    variance = (cameras.sigma_s * light).square() + cameras.sigma_c.square()
    return curves.slope(light, cameras.which) * variance.sqrt()


def _channel_masks(shape: torch.Size, red: Tensor) -> Tensor:
    """(N, 3, H, W): 1 where the mosaic measures the channel."""
    rows = torch.arange(shape[-2], device=red.device).view(1, -1, 1)
    columns = torch.arange(shape[-1], device=red.device).view(1, 1, -1)
    on_row, on_column = ((axis + red[:, k].view(-1, 1, 1)) % 2 == 0 for k, axis in enumerate((rows, columns)))
    return torch.stack([on_row & on_column, on_row ^ on_column, ~on_row & ~on_column], dim=1)


def mosaic(images: Tensor, red: Tensor) -> Tensor:
    """Keep of each pixel the channel that the Bayer filter passes.

    Args:
        images: (N, 3, H, W).
        red: (N, 2) row and column of red in the 2x2 cell, see `PATTERNS`.
    Returns: (N, 1, H, W).
    """
    return (images * _channel_masks(images.shape, red)).sum(dim=1, keepdim=True)


def demosaic(mosaics: Tensor, red: Tensor) -> Tensor:
    """Bilinear interpolation of each channel, edges mirrored, as colour_demosaicing; (N, 1, H, W) -> (N, 3, H, W).

    Raises: InputError for a mosaic without channel axis.
    """
    if mosaics.ndim != 4 or mosaics.shape[1] != 1:
        raise InputError(f"a mosaic is (N, 1, H, W), got {tuple(mosaics.shape)}; add the axes")
    kernels = mosaics.new_tensor(KERNELS).unsqueeze(1) / 4
    held = mosaics * _channel_masks(mosaics.shape, red)
    return functional.conv2d(functional.pad(held, (1, 1, 1, 1), mode="replicate"), kernels, groups=3)
