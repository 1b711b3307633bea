"""Clean linear planes from pictures of any kind: unprocessed with drawn gains, dimmed, laid out as the camera has them.

The laws are those of `noisemodel.sensor.unprocessing`; here is what varies from image to image.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from noisemodel.errors import InputError
from noisemodel.sensor import pack_mosaic
from noisemodel.sensor.mosaic import check_layout
from noisemodel.sensor.unprocessing import (
    BLUE_GAINS,
    DARKENING,
    DARKENING_STD,
    RED_GAINS,
    XYZ_TO_CAMERA,
    camera_matrix,
    inverse_gains,
    mosaic_planes,
    unprocess,
)

DARKENING_LIMITS = (0.5, 1.0)  # a normal reaches 0 and beyond 1; a picture is neither black nor brighter than white


class Camera(NamedTuple):
    """What makes raw of each of N pictures.

    matrix: (N, 3, 3) linear sRGB -> camera. gains: (N, 3), see `inverse_gains`. exposure: (N,), what white becomes.
    """

    matrix: Tensor
    gains: Tensor
    exposure: Tensor


def parse_light(text: str) -> tuple[float, float]:
    """Read ``LOW,HIGH``: what full white of a picture becomes [fraction of white], 0 < LOW <= HIGH <= 1.

    Raises: InputError for anything else.
    """
    try:
        low, high = (float(word) for word in text.split(","))
    except ValueError:
        raise InputError(f"--light is LOW,HIGH in fractions of white, e.g. 0.1,1; got {text!r}") from None
    if not 0 < low <= high <= 1:
        raise InputError(f"--light needs 0 < LOW <= HIGH <= 1, got {text}; dim pictures are e.g. 0.01,0.1")
    return low, high


def draw_camera(count: int, light: tuple[float, float], *, generator: torch.Generator) -> Camera:
    """Brooks 2019's camera of each picture, and a log-uniform exposure.

    matrix: a convex mix with uniform weights of four cameras; red gain ~ U(1.9, 2.4), blue ~ U(1.5, 1.9), darkening
    ~ N(0.8, 0.1), kept in `DARKENING_LIMITS`; log exposure ~ U(log low, log high).

    Args:
        count: N.
        light: (low, high) exposure [fraction of white].
    """
    device = generator.device
    weights = torch.rand(count, len(XYZ_TO_CAMERA), generator=generator, device=device)
    red, blue, dim = torch.rand(3, count, generator=generator, device=device)
    darkening = DARKENING + DARKENING_STD * torch.randn(count, generator=generator, device=device)
    red, blue = (low + (high - low) * u for u, (low, high) in ((red, RED_GAINS), (blue, BLUE_GAINS)))
    exposure = light[0] * (math.log(light[1] / light[0]) * dim).exp()
    return Camera(camera_matrix(weights + 1e-6), inverse_gains(red, blue, darkening.clamp(*DARKENING_LIMITS)), exposure)


def middle_camera(count: int, light: tuple[float, float]) -> Camera:
    """The first camera, middle gains and the geometric mean of the exposures: for validation."""
    matrix, gains = camera_matrix().float(), inverse_gains().float()
    return Camera(matrix.expand(count, 3, 3), gains.expand(count, 3), torch.full((count,), math.sqrt(math.prod(light))))


def picture_step(layout: str, picture_channels: int) -> int:
    """Picture pixels from one plane pixel to the next: 2 where a mosaic is cut out of pictures."""
    return 2 if layout == "mosaic" and picture_channels != 4 else 1


def check_channels(layout: str, channels: int, pictures: set[int], linear: bool) -> None:
    """Refuse pictures that cannot become planes of the layout.

    Raises: InputError, e.g. for packed planes that are said to be sRGB pictures.
    """
    check_layout(layout)
    if channels not in ((4,) if layout == "mosaic" else (1, 3)):
        raise InputError(f'layout "{layout}" has {"4" if layout == "mosaic" else "1 or 3"} planes, got {channels}')
    known = {1, 3} | ({4} if linear and layout == "mosaic" else set())
    if len(pictures) != 1 or not pictures <= known:
        raise InputError(
            f"clean images must all have the same number of channels, one of {sorted(known)}; got {sorted(pictures)} "
            f'(4 packed planes: linear images with layout "mosaic")'
        )


def clean_planes(
    pictures: Tensor, camera: Camera, *, layout: str, channels: int, cfa: str | None = None, linear: bool = False
) -> Tensor:
    """exposure * unprocess(picture), in the planes of the sensor.

    A mono sensor sees the mean of the three camera colours; grey pictures are taken as colour pictures without colour.

    Args:
        pictures: (N, T, C, H, W) in [0, 1], C = 1, 3, or 4 (packed linear planes).
        camera: of each picture; `draw_camera` or `middle_camera`.
        layout, channels: of the result.
        cfa: colours of the mosaic by position; None is RGGB.
        linear: pictures are linear light already: only the exposure is applied.
    Returns: (N, T, channels, h, w) [fraction of white].
    """
    matrix, gains, exposure = (value.to(pictures) for value in camera)
    exposure = exposure.view(-1, 1, 1, 1, 1)
    if linear and layout == "mosaic" and pictures.shape[2] == 4:
        return exposure * pictures
    if linear and layout == "mosaic" and pictures.shape[2] == 1:
        return exposure * pack_mosaic(pictures[:, :, 0])
    colours = pictures.expand(*pictures.shape[:2], 3, *pictures.shape[3:])
    if not linear:
        colours = unprocess(colours, matrix=matrix.unsqueeze(1), gains=gains.unsqueeze(1))
    colours = exposure * colours
    if layout == "mosaic":
        return mosaic_planes(colours, cfa or "RGGB")
    return colours.mean(dim=2, keepdim=True) if channels == 1 else colours
