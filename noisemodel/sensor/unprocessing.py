"""Linear raw from finished pictures (Brooks 2019, "Unprocessing Images for Learned Raw Denoising", section 3)."""

import torch
from torch import Tensor

from noisemodel.errors import InputError

# XYZ -> camera of the four cameras that Brooks 2019 mixes, and linear sRGB -> XYZ (IEC 61966-2-1, D65).
XYZ_TO_CAMERA = (
    ((1.0234, -0.2969, -0.2266), (-0.5625, 1.6328, -0.0469), (-0.0703, 0.2188, 0.6406)),
    ((0.4913, -0.0541, -0.0202), (-0.6130, 1.3513, 0.2906), (-0.1564, 0.2151, 0.7183)),
    ((0.8380, -0.2630, -0.0639), (-0.2887, 1.0725, 0.2496), (-0.0627, 0.1427, 0.5438)),
    ((0.6596, -0.2079, -0.0562), (-0.4782, 1.3016, 0.1933), (-0.0970, 0.1581, 0.5181)),
)
SRGB_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
# White-balance gains of red and blue: Brooks 2019's ranges; what a picture is darkened by: mean and std of a normal.
RED_GAINS, BLUE_GAINS = (1.9, 2.4), (1.5, 1.9)
DARKENING, DARKENING_STD = 0.8, 0.1
HIGHLIGHT_INFLECTION = 0.9
COLOURS = "RGB"


def inverse_smoothstep(picture: Tensor) -> Tensor:
    """Invert the tone curve y = 3 x^2 - 2 x^3: x = 1/2 - sin(asin(1 - 2 y) / 3), any shape."""
    return 0.5 - torch.sin(torch.asin(1.0 - 2.0 * picture.clamp(0.0, 1.0)) / 3.0)


def inverse_srgb_gamma(picture: Tensor) -> Tensor:
    """sRGB code values in [0, 1] to linear light (IEC 61966-2-1), any shape."""
    return torch.where(picture <= 0.04045, picture / 12.92, ((picture.clamp_min(0.04) + 0.055) / 1.055) ** 2.4)


def camera_matrix(weights: Tensor | None = None) -> Tensor:
    """Linear sRGB -> camera colours; each row sums to 1, so that grey stays grey.

    Args:
        weights: (..., 4) shares of the cameras of `XYZ_TO_CAMERA`, brought to a sum of 1; None is the first camera.
    Returns: (..., 3, 3), float64 without weights, else in their type.
    """
    cameras = torch.tensor(XYZ_TO_CAMERA, dtype=torch.float64)
    if weights is None:
        mixed = cameras[0]
    else:
        shares = weights / weights.sum(dim=-1, keepdim=True)
        mixed = torch.einsum("...k,kij->...ij", shares, cameras.to(weights))
    matrix = mixed @ torch.tensor(SRGB_TO_XYZ, dtype=mixed.dtype, device=mixed.device)
    return matrix / matrix.sum(dim=-1, keepdim=True)


def inverse_gains(red: Tensor | None = None, blue: Tensor | None = None, darkening: Tensor | None = None) -> Tensor:
    """darkening (1 / red, 1, 1 / blue): what white-balanced camera colours are multiplied by.

    Args:
        red, blue: white-balance gains, (...); None is the middle of Brooks 2019's range.
        darkening: (...); None is its mean.
    Returns: (..., 3), float64 where nothing is given.
    """
    middle = [torch.tensor(sum(gains) / 2, dtype=torch.float64) for gains in (RED_GAINS, BLUE_GAINS)]
    red = middle[0] if red is None else red
    blue = middle[1] if blue is None else blue
    gains = torch.stack(torch.broadcast_tensors(1.0 / red, torch.ones_like(red), 1.0 / blue), dim=-1)
    return gains * (DARKENING if darkening is None else darkening.unsqueeze(-1))


def inverse_white_balance(camera: Tensor, gains: Tensor) -> Tensor:
    """Multiply camera colours by `inverse_gains`; highlights keep their value, so that white stays saturated.

    Args:
        camera: (..., 3, H, W).
        gains: (..., 3).
    """
    gains = gains.to(camera)[..., None, None]
    grey = camera.mean(dim=-3, keepdim=True)
    mask = ((grey - HIGHLIGHT_INFLECTION).clamp_min(0.0) / (1.0 - HIGHLIGHT_INFLECTION)) ** 2
    return camera * torch.maximum(mask + (1.0 - mask) * gains, gains)


def unprocess(picture: Tensor, *, matrix: Tensor | None = None, gains: Tensor | None = None) -> Tensor:
    """A finished sRGB picture to linear camera colours in [0, 1].

    Args:
        picture: (..., 3, H, W) in [0, 1].
        matrix: (..., 3, 3) from `camera_matrix`; None is its first camera.
        gains: (..., 3) from `inverse_gains`; None is the middle.
    Returns: the shape of ``picture`` [fraction of white].
    Raises: InputError for another number of channels.
    """
    if picture.ndim < 3 or picture.shape[-3] != 3:
        raise InputError(f"a colour picture is (..., 3, H, W), got shape {tuple(picture.shape)}; put its colours first")
    linear = inverse_srgb_gamma(inverse_smoothstep(picture))
    matrix = (camera_matrix() if matrix is None else matrix).to(picture)
    camera = torch.einsum("...ij,...jhw->...ihw", matrix, linear)
    return inverse_white_balance(camera, inverse_gains() if gains is None else gains).clamp(0.0, 1.0)


def mosaic_planes(camera: Tensor, cfa: str = "RGGB") -> Tensor:
    """What a mosaic of colour filters lets through of camera colours, packed by position.

    Args:
        camera: (..., 3, H, W), red, green and blue.
        cfa: colours of the cell's positions (0,0), (0,1), (1,0), (1,1).
    Returns: (..., 4, H/2, W/2).
    Raises: InputError for odd sizes or other colours.
    """
    height, width = camera.shape[-2:]
    if height % 2 or width % 2 or len(cfa) != 4 or not set(cfa) <= set(COLOURS):
        raise InputError(f"a mosaic needs even sizes and 4 letters of R, G, B; got {height}x{width} and {cfa!r}")
    planes = [camera[..., COLOURS.index(cfa[2 * dy + dx]), dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)]
    return torch.stack(planes, dim=-3)
